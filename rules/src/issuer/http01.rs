//! Rules of HTTP-01 solvers.

use api::IssuerSpec;
use api::acme::http01::{GatewayHttpRouteSolver, Http01Solver, IngressSolver, ParentReference};

use super::{indexed, solver, spec};
use crate::case::Case;
use crate::finding::Fault;
use crate::name;
use crate::rule::{Check, Findings};

pub(super) static RULES: &[Check<IssuerSpec>] = &[
    spec(
        "I13",
        "spec.acme.solvers[*].http01",
        "An HTTP-01 solver answers by an Ingress or by an HTTPRoute",
        |case, findings| {
            for (index, http01) in all(case) {
                if http01.ingress.is_none() && http01.gateway_http_route.is_none() {
                    findings
                        .at(indexed(findings.path(), &[index]), Fault::Required)
                        .advice("set ingress or gatewayHTTPRoute");
                }
            }
        },
    ),
    spec(
        "I14",
        "spec.acme.solvers[*].http01",
        "An HTTP-01 solver answers by an Ingress or by an HTTPRoute, not both",
        |case, findings| {
            for (index, http01) in all(case) {
                if http01.ingress.is_some() && http01.gateway_http_route.is_some() {
                    findings
                        .at(indexed(findings.path(), &[index]), Fault::Required)
                        .detail("both ingress and gatewayHTTPRoute are set")
                        .advice("make one solver of each");
                }
            }
        },
    ),
    spec(
        "I15",
        "spec.acme.solvers[*].http01.ingress",
        "An Ingress is chosen by ingressClassName, class or name, by one of them at most",
        |case, findings| {
            for (index, ingress) in ingresses(case) {
                let set =
                    [ingress.class.is_some(), ingress.ingress_class_name.is_some(), ingress.name.is_some()];
                if set.into_iter().filter(|set| *set).count() > 1 {
                    findings
                        .at(indexed(findings.path(), &[index]), Fault::Forbidden)
                        .detail("more than one of ingressClassName, class and name is set")
                        .advice("keep ingressClassName alone");
                }
            }
        },
    ),
    spec(
        "I16",
        "spec.acme.solvers[*].http01.ingress.ingressClassName",
        "The class of an Ingress is a DNS-1123 subdomain",
        |case, findings| {
            for (index, ingress) in ingresses(case) {
                if let Some(class) = &ingress.ingress_class_name {
                    is_class(class, index, findings);
                }
            }
        },
    ),
    spec(
        "I17",
        "spec.acme.solvers[*].http01.ingress.serviceType",
        "The Service behind an Ingress is of type ClusterIP or NodePort",
        |case, findings| {
            for (index, ingress) in ingresses(case) {
                is_service_type(ingress.service_type.as_deref(), index, findings);
            }
        },
    ),
    spec(
        "I18",
        "spec.acme.solvers[*].http01.gatewayHTTPRoute.serviceType",
        "The Service behind an HTTPRoute is of type ClusterIP or NodePort",
        |case, findings| {
            for (index, gateway) in gateways(case) {
                is_service_type(gateway.service_type.as_deref(), index, findings);
            }
        },
    ),
    spec(
        "I19",
        "spec.acme.solvers[*].http01.gatewayHTTPRoute.parentRefs[*].name",
        "A parent of an HTTPRoute that has a kind has a name",
        |case, findings| {
            for (index, inner, parent) in first_wrong_parents(case) {
                if parent.name.is_empty() {
                    findings
                        .at(indexed(findings.path(), &[index, inner]), Fault::Required)
                        .advice("name the Gateway");
                }
            }
        },
    ),
    spec(
        "I20",
        "spec.acme.solvers[*].http01.gatewayHTTPRoute.parentRefs[*].kind",
        "A parent of an HTTPRoute that has a name has a kind",
        |case, findings| {
            for (index, inner, parent) in first_wrong_parents(case) {
                if !parent.name.is_empty() {
                    findings
                        .at(indexed(findings.path(), &[index, inner]), Fault::Required)
                        .advice("write Gateway, or the kind of the parent");
                }
            }
        },
    ),
];

fn all<'a>(case: &Case<'a, IssuerSpec>) -> impl Iterator<Item = (usize, &'a Http01Solver)> {
    solver::all(case).filter_map(|(index, solver)| Some((index, solver.http01.as_deref()?)))
}

/// The solvers that answer by an Ingress.
pub(super) fn ingresses<'a>(case: &Case<'a, IssuerSpec>) -> impl Iterator<Item = (usize, &'a IngressSolver)> {
    all(case).filter_map(|(index, http01)| Some((index, http01.ingress.as_deref()?)))
}

/// The solvers that answer by an HTTPRoute.
pub(super) fn gateways<'a>(
    case: &Case<'a, IssuerSpec>,
) -> impl Iterator<Item = (usize, &'a GatewayHttpRouteSolver)> {
    all(case).filter_map(|(index, http01)| Some((index, http01.gateway_http_route.as_deref()?)))
}

/// The first parent of each HTTPRoute that has a kind without a name or a name without a kind; those behind it are not
/// looked at.
fn first_wrong_parents<'a>(
    case: &Case<'a, IssuerSpec>,
) -> impl Iterator<Item = (usize, usize, &'a ParentReference)> {
    gateways(case).filter_map(|(index, gateway)| {
        let wrong = |parent: &ParentReference| parent.kind.is_some() == parent.name.is_empty();
        let (inner, parent) = gateway.parent_refs.iter().enumerate().find(|(_, parent)| wrong(parent))?;
        Some((index, inner, parent))
    })
}

fn is_class(class: &str, index: usize, findings: &mut Findings) {
    let Some(fault) = name::subdomain_faults(class).next() else { return };
    let path = indexed(findings.path(), &[index]);
    let finding = findings.at(path, Fault::Invalid).value(class).detail(fault);
    if class.contains('/') {
        // Classes such as "azure/application-gateway" are known to controllers that read the old annotation.
        finding.advice(format!("write class: {class:?} instead of ingressClassName"));
    } else if let Some(similar) = name::similar_subdomain(class) {
        finding.advice(format!("write {similar:?}"));
    } else {
        finding.advice("name an IngressClass of the cluster");
    }
}

fn is_service_type(service_type: Option<&str>, index: usize, findings: &mut Findings) {
    let Some(service_type) = service_type.filter(|type_| !matches!(*type_, "ClusterIP" | "NodePort")) else {
        return;
    };
    findings
        .at(indexed(findings.path(), &[index]), Fault::Invalid)
        .value(service_type)
        .detail("not a type of Service that solvers use")
        .advice("write ClusterIP or NodePort, or remove it");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::issuer::testing::{check, solvers};

    fn ingress(ingress: &Value) -> Value {
        solvers(
            &json!([{"http01": {"ingress": {}}, "selector": {"dnsZones": ["a.test"]}}, {"http01": {"ingress": ingress}}]),
        )
    }

    fn gateway(gateway: &Value) -> Value {
        solvers(&json!([{"http01": {"gatewayHTTPRoute": gateway}}]))
    }

    #[test]
    fn both_ways_to_answer_are_looked_into_and_refused() {
        check(
            &solvers(
                &json!([{"http01": {"ingress": {"serviceType": "A"}, "gatewayHTTPRoute": {"serviceType": "B"}}}]),
            ),
            &[
                "I14 spec.acme.solvers[0].http01: Required value: both ingress and gatewayHTTPRoute are set; make one solver of each",
                "I17 spec.acme.solvers[0].http01.ingress.serviceType: Invalid value: \"A\": not a type of Service that solvers use; write ClusterIP or NodePort, or remove it",
                "I18 spec.acme.solvers[0].http01.gatewayHTTPRoute.serviceType: Invalid value: \"B\": not a type of Service that solvers use; write ClusterIP or NodePort, or remove it",
            ],
            &[],
        );
    }

    #[test]
    fn an_ingress_that_is_chosen_twice_is_refused() {
        let told = "I15 spec.acme.solvers[1].http01.ingress: Forbidden: more than one of ingressClassName, class and name is set; keep ingressClassName alone";
        check(&ingress(&json!({"class": "nginx", "ingressClassName": "nginx"})), &[told], &[]);
        check(&ingress(&json!({"class": "", "name": "web"})), &[told], &[]);
        check(&ingress(&json!({"class": "nginx", "ingressClassName": "nginx", "name": "web"})), &[told], &[]);
        check(&ingress(&json!({"class": "nginx", "name": ""})), &[], &[]);
    }

    #[test]
    fn a_class_that_no_ingress_class_can_have_is_refused() {
        for (class, advice) in [
            (
                "azure/application-gateway",
                "write class: \"azure/application-gateway\" instead of ingressClassName",
            ),
            ("Nginx_Internal", "write \"nginx-internal\""),
            ("", "name an IngressClass of the cluster"),
        ] {
            check(
                &ingress(&json!({"ingressClassName": class})),
                &[&format!(
                    "I16 spec.acme.solvers[1].http01.ingress.ingressClassName: Invalid value: {class:?}: not a name that Kubernetes accepts: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit; {advice}"
                )],
                &[],
            );
        }
        let long = "a".repeat(254);
        check(
            &ingress(&json!({"ingressClassName": long})),
            &[&format!(
                "I16 spec.acme.solvers[1].http01.ingress.ingressClassName: Invalid value: \"{}...: longer than 253 characters; name an IngressClass of the cluster",
                "a".repeat(119)
            )],
            &[],
        );
        check(&ingress(&json!({"class": "azure/application-gateway"})), &[], &[]);
    }

    #[test]
    fn the_first_parent_that_is_incomplete_is_refused_and_the_rest_is_not_looked_at() {
        check(
            &gateway(
                &json!({"parentRefs": [{"name": "a", "kind": "Gateway"}, {"kind": "Gateway"}, {"name": "b"}]}),
            ),
            &[
                "I19 spec.acme.solvers[0].http01.gatewayHTTPRoute.parentRefs[1].name: Required value: name the Gateway",
            ],
            &[],
        );
        check(
            &gateway(&json!({"parentRefs": [{"name": "a"}, {"kind": ""}]})),
            &[
                "I20 spec.acme.solvers[0].http01.gatewayHTTPRoute.parentRefs[0].kind: Required value: write Gateway, or the kind of the parent",
            ],
            &[],
        );
        check(
            &gateway(&json!({"parentRefs": [{"kind": ""}]})),
            &[
                "I19 spec.acme.solvers[0].http01.gatewayHTTPRoute.parentRefs[0].name: Required value: name the Gateway",
            ],
            &[],
        );
    }

    #[test]
    fn usual_solvers_are_accepted() {
        for value in [
            json!({}),
            json!({"class": "nginx"}),
            json!({"ingressClassName": "nginx"}),
            json!({"name": "web"}),
        ] {
            check(&ingress(&value), &[], &[]);
        }
        for service_type in ["", "ClusterIP", "NodePort"] {
            check(&ingress(&json!({"serviceType": service_type})), &[], &[]);
            check(&gateway(&json!({"serviceType": service_type})), &[], &[]);
        }
        check(&gateway(&json!({"parentRefs": []})), &[], &[]);
        check(&gateway(&json!({"parentRefs": [{"name": "web", "kind": "Gateway"}, {}]})), &[], &[]);
    }
}

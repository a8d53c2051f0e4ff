//! Rules about the pods, Ingresses and HTTPRoutes that solvers make.

use std::collections::BTreeMap;

use api::IssuerSpec;
use api::acme::pod_template::{PodTemplate, Resources};
use api::certificate::MetadataTemplate;

use super::quantity::Amount;
use super::{ISSUERS, http01};
use crate::case::Case;
use crate::finding::Fault;
use crate::name;
use crate::rule::{Check, Class, Findings};

pub(super) static RULES: &[Check<IssuerSpec>] = &[Check::new(
    "B20",
    ISSUERS,
    "spec.acme.solvers[*].http01",
    Class::Spec,
    "Labels, annotations and resources of what solvers make are such as Kubernetes accepts",
    |case, findings| {
        ingresses(case, findings);
        gateways(case, findings);
    },
)];

fn ingresses(case: &Case<'_, IssuerSpec>, findings: &mut Findings) {
    for (index, ingress) in http01::ingresses(case) {
        let place = Place { index, field: "ingress" };
        if let Some(metadata) =
            ingress.ingress_template.as_ref().and_then(|template| template.metadata.as_ref())
        {
            place.metadata("ingressTemplate.metadata", metadata, findings);
        }
        if let Some(template) = &ingress.pod_template {
            place.pod(template, findings);
        }
    }
}

fn gateways(case: &Case<'_, IssuerSpec>, findings: &mut Findings) {
    for (index, gateway) in http01::gateways(case) {
        let place = Place { index, field: "gatewayHTTPRoute" };
        place.labels("labels", &gateway.labels, findings);
        if let Some(template) = &gateway.pod_template {
            place.pod(template, findings);
        }
    }
}

/// One way to answer of one solver.
struct Place {
    index: usize,
    field: &'static str,
}

impl Place {
    fn path(&self, rest: &str) -> String {
        format!("spec.acme.solvers[{}].http01.{}.{rest}", self.index, self.field)
    }

    fn pod(&self, template: &PodTemplate, findings: &mut Findings) {
        if let Some(metadata) = &template.metadata {
            self.metadata("podTemplate.metadata", metadata, findings);
        }
        let Some(spec) = &template.spec else { return };
        self.labels("podTemplate.spec.nodeSelector", &spec.node_selector, findings);
        if let Some(resources) = &spec.resources {
            self.resources(resources, findings);
        }
    }

    fn metadata(&self, path: &str, metadata: &MetadataTemplate, findings: &mut Findings) {
        self.labels(&format!("{path}.labels"), &metadata.labels, findings);
        let annotations = || self.path(&format!("{path}.annotations"));
        for key in metadata.annotations.keys() {
            // As Kubernetes, which does not mind upper case here.
            for fault in name::qualified_name_faults(&key.to_lowercase()) {
                refuse(findings, annotations(), key, fault);
            }
        }
        if name::annotations_bytes(&metadata.annotations) > name::ANNOTATIONS_BYTES_MAX {
            findings
                .at(annotations(), Fault::TooLong)
                .detail(format!("more than {} bytes of annotations", name::ANNOTATIONS_BYTES_MAX))
                .advice("remove some");
        }
    }

    fn labels(&self, path: &str, labels: &BTreeMap<String, String>, findings: &mut Findings) {
        for (key, value) in labels {
            for fault in name::qualified_name_faults(key) {
                refuse(findings, self.path(path), key, fault);
            }
            for fault in name::label_value_faults(value) {
                refuse(findings, self.path(&format!("{path}[{key}]")), value, fault);
            }
        }
    }

    fn resources(&self, resources: &Resources, findings: &mut Findings) {
        let path = |list: &str, name: &str| self.path(&format!("podTemplate.spec.resources.{list}[{name}]"));
        for (list, quantities) in [("limits", &resources.limits), ("requests", &resources.requests)] {
            for (name, quantity) in quantities {
                let amount = Amount::parse(&quantity.0);
                if amount.is_none_or(Amount::is_negative) {
                    findings
                        .at(path(list, name), Fault::Invalid)
                        .value(quantity.0.as_str())
                        .detail("not an amount of a resource")
                        .advice("write a number with a unit, such as \"100m\" or \"64Mi\"");
                }
            }
        }
        for (name, request) in &resources.requests {
            let Some(limit) = resources.limits.get(name) else { continue };
            let (requested, limited) = (Amount::parse(&request.0), Amount::parse(&limit.0));
            if requested.zip(limited).is_some_and(|(requested, limited)| requested > limited) {
                findings
                    .at(path("requests", name), Fault::Invalid)
                    .value(request.0.as_str())
                    .detail(format!("more than the limit of {:?}", limit.0))
                    .advice("raise the limit, or request less");
            }
        }
    }
}

fn refuse(findings: &mut Findings, path: String, value: &str, fault: &'static str) {
    findings.at(path, Fault::Invalid).value(value).detail(fault).advice("write one that Kubernetes accepts");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::issuer::testing::{check, solvers};

    fn check_answer(http01: &Value, wanted: &[&str]) {
        let wanted: Vec<String> =
            wanted.iter().map(|told| format!("B20 spec.acme.solvers[0].http01.{told}")).collect();
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        check(&solvers(&json!([{"http01": http01}])), &wanted, &[]);
    }

    #[test]
    fn resources_that_no_pod_can_have_are_refused() {
        let with = |resources: Value| json!({"ingress": {"podTemplate": {"spec": {"resources": resources}}}});
        check_answer(
            &with(json!({"limits": {"cpu": "100 m"}, "requests": {"memory": "-1Mi", "cpu": "1"}})),
            &[
                "ingress.podTemplate.spec.resources.limits[cpu]: Invalid value: \"100 m\": not an amount of a resource; write a number with a unit, such as \"100m\" or \"64Mi\"",
                "ingress.podTemplate.spec.resources.requests[memory]: Invalid value: \"-1Mi\": not an amount of a resource; write a number with a unit, such as \"100m\" or \"64Mi\"",
            ],
        );
        check_answer(
            &with(json!({"limits": {"memory": "64M"}, "requests": {"memory": "64Mi"}})),
            &[
                "ingress.podTemplate.spec.resources.requests[memory]: Invalid value: \"64Mi\": more than the limit of \"64M\"; raise the limit, or request less",
            ],
        );
        check_answer(
            &with(json!({"limits": {"cpu": "100m"}, "requests": {"cpu": "0.1", "memory": "1Gi"}})),
            &[],
        );
    }

    #[test]
    fn labels_and_annotations_that_kubernetes_refuses_are_refused() {
        let key = "the name has other characters than letters, digits, '-', '_' and '.', or does not begin and end with a letter or digit; write one that Kubernetes accepts";
        let value = "the value has other characters than letters, digits, '-', '_' and '.', or does not begin and end with a letter or digit; write one that Kubernetes accepts";
        check_answer(
            &json!({"ingress": {
                "ingressTemplate": {"metadata": {"labels": {"a b": "c"}, "annotations": {"d e": ""}}},
                "podTemplate": {"metadata": {"labels": {"a": "b c"}, "annotations": {"-": ""}}, "spec": {"nodeSelector": {"a": "b/c"}}},
            }}),
            &[
                &format!("ingress.ingressTemplate.metadata.labels: Invalid value: \"a b\": {key}"),
                &format!("ingress.ingressTemplate.metadata.annotations: Invalid value: \"d e\": {key}"),
                &format!("ingress.podTemplate.metadata.labels[a]: Invalid value: \"b c\": {value}"),
                &format!("ingress.podTemplate.metadata.annotations: Invalid value: \"-\": {key}"),
                &format!("ingress.podTemplate.spec.nodeSelector[a]: Invalid value: \"b/c\": {value}"),
            ],
        );
        check_answer(
            &json!({"gatewayHTTPRoute": {"labels": {"a": "-"}, "podTemplate": {"metadata": {"labels": {"-": ""}}}}}),
            &[
                &format!("gatewayHTTPRoute.labels[a]: Invalid value: \"-\": {value}"),
                &format!("gatewayHTTPRoute.podTemplate.metadata.labels: Invalid value: \"-\": {key}"),
            ],
        );
        check_answer(
            &json!({"ingress": {"ingressTemplate": {"metadata": {"annotations": {"a": "b".repeat(262_144)}}}}}),
            &[
                "ingress.ingressTemplate.metadata.annotations: Too long: more than 262144 bytes of annotations; remove some",
            ],
        );
    }

    #[test]
    fn usual_templates_are_accepted() {
        check_answer(
            &json!({"ingress": {
                "ingressTemplate": {"metadata": {"annotations": {"nginx.ingress.kubernetes.io/ssl-redirect": "false", "Upper.example.com/a": "any / text"}}},
                "podTemplate": {"metadata": {"labels": {"app.kubernetes.io/name": ""}}, "spec": {"nodeSelector": {"kubernetes.io/os": "linux"}}},
            }}),
            &[],
        );
    }
}

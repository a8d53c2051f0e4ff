//! Rules about which solver is used for which name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api::IssuerSpec;
use api::acme::solver::{AcmeSolver, SolverSelector};

use super::{ISSUERS, indexed, solver};
use crate::case::Case;
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings};
use crate::{dns, name};

pub(super) static RULES: &[Check<IssuerSpec>] = &[Check::new(
    "B19",
    ISSUERS,
    "spec.acme.solvers[*].selector",
    Class::Advice,
    "Every solver can be chosen: its labels, names and zones can exist, and no earlier one is for the same",
    |case, findings| {
        for (index, solver) in solver::all(case) {
            if let Some(selector) = &solver.selector {
                can_match(selector, index, findings);
            }
        }
        none_is_shadowed(case, findings);
    },
)];

fn can_match(selector: &SolverSelector, index: usize, findings: &mut Findings) {
    for (key, value) in &selector.match_labels {
        let fault = name::qualified_name_faults(key).chain(name::label_value_faults(value)).next();
        if fault.is_some() {
            findings
                .at(indexed("spec.acme.solvers[*].selector.matchLabels", &[index]), Fault::Invalid)
                .value(format!("{key}={value}"))
                .detail("no label can be so");
        }
    }
    for (path, names, fault) in [
        ("spec.acme.solvers[*].selector.dnsNames[*]", &selector.dns_names, dns::fault as fn(&str) -> _),
        ("spec.acme.solvers[*].selector.dnsZones[*]", &selector.dns_zones, dns::host_fault),
    ] {
        for (inner, name) in names.iter().enumerate() {
            if let Some(fault) = fault(name) {
                let finding = findings
                    .at(indexed(path, &[index, inner]), Fault::Invalid)
                    .value(name.as_str())
                    .detail(fault);
                let zone = name.strip_prefix("*.").filter(|_| path.contains("dnsZones")).unwrap_or(name);
                if let Some(similar) = dns::similar(zone) {
                    finding.advice(format!("write {similar:?}"));
                }
            }
        }
    }
}

/// What a solver is for, without regard to order, and whether it answers by DNS-01.
type Choice<'a> = (Option<&'a BTreeMap<String, String>>, BTreeSet<&'a str>, BTreeSet<&'a str>, bool);

/// Of solvers of one kind for the same names the first is used. One of the other kind has its use beside it: only DNS-01
/// proves wildcards, and only HTTP-01 proves IP addresses (RFC 8738 §7).
fn none_is_shadowed(case: &Case<'_, IssuerSpec>, findings: &mut Findings) {
    let mut first: HashMap<Choice<'_>, usize> = HashMap::new();
    // Those of both kinds or of none break I10 and I11.
    for (index, solver) in solver::all(case).filter(|(_, one)| one.http01.is_some() != one.dns01.is_some()) {
        let earlier = *first.entry(choice(solver)).or_insert(index);
        if earlier != index {
            findings
                .at(indexed("spec.acme.solvers[*]", &[index]), Fault::Duplicate)
                .detail(format!("never used: solvers[{earlier}] is for the same names"))
                .advice("change a selector or remove one");
        }
    }
}

fn choice(solver: &AcmeSolver) -> Choice<'_> {
    let is_dns01 = solver.dns01.is_some();
    let Some(selector) = &solver.selector else { return (None, BTreeSet::new(), BTreeSet::new(), is_dns01) };
    let labels = Some(&selector.match_labels).filter(|labels| !labels.is_empty());
    (labels, set(&selector.dns_names), set(&selector.dns_zones), is_dns01)
}

fn set(texts: &[String]) -> BTreeSet<&str> {
    texts.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::issuer::testing::{check, solvers};

    fn http01(selector: &Value) -> Value {
        json!({"http01": {"ingress": {}}, "selector": selector})
    }

    fn dns01(selector: &Value) -> Value {
        json!({"dns01": {"route53": {}}, "selector": selector})
    }

    fn told(index: usize, earlier: usize) -> String {
        format!(
            "B19 spec.acme.solvers[{index}]: Duplicate value: never used: solvers[{earlier}] is for the same names; change a selector or remove one"
        )
    }

    #[test]
    fn selectors_that_match_nothing_are_a_warning() {
        check(
            &solvers(&json!([http01(&json!({
                "matchLabels": {"a": "b c", "-": "d"},
                "dnsNames": ["a.test.", "*.b.test"],
                "dnsZones": ["*.c.test", "d_e.test", ".f.test"],
            }))])),
            &[],
            &[
                "B19 spec.acme.solvers[0].selector.matchLabels: Invalid value: \"-=d\": no label can be so",
                "B19 spec.acme.solvers[0].selector.matchLabels: Invalid value: \"a=b c\": no label can be so",
                "B19 spec.acme.solvers[0].selector.dnsNames[0]: Invalid value: \"a.test.\": it ends with a dot; write \"a.test\"",
                "B19 spec.acme.solvers[0].selector.dnsZones[0]: Invalid value: \"*.c.test\": no wildcard is possible; write \"c.test\"",
                "B19 spec.acme.solvers[0].selector.dnsZones[2]: Invalid value: \".f.test\": a label between the dots is empty",
            ],
        );
    }

    #[test]
    fn a_solver_behind_another_for_the_same_names_is_a_warning() {
        let empty = json!({});
        check(
            &solvers(&json!([http01(&Value::Null), http01(&empty), http01(&json!({"dnsNames": []}))])),
            &[],
            &[&told(1, 0), &told(2, 0)],
        );
        check(&solvers(&json!([dns01(&empty), http01(&empty), dns01(&empty)])), &[], &[&told(2, 0)]);
        let (one, other) =
            (json!({"dnsZones": ["a.test", "b.test"]}), json!({"dnsZones": ["b.test", "a.test"]}));
        check(&solvers(&json!([dns01(&empty), dns01(&one), dns01(&other)])), &[], &[&told(2, 1)]);
    }

    #[test]
    fn solvers_that_have_each_their_use_are_accepted() {
        let empty = json!({});
        check(&solvers(&json!([http01(&empty), dns01(&empty)])), &[], &[]);
        check(&solvers(&json!([dns01(&empty), http01(&empty)])), &[], &[]);
        check(
            &solvers(&json!([
                dns01(&empty),
                http01(&json!({"matchLabels": {"use": "http"}})),
                http01(&json!({"dnsNames": ["a.test"]})),
                http01(&json!({"dnsZones": ["a.test"]})),
            ])),
            &[],
            &[],
        );
    }
}

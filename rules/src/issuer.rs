//! Rules of Issuer and ClusterIssuer, which share one spec.
//!
//! An issuer of several types is refused, and only the first of them is looked into.

mod acme;
mod advice;
mod ca;
mod dns01;
mod host_range;
mod http01;
mod pod;
mod quantity;
mod secret;
mod selection;
mod selector;
mod server;
mod solver;
#[cfg(test)]
mod testing;
mod trust;
mod vault;
mod venafi;

use api::acme::issuer::AcmeIssuer;
use api::issuer::{CaIssuer, SelfSignedIssuer};
use api::vault::VaultIssuer;
use api::venafi::VenafiIssuer;
use api::{IssuerSpec, IssuerStatus, IssuerType};

pub use self::host_range::{HostRange, HostRangeError};
use crate::case::{Case, Judged};
use crate::finding::Fault;
use crate::lifetime;
use crate::rule::{Check, Class, Findings, Kind};

const ISSUERS: &[Kind] = &[Kind::Issuer, Kind::ClusterIssuer];

impl Judged for IssuerSpec {
    type Status = IssuerStatus;

    fn tables() -> &'static [&'static [Check<Self>]] {
        TABLES
    }

    fn same(&self, other: &Self) -> bool {
        self == other || canonical(self) == canonical(other)
    }
}

static TABLES: &[&[Check<IssuerSpec>]] = &[
    RULES,
    acme::RULES,
    solver::RULES,
    http01::RULES,
    dns01::RULES,
    dns01::akamai::RULES,
    dns01::provider::RULES,
    dns01::azure::RULES,
    dns01::various::RULES,
    dns01::rfc2136::RULES,
    ca::RULES,
    vault::RULES,
    vault::auth::RULES,
    venafi::RULES,
    server::RULES,
    trust::RULES,
    secret::RULES,
    selection::RULES,
    pod::RULES,
    advice::RULES,
];

/// A row about the spec that cert-manager has too.
const fn spec(
    id: &'static str,
    path: &'static str,
    summary: &'static str,
    evaluate: fn(&Case<'_, IssuerSpec>, &mut Findings),
) -> Check<IssuerSpec> {
    Check::new(id, ISSUERS, path, Class::Spec, summary, evaluate)
}

/// `path` with an index instead of each `[*]`.
fn indexed(path: &str, indexes: &[usize]) -> String {
    let mut parts = path.split("[*]");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (part, index) in parts.zip(indexes) {
        text.push_str(&format!("[{index}]"));
        text.push_str(part);
    }
    text
}

/// The issuer's own type, where that is ACME.
fn acme<'a>(case: &Case<'a, IssuerSpec>) -> Option<&'a AcmeIssuer> {
    case.object.spec.acme.as_ref()
}

/// The issuer's own type, where that is CA.
fn ca<'a>(case: &Case<'a, IssuerSpec>) -> Option<&'a CaIssuer> {
    case.object.spec.ca.as_ref().filter(|_| acme(case).is_none())
}

/// The issuer's own type, where that is SelfSigned.
fn self_signed<'a>(case: &Case<'a, IssuerSpec>) -> Option<&'a SelfSignedIssuer> {
    let spec = &case.object.spec;
    spec.self_signed.as_ref().filter(|_| acme(case).is_none() && spec.ca.is_none())
}

/// The issuer's own type, where that is Vault.
fn vault<'a>(case: &Case<'a, IssuerSpec>) -> Option<&'a VaultIssuer> {
    let spec = &case.object.spec;
    spec.vault.as_ref().filter(|_| acme(case).is_none() && spec.ca.is_none() && spec.self_signed.is_none())
}

/// The issuer's own type, where that is Venafi.
fn venafi<'a>(case: &Case<'a, IssuerSpec>) -> Option<&'a VenafiIssuer> {
    let spec = &case.object.spec;
    let first =
        acme(case).is_none() && spec.ca.is_none() && spec.self_signed.is_none() && spec.vault.is_none();
    spec.venafi.as_ref().filter(|_| first)
}

static RULES: &[Check<IssuerSpec>] = &[
    spec("I01", "spec", "The issuer has a type", |case, findings| {
        if case.object.spec.types().is_empty() {
            findings.here(Fault::Required).advice(format!("set one of {}", fields()));
        }
    }),
    spec("I02", "spec", "The issuer has one type only", one_type),
];

/// The first type counts; each further one is refused and not looked into.
fn one_type(case: &Case<'_, IssuerSpec>, findings: &mut Findings) {
    let types = case.object.spec.types();
    let Some((first, further)) = types.split_first() else {
        return;
    };
    for type_ in further {
        findings
            .at(format!("spec.{}", type_.field()), Fault::Forbidden)
            .detail(format!("the issuer is of type {} already", first.field()))
            .advice("remove one, or make an issuer of each");
    }
}

/// The spec with its durations in one form.
fn canonical(spec: &IssuerSpec) -> IssuerSpec {
    let mut spec = spec.clone();
    for solver in spec.acme.iter_mut().flat_map(|acme| &mut acme.solvers) {
        lifetime::canonicalise(&mut solver.wait_instead_of_self_check);
    }
    spec
}

fn fields() -> String {
    let fields: Vec<&str> = IssuerType::ALL.iter().map(|type_| type_.field()).collect();
    fields.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::testing::check;
    use super::*;

    #[test]
    fn an_issuer_without_a_type_is_refused() {
        check(&json!({}), &["I01 spec: Required value: set one of acme, ca, selfSigned, vault, venafi"], &[]);
    }

    #[test]
    fn an_issuer_of_several_types_is_refused_and_the_later_ones_are_not_looked_into() {
        check(
            &json!({"selfSigned": {}, "ca": {"secretName": "ca"}}),
            &[
                "I02 spec.selfSigned: Forbidden: the issuer is of type ca already; remove one, or make an issuer of each",
            ],
            &[],
        );
        check(
            &json!({"ca": {"secretName": "ca"}, "vault": {}, "venafi": {}}),
            &[
                "I02 spec.vault: Forbidden: the issuer is of type ca already; remove one, or make an issuer of each",
                "I02 spec.venafi: Forbidden: the issuer is of type ca already; remove one, or make an issuer of each",
            ],
            &[],
        );
    }

    #[test]
    fn an_issuer_of_one_type_is_accepted() {
        check(&json!({"selfSigned": {}}), &[], &[]);
        check(&json!({"ca": {"secretName": "ca"}}), &[], &[]);
    }

    #[test]
    fn every_rule_is_about_a_field_that_exists() {
        let crds = api::crd::all();
        let crd = crds.iter().find(|crd| crd["spec"]["names"]["kind"] == "Issuer").unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for rule in IssuerSpec::tables().iter().copied().flatten().flat_map(Check::rules) {
            let path = rule.path;
            let field = path.split('.').fold(schema, |node, part| match part.strip_suffix("[*]") {
                Some(list) => &node["properties"][list]["items"],
                None => &node["properties"][part],
            });
            assert!(field["type"].is_string(), "{} is about {path:?}", rule.id);
        }
    }

    #[test]
    fn a_waiting_time_in_another_form_is_no_change_of_the_spec() {
        let with = |wait: &str| -> IssuerSpec {
            let solver = json!({"http01": {"ingress": {}}, "waitInsteadOfSelfCheck": wait});
            serde_json::from_value(json!({"acme": {"solvers": [solver]}})).unwrap()
        };
        assert!(!with("1m").same(&with("2m")));
        assert!(!with("1d").same(&with("24h")));
        assert!(with("1m").same(&with("60s")));
    }
}

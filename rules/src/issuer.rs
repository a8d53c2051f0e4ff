//! Rules of Issuer and ClusterIssuer, which share one spec.

use api::{IssuerSpec, IssuerStatus, IssuerType};

use crate::case::{Case, Judged};
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings, Kind};

const ISSUERS: &[Kind] = &[Kind::Issuer, Kind::ClusterIssuer];

impl Judged for IssuerSpec {
    type Status = IssuerStatus;

    fn tables() -> &'static [&'static [Check<Self>]] {
        TABLES
    }
}

static TABLES: &[&[Check<IssuerSpec>]] = &[RULES];

static RULES: &[Check<IssuerSpec>] = &[
    Check::new("I01", ISSUERS, "spec", Class::Spec, "The issuer has a type", |case, findings| {
        if case.object.spec.types().is_empty() {
            findings.here(Fault::Required).advice(format!("set one of {}", fields()));
        }
    }),
    Check::new("I02", ISSUERS, "spec", Class::Spec, "The issuer has one type only", one_type),
    Check::new(
        "I-W1",
        ISSUERS,
        "spec.acme.externalAccountBinding.keyAlgorithm",
        Class::Advice,
        "The algorithm of an external account binding is not set: it is ignored",
        |case, findings| {
            let binding =
                case.object.spec.acme.as_ref().and_then(|acme| acme.external_account_binding.as_ref());
            if let Some(algorithm) = binding.and_then(|binding| binding.key_algorithm.as_ref()) {
                findings.here(Fault::Invalid).value(algorithm.as_str()).detail("ignored").advice("remove it");
            }
        },
    ),
    Check::new(
        "I58",
        ISSUERS,
        "spec.ca.secretName",
        Class::Spec,
        "The Secret with the CA is named",
        |case, findings| {
            let first = case.object.spec.types().first() == Some(&IssuerType::Ca);
            let unnamed = case.object.spec.ca.as_ref().is_some_and(|ca| ca.secret_name.is_empty());
            if first && unnamed {
                findings
                    .here(Fault::Required)
                    .advice("name the Secret that holds the CA under tls.crt and tls.key");
            }
        },
    ),
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

fn fields() -> String {
    let fields: Vec<&str> = IssuerType::ALL.iter().map(|type_| type_.field()).collect();
    fields.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::case::Object;
    use crate::finding::Finding;
    use crate::judge;

    fn check(spec: &Value, denials: &[&str], warnings: &[&str]) {
        let object: Object<IssuerSpec> = serde_json::from_value(json!({"spec": spec})).unwrap();
        let verdict = judge(&Case::create(&object));
        let told = |findings: &[Finding]| -> Vec<String> {
            findings.iter().map(|finding| format!("{} {finding}", finding.rule.id)).collect()
        };
        assert_eq!(told(&verdict.denials), denials, "denials for {spec}");
        assert_eq!(told(&verdict.warnings), warnings, "warnings for {spec}");
    }

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
            &json!({"acme": {}, "ca": {}, "venafi": {}}),
            &[
                "I02 spec.ca: Forbidden: the issuer is of type acme already; remove one, or make an issuer of each",
                "I02 spec.venafi: Forbidden: the issuer is of type acme already; remove one, or make an issuer of each",
            ],
            &[],
        );
    }

    #[test]
    fn a_ca_issuer_without_a_secret_is_refused() {
        check(
            &json!({"ca": {}}),
            &[
                "I58 spec.ca.secretName: Required value: name the Secret that holds the CA under tls.crt and tls.key",
            ],
            &[],
        );
    }

    #[test]
    fn an_ignored_field_is_a_warning() {
        check(
            &json!({"acme": {"externalAccountBinding": {"keyAlgorithm": "HS256"}}}),
            &[],
            &[
                "I-W1 spec.acme.externalAccountBinding.keyAlgorithm: Invalid value: \"HS256\": ignored; remove it",
            ],
        );
    }

    #[test]
    fn an_issuer_of_one_type_is_accepted() {
        check(&json!({"selfSigned": {}}), &[], &[]);
        check(&json!({"ca": {"secretName": "ca"}}), &[], &[]);
    }
}

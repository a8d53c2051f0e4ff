//! Rules about name constraints, and about object identifiers.

use api::CertificateSpec;
use api::certificate::{NameConstraintItem, NameConstraints};
use issuance::constraint::{ConstraintError, IpRange};
use issuance::name::check_object_identifier;

use super::{CERTIFICATE, names};
use crate::case::Case;
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings};
use crate::{dns, email};

pub(super) static RULES: &[Check<CertificateSpec>] = &[
    Check::new(
        "C37",
        CERTIFICATE,
        "spec.nameConstraints",
        Class::Spec,
        "Name constraints need the feature gate NameConstraints",
        |case, findings| {
            if case.object.spec.name_constraints.is_some() && !case.context.settings.name_constraints {
                findings
                    .here(Fault::Forbidden)
                    .detail("name constraints are switched off")
                    .advice("leave them out, or ask for the gate NameConstraints");
            }
        },
    ),
    Check::new(
        "C38",
        CERTIFICATE,
        "spec.nameConstraints",
        Class::Spec,
        "Name constraints are a CA's",
        |case, findings| {
            if constraints(case).is_some() && !case.object.spec.is_ca {
                findings
                    .here(Fault::Invalid)
                    .detail("only a CA has name constraints")
                    .advice("set spec.isCA, or leave them out");
            }
        },
    ),
    Check::new(
        "C39",
        CERTIFICATE,
        "spec.nameConstraints",
        Class::Spec,
        "Name constraints permit or exclude something",
        |case, findings| {
            let is_empty = |constraints: &NameConstraints| {
                constraints.permitted.is_none() && constraints.excluded.is_none()
            };
            if constraints(case).is_some_and(is_empty) {
                findings
                    .here(Fault::Invalid)
                    .detail("nothing is permitted or excluded")
                    .advice("set permitted or excluded, or leave them out");
            }
        },
    ),
    Check::new(
        "C40",
        CERTIFICATE,
        "spec.nameConstraints",
        Class::Spec,
        "Ranges of IP addresses are in CIDR notation",
        ip_ranges_are_valid,
    ),
    Check::new(
        "B13",
        CERTIFICATE,
        "spec.nameConstraints",
        Class::Spec,
        "Domains and addresses of name constraints have the syntax of RFC 5280, and object identifiers real arcs",
        |case, findings| {
            names_are_valid(case, findings);
            object_identifiers_are_real(case, findings);
        },
    ),
];

/// The name constraints; none where the gate is off, which C37 tells.
fn constraints<'a>(case: &Case<'a, CertificateSpec>) -> Option<&'a NameConstraints> {
    case.object.spec.name_constraints.as_ref().filter(|_| case.context.settings.name_constraints)
}

/// What is permitted and what is excluded, with the fields' names.
fn items<'a>(
    case: &Case<'a, CertificateSpec>,
) -> impl Iterator<Item = (&'static str, &'a NameConstraintItem)> {
    let constraints = constraints(case);
    let permitted = constraints.and_then(|constraints| Some(("permitted", constraints.permitted.as_ref()?)));
    let excluded = constraints.and_then(|constraints| Some(("excluded", constraints.excluded.as_ref()?)));
    permitted.into_iter().chain(excluded)
}

/// C40.
fn ip_ranges_are_valid(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    for (member, item) in items(case) {
        for (index, text) in item.ip_ranges.iter().enumerate() {
            let Err(error) = text.parse::<IpRange>() else { continue };
            let detail = match error {
                ConstraintError::IpRange { reason, .. } => reason.to_owned(),
                other => other.to_string(),
            };
            let finding = findings
                .at(format!("spec.nameConstraints.{member}.ipRanges[{index}]"), Fault::Invalid)
                .value(text.as_str())
                .detail(detail);
            match text.parse::<std::net::IpAddr>() {
                Ok(address) if address.is_ipv4() => finding.advice(format!("write \"{address}/32\"")),
                Ok(address) => finding.advice(format!("write \"{address}/128\"")),
                Err(_) => finding.advice("write a range such as \"192.0.2.0/24\" or \"2001:db8::/32\""),
            };
        }
    }
}

/// B13, names.
fn names_are_valid(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    for (member, item) in items(case) {
        let mut check = |field: &str, values: &[String], fault: fn(&str) -> Option<&'static str>| {
            for (index, value) in values.iter().enumerate() {
                let Some(fault) = fault(value) else { continue };
                let finding = findings
                    .at(format!("spec.nameConstraints.{member}.{field}[{index}]"), Fault::Invalid)
                    .value(value.as_str())
                    .detail(fault);
                let domain = value.strip_prefix("*.").unwrap_or(value);
                if let Some(similar) = dns::similar(domain).filter(|similar| similar != value) {
                    finding.advice(format!("write {similar:?}"));
                }
            }
        };
        check("dnsDomains", &item.dns_domains, domain_fault);
        check("emailAddresses", &item.email_addresses, |text| {
            if text.contains('@') {
                let is_sound = email::is_bare(text) && text.is_ascii();
                (!is_sound).then_some("neither an e-mail address in ASCII nor a domain")
            } else {
                domain_fault(text)
            }
        });
        check("uriDomains", &item.uri_domains, |text| {
            if text.parse::<std::net::IpAddr>().is_ok() {
                return Some("an IP address; constraints on URIs name domains");
            }
            domain_fault(text)
        });
    }
}

/// A domain; one that begins with a dot stands for what is below it, and an empty one for all.
fn domain_fault(text: &str) -> Option<&'static str> {
    if text.is_empty() { None } else { dns::host_fault(text.strip_prefix('.').unwrap_or(text)) }
}

/// B13, object identifiers. What is no row of numbers is C18's.
fn object_identifiers_are_real(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    for (index, name) in names::other_names(case) {
        let Some(oid) = name.oid.as_deref().filter(|oid| names::is_dotted_integers(oid)) else { continue };
        if check_object_identifier(oid).is_err() {
            findings
                .at(format!("spec.otherNames[{index}].oid"), Fault::Invalid)
                .value(oid)
                .detail("not an object identifier: two numbers at least, the first at most 2, the second at most 39")
                .advice("write one such as \"1.3.6.1.4.1.311.20.2.3\"");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{check, check_in};
    use crate::case::{Context, Settings};

    fn with(constraints: &Value) -> Value {
        json!({"isCA": true, "nameConstraints": constraints})
    }

    #[test]
    fn name_constraints_without_their_gate_are_refused_and_not_looked_at() {
        let settings = Settings { name_constraints: false, ..Settings::DEFAULT };
        let context = Context { settings: &settings, ..Context::default() };
        let forbidden = "C37 spec.nameConstraints: Forbidden: name constraints are switched off; leave them out, or ask for the gate NameConstraints";
        check_in(context, &json!({"nameConstraints": {}}), &[forbidden], &[]);
        check_in(context, &json!({}), &[], &[]);
    }

    #[test]
    fn name_constraints_are_a_cas_and_constrain_something() {
        check(
            &json!({"nameConstraints": {}}),
            &[
                "C38 spec.nameConstraints: Invalid value: only a CA has name constraints; set spec.isCA, or leave them out",
                "C39 spec.nameConstraints: Invalid value: nothing is permitted or excluded; set permitted or excluded, or leave them out",
            ],
        );
        check(&with(&json!({"permitted": {}})), &[]);
    }

    #[test]
    fn ranges_of_addresses_are_in_cidr_notation() {
        let refused = |path: &str, value: &str, told: &str| {
            format!("C40 spec.nameConstraints.{path}: Invalid value: {value:?}: {told}")
        };
        check(
            &with(&json!({"permitted": {"ipRanges": ["192.0.2.1", "192.0.2.0/33"]},
                          "excluded": {"ipRanges": ["::1", "a/8"]}})),
            &[
                &refused(
                    "permitted.ipRanges[0]",
                    "192.0.2.1",
                    "it has no prefix length; write \"192.0.2.1/32\"",
                ),
                &refused(
                    "permitted.ipRanges[1]",
                    "192.0.2.0/33",
                    "the prefix of IPv4 has at most 32 bits; write a range such as \"192.0.2.0/24\" or \"2001:db8::/32\"",
                ),
                &refused("excluded.ipRanges[0]", "::1", "it has no prefix length; write \"::1/128\""),
                &refused(
                    "excluded.ipRanges[1]",
                    "a/8",
                    "it does not begin with an address; write a range such as \"192.0.2.0/24\" or \"2001:db8::/32\"",
                ),
            ],
        );
        check(&with(&json!({"permitted": {"ipRanges": ["192.0.2.0/24", "::/0"]}})), &[]);
    }

    #[test]
    fn names_in_constraints_have_the_syntax_of_the_standard() {
        let refused = |path: &str, value: &str, told: &str| {
            format!("B13 spec.nameConstraints.{path}: Invalid value: {value:?}: {told}")
        };
        check(
            &with(&json!({"permitted": {"dnsDomains": ["*.a.test", "a..test"],
                                        "emailAddresses": ["a b@a.test", "https://a.test"],
                                        "uriDomains": ["https://a.test/", "192.0.2.1"]}})),
            &[
                &refused("permitted.dnsDomains[0]", "*.a.test", "no wildcard is possible; write \"a.test\""),
                &refused("permitted.dnsDomains[1]", "a..test", "a label between the dots is empty"),
                &refused(
                    "permitted.emailAddresses[0]",
                    "a b@a.test",
                    "neither an e-mail address in ASCII nor a domain",
                ),
                &refused(
                    "permitted.emailAddresses[1]",
                    "https://a.test",
                    "it contains other characters than letters, digits, '-', '_' and '.'; write \"a.test\"",
                ),
                &refused(
                    "permitted.uriDomains[0]",
                    "https://a.test/",
                    "it contains other characters than letters, digits, '-', '_' and '.'; write \"a.test\"",
                ),
                &refused(
                    "permitted.uriDomains[1]",
                    "192.0.2.1",
                    "an IP address; constraints on URIs name domains",
                ),
            ],
        );
        check(
            &with(&json!({"excluded": {"dnsDomains": ["a.test", ".a.test", ""],
                                       "emailAddresses": ["a@a.test", "a.test", ".a.test"],
                                       "uriDomains": ["a.test", ".a.test"]}})),
            &[],
        );
    }

    #[test]
    fn object_identifiers_have_real_arcs() {
        for oid in ["1", "3.1", "1.40", "-1.2", "1.02"] {
            let refused = format!(
                "B13 spec.otherNames[0].oid: Invalid value: {oid:?}: not an object identifier: two numbers at least, the first at most 2, the second at most 39; write one such as \"1.3.6.1.4.1.311.20.2.3\""
            );
            check(&json!({"otherNames": [{"oid": oid, "utf8Value": "a"}]}), &[&refused]);
        }
    }
}

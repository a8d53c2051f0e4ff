//! Rules about subject alternative names.

use std::net::IpAddr;

use api::CertificateSpec;
use api::certificate::OtherName;

use super::{CERTIFICATE, repeated, uris};
use crate::case::Case;
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings};
use crate::{dns, email};

pub(super) static RULES: &[Check<CertificateSpec>] = &[
    Check::new(
        "C13",
        CERTIFICATE,
        "spec.ipAddresses",
        Class::Spec,
        "IP addresses can be read: no zones, ports, ranges or leading zeros",
        ip_addresses_are_valid,
    ),
    Check::new(
        "C14",
        CERTIFICATE,
        "spec.emailAddresses",
        Class::Spec,
        "E-mail addresses follow RFC 5322",
        |case, findings| email_addresses_are_valid(case, Surroundings::None, findings),
    ),
    Check::new(
        "C15",
        CERTIFICATE,
        "spec.emailAddresses",
        Class::Spec,
        "E-mail addresses are bare, without a name or angle brackets",
        |case, findings| email_addresses_are_valid(case, Surroundings::Some, findings),
    ),
    // cert-manager writes `spec.OtherNames`; this is the field's real path.
    Check::new(
        "C16",
        CERTIFICATE,
        "spec.otherNames",
        Class::Spec,
        "Other names need the feature gate OtherNames",
        |case, findings| {
            if !case.object.spec.other_names.is_empty() && !case.context.settings.other_names {
                findings
                    .here(Fault::Forbidden)
                    .detail("other names are switched off")
                    .advice("leave them out, or ask for the gate OtherNames");
            }
        },
    ),
    Check::new(
        "C17",
        CERTIFICATE,
        "spec.otherNames",
        Class::Spec,
        "Other names have a type",
        |case, findings| {
            for (index, _) in other_names(case).filter(|(_, name)| name.oid.is_none()) {
                findings.at(format!("spec.otherNames[{index}].oid"), Fault::Required).advice(
                    "write the object identifier of the name's type, such as \"1.3.6.1.4.1.311.20.2.3\"",
                );
            }
        },
    ),
    Check::new(
        "C18",
        CERTIFICATE,
        "spec.otherNames",
        Class::Spec,
        "The type of another name is numbers with dots between them (an empty one is C17's alone; what else real object \
         identifiers need is B13's)",
        other_name_types_are_numbers,
    ),
    Check::new(
        "C19",
        CERTIFICATE,
        "spec.otherNames",
        Class::Spec,
        "Other names have a text",
        |case, findings| {
            for (index, _) in other_names(case).filter(|(_, name)| name.utf8_value.is_none()) {
                findings
                    .at(format!("spec.otherNames[{index}].utf8Value"), Fault::Required)
                    .advice("write the name as text, such as \"user@example.com\"");
            }
        },
    ),
    Check::new(
        "B01",
        CERTIFICATE,
        "spec.dnsNames",
        Class::Spec,
        "DNS names are in ASCII: labels of letters, digits, '-' and '_' of at most 63 characters, 253 in all; a '*' \
         stands for the whole first label only",
        dns_names_are_valid,
    ),
    Check::new(
        "B02",
        CERTIFICATE,
        "spec",
        Class::Spec,
        "No DNS name (in any case), IP address (however it is written), URI, e-mail address or usage is listed twice",
        repeated::none_is_repeated,
    ),
    Check::new(
        "B03",
        CERTIFICATE,
        "spec.uris",
        Class::Spec,
        "URIs are absolute, SPIFFE IDs as their standard has them; e-mail addresses are in ASCII as certificates need it",
        |case, findings| {
            uris::are_valid(case, findings);
            for (index, address) in case.object.spec.email_addresses.iter().enumerate() {
                if !address.is_ascii() && email::is_bare(address) {
                    findings
                        .at(format!("spec.emailAddresses[{index}]"), Fault::Invalid)
                        .value(address.as_str())
                        .detail("certificates hold addresses in ASCII only")
                        .advice("write the domain with A-labels (RFC 5891)");
                }
            }
        },
    ),
];

/// The other names with their indices; none where the gate is off, which C16 tells.
pub(super) fn other_names<'a>(
    case: &Case<'a, CertificateSpec>,
) -> impl Iterator<Item = (usize, &'a OtherName)> {
    let is_on = case.context.settings.other_names;
    case.object.spec.other_names.iter().enumerate().filter(move |_| is_on)
}

/// C13.
fn ip_addresses_are_valid(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    for (index, text) in case.object.spec.ip_addresses.iter().enumerate() {
        if text.parse::<IpAddr>().is_ok() {
            continue;
        }
        let finding = findings.at(format!("spec.ipAddresses[{index}]"), Fault::Invalid);
        finding.value(text.as_str()).detail("not an IP address");
        let address = text.split(['/', '%']).next().unwrap_or_default();
        let address = address.trim().trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = address.parse::<IpAddr>() {
            finding.advice(format!("write \"{address}\""));
        } else if dns::fault(text).is_none() && text.contains(|c: char| c.is_ascii_alphabetic()) {
            finding.advice("put host names into spec.dnsNames");
        } else {
            finding.advice("write an address such as \"192.0.2.1\" or \"2001:db8::1\"");
        }
    }
}

/// What stands around an address.
#[derive(Clone, Copy)]
enum Surroundings {
    None,
    Some,
}

/// C14, C15.
fn email_addresses_are_valid(
    case: &Case<'_, CertificateSpec>,
    wanted: Surroundings,
    findings: &mut Findings,
) {
    for (index, text) in case.object.spec.email_addresses.iter().enumerate() {
        if email::is_bare(text) {
            continue;
        }
        let bare = email::bare_within(text);
        let (detail, advice) = match (bare, wanted) {
            (Some(address), Surroundings::Some) => {
                ("more than the address alone", format!("write {address:?}"))
            }
            (None, Surroundings::None) => {
                ("not an e-mail address", "write an address such as \"user@example.com\"".to_owned())
            }
            _ => continue,
        };
        findings
            .at(format!("spec.emailAddresses[{index}]"), Fault::Invalid)
            .value(text.as_str())
            .detail(detail)
            .advice(advice);
    }
}

/// Whether it is dotted integers, which is all that the peer asks of an object identifier.
pub(super) fn is_dotted_integers(text: &str) -> bool {
    text.split('.').all(|arc| arc.parse::<i64>().is_ok())
}

/// C18.
fn other_name_types_are_numbers(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    for (index, name) in other_names(case) {
        let Some(oid) = name.oid.as_deref().filter(|oid| !is_dotted_integers(oid)) else { continue };
        findings
            .at(format!("spec.otherNames[{index}].oid"), Fault::Invalid)
            .value(oid)
            .detail("not numbers with dots between them")
            .advice("write an object identifier such as \"1.3.6.1.4.1.311.20.2.3\"");
    }
}

/// B01.
fn dns_names_are_valid(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    for (index, name) in case.object.spec.dns_names.iter().enumerate() {
        let Some(fault) = dns::fault(name) else { continue };
        let finding = findings.at(format!("spec.dnsNames[{index}]"), Fault::Invalid);
        finding.value(name.as_str()).detail(fault);
        if let Some(similar) = dns::similar(name) {
            finding.advice(format!("write {similar:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{check, check_in};
    use crate::case::{Context, Settings};

    #[test]
    fn what_is_no_ip_address_is_refused_with_one_where_there_is_one() {
        for (text, advice) in [
            ("", "write an address such as \"192.0.2.1\" or \"2001:db8::1\""),
            ("1.2.3", "write an address such as \"192.0.2.1\" or \"2001:db8::1\""),
            ("192.0.2.01", "write an address such as \"192.0.2.1\" or \"2001:db8::1\""),
            ("192.0.2.0/24", "write \"192.0.2.0\""),
            ("fe80::1%eth0", "write \"fe80::1\""),
            ("[::1]", "write \"::1\""),
            ("web.example.com", "put host names into spec.dnsNames"),
        ] {
            let refused =
                format!("C13 spec.ipAddresses[1]: Invalid value: {text:?}: not an IP address; {advice}");
            check(&json!({"ipAddresses": ["::1", text]}), &[&refused]);
        }
        check(&json!({"ipAddresses": ["192.0.2.1", "2001:DB8::1", "::ffff:192.0.2.2"]}), &[]);
    }

    #[test]
    fn what_is_no_e_mail_address_is_refused() {
        for text in ["", "a", "a@b@c", "a..b@a.test", "a@a.test, b@a.test"] {
            let refused = format!(
                "C14 spec.emailAddresses[0]: Invalid value: {text:?}: not an e-mail address; write an address such as \"user@example.com\""
            );
            check(&json!({"emailAddresses": [text]}), &[&refused]);
        }
        for text in ["Ada <a@a.test>", " a@a.test", "<a@a.test>"] {
            let refused = format!(
                "C15 spec.emailAddresses[0]: Invalid value: {text:?}: more than the address alone; write \"a@a.test\""
            );
            check(&json!({"emailAddresses": [text]}), &[&refused]);
        }
        check(&json!({"emailAddresses": ["a.b+c@a.test", "a@[192.0.2.1]"]}), &[]);
    }

    #[test]
    fn other_names_without_their_gate_are_refused_and_not_looked_at() {
        let settings = Settings { other_names: false, ..Settings::DEFAULT };
        let context = Context { settings: &settings, ..Context::default() };
        let forbidden = "C16 spec.otherNames: Forbidden: other names are switched off; leave them out, or ask for the gate OtherNames";
        check_in(context, &json!({"otherNames": [{"oid": "1.x"}]}), &[forbidden], &[]);
        check_in(context, &json!({"otherNames": []}), &[], &[]);
    }

    #[test]
    fn other_names_have_a_type_and_a_text() {
        check(
            &json!({"otherNames": [{"oid": "", "utf8Value": "a"}, {"oid": "1.x", "utf8Value": ""}]}),
            &[
                "C17 spec.otherNames[0].oid: Required value: write the object identifier of the name's type, such as \"1.3.6.1.4.1.311.20.2.3\"",
                "C18 spec.otherNames[1].oid: Invalid value: \"1.x\": not numbers with dots between them; write an object identifier such as \"1.3.6.1.4.1.311.20.2.3\"",
                "C19 spec.otherNames[1].utf8Value: Required value: write the name as text, such as \"user@example.com\"",
            ],
        );
        check(&json!({"otherNames": [{"oid": "1.3.6.1.4.1.311.20.2.3", "utf8Value": "ü@a.test"}]}), &[]);
    }

    #[test]
    fn a_dns_name_that_nobody_can_resolve_is_refused_with_a_similar_one() {
        check(
            &json!({"dnsNames": ["a.test", "bücher.test.", "", "a b.test"]}),
            &[
                "B01 spec.dnsNames[1]: Invalid value: \"bücher.test.\": international names stand in their ASCII form here (A-labels, RFC 5891); write \"xn--bcher-kva.test\"",
                "B01 spec.dnsNames[2]: Invalid value: \"\": empty",
                "B01 spec.dnsNames[3]: Invalid value: \"a b.test\": it contains white space",
            ],
        );
        check(&json!({"dnsNames": ["a.test", "*.a.test", "_a.test", "localhost"]}), &[]);
    }
}

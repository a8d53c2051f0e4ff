//! Rules about subject alternative names.

use api::CertificateSpec;

use super::CERTIFICATE;
use crate::case::Case;
use crate::dns;
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings};

pub(super) static RULES: &[Check<CertificateSpec>] = &[Check::new(
    "B01",
    CERTIFICATE,
    "spec.dnsNames",
    Class::Field,
    "DNS names are in ASCII: labels of letters, digits, '-' and '_' of at most 63 characters, 253 in all; a '*' stands \
     for the whole first label only",
    dns_names_are_valid,
)];

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

    use super::super::testing::check;

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

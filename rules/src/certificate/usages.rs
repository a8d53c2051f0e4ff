//! Rules about key usages.

use api::{CertificateSpec, KeyUsage};

use super::CERTIFICATE;
use crate::case::Case;
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings};

pub(super) static RULES: &[Check<CertificateSpec>] = &[
    Check::new("C30", CERTIFICATE, "spec.usages", Class::Spec, "Usages are known", usages_are_known),
    Check::new(
        "B12",
        CERTIFICATE,
        "spec.usages",
        Class::Advice,
        "Usages of a CA are a CA's alone, and a server that lists usages lists \"server auth\" or another purpose",
        usages_fit_the_certificate,
    ),
];

/// C30.
fn usages_are_known(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    for (index, usage) in case.object.spec.usages.iter().enumerate() {
        let KeyUsage::Other(text) = usage else { continue };
        let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_', ' '], "");
        let similar = KeyUsage::KNOWN.iter().find(|known| plain(known.as_str()) == plain(text));
        findings
            .at(format!("spec.usages[{index}]"), Fault::Invalid)
            .value(text.as_str())
            .detail("not a key usage")
            .advice(match similar {
                Some(known) => format!("write {:?}", known.as_str()),
                None => "write one such as \"digital signature\", \"key encipherment\" or \"server auth\""
                    .to_owned(),
            });
    }
}

/// B12.
fn usages_fit_the_certificate(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let spec = &case.object.spec;
    if spec.is_ca {
        return;
    }
    for (index, usage) in spec.usages.iter().enumerate() {
        if matches!(usage, KeyUsage::CertSign | KeyUsage::CrlSign) {
            findings
                .at(format!("spec.usages[{index}]"), Fault::Invalid)
                .value(usage.as_str())
                .detail("a usage of CAs")
                .advice("leave it out, or set spec.isCA");
        }
    }
    let is_server = !spec.dns_names.is_empty() || !spec.ip_addresses.is_empty();
    // Without usages the certificate has no purposes either, as people expect who list none.
    if is_server && !spec.usages.is_empty() && !spec.usages.iter().any(is_purpose) {
        findings
            .here(Fault::Invalid)
            .detail("no purpose is listed, and some clients want one of servers")
            .advice("add \"server auth\"");
    }
}

/// Whether it is an extended key usage (RFC 5280 §4.2.1.12), or one that nobody knows.
fn is_purpose(usage: &KeyUsage) -> bool {
    use KeyUsage::{
        CertSign, ContentCommitment, CrlSign, DataEncipherment, DecipherOnly, DigitalSignature, EncipherOnly,
        KeyAgreement, KeyEncipherment, Signing,
    };
    let is_bit = matches!(
        usage,
        Signing
            | DigitalSignature
            | ContentCommitment
            | KeyEncipherment
            | KeyAgreement
            | DataEncipherment
            | CertSign
            | CrlSign
            | EncipherOnly
            | DecipherOnly
    );
    !is_bit
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{check, warns};

    #[test]
    fn an_unknown_usage_is_refused_with_the_one_that_is_meant() {
        check(
            &json!({"usages": ["server auth", "server-auth", "tls", ""]}),
            &[
                "C30 spec.usages[1]: Invalid value: \"server-auth\": not a key usage; write \"server auth\"",
                "C30 spec.usages[2]: Invalid value: \"tls\": not a key usage; write one such as \"digital signature\", \"key encipherment\" or \"server auth\"",
                "C30 spec.usages[3]: Invalid value: \"\": not a key usage; write one such as \"digital signature\", \"key encipherment\" or \"server auth\"",
            ],
        );
    }

    #[test]
    fn usages_of_a_ca_without_one_are_warned_of() {
        warns(
            &json!({"usages": ["cert sign", "crl sign", "server auth"]}),
            &[
                "B12 spec.usages[0]: Invalid value: \"cert sign\": a usage of CAs; leave it out, or set spec.isCA",
                "B12 spec.usages[1]: Invalid value: \"crl sign\": a usage of CAs; leave it out, or set spec.isCA",
            ],
        );
        warns(&json!({"isCA": true, "usages": ["cert sign", "crl sign"]}), &[]);
    }

    #[test]
    fn a_server_without_a_purpose_is_warned_of() {
        warns(
            &json!({"usages": ["digital signature", "key encipherment"]}),
            &[
                "B12 spec.usages: Invalid value: no purpose is listed, and some clients want one of servers; add \"server auth\"",
            ],
        );
        warns(&json!({}), &[]);
        warns(&json!({"usages": ["digital signature", "client auth"]}), &[]);
        warns(&json!({"dnsNames": null, "commonName": "a", "usages": ["digital signature"]}), &[]);
    }
}

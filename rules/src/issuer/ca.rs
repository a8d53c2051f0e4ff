//! Rules of issuers that sign with a CA of their own.

use api::IssuerSpec;

use super::{ca, indexed, spec};
use crate::finding::Fault;
use crate::rule::{Check, Findings};

pub(super) static RULES: &[Check<IssuerSpec>] = &[
    spec("I58", "spec.ca.secretName", "The Secret with the CA is named", |case, findings| {
        if ca(case).is_some_and(|ca| ca.secret_name.is_empty()) {
            findings
                .here(Fault::Required)
                .advice("name the Secret that holds the CA under tls.crt and tls.key");
        }
    }),
    spec("I59", "spec.ca.ocspServers[*]", "No OCSP server of a CA is an empty text", |case, findings| {
        none_is_empty(ca(case).map(|ca| ca.ocsp_servers.as_slice()), "http://ocsp.example.com", findings);
    }),
    spec(
        "I60",
        "spec.ca.issuingCertificateURLs[*]",
        "No issuing certificate URL of a CA is an empty text",
        |case, findings| {
            let urls = ca(case).map(|ca| ca.issuing_certificate_urls.as_slice());
            none_is_empty(urls, "http://pki.example.com/ca.crt", findings);
        },
    ),
];

fn none_is_empty(urls: Option<&[String]>, example: &str, findings: &mut Findings) {
    for (index, _) in urls.unwrap_or_default().iter().enumerate().filter(|(_, url)| url.is_empty()) {
        findings
            .at(indexed(findings.path(), &[index]), Fault::Invalid)
            .value("")
            .detail("empty")
            .advice(format!("remove it, or write a URL such as {example:?}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::issuer::testing::check;

    #[test]
    fn a_ca_without_a_secret_is_refused() {
        check(
            &json!({"ca": {}}),
            &[
                "I58 spec.ca.secretName: Required value: name the Secret that holds the CA under tls.crt and tls.key",
            ],
            &[],
        );
    }

    #[test]
    fn empty_urls_are_refused() {
        check(
            &json!({"ca": {"secretName": "ca", "ocspServers": ["http://ocsp.test", ""], "issuingCertificateURLs": [""]}}),
            &[
                "I59 spec.ca.ocspServers[1]: Invalid value: \"\": empty; remove it, or write a URL such as \"http://ocsp.example.com\"",
                "I60 spec.ca.issuingCertificateURLs[0]: Invalid value: \"\": empty; remove it, or write a URL such as \"http://pki.example.com/ca.crt\"",
            ],
            &[],
        );
    }

    #[test]
    fn a_usual_ca_is_accepted() {
        check(&json!({"ca": {"secretName": "ca"}}), &[], &[]);
        check(
            &json!({"ca": {"secretName": "ca", "ocspServers": ["http://ocsp.test"], "issuingCertificateURLs": ["http://pki.test/ca.crt"], "crlDistributionPoints": ["http://pki.test/ca.crl"]}}),
            &[],
            &[],
        );
    }
}

//! Rules about CA certificates in issuers.

use std::borrow::Cow;
use std::error::Error as _;

use api::IssuerSpec;
use issuance::certificate::Certificate;
use issuance::pem::{self, Limit, PemError};
use jiff::Timestamp;

use super::{ISSUERS, acme, vault, venafi};
use crate::case::{Case, Settings};
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings};

/// A warning shows at most this much of a name, so that the rest of it is seen.
const NAME_CHARS_MAX: usize = 24;

pub(super) static RULES: &[Check<IssuerSpec>] = &[
    Check::new(
        "B17",
        ISSUERS,
        "spec",
        Class::Spec,
        "Bundles of CA certificates are PEM in which every block is a certificate",
        |case, findings| {
            for (path, text, peer_looks) in bundles(case) {
                let Err(damage) = read(text, case.context.settings) else { continue };
                // Where nothing can be read, I04 and I64 say so in the same words.
                if !peer_looks || some_can_be_read(text) {
                    findings.at(path, Fault::Invalid).detail(damage.detail).advice(damage.advice);
                }
            }
        },
    ),
    Check::new(
        "B17-W",
        ISSUERS,
        "spec",
        Class::Advice,
        "CA certificates of issuers are CAs and have not expired",
        |case, findings| {
            for (path, text, _) in bundles(case) {
                if let Ok(certificates) = read(text, case.context.settings) {
                    are_of_use(path, &certificates, case.context.now, findings);
                }
            }
        },
    ),
];

/// I04, I64: the bundle at the rule's path holds at least one certificate.
pub(super) fn holds_a_certificate(text: Option<&[u8]>, settings: &Settings, findings: &mut Findings) {
    if let Some(text) = text
        && let Err(damage) = read(text, settings)
        && !some_can_be_read(text)
    {
        findings.here(Fault::Invalid).detail(damage.detail).advice(damage.advice);
    }
}

/// The text of a bundle, where there is any.
pub(super) fn given(text: Option<&[u8]>) -> Option<&[u8]> {
    text.filter(|text| !text.is_empty())
}

/// Path and text of each bundle, and whether a rule of cert-manager looks at it too.
fn bundles<'a>(case: &Case<'a, IssuerSpec>) -> impl Iterator<Item = (&'static str, &'a [u8], bool)> {
    let acme = acme(case).and_then(|acme| acme.ca_bundle.as_ref());
    let vault = vault(case).and_then(|vault| vault.ca_bundle.as_ref());
    let tpp = venafi(case).and_then(|venafi| venafi.tpp.as_ref()).and_then(|tpp| tpp.ca_bundle.as_ref());
    [
        ("spec.acme.caBundle", acme, true),
        ("spec.vault.caBundle", vault, true),
        ("spec.venafi.tpp.caBundle", tpp, false),
    ]
    .into_iter()
    .filter_map(|(path, text, peer_looks)| {
        Some((path, given(text.map(|text| text.0.as_slice()))?, peer_looks))
    })
}

/// Why a bundle cannot be used, and what to do.
struct Damage {
    detail: String,
    advice: Cow<'static, str>,
}

fn read(text: &[u8], settings: &Settings) -> Result<Vec<Certificate>, Damage> {
    let limit = Limit { bytes: settings.bundle_bytes_max, ..Limit::BUNDLE };
    pem::certificates(text, limit).map_err(|error| {
        let advice = match &error {
            PemError::TooLong { .. } | PemError::TooMany { .. } => "keep the CAs of this server alone",
            PemError::Empty => return without_blocks(text, &error),
            PemError::Damaged { .. } | PemError::Certificate { .. } => {
                "replace the block by one that is whole"
            }
            PemError::PrivateKey { .. } => "", // the error says it
            PemError::Label { .. } => "remove the block",
        };
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Damage { detail: format!("{error}{cause}"), advice: advice.into() }
    })
}

/// What a text is that holds no PEM: the API has base64 around it, which invites mistakes.
fn without_blocks(text: &[u8], error: &PemError) -> Damage {
    let (detail, advice) = if Certificate::from_der(text).is_ok() {
        ("a certificate in DER", "turn it into PEM (openssl x509 -inform DER) before it is written in base64")
    } else if text.trim_ascii_start().starts_with(BASE64_OF_PEM) {
        ("PEM that is written in base64 twice", "write it in base64 once")
    } else if text.trim_ascii_start().starts_with(BASE64_OF_DER) {
        ("a certificate without its BEGIN and END lines", "add the lines before it is written in base64")
    } else {
        return Damage { detail: error.to_string(), advice: "".into() };
    };
    Damage { detail: detail.to_owned(), advice: advice.into() }
}

/// `-----BEGI` in base64.
const BASE64_OF_PEM: &[u8] = b"LS0tLS1CRUdJ";

/// A sequence of 256 bytes or more, as any certificate is, in base64.
const BASE64_OF_DER: &[u8] = b"MII";

/// As in cert-manager, which passes over what it cannot read.
fn some_can_be_read(text: &[u8]) -> bool {
    // Above the limit of whole objects nobody has read anything, and B17 tells of the size.
    pem::readable_certificates(text, Limit::OBJECT).map_or(true, |found| !found.certificates.is_empty())
}

/// Tells of the first certificate that has expired, and of the first that is no CA.
fn are_of_use(
    path: &'static str,
    certificates: &[Certificate],
    now: Option<Timestamp>,
    findings: &mut Findings,
) {
    let first =
        |wrong: &dyn Fn(&Certificate) -> bool| certificates.iter().enumerate().find(|(_, one)| wrong(one));
    let expired = now.and_then(|now| first(&|certificate| certificate.not_after() < now));
    if let Some((index, certificate)) = expired {
        let until = certificate.not_after().strftime("%F");
        findings
            .at(path, Fault::Invalid)
            .detail(format!("{} expired on {until}", called(index, certificate)))
            .advice("replace it");
    }
    if let Some((index, certificate)) = first(&|certificate| !certificate.is_ca()) {
        findings
            .at(path, Fault::Invalid)
            .detail(format!("{} is no CA", called(index, certificate)))
            .advice("use the CA that signed it");
    }
}

fn called(index: usize, certificate: &Certificate) -> String {
    match certificate.common_name() {
        Some(name) => {
            format!("certificate {} ({:?})", index + 1, name.chars().take(NAME_CHARS_MAX).collect::<String>())
        }
        None => format!("certificate {}", index + 1),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::*;
    use crate::case::Context;
    use crate::issuer::testing::{check, check_in};

    /// Its name is "Example CA"; made for this test.
    const CA: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBkDCCATegAwIBAgIUennw8KpAW41xKMCyXm154vzwzaUwCgYIKoZIzj0EAwIw\n\
FTETMBEGA1UEAwwKRXhhbXBsZSBDQTAgFw0yNjExMjIxMDIzNThaGA8yMTI2MTAy\n\
OTEwMjM1OFowFTETMBEGA1UEAwwKRXhhbXBsZSBDQTBZMBMGByqGSM49AgEGCCqG\n\
SM49AwEHA0IABM7TdqMfOHkn6S+/jG4UWkLj/6bwHx6B0nYJ8AXshcl/4jsx2rfa\n\
vA1iHbEr55WjHNVUX32RiZH/scsp0wN/tEWjYzBhMB0GA1UdDgQWBBS5hrQKqqqC\n\
DaHfDZFJ6g7j+E9f8TAfBgNVHSMEGDAWgBS5hrQKqqqCDaHfDZFJ6g7j+E9f8TAP\n\
BgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwICBDAKBggqhkjOPQQDAgNHADBE\n\
AiBxj/WcO4olPHOP0/grIxwpVlqXEMGKlcqZrOVdWhtzhAIgCw4jusJm8ATyNjJP\n\
pWrcXJgy27HybfHkVqBLjg/NaVs=\n\
-----END CERTIFICATE-----\n\
";

    /// Its name is "vault.example.com"; made for this test.
    const LEAF: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBjDCCATKgAwIBAgIUfXQ6ytldBJpXemxxgT6bAMCnL6YwCgYIKoZIzj0EAwIw\n\
HDEaMBgGA1UEAwwRdmF1bHQuZXhhbXBsZS5jb20wIBcNMjYxMTIyMTAyMzU4WhgP\n\
MjEyNjEwMjkxMDIzNThaMBwxGjAYBgNVBAMMEXZhdWx0LmV4YW1wbGUuY29tMFkw\n\
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEBdBW2JgMyZYW0JURGM3TIuMeM/lmNdnx\n\
lnBKT9Mplex+L2ZRAhhQrm5IU4mAEBECRN++3PRAc4d0S9Vni9R3U6NQME4wHQYD\n\
VR0OBBYEFEFzjI7IxfEfeCcFmVvv1OaJixaZMB8GA1UdIwQYMBaAFEFzjI7IxfEf\n\
eCcFmVvv1OaJixaZMAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0EAwIDSAAwRQIgApdT\n\
2W9l8qBqJUWN+3pSbnHtlG4qwjhSZR0AttS2evUCIQDs4M4Qc6IzoL5aS8Ke3eAt\n\
dlYe2RtlPbksnY5BUBgacg==\n\
-----END CERTIFICATE-----\n\
";

    fn vault(bundle: &str) -> Value {
        json!({"vault": {"server": "https://vault.test", "path": "pki/sign/web", "caBundle": STANDARD.encode(bundle),
                         "auth": {"tokenSecretRef": {"name": "vault", "key": "token"}}}})
    }

    fn tpp(bundle: &str) -> Value {
        json!({"venafi": {"zone": "z", "tpp": {"url": "https://tpp.test", "credentialsRef": {"name": "venafi"},
                                               "caBundle": STANDARD.encode(bundle)}}})
    }

    #[test]
    fn a_damaged_block_is_told_by_its_position_and_not_passed_over() {
        let unfinished = CA.replace("-----END CERTIFICATE-----\n", "");
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let request = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (second, told) in [
            (
                unfinished.as_str(),
                "PEM block 2 (\"CERTIFICATE\") is damaged: its END line is missing; replace the block by one that is whole",
            ),
            (key, "PEM block 2 is a private key: remove it and treat the key as disclosed"),
            (request, "PEM block 2 is a \"CERTIFICATE REQUEST\", not a CERTIFICATE; remove the block"),
            (
                empty,
                "PEM block 2 is not a certificate: the bytes are not an X.509 certificate; replace the block by one that is whole",
            ),
        ] {
            let bundle = format!("{CA}{second}");
            check(&vault(&bundle), &[&format!("B17 spec.vault.caBundle: Invalid value: {told}")], &[]);
            check(&tpp(&bundle), &[&format!("B17 spec.venafi.tpp.caBundle: Invalid value: {told}")], &[]);
        }
    }

    #[test]
    fn a_bundle_that_nobody_needs_is_refused() {
        let bundle = CA.repeat(Limit::BUNDLE.bytes / CA.len() + 1);
        let told = format!(
            "{} bytes of PEM are more than the 330000 allowed; keep the CAs of this server alone",
            bundle.len()
        );
        check(&vault(&bundle), &[&format!("B17 spec.vault.caBundle: Invalid value: {told}")], &[]);
    }

    #[test]
    fn a_bundle_without_a_certificate_is_told_once() {
        for (text, told) in [
            (
                "words",
                "no PEM block found; it begins with a line such as -----BEGIN CERTIFICATE-----".to_owned(),
            ),
            (&STANDARD.encode(CA), "PEM that is written in base64 twice; write it in base64 once".to_owned()),
            (
                &CA.lines().filter(|line| !line.starts_with('-')).collect::<String>(),
                "a certificate without its BEGIN and END lines; add the lines before it is written in base64"
                    .to_owned(),
            ),
        ] {
            check(&vault(text), &[&format!("I64 spec.vault.caBundle: Invalid value: {told}")], &[]);
            check(&tpp(text), &[&format!("B17 spec.venafi.tpp.caBundle: Invalid value: {told}")], &[]);
        }
    }

    #[test]
    fn der_in_base64_is_recognised() {
        let der = pem::certificates(CA.as_bytes(), Limit::BUNDLE).unwrap();
        let mut issuer = vault("");
        issuer["vault"]["caBundle"] = STANDARD.encode(der[0].der()).into();
        check(
            &issuer,
            &[
                "I64 spec.vault.caBundle: Invalid value: a certificate in DER; turn it into PEM (openssl x509 -inform DER) before it is written in base64",
            ],
            &[],
        );
    }

    #[test]
    fn certificates_that_are_of_no_use_are_a_warning() {
        check(
            &vault(&format!("{CA}{LEAF}")),
            &[],
            &[
                "B17-W spec.vault.caBundle: Invalid value: certificate 2 (\"vault.example.com\") is no CA; use the CA that signed it",
            ],
        );
        let late: Timestamp = "2200-01-01T00:00:00Z".parse().unwrap();
        let until = pem::certificates(CA.as_bytes(), Limit::BUNDLE).unwrap()[0]
            .not_after()
            .strftime("%F")
            .to_string();
        check_in(
            Context { now: Some(late), ..Context::default() },
            &tpp(CA),
            &[],
            &[&format!(
                "B17-W spec.venafi.tpp.caBundle: Invalid value: certificate 1 (\"Example CA\") expired on {until}; replace it"
            )],
        );
    }

    #[test]
    fn a_bundle_of_cas_is_accepted() {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let bundle = format!("# our root\n{CA}\n{CA}");
        check_in(Context { now: Some(now), ..Context::default() }, &vault(&bundle), &[], &[]);
        check(&tpp(&bundle), &[], &[]);
    }
}

//! Rules about CA certificates in issuers.

use std::borrow::Cow;
use std::error::Error as _;

use api::IssuerSpec;
use issuance::certificate::Certificate;
use issuance::pem::{self, Limit, PemError};
use jiff::Timestamp;

use super::{ISSUERS, acme, vault, venafi};
use crate::case::Case;
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings};

/// A warning shows at most this much of a name, so that the rest of it is seen.
const NAME_CHARS_MAX: usize = 24;

pub(super) static RULES: &[Check<IssuerSpec>] = &[
    Check::new(
        "B17",
        ISSUERS,
        "spec",
        Class::Field,
        "Bundles of CA certificates are PEM in which every block is a certificate",
        |case, findings| {
            for (path, text, peer_looks) in bundles(case) {
                let Err(damage) = read(text) else { continue };
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
                if let Ok(certificates) = read(text) {
                    are_of_use(path, &certificates, case.context.now, findings);
                }
            }
        },
    ),
];

/// I04, I64: the bundle at the rule's path holds at least one certificate.
pub(super) fn holds_a_certificate(text: Option<&[u8]>, findings: &mut Findings) {
    if let Some(text) = text
        && let Err(damage) = read(text)
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

fn read(text: &[u8]) -> Result<Vec<Certificate>, Damage> {
    pem::certificates(text, Limit::BUNDLE).map_err(|error| {
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
            .advice("remove it, or put its successor in its place");
    }
    if let Some((index, certificate)) = first(&|certificate| !certificate.is_ca()) {
        findings
            .at(path, Fault::Invalid)
            .detail(format!("{} is no CA", called(index, certificate)))
            .advice("put the CA that signed it in its place");
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
    use super::*;

    #[test]
    fn what_a_text_without_blocks_may_be_is_told() {
        for (text, detail) in [
            ("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUI=", "PEM that is written in base64 twice"),
            ("\nMIIBszCCAVmgAwIBAgIUQ", "a certificate without its BEGIN and END lines"),
            ("words", "no PEM block found; it begins with a line such as -----BEGIN CERTIFICATE-----"),
        ] {
            assert_eq!(
                read(text.as_bytes()).map_err(|damage| damage.detail).unwrap_err(),
                detail,
                "{text:?}"
            );
        }
    }
}

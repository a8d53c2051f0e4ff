//! What Vault is asked to sign, and what it gave back (spec/issuance.md §8).

use issuance::authority::Issued;
use issuance::chain::{self, Chain};
use issuance::name::SubjectAltName;
use issuance::outcome::causes;
use issuance::pem::{self, Limit};
use serde::Serialize;
use zeroize::Zeroizing;

use super::answer::{SignAnswer, texts};
use super::client::body;
use super::fault::CallFault;
use crate::issuer::Order;

/// The body of a call that has something signed. Names that have no field of their own are in the request alone.
#[derive(Serialize)]
struct Body<'a> {
    csr: String,
    common_name: &'a str,
    alt_names: String,
    ip_sans: String,
    uri_sans: String,
    ttl: String,
    exclude_cn_from_sans: bool,
}

/// What is sent for an order.
pub(super) fn request(order: &Order<'_>) -> Zeroizing<Vec<u8>> {
    let names = order.request.names();
    let joined = |text: fn(&SubjectAltName) -> Option<String>| {
        names.iter().filter_map(text).collect::<Vec<_>>().join(",")
    };
    body(&Body {
        csr: order.request.to_pem(),
        common_name: order.request.common_name().unwrap_or_default(),
        alt_names: joined(|name| match name {
            SubjectAltName::Dns(name) => Some(name.clone()),
            _ => None,
        }),
        ip_sans: joined(|name| match name {
            SubjectAltName::Ip(address) => Some(address.to_string()),
            _ => None,
        }),
        uri_sans: joined(|name| match name {
            SubjectAltName::Uri(uri) => Some(uri.clone()),
            _ => None,
        }),
        ttl: format!("{}s", order.terms.duration.as_secs()),
        exclude_cn_from_sans: true,
    })
}

/// What was signed. `secrets` are shown nowhere, even if Vault repeats them.
pub(super) fn issued(answer: &[u8], secrets: &[&str]) -> Result<Issued, CallFault> {
    let unusable = |why: String| CallFault::Unusable(why);
    let answer: SignAnswer = serde_json::from_slice(answer).map_err(|error| {
        unusable(format!("it is not what a signing is answered with ({:?})", error.classify()))
    })?;
    let Some(signed) = answer.data.filter(|signed| !signed.certificate.trim().is_empty()) else {
        return Err(unusable("it holds no certificate".to_owned()));
    };
    let mut certificates = decoded(&signed.certificate, "certificate")?;
    for (above, field) in signed
        .issuing_ca
        .iter()
        .map(|text| (text, "issuing_ca"))
        .chain(signed.ca_chain.iter().flatten().take(chain::MAX_LENGTH).map(|text| (text, "ca_chain")))
        .filter(|(text, _)| !text.trim().is_empty())
    {
        certificates.extend(decoded(above, field)?);
    }
    let chain = Chain::order(certificates)
        .map_err(|error| unusable(format!("its certificates are no chain: {}", causes(&error))))?;
    let (chain, ca) = chain.split();
    let notes = texts(answer.warnings.unwrap_or_default(), secrets);
    let notes = notes.into_iter().map(|note| format!("Vault: {note}")).collect();
    Ok(Issued { chain, ca, notes })
}

fn decoded(text: &str, field: &str) -> Result<Vec<issuance::certificate::Certificate>, CallFault> {
    pem::certificates(text.as_bytes(), Limit::CHAIN)
        .map_err(|error| CallFault::Unusable(format!("its {field} cannot be decoded: {}", causes(&error))))
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use issuance::authority::{Authority, Terms};
    use issuance::key::{Curve, KeyAlgorithm, PrivateKey};
    use issuance::request::{Request, RequestSpec};
    use jiff::{SignedDuration, Timestamp};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// One answer for all tries: keys take time.
    static FIXED: OnceLock<(String, String)> = OnceLock::new();

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn key() -> PrivateKey {
        PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap()
    }

    fn asked(names: Vec<SubjectAltName>) -> Request {
        Request::build(&RequestSpec { names, ..RequestSpec::default() }, &key()).unwrap()
    }

    #[test]
    fn lists_are_joined_and_the_lifetime_is_a_duration() {
        let names = vec![
            SubjectAltName::Dns("a.test".to_owned()),
            SubjectAltName::Dns("*.b.test".to_owned()),
            SubjectAltName::Email("me@a.test".to_owned()),
            SubjectAltName::Ip("192.0.2.1".parse().unwrap()),
            SubjectAltName::Ip("2001:db8::1".parse().unwrap()),
            SubjectAltName::Uri("spiffe://a.test/b".to_owned()),
        ];
        let (asked, terms) = (asked(names), Terms::default());
        let order = Order { request: &asked, terms: &terms, subject_key: None, now: now() };
        let body: Value = serde_json::from_slice(&request(&order)).unwrap();
        let expected = json!({
            "csr": asked.to_pem(),
            "common_name": "",
            "alt_names": "a.test,*.b.test",
            "ip_sans": "192.0.2.1,2001:db8::1",
            "uri_sans": "spiffe://a.test/b",
            "ttl": "7776000s",
            "exclude_cn_from_sans": true,
        });
        assert_eq!(body, expected);
    }

    fn signed() -> (String, String) {
        let ca = Authority::self_signed("root", key(), SignedDuration::from_hours(24), now()).unwrap();
        let request = asked(vec![SubjectAltName::Dns("a.test".to_owned())]);
        let terms = Terms { duration: SignedDuration::from_hours(1), ..Terms::default() };
        let issued = ca.sign(&request, &terms, now()).unwrap();
        (issued.chain.to_pem(), ca.chain().to_pem())
    }

    fn refused(answer: &Value, expected: &str) {
        let text = match issued(answer.to_string().as_bytes(), &[]) {
            Err(CallFault::Unusable(text)) => text,
            other => panic!("{answer}: {other:?}"),
        };
        assert!(text.contains(expected), "{answer}: {text}");
    }

    #[test]
    fn answers_without_a_chain_are_told_apart() {
        let (leaf, ca) = signed();
        let (_, other) = signed();
        refused(&json!("x"), "not what a signing is answered with");
        refused(&json!({"data": {"certificate": 7}}), "not what a signing is answered with (Data)");
        refused(&json!({"data": null}), "holds no certificate");
        refused(&json!({"data": {"certificate": ""}}), "holds no certificate");
        refused(&json!({"data": {"certificate": "x"}}), "its certificate cannot be decoded");
        refused(
            &json!({"data": {"certificate": leaf, "issuing_ca": "x"}}),
            "its issuing_ca cannot be decoded",
        );
        refused(&json!({"data": {"certificate": leaf, "ca_chain": [ca, other]}}), "are no chain");
    }

    proptest! {
        #[test]
        fn no_answer_is_too_strange(at in 0_usize..4_000, byte: u8, cut in 0_usize..4_000) {
            let (leaf, ca) = FIXED.get_or_init(signed);
            let answer = json!({"data": {"certificate": leaf, "issuing_ca": ca, "ca_chain": [ca]}, "warnings": ["w"]});
            let mut bytes = answer.to_string().into_bytes();
            prop_assert!(issued(&bytes, &[]).is_ok());
            if let Some(there) = bytes.get_mut(at) {
                *there = byte;
            }
            let _ = issued(&bytes, &[]);
            bytes.truncate(cut);
            let _ = issued(&bytes, &[]);
        }
    }

    #[test]
    fn certificates_become_chain_and_ca_and_warnings_become_notes() {
        let (leaf, ca) = signed();
        let check = |data: Value, expected: (usize, usize)| {
            let answer = json!({"data": data, "warnings": ["TTL of s.x\nis too long", ""]});
            let issued = issued(answer.to_string().as_bytes(), &["s.x"]).unwrap();
            assert_eq!(
                (issued.chain.certificates().len(), issued.ca.certificates().len()),
                expected,
                "{data}"
            );
            assert_eq!(issued.notes, ["Vault: TTL of (redacted) is too long"]);
        };
        check(json!({"certificate": leaf}), (1, 0));
        check(json!({"certificate": leaf, "issuing_ca": ca, "ca_chain": [ca]}), (1, 1));
        check(json!({"certificate": leaf, "issuing_ca": "", "ca_chain": null}), (1, 0));
    }
}

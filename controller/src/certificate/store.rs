//! What goes into the Secret of a Certificate: what an issuer gave back, once it was held against what was asked for.

use std::collections::BTreeMap;

use api::IssuerRef;
use api::keys::annotation;
use issuance::authority::{self, Issued, Terms};
use issuance::bundle::Bundle;
use issuance::chain::Chain;
use issuance::key::PrivateKey;
use issuance::keystore::KeyEntry;
use issuance::outcome::causes;
use issuance::pem::{self, Limit};
use issuance::request::Request;
use issuance::secret::SecretBytes;
use issuance::secret_data::{Layout, SecretDataError, keystore_digest, secret_data};
use issuance::verification::{self, Asked};
use jiff::Timestamp;

use crate::certificate::metadata::{self, Texts};
use crate::request::view::RequestFacts;

/// Entries, labels and annotations of a Secret, without those of the template.
#[derive(Debug)]
pub struct Contents {
    /// Entries by their names.
    pub data: BTreeMap<&'static str, SecretBytes>,
    /// Labels.
    pub labels: Texts,
    /// Annotations.
    pub annotations: Texts,
}

/// Reads what a request was answered with, and holds it against what the request asked for.
///
/// # Errors
/// Why it must not be used, for people.
pub fn checked(facts: &RequestFacts, chain: &[u8], ca: &[u8], now: Timestamp) -> Result<Issued, String> {
    let unusable =
        |error: &dyn std::error::Error| format!("what was issued cannot be used: {}", causes(error));
    let certificates = pem::certificates(chain, Limit::CHAIN).map_err(|error| unusable(&error))?;
    let ca = if ca.trim_ascii().is_empty() { Ok(Bundle::default()) } else { Bundle::parse(ca) };
    let ca = ca.map_err(|error| unusable(&error))?;
    let chain = Chain::order_towards(certificates, &ca).map_err(|error| unusable(&error))?;
    let request = Request::from_pem(&facts.csr).map_err(|error| unusable(&error))?;
    let terms = Terms {
        duration: facts.duration().unwrap_or(authority::DEFAULT_DURATION),
        usages: facts.usages().map_err(|error| unusable(&error))?,
        is_ca: facts.is_ca,
        ..Terms::default()
    };
    let issued = Issued { chain, ca, notes: Vec::new() };
    verification::verify(&issued, &Asked::of(&request, &terms), now).map_err(|error| unusable(&error))?;
    Ok(issued)
}

/// What a Secret holds after `issuer` signed for `certificate`.
///
/// # Errors
/// When the data cannot be encoded.
pub fn contents(
    certificate: &str,
    issuer: &IssuerRef,
    entry: &KeyEntry<'_>,
    layout: &Layout<'_>,
    now: Timestamp,
) -> Result<Contents, SecretDataError> {
    let mut annotations = metadata::details(entry.chain.leaf());
    annotations.extend(metadata::issuer(issuer));
    annotations.insert(annotation::CERTIFICATE_NAME.to_owned(), certificate.to_owned());
    annotations.extend(keystores(entry, layout));
    Ok(Contents { data: secret_data(entry, layout, now)?, labels: metadata::managed(), annotations })
}

/// What a Secret holds until then: nothing says that an issuer signed it.
///
/// # Errors
/// When the data cannot be encoded.
pub fn temporary_contents(
    certificate: &str,
    key: &PrivateKey,
    chain: &Chain,
    layout: &Layout<'_>,
    now: Timestamp,
) -> Result<Contents, SecretDataError> {
    let entry = KeyEntry { key, chain, ca: &Bundle::default() };
    let mut annotations = metadata::details(chain.leaf());
    annotations.insert(annotation::CERTIFICATE_NAME.to_owned(), certificate.to_owned());
    annotations.insert(annotation::TEMPORARY.to_owned(), "true".to_owned());
    annotations.extend(keystores(&entry, layout));
    Ok(Contents { data: secret_data(&entry, layout, now)?, labels: metadata::managed(), annotations })
}

/// What the keystores are made from, if there are any.
fn keystores(entry: &KeyEntry<'_>, layout: &Layout<'_>) -> Option<(String, String)> {
    keystore_digest(entry, layout).map(|digest| (annotation::KEYSTORES.to_owned(), digest))
}

#[cfg(test)]
mod tests {
    use issuance::key::KeyEncoding;
    use issuance::temporary::Temporary;

    use super::*;
    use crate::testing::{self, now};

    const LAYOUT: Layout<'static> =
        Layout { encoding: KeyEncoding::Pkcs1, formats: &[], pkcs12: None, jks: None };

    fn facts(request: &Request) -> RequestFacts {
        RequestFacts { csr: request.to_pem().into_bytes(), ..RequestFacts::default() }
    }

    #[test]
    fn what_was_not_asked_for_is_not_stored() {
        let (asked, other) =
            (testing::request("a.test", &testing::key()), testing::request("b.test", &testing::key()));
        let refused = |request: &RequestFacts, chain: &[u8], ca: &[u8], why: &str| {
            let error = checked(request, chain, ca, now()).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        let issued = testing::issued(&other);
        let (chain, ca) = (issued.chain.to_pem().into_bytes(), issued.ca.to_pem().into_bytes());
        refused(&facts(&asked), &chain, &ca, "for another key");
        refused(&facts(&other), b"x", &ca, "no PEM block");
        refused(&facts(&other), &chain, b"x", "no PEM block");
        refused(&RequestFacts::default(), &chain, &ca, "what was issued cannot be used");
        assert!(checked(&facts(&other), &chain, &ca, now()).is_ok());
        assert!(checked(&facts(&other), &chain, b"\n", now()).unwrap().ca.is_empty());
    }

    #[test]
    fn a_temporary_certificate_says_that_it_is_one_and_names_no_issuer() {
        let key = testing::key();
        let temporary = Temporary::sign(&testing::request("a.test", &key), &Terms::default(), now()).unwrap();
        let contents = temporary_contents("web", &key, temporary.chain(), &LAYOUT, now()).unwrap();
        assert_eq!(contents.annotations.get(annotation::TEMPORARY).map(String::as_str), Some("true"));
        assert!(!contents.annotations.contains_key(annotation::ISSUER_NAME));
        assert_eq!(contents.data.into_keys().collect::<Vec<_>>(), ["tls.crt", "tls.key"]);
    }

    #[test]
    fn what_was_issued_says_for_whom_and_by_whom() {
        let key = testing::key();
        let issued = testing::issued(&testing::request("a.test", &key));
        let entry = KeyEntry { key: &key, chain: &issued.chain, ca: &issued.ca };
        let issuer = IssuerRef { name: "ca".to_owned(), ..IssuerRef::default() };
        let contents = contents("web", &issuer, &entry, &LAYOUT, now()).unwrap();
        let said = |key| contents.annotations.get(key).map(String::as_str);
        assert_eq!(
            (said(annotation::CERTIFICATE_NAME), said(annotation::ISSUER_KIND)),
            (Some("web"), Some("Issuer"))
        );
        assert_eq!(said(annotation::ALT_NAMES), Some("a.test"));
        assert!(!contents.annotations.contains_key(annotation::TEMPORARY));
        assert_eq!(contents.data.into_keys().collect::<Vec<_>>(), ["ca.crt", "tls.crt", "tls.key"]);
    }
}

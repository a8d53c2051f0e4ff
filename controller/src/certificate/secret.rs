//! What is kept of Secrets: of the one that a Certificate is kept in, and of those with the key of an issuance under way.
//! Keys are read, reduced to their public half, and erased.

use std::collections::BTreeMap;

use api::keys::annotation;
use issuance::certificate::Certificate;
use issuance::key::{PrivateKey, PublicKey};
use issuance::outcome::causes;
use issuance::pem::{self, Limit};
use issuance::secret_data::{TLS_CRT, TLS_KEY};
use issuance::temporary::is_temporary;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use zeroize::Zeroize as _;

use crate::certificate::drift::Ours;
use crate::certificate::metadata::Texts;
use crate::request::view::Owner;

/// The annotations that decisions look at.
const KEPT: [&str; 4] = [
    annotation::CERTIFICATE_NAME,
    annotation::ISSUER_NAME,
    annotation::ISSUER_KIND,
    annotation::ISSUER_GROUP,
];

/// The Secret of a Certificate as it was last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct SecretView {
    /// `metadata.resourceVersion`.
    pub version: String,
    /// `type`.
    pub type_: Option<String>,
    /// Its annotations about Certificate and issuer.
    pub annotations: Texts,
    /// Whether it is marked as holding a temporary certificate, or holds what looks like one.
    pub is_temporary: bool,
    /// `tls.key`.
    pub key: Key,
    /// `tls.crt` and how it goes with the key.
    pub pair: Pair,
    /// What of it is ours.
    pub ours: Ours,
}

/// A private key in a Secret.
#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    /// There is none, or it is empty.
    Absent,
    /// It cannot be read, and why.
    Bad(String),
    /// Its public half.
    Good(PublicKey),
}

/// A key and a certificate in a Secret.
#[derive(Debug, Clone, PartialEq)]
pub enum Pair {
    /// The Secret holds nothing at all.
    NoData,
    /// This entry is absent or empty.
    Missing(&'static str),
    /// The key cannot be read.
    BadKey(String),
    /// The certificates cannot be read.
    BadCertificate(String),
    /// The certificate is for another key.
    Mismatch,
    /// They belong together; of the chain, the leaf.
    Good(Certificate),
}

/// A Secret with the key of an issuance under way.
#[derive(Debug, Clone, PartialEq)]
pub struct KeySecretView {
    /// Its name.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.creationTimestamp`; the epoch where there is none.
    pub created: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The object that it belongs to.
    pub owner: Option<Owner>,
    /// The key.
    pub key: Key,
}

impl SecretView {
    /// What there is to know of `secret`, whose data is erased.
    pub fn take(mut secret: Secret) -> Self {
        let data = Erased(secret.data.take().unwrap_or_default());
        let ours = Ours::of(&secret.metadata, &data.0);
        let annotations = secret.metadata.annotations.unwrap_or_default();
        let key = data.key();
        let pair = data.pair(&key);
        let is_marked = annotations.get(annotation::TEMPORARY).is_some_and(|mark| mark == "true");
        Self {
            version: secret.metadata.resource_version.unwrap_or_default(),
            type_: secret.type_,
            is_temporary: is_marked || matches!(&pair, Pair::Good(leaf) if is_temporary(leaf)),
            annotations: annotations.into_iter().filter(|(key, _)| KEPT.contains(&key.as_str())).collect(),
            key,
            pair,
            ours,
        }
    }

    /// An annotation that is there and not empty.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The certificate, if it is one that can be served.
    pub fn leaf(&self) -> Option<&Certificate> {
        if let Pair::Good(leaf) = &self.pair { Some(leaf) } else { None }
    }
}

impl KeySecretView {
    /// What there is to know of `secret`, whose data is erased.
    pub fn take(mut secret: Secret) -> Self {
        let data = Erased(secret.data.take().unwrap_or_default());
        let owner = Owner::of(&secret.metadata);
        let metadata = secret.metadata;
        Self {
            name: metadata.name.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            created: metadata.creation_timestamp.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            deleting: metadata.deletion_timestamp.is_some(),
            owner,
            key: data.key(),
        }
    }
}

/// Data of a Secret, which does not outlive the look at it.
struct Erased(BTreeMap<String, ByteString>);

impl Erased {
    fn entry(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(|value| value.0.as_slice()).filter(|value| !value.is_empty())
    }

    fn key(&self) -> Key {
        match self.entry(TLS_KEY).map(PrivateKey::from_pem) {
            None => Key::Absent,
            Some(Err(error)) => Key::Bad(causes(&error)),
            Some(Ok(key)) => Key::Good(key.public_key().clone()),
        }
    }

    fn pair(&self, key: &Key) -> Pair {
        if self.0.values().all(|value| value.0.is_empty()) {
            return Pair::NoData;
        }
        let key = match key {
            Key::Absent => return Pair::Missing(TLS_KEY),
            Key::Bad(_) | Key::Good(_) => key,
        };
        let Some(chain) = self.entry(TLS_CRT) else { return Pair::Missing(TLS_CRT) };
        let key = match key {
            Key::Bad(error) => return Pair::BadKey(error.clone()),
            Key::Absent => return Pair::Missing(TLS_KEY),
            Key::Good(key) => key,
        };
        match pem::certificates(chain, Limit::CHAIN) {
            Err(error) => Pair::BadCertificate(causes(&error)),
            Ok(chain) => match chain.into_iter().next() {
                None => Pair::BadCertificate("it holds no certificate".to_owned()),
                Some(leaf) if leaf.public_key() != key => Pair::Mismatch,
                Some(leaf) => Pair::Good(leaf),
            },
        }
    }
}

impl Drop for Erased {
    fn drop(&mut self) {
        self.0.values_mut().for_each(|value| value.0.zeroize());
    }
}

#[cfg(test)]
mod tests {
    use issuance::key::KeyEncoding;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing;

    fn secret(metadata: Value, data: &[(&str, &[u8])]) -> Secret {
        let metadata = serde_json::from_value(metadata).unwrap();
        let data =
            data.iter().map(|(name, value)| ((*name).to_owned(), ByteString(value.to_vec()))).collect();
        Secret { metadata, data: Some(data), ..Secret::default() }
    }

    fn pair(data: &[(&str, &[u8])]) -> Pair {
        SecretView::take(secret(json!({}), data)).pair
    }

    #[test]
    fn what_cannot_be_served_says_why() {
        let key = testing::key();
        let (key_pem, other) = (key.to_pem(KeyEncoding::Pkcs1), testing::key().to_pem(KeyEncoding::Pkcs8));
        let issued = testing::issued(&testing::request("a.test", &key));
        let chain = issued.chain.to_pem();
        assert_eq!(SecretView::take(Secret::default()).pair, Pair::NoData);
        assert_eq!(pair(&[("tls.key", b""), ("tls.crt", b"")]), Pair::NoData);
        assert_eq!(pair(&[("ca.crt", b"x")]), Pair::Missing("tls.key"));
        assert_eq!(pair(&[("tls.key", b"x")]), Pair::Missing("tls.crt"));
        assert!(matches!(pair(&[("tls.key", b"x"), ("tls.crt", chain.as_bytes())]), Pair::BadKey(_)));
        assert!(matches!(pair(&[("tls.key", key_pem.expose()), ("tls.crt", b"x")]), Pair::BadCertificate(_)));
        assert_eq!(pair(&[("tls.key", other.expose()), ("tls.crt", chain.as_bytes())]), Pair::Mismatch);
        let good = pair(&[("tls.key", key_pem.expose()), ("tls.crt", chain.as_bytes())]);
        assert_eq!(good, Pair::Good(issued.chain.leaf().clone()));
    }

    #[test]
    fn only_annotations_that_are_looked_at_are_kept() {
        let annotations =
            json!({"cert-manager.io/issuer-name": "ca", "cert-manager.io/issuer-kind": "", "a": "b"});
        let view = SecretView::take(secret(json!({"annotations": annotations}), &[]));
        assert_eq!(view.annotations.len(), 2);
        assert_eq!(view.annotation("cert-manager.io/issuer-kind"), None);
        assert_eq!(view.annotation("cert-manager.io/issuer-name"), Some("ca"));
        let marked = json!({"annotations": {"certificates.cert-manager.io/temporary": "true"}});
        assert!(!view.is_temporary && SecretView::take(secret(marked, &[])).is_temporary);
    }

    #[test]
    fn what_is_kept_of_a_key_does_not_show_it() {
        let key = testing::key();
        let pem = key.to_pem(KeyEncoding::Pkcs8);
        let view = KeySecretView::take(secret(json!({"name": "k"}), &[("tls.key", pem.expose())]));
        assert_eq!(view.key, Key::Good(key.public_key().clone()));
        assert!(!format!("{view:?}").contains("PRIVATE KEY"));
        assert_eq!(KeySecretView::take(Secret::default()).key, Key::Absent);
    }
}

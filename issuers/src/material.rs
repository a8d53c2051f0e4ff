//! What issuers need from Secrets: their data, erased when it is not needed any more, and a CA parsed once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use issuance::authority::{Authority, AuthorityError};
use issuance::outcome::causes;
use issuance::pem::Limit;
use k8s_openapi::api::core::v1::Secret;
use runtime::watch::{ObjectName, State};
use zeroize::{Zeroize as _, Zeroizing};

/// Key of the certificate chain (`kubernetes.io/tls`).
const CERTIFICATE: &str = "tls.crt";
/// Key of the private key (`kubernetes.io/tls`).
const PRIVATE_KEY: &str = "tls.key";
/// Key of the CA above the chain; optional.
const CA: &str = "ca.crt";

/// Where issuers find what they refer to.
pub trait Materials: Send + Sync {
    /// What is known of a Secret that one of the issuers refers to.
    fn secret(&self, name: &ObjectName) -> State<Material>;
}

/// Why a Secret is not a CA. The texts hold names of keys, never their contents.
#[derive(Debug, thiserror::Error)]
pub enum CaSecretError {
    /// A key is absent or empty.
    #[error("has no {0:?}; a CA issuer needs tls.crt and tls.key")]
    Missing(&'static str),
    /// The contents are not a CA's.
    #[error("does not hold a usable CA: {}", causes(.0))]
    Authority(#[source] AuthorityError),
}

/// What is kept of a Secret. The Secret itself is dropped as soon as it is read.
pub struct Material {
    entries: BTreeMap<String, Zeroizing<Vec<u8>>>,
    authority: OnceLock<Result<Authority, CaSecretError>>,
}

impl Material {
    /// Takes the data out of a Secret that nobody else needs. Entries that are longer than any bundle are not kept: no issuer
    /// can use them.
    pub fn take(mut secret: Secret) -> Self {
        let mut entries = BTreeMap::new();
        for (key, mut value) in secret.data.take().unwrap_or_default() {
            if value.0.len() > Limit::BUNDLE.bytes {
                value.0.zeroize();
            } else {
                entries.insert(key, Zeroizing::new(value.0));
            }
        }
        Self { entries, authority: OnceLock::new() }
    }

    /// What is under a key of the data; `None` where nothing is.
    pub fn entry(&self, key: &str) -> Option<&[u8]> {
        self.entries.get(key).map(|value| value.as_slice()).filter(|value| !value.is_empty())
    }

    /// The CA that it holds, parsed at the first call.
    ///
    /// # Errors
    /// When it does not hold one.
    pub fn authority(&self) -> Result<&Authority, &CaSecretError> {
        self.authority.get_or_init(|| self.parse()).as_ref()
    }

    fn parse(&self) -> Result<Authority, CaSecretError> {
        let needed = |key| self.entry(key).ok_or(CaSecretError::Missing(key));
        // An empty one is there all the same, and is judged as it is.
        let ca = self.entries.get(CA).map(|value| value.as_slice());
        Authority::from_pem(needed(CERTIFICATE)?, needed(PRIVATE_KEY)?, ca).map_err(CaSecretError::Authority)
    }
}

impl fmt::Debug for Material {
    /// The names of its keys alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use k8s_openapi::ByteString;

    use super::*;

    /// A Secret with this data.
    pub(crate) fn material(data: &[(&str, &[u8])]) -> Material {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec())));
        Material::take(Secret { data: Some(data.collect()), ..Secret::default() })
    }

    /// The same state of whichever Secret.
    pub(crate) struct Only(pub(crate) State<Material>);

    impl Materials for Only {
        fn secret(&self, _: &ObjectName) -> State<Material> {
            self.0.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use issuance::key::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey};
    use jiff::{SignedDuration, Timestamp};

    use super::testing::material;
    use super::*;

    #[test]
    fn what_no_issuer_can_use_is_not_kept() {
        let long = vec![b'a'; Limit::BUNDLE.bytes + 1];
        let kept = material(&[("long", &long), ("empty", b""), ("a", b"b")]);
        assert_eq!((kept.entry("long"), kept.entry("empty"), kept.entry("a")), (None, None, Some(&b"b"[..])));
        assert!(matches!(kept.authority(), Err(CaSecretError::Missing("tls.crt"))));
    }

    #[test]
    fn what_is_kept_of_a_secret_does_not_show_the_key() {
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let ca = Authority::self_signed("root", key, SignedDuration::from_hours(1), now).unwrap();
        let key = ca.key().to_pem(KeyEncoding::Pkcs8).expose().to_vec();
        let kept = material(&[(CERTIFICATE, ca.chain().to_pem().as_bytes()), (PRIVATE_KEY, &key)]);
        kept.authority().unwrap();
        assert_eq!(format!("{kept:?}"), r#"{"tls.crt", "tls.key"}"#);
    }
}

//! The Secret of a CA issuer: what it must hold, parsed once into an [`Authority`].

use std::collections::BTreeMap;

use issuance::authority::{Authority, AuthorityError};
use issuance::outcome::causes;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use zeroize::Zeroize;

/// Key of the certificate chain (`kubernetes.io/tls`).
const CERTIFICATE: &str = "tls.crt";
/// Key of the private key (`kubernetes.io/tls`).
const PRIVATE_KEY: &str = "tls.key";
/// Key of the CA above the chain; optional.
const CA: &str = "ca.crt";

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

/// What is kept of a CA's Secret: the CA, or why it is none. The Secret itself is dropped as soon as it is read.
#[derive(Debug)]
pub struct CaSecret {
    authority: Result<Authority, CaSecretError>,
}

impl CaSecret {
    /// Reads the Secret's data.
    pub fn read(secret: &Secret) -> Self {
        Self { authority: authority(secret.data.as_ref()) }
    }

    /// Reads a Secret that nobody else needs, and erases what it held.
    pub fn take(mut secret: Secret) -> Self {
        let taken = Self::read(&secret);
        erase(&mut secret);
        taken
    }

    /// The CA.
    ///
    /// # Errors
    /// When the Secret does not hold one.
    pub fn authority(&self) -> Result<&Authority, &CaSecretError> {
        self.authority.as_ref()
    }
}

fn erase(secret: &mut Secret) {
    secret.data.iter_mut().flat_map(BTreeMap::values_mut).for_each(|value| value.0.zeroize());
}

fn authority(data: Option<&BTreeMap<String, ByteString>>) -> Result<Authority, CaSecretError> {
    let value = |key| data.and_then(|data| data.get(key)).map(|value| value.0.as_slice());
    let needed = |key| value(key).filter(|value| !value.is_empty()).ok_or(CaSecretError::Missing(key));
    Authority::from_pem(needed(CERTIFICATE)?, needed(PRIVATE_KEY)?, value(CA))
        .map_err(CaSecretError::Authority)
}

#[cfg(test)]
mod tests {
    use issuance::key::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey};
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    fn secret() -> Secret {
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let ca = Authority::self_signed("root", key, SignedDuration::from_hours(1), now).unwrap();
        let key = ca.key().to_pem(KeyEncoding::Pkcs8).expose().to_vec();
        let data = [(CERTIFICATE, ca.chain().to_pem().into_bytes()), (PRIVATE_KEY, key)];
        let data = data.map(|(name, value)| (name.to_owned(), ByteString(value)));
        Secret { data: Some(data.into()), ..Secret::default() }
    }

    #[test]
    fn a_secret_that_was_read_holds_nothing_any_more() {
        let mut secret = secret();
        erase(&mut secret);
        assert!(secret.data.unwrap().values().all(|value| value.0.is_empty()));
    }

    #[test]
    fn what_is_kept_of_a_secret_does_not_show_the_key() {
        let secret = secret();
        let key = String::from_utf8(secret.data.as_ref().unwrap()[PRIVATE_KEY].0.clone()).unwrap();
        let kept = CaSecret::take(secret);
        kept.authority().unwrap();
        let shown = format!("{kept:?}");
        assert!(!shown.contains("PRIVATE KEY"), "{shown}");
        assert!(!shown.contains(key.lines().nth(1).unwrap()), "{shown}");
    }
}

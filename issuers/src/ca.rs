//! The Secret of a CA issuer: what it must hold, parsed once into an [`Authority`].

use std::collections::BTreeMap;

use issuance::authority::{Authority, AuthorityError};
use issuance::outcome::causes;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

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

    /// The CA.
    ///
    /// # Errors
    /// When the Secret does not hold one.
    pub fn authority(&self) -> Result<&Authority, &CaSecretError> {
        self.authority.as_ref()
    }
}

fn authority(data: Option<&BTreeMap<String, ByteString>>) -> Result<Authority, CaSecretError> {
    let value = |key| data.and_then(|data| data.get(key)).map(|value| value.0.as_slice());
    let needed = |key| value(key).filter(|value| !value.is_empty()).ok_or(CaSecretError::Missing(key));
    Authority::from_pem(needed(CERTIFICATE)?, needed(PRIVATE_KEY)?, value(CA))
        .map_err(CaSecretError::Authority)
}

//! Serving TLS whose certificate can be swapped while connections are open.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Why a pair cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServingCertificateError {
    /// The key is of a kind that TLS cannot use.
    #[error("the private key cannot be used for TLS")]
    Key(#[source] rustls::Error),
    /// Key and certificate do not belong together.
    #[error("the private key does not belong to the certificate")]
    Mismatch(#[source] rustls::Error),
}

/// The certificate that a server presents. Each handshake takes the newest one; connections that are open stay open.
#[derive(Default)]
pub struct ServingCertificate {
    current: ArcSwapOption<CertifiedKey>,
}

impl ServingCertificate {
    /// A server without a certificate: it refuses handshakes until [`Self::set`] is called.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Serves this chain, leaf first, from the next handshake on.
    ///
    /// # Errors
    /// When the pair cannot be used; the previous one stays.
    pub fn set(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<(), ServingCertificateError> {
        let key = aws_lc_rs::sign::any_supported_type(key).map_err(ServingCertificateError::Key)?;
        let pair = CertifiedKey::new(chain, key);
        pair.keys_match().map_err(ServingCertificateError::Mismatch)?;
        self.current.store(Some(Arc::new(pair)));
        Ok(())
    }

    /// Whether there is a certificate to serve.
    pub fn is_set(&self) -> bool {
        self.current.load().is_some()
    }
}

impl fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingCertificate").field("set", &self.is_set()).finish()
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

/// A server configuration without client authentication that presents `certificate` and offers `alpn` protocols, the
/// preferred one first.
pub fn server_config(certificate: Arc<ServingCertificate>, alpn: &[&str]) -> ServerConfig {
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(certificate);
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

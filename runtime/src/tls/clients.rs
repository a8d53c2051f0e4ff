//! Which clients a server talks to.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

/// Why clients cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// The CAs cannot be read.
    #[error("cannot read the CAs of clients")]
    Cas(#[source] rustls::pki_types::pem::Error),
    /// A certificate among the CAs cannot be used.
    #[error("cannot use certificate {position} of the CAs of clients")]
    Ca {
        /// Which one, from 1.
        position: usize,
        /// What is wrong with it.
        source: Error,
    },
    /// There is no CA.
    #[error("there is no certificate among the CAs of clients")]
    NoCa,
    /// The CAs do not make a verifier.
    #[error("cannot verify clients by these CAs")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

/// Says of a verified certificate whether its owner is wanted.
type Wanted = dyn Fn(&CertificateDer<'_>) -> bool + Send + Sync;

/// Clients that must show a certificate.
#[derive(Clone)]
pub struct Clients {
    roots: Arc<RootCertStore>,
    is_wanted: Arc<Wanted>,
}

impl Clients {
    /// Clients with a certificate of one of these CAs (PEM) that is for client authentication, and of which
    /// `is_wanted` holds.
    ///
    /// # Errors
    /// When there is no CA, or one cannot be used.
    pub fn new(
        cas: &[u8],
        is_wanted: impl Fn(&CertificateDer<'_>) -> bool + Send + Sync + 'static,
    ) -> Result<Self, ClientsError> {
        let mut roots = RootCertStore::empty();
        for (index, ca) in CertificateDer::pem_slice_iter(cas).enumerate() {
            let ca = ca.map_err(ClientsError::Cas)?;
            let failed = |source| ClientsError::Ca { position: index.saturating_add(1), source };
            roots.add(ca).map_err(failed)?;
        }
        if roots.is_empty() {
            return Err(ClientsError::NoCa);
        }
        Ok(Self { roots: Arc::new(roots), is_wanted: Arc::new(is_wanted) })
    }

    pub(super) fn verifier(
        &self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, ClientsError> {
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider)
            .build()
            .map_err(ClientsError::Verifier)?;
        Ok(Arc::new(Verifier { chain, is_wanted: Arc::clone(&self.is_wanted) }))
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

struct Verifier {
    chain: Arc<dyn ClientCertVerifier>,
    is_wanted: Arc<Wanted>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("chain", &self.chain).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(certificate, intermediates, now)?;
        if (self.is_wanted)(certificate) {
            return Ok(verified);
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

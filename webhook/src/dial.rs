//! Whether a call would really get through: a handshake with the own listener, as the API server does it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::handshakes::Handshakes;
use runtime::shutdown::Shutdown;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, client};
use serving::renewer::Served;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

/// Pause between two handshakes.
const INTERVAL: Duration = Duration::from_secs(10);
/// Pause after a failed one.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Time for a handshake over loopback; kubelet's probe waits a second.
const TIME_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("cannot trust the own CA")]
    Ca(#[source] rustls::Error),
    #[error("no connection to the own listener at {address}")]
    Connect { address: SocketAddr, source: std::io::Error },
    #[error("no TLS handshake under the name {}", name.to_str())]
    Handshake { name: ServerName<'static>, source: std::io::Error },
    #[error("no TLS handshake within {TIME_MAX:?}")]
    Late,
}

/// Dials the own listener again and again.
#[derive(Debug, Clone)]
pub struct Dialer {
    address: SocketAddr,
    handshakes: Handshakes,
    outcome: Arc<Mutex<Result<(), String>>>,
}

impl Dialer {
    /// A dialer that has not dialled yet. `address` may be unspecified: then loopback is dialled. The listener counts its
    /// handshakes by `handshakes`.
    pub fn new(address: SocketAddr, handshakes: Handshakes) -> Self {
        let mut address = address;
        if address.ip().is_unspecified() {
            let loopback: std::net::IpAddr = if address.is_ipv4() {
                std::net::Ipv4Addr::LOCALHOST.into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            };
            address.set_ip(loopback);
        }
        let outcome = Arc::new(Mutex::new(Err("not dialled yet".to_owned())));
        Self { address, handshakes, outcome }
    }

    /// What the last handshake came to.
    ///
    /// # Errors
    /// Why it failed.
    pub fn outcome(&self) -> Result<(), String> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs until shutdown.
    pub async fn run(self, mut served: watch::Receiver<Option<Served>>, shutdown: Shutdown) {
        loop {
            let now_served = served.borrow_and_update().clone();
            let pause = match now_served {
                None => INTERVAL, // woken by the first certificate
                Some(served) => self.attempt(&served).await,
            };
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(pause) => {}
                Ok(()) = served.changed() => {}
            }
        }
    }

    async fn attempt(&self, served: &Served) -> Duration {
        let late = |_| Err(DialError::Late);
        let outcome = tokio::time::timeout(TIME_MAX, self.dial(served)).await.unwrap_or_else(late);
        let outcome = outcome.map_err(|error| format!("{:#}", anyhow::Error::new(error)));
        let pause = if outcome.is_ok() { INTERVAL } else { RETRY_INTERVAL };
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
        pause
    }

    async fn dial(&self, served: &Served) -> Result<(), DialError> {
        let config = config(served)?;
        let stream = TcpStream::connect(self.address)
            .await
            .map_err(|source| DialError::Connect { address: self.address, source })?;
        if let Ok(address) = stream.local_addr() {
            self.handshakes.expect_own(address);
        }
        TlsConnector::from(Arc::new(config))
            .connect(served.name.clone(), stream)
            .await
            .map_err(|source| DialError::Handshake { name: served.name.clone(), source })?;
        Ok(())
    }
}

/// Trusts the CA, or where callers' CA is not known, the certificate itself.
fn config(served: &Served) -> Result<ClientConfig, DialError> {
    let builder = ClientConfig::builder();
    Ok(match &served.ca {
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.der().to_vec().into()).map_err(DialError::Ca)?;
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        None => {
            let certificate = served.certificate.der().to_vec().into();
            let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
            let pinned = Arc::new(Pinned { certificate, algorithms });
            builder.dangerous().with_custom_certificate_verifier(pinned).with_no_client_auth()
        }
    })
}

/// Trusts one certificate, for the names that it is for, from somebody who has its key. Who has signed it is up to those
/// who gave it to us.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity != self.certificate {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use issuance::authority::Authority;
    use jiff::{SignedDuration, Timestamp};
    use runtime::tls::{self, ServingCertificate};
    use serving::configurations::Wanted;
    use serving::keeping::new_ca;
    use serving::{CA_LIFETIME, LeafTerms, new_leaf};

    use super::*;

    const NAME: &str = "webhook.ns.svc";

    fn authority() -> Arc<Authority> {
        new_ca(CA_LIFETIME, Timestamp::now()).unwrap()
    }

    fn name(name: &str) -> ServerName<'static> {
        ServerName::try_from(name.to_owned()).unwrap()
    }

    /// Serves a certificate for `of`, and tells what a dialer under the name `to` would expect.
    fn serve(certificate: &ServingCertificate, authority: &Authority, of: &str, to: &str) -> Served {
        let terms = LeafTerms { names: &[name(of)], lifetime: SignedDuration::from_hours(1), replica: "a" };
        let leaf = new_leaf(authority, terms, Timestamp::now()).unwrap();
        certificate.set(leaf.chain, &leaf.key).unwrap();
        let wanted = Wanted::default();
        Served { certificate: leaf.certificate, name: name(to), ca: Some(leaf.ca), wanted }
    }

    async fn check(dialer: &Dialer, served: &Served, wanted: &str) {
        dialer.attempt(served).await;
        let outcome = dialer.outcome().err().unwrap_or_default();
        assert!(outcome.contains(wanted) && outcome.is_empty() == wanted.is_empty(), "{outcome:?}");
    }

    async fn listen(certificate: &Arc<ServingCertificate>) -> Dialer {
        runtime::install_crypto();
        let listener = runtime::listen::bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let config = tls::server_config(Arc::clone(certificate), &serving::source::ALPN);
        let (router, end) = (axum::Router::new(), Shutdown::default());
        tokio::spawn(runtime::server::serve(listener, Some(config.into()), router, end, Duration::ZERO));
        Dialer::new(address, Handshakes::default())
    }

    #[tokio::test]
    async fn a_listener_that_callers_would_not_trust_is_found_out() {
        let certificate = ServingCertificate::new();
        let dialer = listen(&certificate).await;
        assert_eq!(dialer.outcome(), Err("not dialled yet".to_owned()));
        let elsewhere = ServingCertificate::new();
        let unserved = serve(&elsewhere, &authority(), NAME, NAME);
        check(&dialer, &unserved, "no TLS handshake under the name").await;
        let other_name = serve(&certificate, &authority(), "other.ns.svc", NAME);
        check(&dialer, &other_name, "not valid for name").await;
        serve(&certificate, &authority(), NAME, NAME);
        check(&dialer, &unserved, "BadSignature").await;
    }

    #[tokio::test]
    async fn without_a_known_ca_only_the_very_certificate_is_trusted() {
        let certificate = ServingCertificate::new();
        let dialer = listen(&certificate).await;
        let pinned = |served: Served| Served { ca: None, ..served };
        let old = pinned(serve(&certificate, &authority(), NAME, NAME));
        check(&dialer, &old, "").await;
        let other_name = pinned(serve(&certificate, &authority(), "other.ns.svc", NAME));
        check(&dialer, &other_name, "not valid for name").await;
        let new = pinned(serve(&certificate, &authority(), NAME, NAME));
        check(&dialer, &old, "no TLS handshake under the name").await;
        check(&dialer, &new, "").await;
    }

    #[tokio::test]
    async fn a_certificate_is_swapped_without_a_new_listener() {
        let certificate = ServingCertificate::new();
        let dialer = listen(&certificate).await;
        for name in [NAME, "127.0.0.1", NAME] {
            let served = serve(&certificate, &authority(), name, name);
            check(&dialer, &served, "").await;
        }
    }

    #[tokio::test]
    async fn a_listener_that_is_gone_is_found_out() {
        let listener = runtime::listen::bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let served = serve(&ServingCertificate::new(), &authority(), NAME, NAME);
        let dialer = Dialer::new(address, Handshakes::default());
        check(&dialer, &served, "no connection to the own listener at 127.0.0.1").await;
    }
}

//! Whether a call would really get through: a handshake with the own listener, as the API server does it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runtime::handshakes::Handshakes;
use runtime::lock::lock;
use runtime::shutdown::Shutdown;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, client};
use serving::renewer::Served;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

/// Pause between two handshakes.
const INTERVAL: Duration = Duration::from_secs(10);
/// Pause after a failed one.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Time for a handshake over loopback; kubelet's probe waits a second.
const TIME_MAX: Duration = Duration::from_secs(1);
/// How long a handshake that succeeded counts although later ones find no place: a flood of strangers must not make a replica
/// unready that serves those who were there before, least of all every replica at once.
const SUCCESS_COUNTS: Duration = Duration::from_secs(30);

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

impl DialError {
    /// Whether the listener was merely too busy to answer, and so has said nothing about what it would answer.
    fn is_of_crowd(&self) -> bool {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
        match self {
            Self::Late => true,
            Self::Handshake { source, .. } => {
                matches!(
                    source.kind(),
                    BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut | UnexpectedEof
                )
            }
            Self::Connect { source, .. } => matches!(source.kind(), ConnectionReset | TimedOut),
            Self::Ca(_) => false,
        }
    }
}

/// Dials the own listener again and again.
#[derive(Debug, Clone)]
pub struct Dialer {
    address: SocketAddr,
    handshakes: Handshakes,
    dialled: Arc<Mutex<Dialled>>,
}

/// What came of the handshakes.
#[derive(Debug)]
struct Dialled {
    outcome: Result<(), String>,
    succeeded_at: Option<Instant>,
}

impl Dialled {
    /// Takes in what a handshake came to.
    fn note(&mut self, outcome: &Result<(), DialError>, now: Instant) {
        match outcome {
            Ok(()) => *self = Self { outcome: Ok(()), succeeded_at: Some(now) },
            Err(error) => {
                let is_fresh = |at| now.saturating_duration_since(at) < SUCCESS_COUNTS;
                if !(error.is_of_crowd() && self.outcome.is_ok() && self.succeeded_at.is_some_and(is_fresh)) {
                    self.outcome = Err(causes(error));
                }
            }
        }
    }
}

/// An error with its causes.
fn causes(error: &DialError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
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
        let nothing = Dialled { outcome: Err("not dialled yet".to_owned()), succeeded_at: None };
        Self { address, handshakes, dialled: Arc::new(Mutex::new(nothing)) }
    }

    /// What the last handshake came to that found a place.
    ///
    /// # Errors
    /// Why it failed.
    pub fn outcome(&self) -> Result<(), String> {
        lock(&self.dialled).outcome.clone()
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
        lock(&self.dialled).note(&outcome, Instant::now());
        if outcome.is_ok() { INTERVAL } else { RETRY_INTERVAL }
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

    #[test]
    fn a_crowd_makes_nobody_unready_for_half_a_minute_and_a_fault_does_at_once() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let handshake =
            |kind: std::io::ErrorKind| DialError::Handshake { name: name(NAME), source: kind.into() };
        let check = |error: DialError, seconds: u64, is_ready: bool| {
            let mut dialled = Dialled { outcome: Err("not dialled yet".to_owned()), succeeded_at: None };
            dialled.note(&Ok(()), now);
            let shown = error.to_string();
            dialled.note(&Err(error), after(seconds));
            assert_eq!(dialled.outcome.is_ok(), is_ready, "{shown} after {seconds} s");
        };
        check(DialError::Late, 30, false);
        check(handshake(std::io::ErrorKind::InvalidData), 1, false);
        let refused = std::io::ErrorKind::ConnectionRefused.into();
        check(DialError::Connect { address: ([127, 0, 0, 1], 1).into(), source: refused }, 1, false);
        check(DialError::Late, 29, true);
        check(handshake(std::io::ErrorKind::UnexpectedEof), 29, true);
        let mut unready = Dialled { outcome: Err("expired".to_owned()), succeeded_at: Some(now) };
        unready.note(&Err(DialError::Late), after(1));
        assert!(unready.outcome.is_err(), "what was found wrong stays so");
    }

    #[tokio::test]
    async fn a_flood_of_connections_leaves_it_ready() {
        let certificate = ServingCertificate::new();
        let dialer = listen(&certificate).await;
        let served = serve(&certificate, &authority(), NAME, NAME);
        check(&dialer, &served, "").await;
        let mut strangers = Vec::new();
        for _ in 0..600 {
            strangers.push(TcpStream::connect(dialer.address).await.unwrap());
        }
        check(&dialer, &served, "").await;
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

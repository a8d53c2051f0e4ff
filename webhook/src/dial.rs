//! Whether a call would really get through: a handshake with the own listener, as the API server does it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::shutdown::Shutdown;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use crate::renewer::Served;

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
    name: ServerName<'static>,
    outcome: Arc<Mutex<Result<(), String>>>,
}

impl Dialer {
    /// A dialer that has not dialled yet. `address` may be unspecified: then loopback is dialled.
    pub fn new(address: SocketAddr, name: ServerName<'static>) -> Self {
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
        Self { address, name, outcome }
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
            let ca = served.borrow_and_update().clone().map(|served| served.ca);
            let pause = match ca {
                None => INTERVAL, // woken by the first certificate
                Some(ca) => self.attempt(ca.der().to_vec().into()).await,
            };
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(pause) => {}
                Ok(()) = served.changed() => {}
            }
        }
    }

    async fn attempt(&self, ca: CertificateDer<'static>) -> Duration {
        let late = |_| Err(DialError::Late);
        let outcome = tokio::time::timeout(TIME_MAX, self.dial(ca)).await.unwrap_or_else(late);
        let outcome = outcome.map_err(|error| format!("{:#}", anyhow::Error::new(error)));
        let pause = if outcome.is_ok() { INTERVAL } else { RETRY_INTERVAL };
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
        pause
    }

    async fn dial(&self, ca: CertificateDer<'static>) -> Result<(), DialError> {
        let mut roots = RootCertStore::empty();
        roots.add(ca).map_err(DialError::Ca)?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(self.address)
            .await
            .map_err(|source| DialError::Connect { address: self.address, source })?;
        TlsConnector::from(Arc::new(config))
            .connect(self.name.clone(), stream)
            .await
            .map_err(|source| DialError::Handshake { name: self.name.clone(), source })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use issuance::authority::Authority;
    use jiff::{SignedDuration, Timestamp};
    use runtime::tls::{self, ServingCertificate};

    use super::*;
    use crate::serving::{self, Plan};

    fn authority() -> Authority {
        let now = Timestamp::now();
        match serving::plan(Some(&serving::new_ca(now).unwrap()), now) {
            Plan::Use(authority) => *authority,
            Plan::Replace(reason) => panic!("{reason}"),
        }
    }

    fn serve_with(certificate: &ServingCertificate, authority: &Authority, name: &ServerName<'static>) {
        let (names, life) = ([name.clone()], SignedDuration::from_hours(1));
        let leaf = serving::new_leaf(authority, &names, life, Timestamp::now()).unwrap();
        certificate.set(leaf.chain, &leaf.key).unwrap();
    }

    fn trust(authority: &Authority) -> CertificateDer<'static> {
        authority.certificate().der().to_vec().into()
    }

    async fn check(dialer: &Dialer, authority: &Authority, wanted: &str) {
        dialer.attempt(trust(authority)).await;
        let outcome = dialer.outcome().err().unwrap_or_default();
        assert!(outcome.contains(wanted) && outcome.is_empty() == wanted.is_empty(), "{outcome:?}");
    }

    /// A listener, and a dialer under this name.
    async fn listen(certificate: &Arc<ServingCertificate>, name: &str) -> Dialer {
        runtime::install_crypto();
        let listener = runtime::listen::bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let config = tls::server_config(Arc::clone(certificate), &crate::ALPN);
        let (router, end) = (axum::Router::new(), Shutdown::default());
        tokio::spawn(runtime::server::serve(listener, Some(config), router, end, Duration::ZERO));
        Dialer::new(address, ServerName::try_from(name.to_owned()).unwrap())
    }

    #[tokio::test]
    async fn a_listener_that_callers_would_not_trust_is_found_out() {
        let certificate = ServingCertificate::new();
        let (ours, theirs) = (authority(), authority());
        let dialer = listen(&certificate, "webhook.ns.svc").await;
        assert_eq!(dialer.outcome(), Err("not dialled yet".to_owned()));
        check(&dialer, &ours, "no TLS handshake under the name").await;
        serve_with(&certificate, &ours, &ServerName::try_from("other.ns.svc").unwrap());
        check(&dialer, &ours, "not valid for name").await;
        serve_with(&certificate, &ours, &dialer.name);
        check(&dialer, &theirs, "BadSignature").await;
    }

    #[tokio::test]
    async fn a_certificate_is_swapped_without_a_new_listener() {
        let certificate = ServingCertificate::new();
        for name in ["webhook.ns.svc", "127.0.0.1"] {
            let dialer = listen(&certificate, name).await;
            for authority in [authority(), authority()] {
                serve_with(&certificate, &authority, &dialer.name);
                check(&dialer, &authority, "").await;
            }
        }
    }

    #[tokio::test]
    async fn a_listener_that_is_gone_is_found_out() {
        let listener = runtime::listen::bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let dialer = Dialer::new(address, ServerName::try_from("webhook.ns.svc").unwrap());
        check(&dialer, &authority(), "no connection to the own listener at 127.0.0.1").await;
    }
}

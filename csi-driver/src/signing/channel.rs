//! The connection to the signer service, in TLS that trusts what the controller has published.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use issuance::bundle::Bundle;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use runtime::watch::{self, NamedObjects, ObjectName, State};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::watch::Receiver;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// The key of the ConfigMap that holds the CAs, PEM.
const KEY: &str = "ca.crt";

/// Time for the CAs to be read, for the connection, and for the handshake, each.
const STEP_TIME_MAX: Duration = Duration::from_secs(5);

/// Pause between pings, so that a service that is gone is noticed.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Time for the answer to one.
const PING_TIME_MAX: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody has said yet whom to trust.
    #[error("the CA of the signer service is not known: {0}")]
    Untrusted(String),
    /// No connection.
    #[error("cannot connect to the signer service at {0}")]
    Connect(String, #[source] std::io::Error),
    /// It took too long.
    #[error("the signer service at {0} did not answer within {STEP_TIME_MAX:?}")]
    Late(String),
}

/// Where the service is.
#[derive(Debug, Clone)]
pub struct Address {
    host: ServerName<'static>,
    text: String,
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no address of a service; write NAME:PORT, such as signer.signet.svc:443");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        port.parse::<u16>().map_err(|_| wrong())?;
        let host = ServerName::try_from(host.to_owned()).map_err(|_| wrong())?;
        Ok(Self { host, text: text.to_owned() })
    }
}

/// What is trusted: the certificates in a ConfigMap, which is watched for as long as this lives.
#[derive(Debug, Clone)]
pub struct Trust {
    _maps: NamedObjects<Bundle>,
    published: Receiver<State<Bundle>>,
}

impl Trust {
    /// Watches the ConfigMap.
    ///
    /// # Errors
    /// When too much is watched already.
    pub fn of(client: Client, name: &ObjectName) -> anyhow::Result<Self> {
        let maps = NamedObjects::namespaced(client, published);
        let published = maps.get(name)?;
        Ok(Self { _maps: maps, published })
    }
}

fn published(map: ConfigMap) -> Bundle {
    let text = map.data.and_then(|mut data| data.remove(KEY));
    text.and_then(|text| Bundle::parse(text.as_bytes()).ok()).unwrap_or_default()
}

/// A channel that connects when it is used, and again after it was lost. Each connection goes by what is trusted then, so
/// that a new CA needs no restart.
///
/// # Errors
/// When the address makes no URI.
pub fn channel(address: Address, trust: Trust) -> anyhow::Result<Channel> {
    // TLS is the connector's.
    let endpoint = Endpoint::from_shared(format!("http://{}", address.text))?
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIME_MAX)
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_with_connector_lazy(Connector { address, trust }))
}

#[derive(Clone)]
struct Connector {
    address: Address,
    trust: Trust,
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

impl Connector {
    async fn connect(mut self) -> Result<TlsStream<TcpStream>, ConnectError> {
        let text = self.address.text.clone();
        let (late, failed) =
            (|_| ConnectError::Late(text.clone()), |error| ConnectError::Connect(text.clone(), error));
        let answered = tokio::time::timeout(STEP_TIME_MAX, watch::answer(&mut self.trust.published)).await;
        let config = config(&answered.unwrap_or(State::Pending))?;
        let connecting = TcpStream::connect(&self.address.text);
        let stream = tokio::time::timeout(STEP_TIME_MAX, connecting).await.map_err(late)?.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let shaking = TlsConnector::from(Arc::new(config)).connect(self.address.host, stream);
        tokio::time::timeout(STEP_TIME_MAX, shaking).await.map_err(late)?.map_err(failed)
    }
}

fn config(trusted: &State<Bundle>) -> Result<ClientConfig, ConnectError> {
    let bundle = match trusted {
        State::Present(bundle) => bundle,
        State::Absent => return Err(ConnectError::Untrusted("its ConfigMap does not exist yet".to_owned())),
        State::Pending => return Err(ConnectError::Untrusted("the API server gave no answer".to_owned())),
        State::Failed(failure) => return Err(ConnectError::Untrusted(failure.to_string())),
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(bundle.certificates().iter().map(|ca| ca.der().into()));
    if roots.is_empty() {
        return Err(ConnectError::Untrusted(format!("its ConfigMap has no certificates under {KEY}")));
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use runtime::watch::Failure;

    use super::*;

    #[test]
    fn an_address_has_a_name_and_a_port() {
        for wrong in ["", "signer", "signer:", ":443", "signer:x", "signer:70000", "a b:443"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
        let address: Address = "signer.signet.svc:443".parse().unwrap();
        assert_eq!(address.host.to_str(), "signer.signet.svc");
    }

    #[test]
    fn nobody_is_trusted_without_a_ca() {
        runtime::install_crypto();
        let check = |state: State<Bundle>, why: &str| {
            let error = config(&state).unwrap_err().to_string();
            assert_eq!(error, format!("the CA of the signer service is not known: {why}"));
        };
        check(State::Absent, "its ConfigMap does not exist yet");
        check(State::Pending, "the API server gave no answer");
        check(State::Failed(Failure { code: Some(403), message: "forbidden".to_owned() }), "forbidden");
        let empty = published(ConfigMap::default());
        check(State::Present(Arc::new(empty)), "its ConfigMap has no certificates under ca.crt");
    }
}

//! Speaks to the webhook's replicas directly, as the API server does but with any bytes.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use e2e::cluster::Cluster;
use e2e::install;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// The webhook's port in its pods.
const PORT: u16 = 10_250;

/// The name under which the API server calls it.
const NAME: &str = "cert-manager-webhook.cert-manager.svc";

/// The Secret with its CA.
pub(crate) const SECRET: &str = "cert-manager-webhook-ca";

/// How long one answer may take on a busy machine.
const IO_TIMEOUT: Duration = Duration::from_secs(20);

/// Trusts the webhook's CA and nothing else.
pub(crate) struct Reviewer {
    cluster: Cluster,
    tls: Arc<ClientConfig>,
    name: String,
    port: u16,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Reviewer {
    pub(crate) async fn new(cluster: &Cluster) -> anyhow::Result<Self> {
        Self::of(cluster, install::RELEASE, SECRET, NAME).await
    }

    /// Of another installation: the namespace and name of its CA's Secret, and the name under which it serves.
    pub(crate) async fn of(
        cluster: &Cluster,
        namespace: &str,
        secret: &str,
        name: &str,
    ) -> anyhow::Result<Self> {
        let secrets = Api::<Secret>::namespaced(cluster.client().await?, namespace);
        let secret = secrets.get(secret).await?;
        let ca = secret.data.and_then(|mut data| data.remove("ca.crt")).context("the webhook has no CA")?;
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&ca.0) {
            roots.add(root.context("the webhook's CA is not PEM")?)?;
        }
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { cluster: cluster.clone(), tls: Arc::new(tls), name: name.to_owned(), port: PORT })
    }

    /// The same for another port of the pods.
    pub(crate) fn at_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Shakes hands with one replica: it serves under the CA, or this fails.
    pub(crate) fn open(
        &self,
        replica: &Pod,
    ) -> anyhow::Result<StreamOwned<ClientConnection, std::net::TcpStream>> {
        let socket = self.cluster.network().connect(self.address(replica)?)?;
        socket.set_read_timeout(Some(IO_TIMEOUT))?;
        socket.set_write_timeout(Some(IO_TIMEOUT))?;
        let connection = ClientConnection::new(Arc::clone(&self.tls), self.name.clone().try_into()?)?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).context("the handshake failed")?;
        }
        Ok(stream)
    }

    /// The same on the runtime.
    pub(crate) async fn open_async(
        &self,
        replica: &Pod,
    ) -> anyhow::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
        let socket = self.cluster.network().connect_async(self.address(replica)?).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls));
        connector.connect(self.name.clone().try_into()?, socket).await.context("the handshake failed")
    }

    /// Sends one request to one replica on a connection of its own.
    pub(crate) fn send(
        &self,
        replica: &Pod,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> anyhow::Result<Answer> {
        let mut stream = self.open(replica)?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.name,
            body.len()
        );
        stream.write_all(head.as_bytes()).context("failed to send the head")?;
        stream.write_all(body).context("failed to send the body")?;
        stream.flush()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("failed to read the answer")?;
        parse(&answer).with_context(|| format!("the answer is {answer:?}"))
    }

    fn address(&self, replica: &Pod) -> anyhow::Result<SocketAddr> {
        Ok(SocketAddr::new(address(replica)?.ip(), self.port))
    }
}

/// Where a replica takes reviews, in the cluster's network.
pub(crate) fn address(replica: &Pod) -> anyhow::Result<SocketAddr> {
    let address = replica.status.as_ref().and_then(|status| status.pod_ip.as_deref());
    let address: IpAddr = address.context("a replica has no address")?.parse()?;
    Ok(SocketAddr::new(address, PORT))
}

fn parse(answer: &str) -> anyhow::Result<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n").context("it has no end of the head")?;
    let status = head.split(' ').nth(1).context("it has no status")?.parse()?;
    Ok(Answer { status, body: body.to_owned() })
}

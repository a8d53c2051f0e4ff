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

/// How long one answer may take on a busy machine.
const IO_TIMEOUT: Duration = Duration::from_secs(20);

/// Trusts the webhook's CA and nothing else.
pub(crate) struct Reviewer {
    cluster: Cluster,
    tls: Arc<ClientConfig>,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Reviewer {
    pub(crate) async fn new(cluster: &Cluster) -> anyhow::Result<Self> {
        let secrets = Api::<Secret>::namespaced(cluster.client().await?, install::RELEASE);
        let secret = secrets.get("cert-manager-webhook-ca").await?;
        let ca = secret.data.and_then(|mut data| data.remove("ca.crt")).context("the webhook has no CA")?;
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&ca.0) {
            roots.add(root.context("the webhook's CA is not PEM")?)?;
        }
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { cluster: cluster.clone(), tls: Arc::new(tls) })
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
        let address = replica.status.as_ref().and_then(|status| status.pod_ip.as_deref());
        let address: IpAddr = address.context("a replica has no address")?.parse()?;
        let socket = self.cluster.network().connect(SocketAddr::new(address, PORT))?;
        socket.set_read_timeout(Some(IO_TIMEOUT))?;
        socket.set_write_timeout(Some(IO_TIMEOUT))?;
        let connection = ClientConnection::new(Arc::clone(&self.tls), NAME.try_into()?)?;
        let mut stream = StreamOwned::new(connection, socket);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).context("failed to send the head")?;
        stream.write_all(body).context("failed to send the body")?;
        stream.flush()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("failed to read the answer")?;
        parse(&answer).with_context(|| format!("the answer is {answer:?}"))
    }
}

fn parse(answer: &str) -> anyhow::Result<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n").context("it has no end of the head")?;
    let status = head.split(' ').nth(1).context("it has no status")?.parse()?;
    Ok(Answer { status, body: body.to_owned() })
}

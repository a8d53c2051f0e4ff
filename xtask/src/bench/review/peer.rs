//! cert-manager's own webhook beside ours.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use e2e::authority::Authority;
use e2e::cluster::Cluster;
use e2e::netns::Network;
use e2e::toolchain::{Tool, Toolchain};
use e2e::wait;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio_rustls::TlsConnector;

use super::{Server, client_config};
use crate::bench::process::Process;

/// A port that nothing else in the webhook's pod has.
const PORT: u16 = 20_250;

/// What its certificate is for.
const NAME: &str = "localhost";

/// How long it may take to start on a busy machine.
const WITHIN: Duration = Duration::from_secs(60);

/// A process that ends with this value.
pub(super) struct Peer {
    pub(super) server: Server,
    child: Child,
    _files: TempDir,
}

impl Peer {
    /// Starts it in the network of the webhook's pod: a packet has the same way to both. The reviews ask for nothing that
    /// it would have to ask the API server for.
    pub(super) async fn start_beside(webhook: &Server, cluster: &Cluster) -> anyhow::Result<Self> {
        let program = Toolchain::ensure(&[Tool::PeerWebhook])?.path(Tool::PeerWebhook);
        let (ca, pair) = Authority::with_server("CA of the peer", &[NAME.to_owned()])?;
        let files = TempDir::new().context("failed to create a folder")?;
        let path = |name: &str| files.path().join(name);
        fs::write(path("tls.crt"), &pair.certificate).context("failed to write its certificate")?;
        fs::write(path("tls.key"), &pair.key).context("failed to write its key")?;
        let child = Network::of_process(webhook.process.id())
            .command(&program)
            .arg(format!("--secure-port={PORT}"))
            .arg("--healthz-port=0")
            .arg(format!("--kubeconfig={}", cluster.kubeconfig().display()))
            .arg(format!("--tls-cert-file={}", path("tls.crt").display()))
            .arg(format!("--tls-private-key-file={}", path("tls.key").display()))
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        // nsenter replaces itself by the program, so the child is the server.
        let process = Process::of(&child)?;
        let tls = TlsConnector::from(Arc::new(client_config(ca.certificate.as_bytes())?));
        let address = SocketAddr::new(webhook.address.ip(), PORT);
        let (network, name) = (webhook.network.clone(), ServerName::try_from(NAME)?);
        let peer = Self { server: Server { process, network, address, name, tls }, child, _files: files };
        wait::until("cert-manager's webhook", WITHIN, || peer.server.connect_once()).await?;
        Ok(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Its exit status says nothing about what was measured.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

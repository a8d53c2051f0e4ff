//! Certificate volumes as the node sees them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;

use crate::cluster::Cluster;

/// The driver's name.
pub const DRIVER: &str = "csi.cert-manager.io";

/// The driver's folder with the volumes, as the node has it.
pub const DATA_ROOT: &str = "run/csi.cert-manager.io";

/// Where kubelet has a pod's inline volume, seen from here. Volumes are called `csi-0`, `csi-1`, ...; see
/// [`crate::objects::PodExt::csi_volume`].
///
/// # Errors
/// When the pod has no UID, or the node's kubelet does not run.
pub fn path(cluster: &Cluster, node: u8, pod: &Pod, volume: &str) -> anyhow::Result<PathBuf> {
    let uid = pod.metadata.uid.as_deref().context("the pod has no UID yet")?;
    let root = cluster.node_root(node)?;
    Ok(root
        .join("var/lib/kubelet/pods")
        .join(uid)
        .join("volumes/kubernetes.io~csi")
        .join(volume)
        .join("mount"))
}

/// The folders below the driver's data root whose state mentions `text`, such as a pod's UID.
///
/// # Errors
/// When the data root cannot be read.
pub fn stored(cluster: &Cluster, node: u8, text: &str) -> anyhow::Result<Vec<PathBuf>> {
    let root = cluster.node_root(node)?.join(DATA_ROOT).join("inmemfs");
    let mut found = Vec::new();
    for entry in fs::read_dir(&root).with_context(|| format!("failed to list {}", root.display()))? {
        let folder = entry?.path();
        // It may be removed at this moment.
        let state = fs::read_to_string(folder.join("metadata.json")).unwrap_or_default();
        if state.contains(text) {
            found.push(folder);
        }
    }
    Ok(found)
}

/// Files of a volume that were written together.
pub struct Generation {
    /// The name of their folder.
    pub name: String,
    /// `tls.crt`.
    pub chain: Vec<CertificateDer<'static>>,
    /// `tls.key`.
    pub key: PrivateKeyDer<'static>,
    /// `ca.crt`.
    pub ca: Vec<CertificateDer<'static>>,
}

impl Generation {
    /// Reads the generation that `..data` points to at this moment, and all its files from there.
    ///
    /// # Errors
    /// When a file is missing or not what it should be.
    pub fn read(volume: &Path) -> anyhow::Result<Self> {
        let link = volume.join("..data");
        let target = fs::read_link(&link).with_context(|| format!("failed to read {}", link.display()))?;
        let folder = volume.join(&target);
        let file = |name: &str| {
            fs::read(folder.join(name))
                .with_context(|| format!("failed to read {name} of {}", folder.display()))
        };
        Ok(Self {
            name: target.display().to_string(),
            chain: certificates(&file("tls.crt")?).context("tls.crt")?,
            key: PrivateKeyDer::from_pem_slice(&file("tls.key")?).context("tls.key")?,
            ca: certificates(&file("ca.crt")?).context("ca.crt")?,
        })
    }

    /// The pod's own certificate.
    ///
    /// # Errors
    /// When there is none.
    pub fn leaf(&self) -> anyhow::Result<&CertificateDer<'static>> {
        self.chain.first().context("tls.crt holds no certificate")
    }

    /// Checks that key and certificate belong together.
    ///
    /// # Errors
    /// When they do not.
    pub fn check_pair(&self) -> anyhow::Result<()> {
        let provider = aws_lc_rs::default_provider();
        CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), &provider)
            .and_then(|pair| pair.keys_match())
            .with_context(|| format!("generation {} is torn", self.name))
    }

    /// Checks that the certificate is valid now, for a server of this name, under `root` (PEM) and under the volume's
    /// own `ca.crt`.
    ///
    /// # Errors
    /// When it is not, with the verifier's reason.
    pub fn check_chain(&self, root: &str, name: &str) -> anyhow::Result<()> {
        let given = certificates(root.as_bytes()).context("the CA")?;
        ensure!(given == self.ca, "ca.crt is not the issuer's CA");
        let mut roots = RootCertStore::empty();
        for root in given {
            roots.add(root).context("the CA is no trust anchor")?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        let intermediates = self.chain.get(1..).unwrap_or_default();
        let name = ServerName::try_from(name)?;
        verifier
            .verify_server_cert(self.leaf()?, intermediates, &name, &[], UnixTime::now())
            .with_context(|| format!("generation {} does not verify", self.name))?;
        Ok(())
    }
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().context("not a list of certificates")
}

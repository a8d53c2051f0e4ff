//! Volumes straight over the driver's socket, as kubelet asks for them.
//!
//! All of them belong to one pod that really runs on the node: kubelet clears away folders of pods that it does not
//! know, and objects that are owned by a pod which does not exist are collected.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use api::keys::{csi, csi_context};
use e2e::authority::{Authority, in_namespace};
use e2e::cluster::Cluster;
use e2e::{image, wait};
use hyper_util::rt::TokioIo;
use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use issuance::key::{KeyAlgorithm, PrivateKey};
use issuance::name::SubjectAltName;
use jiff::Timestamp;
use proto::csi::node_client::NodeClient;
use proto::csi::volume_capability::{AccessType, MountVolume};
use proto::csi::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability};
use serde_json::json;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::process::Process;
use crate::demo::scenes;

/// The namespace of everything that the benchmark creates.
pub(crate) const NAMESPACE: &str = "signet-bench";

/// The name under which the driver registers, and the program's.
const DRIVER: &str = "csi.cert-manager.io";
const PROGRAM: &str = "signet-csi-driver";

/// Kubelet's folder on the node.
const KUBELET: &str = "/var/lib/kubelet";

/// The pod whose volumes these are.
const POD: &str = "owner";

/// How long kubelet waits for one call.
const CALL_WITHIN: Duration = Duration::from_secs(120);

/// How many volumes of each run are looked into.
const LOOKED_INTO: usize = 20;

/// The driver of the first node; clones are cheap.
#[derive(Clone)]
pub(crate) struct Node(Arc<Parts>);

struct Parts {
    /// The node's root directory, as this process sees it.
    root: PathBuf,
    /// UID of the pod.
    uid: String,
    program: Process,
    ca: Certificate,
}

impl Node {
    /// Creates namespace, CA issuer and pod, and finds the driver.
    pub(crate) async fn set_up(cluster: &Cluster) -> anyhow::Result<Self> {
        let ca = Authority::new("Benchmark CA")?;
        scenes::apply(cluster, &namespace())?;
        scenes::apply(cluster, &in_namespace(ca.secret("ca"), NAMESPACE).to_string())?;
        scenes::apply(cluster, &issuer())?;
        // Pods are refused before it is there.
        wait::until("the default service account", CALL_WITHIN, || {
            std::future::ready(cluster.kubectl(&["-n", NAMESPACE, "get", "serviceaccount", "default"]))
        })
        .await?;
        scenes::apply(cluster, &pod())?;
        for object in ["issuer/ca".to_owned(), format!("pod/{POD}")] {
            let wait = ["-n", NAMESPACE, "wait", "--for=condition=Ready", &object, "--timeout=120s"];
            cluster.kubectl(&wait)?;
        }
        let uid = ["-n", NAMESPACE, "get", "pod", POD, "-o", "jsonpath={.metadata.uid}"];
        let uid = cluster.kubectl(&uid)?.trim().to_owned();
        let programs = cluster.processes(PROGRAM);
        let [program] = programs.as_slice() else {
            anyhow::bail!(
                "the benchmark wants a cluster with one node and one {PROGRAM} on it, and found processes {programs:?}"
            );
        };
        let bundle = Bundle::parse(ca.certificate.as_bytes())?;
        let ca = bundle.certificates().first().context("the CA has no certificate")?.clone();
        Ok(Self(Arc::new(Parts { root: cluster.node_root(1)?, uid, program: Process::new(*program), ca })))
    }

    /// The driver's process.
    pub(crate) fn program(&self) -> Process {
        self.0.program
    }

    /// Makes the folders in which the volumes will be mounted: kubelet's part of the work.
    pub(crate) fn prepare(&self, count: usize) -> anyhow::Result<()> {
        for number in 0..count {
            let folder = self.seen(&volume_folder(&self.0.uid, number));
            fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        }
        Ok(())
    }

    /// Mounts a volume, with a connection of its own, as kubelet makes one for each call.
    pub(crate) async fn publish(&self, number: usize, algorithm: KeyAlgorithm) -> anyhow::Result<()> {
        let request = self.request(number, algorithm)?;
        let call = async { anyhow::Ok(self.client().await?.node_publish_volume(request).await?) };
        within(call).await.with_context(|| format!("volume {number} was not published"))
    }

    /// Unmounts a volume.
    pub(crate) async fn unpublish(&self, number: usize) -> anyhow::Result<()> {
        let target_path = self.target(number);
        let request = NodeUnpublishVolumeRequest { volume_id: volume_id(number), target_path };
        let call = async { anyhow::Ok(self.client().await?.node_unpublish_volume(request).await?) };
        within(call).await.with_context(|| format!("volume {number} was not unpublished"))
    }

    /// Looks into some of the volumes below `count`: each must have a key of the kind asked for that no other has,
    /// and a certificate of our CA for it with the name asked for.
    pub(crate) fn check(&self, count: usize, algorithm: KeyAlgorithm) -> anyhow::Result<()> {
        let mut keys = HashSet::new();
        let numbers = (0..count).step_by(count.div_ceil(LOOKED_INTO).max(1)).chain(count.checked_sub(1));
        for number in numbers.collect::<BTreeSet<_>>() {
            let key = self
                .check_one(number, algorithm)
                .with_context(|| format!("volume {number} does not hold what it should"))?;
            ensure!(keys.insert(key), "volume {number} has the same key as another one");
        }
        Ok(())
    }

    fn check_one(&self, number: usize, algorithm: KeyAlgorithm) -> anyhow::Result<Vec<u8>> {
        let folder = self.seen(&self.target(number));
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).with_context(|| format!("failed to read {}", path.display()))
        };
        let key = PrivateKey::from_pem(&read("tls.key")?)?;
        ensure!(key.algorithm() == algorithm, "the key is {}", key.algorithm());
        let chain = Bundle::parse(&read("tls.crt")?)?;
        let leaf = chain.certificates().first().context("tls.crt is empty")?;
        ensure!(leaf.public_key() == key.public_key(), "key and certificate do not belong together");
        ensure!(leaf.names() == [SubjectAltName::Dns(dns_name(number))], "the names are {:?}", leaf.names());
        ensure!(leaf.is_valid_at(Timestamp::now()), "the certificate is not valid now");
        leaf.verify_issued_by(&self.0.ca)?;
        ensure!(Bundle::parse(&read("ca.crt")?)?.contains(&self.0.ca), "ca.crt is not our CA");
        Ok(key.public_key().spki_der().to_vec())
    }

    /// Makes sure that none of the volumes below `count` is left.
    pub(crate) fn check_gone(&self, count: usize) -> anyhow::Result<()> {
        for number in 0..count {
            let target = self.seen(&self.target(number));
            ensure!(!target.exists(), "{} is still there after unpublishing", target.display());
        }
        Ok(())
    }

    /// Removes what [`Node::set_up`] and [`Node::prepare`] made, and every volume.
    pub(crate) async fn tear_down(&self, cluster: &Cluster, count: usize) -> anyhow::Result<()> {
        for number in 0..count {
            self.unpublish(number).await?;
            let folder = self.seen(&volume_folder(&self.0.uid, number));
            if let Err(error) = fs::remove_dir(&folder)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(error).with_context(|| format!("failed to remove {}", folder.display()));
            }
        }
        cluster.kubectl(&["delete", "namespace", NAMESPACE, "--wait=true", "--timeout=120s"])?;
        Ok(())
    }

    fn request(&self, number: usize, algorithm: KeyAlgorithm) -> anyhow::Result<NodePublishVolumeRequest> {
        let (kind, usages) = match algorithm {
            KeyAlgorithm::Ecdsa(_) => ("ECDSA", "digital signature,server auth"),
            KeyAlgorithm::Rsa(_) => ("RSA", "digital signature,key encipherment,server auth"),
            KeyAlgorithm::Ed25519 => anyhow::bail!("Ed25519 is not measured"),
        };
        let dns_name = dns_name(number);
        let context = [
            (csi_context::EPHEMERAL, "true"),
            (csi_context::POD_NAME, POD),
            (csi_context::POD_NAMESPACE, NAMESPACE),
            (csi_context::POD_UID, &self.0.uid),
            (csi_context::SERVICE_ACCOUNT_NAME, "default"),
            (csi::ISSUER_NAME, "ca"),
            (csi::DNS_NAMES, &dns_name),
            (csi::KEY_ALGORITHM, kind),
            (csi::KEY_USAGES, usages),
            (csi::DURATION, "24h"),
        ];
        Ok(NodePublishVolumeRequest {
            volume_id: volume_id(number),
            target_path: self.target(number),
            readonly: true,
            volume_capability: Some(VolumeCapability {
                access_mode: None,
                access_type: Some(AccessType::Mount(MountVolume::default())),
            }),
            volume_context: HashMap::from(context.map(|(key, value)| (key.to_owned(), value.to_owned()))),
            ..NodePublishVolumeRequest::default()
        })
    }

    async fn client(&self) -> anyhow::Result<NodeClient<Channel>> {
        let path = self.seen(&format!("{KUBELET}/plugins/{DRIVER}/csi.sock"));
        // A socket has no host, but the protocol wants a valid one.
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move { std::io::Result::Ok(TokioIo::new(UnixStream::connect(path).await?)) }
            }))
            .await
            .context("failed to dial the driver's socket")?;
        Ok(NodeClient::new(channel))
    }

    /// The target path of a volume, as the node sees it.
    fn target(&self, number: usize) -> String {
        format!("{}/mount", volume_folder(&self.0.uid, number))
    }

    /// A path of the node, as this process sees it.
    fn seen(&self, path: &str) -> PathBuf {
        self.0.root.join(Path::new(path).strip_prefix("/").unwrap_or(Path::new(path)))
    }
}

async fn within<T>(call: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<()> {
    tokio::time::timeout(CALL_WITHIN, call).await.context("no answer in time")??;
    Ok(())
}

fn volume_id(number: usize) -> String {
    format!("csi-bench-{number:04}")
}

fn volume_folder(uid: &str, number: usize) -> String {
    format!("{KUBELET}/pods/{uid}/volumes/kubernetes.io~csi/bench-{number:04}")
}

fn dns_name(number: usize) -> String {
    format!("volume-{number}.{NAMESPACE}.svc")
}

fn namespace() -> String {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}).to_string()
}

fn issuer() -> String {
    json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Issuer",
        "metadata": {"name": "ca", "namespace": NAMESPACE},
        "spec": {"ca": {"secretName": "ca"}},
    })
    .to_string()
}

fn pod() -> String {
    let container = json!({"name": "main", "image": image::reference("pause"), "imagePullPolicy": "Never"});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD, "namespace": NAMESPACE},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_lie_where_kubelet_has_those_of_the_pod() {
        let folder = volume_folder("2c1", 7);
        assert_eq!(folder, "/var/lib/kubelet/pods/2c1/volumes/kubernetes.io~csi/bench-0007");
        assert_ne!(volume_id(7), volume_id(70));
    }
}

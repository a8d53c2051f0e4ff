//! The real program with its own folders, and what kubelet would do with it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use proto::csi::node_client::NodeClient;
use proto::csi::volume_capability::{AccessType, MountVolume};
use proto::csi::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability};
use tonic::Status;
use tonic::transport::Channel;

/// Folders, the program, and a client of its socket. Dropping it kills the program and takes the mounts away.
pub(crate) struct Driver {
    folder: tempfile::TempDir,
    process: Child,
}

impl Driver {
    /// Starts the program against an API server.
    pub(crate) async fn start(api: SocketAddr) -> Self {
        let folder = tempfile::Builder::new().prefix("signet-csi-").tempdir().unwrap();
        for name in ["plugins_registry", "pods"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters: [{{name: x, cluster: {{server: 'http://{api}'}}}}]\n\
             contexts: [{{name: x, context: {{cluster: x, user: x}}}}]\nusers: [{{name: x, user: {{}}}}]\n"
        );
        std::fs::write(folder.path().join("kubeconfig"), config).unwrap();
        let process = spawn(folder.path(), &[]);
        let driver = Self { folder, process };
        driver.dialable(&driver.socket()).await;
        driver
    }

    /// Kills the program as a crash would, and starts it again.
    pub(crate) async fn crash_and_restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.restart().await;
    }

    /// Asks the program to end and says how it ended.
    pub(crate) fn stop(&mut self) -> std::process::ExitStatus {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.process.wait().unwrap()
    }

    /// Starts the program again.
    pub(crate) async fn restart(&mut self) {
        self.restart_with(&[]).await;
    }

    /// Starts the program again, with further flags.
    pub(crate) async fn restart_with(&mut self, flags: &[&str]) {
        self.process = spawn(self.folder.path(), flags);
        self.dialable(&self.socket()).await;
    }

    /// Waits until somebody serves a socket.
    pub(crate) async fn dialable(&self, socket: &Path) {
        let dial = async {
            while tokio::net::UnixStream::connect(socket).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        let within = std::time::Duration::from_secs(20);
        tokio::time::timeout(within, dial).await.expect("the driver serves its socket");
    }

    /// The socket that kubelet dials.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("plugins/driver/csi.sock")
    }

    /// The socket that kubelet finds.
    pub(crate) fn registration_socket(&self) -> PathBuf {
        self.folder.path().join("plugins_registry/signet@csi.cert-manager.io-reg.sock")
    }

    /// A fresh connection, as kubelet makes for each call.
    pub(crate) fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(csi_driver::socket::channel(self.socket()))
    }

    /// Where kubelet would have a volume.
    pub(crate) fn target(&self, id: &str) -> PathBuf {
        self.folder.path().join("pods").join(id).join("mount")
    }

    /// A request as kubelet makes it, with attributes given without their prefix.
    pub(crate) fn request(&self, id: &str, attributes: &[(&str, &str)]) -> NodePublishVolumeRequest {
        let mut context = HashMap::from(
            [
                ("csi.storage.k8s.io/ephemeral", "true"),
                ("csi.storage.k8s.io/pod.name", "web-0"),
                ("csi.storage.k8s.io/pod.namespace", "team-a"),
                ("csi.storage.k8s.io/pod.uid", "u-1"),
                ("csi.storage.k8s.io/serviceAccount.name", "web"),
                ("csi.cert-manager.io/issuer-name", "ca"),
                ("csi.cert-manager.io/dns-names", "${POD_NAME}.${POD_NAMESPACE}.svc"),
                ("csi.cert-manager.io/key-algorithm", "ECDSA"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        context.extend(
            attributes.iter().map(|(key, value)| (format!("csi.cert-manager.io/{key}"), (*value).to_owned())),
        );
        NodePublishVolumeRequest {
            volume_id: id.to_owned(),
            target_path: self.target(id).display().to_string(),
            readonly: true,
            volume_capability: Some(VolumeCapability {
                access_mode: None,
                access_type: Some(AccessType::Mount(MountVolume::default())),
            }),
            volume_context: context,
            ..Default::default()
        }
    }

    /// Publishes a volume.
    pub(crate) async fn publish(&self, id: &str, attributes: &[(&str, &str)]) -> Result<(), Status> {
        self.node().node_publish_volume(self.request(id, attributes)).await.map(drop)
    }

    /// Unpublishes a volume.
    pub(crate) async fn unpublish(&self, id: &str) -> Result<(), Status> {
        let target_path = self.target(id).display().to_string();
        let request = NodeUnpublishVolumeRequest { volume_id: id.to_owned(), target_path };
        self.node().node_unpublish_volume(request).await.map(drop)
    }

    /// A file as the pod sees it.
    pub(crate) fn read(&self, id: &str, name: &str) -> Vec<u8> {
        std::fs::read(self.target(id).join(name)).unwrap_or_else(|error| panic!("{id}/{name}: {error}"))
    }

    /// The tmpfs with the volumes of the node.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data/inmemfs")
    }

    /// How many generations of its files a volume holds.
    pub(crate) fn generations(&self, id: &str) -> usize {
        let entries = std::fs::read_dir(self.target(id)).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir()).count()
    }

    /// What lies on the node's disk of a volume.
    pub(crate) fn on_disk(&self, id: &str) -> PathBuf {
        self.data().join(id)
    }

    /// The size of that tmpfs in MiB.
    pub(crate) fn data_mib(&self) -> u64 {
        let found = nix::sys::statvfs::statvfs(&self.data()).unwrap();
        (found.blocks() * found.fragment_size()) >> 20
    }

    /// Resident memory of the program in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A test may have ended it already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let root = self.folder.path().to_owned();
        let list = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = list.lines().filter_map(|line| line.split(' ').nth(4));
        // The last mount goes first: volumes before the tmpfs that they show.
        for point in
            points.filter(|point| Path::new(point).starts_with(&root)).collect::<Vec<_>>().iter().rev()
        {
            let _ = nix::mount::umount2(*point, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

fn spawn(folder: &Path, flags: &[&str]) -> Child {
    let at = |name: &str| folder.join(name).display().to_string();
    Command::new(env!("CARGO_BIN_EXE_signet-csi-driver"))
        .arg("--node-id=node-1")
        .arg(format!("--endpoint=unix://{}", at("plugins/driver/csi.sock")))
        .arg(format!("--data-root={}", at("data")))
        .arg(format!("--kubeconfig={}", at("kubeconfig")))
        .args(["--healthz-listen-address=127.0.0.1:0", "--rsa-key-stock=2", "--v=1"])
        .args(flags)
        .spawn()
        .unwrap()
}

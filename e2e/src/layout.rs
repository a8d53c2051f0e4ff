//! Where a cluster keeps its files and which addresses it uses: pure arithmetic on a name and a node number.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest cluster name. A Unix socket's path holds 107 bytes, and the longest of ours is
/// `/var/lib/signet/clusters/<name>/node32/containerd.sock.ttrpc`.
const NAME_LEN_MAX: usize = 32;

/// Most nodes of one cluster: their addresses follow the control plane's in one /24, and each has a /24 of pods.
pub const NODES_MAX: u8 = 32;

/// Address range of Services, the same in every cluster: each lives in network namespaces of its own.
pub(crate) const SERVICE_CIDR: &str = "10.96.0.0/16";

/// Address range of all pods; node *i* has the /24 numbered *i* in it.
pub(crate) const POD_CIDR: &str = "10.244.0.0/16";

/// The first address of [`SERVICE_CIDR`], which Kubernetes gives to the Service `kubernetes`.
pub(crate) const API_SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));

/// Where the API server listens in a cluster with network namespaces (TEST-NET-2, RFC 5737: never routed).
pub(crate) const CONTROL_PLANE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);

/// The API server's port in a cluster with network namespaces.
pub(crate) const API_PORT: u16 = 6443;

/// A cluster's name: the name of its state directory and cgroups. Small letters, digits and hyphens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

/// Why a text is no cluster name.
#[derive(Debug, thiserror::Error)]
#[error(
    "cluster name {0:?} is not usable: take 1 to {NAME_LEN_MAX} small letters, digits and hyphens, a letter first"
)]
pub struct NameError(String);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let usable = text.len() <= NAME_LEN_MAX
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if usable { Ok(Self(text.to_owned())) } else { Err(NameError(text.to_owned())) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Every program that makes up a cluster. Nodes count from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The store.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers of Kubernetes itself.
    ControllerManager,
    /// The scheduler.
    Scheduler,
    /// A node's container runtime.
    Containerd(u8),
    /// A node's agent.
    Kubelet(u8),
    /// A node's Service proxy.
    KubeProxy(u8),
}

impl Component {
    /// The components of a control plane alone, in the order in which they start.
    pub(crate) const CONTROL_PLANE: [Self; 4] =
        [Self::Etcd, Self::ApiServer, Self::ControllerManager, Self::Scheduler];

    /// The components of one node, in the order in which they start.
    pub(crate) fn of_node(node: u8) -> [Self; 3] {
        [Self::Containerd(node), Self::Kubelet(node), Self::KubeProxy(node)]
    }

    /// The file name of its executable.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Containerd(_) => "containerd",
            Self::Kubelet(_) => "kubelet",
            Self::KubeProxy(_) => "kube-proxy",
        }
    }

    fn node(self) -> Option<u8> {
        match self {
            Self::Etcd | Self::ApiServer | Self::ControllerManager | Self::Scheduler => None,
            Self::Containerd(node) | Self::Kubelet(node) | Self::KubeProxy(node) => Some(node),
        }
    }
}

/// `kube-apiserver`, or `node1-kubelet`: also the stem of its log and pid files.
impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = self.node() {
            write!(f, "node{node}-")?;
        }
        f.write_str(self.program())
    }
}

/// A text that names no component.
#[derive(Debug, thiserror::Error)]
#[error(
    "no component is called {0:?}: it is etcd, kube-apiserver, kube-controller-manager, kube-scheduler, or containerd, kubelet, \
     kube-proxy of the first node (node2-kubelet for another one)"
)]
pub struct ComponentError(String);

impl FromStr for Component {
    type Err = ComponentError;

    fn from_str(text: &str) -> Result<Self, ComponentError> {
        let nodes = (1..=NODES_MAX).flat_map(Self::of_node);
        Self::CONTROL_PLANE
            .into_iter()
            .chain(nodes)
            .find(|component| component.to_string() == text || component.program() == text)
            .ok_or_else(|| ComponentError(text.to_owned()))
    }
}

/// A cluster's files, all below one directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The cluster's name.
    pub(crate) name: Name,
    /// The directory of all clusters.
    pub(crate) clusters: PathBuf,
}

impl Layout {
    /// The cluster's own directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.clusters.join(self.name.as_str())
    }

    /// The facts that another process needs to find this cluster.
    pub(crate) fn facts(&self) -> PathBuf {
        self.dir().join("cluster.json")
    }

    /// Held while the cluster is started or taken down.
    pub(crate) fn lock(&self) -> PathBuf {
        self.clusters.join(format!(".{}.lock", self.name))
    }

    /// The certificates' directory.
    pub(crate) fn pki(&self) -> PathBuf {
        self.dir().join("pki")
    }

    /// The log file of one component.
    pub(crate) fn log(&self, component: Component) -> PathBuf {
        self.dir().join("log").join(format!("{component}.log"))
    }

    /// The pid file of one component.
    pub(crate) fn pid(&self, component: Component) -> PathBuf {
        self.dir().join("pid").join(component.to_string())
    }

    /// The kubeconfig of one user.
    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.dir().join(format!("{user}.kubeconfig"))
    }

    /// The file that holds the control plane's network namespace.
    pub(crate) fn control_plane_net(&self) -> PathBuf {
        self.dir().join("net")
    }

    /// The cgroup of this cluster, relative to each hierarchy's root.
    pub(crate) fn cgroup(&self) -> String {
        format!("signet-{}", self.name)
    }

    /// The files of one node.
    pub(crate) fn node(&self, number: u8) -> Node {
        let name = format!("node{number}");
        Node { number, dir: self.dir().join(&name), cgroup: format!("{}/{name}", self.cgroup()), name }
    }

    /// A path as text for a configuration file.
    pub(crate) fn text(path: &Path) -> String {
        path.display().to_string()
    }
}

/// One node's name, addresses and files.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Counts from one.
    pub(crate) number: u8,
    /// The Kubernetes name.
    pub(crate) name: String,
    /// Its directory below the cluster's.
    pub(crate) dir: PathBuf,
    /// Its cgroup, relative to each hierarchy's root.
    pub(crate) cgroup: String,
}

impl Node {
    /// The node's address on the cluster's bridge.
    pub(crate) fn address(&self) -> Ipv4Addr {
        let [a, b, c, control_plane] = CONTROL_PLANE.octets();
        Ipv4Addr::new(a, b, c, control_plane.saturating_add(self.number))
    }

    /// The range of this node's pods.
    pub(crate) fn pod_cidr(&self) -> String {
        format!("10.244.{}.0/24", self.number)
    }

    /// The file that holds its network namespace.
    pub(crate) fn net(&self) -> PathBuf {
        self.dir.join("net")
    }

    /// The file that holds its mount namespace.
    pub(crate) fn mount(&self) -> PathBuf {
        self.dir.join("mnt")
    }

    /// containerd's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// Where the directories live that the node sees in place of the machine's own.
    pub(crate) fn host(&self) -> PathBuf {
        self.dir.join("host")
    }
}

/// The API server's address in a cluster with network namespaces.
pub(crate) fn api_server() -> SocketAddr {
    SocketAddr::from((CONTROL_PLANE, API_PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_would_leave_the_directory_or_the_socket_length() {
        for name in ["", ".", "..", "a/b", "-a", "1a", "Demo", "a_b", "a b", &"a".repeat(NAME_LEN_MAX + 1)] {
            assert!(name.parse::<Name>().is_err(), "{name:?}");
        }
        for name in ["a", "signet", "two-2", &"a".repeat(NAME_LEN_MAX)] {
            assert!(name.parse::<Name>().is_ok(), "{name:?}");
        }
    }

    #[test]
    fn the_longest_socket_path_fits_into_a_unix_address() {
        let layout = Layout {
            name: "a".repeat(NAME_LEN_MAX).parse().unwrap(),
            clusters: "/var/lib/signet/clusters".into(),
        };
        let longest = format!("{}.ttrpc", layout.node(NODES_MAX).socket().display());
        assert!(longest.len() <= 107, "{} bytes: {longest}", longest.len());
    }

    #[test]
    fn every_node_has_an_address_and_a_pod_range_of_its_own() {
        let layout = Layout { name: "x".parse().unwrap(), clusters: "/c".into() };
        let mut seen = std::collections::BTreeSet::new();
        for number in 1..=NODES_MAX {
            let node = layout.node(number);
            assert!(seen.insert(node.address().to_string()) && seen.insert(node.pod_cidr()), "node {number}");
            assert_ne!(node.address(), CONTROL_PLANE);
        }
        assert_eq!(layout.node(3).address(), Ipv4Addr::new(198, 51, 100, 13));
        assert_eq!(layout.node(3).pod_cidr(), "10.244.3.0/24");
    }

    #[test]
    fn components_are_named_as_their_files_are() {
        for (text, component) in [
            ("etcd", Component::Etcd),
            ("kubelet", Component::Kubelet(1)),
            ("node1-kubelet", Component::Kubelet(1)),
            ("node3-containerd", Component::Containerd(3)),
        ] {
            assert_eq!(text.parse::<Component>().unwrap(), component);
        }
        for text in ["", "kube", "node0-kubelet", "node1-etcd"] {
            assert!(text.parse::<Component>().is_err(), "{text}");
        }
    }
}

//! Talking into a network namespace from a process outside it.
//!
//! A socket stays in the namespace in which it was made, whoever uses it later. So a short-lived thread enters the
//! namespace and makes the socket; everything after that is ordinary.

use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::task::{Context, Poll};
use std::thread;

use anyhow::{Context as _, bail};
use http::Uri;
use hyper_util::rt::TokioIo;
use nix::sched::{CloneFlags, setns};
use tower::Service;

use crate::layout::{CONTROL_PLANE, Node};
use crate::nsfs::{self, Kind};

/// The network that a cluster's addresses belong to.
#[derive(Clone, Debug)]
pub struct Network {
    /// The file that holds the namespace; none for the machine's own.
    file: Option<PathBuf>,
}

impl Network {
    /// The machine's own network.
    #[must_use]
    pub fn machine() -> Self {
        Self { file: None }
    }

    /// The network of a process of this machine, for as long as the process lives.
    #[must_use]
    pub fn of_process(id: i32) -> Self {
        Self::of(PathBuf::from(format!("/proc/{id}/ns/net")))
    }

    /// The namespace that `file` holds.
    pub(crate) fn of(file: PathBuf) -> Self {
        Self { file: Some(file) }
    }

    /// Runs `work` on a thread that is in this network. Sockets made there stay in it.
    ///
    /// # Errors
    /// When the namespace cannot be entered: it is gone, or this is not root.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let Some(file) = &self.file else {
            return Ok(work());
        };
        let namespace = File::open(file)?;
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                setns(&namespace, CloneFlags::CLONE_NEWNET)?;
                Ok(work())
            });
            entered.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A connection to `address`, for code without a runtime.
    ///
    /// # Errors
    /// When the namespace cannot be entered or nobody listens there.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.run(|| TcpStream::connect(address))?
    }

    /// A listener on `address`.
    ///
    /// # Errors
    /// When the namespace cannot be entered or the address is taken.
    pub fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        self.run(|| TcpListener::bind(address))?
    }

    /// A connection to `address` on the current tokio runtime.
    ///
    /// # Errors
    /// When the namespace cannot be entered or nobody listens there.
    pub async fn connect_async(&self, address: SocketAddr) -> io::Result<tokio::net::TcpStream> {
        let socket = self.run(|| match address {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
        })??;
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A command that runs `program` in this network.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let Some(file) = &self.file else {
            return Command::new(program);
        };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", file.display())).arg("--").arg(program);
        command
    }
}

/// Makes HTTP clients connect inside a [`Network`]. Hosts are numeric addresses: there is no name service in there.
#[derive(Clone, Debug)]
pub struct Connector(pub Network);

impl Service<Uri> for Connector {
    type Response = TokioIo<tokio::net::TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let network = self.0.clone();
        Box::pin(async move { Ok(TokioIo::new(network.connect_async(socket_address(&uri)?).await?)) })
    }
}

fn socket_address(uri: &Uri) -> io::Result<SocketAddr> {
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse().map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{host:?} in {uri} is no numeric address, and the cluster's network has no name service"),
        )
    })?;
    Ok(SocketAddr::new(address, port))
}

/// Makes the namespace of the control plane, with the bridge that joins the nodes.
pub(crate) fn create_control_plane(file: &Path) -> anyhow::Result<()> {
    nsfs::create(Kind::Net, file, forward)?;
    // The default route leads nowhere: it only gives every address some route, as Service addresses need one
    // before they are translated.
    ip(
        file,
        &format!(
            "link set lo up\nlink add br0 type bridge\naddr add {CONTROL_PLANE}/24 dev br0\nlink set br0 up\nroute add default dev br0\n"
        ),
    )
}

/// Makes the namespaces of the nodes and joins them to the control plane and each other.
pub(crate) fn create_nodes(control_plane: &Path, nodes: &[Node]) -> anyhow::Result<()> {
    let mut bridge = String::new();
    for node in nodes {
        nsfs::create(Kind::Net, &node.net(), forward)?;
        bridge.push_str(&join_bridge(node));
    }
    ip(control_plane, &bridge)?;
    for node in nodes {
        ip(&node.net(), &node_routes(node, nodes))?;
    }
    Ok(())
}

/// What the control plane's namespace does for one node: a cable, and the way to the node's pods.
fn join_bridge(node: &Node) -> String {
    let (number, address) = (node.number, node.address());
    format!(
        "link add v{number} type veth peer name eth0 netns {}\nlink set v{number} master br0\nlink set v{number} up\nroute add {} via {address}\n",
        node.net().display(),
        node.pod_cidr()
    )
}

fn node_routes(node: &Node, nodes: &[Node]) -> String {
    let mut batch = format!(
        "link set lo up\naddr add {}/24 dev eth0\nlink set eth0 up\nroute add default via {CONTROL_PLANE}\n",
        node.address()
    );
    for other in nodes.iter().filter(|other| other.number != node.number) {
        batch.push_str(&format!("route add {} via {}\n", other.pod_cidr(), other.address()));
    }
    batch
}

/// Lets the namespace that this thread is in pass on packets, and lets bridged ones see the Service rules.
fn forward() -> anyhow::Result<()> {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("failed to enable forwarding")?;
    let bridge = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    if bridge.exists() {
        fs::write(bridge, "1").context("failed to enable netfilter on bridges")?;
    }
    Ok(())
}

fn ip(namespace: &Path, batch: &str) -> anyhow::Result<()> {
    let mut child = Network::of(namespace.to_owned())
        .command(Path::new("ip"))
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to run ip")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(batch.as_bytes()).context("failed to speak to ip")?;
    }
    let output = child.wait_with_output().context("failed to wait for ip")?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("failed to set up the network of {}: {}", namespace.display(), error.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;

    #[test]
    fn a_host_that_is_no_address_is_refused_with_the_reason() {
        let error = socket_address(&Uri::from_static("https://webhook.test:443/")).unwrap_err();
        assert!(error.to_string().contains("webhook.test"), "{error}");
        for (uri, expected) in [
            ("https://198.51.100.10:6443/x", "198.51.100.10:6443"),
            ("https://10.0.0.1/", "10.0.0.1:443"),
            ("http://10.0.0.1/", "10.0.0.1:80"),
            ("http://[::1]:8080/", "[::1]:8080"),
        ] {
            assert_eq!(socket_address(&uri.parse().unwrap()).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn every_node_knows_the_way_to_the_pods_of_the_others_only() {
        let layout = Layout { name: "x".parse().unwrap(), clusters: "/c".into() };
        let nodes = [layout.node(1), layout.node(2), layout.node(3)];
        let routes = node_routes(&nodes[1], &nodes);
        assert!(routes.contains("addr add 198.51.100.12/24 dev eth0\n"), "{routes}");
        assert!(routes.contains("route add 10.244.1.0/24 via 198.51.100.11\n"), "{routes}");
        assert!(routes.contains("route add 10.244.3.0/24 via 198.51.100.13\n"), "{routes}");
        assert!(!routes.contains("10.244.2.0"), "{routes}");
        assert!(join_bridge(&nodes[0]).contains("peer name eth0 netns /c/x/node1/net\n"));
    }

    #[test]
    fn the_machine_network_is_the_one_of_this_process() {
        let listener = Network::machine().listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Network::machine().connect(listener.local_addr().unwrap()).unwrap();
    }
}

//! The start of a cluster, in the order in which its parts need each other.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use k8s_openapi::api::core::v1::{Node as KubeNode, ServiceAccount};
use kube::api::ListParams;
use kube::{Api, Client};

use super::{Cluster, Config, Facts, Placement, is_ready, layout, stop, tools};
use crate::layout::{Component, Layout, NODES_MAX, Node, api_server};
use crate::pki::Identity;
use crate::process::{Process, Program, kill_all, last_lines, write_atomically};
use crate::toolchain::Toolchain;
use crate::{cgroup, image, mountns, netns, nsfs, packages, pki, progress, render, wait};

/// How long each stage may take. Two busy cores need 3 s for the API server and 1 s for a node.
const STAGE: Duration = Duration::from_secs(90);

/// How long containerd may take to listen.
const CONTAINERD: Duration = Duration::from_secs(20);

/// Log lines that an error message shows.
const LOG_LINES: usize = 20;

pub(super) async fn start(config: &Config) -> anyhow::Result<Cluster> {
    require(config.placement)?;
    let toolchain = Toolchain::ensure(tools(config.placement))?;
    let layout = layout(&config.name, config.placement)?;
    let pause = match config.placement {
        Placement::Nodes(_) => Some(image::pause()?.path),
        Placement::Loopback => None,
    };
    let began = Instant::now();
    // Whatever there is of that name, in either placement.
    Cluster::down(&config.name)?;
    let _lock = stop::lock(&layout)?;
    let started = bring_up(&layout, config.placement, &toolchain, pause, began).await;
    if started.is_err() {
        // The logs stay for a look; the processes do not.
        stop::halt(&layout, config.placement)?;
    }
    started.with_context(|| {
        format!("cluster {0} did not come up; its logs are in {1}/log until `cargo xtask cluster down --name {0}`", layout.name, layout.dir().display())
    })
}

fn require(placement: Placement) -> anyhow::Result<()> {
    let Placement::Nodes(count) = placement else {
        return Ok(());
    };
    ensure!((1..=NODES_MAX).contains(&count), "a cluster has 1 to {NODES_MAX} nodes, not {count}");
    ensure!(
        nix::unistd::geteuid().is_root(),
        "a cluster with nodes needs root, for its network and mount namespaces. Run this as root, or start a control plane alone: `cargo xtask cluster up --loopback`"
    );
    packages::ensure(&packages::CLUSTER)
}

/// How long a process that was killed may hold its listener.
const PORT_FREE_WITHIN: Duration = Duration::from_secs(30);

/// Ends a component without warning and starts it again.
pub(super) async fn restart(cluster: &Cluster, component: Component) -> anyhow::Result<()> {
    let (layout, placement) = (&cluster.layout, cluster.facts.placement);
    let running = cluster.process(component).with_context(|| format!("{component} does not run"))?;
    kill_all(|| Vec::from_iter(running.is_alive().then(|| running.pid())))?;
    if component == Component::ApiServer {
        // Its first thread is gone; the last one, which still holds the listener, may take a moment more.
        let (network, address) = (cluster.network(), cluster.facts.address);
        wait::until("the killed API server to let go of its port", PORT_FREE_WITHIN, || async {
            ensure!(network.connect(address).is_err(), "{address} still takes connections");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
    }
    let starter = Starter { layout, toolchain: &cluster.tools, placement, address: cluster.facts.address };
    starter.start(component)?;
    let client = cluster.client().await?;
    let needed = [Component::Etcd, Component::ApiServer];
    starter.wait("the API server to be ready again", &needed, || api_ready(&client)).await
}

async fn bring_up(
    layout: &Layout,
    placement: Placement,
    toolchain: &Toolchain,
    pause: Option<PathBuf>,
    began: Instant,
) -> anyhow::Result<Cluster> {
    let nodes: Vec<Node> = placement.nodes().map(|number| layout.node(number)).collect();
    let address = match placement {
        Placement::Loopback => free_address()?,
        Placement::Nodes(_) => api_server(),
    };
    write_files(layout, address, &nodes)?;
    if !nodes.is_empty() {
        prepare_nodes(layout, toolchain, &nodes)?;
    }
    let facts = Facts { placement, address };
    let cluster = Cluster::new(layout.clone(), facts)?;
    let starter = Starter { layout, toolchain, placement, address };

    starter.start(Component::Etcd)?;
    starter.start(Component::ApiServer)?;
    for node in &nodes {
        starter.start(Component::Containerd(node.number))?;
    }
    // containerd needs no API server: it gets its image meanwhile.
    let importing = pause.map(|archive| import_in_background(nodes.clone(), archive));
    let client = cluster.client().await?;
    starter
        .wait("the API server to be ready", &[Component::Etcd, Component::ApiServer], || api_ready(&client))
        .await?;
    progress::note(&format!("API server ready after {:.1} s", began.elapsed().as_secs_f32()));
    for component in placement.components() {
        if !matches!(component, Component::Etcd | Component::ApiServer | Component::Containerd(_)) {
            starter.start(component)?;
        }
    }
    if let Some(importing) = importing {
        importing.await.context("the import of the pause image ended early")??;
    }
    let components = placement.components();
    if !nodes.is_empty() {
        starter.wait("all nodes to be Ready", &components, || nodes_ready(&client, nodes.len())).await?;
        progress::note(&format!("{} Ready after {:.1} s", count(nodes.len()), began.elapsed().as_secs_f32()));
    }
    starter
        .wait("the service account of namespace default", &components, || account_present(&client))
        .await?;
    // Last of all: who finds the facts finds a usable cluster.
    write_atomically(
        &layout.facts(),
        &serde_json::to_vec(&cluster.facts).context("failed to write the cluster's facts")?,
    )?;
    progress::note(&format!("cluster {} usable after {:.1} s", layout.name, began.elapsed().as_secs_f32()));
    Ok(cluster)
}

fn count(nodes: usize) -> String {
    if nodes == 1 { "one node".to_owned() } else { format!("{nodes} nodes") }
}

/// Directories, certificates and kubeconfigs of everyone, and the nodes' configuration.
fn write_files(layout: &Layout, address: SocketAddr, nodes: &[Node]) -> anyhow::Result<()> {
    create_private_dir(&layout.dir())?;
    for sub in ["log", "pid", "bin"] {
        create_private_dir(&layout.dir().join(sub))?;
    }
    let masters = Some("system:masters");
    let mut identities = vec![
        Identity::api_server(&render::api_server_addresses(address.ip())),
        Identity::client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", masters),
        Identity::client("front-proxy", "front-proxy", None),
    ];
    let mut users = vec![
        Identity::client("admin", "admin", masters),
        Identity::client("controller-manager", "system:kube-controller-manager", None),
        Identity::client("scheduler", "system:kube-scheduler", None),
        Identity::client("kube-proxy", "system:kube-proxy", None),
    ];
    users.extend(nodes.iter().map(|node| Identity::node(&node.name, IpAddr::V4(node.address()))));
    for user in &users {
        let text = render::kubeconfig(address, &layout.pki(), &user.file);
        write_atomically(&layout.kubeconfig(&user.file), text.as_bytes())?;
    }
    identities.extend(users);
    pki::write(&layout.pki(), layout.name.as_str(), &identities)?;
    for node in nodes {
        create_private_dir(&node.dir.join("cni"))?;
        for (path, contents) in render::node_files(layout, node) {
            write_atomically(&path, contents.as_bytes())?;
        }
        let boot = fs::read("/proc/sys/kernel/random/uuid").context("failed to make up a boot id")?;
        write_atomically(&node.dir.join("boot_id"), &boot)?;
    }
    Ok(())
}

/// The namespaces and cgroups of the nodes.
fn prepare_nodes(layout: &Layout, toolchain: &Toolchain, nodes: &[Node]) -> anyhow::Result<()> {
    nsfs::make_private(&layout.dir())?;
    netns::create_control_plane(&layout.control_plane_net())?;
    netns::create_nodes(&layout.control_plane_net(), nodes)?;
    for node in nodes {
        cgroup::create(&node.cgroup)?;
        mountns::create(layout, node, toolchain.dir())?;
    }
    Ok(())
}

/// Starts components and watches over them.
struct Starter<'a> {
    layout: &'a Layout,
    toolchain: &'a Toolchain,
    placement: Placement,
    address: SocketAddr,
}

impl Starter<'_> {
    fn start(&self, component: Component) -> anyhow::Result<()> {
        let layout = self.layout;
        let with_nodes = self.placement != Placement::Loopback;
        let (args, node) = match component {
            Component::Etcd => (render::etcd(layout), None),
            Component::ApiServer => (render::api_server(layout, self.address, with_nodes), None),
            Component::ControllerManager => (render::controller_manager(layout, with_nodes), None),
            Component::Scheduler => (render::scheduler(layout), None),
            Component::Containerd(number) | Component::Kubelet(number) | Component::KubeProxy(number) => {
                let node = layout.node(number);
                (render::node_flags(layout, &node, component), Some(node))
            }
        };
        let path = match component {
            Component::Containerd(_) => PathBuf::from("/usr/bin/containerd"),
            Component::Kubelet(_) | Component::KubeProxy(_) => {
                mountns::programs(layout).join(component.program())
            }
            _ => self.toolchain.dir().join(component.program()),
        };
        let control_plane_net = with_nodes.then(|| layout.control_plane_net());
        let program = Program {
            path,
            args,
            cwd: layout.dir(),
            net: node.as_ref().map(Node::net).or(control_plane_net),
            mount: node.as_ref().map(Node::mount),
            log: layout.log(component),
            pid_file: layout.pid(component),
        };
        program.start().map(drop).with_context(|| format!("failed to start {component}"))
    }

    /// Waits for a stage; when it fails or a component dies meanwhile, tells what the component said last.
    async fn wait<T, F, Fut>(&self, what: &str, components: &[Component], probe: F) -> anyhow::Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = anyhow::Result<T>>,
    {
        let dead = || components.iter().copied().find(|component| !self.is_alive(*component));
        let death = async {
            loop {
                if let Some(component) = dead() {
                    return component;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let (component, cause) = tokio::select! {
            component = death => (component, anyhow!("{component} ended while waiting for {what}")),
            result = wait::until(what, STAGE, probe) => match result {
                Ok(value) => return Ok(value),
                Err(error) => (self.suspect(components), error),
            },
        };
        let log = self.layout.log(component);
        let lines = last_lines(&log, LOG_LINES);
        Err(anyhow!("{cause:#}. The last lines of {component} ({}):\n{lines}", log.display()))
    }

    fn is_alive(&self, component: Component) -> bool {
        Process::read(&self.layout.pid(component)).is_some_and(|process| process.is_alive())
    }

    /// Who most probably holds a stage up: the last that it waits for.
    fn suspect(&self, components: &[Component]) -> Component {
        let kubelet = components.iter().copied().find(|component| matches!(component, Component::Kubelet(_)));
        kubelet.or(components.last().copied()).unwrap_or(Component::ApiServer)
    }
}

async fn api_ready(client: &Client) -> anyhow::Result<()> {
    let request = http::Request::get("/readyz").body(Vec::new()).context("failed to make a request")?;
    client.request_text(request).await.map(drop).context("the API server is not ready")
}

async fn nodes_ready(client: &Client, wanted: usize) -> anyhow::Result<()> {
    let nodes = Api::<KubeNode>::all(client.clone()).list(&ListParams::default()).await?;
    let ready = nodes.items.iter().filter(|node| is_ready(node)).count();
    ensure!(ready == wanted, "{ready} of {wanted} nodes are Ready");
    Ok(())
}

async fn account_present(client: &Client) -> anyhow::Result<()> {
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
    accounts.get("default").await.map(drop).context("the controller manager has not made it yet")
}

fn import_in_background(nodes: Vec<Node>, archive: PathBuf) -> tokio::task::JoinHandle<anyhow::Result<()>> {
    tokio::task::spawn_blocking(move || nodes.iter().try_for_each(|node| import(node, &archive)))
}

/// Imports an image archive into a node's containerd.
pub(super) fn import(node: &Node, archive: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    // The client waits ten seconds for a socket that is not there.
    while UnixStream::connect(node.socket()).is_err() {
        ensure!(
            began.elapsed() < CONTAINERD,
            "containerd of {} does not listen on {}",
            node.name,
            node.socket().display()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = Command::new("ctr")
        .arg("--address")
        .arg(node.socket())
        .args(["--namespace", "k8s.io", "images", "import"])
        .arg(archive)
        .stdin(Stdio::null())
        .output()
        .context("failed to run ctr")?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("failed to import {} into {}: {}", archive.display(), node.name, error.trim());
    }
    Ok(())
}

/// An address on loopback that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to find a free port")?;
    listener.local_addr().context("failed to find a free port")
}

fn create_private_dir(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("failed to create {}", path.display()))
}

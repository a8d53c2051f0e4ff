//! A real Kubernetes cluster as child processes: etcd, the API server, and nodes with containerd and kubelet.
//!
//! ```text
//! network namespace of the control plane        of node 1 (and a mount namespace)
//! +---------------------------------------+     +------------------------------------+
//! | etcd, kube-apiserver, -controller-    |     | containerd, kubelet, kube-proxy    |
//! | manager, -scheduler                   |     | own /run, /tmp, /var/lib, /var/log |
//! | br0 198.51.100.10 --------- veth -----+-----+-- eth0 198.51.100.11               |
//! +---------------------------------------+     | cni0 10.244.1.1 --- pods           |
//!                                               +------------------------------------+
//! ```
//!
//! Nothing in there reaches the machine's own network. Without root there is [`Placement::Loopback`]: the control plane
//! alone, as ordinary processes on 127.0.0.1.

mod start;
mod stop;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Node as KubeNode;
use kube::api::ListParams;
use kube::client::{Body, ConfigExt as _};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use tower::ServiceBuilder;

use crate::cgroup;
use crate::layout::Layout;
pub use crate::layout::{Component, NODES_MAX, Name};
use crate::netns::{Connector, Network};
use crate::paths;
use crate::process::{self, Process};
use crate::toolchain::{Tool, Toolchain};

/// The environment variable that names the cluster which tests share.
pub const SHARED: &str = "SIGNET_CLUSTER";

/// How long a status waits for an API server that does not answer.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a cluster runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placement {
    /// The control plane alone (etcd, API server, controller manager) on 127.0.0.1: no root, no nodes, no pods.
    Loopback,
    /// Control plane and this many nodes in namespaces of their own. Needs root.
    Nodes(u8),
}

impl Placement {
    /// The numbers of the nodes.
    fn nodes(self) -> std::ops::RangeInclusive<u8> {
        let count = match self {
            Self::Loopback => 0,
            Self::Nodes(count) => count,
        };
        1..=count
    }

    fn components(self) -> Vec<Component> {
        let control_plane = Component::CONTROL_PLANE.into_iter();
        match self {
            Self::Loopback => control_plane.filter(|component| *component != Component::Scheduler).collect(),
            Self::Nodes(_) => control_plane.chain(self.nodes().flat_map(Component::of_node)).collect(),
        }
    }
}

/// What [`Cluster::up`] is to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's name; a running cluster of that name is replaced.
    pub name: Name,
    /// Where and how large.
    pub placement: Placement,
}

/// What another process needs to know about a running cluster, in `cluster.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Facts {
    placement: Placement,
    address: SocketAddr,
}

/// A running cluster. Dropping the value leaves it running; see [`Cluster::scoped`].
#[derive(Clone, Debug)]
pub struct Cluster {
    layout: Layout,
    facts: Facts,
    tools: Toolchain,
    network: Network,
}

/// Whether each part of a cluster runs.
#[derive(Clone, Debug)]
pub struct Status {
    /// Every component, and whether its process is alive.
    pub components: Vec<(Component, bool)>,
    /// Every node that the API server knows, and whether it is Ready; none when the API server does not answer.
    pub nodes: Vec<(String, bool)>,
}

impl Status {
    /// Whether everything that should run does.
    #[must_use]
    pub fn is_whole(&self, placement: Placement) -> bool {
        let ready = self.nodes.iter().filter(|(_, ready)| *ready).count();
        self.components.iter().all(|(_, alive)| *alive) && ready == placement.nodes().count()
    }
}

impl Cluster {
    /// Starts a cluster and returns when it is usable: nodes Ready, and `default` has its service account. What a former
    /// cluster of the same name left is removed first, that of a killed run included.
    ///
    /// # Errors
    /// When a component does not come up: the message names it, ends with its last log lines and says what to do.
    pub async fn up(config: &Config) -> anyhow::Result<Self> {
        start::start(config).await
    }

    /// A cluster that is taken down when the returned guard is dropped.
    ///
    /// # Errors
    /// As [`Cluster::up`].
    pub async fn scoped(config: &Config) -> anyhow::Result<Scoped> {
        Ok(Scoped(Self::up(config).await?))
    }

    /// Finds the running cluster of that name, which another process started.
    ///
    /// # Errors
    /// When there is none, or its API server has ended.
    pub fn attach(name: &Name) -> anyhow::Result<Self> {
        let up = format!("`cargo xtask cluster up --name {name}` starts one");
        for placement in [Placement::Nodes(1), Placement::Loopback] {
            let layout = layout(name, placement)?;
            let Ok(text) = fs::read(layout.facts()) else { continue };
            let facts = serde_json::from_slice(&text)
                .with_context(|| format!("{} is damaged; {up}", layout.facts().display()))?;
            let cluster = Self::new(layout, facts)?;
            if !cluster.is_alive(Component::ApiServer) {
                bail!("the API server of cluster {name} has ended; {up}");
            }
            return Ok(cluster);
        }
        bail!("there is no running cluster called {name}; {up}")
    }

    /// The cluster that the tests of one run share, named by [`SHARED`].
    ///
    /// # Errors
    /// When the variable is not set or the cluster does not run.
    pub fn shared() -> anyhow::Result<Self> {
        let name = std::env::var(SHARED).ok().with_context(|| {
            format!("this test needs a running cluster: `cargo xtask test` starts one, or set {SHARED} to the name of one that `cargo xtask cluster up` started")
        })?;
        Self::attach(&name.parse()?)
    }

    /// Takes the cluster of that name down, with every trace of it: processes, mounts, namespaces, cgroups, files.
    /// A cluster that is not there is no error.
    ///
    /// # Errors
    /// When something cannot be removed; the rest is removed nevertheless as far as it goes.
    pub fn down(name: &Name) -> anyhow::Result<()> {
        let placements: &[Placement] = if nix::unistd::geteuid().is_root() {
            &[Placement::Nodes(1), Placement::Loopback]
        } else {
            &[Placement::Loopback]
        };
        for placement in placements {
            let Ok(layout) = layout(name, *placement) else {
                continue;
            };
            let lock = stop::lock(&layout)?;
            stop::halt(&layout, *placement)?;
            stop::erase(&layout)?;
            stop::forget(&layout, lock)?;
        }
        Ok(())
    }

    fn new(layout: Layout, facts: Facts) -> anyhow::Result<Self> {
        let network = match facts.placement {
            Placement::Loopback => Network::machine(),
            Placement::Nodes(_) => Network::of(layout.control_plane_net()),
        };
        let tools = Toolchain::ensure(tools(facts.placement))?;
        Ok(Self { layout, facts, tools, network })
    }

    /// The cluster's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.layout.name
    }

    /// Where the cluster runs.
    #[must_use]
    pub fn placement(&self) -> Placement {
        self.facts.placement
    }

    /// The network of the API server, from which Service endpoints and nodes can be reached too.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The API server's address in [`Cluster::network`].
    #[must_use]
    pub fn api_server(&self) -> SocketAddr {
        self.facts.address
    }

    /// The kubeconfig of the administrator. Its address counts in [`Cluster::network`].
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig("admin")
    }

    /// The cluster's folder, which goes when it is taken down, and with it every `vault` that names a file in there.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.layout.dir()
    }

    /// The directory with the cluster's certificates: `ca.crt`, `ca.key` and the pairs of every user.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.layout.pki()
    }

    /// A client with the administrator's rights, from any tokio runtime.
    ///
    /// # Errors
    /// When the cluster's kubeconfig cannot be read.
    pub async fn client(&self) -> anyhow::Result<Client> {
        self.client_of(&self.kubeconfig()).await
    }

    /// A client as another user, by a kubeconfig that names this cluster's API server.
    ///
    /// # Errors
    /// When the file cannot be read or is incomplete.
    pub async fn client_of(&self, kubeconfig: &Path) -> anyhow::Result<Client> {
        self.client_with(&configuration(kubeconfig).await?)
    }

    /// A client with the rights of whom `token` was given to, such as a service account.
    ///
    /// # Errors
    /// When the cluster's kubeconfig cannot be read.
    pub async fn client_with_token(&self, token: &str) -> anyhow::Result<Client> {
        let mut config = self.admin().await?;
        config.auth_info = AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() };
        self.client_with(&config)
    }

    /// A client of a user whom nobody has heard of before, and who therefore may do what was granted to that name and to
    /// everybody; the administrator vouches for it.
    ///
    /// # Errors
    /// When the cluster's kubeconfig cannot be read.
    pub async fn client_as(&self, user: &str) -> anyhow::Result<Client> {
        let mut config = self.admin().await?;
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups = Some(vec!["system:authenticated".to_owned()]);
        self.client_with(&config)
    }

    /// A client by a configuration of the caller's, connected through this cluster's network.
    ///
    /// # Errors
    /// When the configuration's keys or certificates are unusable.
    pub fn client_with(&self, config: &kube::Config) -> anyhow::Result<Client> {
        // The only possible error: somebody installed it before.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let connector = config
            .rustls_https_connector_with_connector(Connector(self.network.clone()))
            .context("failed to set up TLS to the API server")?;
        let http =
            hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer().context("failed to set up authentication to the API server")?)
            .layer(config.extra_headers_layer().context("failed to set up impersonation")?)
            .map_err(tower::BoxError::from)
            .service(http);
        Ok(Client::new(service, config.default_namespace.clone()))
    }

    /// Which parts run.
    ///
    /// # Errors
    /// When the cluster's kubeconfig cannot be read.
    pub async fn status(&self) -> anyhow::Result<Status> {
        let components = self.facts.placement.components();
        let components =
            components.into_iter().map(|component| (component, self.is_alive(component))).collect();
        let api: Api<KubeNode> = Api::all(self.client().await?);
        let everything = ListParams::default();
        let nodes = tokio::time::timeout(STATUS_TIMEOUT, api.list(&everything)).await;
        let nodes = nodes.ok().and_then(Result::ok).map(|list| list.items).unwrap_or_default();
        let nodes = nodes
            .iter()
            .map(|node| (node.metadata.name.clone().unwrap_or_default(), is_ready(node)))
            .collect();
        Ok(Status { components, nodes })
    }

    /// The last `lines` lines of a component's log.
    #[must_use]
    pub fn logs(&self, component: Component, lines: usize) -> String {
        process::last_lines(&self.layout.log(component), lines)
    }

    /// A component's log file and its last `lines` lines, of a running cluster or of one that did not come up.
    ///
    /// # Errors
    /// When there is no such log.
    pub fn find_log(name: &Name, component: Component, lines: usize) -> anyhow::Result<(PathBuf, String)> {
        for placement in [Placement::Nodes(1), Placement::Loopback] {
            let file = layout(name, placement)?.log(component);
            if file.exists() {
                let text = process::last_lines(&file, lines);
                return Ok((file, text));
            }
        }
        bail!(
            "cluster {name} has no log of {component}: `cargo xtask cluster status --name {name}` lists what runs"
        )
    }

    /// A `kubectl` command as administrator, in the cluster's network.
    #[must_use]
    pub fn kubectl_command(&self) -> Command {
        self.client_command(Tool::Kubectl)
    }

    /// Runs `kubectl` and returns what it printed.
    ///
    /// # Errors
    /// When it fails; the message holds what it said.
    pub fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        run(self.kubectl_command().args(args), "kubectl", args)
    }

    /// Runs `helm` as administrator and returns what it printed.
    ///
    /// # Errors
    /// When it fails; the message holds what it said.
    pub fn helm(&self, args: &[&str]) -> anyhow::Result<String> {
        run(self.client_command(Tool::Helm).args(args), "helm", args)
    }

    /// A command that runs a program of cert-manager as administrator, in the cluster's network.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn peer_command(&self, program: Tool) -> anyhow::Result<Command> {
        let path = Toolchain::ensure(&[program])?.path(program);
        Ok(self.as_administrator(&path))
    }

    /// Ends a component without warning and starts it again.
    ///
    /// # Errors
    /// When it cannot be stopped or started, or the API server is not ready in time afterwards.
    pub async fn restart(&self, component: Component) -> anyhow::Result<()> {
        start::restart(self, component).await
    }

    /// Makes an image archive known to every node.
    ///
    /// # Errors
    /// When a containerd refuses it.
    pub fn import_image(&self, archive: &Path) -> anyhow::Result<()> {
        self.facts.placement.nodes().try_for_each(|node| start::import(&self.layout.node(node), archive))
    }

    /// The root directory as node `number` (from one) sees it, for reading its files and dialling its sockets from here.
    ///
    /// # Errors
    /// When the node's kubelet does not run, through which the view is taken.
    pub fn node_root(&self, number: u8) -> anyhow::Result<PathBuf> {
        let kubelet = Component::Kubelet(number);
        let process = self
            .process(kubelet)
            .with_context(|| format!("{kubelet} of cluster {} does not run", self.name()))?;
        Ok(PathBuf::from(format!("/proc/{}/root", process.pid())))
    }

    /// The processes of the nodes' pods whose executable has this file name.
    #[must_use]
    pub fn processes(&self, program: &str) -> Vec<i32> {
        let mut found = cgroup::processes(&self.layout.cgroup());
        found.retain(|pid| process::executable(*pid).is_some_and(|name| name == program));
        found
    }

    /// The process of a component, if it runs.
    #[must_use]
    pub fn component(&self, component: Component) -> Option<i32> {
        self.process(component).map(|process| process.pid())
    }

    /// The mounts of node `number` (from one), a line of `mountinfo` each.
    ///
    /// # Errors
    /// When the node's kubelet does not run, through which the view is taken.
    pub fn mounts(&self, number: u8) -> anyhow::Result<Vec<String>> {
        let root = self.node_root(number)?;
        let process = root.parent().context("the node's root is no folder of a process")?;
        let table = process.join("mountinfo");
        let text =
            fs::read_to_string(&table).with_context(|| format!("failed to read {}", table.display()))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// A command that runs `program` in the network and with the file system of node `number` (from one).
    #[must_use]
    pub fn node_command(&self, number: u8, program: &str) -> Command {
        let node = self.layout.node(number);
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", node.net().display()));
        command.arg(format!("--mount={}", node.mount().display())).arg("--").arg(program);
        command
    }

    async fn admin(&self) -> anyhow::Result<kube::Config> {
        configuration(&self.kubeconfig()).await
    }

    fn client_command(&self, tool: Tool) -> Command {
        self.as_administrator(&self.tools.path(tool))
    }

    fn as_administrator(&self, program: &Path) -> Command {
        let mut command = self.network.command(program);
        let cache = self.layout.dir().join("client-cache");
        command.env("KUBECONFIG", self.kubeconfig());
        // Clients remember a server's API by its address, which all clusters share.
        command.env("KUBECACHEDIR", &cache);
        for folder in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(folder, cache.join(folder));
        }
        command
    }

    fn process(&self, component: Component) -> Option<Process> {
        Process::read(&self.layout.pid(component)).filter(Process::is_alive)
    }

    fn is_alive(&self, component: Component) -> bool {
        self.process(component).is_some()
    }
}

/// A cluster that ends with this value.
#[derive(Debug)]
pub struct Scoped(Cluster);

impl std::ops::Deref for Scoped {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0
    }
}

impl Drop for Scoped {
    fn drop(&mut self) {
        if let Err(error) = Cluster::down(self.0.name()) {
            eprintln!("failed to take cluster {} down: {error:#}", self.0.name());
        }
    }
}

async fn configuration(kubeconfig: &Path) -> anyhow::Result<kube::Config> {
    let file = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("failed to read {}", kubeconfig.display()))?;
    kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("{} is incomplete", kubeconfig.display()))
}

fn layout(name: &Name, placement: Placement) -> anyhow::Result<Layout> {
    let clusters = match placement {
        Placement::Loopback => paths::clusters_on_loopback()?,
        Placement::Nodes(_) => paths::clusters_with_nodes(),
    };
    Ok(Layout { name: name.clone(), clusters })
}

fn tools(placement: Placement) -> &'static [Tool] {
    match placement {
        Placement::Loopback => &Tool::CONTROL_PLANE,
        Placement::Nodes(_) => &Tool::CLUSTER,
    }
}

fn run(command: &mut Command, program: &str, args: &[&str]) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("failed to run {program}"))?;
    if !output.status.success() {
        bail!("`{program} {}` failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn is_ready(node: &KubeNode) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

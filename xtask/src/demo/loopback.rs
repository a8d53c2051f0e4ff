//! The control-plane half: etcd, the API server and our webhook and cainjector as ordinary processes on 127.0.0.1.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use e2e::cluster::{Cluster, Config, Name, Placement};
use e2e::{cargo, paths, progress, wait};

use super::{headline, scenes};

const CONFIGURATIONS: &str = include_str!("configurations.yaml");

/// How long our programs may take to become ready; about a second is usual.
const READY_WITHIN: Duration = Duration::from_secs(60);

pub(crate) async fn run(name: &Name) -> anyhow::Result<()> {
    headline("A control plane on 127.0.0.1, our webhook and cainjector beside it");
    let programs = build()?;
    let cluster = Cluster::scoped(&Config { name: name.clone(), placement: Placement::Loopback }).await?;
    let crds = paths::workspace().join("manifests/crds");
    let crds = crds.to_str().context("the path of the CRDs is not text")?;
    cluster.kubectl(&["apply", "--server-side", "-f", crds])?;
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"])?;
    cluster.kubectl(&["create", "namespace", "signet"])?;

    let [secure, webhook_health, injector_health] = free_ports()?;
    scenes::apply(&cluster, &CONFIGURATIONS.replace("PORT", &secure.to_string()))?;
    let logs = tempfile::tempdir().context("failed to make a folder for logs")?;
    let webhook = webhook(&programs, &cluster, secure, webhook_health);
    let _webhook = Running::start("signet-webhook", webhook, logs.path())?;
    let injector = injector(&programs, &cluster, injector_health);
    let _injector = Running::start("signet-cainjector", injector, logs.path())?;
    ready("signet-webhook", webhook_health, logs.path()).await?;
    ready("signet-cainjector", injector_health, logs.path()).await?;

    scenes::refused_certificate(&cluster)?;
    let cainjector = || {
        let mut command = Command::new(programs.join("signet-cainjector"));
        command.env("KUBECONFIG", cluster.kubeconfig());
        command
    };
    scenes::injected_bundles(&cluster, cainjector).await
}

/// Builds the two programs for this machine; returns the folder that they are in.
fn build() -> anyhow::Result<PathBuf> {
    progress::step("building signet-webhook and signet-cainjector", || {
        cargo::run(&["build", "--quiet", "--package", "signet-webhook", "--package", "signet-cainjector"])
    })?;
    // Cargo put this very program beside them.
    let own = std::env::current_exe().context("failed to find this program")?;
    own.parent().map(Path::to_path_buf).context("this program is in no folder")
}

/// Ports that were free a moment ago. Somebody may take one in between; then a program says so and the demo ends.
fn free_ports<const COUNT: usize>() -> anyhow::Result<[u16; COUNT]> {
    // All are held until the last is known, so that none is handed out twice.
    let mut held = Vec::with_capacity(COUNT);
    let mut ports = [0; COUNT];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to find a free port")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn webhook(programs: &Path, cluster: &Cluster, secure: u16, health: u16) -> Command {
    let mut command = Command::new(programs.join("signet-webhook"));
    command.arg("--kubeconfig").arg(cluster.kubeconfig()).args([
        "--listen-host=127.0.0.1",
        &format!("--secure-port={secure}"),
        &format!("--healthz-port={health}"),
        "--metrics-listen-address=0",
        "--dynamic-serving-ca-secret-namespace=signet",
        "--dynamic-serving-ca-secret-name=demo-webhook-ca",
        "--dynamic-serving-dns-names=127.0.0.1",
        "--validating-configuration-name=demo-webhook",
        "--mutating-configuration-name=demo-webhook",
        "--shutdown-drain-period=0s",
    ]);
    command
}

fn injector(programs: &Path, cluster: &Cluster, health: u16) -> Command {
    let mut command = Command::new(programs.join("signet-cainjector"));
    command
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args(["--metrics-listen-address=0", &format!("--healthz-listen-address=127.0.0.1:{health}")]);
    command
}

/// Waits until the program's readiness probe succeeds.
async fn ready(name: &str, port: u16, logs: &Path) -> anyhow::Result<()> {
    let outcome =
        wait::until(&format!("{name} to be ready"), READY_WITHIN, || async { probe(port).await }).await;
    outcome.with_context(|| {
        let log = std::fs::read_to_string(log_file(logs, name)).unwrap_or_default();
        format!("{name} did not start; its log:\n{log}")
    })
}

async fn probe(port: u16) -> anyhow::Result<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if answer.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    bail!("{}", answer.lines().last().unwrap_or("it closed the connection"))
}

fn log_file(logs: &Path, name: &str) -> PathBuf {
    logs.join(format!("{name}.log"))
}

/// A program of ours that ends with this value.
struct Running(Child);

impl Running {
    fn start(name: &str, mut command: Command, logs: &Path) -> anyhow::Result<Self> {
        let log = File::create(log_file(logs, name)).context("failed to make a log file")?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        Ok(Self(child.with_context(|| format!("failed to start {name}"))?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

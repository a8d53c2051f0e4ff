//! `cargo xtask cluster`: a real Kubernetes cluster on this machine.

use std::process::Command as Process;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use e2e::cluster::{Cluster, Component, Config, NODES_MAX, Name, Placement};

/// The name of a cluster for which none was given.
const DEFAULT_NAME: &str = "signet";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start a cluster and wait until its nodes are Ready
    ///
    /// Builds what is missing first: Kubernetes, etcd and helm from a pinned Go module (minutes the first time, kept in
    /// ~/.cache/signet afterwards). A running cluster of the same name is replaced. With nodes it needs root and lives in
    /// network and mount namespaces of its own: nothing of the machine's network can be reached from it.
    Up(Up),
    /// Stop a cluster and remove every trace of it, those of a killed run included
    Down(Named),
    /// Show which parts of a cluster run; fails unless all do
    Status(Named),
    /// Run kubectl as administrator; all arguments that follow are kubectl's
    ///
    /// For another cluster than the default: cargo xtask cluster kubectl --name demo get pods -A
    #[command(disable_help_flag = true)]
    Kubectl(Kubectl),
    /// Show a component's log
    ///
    /// Components: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and on each node containerd, kubelet,
    /// kube-proxy (of the first node, or of another one as in node2-kubelet).
    Logs(Logs),
}

#[derive(Args)]
pub(crate) struct Named {
    /// The cluster's name; several can live side by side
    #[arg(long, default_value = DEFAULT_NAME)]
    name: Name,
}

#[derive(Args)]
pub(crate) struct Up {
    #[command(flatten)]
    named: Named,
    /// How many nodes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(NODES_MAX)))]
    nodes: u8,
    /// The control plane alone, as ordinary processes on 127.0.0.1; needs no root
    #[arg(long, conflicts_with = "nodes")]
    loopback: bool,
}

#[derive(Args)]
pub(crate) struct Kubectl {
    /// An optional `--name NAME` first, then kubectl's arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    named: Named,
    /// How many lines from the end
    #[arg(long, default_value_t = 100)]
    lines: usize,
    /// Whose log
    #[arg(default_value = "kube-apiserver")]
    component: Component,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(Up { named, nodes, loopback }) => {
            let placement = if loopback { Placement::Loopback } else { Placement::Nodes(nodes) };
            up(Config { name: named.name, placement }).await
        }
        Command::Down(Named { name }) => {
            Cluster::down(&name)?;
            println!("Cluster {name} is gone.");
            Ok(())
        }
        Command::Status(Named { name }) => status(&name).await,
        Command::Kubectl(Kubectl { arguments }) => kubectl(arguments),
        Command::Logs(Logs { named, lines, component }) => logs(&named.name, component, lines),
    }
}

async fn up(config: Config) -> anyhow::Result<()> {
    println!("Starting cluster {} ...", config.name);
    let cluster = Cluster::up(&config).await?;
    let name = cluster.name();
    let option = if name.as_str() == DEFAULT_NAME { String::new() } else { format!(" --name {name}") };
    println!("\nCluster {name} is up.");
    println!("  Look around:  cargo xtask cluster kubectl{option} get pods -A");
    println!("  Stop it:      cargo xtask cluster down{option}");
    if config.placement == Placement::Loopback {
        println!("  Kubeconfig:   {}", cluster.kubeconfig().display());
    }
    Ok(())
}

async fn status(name: &Name) -> anyhow::Result<()> {
    let cluster = Cluster::attach(name)?;
    let status = cluster.status().await?;
    for (component, alive) in &status.components {
        println!("{component:<26} {}", if *alive { "running" } else { "ENDED" });
    }
    for (node, ready) in &status.nodes {
        println!("{node:<26} {}", if *ready { "Ready" } else { "NOT READY" });
    }
    if !status.is_whole(cluster.placement()) {
        bail!(
            "cluster {name} is not whole: `cargo xtask cluster logs --name {name} COMPONENT` shows why, `cargo xtask cluster up --name {name}` starts it anew"
        );
    }
    Ok(())
}

fn kubectl(arguments: Vec<String>) -> anyhow::Result<()> {
    let (name, arguments) = split_name(arguments)?;
    let cluster = Cluster::attach(&name)?;
    pass_on(cluster.kubectl_command().args(arguments))
}

/// Takes our own `--name` off the front; everything else is the other program's.
fn split_name(arguments: Vec<String>) -> anyhow::Result<(Name, Vec<String>)> {
    let mut rest = arguments.into_iter().peekable();
    let mut name = DEFAULT_NAME.to_owned();
    if let Some(value) = rest.peek().and_then(|first| first.strip_prefix("--name=")) {
        name = value.to_owned();
        rest.next();
    } else if rest.peek().is_some_and(|first| first == "--name") {
        rest.next();
        name = rest.next().context("--name wants the name of a cluster")?;
    }
    Ok((name.parse()?, rest.collect()))
}

/// Runs a program in place of this one: its terminal, its exit code.
fn pass_on(command: &mut Process) -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt as _;
    Err(command.exec()).with_context(|| format!("failed to run {}", command.get_program().display()))
}

fn logs(name: &Name, component: Component, lines: usize) -> anyhow::Result<()> {
    let (file, text) = Cluster::find_log(name, component, lines)?;
    println!("{text}");
    eprintln!("(the last {lines} lines of {})", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leading_name_is_ours() {
        for (arguments, name, rest) in [
            (&["get", "pods"][..], "signet", &["get", "pods"][..]),
            (&["--name", "demo", "get", "-A"], "demo", &["get", "-A"]),
            (&["--name=demo", "get"], "demo", &["get"]),
            (&["get", "--name", "x"], "signet", &["get", "--name", "x"]),
            (&["--help"], "signet", &["--help"]),
        ] {
            let (found, left) = split_name(arguments.iter().map(|&a| a.to_owned()).collect()).unwrap();
            assert_eq!((found.as_str(), left), (name, rest.iter().map(|&a| a.to_owned()).collect()));
        }
        assert!(split_name(vec!["--name".to_owned()]).is_err());
        assert!(split_name(vec!["--name=A/B".to_owned()]).is_err());
    }
}

//! `cargo xtask bench`: how fast and how large the programs are, measured on a real cluster, and what the issuance core
//! costs without one.

mod bodies;
mod certificates;
mod core;
mod figures;
mod first;
mod inject;
mod keys;
mod load;
mod machine;
mod mount;
mod node;
mod process;
mod report;
mod review;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use e2e::cluster::{Cluster, Config, Name, Placement};
use e2e::{cargo, image, install, paths};

use self::machine::Machine;
use self::report::Report;

/// The cluster of the benchmark.
const CLUSTER: &str = "signet-bench";

/// The driver's tmpfs has room for 2,000 volumes by default.
const VOLUMES_MAX: u16 = 1500;

/// Longest series of reviews, in seconds.
const SECONDS_MAX: u64 = 300;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Only this part
    part: Option<Part>,
    /// Length of each series of reviews, in seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: u64,
    /// How many volumes are mounted in each series
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u16).range(1..=i64::from(VOLUMES_MAX)))]
    volumes: u16,
    /// Also measure the cainjector beside 20,000 Secrets and 1,000 CustomResourceDefinitions; takes minutes
    #[arg(long)]
    large: bool,
    /// Also measure cert-manager's webhook and injector; builds them the first time
    #[arg(long)]
    peer: bool,
    /// Use this running cluster, on which the chart is installed already, and leave it running
    #[arg(long, value_name = "NAME", conflicts_with = "keep")]
    cluster: Option<Name>,
    /// Keep the benchmark's own cluster running afterwards
    #[arg(long)]
    keep: bool,
    /// Put the figures into BENCHMARKS.md
    #[arg(long, conflicts_with = "part")]
    write: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The issuance core: keys, requests, signatures and bundles, on one processor
    Issuance,
    /// The manifest: how soon after it is applied the first object is admitted
    Install,
    /// The driver: volumes published and unpublished over its socket
    Mount,
    /// The webhook: admission reviews answered
    Review,
    /// The cainjector: CAs from Secrets into webhook configurations, and its memory
    Inject,
    /// The controller: Certificates until they are Ready, and its memory
    Certificates,
}

impl Arguments {
    fn wants(&self, part: Part) -> bool {
        self.part.is_none_or(|only| only == part)
    }
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let needs_node = arguments.part != Some(Part::Issuance);
    ensure!(
        !needs_node || nix::unistd::geteuid().is_root(),
        "the benchmark runs a node, which takes namespaces and mounts, so it needs root: sudo -E cargo xtask bench"
    );
    if cfg!(debug_assertions) {
        return again_with_optimisation();
    }
    let report = match &arguments.cluster {
        _ if !needs_node => without_cluster().await?,
        Some(_) if arguments.part == Some(Part::Install) => {
            bail!("the installation is measured on a cluster that has nothing of ours: leave --cluster out")
        }
        Some(name) => measure(&Cluster::attach(name)?, arguments).await?,
        None => on_own_cluster(arguments).await?,
    };
    let section = report.section();
    println!("\n{section}");
    if arguments.write {
        let path = paths::workspace().join("BENCHMARKS.md");
        write(&path, &section).with_context(|| format!("failed to update {}", path.display()))?;
        println!("{} is up to date.", path.display());
    }
    Ok(())
}

/// Runs the same command in an optimised build: a slow load generator would be what is measured.
fn again_with_optimisation() -> anyhow::Result<()> {
    println!("Building the load generator with optimisation ...");
    let mut command =
        cargo::command(&["run", "--release", "--quiet", "--package", env!("CARGO_PKG_NAME"), "--"]);
    let status = command.args(std::env::args_os().skip(1)).status();
    if !status.context("failed to run cargo")?.success() {
        bail!("the benchmark failed; its messages are above");
    }
    Ok(())
}

/// The part that a cluster would only disturb.
async fn without_cluster() -> anyhow::Result<Report> {
    let machine = Machine::look().await?;
    Ok(Report {
        command: command(),
        machine,
        core: Some(core::run()?),
        installed: None,
        mounts: None,
        reviews: None,
        injections: None,
        certificates: None,
    })
}

async fn on_own_cluster(arguments: &Arguments) -> anyhow::Result<Report> {
    let name: Name = CLUSTER.parse()?;
    let images = image::build_all()?;
    let cluster = Cluster::up(&Config { name: name.clone(), placement: Placement::Nodes(1) }).await?;
    let outcome = on_empty_cluster(&cluster, &images, arguments).await;
    if arguments.keep {
        println!("cluster {CLUSTER} is still running: cargo xtask cluster down --name {CLUSTER}");
    } else {
        Cluster::down(&name)?;
    }
    outcome
}

/// Measures the installation where that is asked for, installs the chart, and measures the rest.
async fn on_empty_cluster(
    cluster: &Cluster,
    images: &[image::Archive],
    arguments: &Arguments,
) -> anyhow::Result<Report> {
    let installed =
        if arguments.wants(Part::Install) { Some(first::run(cluster, images).await?) } else { None };
    install::install(cluster, images, &[]).await?;
    Ok(Report { installed, ..measure(cluster, arguments).await? })
}

async fn measure(cluster: &Cluster, arguments: &Arguments) -> anyhow::Result<Report> {
    let machine = Machine::look().await?;
    let core = if arguments.wants(Part::Issuance) { Some(core::run()?) } else { None };
    let mounts = if arguments.wants(Part::Mount) {
        Some(mount::run(cluster, arguments.volumes.into()).await?)
    } else {
        None
    };
    let reviews = if arguments.wants(Part::Review) {
        Some(review::run(cluster, Duration::from_secs(arguments.seconds), arguments.peer).await?)
    } else {
        None
    };
    let injections = if arguments.wants(Part::Inject) {
        Some(inject::run(cluster, arguments.large, arguments.peer).await?)
    } else {
        None
    };
    let certificates =
        if arguments.wants(Part::Certificates) { Some(certificates::run(cluster).await?) } else { None };
    let installed = None;
    Ok(Report { command: command(), machine, core, installed, mounts, reviews, injections, certificates })
}

/// What was typed.
fn command() -> String {
    let given: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask {}", given.join(" "))
}

fn write(path: &Path, section: &str) -> anyhow::Result<()> {
    let before = fs::read_to_string(path)?;
    fs::write(path, report::insert(&before, section))?;
    Ok(())
}

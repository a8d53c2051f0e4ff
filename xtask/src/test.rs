//! `cargo xtask test`: everything that must hold before a change lands.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use e2e::cluster::{Cluster, Config, Name, Placement, SHARED};
use e2e::{install, paths, progress};

/// The cluster of a test run. It has a name of its own, so that a developer's cluster is left alone.
const CLUSTER: &str = "signet-test";

/// The version of cargo-deny whose verdict counts.
const CARGO_DENY: &str = "0.20.2";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Also the long loads and faults; takes many minutes more
    #[arg(long)]
    soak: bool,
    /// Leave out the end-to-end suite, which needs root
    #[arg(long, conflicts_with = "soak")]
    no_e2e: bool,
    /// Only the end-to-end suite
    #[arg(long, conflicts_with = "no_e2e")]
    e2e: bool,
    /// Only end-to-end tests whose name contains this
    #[arg(long, value_name = "TEXT", requires = "e2e")]
    only: Option<String>,
    /// Keep the test cluster running afterwards
    #[arg(long)]
    keep: bool,
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut stages = Stages::default();
    if !arguments.e2e {
        pure(&mut stages)?;
    }
    if arguments.no_e2e {
        stages.report();
        return Ok(());
    }
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the end-to-end suite makes namespaces and mounts, so it needs root; `cargo xtask test --no-e2e` leaves it out"
    );
    end_to_end(arguments, &mut stages).await
}

/// All that needs no cluster.
fn pure(stages: &mut Stages) -> anyhow::Result<()> {
    stages.run("format", || cargo(&["fmt", "--all", "--check"]))?;
    stages.run("lints", || {
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--quiet",
            "--",
            "--deny",
            "warnings",
        ])
    })?;
    stages.run("generated files", crate::golden::check)?;
    stages.run("dependencies", dependencies)?;
    stages.run("unit tests", || cargo(&["test", "--workspace", "--exclude", "signet-e2e", "--quiet"]))?;
    stages.run("unit tests of the cluster library", || {
        cargo(&["test", "--package", "signet-e2e", "--lib", "--quiet"])
    })
}

async fn end_to_end(arguments: &Arguments, stages: &mut Stages) -> anyhow::Result<()> {
    stages.run("building the end-to-end tests", || cargo(&tests(arguments, &["--no-run", "--quiet"])))?;
    let images = stages.run("images", e2e::image::build_all)?;
    let name: Name = CLUSTER.parse()?;
    let began = Instant::now();
    let cluster = Cluster::up(&Config { name: name.clone(), placement: Placement::Nodes(1) }).await?;
    let installed = install::install(&cluster, &images).await;
    stages.add("cluster and installation", began.elapsed());
    stages.report();
    let outcome = installed.and_then(|()| {
        let mut run = vec![];
        if let Some(only) = &arguments.only {
            run.push(only.as_str());
        }
        let mut all = tests(arguments, &["--no-fail-fast"]);
        all.push("--");
        all.extend(run);
        cargo_with(&all, &[(SHARED, CLUSTER)])
    });
    if arguments.keep {
        println!("cluster {CLUSTER} is still running: cargo xtask cluster down --name {CLUSTER}");
    } else {
        Cluster::down(&name)?;
    }
    outcome
}

/// The cargo arguments that run the end-to-end suite.
fn tests<'a>(arguments: &Arguments, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["test", "--package", "signet-e2e", "--test", "*"];
    if arguments.soak {
        all.extend(["--features", "soak"]);
    }
    all.extend(more);
    all
}

/// Licences, bans and sources; the advisories need a database from the network and are a job of their own.
fn dependencies() -> anyhow::Result<()> {
    let program = cargo_deny()?;
    let mut command = Command::new(program);
    command.args([
        "--offline",
        "--log-level",
        "error",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]);
    finish(&mut command, "cargo deny")
}

/// Installs cargo-deny into our cache unless it is there.
fn cargo_deny() -> anyhow::Result<PathBuf> {
    let root = paths::cache()?.join(format!("cargo-deny-{CARGO_DENY}"));
    let program = root.join("bin/cargo-deny");
    if !program.exists() {
        let root = root.to_str().context("the cache's path is not text")?;
        let version = format!("cargo-deny@{CARGO_DENY}");
        progress::step("installing cargo-deny", || {
            cargo(&["install", "--locked", "--quiet", "--root", root, &version])
        })?;
    }
    Ok(program)
}

fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    cargo_with(arguments, &[])
}

fn cargo_with(arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<()> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied());
    finish(&mut command, &format!("cargo {}", arguments.join(" ")))
}

fn finish(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let command = command.current_dir(paths::workspace()).stdin(Stdio::null());
    let status = command.status().with_context(|| format!("failed to run `{what}`"))?;
    if !status.success() {
        bail!("`{what}` failed; its messages are above");
    }
    Ok(())
}

/// What was done, and how long each took.
#[derive(Default)]
struct Stages {
    done: Vec<(String, Duration)>,
}

impl Stages {
    fn run<T>(&mut self, name: &str, stage: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        println!("== {name}");
        let began = Instant::now();
        let value = stage().with_context(|| format!("stage {name:?}"))?;
        self.add(name, began.elapsed());
        Ok(value)
    }

    fn add(&mut self, name: &str, took: Duration) {
        self.done.push((name.to_owned(), took));
    }

    fn report(&self) {
        println!("== so far");
        for (name, took) in &self.done {
            println!("{:>7.1} s  {name}", took.as_secs_f32());
        }
    }
}

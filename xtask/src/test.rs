//! `cargo xtask test`: everything that must hold before a change lands.

mod aside;
mod programs;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use e2e::cargo::Program;
use e2e::cluster::{Cluster, Config, Name, Placement, SHARED};
use e2e::image::{self, Archive};
use e2e::toolchain::{Tool, Toolchain};
use e2e::{cargo, install, packages, paths, progress};

use self::aside::{Job, Queue, Work};

/// The cluster of a test run. It has a name of its own, so that a developer's cluster is left alone.
const CLUSTER: &str = "signet-test";

/// The tests decide themselves who approves what: those of the webhook ask whose approval counts.
const NO_APPROVER: &str = "controller.disableAutoApproval=true";

/// Certificates are kept by controllers of the tests' own, each in its namespace: those that other tests make are there to be
/// looked at by others.
const NO_CERTIFICATES: &str = "controller.extraArgs={--controllers=-certificates-trigger\\,-certificates-key-manager\\,-certificates-request-manager\\,-certificates-issuing\\,-certificates-readiness\\,-certificates-revision-manager}";

/// The version of cargo-deny whose verdict counts.
const CARGO_DENY: &str = "0.20.2";

/// How long each fuzz target runs: enough to walk through its seeds, and an hour before a release.
const FUZZ_SECONDS: u32 = 10;

/// The seed of its random numbers there, so that it tries the same inputs in each run.
const FUZZ_SEED: u32 = 1;
const FUZZ_SECONDS_SOAK: u32 = 3600;

/// The end-to-end tests with tools of their own, which are built while the others run.
const LAST: [&str; 2] = ["check_api", "conformance_csi"];

#[derive(Args)]
pub(crate) struct Arguments {
    /// Also the long loads and faults; takes many minutes more
    #[arg(long)]
    soak: bool,
    /// Also issuers at a real Vault server, whose first build takes minutes
    #[arg(long, conflicts_with = "no_e2e")]
    vault: bool,
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
    let outcome = all(arguments, &mut stages).await;
    stages.report();
    outcome
}

async fn all(arguments: &Arguments, stages: &mut Stages) -> anyhow::Result<()> {
    ensure!(
        arguments.no_e2e || nix::unistd::geteuid().is_root(),
        "the end-to-end suite makes namespaces and mounts, so it needs root; `cargo xtask test --no-e2e` leaves it out"
    );
    let (local, clustered, _work) = prepare(arguments);
    if let Some(local) = &local {
        stages.run("format", || cargo::run(&["fmt", "--all", "--check"]))?;
        stages.run("generated files", || local.helm.finish().and_then(|()| crate::golden::check()))?;
    }
    let programs = stages.run("building the tests", || test_programs(arguments))?;
    if let Some(local) = &local {
        stages.run("packages", || local.peers.finish())?;
        let unit = programs.iter().filter(|program| !needs_cluster(program));
        stages.run("unit tests", || programs::run_all(unit.map(|program| test(program, &[])), 1))?;
    }
    if let Some(clustered) = &clustered {
        end_to_end(arguments, &programs, clustered, stages).await?;
    }
    if let Some(local) = &local {
        stages.run("lints", || local.lints.as_ref().map_or_else(lints, Job::finish))?;
        stages.run("dependencies", || dependencies(&local.cargo_deny.finish()?))?;
        let fuzzers = stages.run("building the fuzz targets", || local.fuzzers.finish())?;
        // What nobody has seen yet is looked for in the soak: a change must not fail for what another one did.
        let (seconds, seed) =
            if arguments.soak { (FUZZ_SECONDS_SOAK, None) } else { (FUZZ_SECONDS, Some(FUZZ_SEED)) };
        stages.run("fuzzing", || crate::fuzz::all(&fuzzers, seconds, seed))?;
    }
    Ok(())
}

/// What is done beside the stages for those without a cluster.
struct Local {
    helm: Job<()>,
    peers: Job<()>,
    lints: Option<Job<()>>,
    cargo_deny: Job<PathBuf>,
    fuzzers: Job<PathBuf>,
}

/// The same for those with one.
struct Clustered {
    tools: Job<()>,
    images: Job<Vec<Archive>>,
    vault: Option<Job<()>>,
}

/// Begins whatever needs no result of a stage, in the order in which it is waited for. What can wait is done beside the
/// end-to-end tests: they leave three quarters of the processors' time.
fn prepare(arguments: &Arguments) -> (Option<Local>, Option<Clustered>, Work) {
    let mut queue = Queue::default();
    let tools = |tools: &'static [Tool]| move || Toolchain::ensure(tools).map(drop);
    let early = (!arguments.e2e).then(|| {
        let helm = queue.add(tools(&[Tool::Helm]));
        (helm, queue.add(|| packages::ensure(&packages::PEERS)))
    });
    let clustered = (!arguments.no_e2e).then(|| {
        let packages = || packages::ensure(&packages::CLUSTER);
        let kubernetes = queue.add(move || packages().and_then(|()| tools(&Tool::CLUSTER)()));
        // The second one is asked for again by every start of a cluster.
        let images = || image::build_all().and_then(|images| image::pause().map(|_| images));
        let images = queue.add(images);
        let vault = arguments.vault.then(|| queue.add(e2e::vault::ensure));
        let clustered = Clustered { tools: kubernetes, images, vault };
        // The tests that need them ask for them again, and say what is wrong.
        drop(queue.add(tools(&[Tool::CsiSanity])));
        drop(queue.add(tools(&[Tool::Cmctl])));
        clustered
    });
    let local = early.map(|(helm, peers)| Local {
        helm,
        peers,
        // Without tests on a cluster it would be done beside the building of the tests, in the same folder, which only
        // one cargo can use at a time.
        lints: clustered.is_some().then(|| queue.add(lints)),
        cargo_deny: queue.add(cargo_deny),
        fuzzers: queue.add(crate::fuzz::build),
    });
    (local, clustered, queue.start())
}

fn lints() -> anyhow::Result<()> {
    let arguments =
        ["clippy", "--workspace", "--all-targets", "--all-features", "--quiet", "--", "--deny", "warnings"];
    progress::step("checking lints", || cargo::run(&arguments))
}

async fn end_to_end(
    arguments: &Arguments,
    programs: &[Program],
    clustered: &Clustered,
    stages: &mut Stages,
) -> anyhow::Result<()> {
    stages.run("Kubernetes", || clustered.tools.finish())?;
    let images = stages.run("images", || clustered.images.finish())?;
    if let Some(vault) = &clustered.vault {
        stages.run("Vault", || vault.finish())?;
    }
    let name: Name = CLUSTER.parse()?;
    let began = Instant::now();
    let cluster = Cluster::up(&Config { name: name.clone(), placement: Placement::Nodes(1) }).await?;
    let installed = install::install(&cluster, &images, &[NO_APPROVER, NO_CERTIFICATES]).await;
    stages.add("cluster and installation", began.elapsed());
    let outcome = installed.and_then(|()| {
        let only: Vec<&str> = arguments.only.as_deref().into_iter().collect();
        let mut tests: Vec<&Program> = programs.iter().filter(|program| needs_cluster(program)).collect();
        tests.sort_by_key(|program| LAST.contains(&program.name.as_str()));
        let tests = tests.into_iter().map(|program| {
            let mut command = test(program, &only);
            command.env(SHARED, CLUSTER);
            command
        });
        stages.run("end-to-end tests", || programs::run_all(tests, 1))
    });
    if arguments.keep {
        println!("cluster {CLUSTER} is still running: cargo xtask cluster down --name {CLUSTER}");
    } else {
        Cluster::down(&name)?;
    }
    outcome
}

/// Builds every test of the workspace. All at once, since cargo builds a dependency again for each set of features that
/// a smaller selection would ask of it.
fn test_programs(arguments: &Arguments) -> anyhow::Result<Vec<Program>> {
    let mut command = vec!["test", "--workspace", "--no-run"];
    for (is_asked, feature) in [(arguments.soak, "signet-e2e/soak"), (arguments.vault, "signet-e2e/vault")] {
        if is_asked {
            command.extend(["--features", feature]);
        }
    }
    let programs = progress::step("building tests", || cargo::build(&command))?;
    Ok(programs.into_iter().filter(|program| program.is_test).collect())
}

/// Whether a test program asks for a cluster: the integration tests of the crate that is there for them do.
fn needs_cluster(program: &Program) -> bool {
    program.is_integration_test && program.package.ends_with("e2e")
}

/// A run of a test program, as cargo would start it.
fn test(program: &Program, filters: &[&str]) -> Command {
    let mut command = Command::new(&program.path);
    command.args(filters).current_dir(&program.package).env("CARGO_MANIFEST_DIR", &program.package);
    command
}

/// Licences, bans and sources; the advisories need a database from the network and are a job of their own.
fn dependencies(program: &Path) -> anyhow::Result<()> {
    // Those of other platforms too, which nothing else here asks for: without a network it cannot read on.
    cargo::run(&["fetch", "--locked", "--quiet"])?;
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
    let status = command.current_dir(paths::workspace()).stdin(Stdio::null()).status();
    ensure!(
        status.context("failed to run cargo-deny")?.success(),
        "cargo-deny objects; its messages are above"
    );
    Ok(())
}

/// Installs cargo-deny into our cache unless it is there.
fn cargo_deny() -> anyhow::Result<PathBuf> {
    let root = paths::cache()?.join(format!("cargo-deny-{CARGO_DENY}"));
    let program = root.join("bin/cargo-deny");
    if !program.exists() {
        let root = root.to_str().context("the cache's path is not text")?;
        let version = format!("cargo-deny@{CARGO_DENY}");
        progress::step("installing cargo-deny", || {
            // A build without optimisation takes a third of the time and checks as well.
            cargo::run(&["install", "--locked", "--debug", "--quiet", "--root", root, &version])
        })?;
    }
    Ok(program)
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
        let outcome = stage().with_context(|| format!("stage {name:?}"));
        self.add(name, began.elapsed());
        outcome
    }

    fn add(&mut self, name: &str, took: Duration) {
        self.done.push((name.to_owned(), took));
    }

    fn report(&self) {
        println!("== what took how long");
        for (name, took) in &self.done {
            println!("{:>7.1} s  {name}", took.as_secs_f32());
        }
        let whole: Duration = self.done.iter().map(|(_, took)| *took).sum();
        println!("{:>7.1} s  in all", whole.as_secs_f32());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_that_come_last_exist() {
        for name in LAST {
            let file = paths::workspace().join("e2e/tests").join(name).with_extension("rs");
            assert!(file.exists(), "there is no {}", file.display());
        }
    }
}

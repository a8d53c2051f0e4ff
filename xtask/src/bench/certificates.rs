//! `cargo xtask bench certificates`: how long Certificates take to become Ready, alone and many at once, and what the
//! controller needs for that.

use std::collections::HashSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use e2e::authority::{Authority, issuer};
use e2e::cluster::Cluster;
use e2e::namespace::{self, Scope};
use e2e::progress;
use futures::TryStreamExt as _;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::figures::{Latencies, Series};
use super::load;
use super::process::{Cpu, Memory, Process, machine_cpu};

const PROGRAM: &str = "signet-controller";

/// Certificates that are measured one by one.
const SINGLES: usize = 20;

/// Sizes of the groups that are created at once.
const GROUPS: [usize; 2] = [100, 1000];

/// How many objects are created at a time.
const AT_ONCE: usize = 16;

/// How long a group may take; what takes longer is a failure.
const WITHIN: Duration = Duration::from_secs(180);

/// What was found out about Certificates.
pub(crate) struct Certificates {
    /// One after the other: from the creation to Ready.
    pub(crate) one: Series,
    /// Many at once: each from the creation of the first.
    pub(crate) groups: Vec<Series>,
    pub(crate) memory: Vec<(String, Memory)>,
}

/// Measures on a cluster on which the chart is installed with its own controller, which approves.
///
/// # Errors
/// The first thing that does not work: a failure is never measured.
pub(crate) async fn run(cluster: &Cluster) -> anyhow::Result<Certificates> {
    namespace::with(cluster, "bench-certificates", |scope| async move {
        scope.create(&Authority::new("bench")?.secret("ca")).await?;
        scope.create(&issuer("Issuer", "ca", &json!({"ca": {"secretName": "ca"}}))).await?;
        let program = program(&scope)?;
        load::idle(program).await?;
        let mut memory = vec![("before the first Certificate".to_owned(), program.memory()?)];
        let one = singles(&scope, program).await?.told();
        memory.push((format!("after {SINGLES} one by one"), program.memory()?));
        let mut groups = Vec::new();
        for size in GROUPS {
            groups.push(group(&scope, program, size).await?.told());
            load::idle(program).await?;
            memory.push((format!("with {size} more, at rest"), program.memory()?));
        }
        Ok(Certificates { one, groups, memory })
    })
    .await
}

fn program(scope: &Scope) -> anyhow::Result<Process> {
    match *scope.cluster.processes(PROGRAM) {
        [pid] => Ok(Process::new(pid)),
        ref others => bail!("{} instead of one {PROGRAM} run", others.len()),
    }
}

async fn singles(scope: &Scope, program: Process) -> anyhow::Result<Series> {
    let mut latencies = Vec::new();
    let used = Used::now(program)?;
    let mut wall = Duration::ZERO;
    // The first one has the issuer judged.
    for number in 0..=SINGLES {
        let took = ready_after(scope, "one", number..number + 1).await?;
        if number > 0 {
            latencies.extend(took);
        }
        wall = latencies.iter().sum();
    }
    used.series(program, "one Certificate, created to Ready", latencies, wall)
}

async fn group(scope: &Scope, program: Process, size: usize) -> anyhow::Result<Series> {
    progress::note(&format!("{size} Certificates"));
    let used = Used::now(program)?;
    let latencies = ready_after(scope, &format!("group-{size}"), 0..size).await?;
    let wall = latencies.iter().max().copied().unwrap_or_default();
    used.series(program, &format!("{size} Certificates, the first created to each Ready"), latencies, wall)
}

/// Creates Certificates and waits until all are Ready; when each was, after the first was sent.
async fn ready_after(scope: &Scope, prefix: &str, numbers: Range<usize>) -> anyhow::Result<Vec<Duration>> {
    let count = numbers.len();
    let certificates = scope.resource("cert-manager.io/v1", "Certificate");
    let version = certificates.list(&ListParams::default().limit(1)).await?.metadata.resource_version;
    let version = version.context("a list without a version")?;
    let events = certificates.watch(&WatchParams::default(), &version).await?;
    let began = Instant::now();
    let creating = create(scope.clone(), prefix.to_owned(), numbers);
    let watching = async {
        let (mut events, mut ready, mut latencies) = (std::pin::pin!(events), HashSet::new(), Vec::new());
        while latencies.len() < count {
            let event = tokio::time::timeout(WITHIN, events.try_next()).await;
            let event = event.context("no news of Certificates")??.context("the watch has ended")?;
            if let WatchEvent::Modified(object) = event
                && is_ready(&object)
                && object.metadata.name.as_ref().is_some_and(|name| name.starts_with(prefix))
                && ready.insert(object.metadata.name.clone())
            {
                latencies.push(began.elapsed());
            }
            ensure!(began.elapsed() < WITHIN, "{} of {count} are Ready after {WITHIN:?}", latencies.len());
        }
        anyhow::Ok(latencies)
    };
    let ((), latencies) = tokio::try_join!(creating, watching)?;
    Ok(latencies)
}

async fn create(scope: Scope, prefix: String, numbers: Range<usize>) -> anyhow::Result<()> {
    let first = numbers.start;
    let create = move |index: usize| -> load::Operation {
        let (scope, name) = (scope.clone(), format!("{prefix}-{}", first + index));
        Box::pin(async move { Ok(scope.create(&certificate(&name)).await.map(drop)?) })
    };
    load::each(numbers.len(), AT_ONCE, create).await.map(drop)
}

fn certificate(name: &str) -> Value {
    json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": name},
        "spec": {
            "secretName": name,
            "dnsNames": [format!("{name}.example.com")],
            "privateKey": {"algorithm": "ECDSA", "size": 256},
            "issuerRef": {"name": "ca"},
        },
    })
}

fn is_ready(certificate: &DynamicObject) -> bool {
    let conditions = certificate.data["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// What was used of the processors at one moment.
struct Used {
    program: Cpu,
    generator: Cpu,
    machine: Duration,
}

impl Used {
    fn now(program: Process) -> anyhow::Result<Self> {
        Ok(Self { program: program.cpu()?, generator: Process::this()?.cpu()?, machine: machine_cpu()? })
    }

    fn series(
        self,
        program: Process,
        name: &str,
        latencies: Vec<Duration>,
        wall: Duration,
    ) -> anyhow::Result<Series> {
        let now = Self::now(program)?;
        Ok(Series {
            name: name.to_owned(),
            latencies: Latencies::of(latencies),
            wall,
            program: now.program.since(self.program),
            generator: now.generator.since(self.generator),
            machine: now.machine.saturating_sub(self.machine),
        })
    }
}

//! `cargo xtask bench inject`: how long a CA takes from its Secret into the fields that ask for it, and what memory the
//! cainjector needs for that, in a small cluster and in a large one.

mod floor;
mod peer;
mod server;
mod stage;

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::namespace::{self, Scope};
use e2e::progress;

pub(crate) use self::floor::Floor;
pub(crate) use self::peer::Peer;
use self::server::Look;
pub(crate) use self::server::Work;
use self::stage::{Group, Stage};
use super::figures::{Latencies, Series};
use super::load;
use super::process::{Memory, Process};

/// Targets that are measured one by one, and how often the CA of each is replaced. A bundle grows with each
/// replacement, and ten CAs are many for a real one.
const SINGLES: usize = 20;
const CHANGES: usize = 10;

/// Sizes of the group of configurations with one CA, and how often that is replaced at each.
pub(crate) const GROUPS: [(usize, usize); 2] = [(200, 5), (1000, 3)];

/// Between two changes, so that the end of one does not delay the next.
const PAUSE: Duration = Duration::from_millis(100);

/// Secrets that no target names, and how often the program is started beside them.
const SECRETS: usize = 10_000;
const STARTS: usize = 5;

/// The large cluster: Secrets of 100 MiB together, and definitions.
const SECRETS_LARGE: usize = 20_000;
const DEFINITIONS: usize = 1000;

/// What was found out about injections.
pub(crate) struct Injections {
    /// One target after the other.
    pub(crate) one: Series,
    /// Many targets of one CA.
    pub(crate) groups: Vec<Together>,
    /// The same without the program, for each group.
    pub(crate) floors: Vec<Floor>,
    /// The same by the Go injector.
    pub(crate) peer: Option<Peer>,
    /// From the start of the program, beside 10,000 Secrets, to its first injection.
    pub(crate) starts: Latencies,
    /// The program that has just started and has nothing to do.
    pub(crate) idle: Memory,
    pub(crate) memory: Vec<(String, Memory)>,
    pub(crate) large: Option<Large>,
}

/// Targets that have their CA from one Secret.
pub(crate) struct Together {
    pub(crate) series: Series,
    /// For each change, how long the last target took.
    pub(crate) last: Latencies,
    /// What the API server did for all of them.
    pub(crate) work: Work,
}

/// What 20,000 Secrets and 1,000 definitions that no target names change.
pub(crate) struct Large {
    /// The program that has just started beside the Secrets alone.
    pub(crate) secrets: Memory,
    /// The program that has injected beside Secrets and definitions.
    pub(crate) both: Memory,
    /// One target after the other, beside both.
    pub(crate) one: Series,
    pub(crate) start: Duration,
}

impl Large {
    /// Bytes of resident memory for each unrelated Secret; negative where chance had the program smaller beside them.
    pub(crate) fn bytes_per_secret(&self, idle: Memory) -> f64 {
        let kib = i128::from(self.secrets.resident_kib) - i128::from(idle.resident_kib);
        let bytes = i32::try_from(kib * 1024).map_or(f64::MAX, f64::from);
        bytes / super::figures::count(SECRETS_LARGE)
    }
}

/// Measures on a cluster on which the chart is installed; `large` makes that a large one, which takes minutes, and `peer`
/// measures the Go injector as well.
///
/// # Errors
/// The first thing that does not work: a failure is never measured. What was made is removed all the same.
pub(crate) async fn run(cluster: &Cluster, large: bool, peer: bool) -> anyhow::Result<Injections> {
    namespace::with(cluster, "bench-inject", |scope| async move {
        let measured = measure(&scope, large, peer).await;
        progress::note("removing what was made for the measurement");
        // It may have been stopped at the moment.
        let restored = Stage::new(&scope).scale(1).await;
        let injections = measured?;
        restored?;
        Ok(injections)
    })
    .await
}

async fn measure(scope: &Scope, large: bool, peer: bool) -> anyhow::Result<Injections> {
    let stage = Stage::new(scope);
    let idle = stage.start_anew().await?.memory()?;
    let mut memory = vec![("just started, without targets".to_owned(), idle)];
    let one = singles(&stage, "one target", "single").await?;
    memory.push((format!("after {SINGLES} targets one by one"), stage.program()?.memory()?));
    let group = stage.group("group").await?;
    let mut groups = Vec::new();
    for (size, changes) in GROUPS {
        groups.push(together(stage.program()?, &group, size, changes).await?);
        memory.push((format!("after {size} configurations of one CA"), stage.program()?.memory()?));
    }
    stage.remove_targets().await?;
    let floors = floor::run(&stage).await?;
    let peer = if peer { Some(peer::run(&stage).await?) } else { None };

    progress::note(&format!("creating {SECRETS} Secrets"));
    stage.secrets(0..SECRETS).await?;
    let mut starts = Vec::new();
    for turn in 0..STARTS {
        starts.push(stage.start_to_injection(&format!("start-{turn}")).await?);
    }
    stage.remove_targets().await?;
    let beside = format!("just started, beside {SECRETS} Secrets, without targets");
    memory.push((beside, stage.start_anew().await?.memory()?));
    let large = if large { Some(in_large_cluster(&stage, &mut memory).await?) } else { None };
    Ok(Injections { one, groups, floors, peer, starts: Latencies::of(starts), idle, memory, large })
}

/// Targets with a CA each that is replaced several times; `prefix` begins the names of their Secrets.
async fn singles(stage: &Stage, name: &str, prefix: &str) -> anyhow::Result<Series> {
    let program = stage.program()?;
    let work = async {
        let mut durations = Vec::new();
        for number in 0..SINGLES {
            let group = stage.group(&format!("{prefix}-{number}")).await?;
            group.grow(1).await?;
            for _ in 0..CHANGES {
                tokio::time::sleep(PAUSE).await;
                durations.extend(group.change().await?);
            }
            group.check().await?;
        }
        Ok(durations)
    };
    let series = load::measure(name, program, work).await?.told();
    stage.remove_targets().await?;
    load::idle(program).await?;
    Ok(series)
}

/// A group that is made this large, and whose CA is then replaced several times.
async fn together(program: Process, group: &Group, size: usize, changes: usize) -> anyhow::Result<Together> {
    progress::note(&format!("{size} configurations of one CA"));
    group.grow(size).await?;
    let (mut parts, mut last, mut work) = (Vec::new(), Vec::new(), Work::default());
    for _ in 0..changes {
        load::idle(program).await?;
        let before = Look::before(group.cluster())?;
        let part = load::measure("a change", program, group.change()).await?;
        // What follows an injection is part of it.
        load::idle(program).await?;
        work.add(&before.after(group.cluster())?);
        last.push(part.latencies.percentile(100));
        parts.push(part);
    }
    group.check().await?;
    let name = format!("{size} configurations of one CA");
    Ok(Together { series: Series::together(&name, &parts).told(), last: Latencies::of(last), work })
}

async fn in_large_cluster(stage: &Stage, memory: &mut Vec<(String, Memory)>) -> anyhow::Result<Large> {
    progress::note(&format!("creating {} more Secrets", SECRETS_LARGE - SECRETS));
    stage.secrets(SECRETS..SECRETS_LARGE).await?;
    let secrets = stage.start_anew().await?.memory()?;
    memory.push((format!("just started, beside {SECRETS_LARGE} Secrets"), secrets));
    progress::note(&format!("creating {DEFINITIONS} CustomResourceDefinitions, which takes minutes"));
    stage.definitions(DEFINITIONS).await?;
    let crowd = format!("beside {SECRETS_LARGE} Secrets and {DEFINITIONS} definitions");
    memory.push((format!("just started, {crowd}"), stage.start_anew().await?.memory()?));
    let start = stage.start_to_injection("start-large").await?;
    stage.remove_targets().await?;
    let one = singles(stage, "one target in the large cluster", "large").await?;
    let both = stage.program()?.memory()?;
    memory.push((format!("after {SINGLES} targets one by one, {crowd}"), both));
    Ok(Large { secrets, both, one, start })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_in_bytes_and_may_be_negative() {
        let memory = |resident_kib| Memory { resident_kib, proportional_kib: 0 };
        for (before, after, slope) in [(8000, 8000, 0.0), (8000, 28_000, 1024.0), (8000, 7000, -51.2)] {
            let one = Series {
                name: String::new(),
                latencies: Latencies::of(Vec::new()),
                wall: Duration::ZERO,
                program: super::super::process::Cpu::default(),
                generator: super::super::process::Cpu::default(),
                machine: Duration::ZERO,
            };
            let both = memory(0);
            let large = Large { secrets: memory(after), both, one, start: Duration::ZERO };
            let found = large.bytes_per_secret(memory(before));
            assert!((found - slope).abs() < 0.001, "{found} instead of {slope}");
        }
    }
}

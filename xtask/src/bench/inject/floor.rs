//! The floor: the least that changing the bundles of a group takes on this machine, whoever injects.
//!
//! The load generator itself sends what an injector has to send in the end, the server-side applies alone, as many at a
//! time as the program does. It reads nothing before, and no admission policy judges it.

use std::time::Instant;

use anyhow::Context as _;
use e2e::authority::Authority;
use e2e::progress;
use futures::{StreamExt as _, TryStreamExt as _};

use super::super::figures::Latencies;
use super::server::{Look, Work};
use super::stage::{Group, Stage};
use super::{GROUPS, PAUSE};

/// Applies under way at any time, as many as the program has workers.
const AT_ONCE: usize = 8;

/// Other numbers of these, and how often a group is changed with each.
const WIDTHS: [usize; 3] = [2, 4, 16];
const CHANGES: usize = 3;

/// How long the last target of a group took, and what the API server did for that.
pub(crate) struct Floor {
    /// For each change, how long the last target took.
    pub(crate) last: Latencies,
    pub(crate) work: Work,
    /// How many targets were written.
    pub(crate) written: usize,
    /// How long the last target took with so many applies under way, if that was measured.
    pub(crate) widths: Vec<(usize, Latencies)>,
}

/// Measures each of the groups, while the program does not run.
pub(super) async fn run(stage: &Stage) -> anyhow::Result<Vec<Floor>> {
    stage.scale(0).await?;
    let group = stage.group("floor").await?;
    let mut floors = Vec::new();
    let (mut size, mut bundle) = (0, String::new());
    for (next, changes) in GROUPS {
        progress::note(&format!("{next} bare server-side applies"));
        group.create(size..next).await?;
        size = next;
        let mut floor = changed(stage, &group, &mut bundle, changes, AT_ONCE).await?;
        // The small group shows it.
        for width in WIDTHS.into_iter().filter(|_| floors.is_empty()) {
            // What is written afterwards is to be no larger than what the program writes.
            let Floor { last, .. } = changed(stage, &group, &mut String::new(), CHANGES, width).await?;
            floor.widths.push((width, last));
        }
        floors.push(floor);
    }
    stage.scale(1).await?;
    stage.remove_targets().await?;
    Ok(floors)
}

/// Replaces the bundle of each target several times; it grows by a certificate each time, as it does at rotations.
async fn changed(
    stage: &Stage,
    group: &Group,
    bundle: &mut String,
    changes: usize,
    at_once: usize,
) -> anyhow::Result<Floor> {
    let (mut last, mut work, mut written) = (Vec::new(), Work::default(), 0);
    for _ in 0..changes {
        tokio::time::sleep(PAUSE).await;
        bundle.push_str(&Authority::new("floor")?.certificate);
        let bodies = group.bodies(bundle).await?;
        let before = Look::before(stage.cluster())?;
        let events = group.watch().await?;
        let began = Instant::now();
        let writes = futures::stream::iter(&bodies).map(Ok);
        let writes = writes.try_for_each_concurrent(at_once, |(name, body)| stage.apply(name, body));
        let (durations, ()) = tokio::try_join!(super::stage::seen(events, bodies.len(), began), writes)?;
        work.add(&before.after(stage.cluster())?);
        last.push(*durations.last().context("the group is empty")?);
        written += durations.len();
    }
    Ok(Floor { last: Latencies::of(last), work, written, widths: Vec::new() })
}

//! Two programs that keep the same bundles: the webhook and the cainjector, which must not take turns for ever.

mod common;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use common::{ca, replicas};
use e2e::namespace::{self, Scope};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{WatchEvent, WatchParams};

/// How often the bundles are disturbed, and for how long is looked after each time.
const ROUNDS: usize = if cfg!(feature = "soak") { 10 } else { 1 };
const ROUND: Duration = Duration::from_secs(if cfg!(feature = "soak") { 60 } else { 20 });

/// How long after a disturbance writes are expected; after that there must be none.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// Writes to one configuration after a disturbance: each of three writers (two replicas, one cainjector) may fill each
/// of two entries once, and the disturbance itself is one.
const WRITES_MAX: usize = 7;

#[tokio::test]
async fn webhook_and_cainjector_come_to_rest() -> anyhow::Result<()> {
    namespace::own("share", |scope| async move {
        let injectors = scope.cluster.processes("signet-cainjector");
        ensure!(!injectors.is_empty(), "no cainjector runs");
        replicas::ready(&scope.client).await?;
        for round in 1..=ROUNDS {
            futures::future::try_join_all(ca::KINDS.map(|kind| disturb(&scope, kind, round))).await?;
        }
        Ok(())
    })
    .await
}

/// Empties the bundles of a configuration, and counts who writes it then.
async fn disturb(scope: &Scope, kind: &str, round: usize) -> anyhow::Result<()> {
    let api = scope.resource("admissionregistration.k8s.io/v1", kind);
    let now = api.get(ca::CONFIGURATION).await?.metadata.resource_version.context("no resource version")?;
    let params = WatchParams::default().fields(&format!("metadata.name={}", ca::CONFIGURATION));
    let mut events = api.watch(&params, &now).await?.boxed();
    ca::empty_bundles(scope, kind).await?;
    let began = Instant::now();
    let (mut writes, mut late) = (0, 0);
    let end = tokio::time::Instant::now() + ROUND;
    while let Ok(event) = tokio::time::timeout_at(end, events.try_next()).await {
        match event?.context("the watch ended")? {
            WatchEvent::Modified(_) => {
                writes += 1;
                late += usize::from(began.elapsed() > SETTLED_WITHIN);
            }
            WatchEvent::Error(error) => bail!("the watch failed: {error:?}"),
            _ => {}
        }
    }
    println!("round {round}: {writes} writes of the {kind}, {late} of them late");
    ensure!(writes > 1, "nobody filled the bundles of the {kind}");
    ensure!(writes <= WRITES_MAX, "the {kind} was written {writes} times");
    ensure!(late == 0, "the {kind} was still written {late} times after {SETTLED_WITHIN:?}");
    Ok(())
}

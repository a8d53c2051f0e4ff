//! Mounts for minutes, on a node whose driver dies at random moments. Needs the feature `soak`.
// Not `required-features`: cargo would then refuse `--test '*'` without the feature.
#![cfg(feature = "soak")]

mod common;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use common::driver;
use common::pods::{self, ORDINARY};
use e2e::cluster::Cluster;
use e2e::namespace::{self, Scope};
use e2e::volume::{self, Generation};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;

/// How long new rounds are begun.
const SOAK: Duration = Duration::from_secs(180);

/// Pods of one round; they come and go together.
const PODS: usize = 20;

/// Longest time from the begin of a round to the driver's death; a round takes about ten seconds.
const KILL_WITHIN_MILLISECONDS: u64 = 8_000;

/// Where the random moments begin; another run may be given another.
const SEED: &str = "SIGNET_SOAK_SEED";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_torn_or_left_when_the_driver_dies_at_random() -> anyhow::Result<()> {
    let cluster = Cluster::shared()?;
    let mut moments = Moments::new()?;
    namespace::with(&cluster, "soak", |scope| async move {
        pods::with_ca(&scope).await?;
        let stayer = pods::run(&scope, &pods::holder("stayer", &ORDINARY)).await?;
        let path = volume::path(&scope.cluster, 1, &stayer, "csi-0")?;
        let kept = Generation::read(&path)?;
        let (began, mut rounds) = (Instant::now(), 0);
        while began.elapsed() < SOAK {
            let after = moments.next();
            let (went, died) = tokio::join!(round(&scope, rounds), die(&scope, after));
            went.and(died).with_context(|| format!("round {rounds}, driver killed after {after:?}"))?;
            let now = Generation::read(&path)?;
            ensure!(now.name == kept.name && now.chain == kept.chain, "a live volume was issued anew");
            // Else kubelet would wait longer before each restart.
            driver::renew_pod(&scope).await?;
            rounds += 1;
        }
        ensure!(rounds > 1, "one round took {:?}", began.elapsed());
        pods::delete(&scope, &stayer).await?;
        let left = volume::stored(&scope.cluster, 1, &scope.namespace)?;
        ensure!(left.is_empty(), "the driver still has {left:?}");
        println!("{rounds} rounds of {PODS} pods, each with a driver that died");
        Ok(())
    })
    .await
}

/// Creates all pods of a round, reads their volumes, and deletes them.
async fn round(scope: &Scope, number: usize) -> anyhow::Result<()> {
    let names = (0..PODS).map(|pod| format!("pod-{number}-{pod}"));
    try_join_all(names.map(|name| one(scope, name))).await?;
    Ok(())
}

async fn one(scope: &Scope, name: String) -> anyhow::Result<()> {
    let pod = pods::run(scope, &pods::holder(&name, &ORDINARY)).await?;
    check(scope, &pod).with_context(|| format!("the volume of pod {name}"))?;
    pods::delete(scope, &pod).await
}

fn check(scope: &Scope, pod: &Pod) -> anyhow::Result<()> {
    let path: PathBuf = volume::path(&scope.cluster, 1, pod, "csi-0")?;
    Generation::read(&path)?.check_pair()
}

/// Kills the driver after some time, and waits for the next one.
async fn die(scope: &Scope, after: Duration) -> anyhow::Result<()> {
    tokio::time::sleep(after).await;
    let former = driver::kill_now(&scope.cluster)?;
    driver::back(&scope.cluster, former).await
}

/// Moments that look random and can be had again: xorshift, which has no other virtue.
struct Moments(u64);

impl Moments {
    fn new() -> anyhow::Result<Self> {
        let seed = match std::env::var(SEED) {
            Ok(text) => text.parse().with_context(|| format!("{SEED} is {text:?}, which is no number"))?,
            Err(_) => 1,
        };
        println!("{SEED}={seed}");
        // Zero would stay zero.
        Ok(Self(seed | 1 << 63))
    }

    fn next(&mut self) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_millis(self.0 % KILL_WITHIN_MILLISECONDS)
    }
}

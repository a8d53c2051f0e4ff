//! Load: operations with a fixed number under way at any time, and everything that is measured about them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::wait;
use tokio::task::JoinSet;

use super::figures::{Latencies, Series};
use super::process::{Cpu, Process, machine_cpu};

/// How many looks in a row must find that a program used no processor time before it counts as idle; 50 ms lie
/// between two.
const QUIET_LOOKS: u32 = 6;

/// How long a program may work on after the last operation: several seconds for a stock of RSA keys on a busy machine.
const QUIET_WITHIN: Duration = Duration::from_secs(60);

/// One operation under way.
pub(crate) type Operation = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Measures `program` while `work` runs, which returns how long each operation took.
pub(crate) async fn measure(
    name: &str,
    program: Process,
    work: impl Future<Output = anyhow::Result<Vec<Duration>>>,
) -> anyhow::Result<Series> {
    let generator = Process::this()?;
    let before = (program.cpu()?, generator.cpu()?, machine_cpu()?);
    let began = Instant::now();
    let durations = work.await.with_context(|| format!("while measuring: {name}"))?;
    let wall = began.elapsed();
    ensure!(!durations.is_empty(), "nothing was measured: {name}");
    Ok(Series {
        name: name.to_owned(),
        latencies: Latencies::of(durations),
        wall,
        program: program.cpu()?.since(before.0),
        generator: generator.cpu()?.since(before.1),
        machine: machine_cpu()?.saturating_sub(before.2),
    })
}

/// Calls `operation` for each of the numbers below `count`, `at_once` at a time; how long each call took. The first
/// error ends it.
pub(crate) async fn each(
    count: usize,
    at_once: usize,
    operation: impl Fn(usize) -> Operation + Clone + Send + 'static,
) -> anyhow::Result<Vec<Duration>> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..at_once.min(count) {
        let (next, operation) = (Arc::clone(&next), operation.clone());
        workers.spawn(async move {
            let mut durations = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(durations);
                }
                let began = Instant::now();
                operation(number).await?;
                durations.push(began.elapsed());
            }
        });
    }
    all(workers).await
}

/// Waits for workers and puts together what they measured.
pub(crate) async fn all(
    mut workers: JoinSet<anyhow::Result<Vec<Duration>>>,
) -> anyhow::Result<Vec<Duration>> {
    let mut durations = Vec::new();
    while let Some(worker) = workers.join_next().await {
        durations.extend(worker.context("a worker of the benchmark panicked")??);
    }
    Ok(durations)
}

/// Waits until a program has nothing left to do, such as filling its stock of keys.
pub(crate) async fn idle(program: Process) -> anyhow::Result<()> {
    let mut last = Cpu::default();
    let mut quiet = 0;
    wait::until("the program to be idle", QUIET_WITHIN, || {
        std::future::ready(program.cpu().and_then(|now| {
            quiet = if now == last { quiet + 1 } else { 0 };
            last = now;
            ensure!(quiet >= QUIET_LOOKS, "it is using processor time");
            Ok(())
        }))
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn the_first_error_ends_the_load() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let outcome = each(1000, 1, move |number| {
            counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                ensure!(number < 3, "number {number} failed");
                Ok(())
            })
        })
        .await;
        assert_eq!(outcome.unwrap_err().to_string(), "number 3 failed");
        assert_eq!(calls.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn every_number_is_used_once_and_no_more_than_asked_for_are_under_way() {
        let state = Arc::new(Mutex::new((Vec::new(), 0_usize, 0_usize)));
        let seen = Arc::clone(&state);
        let durations = each(50, 4, move |number| {
            let seen = Arc::clone(&seen);
            Box::pin(async move {
                {
                    let (numbers, now, most) = &mut *seen.lock().unwrap();
                    numbers.push(number);
                    *now += 1;
                    *most = (*most).max(*now);
                }
                tokio::task::yield_now().await;
                seen.lock().unwrap().1 -= 1;
                Ok(())
            })
        })
        .await
        .unwrap();
        let (mut numbers, _, most) = std::mem::take(&mut *state.lock().unwrap());
        numbers.sort_unstable();
        assert_eq!(numbers, Vec::from_iter(0..50));
        assert_eq!((durations.len(), most), (50, 4));
    }
}

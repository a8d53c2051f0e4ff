//! Supervision: no task is orphaned, and one that ends without being asked to ends the process with its cause.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::task::JoinSet;

use crate::readiness::Readiness;
use crate::shutdown::Shutdown;

/// Work in flight outlived the time that it was given.
#[derive(Debug, thiserror::Error)]
#[error("work in flight was not finished within {0:?} of shutdown")]
pub struct Overdue(pub Duration);

/// The long-running tasks of one process.
#[derive(Debug)]
pub struct Tasks {
    shutdown: Shutdown,
    set: JoinSet<(&'static str, anyhow::Result<()>)>,
}

impl Tasks {
    /// An empty set whose tasks are asked to end by `shutdown`.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { shutdown, set: JoinSet::new() }
    }

    /// Starts a task that runs until shutdown is requested. Ending earlier, with or without an error, shuts the
    /// process down.
    pub fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.set.spawn(async move { (name, task.await) });
    }

    /// The same for a task that cannot fail.
    pub fn spawn_infallible(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(name, async move {
            task.await;
            Ok(())
        });
    }

    /// Makes the process unready as soon as shutdown is requested.
    pub fn drain_at_shutdown(&mut self, readiness: Readiness) {
        let shutdown = self.shutdown.clone();
        self.spawn_infallible("readiness", async move {
            shutdown.requested().await;
            readiness.drain();
        });
    }

    /// Tells of readiness in the log until shutdown is requested.
    pub fn tell(&mut self, readiness: Readiness) {
        let shutdown = self.shutdown.clone();
        self.spawn_infallible("readiness log", async move { readiness.tell(shutdown).await });
    }

    /// Waits until shutdown is requested or a task ends, then gives the others `grace` to finish.
    ///
    /// # Errors
    /// The first cause: a task that failed, panicked, ended unasked, or did not finish within `grace`.
    pub async fn run(mut self, grace: Duration) -> anyhow::Result<()> {
        let first = tokio::select! {
            () = self.shutdown.requested() => Ok(()),
            // A quick task may have heard of the shutdown, and ended, before this one looks.
            Some(ended) = self.set.join_next() => {
                if self.shutdown.is_requested() { asked(ended) } else { unasked(ended) }
            }
        };
        self.shutdown.request();
        let rest = tokio::time::timeout(grace, self.drain()).await;
        let rest = rest.unwrap_or_else(|_| Err(Overdue(grace).into()));
        first.and(rest)
    }

    async fn drain(&mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while let Some(ended) = self.set.join_next().await {
            outcome = outcome.and(asked(ended));
        }
        outcome
    }
}

type Ended = Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>;

fn asked(ended: Ended) -> anyhow::Result<()> {
    let (name, outcome) = ended.context("a task panicked")?;
    outcome.with_context(|| format!("{name} failed"))
}

fn unasked(ended: Ended) -> anyhow::Result<()> {
    let (name, outcome) = ended.context("a task panicked")?;
    outcome.with_context(|| format!("{name} failed"))?;
    Err(anyhow!("{name} ended although nobody asked it to"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_fails_stops_the_others_and_is_the_cause() {
        let shutdown = Shutdown::default();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("patient", async move {
            shutdown.requested().await;
            Ok(())
        });
        tasks.spawn("broken", async { Err(anyhow!("disk is gone")) });
        let cause = tasks.run(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(format!("{cause:#}"), "broken failed: disk is gone");
    }

    #[tokio::test]
    async fn a_task_that_ends_unasked_is_a_failure() {
        let mut tasks = Tasks::new(Shutdown::default());
        tasks.spawn("watcher", async { Ok(()) });
        let cause = tasks.run(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(cause.to_string(), "watcher ended although nobody asked it to");
    }

    #[tokio::test]
    async fn a_task_that_ended_because_it_was_asked_to_is_no_failure() {
        // Both arms of the select are ready at once; which one it takes is left to chance, so it gets many.
        for _ in 0..64 {
            let shutdown = Shutdown::default();
            let mut tasks = Tasks::new(shutdown.clone());
            tasks.spawn("obedient", async { Ok(()) });
            shutdown.request();
            tokio::task::yield_now().await;
            tasks.run(Duration::from_secs(5)).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ignores_shutdown_is_reported_after_the_grace_period() {
        let shutdown = Shutdown::default();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("deaf", std::future::pending());
        shutdown.request();
        let cause = tasks.run(Duration::from_secs(30)).await.unwrap_err();
        assert_eq!(cause.to_string(), "work in flight was not finished within 30s of shutdown");
    }
}

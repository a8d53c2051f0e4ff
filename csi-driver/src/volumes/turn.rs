//! One operation on one volume: what is done, and what the volume is afterwards.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Live, Operation, Outcome, Volumes, later};
use crate::error::VolumeError;
use crate::operation;
use crate::renew::{self, Work};
use crate::volume::VolumeId;

/// One operation on one volume, from its begin to its end. Dropping it ends the operation in any case, a panic
/// included: a volume never stays busy.
pub(super) struct Turn {
    pub(super) volumes: Volumes,
    pub(super) id: VolumeId,
    /// What the volume is afterwards.
    pub(super) after: Option<Live>,
    /// What the callers hear.
    pub(super) outcome: Outcome,
    pub(super) sender: watch::Sender<Option<Outcome>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.volumes.rest(&mut self.volumes.lock(), &self.id, self.after.take());
        let interrupted = Err(Arc::new(VolumeError::Interrupted(self.id.clone())));
        let outcome = std::mem::replace(&mut self.outcome, interrupted);
        // Nobody may be waiting any more.
        let _ = self.sender.send(Some(outcome));
    }
}

impl Turn {
    pub(super) async fn run(mut self, operation: Operation, cancel: CancellationToken) {
        let inner = Arc::clone(&self.volumes.inner);
        let parts = &inner.parts;
        let writers = Arc::clone(&inner.writers);
        let outcome = match operation {
            Operation::Publish(spec) => {
                let live = operation::publish(parts, &writers, &spec, &cancel).await;
                live.map(|live| self.after = Some(live))
            }
            Operation::Remount(live) => operation::remount(parts, &writers, &live.spec).await,
            Operation::Sweep(live) => operation::sweep(parts, &writers, &live.spec).await,
            Operation::Remove(target, live) => {
                let recorded = live.map(|live| live.spec.target.clone());
                operation::remove(parts, &writers, &self.id, target, recorded).await
            }
            Operation::Renew(live) => {
                let renewed = tokio::select! {
                    permit = inner.renewals.acquire() => {
                        let renewed = operation::renew(parts, &writers, &live, &cancel).await;
                        drop(permit);
                        renewed
                    }
                    () = cancel.cancelled() => Err(VolumeError::Interrupted(self.id.clone())),
                };
                self.renewed(live, renewed)
            }
        };
        self.outcome = outcome.map_err(Arc::new);
    }

    /// Plans what comes after a renewal.
    fn renewed(&mut self, live: Live, renewed: Result<Live, VolumeError>) -> Result<(), VolumeError> {
        let parts = &self.volumes.inner.parts;
        let now = (parts.clock)();
        // A failure too may leave files, when it comes after the switch.
        self.volumes.add_timer(later(now), &self.id, Work::Sweep);
        match renewed {
            Ok(renewed) => {
                parts.metrics.renewed("ok");
                self.after = Some(renewed);
                Ok(())
            }
            // Unpublish is waiting; nothing failed.
            Err(error @ VolumeError::Interrupted(_)) => Err(error),
            Err(error) => {
                parts.metrics.renewed(error.label());
                let failures = live.failures.saturating_add(1);
                let wait = renew::backoff(failures);
                let attempt_at = now.saturating_add(wait).unwrap_or(now);
                let expires = live.validity.not_after;
                tracing::warn!(
                    volume = %self.id, pod = %live.spec.pod, failures, %expires, error = error.text(),
                    "renewal failed; next attempt at {attempt_at}"
                );
                self.after = Some(Live { failures, attempt_at, ..live });
                Err(error)
            }
        }
    }
}

//! The volumes of the node and what happens to each: at any moment one thing at most.
//!
//! A volume is absent, live, or busy with exactly one operation; the map below is the lock. An operation runs in a
//! task of its own, so that a call which is cancelled changes nothing: the next call with the same arguments joins
//! the operation, one with others is turned away, and unpublish interrupts it and waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Clock;
use crate::error::VolumeError;
use crate::issue::Issuance;
use crate::metadata::Validity;
use crate::metrics::DriverMetrics;
use crate::mount::Mounter;
use crate::operation;
use crate::renew::{self, Entry, Timer, Work};
use crate::store::{Found, Store, StoreError};
use crate::volume::{TargetPath, VolumeId, VolumeSpec};

/// How long a call waits for an operation. Kubelet gives up after two minutes; it should hear from us before.
const CALL_TIMEOUT: Duration = Duration::from_secs(100);

/// Renewals at once: they are never urgent, and mounts go first.
const RENEWALS_MAX: usize = 4;

/// Threads that write files and mount at once. The kernel makes mounts one after another anyway.
pub(crate) const WRITERS_MAX: usize = 8;

/// The answer to a call. Shared, because several calls may wait for one operation.
pub type Outcome = Result<(), Arc<VolumeError>>;

/// What the volumes are made with.
pub struct Parts {
    /// Where they are.
    pub store: Store,
    /// How they get into pods.
    pub mounter: Arc<dyn Mounter>,
    /// Where their certificates come from.
    pub issuance: Issuance,
    /// The time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: DriverMetrics,
}

/// The volumes of the node; clones share them.
#[derive(Clone)]
pub struct Volumes {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    phases: Mutex<HashMap<VolumeId, Phase>>,
    timer: Timer,
    tasks: TaskTracker,
    renewals: Semaphore,
    writers: Arc<Semaphore>,
}

/// What a volume is doing; one that is not in the map is absent.
enum Phase {
    Live(Live),
    Busy(Busy),
}

/// A volume with a certificate in it.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) spec: Arc<VolumeSpec>,
    pub(crate) validity: Validity,
    /// Failed renewals in a row.
    pub(crate) failures: u32,
    /// When to try the next renewal.
    pub(crate) attempt_at: Timestamp,
}

impl Live {
    pub(crate) fn new(spec: Arc<VolumeSpec>, validity: Validity) -> Self {
        Self { spec, validity, failures: 0, attempt_at: validity.renew_at }
    }
}

struct Busy {
    operation: Operation,
    cancel: CancellationToken,
    done: watch::Receiver<Option<Outcome>>,
}

#[derive(Clone)]
enum Operation {
    /// A volume that was absent.
    Publish(Arc<VolumeSpec>),
    /// A live volume whose target shows something else.
    Remount(Live),
    /// A live volume whose certificate is due.
    Renew(Live),
    /// A live volume with generations that nobody reads any more.
    Sweep(Live),
    /// Whatever there is.
    Remove(TargetPath, Option<Live>),
}

impl Operation {
    /// The volume that is live during the operation, and again after it, if it is.
    fn live(&self) -> Option<&Live> {
        match self {
            Self::Remount(live) | Self::Renew(live) | Self::Sweep(live) => Some(live),
            Self::Publish(_) | Self::Remove(..) => None,
        }
    }
}

/// What a call has to do next.
enum Step {
    Return(Outcome),
    /// Wait for an operation and take its outcome.
    Join(watch::Receiver<Option<Outcome>>),
    /// Wait for an operation and look again.
    Retry(watch::Receiver<Option<Outcome>>),
}

impl Volumes {
    /// Takes up what an earlier process left: live volumes go on as if nothing had happened, what never became one
    /// is removed, and what cannot be understood is left alone and told.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub fn open(parts: Parts) -> Result<Self, StoreError> {
        let found = parts.store.scan()?;
        let volumes = Self {
            inner: Arc::new(Inner {
                parts,
                phases: Mutex::default(),
                timer: Timer::default(),
                tasks: TaskTracker::new(),
                renewals: Semaphore::new(RENEWALS_MAX),
                writers: Arc::new(Semaphore::new(WRITERS_MAX)),
            }),
        };
        for found in found {
            volumes.adopt(found);
        }
        Ok(volumes)
    }

    fn adopt(&self, found: Found) {
        let parts = &self.inner.parts;
        match found {
            Found::Live(spec, validity) => {
                tracing::info!(volume = %spec.id, pod = %spec.pod, "taking up a volume");
                let id = spec.id.clone();
                self.add_timer((parts.clock)(), &id, Work::Sweep);
                self.rest(&mut self.lock(), &id, Some(Live::new(Arc::from(spec), validity)));
            }
            Found::Unfinished(id) => {
                tracing::info!(volume = %id, "removing a volume that never got its certificate");
                if let Err(error) = parts.store.remove(&id) {
                    let error = VolumeError::from(error).text();
                    tracing::warn!(volume = %id, error, "cannot remove an unfinished volume");
                }
            }
            Found::Broken(name, error) => {
                let error = VolumeError::from(error).text();
                tracing::error!(?name, error, "leaving alone what is no volume of this driver");
                parts.metrics.broken();
            }
        }
    }

    /// Makes a volume visible at its target, with a certificate in it.
    ///
    /// # Errors
    /// When it is not, or not yet.
    pub async fn publish(&self, spec: VolumeSpec) -> Outcome {
        let spec = Arc::new(spec);
        loop {
            match self.publish_step(&spec) {
                Step::Return(outcome) => return outcome,
                Step::Join(done) => return wait(done, &spec.id).await,
                Step::Retry(done) => drop(wait(done, &spec.id).await),
            }
        }
    }

    fn publish_step(&self, spec: &Arc<VolumeSpec>) -> Step {
        let parts = &self.inner.parts;
        // Two looks at the file system, before the lock is taken. Of an absent volume nothing is shown.
        let view = parts.store.view(&spec.id);
        let shown = parts.mounter.shows(&view, spec.target.as_path()).unwrap_or(false);
        let refuse = |error| Step::Return(Err(Arc::new(error)));
        let mut phases = self.lock();
        match phases.get(&spec.id) {
            None => Step::Join(self.begin(&mut phases, &spec.id, Operation::Publish(spec.clone()))),
            Some(Phase::Live(live)) => {
                if !live.spec.same_as(spec) {
                    return refuse(VolumeError::Different(spec.id.clone()));
                }
                if shown {
                    return Step::Return(Ok(()));
                }
                let remount = Operation::Remount(live.clone());
                Step::Join(self.begin(&mut phases, &spec.id, remount))
            }
            Some(Phase::Busy(busy)) => match &busy.operation {
                Operation::Publish(other) if other.same_as(spec) => Step::Join(busy.done.clone()),
                Operation::Publish(_) | Operation::Remove(..) => refuse(VolumeError::Busy(spec.id.clone())),
                Operation::Remount(live) | Operation::Renew(live) | Operation::Sweep(live) => {
                    if !live.spec.same_as(spec) {
                        return refuse(VolumeError::Different(spec.id.clone()));
                    }
                    if shown { Step::Return(Ok(())) } else { Step::Retry(busy.done.clone()) }
                }
            },
        }
    }

    /// Takes a volume away from its target and erases it. What is gone is gone.
    ///
    /// # Errors
    /// When something of it is left.
    pub async fn unpublish(&self, id: &VolumeId, target: &TargetPath) -> Outcome {
        loop {
            match self.unpublish_step(id, target) {
                Step::Return(outcome) => return outcome,
                Step::Join(done) => return wait(done, id).await,
                Step::Retry(done) => match wait(done, id).await {
                    Err(error) if matches!(*error, VolumeError::StillIssuing(_)) => return Err(error),
                    _ => {}
                },
            }
        }
    }

    fn unpublish_step(&self, id: &VolumeId, target: &TargetPath) -> Step {
        let mut phases = self.lock();
        let live = match phases.get(id) {
            None => None,
            Some(Phase::Live(live)) => Some(live.clone()),
            Some(Phase::Busy(busy)) => {
                return match &busy.operation {
                    Operation::Remove(other, _) if other == target => Step::Join(busy.done.clone()),
                    _ => {
                        busy.cancel.cancel();
                        Step::Retry(busy.done.clone())
                    }
                };
            }
        };
        let remove = Operation::Remove(target.clone(), live);
        Step::Join(self.begin(&mut phases, id, remove))
    }

    /// Does what is due until `shutdown` is requested.
    pub async fn run_timer(&self, shutdown: &runtime::shutdown::Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                entry = self.inner.timer.next(&self.inner.parts.clock) => self.act(&entry),
            }
        }
    }

    /// Begins what an entry of the timer asks for, if that still holds.
    pub(crate) fn act(&self, entry: &Entry) {
        let now = (self.inner.parts.clock)();
        let mut phases = self.lock();
        match (phases.get(&entry.id), entry.work) {
            (Some(Phase::Live(live)), Work::Renew) if live.attempt_at <= now => {
                let renew = Operation::Renew(live.clone());
                self.begin(&mut phases, &entry.id, renew);
            }
            (Some(Phase::Live(live)), Work::Sweep) => {
                let sweep = Operation::Sweep(live.clone());
                self.begin(&mut phases, &entry.id, sweep);
            }
            (Some(Phase::Busy(_)), Work::Sweep) => {
                self.add_timer(later(now), &entry.id, Work::Sweep);
            }
            // A busy volume gets a new entry when it comes to rest; the others are from the past.
            _ => {}
        }
    }

    /// Waits for the operations in flight. Mounts stay.
    pub async fn finish(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// How many volumes hold a certificate.
    pub fn live_count(&self) -> usize {
        let live = |phase: &&Phase| match phase {
            Phase::Live(_) => true,
            Phase::Busy(busy) => busy.operation.live().is_some(),
        };
        self.lock().values().filter(live).count()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<VolumeId, Phase>> {
        self.inner.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(
        &self,
        phases: &mut HashMap<VolumeId, Phase>,
        id: &VolumeId,
        operation: Operation,
    ) -> watch::Receiver<Option<Outcome>> {
        let (sender, done) = watch::channel(None);
        let cancel = CancellationToken::new();
        let busy = Busy { operation: operation.clone(), cancel: cancel.clone(), done: done.clone() };
        phases.insert(id.clone(), Phase::Busy(busy));
        let turn = Turn {
            volumes: self.clone(),
            id: id.clone(),
            after: operation.live().cloned(),
            outcome: Err(Arc::new(VolumeError::Interrupted(id.clone()))),
            sender,
        };
        self.inner.tasks.spawn(turn.run(operation, cancel));
        done
    }

    /// Ends an operation: the volume is live or absent from now on.
    fn rest(&self, phases: &mut HashMap<VolumeId, Phase>, id: &VolumeId, live: Option<Live>) {
        match live {
            Some(live) => {
                self.add_timer(live.attempt_at, id, Work::Renew);
                phases.insert(id.clone(), Phase::Live(live));
            }
            None => drop(phases.remove(id)),
        }
        self.count(phases);
    }

    fn count(&self, phases: &HashMap<VolumeId, Phase>) {
        let expiries = phases.values().filter_map(|phase| match phase {
            Phase::Live(live) => Some(live),
            Phase::Busy(busy) => busy.operation.live(),
        });
        let expiries = expiries.map(|live| live.validity.not_after.as_second());
        let (count, soonest) = expiries.fold((0, None), |(count, soonest): (usize, Option<i64>), at| {
            (count + 1, Some(soonest.map_or(at, |soonest| soonest.min(at))))
        });
        self.inner.parts.metrics.holding(count, soonest);
    }

    fn add_timer(&self, at: Timestamp, id: &VolumeId, work: Work) {
        self.inner.timer.add(Entry { at, id: id.clone(), work });
    }
}

/// One operation on one volume, from its begin to its end. Dropping it ends the operation in any case, a panic
/// included: a volume never stays busy.
struct Turn {
    volumes: Volumes,
    id: VolumeId,
    /// What the volume is afterwards.
    after: Option<Live>,
    /// What the callers hear.
    outcome: Outcome,
    sender: watch::Sender<Option<Outcome>>,
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
    async fn run(mut self, operation: Operation, cancel: CancellationToken) {
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
        match renewed {
            Ok(renewed) => {
                parts.metrics.renewed("ok");
                self.volumes.add_timer(later(now), &self.id, Work::Sweep);
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

/// When a generation that is replaced at `now` may be removed.
fn later(now: Timestamp) -> Timestamp {
    now.saturating_add(renew::GENERATION_KEPT).unwrap_or(now)
}

async fn wait(mut done: watch::Receiver<Option<Outcome>>, id: &VolumeId) -> Outcome {
    let finished = done.wait_for(Option::is_some);
    match tokio::time::timeout(CALL_TIMEOUT, finished).await {
        Ok(Ok(outcome)) => outcome.clone().unwrap_or(Ok(())),
        Ok(Err(_)) => Err(Arc::new(VolumeError::Interrupted(id.clone()))),
        Err(_) => Err(Arc::new(VolumeError::StillIssuing(id.clone()))),
    }
}

#[cfg(test)]
mod tests;

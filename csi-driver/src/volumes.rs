//! The volumes of the node and what happens to each: at any moment one thing at most.
//!
//! A volume is absent, live, or busy with exactly one operation; the map below is the lock. An operation runs in a
//! task of its own, so that a call which is cancelled changes nothing: the next call with the same arguments joins
//! the operation, one with others is turned away, and unpublish interrupts it and waits.
//!
//! To a call for a volume that is live the answer is OK, whatever fails and whatever else the call says: there are
//! kubelets that take a running pod's mount away upon an error.

mod turn;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
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
use crate::metrics::{DriverMetrics, Tolerated};
use crate::mount::Mounter;
use crate::renew::{self, Entry, Timer, Work};
use crate::store::{Found, Store, StoreError};
use crate::volume::{PublishRequest, TargetPath, VolumeId, VolumeSpec};

use self::turn::Turn;

/// How long a call waits for an operation. Kubelet gives up after two minutes; it should hear from us before.
const CALL_TIMEOUT: Duration = Duration::from_secs(100);

/// Renewals at once: they are never urgent, and mounts go first.
const RENEWALS_MAX: usize = 4;

/// Threads that write files and mount at once. The kernel makes mounts one after another anyway.
pub(crate) const WRITERS_MAX: usize = 8;

/// Entries of the timer that are never worth a tidying, so that a node with few volumes does not tidy all the time.
const TIMER_SLACK: usize = 64;

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
    /// Whether the log has it already that kubelet asks for something else; it asks every minute or so.
    warned: Arc<AtomicBool>,
}

impl Live {
    pub(crate) fn new(spec: Arc<VolumeSpec>, validity: Validity) -> Self {
        let warned = Arc::default();
        Self { spec, validity, failures: 0, attempt_at: validity.renew_at, warned }
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
                let (id, now) = (spec.id.clone(), (parts.clock)());
                let live = Live::new(Arc::from(spec), validity);
                self.add_timer(now, &id, Work::Sweep);
                if self.is_orphan(&live) {
                    let removal = now.saturating_add(renew::ORPHAN_KEPT).unwrap_or(now);
                    self.add_timer(removal, &id, Work::Orphan);
                }
                self.rest(&mut self.lock(), &id, Some(live));
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
    pub async fn publish(&self, request: PublishRequest) -> Outcome {
        loop {
            match self.publish_step(&request) {
                Step::Return(outcome) => return outcome,
                Step::Join(done) => {
                    let outcome = wait(done, &request.id).await;
                    return outcome.or_else(|error| self.spare(&request, error, &self.is_shown(&request)));
                }
                Step::Retry(done) => drop(wait(done, &request.id).await),
            }
        }
    }

    fn publish_step(&self, request: &PublishRequest) -> Step {
        // Two looks at the file system, before the lock is taken.
        let shown = self.is_shown(request);
        let id = &request.id;
        let refuse = |error| Step::Return(Err(Arc::new(error)));
        let mut phases = self.lock();
        match phases.get(id) {
            None => match &request.spec {
                Ok(spec) => {
                    let publish = Operation::Publish(Arc::new(spec.clone()));
                    Step::Join(self.begin(&mut phases, id, publish))
                }
                // It may be there, with a state that was lost or that this version does not take.
                Err(error) => Step::Return(self.spare(request, Arc::new(error.clone().into()), &shown)),
            },
            Some(Phase::Live(live)) if !request.is_about(&live.spec) => {
                refuse(VolumeError::Different(id.clone()))
            }
            Some(Phase::Live(live)) => {
                self.tolerate(request, live);
                if self.stays(request, &shown) {
                    return Step::Return(Ok(()));
                }
                let remount = Operation::Remount(live.clone());
                Step::Join(self.begin(&mut phases, id, remount))
            }
            Some(Phase::Busy(busy)) => match &busy.operation {
                Operation::Publish(other) if request.spec.as_ref().is_ok_and(|spec| other.same_as(spec)) => {
                    Step::Join(busy.done.clone())
                }
                Operation::Publish(_) | Operation::Remove(..) => refuse(VolumeError::Busy(id.clone())),
                Operation::Remount(live) | Operation::Renew(live) | Operation::Sweep(live) => {
                    if !request.is_about(&live.spec) {
                        return refuse(VolumeError::Different(id.clone()));
                    }
                    if !self.stays(request, &shown) {
                        return Step::Retry(busy.done.clone());
                    }
                    self.tolerate(request, live);
                    Step::Return(Ok(()))
                }
            },
        }
    }

    /// Whether the target of a call shows the volume that it is about.
    fn is_shown(&self, request: &PublishRequest) -> Result<bool, VolumeError> {
        let parts = &self.inner.parts;
        Ok(parts.mounter.shows(&parts.store.view(&request.id), request.target.as_path())?)
    }

    /// Whether the mount of a live volume is left as it is: it is there, or nobody can say that it is not.
    fn stays(&self, request: &PublishRequest, shown: &Result<bool, VolumeError>) -> bool {
        if let Err(error) = shown {
            let error = error.text();
            tracing::warn!(volume = %request.id, error, "cannot see whether a live volume is mounted; leaving it");
            self.inner.parts.metrics.tolerated(Tolerated::Failed);
        }
        *shown.as_ref().unwrap_or(&true)
    }

    /// Notes that a call for a live volume asks for something else than what the volume holds.
    fn tolerate(&self, request: &PublishRequest, live: &Live) {
        let (reason, detail) = match &request.spec {
            Ok(spec) if spec.same_as(&live.spec) => return,
            Ok(_) => (Tolerated::Changed, "its attributes are others now".to_owned()),
            Err(error) => (Tolerated::Invalid, VolumeError::from(error.clone()).text()),
        };
        self.inner.parts.metrics.tolerated(reason);
        if !live.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                volume = %live.spec.id, pod = %live.spec.pod,
                "kubelet asks for another volume than the live one, which stays as it is: {detail}"
            );
        }
    }

    /// The answer to a call that failed. A target that shows the volume all the same is a running pod's.
    fn spare(
        &self,
        request: &PublishRequest,
        error: Arc<VolumeError>,
        shown: &Result<bool, VolumeError>,
    ) -> Outcome {
        if !matches!(shown, Ok(true)) {
            return Err(error);
        }
        let invalid = matches!(*error, VolumeError::Invalid(_));
        self.inner.parts.metrics.tolerated(if invalid { Tolerated::Invalid } else { Tolerated::Failed });
        tracing::warn!(
            volume = %request.id, error = error.text(),
            "publish failed; answering OK, since a pod is using what is mounted"
        );
        Ok(())
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

    /// Whether a volume is there, or something is being done about it.
    pub fn has(&self, id: &VolumeId) -> bool {
        self.lock().contains_key(id)
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
            (Some(Phase::Live(live)), Work::Orphan) if self.is_orphan(live) => {
                tracing::warn!(volume = %entry.id, pod = %live.spec.pod, "removing a volume that no pod has mounted");
                let remove = Operation::Remove(live.spec.target.clone(), Some(live.clone()));
                self.begin(&mut phases, &entry.id, remove);
            }
            (Some(Phase::Busy(_)), Work::Sweep | Work::Orphan) => {
                self.add_timer(later(now), &entry.id, entry.work);
            }
            // A busy volume gets a new entry when it comes to rest; the others are from the past.
            _ => {}
        }
    }

    /// Whether a volume at rest is certainly not at its target.
    fn is_orphan(&self, live: &Live) -> bool {
        let parts = &self.inner.parts;
        let shown = parts.mounter.shows(&parts.store.view(&live.spec.id), live.spec.target.as_path());
        matches!(shown, Ok(false))
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
        self.tidy_timer(phases);
    }

    /// Drops the entries of volumes that are gone and those that others took the place of: a node with many short-lived
    /// pods would gather them until the certificates of those would have been due.
    fn tidy_timer(&self, phases: &HashMap<VolumeId, Phase>) {
        let entries_max = phases.len().saturating_mul(2).saturating_add(TIMER_SLACK);
        self.inner.timer.tidy(entries_max, |entry| match (phases.get(&entry.id), entry.work) {
            (None, _) => false,
            (Some(Phase::Live(live)), Work::Renew) => live.attempt_at == entry.at,
            // It gets a new entry when it comes to rest.
            (Some(Phase::Busy(_)), Work::Renew) => false,
            (Some(_), Work::Sweep | Work::Orphan) => true,
        });
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

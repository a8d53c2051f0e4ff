//! Carries plans out: the one place that writes to targets.

mod kinds;
mod writes;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Client;
use runtime::contest;
use runtime::events::Events;
use runtime::lease::Leadership;
use runtime::lock::lock;
use runtime::queue::{Outcome, Queue};
use runtime::shutdown::Shutdown;
use runtime::watch::{Failure, ObjectName, State};
use tokio::sync::{Notify, Semaphore};

use crate::contests::{Contests, Peace};
use crate::index::{Effects, Index};
use crate::kept::Kept;
use crate::metrics::Figures;
use crate::plan::{Advice, Inputs, Plan, Planned, Reason, Refusal, plan};
use crate::reference::Wanted;
use crate::report::{News, Report};
use crate::rotation::Memory;
use crate::settings::Settings;
use crate::source::{SourceCertificate, SourceSecret};
use crate::synced::Ledger;
use crate::target::{Live, Target, TargetKind};
use crate::watch::Watched;

use writes::{After, sooner};

/// Longest look at one target, with all its calls. An API server that takes longer is tried again.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// The same with what is noted of it, which takes no call.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(31);

/// Longest wait for the next expiry: a clock that was set meanwhile is noticed within this time.
const RECHECK_MAX: Duration = Duration::from_secs(12 * 3600);

/// Reads of a target in one look: one more where its managed fields have to be migrated first.
const TURNS_MAX: usize = 2;

/// CustomResourceDefinitions that are read at once. One may have a mebibyte, which is in memory until it is decoded.
const DEFINITION_READS: usize = 2;

/// The state that watches and workers share.
pub struct Injector {
    client: Client,
    queue: Arc<Queue<Target>>,
    index: Arc<Mutex<Index>>,
    watched: Watched,
    kept: Kept,
    definition_reads: Semaphore,
    leadership: Leadership,
    contests: Contests,
    synced: Arc<Mutex<Ledger>>,
    /// Something is to be remembered that was not before.
    unwritten: Notify,
    report: Report,
    figures: Figures,
}

impl Injector {
    /// An injector that takes the sources which the settings allow, and writes while it leads. Nothing is watched yet.
    pub(crate) fn new(
        client: Client,
        settings: Settings,
        leadership: Leadership,
        events: Events,
        figures: Figures,
    ) -> Arc<Self> {
        let synced = Arc::new(Mutex::new(Ledger::default()));
        Arc::new_cyclic(|this| Self {
            report: Report::new(events, figures.clone(), Arc::clone(&synced)),
            synced,
            contests: Contests::default(),
            unwritten: Notify::new(),
            watched: Watched::new(&client, this),
            kept: Kept::default(),
            definition_reads: Semaphore::new(DEFINITION_READS),
            client,
            queue: Arc::default(),
            index: Arc::new(Mutex::new(Index::new(settings))),
            leadership,
            figures,
        })
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where each target stands.
    pub(crate) fn synced(&self) -> Arc<Mutex<Ledger>> {
        Arc::clone(&self.synced)
    }

    /// Whether the workers turn.
    pub(crate) fn turns(&self) -> Result<(), String> {
        self.queue.turns()
    }

    /// Works on targets that are due, while it leads, until shutdown is requested; a target in work is finished.
    pub(crate) async fn work(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let (queue, leadership) = (Arc::clone(&self.queue), self.leadership.clone());
        let look = move |target| {
            let this = Arc::clone(&self);
            async move { this.reconcile(&target).await }
        };
        queue.work_while(&leadership, shutdown, RECONCILE_TIMEOUT, look).await
    }

    /// Whether the object is never a target, whatever it asks for.
    pub(crate) fn excludes(&self, target: &Target) -> bool {
        lock(&self.index).excludes(target)
    }

    /// A target was seen, and this is all that a plan needs of it.
    pub(crate) fn keep(&self, live: Live) {
        self.kept.keep(live);
    }

    /// A target was seen that asks for a bundle, at this version of it.
    pub(crate) fn wants(&self, target: Target, wanted: Wanted, resource_version: &str) {
        self.update(|index, now| index.target_seen(target, wanted, resource_version, now));
    }

    /// A target was seen that asks for nothing. What it has got stays: removing a bundle would break its calls.
    pub(crate) fn wants_nothing(&self, target: &Target, resource_version: &str) {
        if self.leadership.may_write() {
            self.update(|index, now| index.target_stopped(target, resource_version, now));
        } else {
            // The leader tells of it.
            self.gone(target);
        }
    }

    /// A target is not there any more.
    pub(crate) fn gone(&self, target: &Target) {
        self.update(|index, _| index.target_gone(target));
        self.forget(target);
    }

    /// A watched Secret has changed.
    pub(crate) fn secret_changed(&self, name: &ObjectName, state: &State<SourceSecret>) {
        self.update(|index, now| index.secret_seen(name, state.clone(), now));
    }

    /// A watched Certificate has changed.
    pub(crate) fn certificate_changed(&self, name: &ObjectName, state: &State<SourceCertificate>) {
        self.update(|index, now| index.certificate_seen(name, state.clone(), now));
    }

    /// The CA of the API server is this one now.
    pub(crate) fn api_server_changed(&self, ca: Option<Vec<u8>>) {
        self.update(|index, now| index.api_server_seen(ca, now));
    }

    /// What was remembered when somebody last led. Something of that may be to be taken out somewhere, which can wait.
    pub(crate) fn recall(&self, memory: Memory) {
        let mut index = lock(&self.index);
        let effects = index.recall(memory);
        self.watched.follow(&mut index, effects, |target| self.due(target, true));
    }

    /// Another process leads, and remembers.
    pub(crate) fn forget_memory(&self) {
        lock(&self.index).forget_memory();
    }

    /// What is to be remembered, as text; None: it was not read yet. `is_complete`: every target has been seen.
    pub(crate) fn memory_text(&self, is_complete: bool) -> Option<String> {
        lock(&self.index).memory_text(is_complete)
    }

    /// Waits until there is something to be remembered that was not before.
    pub(crate) async fn unwritten(&self) {
        self.unwritten.notified().await;
    }

    /// How many watches of sources are open.
    pub(crate) fn source_connections(&self) -> usize {
        self.watched.connections()
    }

    /// Changes the index and does what follows from it.
    fn update(&self, change: impl FnOnce(&mut Index, Instant) -> Effects) {
        let mut index = lock(&self.index);
        index.set_leading(self.leadership.may_write());
        let effects = change(&mut index, Instant::now());
        // The index stays locked, so that nobody refers to a source anew meanwhile.
        // Who takes over looks at every target, but first at those that change then.
        let can_wait = !self.leadership.may_write();
        self.watched.follow(&mut index, effects, |target| self.due(target, can_wait));
        self.figures.set_sources(self.watched.count());
    }

    fn due(&self, target: Target, can_wait: bool) {
        self.report.due(&target);
        if can_wait {
            self.queue.add_waiting(target);
        } else {
            self.queue.add(target);
        }
    }

    fn forget(&self, target: &Target) {
        self.kept.forget(target);
        self.report.forget(target);
        self.contests.forget(target);
    }

    async fn reconcile(&self, target: &Target) -> Outcome {
        let looked = tokio::time::timeout(LOOK_TIMEOUT, self.look(target)).await;
        let outcome = looked.unwrap_or_else(|_| {
            let text = format!("the API server has not answered within {LOOK_TIMEOUT:?}");
            self.report.tell(target, &News::Failed(text));
            Outcome::Failed
        });
        // It may have gone meanwhile; nobody else would forget what was noted since.
        let index = lock(&self.index);
        if index.wanted(target).is_none() {
            self.forget(target);
        }
        outcome
    }

    /// What is known of the target's source, if that is enough for a plan.
    fn known(&self, target: &Target) -> Option<Inputs> {
        let mut index = lock(&self.index);
        if index.remember(target, Timestamp::now()) {
            self.unwritten.notify_one();
        }
        let inputs = index.inputs(target, Instant::now())?;
        match &inputs.source {
            // It may not even be watched, for want of room.
            Err(Refusal { reason: Reason::SourceUnavailable | Reason::TooManySources, .. }) => {
                let open = index.watches(target);
                let effects = Effects { open, ..Effects::default() };
                self.watched.follow(&mut index, effects, |target| self.due(target, false));
                index.inputs(target, Instant::now())
            }
            _ => Some(inputs),
        }
    }

    /// There is nothing left to do for the target at this version.
    fn done(&self, target: &Target, inputs: &Inputs, resource_version: String, has_all: bool) {
        lock(&self.index).done(target, inputs, resource_version, has_all);
    }

    async fn look(&self, target: &Target) -> Outcome {
        let Some(inputs) = self.known(target) else {
            // What it waits for brings it back here.
            return Outcome::Done;
        };
        for _ in 0..TURNS_MAX {
            let live = match self.read(target).await {
                Ok(Some(live)) if !live.deleting => live,
                Ok(_) => {
                    self.report.excuse(target);
                    return Outcome::Done;
                }
                Err(error) => {
                    self.report.tell(target, &News::unread(&Failure::from(&error)));
                    return Outcome::Failed;
                }
            };
            if let Some(outcome) = self.carry_out(&live, &inputs).await {
                return outcome;
            }
        }
        tracing::warn!(%target, "its fields are managed as before, although they were migrated");
        Outcome::Failed
    }

    /// The target as it is now, if it is there, or as its watch has shown it last.
    async fn read(&self, target: &Target) -> kube::Result<Option<Live>> {
        if let Some(live) = self.kept.get(target) {
            return Ok(Some(live));
        }
        // A semaphore that nobody closes always grants.
        let _large = match target.kind {
            TargetKind::CustomResourceDefinition => self.definition_reads.acquire().await.ok(),
            _ => None,
        };
        target.read(self.client()).await
    }

    /// Does what is planned for the target. `None`: it has to be read again.
    async fn carry_out(&self, live: &Live, inputs: &Inputs) -> Option<Outcome> {
        let now = Timestamp::now();
        let planned = plan(live, inputs, now);
        let done = planned.again.map_or(Outcome::Done, |again| Outcome::Again(until(again, now)));
        let target = &live.target;
        self.report.tell_plan(live, &planned);
        self.tell_source(target, inputs, &planned);
        let version = || live.resource_version.clone();
        let outcome = match &planned.plan {
            Plan::InSync if inputs.wanted == Wanted::Release => {
                self.done(target, inputs, version(), true);
                self.report.excuse(target);
                done
            }
            Plan::InSync | Plan::Deferred { .. } => {
                self.done(target, inputs, version(), true);
                self.report.tell(target, &News::InSync);
                self.in_peace(target, done)
            }
            Plan::Refused(refusal) => {
                let After { news, has_all, outcome, .. } = After::refusal(refusal, &planned, done);
                if outcome != Outcome::Failed {
                    self.done(target, inputs, version(), has_all);
                }
                self.report.tell(target, &news);
                outcome
            }
            Plan::Stopped => {
                self.report.tell(target, &News::Stopped);
                self.update(|index, _| index.stop_told(target));
                done
            }
            Plan::Migrate { patch } => match self.migrate(live, patch).await {
                Ok(()) => return None,
                Err(outcome) => outcome,
            },
            Plan::Apply { body } => match self.pause(live, inputs, &planned) {
                Some(pause) => Outcome::Again(pause),
                None => {
                    let after = match &planned.refusal {
                        Some(refusal) => After::refusal(refusal, &planned, done),
                        None => After {
                            removed: planned.removed.clone(),
                            ..After::injection(self.injection(target, inputs, &planned), done)
                        },
                    };
                    self.apply(live, inputs, body, after).await
                }
            },
            Plan::Release { body } => {
                self.apply(live, inputs, body, After::injection(News::Released, done)).await
            }
        };
        Some(outcome)
    }

    /// When to look again at a target that has what it should have.
    fn in_peace(&self, target: &Target, done: Outcome) -> Outcome {
        match self.contests.in_sync(target, tokio::time::Instant::now()) {
            Peace::Undisturbed => done,
            Peace::Fragile => sooner(done, contest::QUIET),
            Peace::Restored => {
                self.report.contested_no_more(target);
                done
            }
        }
    }

    /// Tells the owner of the source what is wrong with it, as far as that can be judged from this look.
    fn tell_source(&self, target: &Target, inputs: &Inputs, planned: &Planned) {
        let Wanted::Source(source) = &inputs.wanted else { return };
        let refusal = match &planned.plan {
            Plan::Refused(refusal) => Some(refusal),
            Plan::Migrate { .. } | Plan::Release { .. } | Plan::Stopped => return,
            Plan::Apply { .. } | Plan::InSync | Plan::Deferred { .. } => planned.refusal.as_ref(),
        };
        let refused = match refusal {
            Some(Refusal { reason, message }) if reason.is_of_the_source() => {
                Some(Advice { reason: *reason, message: message.clone() })
            }
            Some(_) => return,
            None => None,
        };
        let concerns = refused.into_iter().chain(planned.advice.iter().cloned()).collect();
        let news = lock(&self.index).say_of_source(source, concerns);
        if let Some((object, concerns)) = news {
            self.report.tell_source(&object, concerns, target);
        }
    }
}

/// How long to wait for a certificate to have expired, which it has a second after its last one.
fn until(expires: Timestamp, now: Timestamp) -> Duration {
    let wait = expires.duration_since(now);
    let wait = Duration::try_from(wait).unwrap_or_default();
    (wait + Duration::from_secs(1)).min(RECHECK_MAX)
}

#[cfg(test)]
pub(crate) mod tests;

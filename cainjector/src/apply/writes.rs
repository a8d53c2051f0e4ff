//! Writes to targets, and what comes of them.

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{Patch, PatchParams};
use runtime::contest;
use runtime::lock::lock;
use runtime::queue::Outcome;
use runtime::watch::Failure;
use runtime::watch::crowd::Versioned;
use serde_json::Value;

use super::Injector;
use crate::MANAGER;
use crate::index::Had;
use crate::ownership;
use crate::plan::{Inputs, Planned, Reason, Refusal, Removed};
use crate::report::News;
use crate::target::{Live, Target};

/// Pause after a write that the API server finds invalid. The object alone may be to blame, and then a change of it is what
/// helps; but an admission policy may be as well, whose removal nobody tells us of.
const REJECTED_AGAIN: Duration = Duration::from_secs(300);

/// Pause after a source was refused for want of watches. There may be thousands of such targets, and each look reads one.
pub(super) const CROWDED_AGAIN: Duration = Duration::from_secs(300);

/// What follows from a look, or from the write that came of it.
pub(super) struct After {
    /// What is told.
    pub(super) news: News,
    /// What the write takes out of bundles.
    pub(super) removed: Vec<Removed>,
    /// Whether the target has every certificate of its source then.
    pub(super) has_all: bool,
    /// When to look again.
    pub(super) outcome: Outcome,
}

impl After {
    /// The target has what it should have.
    pub(super) fn injection(news: News, outcome: Outcome) -> Self {
        Self { news, removed: Vec::new(), has_all: true, outcome }
    }

    /// The target gets nothing, for this reason.
    pub(super) fn refusal(refusal: &Refusal, planned: &Planned, done: Outcome) -> Self {
        let outcome = match refusal.reason {
            // The only reasons that can go away without an event on target or source.
            Reason::SourceUnavailable => Outcome::Failed,
            Reason::TooManySources => Outcome::Again(CROWDED_AGAIN),
            _ => done,
        };
        let news = match planned.exposure.clone() {
            Some(exposure) => News::Exposed { refusal: refusal.clone(), exposure },
            None => News::Refused(refusal.clone()),
        };
        Self { news, removed: planned.removed.clone(), has_all: false, outcome }
    }
}

impl Injector {
    /// What an injection of this target will be: that its source has moved on is no news, that it has lost what it had is.
    pub(super) fn injection(&self, target: &Target, inputs: &Inputs, planned: &Planned) -> News {
        match lock(&self.index).had(target, inputs) {
            _ if !planned.adds && !planned.removed.is_empty() => News::Reduced,
            Had::Former if self.report.has_bundle(target) => News::Rotated,
            Had::Nothing | Had::Former | Had::All => News::Injected,
        }
    }

    /// How long to leave a target that has to be written, because somebody keeps overwriting it.
    pub(super) fn pause(&self, live: &Live, inputs: &Inputs, planned: &Planned) -> Option<Duration> {
        let (target, is_outage) = (&live.target, planned.lacks_source);
        let overwriter = ownership::overwriter(&live.owners);
        // What it never had, and what has expired, was not taken from it. What nobody may trust can be given back to it at
        // any time.
        let had_all = planned.refusal.is_some() || lock(&self.index).had(target, inputs) == Had::All;
        if !had_all || !is_outage && overwriter.is_none() {
            return None;
        }
        let loss = self.contests.lost(target, is_outage, tokio::time::Instant::now());
        if loss.is_new {
            self.figures.count_overwrite(target, overwriter);
        }
        if loss.is_contested {
            self.report.contested(live, overwriter);
        }
        if loss.pause.is_some() {
            self.report.tell(target, &News::Contested);
        }
        loss.pause
    }

    /// Writes bundles, or gives them up.
    pub(super) async fn apply(&self, live: &Live, inputs: &Inputs, body: &Value, after: After) -> Outcome {
        let target = &live.target;
        if !self.leadership.may_write() {
            // Another leads by now. Should we lead once more, the target has its turn again.
            return Outcome::Failed;
        }
        // It is another one after this, or has become one before.
        self.kept.forget(target);
        let params = PatchParams::apply(MANAGER).force();
        match self.versions(target).patch(&target.name.name, &params, &Patch::Apply(body)).await {
            Ok(object) => {
                let resource_version = object.metadata.resource_version.unwrap_or_default();
                let After { news, removed, has_all, outcome } = after;
                let waited = lock(&self.index).waited(target, Instant::now());
                if outcome != Outcome::Failed {
                    self.done(target, inputs, resource_version, has_all);
                }
                self.report.tell(target, &news);
                self.report.tell_removed(target, &removed, &news);
                if news == News::Released {
                    self.contests.forget(target);
                    return outcome;
                }
                if let Some(waited) = waited.filter(|_| has_all) {
                    self.figures.observe_latency(target, waited);
                }
                match self.contests.wrote(target, tokio::time::Instant::now()) {
                    true => sooner(outcome, contest::QUIET),
                    false => outcome,
                }
            }
            Err(error) => self.refused(live, &error).await,
        }
    }

    /// Makes what is ours by update ours by server-side apply.
    pub(super) async fn migrate(&self, live: &Live, patch: &Value) -> Result<(), Outcome> {
        let target = &live.target;
        let patch = match serde_json::from_value(patch.clone()) {
            Ok(patch) => Patch::Json::<()>(patch),
            Err(error) => {
                tracing::error!(%target, %error, "cannot migrate the managed fields");
                return Err(Outcome::Done);
            }
        };
        if !self.leadership.may_write() {
            return Err(Outcome::Failed);
        }
        self.kept.forget(target);
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match self.versions(target).patch(&target.name.name, &params, &patch).await {
            Ok(_) => {
                tracing::info!(%target, "the bundles are managed by server-side apply from now on");
                Ok(())
            }
            Err(error) => Err(self.refused(live, &error).await),
        }
    }

    /// Tells why a write was refused, if that will not pass.
    async fn refused(&self, live: &Live, error: &kube::Error) -> Outcome {
        let target = &live.target;
        let failure = Failure::from(error);
        let (reason, outcome) = match failure.code {
            // Somebody else was faster, or the target is gone: read it again. Without the right to create, an
            // apply to a target that is gone is a 403 as well, so that one is tried again, too.
            Some(404 | 409) => {
                tracing::debug!(%target, %failure, "the target changed meanwhile");
                return Outcome::Failed;
            }
            Some(403) => (Reason::Forbidden, Outcome::Failed),
            Some(400 | 422) => (Reason::RejectedByAPIServer, Outcome::Again(REJECTED_AGAIN)),
            _ => {
                self.report.tell(target, &News::Failed(format!("cannot write the bundle: {failure}")));
                return Outcome::Failed;
            }
        };
        let text = format!("the API server refused the bundle: {failure}");
        self.report.tell(target, &News::WriteRefused(Refusal::new(reason, text)));
        outcome
    }

    /// Where a target is written; what is answered is its metadata, so that the whole of it need not be sent back.
    fn versions(&self, target: &Target) -> Api<Versioned> {
        target.api(self.client())
    }
}

/// The same, but to look again within this time.
pub(super) fn sooner(outcome: Outcome, time: Duration) -> Outcome {
    match outcome {
        Outcome::Done => Outcome::Again(time),
        Outcome::Again(later) => Outcome::Again(later.min(time)),
        Outcome::Failed => Outcome::Failed,
    }
}

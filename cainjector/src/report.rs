//! Tells what became of a target: people by an event and a log line at each change and silence in between, programs by
//! figures and probes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::keys::annotation;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::ApiResource;
use runtime::events::{Event, Events, Level};
use runtime::lock::lock;
use runtime::watch::Failure;
use tokio::time::Instant as Pace;

use crate::bounds::{MESSAGE_BYTES_MAX, clipped};
use crate::metrics::Figures;
use crate::plan::{self, Advice, Cause, Planned, Reason, Refusal, Removed};
use crate::source::SourceObject;
use crate::synced::{Ledger, Verdict};
use crate::target::{Live, Target};

/// How long after it was told that somebody keeps overwriting a target this is told again: the API server forgets events after
/// an hour.
pub(crate) const CONTESTED_AGAIN: Duration = Duration::from_secs(1_200);

/// How long reads or writes of a target must have failed for an event: an API server that restarts, or is busy, is back before.
const FAILED_FOR: Duration = Duration::from_secs(30);

/// Reason of events about that.
const FAILED: &str = "InjectionFailed";

/// Reason of events about certificates that were taken out of a bundle.
const REMOVED: &str = "CertificatesRemoved";

/// What became of a look at a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// It got a new bundle.
    Injected,
    /// It had its bundle, and got the CA that its source has by now.
    Rotated,
    /// It had its bundle, and lost what is not to be in it any longer.
    Reduced,
    /// It gave its bundle up.
    Released,
    /// It asks for nothing any more, and keeps its bundle.
    Stopped,
    /// It has its bundle.
    InSync,
    /// It keeps what it has.
    Refused(Refusal),
    /// So it does, and among that is what nobody may trust.
    Exposed {
        /// Why nothing is written.
        refusal: Refusal,
        /// What nobody may trust, and why it is there.
        exposure: String,
    },
    /// So it does, because the API server does not take the write.
    WriteRefused(Refusal),
    /// It is left alone for a while, because somebody keeps overwriting it.
    Contested,
    /// It could not be read or written, which may pass by itself: this is what happened.
    Failed(String),
}

impl News {
    /// A read of the target that failed so.
    pub(crate) fn unread(failure: &Failure) -> Self {
        if failure.is_forbidden() {
            let text = format!(
                "reading it is forbidden: {failure}; the cainjector needs get, list, watch and patch on it"
            );
            return Self::Refused(Refusal::new(Reason::Forbidden, text));
        }
        Self::Failed(clipped(format!("cannot read the target: {failure}"), MESSAGE_BYTES_MAX))
    }

    /// Whether the target has what it should have; None: it asks for nothing any more.
    fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Injected | Self::Rotated | Self::Reduced | Self::InSync => Some(Verdict::InSync),
            Self::Released | Self::Stopped => None,
            // There is a CA for it, and it does not get it.
            Self::WriteRefused(_) | Self::Failed(_) => Some(Verdict::OutOfSync),
            // What the operator wants to be gone is not.
            Self::Exposed { .. } => Some(Verdict::OutOfSync),
            Self::Refused(refusal) if refusal.reason.is_ours() => Some(Verdict::OutOfSync),
            Self::Refused(_) | Self::Contested => Some(Verdict::Excused),
        }
    }

    /// For programs: label of the figures and reason of the event.
    fn result(&self) -> String {
        match self {
            Self::Injected | Self::Rotated => "Injected".to_owned(),
            Self::Reduced => REMOVED.to_owned(),
            Self::Released => "Released".to_owned(),
            Self::Stopped => "InjectionStopped".to_owned(),
            Self::InSync => "InSync".to_owned(),
            Self::Contested => Reason::FieldContested.to_string(),
            Self::Failed(_) => "Failed".to_owned(),
            Self::Refused(refusal) | Self::Exposed { refusal, .. } | Self::WriteRefused(refusal) => {
                refusal.reason.to_string()
            }
        }
    }
}

/// Remembers what was last said about each target.
pub(crate) struct Report {
    events: Events,
    figures: Figures,
    synced: Arc<Mutex<Ledger>>,
    said: Mutex<HashMap<Target, Said>>,
}

#[derive(Debug, Default)]
struct Said {
    /// What events about it refer to, as it was last read.
    about: Option<ObjectReference>,
    news: Option<News>,
    /// Who was said to overwrite its bundle, and when.
    overwriter: Option<(String, Instant)>,
    advice: Vec<Advice>,
    /// Whether it cannot be read or written.
    failing: Option<Failing>,
}

#[derive(Debug)]
struct Failing {
    since: Pace,
    /// When an event told so.
    told: Option<Pace>,
}

impl Said {
    /// Reads or writes have failed once more; whether an event is to tell so. While that may be no event is written either, so
    /// it is told again.
    fn fails(&mut self, now: Pace) -> bool {
        let failing = self.failing.get_or_insert(Failing { since: now, told: None });
        let is_due = match failing.told {
            None => now.duration_since(failing.since) >= FAILED_FOR,
            Some(told) => now.duration_since(told) >= CONTESTED_AGAIN,
        };
        if is_due {
            failing.told = Some(now);
        }
        is_due
    }
}

impl Report {
    pub(crate) fn new(events: Events, figures: Figures, synced: Arc<Mutex<Ledger>>) -> Self {
        Self { events, figures, synced, said: Mutex::default() }
    }

    /// Something changed that the target depends on.
    pub(crate) fn due(&self, target: &Target) {
        lock(&self.synced).due(target, Instant::now(), Timestamp::now());
    }

    /// There is nothing to be written to the target, and nothing to be said of it: it is about to go, or has released its
    /// bundle.
    pub(crate) fn excuse(&self, target: &Target) {
        lock(&self.synced).looked(target, Verdict::Excused, Instant::now(), Timestamp::now());
    }

    pub(crate) fn tell(&self, target: &Target, news: &News) {
        let result = news.result();
        self.figures.count(target, &result);
        match news.verdict() {
            Some(verdict) => lock(&self.synced).looked(target, verdict, Instant::now(), Timestamp::now()),
            None => {
                self.figures.forget(target);
                lock(&self.synced).forget(target);
            }
        }
        // An injection is always news; a state is news when it differs from the one before.
        let is_new = self.remember(target, news) || matches!(news, News::Injected | News::Released);
        let event = match news {
            News::Injected => {
                tracing::info!(%target, "injected the CA bundle");
                Some((Level::Normal, "the CA bundle was updated".to_owned()))
            }
            // A CA of a thousand targets would make a thousand events of each of its rotations, and nothing has changed
            // for anybody: they trust the source as before.
            News::Rotated => {
                tracing::info!(%target, "injected the CA bundle: its source has another CA");
                None
            }
            // What was taken out is told by `tell_removed`.
            News::Reduced => None,
            News::Released => {
                tracing::info!(%target, "gave the CA bundle up");
                let note =
                    format!("the CA bundle was given up, as annotation {} asks", annotation::RELEASE_BUNDLE);
                Some((Level::Normal, note))
            }
            News::Stopped => {
                tracing::info!(%target, "no longer asks for a CA; its bundle stays as it is");
                let note = format!(
                    "no CA is asked for any more: the bundle stays as it is; annotation {}: \"true\" takes it out",
                    annotation::RELEASE_BUNDLE
                );
                Some((Level::Normal, note))
            }
            // Who overwrites it is told by `contested`.
            News::InSync | News::Contested => {
                tracing::debug!(%target, result, "nothing is written");
                None
            }
            News::Failed(failure) => {
                if is_new {
                    tracing::warn!(%target, "{failure}");
                }
                self.failed(target, failure);
                None
            }
            News::Refused(refusal) | News::WriteRefused(refusal) => {
                if is_new {
                    tracing::warn!(%target, reason = %refusal.reason, "not injected: {}", refusal.message);
                }
                Some((Level::Warning, refusal.message.clone()))
            }
            News::Exposed { refusal: Refusal { reason, message }, exposure } => {
                if is_new {
                    tracing::warn!(%target, %reason, "not injected: {message}; {exposure}");
                }
                Some((Level::Warning, format!("{exposure}; nothing is injected: {message}")))
            }
        };
        if let Some((level, message)) = event.filter(|_| is_new) {
            self.events.tell(Event { about: self.reference(target), level, reason: result, message });
        }
    }

    /// Reads or writes of the target have failed, which is an event once it lasts.
    fn failed(&self, target: &Target, failure: &str) {
        if !lock(&self.said).entry(target.clone()).or_default().fails(Pace::now()) {
            return;
        }
        let message = format!("{failure}; this has failed for {FAILED_FOR:?} or longer, and is tried again");
        let (about, reason) = (self.reference(target), FAILED.to_owned());
        self.events.tell(Event { about, level: Level::Warning, reason, message });
    }

    /// Whether the target was said to have its bundle.
    pub(crate) fn has_bundle(&self, target: &Target) -> bool {
        let said = lock(&self.said);
        let news = said.get(target).and_then(|said| said.news.as_ref());
        matches!(news, Some(News::Injected | News::Rotated | News::Reduced | News::InSync))
    }

    /// Tells what a write has taken out of the target's bundles: whoever finds a server cut off looks for it here.
    pub(crate) fn tell_removed(&self, target: &Target, removed: &[Removed], news: &News) {
        for Removed { certificate, cause } in removed {
            let (subject, sha256) = (certificate.subject(), certificate.fingerprint());
            tracing::info!(%target, subject, %sha256, %cause, "took a certificate out of the CA bundle");
        }
        // As a rotation is no event, so is none what happens at each of them.
        let is_event = |removed: &&Removed| *news != News::Rotated || removed.cause != Cause::Expired;
        let removed: Vec<Removed> = removed.iter().filter(is_event).cloned().collect();
        if let Some(message) = plan::removal(&removed) {
            let (about, reason) = (self.reference(target), REMOVED.to_owned());
            self.events.tell(Event { about, level: Level::Normal, reason, message });
        }
    }

    /// Tells what a plan found: figures of the bundles, and what should be looked at.
    pub(crate) fn tell_plan(&self, live: &Live, planned: &Planned) {
        let target = &live.target;
        if let Some(certificates) = planned.fields.iter().map(|field| field.certificates).max() {
            let first_expiry = planned.fields.iter().filter_map(|field| field.first_expiry).min();
            self.figures.set_bundle(target, certificates, first_expiry);
        }
        let mut said = lock(&self.said);
        let known = said.entry(target.clone()).or_default();
        known.about = Some(reference(live));
        let before = std::mem::replace(&mut known.advice, planned.advice.clone());
        drop(said);
        for Advice { reason, message } in planned.advice.iter().filter(|advice| !before.contains(advice)) {
            tracing::warn!(%target, %reason, "{message}");
            let (about, reason) = (self.reference(target), reason.to_string());
            self.events.tell(Event { about, level: Level::Warning, reason, message: message.clone() });
        }
    }

    /// Tells the owner of a source what should be looked at, and which target it is about.
    pub(crate) fn tell_source(&self, source: &SourceObject, concerns: Vec<Advice>, target: &Target) {
        for Advice { reason, message } in concerns {
            let about = ObjectReference {
                api_version: Some(source.kind.api_version.clone()),
                kind: Some(source.kind.kind.clone()),
                namespace: source.name.namespace.clone(),
                name: Some(source.name.name.clone()),
                uid: Some(source.uid.clone()),
                ..ObjectReference::default()
            };
            let message = format!("{message}; {target} asks for it");
            self.events.tell(Event { about, level: Level::Warning, reason: reason.to_string(), message });
        }
    }

    /// Somebody keeps overwriting the bundle of a target: the owner of its field, if one is known.
    pub(crate) fn contested(&self, live: &Live, overwriter: Option<&str>) {
        let target = &live.target;
        self.figures.set_contested(target, true);
        let overwriter = overwriter.unwrap_or("(unknown)").to_owned();
        let mut said = lock(&self.said);
        let known = &mut said.entry(target.clone()).or_default().overwriter;
        let is_known = known.as_ref().is_some_and(|(name, _)| *name == overwriter);
        if is_known && known.as_ref().is_some_and(|(_, at)| at.elapsed() < CONTESTED_AGAIN) {
            return;
        }
        *known = Some((overwriter.clone(), Instant::now()));
        drop(said);
        let message = format!(
            "field manager {overwriter:?} keeps overwriting the CA bundle: it is repaired, but less and less often where \
             that happens many times a minute; take caBundle out of what that program writes"
        );
        let reason = Reason::FieldContested.to_string();
        if !is_known {
            tracing::warn!(%target, reason, "{message}");
        }
        self.events.tell(Event { about: self.reference(target), level: Level::Warning, reason, message });
    }

    /// Nobody overwrites the bundle of a target any longer.
    pub(crate) fn contested_no_more(&self, target: &Target) {
        self.figures.set_contested(target, false);
        if let Some(said) = lock(&self.said).get_mut(target) {
            said.overwriter = None;
        }
    }

    pub(crate) fn forget(&self, target: &Target) {
        self.figures.forget(target);
        lock(&self.synced).forget(target);
        lock(&self.said).remove(target);
    }

    fn reference(&self, target: &Target) -> ObjectReference {
        let known = lock(&self.said).get(target).and_then(|said| said.about.clone());
        known.unwrap_or_else(|| about(target, target.kind.resource()))
    }

    fn remember(&self, target: &Target, news: &News) -> bool {
        let mut said = lock(&self.said);
        let known = said.entry(target.clone()).or_default();
        if !matches!(news, News::Failed(_)) {
            known.failing = None;
        }
        known.news.replace(news.clone()).as_ref() != Some(news)
    }
}

fn reference(live: &Live) -> ObjectReference {
    ObjectReference { uid: Some(live.uid.clone()), ..about(&live.target, live.resource()) }
}

fn about(target: &Target, resource: ApiResource) -> ObjectReference {
    ObjectReference {
        api_version: Some(resource.api_version),
        kind: Some(resource.kind),
        namespace: target.name.namespace.clone(),
        name: Some(target.name.name.clone()),
        ..ObjectReference::default()
    }
}

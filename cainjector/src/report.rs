//! Tells what became of a target: people by an event and a log line at each change and silence in between, programs by
//! figures and probes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use api::keys::annotation;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use runtime::events::{Event, Events, Level};
use runtime::lock::lock;

use crate::metrics::Figures;
use crate::plan::{Advice, Planned, Reason, Refusal};
use crate::source::SourceObject;
use crate::synced::{Ledger, Verdict};
use crate::target::{Live, Target};

/// What became of a look at a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// It got a new bundle.
    Injected,
    /// It gave its bundle up.
    Released,
    /// It asks for nothing any more, and keeps its bundle.
    Stopped,
    /// It has its bundle.
    InSync,
    /// It keeps what it has.
    Refused(Refusal),
    /// So it does, because the API server does not take the write.
    WriteRefused(Refusal),
    /// It is left alone for a while, because somebody keeps overwriting it.
    Contested,
}

impl News {
    /// Whether the target has what it should have; None: it asks for nothing any more.
    fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Injected | Self::InSync => Some(Verdict::InSync),
            Self::Released | Self::Stopped => None,
            // A right or a policy of ours is wrong; all other writes that are refused are so for what the target is.
            Self::WriteRefused(refusal) if refusal.reason == Reason::Forbidden => Some(Verdict::OutOfSync),
            Self::Refused(_) | Self::WriteRefused(_) | Self::Contested => Some(Verdict::Excused),
        }
    }

    /// For programs: label of the figures and reason of the event.
    fn result(&self) -> String {
        match self {
            Self::Injected => "Injected".to_owned(),
            Self::Released => "Released".to_owned(),
            Self::Stopped => "InjectionStopped".to_owned(),
            Self::InSync => "InSync".to_owned(),
            Self::Contested => Reason::FieldContested.to_string(),
            Self::Refused(refusal) | Self::WriteRefused(refusal) => refusal.reason.to_string(),
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
    news: Option<News>,
    /// Who was said to overwrite its bundle.
    overwriter: Option<String>,
    advice: Vec<Advice>,
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

    pub(crate) fn tell(&self, live: &Live, news: &News) {
        let target = &live.target;
        let result = news.result();
        self.figures.count(target, &result);
        match news.verdict() {
            Some(verdict) => {
                self.figures.set_in_sync(target, verdict == Verdict::InSync);
                lock(&self.synced).looked(target, verdict, Instant::now(), Timestamp::now());
            }
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
            News::Refused(refusal) | News::WriteRefused(refusal) => {
                if is_new {
                    tracing::warn!(%target, reason = %refusal.reason, "not injected: {}", refusal.message);
                }
                Some((Level::Warning, refusal.message.clone()))
            }
        };
        if let Some((level, message)) = event.filter(|_| is_new) {
            self.events.tell(Event { about: reference(live), level, reason: result, message });
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
        let known = &mut said.entry(target.clone()).or_default().advice;
        let before = std::mem::replace(known, planned.advice.clone());
        drop(said);
        for Advice { reason, message } in planned.advice.iter().filter(|advice| !before.contains(advice)) {
            tracing::warn!(%target, %reason, "{message}");
            let (about, reason) = (reference(live), reason.to_string());
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
        let known =
            lock(&self.said).entry(target.clone()).or_default().overwriter.replace(overwriter.clone());
        if known.as_ref() == Some(&overwriter) {
            return;
        }
        let message = format!(
            "field manager {overwriter:?} keeps overwriting the CA bundle: it is repaired, but less and less often; take \
             caBundle out of what that program writes"
        );
        let reason = Reason::FieldContested.to_string();
        tracing::warn!(%target, reason, "{message}");
        self.events.tell(Event { about: reference(live), level: Level::Warning, reason, message });
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

    fn remember(&self, target: &Target, news: &News) -> bool {
        let mut said = lock(&self.said);
        let known = &mut said.entry(target.clone()).or_default().news;
        known.replace(news.clone()).as_ref() != Some(news)
    }
}

fn reference(live: &Live) -> ObjectReference {
    let resource = live.resource();
    ObjectReference {
        api_version: Some(resource.api_version),
        kind: Some(resource.kind),
        namespace: live.target.name.namespace.clone(),
        name: Some(live.target.name.name.clone()),
        uid: Some(live.uid.clone()),
        ..ObjectReference::default()
    }
}

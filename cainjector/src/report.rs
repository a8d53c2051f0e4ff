//! Tells people what became of a target: an event and a log line at each change, silence in between.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use api::keys::annotation;
use k8s_openapi::api::core::v1::ObjectReference;
use runtime::events::{Event, Events, Level};

use crate::metrics::Figures;
use crate::plan::Refusal;
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
}

/// Remembers what was last said about each target.
pub(crate) struct Report {
    events: Events,
    figures: Figures,
    said: Mutex<HashMap<Target, News>>,
}

impl Report {
    pub(crate) fn new(events: Events, figures: Figures) -> Self {
        Self { events, figures, said: Mutex::default() }
    }

    pub(crate) fn tell(&self, live: &Live, news: &News) {
        let target = &live.target;
        let (result, event) = match news {
            News::Injected => {
                tracing::info!(%target, "injected the CA bundle");
                let note = "the CA bundle was updated".to_owned();
                ("Injected".to_owned(), Some((Level::Normal, note)))
            }
            News::Released => {
                tracing::info!(%target, "gave the CA bundle up");
                let note =
                    format!("the CA bundle was given up, as annotation {} asks", annotation::RELEASE_BUNDLE);
                ("Released".to_owned(), Some((Level::Normal, note)))
            }
            News::Stopped => {
                tracing::info!(%target, "no longer asks for a CA; its bundle stays as it is");
                let note = format!(
                    "no CA is asked for any more: the bundle stays as it is; annotation {}: \"true\" takes it out",
                    annotation::RELEASE_BUNDLE
                );
                ("InjectionStopped".to_owned(), Some((Level::Normal, note)))
            }
            News::InSync => {
                tracing::debug!(%target, "the CA bundle is as it should be");
                ("InSync".to_owned(), None)
            }
            News::Refused(refusal) => {
                (refusal.reason.to_string(), Some((Level::Warning, refusal.message.clone())))
            }
        };
        self.figures.count(target, &result);
        match news {
            News::Released | News::Stopped => self.figures.forget(target),
            News::Injected | News::InSync => self.figures.set_in_sync(target, true),
            News::Refused(_) => self.figures.set_in_sync(target, false),
        }
        // An injection is always news; a state is news when it differs from the one before.
        let is_new = self.remember(target, news) || matches!(news, News::Injected | News::Released);
        let Some((level, message)) = event.filter(|_| is_new) else {
            return;
        };
        if let News::Refused(refusal) = news {
            tracing::warn!(%target, reason = %refusal.reason, "not injected: {}", refusal.message);
        }
        self.events.tell(Event { about: reference(live), level, reason: result, message });
    }

    pub(crate) fn forget(&self, target: &Target) {
        self.figures.forget(target);
        self.said.lock().unwrap_or_else(PoisonError::into_inner).remove(target);
    }

    fn remember(&self, target: &Target, news: &News) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(target.clone(), news.clone()).as_ref() != Some(news)
    }
}

fn reference(live: &Live) -> ObjectReference {
    let resource = live.target.kind.resource();
    ObjectReference {
        api_version: Some(resource.api_version),
        kind: Some(resource.kind),
        name: Some(live.target.name.clone()),
        uid: Some(live.uid.clone()),
        ..ObjectReference::default()
    }
}

//! Tells people about their objects: events, those that speak of a state once.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use runtime::events::Events;
use runtime::lock::lock;
use runtime::watch::ObjectName;

use crate::news::{News, Occasion};

/// Writes events about objects of one kind.
pub(crate) struct Report {
    events: Events,
    api_version: String,
    kind: String,
    /// What was said once, of each object: its UID and the occasions.
    said: Mutex<HashMap<ObjectName, (String, HashSet<String>)>>,
}

impl Report {
    /// About objects of kind `K`.
    pub(crate) fn of<K: Resource<DynamicType = ()>>(events: Events) -> Self {
        let (api_version, kind) = (K::api_version(&()).into_owned(), K::kind(&()).into_owned());
        Self { events, api_version, kind, said: Mutex::default() }
    }

    /// Tells it of the object with this UID, unless it speaks of a state and was told of that before.
    pub(crate) fn tell(&self, name: &ObjectName, uid: &str, news: News) {
        if let Occasion::State(state) = &news.occasion {
            let mut said = lock(&self.said);
            let (known, occasions) = said.entry(name.clone()).or_default();
            if known != uid {
                (*known, *occasions) = (uid.to_owned(), HashSet::new());
            }
            if !occasions.insert(format!("{} {state}", news.reason)) {
                return;
            }
        }
        let (kind, reason) = (self.kind.as_str(), news.reason.as_ref());
        tracing::info!(kind, object = %name, reason, "{}", news.message);
        let about = ObjectReference {
            api_version: Some(self.api_version.clone()),
            kind: Some(self.kind.clone()),
            name: Some(name.name.clone()),
            namespace: name.namespace.clone(),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        self.events.tell(news.about(about));
    }

    /// The object is gone; one of the same name will be another.
    pub(crate) fn forget(&self, name: &ObjectName) {
        lock(&self.said).remove(name);
    }
}

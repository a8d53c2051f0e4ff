//! Tells people about their requests: events, those that speak of a state once.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;
use runtime::events::Events;
use runtime::lock::lock;
use runtime::watch::ObjectName;

use crate::news::{News, Occasion};
use crate::request::view::RequestView;

/// Writes events.
pub(crate) struct Report {
    events: Events,
    /// What was said once, of each request: its UID and the occasions.
    said: Mutex<HashMap<ObjectName, (String, HashSet<String>)>>,
}

impl Report {
    pub(crate) fn new(events: Events) -> Self {
        Self { events, said: Mutex::default() }
    }

    /// Tells it, unless it speaks of a state and was told of that before.
    pub(crate) fn tell(&self, view: &RequestView, news: News) {
        if let Occasion::State(state) = &news.occasion {
            let mut said = lock(&self.said);
            let (uid, occasions) = said.entry(view.name.clone()).or_default();
            if *uid != view.uid {
                (*uid, *occasions) = (view.uid.clone(), HashSet::new());
            }
            if !occasions.insert(format!("{} {state}", news.reason)) {
                return;
            }
        }
        let reason = news.reason.as_ref();
        tracing::info!(request = %view.name, reason, "{}", news.message);
        let about = ObjectReference {
            api_version: Some(api::CertificateRequest::api_version(&()).into_owned()),
            kind: Some(api::CertificateRequest::kind(&()).into_owned()),
            name: Some(view.name.name.clone()),
            namespace: view.name.namespace.clone(),
            uid: Some(view.uid.clone()),
            ..ObjectReference::default()
        };
        self.events.tell(news.about(about));
    }

    /// The request is gone; one of the same name will be another.
    pub(crate) fn forget(&self, name: &ObjectName) {
        lock(&self.said).remove(name);
    }
}

//! Tells people about a change of an issuer's readiness: an event and a log line.

use std::collections::HashMap;
use std::sync::Mutex;

use api::{Condition, ConditionStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use runtime::events::{Event, Events, Level};
use runtime::lock::lock;

use crate::object::{IssuerKey, Seen};

/// Reason of a second event on an issuer that became unready: the peer's, which people look for.
const NOT_SET_UP: &str = "ErrInitIssuer";
/// Reason of the event on an issuer whose type we do not have yet.
const UNSUPPORTED: &str = "IssuerTypeUnsupported";

/// Writes events.
pub(crate) struct Report {
    events: Events,
    /// The generation of each issuer about which was said that its type is not supported.
    said_unsupported: Mutex<HashMap<IssuerKey, Option<i64>>>,
    /// The advice that was last given about each issuer.
    advised: Mutex<HashMap<IssuerKey, String>>,
}

impl Report {
    pub(crate) fn new(events: Events) -> Self {
        Self { events, said_unsupported: Mutex::default(), advised: Mutex::default() }
    }

    /// The Ready condition changed to this.
    pub(crate) fn changed(&self, key: &IssuerKey, seen: &Seen, ready: &Condition) {
        let reason = ready.reason.clone().unwrap_or_default();
        let message = ready.message.clone().unwrap_or_default();
        let level = if ready.status == ConditionStatus::True {
            tracing::info!(issuer = %key, reason, "ready: {message}");
            Level::Normal
        } else {
            tracing::warn!(issuer = %key, reason, "not ready: {message}");
            self.publish(key, seen, Level::Warning, NOT_SET_UP.to_owned(), message.clone());
            Level::Warning
        };
        self.publish(key, seen, level, reason, message);
    }

    /// The issuer is of a type that we do not have; said once for each generation.
    pub(crate) fn unsupported(&self, key: &IssuerKey, seen: &Seen, message: String) {
        let said = lock(&self.said_unsupported).insert(key.clone(), seen.generation);
        if said == Some(seen.generation) {
            return;
        }
        tracing::warn!(issuer = %key, reason = UNSUPPORTED, "{message}");
        self.publish(key, seen, Level::Warning, UNSUPPORTED.to_owned(), message);
    }

    /// The issuer can sign, and somebody should do something so that it stays so; said once.
    pub(crate) fn advise(&self, key: &IssuerKey, seen: &Seen, reason: &'static str, message: String) {
        if lock(&self.advised).insert(key.clone(), message.clone()).as_ref() == Some(&message) {
            return;
        }
        tracing::warn!(issuer = %key, reason, "{message}");
        self.publish(key, seen, Level::Warning, reason.to_owned(), message);
    }

    /// The issuer is gone; one of the same name will be another.
    pub(crate) fn forget(&self, key: &IssuerKey) {
        lock(&self.said_unsupported).remove(key);
        lock(&self.advised).remove(key);
    }

    fn publish(&self, key: &IssuerKey, seen: &Seen, level: Level, reason: String, message: String) {
        let resource = key.kind.resource();
        let about = ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            name: Some(key.name.name.clone()),
            namespace: key.name.namespace.clone(),
            uid: Some(seen.uid.clone()),
            ..ObjectReference::default()
        };
        self.events.tell(Event { about, level, reason, message });
    }
}

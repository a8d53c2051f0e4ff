//! Tells people about a change of an issuer's readiness: an event and a log line.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use api::{Condition, ConditionStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType};
use runtime::events::Events;

use crate::MANAGER;
use crate::object::{IssuerKey, Seen};

/// Reason of the event on an issuer whose type we do not have yet.
const UNSUPPORTED: &str = "IssuerTypeUnsupported";

/// Writes events.
pub(crate) struct Report {
    events: Events,
    /// The generation of each issuer about which was said that its type is not supported.
    said_unsupported: Mutex<HashMap<IssuerKey, Option<i64>>>,
}

impl Report {
    pub(crate) fn new(client: Client) -> Self {
        Self { events: Events::new(client, MANAGER), said_unsupported: Mutex::default() }
    }

    /// The Ready condition changed to this.
    pub(crate) async fn changed(&self, key: &IssuerKey, seen: &Seen, ready: &Condition) {
        let reason = ready.reason.clone().unwrap_or_default();
        let message = ready.message.clone().unwrap_or_default();
        let type_ = if ready.status == ConditionStatus::True {
            tracing::info!(issuer = %key, reason, "ready: {message}");
            EventType::Normal
        } else {
            tracing::warn!(issuer = %key, reason, "not ready: {message}");
            EventType::Warning
        };
        self.publish(key, seen, type_, reason, message).await;
    }

    /// The issuer is of a type that we do not have; said once for each generation.
    pub(crate) async fn unsupported(&self, key: &IssuerKey, seen: &Seen, message: String) {
        let said = self
            .said_unsupported
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.clone(), seen.generation);
        if said == Some(seen.generation) {
            return;
        }
        tracing::warn!(issuer = %key, reason = UNSUPPORTED, "{message}");
        self.publish(key, seen, EventType::Warning, UNSUPPORTED.to_owned(), message).await;
    }

    pub(crate) fn forget(&self, key: &IssuerKey) {
        self.said_unsupported.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    async fn publish(&self, key: &IssuerKey, seen: &Seen, type_: EventType, reason: String, message: String) {
        let event =
            Event { type_, reason, note: Some(message), action: "CheckIssuer".to_owned(), secondary: None };
        let resource = key.kind.resource();
        let object = ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            name: Some(key.name.name.clone()),
            namespace: key.name.namespace.clone(),
            uid: Some(seen.uid.clone()),
            ..ObjectReference::default()
        };
        self.events.publish(&event, &object).await;
    }
}

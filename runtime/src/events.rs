//! Kubernetes Events, as a courtesy: their loss is logged and stops nobody.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, Recorder, Reporter};

use crate::watch::Failure;

/// How long an event may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Writes events under the name of one program.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// Events that `reporter` tells.
    pub fn new(client: Client, reporter: &str) -> Self {
        Self { recorder: Recorder::new(client, Reporter::from(reporter.to_owned())) }
    }

    /// Writes an event about an object; what goes wrong is a warning in the log.
    pub async fn publish(&self, event: &Event, object: &ObjectReference) {
        let kind = object.kind.as_deref().unwrap_or_default();
        let name = object.name.as_deref().unwrap_or_default();
        match tokio::time::timeout(TIMEOUT, self.recorder.publish(event, object)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let failure = Failure::from(&error);
                tracing::warn!(%failure, "cannot write an event about {kind} {name}");
            }
            Err(_) => tracing::warn!("cannot write an event about {kind} {name} within {TIMEOUT:?}"),
        }
    }
}

//! Follows the metadata of the targets of one kind.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt as _;
use kube::Api;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::utils::StreamBackoff;
use kube::runtime::watcher::{self, Event, watcher};
use runtime::backoff::Backoff;
use runtime::readiness::Pending;
use runtime::shutdown::Shutdown;
use runtime::watch::Failure;

use crate::apply::Injector;
use crate::reference;
use crate::target::{Target, TargetKind};

/// Follows the targets of one kind until shutdown is requested; `ready` is told when all of them have been seen once.
///
/// The API server sends metadata alone. Of that, what the annotations ask for is kept; schemas, managed fields and
/// foreign annotations are dropped as soon as they are decoded.
///
/// # Errors
/// None; a watch that is refused is tried again, and the process stays unready until then.
pub async fn follow(
    kind: TargetKind,
    injector: Arc<Injector>,
    ready: Pending,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let objects: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(injector.client(), &kind.resource());
    let events = watcher(objects, watcher::Config::default());
    let mut events = pin!(StreamBackoff::new(events, Backoff::default()));
    let mut ready = Some(ready);
    let mut listed = HashSet::new();
    loop {
        let event = tokio::select! {
            () = shutdown.requested() => return Ok(()),
            Some(event) = events.next() => event,
        };
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.extend(object.metadata.name.clone());
                injector.seen(kind, object.metadata);
            }
            Ok(Event::InitDone) => {
                injector.listed(kind, &listed);
                listed = HashSet::new();
                if let Some(ready) = ready.take() {
                    ready.ready();
                }
            }
            Ok(Event::Apply(object)) => injector.seen(kind, object.metadata),
            Ok(Event::Delete(object)) => {
                let name = object.metadata.name.unwrap_or_default();
                injector.gone(Target { kind, name });
            }
            Err(error) => {
                let failure = Failure::from(&error);
                tracing::warn!(resource = kind.plural(), %failure, "cannot watch the targets");
            }
        }
    }
}

impl Injector {
    fn seen(&self, kind: TargetKind, metadata: kube::core::ObjectMeta) {
        let target = Target { kind, name: metadata.name.unwrap_or_default() };
        match reference::wanted(&metadata.annotations.unwrap_or_default()) {
            Some(wanted) => self.wants(target, wanted),
            None => self.wants_nothing(&target),
        }
    }

    fn listed(&self, kind: TargetKind, names: &HashSet<String>) {
        for target in self.missing(kind, names) {
            self.gone(target);
        }
    }
}

//! Follows the issuers of one kind.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt as _;
use kube::Api;
use kube::runtime::utils::StreamBackoff;
use kube::runtime::watcher::{self, Event, watcher};
use runtime::backoff::Backoff;
use runtime::readiness::Pending;
use runtime::shutdown::Shutdown;
use runtime::watch::Failure;

use crate::apply::Judge;
use crate::object::{IssuerObject, view};

/// Follows the issuers of kind `K` until shutdown is requested; `ready` is told when all have been seen once.
///
/// # Errors
/// None; a watch that is refused is tried again, and the process stays unready until then.
pub async fn follow<K: IssuerObject>(
    judge: Arc<Judge>,
    ready: Pending,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let issuers: Api<K> = Api::all(judge.client());
    let events = watcher(issuers, watcher::Config::default());
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
                let (key, seen) = view(object);
                listed.insert(key.name.clone());
                judge.seen(key, seen);
            }
            Ok(Event::InitDone) => {
                judge.listed(K::KIND, &listed);
                listed = HashSet::new();
                if let Some(ready) = ready.take() {
                    ready.ready();
                }
            }
            Ok(Event::Apply(object)) => {
                let (key, seen) = view(object);
                judge.seen(key, seen);
            }
            Ok(Event::Delete(object)) => judge.gone(&view(object).0),
            Err(error) => {
                let failure = Failure::from(&error);
                tracing::warn!(kind = K::KIND.kind(), %failure, "cannot watch the issuers");
            }
        }
    }
}

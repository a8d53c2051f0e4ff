//! Following all objects of one kind, for controllers that keep an index of them.

use std::collections::HashSet;
use std::fmt::Debug;
use std::pin::pin;

use futures::StreamExt as _;
use kube::runtime::utils::StreamBackoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::backoff::Backoff;
use crate::readiness::Pending;
use crate::shutdown::Shutdown;
use crate::watch::{Failure, ObjectName};

/// Objects of one answer to a list. The whole answer is in memory at once, as text and decoded, and an object may have a
/// mebibyte, though nearly all have some kilobytes.
const PAGE_SIZE: u32 = 20;

/// What happened to the objects of a kind.
#[derive(Debug)]
pub enum Change<K> {
    /// An object is there, new or changed or merely listed again.
    Seen(K),
    /// An object is not there any more.
    Gone(K),
    /// Every object there is has been told as [`Change::Seen`]; known ones that are not among these names are gone.
    Listed(HashSet<ObjectName>),
}

/// Tells `changed` about the objects of `api` until shutdown is requested; `ready` is told when all have been seen
/// once. A watch that is refused is tried again, and the process stays unready until then. `what` names the objects
/// in log lines.
///
/// # Errors
/// None; the result is for [`crate::tasks::Tasks::spawn`].
pub async fn follow<K>(
    api: Api<K>,
    what: &'static str,
    ready: Pending,
    shutdown: Shutdown,
    changed: impl Fn(Change<K>) + Send,
) -> anyhow::Result<()>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let events = watcher(api, watcher::Config::default().page_size(PAGE_SIZE));
    let mut events = pin!(StreamBackoff::new(events, Backoff::default()));
    let mut ready = Some(ready);
    let mut listed = HashSet::new();
    let mut told = None;
    loop {
        let event = tokio::select! {
            () = shutdown.requested() => return Ok(()),
            Some(event) = events.next() => event,
        };
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.insert(ObjectName::of(object.meta()));
                changed(Change::Seen(object));
            }
            Ok(Event::InitDone) => {
                told = None;
                changed(Change::Listed(std::mem::take(&mut listed)));
                if let Some(ready) = ready.take() {
                    ready.ready();
                }
            }
            Ok(Event::Apply(object)) => changed(Change::Seen(object)),
            Ok(Event::Delete(object)) => changed(Change::Gone(object)),
            Err(error) => {
                let failure = Failure::from(&error);
                if told.as_ref() != Some(&failure) {
                    tracing::warn!(%failure, "cannot watch the {what}");
                }
                told = Some(failure);
            }
        }
    }
}

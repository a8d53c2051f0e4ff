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

/// Tells `changed` about the objects of `api` that `labels` select, in the form of a label selector (`None`: all), until
/// shutdown is requested; one that is not selected any more counts as gone. `ready` is told when all have been seen once. A
/// watch that is refused is tried again, and the process stays unready until then. `what` names the objects in log lines.
///
/// # Errors
/// None; the result is for [`crate::tasks::Tasks::spawn`].
pub async fn follow<K>(
    api: Api<K>,
    labels: Option<String>,
    what: &'static str,
    ready: Pending,
    shutdown: Shutdown,
    changed: impl Fn(Change<K>) + Send,
) -> anyhow::Result<()>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = watcher::Config { label_selector: labels, ..watcher::Config::default() };
    let events = watcher(api, config.page_size(PAGE_SIZE));
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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use tokio::sync::mpsc;

    use super::*;
    use crate::readiness::Readiness;
    use crate::scripted::{self, events, gone, list};

    /// Follows a server with these answers and compares what it was asked for and what was told.
    async fn check(answers: Vec<String>, asked: &[&str], expected: &[&str]) {
        let (client, seen) = scripted::client(answers);
        let (sender, mut changes) = mpsc::unbounded_channel();
        let (ready, stop) = (Readiness::default().component("secrets"), Shutdown::default());
        let changed = move |change: Change<Secret>| {
            let _ = sender.send(text(change));
        };
        let following = tokio::spawn(follow(Api::all(client), None, "secrets", ready, stop.clone(), changed));
        let mut told = Vec::new();
        for _ in expected {
            told.push(changes.recv().await.unwrap());
        }
        assert_eq!(told, expected);
        // The last question is asked after the last change, and time passes only while nobody has anything to do.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(seen.all(), asked);
        assert!(changes.try_recv().is_err(), "no further change");
        stop.request();
        following.await.unwrap().unwrap();
    }

    fn text(change: Change<Secret>) -> String {
        match change {
            Change::Seen(object) => format!("seen {}", ObjectName::of(object.meta()).name),
            Change::Gone(object) => format!("gone {}", ObjectName::of(object.meta()).name),
            Change::Listed(names) => {
                let mut names: Vec<_> = names.into_iter().map(|name| name.name).collect();
                names.sort();
                format!("listed {}", names.join(" "))
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_vanished_while_a_watch_was_too_old_is_missing_from_the_next_list() {
        check(
            vec![
                list("10", &[("a", "1"), ("b", "2")]),
                events(&[("ADDED", "c", "11")]) + &gone(),
                list("20", &[("b", "2"), ("c", "19")]),
            ],
            &["list", "watch from 10", "list", "watch from 20"],
            &["seen a", "seen b", "listed a b", "seen c", "seen b", "seen c", "listed b c"],
        )
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_ends_goes_on_where_it_was() {
        check(
            vec![
                list("10", &[("a", "1")]),
                events(&[("MODIFIED", "a", "12")]),
                events(&[]),
                events(&[("DELETED", "a", "14")]),
            ],
            &["list", "watch from 10", "watch from 12", "watch from 12", "watch from 14"],
            &["seen a", "listed a", "seen a", "gone a"],
        )
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_breaks_off_within_an_event_loses_none() {
        let half: String = events(&[("MODIFIED", "a", "12")]).chars().take(40).collect();
        check(
            vec![list("10", &[("a", "1")]), half, events(&[("MODIFIED", "a", "12")])],
            &["list", "watch from 10", "watch from 10", "watch from 12"],
            &["seen a", "listed a", "seen a"],
        )
        .await;
    }
}

//! Following all objects of one kind, for controllers that keep an index of them.

use std::collections::HashSet;
use std::fmt::Debug;

use futures::StreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::readiness::Teller;
use crate::shutdown::Shutdown;
use crate::watch::tries::{Denial, tries};
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
    /// The right to see them was taken away, for so long that it is no mistake: what is known of them may be wrong. Once it
    /// is back they are told anew. Not told where none was ever seen.
    Denied(Failure),
}

/// Tells `changed` about the objects of `api` that `labels` select, in the form of a label selector (`None`: all), until
/// shutdown is requested; one that is not selected any more counts as gone. `standing` is told when all have been seen once,
/// and when and why they may be seen no more; a watch that fails is tried again. `what` names the objects in log lines.
///
/// # Errors
/// None; the result is for [`crate::tasks::Tasks::spawn`].
pub async fn follow<K>(
    api: Api<K>,
    labels: Option<String>,
    what: &'static str,
    standing: Teller,
    shutdown: Shutdown,
    changed: impl Fn(Change<K>) + Send,
) -> anyhow::Result<()>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config =
        watcher::Config { label_selector: labels, ..watcher::Config::default() }.page_size(PAGE_SIZE);
    let mut events = tries(move || watcher(api.clone(), config.clone()));
    let mut listed = HashSet::new();
    let mut course = Course { what, standing, denial: Denial::default(), told: None, has_listed: false };
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
                changed(Change::Listed(std::mem::take(&mut listed)));
                course.listed();
            }
            Ok(Event::Apply(object)) => changed(Change::Seen(object)),
            Ok(Event::Delete(object)) => changed(Change::Gone(object)),
            Err(error) => {
                if let Some(failure) = course.failed(Failure::from(&error)) {
                    changed(Change::Denied(failure));
                }
            }
        }
    }
}

/// How a watch goes.
struct Course {
    what: &'static str,
    standing: Teller,
    denial: Denial,
    /// The failure that was last told in the log.
    told: Option<Failure>,
    /// Whether all objects have been seen, and may be.
    has_listed: bool,
}

impl Course {
    fn listed(&mut self) {
        (self.told, self.has_listed) = (None, true);
        self.denial.is_over();
        self.standing.tell(Ok(()));
    }

    /// Takes in a failure; returned if what was seen may be seen no more.
    fn failed(&mut self, failure: Failure) -> Option<Failure> {
        let what = self.what;
        if self.told.as_ref() != Some(&failure) {
            tracing::warn!(%failure, "cannot watch the {what}");
        }
        self.told = Some(failure.clone());
        let is_lost = self.denial.lasts(&failure, Instant::now());
        if !self.has_listed {
            self.standing.tell(Err(format!("cannot be listed: {failure}")));
            return None;
        }
        if !is_lost {
            return None;
        }
        self.has_listed = false;
        self.standing.tell(Err(format!("may not be watched any more: {failure}")));
        Some(failure)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use tokio::sync::mpsc;

    use super::*;
    use crate::readiness::Readiness;
    use crate::scripted::{self, denied, events, gone, list};

    /// Follows a server with these answers and compares what it was asked for and what was told.
    async fn check(answers: Vec<String>, asked: &[&str], expected: &[&str]) {
        let (client, seen) = scripted::client(answers);
        let (sender, mut changes) = mpsc::unbounded_channel();
        let (ready, stop) = (Readiness::default().teller("secrets"), Shutdown::default());
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
            Change::Denied(failure) => format!("denied: {failure}"),
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
    async fn a_right_that_is_taken_away_is_told_once_and_all_is_told_anew_when_it_is_back() {
        let mut answers = vec![list("10", &[("a", "1")])];
        answers.extend(std::iter::repeat_n(denied(), 11));
        answers.push(list("10", &[("a", "1")]));
        let mut asked = vec!["list", "watch from 10"];
        asked.extend(["list"; 11]);
        asked.push("watch from 10");
        let told = ["seen a", "listed a", "denied: secrets is forbidden", "seen a", "listed a"];
        check(answers, &asked, &told).await;
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_tells_of_a_list_that_is_denied() {
        let (client, _) = scripted::client(vec![denied(); 30]);
        let (readiness, stop) = (Readiness::default(), Shutdown::default());
        let standing = readiness.teller("secrets");
        let api = Api::<Secret>::all(client);
        let following = tokio::spawn(follow(api, None, "secrets", standing, stop.clone(), |_| ()));
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let told = readiness.report().lines;
        assert_eq!(told, ["[-] secrets: cannot be listed: secrets is forbidden"]);
        stop.request();
        following.await.unwrap().unwrap();
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

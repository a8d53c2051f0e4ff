use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc::{self, UnboundedSender};

use super::super::{IDLE, State};
use super::*;
use crate::held::Held;

/// A namespace with objects, each a number at a version, and what is asked about it.
struct World {
    objects: Held<u32>,
    state: Arc<Served>,
}

#[derive(Default)]
struct Served {
    stored: Mutex<BTreeMap<String, (String, u32)>>,
    /// Watches of one object that are open.
    named: AtomicUsize,
    /// Reads since they were last looked at.
    reads: AtomicUsize,
    refuses_reads: AtomicBool,
    /// Into the watch of the namespace that was opened last.
    events: Mutex<Option<UnboundedSender<Told>>>,
    changes: Mutex<Vec<String>>,
}

type Told = Result<Event<Versioned>, watcher::Error>;

struct Open(Arc<Served>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.named.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Served {
    fn found(&self, name: &ObjectName) -> Found<u32> {
        lock(&self.stored).get(&name.name).cloned()
    }

    fn ways(self: &Arc<Self>) -> Ways<u32> {
        let (named, namespace, read) = (Arc::clone(self), Arc::clone(self), Arc::clone(self));
        Ways {
            named: Box::new(move |name| {
                named.named.fetch_add(1, Ordering::SeqCst);
                let open = (Open(Arc::clone(&named)), Some(named.found(name)));
                let answers = stream::unfold(open, |(open, found)| async move {
                    match found {
                        Some(found) => Some((Ok(found), (open, None))),
                        None => std::future::pending().await,
                    }
                });
                answers.boxed()
            }),
            namespace: Box::new(move |_| {
                let (sender, events) = mpsc::unbounded_channel();
                *lock(&namespace.events) = Some(sender);
                let next = |mut events: mpsc::UnboundedReceiver<_>| async move {
                    let event = events.recv().await?;
                    Some((event, events))
                };
                stream::unfold(events, next).boxed()
            }),
            read: Box::new(move |name| {
                read.reads.fetch_add(1, Ordering::SeqCst);
                let refused = read.refuses_reads.load(Ordering::SeqCst);
                let answer = if refused { Err(failure(403)) } else { Ok(read.found(name)) };
                Box::pin(std::future::ready(answer))
            }),
        }
    }
}

fn failure(code: u16) -> watcher::Error {
    let status = kube::core::Status::failure("no", "Forbidden").with_code(code);
    watcher::Error::InitialListFailed(kube::Error::Api(status.boxed()))
}

fn name(number: u32) -> ObjectName {
    ObjectName::namespaced("team-a", format!("object-{number}"))
}

fn versioned(name: &str, version: &str) -> Versioned {
    let mut object = Versioned::default();
    object.metadata.name = Some(name.to_owned());
    object.metadata.resource_version = Some(version.to_owned());
    object
}

impl World {
    /// Objects with these numbers, each at version 1.
    fn of(numbers: Range<u32>) -> Self {
        let state = Arc::new(Served::default());
        for number in numbers {
            lock(&state.stored).insert(name(number).name, ("1".to_owned(), number));
        }
        let told = Arc::clone(&state);
        let objects = NamedObjects::of_ways(state.ways()).on_change(move |name, state| {
            let state = match state {
                State::Pending => "pending".to_owned(),
                State::Absent => "absent".to_owned(),
                State::Present(number) => number.to_string(),
                State::Failed(failure) => failure.to_string(),
            };
            lock(&told.changes).push(format!("{} {state}", name.name));
        });
        Self { objects: Held::new(objects), state }
    }

    async fn follow(&self, numbers: Range<u32>) {
        for number in numbers {
            self.objects.state(&name(number));
        }
        settled().await;
    }

    async fn tell(&self, event: Told) {
        lock(&self.state.events).as_ref().unwrap().send(event).unwrap();
        settled().await;
    }

    /// The whole namespace, in which there is more than anybody asks for.
    async fn list(&self) {
        let stored = lock(&self.state.stored).clone();
        let stored = stored.iter().map(|(name, (version, _))| (name.as_str(), version.as_str()));
        self.tell(Ok(Event::Init)).await;
        for (name, version) in stored.chain([("foreign", "8")]) {
            self.tell(Ok(Event::InitApply(versioned(name, version)))).await;
        }
        self.tell(Ok(Event::InitDone)).await;
    }

    /// Another version of an object.
    fn store(&self, number: u32, version: &str, value: u32) {
        lock(&self.state.stored).insert(name(number).name, (version.to_owned(), value));
    }

    /// A namespace that is watched in place of its 40 objects.
    async fn crowded() -> Self {
        let world = Self::of(0..40);
        world.follow(0..40).await;
        world.list().await;
        world.check(1, 0, 8, None);
        world
    }

    /// Open watches, those of one object among them, and what was read and told since the last look.
    #[track_caller]
    fn check(&self, connections: usize, named: usize, reads: usize, changes: Option<&[&str]>) {
        assert_eq!(self.objects.connections(), connections, "connections");
        assert_eq!(self.state.named.load(Ordering::SeqCst), named, "watches of one object");
        assert_eq!(self.state.reads.swap(0, Ordering::SeqCst), reads, "reads");
        let mut told = std::mem::take(&mut *lock(&self.state.changes));
        told.sort();
        if let Some(changes) = changes {
            assert_eq!(told, changes);
        }
    }
}

/// Lets every task run as far as it can: time stands still until then.
async fn settled() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn where_the_namespace_may_not_be_watched_each_object_is() {
    let world = World::of(0..40);
    world.follow(0..40).await;
    // Those above the bound are read meanwhile.
    world.check(33, 32, 8, None);
    world.tell(Err(failure(403))).await;
    world.check(41, 40, 0, Some(&[]));
    world.tell(Err(failure(403))).await;
    world.check(41, 40, 0, Some(&[]));
    // The right was given.
    world.list().await;
    world.check(1, 0, 0, Some(&[]));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_forbidden_later_leaves_what_is_known() {
    let world = World::crowded().await;
    world.tell(Err(failure(500))).await;
    world.check(1, 0, 0, Some(&[]));
    world.tell(Err(failure(403))).await;
    world.check(41, 40, 0, Some(&[]));
}

#[tokio::test(start_paused = true)]
async fn few_objects_are_watched_each_by_itself() {
    let world = World::of(0..32);
    world.follow(0..32).await;
    world.check(32, 32, 0, None);
    assert!(lock(&world.state.events).is_none(), "the namespace is watched");
}

#[tokio::test(start_paused = true)]
async fn no_state_changes_when_one_watch_takes_the_place_of_many() {
    let world = World::of(0..33);
    world.follow(0..33).await;
    // The last one gets no watch of its own any more.
    world.check(33, 32, 1, None);
    world.list().await;
    world.check(1, 0, 0, Some(&[]));
    for number in 0..33 {
        let state = world.objects.state(&name(number));
        assert!(matches!(state, State::Present(known) if *known == number), "object {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_changes_is_read_and_nothing_else_is() {
    let world = World::crowded().await;
    world.tell(Ok(Event::Apply(versioned("foreign", "9")))).await;
    world.tell(Ok(Event::Delete(versioned("foreign", "9")))).await;
    world.tell(Ok(Event::Apply(versioned("object-3", "1")))).await;
    world.check(1, 0, 0, Some(&[]));
    world.store(3, "2", 33);
    world.tell(Ok(Event::Apply(versioned("object-3", "2")))).await;
    world.tell(Ok(Event::Apply(versioned("object-3", "2")))).await;
    world.check(1, 0, 1, Some(&["object-3 33"]));
    lock(&world.state.stored).remove("object-3");
    world.tell(Ok(Event::Delete(versioned("object-3", "3")))).await;
    world.check(1, 0, 1, Some(&["object-3 absent"]));
    // What is asked for from now on is read at once.
    world.follow(40..41).await;
    world.check(1, 0, 1, Some(&["object-40 absent"]));
    world.store(40, "4", 40);
    world.tell(Ok(Event::Apply(versioned("object-40", "4")))).await;
    world.check(1, 0, 1, Some(&["object-40 40"]));
}

#[tokio::test(start_paused = true)]
async fn what_happened_while_the_watch_was_away_is_found_in_the_next_list() {
    let world = World::crowded().await;
    world.store(1, "2", 11);
    lock(&world.state.stored).remove("object-2");
    world.list().await;
    world.check(1, 0, 2, Some(&["object-1 11", "object-2 absent"]));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_is_told_and_tried_again() {
    let world = World::crowded().await;
    world.state.refuses_reads.store(true, Ordering::SeqCst);
    world.store(3, "2", 33);
    world.tell(Ok(Event::Apply(versioned("object-3", "2")))).await;
    world.follow(40..41).await;
    // What was known stays.
    world.check(1, 0, 2, Some(&["object-40 no"]));
    world.state.refuses_reads.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.check(1, 0, 2, Some(&["object-3 33", "object-40 absent"]));
}

#[tokio::test(start_paused = true)]
async fn when_few_are_left_each_is_watched_by_itself_again() {
    let world = World::crowded().await;
    for number in 17..40 {
        world.objects.release(&name(number));
    }
    tokio::time::sleep(IDLE * 3).await;
    world.check(1, 0, 0, Some(&[]));
    world.objects.release(&name(16));
    tokio::time::sleep(IDLE * 3).await;
    world.check(16, 16, 0, Some(&[]));
}

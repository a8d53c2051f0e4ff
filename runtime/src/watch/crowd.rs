//! Crowds: many watched objects of one namespace, for which one watch of its metadata stands in.
//!
//! Each watch is a connection of its own to the API server, which costs both sides some memory. So above [`NAMED_MAX`]
//! objects their namespace is watched instead: it tells which objects have another version, and those that are wanted
//! are read one by one. Of the others nothing is kept, and nothing is asked. What is known of an object stays known
//! while the one way takes over from the other. If the namespace may not be watched, all goes on as before.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _};
use kube::Api;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

use super::tries::tries;
use super::{Answers, Failure, NamedObjects, ObjectName, Watched};
use crate::backoff::Backoff;
use crate::lock::lock;
use crate::trimmed::{Keep, Trimmed};

/// Most objects of one namespace that are watched each by itself. A connection costs some tens of kilobytes here and more
/// at the API server; a watch of the namespace costs a line for each change of any object in it.
pub const NAMED_MAX: usize = 32;

/// With as few as these each is watched by itself again: half, so that one more or less does not switch to and fro.
pub const NAMED_AGAIN: usize = 16;

/// Objects that are read at once; hundreds may come into sight together.
const READS_MAX: usize = 8;

/// Objects of one answer to the list of a namespace: metadata alone has a kilobyte or two, and there may be thousands.
const PAGE_SIZE: u32 = 200;

/// Longest read of one object.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// An object of which the version alone is looked at.
pub type Versioned = Trimmed<VersionOnly>;

/// Nothing but the version of an object.
#[derive(Debug, Clone, Default)]
pub struct VersionOnly;

impl Keep for VersionOnly {
    const METADATA_ONLY: bool = true;
}

/// What was kept of an object, and its version.
type Found<T> = Option<(String, T)>;

/// What is found of an object, one time after the other.
type Finds<T> = BoxStream<'static, Result<Found<T>, watcher::Error>>;

/// What is found of an object at one time.
type Find<T> = BoxFuture<'static, Result<Found<T>, watcher::Error>>;

/// What happens in a namespace.
type Events = BoxStream<'static, Result<Event<Versioned>, watcher::Error>>;

/// From a name to what there is of it.
type Way<N, A> = Box<dyn Fn(&N) -> A + Send + Sync>;

/// The three ways to an object.
struct Ways<T> {
    /// A watch of this object.
    named: Way<ObjectName, Finds<T>>,
    /// A watch of the metadata in this namespace.
    namespace: Way<str, Events>,
    /// A read of this object.
    read: Way<ObjectName, Find<T>>,
}

impl<T: Send + Sync + 'static> NamedObjects<T> {
    /// As [`Self::of`], for a namespaced kind of which one namespace may have many objects that are wanted: above
    /// [`NAMED_MAX`], one watch of `namespace` stands in for those of the objects.
    pub fn of_crowds<K: Watched>(
        api: impl Fn(&ObjectName) -> Api<K> + Send + Sync + 'static,
        namespace: impl Fn(&str) -> Api<Versioned> + Send + Sync + 'static,
        keep: fn(K) -> T,
    ) -> Self {
        let found = move |object: Option<K>| {
            object.map(|object| (object.meta().resource_version.clone().unwrap_or_default(), keep(object)))
        };
        let api = Arc::new(api);
        let read_api = Arc::clone(&api);
        Self::of_ways(Ways {
            named: Box::new(move |name| {
                let (api, name) = (api(name), name.name.clone());
                let objects = tries(move || watcher::watch_object(api.clone(), &name));
                objects.map(move |answer| answer.map(found)).boxed()
            }),
            namespace: Box::new(move |name| {
                let (api, config) = (namespace(name), watcher::Config::default().page_size(PAGE_SIZE));
                tries(move || watcher(api.clone(), config.clone()))
            }),
            read: Box::new(move |name| {
                let (api, name) = (read_api(name), name.name.clone());
                Box::pin(async move {
                    let answer = tokio::time::timeout(READ_TIMEOUT, api.get_opt(&name)).await;
                    let answer = answer.unwrap_or_else(|late| Err(kube::Error::Service(late.into())));
                    answer.map(found).map_err(watcher::Error::InitialListFailed)
                })
            }),
        })
    }

    fn of_ways(ways: Ways<T>) -> Self {
        let crowds = Arc::new(Crowds { ways, reads: Semaphore::new(READS_MAX), groups: Mutex::default() });
        let counted = Arc::downgrade(&crowds);
        let objects = Self::new(move |name| crowds.answers(name));
        // It was made just now, so nothing is set.
        let _ = objects
            .inner
            .counted
            .set(Box::new(move || counted.upgrade().map_or(0, |crowds| crowds.connections())));
        objects
    }
}

/// The objects that are followed, by namespace.
struct Crowds<T> {
    ways: Ways<T>,
    reads: Semaphore,
    groups: Mutex<HashMap<String, Group>>,
}

/// The objects of one namespace.
#[derive(Default)]
struct Group {
    place: watch::Sender<Place>,
    /// What the watch of the namespace has told of each that is followed.
    told: HashMap<String, watch::Sender<Known>>,
    namespace: Option<AbortOnDropHandle<()>>,
    /// Watches of the namespace that were opened so far: what one that was closed still has to say counts no more.
    opened: u64,
}

/// Which way leads to the objects of a namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// A watch for each.
    #[default]
    Named,
    /// The same for the first ones; the others are read, and wait for the watch of the namespace, which is not there yet.
    Opening,
    /// The watch of the namespace.
    Namespace,
}

/// What is known of the version of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Known {
    #[default]
    Nothing,
    Absent,
    Version(String),
}

impl<T: Send + Sync + 'static> Crowds<T> {
    /// What is found out about the object, by whichever way.
    fn answers(self: &Arc<Self>, name: &ObjectName) -> Answers<T> {
        let follower = self.join(name);
        let answers = stream::unfold(follower, |mut follower| async move {
            let answer = follower.next().await?;
            Some((answer, follower))
        });
        answers.boxed()
    }

    fn join(self: &Arc<Self>, name: &ObjectName) -> Follower<T> {
        let namespace = namespace(name);
        let mut groups = lock(&self.groups);
        let group = groups.entry(namespace.to_owned()).or_default();
        let told = group.told.entry(name.name.clone()).or_default().subscribe();
        let place = group.place.subscribe();
        if group.told.len() > NAMED_MAX && group.namespace.is_none() {
            group.opened += 1;
            group.place.send_replace(Place::Opening);
            let events = (self.ways.namespace)(namespace);
            let task = watch_namespace(Arc::downgrade(self), namespace.to_owned(), group.opened, events);
            group.namespace = Some(AbortOnDropHandle::new(tokio::spawn(task)));
        }
        Follower {
            crowds: Arc::clone(self),
            name: name.clone(),
            is_extra: group.told.len() > NAMED_MAX,
            place,
            told,
            known: Known::Nothing,
            named: None,
            is_current: false,
            pause: None,
            backoff: Backoff::default(),
        }
    }

    /// The object is followed no more.
    fn leave(&self, name: &ObjectName) {
        let mut groups = lock(&self.groups);
        let Some(group) = groups.get_mut(namespace(name)) else { return };
        // Another one may follow it already.
        if group.told.get(&name.name).is_some_and(|told| told.receiver_count() <= 1) {
            group.told.remove(&name.name);
        }
        if group.told.is_empty() {
            groups.remove(namespace(name));
        } else if group.told.len() <= NAMED_AGAIN && group.namespace.take().is_some() {
            group.place.send_replace(Place::Named);
        }
    }

    /// Changes what is known of a namespace, unless the watch that found it out was closed meanwhile.
    fn update(&self, namespace: &str, opened: u64, change: impl FnOnce(&mut Group)) {
        let mut groups = lock(&self.groups);
        if let Some(group) = groups.get_mut(namespace)
            && group.namespace.is_some()
            && group.opened == opened
        {
            change(group);
        }
    }

    /// Watches that are open.
    fn connections(&self) -> usize {
        lock(&self.groups).values().map(Group::connections).sum()
    }
}

impl Group {
    /// Notes what is known of an object; whether anybody follows it.
    fn note(&self, name: Option<&str>, known: Known) -> bool {
        let Some(told) = name.and_then(|name| self.told.get(name)) else { return false };
        set(told, known);
        true
    }

    fn connections(&self) -> usize {
        let namespace = usize::from(self.namespace.is_some());
        match *self.place.borrow() {
            Place::Named => namespace + self.told.len(),
            Place::Opening => namespace + self.told.len().min(NAMED_MAX),
            Place::Namespace => namespace,
        }
    }
}

fn set<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|known| {
        let is_news = *known != value;
        *known = value;
        is_news
    });
}

fn namespace(name: &ObjectName) -> &str {
    name.namespace.as_deref().unwrap_or_default()
}

/// Tells the group what happens in its namespace.
async fn watch_namespace<T: Send + Sync + 'static>(
    crowds: Weak<Crowds<T>>,
    namespace: String,
    opened: u64,
    mut events: Events,
) {
    let mut listed = HashSet::new();
    let mut told = None;
    while let Some(event) = events.next().await {
        let Some(crowds) = crowds.upgrade() else { return };
        let version =
            |object: &Versioned| Known::Version(object.metadata.resource_version.clone().unwrap_or_default());
        crowds.update(&namespace, opened, |group| match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                if group.note(object.metadata.name.as_deref(), version(&object)) {
                    listed.extend(object.metadata.name);
                }
            }
            Ok(Event::InitDone) => {
                for (name, told) in &group.told {
                    if !listed.contains(name) {
                        set(told, Known::Absent);
                    }
                }
                told = None;
                set(&group.place, Place::Namespace);
            }
            Ok(Event::Apply(object)) => {
                group.note(object.metadata.name.as_deref(), version(&object));
            }
            Ok(Event::Delete(object)) => {
                group.note(object.metadata.name.as_deref(), Known::Absent);
            }
            Err(error) => {
                let failure = Failure::from(&error);
                if told.as_ref() != Some(&failure) {
                    tracing::warn!(%failure, "cannot watch namespace {namespace} in place of its objects one by one");
                }
                // What has been listed stays of use while the API server is away.
                if failure.is_forbidden() || *group.place.borrow() == Place::Opening {
                    set(&group.place, Place::Named);
                }
                told = Some(failure);
            }
        });
    }
}

/// Follows one object by the way that leads to it at the time.
struct Follower<T: Send + Sync + 'static> {
    crowds: Arc<Crowds<T>>,
    name: ObjectName,
    /// Whether there were [`NAMED_MAX`] before it.
    is_extra: bool,
    place: watch::Receiver<Place>,
    told: watch::Receiver<Known>,
    /// The version that was answered last.
    known: Known,
    named: Option<Finds<T>>,
    /// Whether nothing has been told since the object was read.
    is_current: bool,
    /// How long to wait after a read that failed.
    pause: Option<Duration>,
    backoff: Backoff,
}

impl<T: Send + Sync + 'static> Drop for Follower<T> {
    fn drop(&mut self) {
        self.crowds.leave(&self.name);
    }
}

impl<T: Send + Sync + 'static> Follower<T> {
    /// Waits until there is news of the object.
    async fn next(&mut self) -> Option<Result<Option<T>, watcher::Error>> {
        loop {
            let place = *self.place.borrow_and_update();
            let answer = match place {
                Place::Opening if self.is_extra && self.named.is_none() => self.read().await?,
                Place::Namespace => {
                    self.named = None;
                    self.read().await?
                }
                Place::Named | Place::Opening => {
                    self.is_current = false;
                    let open = || (self.crowds.ways.named)(&self.name);
                    let named = self.named.get_or_insert_with(open);
                    tokio::select! {
                        answer = named.next() => Some(answer?),
                        changed = self.place.changed() => { changed.ok()?; None }
                    }
                }
            };
            match answer {
                Some(Ok(found)) => {
                    if let Some(news) = self.news(found) {
                        return Some(Ok(news));
                    }
                }
                Some(Err(error)) => {
                    // Once it may be seen again, it is news even in the version that it had.
                    if Failure::from(&error).is_forbidden() {
                        self.known = Known::Nothing;
                    }
                    return Some(Err(error));
                }
                None => {}
            }
        }
    }

    /// What was found, unless that was the last answer too.
    fn news(&mut self, found: Found<T>) -> Option<Option<T>> {
        let (known, object) = match found {
            Some((version, object)) => (Known::Version(version), Some(object)),
            None => (Known::Absent, None),
        };
        let is_news = self.known != known;
        self.known = known;
        is_news.then_some(object)
    }

    /// Reads the object if it may have changed, or waits for that. The inner `None`: look which way leads to it.
    async fn read(&mut self) -> Option<Option<Result<Found<T>, watcher::Error>>> {
        if !self.is_current {
            let told = self.told.borrow_and_update().clone();
            self.is_current = told == self.known && told != Known::Nothing;
        }
        if self.is_current {
            tokio::select! {
                changed = self.told.changed() => { changed.ok()?; self.is_current = false; }
                changed = self.place.changed() => changed.ok()?,
            }
            return Some(None);
        }
        if let Some(pause) = self.pause.take() {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = self.place.changed() => { changed.ok()?; return Some(None); }
            }
        }
        // A semaphore that nobody closes always grants.
        let _turn = self.crowds.reads.acquire().await.ok()?;
        let answer = (self.crowds.ways.read)(&self.name).await;
        if answer.is_ok() {
            self.is_current = true;
            self.backoff = Backoff::default();
        } else {
            self.pause = self.backoff.next();
        }
        Some(Some(answer))
    }
}

#[cfg(test)]
mod tests;

//! Objects of the Kubernetes API that are watched one by one, by name, from their first use on.
//!
//! A process that needs three Secrets of a cluster watches three Secrets: its memory does not grow with the cluster,
//! and RBAC can grant it `list` and `watch` on those names alone, because the field selector on `metadata.name` is
//! authorised per name. A watch that nobody has used for a while ends by itself.

pub mod crowd;

use std::collections::HashMap;
use std::fmt;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use kube::runtime::utils::StreamBackoff;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::backoff::Backoff;

/// How long a watch outlives its last use: a renewal or a burst of mounts finds it still warm.
pub const IDLE: Duration = Duration::from_secs(600);

/// Most watches of one kind at a time. Each holds a connection to the API server; a process that needs more than this at
/// once is misconfigured or under attack.
pub const WATCHES_MAX: usize = 1000;

/// The name of one object; without a namespace it is a cluster-scoped one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Namespace, `None` for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl ObjectName {
    /// The name in an object's metadata.
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self { namespace: metadata.namespace.clone(), name: metadata.name.clone().unwrap_or_default() }
    }

    /// The name of an object in a namespace.
    pub fn namespaced(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), name: name.into() }
    }

    /// The name of a cluster-scoped object.
    pub fn cluster(name: impl Into<String>) -> Self {
        Self { namespace: None, name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// What is known about a watched object.
#[derive(Debug)]
pub enum State<T> {
    /// The first answer is still on its way.
    Pending,
    /// There is no such object.
    Absent,
    /// The object, as it was last seen.
    Present(Arc<T>),
    /// It was never seen, and this is why. The watch goes on trying.
    Failed(Failure),
}

// By hand, because a derive would ask for `T: Clone`.
impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Pending => Self::Pending,
            Self::Absent => Self::Absent,
            Self::Present(object) => Self::Present(Arc::clone(object)),
            Self::Failed(failure) => Self::Failed(failure.clone()),
        }
    }
}

/// Why a call to the API server gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// HTTP status of the API server's answer; `None` when it did not answer.
    pub code: Option<u16>,
    /// The API server's message, or what went wrong on the way to it.
    pub message: String,
}

impl Failure {
    /// Whether the API server refused: the credentials lack a permission.
    pub fn is_forbidden(&self) -> bool {
        self.code == Some(403)
    }
}

impl From<&kube::Error> for Failure {
    fn from(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::from(status.as_ref()),
            other => Self { code: None, message: chain(other) },
        }
    }
}

impl From<&kube::core::Status> for Failure {
    fn from(status: &kube::core::Status) -> Self {
        Self { code: Some(status.code), message: status.message.clone() }
    }
}

impl From<&watcher::Error> for Failure {
    fn from(error: &watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(cause)
            | watcher::Error::WatchStartFailed(cause)
            | watcher::Error::WatchFailed(cause) => Self::from(cause),
            watcher::Error::WatchError(status) => Self::from(status.as_ref()),
            watcher::Error::NoResourceVersion => Self { code: None, message: error.to_string() },
        }
    }
}

/// The error and its causes on one line. kube's errors repeat their cause in their own text; such repeats are left out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// More objects are needed at once than [`WATCHES_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot watch {name}: {WATCHES_MAX} objects of its kind are watched already, and all are in use")]
pub struct TooManyWatches {
    name: ObjectName,
}

/// Waits for the first answer about an object: everything but [`State::Pending`]. Give the call a deadline.
pub async fn answer<T>(receiver: &mut watch::Receiver<State<T>>) -> State<T> {
    match receiver.wait_for(|state| !matches!(state, State::Pending)).await {
        Ok(state) => state.clone(),
        Err(_) => State::Failed(Failure { code: None, message: "the watch has ended".to_owned() }),
    }
}

/// Watched objects of one kind, of which `T` is kept. Clones share the same watches; dropping the last clone ends them.
pub struct NamedObjects<T> {
    inner: Arc<Inner<T>>,
}

impl<T> Clone for NamedObjects<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T> Debug for NamedObjects<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.inner.entries().keys().cloned().collect();
        f.debug_tuple("NamedObjects").field(&names).finish()
    }
}

impl<T: Send + Sync + 'static> NamedObjects<T> {
    /// Watches objects of the namespaced kind `K`. `keep` takes what is needed of each; the rest is dropped at once.
    pub fn namespaced<K>(client: Client, keep: fn(K) -> T) -> Self
    where
        K: Watched + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let api = move |namespace: &str| Api::<K>::namespaced(client.clone(), namespace);
        Self::of(move |name| api(name.namespace.as_deref().unwrap_or_default()), keep)
    }

    /// Watches objects of the cluster-scoped kind `K`; otherwise as [`Self::namespaced`].
    pub fn cluster<K>(client: Client, keep: fn(K) -> T) -> Self
    where
        K: Watched + Resource<DynamicType = (), Scope = ClusterResourceScope>,
    {
        Self::of(move |_| Api::<K>::all(client.clone()), keep)
    }

    /// Watches objects through the `api` of each, for kinds that are not known before; otherwise as
    /// [`Self::namespaced`].
    pub fn of<K: Watched>(
        api: impl Fn(&ObjectName) -> Api<K> + Send + Sync + 'static,
        keep: fn(K) -> T,
    ) -> Self {
        Self::new(move |name| follow(api(name), &name.name, keep))
    }

    /// Calls `changed` after each change of any watched object, the first answer included, with its new state: for one
    /// object in order, and none is left out. Set it before the first [`Self::get`]. It must not block.
    #[must_use]
    pub fn on_change(self, changed: impl Fn(&ObjectName, &State<T>) + Send + Sync + 'static) -> Self {
        // A second listener would be a mistake of the caller; the first one stays.
        let _ = self.inner.changed.set(Box::new(changed));
        self
    }

    /// The object of this name, watched from now on. The state is [`State::Pending`] until the API server has
    /// answered; [`answer`] waits for that. The watch lives while somebody holds a receiver, and [`IDLE`] longer, unless
    /// its place is needed. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// When [`WATCHES_MAX`] objects are watched already, and somebody holds a receiver of each.
    pub fn get(&self, name: &ObjectName) -> Result<watch::Receiver<State<T>>, TooManyWatches> {
        let mut entries = self.inner.entries();
        if let Some(entry) = entries.get_mut(name) {
            entry.used = Instant::now();
            return Ok(entry.state.subscribe());
        }
        if self.inner.connections(&entries) >= WATCHES_MAX && !forget_one(&mut entries) {
            return Err(TooManyWatches { name: name.clone() });
        }
        let (state, receiver) = watch::channel(State::Pending);
        let state = Arc::new(state);
        let stream = (self.inner.open)(name);
        let task = run(stream, name.clone(), Arc::clone(&state), Arc::downgrade(&self.inner));
        let entry = Entry { state, used: Instant::now(), _task: AbortOnDropHandle::new(tokio::spawn(task)) };
        entries.insert(name.clone(), entry);
        Ok(receiver)
    }

    /// How many objects are watched now.
    pub fn len(&self) -> usize {
        self.inner.entries().len()
    }

    /// Whether nothing is watched now.
    pub fn is_empty(&self) -> bool {
        self.inner.entries().is_empty()
    }

    /// Watches that are open now: fewer than objects where one stands in for many ([`Self::of_crowds`]).
    pub fn connections(&self) -> usize {
        self.inner.connections(&self.inner.entries())
    }

    fn new(open: impl Fn(&ObjectName) -> Answers<T> + Send + Sync + 'static) -> Self {
        Self {
            inner: Arc::new(Inner {
                open: Box::new(open),
                changed: std::sync::OnceLock::new(),
                counted: std::sync::OnceLock::new(),
                entries: Mutex::default(),
            }),
        }
    }
}

/// What a kind must be able to do to be watched.
pub trait Watched: Resource + Clone + DeserializeOwned + Debug + Send + 'static {}

impl<K> Watched for K where K: Resource + Clone + DeserializeOwned + Debug + Send + 'static {}

type Answers<T> = futures::stream::BoxStream<'static, Result<Option<T>, watcher::Error>>;

type Open<T> = Box<dyn Fn(&ObjectName) -> Answers<T> + Send + Sync>;

type Changed<T> = Box<dyn Fn(&ObjectName, &State<T>) + Send + Sync>;

struct Inner<T> {
    open: Open<T>,
    changed: std::sync::OnceLock<Changed<T>>,
    /// Says how many watches are open, where that is not one for each entry.
    counted: std::sync::OnceLock<Box<dyn Fn() -> usize + Send + Sync>>,
    entries: Mutex<HashMap<ObjectName, Entry<T>>>,
}

struct Entry<T> {
    state: Arc<watch::Sender<State<T>>>,
    used: Instant,
    _task: AbortOnDropHandle<()>,
}

impl<T> Inner<T> {
    fn entries(&self) -> MutexGuard<'_, HashMap<ObjectName, Entry<T>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self, entries: &HashMap<ObjectName, Entry<T>>) -> usize {
        self.counted.get().map_or_else(|| entries.len(), |counted| counted())
    }

    /// Forgets the entry if it is unused, which also ends the task that runs this.
    fn forget_if_idle(&self, name: &ObjectName) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(name) else {
            return;
        };
        if entry.state.receiver_count() > 0 {
            entry.used = Instant::now();
        } else if entry.used.elapsed() >= IDLE {
            entries.remove(name);
        }
    }
}

/// Ends the watch that is missed least of those that nobody holds: first of what does not exist, since anybody can make
/// up names, then the one unused for longest. False: somebody holds each.
fn forget_one<T>(entries: &mut HashMap<ObjectName, Entry<T>>) -> bool {
    let unheld = entries.iter().filter(|(_, entry)| entry.state.receiver_count() == 0);
    let least =
        unheld.min_by_key(|(_, entry)| (matches!(*entry.state.borrow(), State::Present(_)), entry.used));
    let Some(name) = least.map(|(name, _)| name.clone()) else {
        return false;
    };
    entries.remove(&name);
    true
}

fn follow<K: Watched, T: 'static>(api: Api<K>, name: &str, keep: fn(K) -> T) -> Answers<T> {
    let objects = StreamBackoff::new(watcher::watch_object(api, name), Backoff::default());
    objects.map(move |answer| answer.map(|object| object.map(keep))).boxed()
}

async fn run<T>(
    stream: impl Stream<Item = Result<Option<T>, watcher::Error>>,
    name: ObjectName,
    state: Arc<watch::Sender<State<T>>>,
    inner: Weak<Inner<T>>,
) {
    let mut stream = pin!(stream);
    let mut idle = tokio::time::interval(IDLE);
    idle.reset();
    let mut denied = false;
    loop {
        let answer = tokio::select! {
            answer = stream.next() => answer,
            _ = idle.tick() => {
                let Some(inner) = inner.upgrade() else { return };
                inner.forget_if_idle(&name);
                continue;
            }
        };
        let Some(answer) = answer else { return };
        tell_denial(&mut denied, &answer, &name);
        let changed = state.send_if_modified(|state| update(state, answer, &name));
        if changed
            && let Some(inner) = inner.upgrade()
            && let Some(notify) = inner.changed.get()
        {
            // This task alone changes the state, so it is still that of this answer.
            let seen = state.borrow().clone();
            notify(&name, &seen);
        }
    }
}

/// Tells once that a right to watch was taken away: what is known of the object stays, and is no longer news.
fn tell_denial<T>(denied: &mut bool, answer: &Result<Option<T>, watcher::Error>, name: &ObjectName) {
    match answer {
        Ok(_) => *denied = false,
        Err(error) => {
            let failure = Failure::from(error);
            if failure.code == Some(403) && !std::mem::replace(denied, true) {
                tracing::warn!(%name, %failure, "may not watch it: changes of it are not seen");
            }
        }
    }
}

/// Takes an answer into the state; whether that changed anything. What was seen once stays while the API server is
/// away: it is the best knowledge there is.
fn update<T>(state: &mut State<T>, answer: Result<Option<T>, watcher::Error>, name: &ObjectName) -> bool {
    *state = match (answer, &state) {
        (Ok(Some(object)), _) => State::Present(Arc::new(object)),
        (Ok(None), State::Absent) => return false,
        (Ok(None), _) => State::Absent,
        (Err(error), State::Present(_) | State::Absent) => {
            let failure = Failure::from(&error);
            tracing::debug!(%name, %failure, "watch interrupted");
            return false;
        }
        (Err(error), previous) => {
            let failure = Failure::from(&error);
            if matches!(previous, State::Failed(known) if *known == failure) {
                return false;
            }
            State::Failed(failure)
        }
    };
    true
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use k8s_openapi::api::core::v1::Secret;
    use tokio::sync::mpsc;

    use super::*;
    use crate::scripted;

    fn failure(code: u16) -> watcher::Error {
        let status = kube::core::Status::failure("no", "Forbidden").with_code(code);
        watcher::Error::InitialListFailed(kube::Error::Api(status.boxed()))
    }

    type Script = Vec<Result<Option<u8>, watcher::Error>>;

    fn objects(script: fn() -> Script) -> NamedObjects<u8> {
        NamedObjects::new(move |_| stream::iter(script()).chain(stream::pending()).boxed())
    }

    fn name() -> ObjectName {
        ObjectName::namespaced("team-a", "ca")
    }

    /// Plays the script and compares the states after each change.
    async fn check(script: fn() -> Script, expected: &[&str]) {
        let (sender, mut changes) = mpsc::unbounded_channel();
        let objects = objects(script).on_change(move |_, state| {
            let _ = sender.send(state.clone());
        });
        let _held = objects.get(&name()).unwrap();
        let mut states = Vec::new();
        for _ in expected {
            states.push(match changes.recv().await {
                None => "none".to_owned(),
                Some(State::Pending) => "pending".to_owned(),
                Some(State::Absent) => "absent".to_owned(),
                Some(State::Present(object)) => object.to_string(),
                Some(State::Failed(failure)) => failure.to_string(),
            });
        }
        assert_eq!(states, expected);
        assert!(changes.try_recv().is_err(), "no further change");
    }

    #[tokio::test]
    async fn a_failure_is_told_once_and_goes_on_trying() {
        check(|| vec![Err(failure(403)), Err(failure(403)), Ok(Some(1))], &["no", "1"]).await;
    }

    #[tokio::test]
    async fn an_object_outlives_an_interruption() {
        check(
            || vec![Ok(Some(1)), Err(failure(500)), Ok(Some(2)), Ok(None), Ok(None)],
            &["1", "2", "absent"],
        )
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_vanished_while_its_watch_was_too_old_is_absent() {
        let (client, asked) = scripted::client(vec![
            scripted::list("10", &[("ca", "1")]),
            scripted::gone(),
            scripted::list("20", &[]),
        ]);
        let objects = NamedObjects::namespaced(client, |secret: Secret| secret.metadata.resource_version);
        let mut receiver = objects.get(&name()).unwrap();
        assert!(matches!(answer(&mut receiver).await, State::Present(_)));
        receiver.wait_for(|state| matches!(state, State::Absent)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(asked.all(), ["list", "watch from 10", "list", "watch from 20"]);
    }

    #[tokio::test]
    async fn the_first_answer_can_be_awaited() {
        let objects = objects(|| vec![Ok(None)]);
        let mut receiver = objects.get(&name()).unwrap();
        assert!(matches!(*receiver.borrow(), State::Pending));
        assert!(matches!(answer(&mut receiver).await, State::Absent));
    }

    #[tokio::test]
    async fn more_objects_than_the_bound_are_refused_while_all_are_in_use() {
        let objects = objects(Vec::new);
        let names: Vec<_> = (0..WATCHES_MAX).map(|number| ObjectName::cluster(number.to_string())).collect();
        let held: Vec<_> = names.iter().map(|name| objects.get(name).unwrap()).collect();
        let refused = objects.get(&ObjectName::cluster("one-more")).map(drop).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cannot watch one-more: 1000 objects of its kind are watched already, and all are in use"
        );
        objects.get(&names[7]).unwrap();
        assert_eq!(objects.len(), held.len());
    }

    #[tokio::test]
    async fn invented_names_keep_no_object_from_being_watched() {
        // Only the object with this name exists.
        let objects = NamedObjects::<u8>::new(|name| {
            let answer = (name.name == "real").then_some(1);
            stream::iter([Ok(answer)]).chain(stream::pending()).boxed()
        });
        let real = ObjectName::cluster("real");
        assert!(matches!(answer(&mut objects.get(&real).unwrap()).await, State::Present(_)));
        let held = ObjectName::cluster("held");
        let held = (objects.get(&held).unwrap(), held);
        for number in 0..2 * WATCHES_MAX {
            let mut invented = objects.get(&ObjectName::cluster(number.to_string())).unwrap();
            assert!(matches!(answer(&mut invented).await, State::Absent));
        }
        assert_eq!(objects.len(), WATCHES_MAX);
        let entries = objects.inner.entries();
        assert!(entries.contains_key(&real), "what exists outlives what was made up");
        assert!(entries.contains_key(&held.1), "somebody holds it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_ends_when_nobody_has_used_it_for_a_while() {
        let objects = objects(|| vec![Ok(Some(1))]);
        let held = objects.get(&name()).unwrap();
        tokio::time::advance(IDLE * 3).await;
        tokio::task::yield_now().await;
        assert_eq!(objects.len(), 1, "somebody holds it");
        drop(held);
        for _ in 0..3 {
            tokio::time::advance(IDLE).await;
            tokio::task::yield_now().await;
        }
        assert!(objects.is_empty());
    }
}

//! Objects of the Kubernetes API that are watched one by one, by name, from their first use on.
//!
//! A process that needs three Secrets of a cluster watches three Secrets: its memory does not grow with the cluster,
//! and RBAC can grant it `list` and `watch` on those names alone, because the field selector on `metadata.name` is
//! authorised per name. A watch that nobody has used for a while ends by itself.

pub mod crowd;
mod failure;
pub(crate) mod tries;

use std::collections::HashMap;
use std::fmt;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use self::tries::{Denial, tries};
use crate::lock::lock;

pub use self::failure::Failure;
pub use self::tries::DENIED_PATIENCE;

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
    /// It was never seen, or may be seen no more, and this is why. The watch goes on trying.
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

/// More objects are needed at once than [`WATCHES_MAX`], or than are left to who asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot watch {name}: {most} objects of its kind are watched already, and all are in use")]
pub struct TooManyWatches {
    name: ObjectName,
    most: usize,
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
        self.get_sparing(name, 0)
    }

    /// As [`Self::get`], for somebody who has to leave this many of the watches to others. What is watched already is not
    /// opened once more, and so is not refused.
    ///
    /// # Errors
    /// When more objects than that leaves are watched already, and somebody holds a receiver of each.
    pub fn get_sparing(
        &self,
        name: &ObjectName,
        spared: usize,
    ) -> Result<watch::Receiver<State<T>>, TooManyWatches> {
        let most = WATCHES_MAX.saturating_sub(spared);
        let mut entries = self.inner.entries();
        if let Some(entry) = entries.get_mut(name) {
            entry.used = Instant::now();
            return Ok(entry.state.subscribe());
        }
        let open = self.inner.connections(&entries);
        // Who has a part alone does not grow beyond it, not even in place of what the others need no more.
        let is_beyond = spared > 0 && open > most;
        if is_beyond || open >= most && !forget_one(&mut entries) {
            return Err(TooManyWatches { name: name.clone(), most });
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
        lock(&self.entries)
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
    let name = name.to_owned();
    let objects = tries(move || watcher::watch_object(api.clone(), &name));
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
    let mut denial = Denial::default();
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
        let answer = answer.map_err(|error| Failure::from(&error));
        let is_lost = match &answer {
            Ok(_) => {
                denial.is_over();
                false
            }
            Err(failure) => denial.lasts(failure, Instant::now()),
        };
        let changed = state.send_if_modified(|state| update(state, answer, is_lost, &name));
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

/// Takes an answer into the state; whether that changed anything. What was seen once stays while the API server is away:
/// it is the best knowledge there is. But `is_lost` says that it may be seen no more, and then nobody should go by it.
fn update<T>(
    state: &mut State<T>,
    answer: Result<Option<T>, Failure>,
    is_lost: bool,
    name: &ObjectName,
) -> bool {
    *state = match (answer, &state) {
        (Ok(Some(object)), _) => State::Present(Arc::new(object)),
        (Ok(None), State::Absent) => return false,
        (Ok(None), _) => State::Absent,
        (Err(failure), State::Present(_) | State::Absent) if !is_lost => {
            tracing::debug!(%name, %failure, "watch interrupted");
            return false;
        }
        (Err(failure), State::Present(_) | State::Absent) => {
            tracing::warn!(%name, %failure, "may not be watched any more");
            State::Failed(failure)
        }
        (Err(failure), State::Failed(known)) if *known == failure => return false,
        (Err(failure), State::Failed(_) | State::Pending) => State::Failed(failure),
    };
    true
}

#[cfg(test)]
mod tests;

//! How much is done at once, so that neither a node nor an issuer takes everything.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use issuers::{IssuerId, IssuerKind};
use runtime::lock::lock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::callers::Caller;

/// Calls of drivers that are being answered: each holds up to 64 KiB.
pub(super) const CALLS_MAX: usize = 256;
/// Calls of strangers that are being answered: a driver is one for its first call, and whoever else reaches the port is one
/// for ever.
pub(super) const STRANGERS_MAX: usize = 32;
/// Of these, calls of one node: more pods than start there at once.
const NODE_CALLS_MAX: usize = 32;
/// Issuers whose places are remembered although nobody uses them.
const ISSUERS_IDLE_MAX: usize = 1024;

/// Why a call has to come again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// The service is full.
    #[error("{CALLS_MAX} calls are being answered already; try again in a moment")]
    Calls,
    /// The part of it is full that is left to callers who were not here before.
    #[error(
        "{STRANGERS_MAX} calls of callers that are not known yet are being answered already; try again in a moment"
    )]
    Strangers,
    /// The node has had its share.
    #[error("{NODE_CALLS_MAX} calls of node {0} are being answered already; try again in a moment")]
    Node(String),
}

/// The places.
#[derive(Debug)]
pub struct Limits {
    calls: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    nodes: Arc<Mutex<HashMap<String, usize>>>,
    issuers: Mutex<HashMap<IssuerId, Arc<Semaphore>>>,
}

/// A place of a call, given back with the last clone.
#[derive(Debug, Clone)]
pub struct CallPlace(Arc<Mutex<OwnedSemaphorePermit>>);

/// A place of a node, given back on drop.
#[derive(Debug)]
pub struct NodePlace {
    node: String,
    nodes: Arc<Mutex<HashMap<String, usize>>>,
}

impl Drop for NodePlace {
    fn drop(&mut self) {
        let mut nodes = lock(&self.nodes);
        match nodes.get_mut(&self.node) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                nodes.remove(&self.node);
            }
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let [calls, strangers] = [CALLS_MAX, STRANGERS_MAX].map(|places| Arc::new(Semaphore::new(places)));
        Self { calls, strangers, nodes: Arc::default(), issuers: Mutex::default() }
    }
}

impl Limits {
    /// A place in the service.
    ///
    /// # Errors
    /// When there is none for such a caller.
    pub fn call(&self, caller: Caller) -> Result<CallPlace, Exhausted> {
        let (places, exhausted) = match caller {
            Caller::Driver => (&self.calls, Exhausted::Calls),
            Caller::Stranger => (&self.strangers, Exhausted::Strangers),
        };
        let place = Arc::clone(places).try_acquire_owned().map_err(|_| exhausted)?;
        Ok(CallPlace(Arc::new(Mutex::new(place))))
    }

    /// The caller is a driver, as is known now: from here on its call takes a place of drivers, if there is one, and not of
    /// strangers, however long its issuer takes.
    pub fn promote(&self, place: &CallPlace) {
        if let Ok(driver) = Arc::clone(&self.calls).try_acquire_owned() {
            *lock(&place.0) = driver;
        }
    }

    /// A place of the node.
    ///
    /// # Errors
    /// When it has none left.
    pub fn node(&self, node: &str) -> Result<NodePlace, Exhausted> {
        let mut nodes = lock(&self.nodes);
        let count = nodes.entry(node.to_owned()).or_insert(0);
        if *count >= NODE_CALLS_MAX {
            return Err(Exhausted::Node(node.to_owned()));
        }
        *count += 1;
        Ok(NodePlace { node: node.to_owned(), nodes: Arc::clone(&self.nodes) })
    }

    /// A place at the issuer, which answers so many at once; whoever waited longest is next. `None`: never, since the
    /// places were closed, which nobody does.
    pub async fn issuer(&self, id: &IssuerId, at_once: usize) -> Option<OwnedSemaphorePermit> {
        let places = {
            let mut issuers = lock(&self.issuers);
            if issuers.len() >= ISSUERS_IDLE_MAX {
                issuers.retain(|_, places| Arc::strong_count(places) > 1);
            }
            let places = issuers.entry(whole(id)).or_insert_with(|| Arc::new(Semaphore::new(at_once)));
            Arc::clone(places)
        };
        places.acquire_owned().await.ok()
    }
}

/// The issuer itself: a ClusterIssuer is the same one for all namespaces.
fn whole(id: &IssuerId) -> IssuerId {
    match id.kind {
        IssuerKind::Issuer => id.clone(),
        IssuerKind::ClusterIssuer => IssuerId { namespace: String::new(), ..id.clone() },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id(kind: IssuerKind, namespace: &str) -> IssuerId {
        IssuerId { kind, namespace: namespace.to_owned(), name: "ca".to_owned() }
    }

    #[test]
    fn a_node_that_is_greedy_waits_and_others_do_not() {
        let limits = Limits::default();
        let mut places: Vec<_> = (0..NODE_CALLS_MAX).map(|_| limits.node("a").unwrap()).collect();
        assert_eq!(limits.node("a").unwrap_err(), Exhausted::Node("a".to_owned()));
        let other = limits.node("b").unwrap();
        places.pop();
        places.push(limits.node("a").unwrap());
        drop((places, other));
        assert!(lock(&limits.nodes).is_empty());
    }

    #[test]
    fn the_service_has_an_end_and_strangers_have_another() {
        let limits = Limits::default();
        let check = |caller: Caller, places: usize, exhausted: &Exhausted| {
            let taken: Vec<_> = (0..places).map(|_| limits.call(caller).unwrap()).collect();
            assert_eq!(limits.call(caller).unwrap_err(), *exhausted);
            taken
        };
        let strangers = check(Caller::Stranger, STRANGERS_MAX, &Exhausted::Strangers);
        drop(check(Caller::Driver, CALLS_MAX, &Exhausted::Calls));
        assert!(limits.call(Caller::Driver).is_ok());
        drop(strangers);
        assert!(limits.call(Caller::Stranger).is_ok());
    }

    #[test]
    fn a_stranger_that_is_found_to_be_a_driver_makes_room_for_another_one() {
        let limits = Limits::default();
        let mut strangers: Vec<_> =
            (0..STRANGERS_MAX).map(|_| limits.call(Caller::Stranger).unwrap()).collect();
        limits.promote(&strangers[0]);
        strangers.push(limits.call(Caller::Stranger).unwrap());
        let drivers: Vec<_> = (1..CALLS_MAX).map(|_| limits.call(Caller::Driver).unwrap()).collect();
        assert_eq!(limits.call(Caller::Driver).unwrap_err(), Exhausted::Calls);
        // Without a place of drivers it keeps its own.
        limits.promote(&strangers[1]);
        assert_eq!(limits.call(Caller::Stranger).unwrap_err(), Exhausted::Strangers);
        drop(drivers);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_issuer_has_its_places_for_all_namespaces_together() {
        let limits = Limits::default();
        let wait = async |kind, namespace: &str| {
            let id = id(kind, namespace);
            tokio::time::timeout(Duration::from_secs(1), limits.issuer(&id, 1)).await
        };
        let first = wait(IssuerKind::ClusterIssuer, "a").await.unwrap();
        assert!(wait(IssuerKind::ClusterIssuer, "b").await.is_err());
        let issuers = [wait(IssuerKind::Issuer, "a").await, wait(IssuerKind::Issuer, "b").await];
        assert!(issuers.iter().all(Result::is_ok));
        drop(first);
        assert!(wait(IssuerKind::ClusterIssuer, "b").await.is_ok());
    }

    #[tokio::test]
    async fn issuers_that_nobody_uses_are_forgotten() {
        let limits = Limits::default();
        for index in 0..ISSUERS_IDLE_MAX + 5 {
            let id = id(IssuerKind::Issuer, &index.to_string());
            drop(limits.issuer(&id, 1).await.unwrap());
        }
        assert!(lock(&limits.issuers).len() <= ISSUERS_IDLE_MAX);
    }
}

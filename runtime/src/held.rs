//! Watched objects that stay watched for as long as something refers to them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;

use crate::lock::lock;
use crate::watch::{Failure, NamedObjects, ObjectName, State, TooManyWatches};

/// Objects of one kind, each watched from [`Self::state`] on until [`Self::release`]. Whoever counts the references says
/// when the last is gone; without that a [`NamedObjects`] would stop watching what nobody has read for a while.
#[derive(Debug)]
pub struct Held<T> {
    objects: NamedObjects<T>,
    receivers: Mutex<HashMap<ObjectName, watch::Receiver<State<T>>>>,
}

impl<T: Send + Sync + 'static> Held<T> {
    /// Nothing is watched yet.
    pub fn new(objects: NamedObjects<T>) -> Self {
        Self { objects, receivers: Mutex::default() }
    }

    /// What is known of an object, which is watched from now on; too many watches are a [`State::Failed`], and a warning
    /// in the log.
    pub fn state(&self, name: &ObjectName) -> State<T> {
        self.state_sparing(name, 0).unwrap_or_else(|error| {
            tracing::warn!("{error}; what refers to it has to wait");
            State::Failed(Failure { code: None, message: error.to_string() })
        })
    }

    /// What is known of an object, which is watched from now on, for somebody who has to leave this many of the watches to
    /// others.
    ///
    /// # Errors
    /// When there are too many watches for that.
    pub fn state_sparing(&self, name: &ObjectName, spared: usize) -> Result<State<T>, TooManyWatches> {
        let mut receivers = self.receivers();
        if let Some(receiver) = receivers.get(name) {
            return Ok(receiver.borrow().clone());
        }
        let receiver = self.objects.get_sparing(name, spared)?;
        let state = receiver.borrow().clone();
        receivers.insert(name.clone(), receiver);
        Ok(state)
    }

    /// Nothing refers to the object any more.
    pub fn release(&self, name: &ObjectName) {
        self.receivers().remove(name);
    }

    /// How many objects are watched.
    pub fn count(&self) -> usize {
        self.receivers().len()
    }

    /// How many watches that takes; fewer where one stands in for many ([`NamedObjects::of_crowds`]).
    pub fn connections(&self) -> usize {
        self.objects.connections()
    }

    fn receivers(&self) -> MutexGuard<'_, HashMap<ObjectName, watch::Receiver<State<T>>>> {
        lock(&self.receivers)
    }
}

//! A work queue for controllers: keys that need a look, each held at most once and never worked on twice at a time.
//!
//! It is bounded by construction: a key that is already queued is not queued again, so it holds at most as many
//! entries as the caller has objects. What arrives while a key is being worked on is remembered as one more turn. Keys of
//! which nothing is known to have changed can wait for those of which something is.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt::Display;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::alive::SILENCE_MAX;
use crate::backoff::Backoff;
use crate::lease::Leadership;
use crate::shutdown::Shutdown;

/// Keys that are taken in a row before one that can wait has its turn, too.
const HURRIED_MAX: u32 = 8;

/// What a worker says about the key it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to do until the key is added again.
    Done,
    /// It worked; look again after this time.
    Again(Duration),
    /// It failed; look again after [`Backoff::after`] the failures in a row.
    Failed,
}

/// A queue of keys, shared by the watches that add and the workers that take.
#[derive(Debug)]
pub struct Queue<K> {
    state: Mutex<State<K>>,
    wake: Notify,
}

#[derive(Debug)]
struct State<K> {
    /// Keys that cannot wait.
    ready: VecDeque<K>,
    /// Keys that can wait; those of them that cannot any more are in `ready`.
    waiting: VecDeque<K>,
    /// The keys that need a look, and whether each can wait.
    queued: HashMap<K, bool>,
    /// How many were taken since the last that could wait.
    hurried: u32,
    taken: HashMap<K, Taken>,
    later: BTreeSet<(Instant, K)>,
    /// The keys of `later`.
    due: HashMap<K, Instant>,
    failures: HashMap<K, u32>,
}

/// A key that a worker holds.
#[derive(Debug)]
struct Taken {
    since: Instant,
    /// Whether it was added meanwhile.
    again: bool,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                waiting: VecDeque::new(),
                queued: HashMap::new(),
                hurried: 0,
                taken: HashMap::new(),
                later: BTreeSet::new(),
                due: HashMap::new(),
                failures: HashMap::new(),
            }),
            wake: Notify::new(),
        }
    }
}

impl<K: Clone + Ord + Hash> Queue<K> {
    /// The key needs a look, now.
    pub fn add(&self, key: K) {
        self.state().add(key);
        self.wake.notify_one();
    }

    /// The key needs a look once there is time: those that are [added](Self::add) come first, but not for ever.
    pub fn add_waiting(&self, key: K) {
        self.state().add_waiting(key);
        self.wake.notify_one();
    }

    /// Waits for a key and takes it. Give it back with [`Self::finish`].
    pub async fn take(&self) -> K {
        loop {
            let earliest = {
                let mut state = self.state();
                state.promote(Instant::now());
                if let Some(key) = state.take(Instant::now()) {
                    if !state.queued.is_empty() {
                        self.wake.notify_one();
                    }
                    return key;
                }
                state.later.first().map(|(at, _)| *at)
            };
            match earliest {
                Some(at) => tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => self.wake.notified().await,
            }
        }
    }

    /// Gives a key back.
    pub fn finish(&self, key: K, outcome: Outcome) {
        self.state().finish(key, outcome, Instant::now());
        // A worker may wait for a later instant than the one that was just set.
        self.wake.notify_one();
    }

    /// Takes keys and works on them one at a time until shutdown is requested; a key in work is finished. A look that
    /// takes longer than `timeout` counts as failed. Run it several times to work on several keys at once.
    ///
    /// # Errors
    /// None; the result is for [`crate::tasks::Tasks::spawn`].
    pub async fn work<Look>(
        self: Arc<Self>,
        shutdown: Shutdown,
        timeout: Duration,
        look: impl Fn(K) -> Look + Send,
    ) -> anyhow::Result<()>
    where
        K: Display + Send,
        Look: Future<Output = Outcome> + Send,
    {
        self.work_while(&Leadership::always(), shutdown, timeout, look).await
    }

    /// As [`Self::work`], but no key is taken while this process does not lead: they wait here, each once, for the day
    /// when it does.
    ///
    /// # Errors
    /// None; the result is for [`crate::tasks::Tasks::spawn`].
    pub async fn work_while<Look>(
        self: Arc<Self>,
        leadership: &Leadership,
        shutdown: Shutdown,
        timeout: Duration,
        look: impl Fn(K) -> Look + Send,
    ) -> anyhow::Result<()>
    where
        K: Display + Send,
        Look: Future<Output = Outcome> + Send,
    {
        let next = || async {
            leadership.leading().await;
            self.take().await
        };
        loop {
            let key = tokio::select! {
                () = shutdown.requested() => return Ok(()),
                key = next() => key,
            };
            // It may have come long after the wait for it began.
            if !leadership.may_write() {
                self.finish(key, Outcome::Again(Duration::ZERO));
                continue;
            }
            let outcome = tokio::time::timeout(timeout, look(key.clone())).await;
            let outcome = outcome.unwrap_or_else(|_| {
                tracing::warn!(%key, "no answer within {timeout:?}");
                Outcome::Failed
            });
            self.finish(key, outcome);
        }
    }

    /// How many keys wait for a worker now.
    pub fn len(&self) -> usize {
        self.state().queued.len()
    }

    /// Whether no key waits for a worker now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the workers turn: no key has been in work for longer than any look should take.
    ///
    /// # Errors
    /// How long one has.
    pub fn turns(&self) -> Result<(), String> {
        let since = self.state().taken.values().map(|taken| taken.since).min();
        match since.map(|since| since.elapsed()) {
            Some(age) if age > SILENCE_MAX => Err(format!("a worker has been at one key for {age:?}")),
            _ => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Ord + Hash> State<K> {
    fn add(&mut self, key: K) {
        if let Some(taken) = self.taken.get_mut(&key) {
            taken.again = true;
            return;
        }
        if let Some(at) = self.due.remove(&key) {
            self.later.remove(&(at, key.clone()));
        }
        if self.queued.insert(key.clone(), false) != Some(false) {
            self.ready.push_back(key);
        }
    }

    fn add_waiting(&mut self, key: K) {
        if let Some(taken) = self.taken.get_mut(&key) {
            taken.again = true;
        } else if !self.queued.contains_key(&key) {
            // A later turn that is set stays: it may be sooner.
            self.queued.insert(key.clone(), true);
            self.waiting.push_back(key);
        }
    }

    fn promote(&mut self, now: Instant) {
        while let Some((at, key)) = self.later.pop_first() {
            if at > now {
                self.later.insert((at, key));
                return;
            }
            self.due.remove(&key);
            self.add(key);
        }
    }

    fn take(&mut self, now: Instant) -> Option<K> {
        let hurried = if self.hurried < HURRIED_MAX { self.ready.pop_front() } else { None };
        let key = match hurried {
            Some(key) => {
                self.hurried += 1;
                key
            }
            None => {
                self.hurried = 0;
                self.pop_waiting().or_else(|| self.ready.pop_front())?
            }
        };
        self.queued.remove(&key);
        if let Some(at) = self.due.remove(&key) {
            self.later.remove(&(at, key.clone()));
        }
        self.taken.insert(key.clone(), Taken { since: now, again: false });
        Some(key)
    }

    fn pop_waiting(&mut self) -> Option<K> {
        while let Some(key) = self.waiting.pop_front() {
            if self.queued.get(&key) == Some(&true) {
                return Some(key);
            }
        }
        None
    }

    fn finish(&mut self, key: K, outcome: Outcome, now: Instant) {
        let added_meanwhile = self.taken.remove(&key).is_some_and(|taken| taken.again);
        let wait = match outcome {
            Outcome::Failed => {
                let failures = self.failures.entry(key.clone()).or_default();
                *failures = failures.saturating_add(1);
                Some(Backoff::after(*failures))
            }
            Outcome::Again(wait) => {
                self.failures.remove(&key);
                Some(wait)
            }
            Outcome::Done => {
                self.failures.remove(&key);
                None
            }
        };
        if added_meanwhile {
            self.add(key);
        } else if let Some(wait) = wait {
            let at = now + wait;
            self.due.insert(key.clone(), at);
            self.later.insert((at, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn empty(queue: &Queue<u8>) -> bool {
        let taken = tokio::time::timeout(Duration::from_secs(5), queue.take()).await;
        taken.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_held_once_and_worked_on_by_one() {
        let queue = Queue::default();
        queue.add(1);
        queue.add(1);
        assert_eq!(queue.take().await, 1);
        queue.add(1);
        assert!(empty(&queue).await, "a worker still holds it");
        queue.finish(1, Outcome::Done);
        assert_eq!(queue.take().await, 1);
        queue.finish(1, Outcome::Done);
        assert!(empty(&queue).await);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_each_time_and_are_forgotten_by_a_success() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add(1);
        for wait_ms in [0, 50, 150, 350] {
            assert_eq!(queue.take().await, 1);
            let waited = start.elapsed().as_millis();
            assert!((wait_ms..wait_ms + 10).contains(&waited), "{waited} ms, not {wait_ms}");
            queue.finish(1, Outcome::Failed);
        }
        queue.take().await;
        queue.finish(1, Outcome::Done);
        queue.add(1);
        queue.take().await;
        let retried = Instant::now();
        queue.finish(1, Outcome::Failed);
        queue.take().await;
        assert!(retried.elapsed() < Duration::from_millis(60));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_added_does_not_wait_for_its_later_turn() {
        let queue = Queue::default();
        queue.add(1);
        queue.take().await;
        queue.finish(1, Outcome::Again(Duration::from_secs(1)));
        queue.add(1);
        assert_eq!(queue.take().await, 1);
        queue.finish(1, Outcome::Done);
        assert!(empty(&queue).await, "the later turn is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_can_wait_do_not_hold_up_the_others_and_are_not_starved_by_them() {
        let queue = Queue::default();
        for key in 100..103 {
            queue.add_waiting(key);
        }
        (0..10).for_each(|key| queue.add(key));
        queue.add(102);
        queue.add_waiting(9);
        assert_eq!(queue.len(), 13);
        let mut taken = Vec::new();
        while !queue.is_empty() {
            let key = queue.take().await;
            queue.finish(key, Outcome::Done);
            taken.push(key);
        }
        assert_eq!(taken, [0, 1, 2, 3, 4, 5, 6, 7, 100, 8, 9, 102, 101]);
        assert!(empty(&queue).await);
        queue.add(1);
        queue.take().await;
        queue.add_waiting(1);
        queue.finish(1, Outcome::Done);
        assert_eq!(queue.take().await, 1, "it was added meanwhile");
        queue.finish(1, Outcome::Again(Duration::from_secs(60)));
        queue.add_waiting(1);
        assert_eq!(queue.take().await, 1, "it has no need to wait for its later turn");
        queue.finish(1, Outcome::Done);
        assert!(empty(&queue).await);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_wait_for_leadership_and_are_not_lost_with_it() {
        let queue = Arc::new(Queue::default());
        let (leadership, shutdown) = (Leadership::candidate(), Shutdown::default());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let work = {
            let (queue, leadership) = (Arc::clone(&queue), leadership.clone());
            let (shutdown, seen) = (shutdown.clone(), Arc::clone(&seen));
            let look = move |key: u8| {
                seen.lock().unwrap().push(key);
                std::future::ready(Outcome::Done)
            };
            async move { queue.work_while(&leadership, shutdown, Duration::from_secs(1), look).await }
        };
        let work = tokio::spawn(work);
        let pause = || tokio::time::sleep(Duration::from_secs(1));
        queue.add(1);
        pause().await;
        assert!(seen.lock().unwrap().is_empty());
        leadership.lead_for(Duration::from_secs(10));
        pause().await;
        assert_eq!(*seen.lock().unwrap(), [1]);
        // The worker waits for a key since it led; it leads no more when one comes.
        tokio::time::sleep(Duration::from_secs(10)).await;
        queue.add(2);
        pause().await;
        assert_eq!(*seen.lock().unwrap(), [1]);
        leadership.lead_for(Duration::from_secs(10));
        pause().await;
        assert_eq!(*seen.lock().unwrap(), [1, 2]);
        shutdown.request();
        work.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_does_not_come_back_is_noticed() {
        let queue = Queue::default();
        queue.add(1);
        tokio::time::advance(SILENCE_MAX * 2).await;
        assert_eq!(queue.turns(), Ok(()), "waiting is no work");
        queue.take().await;
        tokio::time::advance(SILENCE_MAX).await;
        assert_eq!(queue.turns(), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(queue.turns(), Err("a worker has been at one key for 61s".to_owned()));
        queue.finish(1, Outcome::Done);
        assert_eq!(queue.turns(), Ok(()));
    }

    #[tokio::test]
    async fn several_workers_share_the_keys() {
        let queue = Queue::default();
        let both = async { tokio::join!(queue.take(), queue.take()) };
        let add = async {
            queue.add(1);
            queue.add(2);
        };
        let ((first, second), ()) = tokio::join!(both, add);
        assert_eq!(BTreeSet::from([first, second]), BTreeSet::from([1, 2]));
    }
}

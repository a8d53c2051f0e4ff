//! Private keys: made on the spot where that takes microseconds, taken from a small stock where it takes as long as
//! a person notices.
//!
//! RSA keys of which there is no stock take from a tenth of a second to minutes of a processor, and nothing can stop a
//! generation that has begun. So only a few are made at a time, on as many of the blocking threads: the others stay
//! free for files and mounts, which every other volume of the node waits for.

use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use issuance::key::{KeyAlgorithm, KeyError, KeyPool, PrivateKey, RsaSize};
use tokio::sync::Semaphore;

/// What is kept in stock: the peer's default, which most pods ask for. Other RSA sizes are made on demand.
const STOCKED: KeyAlgorithm = KeyAlgorithm::Rsa(RsaSize::Bits2048);

/// Priority of the thread that refills the stock: the lowest, since pods that start need the processors more.
const NICENESS: i32 = 19;

/// Most RSA keys that are generated on demand at once, on a machine with this many processors or more.
pub const RSA_THREADS_MAX: usize = 4;

/// A source of private keys; clones share its stock. Each key is given out once.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Dropped with the last clone, which ends the refilling thread.
    stock: Arc<Stock>,
    /// A permit for each generation of an RSA key that may run now.
    rsa: Arc<Semaphore>,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum NoKey {
    /// It could not be generated.
    #[error("cannot generate a key of algorithm {algorithm}")]
    Generate {
        /// Which.
        algorithm: KeyAlgorithm,
        /// Why.
        source: KeyError,
    },
    /// The process is ending.
    #[error("generating a key was interrupted")]
    Interrupted,
}

#[derive(Debug)]
struct Stock(Arc<Shelf>);

#[derive(Debug)]
struct Shelf {
    state: Mutex<State>,
    taken: Condvar,
}

#[derive(Debug)]
struct State {
    pool: KeyPool,
    closed: bool,
}

impl Keys {
    /// Keeps up to `stock_size` RSA keys ready, made by a thread of its own; with 0 there is no stock and no thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(stock_size: usize) -> std::io::Result<Self> {
        let state = State { pool: KeyPool::new([(STOCKED, stock_size)]), closed: false };
        let shelf = Arc::new(Shelf { state: Mutex::new(state), taken: Condvar::new() });
        if stock_size > 0 {
            let shelf = Arc::clone(&shelf);
            std::thread::Builder::new().name("rsa-keys".to_owned()).spawn(move || refill(&shelf))?;
        }
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let rsa = Arc::new(Semaphore::new(processors.min(RSA_THREADS_MAX)));
        Ok(Self { stock: Arc::new(Stock(shelf)), rsa })
    }

    /// A new key that nobody has had before.
    ///
    /// # Errors
    /// When it cannot be generated.
    pub async fn new_key(&self, algorithm: KeyAlgorithm) -> Result<PrivateKey, NoKey> {
        if let Some(key) = self.stock.0.take(algorithm) {
            return Ok(key);
        }
        let generate =
            move || PrivateKey::generate(algorithm).map_err(|source| NoKey::Generate { algorithm, source });
        match algorithm {
            KeyAlgorithm::Ecdsa(_) | KeyAlgorithm::Ed25519 => generate(),
            KeyAlgorithm::Rsa(_) => self.generate_rsa(generate).await?,
        }
    }

    /// Runs the generation of an RSA key on a blocking thread, in the order of the calls.
    async fn generate_rsa<T: Send + 'static>(
        &self,
        generate: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoKey> {
        let permit = Arc::clone(&self.rsa).acquire_owned().await.map_err(|_| NoKey::Interrupted)?;
        let run = move || {
            let key = generate();
            // The thread gives the permit back, not the caller, who may have stopped waiting.
            drop(permit);
            key
        };
        tokio::task::spawn_blocking(run).await.map_err(|_| NoKey::Interrupted)
    }

    /// How many keys are in stock.
    pub fn stocked(&self) -> usize {
        self.stock.0.lock().pool.ready(STOCKED)
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, algorithm: KeyAlgorithm) -> Option<PrivateKey> {
        let key = self.lock().pool.take(algorithm);
        self.taken.notify_one();
        key
    }

    /// Waits until a key is missing and tells of which kind; `None` when nobody wants any more.
    fn wait_for_room(&self) -> Option<KeyAlgorithm> {
        let full = |state: &mut State| !state.closed && state.pool.wanted().is_none();
        let guard = self.taken.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        if guard.closed { None } else { guard.pool.wanted() }
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.taken.notify_one();
    }
}

fn refill(shelf: &Shelf) {
    // Linux counts niceness by thread. Without it keys are made all the same.
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "cannot lower the priority of key generation");
    }
    while let Some(algorithm) = shelf.wait_for_room() {
        match PrivateKey::generate(algorithm) {
            // Nobody else fills the pool, so there is room.
            Ok(key) => drop(shelf.lock().pool.put(key)),
            Err(error) => {
                tracing::error!(%error, "RSA keys are no longer made ahead");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Far more than a free thread takes to do nothing.
    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn volumes_with_large_rsa_keys_leave_threads_for_files() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(RSA_THREADS_MAX + 1)
            .enable_time()
            .build()
            .unwrap();
        let keys = Keys::start(0).unwrap();
        let limit = keys.rsa.available_permits();
        assert!((1..=RSA_THREADS_MAX).contains(&limit));
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (begun, begins) = mpsc::channel();
        let (end, ending) = mpsc::channel::<()>();
        let ending = Arc::new(Mutex::new(ending));
        let mut calls = Vec::new();
        for _ in 0..12 {
            let (keys, begun, ending) = (keys.clone(), begun.clone(), Arc::clone(&ending));
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            calls.push(runtime.spawn(async move {
                let generate = move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    begun.send(()).unwrap();
                    ending.lock().unwrap().recv_timeout(SOON).unwrap();
                    running.fetch_sub(1, Ordering::SeqCst);
                };
                keys.generate_rsa(generate).await.unwrap();
            }));
        }
        for _ in 0..limit {
            begins.recv_timeout(SOON).unwrap();
        }
        // Those who stop waiting stop no thread, so they make no room either.
        calls.remove(0).abort();
        let file_work = runtime.spawn_blocking(|| ());
        runtime.block_on(async { tokio::time::timeout(SOON / 4, file_work).await.unwrap().unwrap() });
        for _ in 0..12 {
            end.send(()).unwrap();
        }
        for call in calls {
            runtime.block_on(call).unwrap();
        }
        assert!(most.load(Ordering::SeqCst) <= limit, "{most:?} at once, allowed are {limit}");
    }

    #[tokio::test]
    async fn no_key_is_given_out_twice() {
        let keys = Keys::start(2).unwrap();
        let mut seen = Vec::new();
        for _ in 0..4 {
            let key = keys.new_key(STOCKED).await.unwrap();
            assert!(!seen.contains(key.public_key()));
            seen.push(key.public_key().clone());
        }
    }

    #[tokio::test]
    async fn keys_are_of_the_kind_that_was_asked_for() {
        use issuance::key::Curve;
        let keys = Keys::start(0).unwrap();
        for algorithm in [
            STOCKED,
            KeyAlgorithm::Ecdsa(Curve::P256),
            KeyAlgorithm::Ecdsa(Curve::P384),
            KeyAlgorithm::Ed25519,
        ] {
            assert_eq!(keys.new_key(algorithm).await.unwrap().algorithm(), algorithm);
        }
        assert_eq!(keys.stocked(), 0);
    }
}

//! Private keys: made on the spot where that takes microseconds, taken from a small stock where it takes as long as
//! a person notices.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use issuance::key::{KeyAlgorithm, KeyError, KeyPool, PrivateKey, RsaSize};

/// What is kept in stock: the peer's default, which most pods ask for. Other RSA sizes are made on demand.
const STOCKED: KeyAlgorithm = KeyAlgorithm::Rsa(RsaSize::Bits2048);

/// Priority of the thread that refills the stock: the lowest, since pods that start need the processors more.
const NICENESS: i32 = 19;

/// A source of private keys; clones share its stock. Each key is given out once.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Dropped with the last clone, which ends the refilling thread.
    stock: Arc<Stock>,
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
        Ok(Self { stock: Arc::new(Stock(shelf)) })
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
            KeyAlgorithm::Rsa(_) => {
                tokio::task::spawn_blocking(generate).await.map_err(|_| NoKey::Interrupted)?
            }
        }
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
    use super::*;

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

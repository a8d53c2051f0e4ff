//! Mutexes of which a panic elsewhere makes no wreck.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex although a thread may have panicked with it: for data that each statement leaves whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

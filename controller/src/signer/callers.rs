//! Which callers are drivers that were here before. Whoever reaches the port can show something that looks like a token;
//! only the API server can tell, so nobody unknown may keep drivers from being heard.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use runtime::lock::lock;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// How long a driver is known after its last call. Kubelet renews the token of a pod within the hour that it lives, and
/// then the driver is a stranger for one call.
const KNOWN_FOR: Duration = Duration::from_secs(3600);

/// Tokens that are known: more than a cluster has nodes.
const KNOWN_MAX: usize = 8192;

/// Whether somebody is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Caller {
    /// Anybody: the default, so that nobody is trusted by mistake.
    #[default]
    Stranger,
    /// A driver, as of its last call.
    Driver,
}

/// A token, without the token.
type Key = [u8; 32];

/// The tokens of drivers that were reviewed. Being among them permits nothing: each call is reviewed.
#[derive(Debug, Default)]
pub struct Callers {
    seen_at: Mutex<HashMap<Key, Instant>>,
}

impl Callers {
    /// Who shows this token.
    pub fn of(&self, token: &str) -> Caller {
        match lock(&self.seen_at).get(&key(token)) {
            Some(seen_at) if seen_at.elapsed() < KNOWN_FOR => Caller::Driver,
            _ => Caller::Stranger,
        }
    }

    /// The token was a driver's just now.
    pub fn met(&self, token: &str) {
        let (key, now) = (key(token), Instant::now());
        let mut seen_at = lock(&self.seen_at);
        if seen_at.len() >= KNOWN_MAX && !seen_at.contains_key(&key) {
            seen_at.retain(|_, at| now.saturating_duration_since(*at) < KNOWN_FOR);
            let oldest = seen_at.iter().min_by_key(|(_, at)| **at).map(|(key, _)| *key);
            if let Some(oldest) = oldest.filter(|_| seen_at.len() >= KNOWN_MAX) {
                seen_at.remove(&oldest);
            }
        }
        seen_at.insert(key, now);
    }

    /// The token was nobody's, or no driver's.
    pub fn forget(&self, token: &str) {
        lock(&self.seen_at).remove(&key(token));
    }
}

fn key(token: &str) -> Key {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_was_not_here_for_an_hour_or_was_refused_is_a_stranger() {
        let callers = Callers::default();
        assert_eq!(callers.of("a"), Caller::Stranger);
        callers.met("a");
        callers.met("b");
        callers.forget("b");
        assert_eq!([callers.of("a"), callers.of("b")], [Caller::Driver, Caller::Stranger]);
        tokio::time::advance(KNOWN_FOR).await;
        assert_eq!(callers.of("a"), Caller::Stranger);
    }

    #[tokio::test(start_paused = true)]
    async fn of_too_many_the_one_that_was_here_first_is_forgotten() {
        let callers = Callers::default();
        for index in 0..=KNOWN_MAX {
            callers.met(&index.to_string());
            tokio::time::advance(Duration::from_micros(1)).await;
        }
        assert_eq!([callers.of("0"), callers.of("1")], [Caller::Stranger, Caller::Driver]);
        assert_eq!(lock(&callers.seen_at).len(), KNOWN_MAX);
    }
}

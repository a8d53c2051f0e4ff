//! When to ask an issuer again that was out of order: 5 s after the first time, twice as long after each further one, up to
//! 5 min.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use issuance::jitter::Jitter;
use jiff::SignedDuration;
use runtime::lock::lock;
use runtime::watch::ObjectName;
use tokio::time::Instant;

/// The first pause.
const FIRST: Duration = Duration::from_secs(5);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(300);

/// Up to one in so many of a pause is left out, so that requests which failed together do not come back together.
const SPREAD: i32 = 10;

/// How often each request was tried in vain, and until when it rests.
#[derive(Debug, Default)]
pub struct Retries(Mutex<HashMap<ObjectName, Tried>>);

#[derive(Debug, Default)]
struct Tried {
    uid: String,
    times: u32,
    /// Until then, only news of what it waits for is a reason to try again; that we wrote of the failure is none.
    rests_until: Option<Instant>,
}

impl Retries {
    /// How long to wait, at least `after`, when this request was tried in vain once more. One of the same name and another
    /// `uid` is another request.
    pub fn next(&self, name: &ObjectName, uid: &str, after: Duration) -> Duration {
        let mut all = lock(&self.0);
        let tried = all.entry(name.clone()).or_default();
        if tried.uid != uid {
            *tried = Tried { uid: uid.to_owned(), ..Tried::default() };
        }
        let pause = FIRST.saturating_mul(1_u32.checked_shl(tried.times).unwrap_or(u32::MAX)).min(LONGEST);
        tried.times = tried.times.saturating_add(1);
        let range = SignedDuration::try_from(pause).unwrap_or_default() / SPREAD;
        let less = Jitter::of(&[uid.as_bytes(), &tried.times.to_be_bytes()]).within(range);
        let pause = pause.saturating_sub(less.unsigned_abs()).max(after);
        tried.rests_until = Instant::now().checked_add(pause);
        pause
    }

    /// How long this request has to rest yet; `None`: it may be tried.
    pub fn rest(&self, name: &ObjectName, uid: &str) -> Option<Duration> {
        let all = lock(&self.0);
        let tried = all.get(name).filter(|tried| tried.uid == uid)?;
        let rest = tried.rests_until?.saturating_duration_since(Instant::now());
        (!rest.is_zero()).then_some(rest)
    }

    /// What the request waits for has changed.
    pub fn wake(&self, name: &ObjectName) {
        if let Some(tried) = lock(&self.0).get_mut(name) {
            tried.rests_until = None;
        }
    }

    /// The request is answered, or gone.
    pub fn forget(&self, name: &ObjectName) {
        lock(&self.0).remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_for_another_request() {
        let (retries, name) = (Retries::default(), ObjectName::namespaced("a", "r"));
        let next = |uid: &str| retries.next(&name, uid, Duration::ZERO).as_secs();
        for longest in [5, 10, 20, 40, 80, 160, 300, 300] {
            let pause = next("u");
            assert!((longest * 9 / 10..=longest).contains(&pause), "{pause} of {longest}");
        }
        assert!(next("v") <= 5);
        retries.forget(&name);
        assert_eq!(retries.next(&name, "v", Duration::from_secs(60)).as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_rests_out_its_pause_unless_something_is_new() {
        let (retries, name) = (Retries::default(), ObjectName::namespaced("a", "r"));
        assert_eq!(retries.rest(&name, "u"), None);
        let pause = retries.next(&name, "u", Duration::ZERO);
        assert_eq!(retries.rest(&name, "u"), Some(pause));
        assert_eq!(retries.rest(&name, "v"), None);
        tokio::time::advance(pause).await;
        assert_eq!(retries.rest(&name, "u"), None);
        retries.next(&name, "u", Duration::ZERO);
        retries.wake(&name);
        assert_eq!(retries.rest(&name, "u"), None);
    }

    #[test]
    fn no_number_of_tries_is_too_large() {
        let (retries, name) = (Retries::default(), ObjectName::namespaced("a", "r"));
        let last = (0..100).map(|_| retries.next(&name, "u", Duration::ZERO)).last().unwrap();
        assert!(last <= LONGEST && last > LONGEST / 2, "{last:?}");
    }
}

//! When to ask an issuer again that was out of order: 5 s after the first time, twice as long after each further one, up to
//! 5 min.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use issuance::jitter::Jitter;
use jiff::SignedDuration;
use runtime::lock::lock;
use runtime::watch::ObjectName;

/// The first pause.
const FIRST: Duration = Duration::from_secs(5);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(300);

/// Up to one in so many of a pause is left out, so that requests which failed together do not come back together.
const SPREAD: i32 = 10;

/// How often each request was tried in vain.
#[derive(Debug, Default)]
pub struct Retries(Mutex<HashMap<ObjectName, (String, u32)>>);

impl Retries {
    /// How long to wait, at least `after`, when this request was tried in vain once more. One of the same name and another
    /// `uid` is another request.
    pub fn next(&self, name: &ObjectName, uid: &str, after: Duration) -> Duration {
        let mut all = lock(&self.0);
        let (known, times) = all.entry(name.clone()).or_default();
        if known != uid {
            (*known, *times) = (uid.to_owned(), 0);
        }
        let pause = FIRST.saturating_mul(1_u32.checked_shl(*times).unwrap_or(u32::MAX)).min(LONGEST);
        *times = times.saturating_add(1);
        let range = SignedDuration::try_from(pause).unwrap_or_default() / SPREAD;
        let less = Jitter::of(&[uid.as_bytes(), &times.to_be_bytes()]).within(range);
        pause.saturating_sub(less.unsigned_abs()).max(after)
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

    #[test]
    fn no_number_of_tries_is_too_large() {
        let (retries, name) = (Retries::default(), ObjectName::namespaced("a", "r"));
        let last = (0..100).map(|_| retries.next(&name, "u", Duration::ZERO)).last().unwrap();
        assert!(last <= LONGEST && last > LONGEST / 2, "{last:?}");
    }
}

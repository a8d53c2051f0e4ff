//! When volumes are due, and one clock for all of them: an idle volume costs an entry in a heap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use issuance::jitter::Jitter;
use issuance::renewal::renewal_time;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use crate::Clock;
use crate::metadata::Validity;
use crate::volume::{VolumeId, VolumeSpec};

/// First wait after a failed renewal, as the peer's; it doubles with each further one.
const BACKOFF_MIN: SignedDuration = SignedDuration::from_secs(30);

/// Longest wait after a failed renewal, as the peer's.
const BACKOFF_MAX: SignedDuration = SignedDuration::from_mins(5);

/// How long a replaced generation stays on disk: readers that resolved it may take their time.
pub const GENERATION_KEPT: SignedDuration = SignedDuration::from_secs(60);

/// How long a volume of an earlier process may be mounted nowhere before it is removed: that process ended between
/// writing and mounting. Kubelet asks again within minutes for a volume that a pod is to have.
pub const ORPHAN_KEPT: SignedDuration = SignedDuration::from_mins(10);

/// Longest sleep. Timers stand still while a machine is suspended and do not see the clock being set.
const SLEEP_MAX: Duration = Duration::from_secs(600);

/// Renewals come earlier by up to this part of the lifetime, each volume by its own: what was mounted together is
/// then not renewed together for ever.
const JITTER_DIVISOR: i32 = 10;

/// What is to be done with a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Get a new certificate.
    Renew,
    /// Remove generations that nobody reads any more.
    Sweep,
    /// Remove the volume if it is mounted nowhere.
    Orphan,
}

/// Something to do at some time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Which volume.
    pub id: VolumeId,
    /// What.
    pub work: Work,
}

/// All that is to be done, soonest first. Entries are not taken back one by one: who acts on one looks whether it still
/// holds, and [`Timer::tidy`] drops what does not.
#[derive(Debug, Default)]
pub struct Timer {
    entries: Mutex<BinaryHeap<Reverse<Entry>>>,
    added: Notify,
}

impl Timer {
    /// Adds something to do.
    pub fn add(&self, entry: Entry) {
        self.lock().push(Reverse(entry));
        self.added.notify_one();
    }

    /// Drops what does not hold any more, and what is there twice, as soon as there are more than `entries_max` entries.
    pub fn tidy(&self, entries_max: usize, holds: impl Fn(&Entry) -> bool) {
        let mut entries = self.lock();
        if entries.len() <= entries_max {
            return;
        }
        let mut kept = std::mem::take(&mut *entries).into_vec();
        kept.retain(|Reverse(entry)| holds(entry));
        kept.sort_unstable();
        kept.dedup();
        kept.shrink_to_fit();
        *entries = BinaryHeap::from(kept);
    }

    /// Waits for the next entry that is due. Meant for one caller at a time.
    pub async fn next(&self, clock: &Clock) -> Entry {
        loop {
            let sleep = match self.due(clock()) {
                Ok(entry) => return entry,
                Err(wait) => wait.map_or(SLEEP_MAX, |wait| wait.min(SLEEP_MAX)),
            };
            // With nothing to wait for, only a new entry wakes us.
            tokio::select! {
                () = self.added.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// The next entry if it is due, else how long it has to wait, if there is one.
    fn due(&self, now: Timestamp) -> Result<Entry, Option<Duration>> {
        let mut entries = self.lock();
        match entries.pop() {
            Some(Reverse(entry)) if entry.at <= now => Ok(entry),
            Some(Reverse(entry)) => {
                let wait = Duration::try_from(entry.at.duration_since(now)).unwrap_or_default();
                entries.push(Reverse(entry));
                Err(Some(wait))
            }
            None => Err(None),
        }
    }

    /// Everything that is to be done, in no order.
    #[cfg(test)]
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().iter().map(|Reverse(entry)| entry.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BinaryHeap<Reverse<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The life of a certificate that was issued at `issued_at`, with the moment at which this volume renews it.
pub fn plan(
    spec: &VolumeSpec,
    issued_at: Timestamp,
    not_before: Timestamp,
    not_after: Timestamp,
) -> Validity {
    let renewal = |renew_before| renewal_time(issued_at, not_before, not_after, renew_before);
    let margin = not_after.duration_since(renewal(spec.attributes.renew_before));
    // Always the same for a volume.
    let jitter = Jitter::of(&[spec.id.as_str().as_bytes()]);
    let earlier = jitter.within(not_after.duration_since(not_before) / JITTER_DIVISOR);
    let renew_at = renewal(Some(margin.saturating_add(earlier)));
    Validity { issued_at, not_before, not_after, renew_at }
}

/// How long to wait after the `failures`-th failed renewal in a row.
pub fn backoff(failures: u32) -> SignedDuration {
    let doublings = failures.saturating_sub(1).min(16);
    BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn failures_are_retried_ever_more_slowly_up_to_five_minutes() {
        let seconds = |failures| backoff(failures).as_secs();
        assert_eq!([0, 1, 2, 3, 4, 5, 99].map(seconds), [30, 30, 60, 120, 240, 300, 300]);
    }

    #[test]
    fn renewals_are_spread_over_a_tenth_of_the_life_and_never_late() {
        let mut times = std::collections::BTreeSet::new();
        for number in 0..100 {
            let spec = testing::spec(&format!("csi-{number}"), "/pods/a/mount");
            let renew_at = plan(&spec, at(0), at(-300), at(9_000)).renew_at;
            assert!(renew_at <= at(5_900) && renew_at >= at(5_900 - 930), "{renew_at}");
            assert_eq!(renew_at, plan(&spec, at(0), at(-300), at(9_000)).renew_at);
            times.insert(renew_at.as_second());
        }
        assert!(times.len() > 80, "{} different times", times.len());
    }

    #[test]
    fn certificates_of_seconds_are_not_renewed_at_once() {
        let spec = testing::spec("csi-1", "/pods/a/mount");
        let renew_at = plan(&spec, at(0), at(-60), at(9)).renew_at;
        assert!(renew_at >= at(3), "{renew_at}");
    }

    #[test]
    fn any_life_is_renewed_between_its_first_third_and_the_moment_without_jitter() {
        for lifetime in (1..200).chain([3_600, 86_400, 7_776_000]) {
            let margins = [0, 1, lifetime / 2, lifetime * 19 / 20, lifetime, lifetime * 2];
            let margins = margins.map(|margin| Some(SignedDuration::from_secs(margin)));
            for renew_before in margins.into_iter().chain([None]) {
                let mut spec = testing::spec("csi-1", "/pods/a/mount");
                spec.attributes.renew_before = renew_before;
                let renew_at = plan(&spec, at(0), at(0), at(lifetime)).renew_at;
                let latest = renewal_time(at(0), at(0), at(lifetime), renew_before);
                assert!(
                    at(lifetime / 3) <= renew_at && renew_at <= latest,
                    "{lifetime} s, {renew_before:?}: {renew_at}, {latest} at the latest"
                );
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn entries_come_in_the_order_of_their_times() {
        let timer = Timer::default();
        let id = VolumeId::new("csi-1").unwrap();
        let started = tokio::time::Instant::now();
        let clock: Clock = std::sync::Arc::new(move || {
            let passed = started.elapsed().as_secs();
            at(i64::try_from(passed).unwrap())
        });
        for second in [3_000, 5, 90] {
            timer.add(Entry { at: at(second), id: id.clone(), work: Work::Renew });
        }
        for second in [5, 90, 3_000] {
            assert_eq!(timer.next(&clock).await.at, at(second));
            assert_eq!(clock(), at(second));
        }
    }
}

//! The time of day, as an argument, and waiting by it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How often the clock is read while waiting. Timers stand still while a machine is suspended and know nothing of a
/// clock that is set; so this is how late either is noticed.
const TICK: Duration = Duration::from_secs(5);

/// Waits until the clock shows `at`, until it was set back, or for `longest`, whichever comes first.
pub(crate) async fn until(clock: &Clock, at: Timestamp, longest: Duration) {
    let end = Instant::now() + longest;
    let mut before = clock();
    loop {
        let (now, left) = (clock(), end.saturating_duration_since(Instant::now()));
        if at <= now || now < before || left.is_zero() {
            return;
        }
        before = now;
        let until_then = Duration::try_from(at.duration_since(now)).unwrap_or_default();
        tokio::time::sleep(left.min(TICK).min(until_then)).await;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use jiff::SignedDuration;

    use super::*;

    /// A clock that runs with the timers of tokio, and can be set.
    #[derive(Debug, Clone)]
    pub(crate) struct TestClock {
        started: Instant,
        set: Arc<AtomicI64>,
    }

    impl TestClock {
        pub(crate) fn new() -> Self {
            Self { started: Instant::now(), set: Arc::new(AtomicI64::new(1_800_000_000)) }
        }

        pub(crate) fn now(&self) -> Timestamp {
            let set = Timestamp::from_second(self.set.load(Ordering::SeqCst)).unwrap();
            set + SignedDuration::try_from(self.started.elapsed()).unwrap()
        }

        /// Sets it on, or back.
        pub(crate) fn jump(&self, by: SignedDuration) {
            self.set.fetch_add(by.as_secs(), Ordering::SeqCst);
        }

        pub(crate) fn clock(&self) -> Clock {
            let clock = self.clone();
            Arc::new(move || clock.now())
        }
    }

    async fn check(at: i64, jump: i64, waited_secs: u64) {
        let clock = TestClock::new();
        let (start, until_then) = (Instant::now(), clock.now() + SignedDuration::from_secs(at));
        let waiting = tokio::spawn({
            let clock = clock.clock();
            async move { until(&clock, until_then, Duration::from_secs(30)).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        clock.jump(SignedDuration::from_secs(jump));
        waiting.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), waited_secs, "until {at} with a jump of {jump}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_ends_the_wait_within_a_tick() {
        check(86_400, 0, 30).await;
        check(86_400, 86_400, 5).await;
        check(86_400, -86_400, 5).await;
        check(12, 0, 12).await;
        check(0, 0, 1).await; // over at once; the test itself takes a second
    }
}

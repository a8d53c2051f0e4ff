//! Waiting longer after each failure.

use std::time::Duration;

/// First wait: a restarted peer is back soon, and nobody notices this long a delay.
pub const FIRST: Duration = Duration::from_millis(50);

/// Longest wait: what was repaired is picked up within half a minute.
pub const LONGEST: Duration = Duration::from_secs(30);

/// The waits after consecutive failures: 50 ms, doubling up to 30 s. It never ends.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// How long to wait after `failures` failures in a row; the first failure is number 1.
    pub fn after(failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(u32::BITS - 1);
        FIRST.saturating_mul(1 << doublings).min(LONGEST)
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = self.next;
        self.next = now.saturating_mul(2).min(LONGEST);
        Some(now)
    }
}

impl kube::runtime::utils::Backoff for Backoff {
    fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_stay_below_the_longest() {
        let waits: Vec<_> = Backoff::default().take(12).collect();
        assert_eq!(waits.first(), Some(&Duration::from_millis(50)));
        assert_eq!(waits.get(3), Some(&Duration::from_millis(400)));
        assert_eq!(waits.last(), Some(&LONGEST));
        for (failures, wait) in (1..).zip(waits) {
            assert_eq!(Backoff::after(failures), wait, "after {failures} failures");
        }
        assert_eq!(Backoff::after(u32::MAX), LONGEST);
    }
}

//! Pauses between attempts.

use std::time::Duration;

/// The first pause: what failed by chance works a moment later.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause: an API server that is back is noticed within this time, and its absence does not fill the log.
const LONGEST: Duration = Duration::from_secs(30);

/// The pause after so many failures in a row.
pub fn after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    FIRST.saturating_mul(1 << doublings).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<u64> = [0, 1, 2, 3, 5, 6, 7, u32::MAX].map(|n| after(n).as_secs()).into();
        assert_eq!(pauses, [1, 1, 2, 4, 16, 30, 30, 30]);
    }
}

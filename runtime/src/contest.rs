//! Whether somebody else keeps undoing what we write, and how long to leave it then.
//!
//! A repair is right at once, whoever made it necessary. But a program that puts its own value back each time would
//! have us write for ever, and every write may cost more than it looks: so after some losses in a row each next repair
//! waits longer.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Losses within [`WINDOW`] that are no coincidence.
const LOSSES_MAX: usize = 5;
/// The time in which they count.
const WINDOW: Duration = Duration::from_secs(60);
/// Losses within [`SLOW_WINDOW`] that are no coincidence either. They cost little, so they get no pause: but somebody should
/// know.
const SLOW_LOSSES_MAX: usize = 10;
/// The time in which these count: programs that put their own values back do so every few minutes.
const SLOW_WINDOW: Duration = Duration::from_secs(3_600);
/// The first pause, doubled with each further loss.
const PAUSE: Duration = Duration::from_secs(15);
/// The longest pause: whoever gives in is noticed within this time.
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// The longest pause where what is missing is needed by calls that fail without it.
const OUTAGE_PAUSE_MAX: Duration = Duration::from_secs(5);
/// What stays for so long after it was written is contested no more.
pub const QUIET: Duration = Duration::from_secs(600);

/// What became of one thing that we write.
#[derive(Debug, Clone, Default)]
pub struct Contest {
    /// When it was written, as long as it stays.
    wrote: Option<Instant>,
    /// The last losses, the oldest first.
    losses: VecDeque<Instant>,
    /// Losses from that on by which they came too fast.
    rounds: u32,
    /// Whether they are too many, however slow.
    are_many: bool,
}

impl Contest {
    /// It was written.
    pub fn wrote(&mut self, now: Instant) {
        self.forget_if_quiet(now);
        self.wrote = Some(now);
    }

    /// It is as we would write it, whoever made it so.
    pub fn stays(&mut self, now: Instant) {
        self.wrote.get_or_insert(now);
    }

    /// It is not as we wrote it. What was not written since the last time counts once: whether it counted now.
    pub fn lost(&mut self, now: Instant) -> bool {
        self.forget_if_quiet(now);
        if self.wrote.take().is_none() {
            return false;
        }
        self.losses.push_back(now);
        if self.losses.len() > SLOW_LOSSES_MAX {
            self.losses.pop_front();
        }
        self.are_many |= self.has_lost(SLOW_LOSSES_MAX, SLOW_WINDOW, now);
        if self.rounds > 0 || self.has_lost(LOSSES_MAX, WINDOW, now) {
            self.rounds = self.rounds.saturating_add(1);
        }
        true
    }

    /// Whether so many losses lie within the time.
    fn has_lost(&self, count: usize, window: Duration, now: Instant) -> bool {
        let first = count.checked_sub(1).and_then(|before| self.losses.iter().rev().nth(before));
        first.is_some_and(|at| now.duration_since(*at) < window)
    }

    /// How long to wait before it is written once more; None: write now. `is_outage`: calls fail until it is.
    pub fn pause(&self, is_outage: bool, now: Instant) -> Option<Duration> {
        let doublings = self.rounds.checked_sub(1)?;
        let longest = if is_outage { OUTAGE_PAUSE_MAX } else { PAUSE_MAX };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let pause = PAUSE.saturating_mul(factor).min(longest);
        let passed = now.duration_since(*self.losses.back()?);
        pause.checked_sub(passed).filter(|left| !left.is_zero())
    }

    /// Whether somebody keeps undoing it.
    pub fn is_contested(&self, now: Instant) -> bool {
        (self.rounds > 0 || self.are_many) && !self.is_quiet(now)
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.wrote.is_some_and(|at| now.duration_since(at) >= QUIET)
    }

    fn forget_if_quiet(&mut self, now: Instant) {
        if self.is_quiet(now) {
            *self = Self { wrote: self.wrote, ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// Written and lost again at each of these seconds.
    fn after(losses: impl IntoIterator<Item = u64>) -> (Contest, Instant) {
        let (mut contest, start) = (Contest::default(), Instant::now());
        for at in losses {
            contest.wrote(start + secs(at));
            contest.lost(start + secs(at));
        }
        (contest, start)
    }

    fn check(losses: &[u64], is_outage: bool, at: u64, pause: Option<u64>) {
        let (contest, start) = after(losses.iter().copied());
        assert_eq!(contest.pause(is_outage, start + secs(at)), pause.map(secs), "{losses:?} at {at} s");
        assert_eq!(contest.is_contested(start + secs(at)), losses.len() >= 5 && losses[4] - losses[0] < 60);
    }

    #[test]
    fn a_few_losses_and_rare_ones_are_repaired_at_once() {
        check(&[], false, 0, None);
        check(&[0, 1, 2, 3], false, 3, None);
        check(&[0, 15, 30, 45, 60], false, 60, None);
        check(&[0, 15, 30, 45, 60, 75, 90], false, 90, None);
    }

    #[test]
    fn one_loss_a_minute_is_contested_in_time_and_yet_repaired_at_once() {
        let minutes = |count: u64| (0..count).map(|minute| minute * 60);
        let (contest, start) = after(minutes(9));
        assert!(!contest.is_contested(start + secs(480)));
        let (mut contest, start) = after(minutes(60));
        assert!(contest.is_contested(start + secs(3_540)));
        assert_eq!(contest.pause(false, start + secs(3_540)), None);
        contest.wrote(start + secs(3_540));
        assert!(!contest.is_contested(start + secs(3_540 + 600)), "it stays");
        contest.lost(start + secs(3_540 + 600));
        assert!(!contest.is_contested(start + secs(3_540 + 600)));
    }

    #[test]
    fn the_pause_doubles_up_to_ten_minutes() {
        check(&[0, 1, 2, 3, 59], false, 59, Some(15));
        check(&[0, 1, 2, 3, 4], false, 10, Some(9));
        check(&[0, 1, 2, 3, 4], false, 19, None);
        check(&[0, 1, 2, 3, 4, 20], false, 20, Some(30));
        check(&[0, 1, 2, 3, 4, 20, 60, 130, 260], false, 260, Some(240));
        check(&[0, 1, 2, 3, 4, 20, 60, 130, 260, 510, 1_000], false, 1_000, Some(600));
    }

    #[test]
    fn an_outage_is_repaired_within_seconds() {
        check(&[0, 1, 2, 3, 4], true, 4, Some(5));
        check(&[0, 1, 2, 3, 4, 20, 60, 130, 260, 510, 1_000], true, 1_000, Some(5));
        check(&[0, 1, 2, 3, 4], true, 9, None);
    }

    #[test]
    fn what_was_not_written_again_is_not_lost_again() {
        let (mut contest, start) = after([0, 1, 2, 3]);
        for at in [4, 5] {
            assert!(!contest.lost(start + secs(at)), "at {at} s");
        }
        assert!(!contest.is_contested(start + secs(5)));
    }

    #[test]
    fn what_stays_for_ten_minutes_is_contested_no_more() {
        let (mut contest, start) = after([0, 1, 2, 3, 4]);
        contest.wrote(start + secs(19));
        assert!(contest.is_contested(start + secs(618)));
        assert!(!contest.is_contested(start + secs(619)));
        contest.lost(start + secs(619));
        assert_eq!(contest.pause(false, start + secs(619)), None);
        // Somebody else may have made it right.
        let (mut contest, start) = after([0, 1, 2, 3, 4]);
        contest.stays(start + secs(10));
        contest.stays(start + secs(300));
        assert!(contest.is_contested(start + secs(609)));
        assert!(!contest.is_contested(start + secs(610)));
        // Waiting is not the same as peace.
        let (contest, start) = after([0, 1, 2, 3, 4]);
        assert!(contest.is_contested(start + secs(7_200)));
    }

    #[test]
    fn no_number_of_losses_is_too_large() {
        let (contest, start) = after((0..200).map(|round| round * 600));
        assert!(!contest.is_contested(start));
        let (contest, start) = after(0..5_000);
        assert_eq!(contest.pause(false, start + secs(4_999)), Some(secs(600)));
    }
}

//! The targets over which somebody fights with us.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use runtime::contest::Contest;
use runtime::lock::lock;
use tokio::time::Instant;

use crate::target::Target;

/// What a target that has lost its bundle comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Whether it was written since it was lost for the last time: the same loss may be seen often.
    pub(crate) is_new: bool,
    /// Whether somebody keeps undoing what is written.
    pub(crate) is_contested: bool,
    /// How long to leave it; None: write it now.
    pub(crate) pause: Option<Duration>,
}

/// How a target stands that has what it should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peace {
    /// Nobody fought over it.
    Undisturbed,
    /// Somebody did, and may do so again.
    Fragile,
    /// Somebody did, and has given in.
    Restored,
}

/// What became of what was written to each target.
#[derive(Debug, Default)]
pub(crate) struct Contests {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    contests: HashMap<Target, Contest>,
    contested: HashSet<Target>,
}

impl Contests {
    /// The target was written; whether it is contested.
    pub(crate) fn wrote(&self, target: &Target, now: Instant) -> bool {
        let mut state = lock(&self.state);
        let contest = state.contests.entry(target.clone()).or_default();
        contest.wrote(now);
        contest.is_contested(now)
    }

    /// The target has not what it had. `is_outage`: calls fail for that.
    pub(crate) fn lost(&self, target: &Target, is_outage: bool, now: Instant) -> Loss {
        let state = &mut *lock(&self.state);
        // What was never written cannot be lost.
        let Some(contest) = state.contests.get_mut(target) else {
            return Loss { is_new: false, is_contested: false, pause: None };
        };
        let is_new = contest.lost(now);
        let is_contested = contest.is_contested(now);
        if is_contested {
            state.contested.insert(target.clone());
        }
        Loss { is_new, is_contested, pause: contest.pause(is_outage, now) }
    }

    /// The target has what it should have.
    pub(crate) fn in_sync(&self, target: &Target, now: Instant) -> Peace {
        let state = &mut *lock(&self.state);
        if !state.contested.contains(target) {
            return Peace::Undisturbed;
        }
        if let Some(contest) = state.contests.get_mut(target) {
            contest.stays(now);
            if contest.is_contested(now) {
                return Peace::Fragile;
            }
        }
        state.contested.remove(target);
        Peace::Restored
    }

    /// The target is gone, or asks for nothing.
    pub(crate) fn forget(&self, target: &Target) {
        let mut state = lock(&self.state);
        state.contests.remove(target);
        state.contested.remove(target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::TargetKind;

    #[tokio::test(start_paused = true)]
    async fn a_target_that_is_lost_again_and_again_is_left_for_longer_until_it_stays() {
        let contests = Contests::default();
        let target = |name: &str| Target::cluster(TargetKind::ApiService, name);
        let (web, other) = (target("web"), target("other"));
        let never = Loss { is_new: false, is_contested: false, pause: None };
        assert_eq!(contests.lost(&web, true, Instant::now()), never, "nobody wrote it");
        for _ in 0..4 {
            assert!(!contests.wrote(&web, Instant::now()));
            let loss = contests.lost(&web, false, Instant::now());
            assert_eq!(loss, Loss { is_new: true, ..never });
        }
        contests.wrote(&web, Instant::now());
        let contested =
            |is_new, secs| Loss { is_new, is_contested: true, pause: Some(Duration::from_secs(secs)) };
        assert_eq!(contests.lost(&web, false, Instant::now()), contested(true, 15));
        assert_eq!(contests.lost(&web, true, Instant::now()), contested(false, 5));
        assert!(!contests.wrote(&other, Instant::now()), "another one is not contested");
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(contests.lost(&web, false, Instant::now()).pause, None);
        assert!(contests.wrote(&web, Instant::now()));
        assert_eq!(contests.in_sync(&web, Instant::now()), Peace::Fragile);
        assert_eq!(contests.in_sync(&other, Instant::now()), Peace::Undisturbed);
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(contests.in_sync(&web, Instant::now()), Peace::Restored);
        assert_eq!(contests.in_sync(&web, Instant::now()), Peace::Undisturbed);
        contests.forget(&web);
        assert_eq!(contests.lost(&web, true, Instant::now()), never);
    }
}

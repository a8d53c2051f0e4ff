//! Where each target stands, for the probes and figures: state without IO.
//!
//! The process is ready while every target that can have its bundle has it. A target that changed, or whose source did,
//! is out of sync from that moment until it was written or found as it should be. One whose source gives no CA, which
//! cannot have a bundle, or over which somebody fights, is out of our hands and does not count. What counts is whatever
//! keeps us from reading or writing: a right that we lack, a write that is refused, an API server that does not answer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::target::Target;

/// How long a target may be out of sync before it counts: a rotation of many targets takes some seconds, and is no reason
/// to be unready.
const PATIENCE: Duration = Duration::from_secs(10);

/// Targets that an answer names.
const NAMED_MAX: usize = 10;

/// What a look at a target has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has its bundle.
    InSync,
    /// It should have a bundle that it has not.
    OutOfSync,
    /// Whether it has one is not ours to decide.
    Excused,
}

/// Where each target stands that asks for a bundle.
#[derive(Debug, Default)]
pub struct Ledger {
    standings: BTreeMap<Target, Standing>,
    /// Whether this process led when it was last asked. Who does not lead looks at no target.
    leads: bool,
}

#[derive(Debug)]
struct Standing {
    state: State,
    /// When it was in sync for the last time, once it is no more.
    in_sync_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody knows that it is in sync.
    Pending {
        /// Since then.
        since: Instant,
        /// Whether it was in sync before, and no look at it has shown or said otherwise.
        was_in_sync: bool,
    },
    InSync,
    Excused,
}

impl Ledger {
    /// Something changed that the target depends on.
    pub fn due(&mut self, target: &Target, now: Instant, time: Timestamp) {
        self.stand(target, time, |state| match state {
            Some(state @ State::Pending { .. }) => state,
            state => State::Pending { since: now, was_in_sync: state == Some(State::InSync) },
        });
    }

    /// The target was looked at.
    pub fn looked(&mut self, target: &Target, verdict: Verdict, now: Instant, time: Timestamp) {
        self.stand(target, time, |state| match (verdict, state) {
            (Verdict::InSync, _) => State::InSync,
            (Verdict::Excused, _) => State::Excused,
            (Verdict::OutOfSync, Some(State::Pending { since, .. })) => {
                State::Pending { since, was_in_sync: false }
            }
            (Verdict::OutOfSync, _) => State::Pending { since: now, was_in_sync: false },
        });
    }

    /// The target is gone, or asks for nothing.
    pub fn forget(&mut self, target: &Target) {
        self.standings.remove(target);
    }

    /// Whether every target that can be is in sync. `leads`: whether this process writes; one that stands by has nothing
    /// to answer for, and one that takes over gets the same time as for any change.
    ///
    /// # Errors
    /// How many are not, and the names of some.
    pub fn check(&mut self, leads: bool, now: Instant) -> Result<(), String> {
        if leads && !self.leads {
            for standing in self.standings.values_mut() {
                if let State::Pending { since, .. } = &mut standing.state {
                    *since = now;
                }
            }
        }
        self.leads = leads;
        if !leads {
            return Ok(());
        }
        let is_late = |standing: &Standing| match standing.state {
            State::Pending { since, .. } => now.saturating_duration_since(since) > PATIENCE,
            State::InSync | State::Excused => false,
        };
        let late = self.standings.iter().filter(|(_, standing)| is_late(standing));
        let (mut count, mut names) = (0_usize, String::new());
        for (target, _) in late {
            if count < NAMED_MAX {
                // Writing to a text cannot fail.
                _ = write!(names, "{}{target}", if count == 0 { "" } else { ", " });
            }
            count += 1;
        }
        let more = match count {
            0 => return Ok(()),
            count if count > NAMED_MAX => format!(" and {} more", count - NAMED_MAX),
            _ => String::new(),
        };
        Err(format!("{count} of {} lack their bundle: {names}{more}", self.standings.len()))
    }

    /// Whether each target has its bundle, as far as is known. That a look at it is due is no reason to think otherwise, for
    /// a while.
    pub fn in_sync(&self, now: Instant) -> impl Iterator<Item = (&Target, bool)> {
        self.standings.iter().map(move |(target, standing)| {
            let is_in_sync = match standing.state {
                State::InSync => true,
                State::Pending { since, was_in_sync } => {
                    was_in_sync && now.saturating_duration_since(since) <= PATIENCE
                }
                State::Excused => false,
            };
            (target, is_in_sync)
        })
    }

    /// When each target was in sync for the last time: `time` where it is now.
    pub fn in_sync_at(&self, time: Timestamp) -> impl Iterator<Item = (&Target, Timestamp)> {
        self.standings.iter().filter_map(move |(target, standing)| match standing.state {
            State::InSync => Some((target, time)),
            State::Pending { .. } | State::Excused => Some((target, standing.in_sync_at?)),
        })
    }

    fn stand(&mut self, target: &Target, time: Timestamp, next: impl FnOnce(Option<State>) -> State) {
        let Some(standing) = self.standings.get_mut(target) else {
            let standing = Standing { state: next(None), in_sync_at: None };
            self.standings.insert(target.clone(), standing);
            return;
        };
        if standing.state == State::InSync {
            standing.in_sync_at = Some(time);
        }
        standing.state = next(Some(standing.state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::TargetKind;
    use crate::testing;

    /// A ledger, and a clock that begins at nothing.
    struct World {
        ledger: Ledger,
        start: Instant,
    }

    impl World {
        fn new() -> Self {
            let mut world = Self { ledger: Ledger::default(), start: Instant::now() };
            world.check(true, 0, "");
            world
        }

        fn at(&self, secs: u64) -> Instant {
            self.start + Duration::from_secs(secs)
        }

        fn due(&mut self, name: &str, secs: u64) {
            let at = self.at(secs);
            self.ledger.due(&target(name), at, time(secs));
        }

        fn looked(&mut self, name: &str, verdict: Verdict, secs: u64) {
            let at = self.at(secs);
            self.ledger.looked(&target(name), verdict, at, time(secs));
        }

        /// What is wrong at this second; nothing where `expected` is empty.
        fn check(&mut self, leads: bool, secs: u64, expected: &str) {
            let at = self.at(secs);
            assert_eq!(self.ledger.check(leads, at).err().unwrap_or_default(), expected, "after {secs} s");
        }
    }

    fn target(name: &str) -> Target {
        Target::cluster(TargetKind::ApiService, name)
    }

    fn time(secs: u64) -> Timestamp {
        testing::now() + Duration::from_secs(secs)
    }

    #[test]
    fn a_target_that_lacks_its_bundle_counts_after_ten_seconds() {
        let mut world = World::new();
        world.due("web", 0);
        world.check(true, 10, "");
        world.check(true, 11, "1 of 1 lack their bundle: APIService web");
        // Further changes, and looks in vain, give no new delay.
        world.due("web", 11);
        world.looked("web", Verdict::OutOfSync, 12);
        world.check(true, 12, "1 of 1 lack their bundle: APIService web");
        world.looked("web", Verdict::InSync, 13);
        world.check(true, 100, "");
        world.looked("web", Verdict::OutOfSync, 100);
        world.check(true, 110, "");
        world.check(true, 111, "1 of 1 lack their bundle: APIService web");
        world.ledger.forget(&target("web"));
        world.check(true, 112, "");
    }

    #[test]
    fn what_is_not_ours_to_decide_does_not_count() {
        let mut world = World::new();
        world.due("web", 0);
        world.looked("web", Verdict::Excused, 1);
        world.check(true, 100, "");
        // Until something changes.
        world.due("web", 100);
        world.check(true, 111, "1 of 1 lack their bundle: APIService web");
    }

    #[test]
    fn a_standby_is_ready_and_has_time_when_it_takes_over() {
        let mut world = World::new();
        world.check(false, 1, "");
        world.due("web", 2);
        world.check(false, 100, "");
        world.check(true, 101, "");
        world.check(true, 111, "");
        world.check(true, 112, "1 of 1 lack their bundle: APIService web");
    }

    #[test]
    fn the_answer_is_bounded() {
        let mut world = World::new();
        for number in 0..13 {
            world.due(&format!("web-{number:02}"), 0);
        }
        world.looked("web-12", Verdict::InSync, 1);
        let names: Vec<_> = (0..10).map(|number| format!("APIService web-{number:02}")).collect();
        let expected = format!("12 of 13 lack their bundle: {} and 2 more", names.join(", "));
        world.check(true, 11, &expected);
    }

    #[test]
    fn a_target_that_could_not_be_read_or_written_has_its_bundle_no_more() {
        let mut world = World::new();
        let told = |world: &World, secs| {
            let told: Vec<_> =
                world.ledger.in_sync(world.at(secs)).map(|(_, is_in_sync)| is_in_sync).collect();
            told
        };
        world.due("web", 0);
        assert_eq!(told(&world, 0), [false]);
        world.looked("web", Verdict::InSync, 1);
        world.due("web", 100);
        assert_eq!(told(&world, 110), [true], "a look is due soon");
        assert_eq!(told(&world, 111), [false], "nobody looked");
        world.looked("web", Verdict::InSync, 112);
        world.due("web", 120);
        world.looked("web", Verdict::OutOfSync, 121);
        assert_eq!(told(&world, 121), [false]);
        world.due("web", 122);
        assert_eq!(told(&world, 122), [false]);
        world.looked("web", Verdict::Excused, 123);
        assert_eq!(told(&world, 123), [false]);
        world.due("web", 124);
        assert_eq!(told(&world, 124), [false]);
        world.looked("web", Verdict::InSync, 125);
        assert_eq!(told(&world, 1_000), [true]);
    }

    #[test]
    fn when_a_target_was_last_in_sync_is_known() {
        let mut world = World::new();
        world.due("web", 0);
        world.due("new", 0);
        world.looked("web", Verdict::InSync, 1);
        let told = |world: &World, secs| {
            let at = world.ledger.in_sync_at(time(secs));
            at.map(|(target, at)| (target.name.name.clone(), at)).collect::<Vec<_>>()
        };
        assert_eq!(told(&world, 50), [("web".to_owned(), time(50))]);
        world.due("web", 60);
        world.looked("web", Verdict::Excused, 61);
        world.due("web", 70);
        assert_eq!(told(&world, 80), [("web".to_owned(), time(60))]);
    }
}

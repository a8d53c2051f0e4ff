//! What a candidate does next, as a pure function of what it has seen of the Lease and of the time.
//!
//! Clocks of other machines count for nothing: a holder is given up for dead when its record has not changed for as
//! long as the record itself says, measured from when this process saw it. A holder measures its own time from before
//! it sent what it wrote, so its right to write ends sooner than anybody else's patience.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::Times;

/// Longest time between two looks at a Lease that cannot be watched.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(2);
/// Longest pause after a call that failed; a holder loses its right if it waits for long.
const FAILED_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Pause after a write that came too late: no endless loop at full speed, whatever the API server answers.
const CONFLICT_PAUSE: Duration = Duration::from_millis(50);

/// What a Lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Who holds it; empty: nobody.
    pub(super) holder: String,
    /// How long it holds after each renewal; None: it does not say.
    pub(super) duration: Option<Duration>,
    /// When this holder took it, by the holder's clock.
    pub(super) acquired: Option<Timestamp>,
    /// When it was last renewed, by the holder's clock.
    pub(super) renewed: Option<Timestamp>,
    /// How often the holder changed.
    pub(super) transitions: i32,
}

/// A Lease as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Observed {
    pub(super) record: Record,
    /// Its resourceVersion.
    pub(super) version: String,
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Read the Lease.
    Get,
    /// Create it with this record.
    Create(Record),
    /// Write this record, unless the Lease has another resourceVersion than this.
    Write(Observed),
    /// Nothing before then, unless the Lease changes.
    Wait(Instant),
}

/// What came of [`Step::Create`] or [`Step::Write`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// The Lease as it is now.
    Done(Observed),
    /// Somebody else wrote, created or deleted it meanwhile.
    Conflict,
    /// Nobody knows, or it was refused.
    Failed,
}

/// One candidate.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    times: Times,
    lease: Known,
    /// When the write was sent by which we last became or stayed the holder.
    renewed: Option<Instant>,
    /// When the Lease was last read.
    looked: Option<Instant>,
    /// No call before then.
    retry_at: Option<Instant>,
    is_watched: bool,
}

#[derive(Debug)]
enum Known {
    Unknown,
    Absent,
    Present {
        observed: Observed,
        /// When its record was first seen.
        since: Instant,
    },
}

impl Election {
    pub(super) fn new(identity: String, times: Times) -> Self {
        Self {
            identity,
            times,
            lease: Known::Unknown,
            renewed: None,
            looked: None,
            retry_at: None,
            is_watched: false,
        }
    }

    /// What to do now; `clock` is what a record tells others.
    pub(super) fn next(&self, now: Instant, clock: Timestamp) -> Step {
        if let Some(at) = self.retry_at.filter(|at| *at > now) {
            return Step::Wait(at);
        }
        let (observed, since) = match &self.lease {
            Known::Unknown => return Step::Get,
            Known::Absent => return Step::Create(self.own_record(None, clock)),
            Known::Present { observed, since } => (observed, *since),
        };
        let record = &observed.record;
        let is_ours = record.holder == self.identity;
        let due = if is_ours {
            self.renewed.map(|at| at + self.times.retry_period)
        } else if record.holder.is_empty() {
            None
        } else {
            Some(since + record.duration.unwrap_or(self.times.duration))
        };
        let Some(due) = due.filter(|due| *due > now) else {
            let record = self.own_record(Some(record), clock);
            return Step::Write(Observed { record, version: observed.version.clone() });
        };
        if is_ours {
            return Step::Wait(due);
        }
        match self.looked.map(|at| at + self.look_interval()).filter(|look| *look > now) {
            Some(look) => Step::Wait(look.min(due)),
            None => Step::Get,
        }
    }

    /// The answer to [`Step::Get`]; None: there is no Lease.
    pub(super) fn looked(&mut self, lease: Option<Observed>, now: Instant) {
        (self.looked, self.retry_at) = (Some(now), None);
        match lease {
            Some(observed) => self.take(observed, now),
            None => (self.lease, self.renewed) = (Known::Absent, None),
        }
    }

    /// What a watch told; None: there is no Lease.
    pub(super) fn told(&mut self, lease: Option<Observed>, now: Instant) {
        self.is_watched = true;
        match lease {
            // A watch may tell of our own past: of what was there before we wrote.
            Some(observed) if self.is_past(&observed) => {}
            Some(observed) => self.take(observed, now),
            None => self.lease = Known::Unknown,
        }
    }

    /// The Lease cannot be watched at present.
    pub(super) fn watch_failed(&mut self) {
        self.is_watched = false;
    }

    /// [`Step::Get`] had no answer.
    pub(super) fn failed(&mut self, now: Instant) {
        self.retry_at = Some(now + self.times.retry_period.min(FAILED_PAUSE_MAX));
    }

    /// The answer to [`Step::Create`] or [`Step::Write`], which was sent at `sent`.
    pub(super) fn written(&mut self, written: Written, sent: Instant, now: Instant) {
        self.retry_at = None;
        match written {
            Written::Done(observed) => {
                self.renewed = Some(sent);
                self.take(observed, now);
            }
            // Perhaps only a label was changed: look before anything is given up.
            Written::Conflict => {
                (self.lease, self.retry_at) = (Known::Unknown, Some(now + CONFLICT_PAUSE));
            }
            Written::Failed => self.failed(now),
        }
    }

    /// Until when this candidate may act as the leader, which may be past; None: it may not.
    pub(super) fn leads_until(&self) -> Option<Instant> {
        self.renewed.map(|at| at + self.times.renew_deadline)
    }

    /// Who holds the Lease, as far as it was seen.
    pub(super) fn holder(&self) -> Option<&str> {
        match &self.lease {
            Known::Present { observed, .. } => Some(&observed.record.holder),
            Known::Unknown | Known::Absent => None,
        }
    }

    /// What gives the Lease back, if it is ours. Others take it at once then: nobody holds it, for a second.
    pub(super) fn release(&self, clock: Timestamp) -> Option<Observed> {
        let Known::Present { observed, .. } = &self.lease else { return None };
        (observed.record.holder == self.identity).then(|| Observed {
            record: Record {
                holder: String::new(),
                duration: Some(Duration::from_secs(1)),
                acquired: Some(clock),
                renewed: Some(clock),
                transitions: observed.record.transitions,
            },
            version: observed.version.clone(),
        })
    }

    fn look_interval(&self) -> Duration {
        let interval = self.times.retry_period;
        if self.is_watched { interval } else { interval.min(LOOK_INTERVAL_MAX) }
    }

    fn own_record(&self, former: Option<&Record>, clock: Timestamp) -> Record {
        let ours = former.filter(|record| record.holder == self.identity);
        let (acquired, transitions) = match (ours, former) {
            (Some(record), _) => (record.acquired.or(Some(clock)), record.transitions),
            (None, Some(record)) => (Some(clock), record.transitions.saturating_add(1)),
            (None, None) => (Some(clock), 0),
        };
        Record {
            holder: self.identity.clone(),
            duration: Some(self.times.duration),
            acquired,
            renewed: Some(clock),
            transitions,
        }
    }

    fn take(&mut self, observed: Observed, now: Instant) {
        if observed.record.holder != self.identity {
            self.renewed = None;
        }
        let since = match &self.lease {
            Known::Present { observed: former, since } if former.record == observed.record => *since,
            _ => now,
        };
        self.lease = Known::Present { observed, since };
    }

    /// Whether this is older than what is known. Resource versions are numbers that grow (Kubernetes says so from 1.35
    /// on, and it was so before); where they are none, everything counts as new.
    fn is_past(&self, observed: &Observed) -> bool {
        let Known::Present { observed: known, .. } = &self.lease else { return false };
        match (observed.version.parse::<u64>(), known.version.parse::<u64>()) {
            (Ok(told), Ok(known)) => told < known,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
        duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_secs(2),
    };

    fn clock() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn record(holder: &str, renewed_secs: i64, transitions: i32) -> Record {
        Record {
            holder: holder.to_owned(),
            duration: Some(Duration::from_secs(15)),
            acquired: Some(clock()),
            renewed: Some(Timestamp::from_second(renewed_secs).unwrap()),
            transitions,
        }
    }

    fn seen(record: Record, version: u64) -> Observed {
        Observed { record, version: version.to_string() }
    }

    /// A candidate "us", and a time from which the tests count in milliseconds.
    struct Script {
        election: Election,
        start: Instant,
    }

    impl Script {
        fn new() -> Self {
            Self { election: Election::new("us".to_owned(), TIMES), start: Instant::now() }
        }

        fn at(&self, millis: u64) -> Instant {
            self.start + Duration::from_millis(millis)
        }

        fn next(&self, millis: u64) -> Step {
            self.election.next(self.at(millis), clock())
        }

        #[track_caller]
        fn waits(&self, millis: u64, until: u64) {
            assert_eq!(self.next(millis), Step::Wait(self.at(until)), "at {millis} ms");
        }

        #[track_caller]
        fn takes(&self, millis: u64, transitions: i32) {
            match self.next(millis) {
                Step::Write(wanted) => {
                    assert_eq!(
                        (wanted.record.holder.as_str(), wanted.record.transitions),
                        ("us", transitions)
                    );
                }
                other => panic!("{other:?} at {millis} ms"),
            }
        }

        fn leads(&self, millis: u64) -> bool {
            self.election.leads_until().is_some_and(|until| self.at(millis) < until)
        }

        /// We hold the Lease in version 5 since a write that was sent at 0 and answered at 100 ms.
        fn holding() -> Self {
            let mut script = Self::new();
            script.election.looked(None, script.start);
            let (sent, now) = (script.start, script.at(100));
            script.election.written(Written::Done(seen(record("us", 0, 0), 5)), sent, now);
            script
        }
    }

    #[test]
    fn a_held_lease_is_taken_at_its_expiry_to_the_tick() {
        let mut script = Script::new();
        assert_eq!(script.next(0), Step::Get);
        script.election.looked(Some(seen(record("them", 0, 3), 1)), script.at(300));
        script.waits(300, 2_300);
        for at in [2_300, 4_300, 6_300, 8_300, 10_300, 12_300, 14_300] {
            assert_eq!(script.next(at), Step::Get);
            script.election.looked(Some(seen(record("them", 0, 3), 1)), script.at(at));
        }
        script.waits(14_300, 15_300);
        script.waits(15_299, 15_300);
        script.takes(15_300, 4);
    }

    #[test]
    fn what_counts_is_that_the_record_changes_and_not_the_holders_clock() {
        let mut script = Script::new();
        // By its own clock it was renewed half a century ago.
        script.election.looked(Some(seen(record("them", 0, 0), 1)), script.at(0));
        script.waits(0, 2_000);
        script.election.looked(Some(seen(record("them", 2, 0), 2)), script.at(14_999));
        script.waits(14_999, 16_999);
        script.election.told(Some(seen(record("them", 4, 0), 3)), script.at(20_000));
        script.election.looked(Some(seen(record("them", 4, 0), 4)), script.at(34_000));
        script.waits(34_000, 35_000);
        script.takes(35_000, 1);
    }

    #[test]
    fn the_holders_duration_decides_and_ours_where_there_is_none() {
        let mut script = Script::new();
        let mut long = record("them", 0, 0);
        long.duration = Some(Duration::from_secs(60));
        script.election.told(Some(seen(long.clone(), 1)), script.at(0));
        script.election.looked(Some(seen(long, 1)), script.at(59_000));
        script.waits(59_000, 60_000);
        let mut silent = record("them", 1, 0);
        silent.duration = None;
        script.election.looked(Some(seen(silent.clone(), 2)), script.at(60_000));
        script.election.looked(Some(seen(silent, 2)), script.at(74_000));
        script.waits(74_000, 75_000);
        script.takes(75_000, 1);
    }

    #[test]
    fn a_leader_that_cannot_renew_stops_before_another_can_begin() {
        let mut script = Script::holding();
        let mut other = Election::new("them".to_owned(), TIMES);
        // Nobody can see it sooner than it was sent.
        other.told(Some(seen(record("us", 0, 0), 5)), script.at(0));
        script.takes(2_000, 0);
        for at in (2_000..10_000).step_by(1_000) {
            script.takes(at, 0);
            script.election.written(Written::Failed, script.at(at), script.at(at));
            script.waits(at, at + 1_000);
            assert!(script.leads(at));
        }
        assert!(script.leads(9_999) && !script.leads(10_000));
        other.looked(Some(seen(record("us", 0, 0), 5)), script.at(14_999));
        assert_eq!(other.next(script.at(14_999), clock()), Step::Wait(script.at(15_000)));
        assert!(matches!(other.next(script.at(15_000), clock()), Step::Write(_)));
        // It leads again once a write has come through, and from when that was sent.
        script.election.written(
            Written::Done(seen(record("us", 9, 0), 6)),
            script.at(11_000),
            script.at(13_000),
        );
        assert!(script.leads(20_999) && !script.leads(21_000));
    }

    #[test]
    fn another_holder_ends_leadership_at_once() {
        let mut script = Script::holding();
        script.election.told(Some(seen(record("them", 3, 1), 6)), script.at(3_000));
        assert!(!script.leads(3_000));
        let mut script = Script::holding();
        script.election.looked(None, script.at(3_000));
        assert!(!script.leads(3_000));
        assert!(matches!(script.next(3_000), Step::Create(_)));
    }

    #[test]
    fn a_conflict_is_a_look_and_not_a_loss() {
        let mut script = Script::holding();
        script.takes(2_000, 0);
        script.election.written(Written::Conflict, script.at(2_000), script.at(2_050));
        script.waits(2_050, 2_100);
        assert_eq!(script.next(2_100), Step::Get);
        assert!(script.leads(2_100));
        // Only a label was changed.
        script.election.looked(Some(seen(record("us", 0, 0), 7)), script.at(2_150));
        assert!(script.leads(2_150));
        let Step::Write(wanted) = script.next(2_150) else { panic!("{:?}", script.next(2_150)) };
        assert_eq!(wanted.version, "7");
    }

    #[test]
    fn what_a_watch_tells_of_the_past_changes_nothing() {
        let mut script = Script::holding();
        script.election.told(Some(seen(record("them", 0, 0), 4)), script.at(200));
        assert!(script.leads(200));
        script.waits(200, 2_000);
        // Gone is gone only when a look has shown it.
        script.election.told(None, script.at(300));
        assert!(script.leads(300));
        assert_eq!(script.next(300), Step::Get);
    }

    #[test]
    fn a_free_lease_is_taken_at_once() {
        let mut script = Script::new();
        script.election.looked(None, script.at(0));
        let Step::Create(own) = script.next(0) else { panic!("{:?}", script.next(0)) };
        assert_eq!(own, record("us", 0, 0));
        script.election.looked(Some(seen(record("", 0, 7), 1)), script.at(1));
        script.takes(1, 8);
        // Ours, of which we do not know how it came to be: an answer was lost.
        script.election.looked(Some(seen(record("us", 0, 7), 2)), script.at(2));
        assert!(!script.leads(2));
        script.takes(2, 7);
    }

    #[test]
    fn a_watched_lease_is_looked_at_less_often() {
        let slow = Times { retry_period: Duration::from_secs(5), ..TIMES };
        let mut script = Script { election: Election::new("us".to_owned(), slow), start: Instant::now() };
        script.election.looked(Some(seen(record("them", 0, 0), 1)), script.at(0));
        script.waits(0, 2_000);
        script.election.told(Some(seen(record("them", 0, 0), 1)), script.at(10));
        script.waits(10, 5_000);
        script.election.watch_failed();
        script.waits(20, 2_000);
    }

    #[test]
    fn a_call_that_fails_is_repeated_after_a_pause() {
        let mut script = Script::new();
        script.election.failed(script.at(0));
        script.waits(0, 1_000);
        assert_eq!(script.next(1_000), Step::Get);
    }

    #[test]
    fn only_what_is_ours_is_given_back() {
        let mut script = Script::holding();
        let given = script.election.release(clock()).unwrap();
        assert_eq!((given.record.holder.as_str(), given.record.transitions), ("", 0));
        assert_eq!((given.record.duration, given.version.as_str()), (Some(Duration::from_secs(1)), "5"));
        script.election.told(Some(seen(record("them", 0, 1), 6)), script.at(0));
        assert_eq!(script.election.release(clock()), None);
    }
}

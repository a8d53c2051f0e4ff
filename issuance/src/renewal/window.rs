//! Windows in which renewal is allowed: a cron pattern that opens one, a time zone, and how long it stays open.

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

use super::schedule::Schedule;

/// What may stand before a pattern to say its time zone.
const ZONE_PREFIXES: [&str; 2] = ["TZ=", "CRON_TZ="];

/// Why something is no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The pattern is not cron.
    #[error(
        "cron pattern {pattern:?} is not usable: {reason}; write the five fields minute, hour, day of month, month \
         and day of week, such as \"0 2 * * SAT\""
    )]
    Cron {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        reason: String,
    },
    /// The pattern is cron, but there is no such day.
    #[error("cron pattern {pattern:?} never matches; there is no such day")]
    Never {
        /// The pattern.
        pattern: String,
    },
    /// The time zone is unknown.
    #[error(
        "time zone {name:?} is not in the IANA database; write one such as Europe/Berlin, or leave it out for UTC"
    )]
    Zone {
        /// The name.
        name: String,
    },
    /// The window would not be open at all.
    #[error("a window cannot be open for {0:#}; write a duration of at least a second, such as 2h")]
    Duration(SignedDuration),
}

/// A window that opens whenever a cron pattern matches in a time zone, and stays open for a while.
#[derive(Debug, Clone)]
pub struct Window {
    schedule: Schedule,
    duration: SignedDuration,
}

impl Window {
    /// Reads an element of `spec.renewal.windows`: a cron pattern, how long the window is open, and the IANA name of a
    /// time zone (UTC without one). The time zones are those that were compiled in.
    ///
    /// The pattern has five fields, or is a word such as `@daily`, or `@every` with a duration, which counts from 1970.
    /// `TZ=` or `CRON_TZ=` with a time zone may stand before it, unless `zone` says one.
    ///
    /// # Errors
    /// When one of them is not usable, or the pattern never matches.
    pub fn parse(cron: &str, duration: SignedDuration, zone: Option<&str>) -> Result<Self, WindowError> {
        if duration < SignedDuration::from_secs(1) {
            return Err(WindowError::Duration(duration));
        }
        let zone = zone.filter(|name| !name.is_empty());
        let known = zone.map_or(Ok(TimeZone::UTC), time_zone)?;
        Ok(Self { schedule: schedule(cron, zone.map(|_| known))?, duration })
    }

    /// Whether a pattern can be read, whatever the window's duration; of the time zone, only whether there is one is
    /// looked at.
    ///
    /// # Errors
    /// As [`Self::parse`] for the pattern.
    pub fn check_cron(cron: &str, zone: Option<&str>) -> Result<(), WindowError> {
        let zone = zone.filter(|name| !name.is_empty()).map(|_| TimeZone::UTC);
        schedule(cron, zone).map(drop)
    }

    /// Whether there is a time zone of this name, in this spelling.
    ///
    /// # Errors
    /// [`WindowError::Zone`], when there is none.
    pub fn check_zone(name: &str) -> Result<(), WindowError> {
        time_zone(name).map(drop)
    }

    /// Whether the window is open at `at`; the instant at which it closes is no longer within.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.schedule.previous(at).is_some_and(|start| at < self.end(start))
    }

    /// When it opens next, at `from` or later; `None` beyond all dates.
    pub fn next_start(&self, from: Timestamp) -> Option<Timestamp> {
        self.schedule.next(from)
    }

    /// When it opens next, at `from` or later, and when it closes after that.
    pub(super) fn next(&self, from: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let start = self.next_start(from)?;
        Some((start, self.end(start)))
    }

    /// The first instant not before `earliest` at which the last window before `before` is open, and when it closes;
    /// `None` when it was closed by then.
    pub(super) fn last_after(
        &self,
        earliest: Timestamp,
        before: Timestamp,
    ) -> Option<(Timestamp, Timestamp)> {
        let start = self.schedule.previous(before)?;
        let end = self.end(start);
        (earliest < end && earliest <= before).then_some((start.max(earliest), end))
    }

    /// The last instant at `at` or before until which it is open: `at` itself, or when it closed.
    fn last_open(&self, at: Timestamp) -> Option<Timestamp> {
        self.schedule.previous(at).map(|start| self.end(start).min(at))
    }

    fn end(&self, start: Timestamp) -> Timestamp {
        start.saturating_add(self.duration).unwrap_or(Timestamp::MAX)
    }
}

/// A year in which stretches without an open window are looked for. It has a 29 February.
const YEAR_START: Timestamp = Timestamp::constant(1_704_067_200, 0);
const YEAR: SignedDuration = SignedDuration::from_hours(366 * 24);

/// Steps that the search takes at most. Two of them go on by the span, so stretches of a day are found in the first
/// month, and those of weeks in the whole year.
const STEPS_MAX: usize = 64;

/// Whether there is a stretch longer than `span` in which none of the windows is open: a certificate that lives no longer
/// could then miss them all. Looks at one year of the calendar, less where the span is less than a few days.
pub fn are_all_closed_for(windows: &[Window], span: SignedDuration) -> bool {
    let mut open_until = YEAR_START;
    let end = YEAR_START.saturating_add(YEAR).unwrap_or(Timestamp::MAX);
    for _ in 0..STEPS_MAX {
        let Ok(at) = open_until.checked_add(span.max(SignedDuration::from_secs(1))) else { return false };
        let last_open = windows.iter().filter_map(|window| window.last_open(at)).max();
        match last_open.filter(|last_open| *last_open > open_until) {
            None => return true,
            Some(last_open) if last_open >= end => return false,
            Some(last_open) => open_until = last_open,
        }
    }
    false
}

fn time_zone(name: &str) -> Result<TimeZone, WindowError> {
    let refused = || WindowError::Zone { name: name.to_owned() };
    let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| refused())?;
    // The database would take another case too, the peer does not.
    let is_spelt_so = zone.iana_name().is_none_or(|known| known == name);
    if is_spelt_so { Ok(zone) } else { Err(refused()) }
}

/// Reads a pattern for the clock of `zone`, or of the zone that it begins with.
fn schedule(cron: &str, zone: Option<TimeZone>) -> Result<Schedule, WindowError> {
    let Some(prefixed) = ZONE_PREFIXES.iter().find_map(|prefix| cron.strip_prefix(prefix)) else {
        return Schedule::parse(cron, zone.unwrap_or(TimeZone::UTC));
    };
    let refused = |reason: &str| WindowError::Cron {
        pattern: cron.chars().take(SHOWN_CHARS).collect(),
        reason: reason.to_owned(),
    };
    if zone.is_some() {
        return Err(refused("the time zone is said twice, in the pattern and beside it"));
    }
    let (name, pattern) = prefixed.split_once(' ').ok_or_else(|| refused("there is only a time zone"))?;
    Schedule::parse(pattern.trim(), time_zone(name)?)
}

/// A message shows at most this much of a pattern.
pub(super) const SHOWN_CHARS: usize = 64;

//! Windows in which renewal is allowed: a cron pattern that opens one, a time zone, and how long it stays open.

use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, CronDateTime};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, Zoned};

/// Longest cron pattern, in bytes: five fields that list every minute, hour and day are shorter.
const PATTERN_MAX: usize = 512;

/// Five fields, as in the peer: no seconds, no years.
const FIELDS: usize = 5;

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
    cron: Cron,
    zone: TimeZone,
    duration: SignedDuration,
}

impl Window {
    /// Reads an element of `spec.renewal.windows`: a cron pattern of five fields, how long the window is open, and the
    /// IANA name of a time zone (UTC without one). The time zones are those that were compiled in.
    ///
    /// # Errors
    /// When one of them is not usable, or the pattern never matches.
    pub fn parse(cron: &str, duration: SignedDuration, zone: Option<&str>) -> Result<Self, WindowError> {
        if duration < SignedDuration::from_secs(1) {
            return Err(WindowError::Duration(duration));
        }
        let zone = match zone.filter(|name| !name.is_empty()) {
            None => TimeZone::UTC,
            Some(name) => TimeZoneDatabase::bundled()
                .get(name)
                .map_err(|_| WindowError::Zone { name: name.to_owned() })?,
        };
        Ok(Self { cron: pattern(cron)?, zone, duration })
    }

    /// Whether the window is open at `at`; the instant at which it closes is no longer within.
    pub fn contains(&self, at: Timestamp) -> bool {
        let start = previous(&self.cron, &at.to_zoned(self.zone.clone()));
        start.is_some_and(|start| at < self.end(start.timestamp()))
    }

    /// When it opens next, at `from` or later; `None` beyond all dates.
    pub fn next_start(&self, from: Timestamp) -> Option<Timestamp> {
        let from = from.to_zoned(self.zone.clone());
        self.cron.find_next_occurrence(&from, true).ok().map(|start| start.timestamp())
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
        let start = previous(&self.cron, &before.to_zoned(self.zone.clone()))?.timestamp();
        let end = self.end(start);
        (earliest < end && earliest <= before).then_some((start.max(earliest), end))
    }

    fn end(&self, start: Timestamp) -> Timestamp {
        start.saturating_add(self.duration).unwrap_or(Timestamp::MAX)
    }
}

/// The last match at `at` or before.
fn previous(cron: &Cron, at: &Zoned) -> Option<Zoned> {
    cron.find_previous_occurrence(at, true).ok()
}

fn pattern(text: &str) -> Result<Cron, WindowError> {
    let refused = |reason: &str| WindowError::Cron { pattern: text.to_owned(), reason: reason.to_owned() };
    if text.len() > PATTERN_MAX {
        let shown: String = text.chars().take(PATTERN_MAX / 8).collect();
        return Err(WindowError::Cron { pattern: shown, reason: "it is too long".to_owned() });
    }
    if text.split_ascii_whitespace().count() != FIELDS {
        return Err(refused("it does not have five fields"));
    }
    if let Some(item) =
        text.split_ascii_whitespace().flat_map(|field| field.split(',')).find(|item| !is_item(item))
    {
        return Err(refused(&format!("{item:?} is neither a value nor a range, with or without a step")));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed);
    // The peer's parser takes `5/10` for "from 5 on, every 10".
    let parser = parser.sloppy_ranges(true).build();
    let text_of_peer = with_days_of_week(text).map_err(|reason| refused(&reason))?;
    let cron = parser.parse(&text_of_peer).map_err(|error| refused(&error.to_string()))?;
    if matches(&cron, &jiff::civil::date(2000, 1, 1).at(0, 0, 0, 0)) {
        Ok(cron)
    } else {
        Err(WindowError::Never { pattern: text.to_owned() })
    }
}

/// Whether an element of a field's list is one that every cron knows: `*`, `5`, `1-5`, `MON`, each with a step or
/// without. The parser has extensions of its own, and takes an empty element for a set without members, for which it
/// would search for minutes.
fn is_item(item: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value =
        |text: &str| digits(text) || (text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic()));
    let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
    let range_is_sound = match range.split_once('-') {
        Some((first, last)) => value(first) && value(last),
        None => range == "*" || range == "?" || value(range),
    };
    range_is_sound && step.is_none_or(digits)
}

/// The days of the week by their names in a pattern, from number 0 on.
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// The pattern with numbers from 0 to 6 as days of the week, as the peer counts them. The parser goes on to 7, which
/// is Sunday once more, so `5/2` would mean Friday and Sunday for it, and `FRI-SUN` would have an order.
fn with_days_of_week(text: &str) -> Result<String, String> {
    let (rest, days) =
        text.trim_ascii_end().rsplit_once(|c: char| c.is_ascii_whitespace()).unwrap_or(("", text));
    let items: Result<Vec<String>, String> = days.split(',').map(days_of_week).collect();
    Ok(format!("{rest} {}", items?.join(",")))
}

/// One element of the list, of the form that [`is_item`] checks.
fn days_of_week(item: &str) -> Result<String, String> {
    let number = |value: &str| {
        let named = DAYS.iter().position(|name| name.eq_ignore_ascii_case(value));
        let number = named.or_else(|| value.parse().ok()).filter(|number| *number < DAYS.len());
        number.ok_or_else(|| {
            format!(
                "{value:?} in {item:?} is no day of the week; they are 0 to 6, or SUN to SAT, and Sunday is 0"
            )
        })
    };
    let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
    let range = match range.split_once('-') {
        Some((first, last)) => format!("{}-{}", number(first)?, number(last)?),
        None if range == "*" || range == "?" => range.to_owned(),
        None if step.is_some() => format!("{}-6", number(range)?),
        None => number(range)?.to_string(),
    };
    Ok(step.map_or(range.clone(), |step| format!("{range}/{step}")))
}

/// Whether there is a match at all. The parser gives up at the year 5000, after some thousand months.
fn matches(cron: &Cron, from: &impl CronDateTime) -> bool {
    cron.find_next_occurrence(from, true).is_ok()
}

//! When windows open: a cron pattern, or a period.

use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::window::{SHOWN_CHARS, WindowError};

/// Longest cron pattern, in bytes: five fields that list every minute, hour and day are shorter.
const PATTERN_MAX: usize = 512;

/// Five fields, as in the peer: no seconds, no years.
const FIELDS: usize = 5;

/// Words that stand for a pattern.
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// Instants at which a window opens.
#[derive(Debug, Clone)]
pub(super) enum Schedule {
    /// Whenever a pattern matches the clock of a time zone.
    Cron(Box<Cron>, TimeZone),
    /// `@every`: at multiples of so many seconds since 1970 in UTC, at least 1.
    Every(i64),
}

impl Schedule {
    /// Reads five fields, a word such as `@daily`, or `@every` and a duration, for the clock of `zone`.
    ///
    /// # Errors
    /// [`WindowError::Cron`], and [`WindowError::Never`] for days that do not exist.
    pub(super) fn parse(text: &str, zone: TimeZone) -> Result<Self, WindowError> {
        if let Some(period) = text.strip_prefix("@every ") {
            return period_seconds(period).map(Self::Every).ok_or_else(|| WindowError::Cron {
                pattern: shown(text),
                reason: "after @every stands a duration such as 24h or 1h30m".to_owned(),
            });
        }
        let pattern_of_word = WORDS.iter().find(|(word, _)| *word == text).map(|(_, pattern)| *pattern);
        Ok(Self::Cron(Box::new(pattern(pattern_of_word.unwrap_or(text))?), zone))
    }

    /// The first instant at `from` or later; `None` beyond all dates.
    pub(super) fn next(&self, from: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron(cron, zone) => {
                let next = cron.find_next_occurrence(&from.to_zoned(zone.clone()), true).ok()?;
                Some(next.timestamp())
            }
            Self::Every(seconds) => {
                let last = self.previous(from)?;
                if last == from {
                    return Some(last);
                }
                last.checked_add(SignedDuration::from_secs(*seconds)).ok()
            }
        }
    }

    /// The last instant at `at` or before; `None` before all dates.
    pub(super) fn previous(&self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron(cron, zone) => {
                let previous = cron.find_previous_occurrence(&at.to_zoned(zone.clone()), true).ok()?;
                Some(previous.timestamp())
            }
            Self::Every(seconds) => {
                let second = at.as_second();
                // The fraction of an instant before 1970 counts towards zero.
                let second = if at.subsec_nanosecond() < 0 { second.saturating_sub(1) } else { second };
                Timestamp::from_second(second.saturating_sub(second.rem_euclid(*seconds))).ok()
            }
        }
    }
}

/// Whole seconds of a duration in Go's notation, at least 1 as in the peer. `None`: it is none.
fn period_seconds(text: &str) -> Option<i64> {
    // The parser knows days and words too, Go does not.
    let of_go = |byte: u8| byte.is_ascii_digit() || b".+-hmsun".contains(&byte) || !byte.is_ascii();
    if text.len() > PATTERN_MAX || !text.bytes().all(of_go) {
        return None;
    }
    text.parse::<SignedDuration>().ok().map(|period| period.as_secs().max(1))
}

/// A pattern that is cut to a printable length.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

fn pattern(text: &str) -> Result<Cron, WindowError> {
    let refused = |reason: &str| WindowError::Cron { pattern: text.to_owned(), reason: reason.to_owned() };
    if text.len() > PATTERN_MAX {
        return Err(WindowError::Cron { pattern: shown(text), reason: "it is too long".to_owned() });
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
    // The peer knows `?` in every field, the parser in two.
    let text_of_peer = with_days_of_week(&text.replace('?', "*")).map_err(|reason| refused(&reason))?;
    let cron = parser.parse(&text_of_peer).map_err(|error| refused(&error.to_string()))?;
    if matches(&cron) { Ok(cron) } else { Err(WindowError::Never { pattern: text.to_owned() }) }
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

/// Whether there is a day that it matches. A pattern says no year, and 2000 has every date that there is. The parser's own
/// search would go on to the year 5000, which is milliseconds of work for a text that anybody may send.
fn matches(cron: &Cron) -> bool {
    let days = std::iter::successors(Some(jiff::civil::date(2000, 1, 1)), |day| day.tomorrow().ok());
    days.take_while(|day| day.year() == 2000).any(|date| {
        let numbers = (u32::try_from(date.month()), u32::try_from(date.day()));
        let (Ok(month), Ok(day)) = numbers else { return false };
        let since_sunday = u32::try_from(date.weekday().to_sunday_zero_offset()).unwrap_or(0);
        let weekday = Weekday::from_days_from_sunday(since_sunday);
        let is_in_month = cron.pattern.month_match(month).unwrap_or(false);
        is_in_month && cron.pattern.day_match(2000, month, day, weekday).unwrap_or(false)
    })
}

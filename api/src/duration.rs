//! Durations as the API writes them: Go's syntax, kept as text until a value is wanted.

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt};

/// A duration as written, such as `2160h` or `1h30m`.
///
/// The schema accepts any text here, so reading does too; [`GoDuration::parse`] judges it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GoDuration(String);

impl GoDuration {
    /// Takes text as it is, without judging it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The length of time that is meant.
    ///
    /// The grammar is Go's: an optional sign, then numbers with an optional fraction, each
    /// followed by a unit (`h`, `m`, `s`, `ms`, `us`, `µs`, `ns`); `0` needs no unit. Parts of a
    /// nanosecond are dropped.
    ///
    /// # Errors
    /// [`DurationError`] says what is wrong and, where it can be guessed, what to write instead.
    pub fn parse(&self) -> Result<SignedDuration, DurationError> {
        let text = self.0.as_str();
        if text.is_empty() {
            return Err(DurationError::Empty);
        }
        scan(text, go_unit).map_err(|fault| DurationError::new(text, fault))
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<SignedDuration> for GoDuration {
    /// Writes the shortest text of hours, minutes and seconds, such as `2160h` or `1h30m`.
    fn from(duration: SignedDuration) -> Self {
        Self(short(duration))
    }
}

impl JsonSchema for GoDuration {
    fn schema_name() -> Cow<'static, str> {
        "GoDuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// There is no text.
    #[error("duration is empty; write a number with a unit, such as \"2160h\"")]
    Empty,
    /// A number stands without a unit.
    #[error("duration {text:?} has a number without a unit; write for example \"2160h\" (units are {UNITS})")]
    MissingUnit {
        /// The text, cut to a printable length.
        text: String,
    },
    /// A unit is not one of Go's.
    #[error("duration {text:?} has the unknown unit {unit:?}; {} (units are {UNITS})", advice(.suggestion.as_deref()))]
    UnknownUnit {
        /// The text, cut to a printable length.
        text: String,
        /// The unit as written, cut to a printable length.
        unit: String,
        /// The same length of time in units that exist, where the unit could be guessed.
        suggestion: Option<String>,
    },
    /// Not numbers with units at all.
    #[error("duration {text:?} is not a row of numbers with units; {} (units are {UNITS})", advice(.suggestion.as_deref()))]
    Syntax {
        /// The text, cut to a printable length.
        text: String,
        /// The same length of time in valid syntax, where it could be guessed.
        suggestion: Option<String>,
    },
    /// Longer than 2^63 nanoseconds, which is what the API's type can hold.
    #[error("duration {text:?} is out of range; the longest is 2562047h")]
    OutOfRange {
        /// The text, cut to a printable length.
        text: String,
    },
}

impl DurationError {
    fn new(text: &str, fault: Fault) -> Self {
        let suggestion = || scan(&text.replace(' ', ""), guessed_unit).ok().map(short);
        let clipped = clip(text);
        match fault {
            Fault::MissingUnit => Self::MissingUnit { text: clipped },
            Fault::UnknownUnit(unit) => {
                Self::UnknownUnit { text: clipped, unit: clip(&unit), suggestion: suggestion() }
            }
            Fault::Syntax => Self::Syntax { text: clipped, suggestion: suggestion() },
            Fault::OutOfRange => Self::OutOfRange { text: clipped },
        }
    }
}

/// The units that exist, for messages.
const UNITS: &str = "h, m, s, ms, us, ns";

/// Messages repeat at most this much of a text that may be of any length.
const CLIP_CHARS: usize = 40;

const NANOSECOND: u64 = 1;
const MICROSECOND: u64 = 1_000 * NANOSECOND;
const MILLISECOND: u64 = 1_000 * MICROSECOND;
const SECOND: u64 = 1_000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// What stops a scan, before it is put into words.
#[derive(Debug)]
enum Fault {
    Syntax,
    MissingUnit,
    UnknownUnit(String),
    OutOfRange,
}

/// Nanoseconds of a unit that Go knows.
fn go_unit(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => NANOSECOND,
        // The micro sign and the Greek letter look alike; both are accepted.
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    })
}

/// Nanoseconds of a unit that people write; for suggestions only. A month is left out: nobody can
/// tell how long it is meant to be.
fn guessed_unit(unit: &str) -> Option<u64> {
    go_unit(unit).or_else(|| {
        Some(match unit.to_ascii_lowercase().as_str() {
            "sec" | "secs" | "second" | "seconds" | "s" => SECOND,
            "min" | "mins" | "minute" | "minutes" => MINUTE,
            "hr" | "hrs" | "hour" | "hours" | "h" => HOUR,
            "d" | "day" | "days" => 24 * HOUR,
            "w" | "week" | "weeks" => 7 * 24 * HOUR,
            "y" | "yr" | "year" | "years" => 365 * 24 * HOUR,
            _ => return None,
        })
    })
}

/// Reads sign, numbers and units, and sums them up.
fn scan(text: &str, unit_nanos: fn(&str) -> Option<u64>) -> Result<SignedDuration, Fault> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(Fault::Syntax);
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(Fault::Syntax);
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(Fault::MissingUnit);
        }
        let nanos = unit_nanos(unit).ok_or_else(|| Fault::UnknownUnit(unit.to_owned()))?;
        total = nanoseconds(whole, fraction, nanos)
            .and_then(|part| total.checked_add(part))
            .ok_or(Fault::OutOfRange)?;
        rest = after;
    }
    let magnitude = i128::try_from(total).map_err(|_| Fault::OutOfRange)?;
    let signed = i64::try_from(if negative { -magnitude } else { magnitude });
    signed.map(SignedDuration::from_nanos).map_err(|_| Fault::OutOfRange)
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `whole.fraction` units of `unit` nanoseconds. None: more than any duration can be.
fn nanoseconds(whole: &str, fraction: &str, unit: u64) -> Option<u128> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = u128::from(whole) * u128::from(unit);
    // Each digit weighs a tenth of the one before it; below a nanosecond nothing is left to add.
    let mut weight = u128::from(unit) * FRACTION_SCALE;
    let mut scaled: u128 = 0;
    for digit in fraction.chars().filter_map(|c| c.to_digit(10)) {
        weight /= 10;
        scaled += u128::from(digit) * weight;
    }
    nanos += scaled / FRACTION_SCALE;
    Some(nanos)
}

/// Guard digits that keep the weights of a fraction exact: no unit times this leaves u128.
const FRACTION_SCALE: u128 = 1_000_000_000_000_000_000;

/// The shortest text of a duration, such as `36h`, `1h30m` or `1.5s`.
fn short(duration: SignedDuration) -> String {
    let nanos = duration.as_nanos().unsigned_abs();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let (hour, minute, second) = (u128::from(HOUR), u128::from(MINUTE), u128::from(SECOND));
    let mut text = String::new();
    if duration.is_negative() {
        text.push('-');
    }
    for (count, unit) in [(nanos / hour, 'h'), (nanos % hour / minute, 'm')] {
        if count > 0 {
            text += &format!("{count}{unit}");
        }
    }
    let (seconds, part) = (nanos % minute / second, nanos % second);
    if part > 0 {
        let fraction = format!("{part:09}");
        text += &format!("{seconds}.{}s", fraction.trim_end_matches('0'));
    } else if seconds > 0 {
        text += &format!("{seconds}s");
    }
    text
}

fn advice(suggestion: Option<&str>) -> String {
    match suggestion {
        Some(text) => format!("write {text:?}"),
        None => "write for example \"2160h\"".to_owned(),
    }
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(CLIP_CHARS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, wanted: &str) {
        let error = GoDuration::new(text).parse().expect_err(text);
        assert_eq!(error.to_string(), wanted, "for {text:?}");
    }

    fn check(text: &str, nanos: i64) {
        let parsed = GoDuration::new(text).parse();
        assert_eq!(parsed, Ok(SignedDuration::from_nanos(nanos)), "for {text:?}");
    }

    #[test]
    fn a_unit_that_does_not_exist_is_answered_with_what_to_write() {
        let tail = "(units are h, m, s, ms, us, ns)";
        let cases = [
            ("90d", "d", "write \"2160h\""),
            ("1d12h", "d", "write \"36h\""),
            ("-1w", "w", "write \"-168h\""),
            ("1y", "y", "write \"8760h\""),
            ("90 min", " min", "write \"1h30m\""),
            ("24H", "H", "write \"24h\""),
            ("3months", "months", "write for example \"2160h\""),
        ];
        for (text, unit, advice) in cases {
            let wanted = format!("duration {text:?} has the unknown unit {unit:?}; {advice} {tail}");
            refused(text, &wanted);
        }
    }

    #[test]
    fn text_that_is_not_numbers_with_units_is_refused() {
        refused("", "duration is empty; write a number with a unit, such as \"2160h\"");
        let number =
            "has a number without a unit; write for example \"2160h\" (units are h, m, s, ms, us, ns)";
        for text in ["90", "1h30", "3.5", "00"] {
            refused(text, &format!("duration {text:?} {number}"));
        }
        let syntax =
            "is not a row of numbers with units; write for example \"2160h\" (units are h, m, s, ms, us, ns)";
        for text in ["h", "-", "+", ".", ".s", "--1h", "+-1h", "forever", "-.", "P90D"] {
            refused(text, &format!("duration {text:?} {syntax}"));
        }
        refused(
            " 1h",
            "duration \" 1h\" is not a row of numbers with units; write \"1h\" (units are h, m, s, ms, us, ns)",
        );
    }

    #[test]
    fn a_duration_beyond_the_range_of_the_api_is_refused() {
        for text in ["2562048h", "9223372036854775808ns", "-9223372036854775809ns"] {
            let wanted = format!("duration {text:?} is out of range; the longest is 2562047h");
            refused(text, &wanted);
        }
        refused(
            "99999999999999999999999999h",
            "duration \"99999999999999999999999999h\" is out of range; the longest is 2562047h",
        );
    }

    #[test]
    fn a_message_does_not_repeat_a_long_text() {
        let error = GoDuration::new("9".repeat(10_000)).parse().unwrap_err().to_string();
        assert!(error.len() < 200, "{error}");
    }

    #[test]
    fn every_form_of_the_grammar_is_read() {
        let hour = 3_600_000_000_000;
        let cases = [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("0s", 0),
            ("2160h", 2160 * hour),
            ("2160h0m0s", 2160 * hour),
            ("1h30m", hour + hour / 2),
            ("1.5h", hour + hour / 2),
            (".5h", hour / 2),
            ("1.h", hour),
            ("-1.5h", -hour - hour / 2),
            ("+5s", 5_000_000_000),
            ("1h1h", 2 * hour),
            ("1ms1us1ns", 1_001_001),
            ("2\u{b5}s3\u{3bc}s", 5_000),
            ("0.0000000001s", 0),
            ("1.000000001s", 1_000_000_001),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ];
        for (text, nanos) in cases {
            check(text, nanos);
        }
        check(&format!("0.{}s", "9".repeat(5_000)), 999_999_999);
    }

    #[test]
    fn a_written_duration_reads_back_as_itself() {
        let cases = [
            (0, "0s"),
            (1, "0.000000001s"),
            (1_500_000_000, "1.5s"),
            (90 * 60 * 1_000_000_000, "1h30m"),
            (-3_600_000_000_000, "-1h"),
            (2160 * 3_600_000_000_000, "2160h"),
            (3_600_000_000_000 + 1_000_000_000, "1h1s"),
        ];
        for (nanos, text) in cases {
            let duration = SignedDuration::from_nanos(nanos);
            assert_eq!(GoDuration::from(duration).as_str(), text);
            check(text, nanos);
        }
    }
}

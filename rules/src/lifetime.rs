//! Durations in objects.

use std::borrow::Cow;

use api::{DurationError, GoDuration};

use crate::finding::Fault;
use crate::rule::Findings;

/// B07: the text at `path` is a duration.
pub(crate) fn is_readable(
    path: impl Into<Cow<'static, str>>,
    duration: Option<&GoDuration>,
    findings: &mut Findings,
) {
    is_readable_at(|| path.into(), duration, findings);
}

/// As [`is_readable`], for paths that are put together only when they are told.
pub(crate) fn is_readable_at(
    path: impl FnOnce() -> Cow<'static, str>,
    duration: Option<&GoDuration>,
    findings: &mut Findings,
) {
    let Some(duration) = duration else { return };
    let Err(error) = duration.parse() else { return };
    let (detail, advice) = told(&error);
    findings.at(path(), Fault::Invalid).value(duration.as_str()).detail(detail).advice(advice);
}

/// Rewrites a duration in one form, so that texts of one length compare equal. What cannot be read stays.
pub(crate) fn canonicalise(duration: &mut Option<GoDuration>) {
    if let Some(duration) = duration
        && let Ok(length) = duration.parse()
    {
        *duration = GoDuration::from(length);
    }
}

/// What is wrong, and what would be right; the value itself is told by the finding.
fn told(error: &DurationError) -> (String, String) {
    let write = |suggestion: Option<&str>| match suggestion {
        Some(text) => format!("write {text:?}"),
        None => "write a number with a unit, such as \"2160h\"".to_owned(),
    };
    match error {
        DurationError::Empty => ("empty".to_owned(), write(None)),
        DurationError::MissingUnit { .. } => ("a number has no unit".to_owned(), write(None)),
        DurationError::UnknownUnit { unit, suggestion, .. } => (
            format!("{:?} is not a unit of time here (h, m, s, ms, us and ns are)", unit.trim()),
            write(suggestion.as_deref()),
        ),
        DurationError::Syntax { suggestion, .. } => {
            ("not a row of numbers with units".to_owned(), write(suggestion.as_deref()))
        }
        DurationError::OutOfRange { .. } => {
            ("longer than any duration can be".to_owned(), "write at most \"2562047h\"".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_be_wrong_has_its_own_answer() {
        for (text, detail, advice) in [
            ("", "empty", "write a number with a unit, such as \"2160h\""),
            ("90", "a number has no unit", "write a number with a unit, such as \"2160h\""),
            ("90d", "\"d\" is not a unit of time here (h, m, s, ms, us and ns are)", "write \"2160h\""),
            ("forever", "not a row of numbers with units", "write a number with a unit, such as \"2160h\""),
            (" 1h", "not a row of numbers with units", "write \"1h\""),
            ("9999999h", "longer than any duration can be", "write at most \"2562047h\""),
        ] {
            let error = GoDuration::new(text).parse().unwrap_err();
            assert_eq!(told(&error), (detail.to_owned(), advice.to_owned()), "for {text:?}");
        }
    }

    #[test]
    fn durations_of_one_length_compare_equal_in_canonical_form() {
        let canonical = |text: &str| {
            let mut duration = Some(GoDuration::new(text));
            canonicalise(&mut duration);
            duration
        };
        assert_ne!(canonical("90d"), canonical("2160h"));
        assert_eq!(canonical("90d"), Some(GoDuration::new("90d")));
        assert_eq!(canonical("60m"), canonical("1h0m0s"));
    }
}

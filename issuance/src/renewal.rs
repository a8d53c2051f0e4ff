//! When a certificate is to be renewed.

use jiff::{SignedDuration, Timestamp};

/// The instant of renewal: `renew_before` ahead of expiry where that lies within the certificate's life, otherwise
/// after two thirds of it. The life is that of the certificate, not the one that was asked for: a CA may have cut it.
///
/// `issued_at` is the moment of issue. Renewal never comes sooner than a third of the remaining life after it, so
/// that back-dated certificates of a few seconds work.
pub fn renewal_time(
    issued_at: Timestamp,
    not_before: Timestamp,
    not_after: Timestamp,
    renew_before: Option<SignedDuration>,
) -> Timestamp {
    let lifetime = not_after.duration_since(not_before);
    let ahead = match renew_before {
        Some(ahead) if ahead > SignedDuration::ZERO && ahead < lifetime => ahead,
        _ => lifetime / 3,
    };
    let earliest = issued_at.saturating_add(not_after.duration_since(issued_at) / 3);
    let wanted = not_after.saturating_sub(ahead);
    match (earliest, wanted) {
        (Ok(earliest), Ok(wanted)) => wanted.max(earliest),
        // Beyond the range of timestamps, which the fields of a certificate cannot reach.
        _ => not_after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(renew_before_secs: Option<i64>, expected_secs: i64) {
        let at = |secs| Timestamp::from_second(secs).unwrap();
        let got = renewal_time(at(0), at(-300), at(3_300), renew_before_secs.map(SignedDuration::from_secs));
        assert_eq!(got, at(expected_secs), "{renew_before_secs:?}");
    }

    #[test]
    fn an_unusable_margin_falls_back_to_two_thirds() {
        for unusable in [None, Some(0), Some(-5), Some(3_600), Some(90_000)] {
            check(unusable, 2_100);
        }
    }

    #[test]
    fn a_margin_counts_back_from_expiry_but_not_into_the_first_third() {
        check(Some(300), 3_000);
        check(Some(3_500), 1_100);
    }
}

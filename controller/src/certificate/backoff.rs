//! How long to wait after an attempt that failed. Everything that it depends on is in the status, so a restart waits on.

use api::CertificateStatus;
use api::conditions::{self, ConditionStatus};
use jiff::{SignedDuration, Timestamp};

use crate::certificate::snapshot::Backoffs;
use crate::certificate::status::{INVALID_CERTIFICATE, REQUEST_FAILED};

/// After the first failure that nobody decided on; it doubles with each.
const PASSING_MIN: SignedDuration = SignedDuration::from_mins(1);

/// At most after such a failure.
const PASSING_MAX: SignedDuration = SignedDuration::from_hours(1);

/// Doublings beyond which every length is at its maximum, so that nothing overflows.
const DOUBLINGS_MAX: u32 = 40;

/// When the next attempt may begin; `None` when nothing failed, or no wait is wanted.
pub fn until(status: &CertificateStatus, backoffs: Backoffs) -> Option<Timestamp> {
    let failed_at = status.last_failure_time.as_ref()?.0;
    let length = length(status.failed_issuance_attempts.unwrap_or(1), is_passing(status), backoffs);
    (length > SignedDuration::ZERO).then(|| failed_at.saturating_add(length).unwrap_or(Timestamp::MAX))
}

/// Whether the last attempt failed by what may be otherwise in a moment, and not because somebody said no.
fn is_passing(status: &CertificateStatus) -> bool {
    let issuing = conditions::find(&status.conditions, conditions::ISSUING);
    let reason = issuing.filter(|issuing| issuing.status == ConditionStatus::False);
    let reason = reason.and_then(|issuing| issuing.reason.as_deref());
    reason.is_some_and(|reason| [INVALID_CERTIFICATE, REQUEST_FAILED].contains(&reason))
}

fn length(attempts: i64, is_passing: bool, backoffs: Backoffs) -> SignedDuration {
    let refused = doubled(backoffs.minimum, backoffs.maximum, attempts);
    if is_passing { doubled(PASSING_MIN, PASSING_MAX, attempts).min(refused) } else { refused }
}

fn doubled(minimum: SignedDuration, maximum: SignedDuration, attempts: i64) -> SignedDuration {
    let doublings = u32::try_from(attempts.max(1) - 1).unwrap_or(u32::MAX).min(DOUBLINGS_MAX);
    let seconds = i128::from(minimum.as_secs()) << doublings;
    i64::try_from(seconds).map_or(maximum, SignedDuration::from_secs).min(maximum)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::testing::at;

    fn check(reason: &str, attempts: Option<i64>, backoffs: (i64, i64), expected: Option<i64>) {
        let status = CertificateStatus {
            conditions: vec![conditions::Condition::new(
                conditions::ISSUING,
                ConditionStatus::False,
                reason,
                "m",
            )],
            last_failure_time: Some(Time(at(1000))),
            failed_issuance_attempts: attempts,
            ..CertificateStatus::default()
        };
        let (minimum, maximum) =
            (SignedDuration::from_mins(backoffs.0), SignedDuration::from_mins(backoffs.1));
        let waited =
            until(&status, Backoffs { minimum, maximum }).map(|until| (until.as_second() - 1000) / 60);
        assert_eq!(waited, expected, "{reason} {attempts:?} {backoffs:?}");
    }

    #[test]
    fn refusals_wait_from_an_hour_to_thirty_two() {
        let usual = (60, 1920);
        check("Denied", None, usual, Some(60));
        check("Denied", Some(-3), usual, Some(60));
        check("Failed", Some(1), usual, Some(60));
        check("Failed", Some(2), usual, Some(120));
        check("Failed", Some(6), usual, Some(1920));
        check("Failed", Some(7), usual, Some(1920));
        check("Failed", Some(i64::MAX), usual, Some(1920));
    }

    #[test]
    fn what_may_pass_waits_for_minutes_and_never_longer_than_a_refusal() {
        for reason in ["InvalidCertificate", "RequestFailed"] {
            check(reason, Some(1), (60, 1920), Some(1));
            check(reason, Some(3), (60, 1920), Some(4));
            check(reason, Some(50), (60, 1920), Some(60));
            check(reason, Some(50), (5, 10), Some(10));
        }
    }

    #[test]
    fn without_a_minimum_or_a_failure_there_is_no_wait() {
        check("Failed", Some(9), (0, 1920), None);
        check("RequestFailed", Some(9), (0, 1920), None);
        assert_eq!(until(&CertificateStatus::default(), Backoffs::default()), None);
    }
}

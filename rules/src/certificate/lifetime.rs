//! Rules about the lifetime, and when the certificate is renewed before its end.

use std::borrow::Cow;

use api::{CertificateSpec, GoDuration};
use issuance::renewal::share;
use jiff::SignedDuration;

use super::CERTIFICATE;
use crate::case::Case;
use crate::finding::Fault;
use crate::lifetime;
use crate::rule::{Check, Class, Findings};

/// Shortest lifetime that can be asked for.
const DURATION_MIN: SignedDuration = SignedDuration::from_hours(1);

/// Least time between renewal and end.
const RENEW_BEFORE_MIN: SignedDuration = SignedDuration::from_mins(5);

/// Shares of a lifetime, in per cent, that are neither nothing nor all of it.
const PERCENTAGES: std::ops::RangeInclusive<i32> = 1..=99;

pub(super) static RULES: &[Check<CertificateSpec>] = &[
    Check::new(
        "C24",
        CERTIFICATE,
        "spec.duration",
        Class::Spec,
        "The lifetime is at least an hour",
        |case, findings| {
            let duration = case.object.spec.duration.as_ref();
            if let Some((text, length)) = read(duration).filter(|(_, length)| *length < DURATION_MIN) {
                findings
                    .here(Fault::Invalid)
                    .value(text)
                    .detail(if length.is_positive() { "shorter than an hour" } else { "no time at all" })
                    .advice("write at least \"1h\"");
            }
        },
    ),
    Check::new(
        "C25",
        CERTIFICATE,
        "spec.renewBefore",
        Class::Spec,
        "The time of renewal is said by renewBefore or by renewBeforePercentage",
        renewal_is_said_once,
    ),
    Check::new(
        "C26",
        CERTIFICATE,
        "spec.renewBefore",
        Class::Spec,
        "A certificate is renewed at least five minutes before its end",
        |case, findings| {
            let margin = read(case.object.spec.renew_before.as_ref());
            if let Some((text, _)) = margin.filter(|(_, margin)| *margin < RENEW_BEFORE_MIN) {
                findings
                    .here(Fault::Invalid)
                    .value(text)
                    .detail("shorter than five minutes")
                    .advice("write at least \"5m\"");
            }
        },
    ),
    Check::new(
        "C27",
        CERTIFICATE,
        "spec.renewBefore",
        Class::Spec,
        "A certificate is renewed after its beginning: renewBefore is shorter than the lifetime",
        |case, findings| {
            let Some(lifetime) = lifetime(case) else { return };
            let margin = read(case.object.spec.renew_before.as_ref());
            if let Some((text, _)) = margin.filter(|(_, margin)| *margin >= lifetime) {
                let finding = findings.here(Fault::Invalid).value(text);
                finding.detail(format!("not shorter than the lifetime of {}", GoDuration::from(lifetime)));
                // A third of less may break C26, and such a lifetime is refused in itself.
                if lifetime >= DURATION_MIN {
                    let third = GoDuration::from(lifetime / 3);
                    finding.advice(format!("write less, such as {:?}", third.as_str()));
                }
            }
        },
    ),
    // cert-manager takes the share that has passed for the one that is left, and so refuses 99 with a lifetime of 1h and
    // accepts 1. The documented meaning is the right one; since it refuses what was accepted, the rule ratchets.
    Check::new(
        "C28",
        CERTIFICATE,
        "spec.renewBeforePercentage",
        Class::Spec,
        "The share of the lifetime that is left at renewal is at least five minutes (cert-manager looks at the share \
         that has passed)",
        percentage_is_long_enough,
    ),
    Check::new(
        "C29",
        CERTIFICATE,
        "spec.renewBeforePercentage",
        Class::Spec,
        "Beside a duration, the share of the lifetime that is left at renewal is 1 to 99",
        |case, findings| percentage_is_a_share(case, true, findings),
    ),
    Check::new(
        "B05",
        CERTIFICATE,
        "spec.renewBeforePercentage",
        Class::Spec,
        "The share of the lifetime that is left at renewal is 1 to 99, without a duration too",
        |case, findings| percentage_is_a_share(case, false, findings),
    ),
    Check::new(
        "B07",
        CERTIFICATE,
        "spec",
        Class::Spec,
        "Durations can be read: numbers with the units h, m, s, ms, us or ns",
        durations_can_be_read,
    ),
];

/// A duration that is given and can be read, with its text.
fn read(duration: Option<&GoDuration>) -> Option<(&str, SignedDuration)> {
    let duration = duration?;
    Some((duration.as_str(), duration.parse().ok()?))
}

/// How long the certificate is to live. None: that cannot be read, which B07 tells.
pub(super) fn lifetime(case: &Case<'_, CertificateSpec>) -> Option<SignedDuration> {
    case.object.spec.duration_or_default().ok()
}

/// C25.
fn renewal_is_said_once(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let spec = &case.object.spec;
    if let (Some(margin), Some(percentage)) = (&spec.renew_before, spec.renew_before_percentage) {
        let advice = "keep one of renewBefore and renewBeforePercentage";
        let detail = "the time of renewal is said twice";
        findings.here(Fault::Invalid).value(margin.as_str()).detail(detail).advice(advice);
        findings
            .at("spec.renewBeforePercentage", Fault::Invalid)
            .value(percentage)
            .detail(detail)
            .advice(advice);
    }
}

/// C28.
fn percentage_is_long_enough(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let percentage = case.object.spec.renew_before_percentage.filter(|share| PERCENTAGES.contains(share));
    let (Some(percentage), Some(lifetime)) = (percentage, lifetime(case)) else { return };
    let margin = share(lifetime, percentage);
    if margin < RENEW_BEFORE_MIN {
        let least = PERCENTAGES.clone().find(|percentage| share(lifetime, *percentage) >= RENEW_BEFORE_MIN);
        findings
            .here(Fault::Invalid)
            .value(percentage)
            .detail(format!("renewal {} before the end is less than 5m before it", GoDuration::from(margin)))
            .advice(match least {
                Some(least) => format!("write at least {least}"),
                None => "lengthen spec.duration".to_owned(),
            });
    }
}

/// C29 where a duration is given, since the peer judges only then; B05 where none is.
fn percentage_is_a_share(case: &Case<'_, CertificateSpec>, beside_duration: bool, findings: &mut Findings) {
    let spec = &case.object.spec;
    let has_duration = spec.duration.is_some() || spec.renew_before.is_some();
    let Some(percentage) = spec.renew_before_percentage else { return };
    if has_duration == beside_duration && !PERCENTAGES.contains(&percentage) {
        findings
            .here(Fault::Invalid)
            .value(percentage)
            .detail("not a share of the lifetime that is left at renewal")
            .advice("write 1 to 99; 33 renews after two thirds");
    }
}

/// B07.
fn durations_can_be_read(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let spec = &case.object.spec;
    lifetime::is_readable("spec.duration", spec.duration.as_ref(), findings);
    lifetime::is_readable("spec.renewBefore", spec.renew_before.as_ref(), findings);
    let Some(renewal) = &spec.renewal else { return };
    for (index, window) in renewal.windows.iter().enumerate() {
        // C50 tells of one that is absent.
        let duration = Some(&window.window_duration).filter(|duration| !duration.as_str().is_empty());
        let path = || Cow::Owned(format!("spec.renewal.windows[{index}].windowDuration"));
        lifetime::is_readable_at(path, duration, findings);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::check;

    #[test]
    fn a_lifetime_of_less_than_an_hour_is_refused() {
        for (duration, detail) in
            [("59m59s", "shorter than an hour"), ("0s", "no time at all"), ("-1h", "no time at all")]
        {
            let refused =
                format!("C24 spec.duration: Invalid value: {duration:?}: {detail}; write at least \"1h\"");
            check(&json!({"duration": duration}), &[&refused]);
        }
        check(&json!({"duration": "1h"}), &[]);
    }

    #[test]
    fn the_time_of_renewal_is_said_once() {
        let said_twice =
            "the time of renewal is said twice; keep one of renewBefore and renewBeforePercentage";
        check(
            &json!({"renewBefore": "360h", "renewBeforePercentage": 20}),
            &[
                &format!("C25 spec.renewBefore: Invalid value: \"360h\": {said_twice}"),
                &format!("C25 spec.renewBeforePercentage: Invalid value: 20: {said_twice}"),
            ],
        );
    }

    #[test]
    fn renewal_is_neither_too_late_nor_too_early() {
        check(
            &json!({"renewBefore": "4m59s"}),
            &[
                "C26 spec.renewBefore: Invalid value: \"4m59s\": shorter than five minutes; write at least \"5m\"",
            ],
        );
        check(
            &json!({"renewBefore": "2160h"}),
            &[
                "C27 spec.renewBefore: Invalid value: \"2160h\": not shorter than the lifetime of 2160h; write less, such as \"720h\"",
            ],
        );
        check(
            &json!({"duration": "1h", "renewBefore": "60m"}),
            &[
                "C27 spec.renewBefore: Invalid value: \"60m\": not shorter than the lifetime of 1h; write less, such as \"20m\"",
            ],
        );
        check(
            &json!({"duration": "10m", "renewBefore": "10m"}),
            &[
                "C24 spec.duration: Invalid value: \"10m\": shorter than an hour; write at least \"1h\"",
                "C27 spec.renewBefore: Invalid value: \"10m\": not shorter than the lifetime of 10m",
            ],
        );
        check(&json!({"renewBefore": "5m"}), &[]);
        check(&json!({"renewBefore": "2159h"}), &[]);
        check(&json!({"duration": "1h", "renewBefore": "59m"}), &[]);
    }

    #[test]
    fn a_share_of_less_than_five_minutes_is_refused() {
        check(
            &json!({"duration": "1h", "renewBeforePercentage": 8}),
            &[
                "C28 spec.renewBeforePercentage: Invalid value: 8: renewal 4m48s before the end is less than 5m before it; write at least 9",
            ],
        );
        check(&json!({"duration": "1h", "renewBeforePercentage": 9}), &[]);
        check(&json!({"duration": "1h", "renewBeforePercentage": 99}), &[]);
        // A hundredfold of this does not fit into nanoseconds (cert-manager issues 8937 and 8947).
        check(&json!({"duration": "876000h", "renewBeforePercentage": 33}), &[]);
    }

    #[test]
    fn a_share_of_nothing_or_of_all_is_refused_with_and_without_a_duration() {
        for percentage in [i32::MIN, -1, 0, 100, 500, i32::MAX] {
            let told = format!(
                "spec.renewBeforePercentage: Invalid value: {percentage}: not a share of the lifetime that is left at renewal; write 1 to 99; 33 renews after two thirds"
            );
            check(&json!({"renewBeforePercentage": percentage}), &[&format!("B05 {told}")]);
            let with_duration = json!({"duration": "2160h", "renewBeforePercentage": percentage});
            check(&with_duration, &[&format!("C29 {told}")]);
        }
        for percentage in [1, 33, 99] {
            check(&json!({"renewBeforePercentage": percentage}), &[]);
            check(&json!({"duration": "2160h", "renewBeforePercentage": percentage}), &[]);
        }
    }

    #[test]
    fn a_duration_that_cannot_be_read_is_answered_with_one_that_can() {
        let told = "Invalid value: \"90d\": \"d\" is not a unit of time here (h, m, s, ms, us and ns are); write \"2160h\"";
        check(
            &json!({"duration": "90d", "renewBefore": "90d",
                    "renewal": {"policy": "RenewBefore",
                                "windows": [{"cron": "@daily", "windowDuration": "90d"}]}}),
            &[
                &format!("B07 spec.duration: {told}"),
                &format!("B07 spec.renewBefore: {told}"),
                &format!("B07 spec.renewal.windows[0].windowDuration: {told}"),
            ],
        );
        check(&json!({"duration": "2160h0m0s", "renewBefore": "360h"}), &[]);
    }
}

//! Rules about `renewal`: whether the certificate is renewed, and in which windows.

use api::certificate::{RenewalPolicy, RenewalWindow};
use api::{CertificateSpec, GoDuration};
use issuance::renewal::{Window, WindowError, are_all_closed_for};

use super::{CERTIFICATE, lifetime};
use crate::case::Case;
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings, Rule};

/// Most windows that are judged, and that there may be: reading a pattern is much work, and nobody needs more.
const WINDOWS_MAX: usize = 50;

pub(super) static RULES: &[Check<CertificateSpec>] = &[
    Check::new(
        "C48",
        CERTIFICATE,
        "spec.renewal.windows",
        Class::Spec,
        "Where renewal is disabled, there are no windows",
        |case, findings| {
            let Some(renewal) = &case.object.spec.renewal else { return };
            if renewal.policy == Some(RenewalPolicy::Disabled) && !renewal.windows.is_empty() {
                findings
                    .here(Fault::Forbidden)
                    .detail("spec.renewal.policy is Disabled")
                    .advice("leave the windows out, or write RenewBefore there");
            }
        },
    ),
    Check::new(
        "C49",
        CERTIFICATE,
        "spec.renewal.policy",
        Class::Spec,
        "Beside windows or alone, the policy of renewal is RenewBefore or Disabled",
        |case, findings| {
            let Some(renewal) = &case.object.spec.renewal else { return };
            let policy = renewal.policy.as_ref();
            if !policy.is_some_and(RenewalPolicy::is_known) {
                findings
                    .here(Fault::NotSupported)
                    .value(policy.map_or("", RenewalPolicy::as_str))
                    .detail("not a policy of renewal")
                    .advice("write \"RenewBefore\" or \"Disabled\"");
            }
        },
    ),
    Check::new(
        "C50",
        CERTIFICATE,
        "spec.renewal.windows",
        Class::Spec,
        "A window says how long it is open (one of no length, which cert-manager accepts, is B06's)",
        windows_are_sound,
    )
    .with(&[&C51, &C52, &B06]),
];

static C51: Rule = Rule {
    id: "C51",
    kinds: CERTIFICATE,
    path: "spec.renewal.windows",
    class: Class::Spec,
    summary: "The time zone of a window is in the IANA database",
};

static C52: Rule = Rule {
    id: "C52",
    kinds: CERTIFICATE,
    path: "spec.renewal.windows",
    class: Class::Spec,
    summary: "The pattern of a window is cron: five fields, a word such as @daily, or @every with a duration",
};

static B06: Rule = Rule {
    id: "B06",
    kinds: CERTIFICATE,
    path: "spec.renewal.windows",
    class: Class::Spec,
    summary: "Windows open, stay open for a second at least, and are not all closed for longer than a certificate \
              lives; there are at most 50",
};

/// C50 to C52 and B06, so that good windows are read once: patterns are dear.
fn windows_are_sound(case: &Case<'_, CertificateSpec>, findings: &mut Findings) {
    let Some(renewal) = &case.object.spec.renewal else { return };
    if renewal.policy == Some(RenewalPolicy::Disabled) {
        return; // C48
    }
    let windows = || renewal.windows.iter().take(WINDOWS_MAX).enumerate();
    // One that says no time is C50's here, and one that cannot be read B07's.
    for (index, _) in windows().filter(|(_, window)| window.window_duration.as_str().is_empty()) {
        findings
            .at(format!("spec.renewal.windows[{index}].windowDuration"), Fault::Required)
            .advice("write how long the window is open, such as \"2h\"");
    }
    let mut usable = Vec::with_capacity(renewal.windows.len().min(WINDOWS_MAX));
    for (index, window) in windows() {
        let duration = window.window_duration.parse().ok();
        let zone = window.timezone.as_deref();
        match duration.map(|duration| Window::parse(&window.cron, duration, zone)) {
            Some(Ok(window)) => usable.push(window),
            read => window_fault(index, window, read.and_then(Result::err).as_ref(), findings),
        }
    }
    let findings = findings.of(&B06);
    if renewal.windows.len() > WINDOWS_MAX {
        findings
            .here(Fault::TooLong)
            .detail("more windows than anybody needs")
            .advice(format!("keep at most {WINDOWS_MAX}; one pattern can list several times"));
    } else if !usable.is_empty() && usable.len() == renewal.windows.len() {
        windows_can_be_met(case, &usable, findings);
    }
}

/// What is wrong with a window that cannot be read: each part is judged by itself.
fn window_fault(index: usize, window: &RenewalWindow, error: Option<&WindowError>, findings: &mut Findings) {
    let zone = window.timezone.as_deref().filter(|zone| !zone.is_empty());
    if let Some(zone) = zone.filter(|zone| Window::check_zone(zone).is_err()) {
        findings
            .of(&C51)
            .at(format!("spec.renewal.windows[{index}].timezone"), Fault::Invalid)
            .value(zone)
            .detail("not a time zone of the IANA database")
            .advice("write one such as \"Europe/Berlin\", in this spelling, or leave it out for UTC");
    }
    let cron = window.cron.as_str();
    let path = format!("spec.renewal.windows[{index}].cron");
    let pattern_fault = |findings: &mut Findings, path, detail: String| {
        findings
            .of(&C52)
            .at(path, Fault::Invalid)
            .value(cron)
            .detail(detail)
            .advice("write minute, hour, day of month, month and day of week, such as \"0 2 * * SAT\"");
    };
    match Window::check_cron(cron, zone) {
        Ok(()) => {}
        Err(WindowError::Never { .. }) => {
            findings
                .of(&B06)
                .at(path, Fault::Invalid)
                .value(cron)
                .detail("there is no such day, so the window never opens")
                .advice("write a day that the month has");
        }
        Err(WindowError::Cron { reason, .. }) => pattern_fault(findings, path, reason),
        Err(other @ (WindowError::Zone { .. } | WindowError::Duration(_))) => {
            pattern_fault(findings, path, other.to_string());
        }
    }
    if let Some(WindowError::Duration(_)) = error {
        findings
            .of(&B06)
            .at(format!("spec.renewal.windows[{index}].windowDuration"), Fault::Invalid)
            .value(window.window_duration.as_str())
            .detail("the window is never open")
            .advice("write a second at least, such as \"2h\"");
    }
}

/// B06, all windows together.
fn windows_can_be_met(case: &Case<'_, CertificateSpec>, windows: &[Window], findings: &mut Findings) {
    let Some(lifetime) = lifetime::lifetime(case) else { return };
    if lifetime.is_positive() && are_all_closed_for(windows, lifetime) {
        findings
            .here(Fault::Invalid)
            .detail(format!(
                "the windows can stay closed for longer than the lifetime of {}",
                GoDuration::from(lifetime)
            ))
            .advice("let one open more often, or lengthen spec.duration");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::check;

    fn window(cron: &str, duration: &str) -> Value {
        json!({"renewal": {"policy": "RenewBefore", "windows": [{"cron": cron, "windowDuration": duration}]}})
    }

    #[test]
    fn windows_where_renewal_is_disabled_are_refused_and_not_looked_at() {
        check(
            &json!({"renewal": {"policy": "Disabled", "windows": [{"cron": "x", "timezone": "y"}]}}),
            &[
                "C48 spec.renewal.windows: Forbidden: spec.renewal.policy is Disabled; leave the windows out, or write RenewBefore there",
            ],
        );
        check(&json!({"renewal": {"policy": "Disabled", "windows": []}}), &[]);
    }

    #[test]
    fn renewal_has_a_policy() {
        for (policy, value) in [(json!("Never"), "Never"), (json!(""), ""), (Value::Null, "")] {
            let refused = format!(
                "C49 spec.renewal.policy: Unsupported value: {value:?}: not a policy of renewal; write \"RenewBefore\" or \"Disabled\""
            );
            check(&json!({"renewal": {"policy": policy}}), &[&refused]);
        }
        check(&json!({"renewal": {"policy": "RenewBefore"}}), &[]);
    }

    #[test]
    fn a_window_that_lacks_something_or_cannot_be_read_is_refused() {
        let windows = json!([{"cron": "0 2 * * 7", "timezone": "Berlin"}]);
        check(
            &json!({"renewal": {"policy": "RenewBefore", "windows": windows}}),
            &[
                "C50 spec.renewal.windows[0].windowDuration: Required value: write how long the window is open, such as \"2h\"",
                "C51 spec.renewal.windows[0].timezone: Invalid value: \"Berlin\": not a time zone of the IANA database; write one such as \"Europe/Berlin\", in this spelling, or leave it out for UTC",
                "C52 spec.renewal.windows[0].cron: Invalid value: \"0 2 * * 7\": \"7\" in \"7\" is no day of the week; they are 0 to 6, or SUN to SAT, and Sunday is 0; write minute, hour, day of month, month and day of week, such as \"0 2 * * SAT\"",
            ],
        );
    }

    #[test]
    fn patterns_that_are_no_cron_are_refused() {
        for (cron, reason) in [
            ("", "it does not have five fields"),
            ("* * * *", "it does not have five fields"),
            ("@sometimes", "it does not have five fields"),
            ("@every day", "after @every stands a duration such as 24h or 1h30m"),
            ("TZ=UTC", "there is only a time zone"),
        ] {
            let refused = format!(
                "C52 spec.renewal.windows[0].cron: Invalid value: {cron:?}: {reason}; write minute, hour, day of month, month and day of week, such as \"0 2 * * SAT\""
            );
            check(&window(cron, "2h"), &[&refused]);
        }
        for cron in ["0 2 * * SAT", "*/15 1-5 * * 1,3", "@daily", "@every 24h", "TZ=Europe/Berlin 0 2 * * *"]
        {
            check(&window(cron, "2h"), &[]);
        }
    }

    #[test]
    fn windows_that_nobody_can_meet_are_refused() {
        check(
            &window("0 2 * * *", "0s"),
            &[
                "B06 spec.renewal.windows[0].windowDuration: Invalid value: \"0s\": the window is never open; write a second at least, such as \"2h\"",
            ],
        );
        check(
            &window("0 2 30 2 *", "2h"),
            &[
                "B06 spec.renewal.windows[0].cron: Invalid value: \"0 2 30 2 *\": there is no such day, so the window never opens; write a day that the month has",
            ],
        );
        check(
            &window("@yearly", "2h"),
            &[
                "B06 spec.renewal.windows: Invalid value: the windows can stay closed for longer than the lifetime of 2160h; let one open more often, or lengthen spec.duration",
            ],
        );
        let many = vec![json!({"cron": "@daily", "windowDuration": "2h"}); 51];
        check(
            &json!({"renewal": {"policy": "RenewBefore", "windows": many}}),
            &[
                "B06 spec.renewal.windows: Too long: more windows than anybody needs; keep at most 50; one pattern can list several times",
            ],
        );
        check(&window("@monthly", "2h"), &[]);
    }
}

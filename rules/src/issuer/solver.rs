//! Rules of a solver as such, and the ways to walk through solvers.

use api::IssuerSpec;
use api::acme::dns01::Dns01Solver;
use api::acme::solver::AcmeSolver;

use super::{ISSUERS, acme, indexed, spec};
use crate::case::Case;
use crate::finding::Fault;
use crate::lifetime;
use crate::rule::{Check, Class, Findings};

pub(super) static RULES: &[Check<IssuerSpec>] = &[
    spec(
        "I10",
        "spec.acme.solvers[*]",
        "A solver answers by HTTP-01 or by DNS-01, not both",
        |case, findings| {
            for (index, _) in
                all(case).filter(|(_, solver)| solver.http01.is_some() && solver.dns01.is_some())
            {
                findings
                    .at(indexed(findings.path(), &[index]), Fault::Forbidden)
                    .detail("both http01 and dns01 are set")
                    .advice("make one solver of each");
            }
        },
    ),
    spec("I11", "spec.acme.solvers[*]", "A solver answers by HTTP-01 or by DNS-01", |case, findings| {
        for (index, _) in all(case).filter(|(_, solver)| solver.http01.is_none() && solver.dns01.is_none()) {
            findings.at(indexed(findings.path(), &[index]), Fault::Required).advice("set http01 or dns01");
        }
    }),
    spec(
        "I12",
        "spec.acme.solvers[*].waitInsteadOfSelfCheck",
        "The time to wait instead of a self-check is not negative",
        |case, findings| {
            for (index, solver) in all(case) {
                let wait = solver.wait_instead_of_self_check.as_ref();
                let Some(wait) = wait.filter(|wait| wait.parse().is_ok_and(|wait| wait.is_negative())) else {
                    continue;
                };
                findings
                    .at(indexed(findings.path(), &[index]), Fault::Invalid)
                    .value(wait.as_str())
                    .detail("a negative time")
                    .advice(format!("write {:?}", wait.as_str().trim_start_matches('-')));
            }
        },
    ),
    Check::new(
        "B07",
        ISSUERS,
        "spec.acme.solvers[*].waitInsteadOfSelfCheck",
        Class::Spec,
        "Durations can be read: numbers with the units h, m, s, ms, us or ns",
        |case, findings| {
            for (index, solver) in all(case) {
                let wait = solver.wait_instead_of_self_check.as_ref();
                if wait.is_some_and(|wait| wait.parse().is_err()) {
                    lifetime::is_readable(indexed(findings.path(), &[index]), wait, findings);
                }
            }
        },
    ),
];

/// The solvers with their positions.
pub(super) fn all<'a>(case: &Case<'a, IssuerSpec>) -> impl Iterator<Item = (usize, &'a AcmeSolver)> {
    acme(case).into_iter().flat_map(|acme| acme.solvers.iter().enumerate())
}

/// The DNS-01 solvers that are looked into: not those beside an HTTP-01 solver (I10).
pub(super) fn dns01<'a>(case: &Case<'a, IssuerSpec>) -> impl Iterator<Item = (usize, &'a Dns01Solver)> {
    all(case)
        .filter(|(_, solver)| solver.http01.is_none())
        .filter_map(|(index, solver)| Some((index, solver.dns01.as_deref()?)))
}

/// Those parts of solvers whose text is empty are refused at the rule's path.
pub(super) fn requires<'a, T: 'a>(
    parts: impl Iterator<Item = (usize, &'a T)>,
    text: impl Fn(&T) -> &str,
    advice: &'static str,
    findings: &mut Findings,
) {
    for (index, _) in parts.filter(|(_, part)| text(part).is_empty()) {
        findings.at(indexed(findings.path(), &[index]), Fault::Required).advice(advice);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::issuer::testing::{check, solvers};

    #[test]
    fn a_solver_of_both_kinds_or_of_none_is_refused() {
        check(
            &solvers(&json!([{"http01": {"ingress": {}}, "dns01": {}}, {"http01": {}, "dns01": {}}, {}])),
            &[
                "I10 spec.acme.solvers[0]: Forbidden: both http01 and dns01 are set; make one solver of each",
                "I10 spec.acme.solvers[1]: Forbidden: both http01 and dns01 are set; make one solver of each",
                "I11 spec.acme.solvers[2]: Required value: set http01 or dns01",
                "I13 spec.acme.solvers[1].http01: Required value: set ingress or gatewayHTTPRoute",
            ],
            &[],
        );
    }

    #[test]
    fn a_time_to_wait_that_makes_no_sense_is_refused() {
        let with =
            |wait: &str| solvers(&json!([{"http01": {"ingress": {}}, "waitInsteadOfSelfCheck": wait}]));
        check(
            &with("-1m30s"),
            &[
                "I12 spec.acme.solvers[0].waitInsteadOfSelfCheck: Invalid value: \"-1m30s\": a negative time; write \"1m30s\"",
            ],
            &[],
        );
        check(
            &with("1d"),
            &[
                "B07 spec.acme.solvers[0].waitInsteadOfSelfCheck: Invalid value: \"1d\": \"d\" is not a unit of time here (h, m, s, ms, us and ns are); write \"24h\"",
            ],
            &[],
        );
        for wait in ["0", "0s", "-0s", "90s"] {
            check(&with(wait), &[], &[]);
        }
    }
}

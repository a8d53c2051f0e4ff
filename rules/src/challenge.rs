//! Rules of Challenge.

use api::{ChallengeSpec, ChallengeStatus};

use crate::case::Judged;
use crate::finding::Fault;
use crate::lifetime;
use crate::rule::{Check, Class, Kind};

impl Judged for ChallengeSpec {
    type Status = ChallengeStatus;

    fn tables() -> &'static [&'static [Check<Self>]] {
        TABLES
    }

    fn same(&self, other: &Self) -> bool {
        let canonical = |spec: &Self| {
            let mut spec = spec.clone();
            lifetime::canonicalise(&mut spec.solver.wait_instead_of_self_check);
            spec
        };
        self == other || canonical(self) == canonical(other)
    }
}

static TABLES: &[&[Check<ChallengeSpec>]] = &[RULES];

static RULES: &[Check<ChallengeSpec>] = &[Check::new(
    "H01",
    &[Kind::Challenge],
    "spec",
    Class::Always,
    "The spec stays as it was on creation",
    |case, findings| {
        if case.old.is_some_and(|old| !case.object.spec.same(&old.spec)) {
            findings
                .here(Fault::Forbidden)
                .detail("a Challenge cannot be changed")
                .advice("delete it, and its Order makes another one");
        }
    },
)];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::case::{Case, Object};
    use crate::judge;

    fn check(old: &Value, new: &Value, wanted: &[&str]) {
        let read = |spec: &Value| -> Object<api::ChallengeSpec> {
            serde_json::from_value(json!({"spec": spec})).unwrap()
        };
        let (old, new) = (read(old), read(new));
        let told: Vec<String> = judge(&Case::update(&new, &old))
            .denials
            .iter()
            .map(|denial| format!("{} {denial}", denial.rule.id))
            .collect();
        assert_eq!(told, wanted, "from {old:?} to {new:?}");
    }

    #[test]
    fn a_spec_that_changes_is_refused() {
        check(
            &json!({"dnsName": "a.test"}),
            &json!({"dnsName": "b.test"}),
            &[
                "H01 spec: Forbidden: a Challenge cannot be changed; delete it, and its Order makes another one",
            ],
        );
    }

    #[test]
    fn a_spec_that_stays_is_accepted() {
        let with = |wait: &str| json!({"solver": {"waitInsteadOfSelfCheck": wait}});
        check(&with("1m"), &with("1m0s"), &[]);
    }
}

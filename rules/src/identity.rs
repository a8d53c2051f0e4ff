//! Rules about who made a CertificateRequest: the stamp is the requester's, and it stays.

use std::collections::BTreeMap;

use api::CertificateRequestSpec;

use crate::case::{Case, Requester};
use crate::certificate_request::REQUEST;
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings};

pub(crate) static RULES: &[Check<CertificateRequestSpec>] = &[
    Check::new(
        "R20",
        REQUEST,
        "spec.uid",
        Class::Identity,
        "On creation, the uid is the requester's",
        |case, findings| {
            stamped(case, findings, |spec, who| spec.uid.as_deref().unwrap_or_default() == who.uid);
        },
    ),
    Check::new(
        "R21",
        REQUEST,
        "spec.username",
        Class::Identity,
        "On creation, the user name is the requester's",
        |case, findings| {
            stamped(case, findings, |spec, who| spec.username.as_deref().unwrap_or_default() == who.username);
        },
    ),
    Check::new(
        "R22",
        REQUEST,
        "spec.groups",
        Class::Identity,
        "On creation, the groups are the requester's, in any order",
        |case, findings| {
            stamped(case, findings, |spec, who| same_members(&spec.groups, &who.groups));
        },
    ),
    Check::new(
        "R23",
        REQUEST,
        "spec.extra",
        Class::Identity,
        "On creation, the further attributes are the requester's, in any order",
        |case, findings| {
            stamped(case, findings, |spec, who| same_extra(&spec.extra, &who.extra));
        },
    ),
    Check::new("R24", REQUEST, "spec.uid", Class::Identity, "On update, the uid stays", |case, findings| {
        kept(case, findings, |new, old| new.uid == old.uid);
    }),
    Check::new(
        "R25",
        REQUEST,
        "spec.username",
        Class::Identity,
        "On update, the user name stays",
        |case, findings| kept(case, findings, |new, old| new.username == old.username),
    ),
    Check::new(
        "R26",
        REQUEST,
        "spec.groups",
        Class::Identity,
        "On update, the groups stay, in any order",
        |case, findings| {
            kept(case, findings, |new, old| same_members(&new.groups, &old.groups));
        },
    ),
    Check::new(
        "R27",
        REQUEST,
        "spec.extra",
        Class::Identity,
        "On update, the further attributes stay exactly as they are",
        |case, findings| kept(case, findings, |new, old| new.extra == old.extra),
    ),
];

fn stamped(
    case: &Case<'_, CertificateRequestSpec>,
    findings: &mut Findings,
    agrees: impl Fn(&CertificateRequestSpec, &Requester) -> bool,
) {
    let (true, Some(requester)) = (case.is_create(), case.requester) else {
        return;
    };
    if !agrees(&case.object.spec, requester) {
        findings
            .here(Fault::Forbidden)
            .detail("not what the API server knows about the user who creates the object")
            .advice("leave the field out, it is filled in for you");
    }
}

fn kept(
    case: &Case<'_, CertificateRequestSpec>,
    findings: &mut Findings,
    agrees: impl Fn(&CertificateRequestSpec, &CertificateRequestSpec) -> bool,
) {
    if case.old.is_some_and(|old| !agrees(&case.object.spec, &old.spec)) {
        findings
            .here(Fault::Forbidden)
            .detail("says who created the object and cannot be changed")
            .advice("write it back as it was");
    }
}

/// Whether both have the same members equally often, in any order.
fn same_members(left: &[String], right: &[String]) -> bool {
    // Nearly always both are in the order in which the API server wrote them.
    left == right || (left.len() == right.len() && sorted(left) == sorted(right))
}

fn sorted(list: &[String]) -> Vec<&String> {
    let mut sorted: Vec<&String> = list.iter().collect();
    sorted.sort_unstable();
    sorted
}

type Extra = BTreeMap<String, Vec<String>>;

fn same_extra(left: &Extra, right: &Extra) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .all(|((left_key, left), (right_key, right))| left_key == right_key && same_members(left, right))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::case::Object;
    use crate::certificate_request::testing::{PLAIN, encoded};
    use crate::{Verdict, judge};

    fn object(stamp: &Value) -> Object<CertificateRequestSpec> {
        let mut spec = json!({"request": encoded(PLAIN), "issuerRef": {"name": "ca"}});
        for (key, value) in stamp.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(json!({"spec": spec})).unwrap()
    }

    fn alice() -> Requester {
        serde_json::from_value(json!({
            "username": "alice", "uid": "u1", "groups": ["a", "b", "b"],
            "extra": {"k": ["1", "2"]},
        }))
        .unwrap()
    }

    fn assert_ids(verdict: &Verdict, wanted: &[&str], context: &Value) {
        let ids: Vec<&str> = verdict.denials.iter().map(|denial| denial.rule.id).collect();
        assert_eq!(ids, wanted, "for {context}");
        assert_eq!(verdict.is_forbidden(), !wanted.is_empty());
    }

    fn check_create(stamp: &Value, wanted: &[&str]) {
        let (object, alice) = (object(stamp), alice());
        let case = Case { requester: Some(&alice), ..Case::create(&object) };
        assert_ids(&judge(&case), wanted, stamp);
    }

    /// From alice's stamp to this one.
    fn check_update(stamp: &Value, wanted: &[&str]) {
        let old = object(&json!({"username": "alice", "uid": "u1", "groups": ["a", "b", "b"],
            "extra": {"k": ["1", "2"]}}));
        let new = object(stamp);
        let mut verdict = judge(&Case::update(&new, &old));
        verdict.denials.retain(|denial| denial.rule.id != "R19"); // the whole spec
        assert_ids(&verdict, wanted, stamp);
    }

    #[test]
    fn a_stamp_of_somebody_else_is_refused() {
        check_create(&json!({}), &["R20", "R21", "R22", "R23"]);
        check_create(
            &json!({"username": "bob", "uid": "u1", "groups": ["a", "b", "b"], "extra": {"k": ["1", "2"]}}),
            &["R21"],
        );
        check_create(
            &json!({"username": "alice", "uid": "u2", "groups": ["a", "a", "b"], "extra": {"k": ["1"]}}),
            &["R20", "R22", "R23"],
        );
        check_create(
            &json!({"username": "alice", "uid": "u1", "groups": ["a", "b", "b", "system:masters"],
                    "extra": {"k": ["1", "2"], "l": []}}),
            &["R22", "R23"],
        );
    }

    #[test]
    fn the_own_stamp_is_accepted_in_any_order() {
        check_create(
            &json!({"username": "alice", "uid": "u1", "groups": ["b", "a", "b"], "extra": {"k": ["2", "1"]}}),
            &[],
        );
    }

    #[test]
    fn a_stamp_that_changes_is_refused() {
        check_update(&json!({}), &["R24", "R25", "R26", "R27"]);
        check_update(
            &json!({"username": "alice", "uid": "u1", "groups": ["a", "b", "b"], "extra": {"k": ["2", "1"]}}),
            &["R27"],
        );
        check_update(
            &json!({"username": "eve", "uid": "u1", "groups": ["b", "b", "a"], "extra": {"k": ["1", "2"]}}),
            &["R25"],
        );
    }

    #[test]
    fn a_linter_has_no_requester_to_compare_with() {
        let object = object(&json!({"username": "anybody"}));
        assert!(judge(&Case::create(&object)).is_allowed());
    }
}

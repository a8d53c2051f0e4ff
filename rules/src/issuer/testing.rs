//! What the tests of issuers share.

use api::IssuerSpec;
use serde_json::{Value, json};

use crate::case::{Case, Context, Object};
use crate::finding::{Finding, check_length};
use crate::judge;

/// The creation of an issuer with this spec is answered with these texts and no others.
pub(super) fn check(spec: &Value, denials: &[&str], warnings: &[&str]) {
    check_in(Context::default(), spec, denials, warnings);
}

/// As [`check`], with other settings or at a known time.
pub(super) fn check_in(context: Context<'_>, spec: &Value, denials: &[&str], warnings: &[&str]) {
    let object: Object<IssuerSpec> = serde_json::from_value(json!({"spec": spec})).unwrap();
    let verdict = judge(&Case { context, ..Case::create(&object) });
    let told = |findings: &[Finding]| -> Vec<String> {
        findings.iter().map(|finding| format!("{} {finding}", finding.rule.id)).collect()
    };
    assert_eq!(told(&verdict.denials), denials, "denials for {spec}");
    assert_eq!(told(&verdict.warnings), warnings, "warnings for {spec}");
    verdict.warnings.iter().for_each(check_length);
}

/// `base` with the members of `changes` in place of its own, at any depth; null takes a member away.
pub(super) fn merged(base: &Value, changes: &Value) -> Value {
    let (Some(members), Some(changes)) = (base.as_object(), changes.as_object()) else {
        return changes.clone();
    };
    let mut members = members.clone();
    for (key, change) in changes {
        let merged = merged(members.get(key).unwrap_or(&Value::Null), change);
        members.insert(key.clone(), merged);
    }
    members.retain(|_, member| !member.is_null());
    members.into()
}

/// An ACME issuer that is right but for these solvers.
pub(super) fn solvers(solvers: &Value) -> Value {
    json!({"acme": {
        "server": "https://acme.test/directory",
        "privateKeySecretRef": {"name": "account"},
        "solvers": solvers,
    }})
}

/// As [`solvers`], with one DNS-01 solver.
pub(super) fn dns01(dns01: &Value) -> Value {
    solvers(&json!([{"dns01": dns01}]))
}

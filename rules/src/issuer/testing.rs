//! What the tests of issuers share.

use api::IssuerSpec;
use serde_json::{Value, json};

use crate::case::{Case, Context, Object};
use crate::finding::Finding;
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
}

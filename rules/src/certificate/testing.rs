//! What the tests of all topics share.

use api::CertificateSpec;
use serde_json::{Value, json};

use crate::case::{Case, Context, Object};
use crate::finding::{Finding, check_length};
use crate::judge;

/// A good Certificate `web` in namespace `shop`, in whose spec the members of `change` replace others; `null` removes.
pub(super) fn object(change: &Value) -> Object<CertificateSpec> {
    let mut spec = json!({
        "secretName": "web-tls",
        "issuerRef": {"name": "ca"},
        "dnsNames": ["web.example.com"],
    });
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let metadata = json!({"namespace": "shop", "name": "web"});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

/// The Certificate with this change is refused for these reasons, or accepted if there are none. Nothing is warned of.
pub(super) fn check(change: &Value, denials: &[&str]) {
    check_in(Context::default(), change, denials, &[]);
}

/// As [`check`], in a context and with these warnings.
pub(super) fn check_in(context: Context<'_>, change: &Value, denials: &[&str], warnings: &[&str]) {
    let object = object(change);
    let verdict = judge(&Case { context, ..Case::create(&object) });
    let told = |findings: &[Finding]| -> Vec<String> {
        findings.iter().map(|finding| format!("{} {finding}", finding.rule.id)).collect()
    };
    assert_eq!(told(&verdict.denials), denials, "denials for {change}");
    assert_eq!(told(&verdict.warnings), warnings, "warnings for {change}");
    verdict.warnings.iter().for_each(check_length);
}

/// The Certificate with this change is accepted with these warnings.
pub(super) fn warns(change: &Value, warnings: &[&str]) {
    check_in(Context::default(), change, &[], warnings);
}

//! Rules of `spec.usages` in a CertificateRequest.

use std::collections::HashSet;

use api::{CertificateRequestSpec, KeyUsage};
use serde_json::Value;

use super::REQUEST;
use crate::case::Case;
use crate::finding::Fault;
use crate::rule::{Check, Class, Findings};

pub(super) static RULES: &[Check<CertificateRequestSpec>] = &[
    Check::new(
        "R04",
        REQUEST,
        "spec.usages",
        Class::Spec,
        "The usages are ones that the API knows",
        usages_are_known,
    ),
    // Controllers copy the usages of Certificates, of which stored ones may repeat some: they must still be renewed.
    Check::new("B02", REQUEST, "spec.usages", Class::Advice, "A usage is there once", usages_are_distinct),
];

/// The whole list is at fault, as cert-manager has it; the message names the first usage that is unknown.
fn usages_are_known(case: &Case<'_, CertificateRequestSpec>, findings: &mut Findings) {
    let usages = &case.object.spec.usages;
    let unknown = usages.iter().find(|usage| !usage.is_known()).filter(|_| case.is_create());
    let Some(unknown) = unknown.map(KeyUsage::as_str) else {
        return;
    };
    let list: Vec<Value> = usages.iter().map(|usage| usage.as_str().into()).collect();
    let advice = match similar(unknown) {
        Some(similar) => format!("write {:?}", similar.as_str()),
        None => "write usages such as \"digital signature\", \"server auth\" and \"client auth\"".to_owned(),
    };
    let shown: String = unknown.chars().take(USAGE_CHARS_MAX).collect();
    findings
        .here(Fault::Invalid)
        .value(list)
        .detail(format!("{shown:?} is not a usage of keys"))
        .advice(advice);
}

/// How much of an unknown usage is shown, in characters; the longest known one has 17.
const USAGE_CHARS_MAX: usize = 40;

/// The known usage that a text is another spelling of, such as `serverAuth` or `server-auth`.
fn similar(text: &str) -> Option<&'static KeyUsage> {
    fn letters(text: &str) -> impl Iterator<Item = char> {
        text.chars().filter(char::is_ascii_alphabetic).map(|letter| letter.to_ascii_lowercase())
    }
    KeyUsage::KNOWN.iter().find(|known| letters(known.as_str()).eq(letters(text)))
}

fn usages_are_distinct(case: &Case<'_, CertificateRequestSpec>, findings: &mut Findings) {
    let mut seen = HashSet::new();
    for (index, usage) in case.object.spec.usages.iter().enumerate() {
        if !seen.insert(usage) {
            findings
                .at(format!("spec.usages[{index}]"), Fault::Duplicate)
                .value(usage.as_str())
                .advice("remove it");
        }
    }
}

//! References to one key of one Secret.

use std::borrow::Cow;

use api::SecretKeySelector;

use super::indexed;
use crate::finding::Fault;
use crate::rule::Findings;

/// The selector at the rule's path names a Secret and a key. Indexes stand for each `[*]` of the path.
pub(super) fn is_complete(selector: &SecretKeySelector, indexes: &[usize], findings: &mut Findings) {
    if selector.name.is_empty() {
        lacks_name(format!("{}.name", indexed(findings.path(), indexes)), findings);
    }
    if selector.key.is_none() {
        lacks_key(format!("{}.key", indexed(findings.path(), indexes)), findings);
    }
}

/// The rule's path is the name in this selector, and it is given.
pub(super) fn has_name(selector: &SecretKeySelector, indexes: &[usize], findings: &mut Findings) {
    if selector.name.is_empty() {
        lacks_name(indexed(findings.path(), indexes), findings);
    }
}

/// The rule's path is the key in this selector, and it is given.
pub(super) fn has_key(selector: &SecretKeySelector, indexes: &[usize], findings: &mut Findings) {
    if selector.key.is_none() {
        lacks_key(indexed(findings.path(), indexes), findings);
    }
}

/// The name of a Secret at `path` is missing.
pub(super) fn lacks_name(path: impl Into<Cow<'static, str>>, findings: &mut Findings) {
    findings.at(path, Fault::Required).advice("name the Secret");
}

fn lacks_key(path: String, findings: &mut Findings) {
    findings.at(path, Fault::Required).advice("name the key within the Secret's data");
}

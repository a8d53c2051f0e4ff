//! The ratchet: which breaches the stored object has already.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};

use serde_json::Value;

use crate::case::{Case, Judged};
use crate::finding::Finding;
use crate::rule::Check;

/// The breaches of one check by the stored object, to be looked up: an object may have many, and so may the one before
/// it. All of them count, however few are told.
///
/// A breach is the same as another if rule and field are, and what stands in the field: a wrong value must not be
/// replaced by another one. Items of lists may change their places, and each breach excuses one other.
pub(super) struct Known<'a, S> {
    /// How often there is which breach, by its digest: a hundred thousand of them fit in some MiB.
    counts: HashMap<u64, usize>,
    digests: RandomState,
    new: Content<'a, S>,
}

impl<'a, S: Judged> Known<'a, S> {
    /// Nothing, as when an object is created.
    pub(super) fn nothing(case: &Case<'a, S>) -> Self {
        let (counts, digests) = (HashMap::new(), RandomState::new());
        Self { counts, digests, new: Content::of(&case.object.spec) }
    }

    /// What the stored object breaks.
    pub(super) fn of(check: &'static Check<S>, case: &Case<'a, S>) -> Self {
        let mut known = Self::nothing(case);
        let Some(old) = case.old else { return known };
        let before = Case { requester: case.requester, context: case.context, ..Case::create(old) };
        let content = Content::of(&old.spec);
        check.evaluate(&before, &mut |finding| {
            let digest = known.digests.hash_one(breach(&finding, &content));
            *known.counts.entry(digest).or_default() += 1;
        });
        known
    }

    /// Whether the stored object has this breach, too, and no other one has been excused by it.
    pub(super) fn excuses(&mut self, finding: &Finding) -> bool {
        if self.counts.is_empty() {
            return false;
        }
        let digest = self.digests.hash_one(breach(finding, &self.new));
        match self.counts.get_mut(&digest) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }
}

/// What makes a breach what it is, as one text. The advice is left out: it may speak of other fields.
fn breach<S: Judged>(finding: &Finding, content: &Content<'_, S>) -> String {
    let mut text = String::from(finding.rule.id);
    text.push('\n');
    push_without_indexes(&finding.path, &mut text);
    text.push('\n');
    text.push_str(finding.fault.as_str());
    text.push('\n');
    if let Some(value) = finding.value.as_ref().or_else(|| content.at(&finding.path)) {
        // JSON has no line ends within, and writing into a string cannot fail.
        let _ = write!(text, "{value}");
    }
    text.push('\n');
    push_without_indexes(&finding.detail, &mut text);
    text
}

/// Adds the text with `[*]` in place of each `[1]`.
fn push_without_indexes(mut rest: &str, text: &mut String) {
    while let Some((before, after)) = rest.split_once('[') {
        text.push_str(before);
        text.push('[');
        let tail = after.trim_start_matches(|each: char| each.is_ascii_digit());
        let is_index = tail.len() < after.len() && tail.starts_with(']');
        rest = if is_index {
            text.push('*');
            tail
        } else {
            after
        };
    }
    text.push_str(rest);
}

/// A spec, as JSON once a finding needs it.
struct Content<'a, S> {
    spec: &'a S,
    json: OnceCell<Value>,
}

impl<'a, S: Judged> Content<'a, S> {
    fn of(spec: &'a S) -> Self {
        Self { spec, json: OnceCell::new() }
    }

    /// What stands at a path such as `spec.dnsNames[1]`. None: nothing, or the path is not that of one field.
    fn at(&self, path: &str) -> Option<&Value> {
        let mut rest = path.strip_prefix("spec.")?;
        // A spec that cannot be written is as good as an empty one: every breach at a path is then the same.
        let mut value = self.json.get_or_init(|| serde_json::to_value(self.spec).unwrap_or_default());
        while !rest.is_empty() {
            (value, rest) = step(value, rest)?;
        }
        Some(value)
    }
}

/// The first member of a path, and what is left of the path.
fn step<'v, 'p>(value: &'v Value, path: &'p str) -> Option<(&'v Value, &'p str)> {
    if let Value::Array(items) = value {
        let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
        return Some((items.get(index.parse::<usize>().ok()?)?, rest));
    }
    let path = path.strip_prefix('.').unwrap_or(path);
    // The key of a label or an annotation has dots itself; it is the last member.
    if let Some(member) = value.get(path) {
        return Some((member, ""));
    }
    let (key, rest) = path.split_at_checked(path.find(['.', '['])?)?;
    Some((value.get(key)?, rest))
}

#[cfg(test)]
mod tests {
    use api::CertificateSpec;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_stands_at_a_path_is_found() {
        let spec: CertificateSpec = serde_json::from_value(json!({
            "dnsNames": ["a", "b"], "secretTemplate": {"labels": {"a.b/c": "d"}}
        }))
        .unwrap();
        let content = Content::of(&spec);
        for (path, wanted) in [
            ("spec.dnsNames[1]", Some(json!("b"))),
            ("spec.dnsNames[2]", None),
            ("spec.dnsNames.a", None),
            ("spec.dnsNames[1].a", None),
            ("spec.secretTemplate.labels.a.b/c", Some(json!("d"))),
            ("spec.secretTemplate.labels", Some(json!({"a.b/c": "d"}))),
            ("spec.keystores.jks", None),
            ("spec", None),
            ("metadata.name", None),
        ] {
            assert_eq!(content.at(path).cloned(), wanted, "{path}");
        }
    }

    #[test]
    fn only_indexes_are_left_out() {
        for (text, wanted) in [
            ("spec.a[10].b[0]", "spec.a[*].b[*]"),
            ("the same as spec.a[1]", "the same as spec.a[*]"),
            ("[] [a] [1 [12", "[] [a] [1 [12"),
            ("[1]", "[*]"),
        ] {
            let mut without = String::new();
            push_without_indexes(text, &mut without);
            assert_eq!(without, wanted);
        }
    }
}

//! What a rule found, and how it is told.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use crate::rule::Rule;

/// A message shows at most this much of a value, which may be a certificate request of many kilobytes.
const VALUE_CHARS_MAX: usize = 120;

/// Computed details, advice and paths have at most this many characters: they may quote what a user wrote.
const TEXT_CHARS_MAX: usize = 300;

/// Clients print so many characters of a warning whole (API conventions of Kubernetes).
const WARNING_CHARS_MAX: usize = 120;

/// What stands in PEM of a key, and what becomes of it in base64, which depends on how many bytes stand before it. A text
/// with one of them is never repeated, in whichever field it was put: messages end in logs.
const PRIVATE_KEY: [&str; 4] = ["PRIVATE KEY", "UFJJVkFURSBLRV", "BSSVZBVEUgS0VZ", "QUklWQVRFIEtFW"];

/// The same in texts of our own around what a user wrote, which may name the kind of a block.
const PRIVATE_KEY_BEGINS: &str = "PRIVATE KEY-----";

/// What is told in place of a text that holds a key.
const CONCEALED: &str = "(holds a private key)";

/// One breach of one rule.
///
/// `Display` gives `<path>: <Fault>[: <value>][: <detail>[; <advice>]]`, the form in which Kubernetes itself tells of
/// field errors. Without a path, which says that the review as a whole is wrong, it gives detail and advice alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// The field in JSON notation, such as `spec.dnsNames[1]`; empty where no field is at fault.
    pub path: Cow<'static, str>,
    /// In which way the field is wrong.
    pub fault: Fault,
    /// What is there, as the user wrote it. None where nothing is there or showing it would not help.
    pub value: Option<Value>,
    /// What is wrong with it. May be empty.
    pub detail: Cow<'static, str>,
    /// What would be right. May be empty.
    pub advice: Cow<'static, str>,
}

impl Finding {
    /// A finding that says no more than which field is wrong in which way.
    pub fn new(rule: &'static Rule, path: impl Into<Cow<'static, str>>, fault: Fault) -> Self {
        let (detail, advice) = (Cow::Borrowed(""), Cow::Borrowed(""));
        Self { rule, path: clipped(path.into()), fault, value: None, detail, advice }
    }

    /// Adds what is there; what holds a private key is left out.
    pub fn value(&mut self, value: impl Into<Value>) -> &mut Self {
        self.value = Some(value.into()).filter(|value| !holds_a_key(value));
        self
    }

    /// Adds what is wrong.
    pub fn detail(&mut self, detail: impl Into<Cow<'static, str>>) -> &mut Self {
        self.detail = clipped(detail.into());
        self
    }

    /// Adds what would be right.
    pub fn advice(&mut self, advice: impl Into<Cow<'static, str>>) -> &mut Self {
        self.advice = clipped(advice.into());
        self
    }

    /// The text without the path, as `details.causes[].message` wants it.
    pub fn message(&self) -> String {
        struct Body<'a>(&'a Finding);
        impl fmt::Display for Body<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.write_body(f)
            }
        }
        Body(self).to_string()
    }

    /// The text as a warning, which has at most 120 characters: where the whole text is longer, it is told without what
    /// the user wrote, then without what is wrong with it, for what would be right says that too. What is still longer
    /// is cut.
    pub fn warning(&self) -> String {
        let detail = if self.advice.is_empty() { self.detail.clone() } else { Cow::Borrowed("") };
        let without_value = Self { value: None, ..self.clone() };
        let brief = Self { detail, ..without_value.clone() };
        let texts = [self, &without_value, &brief].map(ToString::to_string);
        let fits = texts.iter().find(|text| text.chars().count() <= WARNING_CHARS_MAX);
        fits.cloned().unwrap_or_else(|| {
            let [.., brief] = texts;
            brief.chars().take(WARNING_CHARS_MAX - 1).chain(['…']).collect()
        })
    }

    fn write_body(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.fault.as_str())?;
        if let Some(value) = &self.value {
            write!(f, ": {}", Clipped(value))?;
        }
        self.write_words(": ", f)
    }

    fn write_words(&self, before: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, text) in
            [&self.detail, &self.advice].into_iter().filter(|text| !text.is_empty()).enumerate()
        {
            f.write_str(if index == 0 { before } else { "; " })?;
            f.write_str(text)?;
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return self.write_words("", f);
        }
        write!(f, "{}: ", self.path)?;
        self.write_body(f)
    }
}

/// In which way a field is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is missing.
    Required,
    /// Its value is not possible.
    Invalid,
    /// Its value is none of those that exist.
    NotSupported,
    /// It must not be there, or must not change.
    Forbidden,
    /// It is longer than it may be.
    TooLong,
    /// It repeats another one.
    Duplicate,
}

impl Fault {
    /// The text in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::Duplicate => "Duplicate value",
        }
    }

    /// The text in `details.causes[].reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::Duplicate => "FieldValueDuplicate",
        }
    }
}

/// Several findings as one text: `[a, b]`, a single one without brackets.
pub fn join(findings: &[Finding]) -> String {
    match findings {
        [one] => one.to_string(),
        all => {
            let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
            format!("[{}]", texts.join(", "))
        }
    }
}

/// The text, or that it holds a private key. For texts of users that stand beside findings, such as objects' names.
pub fn concealed(text: &str) -> &str {
    if names_a_key(text) { CONCEALED } else { text }
}

fn names_a_key(text: &str) -> bool {
    PRIVATE_KEY.iter().any(|mark| text.contains(mark))
}

fn holds_a_key(value: &Value) -> bool {
    match value {
        Value::String(text) => names_a_key(text),
        Value::Array(items) => items.iter().any(holds_a_key),
        Value::Object(members) => members.iter().any(|(name, value)| names_a_key(name) || holds_a_key(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The text, cut to a printable length where it was put together: what is written in the source is short, and holds
/// nothing of a user's.
fn clipped(text: Cow<'static, str>) -> Cow<'static, str> {
    match text {
        Cow::Owned(text) if text.contains(PRIVATE_KEY_BEGINS) => Cow::Borrowed(CONCEALED),
        Cow::Owned(mut text) => {
            if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
                text.truncate(end);
                text.push_str("...");
                text.shrink_to_fit();
            }
            Cow::Owned(text)
        }
        Cow::Borrowed(text) => Cow::Borrowed(text),
    }
}

/// JSON, cut to a printable length.
struct Clipped<'a>(&'a Value);

impl fmt::Display for Clipped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        match text.char_indices().nth(VALUE_CHARS_MAX) {
            Some((end, _)) => write!(f, "{}...", text.get(..end).unwrap_or_default()),
            None => f.write_str(&text),
        }
    }
}

/// A warning of the tests is told whole.
#[cfg(test)]
pub(crate) fn check_length(warning: &Finding) {
    let text = warning.to_string();
    let count = text.chars().count();
    assert!(count <= WARNING_CHARS_MAX, "{text:?} has {count} characters and is not told whole");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rule::{Class, Kind};

    static RULE: Rule = Rule {
        id: "C99",
        kinds: &[Kind::Certificate],
        path: "spec.secretName",
        class: Class::Spec,
        summary: "test",
    };

    fn finding(fault: Fault) -> Finding {
        Finding::new(&RULE, "spec.secretName", fault)
    }

    fn check(finding: &Finding, wanted: &str) {
        assert_eq!(finding.to_string(), wanted);
    }

    #[test]
    fn a_finding_reads_as_kubernetes_writes_field_errors() {
        check(&finding(Fault::Forbidden), "spec.secretName: Forbidden");
        check(
            finding(Fault::Required).advice("name the Secret"),
            "spec.secretName: Required value: name the Secret",
        );
        check(
            finding(Fault::Invalid).value("A\"b").detail("upper case").advice("write \"a\""),
            "spec.secretName: Invalid value: \"A\\\"b\": upper case; write \"a\"",
        );
        check(finding(Fault::NotSupported).value(7), "spec.secretName: Unsupported value: 7");
    }

    #[test]
    fn a_long_value_is_cut() {
        let text = finding(Fault::Invalid).value("é".repeat(10_000)).to_string();
        assert!(text.chars().count() < 200 && text.ends_with("é..."), "{text}");
    }

    #[test]
    fn a_long_text_is_cut_wherever_it_stands() {
        let long = "é".repeat(10_000);
        let cut = format!("{}...", "é".repeat(TEXT_CHARS_MAX));
        let mut finding = Finding::new(&RULE, long.clone(), Fault::Invalid);
        finding.detail(long.clone()).advice(long);
        check(&finding, &format!("{cut}: Invalid value: {cut}; {cut}"));
        assert_eq!(finding.message(), format!("Invalid value: {cut}; {cut}"));
    }

    #[test]
    fn a_warning_is_as_long_as_clients_print() {
        let check = |value: &str, detail: &str, advice: &str, wanted: &str| {
            let mut finding = finding(Fault::Invalid);
            finding.value(value).detail(detail.to_owned()).advice(advice.to_owned());
            assert_eq!(finding.warning(), wanted);
        };
        let (path, long) = ("spec.secretName: Invalid value", "é".repeat(100));
        check("a", "wrong", "right", &format!("{path}: \"a\": wrong; right"));
        check(&long, "wrong", "right", &format!("{path}: wrong; right"));
        check(&long, &long, "right", &format!("{path}: right"));
        check(&long, &long[..160], "", &format!("{path}: {}", "é".repeat(80)));
        check(&long, &long, &long, &format!("{path}: {}…", "é".repeat(87)));
        check(&long, &long, "", &format!("{path}: {}…", "é".repeat(87)));
    }

    #[test]
    fn several_findings_are_one_list() {
        assert_eq!(join(&[finding(Fault::Forbidden)]), "spec.secretName: Forbidden");
        assert_eq!(
            join(&[finding(Fault::Forbidden), finding(Fault::TooLong)]),
            "[spec.secretName: Forbidden, spec.secretName: Too long]"
        );
    }

    #[test]
    fn a_private_key_is_never_repeated() {
        let key = "-----BEGIN EC PRIVATE KEY-----\nMHcC";
        let encoded = [
            "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1IY0M=",
            "LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQpNSGND",
            "LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS0tLS0tCk1IY0M=",
            "IC0tLS0tQkVHSU4gUFJJVkFURSBLRVktLS0tLQpNSGND",
            "IC0tLS0tQkVHSU4gRUMgUFJJVkFURSBLRVktLS0tLQpNSGND",
        ];
        let values = [json!(key), json!([[key]]), json!({"a": {"b": key}}), json!({key: 1})];
        for value in values.into_iter().chain(encoded.map(Value::from)) {
            let mut finding = Finding::new(&RULE, "spec.secretName", Fault::Invalid);
            finding.value(value).detail(format!("{key:?} is no name")).advice(format!("write {key:?}"));
            assert_eq!(
                finding.to_string(),
                "spec.secretName: Invalid value: (holds a private key); (holds a private key)"
            );
        }
        let finding = Finding::new(&RULE, format!("metadata.labels.{key}"), Fault::Invalid);
        assert_eq!(finding.to_string(), "(holds a private key): Invalid value");
        assert_eq!(concealed(key), "(holds a private key)");
        assert_eq!(concealed("web"), "web");
    }
}

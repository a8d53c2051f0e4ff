//! Why a pod may not have what it asked for, and the rule that would permit it.

use std::fmt;

use serde_json::{Map, Value, json};

use super::pod::PodFacts;

/// Faults that a message names; whoever corrects these finds the others.
const SHOWN_MAX: usize = 5;

/// Characters of one name in a message: a DNS name fits, and a URI that does not is recognised.
const SHOWN_CHARS_MAX: usize = 253;

/// A refusal: final, whatever other way to a signature there is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// One word for machines: of the first fault.
    pub reason: RefusalReason,
    /// Which name, why, and the rule to add.
    pub message: String,
}

/// What is wrong, as one word for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// A CA's certificate is asked for.
    CertificateAuthority,
    /// Name constraints are asked for.
    NameConstraints,
    /// A usage is not for pods.
    Usages,
    /// There is no name at all.
    NoNames,
    /// There are more names than [`super::NAMES_MAX`].
    TooManyNames,
    /// A DNS name is not the pod's.
    DnsName,
    /// A URI is not the pod's.
    Uri,
    /// An IP address has no rule, or the pod has the addresses of its node.
    IpAddress,
    /// A name is of a kind that no rule is about, such as an e-mail address.
    NameKind,
    /// The subject has an attribute, or a common name, that is not the pod's.
    Subject,
    /// An extension of the request cannot be read.
    Unreadable,
}

impl RefusalReason {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::CertificateAuthority,
        Self::NameConstraints,
        Self::Usages,
        Self::NoNames,
        Self::TooManyNames,
        Self::DnsName,
        Self::Uri,
        Self::IpAddress,
        Self::NameKind,
        Self::Subject,
        Self::Unreadable,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CertificateAuthority => "CertificateAuthorityNotPermitted",
            Self::NameConstraints => "NameConstraintsNotPermitted",
            Self::Usages => "UsagesNotPermitted",
            Self::NoNames => "NoNames",
            Self::TooManyNames => "TooManyNames",
            Self::DnsName => "DnsNameNotPermitted",
            Self::Uri => "UriNotPermitted",
            Self::IpAddress => "IpAddressNotPermitted",
            Self::NameKind => "NameKindNotPermitted",
            Self::Subject => "SubjectNotPermitted",
            Self::Unreadable => "RequestUnreadable",
        }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub reason: RefusalReason,
    /// What is wrong.
    pub text: String,
    pub cure: Cure,
}

/// What a rule needs to permit it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cure {
    /// No rule does.
    None,
    /// This value in the list of this name.
    Value(&'static str, String),
    /// These usages.
    Usages(Vec<String>),
    /// `isCA`.
    Ca,
    /// `allow: any`.
    Any,
}

impl Fault {
    pub(super) fn new(reason: RefusalReason, text: impl Into<String>, cure: Cure) -> Self {
        Self { reason, text: text.into(), cure }
    }
}

impl Refusal {
    /// The refusal for these faults; `None` without any.
    pub(super) fn of(faults: &[Fault], pod: &PodFacts<'_>) -> Option<Self> {
        let first = faults.first()?;
        let texts: Vec<&str> = faults.iter().take(SHOWN_MAX).map(|fault| fault.text.as_str()).collect();
        let mut message = format!("{pod} may not have this certificate: {}", texts.join("; "));
        let more = faults.len().saturating_sub(SHOWN_MAX);
        if more > 0 {
            message = format!("{message}; and {more} more");
        }
        if let Some(rule) = rule(faults, pod) {
            message = format!("{message}. To permit it, add this rule to the name policy: {rule}");
        }
        Some(Self { reason: first.reason, message })
    }
}

/// A rule that permits this pod what is at fault, in YAML on one line; `None` when no rule does.
fn rule(faults: &[Fault], pod: &PodFacts<'_>) -> Option<Value> {
    let mut rule = Map::new();
    rule.insert("namespaces".to_owned(), json!([pod.namespace]));
    rule.insert("serviceAccounts".to_owned(), json!([pod.account]));
    for fault in faults.iter().take(SHOWN_MAX) {
        match &fault.cure {
            Cure::None => return None,
            Cure::Value(list, value) => add(&mut rule, list, std::slice::from_ref(value)),
            Cure::Usages(names) => add(&mut rule, "usages", names),
            Cure::Ca => {
                rule.insert("isCA".to_owned(), json!(true));
            }
            Cure::Any => {
                rule.insert("allow".to_owned(), json!("any"));
            }
        }
    }
    Some(Value::Object(rule))
}

fn add(rule: &mut Map<String, Value>, list: &str, values: &[String]) {
    let entry = rule.entry(list).or_insert_with(|| json!([]));
    if let Some(list) = entry.as_array_mut() {
        list.extend(values.iter().map(|value| json!(value)));
    }
}

/// A foreign text in quotes, without control characters and not too long.
pub(super) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{cut:?}{}", if cut.len() < text.len() { "…" } else { "" })
}

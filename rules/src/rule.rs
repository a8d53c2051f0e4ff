//! What a rule is.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::case::{Case, Judged};
use crate::finding::{Fault, Finding};

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stable name: a letter for the kind and a number.
    pub id: &'static str,
    /// The kinds that the rule is for.
    pub kinds: &'static [Kind],
    /// The field that is judged, in JSON notation; empty for rules about the review as a whole.
    pub path: &'static str,
    /// When a broken rule rejects.
    pub class: Class,
    /// What is required, for documentation. No full stop.
    pub summary: &'static str,
}

/// The id of a rule that exists, such as `B09`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleId(&'static str);

/// A text that is the id of no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no rule; docs/rules.md lists the ids, such as \"B09\"")]
pub struct RuleIdError(String);

impl RuleId {
    /// The id.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl std::str::FromStr for RuleId {
    type Err = RuleIdError;

    fn from_str(text: &str) -> Result<Self, RuleIdError> {
        let rule = crate::table().find(|rule| rule.id == text);
        rule.map(|rule| Self(rule.id)).ok_or_else(|| RuleIdError(text.to_owned()))
    }
}

// By hand, because a derive would ask for a text that lives for ever.
impl<'de> Deserialize<'de> for RuleId {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(D::Error::custom)
    }
}

/// A kind of object that has rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// cert-manager.io Certificate.
    Certificate,
    /// cert-manager.io CertificateRequest.
    CertificateRequest,
    /// cert-manager.io Issuer.
    Issuer,
    /// cert-manager.io ClusterIssuer.
    ClusterIssuer,
    /// acme.cert-manager.io Order.
    Order,
    /// acme.cert-manager.io Challenge.
    Challenge,
}

impl Kind {
    /// All kinds.
    pub const ALL: &'static [Self] = &[
        Self::Certificate,
        Self::CertificateRequest,
        Self::Issuer,
        Self::ClusterIssuer,
        Self::Order,
        Self::Challenge,
    ];

    /// The name as in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "Certificate",
            Self::CertificateRequest => "CertificateRequest",
            Self::Issuer => "Issuer",
            Self::ClusterIssuer => "ClusterIssuer",
            Self::Order => "Order",
            Self::Challenge => "Challenge",
        }
    }

    /// The API group.
    pub fn group(self) -> &'static str {
        match self {
            Self::Certificate | Self::CertificateRequest | Self::Issuer | Self::ClusterIssuer => api::GROUP,
            Self::Order | Self::Challenge => api::ACME_GROUP,
        }
    }

    /// The kind that is served under this group, version and plural name. None: not one that has rules.
    pub fn of_resource(group: &str, version: &str, resource: &str) -> Option<Self> {
        let kind = match resource {
            "certificates" => Self::Certificate,
            "certificaterequests" => Self::CertificateRequest,
            "issuers" => Self::Issuer,
            "clusterissuers" => Self::ClusterIssuer,
            "orders" => Self::Order,
            "challenges" => Self::Challenge,
            _ => return None,
        };
        (kind.group() == group && version == api::VERSION).then_some(kind)
    }
}

/// When a broken rule rejects, and with which answer.
///
/// Rules about a spec ratchet: what was stored before the rule existed must stay writable, or nobody could add a
/// label to it, remove a finalizer from it, update its status or change another field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Rejects on creation and on updates that change the spec. What the stored object breaks in the same way already
    /// only warns. It is silent on updates of a subresource and of objects that are being deleted.
    Spec,
    /// Rejects always.
    Always,
    /// Rejects always, as forbidden (403) instead of invalid (422): who asked, who may approve, and that a request and
    /// the decision about it stay what they are.
    Identity,
    /// Warns on creation and on updates that change the spec, and is silent elsewhere.
    Advice,
}

/// A rule with the function that evaluates it, for objects whose spec is `S`. One function may evaluate several rules,
/// where reading what they judge is dear.
pub struct Check<S: Judged> {
    rule: Rule,
    further: &'static [&'static Rule],
    evaluate: fn(&Case<'_, S>, &mut Findings),
}

impl<S: Judged> Check<S> {
    /// One row. The function reports each breach of the rule by the methods of [`Findings`].
    pub(crate) const fn new(
        id: &'static str,
        kinds: &'static [Kind],
        path: &'static str,
        class: Class,
        summary: &'static str,
        evaluate: fn(&Case<'_, S>, &mut Findings),
    ) -> Self {
        Self { rule: Rule { id, kinds, path, class, summary }, further: &[], evaluate }
    }

    /// The same row followed by others, which its function evaluates too: it reports their breaches behind
    /// [`Findings::of`].
    pub(crate) const fn with(self, further: &'static [&'static Rule]) -> Self {
        Self { rule: self.rule, further, evaluate: self.evaluate }
    }

    /// The rows without the function.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        std::iter::once(&self.rule).chain(self.further.iter().copied())
    }

    /// Evaluates the rules, whatever their class, and hands over each breach. An object can hold a hundred thousand:
    /// whoever keeps them has to bound how many.
    pub(crate) fn evaluate(&'static self, case: &Case<'_, S>, each: &mut dyn FnMut(Finding)) {
        let mut findings = Findings::new(&self.rule, each);
        (self.evaluate)(case, &mut findings);
        findings.hand_over();
    }
}

/// Where a rule reports what it found.
pub(crate) struct Findings<'a> {
    rule: &'static Rule,
    /// The last breach: who reports it still adds to it.
    last: Option<Finding>,
    each: &'a mut dyn FnMut(Finding),
}

impl<'a> Findings<'a> {
    fn new(rule: &'static Rule, each: &'a mut dyn FnMut(Finding)) -> Self {
        Self { rule, last: None, each }
    }

    /// The same, for breaches of another rule of the check.
    pub(crate) fn of(&mut self, rule: &'static Rule) -> &mut Self {
        self.rule = rule;
        self
    }

    /// The path of the rule, for rules about one field.
    pub(crate) fn path(&self) -> &'static str {
        self.rule.path
    }

    /// A breach at the rule's own path.
    pub(crate) fn here(&mut self, fault: Fault) -> &mut Finding {
        self.at(self.rule.path, fault)
    }

    /// A breach at `path`; what is wrong and what would be right are added to what is returned.
    pub(crate) fn at(
        &mut self,
        path: impl Into<std::borrow::Cow<'static, str>>,
        fault: Fault,
    ) -> &mut Finding {
        self.hand_over();
        self.last.insert(Finding::new(self.rule, path, fault))
    }

    fn hand_over(&mut self) {
        if let Some(finding) = self.last.take() {
            (self.each)(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_breach_is_handed_over_whole_and_in_order() {
        static WARNS: Rule = Rule { id: "A", kinds: &[], path: "a", class: Class::Advice, summary: "a" };
        static DENIES: Rule = Rule { id: "B", kinds: &[], path: "b", class: Class::Spec, summary: "b" };
        let mut told = Vec::new();
        let mut each = |finding: Finding| told.push(finding.to_string());
        let mut findings = Findings::new(&WARNS, &mut each);
        findings.at("a[0]", Fault::Invalid).detail("first");
        findings.of(&DENIES).here(Fault::Invalid).detail("second");
        findings.hand_over();
        findings.hand_over();
        assert_eq!(told, ["a[0]: Invalid value: first", "b: Invalid value: second"]);
    }

    #[test]
    fn only_the_id_of_a_rule_is_one() {
        for text in ["", "B", "b09", "B099", "C01 "] {
            assert!(text.parse::<RuleId>().unwrap_err().to_string().contains("is no rule"), "{text:?}");
        }
        assert_eq!("I-W1".parse::<RuleId>().map(RuleId::as_str), Ok("I-W1"));
    }

    #[test]
    fn a_resource_of_another_group_or_version_is_no_kind_of_ours() {
        for (group, version, resource) in [
            ("acme.cert-manager.io", "v1", "certificates"),
            ("cert-manager.io", "v1", "challenges"),
            ("cert-manager.io", "v1alpha2", "certificates"),
            ("cert-manager.io", "v1", "Certificate"),
            ("", "", ""),
        ] {
            assert_eq!(Kind::of_resource(group, version, resource), None, "{group} {resource}");
        }
    }

    #[test]
    fn every_kind_is_found_by_its_resource() {
        for kind in Kind::ALL {
            let plural = format!("{}s", kind.as_str().to_lowercase());
            assert_eq!(Kind::of_resource(kind.group(), "v1", &plural), Some(*kind));
        }
    }
}

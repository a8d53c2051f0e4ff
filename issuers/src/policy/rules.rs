//! Rules: what some pods may have beyond the defaults.

use std::net::IpAddr;

use api::IssuerRef;
use issuance::constraint::IpRange;
use issuance::usage::Usages;
use jiff::SignedDuration;

use super::pattern::Pattern;

/// The rules of the policy; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules(pub(super) Vec<Rule>);

/// One rule: whom it is for, and what it grants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rule {
    /// Namespaces; `None` for all.
    pub namespaces: Option<Vec<Pattern>>,
    /// Service accounts; `None` for all.
    pub accounts: Option<Vec<Pattern>>,
    /// Issuers; `None` for all.
    pub issuers: Option<Vec<IssuerPattern>>,
    /// All names, subjects and usages.
    pub any: bool,
    pub is_ca: bool,
    pub dns_names: Vec<Pattern>,
    pub uris: Vec<Pattern>,
    pub ips: Vec<IpRange>,
    /// Attributes of the subject, such as `O=Example`.
    pub subjects: Vec<Pattern>,
    pub usages: Option<Usages>,
    /// The longest life, in place of the policy's.
    pub duration_max: Option<SignedDuration>,
}

/// Issuers that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IssuerPattern {
    pub name: Pattern,
    pub kind: Option<String>,
    pub group: Option<String>,
}

/// The rules that apply to one request.
#[derive(Debug)]
pub(super) struct Grants<'a>(Vec<&'a Rule>);

impl Rules {
    /// Whether some rule permits every name. Whoever starts with such rules should be told.
    pub fn allow_any(&self) -> bool {
        self.0.iter().any(|rule| rule.any)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn grants(&self, namespace: &str, account: &str, issuer: &IssuerRef) -> Grants<'_> {
        let one_of = |patterns: &Option<Vec<Pattern>>, name: &str| {
            patterns.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(name)))
        };
        let applies = |rule: &&Rule| {
            one_of(&rule.namespaces, namespace)
                && one_of(&rule.accounts, account)
                && rule.issuers.as_ref().is_none_or(|patterns| patterns.iter().any(|it| it.matches(issuer)))
        };
        Grants(self.0.iter().filter(applies).collect())
    }
}

impl IssuerPattern {
    fn matches(&self, issuer: &IssuerRef) -> bool {
        self.name.matches(&issuer.name)
            && self.kind.as_deref().is_none_or(|kind| kind == issuer.kind_or_default())
            && self.group.as_deref().is_none_or(|group| group == issuer.group_or_default())
    }
}

impl Grants<'_> {
    pub(super) fn any(&self) -> bool {
        self.0.iter().any(|rule| rule.any)
    }

    pub(super) fn is_ca(&self) -> bool {
        self.0.iter().any(|rule| rule.is_ca)
    }

    /// `name` in lower case.
    pub(super) fn dns_name(&self, name: &str) -> bool {
        self.0.iter().any(|rule| rule.dns_names.iter().any(|pattern| pattern.matches(name)))
    }

    /// A star stands for no segment that means another place than its own (RFC 3986 §5.2.4).
    pub(super) fn uri(&self, uri: &str) -> bool {
        let is_moving = uri.split('/').any(|segment| matches!(segment, "." | ".."));
        let permits = |pattern: &Pattern| pattern.matches(uri) && !(is_moving && pattern.has_star());
        self.0.iter().any(|rule| rule.uris.iter().any(permits))
    }

    pub(super) fn ip(&self, address: IpAddr) -> bool {
        let within =
            |range: &IpRange| IpRange::new(address, range.prefix_len()).is_ok_and(|around| around == *range);
        self.0.iter().any(|rule| rule.ips.iter().any(within))
    }

    /// `attribute` in the form `O=Example`.
    pub(super) fn subject(&self, attribute: &str) -> bool {
        self.0.iter().any(|rule| rule.subjects.iter().any(|pattern| pattern.matches(attribute)))
    }

    pub(super) fn usages(&self) -> impl Iterator<Item = &Usages> {
        self.0.iter().filter_map(|rule| rule.usages.as_ref())
    }

    /// The longest life of those that the rules name.
    pub(super) fn duration_max(&self) -> Option<SignedDuration> {
        self.0.iter().filter_map(|rule| rule.duration_max).max()
    }
}

//! The one validation table of the cert-manager.io/v1 and acme.cert-manager.io/v1 API. Objects go in, findings come
//! out: the webhook, the controller and the linter judge by it.
//!
//! Every rule is one row of a static table, next to the function that evaluates it. The ids (C, R, I, O, H, B and a
//! number) are ours and stable: they label metrics and documentation. Rules that need the API server (approval) or
//! the review itself have a row too, and are evaluated by the webhook.
//!
//! Whether a broken rule rejects is not up to the rule but to its [`Class`]: see there for how rules ratchet.

mod case;
pub mod cel;
mod certificate;
mod certificate_request;
mod challenge;
mod cluster;
mod dns;
mod email;
mod example;
mod finding;
mod identity;
mod issuer;
mod issuer_ref;
mod lifetime;
mod name;
mod order;
mod progress;
mod review;
mod rule;
mod uri;
mod verdict;

pub use case::{Case, Context, Judged, Metadata, Object, OwnerReference, Requester, Settings};
pub use cluster::{AcmeFacts, Cluster, IssuerFacts, Lookup, Snapshot};
pub use example::{Approval, EXAMPLE_FOLDERS, Example, ExampleError, Resource};
pub use finding::{Fault, Finding, concealed, join};
pub use issuer::{HostRange, HostRangeError};
pub use review::{
    APPROVAL_UNAUTHORISED, APPROVAL_UNRESOLVED, KIND_MISMATCH, RESOURCE_MISSING, SPEC_UNREADABLE,
    approval_unauthorised, approval_unresolved, check_kind, check_stampable, kind_of_resource,
};
pub use rule::{Check, Class, Kind, Rule, RuleId, RuleIdError};
pub use verdict::{Verdict, each_rule, judge};

/// Every rule there is, kind by kind, in the order of evaluation.
pub fn table() -> impl Iterator<Item = &'static Rule> {
    fn rows<S: Judged>() -> impl Iterator<Item = &'static Rule> {
        S::tables().iter().copied().flatten().flat_map(Check::rules)
    }
    review::RULES
        .iter()
        .copied()
        .chain(rows::<api::CertificateSpec>())
        .chain(rows::<api::CertificateRequestSpec>())
        .chain(rows::<api::IssuerSpec>())
        .chain(rows::<api::OrderSpec>())
        .chain(rows::<api::ChallengeSpec>())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_id_names_one_rule_of_a_kind() {
        let mut seen = BTreeSet::new();
        for rule in table() {
            for kind in rule.kinds {
                assert!(seen.insert((rule.id, kind.as_str())), "{} of {kind:?} twice", rule.id);
            }
            assert!(!rule.kinds.is_empty(), "{} is for no kind", rule.id);
        }
    }

    #[test]
    fn every_row_can_be_read_by_people() {
        for rule in table() {
            assert!(!rule.summary.is_empty() && !rule.summary.ends_with('.'), "{rule:?}");
            assert!(rule.path.is_empty() || rule.path.starts_with(['s', 'm']), "{rule:?}");
            let (letter, number) = rule.id.split_at(1);
            let number = number.trim_start_matches("-W").trim_end_matches("-W");
            assert!("CRIOHBM".contains(letter) && number.parse::<u8>().is_ok(), "{rule:?}");
        }
    }
}

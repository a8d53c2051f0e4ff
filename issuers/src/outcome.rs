//! Which issuer is meant, and how an attempt to have something signed can end.

use std::fmt;
use std::time::Duration;

use api::IssuerRef;
pub use issuance::outcome::Outcome;

/// When to come back after the API server gave no answer.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The kinds of issuer of our own group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IssuerKind {
    /// For objects of its own namespace.
    Issuer,
    /// For all namespaces.
    ClusterIssuer,
}

/// An issuer of our own group, as an object in some namespace refers to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IssuerId {
    /// Kind.
    pub kind: IssuerKind,
    /// Namespace of the object that refers to the issuer, which is the Issuer's own; a ClusterIssuer has none.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl IssuerId {
    /// The issuer that a reference in `namespace` means; `None` when it is of another group or kind, so that somebody
    /// else has to sign.
    pub fn of(reference: &IssuerRef, namespace: &str) -> Option<Self> {
        let kind = match (reference.is_own_group(), reference.kind_or_default()) {
            (true, "Issuer") => IssuerKind::Issuer,
            (true, "ClusterIssuer") => IssuerKind::ClusterIssuer,
            _ => return None,
        };
        Some(Self { kind, namespace: namespace.to_owned(), name: reference.name.clone() })
    }
}

impl fmt::Display for IssuerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            IssuerKind::Issuer => write!(f, "Issuer {}/{}", self.namespace, self.name),
            IssuerKind::ClusterIssuer => write!(f, "ClusterIssuer {}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_to_another_group_or_kind_is_somebody_elses() {
        let check = |kind: &str, group: &str, expected: Option<&str>| {
            let reference = IssuerRef {
                name: "ca".to_owned(),
                kind: Some(kind.to_owned()),
                group: Some(group.to_owned()),
            };
            let id = IssuerId::of(&reference, "team-a").map(|id| id.to_string());
            assert_eq!(id.as_deref(), expected, "{group}/{kind}");
        };
        check("Issuer", "awspca.cert-manager.io", None);
        check("PcaIssuer", "cert-manager.io", None);
        check("Issuer", "cert-manager.io", Some("Issuer team-a/ca"));
        check("ClusterIssuer", "cert-manager.io", Some("ClusterIssuer ca"));
    }
}

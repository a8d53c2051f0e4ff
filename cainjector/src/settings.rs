//! What the operator has decided.

use std::collections::BTreeSet;
use std::sync::Arc;

use issuance::certificate::Certificate;
use issuance::fingerprint::Fingerprint;
use jiff::SignedDuration;
use runtime::watch::ObjectName;

use crate::plan::{Reason, Refusal};
use crate::reference::SourceRef;
use crate::rotation::Retention;
use crate::target::{ROOT_CA, Target, TargetKind};

/// Which sources are taken, and what becomes of the bundles that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where they may be.
    pub namespaces: Namespaces,
    /// Whether Certificates are sources (`--enable-certificates-data-source`).
    pub certificates: bool,
    /// Whether the certificates that a bundle has stay beside those of the source (feature gate `CAInjectorMerging`).
    pub merging: bool,
    /// What is taken out of bundles before it expires.
    pub withdrawal: Arc<Withdrawal>,
    /// The ConfigMap that this process keeps for itself, which is no target.
    pub own: Option<ObjectName>,
}

/// What is taken out of bundles before it expires. By default nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Withdrawal {
    /// How long a certificate stays that has left its source (`--ca-retention`).
    pub retention: Retention,
    /// Most certificates of a bundle (`--max-certificates`). What the source has, and what somebody else put there, stays
    /// even so.
    pub cap: Option<Cap>,
    /// Certificates that nobody may trust, whoever put them into a bundle (`--deny-certificates`).
    pub denied: BTreeSet<Fingerprint>,
}

/// How many certificates a bundle has at most: of more, what left its source first goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// So many, where there is something that may go.
    pub certificates: usize,
    /// How long before a certificate must have left its source to go for this: as long as servers may show one that it has
    /// vouched for, and API servers do not know the next CA yet, it is no surplus.
    pub absence: SignedDuration,
}

impl Withdrawal {
    /// Whether it has to be known when a certificate left its source.
    pub fn needs_memory(&self) -> bool {
        self.retention != Retention::UntilExpiry || self.cap.is_some()
    }

    /// Whether nobody may trust this certificate.
    pub fn denies(&self, certificate: &Certificate) -> bool {
        !self.denied.is_empty() && self.denied.contains(&certificate.fingerprint())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespaces: Namespaces::All,
            certificates: true,
            merging: true,
            withdrawal: Arc::default(),
            own: None,
        }
    }
}

impl Settings {
    /// Whether the object is never a target, whatever it asks for.
    pub fn excludes(&self, target: &Target) -> bool {
        let is_own = |own: &ObjectName| *own == target.name;
        target.kind == TargetKind::ConfigMap
            && (target.name.name == ROOT_CA || self.own.as_ref().is_some_and(is_own))
    }

    /// Why the operator does not want this source to be taken.
    pub fn refuses(&self, source: &SourceRef) -> Option<Refusal> {
        if let Some(flag) = self.namespaces.excluded_by(source) {
            let text = format!("{source} is in a namespace that {flag} excludes");
            return Some(Refusal::new(Reason::NamespaceNotServed, text));
        }
        match source {
            SourceRef::Certificate(_) if !self.certificates => {
                let text = format!("{source} is no source here: --enable-certificates-data-source is false");
                Some(Refusal::new(Reason::SourceNotSupported, text))
            }
            _ => None,
        }
    }
}

/// The namespaces that sources are taken from. Targets are served wherever they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Namespaces {
    /// All of them.
    #[default]
    All,
    /// This one alone (`--namespace`).
    Only(String),
    /// All but these (`--ignore-namespaces`).
    Except(BTreeSet<String>),
}

impl Namespaces {
    /// The flag that keeps a source from being taken, if one does.
    pub fn excluded_by(&self, source: &SourceRef) -> Option<&'static str> {
        let namespace = source.namespace()?;
        match self {
            Self::Only(only) if only != namespace => Some("--namespace"),
            Self::Except(excluded) if excluded.contains(namespace) => Some("--ignore-namespaces"),
            Self::All | Self::Only(_) | Self::Except(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clusters_own_and_ours_are_no_targets() {
        let settings = Settings { own: Some(ObjectName::namespaced("us", "memory")), ..Settings::default() };
        for (kind, namespace, name, excluded) in [
            (TargetKind::ConfigMap, "team-a", "kube-root-ca.crt", true),
            (TargetKind::ConfigMap, "us", "memory", true),
            (TargetKind::ConfigMap, "team-a", "memory", false),
            (TargetKind::ConfigMap, "team-a", "ca", false),
            (TargetKind::ApiService, "us", "memory", false),
        ] {
            let target = Target { kind, name: ObjectName::namespaced(namespace, name) };
            assert_eq!(settings.excludes(&target), excluded, "{target}");
        }
    }

    #[test]
    fn the_flag_that_excludes_a_namespace_is_named() {
        let source = SourceRef::Certificate(ObjectName::namespaced("team-a", "web"));
        let except = |name: &str| Namespaces::Except(BTreeSet::from([name.to_owned()]));
        for (namespaces, expected) in [
            (Namespaces::Only("team-b".to_owned()), Some("--namespace")),
            (except("team-a"), Some("--ignore-namespaces")),
            (Namespaces::Only("team-a".to_owned()), None),
            (except("team-b"), None),
            (Namespaces::All, None),
        ] {
            assert_eq!(namespaces.excluded_by(&source), expected, "{namespaces:?}");
            assert_eq!(namespaces.excluded_by(&SourceRef::ApiServer), None, "{namespaces:?}");
        }
    }
}

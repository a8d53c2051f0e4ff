//! Issuer and ClusterIssuer under one view: they differ in their scope alone.

use std::fmt;

use api::{ClusterIssuer, Issuer, IssuerSpec, IssuerStatus};
use issuers::IssuerId;
use kube::Resource;
use kube::core::{ApiResource, ObjectMeta};
use runtime::watch::{ObjectName, Watched};

/// The two kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IssuerKind {
    /// Issuer, of one namespace.
    Issuer,
    /// ClusterIssuer, for all namespaces.
    ClusterIssuer,
}

impl IssuerKind {
    /// Name of the kind, as in manifests.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Issuer => "Issuer",
            Self::ClusterIssuer => "ClusterIssuer",
        }
    }

    /// Plural of the kind, as in URLs.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Issuer => "issuers",
            Self::ClusterIssuer => "clusterissuers",
        }
    }

    /// Group, version and plural of the kind.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::Issuer => ApiResource::erase::<Issuer>(&()),
            Self::ClusterIssuer => ApiResource::erase::<ClusterIssuer>(&()),
        }
    }
}

/// Which issuer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerKey {
    /// Kind.
    pub kind: IssuerKind,
    /// Name, with the namespace of an Issuer.
    pub name: ObjectName,
}

impl IssuerKey {
    /// The object that an object in some namespace refers to so.
    pub fn of(id: &IssuerId) -> Self {
        match id.kind {
            issuers::IssuerKind::Issuer => {
                Self { kind: IssuerKind::Issuer, name: ObjectName::namespaced(&id.namespace, &id.name) }
            }
            issuers::IssuerKind::ClusterIssuer => {
                Self { kind: IssuerKind::ClusterIssuer, name: ObjectName::cluster(&id.name) }
            }
        }
    }

    /// As an object of its own namespace refers to it.
    pub fn id(&self) -> IssuerId {
        let kind = match self.kind {
            IssuerKind::Issuer => issuers::IssuerKind::Issuer,
            IssuerKind::ClusterIssuer => issuers::IssuerKind::ClusterIssuer,
        };
        let namespace = self.name.namespace.clone().unwrap_or_default();
        IssuerId { kind, namespace, name: self.name.name.clone() }
    }
}

impl fmt::Display for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.kind(), self.name)
    }
}

/// Whether a `metadata.resourceVersion` is of an earlier moment than another one of the same object. Versions that are no
/// numbers tell nothing.
pub fn is_older(version: &str, than: &str) -> bool {
    match (version.parse::<u64>(), than.parse::<u64>()) {
        (Ok(version), Ok(than)) => version < than,
        _ => false,
    }
}

/// An issuer as it was last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`: a write is bound to it.
    pub resource_version: String,
    /// `metadata.generation`; each change of the spec increases it.
    pub generation: Option<i64>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its spec.
    pub spec: IssuerSpec,
    /// Its status; empty where there is none yet.
    pub status: IssuerStatus,
}

/// A kind of issuer.
pub trait IssuerObject: Watched + Resource<DynamicType = ()> {
    /// Which of the two.
    const KIND: IssuerKind;

    /// Takes the object apart.
    fn parts(self) -> (ObjectMeta, IssuerSpec, Option<IssuerStatus>);
}

impl IssuerObject for Issuer {
    const KIND: IssuerKind = IssuerKind::Issuer;

    fn parts(self) -> (ObjectMeta, IssuerSpec, Option<IssuerStatus>) {
        (self.metadata, self.spec, self.status)
    }
}

impl IssuerObject for ClusterIssuer {
    const KIND: IssuerKind = IssuerKind::ClusterIssuer;

    fn parts(self) -> (ObjectMeta, IssuerSpec, Option<IssuerStatus>) {
        (self.metadata, self.spec, self.status)
    }
}

/// Key and content of an issuer object.
pub fn view<K: IssuerObject>(object: K) -> (IssuerKey, Seen) {
    let (metadata, spec, status) = object.parts();
    let key = IssuerKey {
        kind: K::KIND,
        name: ObjectName { namespace: metadata.namespace, name: metadata.name.unwrap_or_default() },
    };
    let seen = Seen {
        uid: metadata.uid.unwrap_or_default(),
        resource_version: metadata.resource_version.unwrap_or_default(),
        generation: metadata.generation,
        deleting: metadata.deletion_timestamp.is_some(),
        spec,
        status: status.unwrap_or_default(),
    };
    (key, seen)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// An issuer with this spec, in JSON.
    pub(crate) fn seen(spec: &str) -> Seen {
        Seen {
            uid: "u".to_owned(),
            resource_version: "7".to_owned(),
            generation: Some(3),
            deleting: false,
            spec: serde_json::from_str(spec).unwrap(),
            status: IssuerStatus::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_are_no_numbers_are_not_compared() {
        assert!(!is_older("a", "2") && !is_older("1", "") && !is_older("2", "2") && !is_older("10", "9"));
        assert!(is_older("9", "10"));
    }

    #[test]
    fn a_reference_and_the_object_are_told_apart_by_kind() {
        let id = |kind| IssuerId { kind, namespace: "a".to_owned(), name: "ca".to_owned() };
        assert_eq!(IssuerKey::of(&id(issuers::IssuerKind::Issuer)).to_string(), "Issuer a/ca");
        assert_eq!(IssuerKey::of(&id(issuers::IssuerKind::ClusterIssuer)).to_string(), "ClusterIssuer ca");
        let issuer = id(issuers::IssuerKind::Issuer);
        assert_eq!(IssuerKey::of(&issuer).id(), issuer);
    }
}

//! Issuer and ClusterIssuer under one view: they differ in their scope alone.

use std::fmt;

use api::{ClusterIssuer, Issuer, IssuerSpec, IssuerStatus};
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

impl fmt::Display for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.kind(), self.name)
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

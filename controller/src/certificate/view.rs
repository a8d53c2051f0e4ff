//! What is kept of a Certificate.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::conditions::{self, Condition};
use api::keys::annotation;
use api::{Certificate, CertificateSpec, CertificateStatus};
use jiff::Timestamp;
use runtime::watch::ObjectName;
use serde_json::{Value, json};

use crate::certificate::metadata::Prefixes;

/// A Certificate as it was last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct CertificateView {
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub version: String,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// `metadata.creationTimestamp`; the epoch where there is none.
    pub created: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// `metadata.labels`, which its requests get too.
    pub labels: BTreeMap<String, String>,
    /// The annotations that its requests get too.
    pub copied_annotations: BTreeMap<String, String>,
    /// Whether it asks for a temporary certificate until the real one is there.
    pub temporary: bool,
    /// The spec.
    pub spec: Arc<CertificateSpec>,
    /// The status.
    pub status: CertificateStatus,
}

impl CertificateView {
    /// What there is to know of `certificate`, with those of its annotations that `prefixes` select.
    pub fn of(certificate: Certificate, prefixes: &Prefixes) -> Self {
        let Certificate { metadata, spec, status } = certificate;
        let name = ObjectName::of(&metadata);
        let annotations = metadata.annotations.unwrap_or_default();
        let wish = annotations.get(annotation::ISSUE_TEMPORARY_CERTIFICATE);
        Self {
            name,
            uid: metadata.uid.unwrap_or_default(),
            version: metadata.resource_version.unwrap_or_default(),
            generation: metadata.generation,
            created: metadata.creation_timestamp.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            deleting: metadata.deletion_timestamp.is_some(),
            labels: metadata.labels.unwrap_or_default(),
            temporary: wish.is_some_and(|wish| wish == "true"),
            copied_annotations: prefixes.copied(annotations),
            spec: Arc::new(spec),
            status: status.unwrap_or_default(),
        }
    }

    /// The Secret that it is kept in.
    pub fn secret(&self) -> ObjectName {
        ObjectName { namespace: self.name.namespace.clone(), name: self.spec.secret_name.clone() }
    }

    /// The number of the next issuance.
    pub fn next_revision(&self) -> i64 {
        self.status.revision.unwrap_or(0).saturating_add(1)
    }

    /// Whether an issuance is under way.
    pub fn is_issuing(&self) -> bool {
        conditions::is_true(&self.status.conditions, conditions::ISSUING)
    }

    /// The condition of this type.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        conditions::find(&self.status.conditions, type_)
    }

    /// The owner reference of what is made for it.
    pub fn owner_reference(&self) -> Value {
        json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "name": self.name.name,
            "uid": self.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(certificate: Value) -> CertificateView {
        CertificateView::of(serde_json::from_value(certificate).unwrap(), &Prefixes::default())
    }

    #[test]
    fn a_revision_at_the_end_of_numbers_does_not_overflow() {
        let at = |revision: i64| view(json!({"status": {"revision": revision}})).next_revision();
        assert_eq!(at(i64::MAX), i64::MAX);
        assert_eq!(at(4), 5);
        assert_eq!(view(json!({})).next_revision(), 1);
    }

    #[test]
    fn only_true_asks_for_a_temporary_certificate() {
        let asks = |text: &str| {
            view(json!({"metadata": {"annotations": {"cert-manager.io/issue-temporary-certificate": text}}}))
                .temporary
        };
        assert!(!asks("yes") && !asks("") && asks("true"));
    }

    #[test]
    fn annotations_that_are_not_copied_are_not_kept() {
        let annotations =
            json!({"kubectl.kubernetes.io/last-applied-configuration": "{}", "example.org/team": "a"});
        let view = view(
            json!({"metadata": {"namespace": "n", "annotations": annotations}, "spec": {"secretName": "s"}}),
        );
        assert_eq!(view.copied_annotations, [("example.org/team".to_owned(), "a".to_owned())].into());
        assert_eq!(view.secret(), ObjectName::namespaced("n", "s"));
    }
}

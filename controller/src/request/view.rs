//! What is kept of a CertificateRequest. The issued chain is not: its length in memory would be most of the whole.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use api::conditions::{self, Condition, ConditionStatus};
use api::keys::annotation;
use api::{CertificateRequest, CertificateRequestSpec, GoDuration, IssuerRef, KeyUsage};
use issuance::authority::Terms;
use issuance::certificate::Certificate;
use issuance::comparison::Asked;
use issuance::fingerprint::Fingerprint;
use issuance::outcome::causes;
use issuance::pem::{self, Limit};
use issuance::request::Request;
use issuance::usage::{UsageError, Usages};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use runtime::watch::ObjectName;

/// A CertificateRequest as it was last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestView {
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub version: String,
    /// `metadata.creationTimestamp`; the epoch where there is none.
    pub created: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The object that it belongs to: its owner reference with `controller: true`.
    pub owner: Option<Owner>,
    /// The pod that it is for: its only owner reference of kind Pod.
    pub pod: Option<Owner>,
    /// Number of the issuance that it belongs to; `None` when the annotation is absent or no number.
    pub revision: Option<i64>,
    /// Secret with the private key of the request, by its annotation.
    pub key_secret: Option<String>,
    /// The spec, which never changes.
    pub spec: Arc<RequestFacts>,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
    /// What `status.certificate` holds.
    pub certificate: Option<Digest>,
    /// `status.failureTime`.
    pub failure_time: Option<Timestamp>,
}

/// The object that another one belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its kind, such as `Certificate`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// The spec of a CertificateRequest.
#[derive(Clone, Default, PartialEq)]
pub struct RequestFacts {
    /// `spec.request`: PEM as it was sent.
    pub csr: Vec<u8>,
    /// `spec.issuerRef`.
    pub issuer: IssuerRef,
    /// `spec.duration`.
    pub duration: Option<GoDuration>,
    /// `spec.isCA`.
    pub is_ca: bool,
    /// `spec.usages`.
    pub usages: Vec<KeyUsage>,
    /// `spec.username`, stamped by the webhook.
    pub username: Option<String>,
    /// `spec.uid`, stamped by the webhook.
    pub uid: Option<String>,
    /// `spec.groups`, stamped by the webhook.
    pub groups: Vec<String>,
    /// `spec.extra`, stamped by the webhook.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// A text that is recognised without being kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// Its length in bytes.
    pub bytes: usize,
    /// Its SHA-256.
    pub sha256: Fingerprint,
    /// Fingerprint of the first certificate in it; `None` when it is no chain that can be read.
    pub leaf: Option<Fingerprint>,
}

/// How a request ended for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestEnd {
    /// An approver refused it.
    Denied,
    /// It can never be answered as it is.
    Invalid,
    /// Its issuer refused it.
    Failed,
    /// It was signed.
    Issued,
}

impl RequestView {
    /// What there is to know of `request`.
    pub fn of(request: CertificateRequest) -> Self {
        let CertificateRequest { metadata, spec, status } = request;
        let status = status.unwrap_or_default();
        let annotation = |key| metadata.annotations.as_ref().and_then(|all| all.get(key)).cloned();
        Self {
            name: ObjectName::of(&metadata),
            version: metadata.resource_version.clone().unwrap_or_default(),
            created: metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            deleting: metadata.deletion_timestamp.is_some(),
            owner: Owner::of(&metadata),
            pod: Owner::pod_of(&metadata),
            revision: annotation(annotation::CERTIFICATE_REVISION).and_then(|text| text.parse().ok()),
            key_secret: annotation(annotation::PRIVATE_KEY_SECRET_NAME).filter(|name| !name.is_empty()),
            uid: metadata.uid.unwrap_or_default(),
            spec: Arc::new(RequestFacts::of(spec)),
            conditions: status.conditions,
            certificate: status.certificate.filter(|text| !text.0.is_empty()).map(|text| Digest::of(&text.0)),
            failure_time: status.failure_time.map(|time| time.0),
        }
    }

    /// Whether it belongs to the object with this UID.
    pub fn is_owned_by(&self, uid: &str) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.uid == uid)
    }

    /// Whether an approver said yes.
    pub fn is_approved(&self) -> bool {
        conditions::is_true(&self.conditions, conditions::APPROVED)
    }

    /// Whether an approver said no.
    pub fn is_denied(&self) -> bool {
        conditions::is_true(&self.conditions, conditions::DENIED)
    }

    /// How it ended, if it did. One that was refused has failed even if it was signed all the same.
    pub fn end(&self) -> Option<RequestEnd> {
        if self.is_denied() {
            return Some(RequestEnd::Denied);
        }
        if conditions::is_true(&self.conditions, conditions::INVALID_REQUEST) {
            return Some(RequestEnd::Invalid);
        }
        match self.ready_reason() {
            Some(conditions::REASON_DENIED) => Some(RequestEnd::Denied),
            Some(conditions::REASON_FAILED) => Some(RequestEnd::Failed),
            Some(conditions::REASON_ISSUED) => Some(RequestEnd::Issued),
            _ => None,
        }
    }

    /// The reason of its Ready condition.
    pub fn ready_reason(&self) -> Option<&str> {
        conditions::find(&self.conditions, conditions::READY)?.reason.as_deref()
    }

    /// When it failed: `status.failureTime`, else the date of the condition that says so. `None` when it has not failed, or
    /// nobody noted when.
    pub fn failed_at(&self) -> Option<Timestamp> {
        let type_ = match self.end()? {
            RequestEnd::Issued => return None,
            RequestEnd::Denied if self.is_denied() => conditions::DENIED,
            RequestEnd::Invalid => conditions::INVALID_REQUEST,
            RequestEnd::Denied | RequestEnd::Failed => conditions::READY,
        };
        let dated =
            || conditions::find(&self.conditions, type_)?.last_transition_time.as_ref().map(|time| time.0);
        self.failure_time.or_else(dated)
    }

    /// The condition of this type with status True or False, as it was given.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        conditions::find(&self.conditions, type_).filter(|found| found.status != ConditionStatus::Unknown)
    }
}

impl Owner {
    /// The owner reference with `controller: true`.
    pub fn of(metadata: &ObjectMeta) -> Option<Self> {
        let is_controller = |reference: &&OwnerReference| reference.controller == Some(true);
        let reference = metadata.owner_references.as_ref()?.iter().find(is_controller)?;
        Some(Self::from(reference))
    }

    /// The only owner reference of kind Pod. It is no controller's: a pod controls nothing.
    pub fn pod_of(metadata: &ObjectMeta) -> Option<Self> {
        let is_pod = |reference: &&OwnerReference| reference.kind == "Pod" && reference.api_version == "v1";
        let mut pods = metadata.owner_references.iter().flatten().filter(is_pod);
        match (pods.next(), pods.next()) {
            (Some(pod), None) => Some(Self::from(pod)),
            _ => None,
        }
    }
}

impl From<&OwnerReference> for Owner {
    fn from(reference: &OwnerReference) -> Self {
        let (kind, name, uid) = (reference.kind.clone(), reference.name.clone(), reference.uid.clone());
        Self { kind, name, uid }
    }
}

impl RequestFacts {
    /// The facts of a spec.
    pub fn of(spec: CertificateRequestSpec) -> Self {
        Self {
            csr: spec.request.0,
            issuer: spec.issuer_ref,
            duration: spec.duration,
            is_ca: spec.is_ca,
            usages: spec.usages,
            username: spec.username,
            uid: spec.uid,
            groups: spec.groups,
            extra: spec.extra,
        }
    }

    /// The usages asked for, with what none means.
    ///
    /// # Errors
    /// On the first one that is not a usage.
    pub fn usages(&self) -> Result<Usages, UsageError> {
        Usages::parse(self.usages.iter().map(KeyUsage::as_str))
    }

    /// The lifetime asked for; `None` when it is not given or no duration, and the issuer decides.
    pub fn duration(&self) -> Option<SignedDuration> {
        self.duration.as_ref().and_then(|duration| duration.parse().ok())
    }

    /// What is to be signed, and in which terms.
    ///
    /// # Errors
    /// Why it can never be signed.
    pub fn order(&self) -> Result<(Request, Terms), String> {
        let request = Request::from_pem(&self.csr)
            .map_err(|error| format!("spec.request cannot be decoded: {}", causes(&error)))?;
        let usages = self.usages().map_err(|error| format!("spec.usages: {}", causes(&error)))?;
        let terms = Terms { usages, is_ca: self.is_ca, ..Terms::default() };
        let duration = self.duration().unwrap_or(terms.duration);
        Ok((request, Terms { duration, ..terms }))
    }

    /// What was asked for beside the signing request, to be compared with a Certificate.
    ///
    /// # Errors
    /// A usage is none.
    pub fn asked(&self) -> Result<Asked, UsageError> {
        let issuer = issuance::comparison::IssuerRef {
            name: self.issuer.name.clone(),
            kind: self.issuer.kind.clone().unwrap_or_default(),
            group: self.issuer.group.clone().unwrap_or_default(),
        };
        Ok(Asked { is_ca: self.is_ca, usages: self.usages()?, duration: self.duration(), issuer })
    }
}

impl fmt::Debug for RequestFacts {
    /// Without the signing request and the requester's attributes, which are long and say nothing in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestFacts")
            .field("issuer", &self.issuer)
            .field("username", &self.username)
            .field("csr_bytes", &self.csr.len())
            .finish_non_exhaustive()
    }
}

impl Digest {
    /// Recognises `text` again, a chain as PEM.
    pub fn of(text: &[u8]) -> Self {
        let chain = pem::certificates(text, Limit::CHAIN).unwrap_or_default();
        let leaf = chain.first().map(Certificate::fingerprint);
        Self { bytes: text.len(), sha256: Fingerprint::of(text), leaf }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{self, at};

    fn view(metadata: &Value, status: &Value) -> RequestView {
        let request = json!({"metadata": metadata, "spec": {"request": "eA=="}, "status": status});
        RequestView::of(serde_json::from_value(request).unwrap())
    }

    #[test]
    fn a_revision_that_cannot_be_read_is_none() {
        let check = |annotations: Value, expected: Option<i64>| {
            assert_eq!(view(&json!({"annotations": annotations}), &json!({})).revision, expected);
        };
        check(json!({}), None);
        check(json!({"cert-manager.io/certificate-revision": ""}), None);
        check(json!({"cert-manager.io/certificate-revision": "two"}), None);
        check(json!({"cert-manager.io/certificate-revision": "99999999999999999999"}), None);
        check(json!({"cert-manager.io/certificate-revision": "12"}), Some(12));
    }

    #[test]
    fn only_the_owner_that_controls_it_counts() {
        let owners = json!([
            {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "1"},
            {"apiVersion": "v1", "kind": "Pod", "name": "b", "uid": "2", "controller": true}
        ]);
        let view = view(&json!({"ownerReferences": owners}), &json!({}));
        assert!(view.is_owned_by("2") && !view.is_owned_by("1") && !view.is_owned_by(""));
        assert_eq!(view.owner.unwrap().name, "b");
    }

    #[test]
    fn refusals_win_over_a_certificate_that_was_issued_all_the_same() {
        let condition = |type_: &str, status: &str, reason: &str| json!({"type": type_, "status": status, "reason": reason});
        let issued = condition("Ready", "True", "Issued");
        let check = |conditions: Vec<Value>, expected: Option<RequestEnd>| {
            let view = view(&json!({}), &json!({"conditions": conditions}));
            assert_eq!(view.end(), expected, "{:?}", view.conditions);
        };
        check(vec![], None);
        check(vec![condition("Ready", "False", "Pending")], None);
        check(vec![condition("Denied", "False", "x"), condition("Approved", "True", "x")], None);
        check(vec![issued.clone()], Some(RequestEnd::Issued));
        check(vec![condition("Ready", "False", "Failed")], Some(RequestEnd::Failed));
        check(vec![condition("Ready", "False", "Denied")], Some(RequestEnd::Denied));
        let invalid = condition("InvalidRequest", "True", "x");
        check(vec![issued.clone(), invalid.clone()], Some(RequestEnd::Invalid));
        check(vec![issued, invalid, condition("Denied", "True", "x")], Some(RequestEnd::Denied));
    }

    #[test]
    fn the_time_of_a_failure_is_noted_or_read_from_the_condition() {
        let time = |second: i64| at(second).to_string();
        let failed =
            json!({"type": "Ready", "status": "False", "reason": "Failed", "lastTransitionTime": time(5)});
        let status = |failure: Value| json!({"conditions": [failed.clone()], "failureTime": failure});
        assert_eq!(view(&json!({}), &status(json!(time(7)))).failed_at(), Some(at(7)));
        assert_eq!(view(&json!({}), &status(Value::Null)).failed_at(), Some(at(5)));
        let denied = json!({"type": "Denied", "status": "True", "lastTransitionTime": time(3)});
        assert_eq!(view(&json!({}), &json!({"conditions": [denied]})).failed_at(), Some(at(3)));
        let issued =
            json!({"type": "Ready", "status": "True", "reason": "Issued", "lastTransitionTime": time(5)});
        assert_eq!(view(&json!({}), &json!({"conditions": [issued]})).failed_at(), None);
        assert_eq!(view(&json!({}), &json!({})).failed_at(), None);
    }

    #[test]
    fn a_chain_is_recognised_by_its_leaf() {
        let (first, second) = (testing::ca("first"), testing::ca("second"));
        let (first, second) = (first.certificate(), second.certificate());
        let digest = Digest::of(format!("{}{}", first.to_pem(), second.to_pem()).as_bytes());
        assert_eq!(digest.leaf, Some(first.fingerprint()));
        assert_ne!(digest.sha256, Digest::of(first.to_pem().as_bytes()).sha256);
        assert_eq!(Digest::of(b"garbage").leaf, None);
        assert_eq!(view(&json!({}), &json!({"certificate": ""})).certificate, None);
        assert_eq!(
            view(&json!({}), &json!({"certificate": "eA=="})).certificate.map(|digest| digest.bytes),
            Some(1)
        );
    }

    #[test]
    fn a_duration_that_cannot_be_read_is_left_to_the_issuer() {
        let facts = |duration: &str| RequestFacts {
            duration: Some(GoDuration::new(duration)),
            ..RequestFacts::default()
        };
        assert_eq!(facts("soon").duration(), None);
        assert_eq!(facts("1h").duration(), Some(SignedDuration::from_hours(1)));
        let unknown = RequestFacts { usages: vec![KeyUsage::from("magic")], ..RequestFacts::default() };
        assert!(unknown.asked().is_err());
        assert!(RequestFacts::default().asked().unwrap().usages.same_as(&Usages::default()));
    }
}

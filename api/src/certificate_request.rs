//! CertificateRequest: one signing request, who asked, who approved, and the answer.

use crate::text::{is_false, non_empty};
use crate::usage::{self, KeyUsage};
use crate::{Condition, GoDuration, IssuerRef, certificate, conditions};
use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

custom_resource! {
    /// Asks an issuer to sign one PKCS#10 request. It is answered once and never changes.
    CertificateRequest, "certificaterequests", "cert-manager.io", NamespaceResourceScope,
    CertificateRequestSpec, CertificateRequestStatus
}

/// The request. Nothing in it can be changed after creation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateRequestSpec {
    /// The signing request: a PEM block with a PKCS#10 request (RFC 2986).
    #[schemars(schema_with = "crate::schema::bytes")]
    pub request: ByteString,
    /// The issuer that signs.
    pub issuer_ref: IssuerRef,
    /// Lifetime to ask for, as a Go duration such as "2160h". The issuer decides when it is
    /// absent, and may grant another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<GoDuration>,
    /// Whether the certificate may sign others. It must agree with the signing request.
    #[serde(rename = "isCA", skip_serializing_if = "is_false")]
    pub is_ca: bool,
    /// What the key may be used for. "digital signature" and "key encipherment" when it is absent.
    /// If the signing request carries usages, they must be these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub usages: Vec<KeyUsage>,
    /// Name of the user who created the object. Written by the webhook; whatever the user writes
    /// here is replaced or refused.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub username: Option<String>,
    /// UID of the user who created the object. Written by the webhook.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub uid: Option<String>,
    /// Groups of the user who created the object. Written by the webhook.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Further attributes of the user who created the object, such as pod and node of a service
    /// account token. Written by the webhook.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl CertificateRequestSpec {
    /// The lifetime asked for, else 2160h.
    ///
    /// # Errors
    /// The text is not a duration.
    pub fn duration_or_default(&self) -> Result<SignedDuration, crate::DurationError> {
        self.duration.as_ref().map_or(Ok(certificate::DEFAULT_DURATION), GoDuration::parse)
    }

    /// The usages asked for, else the default pair. `isCA` is not looked at.
    pub fn usages_or_default(&self) -> &[KeyUsage] {
        usage::or_default(&self.usages)
    }
}

/// The decision of the approvers and the answer of the issuer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateRequestStatus {
    /// Approved or Denied holds the approver's decision, which is final. Ready tells whether the
    /// certificate is there, with reason Pending, Issued, Failed or Denied. InvalidRequest says
    /// that the request can never be answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::schema_without_generation")]
    pub conditions: Vec<Condition>,
    /// The signed certificate in PEM, followed by its intermediates.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub certificate: Option<ByteString>,
    /// The certificate of the CA in PEM, if the issuer knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub ca: Option<ByteString>,
    /// When the request failed for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_time: Option<Time>,
}

impl CertificateRequest {
    /// The conditions, if there is a status yet.
    pub fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }

    /// Whether an approver said yes.
    pub fn is_approved(&self) -> bool {
        conditions::is_true(self.conditions(), conditions::APPROVED)
    }

    /// Whether an approver said no.
    pub fn is_denied(&self) -> bool {
        conditions::is_true(self.conditions(), conditions::DENIED)
    }

    /// Whether the certificate is there.
    pub fn is_ready(&self) -> bool {
        conditions::is_true(self.conditions(), conditions::READY)
    }

    /// Whether the request was found to be wrong in itself.
    pub fn is_invalid(&self) -> bool {
        conditions::is_true(self.conditions(), conditions::INVALID_REQUEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConditionStatus;

    #[test]
    fn a_decision_counts_only_with_status_true() {
        let with = |type_: &str, status| CertificateRequest {
            status: Some(CertificateRequestStatus {
                conditions: vec![Condition::new(type_, status, "R", "m")],
                ..Default::default()
            }),
            ..Default::default()
        };
        assert!(!CertificateRequest::default().is_approved());
        assert!(!with("Approved", ConditionStatus::False).is_approved());
        assert!(!with("Denied", ConditionStatus::True).is_approved());
        assert!(with("Approved", ConditionStatus::True).is_approved());
        assert!(with("Denied", ConditionStatus::True).is_denied());
        assert!(with("Ready", ConditionStatus::True).is_ready());
        assert!(with("InvalidRequest", ConditionStatus::True).is_invalid());
    }

    #[test]
    fn a_bare_request_means_the_documented_defaults() {
        let spec = CertificateRequestSpec::default();
        assert_eq!(spec.duration_or_default(), Ok(SignedDuration::from_hours(2160)));
        assert_eq!(spec.usages_or_default(), KeyUsage::DEFAULT);
    }
}

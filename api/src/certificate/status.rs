//! What the controller reports about a Certificate.

use crate::text::non_empty;
use crate::{Condition, conditions};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is known about the certificate in the Secret, and about the issuance under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateStatus {
    /// Ready says whether the Secret holds what the spec asks for; Issuing is there while a new
    /// certificate is being obtained.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,
    /// When the last attempt failed. Absent after a success; the next attempt waits for a while
    /// that grows with each failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure_time: Option<Time>,
    /// Start of the validity of the certificate in the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// End of the validity of the certificate in the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// When the next renewal is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_time: Option<Time>,
    /// Number of the issuance that made the certificate in the Secret; the first is 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::integer")]
    pub revision: Option<i64>,
    /// Secret that holds the private key of the issuance under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_private_key_secret_name: Option<String>,
    /// How many attempts in a row have failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::integer")]
    pub failed_issuance_attempts: Option<i64>,
    /// What an ACME server said about this certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<CertificateAcmeStatus>,
}

/// What an ACME server said about a certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateAcmeStatus {
    /// When the server would have it renewed (RFC 9773).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ari: Option<RenewalInformation>,
}

/// Renewal information of an ACME server (RFC 9773).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RenewalInformation {
    /// Time within which the server asks for the renewal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_window: Option<SuggestedWindow>,
    /// Page on which the server explains its suggestion.
    #[serde(rename = "explanationURL")]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub explanation_url: Option<String>,
    /// When the server was last asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_checked: Option<Time>,
    /// When the server will be asked again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_check: Option<Time>,
    /// What went wrong when the server was last asked. Absent after a success.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub last_error: Option<String>,
}

/// A stretch of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuggestedWindow {
    /// Begin of the window.
    pub start: Time,
    /// End of the window.
    pub end: Time,
}

//! Challenge: the proof for one name of an Order (RFC 8555 §7.1.5).

use crate::IssuerRef;
use crate::acme::AcmeState;
use crate::acme::solver::AcmeSolver;
use crate::text::{is_false, non_empty};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

custom_resource! {
    /// The proof for one name of an Order. Made and deleted by the controller.
    Challenge, "challenges", "acme.cert-manager.io", NamespaceResourceScope,
    ChallengeSpec, ChallengeStatus
}

open_enum! {
    /// Ways of proof that we know.
    ChallengeType {
        /// RFC 8555 §8.3.
        Http01 = "HTTP-01",
        /// RFC 8555 §8.4.
        Dns01 = "DNS-01",
    }
}

/// What is to be proved, and how. Nothing in it can be changed after creation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ChallengeSpec {
    /// URL of the challenge.
    pub url: String,
    /// URL of the authorization that the challenge belongs to.
    #[serde(rename = "authorizationURL")]
    pub authorization_url: String,
    /// The name to prove; without the asterisk of a wildcard.
    pub dns_name: String,
    /// Whether the wildcard of the name is meant.
    #[serde(skip_serializing_if = "is_false")]
    pub wildcard: bool,
    /// HTTP-01 or DNS-01.
    #[serde(rename = "type")]
    pub type_: ChallengeType,
    /// Token that the proof is made from.
    pub token: String,
    /// What to present: the key authorization for HTTP-01, its digest for DNS-01.
    pub key: String,
    /// The solver of the issuer that was chosen for the name.
    pub solver: AcmeSolver,
    /// The ACME issuer whose account proves.
    pub issuer_ref: IssuerRef,
}

/// How far the proof has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ChallengeStatus {
    /// Whether the challenge is being worked on. Only a limited number are at a time.
    #[serde(skip_serializing_if = "is_false")]
    pub processing: bool,
    /// Whether the answer is in place, which does not mean that it can be seen everywhere yet.
    #[serde(skip_serializing_if = "is_false")]
    pub presented: bool,
    /// When the answer was put in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presented_at: Option<Time>,
    /// Why the challenge is in this state.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub reason: Option<String>,
    /// State of the challenge. Unknown when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<AcmeState>,
}

//! Order: one order at an ACME server (RFC 8555 §7.1.3).

use crate::acme::AcmeState;
use crate::text::non_empty;
use crate::{GoDuration, IssuerRef};
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

custom_resource! {
    /// An order at an ACME server. Made and deleted by the controller.
    Order, "orders", "acme.cert-manager.io", NamespaceResourceScope, OrderSpec, OrderStatus
}

/// What is ordered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OrderSpec {
    /// The signing request in DER (RFC 2986), sent when the order is finalized.
    #[schemars(schema_with = "crate::schema::bytes")]
    pub request: ByteString,
    /// The ACME issuer whose account orders.
    pub issuer_ref: IssuerRef,
    /// Common name in the signing request, which is also ordered as a DNS name.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub common_name: Option<String>,
    /// DNS names to order. They must be those of the signing request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// IP addresses to order (RFC 8738). They must be those of the signing request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<String>,
    /// Lifetime to ask for, as a Go duration. Sent only to servers for which the issuer allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<GoDuration>,
    /// Certificate profile to order.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub profile: Option<String>,
    /// Id of the certificate that this one takes the place of (RFC 9773 §4.1).
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub replaces: Option<String>,
}

/// What the server says about the order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OrderStatus {
    /// URL of the order. Set once.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub url: Option<String>,
    /// URL at which the order is finalized. Set once.
    #[serde(rename = "finalizeURL")]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub finalize_url: Option<String>,
    /// What the server wants to see proved, one entry for each name. Set once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authorizations: Vec<Authorization>,
    /// The signed chain in PEM. Set once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub certificate: Option<ByteString>,
    /// State of the order. Unknown when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<AcmeState>,
    /// Why the order is in this state.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub reason: Option<String>,
    /// When the order failed for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_time: Option<Time>,
}

/// What the server wants to see proved about one name (RFC 8555 §7.1.4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Authorization {
    /// URL of the authorization.
    pub url: String,
    /// The name; without the asterisk of a wildcard.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub identifier: Option<String>,
    /// Whether the wildcard of the name is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wildcard: Option<bool>,
    /// State at the time when the order was made. valid means that nothing needs to be proved
    /// again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_state: Option<AcmeState>,
    /// The ways of proof that the server offers, of which one is enough.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub challenges: Vec<AcmeChallenge>,
}

/// One way of proof that the server offers (RFC 8555 §7.1.5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AcmeChallenge {
    /// URL of the challenge.
    pub url: String,
    /// Token that the proof is made from.
    pub token: String,
    /// Type as the server spells it, such as "http-01". Types that we do not know are passed over.
    #[serde(rename = "type")]
    pub type_: String,
}

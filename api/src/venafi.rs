//! Issuers of type Venafi.

use crate::text::non_empty;
use crate::{LocalObjectReference, SecretKeySelector};
use k8s_openapi::ByteString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A certificate manager of Venafi. Exactly one of tpp, cloud and ngts is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(has(self.tpp) ? 1 : 0) + (has(self.cloud) ? 1 : 0) + (has(self.ngts) ? 1 : 0) == 1",
    "message": "exactly one of tpp, cloud and ngts must be set",
}]))]
pub struct VenafiIssuer {
    /// Zone whose policy applies: a policy folder, or application and template.
    pub zone: String,
    /// A server in the own data centre (Trust Protection Platform).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpp: Option<VenafiTpp>,
    /// The service (Venafi Cloud).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud: Option<VenafiCloud>,
    /// The service for tenants that log in with a service account (next-generation trust
    /// security).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ngts: Option<VenafiNgts>,
}

/// A Trust Protection Platform server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VenafiTpp {
    /// Address of the server, such as `https://tpp.example.com/vedsdk`.
    pub url: String,
    /// Secret with an access-token, or with username and password.
    pub credentials_ref: LocalObjectReference,
    /// CA certificates in PEM against which the server's certificate is verified. The system's are
    /// used when there are none. Excludes caBundleSecretRef.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub ca_bundle: Option<ByteString>,
    /// Where the CA certificates in PEM are kept, under ca.crt if no key is named. Excludes
    /// caBundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_secret_ref: Option<SecretKeySelector>,
}

/// The Venafi Cloud service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VenafiCloud {
    /// Address of the service. That of its default region when it is absent.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub url: Option<String>,
    /// Where the API token is kept.
    pub api_token_secret_ref: SecretKeySelector,
}

/// The service for tenants that log in with a service account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VenafiNgts {
    /// Address of the service. Its default address when it is absent.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub url: Option<String>,
    /// Address at which access tokens are asked for. The service's own when it is absent.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub token_endpoint: Option<String>,
    /// Id of the tenant's service group.
    #[serde(rename = "tsgID")]
    pub tsg_id: String,
    /// Secret with the client id and client secret of the service account.
    pub credentials_ref: LocalObjectReference,
}

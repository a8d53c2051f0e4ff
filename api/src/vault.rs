//! Issuers of type Vault.

use crate::text::non_empty;
use crate::{SecretKeySelector, ServiceAccountRef};
use k8s_openapi::ByteString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Key of `caBundleSecretRef` that is read when none is named.
pub const DEFAULT_CA_BUNDLE_KEY: &str = "ca.crt";

/// The PKI engine of a Vault server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VaultIssuer {
    /// Address of the server, such as `https://vault.example.com:8200`.
    pub server: String,
    /// Path of the signing endpoint, such as "pki/sign/my-role".
    pub path: String,
    /// How to log in. If several ways are given, the first of token, appRole, clientCertificate,
    /// kubernetes and aws counts.
    pub auth: VaultAuth,
    /// Name that the server's certificate must bear, where it differs from the host in the
    /// address.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub server_name: Option<String>,
    /// Namespace within Vault Enterprise, such as "team/a".
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub namespace: Option<String>,
    /// CA certificates in PEM against which the server's certificate is verified. The system's are
    /// used when there are none. Excludes caBundleSecretRef.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub ca_bundle: Option<ByteString>,
    /// Where the CA certificates in PEM are kept, under ca.crt if no key is named. Excludes
    /// caBundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_secret_ref: Option<SecretKeySelector>,
    /// Certificate to show to a server that asks for one. Goes together with clientKeySecretRef.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert_secret_ref: Option<SecretKeySelector>,
    /// Key of the certificate to show. Goes together with clientCertSecretRef.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key_secret_ref: Option<SecretKeySelector>,
}

/// Ways to log in to Vault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VaultAuth {
    /// A token that was made beforehand. It is not renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKeySelector>,
    /// The AppRole method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_role: Option<VaultAppRole>,
    /// The TLS certificate method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<VaultClientCertificate>,
    /// The Kubernetes method, by a service account's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<VaultKubernetesAuth>,
    /// The AWS method, by an IAM identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws: Option<VaultAwsAuth>,
}

/// Vault's AppRole method.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VaultAppRole {
    /// Path at which the method is mounted, such as "approle".
    pub path: String,
    /// Id of the role.
    pub role_id: String,
    /// Where the role's secret id is kept.
    pub secret_ref: SecretKeySelector,
}

/// Vault's TLS certificate method.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VaultClientCertificate {
    /// Path at which the method is mounted. "/v1/auth/cert" when it is absent.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub mount_path: Option<String>,
    /// Secret of type kubernetes.io/tls with the certificate and key to log in with.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub secret_name: Option<String>,
    /// Certificate role to log in as. Vault tries all roles when it is absent.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub name: Option<String>,
}

/// Vault's Kubernetes method. Exactly one of secretRef and serviceAccountRef is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VaultKubernetesAuth {
    /// Role to log in as.
    pub role: String,
    /// Path at which the method is mounted. "/v1/auth/kubernetes" when it is absent.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub mount_path: Option<String>,
    /// Where a long-lived token of a service account is kept. Prefer serviceAccountRef.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeySelector>,
    /// Service account for which a short-lived token is asked at each log-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_ref: Option<ServiceAccountRef>,
}

/// Vault's AWS method.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VaultAwsAuth {
    /// Role to log in as.
    #[schemars(length(min = 1))]
    pub role: String,
    /// Path at which the method is mounted. "/v1/auth/aws" when it is absent.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub mount_path: Option<String>,
    /// AWS region whose token service is asked.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub region: Option<String>,
    /// Service account whose token is exchanged for the IAM role. The controller's own identity is
    /// used when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_ref: Option<ServiceAccountRef>,
    /// IAM role to take on. Needed with serviceAccountRef.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub iam_role_arn: Option<String>,
    /// Value of the header that Vault may ask for against replayed log-ins.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub vault_header_value: Option<String>,
}

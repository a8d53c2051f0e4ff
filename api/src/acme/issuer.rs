//! Issuers of type ACME.

use crate::SecretKeySelector;
use crate::acme::solver::AcmeSolver;
use crate::text::{is_false, non_empty};
use k8s_openapi::ByteString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Key of `privateKeySecretRef` that is read when none is named.
pub const DEFAULT_ACCOUNT_KEY: &str = "tls.key";

/// An account at an ACME server, and how to prove that names are ours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AcmeIssuer {
    /// Address of the server's directory, such as
    /// `https://acme-v02.api.letsencrypt.org/directory`.
    pub server: String,
    /// Secret with the account's private key, under tls.key if no key is named. It is created with
    /// a new key if it does not exist.
    pub private_key_secret_ref: SecretKeySelector,
    /// Address to which the server may write, for instance before a certificate expires.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub email: Option<String>,
    /// Common name of the root that the chain should lead to, where the server offers several
    /// chains.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    #[schemars(length(max = 64))]
    pub preferred_chain: Option<String>,
    /// CA certificates in PEM against which the server's certificate is verified. The system's are
    /// used when there are none. Excludes skipTLSVerify.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub ca_bundle: Option<ByteString>,
    /// Whether the server's certificate is not verified at all. For tests only; prefer caBundle.
    #[serde(rename = "skipTLSVerify", skip_serializing_if = "is_false")]
    pub skip_tls_verify: bool,
    /// Whether the account key must exist already instead of being made.
    #[serde(skip_serializing_if = "is_false")]
    pub disable_account_key_generation: bool,
    /// Whether the lifetime asked for is sent to the server. Many servers, Let's Encrypt among
    /// them, refuse orders that carry one.
    #[serde(skip_serializing_if = "is_false")]
    pub enable_duration_feature: bool,
    /// Certificate profile to order, from those that the server offers.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub profile: Option<String>,
    /// Where renewal times come from: ARI asks the server (RFC 9773), None looks at the
    /// Certificate alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-api-default" = "ARI"))]
    pub renewal_information_source: Option<RenewalInformationSource>,
    /// Binds the account to one that exists at the CA already (RFC 8555 §7.3.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_account_binding: Option<ExternalAccountBinding>,
    /// Ways to prove that names are ours. For each name the solver whose selector fits it most
    /// closely is used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub solvers: Vec<AcmeSolver>,
}

impl AcmeIssuer {
    /// The source given, else ARI.
    pub fn renewal_information_source_or_default(&self) -> RenewalInformationSource {
        self.renewal_information_source.clone().unwrap_or(RenewalInformationSource::Ari)
    }
}

open_enum! {
    /// Where renewal times come from.
    RenewalInformationSource {
        /// The server's renewal information (RFC 9773).
        Ari = "ARI",
        /// The Certificate alone.
        None = "None",
    }
}

/// Credentials that the CA gave to the holder of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalAccountBinding {
    /// Id of the key, as given by the CA.
    #[serde(rename = "keyID")]
    pub key_id: String,
    /// Where the key is kept, in base64url as given by the CA.
    pub key_secret_ref: SecretKeySelector,
    /// Deprecated and not looked at: HS256 is always used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_algorithm: Option<EabKeyAlgorithm>,
}

open_enum! {
    /// MAC algorithm of an external account binding.
    EabKeyAlgorithm {
        /// HMAC with SHA-256.
        Hs256 = "HS256",
        /// HMAC with SHA-384.
        Hs384 = "HS384",
        /// HMAC with SHA-512.
        Hs512 = "HS512",
    }
}

/// The account at the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AcmeIssuerStatus {
    /// URL of the account.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub uri: Option<String>,
    /// E-mail address that the account was last registered with.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub last_registered_email: Option<String>,
    /// Hash of the private key that the account was last registered with.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub last_private_key_hash: Option<String>,
}

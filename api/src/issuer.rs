//! Issuer: a way to get certificates signed, for one namespace; and the spec that it shares with
//! ClusterIssuer.

use crate::acme::issuer::{AcmeIssuer, AcmeIssuerStatus};
use crate::vault::VaultIssuer;
use crate::venafi::VenafiIssuer;
use crate::{Condition, conditions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

custom_resource! {
    /// A way to get certificates signed, for the objects of its own namespace.
    Issuer, "issuers", "cert-manager.io", NamespaceResourceScope, IssuerSpec, IssuerStatus
}

/// How certificates are signed. Exactly one of the five members is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IssuerSpec {
    /// Signed by a server that speaks ACME (RFC 8555), such as Let's Encrypt, after it was shown
    /// that the names are ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeIssuer>,
    /// Signed with a CA certificate and key that are kept in a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaIssuer>,
    /// Signed with the certificate's own key, to make a root or for tests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_signed: Option<SelfSignedIssuer>,
    /// Signed by the PKI engine of a Vault server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultIssuer>,
    /// Signed by a certificate manager of Venafi (now CyberArk), in the own data centre or as a
    /// service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub venafi: Option<VenafiIssuer>,
}

impl IssuerSpec {
    /// The types that are set, in the order in which rules and messages name them. A valid issuer
    /// has exactly one.
    pub fn types(&self) -> Vec<IssuerType> {
        let set = [
            (self.acme.is_some(), IssuerType::Acme),
            (self.ca.is_some(), IssuerType::Ca),
            (self.self_signed.is_some(), IssuerType::SelfSigned),
            (self.vault.is_some(), IssuerType::Vault),
            (self.venafi.is_some(), IssuerType::Venafi),
        ];
        set.into_iter().filter_map(|(is_set, type_)| is_set.then_some(type_)).collect()
    }
}

/// The types of issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IssuerType {
    /// `spec.acme`
    Acme,
    /// `spec.ca`
    Ca,
    /// `spec.selfSigned`
    SelfSigned,
    /// `spec.vault`
    Vault,
    /// `spec.venafi`
    Venafi,
}

impl IssuerType {
    /// Every type, in the order in which rules and messages name them.
    pub const ALL: &'static [Self] = &[Self::Acme, Self::Ca, Self::SelfSigned, Self::Vault, Self::Venafi];

    /// The member of `spec` that selects the type.
    pub fn field(self) -> &'static str {
        match self {
            Self::Acme => "acme",
            Self::Ca => "ca",
            Self::SelfSigned => "selfSigned",
            Self::Vault => "vault",
            Self::Venafi => "venafi",
        }
    }
}

/// A CA kept in a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CaIssuer {
    /// Secret with the CA's certificate and key under tls.crt and tls.key. For a ClusterIssuer it
    /// is read from the cluster resource namespace.
    pub secret_name: String,
    /// URLs of revocation lists to write into each certificate (RFC 5280 §4.2.1.13).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub crl_distribution_points: Vec<String>,
    /// URLs of OCSP responders to write into each certificate (RFC 5280 §4.2.2.1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ocsp_servers: Vec<String>,
    /// URLs of the CA's own certificate to write into each certificate, for clients that miss it
    /// (RFC 5280 §4.2.2.1).
    #[serde(rename = "issuingCertificateURLs", skip_serializing_if = "Vec::is_empty")]
    pub issuing_certificate_urls: Vec<String>,
}

/// Self-signing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SelfSignedIssuer {
    /// URLs of revocation lists to write into each certificate (RFC 5280 §4.2.1.13).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub crl_distribution_points: Vec<String>,
}

/// Whether the issuer can sign.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IssuerStatus {
    /// Ready says whether the issuer can sign, and why not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,
    /// The account at the ACME server, for issuers of that type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeIssuerStatus>,
}

impl IssuerStatus {
    /// Whether the issuer can sign.
    pub fn is_ready(&self) -> bool {
        conditions::is_true(&self.conditions, conditions::READY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_is_set_is_named_by_its_field() {
        let check = |json: &str, wanted: &[&str]| {
            let spec: IssuerSpec = serde_json::from_str(json).unwrap();
            let fields: Vec<_> = spec.types().into_iter().map(IssuerType::field).collect();
            assert_eq!(fields, wanted, "for {json}");
        };
        check("{}", &[]);
        check(r#"{"selfSigned":{},"ca":{}}"#, &["ca", "selfSigned"]);
        check(
            r#"{"acme":{},"ca":{},"selfSigned":{},"vault":{},"venafi":{}}"#,
            &["acme", "ca", "selfSigned", "vault", "venafi"],
        );
        assert_eq!(IssuerType::ALL.len(), 5);
    }
}

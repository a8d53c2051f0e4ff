//! References that several kinds share.

use crate::text::non_empty;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which issuer signs. An issuer of another group is served by another controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IssuerRef {
    /// Name of the issuer. An Issuer is looked up in the namespace of the object that refers to
    /// it.
    pub name: String,
    /// Kind of the issuer: Issuer, ClusterIssuer, or a kind of another API group. Read as Issuer
    /// when it is absent.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub kind: Option<String>,
    /// API group of the issuer. Read as cert-manager.io when it is absent; an issuer of another
    /// group needs its group here.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub group: Option<String>,
}

impl IssuerRef {
    /// Kind of an issuer that names none.
    pub const DEFAULT_KIND: &'static str = "Issuer";

    /// The kind that is meant: the one given, else `Issuer`.
    pub fn kind_or_default(&self) -> &str {
        self.kind.as_deref().unwrap_or(Self::DEFAULT_KIND)
    }

    /// The API group that is meant: the one given, else `cert-manager.io`.
    pub fn group_or_default(&self) -> &str {
        self.group.as_deref().unwrap_or(crate::GROUP)
    }

    /// Whether the issuer is of our own group, so that we and not another controller serve it.
    pub fn is_own_group(&self) -> bool {
        self.group_or_default() == crate::GROUP
    }

    /// Whether a ClusterIssuer of our own group is meant.
    pub fn is_cluster_issuer(&self) -> bool {
        self.is_own_group() && self.kind_or_default() == "ClusterIssuer"
    }
}

/// One key of one Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretKeySelector {
    /// Name of the Secret. It is read from the namespace of the object that refers to it, or, for
    /// cluster-wide issuers, from the controller's cluster resource namespace.
    pub name: String,
    /// Key within the Secret's data. Some fields have a key of their own that is used when this is
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub key: Option<String>,
}

impl SecretKeySelector {
    /// The key given, else the one that the referring field uses by default.
    pub fn key_or<'a>(&'a self, default: &'a str) -> &'a str {
        self.key.as_deref().unwrap_or(default)
    }
}

/// An object of a known kind in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalObjectReference {
    /// Name of the object.
    pub name: String,
}

/// A service account for which the controller asks a short-lived token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceAccountRef {
    /// Name of the service account.
    pub name: String,
    /// Audiences that the token is to carry besides the one that names this issuer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_reference_means_an_issuer_of_our_group_unless_it_says_otherwise() {
        let bare: IssuerRef = serde_json::from_str(r#"{"name":"ca","kind":"","group":""}"#).unwrap();
        assert_eq!(bare.kind_or_default(), "Issuer");
        assert_eq!(bare.group_or_default(), "cert-manager.io");
        assert!(bare.is_own_group() && !bare.is_cluster_issuer());

        let cluster = IssuerRef { kind: Some("ClusterIssuer".into()), ..bare };
        assert!(cluster.is_cluster_issuer());
        let foreign = IssuerRef { group: Some("example.org".into()), ..cluster };
        assert!(!foreign.is_own_group() && !foreign.is_cluster_issuer());
    }
}

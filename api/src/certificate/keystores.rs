//! Keystore files for programs that cannot read PEM.

use crate::SecretKeySelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Alias of the entry in a JKS keystore that does not name one.
pub const DEFAULT_JKS_ALIAS: &str = "certificate";

/// Keystore files in the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateKeystores {
    /// Java keystores: keystore.jks with key and chain, and truststore.jks with the CA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jks: Option<JksKeystore>,
    /// PKCS#12 files: keystore.p12 with key and chain, and truststore.p12 with the CA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pkcs12: Option<Pkcs12Keystore>,
}

/// A Java keystore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JksKeystore {
    /// Whether the files are written.
    pub create: bool,
    /// Alias of the entry with the key. "certificate" when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Password of the files, in the clear. Prefer passwordSecretRef; exactly one of the two is
    /// needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub password: Option<InlinePassword>,
    /// Where the password of the files is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeySelector>,
}

impl JksKeystore {
    /// The alias given, else [`DEFAULT_JKS_ALIAS`]. An empty one counts as none.
    pub fn alias_or_default(&self) -> &str {
        self.alias.as_deref().filter(|alias| !alias.is_empty()).unwrap_or(DEFAULT_JKS_ALIAS)
    }
}

open_enum! {
    /// Algorithms with which a PKCS#12 file is encrypted and authenticated.
    Pkcs12Profile {
        /// RC2-40 and triple DES: read by everything, protects nothing.
        LegacyRc2 = "LegacyRC2",
        /// Triple DES with a SHA-1 MAC.
        LegacyDes = "LegacyDES",
        /// AES-256 with a SHA-256 MAC.
        Modern2023 = "Modern2023",
        /// AES-256 with a PBMAC1 MAC.
        Modern2026 = "Modern2026",
    }
}

/// A PKCS#12 keystore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Pkcs12Keystore {
    /// Whether the files are written.
    pub create: bool,
    /// Algorithms of the files: LegacyRC2 and LegacyDES for old readers, Modern2023 and Modern2026
    /// for protection that is worth the name. LegacyRC2 when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Pkcs12Profile>,
    /// Password of the files, in the clear. Prefer passwordSecretRef; exactly one of the two is
    /// needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub password: Option<InlinePassword>,
    /// Where the password of the files is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeySelector>,
}

impl Pkcs12Keystore {
    /// The profile given, else LegacyRC2.
    pub fn profile_or_default(&self) -> Pkcs12Profile {
        self.profile.clone().unwrap_or(Pkcs12Profile::LegacyRc2)
    }
}

/// A password that a user wrote into the object itself. It does not show in debug output.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InlinePassword(String);

impl InlinePassword {
    /// Wraps a password.
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    /// The password. Must not reach a log or an error.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for InlinePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InlinePassword(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inline_password_does_not_show_in_debug_output() {
        let jks = JksKeystore { password: Some(InlinePassword::new("hunter2")), ..Default::default() };
        assert!(!format!("{jks:?}").contains("hunter2"));
    }
}

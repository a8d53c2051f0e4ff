//! Key usages and extended key usages under their API names (RFC 5280 §4.2.1.3, §4.2.1.12).

open_enum! {
    /// One use of a key, under the name that manifests give it.
    KeyUsage {
        /// Same meaning as `digital signature`.
        Signing = "signing",
        /// Key usage digitalSignature.
        DigitalSignature = "digital signature",
        /// Key usage contentCommitment, once called nonRepudiation.
        ContentCommitment = "content commitment",
        /// Key usage keyEncipherment.
        KeyEncipherment = "key encipherment",
        /// Key usage keyAgreement.
        KeyAgreement = "key agreement",
        /// Key usage dataEncipherment.
        DataEncipherment = "data encipherment",
        /// Key usage keyCertSign.
        CertSign = "cert sign",
        /// Key usage cRLSign.
        CrlSign = "crl sign",
        /// Key usage encipherOnly.
        EncipherOnly = "encipher only",
        /// Key usage decipherOnly.
        DecipherOnly = "decipher only",
        /// Extended key usage anyExtendedKeyUsage.
        Any = "any",
        /// Extended key usage serverAuth.
        ServerAuth = "server auth",
        /// Extended key usage clientAuth.
        ClientAuth = "client auth",
        /// Extended key usage codeSigning.
        CodeSigning = "code signing",
        /// Extended key usage emailProtection.
        EmailProtection = "email protection",
        /// Same meaning as `email protection`.
        SMime = "s/mime",
        /// Extended key usage ipsecEndSystem.
        IpsecEndSystem = "ipsec end system",
        /// Extended key usage ipsecTunnel.
        IpsecTunnel = "ipsec tunnel",
        /// Extended key usage ipsecUser.
        IpsecUser = "ipsec user",
        /// Extended key usage timeStamping.
        Timestamping = "timestamping",
        /// Extended key usage OCSPSigning.
        OcspSigning = "ocsp signing",
        /// Extended key usage of Microsoft's server-gated cryptography.
        MicrosoftSgc = "microsoft sgc",
        /// Extended key usage of Netscape's server-gated cryptography.
        NetscapeSgc = "netscape sgc",
    }
}

impl KeyUsage {
    /// What a certificate is for when its usages are not given.
    pub const DEFAULT: &'static [Self] = &[Self::DigitalSignature, Self::KeyEncipherment];

    /// The usage with its synonym resolved: `signing` is `digital signature`, and `s/mime` is
    /// `email protection`.
    pub fn canonical(&self) -> Self {
        match self {
            Self::Signing => Self::DigitalSignature,
            Self::SMime => Self::EmailProtection,
            other => other.clone(),
        }
    }
}

/// The usages given, else [`KeyUsage::DEFAULT`].
pub fn or_default(usages: &[KeyUsage]) -> &[KeyUsage] {
    if usages.is_empty() { KeyUsage::DEFAULT } else { usages }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_usage_is_kept_as_written() {
        let usage: KeyUsage = serde_json::from_str(r#""server-auth""#).unwrap();
        assert_eq!(usage, KeyUsage::Other("server-auth".into()));
        assert!(!usage.is_known());
        assert_eq!(serde_json::to_string(&usage).unwrap(), r#""server-auth""#);
    }

    #[test]
    fn every_known_usage_reads_back_as_itself() {
        assert_eq!(KeyUsage::KNOWN.len(), 23);
        for usage in KeyUsage::KNOWN {
            assert_eq!(KeyUsage::from(usage.as_str()), *usage);
        }
    }

    #[test]
    fn synonyms_and_defaults_are_resolved() {
        assert_eq!(KeyUsage::Signing.canonical(), KeyUsage::DigitalSignature);
        assert_eq!(KeyUsage::SMime.canonical(), KeyUsage::EmailProtection);
        assert_eq!(or_default(&[]), KeyUsage::DEFAULT);
        assert_eq!(or_default(&[KeyUsage::Any]), [KeyUsage::Any]);
    }
}

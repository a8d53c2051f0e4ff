//! Certificate: names, key and lifetime that a Secret is to hold, and who signs it.

use crate::text::{is_false, non_empty};
use crate::usage::{self, KeyUsage};
use crate::{GoDuration, IssuerRef};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

mod keystores;
mod status;

pub use keystores::{
    CertificateKeystores, DEFAULT_JKS_ALIAS, InlinePassword, JksKeystore, Pkcs12Keystore, Pkcs12Profile,
};
pub use status::{CertificateAcmeStatus, CertificateStatus, RenewalInformation, SuggestedWindow};

custom_resource! {
    /// Asks for a signed certificate and its key, kept in a Secret and renewed before they expire.
    Certificate, "certificates", "cert-manager.io", NamespaceResourceScope,
    CertificateSpec, CertificateStatus
}

/// Lifetime of a certificate whose duration is not given: 90 days.
pub const DEFAULT_DURATION: SignedDuration = SignedDuration::from_hours(2160);
/// Number of CertificateRequests kept for a Certificate that does not say.
pub const DEFAULT_REVISION_HISTORY_LIMIT: i32 = 1;
/// The certificate that is wanted, and where it is to be kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateSpec {
    /// Name of the Secret, in the same namespace, that receives key, certificate and CA. It is
    /// created if it does not exist. Two Certificates must not share one Secret.
    pub secret_name: String,
    /// The issuer that signs.
    pub issuer_ref: IssuerRef,
    /// Common name of the subject, at most 64 bytes. Clients look at the subject alternative names
    /// only, so put host names into dnsNames. Excludes literalSubject.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub common_name: Option<String>,
    /// Attributes of the subject besides the common name. Excludes literalSubject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<X509Subject>,
    /// The whole subject in the notation of RFC 4514, such as "CN=web,OU=shop,O=Example", for
    /// subjects whose order or attributes the other fields cannot express. Excludes commonName and
    /// subject.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub literal_subject: Option<String>,
    /// DNS names that the certificate is for. A wildcard may stand for the whole first label.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// IP addresses that the certificate is for, IPv4 or IPv6.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<String>,
    /// URIs that the certificate is for, such as a SPIFFE id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uris: Vec<String>,
    /// Bare e-mail addresses that the certificate is for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub email_addresses: Vec<String>,
    /// Names of other types, each an object identifier with a UTF-8 text, such as a user principal
    /// name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_names: Vec<OtherName>,
    /// Lifetime to ask for, as a Go duration such as "2160h"; there is no unit for days. At least
    /// 1h, and 2160h when it is absent. The issuer may grant another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<GoDuration>,
    /// How long before the end of its lifetime the certificate is renewed, as a Go duration of at
    /// least 5m. A third of the lifetime when neither this nor renewBeforePercentage is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<GoDuration>,
    /// The share of the lifetime, in percent, that is left when the certificate is renewed: 25
    /// renews a 90 day certificate 22.5 days before it expires. Excludes renewBefore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_before_percentage: Option<i32>,
    /// When renewals may happen, for certificates whose change needs a maintenance window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal: Option<CertificateRenewal>,
    /// Whether the certificate may sign others. Adds the usage "cert sign".
    #[serde(rename = "isCA", skip_serializing_if = "is_false")]
    pub is_ca: bool,
    /// What the key may be used for. "digital signature" and "key encipherment" when it is absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub usages: Vec<KeyUsage>,
    /// Whether the usages are also written into the signing request. True when it is absent; some
    /// issuers refuse requests that carry them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encode_usages_in_request: Option<bool>,
    /// Kind, size and encoding of the private key, and whether renewals make a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<CertificatePrivateKey>,
    /// Algorithm with which the signing request is signed; it must belong to the key's algorithm.
    /// Chosen by the key when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_algorithm: Option<SignatureAlgorithm>,
    /// Labels and annotations to put on the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_template: Option<MetadataTemplate>,
    /// Keystore files to add to the Secret for programs that cannot read PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keystores: Option<CertificateKeystores>,
    /// Further encodings of key and certificate to add to the Secret, each at most once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_output_formats: Vec<AdditionalOutputFormat>,
    /// Names that this CA is allowed, and not allowed, to certify (RFC 5280 §4.2.1.10). Only with
    /// isCA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_constraints: Option<NameConstraints>,
    /// How many CertificateRequests are kept, the newest first. At least 1, and 1 when it is
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_history_limit: Option<i32>,
}

impl CertificateSpec {
    /// The lifetime asked for, else [`DEFAULT_DURATION`].
    ///
    /// # Errors
    /// The text is not a duration.
    pub fn duration_or_default(&self) -> Result<SignedDuration, crate::DurationError> {
        self.duration.as_ref().map_or(Ok(DEFAULT_DURATION), GoDuration::parse)
    }

    /// The usages asked for, else the default pair. `isCA` is not looked at.
    pub fn usages_or_default(&self) -> &[KeyUsage] {
        usage::or_default(&self.usages)
    }

    /// The literal subject; None where there is none. One of white space alone counts as none, as in cert-manager.
    pub fn literal_subject_if_any(&self) -> Option<&str> {
        self.literal_subject.as_deref().filter(|text| !text.trim().is_empty())
    }

    /// Whether the signing request carries the usages: yes, unless it says no.
    pub fn encode_usages_or_default(&self) -> bool {
        self.encode_usages_in_request.unwrap_or(true)
    }

    /// Algorithm of the key, else RSA.
    pub fn algorithm_or_default(&self) -> KeyAlgorithm {
        let given = self.private_key.as_ref().and_then(|key| key.algorithm.clone());
        given.unwrap_or(KeyAlgorithm::Rsa)
    }

    /// Size of the key in bits: the one given, else 2048 for RSA and 256 for ECDSA. None for
    /// algorithms without sizes. A size of 0 counts as not given.
    pub fn key_size_or_default(&self) -> Option<i64> {
        let given = self.private_key.as_ref().and_then(|key| key.size).filter(|&size| size != 0);
        match self.algorithm_or_default() {
            KeyAlgorithm::Rsa => Some(given.unwrap_or(2048)),
            KeyAlgorithm::Ecdsa => Some(given.unwrap_or(256)),
            KeyAlgorithm::Ed25519 | KeyAlgorithm::Other(_) => None,
        }
    }

    /// Encoding of the key in the Secret, else PKCS1.
    pub fn encoding_or_default(&self) -> KeyEncoding {
        let given = self.private_key.as_ref().and_then(|key| key.encoding.clone());
        given.unwrap_or(KeyEncoding::Pkcs1)
    }

    /// Whether a renewal makes a new key, else Always.
    pub fn rotation_policy_or_default(&self) -> RotationPolicy {
        let given = self.private_key.as_ref().and_then(|key| key.rotation_policy.clone());
        given.unwrap_or(RotationPolicy::Always)
    }

    /// Number of CertificateRequests to keep, else [`DEFAULT_REVISION_HISTORY_LIMIT`].
    pub fn revision_history_limit_or_default(&self) -> i32 {
        self.revision_history_limit.unwrap_or(DEFAULT_REVISION_HISTORY_LIMIT)
    }
}

/// Subject attributes of X.520.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct X509Subject {
    /// Organisations (O).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub organizations: Vec<String>,
    /// Countries as two-letter codes (C).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub countries: Vec<String>,
    /// Organisational units (OU).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub organizational_units: Vec<String>,
    /// Cities or localities (L).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub localities: Vec<String>,
    /// States or provinces (ST).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub provinces: Vec<String>,
    /// Street addresses (STREET).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub street_addresses: Vec<String>,
    /// Postal codes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub postal_codes: Vec<String>,
    /// Serial number of the subject (SERIALNUMBER). It is not the serial number of the
    /// certificate.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub serial_number: Option<String>,
}

impl X509Subject {
    /// Whether no attribute has a value.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A subject alternative name of a type that has no field of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OtherName {
    /// Object identifier of the name's type, such as "1.3.6.1.4.1.311.20.2.3".
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub oid: Option<String>,
    /// The name itself, encoded as UTF8String.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "non_empty")]
    pub utf8_value: Option<String>,
}

open_enum! {
    /// When a certificate is renewed.
    RenewalPolicy {
        /// At the time that renewBefore or renewBeforePercentage gives, within the windows if
        /// there are any.
        RenewBefore = "RenewBefore",
        /// Never by itself.
        Disabled = "Disabled",
    }
}

/// Whether and when renewals happen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateRenewal {
    /// RenewBefore renews ahead of expiry as usual; Disabled leaves renewal to you.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<RenewalPolicy>,
    /// Times at which renewals may start. Any time is right when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<RenewalWindow>,
}

/// A recurring stretch of time in which a renewal may start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RenewalWindow {
    /// When the window opens: five cron fields (minute, hour, day of month, month, day of week) or
    /// a word such as "@daily".
    #[schemars(length(min = 1))]
    pub cron: String,
    /// How long the window stays open, such as "2h30m"; the units are h, m and s.
    #[schemars(extend("pattern" = r"^([0-9]+(\.[0-9]+)?(s|m|h))+$"))]
    pub window_duration: GoDuration,
    /// Time zone of the cron fields under its IANA name, such as "Europe/Berlin". UTC when it is
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub timezone: Option<String>,
}

open_enum! {
    /// Algorithm of a private key.
    KeyAlgorithm {
        /// RSA, 2048 to 8192 bits.
        Rsa = "RSA",
        /// ECDSA on P-256, P-384 or P-521.
        Ecdsa = "ECDSA",
        /// Ed25519 (RFC 8410).
        Ed25519 = "Ed25519",
    }
}

open_enum! {
    /// How a private key is encoded inside its PEM block.
    KeyEncoding {
        /// The algorithm's own structure: RFC 8017 for RSA, SEC 1 for ECDSA.
        Pkcs1 = "PKCS1",
        /// PKCS#8 (RFC 5958), for any algorithm.
        Pkcs8 = "PKCS8",
    }
}

open_enum! {
    /// Whether a renewal makes a new private key.
    RotationPolicy {
        /// The key in the Secret stays.
        Never = "Never",
        /// Each issuance has a new key.
        Always = "Always",
    }
}

/// The private key that belongs to a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificatePrivateKey {
    /// RSA, ECDSA or Ed25519. RSA when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<KeyAlgorithm>,
    /// Encoding within the PEM block. PKCS1 when it is absent; Ed25519 keys are always PKCS8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<KeyEncoding>,
    /// Size in bits: 2048, 3072, 4096 or 8192 for RSA (2048 when absent), 256, 384 or 521 for
    /// ECDSA (256 when absent). Ed25519 has no size.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::integer")]
    pub size: Option<i64>,
    /// Always makes a new key for each issuance; Never keeps the key that is in the Secret. Always
    /// when it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation_policy: Option<RotationPolicy>,
}

open_enum! {
    /// Algorithm of a signature.
    SignatureAlgorithm {
        /// RSA PKCS#1 v1.5 with SHA-256.
        Sha256WithRsa = "SHA256WithRSA",
        /// RSA PKCS#1 v1.5 with SHA-384.
        Sha384WithRsa = "SHA384WithRSA",
        /// RSA PKCS#1 v1.5 with SHA-512.
        Sha512WithRsa = "SHA512WithRSA",
        /// ECDSA with SHA-256.
        EcdsaWithSha256 = "ECDSAWithSHA256",
        /// ECDSA with SHA-384.
        EcdsaWithSha384 = "ECDSAWithSHA384",
        /// ECDSA with SHA-512.
        EcdsaWithSha512 = "ECDSAWithSHA512",
        /// Ed25519 over the message itself.
        PureEd25519 = "PureEd25519",
    }
}

/// Labels and annotations for an object that is made on the user's behalf.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MetadataTemplate {
    /// Annotations to add. Keys under cert-manager.io/ are reserved.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels to add.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

open_enum! {
    /// A further encoding in the Secret.
    OutputFormat {
        /// The private key as DER, under the key `key.der`.
        Der = "DER",
        /// Key and chain in one PEM file, under the key `tls-combined.pem`.
        CombinedPem = "CombinedPEM",
    }
}

/// Asks for one further encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AdditionalOutputFormat {
    /// DER adds the private key as key.der; CombinedPEM adds key and chain as tls-combined.pem.
    #[serde(rename = "type")]
    pub type_: OutputFormat,
}

/// What a CA may certify.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NameConstraints {
    /// Whether a verifier that does not understand name constraints must refuse the chain.
    #[serde(skip_serializing_if = "is_false")]
    pub critical: bool,
    /// Names that may be certified; of a type that is listed here, all others may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permitted: Option<NameConstraintItem>,
    /// Names that may not be certified, whatever is permitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excluded: Option<NameConstraintItem>,
}

/// Names by type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NameConstraintItem {
    /// DNS domains, each with everything below it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_domains: Vec<String>,
    /// IP ranges in CIDR notation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_ranges: Vec<String>,
    /// E-mail addresses, or hosts whose addresses are meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub email_addresses: Vec<String>,
    /// Domains of the host part of URIs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uri_domains: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_spec_means_the_documented_defaults() {
        let spec = CertificateSpec::default();
        assert_eq!(spec.duration_or_default(), Ok(SignedDuration::from_hours(2160)));
        assert_eq!(spec.usages_or_default(), KeyUsage::DEFAULT);
        assert!(spec.encode_usages_or_default());
        assert_eq!(spec.algorithm_or_default(), KeyAlgorithm::Rsa);
        assert_eq!(spec.key_size_or_default(), Some(2048));
        assert_eq!(spec.encoding_or_default(), KeyEncoding::Pkcs1);
        assert_eq!(spec.rotation_policy_or_default(), RotationPolicy::Always);
        assert_eq!(spec.revision_history_limit_or_default(), 1);
        let alias =
            |alias: Option<&str>| JksKeystore { alias: alias.map(str::to_owned), ..Default::default() };
        for (store, wanted) in
            [(alias(None), "certificate"), (alias(Some("")), "certificate"), (alias(Some("web")), "web")]
        {
            assert_eq!(store.alias_or_default(), wanted, "{store:?}");
        }
        assert_eq!(Pkcs12Keystore::default().profile_or_default(), Pkcs12Profile::LegacyRc2);
    }

    #[test]
    fn a_blank_literal_subject_is_none() {
        for (text, wanted) in
            [(None, None), (Some(""), None), (Some(" \t"), None), (Some("CN=a"), Some("CN=a"))]
        {
            let spec = CertificateSpec { literal_subject: text.map(str::to_owned), ..Default::default() };
            assert_eq!(spec.literal_subject_if_any(), wanted, "{text:?}");
        }
    }

    #[test]
    fn the_size_of_a_key_follows_its_algorithm() {
        let cases = [
            ("RSA", Some(4096), Some(4096)),
            ("ECDSA", None, Some(256)),
            ("ECDSA", Some(0), Some(256)),
            ("Ed25519", None, None),
            ("DSA", Some(1024), None),
        ];
        for (algorithm, size, wanted) in cases {
            let key = CertificatePrivateKey { algorithm: Some(algorithm.into()), size, ..Default::default() };
            let spec = CertificateSpec { private_key: Some(key), ..Default::default() };
            assert_eq!(spec.key_size_or_default(), wanted, "for {algorithm} {size:?}");
        }
    }

    #[test]
    fn a_certificate_without_a_spec_is_readable() {
        let bare: Certificate = serde_json::from_str(r#"{"metadata":{"name":"a"}}"#).unwrap();
        assert_eq!(bare.spec, CertificateSpec::default());
    }
}

//! The ASN.1 structures of PKCS#12 (RFC 7292), of password-based encryption (RFC 8018) and of the little of
//! PKCS#7 that holds them (RFC 2315).

use der::Sequence;
use der::asn1::{Any, AnyRef, ObjectIdentifier, OctetString, OctetStringRef, SetOfVec};
use spki::AlgorithmIdentifierOwned;
use x509_cert::attr::Attribute;

pub(super) const DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.1");
pub(super) const ENCRYPTED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.6");

pub(super) const SHROUDED_KEY_BAG: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.2");
pub(super) const CERTIFICATE_BAG: ObjectIdentifier = oid("1.2.840.113549.1.12.10.1.3");
pub(super) const X509_CERTIFICATE: ObjectIdentifier = oid("1.2.840.113549.1.9.22.1");

pub(super) const FRIENDLY_NAME: ObjectIdentifier = oid("1.2.840.113549.1.9.20");
pub(super) const LOCAL_KEY_ID: ObjectIdentifier = oid("1.2.840.113549.1.9.21");
/// Java's mark of a trusted certificate; its values are the extended key usages that it is trusted for.
pub(super) const TRUSTED_KEY_USAGE: ObjectIdentifier = oid("2.16.840.1.113894.746875.1.1");
pub(super) const ANY_EXTENDED_KEY_USAGE: ObjectIdentifier = oid("2.5.29.37.0");

pub(super) const RC2_40_CBC: ObjectIdentifier = oid("1.2.840.113549.1.12.1.6");
pub(super) const TRIPLE_DES_CBC: ObjectIdentifier = oid("1.2.840.113549.1.12.1.3");
pub(super) const PBES2: ObjectIdentifier = oid("1.2.840.113549.1.5.13");
pub(super) const PBMAC1: ObjectIdentifier = oid("1.2.840.113549.1.5.14");
pub(super) const PBKDF2: ObjectIdentifier = oid("1.2.840.113549.1.5.12");
pub(super) const AES_256_CBC: ObjectIdentifier = oid("2.16.840.1.101.3.4.1.42");

pub(super) const HMAC_SHA1: ObjectIdentifier = oid("1.2.840.113549.2.7");
pub(super) const HMAC_SHA256: ObjectIdentifier = oid("1.2.840.113549.2.9");
pub(super) const HMAC_SHA384: ObjectIdentifier = oid("1.2.840.113549.2.10");
pub(super) const HMAC_SHA512: ObjectIdentifier = oid("1.2.840.113549.2.11");

const fn oid(dotted: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(dotted)
}

/// The one version of [`Pfx`] (RFC 7292 §4).
pub(super) const PFX_VERSION: u8 = 3;

/// `PFX` (RFC 7292 §4).
#[derive(Sequence)]
pub(super) struct Pfx<'a> {
    pub version: u8,
    pub auth_safe: ContentInfo<'a>,
    pub mac: Option<MacData>,
}

/// `ContentInfo` (RFC 2315 §7).
#[derive(Sequence)]
pub(super) struct ContentInfo<'a> {
    pub content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    pub content: AnyRef<'a>,
}

/// `EncryptedData` (RFC 2315 §13).
#[derive(Sequence)]
pub(super) struct EncryptedData<'a> {
    pub version: u8,
    pub content: EncryptedContentInfo<'a>,
}

/// `EncryptedContentInfo` (RFC 2315 §10.1).
#[derive(Sequence)]
pub(super) struct EncryptedContentInfo<'a> {
    pub content_type: ObjectIdentifier,
    pub algorithm: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    pub content: &'a OctetStringRef,
}

/// `SafeBag` (RFC 7292 §4.2).
#[derive(Sequence)]
pub(super) struct SafeBag<'a> {
    pub id: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    pub value: AnyRef<'a>,
    pub attributes: Option<SetOfVec<Attribute>>,
}

/// `CertBag` (RFC 7292 §4.2.3).
#[derive(Sequence)]
pub(super) struct CertificateBag<'a> {
    pub id: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    pub value: &'a OctetStringRef,
}

/// `EncryptedPrivateKeyInfo` (RFC 5208 §6).
#[derive(Sequence)]
pub(in crate::keystore) struct EncryptedKey<'a> {
    pub algorithm: AlgorithmIdentifierOwned,
    pub content: &'a OctetStringRef,
}

/// `MacData` (RFC 7292 §4).
#[derive(Sequence)]
pub(super) struct MacData {
    pub mac: DigestInfo,
    pub salt: OctetString,
    #[asn1(default = "one")]
    pub iterations: u32,
}

/// `DigestInfo` (RFC 2315 §9.4).
#[derive(Sequence)]
pub(super) struct DigestInfo {
    pub algorithm: AlgorithmIdentifierOwned,
    pub digest: OctetString,
}

/// `pkcs-12PbeParams` (RFC 7292 §C).
#[derive(Sequence)]
pub(super) struct PbeParameters {
    pub salt: OctetString,
    pub iterations: u32,
}

/// `PBES2-params` and `PBMAC1-params` (RFC 8018 §§A.4, A.5), which have the same two parts: how the key is derived,
/// and what it is used for.
#[derive(Sequence)]
pub(super) struct DerivedKeyParameters {
    pub derivation: AlgorithmIdentifierOwned,
    pub scheme: AlgorithmIdentifierOwned,
}

/// `PBKDF2-params` (RFC 8018 §A.2) with a salt that is given, the only form in use.
#[derive(Sequence)]
pub(super) struct Pbkdf2Parameters {
    pub salt: OctetString,
    pub iterations: u32,
    pub key_octets: Option<u32>,
    /// HMAC-SHA-1 when it is absent.
    pub function: Option<AlgorithmIdentifierOwned>,
}

fn one() -> u32 {
    1
}

/// An algorithm whose parameters are NULL, as those of digests and HMACs are.
pub(in crate::keystore) fn with_null(oid: ObjectIdentifier) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid, parameters: Some(Any::null()) }
}

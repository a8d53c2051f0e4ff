//! Signature algorithms: which one a key signs with, how it is named in DER, how a signature is checked.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

use aws_lc_rs::signature as lc;
use der::asn1::{Any, BitString, Uint};
use der::{Decode as _, Sequence};
use spki::{AlgorithmIdentifierOwned, ObjectIdentifier, SubjectPublicKeyInfoOwned};

use crate::asn1::Signed;
use crate::key::{Curve, KeyAlgorithm, RsaSize};

pub(crate) mod form;
mod pss;

pub use form::FormError;

/// The signature algorithms that we make, by the names of the API (`spec.signatureAlgorithm`). All RSA signatures are
/// PKCS#1 v1.5; those of RSA-PSS are checked in the certificates of others, but not made. SHA-1 and MD5 are not here,
/// and so nothing that they signed verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// `SHA256WithRSA`.
    RsaSha256,
    /// `SHA384WithRSA`.
    RsaSha384,
    /// `SHA512WithRSA`.
    RsaSha512,
    /// `ECDSAWithSHA256`.
    EcdsaSha256,
    /// `ECDSAWithSHA384`.
    EcdsaSha384,
    /// `ECDSAWithSHA512`.
    EcdsaSha512,
    /// `PureEd25519`.
    Ed25519,
}

/// The names of the API.
const NAMES: [(&str, SignatureAlgorithm); 7] = [
    ("SHA256WithRSA", SignatureAlgorithm::RsaSha256),
    ("SHA384WithRSA", SignatureAlgorithm::RsaSha384),
    ("SHA512WithRSA", SignatureAlgorithm::RsaSha512),
    ("ECDSAWithSHA256", SignatureAlgorithm::EcdsaSha256),
    ("ECDSAWithSHA384", SignatureAlgorithm::EcdsaSha384),
    ("ECDSAWithSHA512", SignatureAlgorithm::EcdsaSha512),
    ("PureEd25519", SignatureAlgorithm::Ed25519),
];

const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
/// RFC 8410: the same identifier names the key and the signature.
pub(crate) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
pub(crate) const RSA_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
pub(crate) const EC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
pub(crate) const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
pub(crate) const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
pub(crate) const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// Signature algorithms whose digest can be forged, by object identifier (RFC 6149, RFC 6150, RFC 6151, RFC 9155), with
/// the digest. `1.3.14.3.2.29` is an old name of `sha1WithRSAEncryption`.
pub(crate) const WEAK: [(&str, &str); 7] = [
    ("1.2.840.113549.1.1.2", "MD2"),
    ("1.2.840.113549.1.1.3", "MD4"),
    ("1.2.840.113549.1.1.4", "MD5"),
    ("1.2.840.113549.1.1.5", "SHA-1"),
    ("1.3.14.3.2.29", "SHA-1"),
    ("1.2.840.10040.4.3", "SHA-1"),
    ("1.2.840.10045.4.1", "SHA-1"),
];

/// The digest of a signature algorithm, given by its object identifier with dots, if that digest can be forged: clients
/// accept no such signature any more.
pub fn weak_digest(algorithm: &str) -> Option<&'static str> {
    WEAK.iter().find(|(weak, _)| *weak == algorithm).map(|(_, digest)| *digest)
}

fn null() -> Any {
    Any::from(der::asn1::Null)
}

impl SignatureAlgorithm {
    /// What a key of this kind signs with unless told otherwise: a digest as strong as the key (spec/issuance.md §1).
    pub fn of_key(key: KeyAlgorithm) -> Self {
        match key {
            KeyAlgorithm::Rsa(RsaSize::Bits2048) => Self::RsaSha256,
            KeyAlgorithm::Rsa(RsaSize::Bits3072) => Self::RsaSha384,
            KeyAlgorithm::Rsa(RsaSize::Bits4096 | RsaSize::Bits8192) => Self::RsaSha512,
            KeyAlgorithm::Ecdsa(Curve::P256) => Self::EcdsaSha256,
            KeyAlgorithm::Ecdsa(Curve::P384) => Self::EcdsaSha384,
            KeyAlgorithm::Ecdsa(Curve::P521) => Self::EcdsaSha512,
            KeyAlgorithm::Ed25519 => Self::Ed25519,
        }
    }

    /// What a key of this kind can sign with. RSA keys take each digest. The library binds a curve to the digest of
    /// its own strength, P-521 alone to all three; signatures with the other digests are checked, but not made.
    pub fn possible(key: KeyAlgorithm) -> &'static [Self] {
        match key {
            KeyAlgorithm::Rsa(_) => &[Self::RsaSha256, Self::RsaSha384, Self::RsaSha512],
            KeyAlgorithm::Ecdsa(Curve::P256) => &[Self::EcdsaSha256],
            KeyAlgorithm::Ecdsa(Curve::P384) => &[Self::EcdsaSha384],
            KeyAlgorithm::Ecdsa(Curve::P521) => &[Self::EcdsaSha256, Self::EcdsaSha384, Self::EcdsaSha512],
            KeyAlgorithm::Ed25519 => &[Self::Ed25519],
        }
    }

    pub(crate) fn from_oid(oid: ObjectIdentifier) -> Option<Self> {
        Some(match oid {
            RSA_SHA256 => Self::RsaSha256,
            RSA_SHA384 => Self::RsaSha384,
            RSA_SHA512 => Self::RsaSha512,
            ECDSA_SHA256 => Self::EcdsaSha256,
            ECDSA_SHA384 => Self::EcdsaSha384,
            ECDSA_SHA512 => Self::EcdsaSha512,
            ED25519 => Self::Ed25519,
            _ => return None,
        })
    }

    /// The `AlgorithmIdentifier`: RSA carries NULL parameters (RFC 4055 §5), the others none (RFC 5758 §3.2, RFC 8410).
    pub(crate) fn identifier(self) -> AlgorithmIdentifierOwned {
        let (oid, parameters) = match self {
            Self::RsaSha256 => (RSA_SHA256, Some(null())),
            Self::RsaSha384 => (RSA_SHA384, Some(null())),
            Self::RsaSha512 => (RSA_SHA512, Some(null())),
            Self::EcdsaSha256 => (ECDSA_SHA256, None),
            Self::EcdsaSha384 => (ECDSA_SHA384, None),
            Self::EcdsaSha512 => (ECDSA_SHA512, None),
            Self::Ed25519 => (ED25519, None),
        };
        AlgorithmIdentifierOwned { oid, parameters }
    }
}

impl fmt::Display for SignatureAlgorithm {
    /// The name in the API.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, algorithm)| algorithm == self).map(|(name, _)| *name);
        f.write_str(name.unwrap_or_default())
    }
}

impl FromStr for SignatureAlgorithm {
    type Err = SignatureError;

    fn from_str(name: &str) -> Result<Self, SignatureError> {
        let found = NAMES.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm);
        found.ok_or_else(|| SignatureError::Name(name.to_owned()))
    }
}

/// Why a signature was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A text is not the name of an algorithm in the API.
    #[error("{0:?} is not a signature algorithm; known are {known}", known = NAMES.map(|(name, _)| name).join(", "))]
    Name(String),
    /// The algorithm is unknown, or too weak to be known.
    #[error(
        "signature algorithm {0} is not accepted; use SHA-256, SHA-384 or SHA-512 with RSA or ECDSA, or Ed25519"
    )]
    Algorithm(String),
    /// The key is of another kind than the signature.
    #[error("signature algorithm {algorithm} does not fit a public key of kind {key}")]
    Mismatch {
        /// Object identifier of the signature algorithm.
        algorithm: String,
        /// Object identifier of the key algorithm.
        key: String,
    },
    /// The RSA key is too short to be trusted, or so long that checking it takes unreasonable time.
    #[error("RSA keys of {0} bits are not accepted; use 2048 to 8192")]
    RsaSize(usize),
    /// The exponent of the RSA key is even, 1 or longer than 32 bits.
    #[error("the public exponent of the RSA key is not accepted; use 65537")]
    RsaExponent,
    /// The algorithm comes with parameters that it does not have.
    #[error("signature algorithm {0} comes with parameters that it does not have")]
    Parameters(String),
    /// The signature is not one of this key over these bytes.
    #[error("signature does not verify")]
    Invalid,
}

/// Checks that `signed` was signed by the holder of `key`.
pub(crate) fn verify(signed: &Signed, key: &SubjectPublicKeyInfoOwned) -> Result<(), SignatureError> {
    verify_by(signed, key, false)
}

/// As [`verify`], and RSA keys from 1024 bits on are taken too: nothing of ours is issued for them.
pub(crate) fn verify_with_short_keys(
    signed: &Signed,
    key: &SubjectPublicKeyInfoOwned,
) -> Result<(), SignatureError> {
    verify_by(signed, key, true)
}

fn verify_by(
    signed: &Signed,
    key: &SubjectPublicKeyInfoOwned,
    short_keys: bool,
) -> Result<(), SignatureError> {
    let mut verifier = match signed.algorithm.oid {
        pss::RSA_PSS => pss::verifier(&signed.algorithm, key)?,
        _ => plain_verifier(&signed.algorithm, key)?,
    };
    let bytes = |bits: &BitString| bits.as_bytes().map(<[u8]>::to_vec).ok_or(SignatureError::Invalid);
    let public = bytes(&key.subject_public_key)?;
    if key.algorithm.oid == RSA_KEY {
        match check_rsa_key(&public) {
            Err(SignatureError::RsaSize(bits)) if short_keys && SHORT_RSA_BITS.contains(&bits) => {
                verifier = short_verifier(signed.algorithm.oid)?;
            }
            checked => checked?,
        }
    }
    let signature = bytes(&signed.signature)?;
    let body = signed.body_der().map_err(|_| SignatureError::Invalid)?;
    lc::UnparsedPublicKey::new(verifier, public)
        .verify(&body, &signature)
        .map_err(|_| SignatureError::Invalid)
}

/// The check for an RSA key that is too short for [`plain_verifier`]'s.
fn short_verifier(oid: ObjectIdentifier) -> Result<&'static dyn lc::VerificationAlgorithm, SignatureError> {
    match oid {
        RSA_SHA256 => Ok(&lc::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY),
        RSA_SHA512 => Ok(&lc::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY),
        other => Err(SignatureError::Algorithm(other.to_string())),
    }
}

/// Refuses RSA keys that the library would refuse without a reason, for their exponent first.
fn check_rsa_key(der: &[u8]) -> Result<(), SignatureError> {
    let key = RsaPublicKey::from_der(der).map_err(|_| SignatureError::Invalid)?;
    let exponent = key.exponent.as_bytes();
    let odd = exponent.last().is_some_and(|octet| octet % 2 == 1);
    if !odd || exponent == [1] || exponent.len() > RSA_EXPONENT_OCTETS_MAX {
        return Err(SignatureError::RsaExponent);
    }
    let bits = key.bits();
    if !RSA_BITS.contains(&bits) {
        return Err(SignatureError::RsaSize(bits));
    }
    Ok(())
}

/// Modulus lengths of keys whose signatures are checked, in bits: NIST SP 800-57 gives up shorter ones, and longer
/// ones are of use to nobody but those who want to keep us busy.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// Shorter ones that old devices have, in bits; see [`verify_with_short_keys`].
const SHORT_RSA_BITS: Range<usize> = 1024..2048;

/// The longest public exponent, in bytes. Real ones are 65537 or 3; the time of a check grows with their length.
const RSA_EXPONENT_OCTETS_MAX: usize = 4;

/// `RSAPublicKey` (RFC 8017 §A.1.1).
#[derive(Sequence)]
pub(crate) struct RsaPublicKey {
    modulus: Uint,
    exponent: Uint,
}

impl RsaPublicKey {
    /// The length of the modulus in bits.
    pub(crate) fn bits(&self) -> usize {
        let octets = self.modulus.as_bytes();
        let leading_zeros = octets.first().map_or(0, |octet| octet.leading_zeros());
        octets.len().saturating_mul(8).saturating_sub(usize::try_from(leading_zeros).unwrap_or(0))
    }
}

/// The check for an algorithm that its identifier names in full.
fn plain_verifier(
    identifier: &AlgorithmIdentifierOwned,
    key: &SubjectPublicKeyInfoOwned,
) -> Result<&'static dyn lc::VerificationAlgorithm, SignatureError> {
    let oid = identifier.oid;
    let algorithm =
        SignatureAlgorithm::from_oid(oid).ok_or_else(|| SignatureError::Algorithm(oid.to_string()))?;
    let mismatch =
        || SignatureError::Mismatch { algorithm: oid.to_string(), key: key.algorithm.oid.to_string() };
    let verifier = verifier(algorithm, key).ok_or_else(mismatch)?;
    let absent = identifier.parameters.as_ref().is_none_or(|parameters| *parameters == null());
    if !absent || (algorithm == SignatureAlgorithm::Ed25519 && identifier.parameters.is_some()) {
        return Err(SignatureError::Parameters(oid.to_string()));
    }
    Ok(verifier)
}

fn verifier(
    algorithm: SignatureAlgorithm,
    key: &SubjectPublicKeyInfoOwned,
) -> Option<&'static dyn lc::VerificationAlgorithm> {
    use SignatureAlgorithm as A;
    let curve = key.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    Some(match (key.algorithm.oid, algorithm, curve) {
        (RSA_KEY, A::RsaSha256, _) => &lc::RSA_PKCS1_2048_8192_SHA256,
        (RSA_KEY, A::RsaSha384, _) => &lc::RSA_PKCS1_2048_8192_SHA384,
        (RSA_KEY, A::RsaSha512, _) => &lc::RSA_PKCS1_2048_8192_SHA512,
        (EC_KEY, A::EcdsaSha256, Some(P256)) => &lc::ECDSA_P256_SHA256_ASN1,
        (EC_KEY, A::EcdsaSha384, Some(P256)) => &lc::ECDSA_P256_SHA384_ASN1,
        (EC_KEY, A::EcdsaSha512, Some(P256)) => &lc::ECDSA_P256_SHA512_ASN1,
        (EC_KEY, A::EcdsaSha256, Some(P384)) => &lc::ECDSA_P384_SHA256_ASN1,
        (EC_KEY, A::EcdsaSha384, Some(P384)) => &lc::ECDSA_P384_SHA384_ASN1,
        (EC_KEY, A::EcdsaSha512, Some(P384)) => &lc::ECDSA_P384_SHA512_ASN1,
        (EC_KEY, A::EcdsaSha256, Some(P521)) => &lc::ECDSA_P521_SHA256_ASN1,
        (EC_KEY, A::EcdsaSha384, Some(P521)) => &lc::ECDSA_P521_SHA384_ASN1,
        (EC_KEY, A::EcdsaSha512, Some(P521)) => &lc::ECDSA_P521_SHA512_ASN1,
        (ED25519, A::Ed25519, _) => &lc::ED25519,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        for name in ["", "sha256withrsa", "SHA1WithRSA", "SHA256-RSA", "Ed25519"] {
            let message = name.parse::<SignatureAlgorithm>().unwrap_err().to_string();
            assert_eq!(
                message,
                format!(
                    "{name:?} is not a signature algorithm; known are SHA256WithRSA, SHA384WithRSA, SHA512WithRSA, \
                     ECDSAWithSHA256, ECDSAWithSHA384, ECDSAWithSHA512, PureEd25519"
                )
            );
        }
    }

    #[test]
    fn algorithms_have_the_names_of_the_api() {
        for (name, algorithm) in NAMES {
            assert_eq!(name.parse(), Ok(algorithm));
            assert_eq!(algorithm.to_string(), name);
        }
    }

    #[test]
    fn rsa_keys_that_are_short_or_odd_are_refused() {
        let check = |modulus: &[u8], exponent: &[u8], expected: Result<(), SignatureError>| {
            let key =
                RsaPublicKey { modulus: Uint::new(modulus).unwrap(), exponent: Uint::new(exponent).unwrap() };
            assert_eq!(check_rsa_key(&der::Encode::to_der(&key).unwrap()), expected);
        };
        let modulus = |octets: usize, first: u8| [vec![first], vec![0xff; octets - 1]].concat();
        let good = [1, 0, 1].as_slice();
        check(&modulus(128, 0x80), good, Err(SignatureError::RsaSize(1024)));
        check(&modulus(256, 0x7f), good, Err(SignatureError::RsaSize(2047)));
        check(&modulus(1025, 1), good, Err(SignatureError::RsaSize(8193)));
        for exponent in [[1].as_slice(), &[2], &[0], &[1, 0, 0, 0, 1]] {
            check(&modulus(256, 0x80), exponent, Err(SignatureError::RsaExponent));
        }
        check(&modulus(256, 0x80), good, Ok(()));
        check(&modulus(1024, 0x80), &[3], Ok(()));
        assert_eq!(check_rsa_key(&[0x30, 0]), Err(SignatureError::Invalid));
    }
}

//! Signature algorithms: which one a key signs with, how it is named in DER, how a signature is checked.

use aws_lc_rs::signature as lc;
use der::asn1::{Any, BitString};
use spki::{AlgorithmIdentifierOwned, ObjectIdentifier, SubjectPublicKeyInfoOwned};

use crate::asn1::Signed;
use crate::key::{Curve, KeyAlgorithm, RsaSize};

/// The signature algorithms that we make and check. All RSA signatures are PKCS#1 v1.5; SHA-1 and MD5 are not here,
/// and so nothing that they signed verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignatureAlgorithm {
    RsaSha256,
    RsaSha384,
    RsaSha512,
    EcdsaSha256,
    EcdsaSha384,
    EcdsaSha512,
    Ed25519,
}

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

fn null() -> Any {
    Any::from(der::asn1::Null)
}

impl SignatureAlgorithm {
    /// What a key of this kind signs with unless told otherwise: a digest as strong as the key (spec/issuance.md §1).
    pub(crate) fn of_key(key: KeyAlgorithm) -> Self {
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

    fn from_oid(oid: ObjectIdentifier) -> Option<Self> {
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

/// Why a signature was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
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
    /// The signature is not one of this key over these bytes.
    #[error("signature does not verify")]
    Invalid,
}

/// Checks that `signed` was signed by the holder of `key`.
pub(crate) fn verify(signed: &Signed, key: &SubjectPublicKeyInfoOwned) -> Result<(), SignatureError> {
    let oid = signed.algorithm.oid;
    let algorithm =
        SignatureAlgorithm::from_oid(oid).ok_or_else(|| SignatureError::Algorithm(oid.to_string()))?;
    let mismatch =
        || SignatureError::Mismatch { algorithm: oid.to_string(), key: key.algorithm.oid.to_string() };
    let verifier = verifier(algorithm, key).ok_or_else(mismatch)?;
    let bytes = |bits: &BitString| bits.as_bytes().map(<[u8]>::to_vec).ok_or(SignatureError::Invalid);
    let public = bytes(&key.subject_public_key)?;
    let signature = bytes(&signed.signature)?;
    let body = signed.body_der().map_err(|_| SignatureError::Invalid)?;
    lc::UnparsedPublicKey::new(verifier, public)
        .verify(&body, &signature)
        .map_err(|_| SignatureError::Invalid)
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

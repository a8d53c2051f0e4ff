//! Private and public keys: RSA, ECDSA and Ed25519, in and out of PKCS#1, SEC1 and PKCS#8
//! (spec/issuance.md §1; RFC 8017, RFC 5915, RFC 5958).

use std::fmt;

use aws_lc_rs::signature as lc;
use der::asn1::ObjectIdentifier;
use der::{Decode as _, Encode as _};
use spki::SubjectPublicKeyInfoOwned;

use crate::pem::PemError;
use crate::signature::{EC_KEY, ED25519, P256, P384, P521, RSA_KEY, RsaPublicKey, SignatureAlgorithm};

mod pool;
mod private;
mod spec;

pub use pool::KeyPool;
pub use private::PrivateKey;
pub use spec::KeySpec;

/// RSA modulus lengths that we make and accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RsaSize {
    /// 2048 bits, the default.
    Bits2048,
    /// 3072 bits.
    Bits3072,
    /// 4096 bits.
    Bits4096,
    /// 8192 bits; generating one takes many seconds.
    Bits8192,
}

impl RsaSize {
    /// The modulus length in bits.
    pub fn bits(self) -> u32 {
        match self {
            Self::Bits2048 => 2048,
            Self::Bits3072 => 3072,
            Self::Bits4096 => 4096,
            Self::Bits8192 => 8192,
        }
    }
}

impl TryFrom<u32> for RsaSize {
    type Error = KeyError;

    fn try_from(bits: u32) -> Result<Self, KeyError> {
        match bits {
            2048 => Ok(Self::Bits2048),
            3072 => Ok(Self::Bits3072),
            4096 => Ok(Self::Bits4096),
            8192 => Ok(Self::Bits8192),
            _ => Err(KeyError::RsaSize(bits)),
        }
    }
}

/// NIST curves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    /// secp256r1, the default.
    P256,
    /// secp384r1.
    P384,
    /// secp521r1.
    P521,
}

impl Curve {
    fn signing(self) -> &'static lc::EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &lc::ECDSA_P256_SHA256_ASN1_SIGNING,
            Self::P384 => &lc::ECDSA_P384_SHA384_ASN1_SIGNING,
            Self::P521 => &lc::ECDSA_P521_SHA512_ASN1_SIGNING,
        }
    }

    fn from_oid(oid: ObjectIdentifier) -> Option<Self> {
        match oid {
            P256 => Some(Self::P256),
            P384 => Some(Self::P384),
            P521 => Some(Self::P521),
            _ => None,
        }
    }
}

impl TryFrom<u32> for Curve {
    type Error = KeyError;

    fn try_from(bits: u32) -> Result<Self, KeyError> {
        match bits {
            256 => Ok(Self::P256),
            384 => Ok(Self::P384),
            521 => Ok(Self::P521),
            _ => Err(KeyError::CurveSize(bits)),
        }
    }
}

/// The kind of a key, with its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// RSA with PKCS#1 v1.5 signatures.
    Rsa(RsaSize),
    /// ECDSA over a NIST curve.
    Ecdsa(Curve),
    /// Ed25519 (RFC 8032).
    Ed25519,
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(size) => write!(f, "RSA {}", size.bits()),
            Self::Ecdsa(Curve::P256) => f.write_str("ECDSA P-256"),
            Self::Ecdsa(Curve::P384) => f.write_str("ECDSA P-384"),
            Self::Ecdsa(Curve::P521) => f.write_str("ECDSA P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// How a private key is written (`spec.privateKey.encoding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyEncoding {
    /// The algorithm's own form: PKCS#1 for RSA, SEC1 for ECDSA. Ed25519 has none and is written as PKCS#8.
    Pkcs1,
    /// PKCS#8 for every algorithm.
    Pkcs8,
}

/// Why a key cannot be made or read. No variant holds key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Unsupported RSA modulus length, in bits.
    #[error("RSA keys of {0} bits are not supported; use 2048, 3072, 4096 or 8192")]
    RsaSize(u32),
    /// Unsupported curve, named by its size in bits.
    #[error("ECDSA keys of {0} bits are not supported; use 256, 384 or 521")]
    CurveSize(u32),
    /// The key is not PEM.
    #[error("the private key cannot be decoded")]
    Pem(#[from] PemError),
    /// The PEM block holds something else.
    #[error(
        "a {0:?} block is not an unencrypted private key; use RSA PRIVATE KEY, EC PRIVATE KEY or PRIVATE KEY"
    )]
    Label(String),
    /// The content of the block does not decode.
    #[error("the private key is malformed")]
    Malformed,
    /// The key is of a kind that we do not have.
    #[error(
        "private keys of algorithm {0} are not supported; use RSA, ECDSA (P-256, P-384, P-521) or Ed25519"
    )]
    Algorithm(String),
    /// The library refused to generate a key, which means that its self-test failed.
    #[error("generating a key failed")]
    Generate,
    /// The key cannot sign with the algorithm that was chosen.
    #[error(
        "a key of kind {key} cannot sign with {algorithm}; use {possible}",
        possible = names(SignatureAlgorithm::possible(*key))
    )]
    SignatureAlgorithm {
        /// What was chosen.
        algorithm: SignatureAlgorithm,
        /// The kind of the key.
        key: KeyAlgorithm,
    },
    /// Signing failed, which means that its self-test failed.
    #[error("signing failed")]
    Sign,
}

fn names(algorithms: &[SignatureAlgorithm]) -> String {
    let names: Vec<String> = algorithms.iter().map(ToString::to_string).collect();
    names.join(" or ")
}

/// A public key, compared by value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    spki: SubjectPublicKeyInfoOwned,
    der: Vec<u8>,
}

impl PublicKey {
    /// The DER of its SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    pub fn spki_der(&self) -> &[u8] {
        &self.der
    }

    /// What kind of key it is; `None` for kinds and sizes that we do not make.
    pub fn algorithm(&self) -> Option<KeyAlgorithm> {
        match self.spki.algorithm.oid {
            ED25519 => Some(KeyAlgorithm::Ed25519),
            EC_KEY => {
                let parameters = self.spki.algorithm.parameters.as_ref()?;
                Curve::from_oid(parameters.decode_as().ok()?).map(KeyAlgorithm::Ecdsa)
            }
            RSA_KEY => RsaSize::try_from(u32::try_from(self.rsa_bits()?).ok()?).ok().map(KeyAlgorithm::Rsa),
            _ => None,
        }
    }

    /// Length of an RSA key's modulus in bits; `None` for keys that are not RSA.
    pub(crate) fn rsa_bits(&self) -> Option<usize> {
        if self.spki.algorithm.oid != RSA_KEY {
            return None;
        }
        let key = self.spki.subject_public_key.as_bytes()?;
        Some(RsaPublicKey::from_der(key).ok()?.bits())
    }

    pub(crate) fn from_spki(spki: SubjectPublicKeyInfoOwned) -> der::Result<Self> {
        let der = spki.to_der()?;
        Ok(Self { spki, der })
    }

    pub(crate) fn spki(&self) -> &SubjectPublicKeyInfoOwned {
        &self.spki
    }

    /// The key bits without their ASN.1 frame, which key identifiers are computed over (RFC 7093 §2).
    pub(crate) fn bits(&self) -> &[u8] {
        self.spki.subject_public_key.raw_bytes()
    }
}

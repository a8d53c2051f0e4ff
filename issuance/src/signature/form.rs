//! The one form that a public key of each kind has in a certificate (RFC 3279 §2.3.1, RFC 5480 §2, RFC 8410 §§3–4).
//!
//! The library that checks signatures takes more than that: a whole SubjectPublicKeyInfo inside the BIT STRING, or a
//! point that is compressed. A key is copied from a request as the bytes that it is, so such a form would come back in
//! a certificate that other programs cannot read.

use spki::{ObjectIdentifier, SubjectPublicKeyInfoOwned};

use super::{EC_KEY, ED25519, P256, P384, P521, RSA_KEY, RsaPublicKey, null};
use der::Decode as _;

/// What is wrong with the form of a public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The algorithm has other parameters than its standard says.
    #[error("the parameters of key algorithm {algorithm} must be {right}")]
    Parameters {
        /// Object identifier of the key algorithm.
        algorithm: String,
        /// What would be right.
        right: &'static str,
    },
    /// The BIT STRING does not hold the key alone.
    #[error("a public key of algorithm {algorithm} must be {right}")]
    Bits {
        /// Object identifier of the key algorithm.
        algorithm: String,
        /// What would be right.
        right: &'static str,
    },
    /// The algorithm is not one whose form we know.
    #[error(
        "public keys of algorithm {0} are not supported; use RSA, ECDSA (P-256, P-384, P-521) or Ed25519"
    )]
    Algorithm(String),
}

/// The length of an Ed25519 key in octets (RFC 8410 §4).
const ED25519_OCTETS: usize = 32;

/// The octet in front of a point whose two coordinates are both written (SEC 1 §2.3.3).
const UNCOMPRESSED: u8 = 4;

/// Checks that a key has the form of its standard; whether it is a key at all shows when it checks a signature.
///
/// # Errors
/// When its parameters or bits have another form, or its kind is unknown.
pub(crate) fn check(key: &SubjectPublicKeyInfoOwned) -> Result<(), FormError> {
    let algorithm = || key.algorithm.oid.to_string();
    let parameters = |right| Err(FormError::Parameters { algorithm: algorithm(), right });
    let bits = key.subject_public_key.as_bytes().unwrap_or_default();
    let given = key.algorithm.parameters.as_ref();
    let right = match key.algorithm.oid {
        RSA_KEY if given != Some(&null()) => return parameters("NULL"),
        RSA_KEY => RsaPublicKey::from_der(bits).is_err().then_some("a modulus and an exponent in DER"),
        EC_KEY => {
            let curve = given.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
            let Some(octets) = curve.and_then(coordinate_octets) else {
                return parameters("the name of P-256, P-384 or P-521");
            };
            let whole = bits.len() == 1 + 2 * octets && bits.first() == Some(&UNCOMPRESSED);
            (!whole).then_some("a point that is not compressed")
        }
        ED25519 if given.is_some() => return parameters("absent"),
        ED25519 => (bits.len() != ED25519_OCTETS).then_some("32 octets"),
        _ => return Err(FormError::Algorithm(algorithm())),
    };
    right.map_or(Ok(()), |right| Err(FormError::Bits { algorithm: algorithm(), right }))
}

/// The length of a coordinate in octets.
fn coordinate_octets(curve: ObjectIdentifier) -> Option<usize> {
    match curve {
        P256 => Some(32),
        P384 => Some(48),
        P521 => Some(66),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use der::Encode as _;
    use der::asn1::{Any, BitString};

    use super::*;
    use crate::key::{Curve, KeyAlgorithm, PrivateKey, RsaSize};

    fn key(kind: KeyAlgorithm) -> SubjectPublicKeyInfoOwned {
        PrivateKey::generate(kind).unwrap().public_key().spki().clone()
    }

    fn bits(key: &SubjectPublicKeyInfoOwned, bits: &[u8]) -> SubjectPublicKeyInfoOwned {
        SubjectPublicKeyInfoOwned { subject_public_key: BitString::from_bytes(bits).unwrap(), ..key.clone() }
    }

    fn parameters(key: &SubjectPublicKeyInfoOwned, given: Option<Any>) -> SubjectPublicKeyInfoOwned {
        let mut key = key.clone();
        key.algorithm.parameters = given;
        key
    }

    fn refused(key: &SubjectPublicKeyInfoOwned, message: &str) {
        assert_eq!(check(key).unwrap_err().to_string(), message);
    }

    #[test]
    fn a_key_inside_a_key_is_refused() {
        for (kind, right) in [
            (KeyAlgorithm::Rsa(RsaSize::Bits2048), "a modulus and an exponent in DER"),
            (KeyAlgorithm::Ecdsa(Curve::P256), "a point that is not compressed"),
            (KeyAlgorithm::Ecdsa(Curve::P384), "a point that is not compressed"),
            (KeyAlgorithm::Ecdsa(Curve::P521), "a point that is not compressed"),
            (KeyAlgorithm::Ed25519, "32 octets"),
        ] {
            let key = key(kind);
            check(&key).unwrap();
            let nested = bits(&key, &key.to_der().unwrap());
            let algorithm = key.algorithm.oid;
            refused(&nested, &format!("a public key of algorithm {algorithm} must be {right}"));
        }
    }

    #[test]
    fn a_point_that_is_compressed_or_hybrid_is_refused() {
        let key = key(KeyAlgorithm::Ecdsa(Curve::P256));
        let point = key.subject_public_key.as_bytes().unwrap().to_vec();
        let odd = point.last().unwrap() % 2;
        let compressed = [&[2 + odd], &point[1..33]].concat();
        let hybrid = [&[6 + odd], &point[1..]].concat();
        for other in [compressed, hybrid, point[..64].to_vec(), Vec::new()] {
            let message =
                "a public key of algorithm 1.2.840.10045.2.1 must be a point that is not compressed";
            refused(&bits(&key, &other), message);
        }
    }

    #[test]
    fn parameters_that_the_kind_does_not_have_are_refused() {
        let rsa = key(KeyAlgorithm::Rsa(RsaSize::Bits2048));
        let message = "the parameters of key algorithm 1.2.840.113549.1.1.1 must be NULL";
        refused(&parameters(&rsa, None), message);
        refused(&parameters(&rsa, Some(Any::new(der::Tag::Null, [0]).unwrap())), message);
        let ed25519 = key(KeyAlgorithm::Ed25519);
        let message = "the parameters of key algorithm 1.3.101.112 must be absent";
        refused(&parameters(&ed25519, Some(null())), message);
        let ecdsa = key(KeyAlgorithm::Ecdsa(Curve::P256));
        let message =
            "the parameters of key algorithm 1.2.840.10045.2.1 must be the name of P-256, P-384 or P-521";
        refused(&parameters(&ecdsa, None), message);
        refused(&parameters(&ecdsa, Some(null())), message);
    }
}

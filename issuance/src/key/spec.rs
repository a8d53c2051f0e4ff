//! What a Certificate says about its private key, and whether a key is one of that kind.

use super::{Curve, KeyAlgorithm, KeyError, PublicKey, RsaSize};
use crate::signature::{EC_KEY, ED25519, RSA_KEY};

/// `spec.privateKey` as far as it says what key is to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySpec {
    /// `RSA`, `ECDSA` or `Ed25519`; RSA when it is absent or empty.
    pub algorithm: Option<String>,
    /// Bits of the modulus for RSA (2048 by default), of the curve for ECDSA (256 by default); Ed25519 has no size.
    /// 0 counts as absent.
    pub size: Option<i64>,
}

const ALGORITHM: &str = "spec.privateKey.algorithm";
const SIZE: &str = "spec.privateKey.size";

impl KeySpec {
    /// The kind of key that is wanted, defaults applied.
    ///
    /// # Errors
    /// [`KeyError::Algorithm`] for an algorithm that the API does not know, [`KeyError::RsaSize`] and
    /// [`KeyError::CurveSize`] for a size that is not made.
    pub fn key_algorithm(&self) -> Result<KeyAlgorithm, KeyError> {
        // A size that no number of bits can be is refused with the largest one that can.
        let size = self.size.filter(|size| *size != 0).map(|size| u32::try_from(size).unwrap_or(u32::MAX));
        match self.algorithm.as_deref() {
            None | Some("" | "RSA") => {
                size.map_or(Ok(RsaSize::Bits2048), RsaSize::try_from).map(KeyAlgorithm::Rsa)
            }
            Some("ECDSA") => size.map_or(Ok(Curve::P256), Curve::try_from).map(KeyAlgorithm::Ecdsa),
            Some("Ed25519") => Ok(KeyAlgorithm::Ed25519),
            Some(other) => Err(KeyError::Algorithm(other.to_owned())),
        }
    }

    /// The fields of a Certificate that `key` does not fit: `spec.privateKey.algorithm` when it is of another kind,
    /// `spec.privateKey.size` when it is of another size. A size that is left out means the default one, so a longer
    /// key does not fit.
    ///
    /// # Errors
    /// As [`Self::key_algorithm`].
    pub fn violations(&self, key: &PublicKey) -> Result<Vec<&'static str>, KeyError> {
        let wanted = self.key_algorithm()?;
        let kind = match wanted {
            KeyAlgorithm::Rsa(_) => RSA_KEY,
            KeyAlgorithm::Ecdsa(_) => EC_KEY,
            KeyAlgorithm::Ed25519 => ED25519,
        };
        if key.spki().algorithm.oid != kind {
            return Ok(vec![ALGORITHM]);
        }
        Ok(if key.algorithm() == Some(wanted) { Vec::new() } else { vec![SIZE] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PrivateKey;

    fn spec(algorithm: &str, size: i64) -> KeySpec {
        KeySpec { algorithm: Some(algorithm.to_owned()), size: Some(size) }
    }

    #[test]
    fn what_cannot_be_made_is_an_error_with_what_can() {
        let check = |algorithm: &str, size: i64, message: &str| {
            let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
            let refused = spec(algorithm, size).violations(key.public_key()).unwrap_err();
            assert_eq!(refused.to_string(), message);
        };
        let algorithms = "private keys of algorithm \"DSA\" are not supported; use RSA, ECDSA (P-256, P-384, P-521) or Ed25519";
        check("DSA", 0, &algorithms.replace('"', ""));
        check("rsa", 2048, &algorithms.replace("\"DSA\"", "rsa"));
        check("RSA", 1024, "RSA keys of 1024 bits are not supported; use 2048, 3072, 4096 or 8192");
        check("", -1, "RSA keys of 4294967295 bits are not supported; use 2048, 3072, 4096 or 8192");
        check("ECDSA", 224, "ECDSA keys of 224 bits are not supported; use 256, 384 or 521");
    }

    #[test]
    fn a_key_is_held_against_the_spec_with_its_defaults() {
        let rsa = PrivateKey::generate(KeyAlgorithm::Rsa(RsaSize::Bits2048)).unwrap();
        let long = PrivateKey::generate(KeyAlgorithm::Rsa(RsaSize::Bits3072)).unwrap();
        let p384 = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P384)).unwrap();
        let ed25519 = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let check = |spec: &KeySpec, key: &PrivateKey, violations: &[&str]| {
            assert_eq!(spec.violations(key.public_key()).unwrap(), violations, "{spec:?} with {key:?}");
        };
        check(&KeySpec::default(), &rsa, &[]);
        check(&KeySpec::default(), &long, &["spec.privateKey.size"]);
        check(&KeySpec::default(), &p384, &["spec.privateKey.algorithm"]);
        check(&spec("RSA", 0), &rsa, &[]);
        check(&spec("RSA", 3072), &long, &[]);
        check(&spec("RSA", 4096), &long, &["spec.privateKey.size"]);
        check(&spec("ECDSA", 384), &p384, &[]);
        check(&spec("ECDSA", 0), &p384, &["spec.privateKey.size"]);
        check(&spec("ECDSA", 384), &rsa, &["spec.privateKey.algorithm"]);
        check(&spec("Ed25519", 4096), &ed25519, &[]);
        check(&spec("Ed25519", 0), &rsa, &["spec.privateKey.algorithm"]);
    }
}

//! RSA-PSS signatures (RFC 4055 §3.1, RFC 8017 §8.1) in certificates that others made, such as those of CAs at
//! Microsoft's or Vault's that were set up so. The parameters are taken as Go takes them: SHA-256, SHA-384 or SHA-512,
//! the mask of MGF1 with the same digest, a salt as long as the digest, and the one trailer that there is.

use aws_lc_rs::signature as lc;
use der::Sequence;
use spki::{AlgorithmIdentifierOwned, ObjectIdentifier, SubjectPublicKeyInfoOwned};

use super::{RSA_KEY, SignatureError, null};

/// `id-RSASSA-PSS`, which names signatures, and keys that sign in no other way.
pub(super) const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// `RSASSA-PSS-params`. What is absent means SHA-1, and a salt of its length.
#[derive(Sequence)]
struct Parameters {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    digest: Option<AlgorithmIdentifierOwned>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    mask: Option<AlgorithmIdentifierOwned>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    salt_octets: Option<u16>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    trailer: Option<u16>,
}

/// The check for these parameters.
///
/// # Errors
/// [`SignatureError::Algorithm`] for other parameters and for keys that are bound to RSA-PSS: what they signed is not
/// checked, which is not to say that it is wrong.
pub(super) fn verifier(
    identifier: &AlgorithmIdentifierOwned,
    key: &SubjectPublicKeyInfoOwned,
) -> Result<&'static dyn lc::VerificationAlgorithm, SignatureError> {
    match key.algorithm.oid {
        RSA_KEY => {}
        RSA_PSS => return Err(SignatureError::Algorithm(format!("{RSA_PSS} (a key for RSA-PSS alone)"))),
        other => {
            return Err(SignatureError::Mismatch { algorithm: RSA_PSS.to_string(), key: other.to_string() });
        }
    }
    let parameters = identifier.parameters.as_ref().and_then(|any| any.decode_as::<Parameters>().ok());
    parameters.as_ref().and_then(of_parameters).ok_or_else(|| {
        SignatureError::Algorithm(format!(
            "{RSA_PSS} (RSA-PSS with other parameters than one such digest, MGF1 of the same and a salt as long)"
        ))
    })
}

fn of_parameters(parameters: &Parameters) -> Option<&'static dyn lc::VerificationAlgorithm> {
    let digest = digest(parameters.digest.as_ref()?)?;
    let mask = parameters.mask.as_ref().filter(|mask| mask.oid == MGF1)?.parameters.as_ref()?;
    let same = self::digest(&mask.decode_as::<AlgorithmIdentifierOwned>().ok()?)? == digest;
    let (verifier, octets): (&'static dyn lc::VerificationAlgorithm, u16) = match digest {
        SHA256 => (&lc::RSA_PSS_2048_8192_SHA256, 32),
        SHA384 => (&lc::RSA_PSS_2048_8192_SHA384, 48),
        SHA512 => (&lc::RSA_PSS_2048_8192_SHA512, 64),
        _ => return None,
    };
    let whole =
        same && parameters.salt_octets == Some(octets) && parameters.trailer.is_none_or(|one| one == 1);
    whole.then_some(verifier)
}

/// The digest that an identifier names; with NULL or without parameters, which mean the same (RFC 4055 §2.1).
fn digest(identifier: &AlgorithmIdentifierOwned) -> Option<ObjectIdentifier> {
    let plain = identifier.parameters.as_ref().is_none_or(|parameters| *parameters == null());
    plain.then_some(identifier.oid)
}

#[cfg(test)]
mod tests {
    use der::asn1::Any;

    use super::*;
    use crate::key::{KeyAlgorithm, PrivateKey, RsaSize};
    use crate::testing;

    fn hash(oid: ObjectIdentifier) -> AlgorithmIdentifierOwned {
        AlgorithmIdentifierOwned { oid, parameters: Some(null()) }
    }

    fn mgf1(oid: ObjectIdentifier) -> AlgorithmIdentifierOwned {
        AlgorithmIdentifierOwned { oid: MGF1, parameters: Some(Any::encode_from(&hash(oid)).unwrap()) }
    }

    fn right() -> Parameters {
        Parameters {
            digest: Some(hash(SHA256)),
            mask: Some(mgf1(SHA256)),
            salt_octets: Some(32),
            trailer: None,
        }
    }

    fn ask(parameters: Option<Any>, key: &PrivateKey) -> Result<(), SignatureError> {
        let identifier = AlgorithmIdentifierOwned { oid: RSA_PSS, parameters };
        verifier(&identifier, key.public_key().spki()).map(|_| ())
    }

    #[test]
    fn other_parameters_and_other_keys_are_refused() {
        let rsa = PrivateKey::generate(KeyAlgorithm::Rsa(RsaSize::Bits2048)).unwrap();
        let sha1 = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
        let refused = |parameters: Option<Any>| {
            let error = ask(parameters, &rsa).unwrap_err();
            assert!(matches!(error, SignatureError::Algorithm(_)), "{error}");
        };
        let odd =
            AlgorithmIdentifierOwned { oid: SHA256, parameters: Some(Any::encode_from(&true).unwrap()) };
        let unmasked = AlgorithmIdentifierOwned { oid: MGF1, parameters: None };
        for wrong in [
            Parameters { digest: None, ..right() },
            Parameters { digest: Some(hash(sha1)), mask: Some(mgf1(sha1)), salt_octets: Some(20), ..right() },
            Parameters { digest: Some(odd), ..right() },
            Parameters { mask: None, ..right() },
            Parameters { mask: Some(mgf1(SHA384)), ..right() },
            Parameters { mask: Some(hash(SHA256)), ..right() },
            Parameters { mask: Some(unmasked), ..right() },
            Parameters { salt_octets: None, ..right() },
            Parameters { salt_octets: Some(20), ..right() },
            Parameters { salt_octets: Some(222), ..right() },
            Parameters { trailer: Some(2), ..right() },
        ] {
            refused(Some(Any::encode_from(&wrong).unwrap()));
        }
        for malformed in [None, Some(null()), Some(Any::new(der::Tag::Sequence, [0xa0]).unwrap())] {
            refused(malformed);
        }
        let whole = Any::encode_from(&right()).unwrap();
        let error = ask(Some(whole), &testing::key(1)).unwrap_err();
        assert!(matches!(error, SignatureError::Mismatch { .. }), "{error}");
    }

    #[test]
    fn the_parameters_of_each_digest_are_taken() {
        let rsa = PrivateKey::generate(KeyAlgorithm::Rsa(RsaSize::Bits2048)).unwrap();
        for (oid, octets) in [(SHA256, 32), (SHA384, 48), (SHA512, 64)] {
            let parameters = Parameters {
                digest: Some(hash(oid)),
                mask: Some(mgf1(oid)),
                salt_octets: Some(octets),
                trailer: Some(1),
            };
            assert_eq!(ask(Some(Any::encode_from(&parameters).unwrap()), &rsa), Ok(()));
        }
        let bare = AlgorithmIdentifierOwned { oid: SHA256, parameters: None };
        let parameters = Parameters { digest: Some(bare), ..right() };
        assert_eq!(ask(Some(Any::encode_from(&parameters).unwrap()), &rsa), Ok(()));
    }
}

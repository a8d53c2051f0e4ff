//! The check over a whole file: HMAC with a key of the derivation of PKCS#12 (RFC 7292 §5.1), or PBMAC1 (RFC 9579).

use aws_lc_rs::hmac;
use spki::AlgorithmIdentifierOwned;

use super::ITERATIONS;
use super::asn1::{DerivedKeyParameters, DigestInfo, MacData, PBKDF2, PBMAC1, Pbkdf2Parameters, with_null};
use super::cipher::{any, octets, parameters, pbkdf2};
use super::derivation::{Budget, Hash, Purpose, Stretch};
use crate::keystore::{Password, ReadError, SALT_OCTETS, WriteError, random};

/// How a file is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mac {
    /// HMAC over this hash function, and the derivation of PKCS#12 over the same.
    Hmac(Hash),
    /// PBMAC1 with HMAC-SHA-256 and PBKDF2 over the same.
    Pbmac1,
}

/// What stands where PBMAC1 leaves a salt unused; the examples of RFC 9579 have the same.
const UNUSED_SALT: &[u8] = b"NOT USED";

impl Mac {
    /// Computes the check over the content.
    pub(super) fn compute(self, content: &[u8], password: &Password) -> Result<MacData, WriteError> {
        let salt = random::<SALT_OCTETS>()?;
        match self {
            Self::Hmac(hash) => {
                let stretch = Stretch { hash, salt: &salt, iterations: ITERATIONS };
                let key = stretch.pkcs12(Purpose::Mac, password, hash.octets());
                let digest = octets(hmac::sign(&hmac::Key::new(hash.hmac(), &key), content).as_ref())?;
                let mac = DigestInfo { algorithm: with_null(hash.oid()), digest };
                Ok(MacData { mac, salt: octets(&salt)?, iterations: ITERATIONS.get() })
            }
            Self::Pbmac1 => {
                let mac = compute_pbmac1(content, &salt, password)?;
                Ok(MacData { mac, salt: octets(UNUSED_SALT)?, iterations: 1 })
            }
        }
    }
}

/// Checks the content. A failure does not tell a wrong password from a changed file, for nobody can.
pub(super) fn verify(
    data: &MacData,
    content: &[u8],
    password: &Password,
    budget: &mut Budget,
) -> Result<(), ReadError> {
    let algorithm = &data.mac.algorithm;
    let key = if algorithm.oid == PBMAC1 {
        pbmac1_key(algorithm, password, budget)?
    } else {
        let oid = algorithm.oid;
        let hash = Hash::from_oid(oid).ok_or(ReadError::Unsupported { part: "a MAC", oid })?;
        let iterations = budget.spend(hash, data.iterations, hash.octets())?;
        let stretch = Stretch { hash, salt: data.salt.as_bytes(), iterations };
        hmac::Key::new(hash.hmac(), &stretch.pkcs12(Purpose::Mac, password, hash.octets()))
    };
    hmac::verify(&key, content, data.mac.digest.as_bytes()).map_err(|_| ReadError::Integrity)
}

fn compute_pbmac1(content: &[u8], salt: &[u8], password: &Password) -> Result<DigestInfo, WriteError> {
    let hash = Hash::Sha256;
    let key = Stretch { hash, salt, iterations: ITERATIONS }.pbkdf2(password, hash.octets());
    let digest = octets(hmac::sign(&hmac::Key::new(hash.hmac(), &key), content).as_ref())?;
    let derivation = Pbkdf2Parameters {
        salt: octets(salt)?,
        iterations: ITERATIONS.get(),
        key_octets: u32::try_from(hash.octets()).ok(),
        function: Some(with_null(hash.hmac_oid())),
    };
    let parameters = DerivedKeyParameters {
        derivation: AlgorithmIdentifierOwned { oid: PBKDF2, parameters: Some(any(&derivation)?) },
        scheme: with_null(hash.hmac_oid()),
    };
    let algorithm = AlgorithmIdentifierOwned { oid: PBMAC1, parameters: Some(any(&parameters)?) };
    Ok(DigestInfo { algorithm, digest })
}

fn pbmac1_key(
    algorithm: &AlgorithmIdentifierOwned,
    password: &Password,
    budget: &mut Budget,
) -> Result<hmac::Key, ReadError> {
    let DerivedKeyParameters { derivation, scheme } = parameters(algorithm)?;
    let oid = scheme.oid;
    let hash = Hash::from_hmac_oid(oid).ok_or(ReadError::Unsupported { part: "a MAC", oid })?;
    let derivation = pbkdf2(&derivation)?;
    let length = derivation.parameters.key_octets;
    let length = length.ok_or(ReadError::Malformed("the key length of PBMAC1"))?;
    let key_octets = match length {
        MIN_MAC_KEY..=MAX_MAC_KEY => usize::try_from(length).unwrap_or_default(),
        _ => return Err(ReadError::MacKeyLength(length)),
    };
    let iterations = budget.spend(derivation.hash, derivation.parameters.iterations, key_octets)?;
    let stretch = Stretch { hash: derivation.hash, salt: derivation.parameters.salt.as_bytes(), iterations };
    Ok(hmac::Key::new(hash.hmac(), &stretch.pbkdf2(password, key_octets)))
}

/// Fewest octets of a PBMAC1 key: whoever may choose fewer can try them all (RFC 9579 §7).
const MIN_MAC_KEY: u32 = 20;

/// Most octets of a PBMAC1 key: the digest of SHA-512; more would be work for nothing.
const MAX_MAC_KEY: u32 = 64;

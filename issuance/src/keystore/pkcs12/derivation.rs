//! Keys out of passwords: the derivation of PKCS#12 (RFC 7292 §B) and PBKDF2 (RFC 8018 §5.2), with the hash
//! functions that both run on.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use const_oid::db::rfc5912::{ID_SHA_1, ID_SHA_256, ID_SHA_384, ID_SHA_512};
use der::asn1::ObjectIdentifier;
use zeroize::Zeroizing;

use super::asn1::{HMAC_SHA1, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use crate::keystore::{Limit, Password, ReadError};

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The identifier of the hash function alone.
    pub(super) fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Sha1 => ID_SHA_1,
            Self::Sha256 => ID_SHA_256,
            Self::Sha384 => ID_SHA_384,
            Self::Sha512 => ID_SHA_512,
        }
    }

    /// The identifier of HMAC over the hash function.
    pub(super) fn hmac_oid(self) -> ObjectIdentifier {
        match self {
            Self::Sha1 => HMAC_SHA1,
            Self::Sha256 => HMAC_SHA256,
            Self::Sha384 => HMAC_SHA384,
            Self::Sha512 => HMAC_SHA512,
        }
    }

    pub(super) fn from_oid(oid: ObjectIdentifier) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.oid() == oid)
    }

    pub(super) fn from_hmac_oid(oid: ObjectIdentifier) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.hmac_oid() == oid)
    }

    pub(super) fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    /// Octets of a digest.
    pub(super) fn octets(self) -> usize {
        self.digest().output_len()
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha384 => pbkdf2::PBKDF2_HMAC_SHA384,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// What a key of RFC 7292 is for; one password and salt give a different key for each (§B.3).
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Encryption = 1,
    InitialVector = 2,
    Mac = 3,
}

/// How a password becomes a key: the parts that a file tells.
pub(super) struct Stretch<'a> {
    pub hash: Hash,
    pub salt: &'a [u8],
    pub iterations: NonZeroU32,
}

impl Stretch<'_> {
    /// The derivation of RFC 7292 §B.2, whose password is UTF-16 with a terminator.
    pub(super) fn pkcs12(&self, purpose: Purpose, password: &Password, octets: usize) -> Zeroizing<Vec<u8>> {
        let block = self.hash.digest().block_len();
        let diversifier = vec![purpose as u8; block];
        let password = password.utf16_terminated();
        let mut input = Zeroizing::new(Vec::with_capacity(self.salt.len() + password.len() + 2 * block));
        input.extend(fill_blocks(self.salt, block));
        input.extend(fill_blocks(&password, block));
        let mut derived = Zeroizing::new(Vec::with_capacity(octets + self.hash.octets()));
        while derived.len() < octets {
            let chunk = self.iterate(&diversifier, &input);
            let addend: Vec<u8> = fill_blocks(chunk.as_ref(), block).collect();
            input.chunks_exact_mut(block).for_each(|chunk| add_with_one(chunk, &addend));
            derived.extend_from_slice(chunk.as_ref());
        }
        derived.truncate(octets);
        derived
    }

    /// PBKDF2, whose password is UTF-8.
    pub(super) fn pbkdf2(&self, password: &Password, octets: usize) -> Zeroizing<Vec<u8>> {
        let mut derived = Zeroizing::new(vec![0; octets]);
        pbkdf2::derive(self.hash.pbkdf2(), self.iterations, self.salt, password.utf8(), &mut derived);
        derived
    }

    fn iterate(&self, diversifier: &[u8], input: &[u8]) -> digest::Digest {
        let algorithm = self.hash.digest();
        let mut context = digest::Context::new(algorithm);
        context.update(diversifier);
        context.update(input);
        let first = context.finish();
        (1..self.iterations.get()).fold(first, |last, _| digest::digest(algorithm, last.as_ref()))
    }
}

/// The octets again and again until a multiple of `block` is full; nothing when there are none.
fn fill_blocks(octets: &[u8], block: usize) -> impl Iterator<Item = u8> {
    octets.iter().copied().cycle().take(octets.len().next_multiple_of(block))
}

/// `number + addend + 1` as big-endian numbers of the same length, without the carry.
fn add_with_one(number: &mut [u8], addend: &[u8]) {
    let mut carry = true;
    for (digit, addend) in number.iter_mut().zip(addend).rev() {
        let (sum, first) = digit.overflowing_add(*addend);
        let (sum, second) = sum.overflowing_add(u8::from(carry));
        (*digit, carry) = (sum, first || second);
    }
}

/// What is left of the iterations that a reader takes on.
pub(super) struct Budget {
    left: u32,
    limit: u32,
}

impl Budget {
    pub(super) fn new(limit: Limit) -> Self {
        Self { left: limit.iterations, limit: limit.iterations }
    }

    /// Takes the work of deriving `octets` out of it: the count of the file for each digest that is needed.
    pub(super) fn spend(
        &mut self,
        hash: Hash,
        iterations: u32,
        octets: usize,
    ) -> Result<NonZeroU32, ReadError> {
        let digests = u32::try_from(octets.div_ceil(hash.octets())).unwrap_or(u32::MAX);
        let cost = iterations.checked_mul(digests);
        let left = cost.and_then(|cost| self.left.checked_sub(cost));
        self.left = left.ok_or(ReadError::Iterations { limit: self.limit })?;
        NonZeroU32::new(iterations).ok_or(ReadError::Malformed("an iteration count"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::hex;

    const BUDGET: Limit = Limit { bytes: 0, entries: 0, iterations: 100 };

    fn check(purpose: Purpose, password: &str, salt: &[u8], iterations: u32, expected: &str) {
        let stretch = Stretch { hash: Hash::Sha1, salt, iterations: NonZeroU32::new(iterations).unwrap() };
        let password = Password::new(password.as_bytes()).unwrap();
        assert_eq!(hex(&stretch.pkcs12(purpose, &password, expected.len() / 2)), expected);
    }

    #[test]
    fn more_iterations_than_the_budget_are_refused_before_they_are_done() {
        let mut budget = Budget::new(BUDGET);
        assert_eq!(budget.spend(Hash::Sha1, 0, 20), Err(ReadError::Malformed("an iteration count")));
        assert_eq!(budget.spend(Hash::Sha1, 51, 24), Err(ReadError::Iterations { limit: 100 }));
        assert_eq!(budget.spend(Hash::Sha1, u32::MAX, 24), Err(ReadError::Iterations { limit: 100 }));
        assert!(budget.spend(Hash::Sha1, 50, 20).is_ok());
        assert!(budget.spend(Hash::Sha256, 50, 32).is_ok());
        assert_eq!(budget.spend(Hash::Sha512, 1, 1), Err(ReadError::Iterations { limit: 100 }));
    }

    /// Values that two other implementations agree about: OpenSSL's and Bouncy Castle's tests have them.
    #[test]
    fn the_derivation_gives_the_known_values() {
        let salt = [0x0a, 0x58, 0xcf, 0x64, 0x53, 0x0d, 0x82, 0x3f];
        check(Purpose::Encryption, "smeg", &salt, 1, "8aaae6297b6cb04642ab5b077851284eb7128f1a2a7fbca3");
        check(Purpose::InitialVector, "smeg", &salt, 1, "79993dfe048d3b76");
        let salt = [0x64, 0x2b, 0x99, 0xab, 0x44, 0xfb, 0x4b, 0x1f];
        check(Purpose::Encryption, "smeg", &salt, 1, "f3a95fec48d7711e985cfe67908c5ab79fa3d7c5caa5d966");
        let salt = [0x3d, 0x83, 0xc0, 0xe4, 0x54, 0x6a, 0xc1, 0x40];
        check(Purpose::Mac, "smeg", &salt, 1, "8d967d88f6caa9d714800ab3d48051d63f73a312");
        let salt = [0x05, 0xde, 0xc9, 0x59, 0xac, 0xff, 0x72, 0xf7];
        check(Purpose::Encryption, "queeg", &salt, 1000, "ed2034e36328830ff09df1e1a07dd357185dac0d4f9eb3d4");
    }
}

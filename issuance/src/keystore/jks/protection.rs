//! Java's own encryption of keys (object identifier 1.3.6.1.4.1.42.2.17.1.1): the key is added to a stream of SHA-1
//! digests, each over the password and the one before it, the first over a salt. Salt, text and the digest of password
//! and key follow one another.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN};
use der::asn1::{Any, ObjectIdentifier, OctetStringRef};
use der::{Decode as _, Encode as _, Sequence};
use spki::AlgorithmIdentifierOwned;
use zeroize::Zeroizing;

use crate::keystore::{Password, ReadError, WriteError, random};

const JAVA_KEY_PROTECTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.42.2.17.1.1");

/// `EncryptedPrivateKeyInfo` (RFC 5208 §6).
#[derive(Sequence)]
struct EncryptedKey<'a> {
    algorithm: AlgorithmIdentifierOwned,
    content: &'a OctetStringRef,
}

/// Encrypts a PKCS#8 key.
pub(super) fn protect(key: &[u8], password: &Password) -> Result<Vec<u8>, WriteError> {
    let salt = random::<SHA1_OUTPUT_LEN>()?;
    let password = password.utf16();
    let mut content = salt.to_vec();
    content.extend(stream(key, &salt, &password));
    content.extend_from_slice(digest(&password, key).as_ref());
    let too_long = |_| WriteError::TooLong("an encrypted key");
    let algorithm = AlgorithmIdentifierOwned { oid: JAVA_KEY_PROTECTION, parameters: Some(Any::null()) };
    let content = OctetStringRef::new(&content).map_err(too_long)?;
    EncryptedKey { algorithm, content }.to_der().map_err(too_long)
}

/// Decrypts to PKCS#8.
pub(super) fn unprotect(der: &[u8], password: &Password) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    let encrypted = EncryptedKey::from_der(der).map_err(|_| ReadError::Malformed("an encrypted key"))?;
    let oid = encrypted.algorithm.oid;
    if oid != JAVA_KEY_PROTECTION {
        return Err(ReadError::Unsupported { part: "encryption", oid });
    }
    let failed = ReadError::Decrypt("a private key");
    let Some((salt, rest)) = encrypted.content.as_bytes().split_first_chunk::<SHA1_OUTPUT_LEN>() else {
        return Err(failed);
    };
    let Some((text, check)) = rest.split_last_chunk::<SHA1_OUTPUT_LEN>() else {
        return Err(failed);
    };
    let password = password.utf16();
    let mut key = Zeroizing::new(Vec::with_capacity(text.len()));
    key.extend(stream(text, salt, &password));
    match verify_slices_are_equal(digest(&password, &key).as_ref(), check) {
        Ok(()) => Ok(key),
        Err(_) => Err(failed),
    }
}

/// The text with the stream added: encrypts and decrypts.
fn stream(text: &[u8], salt: &[u8; SHA1_OUTPUT_LEN], password: &[u8]) -> impl Iterator<Item = u8> {
    let first = digest(password, salt);
    let digests = std::iter::successors(Some(first), |last| Some(digest(password, last.as_ref())));
    let blocks = text.chunks(SHA1_OUTPUT_LEN).zip(digests);
    blocks.flat_map(|(block, digest)| {
        let mut octets = [0; SHA1_OUTPUT_LEN];
        let sums = block.iter().zip(digest.as_ref()).map(|(text, key)| text ^ key);
        octets.iter_mut().zip(sums).for_each(|(octet, sum)| *octet = sum);
        octets.into_iter().take(block.len())
    })
}

fn digest(password: &[u8], octets: &[u8]) -> Digest {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(password);
    context.update(octets);
    context.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_wrong_password_a_changed_text_and_a_cut_one_are_refused() {
        let key: Vec<u8> = (0..=99).collect();
        let protected = protect(&key, &password("right")).unwrap();
        let refused = |der: &[u8], password: &Password| unprotect(der, password).unwrap_err();
        let failed = ReadError::Decrypt("a private key");
        assert_eq!(refused(&protected, &password("wrong")), failed);
        let mut changed = protected.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(refused(&changed, &password("right")), failed);
        for length in 0..protected.len() {
            let cut = protected.get(..length).unwrap();
            assert_eq!(refused(cut, &password("right")), ReadError::Malformed("an encrypted key"));
        }
        let short = [0x30, 0x0d, 0x30, 0x09, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0, 4, 0];
        let oid = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
        let unsupported = ReadError::Unsupported { part: "encryption", oid };
        assert_eq!(refused(&short, &password("right")), unsupported);
    }

    #[test]
    fn keys_of_any_length_survive() {
        for length in [0, 1, 19, 20, 21, 40, 1200] {
            let key = vec![0xa5; length];
            let protected = protect(&key, &password("right")).unwrap();
            assert_eq!(*unprotect(&protected, &password("right")).unwrap(), key);
        }
    }
}

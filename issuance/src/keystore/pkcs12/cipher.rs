//! Encryption under a password: two old schemes (RFC 7292 §C) and PBES2 with AES (RFC 8018 §6.2).

use aws_lc_rs::cipher::{
    AES_256, AES_256_KEY_LEN, AES_CBC_IV_LEN, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
    PaddedBlockEncryptingKey, UnboundCipherKey,
};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use der::asn1::{Any, OctetString};
use der::{DecodeValue, EncodeValue, Sequence, Tagged};
use des::TdesEde3;
use rc2::Rc2;
use spki::AlgorithmIdentifierOwned;
use zeroize::Zeroizing;

use super::asn1::{
    AES_256_CBC, DerivedKeyParameters, HMAC_SHA1, PBES2, PBKDF2, PbeParameters, Pbkdf2Parameters, RC2_40_CBC,
    TRIPLE_DES_CBC, with_null,
};
use super::derivation::{Budget, Hash, Purpose, Stretch};
use super::{ITERATIONS, too_long};
use crate::keystore::{Password, ReadError, SALT_OCTETS, WriteError, random};

/// How a part of a file is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cipher {
    /// RC2 with 40 bits of key, from SHA-1.
    Rc2,
    /// Triple DES with three keys, from SHA-1.
    TripleDes,
    /// AES-256 with a key from PBKDF2 over HMAC-SHA-256.
    Aes256,
}

/// Octets of an initial vector of the two old ciphers, whose block is that long.
const OLD_IV_OCTETS: usize = 8;

impl Cipher {
    /// Encrypts with a fresh salt; gives the algorithm to name in the file, and the ciphertext.
    pub(super) fn encrypt(
        self,
        plain: &[u8],
        password: &Password,
    ) -> Result<(AlgorithmIdentifierOwned, Vec<u8>), WriteError> {
        let salt = random::<SALT_OCTETS>()?;
        let ciphertext = match self.old_key_octets() {
            Some(key_octets) => {
                let stretch = Stretch { hash: Hash::Sha1, salt: &salt, iterations: ITERATIONS };
                self.encrypt_old(plain, &stretch, key_octets, password)?
            }
            None => return encrypt_aes(plain, &salt, password),
        };
        let parameters = PbeParameters { salt: octets(&salt)?, iterations: ITERATIONS.get() };
        let oid = if self == Self::Rc2 { RC2_40_CBC } else { TRIPLE_DES_CBC };
        Ok((AlgorithmIdentifierOwned { oid, parameters: Some(any(&parameters)?) }, ciphertext))
    }

    /// Octets of the key of an old cipher.
    fn old_key_octets(self) -> Option<usize> {
        match self {
            Self::Rc2 => Some(5),
            Self::TripleDes => Some(24),
            Self::Aes256 => None,
        }
    }

    fn encrypt_old(
        self,
        plain: &[u8],
        stretch: &Stretch<'_>,
        key_octets: usize,
        password: &Password,
    ) -> Result<Vec<u8>, WriteError> {
        let (key, iv) = old_key_and_iv(stretch, key_octets, password);
        match self {
            Self::Rc2 => cbc_encrypt::<cbc::Encryptor<Rc2>>(&key, &iv, plain),
            _ => cbc_encrypt::<cbc::Encryptor<TdesEde3>>(&key, &iv, plain),
        }
        .ok_or(WriteError::Library)
    }

    fn decrypt_old(
        self,
        ciphertext: &[u8],
        stretch: &Stretch<'_>,
        key_octets: usize,
        password: &Password,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let (key, iv) = old_key_and_iv(stretch, key_octets, password);
        match self {
            Self::Rc2 => cbc_decrypt::<cbc::Decryptor<Rc2>>(&key, &iv, ciphertext),
            _ => cbc_decrypt::<cbc::Decryptor<TdesEde3>>(&key, &iv, ciphertext),
        }
    }
}

/// Key and initial vector of an old cipher.
fn old_key_and_iv(
    stretch: &Stretch<'_>,
    key_octets: usize,
    password: &Password,
) -> (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>) {
    let key = stretch.pkcs12(Purpose::Encryption, password, key_octets);
    (key, stretch.pkcs12(Purpose::InitialVector, password, OLD_IV_OCTETS))
}

/// Decrypts what is encrypted in one of our three ways; `part` names it in errors.
pub(super) fn decrypt(
    algorithm: &AlgorithmIdentifierOwned,
    ciphertext: &[u8],
    password: &Password,
    budget: &mut Budget,
    part: &'static str,
) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    let cipher = match algorithm.oid {
        RC2_40_CBC => Cipher::Rc2,
        TRIPLE_DES_CBC => Cipher::TripleDes,
        PBES2 => return decrypt_aes(algorithm, ciphertext, password, budget, part),
        oid => return Err(ReadError::Unsupported { part: "encryption", oid }),
    };
    let parameters: PbeParameters = parameters(algorithm)?;
    let key_octets = cipher.old_key_octets().unwrap_or_default();
    let iterations = budget.spend(Hash::Sha1, parameters.iterations, key_octets + OLD_IV_OCTETS)?;
    let stretch = Stretch { hash: Hash::Sha1, salt: parameters.salt.as_bytes(), iterations };
    cipher.decrypt_old(ciphertext, &stretch, key_octets, password).ok_or(ReadError::Decrypt(part))
}

/// The parameters of an algorithm, which must be there.
pub(super) fn parameters<'a, T>(algorithm: &'a AlgorithmIdentifierOwned) -> Result<T, ReadError>
where
    T: Sequence<'a> + DecodeValue<'a> + 'a,
{
    let malformed = ReadError::Malformed("the parameters of an algorithm");
    let Some(parameters) = algorithm.parameters.as_ref() else {
        return Err(malformed);
    };
    parameters.decode_as().map_err(|_| malformed)
}

/// The parameters of an algorithm as they go into its identifier.
pub(super) fn any<T: Tagged + EncodeValue>(parameters: &T) -> Result<Any, WriteError> {
    Any::encode_from(parameters).map_err(too_long("an algorithm"))
}

pub(super) fn octets(octets: &[u8]) -> Result<OctetString, WriteError> {
    OctetString::new(octets).map_err(too_long("an octet string"))
}

fn encrypt_aes(
    plain: &[u8],
    salt: &[u8],
    password: &Password,
) -> Result<(AlgorithmIdentifierOwned, Vec<u8>), WriteError> {
    let iv = random::<AES_CBC_IV_LEN>()?;
    let stretch = Stretch { hash: Hash::Sha256, salt, iterations: ITERATIONS };
    let key = stretch.pbkdf2(password, AES_256_KEY_LEN);
    let mut text = Zeroizing::new(Vec::with_capacity(plain.len() + AES_CBC_IV_LEN));
    text.extend_from_slice(plain);
    UnboundCipherKey::new(&AES_256, &key)
        .and_then(PaddedBlockEncryptingKey::cbc_pkcs7)
        .and_then(|key| key.less_safe_encrypt(&mut *text, EncryptionContext::Iv128(iv.into())))
        .map_err(|_| WriteError::Library)?;
    let derivation = Pbkdf2Parameters {
        salt: octets(salt)?,
        iterations: ITERATIONS.get(),
        key_octets: None,
        function: Some(with_null(Hash::Sha256.hmac_oid())),
    };
    let parameters = DerivedKeyParameters {
        derivation: AlgorithmIdentifierOwned { oid: PBKDF2, parameters: Some(any(&derivation)?) },
        scheme: AlgorithmIdentifierOwned { oid: AES_256_CBC, parameters: Some(any(&octets(&iv)?)?) },
    };
    let algorithm = AlgorithmIdentifierOwned { oid: PBES2, parameters: Some(any(&parameters)?) };
    Ok((algorithm, text.to_vec()))
}

fn decrypt_aes(
    algorithm: &AlgorithmIdentifierOwned,
    ciphertext: &[u8],
    password: &Password,
    budget: &mut Budget,
    part: &'static str,
) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    let DerivedKeyParameters { derivation, scheme } = parameters(algorithm)?;
    if scheme.oid != AES_256_CBC {
        return Err(ReadError::Unsupported { part: "encryption", oid: scheme.oid });
    }
    let derivation = pbkdf2(&derivation)?;
    let (hash, length) = (derivation.hash, derivation.parameters.key_octets);
    if length.is_some_and(|length| usize::try_from(length) != Ok(AES_256_KEY_LEN)) {
        return Err(ReadError::Malformed("the key length of AES-256"));
    }
    let iterations = budget.spend(hash, derivation.parameters.iterations, AES_256_KEY_LEN)?;
    let stretch = Stretch { hash, salt: derivation.parameters.salt.as_bytes(), iterations };
    let key = stretch.pbkdf2(password, AES_256_KEY_LEN);
    let iv: Option<OctetString> = scheme.parameters.and_then(|iv| iv.decode_as().ok());
    let iv: Option<[u8; AES_CBC_IV_LEN]> = iv.and_then(|iv| iv.as_bytes().try_into().ok());
    let iv = iv.ok_or(ReadError::Malformed("an initial vector"))?;
    let mut text = Zeroizing::new(ciphertext.to_vec());
    let length = UnboundCipherKey::new(&AES_256, &key)
        .and_then(PaddedBlockDecryptingKey::cbc_pkcs7)
        .and_then(|key| key.decrypt(&mut text, DecryptionContext::Iv128(iv.into())).map(|plain| plain.len()))
        .map_err(|_| ReadError::Decrypt(part))?;
    text.truncate(length);
    Ok(text)
}

/// PBKDF2 as a file asks for it.
pub(super) struct Pbkdf2 {
    pub hash: Hash,
    pub parameters: Pbkdf2Parameters,
}

/// Reads a key derivation, which must be PBKDF2 over a hash function that we have.
pub(super) fn pbkdf2(algorithm: &AlgorithmIdentifierOwned) -> Result<Pbkdf2, ReadError> {
    if algorithm.oid != PBKDF2 {
        return Err(ReadError::Unsupported { part: "key derivation", oid: algorithm.oid });
    }
    let parameters: Pbkdf2Parameters = parameters(algorithm)?;
    let oid = parameters.function.as_ref().map_or(HMAC_SHA1, |function| function.oid);
    let hash = Hash::from_hmac_oid(oid).ok_or(ReadError::Unsupported { part: "function of PBKDF2", oid })?;
    Ok(Pbkdf2 { hash, parameters })
}

fn cbc_encrypt<C: KeyIvInit + BlockModeEncrypt>(key: &[u8], iv: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    let mut text = Zeroizing::new(vec![0; plain.len() + OLD_IV_OCTETS]);
    text.get_mut(..plain.len())?.copy_from_slice(plain);
    let cipher = C::new_from_slices(key, iv).ok()?;
    cipher.encrypt_padded::<Pkcs7>(&mut text, plain.len()).ok().map(<[u8]>::to_vec)
}

fn cbc_decrypt<C: KeyIvInit + BlockModeDecrypt>(
    key: &[u8],
    iv: &[u8],
    ciphertext: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(ciphertext.to_vec());
    let cipher = C::new_from_slices(key, iv).ok()?;
    let length = cipher.decrypt_padded::<Pkcs7>(&mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keystore::Limit;

    const CIPHERS: [Cipher; 3] = [Cipher::Rc2, Cipher::TripleDes, Cipher::Aes256];

    fn password(text: &str) -> Password {
        Password::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn texts_of_any_length_survive_encryption_and_no_two_ciphertexts_are_equal() {
        for cipher in CIPHERS {
            for length in [0, 1, 7, 8, 15, 16, 17, 4000] {
                let plain = vec![0x5a; length];
                let (algorithm, text) = cipher.encrypt(&plain, &password("right")).unwrap();
                assert_ne!(cipher.encrypt(&plain, &password("right")).unwrap().1, text);
                let budget = &mut Budget::new(Limit::SECRET);
                let again = decrypt(&algorithm, &text, &password("right"), budget, "text").unwrap();
                assert_eq!(*again, plain, "{cipher:?} {length}");
            }
        }
    }

    #[test]
    fn cut_texts_and_foreign_algorithms_are_refused() {
        for cipher in CIPHERS {
            let (algorithm, text) = cipher.encrypt(b"text", &password("right")).unwrap();
            for length in 0..text.len() {
                let cut = text.get(..length).unwrap();
                let budget = &mut Budget::new(Limit::SECRET);
                let error = decrypt(&algorithm, cut, &password("right"), budget, "text").unwrap_err();
                assert_eq!(error, ReadError::Decrypt("text"), "{cipher:?} {length}");
            }
            let bare = AlgorithmIdentifierOwned { oid: algorithm.oid, parameters: None };
            let budget = &mut Budget::new(Limit::SECRET);
            let error = decrypt(&bare, &text, &password("right"), budget, "text").unwrap_err();
            assert_eq!(error, ReadError::Malformed("the parameters of an algorithm"));
        }
        let foreign = with_null(AES_256_CBC);
        let error =
            decrypt(&foreign, b"", &password("p"), &mut Budget::new(Limit::SECRET), "text").unwrap_err();
        assert_eq!(error, ReadError::Unsupported { part: "encryption", oid: AES_256_CBC });
    }
}

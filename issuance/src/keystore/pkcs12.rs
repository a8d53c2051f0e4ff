//! PKCS#12 files (PFX): key stores and trust stores in the four profiles of the API (RFC 7292, RFC 9579).
//!
//! A file has two parts: the certificates, encrypted, and the private key, encrypted by itself. A check under the
//! same password covers both. What is written is what OpenSSL, Go and Java write for the same algorithms; reading is
//! strict DER and knows these algorithms alone.

mod asn1;
mod cipher;
mod derivation;
mod mac;
mod reader;

use std::num::NonZeroU32;
use std::str::FromStr;

use aws_lc_rs::digest;
use der::asn1::{Any, AnyRef, ObjectIdentifier, OctetStringRef, SetOfVec};
use der::{Encode, Tag};
use spki::AlgorithmIdentifierOwned;
use x509_cert::attr::Attribute;

use self::asn1::{
    ANY_EXTENDED_KEY_USAGE, CERTIFICATE_BAG, CertificateBag, ContentInfo, DATA, ENCRYPTED_DATA,
    EncryptedContentInfo, EncryptedData, EncryptedKey, FRIENDLY_NAME, LOCAL_KEY_ID, PFX_VERSION, Pfx,
    SHROUDED_KEY_BAG, SafeBag, TRUSTED_KEY_USAGE, X509_CERTIFICATE,
};
use self::cipher::Cipher;
use self::derivation::Hash;
use self::mac::Mac;
use super::{KeyEntry, Password, WriteError, trusted};
use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::secret::SecretBytes;

pub use self::reader::{CertificateEntry, Contents, KeyBag, read};

/// Algorithms of a file (`spec.keystores.pkcs12.profile`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Profile {
    /// `LegacyRC2`, the API's default: certificates under RC2 with 40 bits, the key under triple DES, a SHA-1 MAC.
    /// Everything reads it, and nobody is kept out who really wants in.
    #[default]
    LegacyRc2,
    /// `LegacyDES`: both under triple DES, a SHA-1 MAC. Read by OpenSSL 3 without its legacy provider.
    LegacyDes,
    /// `Modern2023`: both under AES-256-CBC (PBES2), a SHA-256 MAC. OpenSSL 1.1.1, Java 12 and later.
    Modern2023,
    /// `Modern2026`: the same with PBMAC1 (RFC 9579). OpenSSL 3.4, Java 26 and later.
    Modern2026,
}

/// A profile of another name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("PKCS#12 profile {0:?} is not known; use LegacyRC2, LegacyDES, Modern2023 or Modern2026")]
pub struct UnknownProfile(pub String);

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, UnknownProfile> {
        match name {
            "LegacyRC2" => Ok(Self::LegacyRc2),
            "LegacyDES" => Ok(Self::LegacyDes),
            "Modern2023" => Ok(Self::Modern2023),
            "Modern2026" => Ok(Self::Modern2026),
            _ => Err(UnknownProfile(name.to_owned())),
        }
    }
}

impl Profile {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LegacyRc2 => "LegacyRC2",
            Self::LegacyDes => "LegacyDES",
            Self::Modern2023 => "Modern2023",
            Self::Modern2026 => "Modern2026",
        }
    }

    fn certificate_cipher(self) -> Cipher {
        match self {
            Self::LegacyRc2 => Cipher::Rc2,
            Self::LegacyDes => Cipher::TripleDes,
            Self::Modern2023 | Self::Modern2026 => Cipher::Aes256,
        }
    }

    fn key_cipher(self) -> Cipher {
        match self {
            Self::LegacyRc2 | Self::LegacyDes => Cipher::TripleDes,
            Self::Modern2023 | Self::Modern2026 => Cipher::Aes256,
        }
    }

    fn mac(self) -> Mac {
        match self {
            Self::LegacyRc2 | Self::LegacyDes => Mac::Hmac(Hash::Sha1),
            Self::Modern2023 => Mac::Hmac(Hash::Sha256),
            Self::Modern2026 => Mac::Pbmac1,
        }
    }
}

/// Iterations of each derivation: Java's default since 2021, so no reader refuses it. More would not protect the key,
/// which lies beside the file in the same Secret, but would cost writer and every reader at each start.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(10_000).expect("ten thousand is not zero");

/// The friendly name of the key, which Java shows as its alias. Files without one show as `1` there, and the peer
/// writes none, so this is the name that programs already ask for.
pub const KEY_NAME: &str = "1";

/// Writes the key, its certificate, the rest of the chain and the CAs, each certificate once. The key and its
/// certificate are tied by a localKeyId, the SHA-1 digest of the certificate as OpenSSL computes it.
///
/// # Errors
/// When key and certificate do not belong together, or the library fails.
pub fn key_store(
    profile: Profile,
    entry: &KeyEntry<'_>,
    password: &Password,
) -> Result<SecretBytes, WriteError> {
    entry.check()?;
    let leaf = entry.chain.leaf();
    let own = key_attributes(leaf)?;
    let above = entry.chain.certificates().iter().skip(1).chain(entry.ca.certificates());
    let mut certificates = vec![certificate_bag(leaf, Some(own.clone()))?];
    let mut written = vec![leaf];
    for certificate in above {
        if !written.contains(&certificate) {
            certificates.push(certificate_bag(certificate, None)?);
            written.push(certificate);
        }
    }
    let (algorithm, ciphertext) =
        profile.key_cipher().encrypt(entry.key.to_pkcs8_der().expose(), password)?;
    let content = octet_string(&ciphertext)?;
    let key = to_der(&EncryptedKey { algorithm, content })?;
    let key = safe_bag(SHROUDED_KEY_BAG, &key, Some(own))?;
    let safes = [encrypted_safe(profile, &certificates, password)?, plain_safe(&[key])?];
    seal(profile, &safes, password)
}

/// Writes certificates to trust under the names `ca`, `ca-1` and so on, with the mark that Java wants: without it
/// keytool lists nothing.
///
/// # Errors
/// When there is no certificate, or the library fails.
pub fn trust_store(profile: Profile, ca: &Bundle, password: &Password) -> Result<SecretBytes, WriteError> {
    if ca.is_empty() {
        return Err(WriteError::NoCertificate);
    }
    let bags: Result<Vec<_>, _> = trusted(ca, "")
        .map(|(alias, certificate)| certificate_bag(certificate, Some(trusted_attributes(&alias)?)))
        .collect();
    seal(profile, &[encrypted_safe(profile, &bags?, password)?], password)
}

type Attributes = SetOfVec<Attribute>;

fn key_attributes(leaf: &Certificate) -> Result<Attributes, WriteError> {
    let id = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, leaf.der());
    let id = Any::new(Tag::OctetString, id.as_ref()).map_err(too_long("a key identifier"))?;
    attributes(vec![attribute(LOCAL_KEY_ID, id)?, friendly_name(KEY_NAME)?])
}

fn trusted_attributes(name: &str) -> Result<Attributes, WriteError> {
    let usage = attribute(TRUSTED_KEY_USAGE, ANY_EXTENDED_KEY_USAGE.into())?;
    attributes(vec![usage, friendly_name(name)?])
}

fn friendly_name(name: &str) -> Result<Attribute, WriteError> {
    let utf16: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
    attribute(FRIENDLY_NAME, Any::new(Tag::BmpString, utf16).map_err(too_long("a name"))?)
}

fn attribute(oid: ObjectIdentifier, value: Any) -> Result<Attribute, WriteError> {
    let values = SetOfVec::try_from(vec![value]).map_err(too_long("an attribute"))?;
    Ok(Attribute { oid, values })
}

fn attributes(list: Vec<Attribute>) -> Result<Attributes, WriteError> {
    SetOfVec::try_from(list).map_err(too_long("an attribute"))
}

fn certificate_bag(certificate: &Certificate, attributes: Option<Attributes>) -> Result<Vec<u8>, WriteError> {
    let value = octet_string(certificate.der())?;
    let bag = to_der(&CertificateBag { id: X509_CERTIFICATE, value })?;
    safe_bag(CERTIFICATE_BAG, &bag, attributes)
}

fn safe_bag(
    id: ObjectIdentifier,
    value: &[u8],
    attributes: Option<Attributes>,
) -> Result<Vec<u8>, WriteError> {
    let value = AnyRef::try_from(value).map_err(too_long("an entry"))?;
    to_der(&SafeBag { id, value, attributes })
}

/// `SafeContents`: a SEQUENCE of bags that are encoded already.
fn safe_contents(bags: &[Vec<u8>]) -> Result<Vec<u8>, WriteError> {
    let content = Any::new(Tag::Sequence, bags.concat()).map_err(too_long("a list of entries"))?;
    to_der(&content)
}

fn encrypted_safe(profile: Profile, bags: &[Vec<u8>], password: &Password) -> Result<Vec<u8>, WriteError> {
    let (algorithm, ciphertext) = profile.certificate_cipher().encrypt(&safe_contents(bags)?, password)?;
    encrypted_content(algorithm, &ciphertext)
}

fn encrypted_content(algorithm: AlgorithmIdentifierOwned, ciphertext: &[u8]) -> Result<Vec<u8>, WriteError> {
    let content = octet_string(ciphertext)?;
    let content = EncryptedContentInfo { content_type: DATA, algorithm, content };
    content_info(ENCRYPTED_DATA, &to_der(&EncryptedData { version: 0, content })?)
}

/// A part that is not encrypted as a whole: the key in it is.
fn plain_safe(bags: &[Vec<u8>]) -> Result<Vec<u8>, WriteError> {
    let contents = safe_contents(bags)?;
    content_info(DATA, &to_der(&octet_string(&contents)?)?)
}

fn content_info(content_type: ObjectIdentifier, content: &[u8]) -> Result<Vec<u8>, WriteError> {
    let content = AnyRef::try_from(content).map_err(too_long("a part"))?;
    to_der(&ContentInfo { content_type, content })
}

/// Puts the parts into the outer frame, with the check over them.
fn seal(profile: Profile, safes: &[Vec<u8>], password: &Password) -> Result<SecretBytes, WriteError> {
    let authenticated = safe_contents(safes)?;
    let mac = Some(profile.mac().compute(&authenticated, password)?);
    let content = to_der(&octet_string(&authenticated)?)?;
    let content = AnyRef::try_from(content.as_slice()).map_err(too_long("the file"))?;
    let auth_safe = ContentInfo { content_type: DATA, content };
    to_der(&Pfx { version: PFX_VERSION, auth_safe, mac }).map(SecretBytes::new)
}

fn octet_string(octets: &[u8]) -> Result<&OctetStringRef, WriteError> {
    OctetStringRef::new(octets).map_err(too_long("an octet string"))
}

fn to_der<T: Encode>(value: &T) -> Result<Vec<u8>, WriteError> {
    value.to_der().map_err(too_long("a part"))
}

/// The one way in which encoding fails: lengths of DER end at 256 MiB here.
fn too_long(part: &'static str) -> impl FnOnce(der::Error) -> WriteError {
    move |_| WriteError::TooLong(part)
}

#[cfg(test)]
mod tests;

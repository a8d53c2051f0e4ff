//! Reading PKCS#12 files: total, and bounded in size, entries and iterations.

use der::asn1::{Any, OctetStringRef};
use der::{Decode as _, Tagged as _};
use x509_cert::attr::Attribute;
use zeroize::Zeroizing;

use super::asn1::{
    CERTIFICATE_BAG, CertificateBag, ContentInfo, DATA, ENCRYPTED_DATA, EncryptedData, EncryptedKey,
    FRIENDLY_NAME, LOCAL_KEY_ID, PFX_VERSION, Pfx, SHROUDED_KEY_BAG, SafeBag, TRUSTED_KEY_USAGE,
    X509_CERTIFICATE,
};
use super::cipher;
use super::derivation::Budget;
use super::mac;
use crate::certificate::Certificate;
use crate::key::PrivateKey;
use crate::keystore::{Limit, Password, ReadError};

/// What a file holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// Private keys in their order.
    pub keys: Vec<KeyBag>,
    /// Certificates in their order.
    pub certificates: Vec<CertificateEntry>,
}

/// A private key.
#[derive(Debug)]
pub struct KeyBag {
    /// The name that Java calls alias.
    pub friendly_name: Option<String>,
    /// What the certificate of this key has too.
    pub local_key_id: Option<Vec<u8>>,
    /// The key.
    pub key: PrivateKey,
}

/// A certificate.
#[derive(Debug)]
pub struct CertificateEntry {
    /// The name that Java calls alias.
    pub friendly_name: Option<String>,
    /// What the key of this certificate has too.
    pub local_key_id: Option<Vec<u8>>,
    /// Whether Java would trust it.
    pub is_trusted: bool,
    /// The certificate.
    pub certificate: Certificate,
}

/// Reads a file. The check over it comes first, so nothing else is looked at in a file of somebody who does not know
/// the password.
///
/// # Errors
/// When a limit is exceeded, the file is not DER of the structures that we know, an algorithm is not one of the four
/// profiles' (SHA-384 and SHA-512 are read too), the password is wrong, or an entry is not usable.
pub fn read(file: &[u8], password: &Password, limit: Limit) -> Result<Contents, ReadError> {
    limit.check_size(file)?;
    let pfx = Pfx::from_der(file).map_err(|_| ReadError::Malformed("the outer frame"))?;
    if pfx.version != PFX_VERSION {
        return Err(ReadError::Malformed("the version, which must be 3,"));
    }
    let authenticated = data(&pfx.auth_safe)?;
    let mac = pfx.mac.ok_or(ReadError::Malformed("the check over the file, which is missing,"))?;
    let mut budget = Budget::new(limit);
    mac::verify(&mac, authenticated, password, &mut budget)?;
    Reader { password, limit, budget, contents: Contents::default() }.authenticated(authenticated)
}

/// The content behind a right check, as the tests of damaged content want it.
#[cfg(test)]
pub(super) fn read_authenticated(
    content: &[u8],
    password: &Password,
    limit: Limit,
) -> Result<Contents, ReadError> {
    Reader { password, limit, budget: Budget::new(limit), contents: Contents::default() }
        .authenticated(content)
}

struct Reader<'a> {
    password: &'a Password,
    limit: Limit,
    budget: Budget,
    contents: Contents,
}

impl Reader<'_> {
    fn authenticated(mut self, der: &[u8]) -> Result<Contents, ReadError> {
        let parts = Vec::<ContentInfo<'_>>::from_der(der);
        for part in parts.map_err(|_| ReadError::Malformed("the list of parts"))? {
            match part.content_type {
                DATA => self.bags(data(&part)?)?,
                ENCRYPTED_DATA => {
                    let encrypted: Result<EncryptedData<'_>, _> = part.content.decode_as();
                    let encrypted = encrypted.map_err(|_| ReadError::Malformed("an encrypted part"))?;
                    let plain = self.decrypt(&encrypted)?;
                    self.bags(&plain)?;
                }
                oid => return Err(ReadError::Unsupported { part: "a part", oid }),
            }
        }
        Ok(self.contents)
    }

    fn decrypt(&mut self, encrypted: &EncryptedData<'_>) -> Result<Zeroizing<Vec<u8>>, ReadError> {
        let content = &encrypted.content;
        if content.content_type != DATA {
            return Err(ReadError::Unsupported { part: "an encrypted part", oid: content.content_type });
        }
        let ciphertext = content.content.as_bytes();
        cipher::decrypt(&content.algorithm, ciphertext, self.password, &mut self.budget, "a list of entries")
    }

    fn bags(&mut self, der: &[u8]) -> Result<(), ReadError> {
        let bags = Vec::<SafeBag<'_>>::from_der(der);
        for bag in bags.map_err(|_| ReadError::Malformed("a list of entries"))? {
            if self.contents.keys.len() + self.contents.certificates.len() >= self.limit.entries {
                return Err(ReadError::TooMany { limit: self.limit.entries });
            }
            match bag.id {
                SHROUDED_KEY_BAG => self.key(&bag)?,
                CERTIFICATE_BAG => self.certificate(&bag)?,
                oid => return Err(ReadError::Unsupported { part: "an entry", oid }),
            }
        }
        Ok(())
    }

    fn key(&mut self, bag: &SafeBag<'_>) -> Result<(), ReadError> {
        let key: Result<EncryptedKey<'_>, _> = bag.value.decode_as();
        let key = key.map_err(|_| ReadError::Malformed("an encrypted key"))?;
        let ciphertext = key.content.as_bytes();
        let der =
            cipher::decrypt(&key.algorithm, ciphertext, self.password, &mut self.budget, "a private key")?;
        self.contents.keys.push(KeyBag {
            friendly_name: friendly_name(bag),
            local_key_id: local_key_id(bag),
            key: PrivateKey::from_pkcs8_der(&der)?,
        });
        Ok(())
    }

    fn certificate(&mut self, bag: &SafeBag<'_>) -> Result<(), ReadError> {
        let value: Result<CertificateBag<'_>, _> = bag.value.decode_as();
        let value = value.map_err(|_| ReadError::Malformed("a certificate's frame"))?;
        if value.id != X509_CERTIFICATE {
            return Err(ReadError::Unsupported { part: "a certificate", oid: value.id });
        }
        self.contents.certificates.push(CertificateEntry {
            friendly_name: friendly_name(bag),
            local_key_id: local_key_id(bag),
            is_trusted: attribute(bag, TRUSTED_KEY_USAGE).is_some(),
            certificate: Certificate::from_der(value.value.as_bytes())?,
        });
        Ok(())
    }
}

/// The octets in a part that is not encrypted.
fn data<'a>(part: &ContentInfo<'a>) -> Result<&'a [u8], ReadError> {
    if part.content_type != DATA {
        return Err(ReadError::Unsupported { part: "a part", oid: part.content_type });
    }
    let content: Result<&OctetStringRef, _> = part.content.decode_as();
    content.map(OctetStringRef::as_bytes).map_err(|_| ReadError::Malformed("a part"))
}

/// First value of an attribute.
fn attribute<'a>(bag: &'a SafeBag<'_>, oid: der::asn1::ObjectIdentifier) -> Option<&'a Any> {
    let attributes: &[Attribute] = bag.attributes.as_ref()?.as_slice();
    attributes.iter().find(|attribute| attribute.oid == oid)?.values.get(0)
}

/// A name that is not UTF-16 is no reason to lose a key, so it counts as none.
fn friendly_name(bag: &SafeBag<'_>) -> Option<String> {
    let value = attribute(bag, FRIENDLY_NAME).filter(|value| value.tag() == der::Tag::BmpString)?;
    let (pairs, []) = value.value().as_chunks::<2>() else {
        return None;
    };
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    String::from_utf16(&units).ok()
}

fn local_key_id(bag: &SafeBag<'_>) -> Option<Vec<u8>> {
    let value = attribute(bag, LOCAL_KEY_ID).filter(|value| value.tag() == der::Tag::OctetString)?;
    Some(value.value().to_vec())
}

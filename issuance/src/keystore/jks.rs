//! JKS, the keystore format of Java before version 9. No standard describes it: this is what `keytool` writes.
//!
//! Its cryptography is broken (a key stream and a check from SHA-1, one iteration): whoever has the file and guesses
//! the password has the key. It is written for programs that read nothing else.
//!
//! All numbers are big-endian, all texts have two octets of length and are in Java's modified UTF-8:
//!
//! | part | content |
//! |---|---|
//! | head | `feedfeed`, version 2, number of entries, each in four octets |
//! | key entry | tag 1, alias, eight octets of milliseconds since 1970, encrypted key, number of certificates, these |
//! | trusted entry | tag 2, alias, milliseconds, one certificate |
//! | certificate | text `X.509`, four octets of length, DER |
//! | tail | SHA-1 over the password, the words `Mighty Aphrodite` and all that is before |

mod protection;
mod reader;
mod text;

use aws_lc_rs::digest::{Context, Digest, SHA1_FOR_LEGACY_USE_ONLY};
use jiff::Timestamp;

use super::{KeyEntry, Password, WriteError, trusted};
use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::secret::SecretBytes;

pub use self::reader::{Entry, read};

/// Alias of the key when the user names none.
pub const DEFAULT_ALIAS: &str = "certificate";

/// Longest alias in bytes of UTF-8. The format ends at 65535 octets; nobody types that.
pub const MAX_ALIAS_BYTES: usize = 255;

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
const KEY_TAG: u32 = 1;
const TRUSTED_TAG: u32 = 2;
const CERTIFICATE_TYPE: &str = "X.509";

/// Writes the key with its chain under an alias, and each CA as a trusted entry `ca`, `ca-1` and so on; a name that
/// the key has is left out of that row. The alias is written in lower case, as Java's own code does: it looks up
/// nothing else. The password protects the file and the key.
///
/// # Errors
/// When key and certificate do not belong together, the alias is empty or too long, or the library fails.
pub fn key_store(
    alias: &str,
    entry: &KeyEntry<'_>,
    password: &Password,
    created: Timestamp,
) -> Result<SecretBytes, WriteError> {
    entry.check()?;
    if alias.is_empty() || alias.len() > MAX_ALIAS_BYTES {
        return Err(WriteError::Alias { bytes: alias.len(), limit: MAX_ALIAS_BYTES });
    }
    let alias = alias.to_lowercase();
    let key = protection::protect(entry.key.to_pkcs8_der().expose(), password)?;
    let chain = entry.chain.certificates();
    let mut file = Writer::head(entry.ca.certificates().len() + 1)?;
    file.entry_head(KEY_TAG, &alias, created)?;
    file.sized(&key, "an encrypted key")?;
    file.count(chain.len(), "a chain")?;
    for certificate in chain {
        file.certificate(certificate)?;
    }
    file.trusted(&alias, entry.ca, created)?;
    Ok(file.sealed(password))
}

/// Writes each CA as a trusted entry `ca`, `ca-1` and so on.
///
/// # Errors
/// When there is no certificate.
pub fn trust_store(ca: &Bundle, password: &Password, created: Timestamp) -> Result<SecretBytes, WriteError> {
    if ca.is_empty() {
        return Err(WriteError::NoCertificate);
    }
    let mut file = Writer::head(ca.certificates().len())?;
    file.trusted("", ca, created)?;
    Ok(file.sealed(password))
}

/// Collects a file. What goes in is encrypted or public, so it may grow.
struct Writer(Vec<u8>);

impl Writer {
    fn head(entries: usize) -> Result<Self, WriteError> {
        let mut file = Self(Vec::new());
        file.number(MAGIC);
        file.number(VERSION);
        file.count(entries, "a list of entries")?;
        Ok(file)
    }

    fn entry_head(&mut self, tag: u32, alias: &str, created: Timestamp) -> Result<(), WriteError> {
        self.number(tag);
        self.text(alias)?;
        self.0.extend_from_slice(&created.as_millisecond().to_be_bytes());
        Ok(())
    }

    fn trusted(&mut self, key_alias: &str, ca: &Bundle, created: Timestamp) -> Result<(), WriteError> {
        for (alias, certificate) in trusted(ca, key_alias) {
            self.entry_head(TRUSTED_TAG, &alias, created)?;
            self.certificate(certificate)?;
        }
        Ok(())
    }

    fn certificate(&mut self, certificate: &Certificate) -> Result<(), WriteError> {
        self.text(CERTIFICATE_TYPE)?;
        self.sized(certificate.der(), "a certificate")
    }

    fn number(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn count(&mut self, count: usize, part: &'static str) -> Result<(), WriteError> {
        self.number(u32::try_from(count).map_err(|_| WriteError::TooLong(part))?);
        Ok(())
    }

    fn sized(&mut self, octets: &[u8], part: &'static str) -> Result<(), WriteError> {
        self.count(octets.len(), part)?;
        self.0.extend_from_slice(octets);
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), WriteError> {
        let octets = text::encode(text);
        let length = u16::try_from(octets.len()).map_err(|_| WriteError::TooLong("a text"))?;
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(&octets);
        Ok(())
    }

    fn sealed(mut self, password: &Password) -> SecretBytes {
        let check = check(&self.0, password);
        self.0.extend_from_slice(check.as_ref());
        SecretBytes::new(self.0)
    }
}

/// The check at the end of a file.
fn check(content: &[u8], password: &Password) -> Digest {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(&password.utf16());
    context.update(b"Mighty Aphrodite");
    context.update(content);
    context.finish()
}

#[cfg(test)]
mod tests;

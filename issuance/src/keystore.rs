//! Keystores: files with a key, its chain and trusted certificates under a password, for programs that cannot read
//! PEM (spec/issuance.md §14).
//!
//! [`pkcs12`] writes and reads PFX files (RFC 7292, RFC 9579), [`jks`] the older format of Java. Both share the
//! input, the password, the bounds of reading and the errors that are defined here.

#[cfg(test)]
pub(crate) mod fixture;
pub mod jks;
mod password;
pub mod pkcs12;

use aws_lc_rs::rand;
use spki::ObjectIdentifier;

use crate::bundle::Bundle;
use crate::certificate::{Certificate, CertificateError};
use crate::chain::{self, Chain};
use crate::key::{KeyError, PrivateKey};
use crate::pem;

pub use password::{Password, PasswordError};

/// What a key store holds.
#[derive(Debug, Clone, Copy)]
pub struct KeyEntry<'a> {
    /// The private key.
    pub key: &'a PrivateKey,
    /// Its certificate and what stands above it.
    pub chain: &'a Chain,
    /// Trusted certificates (`ca.crt`); may be empty.
    pub ca: &'a Bundle,
}

impl KeyEntry<'_> {
    /// A key store whose key does not fit its certificate fails only when it is used, at a place far away.
    fn check(&self) -> Result<(), WriteError> {
        let fits = self.chain.leaf().public_key() == self.key.public_key();
        if fits { Ok(()) } else { Err(WriteError::Key { subject: self.chain.leaf().subject() }) }
    }
}

/// Why a keystore cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The certificate is for another key.
    #[error("writing a keystore: certificate {subject:?} is for another key than the private key given")]
    Key {
        /// Subject of the certificate.
        subject: String,
    },
    /// A trust store would be empty.
    #[error("writing a trust store: there is no certificate to trust")]
    NoCertificate,
    /// The alias is empty or too long.
    #[error("writing a keystore: an alias has 1 to {limit} bytes, and this one has {bytes}")]
    Alias {
        /// Its length in bytes of UTF-8.
        bytes: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// The content is longer than the format can say.
    #[error("writing a keystore: {0} is too long for the format")]
    TooLong(&'static str),
    /// The library refused randomness or encryption, which means that its self-test failed.
    #[error("writing a keystore: the cryptographic library failed")]
    Library,
}

/// Why bytes are not a keystore that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The file is larger than allowed.
    #[error("reading a keystore: {bytes} bytes are more than the {limit} allowed")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// There are more keys and certificates than allowed.
    #[error("reading a keystore: more than {limit} entries")]
    TooMany {
        /// The most that is allowed.
        limit: usize,
    },
    /// The file asks for more work than allowed.
    #[error("reading a keystore: its password derivations ask for more than {limit} iterations in all")]
    Iterations {
        /// The most that is allowed.
        limit: u32,
    },
    /// A part does not decode.
    #[error("reading a keystore: {0} is malformed")]
    Malformed(&'static str),
    /// A part is of a kind that we do not read.
    #[error("reading a keystore: {part} of type {oid} is not supported")]
    Unsupported {
        /// What is not supported.
        part: &'static str,
        /// The type that the file names.
        oid: ObjectIdentifier,
    },
    /// The derived key of a PBMAC1 is so short that a forger could guess it (RFC 9579 §7).
    #[error("reading a keystore: a MAC key of {0} octets is not accepted; use 20 to 64")]
    MacKeyLength(u32),
    /// The check over the whole file fails.
    #[error("reading a keystore: the password is wrong, or the file was changed")]
    Integrity,
    /// An encrypted part does not decrypt.
    #[error("reading a keystore: {0} cannot be decrypted")]
    Decrypt(&'static str),
    /// A certificate is not usable.
    #[error("reading a keystore: a certificate is not usable")]
    Certificate(#[from] CertificateError),
    /// A private key is not usable.
    #[error("reading a keystore: a private key is not usable")]
    Key(#[from] KeyError),
}

/// How much a reader takes on before it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Bytes of the file.
    pub bytes: usize,
    /// Keys and certificates together.
    pub entries: usize,
    /// Iterations of all password derivations of the file together.
    pub iterations: u32,
}

impl Limit {
    /// A keystore in a Secret. A Secret holds at most 1 MiB; a bundle, a chain and a key are the most that we write;
    /// a million iterations are about a second and cover what OpenSSL and Java ask for by default.
    pub const SECRET: Self = Self {
        bytes: 1 << 20,
        entries: pem::Limit::BUNDLE.blocks + chain::MAX_LENGTH + 1,
        iterations: 1_000_000,
    };

    fn check_size(&self, file: &[u8]) -> Result<(), ReadError> {
        if file.len() <= self.bytes {
            return Ok(());
        }
        Err(ReadError::TooLarge { bytes: file.len(), limit: self.bytes })
    }
}

/// Octets of the salts that we write: NIST SP 800-132 §5.1 asks for 128 bits.
const SALT_OCTETS: usize = 16;

fn random<const OCTETS: usize>() -> Result<[u8; OCTETS], WriteError> {
    let mut octets = [0; OCTETS];
    rand::fill(&mut octets).map_err(|_| WriteError::Library)?;
    Ok(octets)
}

/// `ca`, `ca-1`, `ca-2` and so on without the name that the key has: a second entry of that name would replace it.
fn ca_aliases(key_alias: &str) -> impl Iterator<Item = String> {
    let names = (0_u32..).map(|number| if number == 0 { "ca".to_owned() } else { format!("ca-{number}") });
    names.filter(move |name| name != key_alias)
}

/// Certificates with the aliases that they get beside a key of the given alias.
fn trusted<'a>(ca: &'a Bundle, key_alias: &str) -> impl Iterator<Item = (String, &'a Certificate)> {
    ca_aliases(key_alias).zip(ca.certificates())
}

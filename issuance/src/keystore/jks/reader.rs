//! Reading JKS files: total, and bounded in size and entries.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::SHA1_OUTPUT_LEN;
use jiff::Timestamp;

use super::{CERTIFICATE_TYPE, KEY_TAG, MAGIC, TRUSTED_TAG, VERSION, check, protection, text};
use crate::certificate::Certificate;
use crate::key::PrivateKey;
use crate::keystore::{Limit, Password, ReadError};

/// One entry of a file.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub alias: String,
    /// When it was made.
    pub created: Timestamp,
    /// The private key; `None` for a trusted certificate.
    pub key: Option<PrivateKey>,
    /// The chain of the key in its order, or the one trusted certificate.
    pub certificates: Vec<Certificate>,
}

/// Reads a file. The check over it comes first, so nothing else is looked at in a file of somebody who does not know
/// the password. Keys must have the password of the file.
///
/// # Errors
/// When a limit is exceeded, the password is wrong, the file is cut or goes on after its end, or an entry is not
/// usable.
pub fn read(file: &[u8], password: &Password, limit: Limit) -> Result<Vec<Entry>, ReadError> {
    limit.check_size(file)?;
    let Some((content, tail)) = file.split_last_chunk::<SHA1_OUTPUT_LEN>() else {
        return Err(ReadError::Malformed("the check over the file"));
    };
    verify_slices_are_equal(check(content, password).as_ref(), tail).map_err(|_| ReadError::Integrity)?;
    Reader { rest: content, password, limit, used: 0 }.entries()
}

struct Reader<'a> {
    rest: &'a [u8],
    password: &'a Password,
    limit: Limit,
    /// Keys and certificates so far.
    used: usize,
}

impl<'a> Reader<'a> {
    fn entries(mut self) -> Result<Vec<Entry>, ReadError> {
        if self.number("the head")? != MAGIC || self.number("the head")? != VERSION {
            return Err(ReadError::Malformed("the head"));
        }
        let count = self.number("the number of entries")?;
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(self.entry()?);
        }
        if self.rest.is_empty() {
            Ok(entries)
        } else {
            Err(ReadError::Malformed("what follows the last entry"))
        }
    }

    fn entry(&mut self) -> Result<Entry, ReadError> {
        let tag = self.number("an entry")?;
        let alias = self.text("an alias")?;
        let created = i64::from_be_bytes(self.array("the time of an entry")?);
        let created = Timestamp::from_millisecond(created);
        let created = created.map_err(|_| ReadError::Malformed("the time of an entry"))?;
        let (key, count) = match tag {
            KEY_TAG => (Some(self.key()?), self.number("a chain")?),
            TRUSTED_TAG => (None, 1),
            _ => return Err(ReadError::Malformed("the tag of an entry")),
        };
        let certificates = (0..count).map(|_| self.certificate()).collect::<Result<_, _>>()?;
        Ok(Entry { alias, created, key, certificates })
    }

    fn key(&mut self) -> Result<PrivateKey, ReadError> {
        self.take_in()?;
        let protected = self.sized("an encrypted key")?;
        let der = protection::unprotect(protected, self.password)?;
        Ok(PrivateKey::from_pkcs8_der(&der)?)
    }

    fn certificate(&mut self) -> Result<Certificate, ReadError> {
        self.take_in()?;
        let kind = self.text("the type of a certificate")?;
        // Go programs write the name without its dot, and Java takes both.
        if kind != CERTIFICATE_TYPE && kind != "X509" {
            return Err(ReadError::Malformed("the type of a certificate"));
        }
        Ok(Certificate::from_der(self.sized("a certificate")?)?)
    }

    fn take_in(&mut self) -> Result<(), ReadError> {
        self.used += 1;
        let limit = self.limit.entries;
        if self.used <= limit { Ok(()) } else { Err(ReadError::TooMany { limit }) }
    }

    fn text(&mut self, part: &'static str) -> Result<String, ReadError> {
        let length = u16::from_be_bytes(self.array(part)?);
        text::decode(self.octets(length.into(), part)?).ok_or(ReadError::Malformed(part))
    }

    fn sized(&mut self, part: &'static str) -> Result<&'a [u8], ReadError> {
        let length = usize::try_from(self.number(part)?).map_err(|_| ReadError::Malformed(part))?;
        self.octets(length, part)
    }

    fn number(&mut self, part: &'static str) -> Result<u32, ReadError> {
        Ok(u32::from_be_bytes(self.array(part)?))
    }

    fn array<const OCTETS: usize>(&mut self, part: &'static str) -> Result<[u8; OCTETS], ReadError> {
        let (first, rest) = self.rest.split_first_chunk().ok_or(ReadError::Malformed(part))?;
        self.rest = rest;
        Ok(*first)
    }

    fn octets(&mut self, length: usize, part: &'static str) -> Result<&'a [u8], ReadError> {
        let (first, rest) = self.rest.split_at_checked(length).ok_or(ReadError::Malformed(part))?;
        self.rest = rest;
        Ok(first)
    }
}

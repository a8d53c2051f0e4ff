//! Fingerprints: names of certificates that nobody can forge.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;

/// Octets of SHA-256.
const OCTETS: usize = 32;

/// SHA-256 of a certificate's DER, or of other bytes that are to be recognised. Its text is lower-case hexadecimal, without
/// colons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; OCTETS]);

/// A text is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 fingerprint; write 64 hexadecimal digits, with or without colons between the octets")]
pub struct FingerprintError;

impl Fingerprint {
    /// That of these bytes.
    pub fn of(der: &[u8]) -> Self {
        let mut octets = [0; OCTETS];
        for (octet, digest) in octets.iter_mut().zip(digest::digest(&digest::SHA256, der).as_ref()) {
            *octet = *digest;
        }
        Self(octets)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// As it is written by us, or by openssl: in capitals and with colons.
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let mut octets = [0; OCTETS];
        let mut digits = text.chars().filter(|character| *character != ':');
        for octet in &mut octets {
            let mut digit = || digits.next().and_then(|digit| digit.to_digit(16)).ok_or(FingerprintError);
            let value = digit()? * 16 + digit()?;
            *octet = u8::try_from(value).map_err(|_| FingerprintError)?;
        }
        if digits.next().is_some() { Err(FingerprintError) } else { Ok(Self(octets)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of "abc" (FIPS 180-4).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn text_that_is_no_fingerprint_is_refused() {
        let long = format!("{ABC}0");
        let wrong = ABC.replace('b', "g");
        for text in ["", "ba78", &ABC[1..], &long, &wrong] {
            assert_eq!(text.parse::<Fingerprint>(), Err(FingerprintError), "{text:?}");
        }
    }

    #[test]
    fn a_fingerprint_is_sha_256_in_each_of_its_forms() {
        let fingerprint = Fingerprint::of(b"abc");
        assert_eq!((fingerprint.to_string(), format!("{fingerprint:?}")), (ABC.to_owned(), ABC.to_owned()));
        let octets: Vec<String> =
            ABC.as_bytes().chunks(2).map(|two| String::from_utf8_lossy(two).into()).collect();
        for text in [ABC.to_owned(), octets.join(":").to_uppercase()] {
            assert_eq!(text.parse(), Ok(fingerprint), "{text}");
        }
    }
}

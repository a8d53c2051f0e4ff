//! The password of a keystore, in the encodings that the formats derive keys from.

use std::fmt;

use zeroize::Zeroizing;

/// Longest password in bytes of UTF-8. Key derivation reads the password anew at each iteration, so its length is
/// bounded as the iterations are.
const MAX_BYTES: usize = 1024;

/// Why a password is refused. The password itself is never told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// It has no characters: readers disagree about what an empty password is, and most refuse it.
    #[error("a keystore password must not be empty; put at least one character into the Secret")]
    Empty,
    /// It is not text.
    #[error("a keystore password must be UTF-8 text")]
    NotText,
    /// It is too long.
    #[error("a keystore password of {0} bytes is too long; use at most {MAX_BYTES}")]
    TooLong(usize),
}

/// A password: 1 to 1024 bytes of UTF-8, not printed, erased when dropped.
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes the bytes of a Secret as they are: no white space is removed, because other readers of the same Secret
    /// do not remove it either.
    ///
    /// # Errors
    /// When the password is empty, too long or not UTF-8.
    pub fn new(bytes: &[u8]) -> Result<Self, PasswordError> {
        let text = std::str::from_utf8(bytes).map_err(|_| PasswordError::NotText)?;
        match text.len() {
            0 => Err(PasswordError::Empty),
            1..=MAX_BYTES => Ok(Self(Zeroizing::new(text.to_owned()))),
            bytes => Err(PasswordError::TooLong(bytes)),
        }
    }

    /// UTF-8, as PBKDF2 takes it in PBES2 and PBMAC1 (RFC 8018 §3; erratum 7974 of RFC 9579).
    pub(crate) fn utf8(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// UTF-16 with the high octet first, as Java's own formats take it.
    pub(super) fn utf16(&self) -> Zeroizing<Vec<u8>> {
        self.utf16_with_room(0)
    }

    /// UTF-16 with two zero octets at the end (RFC 7292 §B.1).
    pub(super) fn utf16_terminated(&self) -> Zeroizing<Vec<u8>> {
        let mut octets = self.utf16_with_room(2);
        octets.extend_from_slice(&[0, 0]);
        octets
    }

    /// A vector that grows leaves copies behind, so it gets its whole length at first: a character has at least as
    /// many octets in UTF-8 as it has halves of octet pairs in UTF-16.
    fn utf16_with_room(&self, room: usize) -> Zeroizing<Vec<u8>> {
        let mut octets = Zeroizing::new(Vec::with_capacity(self.0.len() * 2 + room));
        octets.extend(self.0.encode_utf16().flat_map(u16::to_be_bytes));
        octets
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_readers_would_not_agree_about_is_refused() {
        assert_eq!(Password::new(b"").unwrap_err(), PasswordError::Empty);
        assert_eq!(Password::new(b"\xff").unwrap_err(), PasswordError::NotText);
        assert_eq!(Password::new(&[b'a'; 1025]).unwrap_err(), PasswordError::TooLong(1025));
        assert!(Password::new(&[b'a'; 1024]).is_ok());
    }

    #[test]
    fn each_encoding_is_as_its_format_wants_it() {
        let password = Password::new("aß😀".as_bytes()).unwrap();
        assert_eq!(password.utf8(), "aß😀".as_bytes());
        assert_eq!(*password.utf16(), [0, 0x61, 0, 0xdf, 0xd8, 0x3d, 0xde, 0x00]);
        assert_eq!(*password.utf16_terminated(), [0, 0x61, 0, 0xdf, 0xd8, 0x3d, 0xde, 0x00, 0, 0]);
    }

    #[test]
    fn debug_output_holds_no_password() {
        assert_eq!(format!("{:?}", Password::new(b"hunter2").unwrap()), "Password(redacted)");
    }
}

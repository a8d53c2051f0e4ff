//! The files of a volume: what they are called and what they hold.

use issuance::credential::{Credential, Verified};
use issuance::secret::SecretBytes;

use crate::attributes::Attributes;

/// Longest name of a file, in bytes, on every Linux file system (NAME_MAX).
const FILE_NAME_BYTES_MAX: usize = 255;

/// Names of the files of a volume, pairwise different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNames {
    /// The certificate with its intermediates.
    pub certificate: FileName,
    /// The private key.
    pub private_key: FileName,
    /// The CA certificates.
    pub ca: FileName,
}

/// Name of one file in a volume: one path component that does not collide with the volume's own entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName(pub(crate) String);

impl FileName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for FileName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("..") {
            return Err("must not begin with \"..\"");
        }
        if text.contains(['/', '\0']) || text == "." {
            return Err("must be the name of a file, without a folder");
        }
        if text.trim() != text || text.is_empty() {
            return Err("must not be empty, nor begin or end with a blank");
        }
        if text.len() > FILE_NAME_BYTES_MAX {
            return Err("must not be longer than 255 bytes");
        }
        Ok(Self(text.to_owned()))
    }
}

/// One file with its content.
#[derive(Debug)]
pub struct File {
    /// Its name.
    pub name: FileName,
    /// Its bytes; certificates too are kept as a secret, which costs nothing and spares a second type.
    pub content: SecretBytes,
}

/// The files of a volume. Only a verified credential has any, so nothing unchecked reaches a disk.
pub fn render(attributes: &Attributes, credential: &Credential<Verified>) -> [File; 3] {
    let names = &attributes.files;
    let text = |text: String| SecretBytes::new(text.into_bytes());
    [
        File { name: names.certificate.clone(), content: text(credential.chain().to_pem()) },
        File { name: names.private_key.clone(), content: credential.key().to_pem(attributes.key_encoding) },
        File { name: names.ca.clone(), content: text(credential.ca().to_pem()) },
    ]
}

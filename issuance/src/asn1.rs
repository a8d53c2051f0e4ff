//! The outer ASN.1 structures of X.509 and PKCS#10, with names kept as the bytes that they arrived in: re-encoding a
//! foreign name could change its string types, and then issuer and subject would no longer match byte for byte.

use der::asn1::{Any, BitString, Int};
use der::{Decode as _, Encode as _, Reader as _, Sequence, SliceReader};
use spki::{AlgorithmIdentifierOwned, ObjectIdentifier, SubjectPublicKeyInfoOwned};
use x509_cert::ext::Extension;
use x509_cert::time::Validity;

/// `SIGNED{ToBeSigned}` (RFC 5280 §4.1, RFC 2986 §4.2): both certificates and requests have this frame.
#[derive(Debug, Clone, Sequence)]
pub(crate) struct Signed {
    /// What is signed; kept undecoded so that the signature is checked over the very bytes that arrived.
    pub body: Any,
    pub algorithm: AlgorithmIdentifierOwned,
    pub signature: BitString,
}

/// `TBSCertificate` (RFC 5280 §4.1).
#[derive(Debug, Clone, Sequence)]
pub(crate) struct TbsCertificate {
    #[asn1(context_specific = "0", default = "version_1")]
    pub version: u8,
    pub serial: Int,
    pub signature: AlgorithmIdentifierOwned,
    pub issuer: Any,
    pub validity: Validity,
    pub subject: Any,
    pub public_key: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    pub issuer_unique_id: Option<BitString>,
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", optional = "true")]
    pub subject_unique_id: Option<BitString>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    pub extensions: Option<Vec<Extension>>,
}

/// Version 3, the one with extensions.
pub(crate) const VERSION_3: u8 = 2;

fn version_1() -> u8 {
    0
}

impl TbsCertificate {
    /// Whether it has a version that exists, extensions in version 3 alone, which other readers would pass over, and a
    /// number that is not negative (RFC 5280 §4.1.2.1, §4.1.2.9, §4.1.2.2). Zero is against the letter, yet in use.
    pub(crate) fn is_plausible(&self) -> bool {
        let negative = self.serial.as_bytes().first().is_some_and(|first| first & 0x80 != 0);
        let version = self.version == VERSION_3 || (self.version < VERSION_3 && self.extensions.is_none());
        version && !negative
    }
}

/// `CertificationRequestInfo` (RFC 2986 §4.1).
#[derive(Debug, Clone, Sequence)]
pub(crate) struct RequestInfo {
    pub version: u8,
    pub subject: Any,
    pub public_key: SubjectPublicKeyInfoOwned,
    /// `[0] IMPLICIT SET OF Attribute`, undecoded: requests exist whose attributes are not in the order of DER.
    pub attributes: Any,
}

/// `Attribute` (RFC 2986 §4.1).
#[derive(Debug, Clone, Sequence)]
pub(crate) struct Attribute {
    pub oid: ObjectIdentifier,
    /// `SET OF`, undecoded for the same reason.
    pub values: Any,
}

/// The elements that follow each other in `content`, such as those of a sequence.
pub(crate) fn elements(content: &[u8]) -> der::Result<Vec<Any>> {
    let mut reader = SliceReader::new(content)?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        found.push(Any::decode(&mut reader)?);
    }
    Ok(found)
}

/// Whether an identifier is in its one encoding of DER: no arc begins with an octet that adds nothing (X.690 §8.19.2).
/// With such an octet it would not equal the identifier that it stands for, and pass by every rule on that one.
pub(crate) fn is_canonical(oid: &ObjectIdentifier) -> bool {
    const CONTINUED: u8 = 0x80;
    let mut inside_arc = false;
    oid.as_bytes().iter().all(|octet| {
        let padding = !inside_arc && *octet == CONTINUED;
        inside_arc = octet & CONTINUED != 0;
        !padding
    })
}

impl Signed {
    /// The bytes that the signature covers.
    ///
    /// # Errors
    /// When they are too long for DER, which bytes that were decoded cannot be.
    pub(crate) fn body_der(&self) -> der::Result<Vec<u8>> {
        self.body.to_der()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_with_octets_that_add_nothing_are_not_canonical() {
        let check = |octets: &[u8], canonical: bool| {
            let oid = ObjectIdentifier::from_bytes(octets).unwrap();
            assert_eq!(is_canonical(&oid), canonical, "{octets:02x?}");
        };
        check(&[0x55, 0x80, 4, 3], false);
        check(&[0x55, 4, 0x80, 3], false);
        check(&[0x55, 0x80, 0x80, 4, 3], false);
        check(&[0x55, 4, 3], true);
        check(&[0x55, 0x81, 0x80, 0x01], true);
        check(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d], true);
    }
}

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

impl Signed {
    /// The bytes that the signature covers.
    ///
    /// # Errors
    /// When they are too long for DER, which bytes that were decoded cannot be.
    pub(crate) fn body_der(&self) -> der::Result<Vec<u8>> {
        self.body.to_der()
    }
}

//! One X.509 certificate (RFC 5280), parsed once and kept with its bytes.

use std::fmt;

use der::Decode as _;
use der::asn1::{Any, Int};
use jiff::Timestamp;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier};
use x509_cert::time::Time;

use crate::asn1::{Signed, TbsCertificate};
use crate::extension::{ExtensionError, Extensions};
use crate::key::PublicKey;
use crate::name::{self, SubjectAltName};
use crate::pem;
use crate::signature::{self, SignatureError};
use crate::usage::Usages;

/// Why bytes are not a certificate that we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The bytes are not DER of a certificate.
    #[error("the bytes are not an X.509 certificate")]
    Malformed,
    /// An extension that we must understand is broken.
    #[error(transparent)]
    Extension(#[from] ExtensionError),
}

/// A parsed certificate. Two are equal when their bytes are.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    signed: Signed,
    serial: Int,
    issuer: Any,
    subject: Any,
    not_before: Timestamp,
    not_after: Timestamp,
    public_key: PublicKey,
    names: Vec<SubjectAltName>,
    is_ca: bool,
    path_len: Option<u8>,
    may_sign_certificates: bool,
    key_identifier: Option<Vec<u8>>,
    usages: Usages,
}

impl Certificate {
    /// Parses DER.
    ///
    /// # Errors
    /// When the bytes are no certificate, or an extension that we read is malformed or repeated.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let malformed = |_| CertificateError::Malformed;
        let signed = Signed::from_der(der).map_err(malformed)?;
        let body = signed.body_der().map_err(malformed)?;
        let tbs = TbsCertificate::from_der(&body).map_err(malformed)?;
        let extensions = Extensions(tbs.extensions.unwrap_or_default());
        let constraints = extensions.get::<BasicConstraints>()?;
        let bits = extensions.get::<KeyUsage>()?;
        let purposes = extensions.get::<ExtendedKeyUsage>()?;
        let key_identifier = extensions.get::<SubjectKeyIdentifier>()?;
        Ok(Self {
            der: der.to_vec(),
            signed,
            serial: tbs.serial,
            issuer: tbs.issuer,
            subject: tbs.subject,
            not_before: timestamp(tbs.validity.not_before).ok_or(CertificateError::Malformed)?,
            not_after: timestamp(tbs.validity.not_after).ok_or(CertificateError::Malformed)?,
            public_key: PublicKey::from_spki(tbs.public_key).map_err(malformed)?,
            names: extensions.names()?,
            is_ca: constraints.as_ref().is_some_and(|constraints| constraints.ca),
            path_len: constraints.and_then(|constraints| constraints.path_len_constraint),
            may_sign_certificates: bits.as_ref().is_none_or(KeyUsage::key_cert_sign),
            key_identifier: key_identifier.map(|identifier| identifier.0.as_bytes().to_vec()),
            usages: Usages::from_extensions(bits.as_ref(), purposes.as_ref()),
        })
    }

    /// The certificate as it was read or made.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate as one PEM block.
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.der)
    }

    /// First instant of validity.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Last instant of validity.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether `now` lies within the validity, both ends included (RFC 5280 §4.1.2.5).
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// The certified key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Subject alternative names in their order.
    pub fn names(&self) -> &[SubjectAltName] {
        &self.names
    }

    /// Key usages, extended ones included.
    pub fn usages(&self) -> &Usages {
        &self.usages
    }

    /// Whether basic constraints call it a CA.
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// How many CAs may follow below this one; `None` for no limit.
    pub fn path_len(&self) -> Option<u8> {
        self.path_len
    }

    /// Whether its key usage lets it sign certificates; a certificate without key usage may (RFC 5280 §4.2.1.3).
    pub fn may_sign_certificates(&self) -> bool {
        self.may_sign_certificates
    }

    /// First common name of the subject.
    pub fn common_name(&self) -> Option<String> {
        name::common_name(&self.subject)
    }

    /// The subject for people: `O=Example, CN=leaf`.
    pub fn subject(&self) -> String {
        name::display(&self.subject)
    }

    /// The issuer for people.
    pub fn issuer(&self) -> String {
        name::display(&self.issuer)
    }

    /// The serial number in hexadecimal, without a sign octet.
    pub fn serial_hex(&self) -> String {
        let bytes = self.serial.as_bytes();
        name::hex(bytes.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(bytes))
    }

    /// Whether issuer and subject are the same name (RFC 5280 §3.2).
    pub fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// Whether it is a root: self-issued and signed by its own key.
    pub fn is_self_signed(&self) -> bool {
        self.is_self_issued() && self.verify_issued_by(self).is_ok()
    }

    /// Whether `issuer` has the name that this certificate gives as its issuer.
    pub fn names_issuer(&self, issuer: &Self) -> bool {
        self.issuer == issuer.subject
    }

    /// Checks that the key in `issuer` signed this certificate; names, validity and rights are not looked at.
    ///
    /// # Errors
    /// When the signature does not verify or its algorithm is not accepted.
    pub fn verify_issued_by(&self, issuer: &Self) -> Result<(), SignatureError> {
        signature::verify(&self.signed, issuer.public_key.spki())
    }

    pub(crate) fn subject_name(&self) -> &Any {
        &self.subject
    }

    pub(crate) fn key_identifier(&self) -> Option<&[u8]> {
        self.key_identifier.as_deref()
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject())
            .field("issuer", &self.issuer())
            .field("serial", &self.serial_hex())
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

fn timestamp(time: Time) -> Option<Timestamp> {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).ok()?;
    Timestamp::from_second(seconds).ok()
}

/// The encoding of an instant: UTCTime through 2049, GeneralizedTime after (RFC 5280 §4.1.2.5). Instants before 1970
/// cannot be encoded.
pub(crate) fn time(at: Timestamp) -> Option<Time> {
    let seconds = u64::try_from(at.as_second()).ok()?;
    let date = der::DateTime::from_unix_duration(std::time::Duration::from_secs(seconds)).ok()?;
    Some(Time::from(date))
}

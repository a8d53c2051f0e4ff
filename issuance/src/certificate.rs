//! One X.509 certificate (RFC 5280), parsed once and kept with its bytes.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use der::Decode as _;
use der::asn1::{Any, Int, ObjectIdentifier};
use jiff::Timestamp;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectKeyIdentifier};
use x509_cert::time::Time;

use crate::asn1::{Signed, TbsCertificate};
use crate::constraint::{ConstraintError, NameConstraints};
use crate::extension::{ExtensionError, Extensions};
use crate::fingerprint::Fingerprint;
use crate::key::PublicKey;
use crate::name::{self, SubjectAltName};
use crate::pem;
use crate::request::SubjectAttribute;
use crate::signature::{self, SignatureError};
use crate::usage::Usages;

const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");

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

/// A parsed certificate. Two are equal when their bytes are; clones share them.
#[derive(Clone)]
pub struct Certificate(Arc<Parsed>);

struct Parsed {
    der: Vec<u8>,
    signature_algorithm: ObjectIdentifier,
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
        // RFC 5280 §4.1.1.2: otherwise a signature could be passed off as one of another algorithm.
        if tbs.signature != signed.algorithm || !tbs.is_plausible() {
            return Err(CertificateError::Malformed);
        }
        let extensions = Extensions(tbs.extensions.unwrap_or_default());
        extensions.check_distinct()?;
        let constraints = extensions.get::<BasicConstraints>()?;
        let bits = extensions.key_usage()?;
        let purposes = extensions.extended_key_usage()?;
        let key_identifier = extensions.get::<SubjectKeyIdentifier>()?;
        let parsed = Parsed {
            der: der.to_vec(),
            signature_algorithm: signed.algorithm.oid,
            serial: tbs.serial,
            issuer: tbs.issuer,
            subject: tbs.subject,
            not_before: timestamp(tbs.validity.not_before)?,
            not_after: timestamp(tbs.validity.not_after)?,
            public_key: PublicKey::from_spki(tbs.public_key).map_err(malformed)?,
            names: extensions.names()?,
            is_ca: constraints.as_ref().is_some_and(|constraints| constraints.ca),
            path_len: constraints.and_then(|constraints| constraints.path_len_constraint),
            may_sign_certificates: bits.as_ref().is_none_or(KeyUsage::key_cert_sign),
            key_identifier: key_identifier.map(|identifier| identifier.0.as_bytes().to_vec()),
            usages: Usages::from_extensions(bits.as_ref(), purposes.as_ref()),
        };
        Ok(Self(Arc::new(parsed)))
    }

    /// The certificate as it was read or made.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// The certificate as one PEM block.
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.0.der)
    }

    /// SHA-256 of its bytes, by which it is known to other tools.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0.der)
    }

    /// First instant of validity.
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// Last instant of validity. `99991231235959Z`, which stands for no end at all (RFC 5280 §4.1.2.5), and the day
    /// before it lie beyond [`Timestamp::MAX`]; the latest whole second that it holds is given for them.
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// Whether `now` lies within the validity, both ends included (RFC 5280 §4.1.2.5).
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.0.not_before <= now && now <= self.0.not_after
    }

    /// The certified key.
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public_key
    }

    /// Subject alternative names in their order.
    pub fn names(&self) -> &[SubjectAltName] {
        &self.0.names
    }

    /// Key usages, extended ones included.
    pub fn usages(&self) -> &Usages {
        &self.0.usages
    }

    /// Whether basic constraints call it a CA.
    pub fn is_ca(&self) -> bool {
        self.0.is_ca
    }

    /// How many CAs may follow below this one; `None` for no limit.
    pub fn path_len(&self) -> Option<u8> {
        self.0.path_len
    }

    /// Whether its key usage lets it sign certificates; a certificate without key usage may (RFC 5280 §4.2.1.3).
    pub fn may_sign_certificates(&self) -> bool {
        self.0.may_sign_certificates
    }

    /// First common name of the subject.
    pub fn common_name(&self) -> Option<String> {
        name::common_name(&self.0.subject)
    }

    /// Each attribute of the subject in the order of DER.
    pub fn subject_attributes(&self) -> Vec<SubjectAttribute> {
        SubjectAttribute::all(&self.0.subject)
    }

    /// The subject for people: `O=Example, CN=leaf`.
    pub fn subject(&self) -> String {
        name::display(&self.0.subject)
    }

    /// The issuer for people.
    pub fn issuer(&self) -> String {
        name::display(&self.0.issuer)
    }

    /// The serial number in hexadecimal, without a sign octet.
    pub fn serial_hex(&self) -> String {
        let bytes = self.0.serial.as_bytes();
        name::hex(bytes.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(bytes))
    }

    /// Whether issuer and subject are the same name (RFC 5280 §3.2).
    pub fn is_self_issued(&self) -> bool {
        self.0.issuer == self.0.subject
    }

    /// Whether it is self-issued and signed by its own key.
    pub fn is_self_signed(&self) -> bool {
        self.is_self_issued() && self.verify_issued_by(self).is_ok()
    }

    /// Whether no certificate can stand above it: it is self-signed, or self-issued with a signature by an algorithm
    /// too old to be checked, as on roots of the SHA-1 age. A root is trusted for being in a bundle and not for its
    /// signature, so this says nothing about trust.
    pub fn is_root(&self) -> bool {
        let checked = || self.verify_issued_by(self);
        self.is_self_issued() && matches!(checked(), Ok(()) | Err(SignatureError::Algorithm(_)))
    }

    /// Its name constraints, if it has any (RFC 5280 §4.2.1.10).
    ///
    /// # Errors
    /// When the extension is malformed or repeated.
    pub fn name_constraints(&self) -> Result<Option<NameConstraints>, ConstraintError> {
        let extensions = self.extensions();
        let raw = extensions.raw(NAME_CONSTRAINTS);
        let raw = raw.map_err(|_| ConstraintError::Malformed("the extension is present more than once"))?;
        raw.map(|raw| NameConstraints::from_der(raw.extn_value.as_bytes(), raw.critical)).transpose()
    }

    /// Object identifier of the algorithm that it was signed with.
    pub(crate) fn signature_algorithm(&self) -> ObjectIdentifier {
        self.0.signature_algorithm
    }

    /// All extensions, decoded anew: few need them, and many certificates are kept.
    pub(crate) fn extensions(&self) -> Extensions {
        let signed = Signed::from_der(self.der());
        let body = signed.and_then(|signed| signed.body_der());
        let tbs = body.and_then(|body| TbsCertificate::from_der(&body));
        // It was decoded before, when the certificate was read.
        Extensions(tbs.ok().and_then(|tbs| tbs.extensions).unwrap_or_default())
    }

    /// Whether `issuer` has the name that this certificate gives as its issuer.
    pub fn names_issuer(&self, issuer: &Self) -> bool {
        self.0.issuer == issuer.0.subject
    }

    /// Checks that the key in `issuer` signed this certificate; names, validity and rights are not looked at.
    ///
    /// # Errors
    /// When the signature does not verify or its algorithm is not accepted.
    pub fn verify_issued_by(&self, issuer: &Self) -> Result<(), SignatureError> {
        let signed = Signed::from_der(self.der()).map_err(|_| SignatureError::Invalid)?;
        signature::verify(&signed, issuer.public_key().spki())
    }

    pub(crate) fn subject_name(&self) -> &Any {
        &self.0.subject
    }

    pub(crate) fn issuer_name(&self) -> &Any {
        &self.0.issuer
    }

    pub(crate) fn key_identifier(&self) -> Option<&[u8]> {
        self.0.key_identifier.as_deref()
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

impl Hash for Certificate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.der.hash(state);
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject())
            .field("issuer", &self.issuer())
            .field("serial", &self.serial_hex())
            .field("not_after", &self.0.not_after)
            .finish_non_exhaustive()
    }
}

/// An instant of a validity; the last 26 hours of the year 9999 become the latest whole second of [`Timestamp`].
fn timestamp(time: Time) -> Result<Timestamp, CertificateError> {
    let latest = Timestamp::MAX.as_second();
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(latest);
    Timestamp::from_second(seconds.min(latest)).map_err(|_| CertificateError::Malformed)
}

/// The encoding of an instant: UTCTime through 2049, GeneralizedTime after (RFC 5280 §4.1.2.5). Instants before 1970
/// cannot be encoded.
pub(crate) fn time(at: Timestamp) -> Option<Time> {
    let seconds = u64::try_from(at.as_second()).ok()?;
    let date = der::DateTime::from_unix_duration(std::time::Duration::from_secs(seconds)).ok()?;
    Some(Time::from(date))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Maker, key, now};

    /// A root that ends at this GeneralizedTime.
    fn ending(text: &[u8; 15]) -> Vec<u8> {
        let key = key(1);
        // Until 2064, so that the end is written as GeneralizedTime.
        let long = Maker { hours: (0, 24 * 365 * 37), ..Maker::ca("root", &key, None) }.make();
        let mut der = long.der().to_vec();
        let at = der.windows(2).position(|head| head == [0x18, 15]).unwrap() + 2;
        der[at..at + 15].copy_from_slice(text);
        der
    }

    #[test]
    fn a_date_that_does_not_exist_is_refused() {
        for text in [b"20640230000000Z", b"20641301000000Z", b"99991231235960Z"] {
            assert_eq!(Certificate::from_der(&ending(text)), Err(CertificateError::Malformed));
        }
    }

    #[test]
    fn a_certificate_without_an_end_is_read_and_kept_as_it_is() {
        let check = |text, expected: &str| {
            let der = ending(text);
            let certificate = Certificate::from_der(&der).unwrap();
            assert_eq!(certificate.not_after().to_string(), expected);
            assert_eq!(certificate.der(), der);
            assert!(certificate.is_valid_at(now()));
        };
        check(b"99991230215959Z", "9999-12-30T21:59:59Z");
        check(b"99991230220001Z", "9999-12-30T22:00:00Z");
        check(b"99991231235959Z", "9999-12-30T22:00:00Z");
    }
}

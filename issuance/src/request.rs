//! Certificate signing requests: PKCS#10 (RFC 2986), built from a spec or parsed from foreign bytes.

use der::asn1::{Any, BitString, SetOfVec};
use der::{Decode as _, Encode as _};
use x509_cert::attr::Attribute;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

use crate::asn1::{RequestInfo, Signed};
use crate::constraint::NameConstraints;
use crate::extension::{self, ExtensionError, Extensions};
use crate::key::{KeyError, PrivateKey, PublicKey};
use crate::name::{self, NameError, Subject, SubjectAltName};
use crate::pem::{self, Limit, PemError};
use crate::signature::{self, SignatureError};
use crate::usage::Usages;

/// The PEM label of a request (RFC 7468 §7).
const LABEL: &str = "CERTIFICATE REQUEST";

/// What a request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestSpec {
    /// The subject; may be empty when there are names.
    pub subject: Subject,
    /// Subject alternative names, in the order in which they are to be encoded.
    pub names: Vec<SubjectAltName>,
    /// Usages; `cert sign` is added when `is_ca` is set.
    pub usages: Usages,
    /// Whether the certificate is to be a CA's.
    pub is_ca: bool,
    /// Whether the usages are written into the request (`spec.encodeUsagesInRequest`).
    pub encode_usages: bool,
    /// What the names below the CA may be; of use with `is_ca` alone. Constraints that constrain nothing are left
    /// out.
    pub name_constraints: Option<NameConstraints>,
}

/// Why a request cannot be built or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// RFC 5280 §4.1.2.6 wants a subject or an alternative name.
    #[error("the request names nobody: give a common name or at least one subject alternative name")]
    Nameless,
    /// A name cannot be encoded.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An extension cannot be encoded or decoded.
    #[error(transparent)]
    Extension(#[from] ExtensionError),
    /// The key did not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The text is no PEM block.
    #[error("the certificate request cannot be decoded")]
    Pem(#[from] PemError),
    /// The PEM block is of another kind.
    #[error("a {0:?} block is not a CERTIFICATE REQUEST")]
    Label(String),
    /// The bytes are not a PKCS#10 request.
    #[error("the certificate request is not valid PKCS#10")]
    Malformed,
    /// The request was not signed by the key in it.
    #[error("the certificate request is not signed by its own key")]
    Signature(#[from] SignatureError),
}

/// A request whose own signature was verified.
#[derive(Debug, Clone)]
pub struct Request {
    der: Vec<u8>,
    subject: Any,
    common_name: Option<String>,
    public_key: PublicKey,
    names: Vec<SubjectAltName>,
    extensions: Extensions,
}

impl Request {
    /// Builds a request and signs it with `key`.
    ///
    /// # Errors
    /// When there is no name at all, or one cannot be encoded.
    pub fn build(spec: &RequestSpec, key: &PrivateKey) -> Result<Self, RequestError> {
        let named = spec.subject.common_name.as_ref().is_some_and(|name| !name.is_empty());
        if !named && spec.names.is_empty() {
            return Err(RequestError::Nameless);
        }
        let subject = spec.subject.to_name()?;
        let extensions = requested_extensions(spec, name::is_empty(&subject))?;
        let der = encode(subject.clone(), &extensions, key)?;
        Ok(Self {
            der,
            common_name: name::common_name(&subject),
            subject,
            public_key: key.public_key().clone(),
            names: spec.names.clone(),
            extensions,
        })
    }

    /// Reads the first PEM block and verifies the request's own signature.
    ///
    /// # Errors
    /// When the text is no request, or it is not signed by the key in it.
    pub fn from_pem(text: &[u8]) -> Result<Self, RequestError> {
        let block = pem::first(text, Limit::CERTIFICATE)?;
        // The second label is what old OpenSSL versions and Microsoft's tools write (RFC 7468 §7).
        if block.label != LABEL && block.label != "NEW CERTIFICATE REQUEST" {
            return Err(RequestError::Label(block.label));
        }
        Self::from_der(block.content.expose())
    }

    /// Reads DER and verifies the request's own signature.
    ///
    /// # Errors
    /// When the bytes are no request, or it is not signed by the key in it.
    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        let malformed = |_| RequestError::Malformed;
        let signed = Signed::from_der(der).map_err(malformed)?;
        let body = signed.body_der().map_err(malformed)?;
        let info = RequestInfo::from_der(&body).map_err(malformed)?;
        if info.version != 0 {
            return Err(RequestError::Malformed);
        }
        signature::verify(&signed, &info.public_key)?;
        let extensions = extensions_of(&info)?;
        Ok(Self {
            der: der.to_vec(),
            common_name: name::common_name(&info.subject),
            subject: info.subject,
            public_key: PublicKey::from_spki(info.public_key).map_err(malformed)?,
            names: extensions.names()?,
            extensions,
        })
    }

    /// The request as it was built or read.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The request as one PEM block.
    pub fn to_pem(&self) -> String {
        pem::encode(LABEL, &self.der)
    }

    /// The key that signed the request and is to be certified.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Subject alternative names in their order.
    pub fn names(&self) -> &[SubjectAltName] {
        &self.names
    }

    /// The first common name of the subject.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// The subject for people: `O=Example, CN=leaf`.
    pub fn subject(&self) -> String {
        name::display(&self.subject)
    }

    /// The usages that the request carries; `None` when it leaves them to the issuer.
    ///
    /// # Errors
    /// When an extension is malformed or repeated.
    pub fn usages(&self) -> Result<Option<Usages>, ExtensionError> {
        let bits = self.extensions.get::<KeyUsage>()?;
        let purposes = self.extensions.get::<ExtendedKeyUsage>()?;
        let carries = bits.is_some() || purposes.is_some();
        Ok(carries.then(|| Usages::from_extensions(bits.as_ref(), purposes.as_ref())))
    }

    /// The name constraints that the request carries.
    ///
    /// # Errors
    /// When the extension is malformed or repeated.
    pub fn name_constraints(&self) -> Result<Option<NameConstraints>, ExtensionError> {
        self.extensions.name_constraints()
    }

    /// The basic constraints that the request carries.
    pub(crate) fn basic_constraints(&self) -> Result<Option<BasicConstraints>, ExtensionError> {
        self.extensions.get::<BasicConstraints>()
    }

    pub(crate) fn subject_name(&self) -> &Any {
        &self.subject
    }

    pub(crate) fn extensions(&self) -> &Extensions {
        &self.extensions
    }
}

fn requested_extensions(spec: &RequestSpec, subject_is_empty: bool) -> Result<Extensions, RequestError> {
    let mut extensions = Extensions::default();
    if spec.encode_usages {
        let usages = if spec.is_ca { spec.usages.clone().with_cert_sign() } else { spec.usages.clone() };
        if let Some(bits) = usages.key_usage() {
            extensions.add(true, &bits)?;
        }
        if let Some(purposes) = usages.extended_key_usage() {
            extensions.add(false, &purposes)?;
        }
    }
    extensions.add_names(&spec.names, subject_is_empty)?;
    if let Some(constraints) = &spec.name_constraints {
        extensions.add_name_constraints(constraints)?;
    }
    Ok(extensions)
}

fn encode(subject: Any, extensions: &Extensions, key: &PrivateKey) -> Result<Vec<u8>, RequestError> {
    let malformed = |_| RequestError::Malformed;
    let mut attributes = SetOfVec::new();
    if !extensions.0.is_empty() {
        let value = Any::encode_from(&extensions.0).map_err(malformed)?;
        let values = SetOfVec::from_iter([value]).map_err(malformed)?;
        attributes.insert(Attribute { oid: extension::EXTENSION_REQUEST, values }).map_err(malformed)?;
    }
    let info = RequestInfo { version: 0, subject, public_key: key.public_key().spki().clone(), attributes };
    let body = Any::encode_from(&info).map_err(malformed)?;
    let signature = key.sign(&body.to_der().map_err(malformed)?)?;
    let signed = Signed {
        body,
        algorithm: key.signature_algorithm().identifier(),
        signature: BitString::from_bytes(&signature).map_err(malformed)?,
    };
    signed.to_der().map_err(malformed)
}

fn extensions_of(info: &RequestInfo) -> Result<Extensions, RequestError> {
    let mut found = info.attributes.iter().filter(|attribute| attribute.oid == extension::EXTENSION_REQUEST);
    let Some(attribute) = found.next() else {
        return Ok(Extensions::default());
    };
    let mut values = attribute.values.iter();
    match (found.next(), values.next(), values.next()) {
        (None, Some(value), None) => {
            extension::from_request_attribute(value).map_err(|_| RequestError::Malformed)
        }
        _ => Err(RequestError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Curve, KeyAlgorithm, RsaSize};

    fn spec() -> RequestSpec {
        RequestSpec {
            subject: Subject::common_name("leaf"),
            names: vec![
                SubjectAltName::Dns("a.test".to_owned()),
                SubjectAltName::Ip("192.0.2.1".parse().unwrap()),
                SubjectAltName::Uri("spiffe://td/ns/a/sa/b".to_owned()),
            ],
            usages: Usages::parse(["digital signature", "server auth"]).unwrap(),
            encode_usages: true,
            ..RequestSpec::default()
        }
    }

    #[test]
    fn a_request_that_names_nobody_is_refused() {
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        for common_name in [None, Some(String::new())] {
            let subject = Subject { common_name, ..Subject::default() };
            let spec = RequestSpec { subject, ..RequestSpec::default() };
            assert_eq!(Request::build(&spec, &key).unwrap_err(), RequestError::Nameless);
        }
    }

    #[test]
    fn a_request_with_a_flipped_bit_is_refused() {
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
        let der = Request::build(&spec(), &key).unwrap().der().to_vec();
        for position in 0..der.len() {
            let mut broken = der.clone();
            broken[position] ^= 1;
            assert!(Request::from_der(&broken).is_err(), "byte {position} may be anything");
        }
        for length in 0..der.len() {
            assert!(Request::from_der(&der[..length]).is_err(), "cut to {length} bytes");
        }
    }

    #[test]
    fn name_constraints_are_asked_for_when_they_constrain_something() {
        use crate::constraint::Subtrees;
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let check = |asked: Option<NameConstraints>, carried: Option<&NameConstraints>| {
            let spec = RequestSpec { name_constraints: asked, ..spec() };
            let request = Request::from_der(Request::build(&spec, &key).unwrap().der()).unwrap();
            assert_eq!(request.name_constraints().unwrap().as_ref(), carried);
        };
        check(None, None);
        check(Some(NameConstraints { critical: true, ..NameConstraints::default() }), None);
        for critical in [true, false] {
            let permitted = Subtrees { dns_domains: vec!["a.test".to_owned()], ..Subtrees::default() };
            let constraints = NameConstraints { critical, permitted, ..NameConstraints::default() };
            check(Some(constraints.clone()), Some(&constraints));
        }
    }

    #[test]
    fn what_is_built_parses_to_the_same() {
        for kind in
            [KeyAlgorithm::Rsa(RsaSize::Bits2048), KeyAlgorithm::Ecdsa(Curve::P521), KeyAlgorithm::Ed25519]
        {
            let key = PrivateKey::generate(kind).unwrap();
            let built = Request::build(&spec(), &key).unwrap();
            let parsed = Request::from_pem(built.to_pem().as_bytes()).unwrap();
            assert_eq!(parsed.der(), built.der());
            assert_eq!(parsed.names(), spec().names);
            assert_eq!(parsed.subject(), "CN=leaf");
            assert_eq!(parsed.public_key(), key.public_key());
            assert_eq!(parsed.usages().unwrap(), Some(spec().usages), "{kind}");
        }
    }
}

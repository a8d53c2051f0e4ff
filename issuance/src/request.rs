//! Certificate signing requests: PKCS#10 (RFC 2986), built from a spec or parsed from foreign bytes.

use der::asn1::{Any, BitString};
use der::{Decode as _, Encode as _, Tag, TagNumber, Tagged as _};
use spki::SubjectPublicKeyInfoOwned;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

use crate::asn1::{self, Attribute, RequestInfo, Signed};
use crate::constraint::NameConstraints;
use crate::extension::{self, Extensions};
use crate::key::{KeyError, PrivateKey, PublicKey};
use crate::name::{self, NameError, RequestedSubject, SubjectAltName};
use crate::pem::{self, Block, Limit, PemError};
use crate::signature::{self, FormError, SignatureAlgorithm, SignatureError, form};
use crate::usage::Usages;

mod examined;

pub use crate::extension::ExtensionError;
pub use examined::{Examined, Tolerance};

/// The PEM label of a request (RFC 7468 §7).
const LABEL: &str = "CERTIFICATE REQUEST";

/// The most bytes of a request in DER: what fits into [`Limit::CERTIFICATE`] as base64.
const DER_BYTES_MAX: usize = Limit::CERTIFICATE.bytes / 4 * 3;

/// What a request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestSpec {
    /// The subject; may be empty when there are names.
    pub subject: RequestedSubject,
    /// Subject alternative names. They are encoded kind by kind as the peer does (DNS names, e-mail addresses, IP
    /// addresses, URIs, other names), in this order inside a kind; duplicates are kept.
    pub names: Vec<SubjectAltName>,
    /// Usages; `cert sign` is added when `is_ca` is set.
    pub usages: Usages,
    /// Whether the certificate is to be a CA's.
    pub is_ca: bool,
    /// Whether the usages are written into the request (`spec.encodeUsagesInRequest`).
    pub encode_usages: bool,
    /// Whether the basic constraints, which carry `is_ca`, are written into the request (feature gate
    /// `UseCertificateRequestBasicConstraints`).
    pub encode_basic_constraints: bool,
    /// What the names below the CA may be; of use with `is_ca` alone. Constraints that constrain nothing are left
    /// out.
    pub name_constraints: Option<NameConstraints>,
    /// What the request is signed with (`spec.signatureAlgorithm`); `None` for [`SignatureAlgorithm::of_key`].
    pub signature_algorithm: Option<SignatureAlgorithm>,
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
    /// Something follows the PEM block of a request that is judged for others.
    #[error("{0} bytes follow the CERTIFICATE REQUEST block")]
    Trailing(usize),
    /// The bytes are more than a request may have.
    #[error("a certificate request of {0} bytes is more than the {DER_BYTES_MAX} allowed")]
    TooLong(usize),
    /// The bytes are not a PKCS#10 request.
    #[error("the certificate request is not valid PKCS#10")]
    Malformed,
    /// RFC 2986 knows version 0 alone, which it calls v1.
    #[error("the certificate request has version {0}; PKCS#10 knows 0 only")]
    Version(u8),
    /// RFC 2985 §5.4.2 has one extensionRequest attribute with one value.
    #[error("the certificate request has an extensionRequest attribute that does not hold exactly one list")]
    ExtensionLists,
    /// RFC 5280 §4.2.1.6 has at least one name in the extension.
    #[error("the certificate request has a list of subject alternative names without any")]
    NoNames,
    /// The request was not signed by the key in it.
    #[error("the certificate request is not signed by its own key")]
    Signature(#[from] SignatureError),
    /// The key could not be copied into a certificate that other programs read.
    #[error("the public key in the certificate request cannot be certified as it is")]
    Form(#[from] FormError),
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
    signature_algorithm: SignatureAlgorithm,
}

/// One attribute of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectAttribute {
    /// The short name of its type, such as `CN` or `O`, else the dotted object identifier.
    pub kind: String,
    /// Its value; `None` when that is no text.
    pub value: Option<String>,
}

impl SubjectAttribute {
    /// Those of a Name in the order of DER; none when it cannot be read.
    pub(crate) fn all(name: &Any) -> Vec<Self> {
        let attributes = name::attributes(name).unwrap_or_default();
        let read = |attribute: &AttributeTypeAndValue| Self {
            kind: name::short_name(attribute.oid),
            value: name::text(&attribute.value),
        };
        attributes.iter().map(read).collect()
    }
}

impl Request {
    /// Builds a request and signs it with `key`. Subject and extensions come in the order of the peer: names, key
    /// usage, extended key usage, basic constraints, name constraints.
    ///
    /// # Errors
    /// When there is no name at all, one cannot be encoded, or the key cannot sign with the algorithm that was chosen.
    pub fn build(spec: &RequestSpec, key: &PrivateKey) -> Result<Self, RequestError> {
        let subject = spec.subject.to_name()?;
        name::check(&subject)?;
        let common_name = name::common_name(&subject);
        if common_name.as_ref().is_none_or(String::is_empty) && spec.names.is_empty() {
            return Err(RequestError::Nameless);
        }
        let algorithm = spec.signature_algorithm.unwrap_or(SignatureAlgorithm::of_key(key.algorithm()));
        let extensions = requested_extensions(spec, name::is_empty(&subject))?;
        let der = encode(subject.clone(), &extensions, key, algorithm)?;
        if der.len() > DER_BYTES_MAX {
            return Err(RequestError::TooLong(der.len()));
        }
        Ok(Self {
            der,
            common_name,
            subject,
            public_key: key.public_key().clone(),
            names: name::in_order(&spec.names),
            extensions,
            signature_algorithm: algorithm,
        })
    }

    /// Reads the first PEM block and verifies the request's own signature.
    ///
    /// # Errors
    /// When the text is no request, or it is not signed by the key in it.
    pub fn from_pem(text: &[u8]) -> Result<Self, RequestError> {
        let block = pem::first(text, Limit::CERTIFICATE)?;
        check_label(&block)?;
        Self::from_der(block.content.expose())
    }

    /// Reads DER and verifies the request's own signature. Whatever a certificate could take over is read here, so
    /// that nothing is found malformed later.
    ///
    /// # Errors
    /// When the bytes are no request, or it is not signed by the key in it.
    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > DER_BYTES_MAX {
            return Err(RequestError::TooLong(der.len()));
        }
        let read = Parts::verified(der, Purpose::Issue, |signed, key| {
            // An algorithm that certificates may be signed with is not always one that a request may.
            let oid = signed.algorithm.oid;
            let algorithm = SignatureAlgorithm::from_oid(oid);
            let algorithm = algorithm.ok_or_else(|| SignatureError::Algorithm(oid.to_string()))?;
            signature::verify(signed, key).map(|()| algorithm)
        })?;
        Ok(Self {
            der: der.to_vec(),
            common_name: name::common_name(&read.info.subject),
            subject: read.info.subject,
            public_key: PublicKey::from_spki(read.info.public_key).map_err(|_| RequestError::Malformed)?,
            names: read.names,
            extensions: read.extensions,
            signature_algorithm: read.verified,
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

    /// The DER of the subject, a Name (RFC 5280 §4.1.2.4), as it was built or read.
    ///
    /// # Errors
    /// When it is too long for DER, which what was built or read is not.
    pub fn subject_der(&self) -> Result<Vec<u8>, RequestError> {
        self.subject.to_der().map_err(|_| RequestError::Malformed)
    }

    /// Each attribute of the subject in the order of DER. There may be several common names:
    /// [`Self::common_name`] is the first one only.
    pub fn subject_attributes(&self) -> Vec<SubjectAttribute> {
        SubjectAttribute::all(&self.subject)
    }

    /// What the request is signed with.
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.signature_algorithm
    }

    /// Whether the request asks for a CA's certificate; `None` when it has no basic constraints and leaves that to
    /// the issuer.
    ///
    /// # Errors
    /// When the extension is malformed or repeated.
    pub fn is_ca(&self) -> Result<Option<bool>, ExtensionError> {
        Ok(self.basic_constraints()?.map(|constraints| constraints.ca))
    }

    /// The usages that the request carries; `None` when it leaves them to the issuer.
    ///
    /// # Errors
    /// When an extension is malformed or repeated.
    pub fn usages(&self) -> Result<Option<Usages>, ExtensionError> {
        usages_of(&self.extensions)
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

/// What a request consists of, its signature and everything that a certificate could take over having been checked.
struct Parts<V> {
    info: RequestInfo,
    extensions: Extensions,
    names: Vec<SubjectAltName>,
    /// What the check of the signature gave.
    verified: V,
}

/// What a request is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A certificate of ours.
    Issue,
    /// To say whether somebody else may issue. What makes no difference to a certificate, and tools write that are in
    /// use, is passed over then: another version than 0, and a list of alternative names without any.
    Judge,
}

impl<V> Parts<V> {
    fn verified(
        der: &[u8],
        purpose: Purpose,
        verify: impl Fn(&Signed, &SubjectPublicKeyInfoOwned) -> Result<V, SignatureError>,
    ) -> Result<Self, RequestError> {
        let malformed = |_| RequestError::Malformed;
        let signed = Signed::from_der(der).map_err(malformed)?;
        let body = signed.body_der().map_err(malformed)?;
        let info = RequestInfo::from_der(&body).map_err(malformed)?;
        if info.version != 0 && purpose == Purpose::Issue {
            return Err(RequestError::Version(info.version));
        }
        let verified = verify(&signed, &info.public_key)?;
        form::check(&info.public_key)?;
        name::check(&info.subject)?;
        let extensions = extensions_of(&info)?;
        let names = extensions.names()?;
        let is_unnamed = names.is_empty() && extensions.raw(extension::SUBJECT_ALT_NAME)?.is_some();
        if is_unnamed && purpose == Purpose::Issue {
            return Err(RequestError::NoNames);
        }
        extensions.check_usages()?;
        extensions.get::<BasicConstraints>()?;
        extensions.name_constraints()?;
        Ok(Self { info, extensions, names, verified })
    }
}

fn check_label(block: &Block) -> Result<(), RequestError> {
    // The second label is what old OpenSSL versions and Microsoft's tools write (RFC 7468 §7).
    if block.label == LABEL || block.label == "NEW CERTIFICATE REQUEST" {
        Ok(())
    } else {
        Err(RequestError::Label(block.label.clone()))
    }
}

fn usages_of(extensions: &Extensions) -> Result<Option<Usages>, ExtensionError> {
    let bits = extensions.get::<KeyUsage>()?;
    let purposes = extensions.get::<ExtendedKeyUsage>()?;
    let carries = bits.is_some() || purposes.is_some();
    Ok(carries.then(|| Usages::from_extensions(bits.as_ref(), purposes.as_ref())))
}

fn requested_extensions(spec: &RequestSpec, subject_is_empty: bool) -> Result<Extensions, RequestError> {
    let mut extensions = Extensions::default();
    extensions.add_names(&spec.names, subject_is_empty)?;
    if spec.encode_usages {
        let usages = if spec.is_ca { spec.usages.clone().with_cert_sign() } else { spec.usages.clone() };
        if let Some(bits) = usages.key_usage() {
            extensions.add(true, &bits)?;
        }
        if let Some(purposes) = usages.extended_key_usage() {
            extensions.add(false, &purposes)?;
        }
    }
    if spec.encode_basic_constraints {
        extensions.add(true, &BasicConstraints { ca: spec.is_ca, path_len_constraint: None })?;
    }
    if let Some(constraints) = &spec.name_constraints {
        extensions.add_name_constraints(constraints)?;
    }
    Ok(extensions)
}

/// The tag of the attributes in a request.
const ATTRIBUTES: Tag = Tag::ContextSpecific { number: TagNumber(0), constructed: true };

fn encode(
    subject: Any,
    extensions: &Extensions,
    key: &PrivateKey,
    algorithm: SignatureAlgorithm,
) -> Result<Vec<u8>, RequestError> {
    let malformed = |_| RequestError::Malformed;
    let attributes = if extensions.0.is_empty() {
        Vec::new()
    } else {
        let value = extensions.0.to_der().map_err(malformed)?;
        let values = Any::new(Tag::Set, value).map_err(malformed)?;
        Attribute { oid: extension::EXTENSION_REQUEST, values }.to_der().map_err(malformed)?
    };
    let attributes = Any::new(ATTRIBUTES, attributes).map_err(malformed)?;
    let info = RequestInfo { version: 0, subject, public_key: key.public_key().spki().clone(), attributes };
    let body = Any::encode_from(&info).map_err(malformed)?;
    let signature = key.sign_with(algorithm, &body.to_der().map_err(malformed)?)?;
    let signed = Signed {
        body,
        algorithm: algorithm.identifier(),
        signature: BitString::from_bytes(&signature).map_err(malformed)?,
    };
    signed.to_der().map_err(malformed)
}

/// The extensions that are asked for; attributes of other types are not looked into.
fn extensions_of(info: &RequestInfo) -> Result<Extensions, RequestError> {
    let malformed = |_| RequestError::Malformed;
    if info.attributes.tag() != ATTRIBUTES {
        return Err(RequestError::Malformed);
    }
    let mut lists = Vec::new();
    for attribute in asn1::elements(info.attributes.value()).map_err(malformed)? {
        let der = attribute.to_der().map_err(malformed)?;
        let attribute = Attribute::from_der(&der).map_err(malformed)?;
        if attribute.values.tag() != Tag::Set || !asn1::is_canonical(&attribute.oid) {
            return Err(RequestError::Malformed);
        }
        if attribute.oid == extension::EXTENSION_REQUEST {
            lists.push(asn1::elements(attribute.values.value()).map_err(malformed)?);
        }
    }
    let list = match lists.as_slice() {
        [] => return Ok(Extensions::default()),
        [values] => values,
        _ => return Err(RequestError::ExtensionLists),
    };
    let [value] = list.as_slice() else {
        return Err(RequestError::ExtensionLists);
    };
    // An empty list is against the letter of RFC 5280, asks for nothing, and other readers take it.
    let extensions = extension::from_request_attribute(value).map_err(malformed)?;
    extensions.check_distinct()?;
    Ok(extensions)
}

#[cfg(test)]
mod tests;

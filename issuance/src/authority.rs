//! Signing: a certificate from a request, by a CA or by the subject's own key (spec/issuance.md §§4–7).

use std::fmt;

use aws_lc_rs::rand;
use der::asn1::{Any, BitString, Int};
use der::{Decode as _, Encode as _};
use jiff::{SignedDuration, Timestamp};
use x509_cert::ext::pkix::{BasicConstraints, NameConstraints};
use x509_cert::time::Validity;

use crate::asn1::{Signed, TbsCertificate, VERSION_3};
use crate::bundle::Bundle;
use crate::certificate::{self, Certificate, CertificateError};
use crate::chain::{Chain, ChainError};
use crate::extension::{self, ExtensionError, Extensions};
use crate::key::{KeyError, PrivateKey, PublicKey};
use crate::name::{self, NameError, Subject};
use crate::pem::{self, Limit, PemError};
use crate::request::Request;
use crate::usage::Usages;

/// How long a certificate is valid when nothing else is said: 90 days.
pub const DEFAULT_DURATION: SignedDuration = SignedDuration::from_hours(2160);

/// The most that notBefore lies before the moment of issue, for nodes whose clocks are behind.
const BACK_DATING_MAX: SignedDuration = SignedDuration::from_mins(5);

/// A CA that cuts a lifetime below this has too little left to be of use; shorter ones only when they were asked for.
const CUT_LIFETIME_MIN: SignedDuration = SignedDuration::from_hours(1);

/// Octets of a serial number; its top bit is clear, so 159 of 160 bits are random (RFC 5280 §4.1.2.2).
const SERIAL_OCTETS: usize = 20;

/// What the issuer decides about a certificate, whatever the request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How long it is valid from the moment of issue.
    pub duration: SignedDuration,
    /// Its usages; a request that carries usages must carry the same.
    pub usages: Usages,
    /// Whether it is a CA.
    pub is_ca: bool,
    /// URLs of revocation lists (`spec.ca.crlDistributionPoints`).
    pub crl_distribution_points: Vec<String>,
    /// URLs of OCSP responders (`spec.ca.ocspServers`).
    pub ocsp_servers: Vec<String>,
    /// URLs of the issuer's own certificate (`spec.ca.issuingCertificateURLs`).
    pub issuing_certificate_urls: Vec<String>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            duration: DEFAULT_DURATION,
            usages: Usages::default(),
            is_ca: false,
            crl_distribution_points: Vec::new(),
            ocsp_servers: Vec::new(),
            issuing_certificate_urls: Vec::new(),
        }
    }
}

/// What an issuer gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate with its intermediates, leaf first, without the root: what belongs in `tls.crt`.
    pub chain: Chain,
    /// What belongs in `ca.crt`; empty when the issuer told no CA.
    pub ca: Bundle,
    /// What the requester should know, such as a lifetime that was cut.
    pub notes: Vec<String>,
}

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// The CA's certificate chain does not decode.
    #[error("the CA certificate cannot be decoded")]
    Certificate(#[source] PemError),
    /// The CA's private key does not decode.
    #[error("the CA private key cannot be decoded")]
    Key(#[source] KeyError),
    /// The CA's certificates do not form a chain.
    #[error("the CA certificates do not form a chain")]
    Chain(#[from] ChainError),
    /// Key and certificate are two different CAs'.
    #[error("the CA private key does not belong to the CA certificate {subject:?}")]
    Mismatch {
        /// Subject of the certificate.
        subject: String,
    },
    /// The certificate must not sign others.
    #[error("certificate {subject:?} is not a CA: {reason}")]
    NotCa {
        /// Subject of the certificate.
        subject: String,
        /// What it lacks.
        reason: &'static str,
    },
    /// The CA has expired, or is not valid yet.
    #[error("CA {subject:?} is valid from {not_before} to {not_after}, and now is {now}")]
    NotValid {
        /// Subject of the CA.
        subject: String,
        /// Start of its validity.
        not_before: Timestamp,
        /// End of its validity.
        not_after: Timestamp,
        /// The moment of signing.
        now: Timestamp,
    },
    /// Too little is left of the CA's life.
    #[error(
        "CA {subject:?} expires at {not_after}, which leaves less than the {asked:#} that were asked for and less than an hour; renew the CA"
    )]
    ExpiresTooSoon {
        /// Subject of the CA.
        subject: String,
        /// End of its validity.
        not_after: Timestamp,
        /// Duration that was asked for.
        asked: SignedDuration,
    },
    /// The CA may sign leaves only.
    #[error("CA {subject:?} has path length 0 and may not sign a certificate with isCA")]
    PathLength {
        /// Subject of the CA.
        subject: String,
    },
    /// Request and terms disagree on usages.
    #[error(
        "the request asks for usages {requested:?}, but {allowed:?} were to be issued; make them equal or leave them out of the request"
    )]
    Usages {
        /// What the request carries.
        requested: String,
        /// What the terms say.
        allowed: String,
    },
    /// Request and terms disagree on basic constraints.
    #[error("the request says CA {requested}, but isCA is {allowed}")]
    BasicConstraints {
        /// What the request carries.
        requested: bool,
        /// What the terms say.
        allowed: bool,
    },
    /// The duration is not positive, or goes beyond what a date can hold.
    #[error("a certificate cannot be valid for {0:#}")]
    Duration(SignedDuration),
    /// The key that was to sign is not the request's.
    #[error("the private key is not the one that the request was made with")]
    NotSubject,
    /// A name cannot be encoded.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An extension cannot be read or written.
    #[error(transparent)]
    Extension(#[from] ExtensionError),
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] KeyError),
    /// The certificate cannot be encoded, or what was encoded does not parse: a defect of ours.
    #[error("the certificate cannot be encoded")]
    Encoding(#[source] Option<CertificateError>),
}

/// A CA: its certificate, the chain above it, and its private key.
pub struct Authority {
    key: PrivateKey,
    chain: Chain,
    identifier: Option<Vec<u8>>,
    /// The chain above a leaf and what goes to `ca.crt`, worked out once.
    served: Option<Chain>,
    ca: Bundle,
}

impl Authority {
    /// Takes the data of a CA's Secret: `tls.crt` (the signing certificate first, then those above it), `tls.key`,
    /// and `ca.crt`, whose first certificate completes the chain.
    ///
    /// # Errors
    /// When something does not decode, key and certificate do not belong together, the chain is broken, or the
    /// certificate is not a CA's.
    pub fn from_pem(chain: &[u8], key: &[u8], ca: Option<&[u8]>) -> Result<Self, AuthorityError> {
        let mut certificates = pem::certificates(chain, Limit::CHAIN).map_err(AuthorityError::Certificate)?;
        if let Some(ca) = ca.filter(|ca| !ca.trim_ascii().is_empty()) {
            let bundle = pem::certificates(ca, Limit::BUNDLE).map_err(AuthorityError::Certificate)?;
            certificates.extend(bundle.into_iter().next());
        }
        let key = PrivateKey::from_pem(key).map_err(AuthorityError::Key)?;
        Self::new(Chain::order(certificates)?, key)
    }

    /// Makes a new root that signs itself: a key, a name, and a life of `lifetime` from `now` on. It may sign
    /// certificates and nothing else is said about it.
    ///
    /// # Errors
    /// When the name or the lifetime cannot be encoded.
    pub fn self_signed(
        common_name: &str,
        key: PrivateKey,
        lifetime: SignedDuration,
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let subject = Subject::common_name(common_name).to_name()?;
        let usages = Usages::default().with_cert_sign();
        let identifier = extension::key_identifier(key.public_key());
        let mut extensions =
            base_extensions(&usages, &BasicConstraints { ca: true, path_len_constraint: None })?;
        add_key_identifiers(&mut extensions, &identifier, Some(&identifier))?;
        let template = Template {
            issuer: subject.clone(),
            subject,
            public_key: key.public_key(),
            validity: validity(lifetime, now)?,
            extensions,
        };
        let certificate = template.sign(&key, random_serial()?)?;
        Self::new(Chain::order(vec![certificate])?, key)
    }

    fn new(chain: Chain, key: PrivateKey) -> Result<Self, AuthorityError> {
        let certificate = chain.leaf();
        let subject = certificate.subject();
        if certificate.public_key() != key.public_key() {
            return Err(AuthorityError::Mismatch { subject });
        }
        if !certificate.is_ca() {
            let reason = "its basic constraints do not say so; set isCA on the Certificate that makes it";
            return Err(AuthorityError::NotCa { subject, reason });
        }
        if !certificate.may_sign_certificates() {
            return Err(AuthorityError::NotCa { subject, reason: "its key usage lacks cert sign" });
        }
        let identifier = certificate.key_identifier().map(<[u8]>::to_vec);
        let (above, ca) = chain.clone().split();
        // A lone root is not served with its leaves; every other chain is.
        let served = (!above.leaf().is_self_signed()).then_some(above);
        let ca = if ca.is_empty() { Bundle::of(vec![chain.leaf().clone()]) } else { ca };
        Ok(Self { key, chain, identifier, served, ca })
    }

    /// The CA's own certificate.
    pub fn certificate(&self) -> &Certificate {
        self.chain.leaf()
    }

    /// The CA's private key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The CA's certificate and those above it, as `tls.crt` holds them.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Checks that the CA may sign at `now`.
    ///
    /// # Errors
    /// [`AuthorityError::NotValid`] outside its validity.
    pub fn check_valid_at(&self, now: Timestamp) -> Result<(), AuthorityError> {
        let certificate = self.certificate();
        if certificate.is_valid_at(now) {
            return Ok(());
        }
        Err(AuthorityError::NotValid {
            subject: certificate.subject(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            now,
        })
    }

    /// Signs a certificate for the key and the names of `request`, on these terms. A life that would outlast the CA
    /// is cut to the CA's, with a note.
    ///
    /// # Errors
    /// When the CA may not sign this now, or request and terms disagree.
    pub fn sign(&self, request: &Request, terms: &Terms, now: Timestamp) -> Result<Issued, AuthorityError> {
        self.check_valid_at(now)?;
        let certificate = self.certificate();
        if terms.is_ca && certificate.path_len() == Some(0) {
            return Err(AuthorityError::PathLength { subject: certificate.subject() });
        }
        let mut notes = Vec::new();
        let validity = self.cap(validity(terms.duration, now)?, terms, now, &mut notes)?;
        let extensions = leaf_extensions(request, terms, self.identifier.as_deref())?;
        let template = Template {
            issuer: certificate.subject_name().clone(),
            subject: request.subject_name().clone(),
            public_key: request.public_key(),
            validity,
            extensions,
        };
        let leaf = template.sign(&self.key, random_serial()?)?;
        let chain = match &self.served {
            Some(above) => above.with_leaf(leaf),
            None => Chain::order(vec![leaf])?,
        };
        Ok(Issued { chain, ca: self.ca.clone(), notes })
    }

    /// Keeps a certificate's life inside the CA's.
    fn cap(
        &self,
        wanted: (Timestamp, Timestamp),
        terms: &Terms,
        now: Timestamp,
        notes: &mut Vec<String>,
    ) -> Result<(Timestamp, Timestamp), AuthorityError> {
        let certificate = self.certificate();
        let not_before = wanted.0.max(certificate.not_before());
        let ca_ends = certificate.not_after();
        if wanted.1 <= ca_ends {
            return Ok((not_before, wanted.1));
        }
        let left = ca_ends.duration_since(now);
        if left < CUT_LIFETIME_MIN {
            return Err(AuthorityError::ExpiresTooSoon {
                subject: certificate.subject(),
                not_after: ca_ends,
                asked: terms.duration,
            });
        }
        notes.push(format!(
            "valid until {ca_ends} only, when CA {:?} expires; renew the CA",
            certificate.subject()
        ));
        Ok((not_before, ca_ends))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("certificate", self.certificate()).finish_non_exhaustive()
    }
}

/// Lets a request certify itself: the signing key is the subject's own (spec/issuance.md §7).
///
/// # Errors
/// When `key` is not the request's, or request and terms disagree.
pub fn self_sign(
    request: &Request,
    key: &PrivateKey,
    terms: &Terms,
    now: Timestamp,
) -> Result<Issued, AuthorityError> {
    if request.public_key() != key.public_key() {
        return Err(AuthorityError::NotSubject);
    }
    let identifier = extension::key_identifier(key.public_key());
    let template = Template {
        issuer: request.subject_name().clone(),
        subject: request.subject_name().clone(),
        public_key: request.public_key(),
        validity: validity(terms.duration, now)?,
        extensions: leaf_extensions(request, terms, Some(&identifier))?,
    };
    let certificate = template.sign(key, random_serial()?)?;
    let mut notes = Vec::new();
    if name::is_empty(request.subject_name()) {
        notes.push(
            "the subject is empty, so is the issuer, which RFC 5280 does not allow; set a common name"
                .to_owned(),
        );
    }
    let ca = Bundle::of(vec![certificate.clone()]);
    Ok(Issued { chain: Chain::order(vec![certificate])?, ca, notes })
}

/// Everything about a certificate but its number and signature.
struct Template<'a> {
    issuer: Any,
    subject: Any,
    public_key: &'a PublicKey,
    validity: (Timestamp, Timestamp),
    extensions: Extensions,
}

impl Template<'_> {
    fn sign(self, key: &PrivateKey, serial: Int) -> Result<Certificate, AuthorityError> {
        let encoding = |_| AuthorityError::Encoding(None);
        let instant = |at| certificate::time(at).ok_or(AuthorityError::Encoding(None));
        let algorithm = key.signature_algorithm().identifier();
        let tbs = TbsCertificate {
            version: VERSION_3,
            serial,
            signature: algorithm.clone(),
            issuer: self.issuer,
            validity: Validity::new(instant(self.validity.0)?, instant(self.validity.1)?),
            subject: self.subject,
            public_key: self.public_key.spki().clone(),
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(self.extensions.0),
        };
        let body = tbs.to_der().map_err(encoding)?;
        let signature = BitString::from_bytes(&key.sign(&body)?).map_err(encoding)?;
        let signed = Signed { body: Any::from_der(&body).map_err(encoding)?, algorithm, signature };
        let der = signed.to_der().map_err(encoding)?;
        Certificate::from_der(&der).map_err(|error| AuthorityError::Encoding(Some(error)))
    }
}

/// From `now`, back-dated by a tenth of the duration and at most five minutes, to `now` plus the duration; whole
/// seconds.
fn validity(duration: SignedDuration, now: Timestamp) -> Result<(Timestamp, Timestamp), AuthorityError> {
    let refused = || AuthorityError::Duration(duration);
    if duration < SignedDuration::from_secs(1) {
        return Err(refused());
    }
    let now = Timestamp::from_second(now.as_second()).map_err(|_| refused())?;
    let back = SignedDuration::from_secs(BACK_DATING_MAX.min(duration / 10).as_secs());
    let not_before = now.checked_sub(back).map_err(|_| refused())?;
    let not_after = now.checked_add(SignedDuration::from_secs(duration.as_secs())).map_err(|_| refused())?;
    // Years of more than four digits have no encoding (RFC 5280 §4.1.2.5.2).
    certificate::time(not_before).and(certificate::time(not_after)).ok_or_else(refused)?;
    Ok((not_before, not_after))
}

fn base_extensions(usages: &Usages, constraints: &BasicConstraints) -> Result<Extensions, ExtensionError> {
    let mut extensions = Extensions::default();
    if let Some(bits) = usages.key_usage() {
        extensions.add(true, &bits)?;
    }
    if let Some(purposes) = usages.extended_key_usage() {
        extensions.add(false, &purposes)?;
    }
    extensions.add(true, constraints)?;
    Ok(extensions)
}

fn add_key_identifiers(
    extensions: &mut Extensions,
    subject: &[u8],
    authority: Option<&[u8]>,
) -> Result<(), AuthorityError> {
    let encoding = |_| AuthorityError::Encoding(None);
    extensions.add(false, &extension::subject_key_identifier(subject).map_err(encoding)?)?;
    if let Some(authority) = authority {
        extensions.add(false, &extension::authority_key_identifier(authority).map_err(encoding)?)?;
    }
    Ok(())
}

/// The extensions of a certificate for `request`: names and name constraints from the request, the rest from the
/// terms. What else the request carries is dropped.
fn leaf_extensions(
    request: &Request,
    terms: &Terms,
    authority: Option<&[u8]>,
) -> Result<Extensions, AuthorityError> {
    let usages = if terms.is_ca { terms.usages.clone().with_cert_sign() } else { terms.usages.clone() };
    agree(request, terms, &usages)?;
    let requested = request.basic_constraints()?;
    let path_len_constraint = requested.and_then(|constraints| constraints.path_len_constraint);
    let mut extensions =
        base_extensions(&usages, &BasicConstraints { ca: terms.is_ca, path_len_constraint })?;
    add_key_identifiers(&mut extensions, &extension::key_identifier(request.public_key()), authority)?;
    let subject_is_empty = name::is_empty(request.subject_name());
    for oid in [SUBJECT_ALT_NAME, NAME_CONSTRAINTS] {
        if let Some(copied) = request.extensions().raw(oid)? {
            let mut copied = copied.clone();
            if oid == SUBJECT_ALT_NAME {
                copied.critical = subject_is_empty;
            }
            extensions.0.push(copied);
        }
    }
    extensions.add_issuer_urls(
        &terms.crl_distribution_points,
        &terms.ocsp_servers,
        &terms.issuing_certificate_urls,
    )?;
    Ok(extensions)
}

const SUBJECT_ALT_NAME: der::asn1::ObjectIdentifier = der::asn1::ObjectIdentifier::new_unwrap("2.5.29.17");
const NAME_CONSTRAINTS: der::asn1::ObjectIdentifier = der::asn1::ObjectIdentifier::new_unwrap("2.5.29.30");

/// A request that says something about usages or basic constraints must say what the terms say.
fn agree(request: &Request, terms: &Terms, usages: &Usages) -> Result<(), AuthorityError> {
    if let Some(requested) = request.usages()?
        && !requested.same_as(usages)
    {
        return Err(AuthorityError::Usages { requested: requested.to_string(), allowed: usages.to_string() });
    }
    if let Some(requested) = request.basic_constraints()?
        && requested.ca != terms.is_ca
    {
        return Err(AuthorityError::BasicConstraints { requested: requested.ca, allowed: terms.is_ca });
    }
    // Copied as bytes, so make sure that they are what their identifier says.
    request.extensions().get::<NameConstraints>()?;
    Ok(())
}

fn random_serial() -> Result<Int, AuthorityError> {
    let mut octets = [0_u8; SERIAL_OCTETS];
    rand::fill(&mut octets).map_err(|_| AuthorityError::Sign(KeyError::Generate))?;
    // The top bit is clear so that the number is positive, the next one set so that it is never zero and always
    // has the same length.
    octets[0] = (octets[0] & 0x7f) | 0x40;
    Int::new(&octets).map_err(|_| AuthorityError::Encoding(None))
}

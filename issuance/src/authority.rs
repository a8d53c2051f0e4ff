//! Signing: a certificate from a request, by a CA or by the subject's own key (spec/issuance.md §§4–7).

mod checks;
mod error;
mod serial;
mod template;
#[cfg(test)]
mod tests;

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use self::checks::Rights;
pub use self::error::AuthorityError;
pub(crate) use self::template::Template;
use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::chain::Chain;
use crate::extension;
use crate::key::PrivateKey;
use crate::name::{self, Subject};
use crate::pem::{self, Limit};
use crate::permitted::Names;
use crate::request::Request;
use crate::usage::Usages;

/// How long a certificate is valid when nothing else is said: 90 days.
pub const DEFAULT_DURATION: SignedDuration = SignedDuration::from_hours(2160);

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

/// A CA: its certificate, the chain above it, and its private key.
pub struct Authority {
    key: PrivateKey,
    chain: Chain,
    rights: Rights,
    /// The CA's subject key identifier, which what it signs refers to.
    identifier: Vec<u8>,
    /// The chain above a leaf and what goes to `ca.crt`, worked out once.
    served: Option<Chain>,
    ca: Bundle,
}

impl Authority {
    /// Takes the data of a CA's Secret: `tls.crt` (the signing certificate first, then those above it), `tls.key`,
    /// and `ca.crt`, whose first certificate completes the chain.
    ///
    /// # Errors
    /// When something does not decode, key and certificate do not belong together, the chain is broken, or one of the
    /// certificates is not a CA's or has more CAs below it than it allows.
    pub fn from_pem(chain: &[u8], key: &[u8], ca: Option<&[u8]>) -> Result<Self, AuthorityError> {
        let mut certificates = pem::certificates(chain, Limit::CHAIN).map_err(AuthorityError::Certificate)?;
        let mut top = Bundle::default();
        if let Some(ca) = ca.filter(|ca| !ca.trim_ascii().is_empty()) {
            let bundle = pem::certificates(ca, Limit::BUNDLE).map_err(AuthorityError::Certificate)?;
            top = Bundle::of(bundle.into_iter().take(1).collect());
            certificates.extend_from_slice(top.certificates());
        }
        let key = PrivateKey::from_pem(key).map_err(AuthorityError::Key)?;
        Self::new(Chain::order_towards(certificates, &top)?, key)
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
        Self::root(&Subject::common_name(common_name), None, key, lifetime, now)
    }

    /// As [`Self::self_signed`], with any subject and a path length: how many levels of CAs may follow.
    pub(crate) fn root(
        subject: &Subject,
        path_len: Option<u8>,
        key: PrivateKey,
        lifetime: SignedDuration,
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let subject = subject.to_name()?;
        let template = Template {
            issuer: subject.clone(),
            subject,
            public_key: key.public_key(),
            validity: template::validity(lifetime, now)?,
            extensions: template::root_extensions(key.public_key(), path_len)?,
        };
        let certificate = template.sign(&key, serial::random()?)?;
        Self::new(Chain::order(vec![certificate])?, key)
    }

    /// Takes a chain that begins with the signing certificate, and that certificate's key.
    ///
    /// # Errors
    /// As [`Self::from_pem`], for what is decoded already.
    pub fn new(chain: Chain, key: PrivateKey) -> Result<Self, AuthorityError> {
        let rights = Rights::of(&chain, key.public_key())?;
        let identifier = chain.leaf().key_identifier().filter(|identifier| !identifier.is_empty());
        let identifier =
            identifier.map_or_else(|| extension::key_identifier(key.public_key()), <[u8]>::to_vec);
        let (above, ca) = chain.clone().split();
        // A lone root is not served with its leaves; every other chain is.
        let served = (!above.leaf().is_root()).then_some(above);
        let ca = if ca.is_empty() { Bundle::of(vec![chain.leaf().clone()]) } else { ca };
        Ok(Self { key, chain, rights, identifier, served, ca })
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

    /// Checks that the CA and those above it are valid at `now`.
    ///
    /// # Errors
    /// [`AuthorityError::NotValid`] for the first that is not.
    pub fn check_valid_at(&self, now: Timestamp) -> Result<(), AuthorityError> {
        checks::check_valid_at(&self.chain, now)
    }

    /// Signs a certificate for the key and the names of `request`, on these terms. A life that would outlast the CA
    /// is cut to the CA's, with a note.
    ///
    /// # Errors
    /// When the CA may not sign this now, or request and terms disagree.
    pub fn sign(&self, request: &Request, terms: &Terms, now: Timestamp) -> Result<Issued, AuthorityError> {
        self.check_valid_at(now)?;
        self.rights.check_path(self.certificate(), terms)?;
        let mut notes = Vec::new();
        let validity =
            checks::cap(&self.chain, template::validity(terms.duration, now)?, terms, now, &mut notes)?;
        let limit = self.rights.path_limit();
        let extensions = template::requested_extensions(request, terms, &self.identifier, limit, &mut notes)?;
        self.rights.check_names(&Names::of_request(request, terms.is_ca)?)?;
        let template = Template {
            issuer: self.certificate().subject_name().clone(),
            subject: request.subject_name().clone(),
            public_key: request.public_key(),
            validity,
            extensions,
        };
        let leaf = template.sign(&self.key, serial::random()?)?;
        let chain = match &self.served {
            Some(above) => above.with_leaf(leaf),
            None => Chain::order(vec![leaf])?,
        };
        Ok(Issued { chain, ca: self.ca.clone(), notes })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("certificate", self.certificate()).finish_non_exhaustive()
    }
}

/// Lets a request certify itself: the signing key is the subject's own (spec/issuance.md §7). Chain and CA are both
/// the certificate.
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
    let mut notes = Vec::new();
    let template = Template {
        issuer: request.subject_name().clone(),
        subject: request.subject_name().clone(),
        public_key: request.public_key(),
        validity: template::validity(terms.duration, now)?,
        extensions: template::requested_extensions(request, terms, &identifier, None, &mut notes)?,
    };
    let certificate = template.sign(key, serial::random()?)?;
    if name::is_empty(request.subject_name()) {
        notes.push(
            "the subject is empty, so is the issuer, which RFC 5280 does not allow; set a common name"
                .to_owned(),
        );
    }
    let ca = Bundle::of(vec![certificate.clone()]);
    Ok(Issued { chain: Chain::order(vec![certificate])?, ca, notes })
}

//! The life of a credential as types: pending, signed, verified. Only a verified one gives out its parts, so what
//! was not checked has no way to a volume, a Secret or a listener.

use std::fmt;

use jiff::Timestamp;

use crate::authority::Issued;
use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::chain::Chain;
use crate::key::PrivateKey;
use crate::name::SubjectAltName;
use crate::request::{Request, RequestError, RequestSpec};
use crate::signature::SignatureError;

/// A key and a request, waiting for an issuer.
#[derive(Debug)]
pub struct Pending;

/// A key and what an issuer gave back; nothing about it has been checked.
#[derive(Debug)]
pub struct Signed {
    issued: Issued,
}

/// A key and a certificate that belong together and do what was asked for.
#[derive(Debug)]
pub struct Verified {
    issued: Issued,
}

/// A private key with its request, in one of the states [`Pending`], [`Signed`] and [`Verified`].
pub struct Credential<State> {
    key: PrivateKey,
    request: Request,
    is_ca: bool,
    state: State,
}

/// Why a certificate that an issuer gave back is refused (spec/issuance.md §15).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The certificate is for another key.
    #[error("the certificate is for another key than the request's")]
    Key,
    /// A link of the chain does not hold.
    #[error("certificate {subject:?} was not signed by {issuer:?}, which follows it in the chain")]
    Link {
        /// Subject of the lower certificate.
        subject: String,
        /// Subject of the upper one.
        issuer: String,
        /// What is wrong.
        source: SignatureError,
    },
    /// A certificate above the leaf is not a CA's.
    #[error("certificate {subject:?} stands above the leaf but is not a CA")]
    NotCa {
        /// Its subject.
        subject: String,
    },
    /// A certificate of the chain is not valid now.
    #[error("certificate {subject:?} is valid from {not_before} to {not_after}, and now is {now}")]
    NotValid {
        /// Its subject.
        subject: String,
        /// Start of its validity.
        not_before: Timestamp,
        /// End of its validity.
        not_after: Timestamp,
        /// The moment of the check.
        now: Timestamp,
    },
    /// Names that were asked for are missing; a CA may add names but never drop them.
    #[error("the certificate lacks names that were asked for: {missing}")]
    Names {
        /// The missing names.
        missing: String,
    },
    /// The certificate is a CA's although that was not asked for.
    #[error("the certificate is a CA's, which was not asked for")]
    UnwantedCa,
}

impl Credential<Pending> {
    /// Builds the request for a key.
    ///
    /// # Errors
    /// When the request cannot be built.
    pub fn new(key: PrivateKey, spec: &RequestSpec) -> Result<Self, RequestError> {
        let request = Request::build(spec, &key)?;
        Ok(Self { key, request, is_ca: spec.is_ca, state: Pending })
    }

    /// The request to hand to an issuer.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The key, for issuers that sign with the subject's own (SelfSigned).
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Takes what an issuer gave back.
    pub fn signed(self, issued: Issued) -> Credential<Signed> {
        Credential { key: self.key, request: self.request, is_ca: self.is_ca, state: Signed { issued } }
    }
}

impl Credential<Signed> {
    /// Checks the certificate against the key, the request, its chain and the clock.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn verify(self, now: Timestamp) -> Result<Credential<Verified>, VerifyError> {
        let issued = &self.state.issued;
        let leaf = issued.chain.leaf();
        if leaf.public_key() != self.key.public_key() {
            return Err(VerifyError::Key);
        }
        verify_links(issued)?;
        for certificate in issued.chain.certificates().iter().chain(issued.ca.certificates()) {
            verify_validity(certificate, now)?;
        }
        verify_names(&self.request, leaf)?;
        if leaf.is_ca() && !self.is_ca {
            return Err(VerifyError::UnwantedCa);
        }
        let state = Verified { issued: self.state.issued };
        Ok(Credential { key: self.key, request: self.request, is_ca: self.is_ca, state })
    }
}

impl Credential<Verified> {
    /// Certificate and intermediates, leaf first: `tls.crt`.
    pub fn chain(&self) -> &Chain {
        &self.state.issued.chain
    }

    /// What to trust: `ca.crt`; may be empty.
    pub fn ca(&self) -> &Bundle {
        &self.state.issued.ca
    }

    /// What the requester should know.
    pub fn notes(&self) -> &[String] {
        &self.state.issued.notes
    }

    /// The private key: `tls.key`.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// First instant of the certificate's validity.
    pub fn not_before(&self) -> Timestamp {
        self.chain().leaf().not_before()
    }

    /// Last instant of the certificate's validity.
    pub fn not_after(&self) -> Timestamp {
        self.chain().leaf().not_after()
    }
}

impl<State: fmt::Debug> fmt::Debug for Credential<State> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("names", &self.request.names())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Each certificate is signed by the next, and the last by one of the CAs that it names, if that CA was given.
fn verify_links(issued: &Issued) -> Result<(), VerifyError> {
    let certificates = issued.chain.certificates();
    let above = certificates.iter().skip(1);
    for (lower, upper) in certificates.iter().zip(above) {
        verify_link(lower, upper)?;
    }
    let Some(last) = certificates.last() else {
        return Ok(());
    };
    let named = issued.ca.certificates().iter().find(|ca| last.names_issuer(ca) && *ca != last);
    match named {
        Some(ca) => verify_link(last, ca),
        None => Ok(()),
    }
}

fn verify_link(lower: &Certificate, upper: &Certificate) -> Result<(), VerifyError> {
    if !upper.is_ca() {
        return Err(VerifyError::NotCa { subject: upper.subject() });
    }
    let broken = |source| VerifyError::Link { subject: lower.subject(), issuer: upper.subject(), source };
    lower.verify_issued_by(upper).map_err(broken)
}

fn verify_validity(certificate: &Certificate, now: Timestamp) -> Result<(), VerifyError> {
    if certificate.is_valid_at(now) {
        return Ok(());
    }
    Err(VerifyError::NotValid {
        subject: certificate.subject(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        now,
    })
}

fn verify_names(request: &Request, leaf: &Certificate) -> Result<(), VerifyError> {
    let missing: Vec<String> = request
        .names()
        .iter()
        .filter(|name| !leaf.names().contains(name))
        .map(SubjectAltName::to_string)
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(VerifyError::Names { missing: missing.join(", ") }) }
}

//! The life of a credential as types: pending, signed, verified. Only a verified one gives out its parts, so what
//! was not checked has no way to a volume, a Secret or a listener.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::authority::Issued;
use crate::bundle::Bundle;
use crate::chain::Chain;
use crate::key::PrivateKey;
use crate::request::{Request, RequestError, RequestSpec};
pub use crate::verification::VerifyError;
use crate::verification::{self, Asked, Warning};

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
    warnings: Vec<Warning>,
}

/// A private key with its request, in one of the states [`Pending`], [`Signed`] and [`Verified`].
pub struct Credential<State> {
    key: PrivateKey,
    request: Request,
    asked: Asked,
    state: State,
}

impl Credential<Pending> {
    /// Builds the request for a key.
    ///
    /// # Errors
    /// When the request cannot be built.
    pub fn new(key: PrivateKey, spec: &RequestSpec) -> Result<Self, RequestError> {
        let request = Request::build(spec, &key)?;
        let asked = Asked {
            public_key: key.public_key().clone(),
            // As the request holds them: building it wrote some in another form.
            names: request.names().to_vec(),
            usages: spec.usages.clone(),
            is_ca: spec.is_ca,
            duration: None,
        };
        Ok(Self { key, request, asked, state: Pending })
    }

    /// Remembers how long the certificate is to be valid, so that a longer one is noticed.
    #[must_use]
    pub fn asking_for(mut self, duration: SignedDuration) -> Self {
        self.asked.duration = Some(duration);
        self
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
        Credential { key: self.key, request: self.request, asked: self.asked, state: Signed { issued } }
    }
}

impl Credential<Signed> {
    /// Checks the certificate against the key, the request, its chain and the clock ([`verification`]).
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn verify(self, now: Timestamp) -> Result<Credential<Verified>, VerifyError> {
        let Self { key, request, asked, state: Signed { issued } } = self;
        let warnings = verification::verify(&issued, &asked, now)?;
        Ok(Credential { key, request, asked, state: Verified { issued, warnings } })
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

    /// What is out of the ordinary about the certificate, but no reason to refuse it.
    pub fn warnings(&self) -> &[Warning] {
        &self.state.warnings
    }

    /// What the issuer says that the requester should know.
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

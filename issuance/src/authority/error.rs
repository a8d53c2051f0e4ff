//! Why a CA does not sign.

use jiff::{SignedDuration, Timestamp};

use crate::certificate::CertificateError;
use crate::chain::ChainError;
use crate::constraint::ConstraintError;
use crate::extension::ExtensionError;
use crate::key::KeyError;
use crate::name::NameError;
use crate::outcome::Fault;
use crate::pem::PemError;
use crate::permitted::NotPermitted;

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
    /// More CAs stand between the signing certificate and one above it than that one allows.
    #[error(
        "CA {subject:?} has path length {path_len}, but {below} CAs stand below it in the chain; \
         use a chain that it allows"
    )]
    ChainTooLong {
        /// Subject of the upper certificate.
        subject: String,
        /// Its path length.
        path_len: u8,
        /// How many CAs stand below it.
        below: usize,
    },
    /// The name constraints of a CA in the chain cannot be read.
    #[error("the name constraints of CA {subject:?} cannot be read, so nothing can be signed under them")]
    Constraints {
        /// Subject of the CA.
        subject: String,
        /// What is wrong.
        source: ConstraintError,
    },
    /// The CA, or one above it, has expired or is not valid yet.
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
    #[error(
        "CA {subject:?} may not sign a certificate with isCA: path length {path_len} of {constrained:?} allows no more CAs"
    )]
    PathLength {
        /// Subject of the CA.
        subject: String,
        /// Subject of the CA that has the path length: the same one, or one above it.
        constrained: String,
        /// The path length.
        path_len: u8,
    },
    /// A name lies outside what the CA, or one above it, may sign for.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    /// The request names nobody.
    #[error("the request names nobody: it has neither a subject nor a subject alternative name")]
    Nameless,
    /// The request asks for name constraints that are none.
    #[error("the request's name constraints cannot be copied")]
    RequestedConstraints(#[source] ConstraintError),
    /// Request and terms disagree on usages.
    #[error(
        "the request asks for usages {requested:?}, but {allowed:?} were to be issued; make them equal or leave them out of the request"
    )]
    Usages {
        /// What the request carries, the first few if there are many.
        requested: String,
        /// What the terms say, likewise.
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
    /// A URL of the issuer's own cannot be written into a certificate.
    #[error("the issuer's URLs of revocation lists, OCSP responders or its certificate cannot be written")]
    IssuerUrls(#[source] ExtensionError),
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

impl AuthorityError {
    /// What has to change before it works: the CA or its issuer, the request, or nothing.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Certificate(_)
            | Self::Key(_)
            | Self::Chain(_)
            | Self::Mismatch { .. }
            | Self::NotCa { .. }
            | Self::ChainTooLong { .. }
            | Self::Constraints { .. }
            | Self::NotValid { .. }
            | Self::ExpiresTooSoon { .. }
            | Self::NotPermitted(NotPermitted::Kind { .. } | NotPermitted::Base { .. }) => Fault::Authority,
            Self::IssuerUrls(_) => Fault::Issuer,
            Self::PathLength { .. }
            | Self::NotPermitted(_)
            | Self::Nameless
            | Self::RequestedConstraints(_)
            | Self::Usages { .. }
            | Self::BasicConstraints { .. }
            | Self::Duration(_)
            | Self::NotSubject
            | Self::Name(_)
            | Self::Extension(_)
            | Self::Encoding(_) => Fault::Request,
            Self::Sign(_) => Fault::Passing,
        }
    }
}

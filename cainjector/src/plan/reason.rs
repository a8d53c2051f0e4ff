//! Why a target gets nothing, and what should be looked at although it gets its bundle.

use std::fmt;

use serde::Serialize;

use crate::bounds::{MESSAGE_BYTES_MAX, clipped};

/// Why a target gets nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub reason: Reason,
    /// For people: what is wrong, and what would be right.
    pub message: String,
}

impl Refusal {
    /// A refusal for this reason. Beyond a kibibyte the message is cut.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: clipped(message.into(), MESSAGE_BYTES_MAX) }
    }
}

/// What should be looked at, although nothing is refused for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// For programs.
    pub reason: Reason,
    /// For people: what is wrong, and what would be right.
    pub message: String,
}

/// Why a target gets nothing, or what should be looked at: reasons of events and label values of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Reason {
    /// The annotation is not `namespace/name`.
    MalformedReference,
    /// The annotation names a source that is not read.
    SourceNotSupported,
    /// The source is in a namespace that `--namespace` or `--ignore-namespaces` excludes.
    NamespaceNotServed,
    /// The source does not exist.
    SourceNotFound,
    /// The source cannot be read, for now.
    SourceUnavailable,
    /// The source is not watched: targets of kinds that the operator has added name too many.
    TooManySources,
    /// The source's owner has not consented.
    SourceNotAllowed,
    /// The Secret is not that of the Certificate that names it.
    SourceNotOwned,
    /// The source has no CA.
    NoCAData,
    /// The source's CA is not a list of certificates.
    InvalidPEM,
    /// A private key is where the CA should be.
    PrivateKeyInSource,
    /// Every certificate of the source has expired.
    CAExpired,
    /// Every usable certificate of the source is on the operator's list of those that nobody may trust.
    CADenied,
    /// The last certificate of the source expires soon.
    CAExpiringSoon,
    /// A certificate of the source makes no other one trusted.
    NotACA,
    /// Somebody keeps overwriting the bundle.
    FieldContested,
    /// The target cannot have a bundle.
    NotApplicable,
    /// The target's bundles would be too large for it.
    BundleTooLarge,
    /// The API server denies the read or the write.
    Forbidden,
    /// The API server finds the target with this bundle invalid.
    RejectedByAPIServer,
}

impl Reason {
    /// Whether it is this process that cannot get at a source which may well be as it should be.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Forbidden | Self::SourceUnavailable)
    }

    /// Whether the owner of the source can do something about it, and so is told.
    pub fn is_of_the_source(self) -> bool {
        match self {
            Self::SourceNotFound
            | Self::SourceNotAllowed
            | Self::SourceNotOwned
            | Self::NoCAData
            | Self::InvalidPEM
            | Self::PrivateKeyInSource
            | Self::CAExpired
            | Self::CADenied
            | Self::CAExpiringSoon
            | Self::NotACA => true,
            Self::MalformedReference
            | Self::SourceNotSupported
            | Self::NamespaceNotServed
            | Self::SourceUnavailable
            | Self::TooManySources
            | Self::FieldContested
            | Self::NotApplicable
            | Self::BundleTooLarge
            | Self::Forbidden
            | Self::RejectedByAPIServer => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names of the variants are the texts.
        fmt::Debug::fmt(self, f)
    }
}

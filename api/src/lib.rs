//! The cert-manager.io/v1 and acme.cert-manager.io/v1 API: six kinds as Rust types, their
//! CustomResourceDefinitions, and every annotation, label and volume attribute that the programs
//! read or write.
//!
//! The types are lenient on purpose. A value that the schema or a rule refuses must still be
//! *readable*, so that whoever refuses it can name the field and say what would be right: enums
//! keep unknown text in an `Other` variant, durations stay text until [`GoDuration::parse`] is
//! asked, and a missing required text reads as empty text. As in the API itself, an optional text
//! that is present but empty counts as unset, unless the field says otherwise.
//!
//! Nothing is defaulted at admission, so an absent field has no value of its own. What it *means*
//! is answered by accessors such as [`IssuerRef::kind_or_default`].
//!
//! Serialising writes only what is set, plus the fields that the schema requires.

#[macro_use]
mod open_enum;
#[macro_use]
mod resource;

pub mod acme;
pub mod certificate;
pub mod certificate_request;
pub mod cluster_issuer;
pub mod conditions;
pub mod crd;
pub mod duration;
pub mod injection;
pub mod issuer;
pub mod keys;
pub mod meta;
pub mod usage;
pub mod vault;
pub mod venafi;

mod schema;
mod text;

pub use acme::challenge::{Challenge, ChallengeSpec, ChallengeStatus};
pub use acme::order::{Order, OrderSpec, OrderStatus};
pub use certificate::{Certificate, CertificateSpec, CertificateStatus};
pub use certificate_request::{CertificateRequest, CertificateRequestSpec, CertificateRequestStatus};
pub use cluster_issuer::ClusterIssuer;
pub use conditions::{Condition, ConditionStatus};
pub use duration::{DurationError, GoDuration};
pub use issuer::{Issuer, IssuerSpec, IssuerStatus, IssuerType};
pub use meta::{IssuerRef, LocalObjectReference, SecretKeySelector, ServiceAccountRef};
pub use usage::KeyUsage;

/// API group of Certificate, CertificateRequest, Issuer and ClusterIssuer.
pub const GROUP: &str = "cert-manager.io";
/// API group of Order and Challenge.
pub const ACME_GROUP: &str = "acme.cert-manager.io";
/// The only version that either group serves.
pub const VERSION: &str = "v1";

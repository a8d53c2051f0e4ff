//! Issuers: who signs, and how a signature is got from each of them.
//!
//! [`LocalIssuers`] signs in this process, for issuers whose key is in a Secret (CA) or that need none (SelfSigned).
//! [`readiness`] is the pure question whether an issuer could sign now. Every way to sign ends in one of the four
//! [`Outcome`]s.

mod ca;
mod local;
mod outcome;
mod readiness;

pub use ca::{CaSecret, CaSecretError};
pub use local::LocalIssuers;
pub use outcome::{IssuerId, IssuerKind, Outcome};
pub use readiness::{IssuerReadiness, readiness, secret_name};

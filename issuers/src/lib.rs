//! Issuers: who signs, and how a signature is got from each of them.
//!
//! [`open`] turns the spec of an issuer into something that can be asked, by the one trait [`Issuer`]; what it refers to it
//! finds in [`Materials`]; [`vault`] needs tokens of service accounts, too. Every way to sign ends in one of the four [`Outcome`]s. [`LocalIssuers`] does all this for a
//! program that signs now and then, and watches issuers and Secrets by name.
//!
//! [`policy`] says which names a pod may have, and [`live`] what that turns on in the cluster.

mod ca;
mod issuer;
pub mod live;
mod local;
mod material;
mod outcome;
pub mod policy;
mod readiness;
mod references;
mod self_signed;
pub mod vault;

pub use ca::CaIssuer;
pub use issuer::{Issuer, Opened, Order, open, open_local};
pub use local::LocalIssuers;
pub use material::{CaSecretError, Material, Materials};
pub use outcome::{IssuerId, IssuerKind, Outcome};
pub use readiness::IssuerReadiness;
pub use references::references;
pub use self_signed::SelfSignedIssuer;

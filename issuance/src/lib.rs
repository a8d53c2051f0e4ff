//! The issuance core: what a key, a request, a certificate, a chain and a bundle are, and how one becomes the other.
//!
//! Bytes, a clock reading and randomness come in, values go out. There is no IO, no async and no system clock here
//! (`clippy.toml` bans them), so every decision can be tested with a table. The crate depends on nothing of ours;
//! the webhook, the CSI driver and the controller all issue through it, so that they cannot disagree.
//!
//! The life of a certificate, as types:
//!
//! 1. [`key::PrivateKey`] is generated, [`request::Request`] is built from a [`request::RequestSpec`]:
//!    together a [`credential::Credential`] that is pending.
//! 2. [`authority::Authority::sign`] or [`authority::self_sign`] turn the request into an [`authority::Issued`].
//! 3. [`credential::Credential::verify`] checks the result against key, names, chain and clock. Only what passed
//!    gives out its parts to be written or served.

mod asn1;
pub mod authority;
pub mod bundle;
pub mod certificate;
pub mod chain;
pub mod comparison;
pub mod constraint;
pub mod credential;
mod extension;
pub mod fingerprint;
pub mod jitter;
pub mod key;
pub mod keystore;
pub mod name;
pub mod outcome;
pub mod pem;
pub mod permitted;
pub mod renewal;
pub mod request;
pub mod rotation;
pub mod secret;
pub mod secret_data;
pub mod signature;
pub mod temporary;
#[cfg(test)]
mod testing;
pub mod usage;
pub mod verification;

//! Admission reviews of cert-manager.io objects, as pure functions: bytes in, verdict or patch, bytes out. Nothing here
//! asks anybody or needs a runtime, so that it can be fuzzed and measured by itself; the webhook gives it a server, and
//! asks about rights.
//!
//! [`review`] reads the envelope and writes the answer, [`validate`] applies the rules, [`mutate`] stamps who asked,
//! [`decision`] tells whether a right is needed.

pub mod decision;
pub mod mutate;
pub mod review;
pub mod validate;
mod weight;

//! Certificates: from what a user asks for to a Secret that holds it, and stays fresh.
//!
//! [`view`] and [`secret`] reduce objects to what decisions need, which [`snapshot`] holds together. [`decide`] says what to
//! do next, as a pure function; [`checks`], [`owner`], [`backoff`] and [`renewal`] are its parts, [`status`] and [`step`]
//! its result. [`spec`] puts a Certificate into the terms of the issuance core, [`names`] says what is called how, and
//! [`store`], [`metadata`] and [`body`] what is written.

pub mod backoff;
pub mod body;
pub mod checks;
pub mod decide;
#[cfg(test)]
mod fixture;
pub mod metadata;
#[cfg(test)]
mod model;
pub mod names;
pub mod owner;
pub mod renewal;
pub mod secret;
pub mod snapshot;
pub mod spec;
pub mod status;
pub mod step;
pub mod store;
pub mod view;

//! Black-box tests on real control planes and real nodes, and what they stand on.
//!
//! - [`cluster`] starts and finds clusters; [`toolchain`] and [`packages`] bring the programs for them; [`image`] makes
//!   container images and [`install`] puts them on a cluster; [`netns`] reaches into a cluster's network, [`cargo`] builds.
//!   [`vault`] runs a Vault server beside a cluster.
//! - [`namespace`], [`wait`], [`objects`], [`resources`], [`authority`], [`backend`], [`volume`] and [`dump`] are for
//!   tests.

pub mod authority;
pub mod backend;
pub mod cargo;
pub mod cluster;
pub mod dump;
pub mod image;
pub mod install;
pub mod namespace;
pub mod netns;
pub mod objects;
pub mod packages;
pub mod paths;
pub mod progress;
pub mod resources;
pub mod toolchain;
pub mod vault;
pub mod volume;
pub mod wait;

mod cgroup;
mod layout;
mod mountns;
mod nsfs;
mod pki;
mod process;
mod render;

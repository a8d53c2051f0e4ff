//! The folders outside the checkout that this crate uses.

use std::env;
use std::path::PathBuf;

use anyhow::Context as _;

/// Where built tools are kept between runs: `$SIGNET_CACHE_DIR`, else `$XDG_CACHE_HOME/signet`, else `~/.cache/signet`.
///
/// # Errors
/// When none of the three variables is set.
pub fn cache() -> anyhow::Result<PathBuf> {
    first_of([("SIGNET_CACHE_DIR", ""), ("XDG_CACHE_HOME", "signet"), ("HOME", ".cache/signet")])
        .context("no place for the built tools is known: set SIGNET_CACHE_DIR")
}

/// Where clusters with nodes keep their state. Fixed, since the paths of Unix sockets must stay short.
#[must_use]
pub fn clusters_with_nodes() -> PathBuf {
    PathBuf::from("/var/lib/signet/clusters")
}

/// Where control planes on loopback keep their state: `$XDG_STATE_HOME/signet`, else `~/.local/state/signet`.
///
/// # Errors
/// When neither variable is set.
pub fn clusters_on_loopback() -> anyhow::Result<PathBuf> {
    first_of([("XDG_STATE_HOME", "signet/clusters"), ("HOME", ".local/state/signet/clusters")])
        .context("no place for the cluster's state is known: set XDG_STATE_HOME")
}

/// The root of this checkout.
#[must_use]
pub fn workspace() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

fn first_of<const N: usize>(variables: [(&str, &str); N]) -> Option<PathBuf> {
    variables.into_iter().find_map(|(name, below)| {
        env::var_os(name).filter(|v| !v.is_empty()).map(|v| PathBuf::from(v).join(below))
    })
}

//! The gRPC interfaces that our programs speak, as Rust types, servers and clients.
//!
//! The `.proto` files under `proto/` are ours: written from the published names and field numbers, reduced to what is
//! used. What is generated from them is committed under `src/generated`, so that a build needs no generator; the test
//! `generated` compares it with a fresh generation, and `UPDATE_EXPECT=1 cargo test -p signet-proto` replaces it.

use std::collections::HashMap;
use std::fmt;

/// Container Storage Interface, `csi.v1`: the Identity service and the Node calls of an inline volume.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::semicolon_if_nothing_returned,
    reason = "generated code keeps the generator's habits"
)]
pub mod csi {
    include!("generated/csi.v1.rs");
}

/// How a plugin registers with kubelet, `pluginregistration` (kubelet's v1).
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::semicolon_if_nothing_returned,
    reason = "generated code keeps the generator's habits"
)]
pub mod registration {
    include!("generated/pluginregistration.rs");
}

/// Signing for nodes, `signet.signer.v1`: what the node plugin asks of the controller.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::semicolon_if_nothing_returned,
    reason = "generated code keeps the generator's habits"
)]
pub mod signer {
    include!("generated/signet.signer.v1.rs");
}

pub mod signing;

/// Written by hand because the derived one would print service account tokens and passwords: of maps that may hold
/// secrets only the keys are shown.
impl fmt::Debug for csi::NodePublishVolumeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodePublishVolumeRequest")
            .field("volume_id", &self.volume_id)
            .field("target_path", &self.target_path)
            .field("readonly", &self.readonly)
            .field("secrets", &Keys(&self.secrets))
            .field("volume_context", &Keys(&self.volume_context))
            .finish_non_exhaustive()
    }
}

/// The keys of a map, in order.
struct Keys<'a>(&'a HashMap<String, String>);

impl fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut keys: Vec<_> = self.0.keys().collect();
        keys.sort_unstable();
        f.debug_set().entries(keys).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_request_never_prints_the_values_of_its_maps() {
        let map = |key: &str| HashMap::from([(key.to_owned(), "hunter2".to_owned())]);
        let request = csi::NodePublishVolumeRequest {
            volume_id: "csi-1".to_owned(),
            secrets: map("token"),
            volume_context: map("password"),
            publish_context: map("other"),
            ..Default::default()
        };
        let text = format!("{request:?}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("\"token\"") && text.contains("\"password\""), "{text}");
    }
}

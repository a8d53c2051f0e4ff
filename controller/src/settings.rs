//! What the operator has decided.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::certificate::metadata::Prefixes;
use crate::config::Gates;
use crate::controllers::Controllers;
use crate::signer::settings::PolicySettings;

/// The one feature that is off by default: signing requests say whether they are for a CA.
pub const BASIC_CONSTRAINTS: &str = "UseCertificateRequestBasicConstraints";

/// What is worked on, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The one namespace whose objects are worked on; None: all, and cluster-scoped ones.
    pub namespace: Option<String>,
    /// The namespaces whose Secrets may be read and written; None: all.
    pub secret_namespaces: Option<BTreeSet<String>>,
    /// Namespace of the Secrets that ClusterIssuers name.
    pub cluster_resource_namespace: String,
    /// Which parts are on.
    pub controllers: Controllers,
    /// Whether the Secret of a Certificate vanishes with it.
    pub owner_refs: bool,
    /// Annotations that the CertificateRequests of a Certificate get.
    pub copied_annotations: Prefixes,
    /// Pauses after refused issuances.
    pub backoff: Backoffs,
    /// Objects of one kind that are worked on at once.
    pub workers: NonZeroUsize,
    /// Features that are on or off.
    pub(crate) gates: Gates,
    /// Usernames of CSI drivers.
    pub drivers: Vec<String>,
    /// By which names of pods are judged.
    pub policy: PolicySettings,
}

impl Settings {
    /// Whether a feature that acts is on (`--feature-gates`).
    pub fn has(&self, gate: &str) -> bool {
        self.gates.value(gate).unwrap_or(gate != BASIC_CONSTRAINTS)
    }
}

/// Pauses after issuances that were refused: the first, which doubles up to the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoffs {
    /// After the first refusal; zero is no pause at all.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Default for Backoffs {
    fn default() -> Self {
        Self { first: Duration::from_secs(3600), longest: Duration::from_secs(32 * 3600) }
    }
}

//! What the policy looks at: a pod, and the Services of its namespace.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Who would get a certificate.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The pod.
    pub pod: PodFacts<'a>,
    /// The Services around it.
    pub services: &'a dyn Services,
}

/// A pod as the API server knows it.
#[derive(Debug, Clone, Copy)]
pub struct PodFacts<'a> {
    /// `metadata.namespace`.
    pub namespace: &'a str,
    /// `metadata.name`.
    pub name: &'a str,
    /// `spec.serviceAccountName`.
    pub account: &'a str,
    /// `spec.hostname`.
    pub hostname: Option<&'a str>,
    /// `spec.subdomain`.
    pub subdomain: Option<&'a str>,
    /// `spec.hostNetwork`: its addresses are those of the node.
    pub host_network: bool,
    /// `metadata.labels`.
    pub labels: &'a BTreeMap<String, String>,
}

/// Where Services are found.
pub trait Services: Send + Sync {
    /// The Service of this name, if there is one.
    fn get(&self, namespace: &str, name: &str) -> Option<Arc<ServiceFacts>>;
}

/// What matters of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceFacts {
    /// `spec.selector`; empty for a Service that selects no pods itself.
    pub selector: BTreeMap<String, String>,
    /// Whether `spec.clusterIP` is `None`, so that its pods have names of their own.
    pub is_headless: bool,
}

impl ServiceFacts {
    /// Whether pods with these labels are behind it. One without a selector has its endpoints from somebody else.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.selector.is_empty() && self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

impl fmt::Display for PodFacts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {}/{} of service account {}", self.namespace, self.name, self.account)
    }
}

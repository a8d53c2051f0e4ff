//! By what the webhook judges besides the objects.

use std::sync::Arc;

use jiff::Timestamp;
use rules::{Cluster, Context, Settings};

use crate::approval::Grants;

/// By what is judged besides the objects.
#[derive(Debug, Clone, Default)]
pub struct Judge {
    /// What the operator set.
    pub settings: Settings,
    /// What else is in the cluster. None: nobody looks.
    pub cluster: Option<Arc<dyn Cluster>>,
    /// Whether every denial is a 403, as cert-manager's are, where it would be a 422 (B30).
    pub forbids_only: bool,
    /// Where a right to approve may have been granted.
    pub grants: Grants,
}

impl Judge {
    /// The same for rules.
    pub fn context(&self, now: Timestamp) -> Context<'_> {
        Context { settings: &self.settings, now: Some(now), cluster: self.cluster.as_deref() }
    }
}

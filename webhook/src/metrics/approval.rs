//! What is counted about the right to approve.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// What a SubjectAccessReview came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The API server was not asked, because it had just been.
    Remembered,
    /// The right is there.
    Allowed,
    /// The right is not there.
    Denied,
    /// The API server did not say.
    Failed,
}

/// What a look-up of a kind of issuer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// The API server was not asked, because it had been.
    Remembered,
    /// It serves the kind.
    Found,
    /// It does not.
    Missing,
    /// It did not say.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// The metrics; clones share them.
#[derive(Debug, Clone)]
pub struct ApprovalMetrics {
    reviews: Family<OutcomeLabel, Counter>,
    latency: Histogram,
    lookups: Family<OutcomeLabel, Counter>,
}

impl ApprovalMetrics {
    /// Metrics that appear in `registry`.
    pub fn new(registry: &runtime::metrics::Metrics) -> Self {
        let metrics = Self {
            reviews: Family::default(),
            // From a millisecond to eight seconds, which is what a review may take.
            latency: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            lookups: Family::default(),
        };
        registry.register(|registry| {
            registry.register(
                "signet_webhook_access_reviews",
                "Questions whether somebody may approve, by what the API server said",
                metrics.reviews.clone(),
            );
            registry.register(
                "signet_webhook_access_review_latency_seconds",
                "Time that the API server took to say so, second attempts included",
                metrics.latency.clone(),
            );
            registry.register(
                "signet_webhook_issuer_kind_lookups",
                "Questions how a kind of issuer is served, by what the API server said",
                metrics.lookups.clone(),
            );
        });
        metrics
    }

    /// Counts an answer about a right, and the time that it took.
    pub fn reviewed(&self, verdict: Verdict, time: Duration) {
        let outcome = match verdict {
            Verdict::Remembered => "remembered",
            Verdict::Allowed => "allowed",
            Verdict::Denied => "denied",
            Verdict::Failed => "failed",
        };
        self.reviews.get_or_create(&OutcomeLabel { outcome }).inc();
        if verdict != Verdict::Remembered {
            self.latency.observe(time.as_secs_f64());
        }
    }

    /// Counts an answer about a kind.
    pub fn looked_up(&self, lookup: Lookup) {
        let outcome = match lookup {
            Lookup::Remembered => "remembered",
            Lookup::Found => "found",
            Lookup::Missing => "missing",
            Lookup::Failed => "failed",
        };
        self.lookups.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

//! What is counted about the signer service.

use std::time::Duration;

use issuers::policy::RefusalReason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

/// Seconds: a warm call takes tenths of a millisecond, and none more than twenty seconds.
const BUCKETS: [f64; 12] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 20.0];

/// A stretch of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Both tokens.
    Review,
    /// The pods of both.
    Pod,
    /// Request and name policy.
    Policy,
    /// Waiting for a place at the issuer.
    Queue,
    /// The issuer.
    Sign,
    /// All of it.
    Total,
}

/// What came of the wish to know a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReviewResult {
    /// It was known.
    Cached,
    /// The API server knew it.
    Asked,
    /// The API server refused it.
    Refused,
    /// There was no answer.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

/// The metrics; clones share them. By default they appear nowhere.
#[derive(Debug, Clone)]
pub struct Metrics {
    calls: Family<OutcomeLabel, Counter>,
    refusals: Family<ReasonLabel, Counter>,
    reviews: Family<ResultLabel, Counter>,
    seconds: Family<PhaseLabel, Histogram>,
    /// Calls that are being answered.
    pub in_flight: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            refusals: Family::default(),
            reviews: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            in_flight: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Metrics that appear in `registry`.
    pub fn new(registry: &runtime::metrics::Metrics) -> Self {
        let metrics = Self::default();
        registry.register(|registry| {
            registry.register(
                "signet_signer_calls",
                "Calls of the signer service, by what came of them",
                metrics.calls.clone(),
            );
            registry.register(
                "signet_signer_refusals",
                "Requests that the name policy refused, by the first reason",
                metrics.refusals.clone(),
            );
            registry.register(
                "signet_signer_reviews",
                "Tokens that were shown: known already, asked about, refused, or left without an answer",
                metrics.reviews.clone(),
            );
            registry.register_with_unit(
                "signet_signer",
                "Time that calls took, by phase",
                Unit::Seconds,
                metrics.seconds.clone(),
            );
            registry.register(
                "signet_signer_in_flight",
                "Calls that are being answered",
                metrics.in_flight.clone(),
            );
        });
        metrics
    }

    /// Counts a call that ended so.
    pub fn called(&self, outcome: &'static str) {
        self.calls.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts a refusal of the policy.
    pub fn refused(&self, reason: RefusalReason) {
        self.refusals.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }

    /// Counts a token.
    pub fn reviewed(&self, result: ReviewResult) {
        let result = match result {
            ReviewResult::Cached => "cached",
            ReviewResult::Asked => "asked",
            ReviewResult::Refused => "refused",
            ReviewResult::Failed => "failed",
        };
        self.reviews.get_or_create(&ResultLabel { result }).inc();
    }

    /// Notes how long a phase took.
    pub fn took(&self, phase: Phase, time: Duration) {
        let phase = match phase {
            Phase::Review => "review",
            Phase::Pod => "pod",
            Phase::Policy => "policy",
            Phase::Queue => "queue",
            Phase::Sign => "sign",
            Phase::Total => "total",
        };
        self.seconds.get_or_create(&PhaseLabel { phase }).observe(time.as_secs_f64());
    }
}

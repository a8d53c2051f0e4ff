//! What the webhook counts. The names that begin with `controller_runtime_webhook` are cert-manager's, for dashboards.

mod approval;

use admission::review::{Answer, Operation};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use rules::Finding;

pub use approval::{ApprovalMetrics, Lookup, Verdict};

/// The paths that are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/validate`
    Validate,
    /// `/mutate`
    Mutate,
}

impl Endpoint {
    /// The path.
    pub fn path(self) -> &'static str {
        match self {
            Self::Validate => "/validate",
            Self::Mutate => "/mutate",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabel {
    webhook: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    webhook: &'static str,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    kind: &'static str,
    operation: &'static str,
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabels {
    kind: &'static str,
    rule: &'static str,
}

/// The webhook's metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<CodeLabels, Counter>,
    reviews: Family<CodeLabels, Counter>,
    latency: Family<EndpointLabel, Histogram, fn() -> Histogram>,
    in_flight: Family<EndpointLabel, Gauge>,
    panics: Counter,
    verdicts: Family<VerdictLabels, Counter>,
    denials: Family<RuleLabels, Counter>,
    warnings: Family<RuleLabels, Counter>,
}

/// From ten nanoseconds to a quarter of an hour, as cert-manager's.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(1e-8, 10.0, 12))
}

impl Metrics {
    /// Metrics that appear in `registry`.
    pub fn new(registry: &runtime::metrics::Metrics) -> Self {
        let metrics = Self {
            requests: Family::default(),
            reviews: Family::default(),
            latency: Family::new_with_constructor(latency as fn() -> Histogram),
            in_flight: Family::default(),
            panics: Counter::default(),
            verdicts: Family::default(),
            denials: Family::default(),
            warnings: Family::default(),
        };
        metrics.register_requests(registry);
        metrics
    }

    fn register_requests(&self, registry: &runtime::metrics::Metrics) {
        registry.register(|registry| {
            registry.register(
                "controller_runtime_webhook_requests",
                "Requests by path and HTTP status",
                self.requests.clone(),
            );
            registry.register(
                "controller_runtime_webhook_latency_seconds",
                "Time from a request's header to its answer",
                self.latency.clone(),
            );
            registry.register(
                "controller_runtime_webhook_requests_in_flight",
                "Requests being answered",
                self.in_flight.clone(),
            );
            registry.register(
                "controller_runtime_webhook_panics",
                "Requests that ended in a defect of the webhook",
                self.panics.clone(),
            );
            registry.register(
                "signet_webhook_reviews",
                "Reviews by path and the code of the answer's status, 200 for what is allowed",
                self.reviews.clone(),
            );
            registry.register(
                "signet_webhook_verdicts",
                "Reviews that could be read, by kind and operation: allowed, patched, denied by rules, or failed",
                self.verdicts.clone(),
            );
            registry.register(
                "signet_webhook_denials",
                "Broken rules that rejected an object",
                self.denials.clone(),
            );
            registry.register(
                "signet_webhook_warnings",
                "Broken rules that a user was warned of",
                self.warnings.clone(),
            );
        });
    }

    /// The metrics of one path, looked up once.
    pub fn endpoint(&self, endpoint: Endpoint) -> EndpointMetrics {
        let webhook = endpoint.path();
        let code = CodeLabels { webhook, code: 200 };
        EndpointMetrics {
            ok: self.requests.get_or_create_owned(&code),
            allowed: self.reviews.get_or_create_owned(&code),
            latency: self.latency.get_or_create_owned(&EndpointLabel { webhook }),
            in_flight: self.in_flight.get_or_create_owned(&EndpointLabel { webhook }),
            webhook,
            all: self.clone(),
        }
    }
}

/// The metrics of one path. The usual case costs a few atomic additions and no look-up.
#[derive(Debug, Clone)]
pub struct EndpointMetrics {
    webhook: &'static str,
    ok: Counter,
    allowed: Counter,
    latency: Histogram,
    in_flight: Gauge,
    all: Metrics,
}

impl EndpointMetrics {
    /// Counts a request as in flight until the guard is dropped, and then its time.
    pub fn start(&self) -> InFlight {
        self.in_flight.inc();
        InFlight {
            started: std::time::Instant::now(),
            latency: self.latency.clone(),
            in_flight: self.in_flight.clone(),
        }
    }

    /// Counts an answer: the HTTP status, and the code in the review.
    pub fn answered(&self, http_status: u16, code: u16) {
        let family = |family: &Family<CodeLabels, Counter>, usual: &Counter, code: u16| {
            if code == 200 {
                usual.inc();
            } else {
                family.get_or_create(&CodeLabels { webhook: self.webhook, code }).inc();
            }
        };
        family(&self.all.requests, &self.ok, http_status);
        family(&self.all.reviews, &self.allowed, code);
    }

    /// Counts a defect.
    pub fn panicked(&self) {
        self.all.panics.inc();
    }

    /// Counts what became of a review that could be read. `kind` is empty where it is of no concern to us.
    pub fn decided(&self, kind: &'static str, operation: Operation, answer: &Answer) {
        let verdict = match answer {
            Answer::Allowed { .. } => "allowed",
            Answer::Patched { .. } => "patched",
            Answer::Denied(denial) if matches!(denial.code, 403 | 422) => "denied",
            Answer::Denied(_) => "failed",
        };
        let labels = VerdictLabels { kind, operation: operation.as_str(), verdict };
        self.all.verdicts.get_or_create(&labels).inc();
    }

    /// Counts broken rules.
    pub fn judged(&self, kind: &'static str, answer: &Answer) {
        let (denials, warnings): (&[Finding], &[Finding]) = match answer {
            Answer::Allowed { warnings } => (&[], warnings),
            Answer::Patched { .. } => (&[], &[]),
            Answer::Denied(denial) => (&denial.findings, &denial.warnings),
        };
        for (family, findings) in [(&self.all.denials, denials), (&self.all.warnings, warnings)] {
            for finding in findings {
                family.get_or_create(&RuleLabels { kind, rule: finding.rule.id }).inc();
            }
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct InFlight {
    started: std::time::Instant,
    latency: Histogram,
    in_flight: Gauge,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.in_flight.dec();
        self.latency.observe(self.started.elapsed().as_secs_f64());
    }
}

//! What the driver counts. No figure has a label for the volume: there are hundreds a node, and they come and go.

use std::sync::Arc;
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use runtime::metrics::Metrics;

/// Upper bound of the first bucket, in seconds: an ECDSA key takes less.
const FIRST_BUCKET_SECS: f64 = 0.000_1;

/// Each bucket is twice the one before; 20 of them reach 52 s, where a waiting kubelet has almost given up.
const BUCKETS: u16 = 20;

/// A part of the work on a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Key and request.
    Key,
    /// The issuer's answer.
    Sign,
    /// The files.
    Write,
    /// The mount.
    Mount,
}

impl Phase {
    fn label(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Sign => "sign",
            Self::Write => "write",
            Self::Mount => "mount",
        }
    }
}

/// Why a call for a live volume was not what it should be, and was answered OK all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tolerated {
    /// It asks for something else than what the volume holds.
    Changed,
    /// It would be refused for a new volume.
    Invalid,
    /// What had to be done failed, or the target cannot be looked at.
    Failed,
}

impl Tolerated {
    fn label(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// The driver's own figures; clones share them.
#[derive(Debug, Clone)]
pub struct DriverMetrics(Arc<Figures>);

#[derive(Debug)]
struct Figures {
    phases: Family<PhaseLabel, Histogram>,
    publishes: Family<ResultLabel, Counter>,
    unpublishes: Family<ResultLabel, Counter>,
    renewals: Family<ResultLabel, Counter>,
    tolerated: Family<ReasonLabel, Counter>,
    broken: Counter,
    volumes: Gauge,
    soonest_expiry: Gauge,
}

/// Measures until it is dropped.
#[derive(Debug)]
pub struct PhaseTimer {
    histogram: Histogram,
    start: Instant,
}

impl Drop for PhaseTimer {
    fn drop(&mut self) {
        self.histogram.observe(self.start.elapsed().as_secs_f64());
    }
}

impl DriverMetrics {
    /// Figures at zero, shown by `metrics`.
    pub fn new(metrics: &Metrics) -> Self {
        let buckets = || Histogram::new(exponential_buckets(FIRST_BUCKET_SECS, 2.0, BUCKETS));
        let figures = Figures {
            phases: Family::new_with_constructor(buckets),
            publishes: Family::default(),
            unpublishes: Family::default(),
            renewals: Family::default(),
            tolerated: Family::default(),
            broken: Counter::default(),
            volumes: Gauge::default(),
            soonest_expiry: Gauge::default(),
        };
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix("signet_csi");
            registry.register(
                "issue_phase_seconds",
                "Time spent on the parts of issuing a certificate into a volume",
                figures.phases.clone(),
            );
            registry.register("publishes", "Answers to NodePublishVolume", figures.publishes.clone());
            registry.register("unpublishes", "Answers to NodeUnpublishVolume", figures.unpublishes.clone());
            registry.register("renewals", "Renewals by outcome", figures.renewals.clone());
            registry.register(
                "tolerated_republishes",
                "Calls for live volumes that were answered OK although they ask for something else or failed",
                figures.tolerated.clone(),
            );
            registry.register(
                "broken_volumes",
                "Folders of the data root that could not be understood at start",
                figures.broken.clone(),
            );
            registry.register("managed_volumes", "Volumes that hold a certificate", figures.volumes.clone());
            registry.register(
                "soonest_expiry_timestamp_seconds",
                "When the first certificate of this node expires; 0 without volumes",
                figures.soonest_expiry.clone(),
            );
        });
        Self(Arc::new(figures))
    }

    /// Starts to measure a part of the work.
    pub fn phase(&self, phase: Phase) -> PhaseTimer {
        let label = PhaseLabel { phase: phase.label() };
        let histogram = self.0.phases.get_or_create(&label).clone();
        PhaseTimer { histogram, start: Instant::now() }
    }

    /// Counts an answer to NodePublishVolume; `result` is `ok` or the name of a gRPC code.
    pub fn published(&self, result: &'static str) {
        self.0.publishes.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts an answer to NodeUnpublishVolume.
    pub fn unpublished(&self, result: &'static str) {
        self.0.unpublishes.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a renewal.
    pub fn renewed(&self, result: &'static str) {
        self.0.renewals.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a call for a live volume that was answered OK in spite of something.
    pub fn tolerated(&self, reason: Tolerated) {
        self.0.tolerated.get_or_create(&ReasonLabel { reason: reason.label() }).inc();
    }

    /// Counts a folder that was not understood.
    pub fn broken(&self) {
        self.0.broken.inc();
    }

    /// Sets what is held now: how many volumes, and the soonest expiry in seconds since 1970.
    pub fn holding(&self, volumes: usize, soonest_expiry_secs: Option<i64>) {
        self.0.volumes.set(i64::try_from(volumes).unwrap_or(i64::MAX));
        self.0.soonest_expiry.set(soonest_expiry_secs.unwrap_or(0));
    }
}

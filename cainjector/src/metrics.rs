//! The cainjector's own metrics.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use runtime::metrics::Metrics;

use crate::target::Target;

/// Handles to the metrics; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    results: Family<ResultLabels, Counter>,
    in_sync: Family<TargetLabels, Gauge>,
    sources: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    kind: &'static str,
    result: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabels {
    kind: &'static str,
    name: String,
}

impl Figures {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let figures =
            Self { results: Family::default(), in_sync: Family::default(), sources: Gauge::default() };
        metrics.register(|registry| {
            registry.register(
                "signet_cainjector_reconciles",
                "Looks at a target, by kind and by what came of it: Injected, InSync, or the reason why not",
                figures.results.clone(),
            );
            registry.register(
                "signet_cainjector_in_sync",
                "Whether an annotated target has its bundle",
                figures.in_sync.clone(),
            );
            registry.register(
                "signet_cainjector_source_watches",
                "Secrets and Certificates that targets refer to and that are watched for that",
                figures.sources.clone(),
            );
        });
        figures
    }

    pub(crate) fn count(&self, target: &Target, result: &str) {
        let labels = ResultLabels { kind: target.kind.kind(), result: result.to_owned() };
        self.results.get_or_create(&labels).inc();
    }

    pub(crate) fn set_in_sync(&self, target: &Target, in_sync: bool) {
        let gauge = self.in_sync.get_or_create_owned(&labels(target));
        gauge.set(i64::from(in_sync));
    }

    /// The series of a target vanishes with it.
    pub(crate) fn forget(&self, target: &Target) {
        self.in_sync.remove(&labels(target));
    }

    pub(crate) fn set_sources(&self, count: usize) {
        self.sources.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

fn labels(target: &Target) -> TargetLabels {
    TargetLabels { kind: target.kind.kind(), name: target.name.clone() }
}

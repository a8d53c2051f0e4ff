//! The cainjector's own metrics.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use runtime::lease::Leadership;
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

/// Adds the figure that tells which replica leads.
pub(crate) fn register_leadership(metrics: &Metrics, leadership: Leadership) {
    metrics.register(|registry| registry.register_collector(Box::new(Leader(leadership))));
}

/// Asked at each scrape: leadership ends by the time that goes by, without any event.
#[derive(Debug)]
struct Leader(Leadership);

impl Collector for Leader {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(i64::from(self.0.may_write()));
        let help = "Whether this replica leads, which is to say: writes";
        let metric =
            encoder.encode_descriptor("signet_cainjector_leader", help, None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}

fn labels(target: &Target) -> TargetLabels {
    TargetLabels { kind: target.kind.kind(), name: target.name.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leader_says_that_it_leads() {
        for (leadership, value) in [(Leadership::candidate(), 0), (Leadership::always(), 1)] {
            let metrics = Metrics::new("cainjector", "0");
            register_leadership(&metrics, leadership);
            let text = metrics.encode().unwrap();
            assert!(text.contains(&format!("signet_cainjector_leader {value}\n")), "{text}");
        }
    }
}

//! How often objects are looked at, and how often that fails, by the names of the peer.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use runtime::metrics::Metrics;
use runtime::queue::Outcome;
use serving::clock::Clock;

type Label = [(&'static str, &'static str); 1];

/// Counts of looks; clones share them. In the text format the names of counters end in `_total`, and these do not, so they
/// are gauges that only grow.
#[derive(Debug, Clone, Default)]
pub struct Syncs {
    calls: Family<Label, Gauge>,
    errors: Family<Label, Gauge>,
}

impl Syncs {
    /// Registers the counts, and the time of `clock` beside them, which says from when a scrape is.
    pub(crate) fn register(metrics: &Metrics, clock: Clock) -> Self {
        let syncs = Self::default();
        metrics.register(|registry| {
            let help = "How often a controller has looked at an object";
            registry.register("certmanager_controller_sync_call_count", help, syncs.calls.clone());
            let help = "How often a look at an object has failed, and was to be repeated";
            registry.register("certmanager_controller_sync_error_count", help, syncs.errors.clone());
            registry.register_collector(Box::new(Time(clock)));
        });
        syncs
    }

    /// Counts a look of this controller.
    pub(crate) fn count(&self, controller: &'static str, outcome: Outcome) {
        let label = [("controller", controller)];
        self.calls.get_or_create(&label).inc();
        // Both series are there from the first look on.
        self.errors.get_or_create(&label).inc_by(i64::from(outcome == Outcome::Failed));
    }
}

struct Time(Clock);

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time")
    }
}

impl Collector for Time {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let now = ConstGauge::new((self.0)().as_second());
        for name in ["certmanager_clock_time_seconds_gauge", "certmanager_clock_time_seconds"] {
            let help = "The time of the controller, in seconds since the epoch";
            now.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::now;

    #[test]
    fn looks_and_failures_are_counted_for_each_controller() {
        let metrics = Metrics::new("controller", "0");
        let syncs = Syncs::register(&metrics, Arc::new(now));
        syncs.count("certificates", Outcome::Done);
        syncs.count("certificates", Outcome::Failed);
        let text = metrics.encode().unwrap();
        for line in [
            "certmanager_controller_sync_call_count{controller=\"certificates\"} 2",
            "certmanager_controller_sync_error_count{controller=\"certificates\"} 1",
            "certmanager_clock_time_seconds_gauge 1800000000",
            "certmanager_clock_time_seconds 1800000000",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}

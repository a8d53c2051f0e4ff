//! The cainjector's own metrics.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;
use runtime::lease::Leadership;
use runtime::lock::lock;
use runtime::metrics::Metrics;
use runtime::readiness::Teller;
use runtime::watch::ObjectName;

use crate::apply::Injector;
use crate::synced::Ledger;
use crate::target::{Target, TargetKind};

/// Bounds of the buckets of latencies, in seconds: an injection takes some milliseconds, and a minute at worst.
const LATENCY_BUCKETS: [f64; 13] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Field managers that are counted by name. Anybody who may write a target can make up names.
const MANAGERS_MAX: usize = 64;

/// What the others are counted as.
const OTHER_MANAGERS: &str = "(others)";

/// Handles to the metrics; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    results: Family<ResultLabels, Counter>,
    sources: Gauge,
    latency: Family<KindLabel, Histogram, fn() -> Histogram>,
    certificates: Gauges,
    first_expiry: Gauges,
    contested: Gauges,
    overwrites: Family<OverwriteLabels, Counter>,
    managers: Arc<Mutex<BTreeSet<String>>>,
}

/// A figure of each target.
type Gauges = Family<TargetLabels, Gauge>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    kind: &'static str,
    result: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OverwriteLabels {
    kind: &'static str,
    manager: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabels {
    kind: &'static str,
    namespace: Option<String>,
    name: String,
}

impl Figures {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let figures = Self {
            results: Family::default(),
            sources: Gauge::default(),
            latency: Family::new_with_constructor(latency as fn() -> Histogram),
            certificates: Family::default(),
            first_expiry: Family::default(),
            contested: Family::default(),
            overwrites: Family::default(),
            managers: Arc::default(),
        };
        metrics.register(|registry| {
            registry.register(
                "signet_cainjector_reconciles",
                "Looks at a target, by kind and by what came of it: Injected, InSync, or the reason why not",
                figures.results.clone(),
            );
            registry.register(
                "signet_cainjector_source_watches",
                "Secrets and Certificates that targets refer to and that are watched for that",
                figures.sources.clone(),
            );
            registry.register_with_unit(
                "signet_cainjector_injection_latency",
                "From the event that made a target due, on it or on its source, to the answer to the write",
                Unit::Seconds,
                figures.latency.clone(),
            );
            registry.register(
                "signet_cainjector_overwrites",
                "Bundles that somebody overwrote after they were injected, by the field manager who did",
                figures.overwrites.clone(),
            );
        });
        figures
    }

    pub(crate) fn count(&self, target: &Target, result: &str) {
        let labels = ResultLabels { kind: target.kind.kind(), result: result.to_owned() };
        self.results.get_or_create(&labels).inc();
    }

    /// The series of a target vanishes with it.
    pub(crate) fn forget(&self, target: &Target) {
        let labels = labels(target);
        for family in [&self.certificates, &self.first_expiry, &self.contested] {
            family.remove(&labels);
        }
    }

    pub(crate) fn observe_latency(&self, target: &Target, latency: Duration) {
        let label = KindLabel { kind: target.kind.kind() };
        self.latency.get_or_create(&label).observe(latency.as_secs_f64());
    }

    pub(crate) fn set_bundle(&self, target: &Target, certificates: usize, first_expiry: Option<Timestamp>) {
        let labels = labels(target);
        let count = i64::try_from(certificates).unwrap_or(i64::MAX);
        self.certificates.get_or_create_owned(&labels).set(count);
        match first_expiry {
            Some(first) => _ = self.first_expiry.get_or_create_owned(&labels).set(first.as_second()),
            None => _ = self.first_expiry.remove(&labels),
        }
    }

    pub(crate) fn set_contested(&self, target: &Target, is_contested: bool) {
        self.contested.get_or_create_owned(&labels(target)).set(i64::from(is_contested));
    }

    /// A bundle was overwritten by this field manager; None: nobody owns the field.
    pub(crate) fn count_overwrite(&self, target: &Target, manager: Option<&str>) {
        let manager = manager.unwrap_or("(unknown)");
        let mut managers = lock(&self.managers);
        let manager = match managers.contains(manager) {
            false if managers.len() >= MANAGERS_MAX => OTHER_MANAGERS,
            false => {
                managers.insert(manager.to_owned());
                manager
            }
            true => manager,
        };
        let labels = OverwriteLabels { kind: target.kind.kind(), manager: manager.to_owned() };
        self.overwrites.get_or_create(&labels).inc();
    }

    pub(crate) fn set_sources(&self, count: usize) {
        self.sources.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

fn latency() -> Histogram {
    Histogram::new(LATENCY_BUCKETS)
}

/// Adds the figures of each target.
pub(crate) fn register_standings(
    metrics: &Metrics,
    figures: &Figures,
    synced: Arc<Mutex<Ledger>>,
    leadership: Leadership,
) {
    let figures = figures.clone();
    let standings = Standings { figures, synced, leadership };
    metrics.register(|registry| registry.register_collector(Box::new(standings)));
}

/// Asked at each scrape: a target that is in sync is so at that very moment. Who does not lead looks at no target, so what
/// it knew is not told.
#[derive(Debug)]
struct Standings {
    figures: Figures,
    synced: Arc<Mutex<Ledger>>,
    leadership: Leadership,
}

impl Collector for Standings {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        if !self.leadership.may_write() {
            return Ok(());
        }
        let (in_sync, in_sync_at) = (Gauges::default(), Gauges::default());
        let ledger = lock(&self.synced);
        for (target, is_in_sync) in ledger.in_sync(Instant::now()) {
            in_sync.get_or_create_owned(&labels(target)).set(i64::from(is_in_sync));
        }
        for (target, at) in ledger.in_sync_at(Timestamp::now()) {
            in_sync_at.get_or_create_owned(&labels(target)).set(at.as_second());
        }
        drop(ledger);
        let Figures { certificates, first_expiry, contested, .. } = &self.figures;
        let seconds = Some(&Unit::Seconds);
        for (name, help, unit, gauges) in [
            ("in_sync", "Whether an annotated target has its bundle", None, &in_sync),
            (
                "last_in_sync_timestamp",
                "When a target had its bundle for the last time; the time of the scrape where it has it",
                seconds,
                &in_sync_at,
            ),
            ("bundle_certificates", "Certificates of a target's largest bundle", None, certificates),
            (
                "bundle_first_expiry_timestamp",
                "When the first certificate of a target's bundles expires",
                seconds,
                first_expiry,
            ),
            ("contested", "Whether somebody keeps overwriting a target's bundle", None, contested),
        ] {
            let name = format!("signet_cainjector_{name}");
            gauges.encode(encoder.encode_descriptor(&name, help, unit, gauges.metric_type())?)?;
        }
        Ok(())
    }
}

/// Adds the figure that tells which kinds are served.
pub(crate) fn register_served(metrics: &Metrics, kinds: Vec<(TargetKind, Teller)>) {
    metrics.register(|registry| registry.register_collector(Box::new(Served(kinds))));
}

/// Asked at each scrape, of who follows the kind.
#[derive(Debug)]
struct Served(Vec<(TargetKind, Teller)>);

impl Collector for Served {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let gauges = Family::<KindLabel, Gauge>::default();
        for (kind, standing) in &self.0 {
            gauges
                .get_or_create_owned(&KindLabel { kind: kind.kind() })
                .set(i64::from(standing.standing().is_ok()));
        }
        let help = "Whether a kind of targets is seen and gets bundles: 0 where it may not be watched, or lacks its policy";
        let name = "signet_cainjector_kind_served";
        gauges.encode(encoder.encode_descriptor(name, help, None, gauges.metric_type())?)
    }
}

/// Adds the figure that tells whether the memory of rotations can be kept, where one is.
pub(crate) fn register_memory(metrics: &Metrics) -> Gauge {
    let kept = Gauge::default();
    kept.set(1);
    metrics.register(|registry| {
        let help = "Whether the ConfigMap of what left its source when can be read and written; 1 where another one leads";
        registry.register("signet_cainjector_memory_kept", help, kept.clone());
    });
    kept
}

/// Adds the figure that tells how many connections the watches of sources take.
pub(crate) fn register_connections(metrics: &Metrics, injector: Weak<Injector>) {
    metrics.register(|registry| registry.register_collector(Box::new(Connections(injector))));
}

/// Asked at each scrape: one watch takes the place of many without any event.
#[derive(Debug)]
struct Connections(Weak<Injector>);

impl Collector for Connections {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let count = self.0.upgrade().map_or(0, |injector| injector.source_connections());
        let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
        let help = "Watches of Secrets and Certificates that are open: one for each source, or for a crowded namespace";
        let name = "signet_cainjector_source_connections";
        let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}

fn labels(target: &Target) -> TargetLabels {
    let ObjectName { namespace, name } = target.name.clone();
    TargetLabels { kind: target.kind.kind(), namespace, name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synced::Verdict;

    #[test]
    fn names_that_anybody_can_make_up_do_not_add_up() {
        let metrics = Metrics::new("cainjector", "0");
        let figures = Figures::new(&metrics);
        for number in 0..MANAGERS_MAX + 10 {
            figures.count_overwrite(&target("web"), Some(&format!("manager-{number}")));
        }
        figures.count_overwrite(&target("web"), Some("manager-0"));
        let text = metrics.encode().unwrap();
        assert_eq!(text.matches("signet_cainjector_overwrites_total{").count(), MANAGERS_MAX + 1);
        for (manager, count) in [("manager-0", 2), ("manager-63", 1), (OTHER_MANAGERS, 10)] {
            let line = format!("overwrites_total{{kind=\"APIService\",manager=\"{manager}\"}} {count}\n");
            assert!(text.contains(&line), "{line} is not in {text}");
        }
    }

    #[test]
    fn a_target_takes_its_figures_with_it() {
        let metrics = Metrics::new("cainjector", "0");
        let (figures, synced) = (Figures::new(&metrics), Arc::new(Mutex::new(Ledger::default())));
        register_standings(&metrics, &figures, Arc::clone(&synced), Leadership::always());
        lock(&synced).looked(&target("web"), Verdict::InSync, Instant::now(), crate::testing::now());
        figures.set_bundle(&target("web"), 3, Some(crate::testing::now()));
        figures.set_contested(&target("web"), true);
        figures.observe_latency(&target("web"), Duration::from_millis(7));
        let labels = "{kind=\"APIService\",namespace=\"\",name=\"web\"}";
        let text = metrics.encode().unwrap();
        for line in [
            "in_sync{} 1",
            "bundle_certificates{} 3",
            "bundle_first_expiry_timestamp_seconds{} 1800000000",
            "contested{} 1",
        ] {
            let line = format!("signet_cainjector_{}\n", line.replace("{}", labels));
            assert!(text.contains(&line), "{line} is not in {text}");
        }
        let bucket = "injection_latency_seconds_bucket{le=\"0.01\",kind=\"APIService\"} 1\n";
        assert!(text.contains(bucket), "{text}");
        figures.forget(&target("web"));
        lock(&synced).forget(&target("web"));
        assert!(!metrics.encode().unwrap().contains(labels));
    }

    #[test]
    fn a_target_that_is_in_sync_is_so_at_each_scrape() {
        let (metrics, synced) = (Metrics::new("cainjector", "0"), Arc::new(Mutex::new(Ledger::default())));
        register_standings(&metrics, &Figures::new(&metrics), Arc::clone(&synced), Leadership::always());
        let before = Timestamp::now().as_second();
        lock(&synced).looked(&target("web"), Verdict::InSync, Instant::now(), crate::testing::now());
        let text = metrics.encode().unwrap();
        let line = text.lines().find_map(|line| {
            line.strip_prefix(
                "signet_cainjector_last_in_sync_timestamp_seconds{kind=\"APIService\",namespace=\"\",name=\"web\"} ",
            )
        });
        assert!(line.unwrap().parse::<i64>().unwrap() >= before, "{text}");
    }

    fn target(name: &str) -> Target {
        Target::cluster(TargetKind::ApiService, name)
    }

    #[test]
    fn who_leads_no_more_tells_no_figures_of_targets() {
        let (metrics, synced) = (Metrics::new("cainjector", "0"), Arc::new(Mutex::new(Ledger::default())));
        let figures = Figures::new(&metrics);
        register_standings(&metrics, &figures, Arc::clone(&synced), Leadership::candidate());
        lock(&synced).looked(&target("web"), Verdict::InSync, Instant::now(), crate::testing::now());
        figures.set_bundle(&target("web"), 3, Some(crate::testing::now()));
        figures.set_contested(&target("web"), true);
        let text = metrics.encode().unwrap();
        assert!(!text.contains("web"), "{text}");
    }

    #[test]
    fn a_kind_that_is_not_served_is_told() {
        let (metrics, readiness) =
            (Metrics::new("cainjector", "0"), runtime::readiness::Readiness::default());
        let kinds = [TargetKind::ApiService, TargetKind::ConfigMap];
        let tellers = kinds.map(|kind| (kind, readiness.teller(kind.plural())));
        tellers[0].1.tell(Ok(()));
        register_served(&metrics, tellers.to_vec());
        let text = metrics.encode().unwrap();
        for line in ["{kind=\"APIService\"} 1", "{kind=\"ConfigMap\"} 0"] {
            assert!(
                text.contains(&format!("signet_cainjector_kind_served{line}\n")),
                "{line} is not in {text}"
            );
        }
    }
}

//! The controller's own metrics; names and labels of the readiness series are the peer's. They are made from what is known
//! when they are asked for, and only the leader has them, so that nothing is counted twice.

use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use runtime::lease::Leadership;
use runtime::metrics::Metrics;

use crate::issuer::registry::Registry;
use crate::object::IssuerKind;

/// The values of the label `condition`.
const CONDITIONS: [&str; 3] = ["True", "False", "Unknown"];

/// Adds the figures about issuers.
pub(crate) fn register_issuers(metrics: &Metrics, issuers: &Arc<Registry>, leadership: Leadership) {
    let issuers = Issuers { registry: Arc::downgrade(issuers), leadership };
    metrics.register(|registry| registry.register_collector(Box::new(issuers)));
}

struct Issuers {
    registry: Weak<Registry>,
    leadership: Leadership,
}

impl std::fmt::Debug for Issuers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issuers")
    }
}

impl Collector for Issuers {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let registry = self.registry.upgrade().filter(|_| self.leadership.may_write());
        let statuses = registry.map(|registry| registry.ready_statuses()).unwrap_or_default();
        let help = "Whether an Issuer can sign: 1 in the series of its Ready condition's status";
        let mut family =
            encoder.encode_descriptor("certmanager_issuer_ready_status", help, None, MetricType::Gauge)?;
        for (key, status) in statuses.iter().filter(|(key, _)| key.kind == IssuerKind::Issuer) {
            for condition in CONDITIONS {
                let namespace = key.name.namespace.as_deref().unwrap_or_default();
                let labels =
                    [("name", key.name.name.as_str()), ("namespace", namespace), ("condition", condition)];
                ConstGauge::new(i64::from(condition == status)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Whether a ClusterIssuer can sign: 1 in the series of its Ready condition's status";
        let mut family = encoder.encode_descriptor(
            "certmanager_clusterissuer_ready_status",
            help,
            None,
            MetricType::Gauge,
        )?;
        for (key, status) in statuses.iter().filter(|(key, _)| key.kind == IssuerKind::ClusterIssuer) {
            for condition in CONDITIONS {
                let labels = [("name", key.name.name.as_str()), ("condition", condition)];
                ConstGauge::new(i64::from(condition == status)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use runtime::testing::silent;

    use super::*;
    use crate::object::IssuerKey;
    use crate::object::testing::seen;

    #[tokio::test]
    async fn only_the_leader_tells_of_issuers() {
        for (leadership, lines) in [(Leadership::candidate(), 0), (Leadership::always(), 3)] {
            let registry = Registry::new(silent(), "cluster".to_owned(), []);
            let metrics = Metrics::new("controller", "0");
            register_issuers(&metrics, &registry, leadership);
            let name = runtime::watch::ObjectName::namespaced("a", "own");
            registry.seen(&IssuerKey { kind: IssuerKind::Issuer, name }, seen(r#"{"selfSigned":{}}"#));
            let text = metrics.encode().unwrap();
            let found = text.lines().filter(|line| line.starts_with("certmanager_issuer_ready_status{"));
            assert_eq!(found.count(), lines, "{text}");
        }
    }
}

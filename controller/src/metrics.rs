//! The controller's own metrics; names and labels of the readiness series are the peer's. They are made from what is known
//! when they are asked for, and only the leader has them, so that nothing is counted twice.

use std::sync::{Arc, Weak};

use api::CertificateStatus;
use api::conditions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use runtime::lease::Leadership;
use runtime::metrics::Metrics;

use crate::certificate::apply::Keeper;
use crate::certificate::view::CertificateView;
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

/// Adds the figures about Certificates.
pub(crate) fn register_certificates(metrics: &Metrics, keeper: &Arc<Keeper>, leadership: Leadership) {
    let certificates = Certificates { keeper: Arc::downgrade(keeper), leadership };
    metrics.register(|registry| registry.register_collector(Box::new(certificates)));
}

struct Certificates {
    keeper: Weak<Keeper>,
    leadership: Leadership,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificates")
    }
}

/// An instant of a Certificate's status, of which there is a series.
struct Instant {
    name: &'static str,
    help: &'static str,
    of: fn(&CertificateStatus) -> Option<&Time>,
}

/// The instants, by the names of the peer.
const INSTANTS: [Instant; 4] = [
    Instant {
        name: "certmanager_certificate_expiration_timestamp_seconds",
        help: "When the certificate expires, in seconds since the epoch; 0 where there is none",
        of: |status| status.not_after.as_ref(),
    },
    Instant {
        name: "certmanager_certificate_not_after_timestamp_seconds",
        help: "When the certificate expires, in seconds since the epoch; 0 where there is none",
        of: |status| status.not_after.as_ref(),
    },
    Instant {
        name: "certmanager_certificate_not_before_timestamp_seconds",
        help: "From when on the certificate is valid, in seconds since the epoch; 0 where there is none",
        of: |status| status.not_before.as_ref(),
    },
    Instant {
        name: "certmanager_certificate_renewal_timestamp_seconds",
        help: "When the certificate is to be renewed, in seconds since the epoch; 0 where it is not",
        of: |status| status.renewal_time.as_ref(),
    },
];

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let keeper = self.keeper.upgrade().filter(|_| self.leadership.may_write());
        let certificates = keeper.as_ref().map(|keeper| keeper.certificates()).unwrap_or_default();
        let help = "Whether a Certificate is ready: 1 in the series of its Ready condition's status";
        let mut family = encoder.encode_descriptor(
            "certmanager_certificate_ready_status",
            help,
            None,
            MetricType::Gauge,
        )?;
        for view in &certificates {
            let ready = view.condition(conditions::READY);
            let status = ready.map_or("Unknown", |ready| ready.status.as_str());
            let [name, namespace, issuer, kind, group] = labels(view);
            for condition in CONDITIONS {
                let labels = [name, namespace, ("condition", condition), issuer, kind, group];
                ConstGauge::new(i64::from(condition == status)).encode(family.encode_family(&labels)?)?;
            }
        }
        for Instant { name, help, of } in INSTANTS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for view in &certificates {
                let at = of(&view.status).map_or(0, |time| time.0.as_second());
                ConstGauge::new(at).encode(family.encode_family(&labels(view))?)?;
            }
        }
        let help = "Issuances that have failed since the controller started to lead";
        let mut family = encoder.encode_descriptor(
            "certmanager_certificate_renewal_errors",
            help,
            None,
            MetricType::Counter,
        )?;
        for view in &certificates {
            let failures = keeper.as_ref().map_or(0, |keeper| keeper.failures(&view.name));
            ConstCounter::new(failures).encode(family.encode_family(&labels(view))?)?;
        }
        Ok(())
    }
}

fn labels(view: &CertificateView) -> [(&'static str, &str); 5] {
    let issuer = &view.spec.issuer_ref;
    [
        ("name", view.name.name.as_str()),
        ("namespace", view.name.namespace.as_deref().unwrap_or_default()),
        ("issuer_name", issuer.name.as_str()),
        ("issuer_kind", issuer.kind_or_default()),
        ("issuer_group", issuer.group_or_default()),
    ]
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

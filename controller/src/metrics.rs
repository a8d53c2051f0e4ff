//! The controller's own metrics; names and labels of the readiness series are the peer's.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use runtime::metrics::Metrics;

use crate::object::{IssuerKey, IssuerKind};

/// The values of the label `condition`.
const CONDITIONS: [&str; 3] = ["True", "False", "Unknown"];

/// Handles to the metrics; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    issuers: Family<IssuerLabels, Gauge>,
    cluster_issuers: Family<ClusterIssuerLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabels {
    name: String,
    namespace: String,
    condition: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterIssuerLabels {
    name: String,
    condition: &'static str,
}

impl Figures {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let figures = Self { issuers: Family::default(), cluster_issuers: Family::default() };
        metrics.register(|registry| {
            registry.register(
                "certmanager_issuer_ready_status",
                "Whether an Issuer can sign: 1 in the series of its Ready condition's status",
                figures.issuers.clone(),
            );
            registry.register(
                "certmanager_clusterissuer_ready_status",
                "Whether a ClusterIssuer can sign: 1 in the series of its Ready condition's status",
                figures.cluster_issuers.clone(),
            );
        });
        figures
    }

    pub(crate) fn set_ready(&self, key: &IssuerKey, status: &str) {
        for condition in CONDITIONS {
            let value = i64::from(condition == status);
            match key.kind {
                IssuerKind::Issuer => {
                    let gauge = self.issuers.get_or_create_owned(&issuer(key, condition));
                    gauge.set(value);
                }
                IssuerKind::ClusterIssuer => {
                    let gauge = self.cluster_issuers.get_or_create_owned(&cluster(key, condition));
                    gauge.set(value);
                }
            }
        }
    }

    /// The series of an issuer vanish with it.
    pub(crate) fn forget(&self, key: &IssuerKey) {
        for condition in CONDITIONS {
            match key.kind {
                IssuerKind::Issuer => self.issuers.remove(&issuer(key, condition)),
                IssuerKind::ClusterIssuer => self.cluster_issuers.remove(&cluster(key, condition)),
            };
        }
    }
}

fn issuer(key: &IssuerKey, condition: &'static str) -> IssuerLabels {
    IssuerLabels {
        name: key.name.name.clone(),
        namespace: key.name.namespace.clone().unwrap_or_default(),
        condition,
    }
}

fn cluster(key: &IssuerKey, condition: &'static str) -> ClusterIssuerLabels {
    ClusterIssuerLabels { name: key.name.name.clone(), condition }
}

//! What is counted about serving certificates and about those who have to trust them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

/// The metrics; clones share them. By default they appear nowhere.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// End of the life of the certificate that is served, in Unix seconds.
    pub certificate_expiry: Gauge,
    /// End of the life of the CA that signs it, in Unix seconds.
    pub ca_expiry: Gauge,
    /// Certificates that were made for serving.
    pub certificates_issued: Counter,
    /// Certificates for serving that were taken from files.
    pub certificates_loaded: Counter,
    /// Attempts at a certificate for serving that failed.
    pub certificate_failures: Counter,
    /// CAs that were made for serving.
    pub cas_made: Counter,
    rotation_phase: Family<PhaseLabel, Gauge>,
    configurations_forbidden: Family<KindLabel, Gauge>,
    configuration_writes: Family<KindLabel, Counter>,
}

impl Metrics {
    /// The webhook's, which appear in `registry`.
    pub fn new(registry: &runtime::metrics::Metrics) -> Self {
        let metrics = Self::default();
        registry.register(|registry| {
            registry.register(
                "signet_webhook_serving_certificate_expiry_timestamp_seconds",
                "End of the life of the certificate that is served",
                metrics.certificate_expiry.clone(),
            );
            registry.register(
                "signet_webhook_serving_ca_expiry_timestamp_seconds",
                "End of the life of the CA that signs it",
                metrics.ca_expiry.clone(),
            );
            registry.register(
                "signet_webhook_serving_certificates_issued",
                "Certificates that were made for serving",
                metrics.certificates_issued.clone(),
            );
            registry.register(
                "signet_webhook_serving_certificates_loaded",
                "Certificates for serving that were taken from files",
                metrics.certificates_loaded.clone(),
            );
            registry.register(
                "signet_webhook_serving_certificate_failures",
                "Attempts at a certificate for serving that failed",
                metrics.certificate_failures.clone(),
            );
            registry.register(
                "signet_webhook_serving_cas_made",
                "CAs that were made for serving, those that are not served under yet included",
                metrics.cas_made.clone(),
            );
            registry.register(
                "signet_webhook_serving_ca_rotation_phase",
                "Whether the rotation of the CA is in this phase",
                metrics.rotation_phase.clone(),
            );
            registry.register(
                "signet_webhook_configuration_writes",
                "How often the bundles of the own webhook configuration of this kind were written",
                metrics.configuration_writes.clone(),
            );
            registry.register(
                "signet_webhook_configurations_forbidden",
                "Whether the own webhook configuration of this kind may not be read or patched",
                metrics.configurations_forbidden.clone(),
            );
        });
        metrics
    }

    /// Says how far the rotation of the CA is: in `phase` of `all`.
    pub fn set_rotation_phase(&self, phase: &'static str, all: impl IntoIterator<Item = &'static str>) {
        for name in all {
            self.rotation_phase.get_or_create(&PhaseLabel { phase: name }).set((name == phase).into());
        }
    }

    /// Counts a write to the own webhook configuration of this kind.
    pub fn wrote_configuration(&self, kind: &'static str) {
        self.configuration_writes.get_or_create(&KindLabel { kind }).inc();
    }

    /// Says whether the own webhook configuration of this kind may not be read or patched.
    pub fn set_forbidden(&self, kind: &'static str, is_forbidden: bool) {
        self.configurations_forbidden.get_or_create(&KindLabel { kind }).set(is_forbidden.into());
    }
}

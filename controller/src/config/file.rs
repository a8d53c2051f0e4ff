//! The configuration file: `ControllerConfiguration` of `controller.config.cert-manager.io/v1alpha1`. Every key is known,
//! those without effect too, so that a file of cert-manager's can be kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::args::{KubernetesArgs, ListenAddress, LoggingArgs, LoggingFile};
use runtime::config::{self, Identity, Length, Plain, Text};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serving::config::TlsSettings;
use serving::config::file::TlsFile;
use serving::election::{ElectionArgs, ElectionFile, FlagDuration};

use super::Gates;

/// What the file says that it is.
pub(super) const IDENTITY: Identity =
    Identity { api_version: "controller.config.cert-manager.io/v1alpha1", kind: "ControllerConfiguration" };

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct File {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    kube_config: Text<PathBuf>,
    #[serde(rename = "apiServerHost")]
    api_server_host: Text<String>,
    #[serde(rename = "kubernetesAPIQPS")]
    _kubernetes_api_qps: IgnoredAny,
    #[serde(rename = "kubernetesAPIBurst")]
    _kubernetes_api_burst: IgnoredAny,
    pub(super) namespace: Text<String>,
    pub(super) cluster_resource_namespace: Text<String>,
    leader_election_config: Option<ElectionFile>,
    pub(super) controllers: Option<Vec<Text<String>>>,
    #[serde(rename = "issuerAmbientCredentials")]
    _issuer_ambient_credentials: IgnoredAny,
    #[serde(rename = "clusterIssuerAmbientCredentials")]
    _cluster_issuer_ambient_credentials: IgnoredAny,
    pub(super) enable_certificate_owner_ref: Option<Plain<bool>>,
    #[serde(rename = "enableGatewayAPI")]
    enable_gateway_api: Option<Plain<bool>>,
    #[serde(rename = "enableGatewayAPIListenerSet")]
    _enable_gateway_api_listener_set: IgnoredAny,
    pub(super) copied_annotation_prefixes: Option<Vec<Text<String>>>,
    pub(super) number_of_concurrent_workers: Option<Plain<usize>>,
    #[serde(rename = "maxConcurrentChallenges")]
    _max_concurrent_challenges: IgnoredAny,
    pub(super) metrics_listen_address: Text<ListenAddress>,
    #[serde(rename = "metricsTLSConfig")]
    metrics_tls_config: Option<TlsFile>,
    pub(super) healthz_listen_address: Text<ListenAddress>,
    pub(super) enable_pprof: Option<Plain<bool>>,
    #[serde(rename = "pprofAddress")]
    _pprof_address: IgnoredAny,
    logging: Option<LoggingFile>,
    feature_gates: Option<Gates>,
    ingress_shim_config: IngressFile,
    #[serde(rename = "acmeHTTP01Config")]
    _acme_http01_config: Http01File,
    #[serde(rename = "acmeDNS01Config")]
    _acme_dns01_config: Dns01File,
    #[serde(rename = "pemSizeLimitsConfig")]
    _pem_size_limits_config: PemSizesFile,
    #[serde(rename = "gatewayAPI")]
    gateway_api: GatewayFile,
    certificate_request_minimum_backoff_duration: Option<Length<FlagDuration>>,
    certificate_request_maximum_backoff_duration: Option<Length<FlagDuration>>,
}

/// Keys whose values mean nothing here; one that does not exist is refused all the same.
macro_rules! without_effect {
    ($(#[$meta:meta])* $name:ident: $($key:ident as $text:literal),+ $(,)?) => {
        $(#[$meta])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct $name {
            $(#[serde(rename = $text)] $key: IgnoredAny,)+
        }
    };
}

without_effect!(
    /// How HTTP-01 challenges are solved.
    Http01File:
    _image as "solverImage",
    _request_cpu as "solverResourceRequestCPU",
    _request_memory as "solverResourceRequestMemory",
    _limits_cpu as "solverResourceLimitsCPU",
    _limits_memory as "solverResourceLimitsMemory",
    _run_as_non_root as "solverRunAsNonRoot",
    _runtime_class as "solverRuntimeClassName",
    _nameservers as "solverNameservers",
    _labels as "solverExtraLabels",
);

without_effect!(
    /// How DNS-01 challenges are checked.
    Dns01File:
    _nameservers as "recursiveNameservers",
    _only as "recursiveNameserversOnly",
    _period as "checkRetryPeriod",
);

without_effect!(
    /// How much PEM is read; fixed at the peer's defaults.
    PemSizesFile:
    _certificate as "maxCertificateSize",
    _key as "maxPrivateKeySize",
    _chain as "maxChainLength",
    _bundle as "maxBundleSize",
);

/// What Ingresses get.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct IngressFile {
    default_issuer_name: Text<String>,
    #[serde(rename = "defaultIssuerKind")]
    _default_issuer_kind: IgnoredAny,
    #[serde(rename = "defaultIssuerGroup")]
    _default_issuer_group: IgnoredAny,
    #[serde(rename = "defaultAutoCertificateAnnotations")]
    _default_auto_certificate_annotations: IgnoredAny,
    #[serde(rename = "extraCertificateAnnotations")]
    _extra_certificate_annotations: IgnoredAny,
}

/// What Gateways get.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct GatewayFile {
    enabled: Option<Plain<bool>>,
    #[serde(rename = "enableListenerSet")]
    _enable_listener_set: IgnoredAny,
    #[serde(rename = "extraProtocols")]
    _extra_protocols: IgnoredAny,
}

impl File {
    /// Reads the file at `path`; relative paths in it begin at its folder.
    pub(super) fn read(path: &Path) -> Result<Self, config::ConfigError> {
        let mut file: Self = config::read(path, IDENTITY)?;
        for named in file.paths() {
            *named = config::resolve(path, std::mem::take(named));
        }
        Ok(file)
    }

    fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.metrics_tls_config.iter_mut().flat_map(TlsFile::paths).chain(&mut self.kube_config.0)
    }

    /// How to reach the API server.
    pub(super) fn kubernetes(&mut self) -> KubernetesArgs {
        KubernetesArgs {
            kubeconfig: self.kube_config.0.take(),
            api_server_host: self.api_server_host.0.take(),
        }
    }

    /// The election.
    pub(super) fn election(&mut self) -> ElectionArgs {
        self.leader_election_config.take().unwrap_or_default().into()
    }

    /// Pause after the first refusal.
    pub(super) fn minimum_backoff(&self) -> Option<Duration> {
        Length::of(self.certificate_request_minimum_backoff_duration).map(|FlagDuration(duration)| duration)
    }

    /// The longest pause.
    pub(super) fn maximum_backoff(&self) -> Option<Duration> {
        Length::of(self.certificate_request_maximum_backoff_duration).map(|FlagDuration(duration)| duration)
    }

    /// Feature gates.
    pub(super) fn gates(&mut self) -> Gates {
        self.feature_gates.take().unwrap_or_default()
    }

    /// How metrics are served.
    pub(super) fn metrics_serving(&mut self) -> TlsSettings {
        self.metrics_tls_config.take().unwrap_or_default().into()
    }

    /// How to log.
    pub(super) fn logging(&mut self) -> LoggingArgs {
        self.logging.take().unwrap_or_default().into()
    }

    /// What is asked for and not done here.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> + use<> {
        let is_on = |key: Option<Plain<bool>>| Plain::of(key) == Some(true);
        let gateways = is_on(self.enable_gateway_api) || is_on(self.gateway_api.enabled);
        let ingresses = self.ingress_shim_config.default_issuer_name.0.is_some();
        let warning = |is_asked: bool, key, what| {
            is_asked.then(|| format!("{key} has no effect: this controller makes no Certificates for {what}"))
        };
        let gateways = warning(gateways, "gatewayAPI.enabled", "Gateways");
        let ingresses = warning(ingresses, "ingressShimConfig.defaultIssuerName", "Ingresses");
        gateways.into_iter().chain(ingresses)
    }
}

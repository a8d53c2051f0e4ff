//! The configuration file: `WebhookConfiguration` of `webhook.config.cert-manager.io/v1alpha1` (spec §4.5). Every
//! key is known, those without effect too, so that a file of cert-manager's can be kept.

use std::path::{Path, PathBuf};

use runtime::args::{KubernetesArgs, ListenAddress, LoggingArgs, LoggingFile};
use runtime::config::{self, Identity, Plain, Text};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serving::config::TlsSettings;
use serving::config::file::TlsFile;

use super::Gates;

/// What the file says that it is.
pub(super) const IDENTITY: Identity =
    Identity { api_version: "webhook.config.cert-manager.io/v1alpha1", kind: "WebhookConfiguration" };

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct File {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    pub(super) secure_port: Option<Plain<u16>>,
    pub(super) healthz_port: Option<Plain<u16>>,
    tls_config: Option<TlsFile>,
    pub(super) metrics_listen_address: Text<ListenAddress>,
    #[serde(rename = "metricsTLSConfig")]
    metrics_tls_config: Option<TlsFile>,
    pub(super) enable_client_verification: Option<Plain<bool>>,
    #[serde(rename = "clientCAPath")]
    client_ca_path: Text<PathBuf>,
    client_certificate_subjects: Option<Vec<Text<String>>>,
    kube_config: Text<PathBuf>,
    api_server_host: Text<String>,
    pub(super) enable_pprof: Option<Plain<bool>>,
    #[serde(rename = "pprofAddress")]
    _pprof_address: Option<String>,
    feature_gates: Option<Gates>,
    pem_size_limits_config: Option<LimitsFile>,
    logging: Option<LoggingFile>,
}

/// Most bytes of PEM, by what they hold.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct LimitsFile {
    pub(super) max_certificate_size: Option<Plain<usize>>,
    pub(super) max_private_key_size: Option<Plain<usize>>,
    pub(super) max_chain_length: Option<Plain<usize>>,
    pub(super) max_bundle_size: Option<Plain<usize>>,
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
        let tls = [&mut self.tls_config, &mut self.metrics_tls_config].into_iter().flatten();
        let others = [&mut self.client_ca_path, &mut self.kube_config];
        tls.flat_map(TlsFile::paths).chain(others.into_iter().filter_map(|path| path.0.as_mut()))
    }

    /// How reviews are served.
    pub(super) fn serving(&mut self) -> TlsSettings {
        self.tls_config.take().unwrap_or_default().into()
    }

    /// How metrics are served.
    pub(super) fn metrics_serving(&mut self) -> TlsSettings {
        self.metrics_tls_config.take().unwrap_or_default().into()
    }

    /// File with the CAs of clients, and their names.
    pub(super) fn clients(&mut self) -> (Option<PathBuf>, Vec<String>) {
        let names = self.client_certificate_subjects.take().unwrap_or_default();
        (self.client_ca_path.0.take(), Text::all(names))
    }

    /// How to reach the API server.
    pub(super) fn kubernetes(&mut self) -> KubernetesArgs {
        KubernetesArgs {
            kubeconfig: self.kube_config.0.take(),
            api_server_host: self.api_server_host.0.take(),
        }
    }

    /// Feature gates.
    pub(super) fn gates(&mut self) -> Gates {
        self.feature_gates.take().unwrap_or_default()
    }

    /// Most bytes of PEM.
    pub(super) fn limits(&self) -> LimitsFile {
        self.pem_size_limits_config.unwrap_or_default()
    }

    /// How to log.
    pub(super) fn logging(&mut self) -> LoggingArgs {
        self.logging.take().unwrap_or_default().into()
    }
}

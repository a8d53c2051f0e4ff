//! The configuration file: `WebhookConfiguration` of `webhook.config.cert-manager.io/v1alpha1` (spec §4.5). Every
//! key is known, those without effect too, so that a file of cert-manager's can be kept.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::SignedDuration;
use runtime::args::{KubernetesArgs, ListenAddress, LoggingArgs, LoggingFile};
use runtime::config::{self, Identity, Length, Plain, Text};
use runtime::tls::MinVersion;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Gates, TlsSettings};
use crate::args::{leaf_duration, serving_name};

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

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct TlsFile {
    filesystem: Option<FilesystemFile>,
    dynamic: Option<DynamicFile>,
    cipher_suites: Option<Vec<Text<String>>>,
    #[serde(rename = "minTLSVersion")]
    min_tls_version: Text<MinVersion>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct FilesystemFile {
    cert_file: Text<PathBuf>,
    key_file: Text<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct DynamicFile {
    secret_namespace: Text<String>,
    secret_name: Text<String>,
    dns_names: Option<Vec<Text<ServingName>>>,
    leaf_duration: Option<Length<LeafDuration>>,
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
        let filesystem = tls.filter_map(|tls| tls.filesystem.as_mut());
        let of_tls = filesystem.flat_map(|files| [&mut files.cert_file, &mut files.key_file]);
        let paths = of_tls.chain([&mut self.client_ca_path, &mut self.kube_config]);
        paths.filter_map(|path| path.0.as_mut())
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

impl From<TlsFile> for TlsSettings {
    fn from(file: TlsFile) -> Self {
        let FilesystemFile { cert_file, key_file } = file.filesystem.unwrap_or_default();
        let DynamicFile { secret_namespace, secret_name, dns_names, leaf_duration } =
            file.dynamic.unwrap_or_default();
        let names = dns_names.unwrap_or_default();
        Self {
            certificate_file: cert_file.0,
            key_file: key_file.0,
            secret_namespace: secret_namespace.0,
            secret_name: secret_name.0,
            names: Text::all(names).into_iter().map(|ServingName(name)| name).collect(),
            leaf_lifetime: Length::of(leaf_duration).map(|LeafDuration(lifetime)| lifetime),
            // The file's kind, which is cert-manager's, has no such field.
            ca_lifetime: None,
            cipher_suites: Text::all(file.cipher_suites.unwrap_or_default()),
            min_version: file.min_tls_version.0,
        }
    }
}

#[derive(Debug, Clone)]
struct ServingName(ServerName<'static>);

impl FromStr for ServingName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        serving_name(text).map(Self).map_err(|error| format!("{text:?} is {error}"))
    }
}

#[derive(Debug, Clone, Copy)]
struct LeafDuration(SignedDuration);

impl FromStr for LeafDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        leaf_duration(text).map(Self)
    }
}

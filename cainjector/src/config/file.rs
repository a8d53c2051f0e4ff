//! The configuration file: `CAInjectorConfiguration` of `cainjector.config.cert-manager.io/v1alpha1` (spec §3.1). Every
//! key is known, those without effect too, so that a file of cert-manager's can be kept.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use runtime::args::{KubernetesArgs, ListenAddress, LoggingArgs, LoggingFile};
use runtime::config::{self, Identity, Plain, Text};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serving::config::TlsSettings;
use serving::config::file::TlsFile;
use serving::election::{ElectionArgs, ElectionFile};

use super::Gates;
use crate::args::TargetArgs;

/// What the file says that it is.
pub(super) const IDENTITY: Identity =
    Identity { api_version: "cainjector.config.cert-manager.io/v1alpha1", kind: "CAInjectorConfiguration" };

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct File {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    kube_config: Text<PathBuf>,
    pub(super) namespace: Text<String>,
    ignore_namespaces: Option<Vec<Text<String>>>,
    leader_election_config: Option<ElectionFile>,
    enable_data_source_config: Option<SourcesFile>,
    enable_injectable_config: Option<TargetsFile>,
    pub(super) enable_pprof: Option<Plain<bool>>,
    #[serde(rename = "pprofAddress")]
    _pprof_address: Option<String>,
    logging: Option<LoggingFile>,
    feature_gates: Option<Gates>,
    pub(super) metrics_listen_address: Text<ListenAddress>,
    #[serde(rename = "metricsTLSConfig")]
    metrics_tls_config: Option<TlsFile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SourcesFile {
    certificates: Option<Plain<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct TargetsFile {
    validating_webhook_configurations: Option<Plain<bool>>,
    mutating_webhook_configurations: Option<Plain<bool>>,
    custom_resource_definitions: Option<Plain<bool>>,
    api_services: Option<Plain<bool>>,
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
        KubernetesArgs { kubeconfig: self.kube_config.0.take(), api_server_host: None }
    }

    /// Namespaces that no source may be in.
    pub(super) fn ignored_namespaces(&mut self) -> BTreeSet<String> {
        Text::all(self.ignore_namespaces.take().unwrap_or_default()).into_iter().collect()
    }

    /// The election.
    pub(super) fn election(&mut self) -> ElectionArgs {
        self.leader_election_config.take().unwrap_or_default().into()
    }

    /// The kinds of targets.
    pub(super) fn targets(&mut self) -> TargetArgs {
        let file = self.enable_injectable_config.take().unwrap_or_default();
        TargetArgs {
            enable_validatingwebhookconfigurations_injectable: Plain::of(
                file.validating_webhook_configurations,
            ),
            enable_mutatingwebhookconfigurations_injectable: Plain::of(file.mutating_webhook_configurations),
            enable_customresourcedefinitions_injectable: Plain::of(file.custom_resource_definitions),
            enable_apiservices_injectable: Plain::of(file.api_services),
            ..TargetArgs::default()
        }
    }

    /// Whether Certificates are sources.
    pub(super) fn certificates(&self) -> Option<bool> {
        Plain::of(self.enable_data_source_config.as_ref().and_then(|sources| sources.certificates))
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
}

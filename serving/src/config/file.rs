//! The sections `tlsConfig` and `metricsTLSConfig` of the peers' configuration files (spec §4.5 of the webhook, §3.1 of
//! the cainjector).

use std::path::PathBuf;
use std::str::FromStr;

use jiff::SignedDuration;
use runtime::config::{Length, Text};
use runtime::tls::MinVersion;
use rustls::pki_types::ServerName;
use serde::Deserialize;

use super::TlsSettings;
use crate::args::{leaf_duration, serving_name};

/// One of these sections.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TlsFile {
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

impl TlsFile {
    /// The paths in it, which may be relative to the file's folder.
    pub fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let files = self.filesystem.iter_mut().flat_map(|files| [&mut files.cert_file, &mut files.key_file]);
        files.filter_map(|path| path.0.as_mut())
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

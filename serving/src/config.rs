//! How TLS is served: what flags and configuration file come to, for a program that has both.

pub mod file;

use std::fmt;
use std::path::PathBuf;

use jiff::SignedDuration;
use runtime::tls::{CipherSuites, MinVersion, Parameters};
use rustls::pki_types::ServerName;

use crate::{CA_LIFETIME, renewer};

/// Default of `--dynamic-serving-leaf-duration`.
const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(168);

/// Whose certificates these are.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Word for it in messages, such as `webhook`.
    pub name: &'static str,
    /// Field manager of the CA's Secret, and value of its label `app.kubernetes.io/managed-by`.
    pub manager: &'static str,
}

/// How TLS is served.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Where the certificate comes from.
    pub source: Source,
    /// Lowest version.
    pub min_version: MinVersion,
    /// Suites.
    pub cipher_suites: CipherSuites,
}

/// Where a serving certificate comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Two files, PEM.
    Files {
        /// The chain, leaf first.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// A CA of the program's own.
    Dynamic(renewer::Settings),
}

impl Tls {
    /// The parameters of a server that asks for no client certificates.
    pub fn parameters(&self) -> Parameters {
        Parameters { min_version: self.min_version, cipher_suites: self.cipher_suites.clone(), clients: None }
    }
}

impl Source {
    /// Name of the Service in front of us, as far as the names tell under which we serve.
    pub fn service_name(&self) -> Option<String> {
        match self {
            Self::Files { .. } => None,
            Self::Dynamic(settings) => settings.service_name(),
        }
    }
}

/// How TLS is to be served, as far as flags or file say.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    /// File with the certificate chain.
    pub certificate_file: Option<PathBuf>,
    /// File with its key.
    pub key_file: Option<PathBuf>,
    /// Namespace of the CA's Secret.
    pub secret_namespace: Option<String>,
    /// Name of that Secret.
    pub secret_name: Option<String>,
    /// Names to serve under.
    pub names: Vec<ServerName<'static>>,
    /// Life of a certificate.
    pub leaf_lifetime: Option<SignedDuration>,
    /// Life of the CA.
    pub ca_lifetime: Option<SignedDuration>,
    /// Go's names of cipher suites.
    pub cipher_suites: Vec<String>,
    /// Lowest version.
    pub min_version: Option<MinVersion>,
}

/// What is wrong with one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The field of the configuration file.
    pub path: String,
    /// The flag of the same meaning; empty where several are concerned.
    pub flag: &'static str,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        if self.flag.is_empty() { Ok(()) } else { write!(f, " (flag --{})", self.flag) }
    }
}

/// All of them in one line.
pub fn listed(wrongs: &[Wrong]) -> String {
    let texts: Vec<String> = wrongs.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

impl TlsSettings {
    /// These, and what they leave open as `file` has it.
    #[must_use]
    pub fn or(self, file: Self) -> Self {
        fn list<T>(ours: Vec<T>, file: Vec<T>) -> Vec<T> {
            if ours.is_empty() { file } else { ours }
        }
        Self {
            certificate_file: self.certificate_file.or(file.certificate_file),
            key_file: self.key_file.or(file.key_file),
            secret_namespace: self.secret_namespace.or(file.secret_namespace),
            secret_name: self.secret_name.or(file.secret_name),
            names: list(self.names, file.names),
            leaf_lifetime: self.leaf_lifetime.or(file.leaf_lifetime),
            ca_lifetime: self.ca_lifetime.or(file.ca_lifetime),
            cipher_suites: list(self.cipher_suites, file.cipher_suites),
            min_version: self.min_version.or(file.min_version),
        }
    }
}

/// How metrics are served, and what to say about it. None: over plain HTTP.
///
/// # Errors
/// Why that cannot be done as it is said.
pub fn metrics(program: Program, settings: TlsSettings) -> Result<(Option<Tls>, Vec<String>), Vec<Wrong>> {
    let wants_tls = settings.min_version.is_some() || !settings.cipher_suites.is_empty();
    let mut found = Found::default();
    let tls = found.tls(program, "metricsTLSConfig", "metrics-", settings);
    if tls.is_none() && wants_tls && found.wrongs.is_empty() {
        let message = "Required value: say where the certificate of the metrics comes from, by metrics-tls-cert-file and \
                       metrics-tls-private-key-file or by the metrics-dynamic-serving flags; without one they would go \
                       over plain HTTP";
        found.wrong("metricsTLSConfig", "", message);
    }
    if found.wrongs.is_empty() { Ok((tls, found.warnings)) } else { Err(found.wrongs) }
}

/// What was found while values were put together.
#[derive(Debug, Default)]
pub struct Found {
    /// What makes it impossible to run.
    pub wrongs: Vec<Wrong>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

impl Found {
    /// Notes that something is wrong.
    pub fn wrong(&mut self, path: impl Into<String>, flag: &'static str, message: impl Into<String>) {
        self.wrongs.push(Wrong { path: path.into(), flag, message: message.into() });
    }

    /// What the settings come to; `path` is their section of the configuration file, and `prefix` begins the names of
    /// their flags. None: there is no certificate at all, or something is wrong with it, which is noted.
    pub fn tls(
        &mut self,
        program: Program,
        path: &str,
        prefix: &'static str,
        settings: TlsSettings,
    ) -> Option<Tls> {
        let min_version = settings.min_version.unwrap_or_default();
        if min_version.is_clamped() {
            self.warnings.push(format!(
                "--{prefix}tls-min-version asks for a version that is not safe; TLS 1.2 is the lowest that is spoken"
            ));
        }
        let cipher_suites = CipherSuites::of_names(&settings.cipher_suites).unwrap_or_else(|error| {
            self.wrong(format!("{path}.cipherSuites"), "", format!("Invalid value: {error}"));
            CipherSuites::default()
        });
        if !cipher_suites.dropped().is_empty() {
            let dropped = cipher_suites.dropped().join(", ");
            self.warnings.push(format!(
                "--{prefix}tls-cipher-suites names suites that are not safe and not spoken: {dropped}"
            ));
        }
        let source = self.source(program, path, settings)?;
        Some(Tls { source, min_version, cipher_suites })
    }

    fn source(&mut self, program: Program, path: &str, settings: TlsSettings) -> Option<Source> {
        let TlsSettings { certificate_file, key_file, secret_namespace, secret_name, names, .. } = settings;
        let has_files = certificate_file.is_some() || key_file.is_some();
        let is_dynamic = secret_namespace.is_some() || secret_name.is_some() || !names.is_empty();
        let mut required = |field: &str, what: &str| {
            self.wrong(format!("{path}.{field}"), "", format!("Required value: {what}"));
        };
        if has_files && is_dynamic {
            let message = format!(
                "Invalid value: the certificate comes either from files (filesystem) or from a CA of the {}'s own \
                 (dynamic); leave one out",
                program.name
            );
            self.wrong(path, "", message);
            return None;
        }
        if has_files {
            if certificate_file.is_none() {
                required("filesystem.certFile", "the file with the certificate that belongs to the key");
            }
            if key_file.is_none() {
                required("filesystem.keyFile", "the file with the key that belongs to the certificate");
            }
            return Some(Source::Files { certificate: certificate_file?, key: key_file? });
        }
        if !is_dynamic {
            return None;
        }
        if secret_namespace.is_none() {
            required("dynamic.secretNamespace", "the namespace of the Secret that keeps the CA");
        }
        if secret_name.is_none() {
            required("dynamic.secretName", "the name of the Secret that keeps the CA");
        }
        if names.is_empty() {
            required("dynamic.dnsNames", "at least one name to serve under");
            return None;
        }
        Some(Source::Dynamic(renewer::Settings {
            manager: program.manager,
            secret_namespace: secret_namespace?,
            secret_name: secret_name?,
            names,
            leaf_lifetime: settings.leaf_lifetime.unwrap_or(LEAF_LIFETIME),
            ca_lifetime: settings.ca_lifetime.unwrap_or(CA_LIFETIME),
        }))
    }
}

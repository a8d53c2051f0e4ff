//! What flags and configuration file come to: every value is there, and fits the others.

mod file;
mod gates;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use issuance::certificate::Certificate;
use issuance::name::SubjectAltName;
use issuance::pem::Limit;
use runtime::args::{KubernetesArgs, ListenAddress, LoggingArgs};
use runtime::config::{Plain, Text};
use runtime::tls::{Clients, Parameters};
use serving::config::{Found, Program, Source, Tls, TlsSettings, Wrong, listed};

pub use gates::Gates;
pub(crate) use gates::apply as apply_gates;

use crate::approval::Grants;
use crate::args::{Args, ClientArgs, ConfigurationArgs, RulesArgs};
use file::File;

/// Default of `--secure-port`.
const SECURE_PORT: u16 = 6443;
/// Default of `--healthz-port`.
const HEALTHZ_PORT: u16 = 6080;
/// Default of `--metrics-listen-address`: all addresses, of both kinds.
const METRICS_ADDRESS: ListenAddress = ListenAddress::every(9402);
/// Whose certificates these are.
const PROGRAM: Program = Program { name: "webhook", manager: "cert-manager-webhook" };

/// How the webhook runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Port for reviews; 0 takes a free one.
    pub secure_port: u16,
    /// Address for reviews and probes; None: every address of the machine.
    pub listen_host: Option<IpAddr>,
    /// Port for probes; 0 takes a free one.
    pub healthz_port: u16,
    /// How long to go on serving after the first sign of shutdown.
    pub shutdown_drain_period: Duration,
    /// How reviews are served.
    pub serving: Tls,
    /// Whom reviews are served to; None: everybody.
    pub clients: Option<ClientRules>,
    /// Where metrics are served.
    pub metrics_listen_address: ListenAddress,
    /// How; None: over plain HTTP.
    pub metrics_serving: Option<Tls>,
    /// The own webhook configurations.
    pub configurations: ConfigurationArgs,
    /// What rules go by.
    pub rules: rules::Settings,
    /// Whether every denial is a 403.
    pub forbids_only: bool,
    /// Where a right to approve may have been granted.
    pub grants: Grants,
    /// Whether to look at other objects of the cluster, for warnings.
    pub cluster_warnings: bool,
    /// How to reach the API server.
    pub kubernetes: KubernetesArgs,
    /// How to log.
    pub logging: LoggingArgs,
    /// What the operator should know about their flags, once there is a log.
    pub warnings: Vec<String>,
}

/// Whom to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRules {
    /// File with the CAs of clients, PEM.
    pub ca_path: PathBuf,
    /// Their common names or DNS names; empty: all.
    pub names: Vec<String>,
}

/// Why the webhook cannot run as it is told to.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] runtime::config::ConfigError),
    /// Values are missing, or do not go together.
    #[error("the configuration is not complete or contradicts itself: {}", listed(.0))]
    Wrong(Vec<Wrong>),
}

impl Config {
    /// What `args`, and the file that they name, come to.
    ///
    /// # Errors
    /// When the file cannot be used, or a value is missing or contradicts another one.
    pub fn load(args: Args) -> Result<Self, ConfigError> {
        let file = Text::of(args.config.clone()).as_deref().map(File::read).transpose()?;
        Self::of(args, file.unwrap_or_default())
    }

    fn of(args: Args, mut file: File) -> Result<Self, ConfigError> {
        let Args {
            config: _,
            secure_port,
            listen_host,
            healthz_port,
            shutdown_drain_period,
            serving,
            clients,
            metrics,
            configurations,
            rules,
            kubernetes,
            logging,
            profiling,
        } = args;
        let mut checked = Checked::default();
        let (metrics_address, metrics_tls) = metrics.split();
        let serving = TlsSettings::from(serving).or(file.serving());
        let serving = checked.found.tls(PROGRAM, "tlsConfig", "", serving);
        if serving.is_none() && checked.found.wrongs.is_empty() {
            let message = "Required value: say where the serving certificate comes from, by tls-cert-file and \
                           tls-private-key-file or by the dynamic-serving flags";
            checked.found.wrong("tlsConfig", "", message);
        }
        let metrics_tls = metrics_tls.or(file.metrics_serving());
        let metrics_serving = checked.found.tls(PROGRAM, "metricsTLSConfig", "metrics-", metrics_tls);
        checked.secrets(serving.as_ref(), metrics_serving.as_ref());
        checked.configurations(serving.as_ref(), &configurations);
        let clients = checked.clients(clients, &mut file);
        let forbids_only = rules.deny_as_forbidden;
        let grants = if rules.namespaced_approval { Grants::OfNamespaces } else { Grants::OfCluster };
        let cluster_warnings = rules.cluster_warnings;
        let rules = checked.rules(rules, &mut file);
        let measured = "processor time, memory and the time that reviews take";
        checked.found.warnings.extend(profiling.warning(Plain::of(file.enable_pprof), measured));
        match serving {
            Some(serving) if checked.found.wrongs.is_empty() => Ok(Self {
                secure_port: secure_port.or(Plain::of(file.secure_port)).unwrap_or(SECURE_PORT),
                listen_host,
                healthz_port: healthz_port.or(Plain::of(file.healthz_port)).unwrap_or(HEALTHZ_PORT),
                shutdown_drain_period,
                serving,
                clients,
                metrics_listen_address: metrics_address
                    .or(file.metrics_listen_address.0)
                    .unwrap_or(METRICS_ADDRESS),
                metrics_serving,
                configurations,
                rules,
                forbids_only,
                grants,
                cluster_warnings,
                kubernetes: kubernetes.or(file.kubernetes()),
                logging: logging.or(file.logging()),
                warnings: checked.found.warnings,
            }),
            _ => Err(ConfigError::Wrong(checked.found.wrongs)),
        }
    }
}

/// The parameters of a TLS server.
///
/// # Errors
/// When the CAs of clients cannot be used.
pub fn parameters(tls: &Tls, clients: Option<&ClientRules>) -> anyhow::Result<Parameters> {
    let clients = clients.map(ClientRules::read).transpose()?;
    Ok(Parameters { clients, ..tls.parameters() })
}

impl ClientRules {
    fn read(&self) -> anyhow::Result<Clients> {
        let path = self.ca_path.display();
        let cas = std::fs::read(&self.ca_path)
            .with_context(|| format!("cannot read the CAs of clients, {path}"))?;
        let rules = self.clone();
        let clients = Clients::new(&cas, move |certificate| rules.wants(certificate));
        clients.with_context(|| format!("cannot verify clients by {path}"))
    }

    /// Whether a certificate bears one of the names.
    fn wants(&self, certificate: &[u8]) -> bool {
        if self.names.is_empty() {
            return true;
        }
        let Ok(certificate) = Certificate::from_der(certificate) else { return false };
        let is_listed = |name: &str| self.names.iter().any(|listed| listed == name);
        let is_dns = |name: &SubjectAltName| matches!(name, SubjectAltName::Dns(name) if is_listed(name));
        certificate.common_name().as_deref().is_some_and(is_listed) || certificate.names().iter().any(is_dns)
    }
}

/// What was found while values were put together.
#[derive(Default)]
struct Checked {
    found: Found,
}

impl Checked {
    /// Two that renew one Secret would undo each other's work.
    fn secrets(&mut self, serving: Option<&Tls>, metrics: Option<&Tls>) {
        let secret = |tls: Option<&Tls>| match tls.map(|tls| &tls.source) {
            Some(Source::Dynamic(settings)) => {
                Some((settings.secret_namespace.clone(), settings.secret_name.clone()))
            }
            _ => None,
        };
        if let Some((_, name)) = secret(metrics).filter(|metrics| secret(serving).as_ref() == Some(metrics)) {
            let message = format!(
                "Invalid value: {name:?}: the Secret of the serving certificate's CA; metrics need one of their own"
            );
            let flag = "metrics-dynamic-serving-ca-secret-name";
            self.found.wrong("metricsTLSConfig.dynamic.secretName", flag, message);
        }
    }

    fn configurations(&mut self, serving: Option<&Tls>, args: &ConfigurationArgs) {
        let ConfigurationArgs { validating_configuration_name, mutating_configuration_name } = args;
        let names = [validating_configuration_name, mutating_configuration_name];
        let is_named = names.into_iter().any(|name| Text::of(name.clone()).is_some());
        if is_named && serving.is_some_and(|tls| matches!(tls.source, Source::Files { .. })) {
            self.found.warnings.push(
                "the configurations that --validating-configuration-name and --mutating-configuration-name name are \
                 only looked at, since the CA of a certificate from files is not known; put it into the caBundle \
                 yourself, or let a cainjector do so"
                    .to_owned(),
            );
        }
    }

    fn clients(&mut self, args: ClientArgs, file: &mut File) -> Option<ClientRules> {
        let (path, names) = file.clients();
        let is_enabled = args.enable_client_verification.or(Plain::of(file.enable_client_verification));
        let ca_path = Text::of(args.client_ca_path).or(path);
        if is_enabled != Some(true) {
            return None;
        }
        let ours = Text::all(args.client_subject_names);
        let names = if ours.is_empty() { names } else { ours };
        if ca_path.is_none() {
            self.found.wrong(
                "clientCAPath",
                "client-ca-path",
                "Required value: the CAs by which clients are verified",
            );
        }
        Some(ClientRules { ca_path: ca_path?, names })
    }

    fn rules(&mut self, args: RulesArgs, file: &mut File) -> rules::Settings {
        let limits = file.limits();
        let base = rules::Settings {
            request_bytes_max: Plain::of(limits.max_certificate_size).unwrap_or(Limit::CERTIFICATE.bytes),
            bundle_bytes_max: Plain::of(limits.max_bundle_size).unwrap_or(Limit::BUNDLE.bytes),
            ..rules::Settings::DEFAULT
        };
        let key = args.max_private_key_size.or(Plain::of(limits.max_private_key_size));
        let chain = args.max_certificate_chain_length.or(Plain::of(limits.max_chain_length));
        let (settings, gates) = args.settings.settings(base, file.gates());
        let (certificate, bundle) = (settings.request_bytes_max, settings.bundle_bytes_max);
        for (field, flag, bytes) in [
            ("maxCertificateSize", "max-certificate-size", certificate),
            ("maxPrivateKeySize", "max-private-key-size", key.unwrap_or(Limit::PRIVATE_KEY.bytes)),
            ("maxChainLength", "max-certificate-chain-length", chain.unwrap_or(Limit::CHAIN.bytes)),
            ("maxBundleSize", "max-certificate-bundle-size", bundle),
        ] {
            let path = format!("pemSizeLimitsConfig.{field}");
            if let Err(message) = is_limit(bytes, (field != "maxPrivateKeySize").then_some(bundle)) {
                self.found.wrong(path, flag, message);
            }
        }
        for (gate, _) in gates.without_effect() {
            self.found.warnings.push(format!("feature gate {gate} has no effect any more; remove it"));
        }
        settings
    }
}

/// Whether a size bounds what is read; most kinds of PEM may not be longer than a bundle.
pub(crate) fn is_limit(bytes: usize, bundle: Option<usize>) -> Result<(), String> {
    match bundle {
        _ if bytes == 0 => Err("Invalid value: 0: must be greater than 0".to_owned()),
        Some(bundle) if bytes > bundle => {
            Err(format!("Invalid value: {bytes}: must not be greater than maxBundleSize, {bundle}"))
        }
        _ => Ok(()),
    }
}

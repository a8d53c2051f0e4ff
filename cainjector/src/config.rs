//! What flags and configuration file come to: every value is there, and fits the others.

mod file;
#[cfg(test)]
mod tests;
mod withdrawal;

use std::collections::BTreeSet;

use runtime::args::{AdminArgs, KubernetesArgs, ListenAddress, LoggingArgs};
use runtime::config::{Plain, Text};
use runtime::gates::{self, Stage, Table};
use runtime::lease::TimesError;
use serving::config::{self, Program, Tls, Wrong, listed};
use serving::election::Election;

use self::file::File;
use crate::MANAGER;
use crate::args::{Args, InjectionArgs, TargetArgs};
use crate::settings::{Namespaces, Settings};
use crate::target::TargetKind;

/// The Lease of the peer, so that its replicas and ours take turns.
pub(crate) const LEASE: &str = "cert-manager-cainjector-leader-election";
/// Default of `--metrics-listen-address`: all addresses, of both kinds.
const METRICS_ADDRESS: ListenAddress = ListenAddress::every(9402);
/// Default of `--healthz-listen-address`.
const HEALTHZ_ADDRESS: ListenAddress = ListenAddress::every(6080);

/// Whose certificates these are.
const PROGRAM: Program = Program { name: "cainjector", manager: MANAGER };

/// How the cainjector runs.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// How to reach the API server.
    pub(crate) kubernetes: KubernetesArgs,
    /// Which sources are taken, and how.
    pub(crate) settings: Settings,
    /// ConfigMap in which is remembered what left its source when; None: nothing has to be.
    pub(crate) memory: Option<String>,
    /// The same, also where it was named and nothing has to be remembered: no bundle goes there, and no policy judges it. None:
    /// the one that has the account's name.
    pub(crate) own_configmap: Option<String>,
    /// Which kinds get bundles.
    pub(crate) targets: Vec<TargetKind>,
    /// The election to take part in; None: every replica writes.
    pub(crate) election: Option<Election>,
    /// Where to answer probes and scrapes.
    pub(crate) admin: AdminArgs,
    /// How to serve metrics; None: over plain HTTP.
    pub(crate) metrics_serving: Option<Tls>,
    /// How to log.
    pub(crate) logging: LoggingArgs,
    /// What the operator should know about their flags, once there is a log.
    pub(crate) warnings: Vec<String>,
}

/// Why the cainjector cannot run as it is told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] runtime::config::ConfigError),
    /// The times of the election do not fit together.
    #[error("leaderElectionConfig: {0}")]
    Election(#[from] TimesError),
    /// One is the opposite of the other.
    #[error(
        "namespace and ignoreNamespaces exclude each other: leave out --namespace or --ignore-namespaces"
    )]
    Namespaces,
    /// How to serve metrics is not said, or contradicts itself.
    #[error("{}", listed(.0))]
    MetricsTls(Vec<Wrong>),
    /// Servers may still use certificates of a CA that would be trusted no more.
    #[error(
        "--ca-retention is shorter than {hours}h, the usual life of a certificate: servers may still use one of the CA \
         before; wait longer, or confirm by --ca-retention-below-minimum that none does"
    )]
    Retention {
        /// The shortest that needs no confirmation.
        hours: i64,
    },
    /// One field would be given up for the other.
    #[error("--inject-target: {0} are declared twice; an object has one field for a bundle")]
    DeclaredTwice(String),
    /// Nothing would be done.
    #[error("enableInjectableConfig: every kind of target is switched off; leave one on")]
    NoTargets,
}

/// The gates that exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KnownGates;

/// On since the peer's 1.19.
const MERGING: &str = "CAInjectorMerging";

impl Table for KnownGates {
    const GATES: &'static [(&'static str, Stage)] = &[
        ("AllAlpha", Stage::All),
        ("AllBeta", Stage::All),
        (MERGING, Stage::Stable),
        ("ServerSideApply", Stage::Fixed),
    ];
}

/// Gates as they were set.
pub(crate) type Gates = gates::Gates<KnownGates>;

impl Config {
    /// What `args`, and the file that they name, come to.
    ///
    /// # Errors
    /// When the file cannot be used, or a value contradicts another one.
    pub(crate) fn load(args: Args) -> Result<Self, ConfigError> {
        let file = Text::of(args.injection.config.clone()).as_deref().map(File::read).transpose()?;
        Self::of(args, file.unwrap_or_default())
    }

    fn of(args: Args, mut file: File) -> Result<Self, ConfigError> {
        let Args { injection, election, metrics, probes, logging, profiling } = args;
        let InjectionArgs { config: _, feature_gates, sources, targets, withdrawal, kubernetes } = injection;
        let (metrics_address, metrics_tls) = metrics.split();
        let (metrics_serving, mut warnings) =
            config::metrics(PROGRAM, metrics_tls.or(file.metrics_serving()))
                .map_err(ConfigError::MetricsTls)?;
        let gates = feature_gates.into_iter().fold(file.gates(), |earlier, later| later.or(earlier));
        warnings.extend(warnings_of(&gates));
        let measured = "processor time and memory";
        warnings.extend(profiling.warning(Plain::of(file.enable_pprof), measured));
        let targets = targets.or(&file.targets()).kinds()?;
        if targets.is_empty() {
            return Err(ConfigError::NoTargets);
        }
        let (withdrawal, own_configmap) = withdrawal::of(withdrawal)?;
        let memory = own_configmap.clone().filter(|_| withdrawal.needs_memory());
        let certificates = sources.enable_certificates_data_source.or(file.certificates());
        let ours: BTreeSet<String> = Text::all(sources.ignore_namespaces).into_iter().collect();
        let ignored = if ours.is_empty() { file.ignored_namespaces() } else { ours };
        let only = Text::of(sources.namespace).or(file.namespace.0.take());
        let metrics_address = metrics_address.or(file.metrics_listen_address.0);
        Ok(Self {
            settings: Settings {
                namespaces: namespaces(only, ignored)?,
                certificates: certificates.unwrap_or(true),
                merging: gates.value(MERGING).unwrap_or(true),
                withdrawal,
                own: None,
            },
            memory,
            own_configmap,
            targets,
            election: Election::of(election.or(file.election()))?,
            admin: AdminArgs {
                metrics_listen_address: metrics_address.unwrap_or(METRICS_ADDRESS),
                healthz_listen_address: probes.healthz_listen_address.unwrap_or(HEALTHZ_ADDRESS),
            },
            metrics_serving,
            kubernetes: kubernetes.or(file.kubernetes()),
            logging: logging.or(file.logging()),
            warnings,
        })
    }
}

fn warnings_of(gates: &Gates) -> Vec<String> {
    let mut warnings = Vec::new();
    if gates.value(MERGING) == Some(false) {
        warnings.push(format!(
            "feature gate {MERGING} is off: when a CA is renewed, the one before is trusted no more from that moment, \
             although servers may use its certificates still"
        ));
    }
    for (gate, _) in gates.without_effect().filter(|(_, value)| *value) {
        warnings.push(format!("feature gate {gate} has no effect any more; remove it"));
    }
    warnings
}

fn namespaces(only: Option<String>, ignored: BTreeSet<String>) -> Result<Namespaces, ConfigError> {
    match (only, ignored.is_empty()) {
        (Some(_), false) => Err(ConfigError::Namespaces),
        (Some(only), true) => Ok(Namespaces::Only(only)),
        (None, false) => Ok(Namespaces::Except(ignored)),
        (None, true) => Ok(Namespaces::All),
    }
}

impl TargetArgs {
    /// These, and what they leave open as `file` has it.
    fn or(&self, file: &Self) -> Self {
        Self {
            enable_validatingwebhookconfigurations_injectable: self
                .enable_validatingwebhookconfigurations_injectable
                .or(file.enable_validatingwebhookconfigurations_injectable),
            enable_mutatingwebhookconfigurations_injectable: self
                .enable_mutatingwebhookconfigurations_injectable
                .or(file.enable_mutatingwebhookconfigurations_injectable),
            enable_customresourcedefinitions_injectable: self
                .enable_customresourcedefinitions_injectable
                .or(file.enable_customresourcedefinitions_injectable),
            enable_apiservices_injectable: self
                .enable_apiservices_injectable
                .or(file.enable_apiservices_injectable),
            // The file is the peer's, which knows no such kinds.
            inject_configmaps: self.inject_configmaps,
            inject_clustertrustbundles: self.inject_clustertrustbundles,
            inject_target: self.inject_target.clone(),
        }
    }

    /// The kinds that are not switched off, and those that are declared.
    fn kinds(&self) -> Result<Vec<TargetKind>, ConfigError> {
        let is_on = |kind: &TargetKind| {
            let switch = match kind {
                TargetKind::ValidatingWebhookConfiguration => {
                    self.enable_validatingwebhookconfigurations_injectable
                }
                TargetKind::MutatingWebhookConfiguration => {
                    self.enable_mutatingwebhookconfigurations_injectable
                }
                TargetKind::CustomResourceDefinition => self.enable_customresourcedefinitions_injectable,
                TargetKind::ApiService => self.enable_apiservices_injectable,
                TargetKind::ConfigMap => self.inject_configmaps,
                TargetKind::ClusterTrustBundle => self.inject_clustertrustbundles,
                TargetKind::Custom(_) => None,
            };
            switch.unwrap_or(!kind.is_wider())
        };
        let mut kinds: Vec<TargetKind> = TargetKind::ALL.iter().copied().filter(is_on).collect();
        for (number, declared) in self.inject_target.iter().enumerate() {
            if self.inject_target.iter().take(number).any(|earlier| earlier.meets(declared)) {
                return Err(ConfigError::DeclaredTwice(declared.name.clone()));
            }
            // Kinds last as long as the process, which declares a few of them once.
            kinds.push(TargetKind::Custom(Box::leak(Box::new(declared.clone()))));
        }
        Ok(kinds)
    }
}

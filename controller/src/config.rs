//! What flags and configuration file come to: every value is there, and fits the others.

mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use runtime::args::{AdminArgs, KubernetesArgs, ListenAddress, LoggingArgs};
use runtime::config::{Plain, Text};
use runtime::gates::{self, Stage, Table};
use runtime::lease::TimesError;
use serving::config::{self, Program, Tls, Wrong, listed};
use serving::election::Election;

use self::file::File;
use crate::MANAGER;
use crate::args::{Args, CertificateArgs, ScopeArgs};
use crate::certificate::metadata::Prefixes;
use crate::controllers::{APPROVER, Controllers, ControllersError};
use crate::settings::{BASIC_CONSTRAINTS, Backoffs, Settings};
use crate::signer::settings::{PolicySettings, SignerSettings};

/// Default of `--leader-election-name`: the Lease of the peer, so that its replicas and ours take turns.
const LEASE: &str = "cert-manager-controller";
/// Default of `--cluster-resource-namespace`.
const CLUSTER_RESOURCE_NAMESPACE: &str = "kube-system";
/// Default of `--concurrent-workers`.
const WORKERS: usize = 5;
/// Default of `--metrics-listen-address`: all addresses, of both kinds.
const METRICS_ADDRESS: ListenAddress = ListenAddress::every(9402);
/// Default of `--healthz-listen-address`.
const HEALTHZ_ADDRESS: ListenAddress = ListenAddress::every(6080);

/// Whose certificates the metrics are served with.
const PROGRAM: Program = Program { name: "controller", manager: MANAGER };

/// How the controller runs.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// How to reach the API server.
    pub(crate) kubernetes: KubernetesArgs,
    /// What is worked on, and how.
    pub(crate) settings: Settings,
    /// How to sign for nodes; None: the service is off.
    pub(crate) signer: Option<SignerSettings>,
    /// The election to take part in, and the name of its Lease; None: every replica writes.
    pub(crate) election: Option<(Election, String)>,
    /// Where to answer probes and scrapes.
    pub(crate) admin: AdminArgs,
    /// How to serve metrics; None: over plain HTTP.
    pub(crate) metrics_serving: Option<Tls>,
    /// How to log.
    pub(crate) logging: LoggingArgs,
    /// What the operator should know about their flags, once there is a log.
    pub(crate) warnings: Vec<String>,
}

/// Why the controller cannot run as it is told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] runtime::config::ConfigError),
    /// The times of the election do not fit together.
    #[error("leaderElectionConfig: {0}")]
    Election(#[from] TimesError),
    /// A part does not exist.
    #[error(transparent)]
    Controllers(#[from] ControllersError),
    /// How to serve metrics is not said, or contradicts itself.
    #[error("{}", listed(.0))]
    MetricsTls(Vec<Wrong>),
    /// The first pause would be longer than the longest.
    #[error(
        "certificateRequestMinimumBackoffDuration {first:?} is longer than certificateRequestMaximumBackoffDuration \
         {longest:?}",
        first = .0.first, longest = .0.longest
    )]
    Backoff(Backoffs),
    /// Nobody would work.
    #[error("numberOfConcurrentWorkers: 0 is none; write 1 or more")]
    NoWorkers,
    /// Approval is left to others, whom the signer service would pass over.
    #[error(
        "the signer service signs without asking approvers, and controllers leaves {APPROVER} out: turn it on, or the signer \
         service off with --signer-listen-address=0"
    )]
    SignerWithoutApprover,
}

/// The gates that exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KnownGates;

impl Table for KnownGates {
    const GATES: &'static [(&'static str, Stage)] = &[
        ("ACMEHTTP01IngressPathTypeExact", Stage::Fixed),
        ("ACMEUseARI", Stage::Fixed),
        ("AdditionalCertificateOutputFormats", Stage::Fixed),
        ("AllAlpha", Stage::All),
        ("AllBeta", Stage::All),
        ("DefaultPrivateKeyRotationPolicyAlways", Stage::Fixed),
        ("DisallowInsecureCSRUsageDefinition", Stage::Fixed),
        ("ExperimentalCertificateSigningRequestControllers", Stage::Fixed),
        ("ExperimentalGatewayAPISupport", Stage::Fixed),
        ("ListenerSets", Stage::Fixed),
        ("LiteralCertificateSubject", Stage::Beta),
        ("NameConstraints", Stage::Beta),
        ("OtherNames", Stage::Beta),
        ("SecretsFilteredCaching", Stage::Fixed),
        ("ServerSideApply", Stage::Fixed),
        ("StableCertificateRequestName", Stage::Fixed),
        (BASIC_CONSTRAINTS, Stage::Stable),
        ("UseDomainQualifiedFinalizer", Stage::Fixed),
        ("ValidateCAA", Stage::Fixed),
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
        let file = Text::of(args.config.clone()).as_deref().map(File::read).transpose()?;
        Self::of(args, file.unwrap_or_default())
    }

    fn of(args: Args, mut file: File) -> Result<Self, ConfigError> {
        let Args {
            config: _,
            feature_gates,
            kubernetes,
            scope,
            certificates,
            election,
            leader_election_name,
            signer,
            metrics,
            probes,
            logging,
            profiling,
            ignored,
        } = args;
        let (metrics_address, metrics_tls) = metrics.split();
        let (metrics_serving, mut warnings) =
            config::metrics(PROGRAM, metrics_tls.or(file.metrics_serving()))
                .map_err(ConfigError::MetricsTls)?;
        let gates = feature_gates.into_iter().fold(file.gates(), |earlier, later| later.or(earlier));
        warnings.extend(
            gates.without_effect().map(|(gate, _)| format!("feature gate {gate} has no effect; remove it")),
        );
        warnings.extend(profiling.warning(Plain::of(file.enable_pprof), "processor time and memory"));
        warnings.extend(ignored.warnings());
        warnings.extend(file.warnings());
        let settings = settings(scope, certificates, signer.policy(), gates, &mut file)?;
        warnings.extend(settings.controllers.asked_in_vain().iter().map(|name| {
            format!(
                "controllers: {name} is not served by this controller; let another one do it, or leave it out"
            )
        }));
        let signer = signer.settings(settings.drivers.clone());
        if signer.is_some() && !settings.controllers.is_on(APPROVER) {
            return Err(ConfigError::SignerWithoutApprover);
        }
        let election = Election::of(election.or(file.election()))?;
        let lease = Text::of(leader_election_name).unwrap_or_else(|| LEASE.to_owned());
        let metrics_address = metrics_address.or(file.metrics_listen_address.0);
        let healthz_address = probes.healthz_listen_address.or(file.healthz_listen_address.0);
        Ok(Self {
            signer,
            kubernetes: kubernetes.or(file.kubernetes()),
            settings,
            election: election.map(|election| (election, lease)),
            admin: AdminArgs {
                metrics_listen_address: metrics_address.unwrap_or(METRICS_ADDRESS),
                healthz_listen_address: healthz_address.unwrap_or(HEALTHZ_ADDRESS),
            },
            metrics_serving,
            logging: logging.or(file.logging()),
            warnings,
        })
    }
}

/// What is worked on, and how.
fn settings(
    scope: ScopeArgs,
    certificates: CertificateArgs,
    policy: PolicySettings,
    gates: Gates,
    file: &mut File,
) -> Result<Settings, ConfigError> {
    let controllers = given(scope.controllers, file.controllers.take());
    let prefixes = given(certificates.copied_annotation_prefixes, file.copied_annotation_prefixes.take());
    let backoff = Backoffs {
        first: certificates
            .certificate_request_minimum_backoff_duration
            .or(file.minimum_backoff())
            .unwrap_or(Backoffs::default().first),
        longest: certificates
            .certificate_request_maximum_backoff_duration
            .or(file.maximum_backoff())
            .unwrap_or(Backoffs::default().longest),
    };
    if backoff.first > backoff.longest {
        return Err(ConfigError::Backoff(backoff));
    }
    let workers = match (scope.concurrent_workers, Plain::of(file.number_of_concurrent_workers)) {
        (Some(workers), _) => workers,
        (None, Some(workers)) => NonZeroUsize::new(workers).ok_or(ConfigError::NoWorkers)?,
        (None, None) => NonZeroUsize::new(WORKERS).unwrap_or(NonZeroUsize::MIN),
    };
    let secret_namespaces: BTreeSet<String> = Text::all(scope.secret_namespaces).into_iter().collect();
    Ok(Settings {
        namespace: Text::of(scope.namespace).or(file.namespace.0.take()),
        secret_namespaces: (!secret_namespaces.is_empty()).then_some(secret_namespaces),
        cluster_resource_namespace: Text::of(scope.cluster_resource_namespace)
            .or(file.cluster_resource_namespace.0.take())
            .unwrap_or_else(|| CLUSTER_RESOURCE_NAMESPACE.to_owned()),
        controllers: Controllers::of(&controllers)?,
        owner_refs: certificates
            .enable_certificate_owner_ref
            .or(Plain::of(file.enable_certificate_owner_ref))
            .unwrap_or(false),
        copied_annotations: if prefixes.is_empty() { Prefixes::default() } else { Prefixes::new(prefixes) },
        backoff,
        workers,
        gates,
        drivers: Text::all(scope.driver_accounts),
        policy,
    })
}

/// The items that flags name, or else those of the file.
fn given(flags: Vec<Text<String>>, file: Option<Vec<Text<String>>>) -> Vec<String> {
    let flags = Text::all(flags);
    if flags.is_empty() { Text::all(file.unwrap_or_default()) } else { flags }
}

//! Flags. Their names are those of cert-manager's controller where it has them. What a flag leaves open, the configuration
//! file decides, and then a default. As in Go, the last of several values counts, lists grow, and an empty text is no value.

mod ignored;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use runtime::args::{KubernetesArgs, ListenAddress, LoggingArgs, ProfilingArgs, boolean};
use runtime::config::Text;
use serving::args::MetricsArgs;
use serving::election::{ElectionArgs, duration};

pub(crate) use ignored::IgnoredArgs;

use crate::config::Gates;
use crate::signer::settings::SignerArgs;

/// Says of each Issuer and ClusterIssuer whether it can sign, approves CertificateRequests and has them signed
#[derive(Debug, Clone, Parser)]
#[command(name = "signet-controller", version, max_term_width = 100, args_override_self = true)]
pub struct Args {
    /// Configuration file: a ControllerConfiguration of controller.config.cert-manager.io/v1alpha1; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<Text<PathBuf>>,

    /// Features that are on or off
    #[arg(long, value_name = "NAME=BOOL,…")]
    pub(crate) feature_gates: Vec<Gates>,

    /// How to reach the Kubernetes API.
    #[command(flatten)]
    pub kubernetes: KubernetesArgs,

    /// What is worked on.
    #[command(flatten)]
    pub scope: ScopeArgs,

    /// How Certificates are kept.
    #[command(flatten)]
    pub certificates: CertificateArgs,

    /// Which of several replicas writes.
    #[command(
        flatten,
        next_help_heading = "Leader election, by a Lease that cert-manager's controller uses too"
    )]
    pub election: ElectionArgs,

    /// Name of the Lease [default: cert-manager-controller]
    #[arg(
        long,
        value_name = "NAME",
        help_heading = "Leader election, by a Lease that cert-manager's controller uses too"
    )]
    pub leader_election_name: Option<Text<String>>,

    /// The signer service.
    #[command(flatten)]
    pub signer: SignerArgs,

    /// How to serve metrics.
    #[command(flatten)]
    pub metrics: MetricsArgs,

    /// Where to answer probes.
    #[command(flatten)]
    pub probes: ProbeArgs,

    /// How to log.
    #[command(flatten)]
    pub logging: LoggingArgs,

    /// What there is instead of a profiler.
    #[command(flatten)]
    pub profiling: ProfilingArgs,

    /// What set-ups of cert-manager's controller pass and has no effect here.
    #[command(flatten)]
    pub ignored: IgnoredArgs,
}

/// What is worked on.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Scope")]
pub struct ScopeArgs {
    /// Work on objects of this namespace alone, and on no ClusterIssuers
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<Text<String>>,

    /// Namespace of the Secrets that ClusterIssuers name [default: kube-system]
    #[arg(long, value_name = "NAMESPACE")]
    pub cluster_resource_namespace: Option<Text<String>>,

    /// Namespaces whose Secrets may be read and written; without it all of them
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',')]
    pub secret_namespaces: Vec<Text<String>>,

    /// Which parts are on: their names, * for all that are on by default, -NAME for all but one [default: *]
    #[arg(long, value_name = "NAME", value_delimiter = ',', allow_hyphen_values = true)]
    pub controllers: Vec<Text<String>>,

    /// Objects of one kind that are worked on at once [default: 5]
    #[arg(long, value_name = "COUNT")]
    pub concurrent_workers: Option<NonZeroUsize>,

    /// Accounts of CSI drivers, as system:serviceaccount:NAMESPACE:NAME: their CertificateRequests are for pods, and approved
    /// if the name policy permits them to the pod that each belongs to, on the driver's own node
    #[arg(long, value_name = "USERNAME", value_delimiter = ',')]
    pub driver_accounts: Vec<Text<String>>,
}

/// How Certificates are kept.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Certificates")]
pub struct CertificateArgs {
    /// Annotations of a Certificate that its CertificateRequests get, by prefix: * for all, -PREFIX for all but some
    /// [default: *,-kubectl.kubernetes.io/,-fluxcd.io/,-argocd.argoproj.io/]
    #[arg(long, value_name = "PREFIX", value_delimiter = ',', allow_hyphen_values = true)]
    pub copied_annotation_prefixes: Vec<Text<String>>,

    /// Let the Secret of a Certificate vanish with it [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub enable_certificate_owner_ref: Option<bool>,

    /// Pause after the first issuance that was refused; it doubles with each further one, and 0s is none [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub certificate_request_minimum_backoff_duration: Option<Duration>,

    /// Longest such pause [default: 32h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub certificate_request_maximum_backoff_duration: Option<Duration>,
}

/// Where to answer probes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Probes, plain HTTP")]
pub struct ProbeArgs {
    /// Address of the probes (/livez, /readyz); 0 switches them off [default: :6080]
    #[arg(long, value_name = "ADDRESS", alias = "internal-healthz-listen-address")]
    pub healthz_listen_address: Option<ListenAddress>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use expect_test::expect_file;

    #[test]
    fn help_is_as_documented() {
        let help = Args::command().term_width(100).render_long_help();
        expect_file!["../tests/golden/help.txt"].assert_eq(&help.to_string());
    }

    #[test]
    fn flags_that_do_not_exist_are_refused() {
        for wrong in [
            "--leader-elect=maybe",
            "--healthz-listen-address=6080",
            "--concurrent-workers=0",
            "--feature-gates=Unheard=true",
            "--acme-http01-solver-imag=x",
        ] {
            let parsed = Args::try_parse_from(["signet-controller", wrong]);
            assert!(parsed.is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_of_several_values_counts() {
        let args = Args::try_parse_from(["signet-controller", "--v=2", "--v=4"]).unwrap();
        assert_eq!(args.logging.verbosity, Some(4));
    }

    #[test]
    fn the_peers_flags_are_accepted() {
        for flag in [
            "--kubeconfig=/a",
            "--config=/a",
            "--namespace=a",
            "--cluster-resource-namespace=a",
            "--leader-elect=false",
            "--leader-election-namespace=a",
            "--leader-election-lease-duration=60s",
            "--leader-election-renew-deadline=40s",
            "--leader-election-retry-period=15s",
            "--controllers=*,-certificaterequests-approver",
            "--controllers=-certificaterequests-approver",
            "--concurrent-workers=5",
            "--copied-annotation-prefixes=-a.example/,*",
            "--enable-certificate-owner-ref",
            "--certificate-request-minimum-backoff-duration=1h",
            "--certificate-request-maximum-backoff-duration=32h",
            "--feature-gates=LiteralCertificateSubject=true,StableCertificateRequestName=false",
            "--metrics-listen-address=0.0.0.0:9402",
            "--metrics-dynamic-serving-dns-names=a,b",
            "--internal-healthz-listen-address=0.0.0.0:9403",
            "--enable-profiling",
            "--profiler-address=localhost:6060",
            "-v=2",
            "--vmodule=a=5",
            "--logging-format=json",
        ] {
            let parsed = Args::try_parse_from(["signet-controller", flag]);
            assert!(parsed.is_ok(), "{flag}: {parsed:?}");
        }
    }
}

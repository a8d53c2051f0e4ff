//! Flags. Their names are those of cert-manager's cainjector where it has them. What a flag leaves open, the configuration
//! file decides, and then a default. As in Go, the last of several values counts, lists grow, and an empty text is no value.

mod withdrawal;

use std::path::PathBuf;

use clap::Parser;
use runtime::args::{KubernetesArgs, ListenAddress, LoggingArgs, ProfilingArgs, boolean};
use runtime::config::Text;
use serving::args::MetricsArgs;
use serving::election::ElectionArgs;

pub(crate) use withdrawal::WithdrawalArgs;

use crate::config::Gates;
use crate::target::CustomTarget;

/// Copies CA bundles from Secrets and Certificates into webhook configurations, API services and
/// CustomResourceDefinitions
#[derive(Debug, Clone, Parser)]
#[command(name = "signet-cainjector", version, max_term_width = 100, args_override_self = true)]
pub struct Args {
    /// What is injected.
    #[command(flatten)]
    pub injection: InjectionArgs,

    /// Which of several replicas writes.
    #[command(
        flatten,
        next_help_heading = "Leader election, by a Lease that cert-manager's cainjector uses too"
    )]
    pub election: ElectionArgs,

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
}

/// What is injected: the flags that change a plan, which the commands that look at a cluster have, too.
#[derive(Debug, Clone, clap::Args)]
pub struct InjectionArgs {
    /// Configuration file: a CAInjectorConfiguration of cainjector.config.cert-manager.io/v1alpha1; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<Text<PathBuf>>,

    /// Features that are on or off
    #[arg(long, value_name = "NAME=BOOL,…")]
    pub(crate) feature_gates: Vec<Gates>,

    /// Where CAs come from.
    #[command(flatten)]
    pub sources: SourceArgs,

    /// Where they go.
    #[command(flatten)]
    pub targets: TargetArgs,

    /// What is taken out of bundles before it expires.
    #[command(flatten)]
    pub withdrawal: WithdrawalArgs,

    /// How to reach the Kubernetes API.
    #[command(flatten)]
    pub kubernetes: KubernetesArgs,
}

/// Where CAs come from.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Sources of CAs")]
pub struct SourceArgs {
    /// Take CAs from Secrets and Certificates of this namespace alone; targets are served wherever they are
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<Text<String>>,

    /// Take none from these namespaces
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',')]
    pub ignore_namespaces: Vec<Text<String>>,

    /// Take the CA of a Certificate where cert-manager.io/inject-ca-from names one [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub enable_certificates_data_source: Option<bool>,
}

/// Where CAs go.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Targets")]
pub struct TargetArgs {
    /// Inject into ValidatingWebhookConfigurations [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub enable_validatingwebhookconfigurations_injectable: Option<bool>,

    /// Inject into MutatingWebhookConfigurations [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub enable_mutatingwebhookconfigurations_injectable: Option<bool>,

    /// Inject into CustomResourceDefinitions with a conversion webhook [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub enable_customresourcedefinitions_injectable: Option<bool>,

    /// Inject into APIServices [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub enable_apiservices_injectable: Option<bool>,

    /// Inject into ConfigMaps with the label cainjector.cert-manager.io/inject: "true", at key ca.crt; needs an
    /// admission policy, which the chart brings along [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub inject_configmaps: Option<bool>,

    /// Inject into ClusterTrustBundles with that label; needs such a policy too [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub inject_clustertrustbundles: Option<bool>,

    /// Inject into custom resources with that label, at this field, such as example.com/v1/meshes:spec.tls.caBundle; needs
    /// such a policy too, which the command policies prints; several
    #[arg(long, value_name = "GROUP/VERSION/RESOURCE:PATH[:base64|pem]")]
    pub inject_target: Vec<CustomTarget>,
}

/// Where to answer probes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Probes, plain HTTP")]
pub struct ProbeArgs {
    /// Address of the probes (/livez, /readyz); 0 switches them off [default: :6080]
    #[arg(long, value_name = "ADDRESS")]
    pub healthz_listen_address: Option<ListenAddress>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_do_not_exist_are_refused() {
        for wrong in [
            "--leader-elect=maybe",
            "--leader-election-lease-duration=60",
            "--leader-election-retry-period=-1s",
            "--metrics-listen-address=9402",
            "--enable-apiservices-injectable=yes",
            "--feature-gates=CAInjectorMergeBundle=true",
            "--ca-retention=90d",
            "--max-certificates=0",
            "--deny-certificates=12ab",
        ] {
            let parsed = Args::try_parse_from(["signet-cainjector", wrong]);
            assert!(parsed.is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_of_several_values_counts() {
        let args = Args::try_parse_from(["signet-cainjector", "--v=2", "--v=4"]).unwrap();
        assert_eq!(args.logging.verbosity, Some(4));
    }

    #[test]
    fn the_peers_flags_are_accepted() {
        for flag in [
            "--config=/a",
            "--kubeconfig=/a",
            "--namespace=a",
            "--ignore-namespaces=a,b",
            "--leader-elect",
            "--leader-elect=false",
            "--leader-election-namespace=a",
            "--leader-election-lease-duration=60s",
            "--leader-election-renew-deadline=40s",
            "--leader-election-retry-period=15s",
            "--enable-certificates-data-source=false",
            "--enable-validatingwebhookconfigurations-injectable=false",
            "--enable-mutatingwebhookconfigurations-injectable=false",
            "--enable-customresourcedefinitions-injectable=false",
            "--enable-apiservices-injectable",
            "--enable-profiling",
            "--profiler-address=localhost:6060",
            "--metrics-listen-address=0.0.0.0:9402",
            "--metrics-tls-cert-file=/a",
            "--metrics-tls-private-key-file=/a",
            "--metrics-dynamic-serving-ca-secret-namespace=a",
            "--metrics-dynamic-serving-ca-secret-name=a",
            "--metrics-dynamic-serving-dns-names=a,b",
            "--metrics-dynamic-serving-leaf-duration=168h",
            "--metrics-tls-cipher-suites=TLS_AES_128_GCM_SHA256",
            "--metrics-tls-min-version=VersionTLS13",
            "--feature-gates=CAInjectorMerging=true,ServerSideApply=true,AllAlpha=false,AllBeta=true",
            "-v=2",
            "--v=2",
            "--vmodule=a=5",
            "--logging-format=json",
            "--log-flush-frequency=5s",
            "--logtostderr",
        ] {
            let parsed = Args::try_parse_from(["signet-cainjector", flag]);
            assert!(parsed.is_ok(), "{flag}: {parsed:?}");
        }
    }
}

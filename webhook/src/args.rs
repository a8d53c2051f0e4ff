//! Flags. Their names are those of cert-manager's webhook where it has them. What a flag leaves open, the configuration
//! file decides, and then a default: [`crate::config::Config`] is what comes of them. As in Go, the last of several
//! values counts, lists grow, and an empty text is no value.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use jiff::SignedDuration;
use rules::{HostRange, RuleId, Settings};
use runtime::args::{KubernetesArgs, LoggingArgs, ProfilingArgs, boolean};
use runtime::config::Text;
use runtime::tls::MinVersion;
use rustls::pki_types::ServerName;

use serving::args::{MetricsArgs, duration, leaf_duration, serving_name_if_any};
use serving::config::TlsSettings;

use crate::config::{Gates, apply_gates};

/// Admission webhook for the cert-manager.io API: refuses objects that cannot work, says what to write instead, and
/// stamps CertificateRequests with who asked
#[derive(Debug, Clone, Parser)]
#[command(name = "signet-webhook", version, args_override_self = true)]
pub struct Args {
    /// Configuration file: a WebhookConfiguration of webhook.config.cert-manager.io/v1alpha1; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<Text<PathBuf>>,

    /// Port for the API server's calls, HTTPS; 0 takes a free one [default: 6443]
    #[arg(long, value_name = "PORT")]
    pub secure_port: Option<u16>,

    /// Address to listen on for calls and probes; without it every address of the machine
    #[arg(long, value_name = "IP")]
    pub listen_host: Option<IpAddr>,

    /// Port for /livez, /healthz and /readyz, plain HTTP; 0 takes a free one [default: 6080]
    #[arg(long, value_name = "PORT")]
    pub healthz_port: Option<u16>,

    /// How long to go on serving after the first sign of shutdown, while load balancers look away
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = drain_period)]
    pub shutdown_drain_period: Duration,

    /// How to serve reviews.
    #[command(flatten)]
    pub serving: ServingArgs,

    /// Whom to serve.
    #[command(flatten)]
    pub clients: ClientArgs,

    /// How to serve metrics.
    #[command(flatten)]
    pub metrics: MetricsArgs,

    /// The own configurations.
    #[command(flatten)]
    pub configurations: ConfigurationArgs,

    /// How to judge.
    #[command(flatten)]
    pub rules: RulesArgs,

    /// How to reach the API server.
    #[command(flatten)]
    pub kubernetes: KubernetesArgs,

    /// How to log.
    #[command(flatten)]
    pub logging: LoggingArgs,

    /// What there is instead of a profiler.
    #[command(flatten)]
    pub profiling: ProfilingArgs,
}

/// How the API server's calls are served.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Serving certificate, from files or made by the webhook")]
pub struct ServingArgs {
    /// File with the certificate chain, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_cert_file: Option<Text<PathBuf>>,

    /// File with its private key, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_private_key_file: Option<Text<PathBuf>>,

    /// Namespace of the Secret that keeps the CA of the serving certificate
    #[arg(long, value_name = "NAMESPACE")]
    pub dynamic_serving_ca_secret_namespace: Option<Text<String>>,

    /// Name of that Secret; it is created if it does not exist
    #[arg(long, value_name = "NAME")]
    pub dynamic_serving_ca_secret_name: Option<Text<String>>,

    /// DNS names and IP addresses under which the API server calls; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = serving_name_if_any)]
    pub dynamic_serving_dns_names: Vec<Text<ServerName<'static>>>,

    /// Life of a serving certificate [default: 168h]
    #[arg(long, value_name = "DURATION", value_parser = leaf_duration)]
    pub dynamic_serving_leaf_duration: Option<SignedDuration>,

    /// Life of the CA that signs it [default: 8760h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub dynamic_serving_ca_duration: Option<SignedDuration>,

    /// Cipher suites of TLS 1.2 by their names in Go, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256; without it all
    /// that are safe
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub tls_cipher_suites: Vec<Text<String>>,

    /// Lowest version of TLS: VersionTLS12 or VersionTLS13 [default: VersionTLS12]
    #[arg(long, value_name = "VERSION")]
    pub tls_min_version: Option<Text<MinVersion>>,
}

/// Who may call.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Clients")]
pub struct ClientArgs {
    /// Serve reviews only to clients with a certificate of --client-ca-path
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub enable_client_verification: Option<bool>,

    /// File with the CAs of clients, PEM
    #[arg(long, value_name = "FILE")]
    pub client_ca_path: Option<Text<PathBuf>>,

    /// Common names or DNS names of clients; without it all names
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub client_subject_names: Vec<Text<String>>,
}

/// The webhook configurations that are to trust the CA.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Webhook configurations")]
pub struct ConfigurationArgs {
    /// ValidatingWebhookConfiguration to add the CA to, and that says under which name the certificate must be valid;
    /// without it the first label of the first DNS name
    #[arg(long, value_name = "NAME")]
    pub validating_configuration_name: Option<Text<String>>,

    /// MutatingWebhookConfiguration to add the CA to, and that says under which name the certificate must be valid;
    /// without it the first label of the first DNS name
    #[arg(long, value_name = "NAME")]
    pub mutating_configuration_name: Option<Text<String>>,
}

/// How objects are judged.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Rules")]
pub struct RulesArgs {
    /// What the linter judges by, too.
    #[command(flatten)]
    pub settings: SettingsArgs,

    /// Most bytes of PEM of a private key [default: 13000]
    #[arg(long, value_name = "BYTES")]
    pub max_private_key_size: Option<usize>,

    /// Most bytes of PEM of a certificate chain [default: 95000]
    #[arg(long, value_name = "BYTES")]
    pub max_certificate_chain_length: Option<usize>,

    /// Answer every denial with 403 Forbidden, as cert-manager does, instead of 422 Invalid where an object is wrong
    #[arg(long)]
    pub deny_as_forbidden: bool,

    /// Let a Role and a RoleBinding in a request's namespace grant the right to approve it, where its issuer lives in a
    /// namespace, too; without it, only a ClusterRoleBinding does
    #[arg(long)]
    pub namespaced_approval: bool,

    /// Watch Certificates and issuers, for warnings such as of two Certificates that write into one Secret
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true", value_parser = boolean, action = clap::ArgAction::Set)]
    pub cluster_warnings: bool,
}

/// What the rules go by, in the webhook as in the linter.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Rules")]
pub struct SettingsArgs {
    /// Features that are on or off, such as NameConstraints=false,OtherNames=false
    #[arg(long, value_name = "NAME=BOOL,…")]
    pub feature_gates: Vec<Gates>,

    /// Most bytes of PEM of a certificate or a signing request [default: 36500]
    #[arg(long, value_name = "BYTES")]
    pub max_certificate_size: Option<usize>,

    /// Most bytes of PEM of a bundle of CAs [default: 330000]
    #[arg(long, value_name = "BYTES")]
    pub max_certificate_bundle_size: Option<usize>,

    /// Hold the whole spec of an Order to what it was on creation, and let nobody create a Challenge that belongs to no
    /// Order
    #[arg(long)]
    pub require_acme_owners: bool,

    /// Users who may create Challenges that belong to no Order all the same, such as a program that restores backups:
    /// system:serviceaccount:velero:velero
    #[arg(long, value_name = "USERS", value_delimiter = ',')]
    pub acme_owner_exemptions: Vec<String>,

    /// Let signing requests come from RSA keys of 1024 to 2047 bits
    #[arg(long)]
    pub allow_short_request_keys: bool,

    /// Let issuers send their secrets to servers over plain HTTP
    #[arg(long)]
    pub allow_plaintext_servers: bool,

    /// Hosts that no issuer may name as its server: networks, addresses, names, or .domain for all names below
    #[arg(long, value_name = "HOSTS", value_delimiter = ',')]
    pub deny_servers: Vec<Text<HostRange>>,

    /// Rules that are not to warn, by their ids, such as B04,B09; what they reject is rejected all the same
    #[arg(long, value_name = "RULES", value_delimiter = ',')]
    pub silence_warnings: Vec<Text<RuleId>>,
}

impl SettingsArgs {
    /// The settings, and the gates behind them. `base` and `gates` are what these flags leave open.
    pub(crate) fn settings(self, base: Settings, gates: Gates) -> (Settings, Gates) {
        let mut settings = base;
        settings.request_bytes_max = self.max_certificate_size.unwrap_or(settings.request_bytes_max);
        settings.bundle_bytes_max = self.max_certificate_bundle_size.unwrap_or(settings.bundle_bytes_max);
        settings.acme_owners = self.require_acme_owners;
        settings.acme_owner_exemptions = self.acme_owner_exemptions;
        settings.short_request_keys = self.allow_short_request_keys;
        settings.plaintext_servers = self.allow_plaintext_servers;
        settings.denied_servers = Text::all(self.deny_servers);
        settings.silenced = Text::all(self.silence_warnings);
        // Later ones win.
        let gates = self.feature_gates.into_iter().fold(gates, |earlier, later| later.or(earlier));
        apply_gates(&gates, &mut settings);
        (settings, gates)
    }
}

impl From<ServingArgs> for TlsSettings {
    fn from(args: ServingArgs) -> Self {
        Self {
            certificate_file: Text::of(args.tls_cert_file),
            key_file: Text::of(args.tls_private_key_file),
            secret_namespace: Text::of(args.dynamic_serving_ca_secret_namespace),
            secret_name: Text::of(args.dynamic_serving_ca_secret_name),
            names: Text::all(args.dynamic_serving_dns_names),
            leaf_lifetime: args.dynamic_serving_leaf_duration,
            ca_lifetime: args.dynamic_serving_ca_duration,
            cipher_suites: Text::all(args.tls_cipher_suites),
            min_version: Text::of(args.tls_min_version),
        }
    }
}

fn drain_period(text: &str) -> Result<Duration, String> {
    Duration::try_from(duration(text)?).map_err(|_| "shorter than nothing; write 0s or more".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use expect_test::expect_file;

    use super::*;

    fn parsed(flags: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(["signet-webhook"].iter().chain(flags))
    }

    fn refused(flag: &str, wanted: &str) {
        let error = parsed(&[flag]).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }

    #[test]
    fn a_value_that_cannot_be_meant_is_refused() {
        refused("--secure-port=70000", "70000 is not in 0..=65535");
        refused("--healthz-port=-1", "-1 is not in 0..=65535");
        refused("--dynamic-serving-dns-names=a b", "neither a DNS name nor an IP address");
        refused("--dynamic-serving-leaf-duration=7d", "write \"168h\"");
        refused("--dynamic-serving-ca-duration=1y", "unit");
        refused("--metrics-dynamic-serving-leaf-duration=1m", "shorter than 5m");
        refused("--shutdown-drain-period=-1s", "shorter than nothing");
        refused("--listen-host=localhost", "invalid IP address syntax");
        refused("--tls-min-version=1.2", "write VersionTLS12 or VersionTLS13");
        refused("--enable-client-verification=maybe", "write true or false");
        refused("--max-certificate-size=-1", "invalid digit");
        refused("--deny-servers=10.0.0.1/8", "the address has bits outside of the network");
        refused("--silence-warnings=B04,B4", "\"B4\" is no rule");
        refused("--feature-gates=NameConstraint=true", "did you mean \"NameConstraints\"?");
    }

    #[test]
    fn the_last_of_several_values_counts_and_lists_grow() {
        let again = ["--v=2", "--secure-port=1", "--v=4", "--secure-port=2", "--deny-as-forbidden"];
        let lists =
            ["--dynamic-serving-dns-names=a,b", "--dynamic-serving-dns-names=c", "--deny-as-forbidden"];
        let args =
            parsed(&[again, ["--config=/a", "--config=", lists[0], lists[1], lists[2]]].concat()).unwrap();
        assert_eq!((args.logging.verbosity, args.secure_port), (Some(4), Some(2)));
        assert_eq!((Text::of(args.config), args.serving.dynamic_serving_dns_names.len()), (None, 3));
        let gates = ["--feature-gates=AllBeta=false", "--feature-gates=OtherNames=true"];
        assert_eq!(parsed(&gates).unwrap().rules.settings.feature_gates.len(), 2);
    }

    #[test]
    fn the_peers_flags_are_accepted() {
        for flag in [
            "--config=/a",
            "--secure-port=10250",
            "--healthz-port=6080",
            "--tls-cert-file=/a",
            "--tls-private-key-file=/a",
            "--dynamic-serving-ca-secret-namespace=a",
            "--dynamic-serving-ca-secret-name=a",
            "--dynamic-serving-dns-names=a,b",
            "--dynamic-serving-leaf-duration=1h",
            "--tls-cipher-suites=TLS_AES_128_GCM_SHA256",
            "--tls-min-version=VersionTLS13",
            "--metrics-listen-address=0.0.0.0:9402",
            "--metrics-tls-cert-file=/a",
            "--metrics-tls-private-key-file=/a",
            "--metrics-dynamic-serving-ca-secret-namespace=a",
            "--metrics-dynamic-serving-ca-secret-name=a",
            "--metrics-dynamic-serving-dns-names=a",
            "--metrics-dynamic-serving-leaf-duration=1h",
            "--metrics-tls-cipher-suites=TLS_AES_128_GCM_SHA256",
            "--metrics-tls-min-version=VersionTLS12",
            "--enable-client-verification",
            "--client-ca-path=/a",
            "--client-subject-names=a,b",
            "--kubeconfig=/a",
            "--api-server-host=https://a",
            "--enable-profiling=true",
            "--profiler-address=localhost:6060",
            "--feature-gates=AllAlpha=true,OtherNames=false",
            "--max-certificate-size=1",
            "--max-private-key-size=1",
            "--max-certificate-chain-length=1",
            "--max-certificate-bundle-size=1",
            "-v=2",
            "--v=2",
            "--vmodule=a=5",
            "--logging-format=json",
            "--log-flush-frequency=5s",
            "--logtostderr",
        ] {
            parsed(&[flag]).unwrap_or_else(|error| panic!("{flag}: {error}"));
        }
    }

    #[test]
    fn the_help_text_is_as_published() {
        let help = Args::command().term_width(100).render_long_help().to_string();
        expect_file!["../tests/golden/help.txt"].assert_eq(&help);
    }
}

//! Flags. Their names are those of cert-manager's webhook where it has them.

use std::net::IpAddr;
use std::time::Duration;

use api::GoDuration;
use clap::Parser;
use jiff::SignedDuration;
use runtime::args::{KubernetesArgs, ListenAddress, LoggingArgs};
use rustls::pki_types::ServerName;

/// Shortest life of a serving certificate: it must outlast the pauses between two looks at it several times.
const LEAF_DURATION_MIN: SignedDuration = SignedDuration::from_mins(5);

/// Admission webhook for the cert-manager.io API: refuses objects that cannot work, says what to write instead, and
/// stamps CertificateRequests with who asked
#[derive(Debug, Clone, Parser)]
#[command(name = "signet-webhook", version)]
pub struct Args {
    /// Port for the API server's calls, HTTPS; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    pub secure_port: u16,

    /// Address to listen on for calls and probes; without it every address of the machine
    #[arg(long, value_name = "IP")]
    pub listen_host: Option<IpAddr>,

    /// Port for /livez and /readyz, plain HTTP; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 6080)]
    pub healthz_port: u16,

    /// Address for /metrics, plain HTTP; 0 switches it off
    #[arg(long, value_name = "ADDRESS", default_value = ":9402")]
    pub metrics_listen_address: ListenAddress,

    /// How long to go on serving after the first sign of shutdown, while load balancers look away
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = drain_period)]
    pub shutdown_drain_period: Duration,

    /// How to serve.
    #[command(flatten)]
    pub serving: ServingArgs,

    /// The own configurations.
    #[command(flatten)]
    pub configurations: ConfigurationArgs,

    /// How to reach the API server.
    #[command(flatten)]
    pub kubernetes: KubernetesArgs,

    /// How to log.
    #[command(flatten)]
    pub logging: LoggingArgs,
}

/// How the serving certificate is made.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Serving certificate")]
pub struct ServingArgs {
    /// Namespace of the Secret that keeps the CA of the serving certificate
    #[arg(long, value_name = "NAMESPACE")]
    pub dynamic_serving_ca_secret_namespace: String,

    /// Name of that Secret; it is created if it does not exist
    #[arg(long, value_name = "NAME")]
    pub dynamic_serving_ca_secret_name: String,

    /// DNS names and IP addresses under which the API server calls; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',', required = true, value_parser = serving_name)]
    pub dynamic_serving_dns_names: Vec<ServerName<'static>>,

    /// Life of a serving certificate
    #[arg(long, value_name = "DURATION", default_value = "168h", value_parser = leaf_duration)]
    pub dynamic_serving_leaf_duration: SignedDuration,
}

/// The webhook configurations that are to trust the CA.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Webhook configurations")]
pub struct ConfigurationArgs {
    /// ValidatingWebhookConfiguration to add the CA to; without it the first label of the first DNS name
    #[arg(long, value_name = "NAME")]
    pub validating_configuration_name: Option<String>,

    /// MutatingWebhookConfiguration to add the CA to; without it the first label of the first DNS name
    #[arg(long, value_name = "NAME")]
    pub mutating_configuration_name: Option<String>,
}

impl ServingArgs {
    /// Name of the Service in front of us: the first label of the first DNS name. None: we serve under IP addresses only.
    pub fn service_name(&self) -> Option<String> {
        self.dynamic_serving_dns_names.iter().find_map(|name| match name {
            ServerName::DnsName(name) => name.as_ref().split('.').next().map(ToOwned::to_owned),
            _ => None,
        })
    }
}

fn serving_name(text: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(text.to_owned()).map_err(|_| "neither a DNS name nor an IP address".to_owned())
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    GoDuration::new(text).parse().map_err(|error| error.to_string())
}

fn leaf_duration(text: &str) -> Result<SignedDuration, String> {
    let duration = duration(text)?;
    if duration < LEAF_DURATION_MIN {
        return Err(format!("shorter than {}", GoDuration::from(LEAF_DURATION_MIN)));
    }
    Ok(duration)
}

fn drain_period(text: &str) -> Result<Duration, String> {
    Duration::try_from(duration(text)?).map_err(|_| "shorter than nothing; write 0s or more".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use expect_test::expect_file;

    use super::*;

    const REQUIRED: [&str; 4] = [
        "signet-webhook",
        "--dynamic-serving-ca-secret-namespace=cert-manager",
        "--dynamic-serving-ca-secret-name=cert-manager-webhook-ca",
        "--dynamic-serving-dns-names=cert-manager-webhook,cert-manager-webhook.cert-manager.svc",
    ];

    fn refused(flag: &str, wanted: &str) {
        let error = Args::try_parse_from(REQUIRED.into_iter().chain([flag])).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }

    #[test]
    fn a_value_that_cannot_be_meant_is_refused() {
        refused("--secure-port=70000", "70000 is not in 0..=65535");
        refused("--dynamic-serving-dns-names=a b", "neither a DNS name nor an IP address");
        refused("--dynamic-serving-leaf-duration=7d", "write \"168h\"");
        refused("--dynamic-serving-leaf-duration=1m", "shorter than 5m");
        refused("--shutdown-drain-period=-1s", "shorter than nothing");
        refused("--listen-host=localhost", "invalid IP address syntax");
        let error = Args::try_parse_from(["signet-webhook"]).unwrap_err().to_string();
        assert!(error.contains("--dynamic-serving-ca-secret-name <NAME>"), "{error}");
    }

    #[test]
    fn the_peers_flags_are_enough() {
        let args = Args::try_parse_from(REQUIRED.into_iter().chain([
            "--dynamic-serving-dns-names=127.0.0.1",
            "--v=2",
            "--logging-format=json",
            "--secure-port=10250",
        ]))
        .unwrap();
        assert_eq!(args.serving.service_name().as_deref(), Some("cert-manager-webhook"));
        assert_eq!(args.serving.dynamic_serving_dns_names.len(), 3);
        assert_eq!(args.serving.dynamic_serving_leaf_duration, SignedDuration::from_hours(168));
        assert_eq!(args.shutdown_drain_period, Duration::from_secs(10));
    }

    #[test]
    fn the_help_text_is_as_published() {
        let help = Args::command().term_width(100).render_long_help().to_string();
        expect_file!["../tests/golden/help.txt"].assert_eq(&help);
    }
}

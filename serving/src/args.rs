//! Flags for metrics over TLS, and how the values of serving flags are read. Names are the peers'.

use std::path::PathBuf;

use api::GoDuration;
use jiff::SignedDuration;
use runtime::args::ListenAddress;
use runtime::config::Text;
use runtime::tls::MinVersion;
use rustls::pki_types::ServerName;

use crate::config::TlsSettings;

/// Shortest life of a serving certificate: it must outlast the pauses between two looks at it several times.
const LEAF_DURATION_MIN: SignedDuration = SignedDuration::from_mins(5);

/// How metrics are served.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Metrics; plain HTTP without a certificate")]
pub struct MetricsArgs {
    /// Address for /metrics; 0 switches it off [default: :9402]
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_listen_address: Option<ListenAddress>,

    /// File with the certificate chain, PEM
    #[arg(long, value_name = "FILE")]
    pub metrics_tls_cert_file: Option<Text<PathBuf>>,

    /// File with its private key, PEM
    #[arg(long, value_name = "FILE")]
    pub metrics_tls_private_key_file: Option<Text<PathBuf>>,

    /// Namespace of the Secret that keeps the CA of the metrics' certificate
    #[arg(long, value_name = "NAMESPACE")]
    pub metrics_dynamic_serving_ca_secret_namespace: Option<Text<String>>,

    /// Name of that Secret; it is created if it does not exist
    #[arg(long, value_name = "NAME")]
    pub metrics_dynamic_serving_ca_secret_name: Option<Text<String>>,

    /// DNS names and IP addresses under which metrics are scraped; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = serving_name_if_any)]
    pub metrics_dynamic_serving_dns_names: Vec<Text<ServerName<'static>>>,

    /// Life of the metrics' certificate [default: 168h]
    #[arg(long, value_name = "DURATION", value_parser = leaf_duration)]
    pub metrics_dynamic_serving_leaf_duration: Option<SignedDuration>,

    /// Cipher suites of TLS 1.2 for metrics, by their names in Go; without it all that are safe
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub metrics_tls_cipher_suites: Vec<Text<String>>,

    /// Lowest version of TLS for metrics: VersionTLS12 or VersionTLS13 [default: VersionTLS12]
    #[arg(long, value_name = "VERSION")]
    pub metrics_tls_min_version: Option<Text<MinVersion>>,
}

impl MetricsArgs {
    /// The address, and how to serve there.
    pub fn split(self) -> (Option<ListenAddress>, TlsSettings) {
        let tls = TlsSettings {
            certificate_file: Text::of(self.metrics_tls_cert_file),
            key_file: Text::of(self.metrics_tls_private_key_file),
            secret_namespace: Text::of(self.metrics_dynamic_serving_ca_secret_namespace),
            secret_name: Text::of(self.metrics_dynamic_serving_ca_secret_name),
            names: Text::all(self.metrics_dynamic_serving_dns_names),
            leaf_lifetime: self.metrics_dynamic_serving_leaf_duration,
            ca_lifetime: None,
            cipher_suites: Text::all(self.metrics_tls_cipher_suites),
            min_version: Text::of(self.metrics_tls_min_version),
        };
        (self.metrics_listen_address, tls)
    }
}

/// A name to serve under.
///
/// # Errors
/// When it is neither a DNS name nor an IP address.
pub fn serving_name(text: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(text.to_owned()).map_err(|_| "neither a DNS name nor an IP address".to_owned())
}

/// As [`serving_name`]; None: there is no text.
///
/// # Errors
/// As there.
pub fn serving_name_if_any(text: &str) -> Result<Text<ServerName<'static>>, String> {
    if text.is_empty() { Ok(Text(None)) } else { serving_name(text).map(|name| Text(Some(name))) }
}

/// A length of time, in Go's syntax.
///
/// # Errors
/// When it is none.
pub fn duration(text: &str) -> Result<SignedDuration, String> {
    GoDuration::new(text).parse().map_err(|error| error.to_string())
}

/// The life of a serving certificate.
///
/// # Errors
/// When it is no duration, or too short.
pub fn leaf_duration(text: &str) -> Result<SignedDuration, String> {
    let duration = duration(text)?;
    if duration < LEAF_DURATION_MIN {
        return Err(format!("shorter than {}", GoDuration::from(LEAF_DURATION_MIN)));
    }
    Ok(duration)
}

//! Flag groups that the binaries share; each flattens them into its own `clap` struct.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How the process logs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logging")]
pub struct LoggingArgs {
    /// Verbosity: 0 errors, 1 warnings, 2 information, 3 and 4 debugging, 5 and more everything
    #[arg(short = 'v', long = "v", alias = "log-level", value_name = "LEVEL", default_value_t = 2)]
    pub verbosity: u8,

    /// Form of the log lines
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub logging_format: LogFormat,
}

/// Form of the log lines (`--logging-format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text an event.
    Text,
    /// One JSON object an event.
    Json,
}

/// How the process reaches the Kubernetes API.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Kubernetes API")]
pub struct KubernetesArgs {
    /// Kubeconfig file; without it the pod's service account is used, then $KUBECONFIG and ~/.kube/config
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// Where a controller answers probes and scrapes.
#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    /// Address of the metrics (/metrics, plain HTTP); 0 switches them off
    #[arg(long, value_name = "ADDRESS", default_value = ":9402")]
    pub metrics_listen_address: ListenAddress,

    /// Address of the probes (/livez, /readyz); 0 switches them off
    #[arg(long, value_name = "ADDRESS", default_value = ":6080")]
    pub healthz_listen_address: ListenAddress,
}

/// A listening address that can be switched off, as in `--metrics-listen-address=0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenAddress {
    /// Listen here. Without a host it is every address of the machine, IPv6 and IPv4 alike.
    On(SocketAddr),
    /// Do not listen at all (`0`).
    Off,
}

impl ListenAddress {
    /// The address, if there is one.
    pub fn socket(self) -> Option<SocketAddr> {
        match self {
            Self::On(address) => Some(address),
            Self::Off => None,
        }
    }
}

/// Why a listening address was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a listening address: use HOST:PORT, [IPv6]:PORT, :PORT, or 0 to switch it off")]
pub struct ListenAddressError {
    text: String,
}

impl std::str::FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "0" {
            return Ok(Self::Off);
        }
        let spelled_out = match text.strip_prefix(':') {
            Some(port) => format!("[::]:{port}"),
            None => text.replacen("localhost:", "127.0.0.1:", 1),
        };
        spelled_out.parse().map(Self::On).map_err(|_| ListenAddressError { text: text.to_owned() })
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::On(address) => address.fmt(f),
            Self::Off => f.write_str("0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let parsed = text.parse::<ListenAddress>().ok().map(|address| address.to_string());
        assert_eq!(parsed.as_deref(), expected, "{text:?}");
    }

    #[test]
    fn text_that_is_no_address_is_refused() {
        for text in ["", "9402", "host", "host:http", "1.2.3.4", ":99999"] {
            check(text, None);
        }
    }

    #[test]
    fn addresses_are_read_in_each_form() {
        check("0", Some("0"));
        check(":9402", Some("[::]:9402"));
        check("127.0.0.1:1", Some("127.0.0.1:1"));
        check("localhost:6060", Some("127.0.0.1:6060"));
        check("[::1]:80", Some("[::1]:80"));
    }
}

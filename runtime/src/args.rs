//! Flag groups that the binaries share; each flattens them into its own `clap` struct.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::config::Plain;

/// How the process logs. What a flag leaves open, a configuration file or the default decides.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Logging")]
pub struct LoggingArgs {
    /// Verbosity: 0 errors, 1 warnings, 2 information, 3 and 4 debugging, 5 and more everything [default: 2]
    #[arg(short = 'v', long = "v", alias = "log-level", value_name = "LEVEL")]
    pub verbosity: Option<u8>,

    /// Verbosity of single modules, such as server=5,conn*=3: the last part of a module's path, or all of it where the
    /// pattern has a colon
    #[arg(long, value_name = "PATTERN=LEVEL", value_delimiter = ',')]
    pub vmodule: Vec<ModuleLevel>,

    /// Form of the log lines [default: text]
    #[arg(long, value_enum)]
    pub logging_format: Option<LogFormat>,

    /// What old set-ups still pass.
    #[command(flatten)]
    pub deprecated: DeprecatedLoggingArgs,
}

impl LoggingArgs {
    /// These, and what they leave open as `file` has it.
    #[must_use]
    pub fn or(self, file: Self) -> Self {
        Self {
            verbosity: self.verbosity.or(file.verbosity),
            vmodule: if self.vmodule.is_empty() { file.vmodule } else { self.vmodule },
            logging_format: self.logging_format.or(file.logging_format),
            deprecated: self.deprecated,
        }
    }
}

/// Member `logging` of a configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LoggingFile {
    format: Option<LogFormat>,
    #[serde(rename = "flushFrequency")]
    _flush_frequency: IgnoredAny,
    verbosity: Option<Plain<u8>>,
    vmodule: Option<Vec<ModuleFile>>,
    #[serde(rename = "options")]
    _options: IgnoredAny,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ModuleFile {
    file_pattern: String,
    verbosity: Plain<u8>,
}

impl From<LoggingFile> for LoggingArgs {
    fn from(file: LoggingFile) -> Self {
        let module =
            |file: ModuleFile| ModuleLevel { pattern: file.file_pattern, verbosity: file.verbosity.0 };
        Self {
            verbosity: file.verbosity.map(|Plain(verbosity)| verbosity),
            vmodule: file.vmodule.unwrap_or_default().into_iter().map(module).collect(),
            logging_format: file.format,
            deprecated: DeprecatedLoggingArgs::default(),
        }
    }
}

/// Verbosity of some modules (`--vmodule`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleLevel {
    /// A module's name or path, in which `*` stands for any text and `?` for any character.
    pub pattern: String,
    /// As `-v`.
    pub verbosity: u8,
}

impl std::str::FromStr for ModuleLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('=').filter(|(pattern, _)| !pattern.is_empty());
        let parsed = parts.and_then(|(pattern, verbosity)| {
            Some(Self { pattern: pattern.to_owned(), verbosity: verbosity.parse().ok()? })
        });
        parsed.ok_or_else(|| format!("{text:?} is not PATTERN=LEVEL, such as server=5"))
    }
}

/// Logging flags of the peers that have no effect here, and whether a value must follow. They are accepted, so that
/// no set-up fails for them.
const DEPRECATED: [(&str, bool); 12] = [
    ("add_dir_header", false),
    ("alsologtostderr", false),
    ("log-flush-frequency", true), // each line is written at once
    ("log_backtrace_at", true),
    ("log_dir", true),
    ("log_file", true),
    ("log_file_max_size", true),
    ("logtostderr", false),
    ("one_output", false),
    ("skip_headers", false),
    ("skip_log_headers", false),
    ("stderrthreshold", true),
];

/// The flags of older releases that were given and have no effect. They are not in the help text.
#[derive(Debug, Clone, Default)]
pub struct DeprecatedLoggingArgs {
    given: Vec<&'static str>,
}

impl DeprecatedLoggingArgs {
    /// Their names, without the hyphens.
    pub fn given(&self) -> &[&'static str] {
        &self.given
    }
}

impl Args for DeprecatedLoggingArgs {
    fn augment_args(command: Command) -> Command {
        DEPRECATED.into_iter().fold(command, |command, (name, has_value)| {
            let flag = Arg::new(name).long(name).hide(true).action(ArgAction::Append);
            command.arg(if has_value {
                flag
            } else {
                flag.num_args(0..=1).require_equals(true).default_missing_value("true").value_parser(boolean)
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for DeprecatedLoggingArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let names = DEPRECATED.into_iter().map(|(name, _)| name);
        Ok(Self { given: names.filter(|name| matches.contains_id(name)).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A truth value as Go's flags take it: `1`, `t`, `T`, `true`, `True`, `TRUE`, and the same of false.
///
/// # Errors
/// When it is none of these.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

/// What old set-ups pass to have Go's profiler.
#[derive(Debug, Clone, Default, Args)]
pub struct ProfilingArgs {
    /// No effect: there is no profiler.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub enable_profiling: Option<bool>,

    /// No effect.
    #[arg(long, hide = true)]
    pub profiler_address: Option<String>,
}

impl ProfilingArgs {
    /// What to tell whoever asks for a profiler by these flags, or by `file` where they leave it open; `measured` is what
    /// the metrics tell instead.
    pub fn warning(&self, file: Option<bool>, measured: &str) -> Option<String> {
        (self.enable_profiling.or(file) == Some(true)).then(|| {
            format!(
                "there is no profiler to enable: --enable-profiling and --profiler-address have no effect; /metrics \
                 tells {measured}"
            )
        })
    }
}

/// Form of the log lines (`--logging-format`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text an event.
    #[default]
    Text,
    /// One JSON object an event.
    Json,
}

/// How the process reaches the Kubernetes API.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Kubernetes API")]
pub struct KubernetesArgs {
    /// Kubeconfig file; without it the pod's service account is used, then $KUBECONFIG and ~/.kube/config
    #[arg(long, value_name = "FILE", value_parser = path)]
    pub kubeconfig: Option<PathBuf>,

    /// Address of the API server, instead of the one in the kubeconfig. Deprecated by the peers: without a kubeconfig it
    /// is asked without credentials.
    #[arg(long, value_name = "URL", hide = true)]
    pub api_server_host: Option<String>,
}

impl KubernetesArgs {
    /// These, and what they leave open as `file` has it.
    #[must_use]
    pub fn or(self, file: Self) -> Self {
        Self {
            kubeconfig: self.kubeconfig().map(Path::to_owned).or(file.kubeconfig),
            api_server_host: self.api_server_host().map(str::to_owned).or(file.api_server_host),
        }
    }

    /// The kubeconfig file; an empty path is none, as in Go.
    pub fn kubeconfig(&self) -> Option<&Path> {
        self.kubeconfig.as_deref().filter(|path| !path.as_os_str().is_empty())
    }

    /// Address of the API server; an empty text is none.
    pub fn api_server_host(&self) -> Option<&str> {
        self.api_server_host.as_deref().filter(|host| !host.is_empty())
    }
}

/// A path, which may be empty; by itself clap refuses such ones.
fn path(text: &str) -> Result<PathBuf, Infallible> {
    text.parse()
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
    /// This port of all addresses, of both kinds.
    pub const fn every(port: u16) -> Self {
        Self::On(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port))
    }

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
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Process {
        #[command(flatten)]
        logging: LoggingArgs,
    }

    fn logging(flags: &[&str]) -> Result<LoggingArgs, String> {
        let parsed = Process::try_parse_from(["process"].iter().chain(flags));
        parsed.map(|process| process.logging).map_err(|error| error.to_string())
    }

    #[test]
    fn logging_flags_that_mean_nothing_are_refused() {
        for (flag, wanted) in [
            ("--v=loud", "invalid digit"),
            ("--vmodule=server", "\"server\" is not PATTERN=LEVEL, such as server=5"),
            ("--vmodule==5", "is not PATTERN=LEVEL"),
            ("--logtostderr=maybe", "write true or false"),
            ("--log_dir", "a value is required"),
            ("--log-dir=/tmp", "unexpected argument"),
        ] {
            let error = logging(&[flag]).unwrap_err();
            assert!(error.contains(wanted), "{flag}: {error}");
        }
    }

    #[test]
    fn the_peers_old_logging_flags_are_accepted_and_known_again() {
        let args =
            logging(&["--logtostderr", "--alsologtostderr=false", "--log_dir", "/tmp", "-v=4"]).unwrap();
        assert_eq!(args.deprecated.given(), ["alsologtostderr", "log_dir", "logtostderr"]);
        assert_eq!(args.verbosity, Some(4));
        let all: Vec<String> = DEPRECATED.iter().map(|(name, _)| format!("--{name}=1")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(logging(&all).unwrap().deprecated.given().len(), DEPRECATED.len());
        assert!(logging(&[]).unwrap().deprecated.given().is_empty());
    }

    #[test]
    fn what_flags_leave_open_is_as_the_file_has_it() {
        let file = LoggingArgs {
            verbosity: Some(5),
            logging_format: Some(LogFormat::Json),
            vmodule: vec!["a=1".parse().unwrap()],
            ..LoggingArgs::default()
        };
        let args = logging(&["--v=1", "--vmodule=b=2,c=3"]).unwrap().or(file);
        assert_eq!((args.verbosity, args.logging_format), (Some(1), Some(LogFormat::Json)));
        let patterns: Vec<&str> = args.vmodule.iter().map(|level| level.pattern.as_str()).collect();
        assert_eq!(patterns, ["b", "c"]);
    }

    #[test]
    fn an_empty_value_is_none() {
        #[derive(Debug, Parser)]
        struct Process {
            #[command(flatten)]
            kubernetes: KubernetesArgs,
        }
        let given =
            |flags: &[&str]| Process::try_parse_from(["process"].iter().chain(flags)).unwrap().kubernetes;
        let file = given(&["--kubeconfig=/file", "--api-server-host=file"]);
        let args = given(&["--kubeconfig=", "--api-server-host="]);
        assert_eq!((args.kubeconfig(), args.api_server_host()), (None, None));
        let both = args.or(file);
        assert_eq!((both.kubeconfig(), both.api_server_host()), (Some(Path::new("/file")), Some("file")));
    }

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

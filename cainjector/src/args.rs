//! Flags. Their names are those of cert-manager's cainjector where it has them. As in Go, the last of several values
//! counts, and an empty text is no value.

use std::time::Duration;

use api::GoDuration;
use clap::Parser;
use runtime::args::{AdminArgs, KubernetesArgs, LoggingArgs, boolean};
use runtime::config::Text;

/// Copies CA bundles from Secrets and Certificates into webhook configurations, API services and
/// CustomResourceDefinitions
#[derive(Debug, Clone, Parser)]
#[command(name = "signet-cainjector", version, max_term_width = 100, args_override_self = true)]
pub struct Args {
    /// How to reach the Kubernetes API.
    #[command(flatten)]
    pub kubernetes: KubernetesArgs,

    /// Take CAs from Secrets and Certificates of this namespace alone; targets are cluster-scoped and served all the same
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// Which of several replicas writes.
    #[command(flatten)]
    pub election: ElectionArgs,

    /// Where to answer probes and scrapes.
    #[command(flatten)]
    pub admin: AdminArgs,

    /// How to log.
    #[command(flatten)]
    pub logging: LoggingArgs,
}

/// Which of several replicas writes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Leader election, by a Lease that cert-manager's cainjector uses too")]
pub struct ElectionArgs {
    /// Let one replica write, while the others stand by; without it all of them write, and come to the same result
    /// [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub leader_elect: Option<bool>,

    /// Namespace of the Lease [default: kube-system]
    #[arg(long, value_name = "NAMESPACE")]
    pub leader_election_namespace: Option<Text<String>>,

    /// When a leader has not renewed the Lease for so long, another one takes over [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub leader_election_lease_duration: Option<Duration>,

    /// When a leader could not renew the Lease for so long, it writes no more [default: 40s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub leader_election_renew_deadline: Option<Duration>,

    /// Pause between renewals [default: 15s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub leader_election_retry_period: Option<Duration>,
}

/// A length of time, in Go's syntax.
fn duration(text: &str) -> Result<Duration, String> {
    let duration = GoDuration::new(text).parse().map_err(|error| error.to_string())?;
    Duration::try_from(duration).map_err(|_| "shorter than nothing".to_owned())
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
            "--leader-election-lease-duration=60",
            "--leader-election-retry-period=-1s",
            "--metrics-listen-address=9402",
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
}

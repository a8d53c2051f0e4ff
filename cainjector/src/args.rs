//! Flags.

use clap::Parser;
use runtime::args::{AdminArgs, KubernetesArgs, LoggingArgs};

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

    /// Where to answer probes and scrapes.
    #[command(flatten)]
    pub admin: AdminArgs,

    /// How to log.
    #[command(flatten)]
    pub logging: LoggingArgs,
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
        for wrong in ["--leader-elect=maybe", "--metrics-listen-address=9402"] {
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

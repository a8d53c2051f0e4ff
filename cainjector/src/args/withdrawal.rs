//! Flags of what is taken out of bundles before it expires. They are ours: the peer has nothing like them.

use std::num::NonZeroUsize;
use std::time::Duration;

use issuance::fingerprint::Fingerprint;
use runtime::args::boolean;
use runtime::config::Text;
use serving::election::duration;

/// What is taken out of bundles before it expires.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Certificates that leave bundles before they expire")]
pub struct WithdrawalArgs {
    /// Take a CA out this long after it has left its source [default: when it expires]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub ca_retention: Option<Duration>,

    /// Take a CA out sooner than 2160h, the usual life of a certificate, after it has left its source, where --ca-retention or
    /// --max-certificates asks for that: no server may use one of that CA any longer [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub ca_retention_below_minimum: Option<bool>,

    /// Most certificates in a bundle: those that left their source first are taken out, 2160h after that at the soonest;
    /// never one that is there, nor one that somebody else put into the bundle
    #[arg(long, value_name = "COUNT")]
    pub max_certificates: Option<NonZeroUsize>,

    /// Certificates that nobody may trust: they are taken out of every bundle that has another one, whoever put them there
    /// and whatever is wrong with its source
    #[arg(long, value_name = "SHA256", value_delimiter = ',')]
    pub deny_certificates: Vec<Text<Fingerprint>>,

    /// ConfigMap of the own namespace in which is kept what left its source when; it is used with --ca-retention and
    /// --max-certificates alone [default: cert-manager-cainjector-memory]
    #[arg(long, value_name = "NAME")]
    pub memory_configmap: Option<Text<String>>,
}

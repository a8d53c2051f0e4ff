//! Which of several replicas writes: the peers' flags and keys, and the election that they come to.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use api::GoDuration;
use kube::Client;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;
use runtime::args::boolean;
use runtime::config::{Length, Plain, Text};
use runtime::lease::{self, Leadership, LeaseArgs, Times, TimesError};
use runtime::metrics::Metrics;
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Default of `--leader-election-namespace`.
const NAMESPACE: &str = "kube-system";
/// Default of `--leader-election-lease-duration`.
const LEASE_DURATION: Duration = Duration::from_secs(60);
/// Default of `--leader-election-renew-deadline`.
const RENEW_DEADLINE: Duration = Duration::from_secs(40);
/// Default of `--leader-election-retry-period`.
const RETRY_PERIOD: Duration = Duration::from_secs(15);

/// Which of several replicas writes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ElectionArgs {
    /// Let one replica write, while the others stand by; without it all of them write [default: true]
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

impl ElectionArgs {
    /// These, and what they leave open as `file` has it.
    #[must_use]
    pub fn or(self, file: Self) -> Self {
        let namespace = Text::of(self.leader_election_namespace).or(Text::of(file.leader_election_namespace));
        Self {
            leader_elect: self.leader_elect.or(file.leader_elect),
            leader_election_namespace: Some(Text(namespace)),
            leader_election_lease_duration: self
                .leader_election_lease_duration
                .or(file.leader_election_lease_duration),
            leader_election_renew_deadline: self
                .leader_election_renew_deadline
                .or(file.leader_election_renew_deadline),
            leader_election_retry_period: self
                .leader_election_retry_period
                .or(file.leader_election_retry_period),
        }
    }
}

/// Member `leaderElectionConfig` of a configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ElectionFile {
    enabled: Option<Plain<bool>>,
    namespace: Text<String>,
    lease_duration: Option<Length<FlagDuration>>,
    renew_deadline: Option<Length<FlagDuration>>,
    retry_period: Option<Length<FlagDuration>>,
    /// The controller's alone; the probes never depend on the election, so it has no effect.
    #[serde(rename = "healthzTimeout")]
    _healthz_timeout: IgnoredAny,
}

impl From<ElectionFile> for ElectionArgs {
    fn from(file: ElectionFile) -> Self {
        let duration =
            |value: Option<Length<FlagDuration>>| Length::of(value).map(|FlagDuration(duration)| duration);
        Self {
            leader_elect: Plain::of(file.enabled),
            leader_election_namespace: Some(file.namespace),
            leader_election_lease_duration: duration(file.lease_duration),
            leader_election_renew_deadline: duration(file.renew_deadline),
            leader_election_retry_period: duration(file.retry_period),
        }
    }
}

/// A length of time in a configuration file, as [`duration`] reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagDuration(pub Duration);

impl FromStr for FlagDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        duration(text).map(Self)
    }
}

/// A length of time, in Go's syntax.
///
/// # Errors
/// When it is none, or is negative.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration = GoDuration::new(text).parse().map_err(|error| error.to_string())?;
    Duration::try_from(duration).map_err(|_| "shorter than nothing".to_owned())
}

/// The election to take part in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Election {
    /// Namespace of the Lease.
    pub namespace: String,
    /// How patient to be.
    pub times: Times,
}

impl Election {
    /// What the flags come to. None: every replica writes.
    ///
    /// # Errors
    /// When the times do not fit together, even where there is no election: it may be switched on again.
    pub fn of(args: ElectionArgs) -> Result<Option<Self>, TimesError> {
        let times = Times::new(
            args.leader_election_lease_duration.unwrap_or(LEASE_DURATION),
            args.leader_election_renew_deadline.unwrap_or(RENEW_DEADLINE),
            args.leader_election_retry_period.unwrap_or(RETRY_PERIOD),
        )?;
        let namespace = Text::of(args.leader_election_namespace);
        let namespace = namespace.unwrap_or_else(|| NAMESPACE.to_owned());
        Ok(args.leader_elect.unwrap_or(true).then_some(Self { namespace, times }))
    }

    /// Takes part, for the Lease `name`, as one of `tasks` until `drained` is requested; request that once nothing is left to
    /// write. `manager` is the label of a Lease that is created.
    ///
    /// # Errors
    /// When the system does not say who this process is.
    pub fn stand(
        self,
        tasks: &mut Tasks,
        client: &Client,
        name: String,
        manager: &'static str,
        drained: &Shutdown,
    ) -> anyhow::Result<Leadership> {
        let Self { namespace, times } = self;
        let identity = lease::identity().context("cannot make a name for this process")?;
        let lease = LeaseArgs { name, namespace, manager, identity, times };
        let leadership = Leadership::candidate();
        tasks.spawn("election", lease::run(client.clone(), lease, leadership.clone(), drained.clone()));
        Ok(leadership)
    }
}

/// Adds the figure `name`, which tells whether this replica leads.
pub fn register(metrics: &Metrics, name: &'static str, leadership: Leadership) {
    metrics.register(|registry| registry.register_collector(Box::new(Leader { name, leadership })));
}

/// Asked at each scrape: leadership ends by the time that goes by, without any event.
#[derive(Debug)]
struct Leader {
    name: &'static str,
    leadership: Leadership,
}

impl Collector for Leader {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(i64::from(self.leadership.may_write()));
        let help = "Whether this replica leads, which is to say: writes";
        let metric = encoder.encode_descriptor(self.name, help, None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leader_says_that_it_leads() {
        for (leadership, value) in [(Leadership::candidate(), 0), (Leadership::always(), 1)] {
            let metrics = Metrics::new("example", "0");
            register(&metrics, "signet_example_leader", leadership);
            let text = metrics.encode().unwrap();
            assert!(text.contains(&format!("signet_example_leader {value}\n")), "{text}");
        }
    }

    #[test]
    fn lengths_of_time_that_are_none_are_refused() {
        for (text, wanted) in [("-1s", "shorter than nothing"), ("60", "a number without a unit")] {
            let error = duration(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
    }
}

//! What the flags come to: every value is there, and fits the others.

use std::time::Duration;

use runtime::config::Text;
use runtime::lease::{LeaseArgs, Times, TimesError};

use crate::MANAGER;
use crate::args::ElectionArgs;

/// The Lease of the peer, so that its replicas and ours take turns.
const LEASE: &str = "cert-manager-cainjector-leader-election";
/// Default of `--leader-election-namespace`.
const ELECTION_NAMESPACE: &str = "kube-system";
/// Default of `--leader-election-lease-duration`.
const LEASE_DURATION: Duration = Duration::from_secs(60);
/// Default of `--leader-election-renew-deadline`.
const RENEW_DEADLINE: Duration = Duration::from_secs(40);
/// Default of `--leader-election-retry-period`.
const RETRY_PERIOD: Duration = Duration::from_secs(15);

/// The election to take part in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Election {
    /// Namespace of the Lease.
    pub(crate) namespace: String,
    /// How patient to be.
    pub(crate) times: Times,
}

impl Election {
    /// What the flags come to. None: every replica writes.
    ///
    /// # Errors
    /// When the times do not fit together, even where there is no election: it may be switched on again.
    pub(crate) fn of(args: ElectionArgs) -> Result<Option<Self>, TimesError> {
        let times = Times::new(
            args.leader_election_lease_duration.unwrap_or(LEASE_DURATION),
            args.leader_election_renew_deadline.unwrap_or(RENEW_DEADLINE),
            args.leader_election_retry_period.unwrap_or(RETRY_PERIOD),
        )?;
        let namespace = Text::of(args.leader_election_namespace);
        let namespace = namespace.unwrap_or_else(|| ELECTION_NAMESPACE.to_owned());
        Ok(args.leader_elect.unwrap_or(true).then_some(Self { namespace, times }))
    }

    /// The Lease, and who this process is.
    ///
    /// # Errors
    /// When the system does not say.
    pub(crate) fn lease(self) -> std::io::Result<LeaseArgs> {
        let Self { namespace, times } = self;
        let identity = runtime::lease::identity()?;
        Ok(LeaseArgs { name: LEASE, namespace, manager: MANAGER, identity, times })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::Args;

    fn election(flags: &[&str]) -> Result<Option<Election>, TimesError> {
        let args = Args::try_parse_from(["signet-cainjector"].iter().chain(flags)).unwrap();
        Election::of(args.election)
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn times_that_do_not_fit_together_are_refused() {
        let wrong = ["--leader-election-lease-duration=30s", "--leader-elect=false"];
        let error = election(&wrong).unwrap_err().to_string();
        assert_eq!(error, "the lease duration 30s must be longer than the renew deadline 40s");
    }

    #[test]
    fn without_an_election_every_replica_writes() {
        assert_eq!(election(&["--leader-elect=false"]), Ok(None));
    }

    #[test]
    fn the_defaults_are_the_peers() {
        let times = Times::new(secs(60), secs(40), secs(15)).unwrap();
        let namespace = "kube-system".to_owned();
        for flags in [&[][..], &["--leader-elect", "--leader-election-namespace="]] {
            let expected = Election { namespace: namespace.clone(), times };
            assert_eq!(election(flags), Ok(Some(expected)), "{flags:?}");
        }
        let lease = election(&[]).unwrap().unwrap().lease().unwrap();
        assert_eq!((lease.name, lease.manager), ("cert-manager-cainjector-leader-election", MANAGER));
    }

    #[test]
    fn flags_win_over_the_defaults() {
        let flags = [
            "--leader-election-namespace=cert-manager",
            "--leader-election-lease-duration=15s",
            "--leader-election-renew-deadline=10s",
            "--leader-election-retry-period=2s",
        ];
        let times = Times::new(secs(15), secs(10), secs(2)).unwrap();
        let expected = Election { namespace: "cert-manager".to_owned(), times };
        assert_eq!(election(&flags), Ok(Some(expected)));
    }
}

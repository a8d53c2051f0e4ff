//! What all parts of the controller share.

use std::future::Future;
use std::sync::Arc;

use issuers::live::Policies;
use jiff::Timestamp;
use kube::Client;
use runtime::alive::Alive;
use runtime::events::Events;
use runtime::lease::Leadership;
use runtime::metrics::Metrics;
use runtime::readiness::Readiness;
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use serving::clock::Clock;
use tokio_util::sync::DropGuard;

use crate::issuer::registry::Registry;
use crate::settings::Settings;
use crate::syncs::Syncs;

/// What all parts of the controller share; clones share it too.
#[derive(Clone)]
pub struct Context {
    /// How to reach the API server.
    pub client: Client,
    /// Tells people what happened to their objects.
    pub events: Events,
    /// Where figures are registered.
    pub metrics: Metrics,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// What has to be seen before the process is ready.
    pub readiness: Readiness,
    /// What has to turn.
    pub alive: Alive,
    /// Asks all to end.
    pub shutdown: Shutdown,
    /// What the operator has decided.
    pub settings: Arc<Settings>,
    /// The issuers, as they were last seen.
    pub issuers: Arc<Registry>,
    /// Counts what is looked at.
    pub syncs: Syncs,
    /// The name policy, by which signer service and approver go.
    pub policies: Policies,
    /// Tells the time, in whole seconds: that is what the API keeps.
    pub clock: Clock,
    /// Held by everybody who has something left to write: the Lease is given back when the last of them is gone.
    pub at_work: Arc<DropGuard>,
}

impl Context {
    /// Starts a task that may write, and lets nobody else lead before it has ended.
    pub fn spawn_writer(
        &self,
        tasks: &mut Tasks,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let at_work = Arc::clone(&self.at_work);
        tasks.spawn(name, async move {
            let outcome = task.await;
            drop(at_work);
            outcome
        });
    }
}

/// The clock of the system, in whole seconds.
pub fn system_clock() -> Clock {
    Arc::new(|| whole_seconds(Timestamp::now()))
}

/// The last whole second at or before an instant: what is written and what comes back are then equal.
fn whole_seconds(at: Timestamp) -> Timestamp {
    // Every second of a valid instant is a valid instant.
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
pub(crate) mod testing {
    use clap::Parser as _;

    use super::*;
    use crate::config::Config;

    /// What the flags of a process that always leads come to, with this client.
    pub(crate) fn context(client: Client, metrics: &Metrics) -> Context {
        let args =
            crate::Args::try_parse_from(["signet-controller", "--cluster-resource-namespace=cert-manager"]);
        let (events, _) = Events::new(client.clone(), crate::MANAGER, metrics);
        let settings = Config::load(args.unwrap()).unwrap().settings;
        Context {
            issuers: Registry::new(client.clone(), "cert-manager".to_owned(), []),
            client,
            events,
            metrics: metrics.clone(),
            leadership: Leadership::always(),
            readiness: Readiness::default(),
            alive: Alive::default(),
            shutdown: Shutdown::default(),
            policies: Policies::fixed(settings.policy.policy.clone()),
            settings: Arc::new(settings),
            syncs: Syncs::default(),
            clock: system_clock(),
            at_work: Arc::new(Shutdown::default().token().drop_guard()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_knows_no_parts_of_seconds() {
        let at: Timestamp = "2027-01-15T08:00:00.987654321Z".parse().unwrap();
        assert_eq!(whole_seconds(at).to_string(), "2027-01-15T08:00:00Z");
        assert_eq!(system_clock()().subsec_nanosecond(), 0);
    }
}

//! The controller: says of each Issuer and ClusterIssuer whether it can sign.
//!
//! It works as watch → index → plan → apply, as the cainjector does. [`watch`] follows the issuers, and by name the
//! Secrets that they refer to; [`index`] knows who refers to which. [`issuers::readiness`] judges an issuer, [`plan`]
//! turns the verdict into a status, both as pure functions, and [`apply`] writes that status where it differs.

pub mod apply;
mod args;
pub mod index;
mod metrics;
pub mod object;
pub mod plan;
mod report;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use runtime::events::Events;
use runtime::readiness::Readiness;
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;

pub use args::Args;

use crate::apply::Judge;
use crate::metrics::Figures;
use crate::object::IssuerObject;

/// Field manager and user agent, as the peer's.
pub const MANAGER: &str = "cert-manager-controller";

/// Issuers that are worked on at once, as many as the peer has workers for each of its controllers.
const WORKERS: usize = 5;

/// A reconcile is cut off after 30 s, so work in flight ends within that.
const DRAIN: Duration = Duration::from_secs(35);

/// Runs until a signal asks for the end, or a part fails.
///
/// # Errors
/// When the process cannot start, or one of its parts ends before it is asked to.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let Args { kubernetes, cluster_resource_namespace, admin, logging } = args;
    runtime::log::init(&logging);
    let readiness = Readiness::default();
    let metrics = runtime::metrics::Metrics::new("controller", env!("CARGO_PKG_VERSION"));
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let mut tasks = Tasks::new(shutdown.clone());

    let alive = runtime::admin::spawn_all(&mut tasks, &admin, &readiness, &metrics, &shutdown)?;

    let client = runtime::client::connect(&kubernetes, MANAGER).await?;
    let (events, writer) = Events::new(client.clone(), MANAGER, &metrics);
    tasks.spawn("events", writer.run(shutdown.clone()));
    let figures = Figures::new(&metrics);
    let judge = Arc::new(Judge::new(client, cluster_resource_namespace, events, figures));
    let working = Arc::clone(&judge);
    alive.check("workers", move || working.turns());
    follow::<api::Issuer>(&mut tasks, &judge, &readiness, &shutdown);
    follow::<api::ClusterIssuer>(&mut tasks, &judge, &readiness, &shutdown);
    for _ in 0..WORKERS {
        tasks.spawn("worker", Arc::clone(&judge).work(shutdown.clone()));
    }
    tasks.tell(readiness.clone());
    tasks.drain_at_shutdown(readiness);
    tasks.run(DRAIN).await
}

fn follow<K: IssuerObject>(
    tasks: &mut Tasks,
    judge: &Arc<Judge>,
    readiness: &Readiness,
    shutdown: &Shutdown,
) {
    let name = K::KIND.plural();
    let standing = readiness.teller(name);
    tasks.spawn(name, watch::follow_issuers::<K>(Arc::clone(judge), standing, shutdown.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_gives_the_pod_longer_than_its_drain_takes() {
        let template = include_str!("../../manifests/chart/templates/controller.yaml");
        let mut lines = template.lines().map(str::trim);
        let grace = lines.find_map(|line| line.strip_prefix("terminationGracePeriodSeconds: ")).unwrap();
        assert!(DRAIN < Duration::from_secs(grace.parse().unwrap()), "{DRAIN:?} and {grace} s");
    }
}

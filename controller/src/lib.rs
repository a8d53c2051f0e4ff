//! The controller: says of each [`issuer`] whether it can sign, answers each CertificateRequest ([`request`]), and keeps a
//! Secret for each [`certificate`].
//!
//! All three work as watch → index → plan → apply, as the cainjector does. [`signer`] is a service for nodes, which every
//! replica has.

mod args;
pub mod certificate;
mod config;
pub mod context;
pub mod controllers;
pub mod issuer;
pub mod links;
mod metrics;
pub mod news;
pub mod object;
pub mod patch;
mod policy;
mod report;
pub mod request;
mod secrets;
pub mod settings;
pub mod signer;
pub mod syncs;
#[cfg(test)]
mod testing;
mod write;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use runtime::args::{AdminArgs, ListenAddress};
use runtime::events::Events;
use runtime::lease::Leadership;
use runtime::readiness::Readiness;
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use serving::election;
use serving::source::MetricsServer;

pub use args::Args;

use crate::config::Config;
use crate::context::Context;
use crate::issuer::registry::Registry;
use crate::object::IssuerKind;
use crate::syncs::Syncs;

/// Field manager and user agent, as the peer's.
pub const MANAGER: &str = "cert-manager-controller";

/// A reconcile is cut off after 30 s, so work in flight ends within that; then the Lease is given back, which takes 3 s
/// at most.
const DRAIN: Duration = Duration::from_secs(35);

/// Time for a scrape in flight when the process ends; it takes milliseconds.
const SCRAPE_TIME_MAX: Duration = Duration::from_secs(2);

/// Runs until a signal asks for the end, or a part fails.
///
/// # Errors
/// When the process cannot start, or one of its parts ends before it is asked to.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let Config { kubernetes, settings, signer, election, admin, metrics_serving, logging, warnings } =
        Config::load(args)?;
    runtime::log::init(&logging);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let readiness = Readiness::default();
    let metrics = runtime::metrics::Metrics::new("controller", env!("CARGO_PKG_VERSION"));
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let mut tasks = Tasks::new(shutdown.clone());

    // Over TLS they need the API server, which has to be found first.
    let is_plain = metrics_serving.is_none();
    let metrics_listen_address = if is_plain { admin.metrics_listen_address } else { ListenAddress::Off };
    let plain = AdminArgs { metrics_listen_address, ..admin };
    let alive = runtime::admin::spawn_all(&mut tasks, &plain, &readiness, &metrics, &shutdown)?;

    let client = runtime::client::connect(&kubernetes, MANAGER).await?;
    if let Some(tls) = metrics_serving {
        let (address, router) = (admin.metrics_listen_address, runtime::admin::metrics(metrics.clone()));
        let server = MetricsServer { address, tls, router, end: shutdown.clone(), grace: SCRAPE_TIME_MAX };
        server.start(&mut tasks, client.clone(), shutdown.clone())?;
    }
    // Requested once the last worker has ended: until then there is something left to write.
    let drained = Shutdown::default();
    let leadership = match election {
        Some((election, name)) => election.stand(&mut tasks, &client, name, MANAGER, &drained)?,
        None => Leadership::always(),
    };
    election::register(&metrics, "signet_controller_leader", leadership.clone());
    let candidate = leadership.clone();
    readiness.check_of_others("election", move || candidate.takes_part());
    let (events, writer) = Events::new(client.clone(), MANAGER, &metrics);
    tasks.spawn("events", writer.run(shutdown.clone()));

    let unwatched = settings.namespace.is_some().then_some(IssuerKind::ClusterIssuer);
    let clock = context::system_clock();
    let policies = policy::follow(&settings.policy, &client, &readiness, &shutdown, &mut tasks)?;
    let context = Context {
        syncs: Syncs::register(&metrics, Arc::clone(&clock)),
        issuers: Registry::new(client.clone(), settings.cluster_resource_namespace.clone(), unwatched),
        client,
        events,
        metrics,
        leadership,
        policies,
        readiness: readiness.clone(),
        alive,
        shutdown,
        settings: Arc::new(settings),
        clock,
        at_work: Arc::new(drained.token().drop_guard()),
    };
    if let Some(settings) = signer {
        // Reviews do not queue behind watches on one connection.
        let reviews = runtime::client::connect(&kubernetes, MANAGER).await?;
        signer::start(settings, &context, reviews, &mut tasks)?;
    }
    issuer::start(&context, &mut tasks);
    let requests = request::start(&context, &mut tasks);
    certificate::start(&context, &requests, &mut tasks);
    drop(requests);
    drop(context);
    tasks.tell(readiness.clone());
    tasks.drain_at_shutdown(readiness);
    tasks.run(DRAIN).await
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

//! The cainjector: copies CA bundles into webhook configurations, API services and CustomResourceDefinitions, so that the
//! API server trusts the servers that it calls.
//!
//! It works as watch → index → plan → apply. [`watch`] follows the targets, those that may be large by their metadata
//! alone, and keeps in the [`index`] who asked for which CA; the Secrets and Certificates that are asked for, and no
//! others, are watched by name. [`plan`] decides, as a pure function of target, source and clock. [`apply`] asks for the
//! plan of the target as its watch has shown it, or as it reads it, and carries it out with a server-side apply of the
//! bundle fields alone; it writes nothing that is there already, and never creates a target.
//!
//! One replica writes; the others watch as well, and take over when its Lease ends. That spares work and is not what
//! keeps things right: the result depends on nothing but the objects, and each write is bound to the version of the
//! target that was read. So two may write at once without harm, and a restart writes nothing.
//!
//! Commands tell about all this: [`explain`] uses the same index and plan, on what one look at the cluster has shown.

pub mod apply;
mod args;
mod bounds;
pub mod command;
mod config;
mod contests;
pub mod explain;
pub mod guard;
pub mod index;
mod kept;
mod memory;
mod metrics;
pub mod ownership;
pub mod plan;
pub mod policy;
pub mod rbac;
pub mod reference;
mod report;
pub mod rotation;
pub mod settings;
pub mod source;
mod survey;
pub mod synced;
pub mod target;
#[cfg(test)]
mod testing;
pub mod watch;
mod wider;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use runtime::args::{AdminArgs, ListenAddress};
use runtime::events::Events;
use runtime::lease::Leadership;
use runtime::lock::lock;
use runtime::readiness::Readiness;
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use runtime::watch::ObjectName;
use serving::election;
use serving::source::MetricsServer;

pub use args::Args;
pub use command::Command;

use crate::apply::Injector;
use crate::config::Config;
use crate::metrics::Figures;
use crate::settings::Settings;
use crate::source::api_server;

/// Field manager and user agent, as the peer's, so that ownership of the bundles carries over.
pub const MANAGER: &str = "cert-manager-cainjector";

/// Targets that are worked on at once: enough to hide the API server's latency, too few to be a load for it.
const WORKERS: usize = 8;

/// A reconcile is cut off after 31 s, so work in flight ends within that; then the Lease is given back, which takes 3 s
/// at most.
const DRAIN: Duration = Duration::from_secs(35);

/// Time for a scrape in flight when the process ends; it takes milliseconds.
const SCRAPE_TIME_MAX: Duration = Duration::from_secs(2);

/// Runs until a signal asks for the end, or a part fails.
///
/// # Errors
/// When the process cannot start, or one of its parts ends before it is asked to.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let config = Config::load(args)?;
    let Config {
        kubernetes,
        settings,
        memory,
        own_configmap,
        targets,
        election,
        admin,
        metrics_serving,
        logging,
        warnings,
    } = config;
    runtime::log::init(&logging);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let readiness = Readiness::default();
    let metrics = runtime::metrics::Metrics::new("cainjector", env!("CARGO_PKG_VERSION"));
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let mut tasks = Tasks::new(shutdown.clone());

    // Over TLS they need the API server, which has to be found first.
    let is_plain = metrics_serving.is_none();
    let metrics_listen_address = if is_plain { admin.metrics_listen_address } else { ListenAddress::Off };
    let plain = AdminArgs { metrics_listen_address, ..admin };
    let alive = runtime::admin::spawn_all(&mut tasks, &plain, &readiness, &metrics, &shutdown)?;

    let (client, ca) = runtime::client::connect_with_ca(&kubernetes, MANAGER).await?;
    if let Some(tls) = metrics_serving {
        let (address, router) = (admin.metrics_listen_address, runtime::admin::metrics(metrics.clone()));
        let server = MetricsServer { address, tls, router, end: shutdown.clone(), grace: SCRAPE_TIME_MAX };
        server.start(&mut tasks, client.clone(), shutdown.clone())?;
    }
    let own = own_configmap.as_ref().map(|name| ObjectName::namespaced(client.default_namespace(), name));
    let settings = Settings { own, ..settings };
    // Requested once the last worker has ended: until then there is something left to write.
    let drained = Shutdown::default();
    let leadership = match election {
        Some(election) => election.stand(&mut tasks, &client, config::LEASE.to_owned(), MANAGER, &drained)?,
        None => Leadership::always(),
    };
    election::register(&metrics, "signet_cainjector_leader", leadership.clone());
    let (events, writer) = Events::new(client.clone(), MANAGER, &metrics);
    tasks.spawn("events", writer.run(shutdown.clone()));
    let figures = Figures::new(&metrics);
    let injector = Injector::new(client.clone(), settings, leadership.clone(), events, figures.clone());
    let (working, synced) = (Arc::clone(&injector), injector.synced());
    metrics::register_standings(&metrics, &figures, injector.synced(), leadership.clone());
    alive.check("workers", move || working.turns());
    metrics::register_connections(&metrics, Arc::downgrade(&injector));
    let mut served = Vec::new();
    for kind in targets {
        let standing = readiness.teller(kind.plural());
        served.push((kind, standing.clone()));
        let (injector, shutdown) = (Arc::clone(&injector), shutdown.clone());
        if kind.is_wider() {
            tasks
                .spawn(kind.plural(), wider::keep(injector, kind, own_configmap.clone(), standing, shutdown));
        } else {
            tasks.spawn(kind.plural(), watch::follow(injector, kind, standing, shutdown));
        }
    }
    metrics::register_served(&metrics, served);
    if let Some(name) = memory {
        let (lists, injector) = (readiness.clone(), Arc::clone(&injector));
        let is_complete = move || lists.health().ready;
        let kept = metrics::register_memory(&metrics);
        let keep =
            memory::keep(client, name, injector, kept, leadership.clone(), is_complete, shutdown.clone());
        tasks.spawn("memory", keep);
    }
    let candidate = leadership.clone();
    readiness.check_of_others("election", move || candidate.takes_part());
    readiness.check_of_others("targets", move || {
        lock(&synced).check(leadership.may_write(), std::time::Instant::now())
    });
    let told = Arc::clone(&injector);
    let changed = move |ca| told.api_server_changed(ca);
    tasks.spawn("CA of the API server", api_server::follow(ca, shutdown.clone(), changed));
    let last = Arc::new(drained.token().drop_guard());
    for _ in 0..WORKERS {
        let (work, last) = (Arc::clone(&injector).work(shutdown.clone()), Arc::clone(&last));
        tasks.spawn("worker", async move {
            let outcome = work.await;
            drop(last);
            outcome
        });
    }
    drop(last);
    tasks.tell(readiness.clone());
    tasks.drain_at_shutdown(readiness);
    tasks.run(DRAIN).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_gives_the_pod_longer_than_its_drain_takes() {
        let template = include_str!("../../manifests/chart/templates/cainjector.yaml");
        let mut lines = template.lines().map(str::trim);
        let grace = lines.find_map(|line| line.strip_prefix("terminationGracePeriodSeconds: ")).unwrap();
        assert!(DRAIN < Duration::from_secs(grace.parse().unwrap()), "{DRAIN:?} and {grace} s");
    }
}

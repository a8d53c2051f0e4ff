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
use runtime::readiness::Readiness;
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;

pub use args::Args;

use crate::apply::Judge;
use crate::metrics::Figures;

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
    let Args {
        kubernetes,
        cluster_resource_namespace,
        metrics_listen_address,
        healthz_listen_address,
        logging,
    } = args;
    runtime::log::init(&logging);
    let readiness = Readiness::default();
    let metrics = runtime::metrics::Metrics::new("controller", env!("CARGO_PKG_VERSION"));
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let mut tasks = Tasks::new(shutdown.clone());

    let probes = runtime::admin::probes(readiness.clone());
    runtime::admin::spawn(&mut tasks, "health probes", healthz_listen_address, probes, &shutdown)?;
    let scrapes = runtime::admin::metrics(metrics.clone());
    runtime::admin::spawn(&mut tasks, "metrics", metrics_listen_address, scrapes, &shutdown)?;

    let client = runtime::client::connect(&kubernetes, MANAGER).await?;
    let judge = Arc::new(Judge::new(client, cluster_resource_namespace, Figures::new(&metrics)));
    tasks.spawn(
        "issuers",
        watch::follow::<api::Issuer>(Arc::clone(&judge), readiness.component("issuers"), shutdown.clone()),
    );
    tasks.spawn(
        "clusterissuers",
        watch::follow::<api::ClusterIssuer>(
            Arc::clone(&judge),
            readiness.component("clusterissuers"),
            shutdown.clone(),
        ),
    );
    for _ in 0..WORKERS {
        tasks.spawn("worker", apply::work(Arc::clone(&judge), shutdown.clone()));
    }
    let draining = shutdown.clone();
    tasks.spawn("readiness", async move {
        draining.requested().await;
        readiness.drain();
        Ok(())
    });
    tasks.run(DRAIN).await
}

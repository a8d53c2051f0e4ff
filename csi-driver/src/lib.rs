//! The node plugin: a private key and a certificate in a pod's volume, made when the volume is mounted and renewed as
//! long as the pod lives.
//!
//! The life of a volume, and where to read about it:
//! 1. [`registration`] makes kubelet know the driver, [`identity`] and [`node`] answer its calls.
//! 2. [`volume`] and [`attributes`] turn a request into types, or refuse it.
//! 3. [`volumes`] decides what may happen to a volume now; it is the only lock.
//! 4. [`issue`] makes key and request, [`signing`] has it signed; what comes back is verified.
//! 5. [`store`] writes it in one switch, [`mount`] shows it to the pod.
//! 6. [`renew`] knows when it is due again; [`metadata`] keeps that over restarts.
//!
//! What is absent here: keys of CAs outside of [`signing::local`], tokens anywhere but in memory, passwords anywhere but in
//! the request that brought them, and API calls on the path of a mount but for what a name turns on in mode `local`.

pub mod args;
pub mod attributes;
pub mod csv;
pub mod error;
pub mod expand;
pub mod field;
pub mod files;
pub mod filesystem;
pub mod health;
pub mod identity;
pub mod issue;
pub mod keys;
pub mod metadata;
pub mod metrics;
pub mod mount;
pub mod node;
mod operation;
pub mod registration;
pub mod renew;
pub mod signing;
pub mod socket;
pub mod store;
#[cfg(test)]
mod testing;
pub mod uri;
pub mod volume;
pub mod volumes;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use issuers::live::policies::Followed;
use issuers::live::{Policies, Reader};
use jiff::Timestamp;
use proto::csi::identity_server::IdentityServer;
use proto::csi::node_server::NodeServer;
use runtime::admin;
use runtime::readiness::Readiness;
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

pub use args::Args;

use crate::identity::IdentityService;
use crate::issue::Issuance;
use crate::keys::Keys;
use crate::metrics::DriverMetrics;
use crate::mount::SystemMounter;
use crate::node::NodeService;
use crate::registration::Plugin;
use crate::signing::Signing;
use crate::signing::channel::{self, Trust};
use crate::signing::local::Local;
use crate::signing::remote::Remote;
use crate::signing::tokens::Tokens;
use crate::store::Store;
use crate::volumes::{Parts, Volumes};

/// The time; an argument, so that tests have their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Threads that run tasks. The work is in the kernel and in a few signatures; more threads cost memory on each node.
const WORKER_THREADS: usize = 2;

/// Threads for what else blocks for a moment, such as signing with an RSA key, and looking up a name.
const OTHER_BLOCKING_THREADS: usize = 4;

/// Threads that may block. Each kind of work that lasts has a bound of its own below this, so that none can take the
/// threads of another: files and mounts, and RSA keys of which none is in stock.
const BLOCKING_THREADS_MAX: usize = volumes::WRITERS_MAX + keys::RSA_THREADS_MAX + OTHER_BLOCKING_THREADS;

/// How long operations in flight may take after a signal; less than the 30 s that kubelet gives a pod.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);

/// Runs the driver until a signal ends it. Mounts and files stay, so that pods notice nothing.
///
/// # Errors
/// When it cannot start, or a part of it fails.
pub fn run(args: Args) -> anyhow::Result<()> {
    runtime::log::init(&args.logging);
    // Whatever is made here, sockets above all, is nobody else's until it is given a mode.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?
        .block_on(drive(args))
}

async fn drive(args: Args) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let metrics = runtime::metrics::Metrics::new("csi-driver", env!("CARGO_PKG_VERSION"));
    let figures = DriverMetrics::new(&metrics);
    let readiness = Readiness::default();
    let serving = Readiness::default();
    let mut tasks = Tasks::new(shutdown.clone());

    let (signing, tokens) = signing(&args).await?;
    let volumes = open(&args, signing, &figures)?;
    let socket = args.endpoint.0.clone();
    let listener = listen(&socket)?;

    // Calls end after the registration is withdrawn, so that kubelet does not dial a socket that nobody serves.
    let withdrawn = CancellationToken::new();
    let node = NodeService::new(args.node_id.clone(), volumes.clone(), tokens, figures);
    let services = tonic::transport::Server::builder()
        .add_service(IdentityServer::new(IdentityService::new(args.driver_name.clone(), serving.clone())))
        .add_service(NodeServer::new(node));
    let (draining, end) = (volumes.clone(), withdrawn.clone());
    tasks.spawn("csi server", async move {
        let served = socket::serve(services, listener, end.cancelled(), draining.finish());
        served.await.context("cannot serve the CSI socket")
    });

    register(&args, &readiness, &shutdown, withdrawn, &mut tasks);
    let (timed, until) = (volumes, shutdown.clone());
    tasks.spawn("renewal timer", async move {
        timed.run_timer(&until).await;
        Ok(())
    });
    let (ending, at_first_sign) = ([readiness.clone(), serving], shutdown.clone());
    tasks.spawn("readiness", async move {
        at_first_sign.requested().await;
        ending.iter().for_each(Readiness::drain);
        Ok(())
    });
    tasks.tell(readiness.clone());
    let health = health::router(socket, readiness);
    admin::spawn_probes(&mut tasks, args.healthz_listen_address, health, &shutdown)?;
    let scrape = admin::metrics(metrics);
    admin::spawn(&mut tasks, "metrics", args.metrics_bind_address, scrape, &shutdown)?;
    tasks.run(DRAIN_TIMEOUT).await
}

/// The way of signing that the operator chose, and where the tokens go that it needs.
async fn signing(args: &Args) -> anyhow::Result<(Arc<dyn Signing>, Option<Arc<Tokens>>)> {
    // Nothing is sent yet: the driver serves whether or not the API server is there.
    let client = runtime::client::connect(&args.kubernetes, "signet-csi-driver").await?;
    match args.mode {
        args::Mode::Local => {
            let namespace = args.cluster_resource_namespace.clone();
            let (policies, followed) = policies(&args.policy, &client)?;
            let issuers = issuers::LocalIssuers::new(client.clone(), namespace);
            Ok((Local::new(issuers, policies, followed, Reader::new(client)), None))
        }
        args::Mode::Signer => {
            let signer = args.signer.clone();
            let address = signer.signer_address.context("--mode=signer needs --signer-address")?;
            let map = signer.signer_ca_configmap.context("--mode=signer needs --signer-ca-configmap")?;
            let channel = channel::channel(address, Trust::of(client, &map)?)?;
            let tokens = Arc::new(Tokens::new(signer.signer_pod_audience));
            let remote = Remote::new(channel, Arc::clone(&tokens), signer.signer_token_file);
            Ok((remote, Some(tokens)))
        }
    }
}

/// The name policy. That its rules are not read yet makes no pod unready: volumes that are there go on, and mounts wait.
fn policies(args: &args::PolicyArgs, client: &kube::Client) -> anyhow::Result<(Policies, Option<Followed>)> {
    let policy = args.policy();
    let Some(map) = &args.policy_configmap else { return Ok((Policies::fixed(policy), None)) };
    let standing = Readiness::default().teller("name policy");
    let (policies, followed) = Policies::followed(policy, client.clone(), map, standing)?;
    Ok((policies, Some(followed)))
}

/// The volumes, with those of an earlier process.
fn open(args: &Args, signing: Arc<dyn Signing>, figures: &DriverMetrics) -> anyhow::Result<Volumes> {
    let mounter = Arc::new(SystemMounter);
    let data_root = args.data_root();
    let store = Store::open(&data_root, args.data_size_bytes(), mounter.as_ref())
        .with_context(|| format!("cannot use the data root {data_root:?}"))?;
    let clock: Clock = Arc::new(Timestamp::now);
    let keys = Keys::start(usize::from(args.rsa_key_stock)).context("cannot start a thread")?;
    let issuance = Issuance::new(keys, signing, Arc::clone(&clock), figures.clone());
    let parts = Parts { store, mounter, issuance, clock, metrics: figures.clone() };
    Volumes::open(parts).context("cannot take up the volumes of an earlier process")
}

/// The socket for kubelet, in a folder that is made if need be.
fn listen(socket: &Path) -> anyhow::Result<UnixListener> {
    if let Some(folder) = socket.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {folder:?}"))?;
    }
    Ok(socket::listen(socket)?)
}

/// Starts registration; without it, calls end at the first sign of shutdown.
fn register(
    args: &Args,
    readiness: &Readiness,
    shutdown: &Shutdown,
    withdrawn: CancellationToken,
    tasks: &mut Tasks,
) {
    let shutdown = shutdown.clone();
    let Some(folder) = args.registry_folder() else {
        tracing::info!("not registering with kubelet");
        tasks.spawn("shutdown", async move {
            shutdown.requested().await;
            withdrawn.cancel();
            Ok(())
        });
        return;
    };
    let registered = readiness.component("registration with kubelet");
    let plugin = Plugin { driver_name: args.driver_name.clone(), endpoint: args.path_for_kubelet() };
    tasks.spawn("registration", registration::run(plugin, folder, registered, shutdown, withdrawn));
}

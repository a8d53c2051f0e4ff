//! What makes each of our binaries a good process, without knowing what the process is for: flags, logs, probes,
//! metrics, counted readiness, supervised tasks, shutdown, the Kubernetes client, leader election and hot-swapped serving
//! certificates.
//!
//! A binary's `main` is four lines: install the crypto provider, parse flags, run, report. Its `run` looks like this:
//!
//! ```no_run
//! # async fn example(logging: runtime::args::LoggingArgs) -> anyhow::Result<()> {
//! runtime::log::init(&logging);
//! let readiness = runtime::readiness::Readiness::default();
//! let shutdown = runtime::shutdown::Shutdown::on_signals()?;
//! let mut tasks = runtime::tasks::Tasks::new(shutdown.clone());
//! let caches = readiness.component("caches");
//! tasks.spawn("worker", async move {
//!     caches.ready();
//!     shutdown.requested().await;
//!     Ok(())
//! });
//! tasks.run(std::time::Duration::from_secs(30)).await
//! # }
//! ```

pub mod admin;
pub mod alive;
pub mod args;
pub mod backoff;
pub mod client;
pub mod config;
mod connections;
pub mod contest;
pub mod events;
pub mod exit;
pub mod files;
pub mod follow;
pub mod gates;
pub mod handshakes;
pub mod held;
pub mod lease;
pub mod listen;
pub mod lock;
pub mod log;
pub mod metrics;
pub mod output;
pub mod pause;
pub mod queue;
pub mod readiness;
pub mod reading;
#[cfg(test)]
mod scripted;
pub mod server;
pub mod shutdown;
pub mod tasks;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tls;
pub mod trimmed;
pub mod watch;

/// The allocator of every binary: the one of musl takes a global lock on each call, which a multi-threaded server
/// feels at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `main` does first: chooses the cryptography and keeps the process small.
pub fn prepare() {
    install_crypto();
    // Where the system gives huge pages to everybody, a process like ours fills the least part of them: with 300
    // volumes, the node plugin had 13 MB of its own instead of 31 MB. A kernel without the call has none to refuse.
    let _ = nix::sys::prctl::set_thp_disable(true);
}

/// Makes aws-lc-rs the process-wide provider of TLS cryptography. Call it once, first thing in `main`; later calls
/// change nothing.
pub fn install_crypto() {
    // The only error is "already installed", and then it is installed by us: no other provider is linked in.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

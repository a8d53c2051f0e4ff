//! Shutdown: the first SIGTERM or SIGINT asks for it, the second ends the process.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status after a second signal, as shells and the peers have it: 128 + SIGINT.
const ABORTED: i32 = 130;

/// A request to shut down that any task can wait for; clones share the same request.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// Listens for SIGTERM and SIGINT from now on.
    ///
    /// # Errors
    /// When the handlers cannot be installed. Call it inside a tokio runtime.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::default();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(listen(terminate, interrupt, shutdown.clone()));
        Ok(shutdown)
    }

    /// Asks for shutdown.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Whether shutdown was asked for.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until shutdown is asked for; at once, if it was already.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// The same request as a token, for libraries that take one.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}

async fn listen(mut terminate: Signal, mut interrupt: Signal, shutdown: Shutdown) {
    next(&mut terminate, &mut interrupt).await;
    tracing::info!("shutting down; a second signal ends the process at once");
    shutdown.request();
    next(&mut terminate, &mut interrupt).await;
    tracing::warn!("second signal: not waiting for work in flight");
    #[expect(clippy::exit, reason = "the second signal means: now, whatever is in flight")]
    std::process::exit(ABORTED);
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

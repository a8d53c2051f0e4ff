//! Whether a process still turns. That is what `/livez` asks, since a restart mends what does not; what a restart cannot
//! mend is a matter of [`crate::readiness`].

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::lock;
use crate::readiness::{Readiness, Report};
use crate::shutdown::Shutdown;

/// How long something that turns may show no sign of it: longer than any work that is merely slow.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Pause between two beats of the heart.
const BEAT_INTERVAL: Duration = Duration::from_secs(5);

/// What has to turn; clones share it. Nothing is added yet, so the process is alive as soon as it answers.
#[derive(Clone, Default)]
pub struct Alive {
    checks: Readiness,
}

impl Alive {
    /// Adds something that is asked at each probe; the error text is what a failing `/livez` shows.
    pub fn check(&self, name: &'static str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.checks.check(name, check);
    }

    /// Adds the runtime on which the returned task is run: it beats until shutdown is requested, and must be seen to do
    /// so. Probes have to be answered by another thread.
    ///
    /// # Errors
    /// None; the result is for [`crate::tasks::Tasks::spawn`].
    pub fn heart(
        &self,
        shutdown: Shutdown,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static + use<> {
        let last = Arc::new(Mutex::new(Instant::now()));
        let seen = Arc::clone(&last);
        self.check("runtime", move || match lock(&seen).elapsed() {
            silence if silence > SILENCE_MAX => Err(format!("no task had its turn for {silence:?}")),
            _ => Ok(()),
        });
        async move {
            while !shutdown.is_requested() {
                *lock(&last) = Instant::now();
                tokio::select! {
                    () = shutdown.requested() => {}
                    () = tokio::time::sleep(BEAT_INTERVAL) => {}
                }
            }
            Ok(())
        }
    }

    /// The answer to a probe.
    pub fn report(&self) -> Report {
        let mut report = self.checks.report();
        report.lines.insert(0, "[+] ping ok".to_owned());
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_heart_that_does_not_beat_is_noticed_after_a_minute_and_forgiven_when_it_does() {
        let (alive, shutdown) = (Alive::default(), Shutdown::default());
        let heart = alive.heart(shutdown.clone());
        tokio::time::advance(SILENCE_MAX).await;
        assert!(alive.report().ready);
        tokio::time::advance(Duration::from_secs(1)).await;
        let report = alive.report();
        assert!(!report.ready);
        assert_eq!(report.lines, ["[+] ping ok", "[-] runtime: no task had its turn for 61s"]);
        let heart = tokio::spawn(heart);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(alive.report().lines, ["[+] ping ok", "[+] runtime ok"]);
        tokio::time::sleep(SILENCE_MAX * 5).await;
        assert!(alive.report().ready);
        shutdown.request();
        heart.await.unwrap().unwrap();
    }
}

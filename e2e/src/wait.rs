//! Waiting for something to become true, without sleeping a guessed time.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::anyhow;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Calls `probe` until it succeeds and returns what it found. While the condition does not hold, the probe returns why.
///
/// # Errors
/// When `timeout` has passed: says what was waited for, how long, and the probe's last reason.
pub async fn until<T, E, F, Fut>(what: &str, timeout: Duration, mut probe: F) -> anyhow::Result<T>
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let began = Instant::now();
    let mut reason = "it did not answer once".to_owned();
    loop {
        let left = timeout.saturating_sub(began.elapsed());
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => reason = format!("{error:#}"),
            // It hangs: the reason before that is the best there is.
            Err(_) => {}
        }
        if began.elapsed() >= timeout {
            let seconds = timeout.as_secs_f32();
            return Err(anyhow!("{what}: not within {seconds} s; last seen: {reason}"));
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_never_holds_ends_with_its_last_reason() {
        let mut calls = 0;
        let error = until("two pods", Duration::from_millis(120), || {
            calls += 1;
            let seen = calls;
            async move { Err::<(), _>(format!("seen {}", if seen > 1 { "one" } else { "none" })) }
        })
        .await
        .unwrap_err();
        assert_eq!(error.to_string(), "two pods: not within 0.12 s; last seen: seen one");
    }

    #[tokio::test]
    async fn a_probe_that_hangs_does_not_hang_the_wait() {
        let error = until("an answer", Duration::from_millis(60), std::future::pending::<Result<(), String>>)
            .await
            .unwrap_err();
        assert!(error.to_string().starts_with("an answer: not within 0.06 s"), "{error}");
    }

    #[tokio::test]
    async fn returns_what_the_probe_found() {
        let found = until("a number", Duration::from_secs(1), || async { Ok::<_, String>(7) }).await.unwrap();
        assert_eq!(found, 7);
    }
}

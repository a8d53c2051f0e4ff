//! Watches that go on after a failure, each next try later than the one before.

use std::time::Duration;

use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use kube::runtime::watcher;
use tokio::time::Instant;

use super::Failure;
use crate::backoff::Backoff;

/// How long a denial may be a mistake: an API server that has just started knows no rules yet, and denies everything.
pub const DENIED_PATIENCE: Duration = Duration::from_secs(10);

/// A watch that went on for so long worked: its failure is the first one again. What it told is no measure, since that a list
/// begins is told before it fails.
const SOUND_AFTER: Duration = Duration::from_secs(10);

/// What the watches tell that `open` opens, one after the other, and after each failure a pause.
///
/// A watch that is denied is not resumed but opened anew. Once the right to it is back, a resumed one would tell nothing before
/// the next change, so that what was given up for lost stayed so.
pub(crate) fn tries<T, S>(
    open: impl Fn() -> S + Send + 'static,
) -> BoxStream<'static, Result<T, watcher::Error>>
where
    T: Send + 'static,
    S: Stream<Item = Result<T, watcher::Error>> + Send + 'static,
{
    let tries = Tries { open, watch: None, began: Instant::now(), pause: None, backoff: Backoff::default() };
    let told = stream::unfold(tries, |mut tries| async move {
        let told = tries.next().await?;
        Some((told, tries))
    });
    told.boxed()
}

struct Tries<T, Open> {
    open: Open,
    watch: Option<BoxStream<'static, Result<T, watcher::Error>>>,
    /// When it was last opened or resumed.
    began: Instant,
    /// How long to wait after its failure.
    pause: Option<Duration>,
    backoff: Backoff,
}

impl<T, S, Open> Tries<T, Open>
where
    T: Send + 'static,
    S: Stream<Item = Result<T, watcher::Error>> + Send + 'static,
    Open: Fn() -> S,
{
    async fn next(&mut self) -> Option<Result<T, watcher::Error>> {
        if let Some(pause) = self.pause.take() {
            tokio::time::sleep(pause).await;
            self.began = Instant::now();
        }
        let told = self.watch.get_or_insert_with(|| (self.open)().boxed()).next().await?;
        if let Err(error) = &told {
            if self.began.elapsed() > SOUND_AFTER {
                self.backoff = Backoff::default();
            }
            self.pause = self.backoff.next();
            if Failure::from(error).is_forbidden() {
                self.watch = None;
            }
        }
        Some(told)
    }
}

/// Whether a watch is denied, and for how long.
#[derive(Debug, Default)]
pub(crate) struct Denial {
    since: Option<Instant>,
}

impl Denial {
    /// The API server has answered.
    pub(crate) fn is_over(&mut self) {
        self.since = None;
    }

    /// The API server has failed to answer so; whether it has denied for too long to be a mistake.
    pub(crate) fn lasts(&mut self, failure: &Failure, now: Instant) -> bool {
        let since = match self.since {
            None if !failure.is_forbidden() => return false,
            since => *self.since.insert(since.unwrap_or(now)),
        };
        failure.is_forbidden() && now.duration_since(since) >= DENIED_PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use kube::Api;
    use kube::runtime::watcher::watcher;

    use super::*;
    use crate::scripted;

    #[tokio::test(start_paused = true)]
    async fn a_list_that_fails_is_tried_again_later_each_time() {
        let (client, asked) = scripted::client(vec![scripted::denied(); 20]);
        let api = Api::<Secret>::all(client);
        let mut told = tries(move || watcher(api.clone(), watcher::Config::default()));
        let _ = tokio::time::timeout(Duration::from_secs(10), async { while told.next().await.is_some() {} })
            .await;
        // After 50 ms, 100 ms and so on: the eighth comes after 6.35 s, and the next one after 12.75 s.
        assert_eq!(asked.all(), ["list"; 8]);
    }

    #[test]
    fn a_short_denial_may_be_a_mistake() {
        let (denied, away) = (failure(Some(403)), failure(None));
        let (mut denial, start) = (Denial::default(), Instant::now());
        for (failure, secs, expected) in [
            (&away, 0, false),
            (&denied, 1, false),
            (&away, 5, false),
            (&denied, 10, false),
            (&away, 12, false),
            (&denied, 12, true),
        ] {
            assert_eq!(denial.lasts(failure, start + Duration::from_secs(secs)), expected, "after {secs} s");
        }
        denial.is_over();
        assert!(!denial.lasts(&denied, start + Duration::from_secs(13)));
    }

    fn failure(code: Option<u16>) -> Failure {
        Failure { code, message: "no".to_owned() }
    }
}

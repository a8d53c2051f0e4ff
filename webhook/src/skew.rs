//! How far the clock of this machine is from that of the API server. A certificate that is valid by a wrong clock is of
//! no use to the caller, who goes by its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use http::{HeaderMap, Request, header};
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use runtime::shutdown::Shutdown;
use serving::clock::Clock;

/// Pause between two looks. A clock that is set takes so long to be noticed.
const INTERVAL: Duration = Duration::from_secs(60);
/// Time for one look.
const TIME_MAX: Duration = Duration::from_secs(5);
/// What every account may read, and costs the API server nothing.
const PATH: &str = "/version";

/// The API server's clock, as far as it was heard of; clones share it.
#[derive(Clone)]
pub(crate) struct Skew {
    clock: Clock,
    /// The API server's time minus ours, in seconds.
    seconds: Arc<AtomicI64>,
}

impl Skew {
    /// Until the API server has answered its clock is taken to show what ours does.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, seconds: Arc::default() }
    }

    /// What the API server's clock shows now, to a second or two.
    pub(crate) fn server_time(&self) -> Timestamp {
        let seconds = self.seconds.load(Ordering::Relaxed);
        let now = (self.clock)();
        now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now)
    }

    /// Looks again and again until shutdown. Where the API server does not answer, the last look counts.
    pub(crate) async fn follow(self, client: Client, shutdown: Shutdown) {
        loop {
            match tokio::time::timeout(TIME_MAX, self.look(&client)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!("cannot ask the API server for its time: {error}"),
                Err(_) => tracing::debug!("the API server did not tell its time within {TIME_MAX:?}"),
            }
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    async fn look(&self, client: &Client) -> anyhow::Result<()> {
        let answer = client.send(Request::get(PATH).body(Body::empty())?).await?;
        if let Some(time) = date(answer.headers()) {
            let seconds = time.as_second().saturating_sub((self.clock)().as_second());
            self.seconds.store(seconds, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The time of an answer (RFC 9110 §6.6.1).
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use http::Response;
    use runtime::testing;

    use super::*;

    const TIME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn at(seconds: i64) -> Clock {
        Arc::new(move || Timestamp::from_second(seconds).unwrap())
    }

    async fn check(date: &'static str, clock: i64, wanted: i64) {
        let client = testing::client(move |_| async move {
            Response::builder().header("date", date).body(Body::empty()).unwrap()
        });
        let skew = Skew::new(at(clock));
        skew.look(&client).await.unwrap();
        assert_eq!(skew.server_time().as_second(), wanted, "{date:?} while ours shows {clock}");
    }

    #[tokio::test]
    async fn the_api_servers_time_is_that_of_its_answer() {
        check("yesterday", 784_111_777, 784_111_777).await;
        check("", 784_111_777, 784_111_777).await;
        check(TIME, 784_111_777, 784_111_777).await;
        check(TIME, 784_111_777 + 86_400, 784_111_777).await;
        check(TIME, 784_111_777 - 86_400, 784_111_777).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_does_not_answer_changes_nothing() {
        let (skew, shutdown) = (Skew::new(at(5)), Shutdown::default());
        skew.seconds.store(7, Ordering::Relaxed);
        let following = tokio::spawn(skew.clone().follow(testing::silent(), shutdown.clone()));
        tokio::time::sleep(INTERVAL * 3).await;
        assert_eq!(skew.server_time().as_second(), 12);
        shutdown.request();
        following.await.unwrap();
    }
}

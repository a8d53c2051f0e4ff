//! Reviews of tokens by the API server: each token once in a while, however many calls show it, and no more at once than
//! there are places for. Strangers have places of their own, so that what anybody makes up delays no driver.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use runtime::lock::lock;
use runtime::watch::Failure;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zeroize::{Zeroize as _, Zeroizing};

use super::callers::Caller;
use super::limits::NodePlace;
use super::metrics::{Metrics, ReviewResult};
use super::review::{self, ReviewError, Reviewed};

/// How long a review counts. Within it, a token goes on being taken although it was revoked; whether the pod is there is
/// seen at each call.
pub const REVIEW_COUNTS: Duration = Duration::from_secs(60);
/// Reviews that are remembered: of a thousand fresh pods a second the last four.
const REMEMBERED_MAX: usize = 4096;
/// Reviews that are asked for at once; the API server takes a millisecond for one.
const ASKED_MAX: usize = 16;
/// The same of strangers: a driver's first call waits for milliseconds, and the API server has little to do.
const STRANGERS_ASKED_MAX: usize = 4;
/// Reviews that are under way at once, those included that wait for their turn, and those whose callers have left.
const FLIGHTS_MAX: usize = 256;
/// The same of strangers.
const STRANGERS_FLIGHTS_MAX: usize = 32;
/// Time for one.
const REVIEW_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest token: service account tokens have one to two kilobytes.
pub(super) const TOKEN_BYTES_MAX: usize = 8 << 10;

/// Why there is no review.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TokenError {
    /// What was shown cannot be a token.
    #[error("there is no token of at most {TOKEN_BYTES_MAX} bytes")]
    Shape,
    /// It is not taken.
    #[error(transparent)]
    Refused(#[from] ReviewError),
    /// The API server did not answer.
    #[error("the API server gave no answer about a token: {0}")]
    Unanswered(String),
    /// Too many are being asked about.
    #[error("{0} tokens are being reviewed already; try again in a moment")]
    Full(usize),
}

/// For whom a token is reviewed.
#[derive(Debug, Clone)]
pub enum Asker {
    /// A caller, who shows its own token.
    Caller(Caller),
    /// A driver, who shows another one. The place of its node is taken until the API server has answered, even if the
    /// driver does not wait for that: else a node could have as many reviews as it begins calls.
    Node(Arc<NodePlace>),
}

/// Which token for which audience, without the token.
type Key = [u8; 32];

type Flight = Shared<BoxFuture<'static, Result<Arc<Reviewed>, TokenError>>>;

enum Entry {
    /// It was asked at this moment.
    Known(Arc<Reviewed>, Instant),
    /// It is being asked.
    Flying(Flight),
}

#[derive(Default)]
struct Entries {
    by_key: HashMap<Key, Entry>,
    /// Known ones, in the order in which they were answered.
    order: VecDeque<(Instant, Key)>,
}

/// The places of some askers.
struct Lane {
    flights: Arc<Semaphore>,
    flights_max: usize,
    asking: Semaphore,
}

impl Lane {
    fn new(flights_max: usize, asked_max: usize) -> Self {
        let (flights, asking) = (Arc::new(Semaphore::new(flights_max)), Semaphore::new(asked_max));
        Self { flights, flights_max, asking }
    }
}

/// Asks for reviews and remembers the good ones.
pub struct Tokens {
    api: Api<TokenReview>,
    metrics: Metrics,
    drivers: Lane,
    strangers: Lane,
    entries: Mutex<Entries>,
}

/// A question with a token in it, which is erased when nobody needs it any more.
struct Question(TokenReview);

impl Drop for Question {
    fn drop(&mut self) {
        self.0.spec.token.zeroize();
    }
}

impl Tokens {
    /// Asks through `client`, which should be one of its own, so that reviews do not queue behind watches.
    pub fn new(client: Client, metrics: Metrics) -> Self {
        Self {
            api: Api::all(client),
            metrics,
            drivers: Lane::new(FLIGHTS_MAX, ASKED_MAX),
            strangers: Lane::new(STRANGERS_FLIGHTS_MAX, STRANGERS_ASKED_MAX),
            entries: Mutex::default(),
        }
    }

    /// Whom a token for this audience stands for.
    ///
    /// # Errors
    /// When it is not taken, which is never remembered, or the API server does not answer, or too many are asked about.
    pub async fn review(
        self: &Arc<Self>,
        token: &str,
        audience: &Arc<str>,
        asker: Asker,
    ) -> Result<Arc<Reviewed>, TokenError> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Shape);
        }
        let key = key(token, audience);
        let flight = {
            let mut entries = lock(&self.entries);
            match entries.by_key.get(&key) {
                Some(Entry::Known(reviewed, asked_at)) if asked_at.elapsed() < REVIEW_COUNTS => {
                    self.metrics.reviewed(ReviewResult::Cached);
                    return Ok(Arc::clone(reviewed));
                }
                Some(Entry::Flying(flight)) => flight.clone(),
                _ => {
                    let token = Zeroizing::new(token.to_owned());
                    let flight = self.launch(key, token, Arc::clone(audience), asker)?;
                    entries.by_key.insert(key, Entry::Flying(flight.clone()));
                    flight
                }
            }
        };
        flight.await
    }

    /// Asks in a task of its own: an answer that nobody waits for any more must not be read much later.
    /// The task holds a place, and that of the asker, until it ends.
    fn launch(
        self: &Arc<Self>,
        key: Key,
        token: Zeroizing<String>,
        audience: Arc<str>,
        asker: Asker,
    ) -> Result<Flight, TokenError> {
        let lane = self.lane(&asker);
        let place = Arc::clone(&lane.flights).try_acquire_owned();
        let place = place.map_err(|_| TokenError::Full(lane.flights_max))?;
        let tokens = Arc::clone(self);
        let task = tokio::spawn(async move {
            let asked_at = Instant::now();
            let outcome = tokens.ask(token, &audience, tokens.lane(&asker)).await;
            tokens.landed(key, asked_at, outcome.as_ref().ok());
            drop((place, asker));
            outcome
        });
        let ended = |_| Err(TokenError::Unanswered("the review was given up".to_owned()));
        Ok(task.map(move |outcome| outcome.unwrap_or_else(ended)).boxed().shared())
    }

    fn lane(&self, asker: &Asker) -> &Lane {
        match asker {
            Asker::Caller(Caller::Stranger) => &self.strangers,
            Asker::Caller(Caller::Driver) | Asker::Node(_) => &self.drivers,
        }
    }

    async fn ask(
        &self,
        token: Zeroizing<String>,
        audience: &str,
        lane: &Lane,
    ) -> Result<Arc<Reviewed>, TokenError> {
        let late = || TokenError::Unanswered(format!("it took longer than {REVIEW_TIME_MAX:?}"));
        let asked = tokio::time::timeout(REVIEW_TIME_MAX, self.status(token, audience, lane)).await;
        let outcome = asked
            .unwrap_or_else(|_| Err(late()))
            .and_then(|status| Ok(Arc::new(review::read(status, audience)?)));
        self.metrics.reviewed(match &outcome {
            Ok(_) => ReviewResult::Asked,
            Err(TokenError::Refused(_) | TokenError::Shape) => ReviewResult::Refused,
            Err(TokenError::Unanswered(_) | TokenError::Full(_)) => ReviewResult::Failed,
        });
        outcome
    }

    async fn status(
        &self,
        mut token: Zeroizing<String>,
        audience: &str,
        lane: &Lane,
    ) -> Result<TokenReviewStatus, TokenError> {
        let unanswered = |why: String| TokenError::Unanswered(why);
        let _place = lane.asking.acquire().await.map_err(|closed| unanswered(closed.to_string()))?;
        let token = Some(std::mem::take(&mut *token));
        let spec = TokenReviewSpec { audiences: Some(vec![audience.to_owned()]), token };
        let question = Question(TokenReview { spec, ..TokenReview::default() });
        let answer = self.api.create(&PostParams::default(), &question.0).await;
        drop(question);
        let answer = answer.map_err(|error| unanswered(Failure::from(&error).to_string()))?;
        answer.status.ok_or_else(|| unanswered("the review has no status".to_owned()))
    }

    /// Remembers a good answer, and makes room for it; forgets a bad one.
    fn landed(&self, key: Key, asked_at: Instant, reviewed: Option<&Arc<Reviewed>>) {
        let mut entries = lock(&self.entries);
        let Some(reviewed) = reviewed else {
            entries.by_key.remove(&key);
            return;
        };
        let is_over = |(asked_at, _): &(Instant, Key)| asked_at.elapsed() >= REVIEW_COUNTS;
        while entries.order.len() >= REMEMBERED_MAX || entries.order.front().is_some_and(is_over) {
            let Some((asked_at, key)) = entries.order.pop_front() else { break };
            // It may have been asked anew since then.
            if matches!(entries.by_key.get(&key), Some(Entry::Known(_, at)) if *at == asked_at) {
                entries.by_key.remove(&key);
            }
        }
        entries.by_key.insert(key, Entry::Known(Arc::clone(reviewed), asked_at));
        entries.order.push_back((asked_at, key));
    }
}

/// The audience has a known length, so that no two pairs have the same text.
fn key(token: &str, audience: &str) -> Key {
    let mut hash = Sha256::new();
    hash.update(audience.len().to_be_bytes());
    hash.update(audience);
    hash.update(token);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::Response;
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// An API server that knows the token `good`, and how often it was asked.
    fn server() -> (Arc<Tokens>, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let client = runtime::testing::client(move |request: http::Request<Body>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                assert_eq!(request.uri().path(), "/apis/authentication.k8s.io/v1/tokenreviews");
                let body = request.into_body().collect_bytes().await.unwrap();
                let sent: TokenReview = serde_json::from_slice(&body).unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
                let is_good = sent.spec.token.as_deref() == Some("good");
                if sent.spec.token.as_deref() == Some("broken") {
                    return Response::builder().status(500).body(Body::from(b"{}".to_vec())).unwrap();
                }
                let answer = json!({
                    "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {},
                    "spec": {},
                    "status": {
                        "authenticated": is_good,
                        "audiences": sent.spec.audiences,
                        "user": {"username": "u", "extra": {
                            "authentication.kubernetes.io/pod-name": ["p"],
                            "authentication.kubernetes.io/pod-uid": ["1"],
                            "authentication.kubernetes.io/node-name": ["n"],
                        }},
                    },
                });
                Response::builder()
                    .status(201)
                    .body(Body::from(serde_json::to_vec(&answer).unwrap()))
                    .unwrap()
            }
        });
        (Arc::new(Tokens::new(client, Metrics::default())), asked)
    }

    fn audience(name: &str) -> Arc<str> {
        name.into()
    }

    const STRANGER: Asker = Asker::Caller(Caller::Stranger);
    const DRIVER: Asker = Asker::Caller(Caller::Driver);

    #[tokio::test(start_paused = true)]
    async fn strangers_who_leave_their_calls_have_a_bound_and_drivers_do_not_notice() {
        let (tokens, asked) = server();
        let name = audience("a");
        let mut full = 0;
        for index in 0..STRANGERS_FLIGHTS_MAX * 4 {
            let token = format!("made-up-{index}");
            let review = tokens.review(&token, &name, STRANGER);
            if let Ok(outcome) = tokio::time::timeout(Duration::from_micros(1), review).await {
                assert!(matches!(outcome, Err(TokenError::Full(STRANGERS_FLIGHTS_MAX))), "{outcome:?}");
                full += 1;
            }
        }
        assert_eq!(full, STRANGERS_FLIGHTS_MAX * 3);
        // All of them wait for four places, and the driver has its own.
        tokens.review("good", &name, DRIVER).await.unwrap();
        assert!(asked.load(Ordering::SeqCst) <= 2 * STRANGERS_ASKED_MAX + 1);
        tokio::time::sleep(REVIEW_TIME_MAX).await;
        assert_eq!(tokens.strangers.flights.available_permits(), STRANGERS_FLIGHTS_MAX);
        assert_eq!(lock(&tokens.entries).by_key.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_keeps_its_place_until_the_api_server_has_answered() {
        let (tokens, _) = server();
        let place = Arc::new(super::super::limits::Limits::default().node("n").unwrap());
        let name = audience("a");
        let review = tokens.review("bad", &name, Asker::Node(Arc::clone(&place)));
        assert!(tokio::time::timeout(Duration::from_millis(1), review).await.is_err());
        assert_eq!(Arc::strong_count(&place), 2);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&place), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_remembered() {
        let (tokens, asked) = server();
        for _ in 0..2 {
            let error = tokens.review("bad", &audience("a"), STRANGER).await.unwrap_err();
            assert!(matches!(error, TokenError::Refused(ReviewError::NotAccepted(None))), "{error}");
            let error = tokens.review("broken", &audience("a"), STRANGER).await.unwrap_err();
            assert!(matches!(error, TokenError::Unanswered(_)), "{error}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 4);
        for shape in ["", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert!(matches!(tokens.review(shape, &audience("a"), STRANGER).await, Err(TokenError::Shape)));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 4);
        assert!(lock(&tokens.entries).by_key.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_review_counts_for_a_minute_and_for_its_audience_alone() {
        let (tokens, asked) = server();
        let count = || asked.load(Ordering::SeqCst);
        tokens.review("good", &audience("a"), STRANGER).await.unwrap();
        tokio::time::advance(Duration::from_secs(59)).await;
        tokens.review("good", &audience("a"), STRANGER).await.unwrap();
        assert_eq!(count(), 1);
        tokens.review("good", &audience("b"), STRANGER).await.unwrap();
        assert_eq!(count(), 2);
        tokio::time::advance(Duration::from_secs(1)).await;
        tokens.review("good", &audience("a"), STRANGER).await.unwrap();
        assert_eq!(count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_at_once_ask_once() {
        let (tokens, asked) = server();
        let name = audience("a");
        let calls = (0..50).map(|_| tokens.review("good", &name, STRANGER));
        let outcomes = futures::future::join_all(calls).await;
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_leaves_does_not_take_the_answer_with_it() {
        let (tokens, asked) = server();
        let name = audience("a");
        let left =
            tokio::time::timeout(Duration::from_millis(1), tokens.review("good", &name, STRANGER)).await;
        assert!(left.is_err());
        tokio::time::sleep(Duration::from_secs(1)).await;
        tokens.review("good", &name, STRANGER).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_is_silent_is_not_waited_for() {
        let tokens = Arc::new(Tokens::new(runtime::testing::silent(), Metrics::default()));
        let error = tokens.review("good", &audience("a"), STRANGER).await.unwrap_err();
        assert_eq!(error.to_string(), "the API server gave no answer about a token: it took longer than 5s");
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_are_forgotten_first() {
        let (tokens, _) = server();
        let reviewed = Arc::new(Reviewed {
            username: String::new(),
            pod_name: String::new(),
            pod_uid: String::new(),
            node_name: String::new(),
            node_uid: None,
            credential_id: None,
        });
        let keys: Vec<Key> = (0..REMEMBERED_MAX + 10).map(|index| key(&index.to_string(), "a")).collect();
        for key in &keys {
            tokens.landed(*key, Instant::now(), Some(&reviewed));
        }
        let known = |index: usize| lock(&tokens.entries).by_key.contains_key(&keys[index]);
        assert!(!known(9) && known(10));
        tokio::time::advance(REVIEW_COUNTS).await;
        tokens.landed(keys[0], Instant::now(), Some(&reviewed));
        assert_eq!(lock(&tokens.entries).by_key.len(), 1);
        assert_eq!(lock(&tokens.entries).order.len(), 1);
    }
}

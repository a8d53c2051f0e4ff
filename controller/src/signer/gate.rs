//! What stands before the service: nothing of a call is read, and nobody is asked about it, before it shows something that
//! looks like a token and has a place. gRPC alone would read each body whole first.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::{BoxError, Router};
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use proto::signing::REQUEST_BYTES_MAX;
use tonic::Status;

use super::answer::Denied;
use super::callers::Callers;
use super::limits::{CallPlace, Limits};
use super::metrics::Metrics;
use super::tokens::TOKEN_BYTES_MAX;

/// What gRPC puts before a message: whether it is compressed, and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX_BYTES: usize = 5;

/// Time for the body of a call, which is sent at once.
const BODY_TIME_MAX: Duration = Duration::from_secs(5);

/// What a driver's token comes after.
const BEARER: &str = "Bearer ";

/// Lets calls in.
#[derive(Debug)]
pub struct Gate {
    /// The places.
    pub limits: Arc<Limits>,
    /// Who was here before.
    pub callers: Arc<Callers>,
    /// Counts those that are turned away.
    pub metrics: Metrics,
}

impl Gate {
    /// Stands before `router`, which finds a [`Caller`](super::callers::Caller) and its [`CallPlace`] among the extensions of each request.
    pub fn before(self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(Arc::new(self), pass))
    }

    /// The call with its body, and its place.
    async fn enter(&self, request: Request) -> Result<(Request, CallPlace), Denied> {
        let caller = self.callers.of(bearer(request.headers())?);
        let place = self.limits.call(caller)?;
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(caller);
        parts.extensions.insert(place.clone());
        let body = tokio::time::timeout(BODY_TIME_MAX, whole(body));
        let body = body.await.unwrap_or_else(|_| {
            let message = format!("the body of the call did not come within {BODY_TIME_MAX:?}");
            Err(Denied::unavailable("RequestLate", message))
        })?;
        Ok((Request::from_parts(parts, Body::from(body)), place))
    }
}

/// Those that are turned away are counted and not written down: anybody could fill a log.
async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    match gate.enter(request).await {
        Ok((request, _place)) => next.run(request).await,
        Err(denied) => {
            gate.metrics.called(denied.outcome());
            tracing::debug!(%denied, "a call of the signer service was turned away");
            Status::from(denied).into_http()
        }
    }
}

async fn whole(body: Body) -> Result<Bytes, Denied> {
    let bytes_max = REQUEST_BYTES_MAX.saturating_add(PREFIX_BYTES);
    let collected = Limited::new(body, bytes_max).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error: BoxError| {
        if error.is::<LengthLimitError>() {
            let message = format!("a request has {REQUEST_BYTES_MAX} bytes at most");
            return Denied::invalid("RequestTooLarge", message);
        }
        Denied::unavailable("RequestBroken", format!("the body of the call did not come whole: {error}"))
    })
}

/// The caller's own token, which has the form that tokens of the API server have (RFC 7515 §7.1, compact).
///
/// # Errors
/// When there is none, or several.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Denied> {
    let missing = "there is no token of the driver in the metadata authorization: Bearer …";
    let missing = || Denied::unauthenticated("TokenMissing", missing);
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(missing()) };
    let token = value.to_str().ok().and_then(|value| value.strip_prefix(BEARER)).ok_or_else(missing)?;
    if is_token(token) {
        Ok(token)
    } else {
        let message = format!(
            "what the driver shows is no token of a service account of at most {TOKEN_BYTES_MAX} bytes"
        );
        Err(Denied::unauthenticated("TokenMalformed", message))
    }
}

/// Whether a text has the form of a token: three parts in base64url.
fn is_token(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.len() <= TOKEN_BYTES_MAX && text.split('.').count() == 3 && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use tower::ServiceExt as _;

    use super::super::callers::Caller;
    use super::super::limits::{CALLS_MAX, STRANGERS_MAX};
    use super::*;

    const TOKEN: &str = "e30.e30.c2ln";

    fn headers(values: &[&str]) -> HeaderMap {
        let name = header::AUTHORIZATION;
        values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn what_is_no_token_is_told_apart_from_none() {
        let check = |values: &[&str], reason: &str| {
            assert_eq!(bearer(&headers(values)).unwrap_err().reason, reason, "{values:?}");
        };
        check(&[], "TokenMissing");
        check(&["Basic eDp5"], "TokenMissing");
        check(&["Bearer e30.e30.c2ln", "Bearer e30.e30.c2ln"], "TokenMissing");
        for wrong in ["", "a", "a.b", "a..c", "a.b.c.d", "a.b.c d", "a.b.c="] {
            check(&[&format!("Bearer {wrong}")], "TokenMalformed");
        }
        check(&[&format!("Bearer a.b.{}", "c".repeat(TOKEN_BYTES_MAX))], "TokenMalformed");
        assert_eq!(bearer(&headers(&["Bearer e30.e30.c2ln"])).unwrap(), TOKEN);
    }

    struct Gated {
        router: Router,
        limits: Arc<Limits>,
        callers: Arc<Callers>,
    }

    /// A service that answers what it was sent, behind a gate.
    fn gated() -> Gated {
        let (limits, callers): (Arc<Limits>, Arc<Callers>) = Default::default();
        let gate =
            Gate { limits: Arc::clone(&limits), callers: Arc::clone(&callers), metrics: Metrics::default() };
        let router = Router::new().route("/", post(async |body: Bytes| body));
        Gated { router: gate.before(router), limits, callers }
    }

    /// The code of gRPC and the message; `None`: the service was reached.
    async fn sent(gated: &Gated, token: Option<&str>, body: Body) -> Option<(String, String)> {
        let request = Request::post("/");
        let request = match token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        let answer = gated.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let field = |name: &str| Some(answer.headers().get(name)?.to_str().unwrap().to_owned());
        Some((field("grpc-status")?, field("grpc-message").unwrap_or_default()))
    }

    /// The call is turned away with this code and reason.
    async fn check(gated: &Gated, token: Option<&str>, body: Body, code: tonic::Code, reason: &str) {
        let (status, message) = sent(gated, token, body).await.expect("the service was reached");
        assert_eq!(status, i32::from(code).to_string(), "{message}");
        assert!(message.starts_with(reason), "{message}");
    }

    /// A body that never ends.
    fn stalled() -> Body {
        Body::from_stream(futures::stream::pending::<Result<Bytes, std::convert::Infallible>>())
    }

    #[tokio::test]
    async fn a_call_without_a_token_is_not_read() {
        let gated = gated();
        check(&gated, None, stalled(), tonic::Code::Unauthenticated, "TokenMissing").await;
        check(&gated, Some("x"), stalled(), tonic::Code::Unauthenticated, "TokenMalformed").await;
    }

    #[tokio::test]
    async fn a_call_without_a_place_is_not_read() {
        let gated = gated();
        let strangers: Vec<_> =
            (0..STRANGERS_MAX).map(|_| gated.limits.call(Caller::Stranger).unwrap()).collect();
        check(&gated, Some(TOKEN), stalled(), tonic::Code::ResourceExhausted, "TooManyCalls").await;
        // Drivers have places of their own.
        gated.callers.met(TOKEN);
        assert_eq!(sent(&gated, Some(TOKEN), Body::from("x")).await, None);
        drop(strangers);
        let drivers: Vec<_> = (0..CALLS_MAX).map(|_| gated.limits.call(Caller::Driver).unwrap()).collect();
        check(&gated, Some(TOKEN), stalled(), tonic::Code::ResourceExhausted, "TooManyCalls").await;
        drop(drivers);
        assert_eq!(sent(&gated, Some(TOKEN), Body::from("x")).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_too_large_or_does_not_come_gives_its_place_back() {
        let gated = gated();
        let bytes_max = REQUEST_BYTES_MAX + PREFIX_BYTES;
        let large = || Body::from(vec![0; bytes_max + 1]);
        for _ in 0..=STRANGERS_MAX {
            check(&gated, Some(TOKEN), large(), tonic::Code::InvalidArgument, "RequestTooLarge").await;
        }
        check(&gated, Some(TOKEN), stalled(), tonic::Code::Unavailable, "RequestLate").await;
        assert_eq!(sent(&gated, Some(TOKEN), Body::from(vec![0; bytes_max])).await, None);
    }
}

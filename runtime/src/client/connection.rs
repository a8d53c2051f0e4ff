//! Connections to the API server that do not wait for ever.
//!
//! A host that vanishes, or a firewall that forgets a connection, says nothing: without a bound a watch would go on waiting, and
//! everybody would go by what was true long ago. So the kernel asks the other side whether it is still there. An API server that
//! is there but answers nothing is given up after a while, too; of a watch that bounds the beginning, and the watcher bounds the
//! silence afterwards by what it asks the API server for: 295 s.

use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Bytes, HttpBody};
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Either, Full};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Builder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::{Client, Config};
use tower::retry::RetryLayer;
use tower::{Service, ServiceBuilder};

/// How long a connection may be silent before the kernel asks whether the other side is there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// Pause between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Questions without an answer after which the connection is dead.
const KEEPALIVE_RETRIES: u32 = 3;
/// How long what was sent, such a question too, may stay unacknowledged. With the silence before, a dead connection is noticed
/// within 45 s.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);
/// How long an answer may take, from request to last byte. The API server itself gives up after 60 s.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(65);

/// Tries of a request more than one where the API server says that it is busy (429, 503, 504), with pauses that double from the
/// shortest to the longest unless it names one. Then whoever asked is told, and tries again with pauses of its own: kube's
/// own pauses grow up to minutes, in which nobody would know what is wrong, or that it is over.
const RETRIES: u32 = 4;
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// A client as kube builds it, on such connections.
///
/// # Errors
/// When the configuration's certificates or credentials cannot be used.
pub(super) fn client(mut config: Config) -> kube::Result<Client> {
    if config.proxy_url.is_some() {
        config.default_retry = false;
        // Which proxies there can be is kube's to know.
        return Client::try_from(config);
    }
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp())?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_write_timeout(config.write_timeout);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(retries(&config))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .layer_fn(Bounded)
        .service(Builder::new(TokioExecutor::new()).build(connector));
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

fn retries(config: &Config) -> Option<RetryLayer<RetryPolicy>> {
    let policy = RetryPolicy::new(RETRY_PAUSE, RETRY_PAUSE_MAX, RETRIES, true).ok()?;
    config.default_retry.then(|| RetryLayer::new(policy))
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_keepalive(Some(KEEPALIVE_IDLE));
    connector.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    connector.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
    connector
}

/// The API server is there, and says nothing.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {ANSWER_TIME_MAX:?}")]
struct Late;

/// Gives an answer up that takes longer than [`ANSWER_TIME_MAX`].
#[derive(Debug, Clone)]
struct Bounded<S>(S);

impl<S, B> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Either<Full<Bytes>, B>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_watch =
            request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        let answer = self.0.call(request);
        let whole = async move {
            let (head, body) = answer.await.map_err(Into::into)?.into_parts();
            let body = if is_watch {
                Either::Right(body)
            } else {
                // Whoever asked would do the same, and without an end.
                Either::Left(Full::new(body.collect().await.map_err(Into::into)?.to_bytes()))
            };
            Ok(Response::from_parts(head, body))
        };
        Box::pin(async move {
            tokio::time::timeout(ANSWER_TIME_MAX, whole).await.unwrap_or_else(|_| Err(Late.into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use http::StatusCode;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;
    use crate::server::serve;
    use crate::shutdown::Shutdown;

    /// What comes of a request to a server that sends the head of its answer at once, and the body never.
    async fn check(path: &str, is_answered: bool) {
        let mut service = Bounded(tower::service_fn(|_: Request<Body>| async {
            let never = futures::stream::pending::<Result<Bytes, Infallible>>();
            Ok::<_, Infallible>(Response::new(axum::body::Body::from_stream(never)))
        }));
        let start = Instant::now();
        let answer = service.call(Request::get(path).body(Body::empty()).unwrap()).await;
        let error = answer.map(drop).err().map(|error| error.to_string());
        let late = (!is_answered).then(|| "the API server did not answer within 65s".to_owned());
        assert_eq!(error, late, "{path}");
        assert_eq!(start.elapsed(), if is_answered { Duration::ZERO } else { ANSWER_TIME_MAX }, "{path}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_has_to_come_in_time_and_a_watch_has_to_begin() {
        check("/api/v1/secrets?limit=20", false).await;
        check("/api/v1/secrets/watch=true", false).await;
        check("/api/v1/secrets?limit=20&watch=true", true).await;
        let mut silent = Bounded(tower::service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>()
        }));
        let watch = Request::get("/api/v1/secrets?watch=true").body(Body::empty()).unwrap();
        assert!(silent.call(watch).await.is_err());
    }

    #[tokio::test]
    async fn an_api_server_that_is_busy_is_asked_some_times_and_then_that_is_told() {
        let listener = crate::listen::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let busy = move || {
            count.fetch_add(1, Ordering::Relaxed);
            std::future::ready(StatusCode::SERVICE_UNAVAILABLE)
        };
        let router = axum::Router::new().route("/version", axum::routing::get(busy));
        let end = Shutdown::default();
        let served = tokio::spawn(serve(listener, None, router, end.clone(), Duration::ZERO));
        let client = client(Config::new(format!("http://127.0.0.1:{port}").parse().unwrap())).unwrap();
        let told = tokio::time::timeout(Duration::from_secs(10), client.apiserver_version()).await;
        assert!(told.expect("nothing is told").is_err());
        assert_eq!(asked.load(Ordering::Relaxed), 1 + RETRIES);
        end.request();
        served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_kernel_asks_whether_the_api_server_is_still_there() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let config = Config::new(format!("http://127.0.0.1:{port}").parse().unwrap());
        let client = client(config).unwrap();
        let asking = tokio::spawn(async move { client.apiserver_version().await });
        let (_connection, peer) = server.accept().await.unwrap();
        // Which timer of a connection runs is the second number of the sixth column: 02 is that of the question.
        let (local, remote) = (format!(":{:04X} ", peer.port()), format!(":{port:04X} "));
        let is_ours = |line: &&str| {
            line.contains(&local) && line.contains(&remote) && line.find(&local) < line.find(&remote)
        };
        let asks = async {
            loop {
                let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
                let timer = table.lines().find(is_ours).and_then(|line| line.split_whitespace().nth(5));
                if timer.is_some_and(|timer| timer.starts_with("02:")) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), asks).await.expect("no such timer runs");
        asking.abort();
    }
}

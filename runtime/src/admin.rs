//! Probes and metrics over plain HTTP.

use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{StatusCode, header};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::alive::Alive;
use crate::args::{AdminArgs, ListenAddress};
use crate::listen;
use crate::metrics::{self, Metrics};
use crate::readiness::{Readiness, Report};
use crate::server;
use crate::shutdown::Shutdown;
use crate::tasks::Tasks;

/// Time for probes and scrapes in flight when the process ends; they take milliseconds.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// `/livez`: the process answers, and what has to turn does, which is all that a restart could mend. `/healthz`: its own
/// components can serve. `/readyz`: moreover others have done their part. With `?verbose` they list what they looked at;
/// a failing probe does so in any case.
pub fn probes(readiness: Readiness, alive: Alive) -> Router {
    Router::new()
        .route("/livez", get(async move |RawQuery(query)| answer(&alive.report(), query.as_deref())))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .with_state(readiness)
}

/// `/metrics` in the OpenMetrics text format.
pub fn metrics(metrics: Metrics) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(metrics)
}

/// Serves probes and metrics where `args` say, as two of `tasks`, until shutdown is requested. What is returned is asked
/// by `/livez`; the runtime of `tasks` is part of it already.
///
/// # Errors
/// When an address cannot be listened on.
pub fn spawn_all(
    tasks: &mut Tasks,
    args: &AdminArgs,
    readiness: &Readiness,
    registry: &Metrics,
    shutdown: &Shutdown,
) -> anyhow::Result<Alive> {
    let alive = Alive::default();
    tasks.spawn("heart", alive.heart(shutdown.clone()));
    let router = probes(readiness.clone(), alive.clone());
    spawn_probes(tasks, args.healthz_listen_address, router, shutdown)?;
    spawn(tasks, "metrics", args.metrics_listen_address, metrics(registry.clone()), shutdown)?;
    Ok(alive)
}

/// Serves probes as [`spawn`], on a thread of their own: kubelet must not restart a process because it has much to do
/// (B34).
///
/// # Errors
/// When the address cannot be listened on, or the thread cannot be started.
pub fn spawn_probes(
    tasks: &mut Tasks,
    address: ListenAddress,
    router: Router,
    end: &Shutdown,
) -> anyhow::Result<()> {
    const NAME: &str = "probes";
    let Some(listener) = bind(NAME, address)? else { return Ok(()) };
    let serving = server::serve(listener, None, router, end.clone(), DRAIN_TIME_MAX);
    let (sender, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name(NAME.to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = match runtime {
            Ok(runtime) => runtime.block_on(serving),
            Err(error) => Err(error).context("cannot start the runtime of the probes"),
        };
        // Nobody is there to hear of it when the whole process ends.
        let _ = sender.send(outcome);
    });
    thread.context("cannot start the thread of the probes")?;
    tasks.spawn(NAME, async move { ended.await.context("the thread of the probes panicked")? });
    Ok(())
}

/// Serves `router` on `address` as one of `tasks` until `end` is requested; does nothing where the address is off.
///
/// # Errors
/// When the address cannot be listened on.
pub fn spawn(
    tasks: &mut Tasks,
    name: &'static str,
    address: ListenAddress,
    router: Router,
    end: &Shutdown,
) -> anyhow::Result<()> {
    let Some(listener) = bind(name, address)? else { return Ok(()) };
    tasks.spawn(name, server::serve(listener, None, router, end.clone(), DRAIN_TIME_MAX));
    Ok(())
}

fn bind(name: &'static str, address: ListenAddress) -> anyhow::Result<Option<std::net::TcpListener>> {
    let Some(address) = address.socket() else { return Ok(None) };
    let listener = listen::bind(address).with_context(|| format!("cannot listen on {address} for {name}"))?;
    tracing::info!(%name, address = %listener.local_addr()?, "listening");
    Ok(Some(listener))
}

/// Serves `router` within the bounds of [`server::serve`] until shutdown is requested.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) -> anyhow::Result<()> {
    let listener = listener.into_std().context("cannot take over the listener")?;
    server::serve(listener, None, router, shutdown, DRAIN_TIME_MAX).await
}

async fn healthy(State(readiness): State<Readiness>, RawQuery(query): RawQuery) -> Response {
    answer(&readiness.health(), query.as_deref())
}

async fn ready(State(readiness): State<Readiness>, RawQuery(query): RawQuery) -> Response {
    answer(&readiness.report(), query.as_deref())
}

fn answer(report: &Report, query: Option<&str>) -> Response {
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose =
        query.is_some_and(|query| query.split('&').any(|key| key.split('=').next() == Some("verbose")));
    let mut body = String::new();
    if verbose || !report.ready {
        for line in &report.lines {
            body.push_str(line);
            body.push('\n');
        }
    }
    body.push_str(if report.ready { "ok\n" } else { "not ready\n" });
    (status, body).into_response()
}

async fn scrape(State(registry): State<Metrics>) -> Response {
    match registry.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the metrics: {error}\n"))
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn probes_are_answered_while_all_other_threads_are_busy() {
        use std::io::{Read as _, Write as _};
        let free = listen::bind(([127, 0, 0, 1], 0).into()).unwrap().local_addr().unwrap();
        let shutdown = Shutdown::default();
        let mut tasks = Tasks::new(shutdown.clone());
        spawn_probes(&mut tasks, ListenAddress::On(free), router(Readiness::default()), &shutdown).unwrap();
        // This thread is the only one of the test's runtime, and it waits without yielding.
        let mut stream = std::net::TcpStream::connect(free).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer:?}");
        shutdown.request();
        tasks.run(Duration::from_secs(10)).await.unwrap();
    }

    fn router(readiness: Readiness) -> Router {
        probes(readiness, Alive::default())
    }

    async fn check(router: Router, path: &str, status: StatusCode, body: &str) {
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), body, "{path}");
    }

    #[tokio::test]
    async fn an_unready_process_says_what_it_waits_for() {
        let readiness = Readiness::default();
        let _pending = readiness.component("caches");
        let body = "[-] caches: not started yet\nnot ready\n";
        check(router(readiness.clone()), "/readyz", StatusCode::SERVICE_UNAVAILABLE, body).await;
        check(router(readiness.clone()), "/healthz", StatusCode::SERVICE_UNAVAILABLE, body).await;
        check(router(readiness), "/livez", StatusCode::OK, "ok\n").await;
    }

    #[tokio::test]
    async fn what_others_have_yet_to_do_is_told_by_readyz_alone() {
        let readiness = Readiness::default();
        readiness.component("caches").ready();
        readiness.check_of_others("configuration", || Err("not there".to_owned()));
        let body = "[+] caches ok\n[-] configuration: not there\nnot ready\n";
        check(router(readiness.clone()), "/readyz", StatusCode::SERVICE_UNAVAILABLE, body).await;
        let body = "[+] caches ok\nok\n";
        check(router(readiness.clone()), "/healthz?verbose", StatusCode::OK, body).await;
        check(router(readiness), "/livez?verbose", StatusCode::OK, "[+] ping ok\nok\n").await;
    }

    #[tokio::test]
    async fn a_ready_process_is_brief_unless_asked() {
        let readiness = Readiness::default();
        readiness.component("caches").ready();
        check(router(readiness.clone()), "/readyz", StatusCode::OK, "ok\n").await;
        check(router(readiness), "/readyz?verbose", StatusCode::OK, "[+] caches ok\nok\n").await;
    }

    #[tokio::test]
    async fn what_does_not_turn_fails_the_probe_that_leads_to_a_restart_alone() {
        let alive = Alive::default();
        alive.check("workers", || Err("stuck".to_owned()));
        let router = || probes(Readiness::default(), alive.clone());
        let body = "[+] ping ok\n[-] workers: stuck\nnot ready\n";
        check(router(), "/livez", StatusCode::SERVICE_UNAVAILABLE, body).await;
        check(router(), "/readyz", StatusCode::OK, "ok\n").await;
    }
}

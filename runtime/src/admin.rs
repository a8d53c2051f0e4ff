//! Probes and metrics over plain HTTP.

use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{StatusCode, header};
use tokio::net::TcpListener;

use crate::args::{AdminArgs, ListenAddress};
use crate::listen;
use crate::metrics::{self, Metrics};
use crate::readiness::{Readiness, Report};
use crate::server;
use crate::shutdown::Shutdown;
use crate::tasks::Tasks;

/// Time for probes and scrapes in flight when the process ends; they take milliseconds.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// `/livez`: the process answers, which is all that a restart could mend. `/healthz`: moreover its own components can
/// serve. `/readyz`: moreover others have done their part. With `?verbose` they list what they looked at; a failing
/// probe does so in any case.
pub fn probes(readiness: Readiness) -> Router {
    let alive = || Report { ready: true, lines: vec!["[+] ping ok".to_owned()] };
    Router::new()
        .route("/livez", get(async move |RawQuery(query)| answer(&alive(), query.as_deref())))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .with_state(readiness)
}

/// `/metrics` in the OpenMetrics text format.
pub fn metrics(metrics: Metrics) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(metrics)
}

/// Serves probes and metrics where `args` say, as two of `tasks`, until shutdown is requested.
///
/// # Errors
/// When an address cannot be listened on.
pub fn spawn_all(
    tasks: &mut Tasks,
    args: &AdminArgs,
    readiness: &Readiness,
    registry: &Metrics,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let router = probes(readiness.clone());
    spawn(tasks, "probes", args.healthz_listen_address, router, shutdown)?;
    spawn(tasks, "metrics", args.metrics_listen_address, metrics(registry.clone()), shutdown)
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
    let Some(address) = address.socket() else { return Ok(()) };
    let listener = listen::bind(address).with_context(|| format!("cannot listen on {address} for {name}"))?;
    tracing::info!(%name, address = %listener.local_addr()?, "listening");
    tasks.spawn(name, server::serve(listener, None, router, end.clone(), DRAIN_TIME_MAX));
    Ok(())
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
        check(probes(readiness.clone()), "/readyz", StatusCode::SERVICE_UNAVAILABLE, body).await;
        check(probes(readiness.clone()), "/healthz", StatusCode::SERVICE_UNAVAILABLE, body).await;
        check(probes(readiness), "/livez", StatusCode::OK, "ok\n").await;
    }

    #[tokio::test]
    async fn what_others_have_yet_to_do_is_told_by_readyz_alone() {
        let readiness = Readiness::default();
        readiness.component("caches").ready();
        readiness.check_of_others("configuration", || Err("not there".to_owned()));
        let body = "[+] caches ok\n[-] configuration: not there\nnot ready\n";
        check(probes(readiness.clone()), "/readyz", StatusCode::SERVICE_UNAVAILABLE, body).await;
        let body = "[+] caches ok\nok\n";
        check(probes(readiness.clone()), "/healthz?verbose", StatusCode::OK, body).await;
        check(probes(readiness), "/livez?verbose", StatusCode::OK, "[+] ping ok\nok\n").await;
    }

    #[tokio::test]
    async fn a_ready_process_is_brief_unless_asked() {
        let readiness = Readiness::default();
        readiness.component("caches").ready();
        check(probes(readiness.clone()), "/readyz", StatusCode::OK, "ok\n").await;
        check(probes(readiness), "/readyz?verbose", StatusCode::OK, "[+] caches ok\nok\n").await;
    }
}

//! Probes over HTTP that ask the driver what kubelet would ask: a Probe over its own socket.

use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use proto::csi::ProbeRequest;
use proto::csi::identity_client::IdentityClient;
use runtime::readiness::Readiness;
use tonic::transport::Channel;

use crate::socket;

/// How long the driver may take to answer itself, as in the peer's liveness sidecar.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Clone)]
struct Health {
    identity: IdentityClient<Channel>,
    readiness: Readiness,
}

/// `/livez` and `/healthz`: the socket answers. `/readyz`: moreover every component is ready, kubelet's registration
/// included; its answer lists them.
pub fn router(socket: PathBuf, readiness: Readiness) -> Router {
    let identity = IdentityClient::new(socket::channel(socket));
    Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .with_state(Health { identity, readiness })
}

async fn live(State(health): State<Health>) -> (StatusCode, String) {
    match health.probe().await {
        Ok(_) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("[-] csi socket: {reason}\n")),
    }
}

async fn ready(State(health): State<Health>) -> (StatusCode, String) {
    let report = health.readiness.report();
    let (socket, line) = match health.probe().await {
        Ok(true) => (true, "[+] csi socket ok".to_owned()),
        Ok(false) => (false, "[-] csi socket: Probe says not ready".to_owned()),
        Err(reason) => (false, format!("[-] csi socket: {reason}")),
    };
    let mut body = report.lines.join("\n");
    body.push_str(&format!("\n{line}\n"));
    let ready = report.ready && socket;
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
}

impl Health {
    async fn probe(mut self) -> Result<bool, String> {
        let call = self.identity.probe(ProbeRequest {});
        match tokio::time::timeout(PROBE_TIMEOUT, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner().ready.unwrap_or(true)),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err(format!("no answer within {PROBE_TIMEOUT:?}")),
        }
    }
}

//! The cainjector's metrics over TLS, as the chart sets them up.
//!
//! A test program of its own: a second cainjector runs meanwhile.

mod common;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use common::reviewer::Reviewer;
use common::rival;
use e2e::namespace::{self, Scope};
use e2e::wait;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;

/// Where the chart has metrics.
const PORT: u16 = 9402;

/// How long the CA and its first certificate may take on a busy machine.
const SERVED_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn metrics_are_served_under_the_ca_in_the_secret_and_not_in_the_clear() -> anyhow::Result<()> {
    namespace::own("metrics", |scope| async move {
        let values = [
            // A Lease of its own: the shared one leads on.
            format!("cainjector.leaderElection.namespace={}", scope.namespace),
            // It leaves all targets alone: their sources are outside of its namespace.
            format!("cainjector.namespace={}", scope.namespace),
            "cainjector.metricsTLS=true,cainjector.policies.enabled=false".to_owned(),
            "webhook.enabled=false,csiDriver.enabled=false,controller.enabled=false".to_owned(),
        ];
        rival::with(&scope, &values, scraped(&scope)).await
    })
    .await
}

async fn scraped(scope: &Scope) -> anyhow::Result<()> {
    let namespace = &scope.namespace;
    let of_injector = ListParams::default().labels("app.kubernetes.io/component=cainjector");
    let pods = scope.api::<Pod>().list(&of_injector).await?.items;
    let pod = pods.first().context("no cainjector runs")?;
    let name = format!("{namespace}-cainjector.{namespace}.svc");
    let secret = format!("{namespace}-cainjector-metrics-ca");
    let answer = wait::until("metrics over TLS", SERVED_WITHIN, || async {
        let scraper = Reviewer::of(&scope.cluster, namespace, &secret, &name).await?.at_port(PORT);
        scraper.send(pod, "GET", "/metrics", "text/plain", b"")
    })
    .await?;
    ensure!(answer.status == 200 && answer.body.contains("signet_build_info"), "the answer is {answer:?}");
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
    let address = format!("{}:{PORT}", address.context("the pod has no address")?);
    let plain = scope.cluster.network().connect(address.parse()?)?;
    ensure!(!answers_in_the_clear(plain), "metrics are served in the clear, too");
    Ok(())
}

/// Whether something that begins like HTTP comes back.
fn answers_in_the_clear(mut stream: std::net::TcpStream) -> bool {
    use std::io::{Read as _, Write as _};
    let request = b"GET /metrics HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n";
    let mut answer = Vec::new();
    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
    // Whether it is answered by an alert or closed does not matter.
    let _ = stream.write_all(request).and_then(|()| stream.read_to_end(&mut answer).map(drop));
    answer.starts_with(b"HTTP/1.1 200")
}

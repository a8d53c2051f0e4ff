//! Scenes (c) and (d): pods with certificates that were minted when they were mounted.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use e2e::authority::{Authority, in_namespace};
use e2e::cluster::Cluster;
use e2e::{image, wait};

use super::{headline, scenes, show};

const WORKLOADS: &str = include_str!("workloads.yaml");

/// How long a pod may take on a busy machine; half a second is usual.
const POD_WITHIN: Duration = Duration::from_secs(60);

/// The exit code of a client that the server refused.
const REFUSED: i64 = 3;

pub(crate) async fn mutual_tls(cluster: &Cluster) -> anyhow::Result<()> {
    headline("(c) Two pods speak mutual TLS with certificates minted at mount");
    let ca = Authority::new("Demo CA")?;
    scenes::apply(cluster, &in_namespace(ca.secret("demo-ca"), "demo").to_string())?;
    let manifests = WORKLOADS.replace("IMAGE", &image::reference("mtls"));
    let (servers, clients) = manifests.split_once("# clients\n").context("workloads.yaml lost its marker")?;
    scenes::apply(cluster, servers)?;
    cluster.kubectl(&["-n", "demo", "wait", "--for=condition=Ready", "issuer/ca", "--timeout=60s"])?;
    show("kubectl -n demo get issuer", &cluster.kubectl(&["-n", "demo", "get", "issuer"])?);
    cluster.kubectl(&["-n", "demo", "wait", "--for=condition=Ready", "pod/server", "--timeout=60s"])?;
    let address =
        cluster.kubectl(&["-n", "demo", "get", "service", "server", "-o", "jsonpath={.spec.clusterIP}"])?;
    scenes::apply(cluster, &clients.replace("ADDRESS", address.trim()))?;

    let code = finished(cluster, "client").await?;
    show("kubectl -n demo logs client", &logs(cluster, "client")?);
    ensure!(code == 0, "the client with a certificate was refused");
    show("kubectl -n demo logs server", &logs(cluster, "server")?);

    headline("(d) The same server refuses a client without a certificate");
    let code = finished(cluster, "stranger").await?;
    show("kubectl -n demo logs stranger", &logs(cluster, "stranger")?);
    ensure!(code == REFUSED, "the client without a certificate was not refused");
    Ok(())
}

/// Waits until a pod has run to its end; its exit code.
async fn finished(cluster: &Cluster, pod: &str) -> anyhow::Result<i64> {
    let path = "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}";
    wait::until(&format!("pod {pod} to finish"), POD_WITHIN, || async {
        let code = cluster.kubectl(&["-n", "demo", "get", "pod", pod, "-o", path])?;
        match code.trim() {
            "" => bail!("it has not ended yet"),
            code => Ok(code.parse::<i64>()?),
        }
    })
    .await
}

fn logs(cluster: &Cluster, pod: &str) -> anyhow::Result<String> {
    cluster.kubectl(&["-n", "demo", "logs", pod])
}

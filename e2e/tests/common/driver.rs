//! The node plugin as a process that can be killed.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::namespace::Scope;
use e2e::{install, wait};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The driver's executable.
const PROGRAM: &str = "signet-csi-driver";

/// The driver's socket, as its node sees it.
pub(crate) const SOCKET: &str = "/var/lib/kubelet/plugins/csi.cert-manager.io/csi.sock";

/// How long the driver may take to come back on a busy machine.
const BACK_WITHIN: Duration = Duration::from_secs(90);

/// Ends the driver's process without warning; its number.
pub(crate) fn kill_now(cluster: &Cluster) -> anyhow::Result<i32> {
    let pid = *cluster.processes(PROGRAM).first().context("no driver runs")?;
    kill(Pid::from_raw(pid), Signal::SIGKILL).with_context(|| format!("failed to kill process {pid}"))?;
    Ok(pid)
}

/// Waits until a driver answers whose process is not `former`.
pub(crate) async fn back(cluster: &Cluster, former: i32) -> anyhow::Result<()> {
    let socket = cluster.node_root(1)?.join(SOCKET.trim_start_matches('/'));
    wait::until("the driver to come back", BACK_WITHIN, || async {
        let running = cluster.processes(PROGRAM);
        ensure!(running.iter().any(|pid| *pid != former), "the driver's processes are {running:?}");
        UnixStream::connect(&socket).map(drop).context("it does not listen yet")
    })
    .await
}

/// Replaces the driver's pod after its container was restarted: the next sudden death would find it in kubelet's
/// back-off.
pub(crate) async fn renew_pod(scope: &Scope) -> anyhow::Result<()> {
    let api = Api::<Pod>::namespaced(scope.client.clone(), install::RELEASE);
    let of_driver = ListParams::default().labels("app.kubernetes.io/component=csi-driver");
    let restarted = wait::until("the driver's restart to be known", BACK_WITHIN, || async {
        let pods = api.list(&of_driver).await?.items;
        let restarted = pods.into_iter().find(|pod| super::restarts(pod) > 0);
        restarted.and_then(|pod| pod.metadata.name).context("nobody has noticed its death yet")
    })
    .await?;
    api.delete(&restarted, &DeleteParams::default()).await?;
    wait::until("a fresh driver", BACK_WITHIN, || async {
        let pods = api.list(&of_driver).await?.items;
        let fresh = |pod: &Pod| {
            pod.metadata.deletion_timestamp.is_none() && super::is_ready(pod) && super::restarts(pod) == 0
        };
        ensure!(!pods.is_empty() && pods.iter().all(fresh), "it is not Ready");
        Ok(())
    })
    .await
}

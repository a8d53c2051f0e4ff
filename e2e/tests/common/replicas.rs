//! The webhook's replicas.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::namespace::Scope;
use e2e::{install, wait};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use tokio::sync::RwLock;

/// Held for writing by tests that harm replicas or what they stand on, for reading by all others of the same file.
pub(crate) static HARM: RwLock<()> = RwLock::const_new(());

/// How many the chart installs.
const WANTED: usize = 2;

/// The webhook's executable.
pub(crate) const PROGRAM: &str = "signet-webhook";

/// How long a replica may take to come back on a busy machine.
pub(crate) const BACK_WITHIN: Duration = Duration::from_secs(90);

/// The Ready replicas, when there are as many as there should be.
pub(crate) async fn ready(client: &kube::Client) -> anyhow::Result<Vec<Pod>> {
    let mut pods = all(client, install::RELEASE).await?;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none() && super::is_ready(pod));
    ensure!(pods.len() == WANTED, "{} replicas are Ready", pods.len());
    Ok(pods)
}

/// Every pod of the webhook in a namespace.
pub(crate) async fn all(client: &kube::Client, namespace: &str) -> anyhow::Result<Vec<Pod>> {
    let of_webhook = ListParams::default().labels("app.kubernetes.io/component=webhook");
    Ok(Api::<Pod>::namespaced(client.clone(), namespace).list(&of_webhook).await?.items)
}

/// What changes when one of the pods, or the container in it, is replaced.
pub(crate) fn lives(pods: &[Pod]) -> Vec<(Option<String>, i32)> {
    pods.iter().map(|pod| (pod.metadata.uid.clone(), super::restarts(pod))).collect()
}

/// Deletes those whose container was started again, so that the next sudden death does not find it in kubelet's
/// back-off.
pub(crate) async fn replace_restarted(scope: &Scope) -> anyhow::Result<()> {
    let api = Api::<Pod>::namespaced(scope.client.clone(), install::RELEASE);
    for pod in ready(&scope.client).await? {
        if super::restarts(&pod) > 0 {
            api.delete(&pod.metadata.name.unwrap_or_default(), &DeleteParams::default()).await?;
        }
    }
    wait::until("fresh replicas", BACK_WITHIN, || async {
        let fresh = ready(&scope.client).await?;
        ensure!(fresh.iter().all(|pod| super::restarts(pod) == 0), "a restarted one is still there");
        // Those that are going serve on meanwhile, and would still be found.
        let going = all(&scope.client, install::RELEASE).await?.len() - fresh.len();
        ensure!(going == 0, "{going} are still going");
        Ok(())
    })
    .await
}

/// The largest resident set that a process has had, in KiB (`VmHWM` of `/proc/<pid>/status`).
pub(crate) fn peak_kib(pid: i32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Makes [`peak_kib`] begin anew.
pub(crate) fn forget_peak(pid: i32) -> anyhow::Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    std::fs::write(&path, "5").with_context(|| format!("failed to write {path}"))
}

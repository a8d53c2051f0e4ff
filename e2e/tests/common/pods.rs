//! Pods with a certificate volume.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use api::keys::csi;
use e2e::authority::{Authority, issuer};
use e2e::namespace::Scope;
use e2e::objects::{self, PodExt as _};
use e2e::{image, volume, wait};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

/// How long a pod may take on a busy machine; half a second is usual.
pub(crate) const POD_WITHIN: Duration = Duration::from_secs(90);

/// A pod that does nothing but hold a volume with these attributes at `/tls`.
pub(crate) fn holder(name: &str, attributes: &[(&str, &str)]) -> Pod {
    objects::pod(name, &image::reference("pause")).csi_volume(volume::DRIVER, "/tls", attributes)
}

/// The attributes of an ordinary volume: an ECDSA key, a certificate for `<pod>.<namespace>.svc` by Issuer `ca`.
pub(crate) const ORDINARY: [(&str, &str); 5] = [
    (csi::ISSUER_NAME, "ca"),
    (csi::KEY_ALGORITHM, "ECDSA"),
    (csi::KEY_USAGES, "digital signature,server auth,client auth"),
    (csi::DNS_NAMES, "${POD_NAME}.${POD_NAMESPACE}.svc"),
    (csi::DURATION, "1h"),
];

/// Makes a CA Issuer called `ca` with its Secret.
pub(crate) async fn with_ca(scope: &Scope) -> anyhow::Result<Authority> {
    let authority = Authority::new(&format!("CA of {}", scope.namespace))?;
    scope.create(&authority.secret("ca")).await?;
    scope.create(&issuer("Issuer", "ca", &json!({"ca": {"secretName": "ca"}}))).await?;
    Ok(authority)
}

/// Creates a pod and waits until it is Ready.
pub(crate) async fn run(scope: &Scope, pod: &Pod) -> anyhow::Result<Pod> {
    let created = create(scope, pod).await?;
    scope.pod_ready(&created.metadata.name.unwrap_or_default(), POD_WITHIN).await
}

/// Creates a pod.
pub(crate) async fn create(scope: &Scope, pod: &Pod) -> anyhow::Result<Pod> {
    Ok(scope.api::<Pod>().create(&PostParams::default(), pod).await?)
}

/// Deletes a pod and waits until nothing of it is left on node 1: no object, no mount, no stored volume.
pub(crate) async fn delete(scope: &Scope, pod: &Pod) -> anyhow::Result<()> {
    let name = pod.metadata.name.as_deref().context("the pod has no name")?;
    scope.api::<Pod>().delete(name, &DeleteParams::default()).await?;
    gone(scope, pod).await
}

/// Waits until nothing of a deleted pod is left on node 1.
pub(crate) async fn gone(scope: &Scope, pod: &Pod) -> anyhow::Result<()> {
    let name = pod.metadata.name.as_deref().context("the pod has no name")?;
    let uid = pod.metadata.uid.as_deref().context("the pod has no UID")?;
    let api = scope.api::<Pod>();
    wait::until(&format!("pod {name} to be gone"), POD_WITHIN, || async {
        ensure!(api.get_opt(name).await?.is_none(), "the API server still has it");
        let mounts = scope.cluster.mounts(1)?;
        let mounts: Vec<_> = mounts.iter().filter(|mount| mount.contains(uid)).collect();
        ensure!(mounts.is_empty(), "mounts are left: {mounts:?}");
        let stored = volume::stored(&scope.cluster, 1, uid)?;
        ensure!(stored.is_empty(), "the driver still has {stored:?}");
        Ok(())
    })
    .await
}

/// Waits for an event of a pod that mentions all of `texts`; its message.
pub(crate) async fn event(scope: &Scope, pod: &str, texts: &[&str]) -> anyhow::Result<String> {
    let api = scope.api::<Event>();
    let of_pod = ListParams::default().fields(&format!("involvedObject.name={pod}"));
    wait::until(&format!("an event of pod {pod} with {texts:?}"), POD_WITHIN, || async {
        let events = api.list(&of_pod).await?.items;
        let messages: Vec<_> = events.into_iter().filter_map(|event| event.message).collect();
        let found = messages.iter().find(|message| texts.iter().all(|text| message.contains(text)));
        found.cloned().with_context(|| format!("its events are {messages:?}"))
    })
    .await
}

/// Waits until a pod has run to its end; its exit code.
pub(crate) async fn finished(scope: &Scope, pod: &str) -> anyhow::Result<i32> {
    let api = scope.api::<Pod>();
    wait::until(&format!("pod {pod} to finish"), POD_WITHIN, || async {
        let status = api.get(pod).await?.status.unwrap_or_default();
        let main = status.container_statuses.unwrap_or_default().into_iter().next();
        let ended = main.and_then(|main| main.state).and_then(|state| state.terminated);
        ended.map(|ended| ended.exit_code).with_context(|| format!("it is {:?}", status.phase))
    })
    .await
}

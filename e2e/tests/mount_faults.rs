//! Volumes that cannot be mounted, and what the pod's owner is told; and a driver that dies without warning.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use api::keys::csi;
use common::pods::{self, ORDINARY};
use common::{driver, is_ready};
use e2e::authority::{Authority, issuer};
use e2e::namespace::{self, Scope};
use e2e::volume::{self, Generation};
use e2e::wait;
use k8s_openapi::api::core::v1::{CSIVolumeSource, Pod};
use serde_json::json;
use tokio::sync::RwLock;

/// Held for writing by tests that kill the driver, for reading by all others.
static DRIVER: RwLock<()> = RwLock::const_new(());

/// How long kubelet may take on a busy machine to say of a pod's containers what it waits for.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_missing_issuer_is_named_and_the_pod_starts_once_it_exists() -> anyhow::Result<()> {
    let _quiet = DRIVER.read().await;
    namespace::own("missing", |scope| async move {
        let pod = pods::create(&scope, &pods::holder("waiting", &ORDINARY)).await?;
        let name = format!("{}/ca", scope.namespace);
        let told = pods::event(&scope, "waiting", &["Issuer", &name, "does not exist"]).await?;
        ensure!(told.contains("create it"), "the event gives no advice: {told}");
        check_waiting(&scope, &pod).await?;

        scope.create(&issuer("Issuer", "ca", &json!({"ca": {"secretName": "ca"}}))).await?;
        let told = pods::event(&scope, "waiting", &["Secret", &name, "does not exist"]).await?;
        ensure!(told.contains("tls.crt and tls.key"), "the event gives no advice: {told}");
        check_waiting(&scope, &pod).await?;

        let authority = Authority::new("late CA")?;
        scope.create(&authority.secret("ca")).await?;
        let pod = scope.pod_ready("waiting", pods::POD_WITHIN).await?;
        check_volume(&scope, &pod)
    })
    .await
}

#[tokio::test]
async fn a_secret_without_its_key_is_named_and_the_pod_starts_once_it_is_there() -> anyhow::Result<()> {
    let _quiet = DRIVER.read().await;
    namespace::own("keyless", |scope| async move {
        let authority = Authority::new("keyless CA")?;
        let mut secret = authority.secret("ca");
        // Kubernetes itself would refuse it with the type of TLS Secrets.
        secret["type"] = json!("Opaque");
        secret["stringData"] = json!({"tls.crt": authority.certificate});
        scope.create(&secret).await?;
        scope.create(&issuer("Issuer", "ca", &json!({"ca": {"secretName": "ca"}}))).await?;
        let pod = pods::create(&scope, &pods::holder("waiting", &ORDINARY)).await?;
        pods::event(&scope, "waiting", &["Secret", "\"ca\"", "\"tls.key\""]).await?;
        check_waiting(&scope, &pod).await?;

        let patch = kube::api::Patch::Merge(json!({"stringData": {"tls.key": authority.key}}));
        scope.resource("v1", "Secret").patch("ca", &kube::api::PatchParams::default(), &patch).await?;
        let pod = scope.pod_ready("waiting", pods::POD_WITHIN).await?;
        check_volume(&scope, &pod)
    })
    .await
}

#[tokio::test]
async fn a_volume_that_can_never_be_mounted_is_refused_with_the_attribute() -> anyhow::Result<()> {
    let _quiet = DRIVER.read().await;
    let with = |changes: &[(&'static str, &'static str)]| {
        let mut attributes: BTreeMap<_, _> = ORDINARY.into_iter().collect();
        attributes.extend(changes.iter().copied());
        attributes.retain(|_, value| !value.is_empty());
        attributes.into_iter().collect::<Vec<_>>()
    };
    let read_only = true;
    let cases: [(&str, Vec<_>, bool, &[&str]); 4] = [
        ("nameless", with(&[(csi::ISSUER_NAME, "")]), read_only, &[csi::ISSUER_NAME, "Required value"]),
        ("writable", with(&[]), !read_only, &["csi.readOnly", "'true'"]),
        (
            "misspelt",
            with(&[(csi::KEY_ALGORITHM, "ECDS")]),
            read_only,
            &[csi::KEY_ALGORITHM, "\"ECDS\"", "\"ECDSA\""],
        ),
        ("in-days", with(&[(csi::DURATION, "90d")]), read_only, &[csi::DURATION, "\"90d\"", "2160h"]),
    ];
    namespace::own("refused", |scope| async move {
        pods::with_ca(&scope).await?;
        for (name, attributes, read_only, _) in &cases {
            let mut pod = pods::holder(name, attributes);
            source(&mut pod)?.read_only = Some(*read_only);
            pods::create(&scope, &pod).await?;
        }
        for (name, _, _, texts) in &cases {
            let mut wanted = vec!["InvalidArgument"];
            wanted.extend(*texts);
            pods::event(&scope, name, &wanted).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_pod_that_never_started_can_be_deleted() -> anyhow::Result<()> {
    let _quiet = DRIVER.read().await;
    namespace::own("hopeless", |scope| async move {
        let pod = pods::create(&scope, &pods::holder("hopeless", &ORDINARY)).await?;
        pods::event(&scope, "hopeless", &["does not exist"]).await?;
        pods::delete(&scope, &pod).await
    })
    .await
}

#[tokio::test]
async fn a_killed_driver_loses_no_live_volume() -> anyhow::Result<()> {
    let _alone = DRIVER.write().await;
    namespace::own("killed", |scope| async move {
        pods::with_ca(&scope).await?;
        let first = pods::run(&scope, &pods::holder("first", &ORDINARY)).await?;
        let path = volume::path(&scope.cluster, 1, &first, "csi-0")?;
        let before = Generation::read(&path)?;

        let former = driver::kill_now(&scope.cluster)?;
        let second = pods::create(&scope, &pods::holder("second", &ORDINARY)).await?;
        check_volume(&scope, &first).context("while the driver is dead")?;
        driver::back(&scope.cluster, former).await?;
        let second = scope.pod_ready(&second.metadata.name.unwrap_or_default(), pods::POD_WITHIN).await?;
        check_volume(&scope, &second).context("the volume that was mounted after the restart")?;
        let after = Generation::read(&path)?;
        ensure!(after.name == before.name && after.chain == before.chain, "the restart issued anew");

        pods::delete(&scope, &first).await?;
        pods::delete(&scope, &second).await?;
        driver::renew_pod(&scope).await
    })
    .await
}

#[tokio::test]
async fn a_pod_that_goes_while_the_driver_is_dead_leaves_nothing() -> anyhow::Result<()> {
    let _alone = DRIVER.write().await;
    namespace::own("orphaned", |scope| async move {
        pods::with_ca(&scope).await?;
        let pod = pods::run(&scope, &pods::holder("orphan", &ORDINARY)).await?;
        let former = driver::kill_now(&scope.cluster)?;
        pods::delete(&scope, &pod).await?;
        driver::back(&scope.cluster, former).await?;
        driver::renew_pod(&scope).await
    })
    .await
}

/// The pod has its volume, whole and for itself.
fn check_volume(scope: &Scope, pod: &Pod) -> anyhow::Result<()> {
    let generation = Generation::read(&volume::path(&scope.cluster, 1, pod, "csi-0")?)?;
    generation.check_pair()
}

/// The pod is scheduled, and no container of it has been made; kubelet says so soon after it has tried for the first time.
async fn check_waiting(scope: &Scope, pod: &Pod) -> anyhow::Result<()> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    wait::until(&format!("kubelet to tell of {name}"), TOLD_WITHIN, || async {
        let now = scope.api::<Pod>().get(name).await?;
        ensure!(!is_ready(&now), "it is Ready");
        let containers = now.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let reasons: Vec<_> = containers
            .into_iter()
            .map(|container| {
                container.state.and_then(|state| state.waiting).and_then(|waiting| waiting.reason)
            })
            .collect();
        ensure!(reasons == [Some("ContainerCreating".to_owned())], "its container is {reasons:?}");
        Ok(())
    })
    .await
}

fn source(pod: &mut Pod) -> anyhow::Result<&mut CSIVolumeSource> {
    let volumes = pod.spec.as_mut().and_then(|spec| spec.volumes.as_mut());
    let volume = volumes.and_then(|volumes| volumes.first_mut()).context("the pod has no volume")?;
    volume.csi.as_mut().context("its volume is none of a CSI driver")
}

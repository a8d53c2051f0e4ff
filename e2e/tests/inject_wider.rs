//! Bundles in ConfigMaps and ClusterTrustBundles, which the operator has added to the kinds of targets.

mod common;

use anyhow::{Context as _, ensure};
use api::keys::{annotation, label};
use common::targets::{INJECTED_WITHIN, SECRET, owns, set_bundle, trusted};
use e2e::authority::Authority;
use e2e::namespace::{self, Scope};
use e2e::wait;
use k8s_openapi::api::core::v1::{ConfigMap, Event};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};

/// A signer that the chart was told of, and one that it was not.
const SIGNERS: [&str; 2] = ["signet.example/allowed", "signet.example/foreign"];

#[tokio::test]
async fn a_labelled_config_map_gets_the_bundle_and_others_get_none() -> anyhow::Result<()> {
    namespace::own("configmap", |scope| async move {
        let old = trusted(&scope, "Old CA").await?;
        let maps = scope.api::<ConfigMap>();
        // Neither of these may be written: the one has no label, and the other is the controller manager's.
        let mut unlabelled = config_map(&scope, "unlabelled");
        unlabelled["metadata"]["labels"] = json!({label::INJECT: "yes"});
        scope.create(&unlabelled).await?;
        let asks = json!({"metadata": metadata(&scope, "kube-root-ca.crt")});
        let published = maps.patch("kube-root-ca.crt", &PatchParams::default(), &Patch::Merge(asks)).await?;

        scope.create(&config_map(&scope, "trust")).await?;
        let (map, pointer) = (scope.resource("v1", "ConfigMap"), "/data/ca.crt");
        let live = holds(&map, "trust", pointer, &[&old]).await?;
        ensure!(live.data["data"]["note"] == "to stay", "its data is {}", live.data["data"]);
        owns(&live, &["data/ca.crt"])?;
        let new = Authority::new("New CA")?;
        set_bundle(&scope, &new.certificate).await?;
        holds(&map, "trust", pointer, &[&old, &new]).await?;

        ensure!(maps.get("kube-root-ca.crt").await?.data == published.data, "the cluster's own was written");
        let data = maps.get("unlabelled").await?.data.unwrap_or_default();
        ensure!(!data.contains_key("ca.crt"), "one without the label was written");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_labelled_cluster_trust_bundle_gets_the_bundle() -> anyhow::Result<()> {
    namespace::own("trustbundle", |scope| async move {
        let (ca, first) = (trusted(&scope, "Injected CA").await?, Authority::new("First CA")?);
        let name = format!("{}-trust", scope.namespace);
        scope.create(&trust_bundle(&scope, &name, &first)).await?;
        let bundles = scope.resource("certificates.k8s.io/v1beta1", "ClusterTrustBundle");
        holds(&bundles, &name, "/spec/trustBundle", &[&first, &ca]).await.map(drop)
    })
    .await
}

#[tokio::test]
async fn the_bundle_of_a_signer_is_written_if_the_account_may_vouch_for_it() -> anyhow::Result<()> {
    namespace::own("signer", |scope| async move {
        let (ca, first) = (trusted(&scope, "Signed CA").await?, Authority::new("First CA")?);
        let names = SIGNERS.map(|signer| format!("{}:{}", signer.replace('/', ":"), scope.namespace));
        for (signer, name) in SIGNERS.iter().zip(&names) {
            let mut bundle = trust_bundle(&scope, name, &first);
            bundle["spec"]["signerName"] = json!(signer);
            scope.create(&bundle).await?;
        }
        let [allowed, foreign] = &names;
        let bundles = scope.resource("certificates.k8s.io/v1beta1", "ClusterTrustBundle");
        holds(&bundles, allowed, "/spec/trustBundle", &[&first, &ca]).await?;
        let events = Api::<Event>::namespaced(scope.client.clone(), "default");
        let of_bundle = ListParams::default().fields(&format!("involvedObject.name={foreign}"));
        let told = wait::until("the refusal to be told", INJECTED_WITHIN, || async {
            let mut events = events.list(&of_bundle).await?.items.into_iter();
            let found = events.find(|event| event.reason.as_deref() == Some("Forbidden"));
            found.and_then(|event| event.message).context("there is no such event yet")
        })
        .await?;
        ensure!(told.contains("attest"), "the event says {told:?}");
        Ok(())
    })
    .await
}

/// What asks for the CA of Secret [`SECRET`].
fn metadata(scope: &Scope, name: &str) -> Value {
    json!({
        "name": name,
        "labels": {label::INJECT: "true"},
        "annotations": {annotation::INJECT_CA_FROM_SECRET: format!("{}/{SECRET}", scope.namespace)},
    })
}

fn config_map(scope: &Scope, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(scope, name), "data": {"note": "to stay"},
    })
}

fn trust_bundle(scope: &Scope, name: &str, first: &Authority) -> Value {
    json!({
        "apiVersion": "certificates.k8s.io/v1beta1", "kind": "ClusterTrustBundle",
        "metadata": metadata(scope, name), "spec": {"trustBundle": first.certificate},
    })
}

/// Waits until the text at the pointer is the certificates of these CAs, in this order.
async fn holds(
    objects: &Api<DynamicObject>,
    name: &str,
    pointer: &str,
    cas: &[&Authority],
) -> anyhow::Result<DynamicObject> {
    let wanted: String = cas.iter().map(|ca| ca.certificate.replace('\r', "")).collect();
    wait::until(&format!("the bundle of {name}"), INJECTED_WITHIN, || async {
        let live = objects.get(name).await?;
        let found = live.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        ensure!(found == wanted, "it is {found:?}");
        Ok(live)
    })
    .await
}

//! The name policy in mode local: a driver without rules gives a pod the names that are its own, and no others.

mod common;

use api::keys::csi;
use common::{pods, rival};
use e2e::image;
use e2e::namespace::{self, Scope};
use e2e::objects::{self, PodExt as _};
use e2e::volume::{self, Generation};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// The rules of the driver of the test: for one account alone.
const RULES: &str =
    "controller.signer.rules[0].serviceAccounts[0]=shop,controller.signer.rules[0].dnsNames[0]=*.example.org";

#[tokio::test]
async fn a_driver_that_signs_itself_gives_a_pod_its_own_names_alone() -> anyhow::Result<()> {
    namespace::own("policy", |scope| async move {
        let ca = pods::with_ca(&scope).await?;
        let namespace = scope.namespace.clone();
        let checks = async {
            let own = format!("own.{namespace}.svc");
            let pod = pods::run(&scope, &holder(&scope, "own", &own)).await?;
            let generation = Generation::read(&volume::path(&scope.cluster, 1, &pod, "csi-0")?)?;
            generation.check_chain(&ca.certificate, &own)?;

            pods::create(&scope, &holder(&scope, "greedy", "kubernetes.default.svc")).await?;
            pods::event(&scope, "greedy", &["kubernetes.default.svc", "it ends neither in"]).await?;
            pods::create(&scope, &holder(&scope, "ruled", "shop.example.org")).await?;
            pods::event(&scope, "ruled", &["shop.example.org", "add this rule to the name policy"]).await?;

            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "shop"}});
            scope.create(&account).await?;
            let pod = holder(&scope, "shop", "shop.example.org").service_account("shop");
            pods::run(&scope, &pod).await?;
            a_service_takes_a_name_and_gives_it_back(&scope).await
        };
        rival::with(&scope, &values(&scope), Box::pin(checks)).await
    })
    .await
}

/// A Service of a pod's name that leads to others has the name, and gives it to the pods that it selects.
async fn a_service_takes_a_name_and_gives_it_back(scope: &Scope) -> anyhow::Result<()> {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "billing"},
        "spec": {"selector": {"app": "billing"}, "ports": [{"port": 443}]},
    });
    scope.create(&service).await?;
    let name = format!("billing.{}.svc", scope.namespace);
    pods::create(scope, &holder(scope, "billing", &name)).await?;
    pods::event(scope, "billing", &["does not select the pod"]).await?;
    let label = Patch::Merge(json!({"metadata": {"labels": {"app": "billing"}}}));
    scope.api::<Pod>().patch("billing", &PatchParams::default(), &label).await?;
    scope.pod_ready("billing", pods::POD_WITHIN).await.map(drop)
}

/// A driver of another name in mode local.
fn values(scope: &Scope) -> Vec<String> {
    vec![
        "webhook.enabled=false,cainjector.enabled=false,controller.enabled=false".to_owned(),
        format!("csiDriver.mode=local,csiDriver.name={}", driver_name(scope)),
        RULES.to_owned(),
    ]
}

fn driver_name(scope: &Scope) -> String {
    format!("{}.test", scope.namespace)
}

/// A pod with a volume for this DNS name.
fn holder(scope: &Scope, pod: &str, name: &str) -> Pod {
    let attributes = [
        (csi::ISSUER_NAME, "ca"),
        (csi::KEY_ALGORITHM, "ECDSA"),
        (csi::DNS_NAMES, name),
        (csi::DURATION, "1h"),
    ];
    objects::pod(pod, &image::reference("pause")).csi_volume(&driver_name(scope), "/tls", &attributes)
}

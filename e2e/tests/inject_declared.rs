//! Bundles in custom resources, at a field that the operator has declared: by an injector of the test's own, which leaves
//! them out until the policy is there that its command prints.

mod common;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use api::keys::{annotation, label};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::targets::{SECRET, group, trusted};
use e2e::namespace::{self, Scope};
use e2e::resources::refusal;
use e2e::{install, wait};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{LogParams, Patch, PatchParams};
use serde_json::{Value, json};

/// The injector's account and pod.
const INJECTOR: &str = "injector";

/// The object that gets a bundle.
const GADGET: &str = "gadget";

/// An injector waits 20 s for a policy before it says a word, and then looks for it every 30 s.
const STARTED_WITHIN: Duration = Duration::from_secs(180);

/// An API server looks at its policies each second.
const HOLDS_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_declared_field_gets_the_bundle_once_its_policy_holds_the_account_to_it() -> anyhow::Result<()> {
    namespace::own("declared", |scope| async move {
        let group = group(&scope);
        scope.create(&definition(&group)).await?;
        let ca = trusted(&scope, "Declared CA").await?;
        for object in account(&scope, &group) {
            scope.create(&object).await?;
        }
        scope.create(&pod(&scope, &group).await?).await?;
        let needed = needed(&scope, &group).await?;
        let items = needed["items"].as_array().context("nothing is to be applied")?;
        for object in items {
            scope.create(object).await?;
        }

        let gadgets = scope.resource(&format!("{group}/v1"), "Gadget");
        let gadget = wait::until("the kind to be served", STARTED_WITHIN, || async {
            scope.create(&gadget(&scope, &group)).await
        })
        .await?;
        let wanted = STANDARD.encode(&ca.certificate);
        wait::until("the bundle", STARTED_WITHIN, || async {
            let live = gadgets.get(GADGET).await?;
            ensure!(live.data["spec"]["tls"]["caBundle"] == wanted.as_str(), "it is {}", live.data);
            let mut rest = live.data["spec"].clone();
            rest["tls"].as_object_mut().context("spec.tls is no object")?.remove("caBundle");
            ensure!(rest == gadget.data["spec"], "the rest is {rest}");
            Ok(())
        })
        .await?;

        let user = format!("system:serviceaccount:{}:{INJECTOR}", scope.namespace);
        let ours = scope.cluster.client_as(&user).await?;
        let ours = e2e::resources::api(&ours, &scope.namespace, &format!("{group}/v1"), "Gadget");
        // An API server goes by a policy some moments after it was created. A trial that it accepts until then writes nothing.
        let trial = PatchParams { dry_run: true, ..PatchParams::default() };
        let larger = Patch::Merge(json!({"spec": {"size": 4}}));
        wait::until("the policy to hold", HOLDS_WITHIN, || async {
            refusal(ours.patch(GADGET, &trial, &larger).await)
        })
        .await?;
        for (forged, told) in [
            (json!({"spec": {"tls": {"mode": "off"}}}), "spec.tls: the cainjector writes nothing here"),
            // There is no subresource that would keep it out.
            (json!({"status": {"phase": "Ready"}}), "the cainjector writes nothing outside of spec"),
            (json!({"spec": {"size": 4}}), "spec: the cainjector writes nothing here"),
            (json!({"metadata": {"labels": {"a": "b"}}}), "metadata: the cainjector writes nothing here"),
            (json!({"spec": {"tls": {"caBundle": "AAAA"}}}), "the cainjector writes certificates in PEM"),
        ] {
            let refused = refusal(ours.patch(GADGET, &PatchParams::default(), &Patch::Merge(&forged)).await)?;
            ensure!(refused.code == 403 && refused.message.contains(told), "{forged}: {}", refused.message);
        }
        Ok(())
    })
    .await
}

fn definition(group: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("gadgets.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object",
                "properties": {"spec": {"type": "object", "properties": {
                    "size": {"type": "integer"},
                    "tls": {"type": "object", "properties": {
                        "mode": {"type": "string"},
                        "caBundle": {"type": "string", "format": "byte"},
                    }},
                }}, "status": {"type": "object", "properties": {"phase": {"type": "string"}}}},
            }}}],
        },
    })
}

fn gadget(scope: &Scope, group: &str) -> Value {
    json!({
        "apiVersion": format!("{group}/v1"),
        "kind": "Gadget",
        "metadata": {
            "name": GADGET,
            "labels": {label::INJECT: "true"},
            "annotations": {annotation::INJECT_CA_FROM_SECRET: format!("{}/{SECRET}", scope.namespace)},
        },
        "spec": {"size": 3, "tls": {"mode": "on"}},
    })
}

/// An account that may do what the chart would grant for such a target.
fn account(scope: &Scope, group: &str) -> [Value; 3] {
    let (rbac, name) = ("rbac.authorization.k8s.io", format!("{}-{INJECTOR}", scope.namespace));
    let read = ["get", "list", "watch"];
    [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": INJECTOR}}),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": name},
            "rules": [
                {"apiGroups": [""], "resources": ["secrets"], "verbs": read},
                {"apiGroups": [group], "resources": ["gadgets"], "verbs": ["get", "list", "watch", "patch"]},
                {"apiGroups": ["admissionregistration.k8s.io"], "verbs": ["list"],
                    "resources": ["validatingadmissionpolicies", "validatingadmissionpolicybindings"]},
                {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
            ],
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "namespace": scope.namespace, "name": INJECTOR}],
        }),
    ]
}

/// The installed program with this one kind of targets.
async fn pod(scope: &Scope, group: &str) -> anyhow::Result<Value> {
    let deployments = Api::<Deployment>::namespaced(scope.client.clone(), install::RELEASE);
    let installed = deployments.get(&format!("{}-cainjector", install::RELEASE)).await?;
    let template = installed.spec.context("the Deployment is empty")?.template.spec;
    let containers = template.context("it has no pod")?.containers;
    let image = containers.first().and_then(|container| container.image.clone());
    let off = [
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
        "customresourcedefinitions",
        "apiservices",
    ];
    let mut args: Vec<String> = off.iter().map(|kind| format!("--enable-{kind}-injectable=false")).collect();
    args.push("--leader-elect=false".to_owned());
    args.push(format!("--inject-target={group}/v1/gadgets:spec.tls.caBundle"));
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": INJECTOR},
        "spec": {
            "serviceAccountName": INJECTOR,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": INJECTOR, "image": image, "imagePullPolicy": "Never", "args": args}],
        },
    }))
}

/// What has to be applied, once the injector has said that it leaves the kind out for want of that.
async fn needed(scope: &Scope, group: &str) -> anyhow::Result<Value> {
    let pods = scope.api::<Pod>();
    let target = format!("--inject-target={group}/v1/gadgets:spec.tls.caBundle");
    let account = format!("--service-account={}/{INJECTOR}", scope.namespace);
    wait::until("the injector to leave the kind out without its policy", STARTED_WITHIN, || async {
        let text = pods.logs(INJECTOR, &LogParams::default()).await?;
        let said =
            text.contains(&format!("nothing holds system:serviceaccount:{}:{INJECTOR}", scope.namespace));
        ensure!(said, "it says {text:?}");
        let hint = format!("signet-cainjector policies {account} {target}");
        ensure!(text.contains(&hint), "{hint:?} is not in {text:?}");
        Ok(())
    })
    .await?;
    let command = ["/signet-cainjector", "policies", &account, &target];
    let exec = ["exec", "-n", &scope.namespace, INJECTOR, "--"].into_iter().chain(command);
    let printed = scope.cluster.kubectl(&exec.collect::<Vec<_>>())?;
    serde_json::from_str(&printed).with_context(|| format!("no JSON: {printed}"))
}

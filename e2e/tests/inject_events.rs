//! What the cainjector tells: events on targets and sources, who fights with it, and which targets lack their bundle.

mod common;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use api::keys::annotation;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::injectors;
use common::targets::{INJECTED_WITHIN, SECRET, Target, trusted};
use e2e::authority::{Authority, trust_secret};
use e2e::namespace::{self, Scope};
use e2e::resources::refusal;
use e2e::wait;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

/// How long somebody overwrites a bundle.
const FIGHT: Duration = Duration::from_secs(60);

/// Repairs in that time: five without a pause, then one in five seconds, and one more for what was under way.
const REPAIRS_MAX: usize = 5 + 12 + 1;

/// How long a repair may take on a busy machine, the longest pause while the CA is missing included.
const REPAIRED_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn who_keeps_overwriting_a_bundle_is_named_once_and_answered_with_pauses() -> anyhow::Result<()> {
    namespace::own("fight", |scope| async move {
        let (ca, other) = (trusted(&scope, "Injected CA").await?, Authority::new("Foreign CA")?);
        let target = Target::webhook_configuration(&scope).await?;
        target.holds(&scope, &[&ca]).await?;
        let (end, mut repairs) = (Instant::now() + FIGHT, 0);
        while Instant::now() < end {
            overwrite(&target, &scope, &other).await?;
            wait::until("the bundle to be repaired", REPAIRED_WITHIN, || async {
                let bundles = target.bundles(&scope).await?;
                ensure!(bundles.iter().flatten().all(|bundle| bundle.len() == 2), "it is not yet");
                Ok::<_, anyhow::Error>(())
            })
            .await?;
            repairs += 1;
        }
        ensure!((5..=REPAIRS_MAX).contains(&repairs), "there were {repairs} repairs in {FIGHT:?}");
        let told = target.event(&scope, "FieldContested").await?;
        ensure!(told.contains("\"stubborn\""), "the event says {told:?}");
        let events = Api::<Event>::namespaced(scope.client.clone(), "default");
        let of_target = ListParams::default()
            .fields(&format!("involvedObject.name={},reason=FieldContested", target.name));
        let events = events.list(&of_target).await?.items;
        ensure!(events.len() == 1, "it was told {} times", events.len());
        target.holds(&scope, &[&other, &ca]).await
    })
    .await
}

#[tokio::test]
async fn the_owner_of_a_source_is_told_what_is_wrong_with_it() -> anyhow::Result<()> {
    namespace::own("source", |scope| async move {
        let target = Target::webhook_configuration(&scope).await?;
        target.event(&scope, "SourceNotFound").await?;
        scope.create(&trust_secret(SECRET, "")).await?;
        let told = event(&scope, "Secret", SECRET, "NoCAData").await?;
        ensure!(told.contains(&target.name), "the event does not name the target: {told:?}");
        let withdrawn = json!({"metadata": {"annotations": {annotation::ALLOW_DIRECT_INJECTION: null}}});
        let secrets = scope.api::<Secret>();
        secrets.patch(SECRET, &PatchParams::default(), &Patch::Merge(&withdrawn)).await?;
        event(&scope, "Secret", SECRET, "SourceNotAllowed").await?;
        // Of a Certificate it is the Secret, once there is one.
        scope
            .create(&json!({
                "apiVersion": "cert-manager.io/v1",
                "kind": "Certificate",
                "metadata": {"name": "web"},
                "spec": {"secretName": "tls", "dnsNames": ["web.example.com"], "issuerRef": {"name": "nobody"}},
            }))
            .await?;
        let source = format!("{}/web", scope.namespace);
        Target::asking(&scope, "certificate", &json!({annotation::INJECT_CA_FROM: source})).await?;
        event(&scope, "Certificate", "web", "SourceNotFound").await?;
        scope.create(&trust_secret("tls", "")).await?;
        event(&scope, "Secret", "tls", "SourceNotOwned").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_target_that_lacks_its_bundle_is_named_by_the_probe() -> anyhow::Result<()> {
    namespace::own("unready", |scope| async move {
        let name = format!("{}-locked", scope.namespace);
        let metadata = json!({"name": name});
        let kind = |kind: &str| format!("ValidatingAdmissionPolicy{kind}");
        scope
            .create(&json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": kind(""),
                "metadata": metadata,
                "spec": {
                    "matchConstraints": {"resourceRules": [{
                        "apiGroups": ["admissionregistration.k8s.io"],
                        "apiVersions": ["v1"],
                        "operations": ["UPDATE"],
                        "resources": ["validatingwebhookconfigurations"],
                        "resourceNames": [name],
                    }]},
                    "validations": [{"expression": "false", "message": "it is locked", "reason": "Forbidden"}],
                },
            }))
            .await?;
        scope
            .create(&json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": kind("Binding"),
                "metadata": metadata,
                "spec": {"policyName": name, "validationActions": ["Deny"]},
            }))
            .await?;
        let target = Target::create(&scope, "locked").await?;
        ensure!(target.name == name, "the target is {}", target.name);
        wait::until("the target to be locked", INJECTED_WITHIN, || async {
            let label = json!({"metadata": {"labels": {"locked": "true"}}});
            let targets = scope.resource(target.api_version, target.kind);
            refusal(targets.patch(&target.name, &PatchParams::default(), &Patch::Merge(&label)).await)
        })
        .await?;
        let ca = trusted(&scope, "Unwritten CA").await?;
        target.event(&scope, "Forbidden").await?;
        let told = wait::until("the leader to be unready", INJECTED_WITHIN, || async {
            let told = injectors::unready(&scope).await?;
            ensure!(told.contains(&target.name), "it says {told:?}");
            Ok(told)
        })
        .await?;
        ensure!(told.contains("lack their bundle: "), "the probe says {told:?}");
        let bindings = scope.resource("admissionregistration.k8s.io/v1", &kind("Binding"));
        bindings.delete(&name, &DeleteParams::default()).await?;
        target.holds(&scope, &[&ca]).await?;
        wait::until("the leader to be ready", INJECTED_WITHIN, || async {
            let told = injectors::unready(&scope).await.err();
            told.map(drop).context("it is unready")
        })
        .await
    })
    .await
}

/// Puts the bundle of somebody else in place of what is there.
async fn overwrite(target: &Target, scope: &Scope, ca: &Authority) -> anyhow::Result<()> {
    let api = scope.resource(target.api_version, target.kind);
    let mut webhooks = api.get(&target.name).await?.data["webhooks"].clone();
    for entry in webhooks.as_array_mut().context("there are no entries")? {
        entry["clientConfig"]["caBundle"] = json!(STANDARD.encode(&ca.certificate));
    }
    let params = PatchParams { field_manager: Some("stubborn".to_owned()), ..PatchParams::default() };
    api.patch(&target.name, &params, &Patch::Merge(json!({"webhooks": webhooks}))).await?;
    Ok(())
}

/// Waits for an event with this reason about an object of the test's namespace; its message.
async fn event(scope: &Scope, kind: &str, name: &str, reason: &str) -> anyhow::Result<String> {
    let api = scope.api::<Event>();
    let fields = format!("involvedObject.kind={kind},involvedObject.name={name}");
    let of_object = ListParams::default().fields(&fields);
    wait::until(&format!("event {reason} of {kind} {name}"), INJECTED_WITHIN, || async {
        let events = api.list(&of_object).await?.items;
        let reasons: Vec<_> = events.iter().map(|event| event.reason.clone()).collect();
        let found = events.into_iter().find(|event| event.reason.as_deref() == Some(reason));
        found.and_then(|event| event.message).with_context(|| format!("its events are {reasons:?}"))
    })
    .await
}

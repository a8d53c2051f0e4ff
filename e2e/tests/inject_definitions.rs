//! CA bundles in CustomResourceDefinitions, and bundles that others put placeholders over.

mod common;

use anyhow::{Context as _, ensure};
use common::targets::{INJECTED_WITHIN, Target, owns, set_bundle, trusted};
use e2e::authority::Authority;
use e2e::namespace::{self, Scope};
use e2e::wait;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// What charts write where a bundle is to be injected: a newline in base64.
const PLACEHOLDER: &str = "Cg==";

/// Bytes of the schema of a large definition; the API server stores at most about 1.5 MiB.
const LARGE: usize = 1024 * 1024;

#[tokio::test]
async fn a_definition_that_no_webhook_converts_is_left_alone() -> anyhow::Result<()> {
    namespace::own("none", |scope| async move {
        trusted(&scope, "Unneeded CA").await?;
        let target = Target::definition(&scope, &json!({"strategy": "None"}), "small").await?;
        let told = target.event(&scope, "NotApplicable").await?;
        ensure!(told.contains("spec.conversion.strategy"), "the event says {told:?}");
        owns(&target.get(&scope).await?, &[])
    })
    .await
}

#[tokio::test]
async fn a_definition_with_a_placeholder_gets_the_bundle_and_is_established_by_it() -> anyhow::Result<()> {
    namespace::own("large", |scope| async move {
        let target = Target::definition(&scope, &webhook(), &"x".repeat(LARGE)).await?;
        target.event(&scope, "SourceNotFound").await?;
        ensure!(!is_established(&target, &scope).await?, "the placeholder was taken for a bundle");
        let old = trusted(&scope, "Old CA").await?;
        target.holds(&scope, &[&old]).await?;
        wait::until("the definition to be established", INJECTED_WITHIN, || async {
            ensure!(is_established(&target, &scope).await?, "it is not");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        let new = Authority::new("New CA")?;
        set_bundle(&scope, &new.certificate).await?;
        target.holds(&scope, &[&old, &new]).await?;
        let live = target.get(&scope).await?;
        let rest = target.without_bundles(&live.data["spec"], &Value::Null);
        ensure!(rest == target.sent, "something else of the definition was changed");
        owns(&live, target.owned)
    })
    .await
}

#[tokio::test]
async fn a_placeholder_that_is_applied_over_a_bundle_is_replaced_again() -> anyhow::Result<()> {
    namespace::own("placeholder", |scope| async move {
        let ca = trusted(&scope, "Lasting CA").await?;
        let target = Target::webhook_configuration(&scope).await?;
        target.holds(&scope, &[&ca]).await?;
        let api = scope.resource(target.api_version, target.kind);
        let entries = |live: &Value| -> anyhow::Result<Value> {
            let mut entries = live["webhooks"].clone();
            for entry in entries.as_array_mut().context("there are no entries")? {
                entry["clientConfig"]["caBundle"] = json!(PLACEHOLDER);
            }
            Ok(entries)
        };
        let webhooks = entries(&api.get(&target.name).await?.data)?;
        let chart = json!({
            "apiVersion": target.api_version,
            "kind": target.kind,
            "metadata": {"name": target.name},
            "webhooks": webhooks,
        });
        api.patch(&target.name, &PatchParams::apply("chart").force(), &Patch::Apply(&chart)).await?;
        target.holds(&scope, &[&ca]).await?;
        let change = json!({"webhooks": webhooks});
        target.patch(&scope, &Patch::Merge(&change)).await?;
        target.holds(&scope, &[&ca]).await
    })
    .await
}

fn webhook() -> Value {
    json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://127.0.0.1:9/convert", "caBundle": PLACEHOLDER},
    }})
}

async fn is_established(target: &Target, scope: &Scope) -> anyhow::Result<bool> {
    let live = target.get(scope).await?;
    let conditions = live.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let mut conditions = conditions.iter();
    Ok(conditions.any(|condition| condition["type"] == "Established" && condition["status"] == "True"))
}

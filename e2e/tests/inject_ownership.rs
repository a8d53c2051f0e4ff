//! Whose the bundle fields are: taken over from older releases of the peer, kept, and given up when asked.

mod common;

use anyhow::{Context as _, ensure};
use api::keys::annotation;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::targets::{INJECTED_WITHIN, MANAGER, Target, owned_fields, owns, trusted};
use e2e::authority::Authority;
use e2e::namespace::{self, Scope};
use e2e::resources::refusal;
use e2e::wait;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

#[tokio::test]
async fn a_bundle_that_an_older_release_wrote_by_update_is_taken_over() -> anyhow::Result<()> {
    namespace::own("update", |scope| async move {
        let old = Authority::new("Old CA")?;
        let target = Target::webhook_configuration(&scope).await?;
        target.event(&scope, "SourceNotFound").await?;
        let api = scope.resource(target.api_version, target.kind);
        let mut webhooks = api.get(&target.name).await?.data["webhooks"].clone();
        for entry in webhooks.as_array_mut().context("there are no entries")? {
            entry["clientConfig"]["caBundle"] = json!(STANDARD.encode(&old.certificate));
        }
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        api.patch(&target.name, &params, &Patch::Merge(json!({"webhooks": webhooks}))).await?;
        ensure!(owned_fields(&target.get(&scope).await?).is_err(), "the fields are not managed by update");
        let new = trusted(&scope, "New CA").await?;
        target.holds(&scope, &[&old, &new]).await?;
        // Fails as long as anything is ours by update.
        owns(&target.get(&scope).await?, target.owned)
    })
    .await
}

#[tokio::test]
async fn a_target_that_stops_asking_keeps_its_bundle_until_it_is_released() -> anyhow::Result<()> {
    namespace::own("release", |scope| async move {
        let (ca, targets) = Target::both_injected(&scope, "Former CA").await?;
        for target in targets {
            annotate(&target, &scope, &json!({annotation::INJECT_CA_FROM_SECRET: null})).await?;
            let told = target.event(&scope, "InjectionStopped").await?;
            ensure!(told.contains(annotation::RELEASE_BUNDLE), "the event says {told:?}");
            target.holds(&scope, &[&ca]).await?;
            annotate(&target, &scope, &json!({annotation::RELEASE_BUNDLE: "true"})).await?;
            target.event(&scope, "Released").await?;
            ensure!(target.bundles(&scope).await?.iter().all(Option::is_none), "the bundle stays");
            owns(&target.get(&scope).await?, &[])?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_released_definition_lets_its_owner_take_the_webhook_away() -> anyhow::Result<()> {
    namespace::own("conversion", |scope| async move {
        let ca = trusted(&scope, "Conversion CA").await?;
        let webhook = json!({"strategy": "Webhook", "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://127.0.0.1:9/convert"},
        }});
        let target = Target::definition(&scope, &json!({"strategy": "None"}), "applied").await?;
        // From now on a chart owns the section.
        let applied = |conversion: Value| {
            json!({
                "apiVersion": target.api_version,
                "kind": target.kind,
                "metadata": {"name": target.name},
                "spec": {"conversion": conversion},
            })
        };
        let api = scope.resource(target.api_version, target.kind);
        let chart = PatchParams::apply("chart").force();
        let with_webhook = applied(webhook);
        api.patch(&target.name, &chart, &Patch::Apply(&with_webhook)).await?;
        target.holds(&scope, &[&ca]).await?;
        let without = applied(json!({"strategy": "None"}));
        refusal(api.patch(&target.name, &chart, &Patch::Apply(&without)).await)?;
        let release = json!({annotation::INJECT_CA_FROM_SECRET: null, annotation::RELEASE_BUNDLE: "true"});
        annotate(&target, &scope, &release).await?;
        wait::until("the chart to take the webhook away", INJECTED_WITHIN, || async {
            api.patch(&target.name, &chart, &Patch::Apply(&without)).await
        })
        .await?;
        let live = target.get(&scope).await?;
        ensure!(
            live.data["spec"]["conversion"] == json!({"strategy": "None"}),
            "it is {:?}",
            live.data["spec"]
        );
        Ok(())
    })
    .await
}

async fn annotate(target: &Target, scope: &Scope, annotations: &Value) -> anyhow::Result<()> {
    let patch = json!({"metadata": {"annotations": annotations}});
    target.patch(scope, &Patch::Merge(&patch)).await?;
    Ok(())
}

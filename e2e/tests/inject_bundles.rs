//! CA bundles that reach the objects which ask for them, and nothing else that does.

mod common;

use anyhow::{Context as _, ensure};
use api::keys::annotation;
use common::injectors;
use common::targets::{INJECTED_WITHIN, SECRET, Target, consent, owns, set_bundle, versions};
use e2e::authority::{Authority, trust_secret};
use e2e::namespace::{self, Scope};
use e2e::{install, wait};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

#[tokio::test]
async fn without_the_owners_consent_nothing_is_taken_from_a_secret() -> anyhow::Result<()> {
    namespace::own("consent", |scope| async move {
        let ca = Authority::new("Consent CA")?;
        let mut secret = trust_secret(SECRET, &ca.certificate);
        secret["metadata"]["annotations"] = json!({annotation::ALLOW_DIRECT_INJECTION: "false"});
        scope.create(&secret).await?;
        let target = Target::webhook_configuration(&scope).await?;
        let told = target.event(&scope, "SourceNotAllowed").await?;
        ensure!(told.contains(annotation::ALLOW_DIRECT_INJECTION), "the event says {told:?}");
        ensure!(target.bundles(&scope).await? == [None, None], "a bundle was injected");

        consent(&scope).await?;
        target.holds(&scope, &[&ca]).await
    })
    .await
}

#[tokio::test]
async fn a_webhook_configuration_and_an_api_service_get_the_bundle_and_keep_the_rest() -> anyhow::Result<()> {
    namespace::own("inject", |scope| async move {
        let (_, targets) = Target::both_injected(&scope, "Injected CA").await?;
        for target in targets {
            let live = target.get(&scope).await?;
            ensure!(
                target.without_bundles(&live.data["spec"], &live.data["webhooks"]) == target.sent,
                "{} is now {:?}",
                target.name,
                live.data
            );
            owns(&live, target.owned)?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_bundle_that_cannot_be_read_leaves_the_good_one() -> anyhow::Result<()> {
    namespace::own("broken", |scope| async move {
        let (ca, targets) = Target::both_injected(&scope, "Good CA").await?;
        let before = versions(&scope, &targets).await?;
        let half: String = ca.certificate.chars().take(ca.certificate.len() / 2).collect();
        set_bundle(&scope, &half).await?;
        for target in &targets {
            target.event(&scope, "InvalidPEM").await?;
        }
        ensure!(versions(&scope, &targets).await? == before, "a target was written");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_private_key_beside_the_ca_is_never_published() -> anyhow::Result<()> {
    namespace::own("key", |scope| async move {
        let ca = Authority::new("Careless CA")?;
        scope.create(&trust_secret(SECRET, &format!("{}{}", ca.certificate, ca.key))).await?;
        let body = ca.key.lines().nth(1).context("the key has no body")?;
        for target in Target::both(&scope).await? {
            let told = target.event(&scope, "PrivateKeyInSource").await?;
            ensure!(!told.contains(body), "the event shows the key");
            let live = serde_json::to_string(&target.get(&scope).await?)?;
            ensure!(!live.contains("caBundle"), "{} got a bundle", target.name);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_rotated_ca_is_trusted_beside_the_former_one() -> anyhow::Result<()> {
    namespace::own("rotate", |scope| async move {
        let (old, targets) = Target::both_injected(&scope, "Old CA").await?;
        let new = Authority::new("New CA")?;
        set_bundle(&scope, &new.certificate).await?;
        for target in &targets {
            target.holds(&scope, &[&old, &new]).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_restart_writes_nothing() -> anyhow::Result<()> {
    namespace::own("restart", |scope| async move {
        let (ca, targets) = Target::both_injected(&scope, "Calm CA").await?;
        let before = versions(&scope, &targets).await?;
        restart_cainjector(&scope).await?;
        // What comes after the restart is served after what the new process found there.
        let sentinel = Target::create(&scope, "sentinel").await?;
        sentinel.holds(&scope, &[&ca]).await?;
        ensure!(versions(&scope, &targets).await? == before, "a target was written");
        Ok(())
    })
    .await
}

async fn restart_cainjector(scope: &Scope) -> anyhow::Result<()> {
    let api = Api::<Pod>::namespaced(scope.client.clone(), install::RELEASE);
    let former: Vec<_> =
        injectors::all(scope).await?.into_iter().filter_map(|pod| pod.metadata.name).collect();
    ensure!(!former.is_empty(), "no cainjector runs");
    for name in &former {
        api.delete(name, &DeleteParams::default()).await?;
    }
    wait::until("the former cainjector to be gone", INJECTED_WITHIN, || async {
        for name in &former {
            ensure!(api.get_opt(name).await?.is_none(), "{name} is still there");
        }
        Ok(())
    })
    .await
}

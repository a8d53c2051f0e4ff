//! CA bundles that reach the objects which ask for them, and nothing else that does.

mod common;

use anyhow::{Context as _, ensure};
use api::keys::annotation;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::targets::{SECRET, Target, consent, owns, patch_secret, set_bundle, trusted, versions};
use e2e::authority::{Authority, trust_secret};
use e2e::namespace;
use kube::api::Patch;
use serde_json::{Value, json};

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
async fn a_source_that_loses_its_ca_takes_no_trust_away() -> anyhow::Result<()> {
    for (prefix, change) in
        [("no-key", json!({"data": {"ca.crt": null}})), ("empty", json!({"data": {"ca.crt": ""}}))]
    {
        namespace::own(prefix, |scope| async move {
            let (ca, targets) = Target::both_injected(&scope, "Good CA").await?;
            let before = versions(&scope, &targets).await?;
            patch_secret(&scope, &change).await?;
            for target in &targets {
                target.event(&scope, "NoCAData").await?;
                target.holds(&scope, &[&ca]).await?;
            }
            ensure!(versions(&scope, &targets).await? == before, "a target was written");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_its_owner_makes_of_a_bundle_gets_the_ca_and_keeps_what_is_the_owners() -> anyhow::Result<()> {
    namespace::own("edited", |scope| async move {
        let (own, ca) = (Authority::new("Own CA")?, trusted(&scope, "Injected CA").await?);
        let target = Target::webhook_configuration(&scope).await?;
        target.holds(&scope, &[&ca]).await?;
        let entries = |op: &str, bundle: Option<&str>| -> anyhow::Result<_> {
            let operations = target.pointers.iter().map(|pointer| match bundle {
                Some(bundle) => json!({"op": op, "path": pointer, "value": STANDARD.encode(bundle)}),
                None => json!({"op": op, "path": pointer}),
            });
            let operations: Value = operations.collect();
            Ok(Patch::Json::<()>(serde_json::from_value(operations)?))
        };
        target.patch(&scope, &entries("replace", Some(&own.certificate))?).await?;
        target.holds(&scope, &[&own, &ca]).await?;
        target.patch(&scope, &entries("replace", Some("\n"))?).await?;
        target.holds(&scope, &[&ca]).await?;
        target.patch(&scope, &entries("remove", None)?).await?;
        target.holds(&scope, &[&ca]).await
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

//! Targets that can have no bundle or are going, and certificates that have expired or are given twice.

mod common;

use anyhow::{Context as _, ensure};
use api::keys::annotation;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::targets::{INJECTED_WITHIN, Target, owns, set_bundle, trusted, versions};
use e2e::authority::Authority;
use e2e::namespace::{self, Scope};
use e2e::wait;
use kube::api::{DeleteParams, Patch};
use serde_json::{Value, json};

#[tokio::test]
async fn an_api_service_that_can_have_no_bundle_is_told_why_and_left_alone() -> anyhow::Result<()> {
    for (prefix, spec, wanted) in [
        ("insecure", json!({"insecureSkipTLSVerify": true}), "spec.insecureSkipTLSVerify"),
        ("local", json!({"service": null}), "spec.service"),
    ] {
        namespace::own(prefix, |scope| async move {
            let target = Target::api_service(&scope).await?;
            target.event(&scope, "SourceNotFound").await?;
            target.patch(&scope, &Patch::Merge(json!({"spec": spec}))).await?;
            let before = target.get(&scope).await?;
            trusted(&scope, "Unneeded CA").await?;
            let told = target.event(&scope, "NotApplicable").await?;
            ensure!(told.contains(wanted), "the event says {told:?}");
            let after = target.get(&scope).await?;
            ensure!(after.data["spec"] == before.data["spec"], "it is now {:?}", after.data["spec"]);
            owns(&after, &[])
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn only_the_word_true_asks_for_the_ca_of_the_api_server() -> anyhow::Result<()> {
    namespace::own("yes", |scope| async move {
        let asks = |value: &str| json!({annotation::INJECT_APISERVER_CA: value});
        let targets = [
            Target::asking(&scope, "yes", &asks("yes")).await?,
            Target::asking(&scope, "upper", &asks("True")).await?,
        ];
        let before = versions(&scope, &targets).await?;
        // What came later is served by then.
        let sentinel = Target::asking(&scope, "true", &asks("true")).await?;
        has_bundle(&sentinel, &scope).await?;
        ensure!(versions(&scope, &targets).await? == before, "a target was written");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn expired_certificates_leave_the_bundle_and_a_certificate_given_twice_is_held_once()
-> anyhow::Result<()> {
    namespace::own("expired", |scope| async move {
        let [own, new] = [Authority::new("Own CA")?, Authority::new("New CA")?];
        let expired = Authority::expired("Expired CA")?;
        let target = Target::webhook_configuration(&scope).await?;
        target.event(&scope, "SourceNotFound").await?;
        // What the owner trusts already stays, as far as it is of use.
        let bundle = STANDARD.encode([&expired, &own, &own].map(|ca| ca.certificate.as_str()).concat());
        let operations = [0, 1].map(|number| {
            json!({"op": "add", "path": format!("/webhooks/{number}/clientConfig/caBundle"), "value": bundle})
        });
        target.patch(&scope, &Patch::Json::<()>(serde_json::from_value(json!(operations))?)).await?;
        trusted(&scope, "Replaced CA").await?;
        let twice = [&new, &expired, &new].map(|ca| ca.certificate.as_str()).concat();
        set_bundle(&scope, &twice).await?;
        wait_for_last(&target, &scope, &new).await?;
        for bundle in target.bundles(&scope).await? {
            let bundle = bundle.context("there is no bundle")?;
            let count = |ca: &Authority| Ok::<_, anyhow::Error>(occurrences(&bundle, &ca.der()?));
            ensure!(count(&expired)? == 0, "an expired certificate is there");
            ensure!(count(&own)? == 1 && count(&new)? == 1, "{} certificates are there", bundle.len());
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_source_whose_certificates_have_all_expired_takes_no_trust_away() -> anyhow::Result<()> {
    namespace::own("all-expired", |scope| async move {
        let (_, targets) = Target::both_injected(&scope, "Lasting CA").await?;
        let before = versions(&scope, &targets).await?;
        let all = [Authority::expired("Old CA")?, Authority::expired("Older CA")?];
        set_bundle(&scope, &all.map(|ca| ca.certificate).concat()).await?;
        for target in &targets {
            target.event(&scope, "CAExpired").await?;
        }
        ensure!(versions(&scope, &targets).await? == before, "a target was written");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_target_that_is_going_is_not_written_any_more() -> anyhow::Result<()> {
    namespace::own("going", |scope| async move {
        let targets = [Target::webhook_configuration(&scope).await?];
        let [target] = &targets;
        target.event(&scope, "SourceNotFound").await?;
        let finalizers = |finalizers: Value| Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
        target.patch(&scope, &finalizers(json!(["signet.example/stay"]))).await?;
        let api = scope.resource(target.api_version, target.kind);
        api.delete(&target.name, &DeleteParams::default()).await?;
        let before = versions(&scope, &targets).await?;
        ensure!(target.get(&scope).await?.metadata.deletion_timestamp.is_some(), "it is not going");
        let ca = trusted(&scope, "Late CA").await?;
        let sentinel = Target::create(&scope, "sentinel").await?;
        sentinel.holds(&scope, &[&ca]).await?;
        let after = versions(&scope, &targets).await;
        target.patch(&scope, &finalizers(Value::Null)).await?;
        ensure!(after? == before, "it was written");
        Ok(())
    })
    .await
}

async fn has_bundle(target: &Target, scope: &Scope) -> anyhow::Result<()> {
    wait::until(&format!("the bundles of {}", target.name), INJECTED_WITHIN, || async {
        let bundles = target.bundles(scope).await?;
        ensure!(bundles.iter().all(Option::is_some), "one is not there yet");
        Ok(())
    })
    .await
}

/// Waits until every bundle holds the certificate of this CA.
async fn wait_for_last(target: &Target, scope: &Scope, ca: &Authority) -> anyhow::Result<()> {
    let wanted = ca.der()?;
    wait::until(&format!("the last CA in {}", target.name), INJECTED_WITHIN, || async {
        for bundle in target.bundles(scope).await? {
            ensure!(occurrences(&bundle.unwrap_or_default(), &wanted) > 0, "it is not there yet");
        }
        Ok(())
    })
    .await
}

fn occurrences(bundle: &[Vec<u8>], wanted: &[u8]) -> usize {
    bundle.iter().filter(|certificate| certificate.as_slice() == wanted).count()
}

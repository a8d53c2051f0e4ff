//! Where CA bundles come from: Secrets whose owners consent, the Secrets of Certificates, and what every pod
//! has of the API server.

mod common;

use anyhow::{Context as _, ensure};
use api::keys::annotation;
use common::targets::{
    CERTIFICATE, INJECTED_WITHIN, SECRET, Target, certificate, consent, issued, set_bundle, trusted,
};
use e2e::authority::{Authority, trust_secret};
use e2e::namespace::{self, Scope};
use e2e::wait;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

#[tokio::test]
async fn a_reference_that_cannot_be_followed_is_told_and_blocks_the_other_sources() -> anyhow::Result<()> {
    namespace::own("malformed", |scope| async move {
        trusted(&scope, "Second choice").await?;
        for (number, annotations) in [
            json!({annotation::INJECT_CA_FROM_SECRET: "no-slash", annotation::INJECT_APISERVER_CA: "true"}),
            json!({annotation::INJECT_CA_FROM: "ns/a/b"}),
        ]
        .iter()
        .enumerate()
        {
            let target = Target::asking(&scope, &format!("hooks-{number}"), annotations).await?;
            target.event(&scope, "MalformedReference").await?;
            ensure!(target.bundles(&scope).await? == [None, None], "{annotations} gave a bundle");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_secret_that_is_not_ready_to_be_a_source_is_told_and_served_when_it_is() -> anyhow::Result<()> {
    namespace::own("secret", |scope| async move {
        let ca = Authority::new("Late CA")?;
        let target = Target::webhook_configuration(&scope).await?;
        target.event(&scope, "SourceNotFound").await?;
        let mut secret = trust_secret(SECRET, "");
        secret["metadata"]["annotations"] = json!({annotation::ALLOW_DIRECT_INJECTION: "True"});
        scope.create(&secret).await?;
        target.event(&scope, "SourceNotAllowed").await?;
        consent(&scope).await?;
        target.event(&scope, "NoCAData").await?;
        set_bundle(&scope, &ca.certificate).await?;
        target.holds(&scope, &[&ca]).await?;
        scope.api::<Secret>().delete(SECRET, &DeleteParams::default()).await?;
        target.event(&scope, "SourceNotFound").await?;
        target.holds(&scope, &[&ca]).await
    })
    .await
}

#[tokio::test]
async fn a_certificate_gives_the_ca_of_its_secret_whichever_comes_first() -> anyhow::Result<()> {
    namespace::own("certificate", |scope| async move {
        let (old, new) = (Authority::new("Old CA")?, Authority::new("New CA")?);
        scope.create(&issued("early", CERTIFICATE, &old)).await?;
        let target = asking_certificate(&scope).await?;
        target.event(&scope, "SourceNotFound").await?;
        scope.create(&certificate("early")).await?;
        target.holds(&scope, &[&old]).await?;
        // Another Secret, which is there only afterwards.
        let patch = json!({"spec": {"secretName": "late"}});
        let certificates = scope.resource("cert-manager.io/v1", "Certificate");
        certificates.patch(CERTIFICATE, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        scope.create(&issued("late", CERTIFICATE, &new)).await?;
        target.holds(&scope, &[&old, &new]).await
    })
    .await
}

#[tokio::test]
async fn a_secret_that_is_another_certificates_is_not_taken() -> anyhow::Result<()> {
    namespace::own("owner", |scope| async move {
        let ca = Authority::new("Foreign CA")?;
        scope.create(&issued("tls", "other", &ca)).await?;
        scope.create(&certificate("tls")).await?;
        let target = asking_certificate(&scope).await?;
        let told = target.event(&scope, "SourceNotOwned").await?;
        ensure!(told.contains("\"other\"") && told.contains("\"web\""), "the event says {told:?}");
        ensure!(target.bundles(&scope).await? == [None, None], "a bundle was injected");
        let owner = json!({"metadata": {"annotations": {annotation::CERTIFICATE_NAME: CERTIFICATE}}});
        scope.api::<Secret>().patch("tls", &PatchParams::default(), &Patch::Merge(&owner)).await?;
        target.holds(&scope, &[&ca]).await
    })
    .await
}

#[tokio::test]
async fn two_rotations_at_once_lose_no_ca() -> anyhow::Result<()> {
    namespace::own("twice", |scope| async move {
        let cas: Vec<_> =
            (0..4).map(|number| Authority::new(&format!("CA {number}"))).collect::<Result<_, _>>()?;
        let [first, ..] = cas.as_slice() else { unreachable!("four were made") };
        scope.create(&trust_secret(SECRET, &first.certificate)).await?;
        let target = Target::webhook_configuration(&scope).await?;
        target.holds(&scope, &[first]).await?;
        for ca in &cas {
            set_bundle(&scope, &ca.certificate).await?;
        }
        target.holds(&scope, &cas.iter().collect::<Vec<_>>()).await
    })
    .await
}

#[tokio::test]
async fn the_ca_of_the_api_server_is_that_of_every_pod() -> anyhow::Result<()> {
    namespace::own("apiserver", |scope| async move {
        let asks = json!({annotation::INJECT_APISERVER_CA: "true"});
        let target = Target::asking(&scope, "hooks", &asks).await?;
        let pods = scope.api::<ConfigMap>();
        let published = wait::until("the CA that every pod has", INJECTED_WITHIN, || async {
            let data = pods.get("kube-root-ca.crt").await?.data.unwrap_or_default();
            data.get("ca.crt").cloned().context("it is not there yet")
        })
        .await?;
        target.holds(&scope, &[&Authority { certificate: published, key: String::new() }]).await
    })
    .await
}

async fn asking_certificate(scope: &Scope) -> anyhow::Result<Target> {
    let source = format!("{}/{CERTIFICATE}", scope.namespace);
    Target::asking(scope, "hooks", &json!({annotation::INJECT_CA_FROM: source})).await
}

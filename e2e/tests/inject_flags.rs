//! Injections by a cainjector with flags that change what it takes from a source, and what it leaves in a bundle.
//!
//! A test program of its own, whose tests take turns: they change how the cainjector is installed, and put it back.

mod common;

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use api::keys::annotation;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::injectors::{self, with_injectors};
use common::targets::{INJECTED_WITHIN, SECRET, Target, set_bundle, trusted};
use e2e::authority::{Authority, trust_secret};
use e2e::namespace::Scope;
use e2e::wait;
use kube::api::Patch;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A namespace that every cluster has, and in which no test has a source.
const IGNORED: &str = "kube-public";

#[tokio::test]
async fn a_source_in_an_ignored_namespace_is_told_and_not_taken_while_others_are() -> anyhow::Result<()> {
    with_injectors("ignored", 1, &[&format!("--ignore-namespaces={IGNORED}")], |scope| async move {
        let (ca, ignored) = (trusted(&scope, "Served CA").await?, Authority::new("Ignored CA")?);
        let name = format!("{}-ca", scope.namespace);
        let mut secret = trust_secret(&name, &ignored.certificate);
        secret["metadata"]["namespace"] = json!(IGNORED);
        scope.create(&secret).await?;
        let asks = json!({annotation::INJECT_CA_FROM_SECRET: format!("{IGNORED}/{name}")});
        let target = Target::asking(&scope, "ignored", &asks).await?;
        let told = target.event(&scope, "NamespaceNotServed").await?;
        ensure!(told.contains("--ignore-namespaces"), "the event says {told:?}");
        Target::webhook_configuration(&scope).await?.holds(&scope, &[&ca]).await?;
        ensure!(target.bundles(&scope).await? == [None, None], "a bundle was injected");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn without_merging_a_bundle_is_what_the_source_has_and_a_broken_source_replaces_nothing()
-> anyhow::Result<()> {
    with_injectors("replacing", 1, &["--feature-gates=CAInjectorMerging=false"], |scope| async move {
        let (ca, targets) = Target::both_injected(&scope, "Old CA").await?;
        set_bundle(&scope, "no PEM").await?;
        for target in &targets {
            target.event(&scope, "InvalidPEM").await?;
            target.holds(&scope, &[&ca]).await?;
        }
        let [new, second] = [Authority::new("New CA")?, Authority::new("Second CA")?];
        let both = format!("# two of them\n{}{}", new.certificate, second.certificate);
        set_bundle(&scope, &both).await?;
        for target in &targets {
            target.holds(&scope, &[&new, &second]).await?;
            let told = target.event(&scope, "CertificatesRemoved").await?;
            ensure!(told.contains("CN=Old CA") && told.contains("CAInjectorMerging"), "it says {told:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_denied_leaves_bundles_although_the_source_is_gone_and_stays_where_nothing_else_is()
-> anyhow::Result<()> {
    let (stolen, good) = (Authority::new("Stolen CA")?, Authority::new("Good CA")?);
    let fingerprint = fingerprint(&stolen)?;
    let flag = format!("--deny-certificates={fingerprint}");
    with_injectors("denied", 1, &[&flag], |scope| async move {
        // Both are there before anybody asks for a CA.
        let nobody = json!({annotation::INJECT_APISERVER_CA: "not yet"});
        let [held, last] =
            [Target::asking(&scope, "held", &nobody).await?, Target::asking(&scope, "last", &nobody).await?];
        put(&scope, &held, &[&stolen, &good]).await?;
        put(&scope, &last, &[&stolen]).await?;
        let asks = json!({"metadata": {"annotations": {
            annotation::INJECT_APISERVER_CA: null,
            annotation::INJECT_CA_FROM_SECRET: format!("{}/{SECRET}", scope.namespace),
        }}});
        for target in [&held, &last] {
            target.patch(&scope, &Patch::Merge(&asks)).await?;
        }
        held.holds(&scope, &[&good]).await?;
        let told = held.event(&scope, "CertificatesRemoved").await?;
        ensure!(told.contains(&fingerprint) && told.contains("--deny-certificates"), "it says {told:?}");
        held.event(&scope, "SourceNotFound").await?;

        let told = last.event(&scope, "SourceNotFound").await?;
        ensure!(told.contains(&fingerprint), "the event does not name what stays: {told:?}");
        last.holds(&scope, &[&stolen]).await?;
        wait::until("the probe to name what keeps a denied CA", INJECTED_WITHIN, || async {
            let told = injectors::unready(&scope).await?;
            ensure!(told.contains(&last.name) && !told.contains(&held.name), "it says {told:?}");
            Ok(())
        })
        .await?;
        // A source with another CA takes it out.
        scope.create(&trust_secret(SECRET, &good.certificate)).await?;
        for target in [&held, &last] {
            target.holds(&scope, &[&good]).await?;
        }
        wait::until("the cainjector to be ready", INJECTED_WITHIN, || async {
            injectors::unready(&scope).await.err().map(drop).context("it is unready")
        })
        .await
    })
    .await
}

/// Puts the bundle of these into each entry of a target, as its owner does.
async fn put(scope: &Scope, target: &Target, cas: &[&Authority]) -> anyhow::Result<()> {
    let bundle: String = cas.iter().map(|ca| ca.certificate.as_str()).collect();
    let operations = target
        .pointers
        .iter()
        .map(|pointer| json!({"op": "add", "path": pointer, "value": STANDARD.encode(&bundle)}));
    let operations: Value = operations.collect();
    target.patch(scope, &Patch::Json::<()>(serde_json::from_value(operations)?)).await?;
    Ok(())
}

/// SHA-256 of a certificate, as the flag takes it and as events have it.
fn fingerprint(ca: &Authority) -> anyhow::Result<String> {
    let mut text = String::new();
    for octet in Sha256::digest(ca.der()?) {
        write!(text, "{octet:02x}")?;
    }
    Ok(text)
}

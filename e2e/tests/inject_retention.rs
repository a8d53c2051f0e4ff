//! A CA leaves bundles some time after it has left its source, where the operator wants that.
//!
//! A test program of its own, whose tests take turns: the cainjector of all tests runs with other flags meanwhile.

mod common;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::replicas::HARM;
use common::targets::{INJECTED_WITHIN, Target, set_bundle, trusted};
use e2e::authority::Authority;
use e2e::namespace::{self, Scope};
use e2e::{install, paths, wait};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch};
use serde_json::json;

/// How long a CA is retained: long enough for a restart of the cainjector meanwhile.
const RETENTION: Duration = Duration::from_secs(40);

/// How long a retired CA may take to be taken out on a busy machine, beyond the retention.
const RETIRED_WITHIN: Duration = Duration::from_secs(60);

/// The ConfigMap that the chart names.
const MEMORY: &str = "cert-manager-cainjector-memory";

#[tokio::test]
async fn a_ca_leaves_after_the_retention_although_the_cainjector_was_restarted() -> anyhow::Result<()> {
    let _alone = HARM.write().await;
    namespace::own("retention", |scope| async move {
        let retention = format!("cainjector.caRetention={}s", RETENTION.as_secs());
        let outcome = match with_values(&scope, &[&retention, "cainjector.caRetentionBelowMinimum=true"]) {
            Ok(()) => retire(&scope).await,
            Err(error) => Err(error),
        };
        with_values(&scope, &["cainjector.caRetention=", "cainjector.caRetentionBelowMinimum=false"])?;
        outcome
    })
    .await
}

#[tokio::test]
async fn what_was_just_replaced_stays_whatever_the_largest_number_of_certificates() -> anyhow::Result<()> {
    let _alone = HARM.write().await;
    namespace::own("cap", |scope| async move {
        let outcome = match with_values(&scope, &["cainjector.maxCertificates=1"]) {
            Ok(()) => rotate(&scope).await,
            Err(error) => Err(error),
        };
        with_values(&scope, &["cainjector.maxCertificates=0"])?;
        outcome
    })
    .await
}

/// Replaces a CA thrice. That the former ones have left the source is known each time, and they are no surplus yet.
async fn rotate(scope: &Scope) -> anyhow::Result<()> {
    let mut cas = vec![trusted(scope, "CA 0").await?];
    let target = Target::api_service(scope).await?;
    target.holds(scope, &[&cas[0]]).await?;
    let memories = Api::<ConfigMap>::namespaced(scope.client.clone(), install::RELEASE);
    let knows = format!("secret {}/", scope.namespace);
    for number in 1..=3 {
        let ca = Authority::new(&format!("CA {number}"))?;
        set_bundle(scope, &ca.certificate).await?;
        cas.push(ca);
        let has_left = |text: &str| {
            let lines = section(text, &knows).unwrap_or_default();
            lines.lines().filter(|line| line.ends_with('Z')).count() == number
        };
        remembers(&memories, has_left).await?;
        target.holds(scope, &cas.iter().collect::<Vec<_>>()).await?;
    }
    Ok(())
}

async fn retire(scope: &Scope) -> anyhow::Result<()> {
    let (foreign, new, last) =
        (Authority::new("Foreign CA")?, Authority::new("New CA")?, Authority::new("Last CA")?);
    let old = trusted(scope, "Old CA").await?;
    let target = Target::api_service(scope).await?;
    target.holds(scope, &[&old]).await?;
    let both = STANDARD.encode(format!("{}{}", foreign.certificate, old.certificate));
    let patch = json!({"spec": {"caBundle": both}});
    target.patch(scope, &Patch::Merge(&patch)).await?;
    let memories = Api::<ConfigMap>::namespaced(scope.client.clone(), install::RELEASE);
    let knows = format!("secret {}/", scope.namespace);
    remembers(&memories, |text| text.contains(&knows)).await?;

    set_bundle(scope, &new.certificate).await?;
    target.holds(scope, &[&foreign, &old, &new]).await?;
    remembers(&memories, |text| section(text, &knows).is_some_and(|lines| lines.contains('Z'))).await?;
    let pods = Api::<Pod>::namespaced(scope.client.clone(), install::RELEASE);
    let of_cainjector = ListParams::default().labels("app.kubernetes.io/component=cainjector");
    pods.delete_collection(&DeleteParams::default(), &of_cainjector).await?;
    // Another one knows only from the memory that this CA was in the source.
    holds_within(&target, scope, &[&foreign, &new]).await?;

    memories.delete(MEMORY, &DeleteParams::default()).await?;
    set_bundle(scope, &last.certificate).await?;
    target.holds(scope, &[&foreign, &new, &last]).await?;
    remembers(&memories, |text| text.contains(&knows)).await
}

/// Waits for the end of the retention, and then until the bundles are these.
async fn holds_within(target: &Target, scope: &Scope, cas: &[&Authority]) -> anyhow::Result<()> {
    wait::until("a CA to be retired", RETENTION + RETIRED_WITHIN, || async {
        let bundles = target.bundles(scope).await?;
        let held = bundles.first().and_then(Option::as_ref).context("there is no bundle")?;
        ensure!(held.len() == cas.len(), "{} certificates are there", held.len());
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    target.holds(scope, cas).await
}

async fn remembers(memories: &Api<ConfigMap>, is_right: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    wait::until("the memory to be written", INJECTED_WITHIN, || async {
        let data = memories.get(MEMORY).await?.data.unwrap_or_default();
        let text = data.get("sources").context("there is no text in it")?;
        ensure!(is_right(text), "it is {text:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// The certificates below the line of a source.
fn section(text: &str, source: &str) -> Option<String> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(source));
    lines.next()?;
    Some(lines.take_while(|line| line.starts_with("  ")).collect::<Vec<_>>().join("\n"))
}

/// Upgrades the release with these values beside those that it has, and waits for its pods.
fn with_values(scope: &Scope, values: &[&str]) -> anyhow::Result<()> {
    let chart = paths::workspace().join("manifests/chart");
    let chart = chart.to_str().context("the path of the chart is not text")?;
    let mut arguments =
        vec!["upgrade", install::RELEASE, chart, "--namespace", install::RELEASE, "--reuse-values"];
    for value in values {
        arguments.extend(["--set", *value]);
    }
    arguments.extend(["--wait", "--timeout", "120s"]);
    scope.cluster.helm(&arguments)?;
    Ok(())
}

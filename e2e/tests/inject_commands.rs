//! The cainjector's commands in its own pod: what they say is what the injector does, and what `rbac` prints is enough.

mod common;

use std::io::Write as _;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use api::keys::annotation;
use common::replicas::HARM;
use common::targets::{SECRET, Target, set_bundle, trusted};
use e2e::authority::{Authority, trust_secret};
use e2e::cluster::Cluster;
use e2e::namespace::{self, Scope};
use e2e::resources::refusal;
use e2e::{install, wait};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// The installed Deployment, its account and its ClusterRole.
const CAINJECTOR: &str = "cert-manager-cainjector";

/// How long the API server may take to take rights away, or to give them: it hears of Roles by a watch.
const RIGHTS_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_broken_injection_is_explained_beside_a_working_one() -> anyhow::Result<()> {
    let _rights = HARM.read().await;
    namespace::own("explain", |scope| async move {
        let working = Target::webhook_configuration(&scope).await?;
        let ca = trusted(&scope, "Explained CA").await?;
        working.holds(&scope, &[&ca]).await?;
        let named = format!("validatingwebhookconfiguration/{}", working.name);
        let text = says(&scope.cluster, &["explain", &named], "", 0).await?;
        for part in [
            "in sync: it has what it asks for",
            &format!("From Secret {}/{SECRET}", scope.namespace),
            "CN=Explained CA",
            "managed by cert-manager-cainjector (Apply)",
        ] {
            ensure!(text.contains(part), "{part:?} is not in {text}");
        }

        let asks = json!({annotation::INJECT_CA_FROM: format!("{}/nowhere", scope.namespace)});
        let broken = Target::asking(&scope, "broken", &asks).await?;
        let told = broken.event(&scope, "SourceNotFound").await?;
        let named = format!("validatingwebhookconfigurations.admissionregistration.k8s.io/{}", broken.name);
        let text = says(&scope.cluster, &["explain", &named], "", 1).await?;
        ensure!(text.contains(&format!("SourceNotFound: {told}")), "the event says {told:?}, but {text}");

        let (status, _, error) = run(&scope.cluster, &["explain", "crd/nowhere.signet.example"], "").await?;
        ensure!(status == 2 && error.contains("does not exist"), "it ends with {status}: {error}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_plan_is_tried_and_nothing_is_written() -> anyhow::Result<()> {
    let _rights = HARM.read().await;
    namespace::own("plan", |scope| async move {
        let (old, new) = (trusted(&scope, "Old CA").await?, Authority::new("New CA")?);
        let target = Target::webhook_configuration(&scope).await?;
        target.holds(&scope, &[&old]).await?;
        set_bundle(&scope, &new.certificate).await?;
        target.holds(&scope, &[&old, &new]).await?;

        let planned = planned(&scope, &target, &[]).await?;
        ensure!(planned["verdict"]["state"] == "InSync", "the plan is {planned}");

        // One that replaces bundles would take the old CA out.
        let flags = ["--feature-gates=CAInjectorMerging=false", "--server-dry-run"];
        let planned = self::planned(&scope, &target, &flags).await?;
        ensure!(planned["verdict"]["state"] == "ToBeWritten", "the plan is {planned}");
        ensure!(planned["dryRun"]["accepted"] == true, "the API server says {planned}");
        let becomes = planned["fields"][0]["becomes"].as_array().context("nothing would be written")?;
        ensure!(becomes.len() == 1 && becomes[0]["subject"] == "CN=New CA", "the plan is {planned}");
        target.holds(&scope, &[&old, &new]).await
    })
    .await
}

#[tokio::test]
async fn mistakes_in_a_manifest_are_found_in_the_pod_too() -> anyhow::Result<()> {
    let _rights = HARM.read().await;
    let manifest = json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1.signet.example", "annotations": {annotation::INJECT_CA_FROM: "web"}},
        "spec": {"service": {"namespace": "a", "name": "b"}},
    });
    let text = says(&Cluster::shared()?, &["lint", "-f", "-"], &manifest.to_string(), 1).await?;
    ensure!(text.contains("error L10: ") && text.contains("write NAMESPACE/NAME"), "it says {text:?}");
    Ok(())
}

#[tokio::test]
async fn the_printed_roles_are_enough_and_open_no_other_secret() -> anyhow::Result<()> {
    let _alone = HARM.write().await;
    namespace::own("rbac", |scope| async move {
        let ca = trusted(&scope, "Named CA").await?;
        let target = Target::webhook_configuration(&scope).await?;
        target.holds(&scope, &[&ca]).await?;
        let roles = Api::<ClusterRole>::all(scope.client.clone());
        let installed = roles.get(CAINJECTOR).await?;
        let outcome = with_printed_roles(&scope, &target, &ca).await;
        // As the chart had it, whatever came of the test.
        let patch = Patch::Merge(json!({"rules": installed.rules}));
        roles.patch(CAINJECTOR, &PatchParams::default(), &patch).await?;
        let (unnamed, other) = outcome?;
        unnamed.holds(&scope, &[&other]).await
    })
    .await
}

/// Narrows the rights; the target that lacks them then, and the CA that it asks for.
async fn with_printed_roles(
    scope: &Scope,
    target: &Target,
    ca: &Authority,
) -> anyhow::Result<(Target, Authority)> {
    // As the chart of the tests adds them.
    let flags = ["rbac", "--inject-configmaps", "--inject-clustertrustbundles"];
    let roles = says(&scope.cluster, &flags, "", 0).await?;
    let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    let (status, _, error) = kubectl(&scope.cluster, &arguments, &roles).await?;
    ensure!(status == 0, "kubectl does not take the Roles: {error}");

    let other = Authority::new("Unnamed CA")?;
    scope.create(&trust_secret("unnamed", &other.certificate)).await?;
    let account = format!("system:serviceaccount:{}:{CAINJECTOR}", install::RELEASE);
    let secrets = Api::<Secret>::namespaced(scope.cluster.client_as(&account).await?, &scope.namespace);
    wait::until("the rights to be as printed", RIGHTS_WITHIN, || async {
        let refused = refusal(secrets.get("unnamed").await)?;
        ensure!(refused.code == 403, "the API server answers {refused:?}");
        secrets.get(SECRET).await.context("the named Secret cannot be read")?;
        anyhow::Ok(())
    })
    .await?;

    // A new process has no watch from before.
    let selector = "app.kubernetes.io/component=cainjector";
    scope.cluster.kubectl(&["delete", "pods", "-n", install::RELEASE, "-l", selector])?;
    let deployment = format!("deployment/{CAINJECTOR}");
    scope.cluster.kubectl(&["rollout", "status", &deployment, "-n", install::RELEASE, "--timeout=120s"])?;
    let new = Authority::new("Rotated CA")?;
    set_bundle(scope, &new.certificate).await?;
    target.holds(scope, &[ca, &new]).await?;

    let asks = json!({annotation::INJECT_CA_FROM_SECRET: format!("{}/unnamed", scope.namespace)});
    let unnamed = Target::asking(scope, "unnamed", &asks).await?;
    let told = unnamed.event(scope, "Forbidden").await?;
    ensure!(told.contains("needs get, list and watch on it"), "the event says {told:?}");
    ensure!(unnamed.bundles(scope).await? == [None, None], "a bundle was injected");
    Ok((unnamed, other))
}

/// What `plan` says about one target; about others it may say anything.
async fn planned(scope: &Scope, target: &Target, flags: &[&str]) -> anyhow::Result<Value> {
    let arguments: Vec<&str> = ["plan", "-o", "json"].iter().chain(flags).copied().collect();
    let (status, output, error) = run(&scope.cluster, &arguments, "").await?;
    ensure!(status < 2, "it ends with {status}: {error}");
    let plan: Value = serde_json::from_str(&output).context("the plan is no JSON")?;
    let targets = plan["targets"].as_array().context("the plan has no targets")?;
    let own = targets.iter().find(|each| each["name"] == target.name.as_str());
    own.cloned().with_context(|| format!("{} is not in {output}", target.name))
}

/// What a command prints that ends with this status.
async fn says(cluster: &Cluster, arguments: &[&str], input: &str, wanted: i32) -> anyhow::Result<String> {
    let (status, output, error) = run(cluster, arguments, input).await?;
    ensure!(status == wanted, "{arguments:?} ends with {status}: {output}{error}");
    Ok(output)
}

/// Runs the program in a pod of the installation.
async fn run(cluster: &Cluster, arguments: &[&str], input: &str) -> anyhow::Result<(i32, String, String)> {
    let deployment = format!("deployment/{CAINJECTOR}");
    let exec = ["exec", "-i", "-n", install::RELEASE, &deployment, "--", "/signet-cainjector"];
    let all: Vec<&str> = exec.iter().chain(arguments).copied().collect();
    kubectl(cluster, &all, input).await
}

/// Exit status and what was printed.
async fn kubectl(
    cluster: &Cluster,
    arguments: &[&str],
    input: &str,
) -> anyhow::Result<(i32, String, String)> {
    let mut command = cluster.kubectl_command();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let output = tokio::task::spawn_blocking(move || -> anyhow::Result<Output> {
        let mut child = command.spawn().context("failed to run kubectl")?;
        let mut stdin = child.stdin.take().context("kubectl has no standard input")?;
        stdin.write_all(input.as_bytes()).context("kubectl did not read its input")?;
        drop(stdin);
        Ok(child.wait_with_output()?)
    });
    let Output { status, stdout, stderr } = output.await??;
    let text = |bytes| String::from_utf8(bytes).context("kubectl printed something else than text");
    Ok((status.code().context("kubectl was killed")?, text(stdout)?, text(stderr)?))
}

//! The cainjector's replicas.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::namespace::{self, Scope};
use e2e::resources::refusal;
use e2e::{dump, install, wait};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::replicas::HARM;

/// The Deployment that the chart makes, and what the names of its pods begin with.
pub(crate) const DEPLOYMENT: &str = "cert-manager-cainjector";

/// The Lease in `kube-system` by which they take turns with each other, and with cert-manager's.
pub(crate) const LEASE: &str = "cert-manager-cainjector-leader-election";

/// How long a change of the installation may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(90);

/// Every pod, those that are going included.
pub(crate) async fn all(scope: &Scope) -> anyhow::Result<Vec<Pod>> {
    let of_injector = ListParams::default().labels("app.kubernetes.io/component=cainjector");
    Ok(Api::<Pod>::namespaced(scope.client.clone(), install::RELEASE).list(&of_injector).await?.items)
}

/// What the probe of a pod of the cainjector says that is not ready; an error where all are.
pub(crate) async fn unready(scope: &Scope) -> anyhow::Result<String> {
    for pod in all(scope).await? {
        let name = pod.metadata.name.context("a pod has no name")?;
        let path = format!("/api/v1/namespaces/{}/pods/http:{name}:6080/proxy/readyz", install::RELEASE);
        let request = http::Request::get(path).body(Vec::new())?;
        if let Ok(status) = refusal(scope.client.request_text(request).await) {
            return Ok(status.message);
        }
    }
    anyhow::bail!("all of them are ready")
}

/// Runs `test` while so many cainjectors run, with these flags beside their own, and puts the installation back.
pub(crate) async fn with_injectors<F, Fut>(
    prefix: &str,
    count: i32,
    flags: &[&str],
    test: F,
) -> anyhow::Result<()>
where
    F: FnOnce(Scope) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let _alone = HARM.write().await;
    namespace::own(prefix, |scope| async move {
        let former = deployments(&scope).get(DEPLOYMENT).await?.spec.context("the Deployment is empty")?;
        let former_count = former.replicas.unwrap_or(1);
        let container = former.template.spec.and_then(|mut spec| spec.containers.pop());
        let former_args = container.and_then(|container| container.args).context("it has no arguments")?;
        let mut args = former_args.clone();
        args.extend(flags.iter().map(|&flag| flag.to_owned()));
        let outcome = async {
            install_with(&scope, count, &args).await?;
            test(scope.clone()).await
        };
        let outcome = outcome.await;
        if outcome.is_err() {
            eprintln!("{}", dump::namespace(&scope.client, install::RELEASE).await);
        }
        // By way of none at all, so that no container is left that was started again.
        install_with(&scope, 0, &former_args).await?;
        install_with(&scope, former_count, &former_args).await?;
        outcome
    })
    .await
}

/// Waits until so many cainjectors run with these arguments, and no other.
async fn install_with(scope: &Scope, count: i32, args: &[String]) -> anyhow::Result<()> {
    let change = json!({"spec": {
        "replicas": count,
        "template": {"spec": {"containers": [{"name": "cainjector", "args": args}]}},
    }});
    let api = deployments(scope);
    api.patch(DEPLOYMENT, &PatchParams::default(), &Patch::Strategic::<Value>(change)).await?;
    wait::until(&format!("{count} cainjectors"), WITHIN, || async {
        let deployment = api.get(DEPLOYMENT).await?;
        let status = deployment.status.unwrap_or_default();
        ensure!(status.observed_generation >= deployment.metadata.generation, "nobody has noticed yet");
        let updated = status.updated_replicas.unwrap_or_default();
        ensure!(updated == count, "{updated} of them are new");
        let pods = all(scope).await?;
        let ready = pods.iter().filter(|pod| super::is_ready(pod)).count();
        ensure!(pods.len() == usize::try_from(count)?, "{} pods are there", pods.len());
        ensure!(pods.len() == ready, "{ready} pods are Ready");
        Ok(())
    })
    .await
}

fn deployments(scope: &Scope) -> Api<Deployment> {
    Api::namespaced(scope.client.clone(), install::RELEASE)
}

//! A namespace for each test, so that tests share a cluster without meeting.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client, Resource};

use crate::cluster::Cluster;
use crate::resources::Strays;
use crate::{dump, wait};

/// How long the controller manager may take to make a new namespace's service account.
const ACCOUNT_WITHIN: Duration = Duration::from_secs(30);

/// What a test works with.
#[derive(Clone)]
pub struct Scope {
    /// The cluster that it shares with other tests.
    pub cluster: Cluster,
    /// An administrator's client.
    pub client: Client,
    /// The test's own namespace.
    pub namespace: String,
    /// What it made elsewhere.
    pub(crate) strays: Strays,
}

impl Scope {
    /// The objects of one kind in the test's namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Waits until a pod is Ready.
    ///
    /// # Errors
    /// When it is not within `timeout`; the message holds its last state.
    pub async fn pod_ready(&self, name: &str, timeout: Duration) -> anyhow::Result<Pod> {
        let api = self.api::<Pod>();
        wait::until(&format!("pod {}/{name} to be Ready", self.namespace), timeout, || async {
            let pod = api.get(name).await?;
            let status = pod.status.clone().unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            match conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
            {
                true => Ok(pod),
                false => Err(anyhow::anyhow!(
                    "it is {}",
                    status.phase.unwrap_or_else(|| "not scheduled".to_owned())
                )),
            }
        })
        .await
    }
}

/// Runs `test` in a namespace of its own, as [`with`] does, in the cluster that all tests share.
///
/// # Errors
/// The test's own, or when there is no such cluster, or the namespace cannot be made.
pub async fn own<F, Fut, T>(prefix: &str, test: F) -> anyhow::Result<T>
where
    F: FnOnce(Scope) -> Fut,
    Fut: Future<Output = anyhow::Result<T>>,
{
    with(&Cluster::shared()?, prefix, test).await
}

/// Runs `test` in a new namespace whose name begins with `prefix`, and deletes it afterwards, and what the test created
/// elsewhere. When the test fails or panics, the namespace's pods, logs and events go to standard error first.
///
/// # Errors
/// The test's own, or when the namespace cannot be made.
pub async fn with<F, Fut, T>(cluster: &Cluster, prefix: &str, test: F) -> anyhow::Result<T>
where
    F: FnOnce(Scope) -> Fut,
    Fut: Future<Output = anyhow::Result<T>>,
{
    let client = cluster.client().await?;
    let namespace = create(&client, prefix).await?;
    let strays = Strays::default();
    let scope = Scope {
        cluster: cluster.clone(),
        client: client.clone(),
        namespace: namespace.clone(),
        strays: strays.clone(),
    };
    let outcome = AssertUnwindSafe(test(scope)).catch_unwind().await;
    if !matches!(outcome, Ok(Ok(_))) {
        eprintln!("{}", dump::namespace(&client, &namespace).await);
    }
    let tidied = strays.delete().await;
    // Nobody waits for the end: names are never used twice.
    let deleted = Api::<Namespace>::all(client).delete(&namespace, &DeleteParams::background()).await;
    match outcome {
        Ok(result) => {
            let value = result?;
            tidied?;
            deleted.with_context(|| format!("failed to delete namespace {namespace}"))?;
            Ok(value)
        }
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

async fn create(client: &Client, prefix: &str) -> anyhow::Result<String> {
    let metadata = ObjectMeta { generate_name: Some(format!("{prefix}-")), ..ObjectMeta::default() };
    let object = Namespace { metadata, ..Namespace::default() };
    let created = Api::<Namespace>::all(client.clone())
        .create(&PostParams::default(), &object)
        .await
        .with_context(|| format!("failed to create a namespace {prefix}-..."))?;
    let name = created.metadata.name.context("the API server gave the namespace no name")?;
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), &name);
    // A pod that is created earlier is refused.
    wait::until(&format!("the service account of namespace {name}"), ACCOUNT_WITHIN, || {
        accounts.get("default")
    })
    .await?;
    Ok(name)
}

//! What injections are measured with: Secrets, targets, a watch on these, and the start of the program.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use api::keys::annotation;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::authority::{Authority, trust_secret};
use e2e::cluster::Cluster;
use e2e::install::RELEASE;
use e2e::namespace::Scope;
use e2e::wait;
use futures::{Stream, TryStreamExt as _};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::core::{DynamicObject, PartialObjectMeta};
use serde_json::{Value, json};

use super::super::load;
use super::super::process::Process;

const PROGRAM: &str = "signet-cainjector";

/// How many objects are created at a time.
const AT_ONCE: usize = 16;

/// How long one change may take, and one start of the program; what takes longer is a failure. A machine that compiles
/// beside the measurement needs 40 s for a thousand targets.
const WITHIN: Duration = Duration::from_secs(180);

/// Bytes in a Secret that no target names; 20,000 of them have 100 MiB.
const SECRET_BYTES: usize = 5 * 1024;

/// Bytes of the schema of a definition that no target names, as small ones have them.
const SCHEMA_BYTES: usize = 8 * 1024;

/// Marks the targets of this measurement.
const LABEL: &str = "signet.example/bench";

/// Names of the webhooks of a target.
const ENTRIES: [&str; 2] = ["one.signet.example", "two.signet.example"];

/// The cluster, and the namespace of the measurement.
pub(super) struct Stage {
    scope: Scope,
}

impl Stage {
    pub(super) fn new(scope: &Scope) -> Self {
        Self { scope: scope.clone() }
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.scope.cluster
    }

    /// The running cainjector.
    pub(super) fn program(&self) -> anyhow::Result<Process> {
        match *self.scope.cluster.processes(PROGRAM) {
            [pid] => Ok(Process::new(pid)),
            ref others => bail!("{} instead of one {PROGRAM} run", others.len()),
        }
    }

    /// Waits until so many cainjectors, none or one, run and are Ready.
    pub(super) async fn scale(&self, count: usize) -> anyhow::Result<()> {
        self.order(count)?;
        wait::until("the cainjector", WITHIN, || async {
            let running = self.scope.cluster.processes(PROGRAM).len();
            ensure!(running == count, "{running} run");
            let ready = self.deployment(r"jsonpath={.status.readyReplicas}")?;
            ensure!(ready.trim().parse().unwrap_or(0) == count, "{ready:?} are Ready");
            Ok(())
        })
        .await
    }

    /// Starts the program anew and waits until it has nothing to do.
    pub(super) async fn start_anew(&self) -> anyhow::Result<Process> {
        self.scale(0).await?;
        self.scale(1).await?;
        let program = self.program()?;
        load::idle(program).await?;
        Ok(program)
    }

    /// Starts the program while a target waits for its CA; from the start to the injection.
    pub(super) async fn start_to_injection(&self, name: &str) -> anyhow::Result<Duration> {
        self.scale(0).await?;
        let group = self.group(name).await?;
        group.create(0..1).await?;
        let events = group.watch().await?;
        self.order(1)?;
        seen(events, 1, Instant::now()).await?;
        let injected = Instant::now();
        // Before anything else is waited for: what passes after the injection is no part of it.
        let took = self.program()?.age()?.saturating_sub(injected.elapsed());
        self.scale(1).await?;
        Ok(took)
    }

    fn order(&self, count: usize) -> anyhow::Result<()> {
        let replicas = format!("--replicas={count}");
        let deployment = format!("{RELEASE}-cainjector");
        let scale = ["-n", RELEASE, "scale", "deployment", &deployment, &replicas];
        self.scope.cluster.kubectl(&scale).map(drop)
    }

    fn deployment(&self, output: &str) -> anyhow::Result<String> {
        let deployment = format!("{RELEASE}-cainjector");
        self.scope.cluster.kubectl(&["-n", RELEASE, "get", "deployment", &deployment, "-o", output])
    }

    /// Creates Secrets that no target names.
    pub(super) async fn secrets(&self, numbers: Range<usize>) -> anyhow::Result<()> {
        let first = numbers.start;
        let content = "x".repeat(SECRET_BYTES);
        self.create_all(numbers.len(), move |index| {
            json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": format!("unrelated-{}", first + index)},
                "stringData": {"content": content},
            })
        })
        .await
    }

    /// Creates definitions that no target names.
    pub(super) async fn definitions(&self, count: usize) -> anyhow::Result<()> {
        let namespace = self.scope.namespace.clone();
        let description = "x".repeat(SCHEMA_BYTES);
        self.create_all(count, move |index| {
            // Some of a group, as real ones are.
            let group = format!("group{}.{namespace}.signet.example", index / 10);
            let singular = format!("thing{index}");
            json!({
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{singular}s.{group}")},
                "spec": {
                    "group": group,
                    "scope": "Namespaced",
                    "names": {
                        "plural": format!("{singular}s"), "singular": singular,
                        "kind": format!("Thing{index}"), "listKind": format!("Thing{index}List"),
                    },
                    "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                        "type": "object", "description": description, "x-kubernetes-preserve-unknown-fields": true,
                    }}}],
                },
            })
        })
        .await
    }

    async fn create_all(
        &self,
        count: usize,
        object: impl Fn(usize) -> Value + Clone + Send + Sync + 'static,
    ) -> anyhow::Result<()> {
        let scope = self.scope.clone();
        let create = move |index| -> load::Operation {
            let (scope, object) = (scope.clone(), object(index));
            Box::pin(async move { Ok(scope.create(&object).await.map(drop)?) })
        };
        load::each(count, AT_ONCE, create).await.map(drop)
    }

    /// A Secret with a CA, and no target yet.
    pub(super) async fn group(&self, name: &str) -> anyhow::Result<Group> {
        let ca = Authority::new(name)?;
        self.scope.create(&trust_secret(name, &ca.certificate)).await?;
        let stage = Self::new(&self.scope);
        let newest = Mutex::new(ca.certificate);
        Ok(Group { stage, name: name.to_owned(), size: AtomicUsize::new(0), newest })
    }

    /// Removes all targets.
    pub(super) async fn remove_targets(&self) -> anyhow::Result<()> {
        let ours = ListParams::default().labels(LABEL);
        self.targets().delete_collection(&DeleteParams::default(), &ours).await?;
        load::idle(self.program()?).await
    }

    /// Writes a target as the program does; of the answer it needs no more than the program.
    pub(super) async fn apply(&self, name: &str, body: &Value) -> anyhow::Result<()> {
        let params = PatchParams::apply(PROGRAM).force();
        let written = self.targets().patch_metadata(name, &params, &Patch::Apply(body)).await;
        written.map(drop).with_context(|| format!("failed to write {name}"))
    }

    fn targets(&self) -> Api<DynamicObject> {
        self.scope.resource("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")
    }
}

/// Targets that have their CA from one Secret.
pub(super) struct Group {
    stage: Stage,
    name: String,
    size: AtomicUsize,
    /// The CA in the Secret, PEM.
    newest: Mutex<String>,
}

impl Group {
    pub(super) fn cluster(&self) -> &Cluster {
        self.stage.cluster()
    }

    /// Makes it so large, and waits until all have their CA.
    pub(super) async fn grow(&self, size: usize) -> anyhow::Result<()> {
        let former = self.size.load(Ordering::Relaxed);
        let events = self.watch().await?;
        let began = Instant::now();
        tokio::try_join!(self.create(former..size), seen(events, size - former, began))?;
        Ok(())
    }

    /// Creates targets and waits for nothing.
    pub(super) async fn create(&self, numbers: Range<usize>) -> anyhow::Result<()> {
        let (first, namespace, group) =
            (numbers.start, self.stage.scope.namespace.clone(), self.name.clone());
        let object = move |index| configuration(&namespace, &group, first + index);
        self.stage.create_all(numbers.len(), object).await?;
        self.size.store(numbers.end, Ordering::Relaxed);
        Ok(())
    }

    /// Replaces the CA; how long each target took to be patched, from when the change was sent.
    pub(super) async fn change(&self) -> anyhow::Result<Vec<Duration>> {
        let ca = Authority::new(&self.name)?;
        let events = self.watch().await?;
        let secrets = self.stage.scope.resource("v1", "Secret");
        let change = json!({"stringData": {"ca.crt": ca.certificate}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(&change));
        let began = Instant::now();
        let changed = async { Ok(secrets.patch(&self.name, &params, &patch).await?) };
        let (_, durations) =
            tokio::try_join!(changed, seen(events, self.size.load(Ordering::Relaxed), began))?;
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = ca.certificate;
        Ok(durations)
    }

    /// What gives each target this bundle, bound to the version that it has now, with its name.
    pub(super) async fn bodies(&self, bundle: &str) -> anyhow::Result<Vec<(String, Value)>> {
        let targets = self.stage.targets().list_metadata(&self.labelled()).await?.items;
        let bundle = STANDARD.encode(bundle);
        let bodies = targets.into_iter().map(|target| {
            let name = target.metadata.name.unwrap_or_default();
            let entries = ENTRIES.map(|entry| json!({"name": entry, "clientConfig": {"caBundle": bundle}}));
            let body = json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": name, "resourceVersion": target.metadata.resource_version},
                "webhooks": entries,
            });
            (name, body)
        });
        Ok(bodies.collect())
    }

    /// Whether each target has the CA that was injected last: what was measured is an injection.
    pub(super) async fn check(&self) -> anyhow::Result<()> {
        let targets = self.stage.targets().list(&self.labelled()).await?.items;
        let size = self.size.load(Ordering::Relaxed);
        let newest = without_breaks(&self.newest.lock().unwrap_or_else(PoisonError::into_inner));
        ensure!(targets.len() == size, "{} instead of {size} targets are there", targets.len());
        for target in &targets {
            let entries = target.data["webhooks"].as_array().context("a target has no webhooks")?;
            for entry in entries {
                let bundle = entry["clientConfig"]["caBundle"].as_str().unwrap_or_default();
                let bundle = STANDARD.decode(bundle).context("a bundle is not base64")?;
                let held = without_breaks(&String::from_utf8_lossy(&bundle));
                ensure!(
                    held.contains(&newest),
                    "{} has not got the last CA",
                    target.metadata.name.as_deref().unwrap_or("?")
                );
            }
        }
        Ok(())
    }

    /// The changes of its targets from now on, without their content.
    pub(super) async fn watch(
        &self,
    ) -> anyhow::Result<impl Stream<Item = kube::Result<WatchEvent<PartialObjectMeta<DynamicObject>>>>> {
        let targets = self.stage.targets();
        let now = targets.list_metadata(&self.labelled().limit(1)).await?.metadata.resource_version;
        let params = WatchParams::default().labels(&format!("{LABEL}={}", self.name));
        Ok(targets.watch_metadata(&params, &now.context("a list without a version")?).await?)
    }

    fn labelled(&self) -> ListParams {
        ListParams::default().labels(&format!("{LABEL}={}", self.name))
    }
}

/// Waits until so many targets were changed, each for the first time since `began`; how long each took.
pub(super) async fn seen(
    events: impl Stream<Item = kube::Result<WatchEvent<PartialObjectMeta<DynamicObject>>>>,
    count: usize,
    began: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut events = std::pin::pin!(events);
    let (mut names, mut durations) = (HashSet::new(), Vec::new());
    let all = async {
        while durations.len() < count {
            match events.try_next().await?.context("the watch ended")? {
                // Nobody but the cainjector writes to them.
                WatchEvent::Modified(target)
                    if names.insert(target.metadata.name.clone().unwrap_or_default()) =>
                {
                    durations.push(began.elapsed());
                }
                WatchEvent::Error(error) => bail!("the watch failed: {error:?}"),
                _ => {}
            }
        }
        Ok(())
    };
    let outcome = tokio::time::timeout(WITHIN, all).await;
    outcome.with_context(|| format!("of {count} targets some were not patched in time"))??;
    Ok(durations)
}

/// A configuration with two webhooks and no rules, so that nobody ever calls it.
fn configuration(namespace: &str, group: &str, number: usize) -> Value {
    let entry = |name: &str| {
        json!({
            "name": name,
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Ignore",
            "clientConfig": {"url": format!("https://127.0.0.1:9/{name}")},
        })
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {
            "name": format!("{namespace}-{group}-{number}"),
            "labels": {LABEL: group},
            "annotations": {annotation::INJECT_CA_FROM_SECRET: format!("{namespace}/{group}")},
        },
        "webhooks": ENTRIES.map(entry),
    })
}

/// PEM that can be compared: programs end its lines differently.
fn without_breaks(pem: &str) -> String {
    pem.split_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, name: &str) -> kube::Result<WatchEvent<PartialObjectMeta<DynamicObject>>> {
        let object = json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": name},
        });
        Ok(serde_json::from_value(json!({"type": kind, "object": object})).unwrap())
    }

    #[tokio::test]
    async fn a_watch_that_ends_before_all_were_patched_is_a_failure() {
        let events = [event("ADDED", "a"), event("MODIFIED", "a"), event("MODIFIED", "a")];
        let error = seen(futures::stream::iter(events), 2, Instant::now()).await.unwrap_err();
        assert!(error.to_string().contains("the watch ended"), "{error:#}");
    }

    #[tokio::test]
    async fn each_target_counts_once_and_only_when_it_is_changed() {
        let events =
            [event("ADDED", "a"), event("MODIFIED", "b"), event("MODIFIED", "b"), event("MODIFIED", "a")];
        let durations = seen(futures::stream::iter(events), 2, Instant::now()).await.unwrap();
        assert_eq!(durations.len(), 2);
        assert!(durations.is_sorted());
    }

    #[test]
    fn line_ends_of_pem_do_not_count() {
        assert_eq!(
            without_breaks("-----BEGIN X-----\r\nab\r\ncd\r\n"),
            without_breaks("-----BEGIN X-----\nabcd\n")
        );
        assert_ne!(without_breaks("ab"), without_breaks("ac"));
    }

    #[test]
    fn a_target_has_two_webhooks_that_nobody_calls() {
        let target = configuration("x", "group", 7);
        assert_eq!(target["metadata"]["name"], "x-group-7");
        for entry in target["webhooks"].as_array().unwrap() {
            assert!(entry.get("rules").is_none() && entry["clientConfig"].get("caBundle").is_none());
        }
        assert_eq!(target["webhooks"].as_array().unwrap().len(), 2);
    }
}

//! Keeps the index: a watch for each kind, and a look at the API groups now and then.

use std::collections::HashSet;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::api::ApiResource;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use rules::Kind;
use runtime::lock::lock;
use runtime::pause;
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use runtime::trimmed::Trimmed;
use runtime::watch::{Failure, ObjectName};
use serde::de::DeserializeOwned;

use super::seen::{CertificateFacts, Issuer, Spec};
use super::{Index, Known};

/// Objects of one answer to a list. The whole answer is in memory at once, and an object may have a mebibyte, though
/// nearly all have some kilobytes.
const PAGE_SIZE: u32 = 20;
/// Pause before a watch that is forbidden is tried again: somebody may have granted it.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(600);
/// Pause between two looks at the API groups.
const GROUPS_INTERVAL: Duration = Duration::from_secs(30);

/// What is read of an object.
type Seen<S> = Trimmed<Spec<S>>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// What is counted about the index; clones share it.
#[derive(Debug, Clone, Default)]
pub struct ClusterMetrics {
    known: Family<KindLabel, Gauge>,
    passed_over: Family<KindLabel, Gauge>,
    forbidden: Family<KindLabel, Gauge>,
}

impl ClusterMetrics {
    /// Metrics that appear in `registry`.
    pub fn new(registry: &runtime::metrics::Metrics) -> Self {
        let metrics = Self::default();
        registry.register(|registry| {
            registry.register(
                "signet_webhook_cluster_objects",
                "Objects that warnings go by",
                metrics.known.clone(),
            );
            registry.register(
                "signet_webhook_cluster_objects_passed_over",
                "Whether there are more of them than are kept",
                metrics.passed_over.clone(),
            );
            registry.register(
                "signet_webhook_cluster_forbidden",
                "Whether objects of this kind may not be listed and watched, so that some warnings are missing",
                metrics.forbidden.clone(),
            );
        });
        metrics
    }
}

/// Keeps `index` as some of `tasks` until shutdown.
pub fn watch(
    tasks: &mut Tasks,
    client: &Client,
    index: &Arc<Index>,
    metrics: &ClusterMetrics,
    shutdown: &Shutdown,
) {
    let watching = Watching { client, index, metrics, shutdown };
    watching
        .start::<CertificateFacts, _>(tasks, Kind::Certificate, "Certificates", |index| &index.certificates);
    watching.start::<Issuer, _>(tasks, Kind::Issuer, "Issuers", |index| &index.issuers);
    watching.start::<Issuer, _>(tasks, Kind::ClusterIssuer, "ClusterIssuers", |index| &index.cluster_issuers);
    tasks.spawn_infallible("API groups", groups(client.clone(), Arc::clone(index), shutdown.clone()));
}

struct Watching<'a> {
    client: &'a Client,
    index: &'a Arc<Index>,
    metrics: &'a ClusterMetrics,
    shutdown: &'a Shutdown,
}

impl Watching<'_> {
    fn start<S, T>(&self, tasks: &mut Tasks, kind: Kind, name: &'static str, known: fn(&Index) -> &Mutex<T>)
    where
        S: Into<T::Fact> + DeserializeOwned + Default + Clone + Debug + Send + Sync + 'static,
        T: Known + Send + 'static,
    {
        let api: Api<Seen<S>> = Api::all_with(self.client.clone(), &resource(kind));
        let keeper = Keeper {
            index: Arc::clone(self.index),
            known,
            label: KindLabel { kind: kind.as_str() },
            metrics: self.metrics.clone(),
        };
        let shutdown = self.shutdown.clone();
        tasks.spawn_infallible(name, async move {
            tokio::select! {
                () = shutdown.requested() => {}
                () = keeper.run(|| watcher(api.clone(), watcher::Config::default().page_size(PAGE_SIZE))) => {}
            }
        });
    }
}

fn resource(kind: Kind) -> ApiResource {
    ApiResource {
        group: kind.group().to_owned(),
        version: api::VERSION.to_owned(),
        api_version: format!("{}/{}", kind.group(), api::VERSION),
        kind: kind.as_str().to_owned(),
        plural: format!("{}s", kind.as_str().to_lowercase()),
    }
}

/// Keeps what is known of one kind.
struct Keeper<T> {
    index: Arc<Index>,
    known: fn(&Index) -> &Mutex<T>,
    label: KindLabel,
    metrics: ClusterMetrics,
}

impl<T: Known> Keeper<T> {
    /// Never ends. Each watch begins with all objects.
    async fn run<S, W>(&self, watch: impl Fn() -> W)
    where
        S: Into<T::Fact>,
        W: Stream<Item = Result<Event<Seen<S>>, watcher::Error>>,
    {
        let mut failures: u32 = 0;
        loop {
            let mut events = pin!(watch());
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        failures = 0;
                        self.take(event);
                    }
                    Err(error) => {
                        let failure = Failure::from(&error);
                        let is_forbidden = failure.is_forbidden();
                        self.tell(&failure);
                        failures = failures.saturating_add(1);
                        let pause = if is_forbidden { FORBIDDEN_PAUSE } else { pause::after(failures) };
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
    }

    fn tell(&self, failure: &Failure) {
        let kind = self.label.kind;
        let forbidden = self.metrics.forbidden.get_or_create_owned(&self.label);
        if !failure.is_forbidden() {
            tracing::debug!("cannot watch objects of kind {kind}, trying again: {failure}");
        } else if forbidden.get() == 0 {
            tracing::warn!(
                "objects of kind {kind} may not be listed and watched, so warnings that need them are not given; \
                 grant it, or set --cluster-warnings=false: {failure}"
            );
        }
        forbidden.set(failure.is_forbidden().into());
    }

    fn take<S: Into<T::Fact>>(&self, event: Event<Seen<S>>) {
        let mut known = lock((self.known)(&self.index));
        match event {
            Event::Init => {
                known.begin();
                self.metrics.passed_over.get_or_create(&self.label).set(0);
            }
            Event::InitDone => {
                known.end();
                self.metrics.forbidden.get_or_create(&self.label).set(0);
            }
            Event::InitApply(object) | Event::Apply(object) => {
                if !known.put(&ObjectName::of(&object.metadata), object.content.0.into()) {
                    self.metrics.passed_over.get_or_create(&self.label).set(1);
                }
            }
            Event::Delete(object) => known.remove(&ObjectName::of(&object.metadata)),
        }
        let count = i64::try_from(known.count()).unwrap_or(i64::MAX);
        self.metrics.known.get_or_create(&self.label).set(count);
    }
}

/// Looks at the API groups until shutdown. Every account may see them.
async fn groups(client: Client, index: Arc<Index>, shutdown: Shutdown) {
    loop {
        match client.list_api_groups().await {
            Ok(list) => {
                let names: HashSet<Box<str>> =
                    list.groups.into_iter().map(|group| group.name.into()).collect();
                *lock(&index.groups) = Some(names);
            }
            Err(error) => tracing::debug!("cannot list the API groups, trying again: {error}"),
        }
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(GROUPS_INTERVAL) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use api::IssuerRef;
    use futures::stream;
    use rules::{Cluster as _, IssuerFacts, Lookup};
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::Issuers;

    fn keeper(index: &Arc<Index>) -> Keeper<Issuers> {
        Keeper {
            index: Arc::clone(index),
            known: |index| &index.issuers,
            label: KindLabel { kind: "Issuer" },
            metrics: ClusterMetrics::default(),
        }
    }

    fn issuer(name: &str, spec: &Value) -> Seen<Issuer> {
        let object = json!({"metadata": {"name": name, "namespace": "team-a", "resourceVersion": "7", "uid": "u",
            "managedFields": [{"manager": "m"}]}, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    fn look(index: &Index, name: &str) -> Lookup<IssuerFacts> {
        let reference: IssuerRef = serde_json::from_value(json!({"name": name})).unwrap();
        index.issuer("team-a", &reference)
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_forbidden_leaves_everything_unknown_and_is_tried_again() {
        let index = Index::new();
        let keeper = keeper(&index);
        let forbidden = || {
            let status = kube::core::Status::failure("no", "Forbidden").with_code(403);
            watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)))
        };
        let events = [Err(forbidden()), Err(forbidden()), Ok(Event::<Seen<Issuer>>::InitDone)];
        let events = std::cell::Cell::new(Some(events));
        let watch = || stream::iter(events.take().into_iter().flatten()).chain(stream::pending());
        let mut running = pin!(keeper.run(watch));
        let gauge = keeper.metrics.forbidden.get_or_create_owned(&keeper.label);
        for wanted in [(Lookup::Unknown, 1), (Lookup::Unknown, 1), (Lookup::Missing, 0)] {
            let a_while = FORBIDDEN_PAUSE - Duration::from_secs(1);
            assert!(tokio::time::timeout(a_while, &mut running).await.is_err());
            assert_eq!((look(&index, "ca"), gauge.get()), wanted);
        }
    }

    #[test]
    fn objects_come_and_go() {
        let index = Index::new();
        let keeper = keeper(&index);
        keeper.take(Event::<Seen<Issuer>>::Init);
        keeper.take(Event::InitApply(issuer("ca", &json!({"ca": {"secretName": "key-pair"}}))));
        assert_eq!(look(&index, "none"), Lookup::Unknown);
        keeper.take(Event::<Seen<Issuer>>::InitDone);
        let facts = IssuerFacts { ca_secret: Some("key-pair".into()), acme: None };
        assert_eq!(look(&index, "ca"), Lookup::Found(facts));
        assert_eq!(look(&index, "none"), Lookup::Missing);
        keeper.take(Event::Delete(issuer("ca", &json!({}))));
        assert_eq!(look(&index, "ca"), Lookup::Missing);
        assert_eq!(keeper.metrics.known.get_or_create(&keeper.label).get(), 0);
    }
}

//! Carries plans out: the one place that writes to issuers.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::conditions;
use issuers::CaSecret;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use runtime::events::Events;
use runtime::held::Held;
use runtime::lock::lock;
use runtime::queue::{Outcome, Queue};
use runtime::shutdown::Shutdown;
use runtime::watch::{Failure, NamedObjects, ObjectName, State};
use serde_json::Value;

use crate::MANAGER;
use crate::index::Index;
use crate::metrics::Figures;
use crate::object::{IssuerKey, IssuerKind, Seen};
use crate::plan::{Plan, plan};
use crate::report::Report;

/// Longest look at one issuer, with all its calls. An API server that takes longer is tried again.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often an issuer is judged although nothing changed: its CA may have expired meanwhile.
const RECHECK: Duration = Duration::from_secs(600);

/// The state that watches and workers share.
pub struct Judge {
    client: Client,
    queue: Arc<Queue<IssuerKey>>,
    index: Arc<Mutex<Index>>,
    secrets: Held<CaSecret>,
    report: Report,
    figures: Figures,
}

impl Judge {
    /// Nothing is watched yet. Secrets of ClusterIssuers are those of `cluster_resource_namespace`.
    pub(crate) fn new(
        client: Client,
        cluster_resource_namespace: String,
        events: Events,
        figures: Figures,
    ) -> Self {
        let queue = Arc::new(Queue::default());
        let index = Arc::new(Mutex::new(Index::new(cluster_resource_namespace)));
        let secrets = NamedObjects::namespaced(client.clone(), CaSecret::take).on_change({
            let (queue, index) = (Arc::clone(&queue), Arc::clone(&index));
            move |secret, _| {
                for issuer in lock(&index).issuers_of(secret) {
                    queue.add(issuer);
                }
            }
        });
        Self { report: Report::new(events), client, queue, index, secrets: Held::new(secrets), figures }
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Works on issuers that are due until shutdown is requested; an issuer in work is finished.
    pub(crate) async fn work(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let queue = Arc::clone(&self.queue);
        let look = move |key| {
            let this = Arc::clone(&self);
            async move { this.reconcile(&key).await }
        };
        queue.work(shutdown, RECONCILE_TIMEOUT, look).await
    }

    /// Whether the workers turn.
    pub(crate) fn turns(&self) -> Result<(), String> {
        self.queue.turns()
    }

    /// An issuer was seen.
    pub(crate) fn seen(&self, key: IssuerKey, seen: Seen) {
        let mut index = lock(&self.index);
        let closed = index.set(key.clone(), seen);
        // The index stays locked, so that nobody refers to the Secret anew meanwhile.
        self.close(closed);
        drop(index);
        self.queue.add(key);
    }

    /// An issuer is not there any more.
    pub(crate) fn gone(&self, key: &IssuerKey) {
        let mut index = lock(&self.index);
        let closed = index.remove(key);
        self.close(closed);
        drop(index);
        self.forget(key);
    }

    /// All issuers of this kind have been seen; those that are not among them are gone.
    pub(crate) fn listed(&self, kind: IssuerKind, names: &HashSet<ObjectName>) {
        let missing = lock(&self.index).missing(kind, names);
        for key in missing {
            self.gone(&key);
        }
    }

    fn forget(&self, key: &IssuerKey) {
        self.figures.forget(key);
        self.report.forget(key);
    }

    fn close(&self, secret: Option<ObjectName>) {
        if let Some(secret) = secret {
            self.secrets.release(&secret);
        }
    }

    async fn reconcile(&self, key: &IssuerKey) -> Outcome {
        let outcome = self.look(key).await;
        // It may have gone meanwhile; nobody else would forget what was noted since.
        let index = lock(&self.index);
        if index.get(key).is_none() {
            self.forget(key);
        }
        outcome
    }

    async fn look(&self, key: &IssuerKey) -> Outcome {
        let Some((seen, state)) = self.known(key) else {
            return Outcome::Done;
        };
        if seen.deleting {
            return Outcome::Done;
        }
        let before = conditions::find(&seen.status.conditions, conditions::READY);
        let status_before = before.map_or("Unknown", |ready| ready.status.as_str());
        match plan(key, &seen, &state, Timestamp::now()) {
            Plan::Wait => Outcome::Again(RECHECK),
            Plan::InSync => {
                self.figures.set_ready(key, status_before);
                Outcome::Again(RECHECK)
            }
            Plan::Unsupported { message } => {
                self.figures.set_ready(key, status_before);
                self.report.unsupported(key, &seen, message);
                Outcome::Done
            }
            Plan::Write { body, ready, is_news } => {
                if let Err(outcome) = self.write(key, &body).await {
                    return outcome;
                }
                self.figures.set_ready(key, ready.status.as_str());
                if is_news {
                    self.report.changed(key, &seen, &ready);
                }
                Outcome::Again(RECHECK)
            }
        }
    }

    /// The issuer, and what is known of the Secret that it refers to.
    fn known(&self, key: &IssuerKey) -> Option<(Arc<Seen>, State<CaSecret>)> {
        // The index stays locked, so that the issuer cannot go, and its Secret be released, before that is watched.
        let index = lock(&self.index);
        let seen = index.get(key)?;
        let state = match index.secret_of(key, &seen) {
            Some(secret) => self.secrets.state(&secret),
            None => State::Absent,
        };
        Some((seen, state))
    }

    async fn write(&self, key: &IssuerKey, body: &Value) -> Result<(), Outcome> {
        let resource: ApiResource = key.kind.resource();
        let issuers: Api<DynamicObject> = match &key.name.namespace {
            Some(namespace) => Api::namespaced_with(self.client(), namespace, &resource),
            None => Api::all_with(self.client(), &resource),
        };
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(body);
        let Err(error) = issuers.patch_status(&key.name.name, &params, &patch).await else {
            return Ok(());
        };
        let failure = Failure::from(&error);
        match failure.code {
            // It is gone.
            Some(404) => Err(Outcome::Done),
            // It changed meanwhile, and the watch is about to say so.
            Some(409) => Err(Outcome::Failed),
            _ => {
                tracing::warn!(issuer = %key, %failure, "cannot write the status");
                Err(Outcome::Failed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use runtime::testing::SlowServer;

    use super::*;

    /// A client of an API server that takes a write of a status only when it is told to, and answers nothing else.
    fn slow(server: &SlowServer) -> Client {
        server.client(
            |request| request.method() == Method::PATCH,
            r#"{"apiVersion":"cert-manager.io/v1","kind":"Issuer","metadata":{"name":"ca"}}"#,
        )
    }

    fn key() -> IssuerKey {
        IssuerKey { kind: IssuerKind::Issuer, name: ObjectName::namespaced("team-a", "ca") }
    }

    fn seen(spec: &str) -> Seen {
        Seen {
            uid: "u".to_owned(),
            resource_version: "7".to_owned(),
            generation: Some(1),
            deleting: false,
            spec: serde_json::from_str(spec).unwrap(),
            status: api::IssuerStatus::default(),
        }
    }

    fn judge(client: Client) -> (Arc<Judge>, runtime::metrics::Metrics) {
        let metrics = runtime::metrics::Metrics::new("controller", "0");
        let (events, _) = Events::new(client.clone(), MANAGER, &metrics);
        let judge = Judge::new(client, "cert-manager".to_owned(), events, Figures::new(&metrics));
        (Arc::new(judge), metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn an_issuer_that_goes_while_its_status_is_written_leaves_no_series() {
        let server = SlowServer::default();
        let (judge, metrics) = judge(slow(&server));
        judge.seen(key(), seen(r#"{"selfSigned":{}}"#));
        let looking = Arc::clone(&judge);
        let looking = tokio::spawn(async move { looking.reconcile(&key()).await });
        server.asked().await;
        judge.gone(&key());
        server.answer();
        looking.await.unwrap();
        let text = metrics.encode().unwrap();
        assert!(!text.contains("certmanager_issuer_ready_status{"), "{text}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_issuer_that_goes_while_it_is_looked_at_leaves_no_watch() {
        let (judge, _) = judge(slow(&SlowServer::default()));
        let (looking, stop) = (Arc::clone(&judge), Shutdown::default());
        let (stopped, _at_the_end) = (stop.clone(), stop.token().drop_guard());
        let looker = tokio::task::spawn_blocking(move || {
            while !stopped.is_requested() {
                looking.known(&key());
            }
        });
        // Which of the two is faster is left to chance, so it gets many.
        for round in 0..4_000 {
            judge.seen(key(), seen(r#"{"ca":{"secretName":"root"}}"#));
            std::thread::yield_now();
            judge.gone(&key());
            std::thread::yield_now();
            assert_eq!(judge.secrets.count(), 0, "in round {round}");
        }
        stop.request();
        looker.await.unwrap();
    }
}

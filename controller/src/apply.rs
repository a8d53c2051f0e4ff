//! Carries plans out: the one place that writes to issuers.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::conditions;
use issuers::CaSecret;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use runtime::held::Held;
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
    pub(crate) fn new(client: Client, cluster_resource_namespace: String, figures: Figures) -> Self {
        let queue = Arc::new(Queue::default());
        let index = Arc::new(Mutex::new(Index::new(cluster_resource_namespace)));
        let secrets = NamedObjects::namespaced(client.clone(), CaSecret::take).on_change({
            let (queue, index) = (Arc::clone(&queue), Arc::clone(&index));
            move |secret| {
                for issuer in lock(&index).issuers_of(secret) {
                    queue.add(issuer);
                }
            }
        });
        Self {
            report: Report::new(client.clone()),
            client,
            queue,
            index,
            secrets: Held::new(secrets),
            figures,
        }
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
        self.figures.forget(key);
        self.report.forget(key);
    }

    /// All issuers of this kind have been seen; those that are not among them are gone.
    pub(crate) fn listed(&self, kind: IssuerKind, names: &HashSet<ObjectName>) {
        let missing = lock(&self.index).missing(kind, names);
        for key in missing {
            self.gone(&key);
        }
    }

    fn close(&self, secret: Option<ObjectName>) {
        if let Some(secret) = secret {
            self.secrets.release(&secret);
        }
    }

    async fn reconcile(&self, key: &IssuerKey) -> Outcome {
        let (seen, secret) = {
            let index = lock(&self.index);
            let Some(seen) = index.get(key) else {
                return Outcome::Done;
            };
            let secret = index.secret_of(key, &seen);
            (seen, secret)
        };
        if seen.deleting {
            return Outcome::Done;
        }
        let state = match &secret {
            Some(secret) => self.secrets.state(secret),
            None => State::Absent,
        };
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
                self.report.unsupported(key, &seen, message).await;
                Outcome::Done
            }
            Plan::Write { body, ready, is_news } => {
                if let Err(outcome) = self.write(key, &body).await {
                    return outcome;
                }
                self.figures.set_ready(key, ready.status.as_str());
                if is_news {
                    self.report.changed(key, &seen, &ready).await;
                }
                Outcome::Again(RECHECK)
            }
        }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

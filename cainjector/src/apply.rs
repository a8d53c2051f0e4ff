//! Carries plans out: the one place that writes to targets.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use runtime::events::Events;
use runtime::lease::Leadership;
use runtime::lock::lock;
use runtime::queue::{Outcome, Queue};
use runtime::shutdown::Shutdown;
use runtime::trimmed::Trimmed;
use runtime::watch::{Failure, ObjectName, State};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::MANAGER;
use crate::index::{Effects, Index};
use crate::metrics::Figures;
use crate::plan::{Inputs, Plan, Reason, Refusal, plan};
use crate::reference::Wanted;
use crate::report::{News, Report};
use crate::settings::Settings;
use crate::source::{SourceCertificate, SourceSecret};
use crate::target::{Live, LiveContent, Target, TargetKind};
use crate::watch::Watched;

/// Longest look at one target, with all its calls. An API server that takes longer is tried again.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for the next expiry: a clock that was set meanwhile is noticed within this time.
const RECHECK_MAX: Duration = Duration::from_secs(12 * 3600);

/// Reads of a target in one look: one more where its managed fields have to be migrated first.
const TURNS_MAX: usize = 2;

/// CustomResourceDefinitions that are read at once. One may have a mebibyte, which is in memory until it is decoded.
const DEFINITION_READS: usize = 2;

/// The state that watches and workers share.
pub struct Injector {
    client: Client,
    queue: Arc<Queue<Target>>,
    index: Arc<Mutex<Index>>,
    watched: Watched,
    definition_reads: Semaphore,
    leadership: Leadership,
    report: Report,
    figures: Figures,
}

impl Injector {
    /// An injector that takes the sources which the settings allow, and writes while it leads. Nothing is watched yet.
    pub(crate) fn new(
        client: Client,
        settings: Settings,
        leadership: Leadership,
        events: Events,
        figures: Figures,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            report: Report::new(events, figures.clone()),
            watched: Watched::new(&client, this),
            definition_reads: Semaphore::new(DEFINITION_READS),
            client,
            queue: Arc::default(),
            index: Arc::new(Mutex::new(Index::new(settings))),
            leadership,
            figures,
        })
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Works on targets that are due, while it leads, until shutdown is requested; a target in work is finished.
    pub(crate) async fn work(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let (queue, leadership) = (Arc::clone(&self.queue), self.leadership.clone());
        let look = move |target| {
            let this = Arc::clone(&self);
            async move { this.reconcile(&target).await }
        };
        queue.work_while(&leadership, shutdown, RECONCILE_TIMEOUT, look).await
    }

    /// A target was seen that asks for a bundle, at this version of it.
    pub(crate) fn wants(&self, target: Target, wanted: Wanted, resource_version: &str) {
        self.update(|index, now| index.target_seen(target, wanted, resource_version, now));
    }

    /// A target was seen that asks for nothing. What it has got stays: removing a bundle would break its calls.
    pub(crate) fn wants_nothing(&self, target: &Target, resource_version: &str) {
        if self.leadership.may_write() {
            self.update(|index, now| index.target_stopped(target, resource_version, now));
        } else {
            // The leader tells of it.
            self.gone(target);
        }
    }

    /// A target is not there any more.
    pub(crate) fn gone(&self, target: &Target) {
        self.update(|index, _| index.target_gone(target));
        self.report.forget(target);
    }

    /// The known targets of this kind that a list did not show.
    pub(crate) fn missing(&self, kind: TargetKind, listed: &HashSet<String>) -> Vec<Target> {
        lock(&self.index).missing(kind, listed)
    }

    /// A watched Secret has changed.
    pub(crate) fn secret_changed(&self, name: &ObjectName, state: &State<SourceSecret>) {
        self.update(|index, now| index.secret_seen(name, state.clone(), now));
    }

    /// A watched Certificate has changed.
    pub(crate) fn certificate_changed(&self, name: &ObjectName, state: &State<SourceCertificate>) {
        self.update(|index, now| index.certificate_seen(name, state.clone(), now));
    }

    /// The CA of the API server is this one now.
    pub(crate) fn api_server_changed(&self, ca: Option<Vec<u8>>) {
        self.update(|index, now| index.api_server_seen(ca, now));
    }

    /// Changes the index and does what follows from it.
    fn update(&self, change: impl FnOnce(&mut Index, Instant) -> Effects) {
        let mut index = lock(&self.index);
        let effects = change(&mut index, Instant::now());
        // The index stays locked, so that nobody refers to a source anew meanwhile.
        self.watched.follow(&mut index, effects, &self.queue);
        self.figures.set_sources(self.watched.count());
    }

    async fn reconcile(&self, target: &Target) -> Outcome {
        let outcome = self.look(target).await;
        // It may have gone meanwhile; nobody else would forget what was noted since.
        let index = lock(&self.index);
        if index.wanted(target).is_none() {
            self.report.forget(target);
        }
        outcome
    }

    /// What is known of the target's source, if that is enough for a plan.
    fn known(&self, target: &Target) -> Option<Inputs> {
        let mut index = lock(&self.index);
        let inputs = index.inputs(target, Instant::now())?;
        match &inputs.source {
            // It may not even be watched, for want of room.
            Err(refusal) if refusal.reason == Reason::SourceUnavailable => {
                let open = index.watches(target);
                let effects = Effects { open, ..Effects::default() };
                self.watched.follow(&mut index, effects, &self.queue);
                index.inputs(target, Instant::now())
            }
            _ => Some(inputs),
        }
    }

    /// There is nothing left to do for the target at this version.
    fn done(&self, target: &Target, inputs: &Inputs, resource_version: String, has_all: bool) {
        lock(&self.index).done(target, inputs, resource_version, has_all);
    }

    async fn look(&self, target: &Target) -> Outcome {
        let Some(inputs) = self.known(target) else {
            // What it waits for brings it back here.
            return Outcome::Done;
        };
        for _ in 0..TURNS_MAX {
            let live = match self.read(target).await {
                Ok(Some(live)) if !live.deleting => live,
                Ok(_) => return Outcome::Done,
                Err(error) => {
                    let failure = Failure::from(&error);
                    tracing::warn!(%target, %failure, "cannot read the target");
                    return Outcome::Failed;
                }
            };
            if let Some(outcome) = self.carry_out(&live, &inputs).await {
                return outcome;
            }
        }
        tracing::warn!(%target, "its fields are managed as before, although they were migrated");
        Outcome::Failed
    }

    /// The target as it is now, if it is there.
    async fn read(&self, target: &Target) -> kube::Result<Option<Live>> {
        // A semaphore that nobody closes always grants.
        let _large = match target.kind {
            TargetKind::CustomResourceDefinition => self.definition_reads.acquire().await.ok(),
            _ => None,
        };
        let api: Api<Trimmed<LiveContent>> = Api::all_with(self.client(), &target.kind.resource());
        let object = api.get_opt(&target.name).await?;
        Ok(object.map(|object| Live::new(target.kind, object)))
    }

    /// Does what is planned for the target. `None`: it has to be read again.
    async fn carry_out(&self, live: &Live, inputs: &Inputs) -> Option<Outcome> {
        let now = Timestamp::now();
        let planned = plan(live, inputs, now);
        let done = planned.again.map_or(Outcome::Done, |again| Outcome::Again(until(again, now)));
        let target = &live.target;
        let outcome = match planned.plan {
            Plan::InSync if inputs.wanted == Wanted::Release => {
                self.done(target, inputs, live.resource_version.clone(), true);
                done
            }
            Plan::InSync | Plan::Deferred { .. } => {
                self.done(target, inputs, live.resource_version.clone(), true);
                self.report.tell(live, &News::InSync);
                done
            }
            Plan::Refused(refusal) => {
                let outcome = match refusal.reason {
                    // The only reason that can go away without an event on target or source.
                    Reason::SourceUnavailable => Outcome::Failed,
                    _ => {
                        self.done(target, inputs, live.resource_version.clone(), false);
                        done
                    }
                };
                self.report.tell(live, &News::Refused(refusal));
                outcome
            }
            Plan::Stopped => {
                self.report.tell(live, &News::Stopped);
                self.update(|index, _| index.stop_told(target));
                done
            }
            Plan::Migrate { patch } => match self.migrate(live, patch).await {
                Ok(()) => return None,
                Err(outcome) => outcome,
            },
            Plan::Apply { body } => self.apply(live, inputs, &body, &News::Injected, done).await,
            Plan::Release { body } => self.apply(live, inputs, &body, &News::Released, done).await,
        };
        Some(outcome)
    }

    /// Writes bundles, or gives them up.
    async fn apply(&self, live: &Live, inputs: &Inputs, body: &Value, news: &News, done: Outcome) -> Outcome {
        let target = &live.target;
        if !self.leadership.may_write() {
            // Another leads by now. Should we lead once more, the target has its turn again.
            return Outcome::Failed;
        }
        let params = PatchParams::apply(MANAGER).force();
        // The answer is the metadata alone: a CustomResourceDefinition need not be sent back.
        match self.targets(target.kind).patch(&target.name, &params, &Patch::Apply(body)).await {
            Ok(object) => {
                let resource_version = object.metadata.resource_version.unwrap_or_default();
                self.done(target, inputs, resource_version, true);
                self.report.tell(live, news);
                done
            }
            Err(error) => self.refused(live, &error).await,
        }
    }

    /// Makes what is ours by update ours by server-side apply.
    async fn migrate(&self, live: &Live, patch: Value) -> Result<(), Outcome> {
        let target = &live.target;
        let patch = match serde_json::from_value(patch) {
            Ok(patch) => Patch::Json::<()>(patch),
            Err(error) => {
                tracing::error!(%target, %error, "cannot migrate the managed fields");
                return Err(Outcome::Done);
            }
        };
        if !self.leadership.may_write() {
            return Err(Outcome::Failed);
        }
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match self.targets(target.kind).patch(&target.name, &params, &patch).await {
            Ok(_) => {
                tracing::info!(%target, "the bundles are managed by server-side apply from now on");
                Ok(())
            }
            Err(error) => Err(self.refused(live, &error).await),
        }
    }

    /// Tells why a write was refused, if that will not pass.
    async fn refused(&self, live: &Live, error: &kube::Error) -> Outcome {
        let target = &live.target;
        let failure = Failure::from(error);
        let (reason, outcome) = match failure.code {
            // Somebody else was faster, or the target is gone: read it again. Without the right to create, an
            // apply to a target that is gone is a 403 as well, so that one is tried again, too.
            Some(404 | 409) => {
                tracing::debug!(%target, %failure, "the target changed meanwhile");
                return Outcome::Failed;
            }
            Some(403) => (Reason::Forbidden, Outcome::Failed),
            Some(400 | 422) => (Reason::RejectedByAPIServer, Outcome::Done),
            _ => {
                tracing::warn!(%target, %failure, "cannot write the bundle");
                return Outcome::Failed;
            }
        };
        let text = format!("the API server refused the bundle: {failure}");
        self.report.tell(live, &News::Refused(Refusal::new(reason, text)));
        outcome
    }
}

/// How long to wait for a certificate to have expired, which it has a second after its last one.
fn until(expires: Timestamp, now: Timestamp) -> Duration {
    let wait = expires.duration_since(now);
    let wait = Duration::try_from(wait).unwrap_or_default();
    (wait + Duration::from_secs(1)).min(RECHECK_MAX)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::header::CONTENT_TYPE;
    use http::{Method, Request, Response, Uri};
    use kube::client::Body;
    use tokio::sync::Notify;

    use super::*;
    use crate::reference::SourceRef;

    /// An API server that shows an API service only when it is told to, and answers nothing else.
    #[derive(Clone, Default)]
    struct SlowServer {
        asked: Arc<Notify>,
        answer: Arc<Notify>,
    }

    impl SlowServer {
        fn client(&self) -> Client {
            let server = self.clone();
            let answer = move |request: Request<Body>| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(server.answer(request.uri().clone()).await) }
            };
            Client::new(tower::service_fn(answer), "default")
        }

        async fn answer(&self, uri: Uri) -> Response<Body> {
            if !uri.path().ends_with("/apiservices/web") {
                return std::future::pending().await;
            }
            self.asked.notify_one();
            self.answer.notified().await;
            let service = r#"{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService",
                "metadata":{"name":"web","uid":"u","resourceVersion":"7"},"spec":{"service":{}}}"#;
            Response::new(Body::from(service.as_bytes().to_vec()))
        }
    }

    fn target() -> Target {
        Target { kind: TargetKind::ApiService, name: "web".to_owned() }
    }

    fn injector(client: Client) -> (Arc<Injector>, runtime::metrics::Metrics) {
        injector_of(client, Leadership::always())
    }

    fn injector_of(client: Client, leadership: Leadership) -> (Arc<Injector>, runtime::metrics::Metrics) {
        let metrics = runtime::metrics::Metrics::new("cainjector", "0");
        let (events, _) = Events::new(client.clone(), MANAGER, &metrics);
        let figures = Figures::new(&metrics);
        (Injector::new(client, Settings::default(), leadership, events, figures), metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_goes_while_it_is_read_leaves_no_series() {
        let server = SlowServer::default();
        let (injector, metrics) = injector(server.client());
        injector.wants(target(), Wanted::Malformed { annotation: "a", value: "b".to_owned() }, "7");
        let looking = Arc::clone(&injector);
        let looking = tokio::spawn(async move { looking.reconcile(&target()).await });
        server.asked.notified().await;
        injector.gone(&target());
        server.answer.notify_one();
        looking.await.unwrap();
        let text = metrics.encode().unwrap();
        assert!(text.contains("signet_cainjector_reconciles_total{"), "it was not read at all: {text}");
        assert!(!text.contains("signet_cainjector_in_sync{"), "{text}");
    }

    #[tokio::test]
    async fn one_that_leads_no_more_writes_nothing() {
        let server = SlowServer::default();
        let (injector, _) = injector_of(server.client(), Leadership::candidate());
        let object = r#"{"metadata": {"name": "web"}, "spec": {"service": {}}}"#;
        let live = Live::new(target().kind, serde_json::from_str(object).unwrap());
        // The server never answers a write.
        injector.wants(target(), Wanted::Release, "7");
        let inputs = lock(&injector.index).inputs(&target(), Instant::now()).unwrap();
        let outcome = injector.apply(&live, &inputs, &Value::Null, &News::Released, Outcome::Done).await;
        assert_eq!(outcome, Outcome::Failed);
        assert_eq!(injector.migrate(&live, serde_json::json!([])).await, Err(Outcome::Failed));
    }

    /// An API server with one API service, of which something is managed as an older release of the peer left it. Each
    /// write moves its version, and is noted as type and body.
    fn migrating(writes: &Arc<Mutex<Vec<String>>>) -> Client {
        let writes = Arc::clone(writes);
        let answer = move |request: Request<Body>| {
            let writes = Arc::clone(&writes);
            async move {
                let (head, body) = request.into_parts();
                if !head.uri.path().ends_with("/apiservices/web") {
                    return std::future::pending().await;
                }
                if head.method == Method::PATCH {
                    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
                    let body = body.collect_bytes().await.unwrap();
                    let body = String::from_utf8_lossy(&body);
                    lock(&writes).push(format!("{} {body}", kind.unwrap_or_default()));
                }
                let count = lock(&writes).len();
                let operation = if count == 0 { "Update" } else { "Apply" };
                let object = serde_json::json!({
                    "metadata": { "name": "web", "uid": "u", "resourceVersion": format!("{}", 7 + count),
                        "managedFields": [{ "manager": MANAGER, "operation": operation }] },
                    "spec": { "service": {} },
                });
                Ok::<_, Infallible>(Response::new(Body::from(object.to_string().into_bytes())))
            }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_migration_the_target_is_read_and_planned_again() {
        let writes = Arc::default();
        let (injector, _) = injector(migrating(&writes));
        injector.api_server_changed(Some(crate::testing::root("ca", 5).to_pem().into_bytes()));
        injector.wants(target(), Wanted::Source(SourceRef::ApiServer), "7");
        injector.reconcile(&target()).await;
        let writes = std::mem::take(&mut *lock(&writes));
        let [migration, apply] = writes.as_slice() else { panic!("{writes:?}") };
        assert!(migration.starts_with("application/json-patch+json "), "{migration}");
        assert!(migration.contains(r#""path":"/metadata/resourceVersion","value":"7""#), "{migration}");
        assert!(apply.starts_with("application/apply-patch+yaml "), "{apply}");
        assert!(apply.contains(r#""resourceVersion":"8""#), "{apply}");
        // Nothing is left to do at the version that this made.
        injector.queue.take().await;
        injector.queue.finish(target(), Outcome::Done);
        injector.wants(target(), Wanted::Source(SourceRef::ApiServer), "9");
        assert!(injector.queue.is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_target_that_goes_while_it_is_looked_at_leaves_no_watch() {
        let (injector, _) = injector(SlowServer::default().client());
        let (looking, stop) = (Arc::clone(&injector), Shutdown::default());
        let (stopped, _at_the_end) = (stop.clone(), stop.token().drop_guard());
        let looker = tokio::task::spawn_blocking(move || {
            while !stopped.is_requested() {
                looking.known(&target());
            }
        });
        // Which of the two is faster is left to chance, so it gets many.
        for round in 0..4_000 {
            let source = SourceRef::Secret(ObjectName::namespaced("team-a", "ca"));
            injector.wants(target(), Wanted::Source(source), "7");
            std::thread::yield_now();
            injector.gone(&target());
            std::thread::yield_now();
            assert_eq!(injector.watched.count(), 0, "in round {round}");
        }
        stop.request();
        looker.await.unwrap();
    }
}

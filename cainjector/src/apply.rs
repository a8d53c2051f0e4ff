//! Carries plans out: the one place that writes to targets.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use runtime::held::Held;
use runtime::lock::lock;
use runtime::queue::{Outcome, Queue};
use runtime::shutdown::Shutdown;
use runtime::watch::{Failure, NamedObjects, ObjectName, State};
use serde_json::Value;

use crate::MANAGER;
use crate::index::Index;
use crate::metrics::Figures;
use crate::plan::{Plan, Reason, Refusal, plan};
use crate::reference::Wanted;
use crate::report::{News, Report};
use crate::source::{self, SourceSecret};
use crate::target::{Live, Target, TargetKind};

/// Longest look at one target, with all its calls. An API server that takes longer is tried again.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for the next expiry: a clock that was set meanwhile is noticed within this time.
const RECHECK_MAX: Duration = Duration::from_secs(12 * 3600);

/// The state that watches and workers share.
pub struct Injector {
    client: Client,
    namespace: Option<String>,
    queue: Arc<Queue<Target>>,
    index: Arc<Mutex<Index>>,
    secrets: Held<SourceSecret>,
    report: Report,
    figures: Figures,
}

impl Injector {
    /// An injector that takes CAs from `namespace` alone, if there is one. Nothing is watched yet.
    pub(crate) fn new(client: Client, namespace: Option<String>, figures: Figures) -> Self {
        let queue = Arc::new(Queue::default());
        let index = Arc::new(Mutex::new(Index::default()));
        let secrets = NamedObjects::of(source::secrets(client.clone()), SourceSecret::keep).on_change({
            let (queue, index) = (Arc::clone(&queue), Arc::clone(&index));
            move |secret, _| {
                for target in lock(&index).targets_of(secret) {
                    queue.add(target);
                }
            }
        });
        Self {
            report: Report::new(client.clone(), figures.clone()),
            client,
            namespace,
            queue,
            index,
            secrets: Held::new(secrets),
            figures,
        }
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Works on targets that are due until shutdown is requested; a target in work is finished.
    pub(crate) async fn work(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let queue = Arc::clone(&self.queue);
        let look = move |target| {
            let this = Arc::clone(&self);
            async move { this.reconcile(&target).await }
        };
        queue.work(shutdown, RECONCILE_TIMEOUT, look).await
    }

    /// A target was seen that asks for a bundle.
    pub(crate) fn wants(&self, target: Target, wanted: Wanted) {
        self.update(target.clone(), Some(wanted));
        self.queue.add(target);
    }

    /// A target was seen that asks for nothing. What it has got stays: removing a bundle would break its calls.
    pub(crate) fn wants_nothing(&self, target: &Target) {
        if lock(&self.index).wanted(target).is_none() {
            return;
        }
        tracing::info!(%target, "no longer asks for a CA; its bundle stays as it is");
        self.gone(target);
    }

    /// A target is not there any more.
    pub(crate) fn gone(&self, target: &Target) {
        self.update(target.clone(), None);
        self.report.forget(target);
    }

    /// The known targets of this kind that a list did not show.
    pub(crate) fn missing(&self, kind: TargetKind, listed: &HashSet<String>) -> Vec<Target> {
        lock(&self.index).missing(kind, listed)
    }

    fn update(&self, target: Target, wanted: Option<Wanted>) {
        let mut index = lock(&self.index);
        let change = index.set(target, wanted);
        // The index stays locked, so that nobody refers to a Secret anew meanwhile.
        if let Some(secret) = change.closed {
            self.secrets.release(&secret);
        }
        if let Some(secret) = change.opened {
            self.state(&secret);
        }
        self.figures.set_sources(self.secrets.count());
    }

    fn serves(&self, secret: &ObjectName) -> bool {
        self.namespace.is_none() || self.namespace == secret.namespace
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

    /// What the target asks for, and what is known of that.
    fn known(&self, target: &Target) -> Option<(Wanted, State<SourceSecret>)> {
        // The index stays locked, so that the target cannot go, and its Secret be released, before that is watched.
        let index = lock(&self.index);
        let wanted = index.wanted(target)?.clone();
        let state = match &wanted {
            Wanted::Secret(secret) => self.state(secret),
            Wanted::Malformed { .. } | Wanted::Unsupported { .. } => State::Absent,
        };
        Some((wanted, state))
    }

    async fn look(&self, target: &Target) -> Outcome {
        let Some((wanted, state)) = self.known(target) else {
            return Outcome::Done;
        };
        if matches!(state, State::Pending) {
            // Its first answer brings the target back here.
            return Outcome::Done;
        }
        let objects: Api<DynamicObject> = Api::all_with(self.client(), &target.kind.resource());
        let object = match objects.get_opt(&target.name).await {
            Ok(Some(object)) => object,
            Ok(None) => return Outcome::Done,
            Err(error) => {
                let failure = Failure::from(&error);
                tracing::warn!(%target, %failure, "cannot read the target");
                return Outcome::Failed;
            }
        };
        let live = match Live::decode(target.kind, object) {
            Ok(live) if live.deleting => return Outcome::Done,
            Ok(live) => live,
            Err(error) => {
                tracing::error!("{:#}", anyhow::Error::new(error));
                return Outcome::Failed;
            }
        };
        self.carry_out(&objects, &live, &wanted, &state).await
    }

    async fn carry_out(
        &self,
        objects: &Api<DynamicObject>,
        live: &Live,
        wanted: &Wanted,
        state: &State<SourceSecret>,
    ) -> Outcome {
        let now = Timestamp::now();
        let excluded = match wanted {
            Wanted::Secret(secret) if !self.serves(secret) => Some(secret),
            _ => None,
        };
        if let Some(secret) = excluded {
            let text = format!("Secret {secret} is in a namespace that --namespace excludes");
            let refusal = Refusal::new(Reason::NamespaceNotServed, text);
            self.report.tell(live, News::Refused(refusal)).await;
            return Outcome::Done;
        }
        let planned = plan(live, wanted, state, now);
        let done = match planned.expires {
            Some(expires) => Outcome::Again(until(expires, now)),
            None => Outcome::Done,
        };
        match planned.plan {
            Plan::InSync => {
                self.report.tell(live, News::InSync).await;
                done
            }
            Plan::Refused(refusal) => {
                let outcome = match refusal.reason {
                    // The only reason that can go away without an event on target or source.
                    Reason::SourceUnavailable => Outcome::Failed,
                    _ => done,
                };
                self.report.tell(live, News::Refused(refusal)).await;
                outcome
            }
            Plan::Apply { body } => self.apply(objects, live, &body, done).await,
        }
    }

    async fn apply(&self, objects: &Api<DynamicObject>, live: &Live, body: &Value, done: Outcome) -> Outcome {
        let target = &live.target;
        let params = PatchParams::apply(MANAGER).force();
        let Err(error) = objects.patch(&target.name, &params, &Patch::Apply(body)).await else {
            self.report.tell(live, News::Injected).await;
            return done;
        };
        let failure = Failure::from(&error);
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
        let news = News::Refused(Refusal::new(reason, text));
        self.report.tell(live, news).await;
        outcome
    }

    /// What is known of a Secret, which is watched from now on.
    fn state(&self, secret: &ObjectName) -> State<SourceSecret> {
        if self.serves(secret) { self.secrets.state(secret) } else { State::Absent }
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

    use http::{Request, Response, Uri};
    use kube::client::Body;
    use tokio::sync::Notify;

    use super::*;

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
        let metrics = runtime::metrics::Metrics::new("cainjector", "0");
        (Arc::new(Injector::new(client, None, Figures::new(&metrics))), metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_goes_while_it_is_read_leaves_no_series() {
        let server = SlowServer::default();
        let (injector, metrics) = injector(server.client());
        injector.wants(target(), Wanted::Malformed { annotation: "a", value: "b".to_owned() });
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
            injector.wants(target(), Wanted::Secret(ObjectName::namespaced("team-a", "ca")));
            std::thread::yield_now();
            injector.gone(&target());
            std::thread::yield_now();
            assert_eq!(injector.secrets.count(), 0, "in round {round}");
        }
        stop.request();
        looker.await.unwrap();
    }
}

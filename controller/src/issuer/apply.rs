//! Carries plans out: the one place that writes to issuers.

use std::sync::Arc;
use std::time::Duration;

use issuers::{IssuerReadiness, Opened};
use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use runtime::lease::Leadership;
use runtime::queue::{Outcome, Queue};
use runtime::shutdown::Shutdown;
use runtime::watch::Failure;
use serde_json::Value;
use serving::clock::Clock;

use crate::MANAGER;
use crate::context::Context;
use crate::issuer::plan::{Plan, Verdict, plan};
use crate::issuer::registry::Registry;
use crate::issuer::report::Report;
use crate::object::{IssuerKey, IssuerKind};
use crate::syncs::Syncs;

/// Longest look at one issuer, with all its calls. An API server that takes longer is tried again.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest time to the next look at an issuer whose verdict changes by itself. Timers stand still while a machine is
/// suspended and know nothing of a clock that is set.
const AGAIN_MAX: Duration = Duration::from_secs(600);

/// Judges issuers.
pub struct Judge {
    client: Client,
    queue: Arc<Queue<IssuerKey>>,
    registry: Arc<Registry>,
    report: Report,
    clock: Clock,
    leadership: Leadership,
    syncs: Syncs,
}

impl Judge {
    /// Judges issuers of these kinds, each whenever something of it changes from now on.
    pub(crate) fn new(context: &Context, kinds: Vec<IssuerKind>) -> Self {
        let queue = Arc::new(Queue::default());
        let changed = Arc::clone(&queue);
        context.issuers.on_change(move |key| {
            if kinds.contains(&key.kind) {
                changed.add(key.clone());
            }
        });
        Self {
            client: context.client.clone(),
            queue,
            registry: Arc::clone(&context.issuers),
            report: Report::new(context.events.clone()),
            clock: Arc::clone(&context.clock),
            leadership: context.leadership.clone(),
            syncs: context.syncs.clone(),
        }
    }

    /// Works on issuers that are due, while this process leads, until shutdown is requested; an issuer in work is finished.
    pub(crate) async fn work(
        self: Arc<Self>,
        leadership: Leadership,
        shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        let queue = Arc::clone(&self.queue);
        let look = move |key| {
            let this = Arc::clone(&self);
            async move {
                let outcome = this.look(&key).await;
                this.syncs.count(key.kind.plural(), outcome);
                outcome
            }
        };
        queue.work_while(&leadership, shutdown, RECONCILE_TIMEOUT, look).await
    }

    /// Whether the workers turn.
    pub(crate) fn turns(&self) -> Result<(), String> {
        self.queue.turns()
    }

    async fn look(&self, key: &IssuerKey) -> Outcome {
        let Some(known) = self.registry.known(key) else {
            self.report.forget(key);
            return Outcome::Done;
        };
        let seen = &known.seen;
        if seen.deleting {
            return Outcome::Done;
        }
        let now = (self.clock)();
        let verdict = match &known.opened {
            Opened::Unsupported { type_ } => Verdict::Unsupported(type_),
            Opened::Malformed { message } => {
                Verdict::Said(IssuerReadiness::unready("ErrInvalidIssuer", message.as_str()))
            }
            Opened::Issuer(issuer) => issuer.readiness(now).await.map_or(Verdict::Unknown, Verdict::Said),
        };
        match plan(key, seen, &verdict, now) {
            Plan::Wait => return Outcome::Done,
            Plan::InSync => {}
            Plan::Unsupported { message } => {
                self.report.unsupported(key, seen, message);
                return Outcome::Done;
            }
            Plan::Write { body, ready, is_news } => {
                match self.write(key, &body).await {
                    Ok(version) => self.registry.wrote(key, version, ready.clone()),
                    Err(outcome) => return outcome,
                }
                if is_news {
                    self.report.changed(key, seen, &ready);
                }
            }
        }
        let Verdict::Said(said) = verdict else { return Outcome::Done };
        if let Some((reason, text)) = said.advice {
            self.report.advise(key, seen, reason, text);
        }
        said.again.map_or(Outcome::Done, |at| Outcome::Again(until(at, now)))
    }

    /// Writes the status; the version that it got.
    async fn write(&self, key: &IssuerKey, body: &Value) -> Result<String, Outcome> {
        // Judging it may have taken longer than the Lease lasted.
        if !self.leadership.may_write() {
            return Err(Outcome::Again(Duration::ZERO));
        }
        let resource: ApiResource = key.kind.resource();
        let issuers: Api<DynamicObject> = match &key.name.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(body);
        let error = match issuers.patch_status(&key.name.name, &params, &patch).await {
            Ok(written) => return Ok(written.metadata.resource_version.unwrap_or_default()),
            Err(error) => error,
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

/// How long it is until then, in pieces.
fn until(at: Timestamp, now: Timestamp) -> Duration {
    let left = at.duration_since(now).max(SignedDuration::from_secs(1));
    Duration::try_from(left).unwrap_or(AGAIN_MAX).min(AGAIN_MAX)
}

#[cfg(test)]
mod tests {
    use http::Method;
    use runtime::testing::SlowServer;
    use runtime::watch::ObjectName;

    use super::*;
    use crate::object::testing::seen;

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

    fn judge(client: Client) -> (Arc<Judge>, Arc<Registry>, runtime::metrics::Metrics) {
        let metrics = runtime::metrics::Metrics::new("controller", "0");
        let context = crate::context::testing::context(client, &metrics);
        crate::metrics::register_issuers(&metrics, &context.issuers, context.leadership.clone());
        let judge = Judge::new(&context, vec![IssuerKind::Issuer]);
        (Arc::new(judge), context.issuers, metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn an_issuer_that_goes_while_its_status_is_written_leaves_no_series() {
        let server = SlowServer::default();
        let (judge, registry, metrics) = judge(slow(&server));
        registry.seen(&key(), seen(r#"{"selfSigned":{}}"#));
        assert!(metrics.encode().unwrap().contains("certmanager_issuer_ready_status{"));
        let looking = Arc::clone(&judge);
        let looking = tokio::spawn(async move { looking.look(&key()).await });
        server.asked().await;
        registry.gone(&key());
        server.answer();
        looking.await.unwrap();
        let text = metrics.encode().unwrap();
        assert!(!text.contains("certmanager_issuer_ready_status{"), "{text}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_issuer_that_goes_while_it_is_looked_at_leaves_no_watch() {
        let (judge, registry, _) = judge(slow(&SlowServer::default()));
        let (looking, stop) = (Arc::clone(&judge), Shutdown::default());
        let (stopped, _at_the_end) = (stop.clone(), stop.token().drop_guard());
        let handle = tokio::runtime::Handle::current();
        let looker = tokio::task::spawn_blocking(move || {
            while !stopped.is_requested() {
                handle.block_on(looking.look(&key()));
            }
        });
        // Which of the two is faster is left to chance, so it gets many.
        for round in 0..4_000 {
            registry.seen(&key(), seen(r#"{"ca":{"secretName":"root"}}"#));
            std::thread::yield_now();
            registry.gone(&key());
            std::thread::yield_now();
            assert_eq!(registry.watched(), 0, "in round {round}");
        }
        stop.request();
        looker.await.unwrap();
    }

    #[test]
    fn the_next_look_is_neither_at_once_nor_too_late() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let check = |seconds, expected| {
            assert_eq!(until(now + SignedDuration::from_secs(seconds), now).as_secs(), expected);
        };
        check(-5, 1);
        check(0, 1);
        check(90, 90);
        check(86_400, 600);
    }
}

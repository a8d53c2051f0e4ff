//! Kubernetes Events of `core/v1`, as a courtesy: whoever tells one does not wait for it, and its loss stops nobody.
//!
//! Events are told through a bounded queue, and one task writes them at a bounded rate: a change that a thousand objects
//! tell of must neither hold up the work on them nor flood the API server. What does not fit is counted and dropped. An
//! event that repeats an earlier one counts it up, as client-go does, in place of a new object.
//!
//! The kind is that of `core/v1`, not `events.k8s.io`: that is what the roles of cert-manager's charts allow, and the API
//! server shows them in both groups.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event as CoreEvent, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::watch::Failure;

/// Events that wait to be written: some seconds' worth.
const QUEUE_MAX: usize = 256;
/// Shortest time between two writes: 20 a second, which an API server does not feel.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a write may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Events that are remembered, so that one which repeats them counts them up.
const REMEMBERED_MAX: usize = 512;
/// How long after the last time an event counts as a repetition; the API server forgets them after an hour.
const REPEATED_WITHIN: Duration = Duration::from_secs(1800);
/// Longest message, the bound of `events.k8s.io`.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Longest name of an object.
const NAME_LENGTH_MAX: usize = 253;
/// Where events about objects without a namespace are.
const DEFAULT_NAMESPACE: &str = "default";

/// Whether somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// All is well.
    Normal,
    /// Something is wrong.
    Warning,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// What is told about an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The object.
    pub about: ObjectReference,
    /// Whether somebody should look.
    pub level: Level,
    /// For programs: one word in CamelCase.
    pub reason: String,
    /// For people. Beyond a kibibyte it is cut.
    pub message: String,
}

/// Takes events of one program; clones share the queue.
#[derive(Debug, Clone)]
pub struct Events {
    sender: Sender<Event>,
    dropped: Counter,
}

/// Writes what [`Events`] takes.
pub struct Writer {
    client: Client,
    reporter: String,
    receiver: Receiver<Event>,
    dropped: Counter,
    written: HashMap<Key, Written>,
}

/// What makes an event the same as another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    uid: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    level: Level,
    reason: String,
    message: String,
}

#[derive(Debug, Clone)]
struct Written {
    name: String,
    count: i32,
    at: Instant,
}

/// What a repetition changes of an event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Repetition {
    count: i32,
    last_timestamp: Time,
}

impl Events {
    /// Events that `reporter` tells, and what writes them; `signet_events_dropped_total` counts those that are lost.
    pub fn new(client: Client, reporter: &str, metrics: &Metrics) -> (Self, Writer) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let dropped = Counter::default();
        metrics.register(|registry| {
            registry.register(
                "signet_events_dropped",
                "Kubernetes Events that were not written: too many at once, or the API server did not take them",
                dropped.clone(),
            );
        });
        let writer = Writer {
            client,
            reporter: reporter.to_owned(),
            receiver,
            dropped: dropped.clone(),
            written: HashMap::new(),
        };
        (Self { sender, dropped }, writer)
    }

    /// Tells an event, soon. Nobody waits for it; where too many are under way, it is dropped.
    pub fn tell(&self, mut event: Event) {
        // Here, so that neither the queue nor what is remembered grows with texts that others chose.
        event.message.truncate(event.message.floor_char_boundary(MESSAGE_BYTES_MAX));
        event.message.shrink_to_fit();
        if let Err(error) = self.sender.try_send(event) {
            self.dropped.inc();
            let event = error.into_inner();
            tracing::debug!(reason = event.reason, object = event.about.name, "too many events: dropped one");
        }
    }
}

impl Writer {
    /// Writes events until shutdown is requested; those that still wait are lost then.
    ///
    /// # Errors
    /// None; the result is for [`crate::tasks::Tasks::spawn`].
    pub async fn run(mut self, shutdown: Shutdown) -> anyhow::Result<()> {
        loop {
            let event = tokio::select! {
                () = shutdown.requested() => return Ok(()),
                Some(event) = self.receiver.recv() => event,
                // Nobody can tell one any more.
                else => {
                    shutdown.requested().await;
                    return Ok(());
                }
            };
            let next = Instant::now() + PAUSE;
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                () = self.write(event) => {}
            }
            tokio::time::sleep_until(next).await;
        }
    }

    async fn write(&mut self, event: Event) {
        let kind = event.about.kind.clone().unwrap_or_default();
        let name = event.about.name.clone().unwrap_or_default();
        let trouble = match tokio::time::timeout(TIMEOUT, self.send(event)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => Failure::from(&error).to_string(),
            Err(_) => format!("no answer within {TIMEOUT:?}"),
        };
        self.dropped.inc();
        tracing::warn!("cannot write an event about {kind} {name}: {trouble}");
    }

    async fn send(&mut self, event: Event) -> kube::Result<()> {
        let now = Instant::now();
        self.written.retain(|_, written| now.duration_since(written.at) < REPEATED_WITHIN);
        let time = Time(Timestamp::now());
        let namespace = event.about.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        let api: Api<CoreEvent> = Api::namespaced(self.client.clone(), namespace);
        let key = key(&event);
        if let Some(written) = self.written.get_mut(&key) {
            let count = written.count.saturating_add(1);
            let patch = Patch::Merge(Repetition { count, last_timestamp: time.clone() });
            match api.patch(&written.name, &PatchParams::default(), &patch).await {
                Ok(_) => {
                    (written.count, written.at) = (count, now);
                    return Ok(());
                }
                // The API server has forgotten it.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let object = object(event, &self.reporter, &time);
        api.create(&PostParams::default(), &object).await?;
        self.remember(key, Written { name: object.metadata.name.unwrap_or_default(), count: 1, at: now });
        Ok(())
    }

    fn remember(&mut self, key: Key, written: Written) {
        if self.written.len() >= REMEMBERED_MAX {
            let oldest = self.written.iter().min_by_key(|(_, written)| written.at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.written.remove(&oldest);
            }
        }
        self.written.insert(key, written);
    }
}

fn key(event: &Event) -> Key {
    let Event { about, level, reason, message } = event.clone();
    let ObjectReference { uid, kind, namespace, name, .. } = about;
    Key { uid, kind, namespace, name, level, reason, message }
}

fn object(event: Event, reporter: &str, time: &Time) -> CoreEvent {
    let Event { about, level, reason, message } = event;
    // Unique, as client-go makes it: the object's name and the time.
    let suffix = format!(".{:x}", time.0.as_nanosecond());
    let room = NAME_LENGTH_MAX.saturating_sub(suffix.len());
    // Some kinds allow more in a name than an event may have in its own.
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    let plain = |c: char| if allowed(c) { c } else { '-' };
    let name: String = about.name.iter().flat_map(|name| name.chars()).take(room).map(plain).collect();
    CoreEvent {
        metadata: ObjectMeta {
            name: Some(format!("{}{suffix}", name.trim_end_matches(['.', '-']))),
            namespace: Some(about.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())),
            ..ObjectMeta::default()
        },
        involved_object: about,
        type_: Some(level.name().to_owned()),
        reason: Some(reason),
        message: Some(message),
        source: Some(EventSource { component: Some(reporter.to_owned()), host: None }),
        reporting_component: Some(reporter.to_owned()),
        count: Some(1),
        first_timestamp: Some(time.clone()),
        last_timestamp: Some(time.clone()),
        ..CoreEvent::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;
    use crate::lock::lock;
    use crate::testing;

    /// An API server that notes when it was called, with which method and path, and what was sent.
    #[derive(Clone, Default)]
    struct Server {
        calls: Arc<Mutex<Vec<(Instant, String, Value)>>>,
        /// Whether it answers at all.
        is_deaf: bool,
        /// Whether it has forgotten all events.
        forgets: bool,
    }

    impl Server {
        fn client(&self) -> Client {
            let server = self.clone();
            let answer = move |request: Request<Body>| {
                let server = server.clone();
                async move { server.answer(request).await }
            };
            testing::client(answer)
        }

        async fn answer(&self, request: Request<Body>) -> Response<Body> {
            let (head, body) = request.into_parts();
            let body = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap();
            let call = format!("{} {}", head.method, head.uri.path());
            lock(&self.calls).push((Instant::now(), call, body));
            if self.is_deaf {
                return std::future::pending().await;
            }
            if self.forgets && head.method == Method::PATCH {
                let status = json!({ "kind": "Status", "code": 404, "message": "gone", "status": "Failure" });
                let mut response = Response::new(Body::from(status.to_string().into_bytes()));
                *response.status_mut() = StatusCode::NOT_FOUND;
                return response;
            }
            let event = json!({ "metadata": {}, "involvedObject": {} });
            Response::new(Body::from(event.to_string().into_bytes()))
        }

        fn calls(&self) -> Vec<String> {
            lock(&self.calls).iter().map(|(_, call, _)| call.clone()).collect()
        }
    }

    fn event(name: &str) -> Event {
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Secret".to_owned()),
            namespace: Some("team-a".to_owned()),
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        };
        let (reason, message) = ("NoCAData".to_owned(), "there is none".to_owned());
        Event { about, level: Level::Warning, reason, message }
    }

    /// Tells these while a writer runs, for a while; how many were dropped.
    async fn told(server: &Server, events: impl IntoIterator<Item = Event>) -> u64 {
        let (metrics, shutdown) = (Metrics::new("test", "0"), Shutdown::default());
        let (sender, writer) = Events::new(server.client(), "tester", &metrics);
        let writing = tokio::spawn(writer.run(shutdown.clone()));
        for event in events {
            sender.tell(event);
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        shutdown.request();
        writing.await.unwrap().unwrap();
        sender.dropped.get()
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_events_at_once_delay_nobody_and_what_does_not_fit_is_counted() {
        let server = Server { is_deaf: true, ..Server::default() };
        let (metrics, start) = (Metrics::new("test", "0"), Instant::now());
        let (events, writer) = Events::new(server.client(), "tester", &metrics);
        for number in 0..1_000 {
            events.tell(event(&format!("ca-{number}")));
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(events.dropped.get(), 1_000 - 256);
        let text = metrics.encode().unwrap();
        assert!(text.contains("signet_events_dropped_total 744\n"), "{text}");
        drop(writer);
        events.tell(event("late"));
        assert_eq!(events.dropped.get(), 745);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_api_server_does_not_take_is_counted_and_the_next_one_is_sent() {
        let server = Server { is_deaf: true, ..Server::default() };
        assert_eq!(told(&server, [event("one"), event("two")]).await, 2);
        assert_eq!(server.calls().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn at_most_twenty_a_second_are_written() {
        let server = Server::default();
        assert_eq!(told(&server, (0..100).map(|number| event(&format!("ca-{number}")))).await, 0);
        let times: Vec<Instant> = lock(&server.calls).iter().map(|(at, ..)| *at).collect();
        assert_eq!(times.len(), 100);
        let fastest = times.windows(21).map(|times| times[20].duration_since(times[0])).min().unwrap();
        assert!(fastest >= Duration::from_secs(1), "{fastest:?}");
        assert!(times[99].duration_since(times[0]) < Duration::from_secs(6), "it takes too long");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_of_core_and_about_its_object() {
        let server = Server::default();
        let mut of_cluster = event(&format!("signet.example:{}", "x".repeat(250)));
        (of_cluster.about.namespace, of_cluster.level) = (None, Level::Normal);
        of_cluster.message = "é".repeat(1_000);
        told(&server, [event("ca"), of_cluster]).await;
        assert_eq!(
            server.calls(),
            ["POST /api/v1/namespaces/team-a/events", "POST /api/v1/namespaces/default/events"]
        );
        let sent = lock(&server.calls);
        let first = &sent[0].2;
        assert!(first["metadata"]["name"].as_str().unwrap().starts_with("ca."), "{first}");
        assert_eq!(first["involvedObject"]["kind"], "Secret");
        assert_eq!((&first["type"], &first["count"]), (&json!("Warning"), &json!(1)));
        assert_eq!(first["source"]["component"], "tester");
        assert_eq!((&first["reason"], &first["message"]), (&json!("NoCAData"), &json!("there is none")));
        let second = &sent[1].2;
        let name = second["metadata"]["name"].as_str().unwrap();
        assert_eq!(name.len(), NAME_LENGTH_MAX);
        assert!(name.starts_with("signet.example-x"), "{name}");
        assert_eq!(second["metadata"]["namespace"], "default");
        assert_eq!(second["message"].as_str().unwrap().len(), MESSAGE_BYTES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_repetition_counts_up() {
        let server = Server::default();
        let mut other = event("ca");
        other.message = "another".to_owned();
        told(&server, [event("ca"), event("ca"), other, event("ca")]).await;
        let calls = server.calls();
        let methods: Vec<&str> = calls.iter().filter_map(|call| call.split(' ').next()).collect();
        assert_eq!(methods, ["POST", "PATCH", "POST", "PATCH"]);
        let sent = lock(&server.calls);
        assert_eq!(sent[3].2["count"], 3);
        let name = sent[0].2["metadata"]["name"].as_str().unwrap();
        assert!(sent[3].1.ends_with(name), "{}", sent[3].1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_repetition_of_what_is_forgotten_is_told_anew() {
        let server = Server { forgets: true, ..Server::default() };
        told(&server, [event("ca"), event("ca")]).await;
        let calls = server.calls();
        let methods: Vec<&str> = calls.iter().filter_map(|call| call.split(' ').next()).collect();
        assert_eq!(methods, ["POST", "PATCH", "POST"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_stays_bounded() {
        let metrics = Metrics::new("test", "0");
        let (_, mut writer) = Events::new(Server::default().client(), "tester", &metrics);
        for number in 0..REMEMBERED_MAX + 10 {
            writer.write(event(&format!("ca-{number}"))).await;
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(writer.written.len(), REMEMBERED_MAX);
        assert!(!writer.written.contains_key(&key(&event("ca-9"))));
        tokio::time::advance(REPEATED_WITHIN).await;
        writer.write(event("last")).await;
        assert_eq!(writer.written.len(), 1);
    }
}

mod crowds;
mod denials;
mod failures;

use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use runtime::testing::{self, SlowServer};
use serde_json::Value;

use super::writes::After;
use super::*;
use crate::MANAGER;
use crate::metrics::register_standings;
use crate::reference::SourceRef;

/// A client of an API server that shows an API service only when it is told to, and answers nothing else.
fn slow(server: &SlowServer) -> Client {
    server.client(
        |request| request.uri().path().ends_with("/apiservices/web"),
        r#"{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService",
            "metadata":{"name":"web","uid":"u","resourceVersion":"7"},"spec":{"service":{}}}"#,
    )
}

fn target() -> Target {
    Target::cluster(TargetKind::ApiService, "web")
}

pub(crate) fn injector(client: Client) -> (Arc<Injector>, runtime::metrics::Metrics) {
    injector_of(client, Leadership::always(), Settings::default())
}

fn injector_of(
    client: Client,
    leadership: Leadership,
    settings: Settings,
) -> (Arc<Injector>, runtime::metrics::Metrics) {
    let metrics = runtime::metrics::Metrics::new("cainjector", "0");
    let (events, _) = Events::new(client.clone(), MANAGER, &metrics);
    let figures = Figures::new(&metrics);
    let injector = Injector::new(client, settings, leadership.clone(), events, figures.clone());
    register_standings(&metrics, &figures, injector.synced(), leadership);
    (injector, metrics)
}

#[tokio::test(start_paused = true)]
async fn a_target_that_goes_while_it_is_read_leaves_no_series() {
    let server = SlowServer::default();
    let (injector, metrics) = injector(slow(&server));
    injector.wants(target(), Wanted::Malformed { annotation: "a", value: "b".to_owned() }, "7");
    let looking = Arc::clone(&injector);
    let looking = tokio::spawn(async move { looking.reconcile(&target()).await });
    server.asked().await;
    injector.gone(&target());
    server.answer();
    looking.await.unwrap();
    let text = metrics.encode().unwrap();
    assert!(text.contains("signet_cainjector_reconciles_total{"), "it was not read at all: {text}");
    assert!(!text.contains("signet_cainjector_in_sync{"), "{text}");
}

#[tokio::test]
async fn one_that_leads_no_more_writes_nothing() {
    let server = SlowServer::default();
    let (injector, _) = injector_of(slow(&server), Leadership::candidate(), Settings::default());
    let object = r#"{"metadata": {"name": "web"}, "spec": {"service": {}}}"#;
    let live = Live::new(target().kind, serde_json::from_str(object).unwrap());
    // The server never answers a write.
    injector.wants(target(), Wanted::Release, "7");
    let inputs = lock(&injector.index).inputs(&target(), Instant::now()).unwrap();
    let outcome =
        injector.apply(&live, &inputs, &Value::Null, After::injection(News::Released, Outcome::Done)).await;
    assert_eq!(outcome, Outcome::Failed);
    assert_eq!(injector.migrate(&live, &serde_json::json!([])).await, Err(Outcome::Failed));
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
            Response::new(Body::from(object.to_string().into_bytes()))
        }
    };
    testing::client(answer)
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
    let (injector, _) = injector(slow(&SlowServer::default()));
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

/// An API server with one API service, whose bundle somebody else has by turns: ours is overwritten right after each
/// write. Writes are counted.
fn overwritten(writes: &Arc<Mutex<u64>>) -> Client {
    let writes = Arc::clone(writes);
    let answer = move |request: Request<Body>| {
        let writes = Arc::clone(&writes);
        async move {
            if !request.uri().path().ends_with("/apiservices/web") {
                return std::future::pending().await;
            }
            let mut writes = lock(&writes);
            if request.method() == Method::PATCH {
                *writes += 1;
            }
            let time = format!("2026-01-01T00:00:{:02}Z", *writes % 60);
            let object = serde_json::json!({
                "metadata": { "name": "web", "uid": "u", "resourceVersion": writes.to_string(), "managedFields": [
                    { "manager": MANAGER, "operation": "Apply", "time": time },
                    { "manager": "stubborn", "operation": "Update", "time": time,
                      "fieldsV1": { "f:spec": { "f:caBundle": {} } } },
                ] },
                "spec": { "service": {} },
            });
            Response::new(Body::from(object.to_string().into_bytes()))
        }
    };
    testing::client(answer)
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_somebody_keeps_overwriting_is_repaired_with_pauses_and_counts_as_excused() {
    let writes = Arc::default();
    let (injector, metrics) = injector(overwritten(&writes));
    injector.api_server_changed(Some(crate::testing::root("ca", 5).to_pem().into_bytes()));
    injector.wants(target(), Wanted::Source(SourceRef::ApiServer), "0");
    for expected in 1..=5 {
        injector.reconcile(&target()).await;
        assert_eq!(*lock(&writes), expected);
    }
    // Calls fail for it, so the pause is a short one.
    let outcome = injector.reconcile(&target()).await;
    let Outcome::Again(pause) = outcome else { panic!("{outcome:?}") };
    assert!(pause <= Duration::from_secs(5), "{pause:?}");
    injector.reconcile(&target()).await;
    assert_eq!(*lock(&writes), 5, "another event is no reason to write sooner");
    let text = metrics.encode().unwrap();
    for line in [
        r#"signet_cainjector_contested{kind="APIService",namespace="",name="web"} 1"#,
        r#"signet_cainjector_overwrites_total{kind="APIService",manager="stubborn"} 5"#,
        r#"signet_cainjector_reconciles_total{kind="APIService",result="FieldContested"} 2"#,
        r#"signet_cainjector_injection_latency_seconds_count{kind="APIService"} 1"#,
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line} is not in {text}");
    }
    let much_later = Instant::now() + Duration::from_secs(60);
    assert_eq!(lock(&injector.synced()).check(true, much_later), Ok(()));
    tokio::time::advance(pause).await;
    injector.reconcile(&target()).await;
    assert_eq!(*lock(&writes), 6);
    assert_eq!(lock(&injector.synced()).check(true, much_later), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_due_and_not_written_counts_as_out_of_sync() {
    let (injector, _) = injector(slow(&SlowServer::default()));
    injector.wants(target(), Wanted::Source(SourceRef::ApiServer), "7");
    let synced = injector.synced();
    lock(&synced).check(true, Instant::now()).unwrap();
    let told = lock(&synced).check(true, Instant::now() + Duration::from_secs(11)).unwrap_err();
    assert_eq!(told, "1 of 1 lack their bundle: APIService web");
    injector.gone(&target());
    assert_eq!(lock(&synced).check(true, Instant::now() + Duration::from_secs(11)), Ok(()));
}

/// An API server with one API service, which it gives out and takes with these statuses.
fn failing(read: u16, write: u16) -> Client {
    testing::client(move |request: Request<Body>| async move {
        if !request.uri().path().ends_with("/apiservices/web") {
            return std::future::pending().await;
        }
        let status = if request.method() == Method::PATCH { write } else { read };
        let object = match status {
            200 => serde_json::json!({
                "metadata": { "name": "web", "uid": "u", "resourceVersion": "7" }, "spec": { "service": {} },
            }),
            code => {
                serde_json::json!({ "kind": "Status", "status": "Failure", "code": code, "message": "no" })
            }
        };
        let mut response = Response::new(Body::from(object.to_string().into_bytes()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    })
}

/// What comes of a look at a target that had its bundle before, where reads and writes are answered so: the result that is
/// counted.
async fn check_failing(read: u16, write: u16, result: &str) {
    let (injector, metrics) = injector(failing(read, write));
    injector.api_server_changed(Some(crate::testing::root("ca", 5).to_pem().into_bytes()));
    injector.wants(target(), Wanted::Source(SourceRef::ApiServer), "7");
    let time = Timestamp::now();
    let synced = injector.synced();
    lock(&synced).looked(&target(), crate::synced::Verdict::InSync, Instant::now(), time);
    lock(&synced).check(true, Instant::now()).unwrap();
    injector.reconcile(&target()).await;
    let text = metrics.encode().unwrap();
    let labels = r#"{kind="APIService",namespace="",name="web"}"#;
    assert!(text.contains(&format!("signet_cainjector_in_sync{labels} 0\n")), "{read} {write}: {text}");
    let counted = format!(r#"signet_cainjector_reconciles_total{{kind="APIService",result="{result}"}} 1"#);
    assert!(text.contains(&counted), "{read} {write}: {text}");
    let later = Instant::now() + Duration::from_secs(11);
    let told = lock(&synced).check(true, later);
    assert_eq!(told, Err("1 of 1 lack their bundle: APIService web".to_owned()), "{read} {write}");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_be_read_or_written_is_not_in_sync_and_keeps_the_process_unready() {
    check_failing(403, 200, "Forbidden").await;
    check_failing(500, 200, "Failed").await;
    check_failing(200, 500, "Failed").await;
    check_failing(200, 403, "Forbidden").await;
    check_failing(200, 422, "RejectedByAPIServer").await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_may_not_be_read_keeps_the_process_unready_and_one_that_is_not_there_does_not() {
    let name = ObjectName::namespaced("team-a", "ca");
    let state = |code| State::Failed(Failure { code: Some(code), message: "no".to_owned() });
    for (state, is_ready) in [(state(403), false), (state(500), false), (State::Absent, true)] {
        let (injector, _) = injector(failing(200, 200));
        injector.wants(target(), Wanted::Source(SourceRef::Secret(name.clone())), "7");
        injector.secret_changed(&name, &state);
        injector.reconcile(&target()).await;
        let synced = injector.synced();
        lock(&synced).check(true, Instant::now()).unwrap();
        let told = lock(&synced).check(true, Instant::now() + Duration::from_secs(11));
        assert_eq!(told.is_ok(), is_ready, "{state:?}: {told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn targets_that_may_be_seen_no_more_are_not_in_sync_until_they_are_seen_again() {
    let (injector, metrics) = injector(failing(200, 200));
    injector.api_server_changed(Some(crate::testing::root("ca", 5).to_pem().into_bytes()));
    injector.wants(target(), Wanted::Source(SourceRef::ApiServer), "7");
    injector.reconcile(&target()).await;
    injector.queue.take().await;
    injector.queue.finish(target(), Outcome::Done);
    let in_sync = |value| {
        let text = metrics.encode().unwrap();
        let labels = r#"{kind="APIService",namespace="",name="web"}"#;
        text.contains(&format!("signet_cainjector_in_sync{labels} {value}\n"))
    };
    assert!(in_sync(1));
    injector.denied(target().kind, &Failure { code: Some(403), message: "no".to_owned() });
    assert!(in_sync(0));
    assert!(injector.queue.is_empty());
    injector.wants(target(), Wanted::Source(SourceRef::ApiServer), "7");
    assert!(!injector.queue.is_empty(), "although its version is the same");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_changes_does_not_wait_for_those_that_are_looked_at_once_more() {
    let (injector, _) = injector(slow(&SlowServer::default()));
    let target = |name: &str| Target::cluster(TargetKind::ApiService, name);
    let wants = |name| injector.wants(target(name), Wanted::Source(SourceRef::ApiServer), "7");
    for name in ["one", "two"] {
        wants(name);
        injector.queue.take().await;
        injector.queue.finish(target(name), Outcome::Done);
    }
    // As who takes over the lead does.
    injector.recall(Memory::default());
    wants("new");
    let mut order = Vec::new();
    while !injector.queue.is_empty() {
        order.push(injector.queue.take().await.name.name);
    }
    assert_eq!(order, ["new", "one", "two"]);
}

/// An API server with one API service, which is at version 7: a write that is bound to another one is refused. The calls
/// are noted.
fn at_version_7(calls: &Arc<Mutex<Vec<String>>>) -> Client {
    let calls = Arc::clone(calls);
    testing::client(move |request: Request<Body>| {
        let calls = Arc::clone(&calls);
        async move {
            let (head, body) = request.into_parts();
            if !head.uri.path().ends_with("/apiservices/web") {
                return std::future::pending().await;
            }
            lock(&calls).push(head.method.to_string());
            let body = body.collect_bytes().await.unwrap();
            let is_late = !String::from_utf8_lossy(&body).contains(r#""resourceVersion":"7""#);
            if head.method == Method::PATCH && is_late {
                let status =
                    r#"{"kind": "Status", "status": "Failure", "code": 409, "message": "it has changed"}"#;
                let mut response = Response::new(Body::from(status.as_bytes().to_vec()));
                *response.status_mut() = StatusCode::CONFLICT;
                return response;
            }
            Response::new(Body::from(web("7").into_bytes()))
        }
    })
}

fn web(version: &str) -> String {
    format!(
        r#"{{"metadata": {{"name": "web", "uid": "u", "resourceVersion": "{version}"}}, "spec": {{"service": {{}}}}}}"#
    )
}

/// Has a target written that its watch has shown at this version; the calls, and what came of it.
async fn written_at(version: &str) -> (Vec<String>, Outcome, Arc<Injector>) {
    let calls = Arc::default();
    let (injector, _) = injector(at_version_7(&calls));
    injector.api_server_changed(Some(crate::testing::root("ca", 5).to_pem().into_bytes()));
    injector.keep(Live::new(target().kind, serde_json::from_str(&web(version)).unwrap()));
    injector.wants(target(), Wanted::Source(SourceRef::ApiServer), version);
    let outcome = injector.reconcile(&target()).await;
    if outcome == Outcome::Failed {
        injector.reconcile(&target()).await;
    }
    (std::mem::take(&mut *lock(&calls)), outcome, injector)
}

#[tokio::test(start_paused = true)]
async fn a_target_that_has_changed_since_it_was_seen_is_read_after_the_write_is_refused() {
    let (calls, outcome, _) = written_at("6").await;
    assert_eq!(outcome, Outcome::Failed);
    assert_eq!(calls, ["PATCH", "GET", "PATCH"]);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_its_watch_has_shown_is_written_without_being_read() {
    let (calls, outcome, injector) = written_at("7").await;
    assert!(matches!(outcome, Outcome::Again(_)), "{outcome:?}");
    assert_eq!(calls, ["PATCH"]);
    assert_eq!(injector.kept.get(&target()), None, "it is another one by now");
}

#[tokio::test]
async fn what_was_seen_of_a_target_is_forgotten_when_it_may_be_seen_no_more_or_is_gone() {
    let denial = Failure { code: Some(403), message: "no".to_owned() };
    let forget: [&dyn Fn(&Injector); 2] =
        [&|injector| injector.denied(target().kind, &denial), &|injector| injector.gone(&target())];
    for forget in forget {
        let (injector, _) = injector(testing::silent());
        injector.keep(Live::new(target().kind, serde_json::from_str(&web("7")).unwrap()));
        injector.wants(target(), Wanted::Source(SourceRef::ApiServer), "7");
        assert!(injector.kept.get(&target()).is_some());
        forget(&injector);
        assert_eq!(injector.kept.get(&target()), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rotation_is_no_event_and_a_bundle_that_was_lost_is_one() {
    let writes = Arc::default();
    let (injector, metrics) = injector(overwritten(&writes));
    // Nobody writes them here.
    let events = |expected: u64| {
        let text = metrics.encode().unwrap();
        assert!(text.contains(&format!("signet_events_dropped_total {expected}\n")), "{text}");
    };
    let ca = |names: &[&str]| {
        let roots = names.iter().map(|name| crate::testing::root(name, 5).to_pem());
        Some(roots.collect::<String>().into_bytes())
    };
    injector.api_server_changed(ca(&["one"]));
    injector.wants(target(), Wanted::Source(SourceRef::ApiServer), "0");
    injector.reconcile(&target()).await;
    events(1);
    injector.api_server_changed(ca(&["two"]));
    injector.reconcile(&target()).await;
    assert_eq!(*lock(&writes), 2);
    events(1);
    injector.reconcile(&target()).await;
    assert_eq!(*lock(&writes), 3);
    events(2);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_names_another_source_was_neither_overwritten_nor_is_that_a_rotation() {
    let writes = Arc::default();
    let (injector, metrics) = injector(overwritten(&writes));
    let secret = |name: &str| ObjectName::namespaced("team-a", name);
    let holds = |name: &str| {
        let ca = Some(crate::testing::root(name, 5).to_pem().into_bytes().into());
        State::Present(Arc::new(SourceSecret { allowed: true, ca, ..SourceSecret::default() }))
    };
    // This one keeps all sources known.
    for name in ["one", "two"] {
        let other = Target::cluster(TargetKind::ApiService, format!("with-{name}"));
        injector.wants(other, Wanted::Source(SourceRef::Secret(secret(name))), "1");
        injector.secret_changed(&secret(name), &holds(name));
    }
    // Each write is undone at once; but what is written is asked for anew each time.
    for (round, name) in ["one", "two"].into_iter().cycle().take(12).enumerate() {
        injector.wants(target(), Wanted::Source(SourceRef::Secret(secret(name))), &format!("{round}"));
        injector.reconcile(&target()).await;
        let text = metrics.encode().unwrap();
        assert_eq!(*lock(&writes), u64::try_from(round).unwrap() + 1);
        assert!(!text.contains("signet_cainjector_overwrites_total{"), "{text}");
        assert!(text.contains(&format!("signet_events_dropped_total {}\n", round + 1)), "{text}");
    }
    injector.reconcile(&target()).await;
    let text = metrics.encode().unwrap();
    assert!(
        text.contains(r#"signet_cainjector_overwrites_total{kind="APIService",manager="stubborn"} 1"#),
        "{text}"
    );
}

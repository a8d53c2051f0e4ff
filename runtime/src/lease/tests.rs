use std::collections::BTreeMap;
use std::sync::Mutex;

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::lock::lock;
use crate::testing;

/// What client-go wrote for a Go cainjector.
const GO_LEASE: &str = r#"{
    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
    "metadata": {"name": "example", "namespace": "kube-system", "resourceVersion": "7"},
    "spec": {
        "acquireTime": "2026-11-21T08:15:30.000001Z", "renewTime": "2026-11-21T08:16:01.123456Z",
        "holderIdentity": "cert-manager-cainjector-7d9c_2f1c0a57-1d4e-4b8e-9df0-0c5f4f0b3a11",
        "leaseDurationSeconds": 60, "leaseTransitions": 4
    }
}"#;

/// An API server that keeps one Lease and lets nobody watch it.
#[derive(Clone, Default)]
struct Server {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    lease: Option<Value>,
    version: u64,
    is_down: bool,
    is_read_only: bool,
    writes: Vec<String>,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        let answer = move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                let is_list = !parts.uri.path().ends_with("/example") && parts.method == Method::GET;
                let (code, answer) = server.answer(&parts.method, is_list, &body);
                let response =
                    Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
                response.unwrap()
            }
        };
        testing::client(answer)
    }

    fn answer(&self, method: &Method, is_list: bool, body: &[u8]) -> (u16, Value) {
        let mut state = lock(&self.state);
        let refused = |code: u16| {
            let reason = if code == 404 { "NotFound" } else { "" };
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": format!("refused with {code}"), "reason": reason, "code": code});
            (code, status)
        };
        if is_list {
            return refused(403);
        }
        if state.is_down {
            return refused(500);
        }
        if method == Method::GET {
            return state.lease.clone().map_or_else(|| refused(404), |lease| (200, lease));
        }
        if state.is_read_only {
            return refused(403);
        }
        let sent: Value = serde_json::from_slice(body).unwrap();
        let current = state.lease.as_ref().map(|lease| lease["metadata"]["resourceVersion"].clone());
        if current != sent["metadata"].get("resourceVersion").cloned() {
            return refused(409);
        }
        state.version += 1;
        let mut lease = sent.clone();
        if let Some(former) = state.lease.take() {
            lease["metadata"] = former["metadata"].clone();
        }
        lease["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.writes.push(sent["spec"]["holderIdentity"].as_str().unwrap().to_owned());
        state.lease = Some(lease.clone());
        (200, lease)
    }

    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut lock(&self.state))
    }
}

struct Process {
    leadership: Leadership,
    drained: Shutdown,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Process {
    fn start(server: &Server, identity: &str) -> Self {
        let (leadership, drained) = (Leadership::candidate(), Shutdown::default());
        let args = LeaseArgs {
            name: "example".to_owned(),
            namespace: "kube-system".to_owned(),
            manager: "example-manager",
            identity: identity.to_owned(),
            times: Times::new(secs(15), secs(10), secs(2)).unwrap(),
        };
        let task = tokio::spawn(run(server.client(), args, leadership.clone(), drained.clone()));
        Self { leadership, drained, task }
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[track_caller]
fn refused(times: [u64; 3], wanted: &str) {
    let [duration, renew_deadline, retry_period] = times.map(Duration::from_millis);
    let error = Times::new(duration, renew_deadline, retry_period).unwrap_err();
    assert_eq!(error.to_string(), wanted);
}

#[test]
fn times_that_do_not_fit_together_are_refused() {
    refused([999, 500, 100], "the lease duration 999ms must be a second or more");
    refused([15_000, 10_000, 0], "the retry period must be longer than nothing");
    refused([15_999, 15_000, 2_000], "the lease duration 15s must be longer than the renew deadline 15s");
    refused(
        [15_000, 12_000, 10_000],
        "the renew deadline 12s must be longer than 1.2 times the retry period 10s",
    );
    assert!(Times::new(secs(15), Duration::from_millis(12_001), secs(10)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_could_not_renew_in_time_may_not_write() {
    let server = Server::default();
    let process = Process::start(&server, "one");
    process.leadership.leading().await;
    server.state(|state| state.is_down = true);
    tokio::time::sleep(secs(9)).await;
    assert!(process.leadership.may_write());
    tokio::time::sleep(secs(4)).await;
    assert!(!process.leadership.may_write());
    server.state(|state| state.is_down = false);
    process.leadership.leading().await;
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_cannot_get_at_the_lease_says_so_once_that_lasts() {
    for state in
        [State { is_down: true, ..State::default() }, State { is_read_only: true, ..State::default() }]
    {
        let what = if state.is_down { "read" } else { "write" };
        let code = if state.is_down { 500 } else { 403 };
        let server = Server { state: Arc::new(Mutex::new(state)) };
        let process = Process::start(&server, "one");
        tokio::time::sleep(secs(15)).await;
        assert_eq!(process.leadership.takes_part(), Ok(()), "it may pass");
        tokio::time::sleep(secs(2)).await;
        let told = format!("cannot {what} the Lease kube-system/example: refused with {code}");
        assert_eq!(process.leadership.takes_part(), Err(told));
        server.state(|state| (state.is_down, state.is_read_only) = (false, false));
        process.leadership.leading().await;
        assert_eq!(process.leadership.takes_part(), Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn who_stands_by_takes_part() {
    let server = Server::default();
    let one = Process::start(&server, "one");
    one.leadership.leading().await;
    let two = Process::start(&server, "two");
    tokio::time::sleep(secs(100)).await;
    assert!(!two.leadership.may_write());
    assert_eq!(two.leadership.takes_part(), Ok(()));
    assert_eq!(Leadership::always().takes_part(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_has_lost_its_right_before_it_does_anything_else() {
    let leadership = Leadership::candidate();
    leadership.lead_for(secs(10));
    assert!(leadership.may_write());
    // Nothing of ours runs while the time goes by.
    tokio::time::advance(secs(10)).await;
    assert!(!leadership.may_write());
    let waited = tokio::time::timeout(secs(60), leadership.leading()).await;
    assert!(waited.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_followed_after_its_lease_has_run_out() {
    let server = Server::default();
    let one = Process::start(&server, "one");
    one.leadership.leading().await;
    let two = Process::start(&server, "two");
    tokio::time::sleep(secs(40)).await;
    assert!(!two.leadership.may_write() && one.leadership.may_write());
    one.task.abort();
    let died = Instant::now();
    two.leadership.leading().await;
    // Without a watch, the last renewal is seen after two seconds at most.
    assert!((secs(13)..=secs(17)).contains(&died.elapsed()), "{:?}", died.elapsed());
    let transitions = server.state(|state| state.lease.clone().unwrap()["spec"]["leaseTransitions"].clone());
    assert_eq!(transitions, json!(1));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_ends_gives_the_lease_back_and_the_next_takes_it_at_once() {
    let server = Server::default();
    let one = Process::start(&server, "one");
    one.leadership.leading().await;
    let two = Process::start(&server, "two");
    tokio::time::sleep(secs(5)).await;
    one.drained.request();
    one.task.await.unwrap().unwrap();
    assert!(!one.leadership.may_write());
    let given_back = Instant::now();
    two.leadership.leading().await;
    assert!(given_back.elapsed() <= secs(2), "{:?}", given_back.elapsed());
    two.drained.request();
    two.task.await.unwrap().unwrap();
    let mut writes = server.state(|state| std::mem::take(&mut state.writes));
    writes.dedup();
    assert_eq!(writes, ["one", "", "two", ""]);
}

#[tokio::test(start_paused = true)]
async fn one_that_only_waited_gives_nothing_back() {
    let server = Server::default();
    server.state(|state| state.lease = Some(serde_json::from_str(GO_LEASE).unwrap()));
    let process = Process::start(&server, "one");
    tokio::time::sleep(secs(30)).await;
    process.drained.request();
    process.task.await.unwrap().unwrap();
    assert!(server.state(|state| state.writes.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn what_others_keep_in_the_lease_stays() {
    let server = Server::default();
    let process = Process::start(&server, "one");
    process.leadership.leading().await;
    server.state(|state| {
        state.version += 1;
        let version = state.version.to_string();
        let lease = state.lease.as_mut().unwrap();
        assert_eq!(lease["metadata"]["labels"], json!({"app.kubernetes.io/managed-by": "example-manager"}));
        lease["metadata"]["labels"] = json!({"a": "b"});
        lease["metadata"]["resourceVersion"] = json!(version);
    });
    tokio::time::sleep(secs(30)).await;
    assert!(process.leadership.may_write());
    let labels = server.state(|state| state.lease.clone().unwrap()["metadata"]["labels"].clone());
    assert_eq!(labels, json!({"a": "b"}));
}

#[test]
fn a_lease_of_a_go_program_is_understood() {
    let seen = observed(serde_json::from_str(GO_LEASE).unwrap());
    assert_eq!(seen.version, "7");
    assert!(seen.record.holder.starts_with("cert-manager-cainjector-7d9c_"));
    assert_eq!((seen.record.duration, seen.record.transitions), (Some(secs(60)), 4));
    assert_eq!(seen.record.renewed.unwrap().to_string(), "2026-11-21T08:16:01.123456Z");
    let nothing: Lease =
        serde_json::from_str(r#"{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {}}"#)
            .unwrap();
    assert_eq!(observed(nothing).record.holder, "");
}

#[test]
fn our_lease_is_as_go_programs_read_it() {
    let args = LeaseArgs {
        name: "example".to_owned(),
        namespace: "kube-system".to_owned(),
        manager: "example-manager",
        identity: "one".to_owned(),
        times: Times::new(secs(15), secs(10), secs(2)).unwrap(),
    };
    let time = "2026-11-21T08:16:01Z".parse().unwrap();
    let record = Record {
        holder: "one".to_owned(),
        duration: Some(secs(15)),
        acquired: Some(time),
        renewed: Some(time),
        transitions: 0,
    };
    let written = serde_json::to_value(lease(&args, &record, None)).unwrap();
    // Go reads these times with six digits and nothing else.
    assert_eq!(
        written["spec"],
        json!({"acquireTime": "2026-11-21T08:16:01.000000Z", "renewTime": "2026-11-21T08:16:01.000000Z",
            "holderIdentity": "one", "leaseDurationSeconds": 15, "leaseTransitions": 0})
    );
}

#[test]
fn no_two_processes_have_one_identity() {
    let all: BTreeMap<String, ()> = (0..8).map(|_| (identity().unwrap(), ())).collect();
    assert_eq!(all.len(), 8);
    assert!(all.keys().all(|identity| identity.contains('_') && !identity.contains(char::is_whitespace)));
}

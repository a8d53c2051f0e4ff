//! The service with stand-ins for the API server and the issuers: what is refused, with which word, in which line.

use std::sync::Arc;

use ::issuers::live::Policies;
use ::issuers::policy::{DURATION_MAX, Policy, Rules};
use ::issuers::{IssuerId, Outcome};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Response;
use issuance::authority::{Authority, Terms};
use issuance::certificate::Certificate;
use issuance::key::{KeyAlgorithm, PrivateKey};
use issuance::name::{RequestedSubject, Subject, SubjectAltName};
use issuance::request::{Request, RequestSpec};
use jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use proto::signer::sign_response::Outcome as Answer;
use proto::signer::signer_server::Signer as _;
use proto::signer::{self as wire, SignRequest};
use runtime::follow::Change;
use runtime::testing::Log;
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::issuers::{Issuers, Way};
use super::*;

const DRIVER: &str = "system:serviceaccount:signet:driver";

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// What all tokens of these tests begin with.
const TOKEN_BEGINS: &str = "e30.";

/// A token with this in it, as the API server of these tests reads it.
fn token_of(content: &Value) -> String {
    format!("{TOKEN_BEGINS}{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(content.to_string()))
}

fn token(username: &str, pod: &str, uid: &str, node: &str, audience: &str) -> String {
    token_of(&json!({"username": username, "pod": pod, "uid": uid, "node": node, "audience": audience}))
}

fn expired() -> String {
    token_of(&json!("expired"))
}

fn driver_token() -> String {
    token(DRIVER, "driver-x", "u9", "n1", "signet-signer-driver")
}

fn pod_token() -> String {
    token("system:serviceaccount:team-a:shop", "web-0", "u1", "n1", "signet-signer-pod")
}

/// Knows tokens by what is in them, and one pod that no watch has shown.
fn server() -> Client {
    runtime::testing::client(|request: http::Request<Body>| async move {
        let path = request.uri().path().to_owned();
        let (status, answer) = if path.ends_with("/tokenreviews") {
            let body = request.into_body().collect_bytes().await.unwrap();
            let sent: Value = serde_json::from_slice(&body).unwrap();
            let text = sent["spec"]["token"].as_str().unwrap();
            let content = BASE64_URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap_or_default()).unwrap();
            let token: Value = serde_json::from_slice(&content).unwrap_or_default();
            let is_for_us = sent["spec"]["audiences"] == json!([token["audience"]]);
            let mut extra = json!({"authentication.kubernetes.io/credential-id": ["JTI=7"]});
            for (key, name) in [("pod", "pod-name"), ("uid", "pod-uid"), ("node", "node-name")] {
                if token[key].is_string() {
                    extra[format!("authentication.kubernetes.io/{name}")] = json!([token[key]]);
                }
            }
            let user = json!({"username": token["username"], "extra": extra});
            let known = json!({"authenticated": true, "audiences": [token["audience"]], "user": user});
            let status = if is_for_us { known } else { json!({"authenticated": false}) };
            let kind = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"});
            let mut review = json!({"metadata": {}, "spec": {}, "status": status});
            json_patch::merge(&mut review, &kind);
            (201, review)
        } else if path == "/api/v1/namespaces/team-a/pods/late-0" {
            (200, pod("team-a", "late-0", "u5", "n1", "shop"))
        } else {
            let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound",
                              "message": "not found", "code": 404});
            (404, gone)
        };
        Response::builder().status(status).body(Body::from(serde_json::to_vec(&answer).unwrap())).unwrap()
    })
}

fn pod(namespace: &str, name: &str, uid: &str, node: &str, account: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": namespace, "uid": uid, "labels": {"app": "web"}},
        "spec": {"nodeName": node, "serviceAccountName": account},
        "status": {"phase": "Running"},
    })
}

/// A CA that signs, or what it is told to say.
struct Fake {
    ca: Authority,
    way: fn() -> Result<Way, Outcome>,
}

impl Issuers for Fake {
    fn way(&self, _: &IssuerId) -> Result<Way, Outcome> {
        (self.way)()
    }

    fn sign<'a>(
        &'a self,
        id: &'a IssuerId,
        request: &'a Request,
        terms: &'a Terms,
        now: Timestamp,
    ) -> BoxFuture<'a, Outcome> {
        async move { Outcome::of_signing(id, self.ca.sign(request, terms, now)) }.boxed()
    }
}

fn service_with(way: fn() -> Result<Way, Outcome>, rules: &str) -> Service {
    let flags = ["--signer-ca-secret=a/b", "--signer-ca-configmap=a/c", "--signer-dns-names=s.a.svc"];
    let mut settings = settings::testing::settings(&flags);
    settings.drivers = vec![DRIVER.to_owned()];
    let pods: Arc<Catalogue<Pod>> = Arc::default();
    for object in [
        pod("team-a", "web-0", "u1", "n1", "shop"),
        pod("team-a", "web-1", "u2", "n2", "shop"),
        pod("team-a", "taken", "u3", "n1", "shop"),
        pod("signet", "driver-x", "u9", "n1", "driver"),
    ] {
        pods.changed(Change::Seen(serde_json::from_value(object).unwrap()), Pod::of);
    }
    let services: Arc<Catalogue<_>> = Arc::default();
    for (name, app) in [("web", "web"), ("taken", "db")] {
        let object =
            json!({"metadata": {"name": name, "namespace": "team-a"}, "spec": {"selector": {"app": app}}});
        services.changed(Change::Seen(serde_json::from_value(object).unwrap()), services::view);
    }
    let readiness = Readiness::default();
    let standings = ["pods", "services"].map(|name| {
        let standing = readiness.teller(name);
        standing.tell(Ok(()));
        standing
    });
    let metrics = Metrics::default();
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let ca = Authority::self_signed("ca", key, SignedDuration::from_hours(9000), now()).unwrap();
    let rules = format!("apiVersion: policy.signet/v1alpha1\nkind: NamePolicy\nrules:\n{rules}\n");
    Service::new(Parts {
        reader: Reader::new(server()),
        tokens: Arc::new(Tokens::new(server(), metrics.clone())),
        pods,
        services,
        standings,
        policies: Policies::fixed(Policy {
            cluster_domain: "cluster.local".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            duration_max: DURATION_MAX,
            rules: Rules::parse(&rules).unwrap(),
        }),
        issuers: Arc::new(Fake { ca, way }),
        limits: Arc::default(),
        callers: Arc::default(),
        metrics,
        clock: Arc::new(now),
        settings,
    })
}

fn service() -> Service {
    service_with(|| Ok(Way::AtOnce(1)), "")
}

/// What a driver sends for web-0, and what makes it another request.
struct Call {
    bearer: Option<String>,
    message: SignRequest,
}

impl Call {
    fn new() -> Self {
        let pod = wire::Pod {
            namespace: "team-a".to_owned(),
            name: "web-0".to_owned(),
            uid: "u1".to_owned(),
            service_account: "shop".to_owned(),
        };
        let issuer = wire::IssuerRef { name: "ca".to_owned(), ..wire::IssuerRef::default() };
        let message = SignRequest {
            pod: Some(pod),
            pod_token: pod_token(),
            issuer: Some(issuer),
            duration_seconds: 3600,
            ..SignRequest::default()
        };
        Self { bearer: Some(driver_token()), message }.names(&["web.team-a.svc"], Subject::default())
    }

    fn names(mut self, names: &[&str], subject: impl Into<RequestedSubject>) -> Self {
        let names = names.iter().map(|name| SubjectAltName::Dns((*name).to_owned())).collect();
        let spec = RequestSpec { subject: subject.into(), names, ..RequestSpec::default() };
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        self.message.request = Request::build(&spec, &key).unwrap().der().to_vec();
        self
    }

    fn with(mut self, change: impl FnOnce(&mut SignRequest)) -> Self {
        change(&mut self.message);
        self
    }

    fn pod(self, change: impl FnOnce(&mut wire::Pod)) -> Self {
        self.with(|message| change(message.pod.as_mut().unwrap()))
    }

    fn pod_token(self, token: String) -> Self {
        self.with(|message| message.pod_token = token)
    }

    fn bearer(self, bearer: &str) -> Self {
        Self { bearer: Some(bearer.to_owned()), ..self }
    }

    /// The answer, and the lines of the log.
    async fn answered(self, service: &Service) -> (Result<Answer, Status>, String) {
        let mut call = tonic::Request::new(self.message);
        if let Some(bearer) = self.bearer {
            call.metadata_mut().insert("authorization", format!("Bearer {bearer}").parse().unwrap());
        }
        let log = Log::default();
        let listening = log.listen();
        let answer = service.sign(call).await;
        drop(listening);
        (answer.map(|answer| answer.into_inner().outcome.unwrap()), log.text())
    }
}

/// The call fails with this code and reason, which the audit log has too; nothing in the log is a token.
async fn denied(call: Call, code: Code, reason: &str) {
    let (answer, log) = call.answered(&service()).await;
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().starts_with(&format!("{reason}: ")), "{status}");
    audited(&log, reason);
}

/// The request is refused for good with this reason.
async fn refused(call: Call, reason: &str, why: &str) {
    let (answer, log) = call.answered(&service()).await;
    let Ok(Answer::Refused(unsigned)) = answer else { panic!("{answer:?}") };
    assert_eq!(unsigned.reason, reason, "{}", unsigned.message);
    assert!(unsigned.message.contains(why), "{}", unsigned.message);
    audited(&log, reason);
}

fn audited(log: &str, reason: &str) {
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("signet::audit")).collect();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(line.contains(&format!("reason={reason:?}")), "{line}");
    assert!(!log.contains(TOKEN_BEGINS), "a token is in {log}");
}

#[tokio::test]
async fn tokens_that_are_none_or_of_others_are_refused() {
    let silent = Call { bearer: None, ..Call::new() };
    denied(silent, Code::Unauthenticated, "TokenMissing").await;
    denied(Call::new().bearer("expired"), Code::Unauthenticated, "TokenMalformed").await;
    denied(Call::new().bearer(&expired()), Code::Unauthenticated, "TokenRefused").await;
    denied(Call::new().pod_token(expired()), Code::Unauthenticated, "TokenRefused").await;
    denied(Call::new().pod_token(String::new()), Code::Unauthenticated, "TokenRefused").await;
    // The right token for the wrong audience, in both places.
    denied(Call::new().pod_token(driver_token()), Code::Unauthenticated, "TokenRefused").await;
    denied(Call::new().bearer(&pod_token()), Code::Unauthenticated, "TokenRefused").await;
    let pod = token("system:serviceaccount:team-a:shop", "web-0", "u1", "n1", "signet-signer-driver");
    denied(Call::new().bearer(&pod), Code::PermissionDenied, "NoDriver").await;
}

#[tokio::test]
async fn only_drivers_are_known_at_their_next_call() {
    let service = service();
    let known = |token: &str| service.callers().of(token) == callers::Caller::Driver;
    let pod = token("system:serviceaccount:team-a:shop", "web-0", "u1", "n1", "signet-signer-driver");
    assert!(Call::new().bearer(&pod).answered(&service).await.0.is_err());
    assert!(!known(&pod) && !known(&driver_token()));
    assert!(Call::new().answered(&service).await.0.is_ok());
    assert!(known(&driver_token()));
}

#[tokio::test]
async fn tokens_that_do_not_fit_together_are_refused() {
    let shop = "system:serviceaccount:team-a:shop";
    let moved = token(shop, "web-0", "u1", "n2", "signet-signer-pod");
    denied(Call::new().pod_token(moved), Code::PermissionDenied, "TokenFromAnotherNode").await;
    let other = Call::new().pod(|pod| pod.uid = "u2".to_owned());
    denied(other, Code::PermissionDenied, "TokenOfAnotherPod").await;
    let neighbour = Call::new().pod(|pod| pod.name = "web-1".to_owned());
    denied(neighbour, Code::PermissionDenied, "TokenOfAnotherPod").await;
    let account = Call::new().pod(|pod| pod.service_account = "admin".to_owned());
    denied(account, Code::PermissionDenied, "TokenOfAnotherAccount").await;
    let unbound = token_of(&json!({"username": shop, "audience": "signet-signer-pod"}));
    denied(Call::new().pod_token(unbound), Code::Unauthenticated, "TokenRefused").await;
}

#[tokio::test]
async fn pods_that_are_gone_or_elsewhere_get_nothing() {
    let shop = "system:serviceaccount:team-a:shop";
    let call = |name: &str, uid: &str| {
        let token = token(shop, name, uid, "n1", "signet-signer-pod");
        Call::new().pod_token(token).pod(|pod| (pod.name, pod.uid) = (name.to_owned(), uid.to_owned()))
    };
    denied(call("gone-0", "u7"), Code::PermissionDenied, "PodGone").await;
    denied(call("web-0", "u0"), Code::PermissionDenied, "PodGone").await;
    denied(call("web-1", "u2"), Code::PermissionDenied, "PodElsewhere").await;
    let bearer = token(DRIVER, "driver-y", "u8", "n1", "signet-signer-driver");
    denied(Call::new().bearer(&bearer), Code::PermissionDenied, "PodGone").await;
    // A watch that lags does not count.
    let (answer, _) = call("late-0", "u5").answered(&service()).await;
    assert!(matches!(answer, Ok(Answer::Issued(_))), "{answer:?}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    denied(Call::new().with(|message| message.pod = None), Code::InvalidArgument, "Incomplete").await;
    denied(Call::new().with(|message| message.issuer = None), Code::InvalidArgument, "Incomplete").await;
    let endless = Call::new().pod(|pod| pod.uid = "u".repeat(254));
    denied(endless, Code::InvalidArgument, "Incomplete").await;
    let endless = Call::new().with(|message| message.issuer.as_mut().unwrap().group = "g".repeat(254));
    denied(endless, Code::InvalidArgument, "Incomplete").await;
    let path = Call::new().pod(|pod| pod.name = "../x".to_owned());
    denied(path, Code::InvalidArgument, "Incomplete").await;
    denied(Call::new().with(|message| message.duration_seconds = 0), Code::InvalidArgument, "Duration").await;
    denied(Call::new().with(|message| message.request.truncate(9)), Code::InvalidArgument, "Request").await;
    let usages = |usages: Vec<String>| Call::new().with(|message| message.usages = usages);
    denied(usages(vec!["root".to_owned()]), Code::InvalidArgument, "Usages").await;
    denied(usages(vec!["any".to_owned(); 41]), Code::InvalidArgument, "Usages").await;
}

#[tokio::test]
async fn what_the_policy_refuses_is_final() {
    let foreign = Call::new().names(&["kubernetes.default.svc"], Subject::default());
    refused(foreign, "DnsNameNotPermitted", "it ends neither in .team-a.svc").await;
    let ca = Call::new().with(|message| message.is_ca = true);
    refused(ca, "CertificateAuthorityNotPermitted", "which could sign any name").await;
    let usages = Call::new().with(|message| message.usages = vec!["cert sign".to_owned()]);
    refused(usages, "UsagesNotPermitted", "cert sign").await;
    let subject = Subject { organizations: vec!["system:masters".to_owned()], ..Subject::default() };
    let masters = Call::new().names(&["web.team-a.svc"], subject);
    refused(masters, "SubjectNotPermitted", "O=system:masters").await;
    let token = token("system:serviceaccount:team-a:shop", "taken", "u3", "n1", "signet-signer-pod");
    let taken = Call::new()
        .pod_token(token)
        .pod(|pod| (pod.name, pod.uid) = ("taken".to_owned(), "u3".to_owned()))
        .names(&["taken.team-a.svc"], Subject::default());
    refused(taken, "DnsNameNotPermitted", "Service team-a/taken does not select the pod").await;
}

#[tokio::test]
async fn nothing_is_answered_before_pods_and_services_were_seen() {
    let (service, standings) = (service(), Readiness::default());
    let service = service.standing_so([standings.teller("pods"), standings.teller("services")]);
    let (answer, log) = Call::new().answered(&service).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
    audited(&log, "NotReady");
}

#[tokio::test]
async fn issuers_that_do_not_sign_at_once_are_told_apart() {
    let answered = async |way: fn() -> Result<Way, Outcome>, call: Call| {
        call.answered(&service_with(way, "")).await.0.unwrap()
    };
    let own = answered(|| Ok(Way::SelfSigned(vec!["http://crl".to_owned()])), Call::new()).await;
    let Answer::SelfSign(own) = own else { panic!("{own:?}") };
    assert_eq!((own.duration_seconds, own.crl_distribution_points), (3600, vec!["http://crl".to_owned()]));
    let acme = answered(|| Ok(Way::Elsewhere("Issuer ca is of type acme".to_owned())), Call::new()).await;
    assert!(matches!(acme, Answer::Elsewhere(unsigned) if unsigned.reason == "IssuerNotSynchronous"));
    let group = Call::new().with(|message| message.issuer.as_mut().unwrap().group = "other.io".to_owned());
    let group = answered(|| Ok(Way::AtOnce(1)), group).await;
    assert!(matches!(group, Answer::Elsewhere(unsigned) if unsigned.message.contains("group other.io")));
    let missing = || Err(Outcome::Wait { reason: "IssuerNotFound", message: "it is not there".to_owned() });
    let missing = answered(missing, Call::new()).await;
    assert!(matches!(missing, Answer::Wait(unsigned) if unsigned.reason == "IssuerNotFound"));
}

#[tokio::test]
async fn a_pod_gets_its_names_and_the_log_says_so() {
    let service = service_with(|| Ok(Way::AtOnce(1)), "- dnsNames: [web.test]");
    let call = Call::new().names(&["web.team-a.svc", "web.test"], Subject::common_name("web.team-a.svc"));
    let (answer, log) = call.answered(&service).await;
    let Ok(Answer::Issued(issued)) = answer else { panic!("{answer:?}") };
    let leaf = Certificate::from_der(&issued.chain[0]).unwrap();
    assert_eq!(leaf.names().len(), 2);
    assert_eq!((issued.ca.len(), issued.notes.len()), (1, 0));
    let serial = leaf.serial_hex();
    for part in [
        "decision=\"issued\" reason=\"\"",
        "driver=\"system:serviceaccount:signet:driver\" node=\"n1\" pod=\"team-a/web-0\" pod_uid=\"u1\"",
        "account=\"shop\" issuer=\"Issuer.cert-manager.io/ca\"",
        "names=\"CN:web.team-a.svc,DNS:web.team-a.svc,DNS:web.test\" is_ca=false duration_s=3600",
        &serial,
        "credential_id=\"JTI=7\"",
    ] {
        assert!(log.contains(part), "{part} in {log}");
    }
    let cut = Call::new().names(&["web-0.team-a.svc"], Subject::default());
    let cut = cut.with(|message| message.duration_seconds = 48 * 3600);
    let (answer, _) = cut.answered(&service).await;
    let Ok(Answer::Issued(issued)) = answer else { panic!("{answer:?}") };
    assert!(issued.notes[0].starts_with("the lifetime was cut from 48h to 24h"), "{:?}", issued.notes);
}

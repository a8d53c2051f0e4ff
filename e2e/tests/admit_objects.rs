//! The webhook at its work: what it refuses and in which words, and what it does when it is abused or dies.

mod common;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use common::reviewer::{Answer, Reviewer};
use e2e::authority::issuer;
use e2e::cluster::Cluster;
use e2e::namespace::{self, Scope};
use e2e::{install, wait};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::sync::RwLock;

/// Held for writing by tests that kill replicas, for reading by all others.
static REPLICAS: RwLock<()> = RwLock::const_new(());

/// How many replicas the chart installs.
const REPLICAS_WANTED: usize = 2;

/// How long a replica may take to come back on a busy machine.
const BACK_WITHIN: Duration = Duration::from_secs(90);

/// How long after a replica's sudden death calls may still be sent to it: until its node's kubelet and the endpoint
/// controller have noticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_wrong_object_is_refused_with_the_field_and_the_cure() -> anyhow::Result<()> {
    let _quiet = REPLICAS.read().await;
    let issuer_name = "spec.issuerRef.name";
    let cases: [(Value, &[Cause]); 7] = [
        (
            certificate("no-secret", &json!({"secretName": "", "issuerRef": {"name": "ca"}})),
            &[(
                "spec.secretName",
                "FieldValueRequired",
                "name the Secret that is to receive key and certificate",
            )],
        ),
        (
            certificate("no-issuer", &json!({"secretName": "tls", "issuerRef": {"name": ""}})),
            &[(issuer_name, "FieldValueRequired", "name the Issuer or ClusterIssuer that is to sign")],
        ),
        (
            certificate("neither", &json!({"secretName": "", "issuerRef": {"name": ""}})),
            &[
                ("spec.secretName", "FieldValueRequired", "name the Secret"),
                (issuer_name, "FieldValueRequired", "name the Issuer or ClusterIssuer"),
            ],
        ),
        (
            certificate(
                "days",
                &json!({"secretName": "tls", "issuerRef": {"name": "ca"}, "duration": "90d"}),
            ),
            &[("spec.duration", "FieldValueInvalid", "write \"2160h\"")],
        ),
        (issuer("Issuer", "no-type", &json!({})), &[("spec", "FieldValueRequired", "set one of ")]),
        (
            issuer("Issuer", "two-types", &json!({"selfSigned": {}, "ca": {"secretName": "ca"}})),
            &[("spec.selfSigned", "FieldValueForbidden", "remove one, or make an issuer of each")],
        ),
        (issuer("ClusterIssuer", "no-type", &json!({})), &[("spec", "FieldValueRequired", "set one of ")]),
    ];
    let cluster = Cluster::shared()?;
    namespace::with(&cluster, "admit", |scope| async move {
        for (object, causes) in &cases {
            check_refused(&scope, object, causes)
                .await
                .with_context(|| format!("the object was {object}"))?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_right_object_is_accepted_and_stored_as_it_was_sent() -> anyhow::Result<()> {
    let _quiet = REPLICAS.read().await;
    let cluster = Cluster::shared()?;
    namespace::with(&cluster, "admit", |scope| async move {
        let objects = [
            certificate("web", &good_certificate()),
            issuer("Issuer", "ca", &json!({"ca": {"secretName": "ca"}})),
            issuer("ClusterIssuer", &scope.namespace, &json!({"selfSigned": {}})),
        ];
        for object in &objects {
            let stored = scope.create(object).await.with_context(|| format!("{object} was refused"))?;
            ensure!(
                stored.data.get("spec") == object.get("spec"),
                "{object} was stored as {:?}",
                stored.data
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_malformed_review_gets_a_well_formed_denial() -> anyhow::Result<()> {
    let _quiet = REPLICAS.read().await;
    let json = "application/json";
    // The limit is 7 MiB: two objects of 3 MiB, the most that etcd takes, and the envelope.
    let large = vec![b' '; 8 << 20];
    let review = br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#;
    let cases: [Malformed; 8] = [
        ("POST", json, b"", 400, 400, "the body is empty"),
        ("POST", json, b"certainly no JSON", 400, 400, "cannot read the AdmissionReview"),
        ("POST", json, b"{\"kind\":", 400, 400, "cannot read the AdmissionReview"),
        ("POST", json, b"\xff\xfe\x00", 400, 400, "cannot read the AdmissionReview"),
        ("POST", json, review, 400, 400, "has no request"),
        ("POST", "text/yaml", b"a: b", 415, 415, "send application/json"),
        ("GET", json, b"", 405, 405, "use POST"),
        ("POST", json, &large, 413, 413, "larger than"),
    ];
    let cluster = Cluster::shared()?;
    let client = cluster.client().await?;
    let before = replicas(&client).await?;
    let reviewer = Reviewer::new(&cluster).await?;
    for replica in &before {
        for path in ["/validate", "/mutate"] {
            for (method, content_type, body, status, code, message) in &cases {
                let answer = reviewer.send(replica, method, path, content_type, body)?;
                check_denial(&answer, *status, *code, message).with_context(|| {
                    format!("{method} {path} with {} bytes of {content_type}", body.len())
                })?;
            }
        }
    }
    let lives = |replicas: &[Pod]| replicas.iter().map(life).collect::<Vec<_>>();
    ensure!(lives(&before) == lives(&replicas(&client).await?), "a replica was restarted");
    Ok(())
}

#[tokio::test]
async fn a_replica_that_is_drained_costs_no_request() -> anyhow::Result<()> {
    let _alone = REPLICAS.write().await;
    let cluster = Cluster::shared()?;
    namespace::with(&cluster, "drain", |scope| async move {
        let doomed = replicas(&scope.client).await?.swap_remove(0);
        let name = doomed.metadata.name.context("a replica has no name")?;
        let load = Load::start(&scope);
        let api = Api::<Pod>::namespaced(scope.client.clone(), install::RELEASE);
        api.delete(&name, &DeleteParams::default()).await?;
        wait::until("the drained replica to be replaced", BACK_WITHIN, || async {
            ensure!(api.get_opt(&name).await?.is_none(), "it is still there");
            replicas(&scope.client).await
        })
        .await?;
        let report = load.finish().await?;
        ensure!(report.failures.is_empty(), "of {} requests failed {:?}", report.sent, report.failures);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_replica_that_is_killed_fails_closed_and_briefly() -> anyhow::Result<()> {
    let _alone = REPLICAS.write().await;
    let cluster = Cluster::shared()?;
    namespace::with(&cluster, "kill", |scope| async move {
        replicas(&scope.client).await?;
        let doomed = *scope.cluster.processes("signet-webhook").first().context("no webhook runs")?;
        let load = Load::start(&scope);
        kill(Pid::from_raw(doomed), Signal::SIGKILL)?;
        let killed = Instant::now();
        // Until kubelet notices, the dead replica still counts as Ready.
        wait::until("the killed replica to come back", BACK_WITHIN, || async {
            let restarts: i32 = replicas(&scope.client).await?.iter().map(common::restarts).sum();
            ensure!(restarts > 0, "nobody has noticed its death yet");
            Ok(())
        })
        .await?;
        let report = load.finish().await?;
        // Nobody can answer for a process that is gone, so calls that were sent to it fail; none may slip through.
        for (at, error) in &report.failures {
            let after = at.saturating_duration_since(killed);
            ensure!(after < NOTICED_WITHIN, "a request still failed {after:?} after the kill: {error}");
        }
        // The next test does not find the container in its back-off.
        replace_restarted(&scope).await
    })
    .await
}

/// Method, content type and body of a call; HTTP status, the code in the denial, and a part of its message.
type Malformed<'a> = (&'a str, &'a str, &'a [u8], u16, u64, &'a str);

/// Field, reason, and a part of the message.
type Cause = (&'static str, &'static str, &'static str);

async fn check_refused(scope: &Scope, object: &Value, causes: &[Cause]) -> anyhow::Result<()> {
    let status = match scope.create(object).await {
        Ok(_) => bail!("it was accepted"),
        Err(kube::Error::Api(status)) => status,
        Err(error) => return Err(error.into()),
    };
    ensure!(status.code == 422 && status.reason == "Invalid", "the status is {status:?}");
    let told = &status.details.as_ref().context("the status has no details")?.causes;
    ensure!(told.len() == causes.len(), "the causes are {told:?}");
    for (cause, (field, reason, advice)) in told.iter().zip(causes) {
        ensure!(
            cause.field == *field && cause.reason == *reason && cause.message.contains(advice),
            "the cause is {cause:?}"
        );
        ensure!(
            status.message.contains(field) && status.message.contains(advice),
            "the message is {}",
            status.message
        );
    }
    Ok(())
}

fn check_denial(answer: &Answer, status: u16, code: u64, message: &str) -> anyhow::Result<()> {
    ensure!(answer.status == status, "the answer is {answer:?}");
    let review: Value =
        serde_json::from_str(&answer.body).with_context(|| format!("the answer is {answer:?}"))?;
    let told = review.pointer("/response/status/message").and_then(Value::as_str).unwrap_or_default();
    ensure!(
        review["apiVersion"] == "admission.k8s.io/v1"
            && review["kind"] == "AdmissionReview"
            && review["response"]["allowed"] == false
            && review["response"]["status"]["code"] == code
            && told.contains(message),
        "the answer is {review}"
    );
    Ok(())
}

/// The Ready replicas, when there are as many as there should be.
async fn replicas(client: &kube::Client) -> anyhow::Result<Vec<Pod>> {
    let api = Api::<Pod>::namespaced(client.clone(), install::RELEASE);
    let of_webhook = ListParams::default().labels("app.kubernetes.io/component=webhook");
    let mut pods = api.list(&of_webhook).await?.items;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none() && common::is_ready(pod));
    ensure!(pods.len() == REPLICAS_WANTED, "{} replicas are Ready", pods.len());
    Ok(pods)
}

/// What changes when a pod, or the container in it, is replaced.
fn life(pod: &Pod) -> (Option<String>, i32) {
    (pod.metadata.uid.clone(), common::restarts(pod))
}

async fn replace_restarted(scope: &Scope) -> anyhow::Result<()> {
    let api = Api::<Pod>::namespaced(scope.client.clone(), install::RELEASE);
    for pod in replicas(&scope.client).await? {
        if common::restarts(&pod) > 0 {
            api.delete(&pod.metadata.name.unwrap_or_default(), &DeleteParams::default()).await?;
        }
    }
    wait::until("fresh replicas", BACK_WITHIN, || async {
        let fresh = replicas(&scope.client).await?;
        ensure!(fresh.iter().all(|pod| common::restarts(pod) == 0), "a restarted one is still there");
        Ok(())
    })
    .await
}

fn certificate(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": name},
        "spec": spec,
    })
}

fn good_certificate() -> Value {
    json!({"secretName": "web-tls", "issuerRef": {"name": "ca"}, "dnsNames": ["web.example.com"]})
}

/// Creates Certificates, a right and a wrong one in turn, until it is told to finish.
struct Load {
    finish: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<anyhow::Result<Report>>,
}

#[derive(Default)]
struct Report {
    sent: usize,
    /// Requests that ended otherwise than they should have, and when. That a wrong object was accepted is no such
    /// failure: it ends the load.
    failures: Vec<(Instant, String)>,
}

impl Load {
    fn start(scope: &Scope) -> Self {
        let (finish, mut finished) = tokio::sync::oneshot::channel();
        let scope = scope.clone();
        let task = tokio::spawn(async move {
            let mut report = Report::default();
            while finished.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
                report.send(&scope).await?;
            }
            Ok(report)
        });
        Self { finish, task }
    }

    async fn finish(self) -> anyhow::Result<Report> {
        ensure!(!self.task.is_finished() && self.finish.send(()).is_ok(), "the load ended by itself");
        self.task.await?
    }
}

impl Report {
    async fn send(&mut self, scope: &Scope) -> anyhow::Result<()> {
        let number = self.sent;
        self.sent += 2;
        let right = scope.create(&certificate(&format!("right-{number}"), &good_certificate())).await;
        if let Err(error) = right {
            self.failures.push((Instant::now(), error.to_string()));
        }
        let wrong = json!({"secretName": "", "issuerRef": {"name": "ca"}});
        match scope.create(&certificate(&format!("wrong-{number}"), &wrong)).await {
            Ok(_) => bail!("a wrong Certificate was accepted after {} requests", self.sent),
            Err(kube::Error::Api(status)) if status.code == 422 => {}
            Err(error) => self.failures.push((Instant::now(), error.to_string())),
        }
        Ok(())
    }
}

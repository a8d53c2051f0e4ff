//! Calls without a pause, each of which must end as it should.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{bail, ensure};
use e2e::namespace::Scope;
use e2e::objects::signing_request;
use e2e::resources;
use kube::api::PostParams;
use kube::core::DynamicObject;
use serde_json::{Value, json};

const API_VERSION: &str = "cert-manager.io/v1";

/// Calls from several clients, until it is told to finish.
pub(crate) struct Load {
    finish: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<anyhow::Result<Report>>>,
}

/// What each client does again and again.
pub(crate) trait Round: Send + Sync + 'static {
    /// Sends some calls and notes what became of them. An error ends the load.
    fn send(
        &self,
        client: &kube::Client,
        report: &mut Report,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// What became of the calls.
#[derive(Default)]
pub(crate) struct Report {
    /// How many there were.
    pub(crate) sent: usize,
    /// Those that ended otherwise than they should have. That a wrong object was accepted, or that a request was not
    /// stamped, is no such failure: it ends the load.
    pub(crate) failures: Vec<Failure>,
}

/// A call that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) sent: Instant,
    pub(crate) failed: Instant,
    pub(crate) error: String,
}

impl Load {
    /// Creates a right Certificate, a wrong one, and a CertificateRequest in turn (nothing is stored). Each of so many
    /// clients has connections of its own.
    pub(crate) async fn start(scope: &Scope, clients: usize) -> anyhow::Result<Self> {
        Self::of(scope, clients, Calls::new(&scope.namespace)?).await
    }

    /// The same with other calls.
    pub(crate) async fn of(scope: &Scope, clients: usize, round: impl Round) -> anyhow::Result<Self> {
        let finish = Arc::new(AtomicBool::new(false));
        let round = Arc::new(round);
        let mut tasks = Vec::new();
        for _ in 0..clients {
            let client = scope.cluster.client().await?;
            let (finish, round) = (Arc::clone(&finish), Arc::clone(&round));
            tasks.push(tokio::spawn(async move {
                let mut report = Report::default();
                while !finish.load(Ordering::Relaxed) {
                    round.send(&client, &mut report).await?;
                }
                Ok(report)
            }));
        }
        Ok(Self { finish, tasks })
    }

    /// Ends it.
    ///
    /// # Errors
    /// When the load ended by itself, or something slipped through.
    pub(crate) async fn finish(self) -> anyhow::Result<Report> {
        self.finish.store(true, Ordering::Relaxed);
        let mut whole = Report::default();
        for task in self.tasks {
            let part = task.await??;
            whole.sent += part.sent;
            whole.failures.extend(part.failures);
        }
        ensure!(whole.sent > 0, "nothing was sent");
        Ok(whole)
    }

    /// Ends it, and requires that no call has failed; how many there were.
    ///
    /// # Errors
    /// As [`Load::finish`], or when a call failed.
    pub(crate) async fn finish_without_failure(self) -> anyhow::Result<usize> {
        let Report { sent, failures } = self.finish().await?;
        if let Some(first) = failures.first() {
            let (count, kinds) = (failures.len(), told(&failures, first.sent));
            bail!("of {sent} calls {count} failed, as seen from the first of them on:\n{kinds}");
        }
        Ok(sent)
    }
}

/// The objects that are sent.
struct Calls {
    namespace: String,
    right: Value,
    wrong: Value,
    request: Value,
}

impl Calls {
    fn new(namespace: &str) -> anyhow::Result<Self> {
        let object = |kind: &str, spec: Value| {
            json!({
                "apiVersion": API_VERSION,
                "kind": kind,
                "metadata": {"generateName": "load-"},
                "spec": spec,
            })
        };
        Ok(Self {
            namespace: namespace.to_owned(),
            right: object(
                "Certificate",
                json!({"secretName": "web-tls", "issuerRef": {"name": "ca"}, "dnsNames": ["web.example.com"]}),
            ),
            wrong: object("Certificate", json!({"secretName": "", "issuerRef": {"name": "ca"}})),
            request: object(
                "CertificateRequest",
                json!({"request": signing_request()?, "issuerRef": {"name": "ca"}, "username": "forged"}),
            ),
        })
    }
}

impl Round for Calls {
    async fn send(&self, client: &kube::Client, report: &mut Report) -> anyhow::Result<()> {
        let namespace = &self.namespace;
        report.sent += 3;
        let sent = Instant::now();
        if let Err(error) = create(client, namespace, &self.right).await {
            report.fail(sent, &error);
        }
        let sent = Instant::now();
        match create(client, namespace, &self.wrong).await {
            Ok(_) => bail!("a wrong Certificate was accepted after {} calls", report.sent),
            Err(kube::Error::Api(status)) if status.code == 422 => {}
            Err(error) => report.fail(sent, &error),
        }
        let sent = Instant::now();
        match create(client, namespace, &self.request).await {
            Ok(stamped) => {
                let user = &stamped.data["spec"]["username"];
                ensure!(user == "admin", "a request was stamped with {user} after {} calls", report.sent);
            }
            Err(error) => report.fail(sent, &error),
        }
        Ok(())
    }
}

impl Report {
    pub(crate) fn fail(&mut self, sent: Instant, error: &impl Display) {
        self.failures.push(Failure { sent, failed: Instant::now(), error: error.to_string() });
    }
}

/// What failed, a line for each kind of error: how often, and when the first of those calls began and the last ended,
/// from `zero` on.
pub(crate) fn told(failures: &[Failure], zero: Instant) -> String {
    let seconds = |instant: Instant| match instant.checked_duration_since(zero) {
        Some(after) => format!("{:.3} s", after.as_secs_f64()),
        None => format!("-{:.3} s", (zero - instant).as_secs_f64()),
    };
    let mut kinds: BTreeMap<&str, Vec<&Failure>> = BTreeMap::new();
    for failure in failures {
        kinds.entry(&failure.error).or_default().push(failure);
    }
    let line = |(error, all): (&str, Vec<&Failure>)| {
        let first = all.iter().map(|failure| failure.sent).min().unwrap_or(zero);
        let last = all.iter().map(|failure| failure.failed).max().unwrap_or(zero);
        format!("{} from {} to {}: {error}\n", all.len(), seconds(first), seconds(last))
    };
    kinds.into_iter().map(line).collect()
}

async fn create(client: &kube::Client, namespace: &str, object: &Value) -> kube::Result<DynamicObject> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let object = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
    resources::api(client, namespace, API_VERSION, kind).create(&params, &object).await
}

/// One call of each kind, once.
///
/// # Errors
/// When one does not end as it should.
pub(crate) async fn once(scope: &Scope) -> anyhow::Result<()> {
    once_of(scope, &Calls::new(&scope.namespace)?).await
}

/// One round of other calls.
///
/// # Errors
/// When one does not end as it should.
pub(crate) async fn once_of(scope: &Scope, round: &impl Round) -> anyhow::Result<()> {
    let mut report = Report::default();
    round.send(&scope.client, &mut report).await?;
    match report.failures.pop() {
        None => Ok(()),
        Some(failure) => bail!(failure.error),
    }
}

//! What nobody may trust, while the source gives nothing.

use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use k8s_openapi::ByteString;
use serde_json::json;

use super::*;
use crate::settings::Withdrawal;
use crate::testing::{pem, root};

/// An API server with one API service, and the bundles that were written to it.
#[derive(Clone)]
struct Server {
    bundle: Arc<Mutex<ByteString>>,
    writes: Arc<Mutex<Vec<String>>>,
    /// Who gives the service back what it had, after each write.
    rival: Option<ByteString>,
}

impl Server {
    fn with(bundle: &[&Certificate]) -> Self {
        let bundle = Arc::new(Mutex::new(ByteString(pem(bundle).into_bytes())));
        Self { bundle, writes: Arc::default(), rival: None }
    }

    fn client(&self) -> Client {
        let server = self.clone();
        testing::client(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                if !head.uri.path().ends_with("/apiservices/web") {
                    return std::future::pending().await;
                }
                if head.method == Method::PATCH {
                    let body: Value = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap();
                    let bundle: ByteString =
                        serde_json::from_value(body["spec"]["caBundle"].clone()).unwrap();
                    let names = Bundle::parse(&bundle.0).unwrap();
                    let names = names.certificates().iter().filter_map(Certificate::common_name);
                    lock(&server.writes).push(names.collect::<Vec<_>>().join(","));
                    *lock(&server.bundle) = server.rival.clone().unwrap_or(bundle);
                }
                let version = (7 + lock(&server.writes).len()).to_string();
                let owners = json!([{ "manager": "rival", "operation": "Update",
                    "fieldsV1": { "f:spec": { "f:caBundle": {} } } }]);
                let object = json!({
                    "metadata": { "name": "web", "uid": "u", "resourceVersion": version, "managedFields": owners },
                    "spec": { "service": {}, "caBundle": *lock(&server.bundle) },
                });
                Response::new(Body::from(object.to_string().into_bytes()))
            }
        })
    }
}

/// An injector that trusts this certificate nowhere, and a target of a Secret that is not there.
fn denying(server: &Server, denied: &Certificate) -> (Arc<Injector>, runtime::metrics::Metrics) {
    let denied = [denied.fingerprint()].into();
    let withdrawal = Arc::new(Withdrawal { denied, ..Withdrawal::default() });
    let settings = Settings { withdrawal, ..Settings::default() };
    let (injector, metrics) = injector_of(server.client(), Leadership::always(), settings);
    let name = ObjectName::namespaced("team-a", "ca");
    injector.wants(target(), Wanted::Source(SourceRef::Secret(name.clone())), "7");
    injector.secret_changed(&name, &State::Absent);
    lock(&injector.synced()).check(true, Instant::now()).unwrap();
    (injector, metrics)
}

/// Whether all targets that can have their bundle have it, in a while.
fn is_ready(injector: &Injector) -> bool {
    lock(&injector.synced()).check(true, Instant::now() + Duration::from_secs(11)).is_ok()
}

fn counts(metrics: &runtime::metrics::Metrics, result: &str, count: usize) -> bool {
    let line =
        format!("signet_cainjector_reconciles_total{{kind=\"APIService\",result=\"{result}\"}} {count}\n");
    metrics.encode().unwrap().contains(&line)
}

#[tokio::test(start_paused = true)]
async fn what_has_to_stay_although_it_is_denied_keeps_the_process_unready() {
    let stolen = root("stolen", 1_000_000);
    let server = Server::with(&[&stolen]);
    let (injector, metrics) = denying(&server, &stolen);
    let outcome = injector.reconcile(&target()).await;
    // Once it has expired at the latest.
    assert!(matches!(outcome, Outcome::Again(_)), "{outcome:?}");
    assert!(lock(&server.writes).is_empty());
    assert!(counts(&metrics, "SourceNotFound", 1));
    assert!(!is_ready(&injector));
}

#[tokio::test(start_paused = true)]
async fn what_is_denied_goes_although_the_source_is_not_there_which_is_told() {
    let (stolen, good) = (root("stolen", 1_000_000), root("good", 1_000_000));
    let server = Server::with(&[&stolen, &good]);
    let (injector, metrics) = denying(&server, &stolen);
    for _ in 0..3 {
        injector.reconcile(&target()).await;
    }
    assert_eq!(*lock(&server.writes), ["good"]);
    // Of the refusal, and of what was taken out; nobody writes them here.
    assert!(metrics.encode().unwrap().contains("signet_events_dropped_total 2\n"));
    assert!(counts(&metrics, "SourceNotFound", 3));
    assert!(is_ready(&injector));
}

#[tokio::test(start_paused = true)]
async fn who_keeps_giving_back_what_is_denied_is_answered_with_pauses() {
    let (stolen, good) = (root("stolen", 1_000_000), root("good", 1_000_000));
    let rival = Some(ByteString(pem(&[&stolen, &good]).into_bytes()));
    let server = Server { rival, ..Server::with(&[&stolen, &good]) };
    let (injector, _) = denying(&server, &stolen);
    for _ in 0..20 {
        injector.reconcile(&target()).await;
    }
    assert_eq!(lock(&server.writes).len(), 5);
}

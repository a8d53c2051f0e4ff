//! `POST /validate` and `POST /mutate` over HTTPS. Whatever is sent there is answered by an AdmissionReview: the API
//! server shows its message to the user, while a broken connection would tell them nothing. What is no review at all
//! moreover gets the HTTP status that belongs to it: the API server takes no answer without its question's uid.

mod handler;
mod judging;

use std::sync::Arc;
use std::time::Duration;

use admission::review::Denial;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use http::{HeaderValue, Method, Version, header};
use runtime::shutdown::Shutdown;
use tokio::sync::Semaphore;

use crate::approval::Authorizer;
use crate::body::Budget;
use crate::judge::Judge;
use crate::metrics::{Endpoint, Metrics};
use handler::{Answered, Context};

/// Time for one review, body and approval check included. The API server gives up after the `timeoutSeconds` of our
/// configurations, 10 s; two less let the answer, which says what was late, still reach it.
pub(crate) const REVIEW_TIME_MAX: Duration = Duration::from_secs(8);

/// What answering needs; clones share it.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    metrics: Metrics,
    authorizer: Arc<dyn Authorizer>,
    judge: Judge,
    bodies: Budget,
    /// Who has one may read and judge a large review.
    turns: Arc<Semaphore>,
    /// Who has one may wait for a turn.
    waiting: Arc<Semaphore>,
    shutdown: Shutdown,
}

/// Large reviews that are judged at a time. It bounds what they take of memory and processors.
const TURNS: usize = 1;

/// Large reviews that wait for their turn or have it. Their bodies keep their memory meanwhile: if there were no bound,
/// whoever sends many would leave none to others. So many are judged in about a second.
const WAITING_MAX: usize = 64;

impl Service {
    /// A service that judges as `judge` says, asks `authorizer` about approvals, and sends its clients away once
    /// `shutdown` is requested.
    pub fn new(metrics: Metrics, authorizer: Arc<dyn Authorizer>, judge: Judge, shutdown: Shutdown) -> Self {
        let [turns, waiting] = [TURNS, WAITING_MAX].map(|places| Arc::new(Semaphore::new(places)));
        let bodies = Budget::default();
        Self { shared: Arc::new(Shared { metrics, authorizer, judge, bodies, turns, waiting, shutdown }) }
    }
}

/// The routes, without TLS.
pub fn router(service: &Service) -> Router {
    let route = |endpoint| {
        let context = Context {
            endpoint,
            metrics: service.shared.metrics.endpoint(endpoint),
            shared: Arc::clone(&service.shared),
        };
        any(handle).with_state(Arc::new(context))
    };
    Router::new()
        .route(Endpoint::Validate.path(), route(Endpoint::Validate))
        .route(Endpoint::Mutate.path(), route(Endpoint::Mutate))
        .fallback(async || {
            let denial = Denial::new(404, "NotFound", "nothing is served here; POST to /validate or /mutate");
            Answered::without_review(String::new(), denial).into_response()
        })
}

async fn handle(State(context): State<Arc<Context>>, request: http::Request<Body>) -> Response {
    let _in_flight = context.metrics.start();
    let (head, body) = request.into_parts();
    let answered = if head.method == Method::POST {
        context.answer(&head.uri, &head.headers, body).await
    } else {
        let message = format!("{} is not allowed here; use POST", head.method);
        Answered::without_review(String::new(), Denial::new(405, "MethodNotAllowed", message))
    };
    context.metrics.answered(answered.http_status().as_u16(), answered.answer.code());
    let mut response = answered.into_response();
    // Service proxies look at new connections only, and the API server keeps its own for as long as it can: a request
    // that it sends at the very moment at which we close one would be lost. HTTP/2 says goodbye by itself.
    if context.shared.shutdown.is_requested() && head.version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use crate::body;
    use bytes::Bytes;
    use futures::future::BoxFuture;
    use http::StatusCode;
    use http_body_util::BodyExt as _;
    use rules::Requester;
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    use super::*;
    use crate::approval::tests::Granted;
    use crate::approval::{ApprovalError, IssuerResource};

    struct Panics;

    impl Authorizer for Panics {
        fn resolve<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
        ) -> BoxFuture<'a, Result<Option<IssuerResource>, ApprovalError>> {
            panic!("a defect");
        }

        fn may_approve<'a>(
            &'a self,
            _: &'a Requester,
            _: &'a str,
            _: Option<&'a str>,
        ) -> BoxFuture<'a, Result<bool, ApprovalError>> {
            panic!("a defect");
        }
    }

    fn setup(authorizer: impl Authorizer + 'static) -> (Router, runtime::metrics::Metrics) {
        let registry = runtime::metrics::Metrics::new("webhook", "0");
        let service = Service::new(
            Metrics::new(&registry),
            Arc::new(authorizer),
            Judge::default(),
            Shutdown::default(),
        );
        (router(&service), registry)
    }

    async fn send(router: &Router, request: http::Request<Body>) -> (StatusCode, Value) {
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let mut answer: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(answer["kind"], "AdmissionReview");
        (status, answer["response"].take())
    }

    fn post(path: &str, body: impl Into<Body>) -> http::Request<Body> {
        http::Request::post(path)
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .body(body.into())
            .unwrap()
    }

    fn review(resource: &str, edit: impl FnOnce(&mut Value)) -> String {
        let mut request = json!({
            "uid": "u-1", "operation": "CREATE", "name": "web", "namespace": "team-a",
            "resource": {"group": "cert-manager.io", "version": "v1", "resource": resource},
            "userInfo": {"username": "approver"},
        });
        edit(&mut request);
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
            .to_string()
    }

    fn certificate(spec: &Value) -> String {
        review("certificates", |request| {
            request["object"] = json!({"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
                "metadata": {"name": "web"}, "spec": spec});
        })
    }

    fn approval() -> String {
        review("certificaterequests", |request| {
            let object = json!({"apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest",
                "metadata": {"name": "r"}, "spec": {"request": "QUJD", "issuerRef": {"name": "ca"}}});
            request["operation"] = json!("UPDATE");
            request["subResource"] = json!("status");
            request["oldObject"] = object.clone();
            request["object"] = object;
            request["object"]["status"] = json!({"conditions": [{"type": "Approved", "status": "True"}]});
        })
    }

    async fn check(request: http::Request<Body>, http: u16, code: u16, uid: &str, message: &str) {
        let (router, _) = setup(Granted::default());
        let (status, response) = send(&router, request).await;
        assert_eq!(status.as_u16(), http, "{response}");
        assert_eq!(response["status"]["code"], code, "{response}");
        assert_eq!(response["uid"], uid);
        assert_eq!(response["allowed"], code == 200);
        let told = response["status"]["message"].as_str().unwrap_or_default();
        assert!(told.starts_with(message), "{told:?} does not begin with {message:?}");
    }

    #[tokio::test]
    async fn clients_are_sent_away_during_a_shutdown_and_not_before() {
        let registry = runtime::metrics::Metrics::new("webhook", "0");
        let shutdown = Shutdown::default();
        let service = Service::new(
            Metrics::new(&registry),
            Arc::new(Granted::default()),
            Judge::default(),
            shutdown.clone(),
        );
        let router = router(&service);
        let connection = async |version| {
            let mut request = post("/mutate", "");
            *request.version_mut() = version;
            let response = router.clone().oneshot(request).await.unwrap();
            response.headers().get(header::CONNECTION).cloned()
        };
        assert_eq!(connection(Version::HTTP_11).await, None);
        shutdown.request();
        assert_eq!(connection(Version::HTTP_11).await, Some(HeaderValue::from_static("close")));
        assert_eq!(connection(Version::HTTP_2).await, None, "it has no such header");
    }

    #[tokio::test]
    async fn what_is_no_review_gets_a_well_formed_denial() {
        for path in ["/validate", "/mutate"] {
            check(post(path, ""), 400, 400, "", "the body is empty").await;
            check(post(path, "{"), 400, 400, "", "cannot read the AdmissionReview").await;
            let typo = r#"{"request":{"uid":"u-9"}}"#;
            check(post(path, typo), 200, 400, "u-9", "cannot read the AdmissionReview").await;
            let get = http::Request::get(path).body(Body::empty()).unwrap();
            check(get, 405, 405, "", "GET is not allowed here; use POST").await;
            let mut yaml = post(path, typo);
            yaml.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
            let mut bare = post(path, "");
            bare.headers_mut().remove(header::CONTENT_TYPE);
            check(bare, 415, 415, "", "content type \"\" is not supported; send application/json").await;
            check(yaml, 200, 415, "u-9", "content type \"application/yaml\" is not supported").await;
            let large = Body::from(vec![b' '; body::BODY_BYTES_MAX + 1]);
            check(post(path, large), 413, 413, "", "the body is larger than 7340032 bytes").await;
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_gets_a_well_formed_denial() {
        let frames =
            futures::stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("reset"))]);
        let request = post("/validate", Body::from_stream(frames));
        check(request, 400, 400, "", "the body cannot be read").await;
    }

    /// Never answers.
    struct Hangs;

    impl Authorizer for Hangs {
        fn resolve<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
        ) -> BoxFuture<'a, Result<Option<IssuerResource>, ApprovalError>> {
            Box::pin(futures::future::pending())
        }

        fn may_approve<'a>(
            &'a self,
            _: &'a Requester,
            _: &'a str,
            _: Option<&'a str>,
        ) -> BoxFuture<'a, Result<bool, ApprovalError>> {
            Box::pin(futures::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_review_that_hangs_is_answered_before_the_api_server_gives_up() {
        let values = include_str!("../../manifests/chart/values.yaml");
        let wait = values.lines().find_map(|line| line.trim().strip_prefix("timeoutSeconds: ")).unwrap();
        let wait = Duration::from_secs(wait.parse().unwrap());
        let (router, _) = setup(Hangs);
        let started = tokio::time::Instant::now();
        let (status, response) = send(&router, post("/validate", approval())).await;
        assert_eq!((status.as_u16(), &response["status"]["code"]), (200, &json!(500)), "{response}");
        assert_eq!(response["uid"], "u-1", "the API server takes no other answer");
        assert!(started.elapsed() + Duration::from_secs(1) < wait, "{:?} of {wait:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_review_that_hangs_is_answered_before_an_impatient_api_server_gives_up() {
        let (router, _) = setup(Hangs);
        let started = tokio::time::Instant::now();
        let (_, response) = send(&router, post("/validate?timeout=3s", approval())).await;
        assert_eq!((&response["status"]["code"], &response["uid"]), (&json!(500), &json!("u-1")));
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_small_review_does_not_wait_for_large_ones() {
        const LARGE: usize = 4;
        let certificate = |count: usize, note: usize| {
            let names: Vec<String> = (0..count).map(|number| format!("host-{number}.example.com")).collect();
            let spec = json!({"secretName": "tls", "issuerRef": {"name": "ca"}, "dnsNames": names,
                "commonName": "host-0.example.com"});
            let object = json!({"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
                "metadata": {"name": "web", "annotations": {"note": "a".repeat(note)}}, "spec": spec});
            review("certificates", |request| request["object"] = object)
        };
        let large = certificate(10_000, 1 << 20);
        let (router, _) = setup(Granted::default());
        let allowed = |body: String| {
            let router = router.clone();
            async move { send(&router, post("/validate", body)).await.1["allowed"].take() }
        };
        let waiting: Vec<_> = (0..LARGE).map(|_| tokio::spawn(allowed(large.clone()))).collect();
        let small = tokio::spawn(allowed(certificate(1, 1)));
        assert_eq!(small.await.unwrap(), json!(true));
        let judged = waiting.iter().filter(|large| large.is_finished()).count();
        assert!(judged < LARGE - 1, "{judged} large reviews were judged before it");
        for large in waiting {
            assert_eq!(large.await.unwrap(), json!(true));
        }
    }

    #[tokio::test]
    async fn where_too_many_large_reviews_wait_one_more_is_refused_and_a_small_one_is_not() {
        let registry = runtime::metrics::Metrics::new("webhook", "0");
        let granted = Arc::new(Granted::default());
        let service = Service::new(Metrics::new(&registry), granted, Judge::default(), Shutdown::default());
        let router = router(&service);
        let all = service.shared.waiting.try_acquire_many(u32::try_from(WAITING_MAX).unwrap()).unwrap();
        let large = certificate(
            &json!({"secretName": "tls", "issuerRef": {"name": "ca"}, "dnsNames": ["a.example.com"],
            "literalSubject": "a".repeat(1 << 20)}),
        );
        let (_, response) = send(&router, post("/validate", large.clone())).await;
        assert_eq!(response["status"]["code"], 503, "{response}");
        let small = certificate(
            &json!({"secretName": "tls", "issuerRef": {"name": "ca"}, "dnsNames": ["a.example.com"]}),
        );
        let (_, response) = send(&router, post("/validate", small)).await;
        assert_eq!(response["allowed"], true, "{response}");
        drop(all);
        let (_, response) = send(&router, post("/validate", large)).await;
        assert_eq!(response["status"]["code"], 422, "{response}");
    }

    #[tokio::test]
    async fn no_secret_of_a_review_is_logged() {
        let log = runtime::testing::Log::default();
        let _guard = log.listen();
        let (router, _) = setup(Granted::default());
        for (names, allowed) in [(json!(["a.test"]), true), (json!([]), false)] {
            let spec = json!({"secretName": "tls", "issuerRef": {"name": "ca"}, "dnsNames": names,
                "keystores": {"jks": {"create": true, "password": "hunter2"}}});
            let (_, response) = send(&router, post("/validate", certificate(&spec))).await;
            assert_eq!(response["allowed"], allowed);
        }
        let text = log.text();
        assert!(text.contains("asked") && text.contains("answering"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[tokio::test]
    async fn a_wrong_object_is_invalid() {
        let request = post("/validate", certificate(&json!({"secretName": "tls", "dnsNames": ["a.test"]})));
        check(request, 200, 422, "u-1", "spec.issuerRef.name: Required value").await;
    }

    #[tokio::test]
    async fn an_approval_needs_a_grant() {
        let message = "status.conditions: Forbidden: user \"approver\" may not approve";
        check(post("/validate", approval()), 200, 403, "u-1", message).await;

        let (router, _) = setup(Granted { broken: true, ..Granted::default() });
        let (_, response) = send(&router, post("/validate", approval())).await;
        assert_eq!(response["status"]["code"], 500, "{response}");

        let (router, _) = setup(Granted { signers: vec!["issuers.cert-manager.io/*"], ..Granted::default() });
        let (_, response) = send(&router, post("/validate", approval())).await;
        assert_eq!(response["allowed"], true, "{response}");
    }

    #[tokio::test]
    async fn a_defect_is_an_answer_too_and_is_counted() {
        let (router, registry) = setup(Panics);
        let (status, response) = send(&router, post("/validate", approval())).await;
        assert_eq!((status.as_u16(), &response["status"]["code"]), (200, &json!(500)));
        assert_eq!(response["uid"], "u-1");
        let text = registry.encode().unwrap();
        assert!(text.contains("controller_runtime_webhook_panics_total 1\n"), "{text}");
    }

    #[tokio::test]
    async fn a_request_is_stamped() {
        let (router, _) = setup(Granted::default());
        let body = review("certificaterequests", |request| {
            request["object"] = json!({"spec": {"request": "QUJD"}});
        });
        let (_, response) = send(&router, post("/mutate", body)).await;
        assert_eq!(response["allowed"], true);
        assert_eq!(response["patchType"], "JSONPatch");
    }

    #[tokio::test]
    async fn where_nothing_but_403_is_wanted_a_wrong_object_is_forbidden() {
        let registry = runtime::metrics::Metrics::new("webhook", "0");
        let judge = Judge { forbids_only: true, ..Judge::default() };
        let authorizer = Arc::new(Granted::default());
        let service = Service::new(Metrics::new(&registry), authorizer, judge, Shutdown::default());
        let request = post("/validate", certificate(&json!({"secretName": "tls"})));
        let (_, response) = send(&router(&service), request).await;
        assert_eq!(
            (&response["status"]["code"], &response["status"]["reason"]),
            (&json!(403), &json!("Forbidden"))
        );
    }

    #[tokio::test]
    async fn the_operators_settings_count() {
        let registry = runtime::metrics::Metrics::new("webhook", "0");
        let settings = rules::Settings {
            denied_servers: vec!["acme.example.org".parse().unwrap()],
            ..rules::Settings::DEFAULT
        };
        let judge = Judge { settings, ..Judge::default() };
        let authorizer = Arc::new(Granted::default());
        let service = Service::new(Metrics::new(&registry), authorizer, judge, Shutdown::default());
        let issuer = review("issuers", |request| {
            request["object"] = json!({"apiVersion": "cert-manager.io/v1", "kind": "Issuer",
                "metadata": {"name": "web"}, "spec": {"acme": {"server": "https://acme.example.org/directory",
                    "privateKeySecretRef": {"name": "account"}}}});
        });
        let (_, response) = send(&router(&service), post("/validate", issuer)).await;
        assert_eq!(response["status"]["details"]["causes"][0]["field"], "spec.acme.server", "{response}");
    }

    #[tokio::test]
    async fn other_paths_are_not_found() {
        check(post("/convert", "{}"), 404, 404, "", "nothing is served here; POST to /validate").await;
    }

    #[tokio::test]
    async fn answers_are_counted_by_path_code_and_rule() {
        let (router, registry) = setup(Granted::default());
        let names = json!(["a.test"]);
        for spec in [
            json!({"secretName": "tls", "dnsNames": names}),
            json!({"secretName": "tls", "dnsNames": names, "issuerRef": {"name": "ca"}}),
        ] {
            send(&router, post("/validate", certificate(&spec))).await;
        }
        let text = registry.encode().unwrap();
        for wanted in [
            "controller_runtime_webhook_requests_total{webhook=\"/validate\",code=\"200\"} 2\n",
            "controller_runtime_webhook_requests_in_flight{webhook=\"/validate\"} 0\n",
            "controller_runtime_webhook_latency_seconds_count{webhook=\"/validate\"} 2\n",
            "signet_webhook_reviews_total{webhook=\"/validate\",code=\"422\"} 1\n",
            "signet_webhook_verdicts_total{kind=\"Certificate\",operation=\"CREATE\",verdict=\"denied\"} 1\n",
            "signet_webhook_verdicts_total{kind=\"Certificate\",operation=\"CREATE\",verdict=\"allowed\"} 1\n",
            "signet_webhook_denials_total{kind=\"Certificate\",rule=\"C03\"} 1\n",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
        }
    }
}

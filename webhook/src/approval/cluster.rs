//! Asks the API server about kinds and rights, and remembers what it said.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Mutex;
use std::time::Duration;

use aws_lc_rs::digest;
use futures::future::BoxFuture;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::PostParams;
use kube::discovery::Scope;
use kube::error::DiscoveryError;
use kube::{Api, Client};
use rules::Requester;
use runtime::lock::lock;
use tokio::sync::Semaphore;

use super::recent::Recent;
use super::{ApprovalError, Authorizer, IssuerResource, ReviewError, built_in};
use crate::metrics::{ApprovalMetrics, Lookup, Verdict};

/// Longest API group, a DNS subdomain, and longest kind, a DNS label, in bytes: no longer one can be served.
const GROUP_BYTES_MAX: usize = 253;
const KIND_BYTES_MAX: usize = 63;
/// Kinds of issuer that are remembered; each is a type of resource in the cluster, of which there are few.
const KINDS_MAX: usize = 256;
/// How long it is remembered that a group lacks a kind (A2), so that requests that name it do not wear the API server
/// out. A group that is missing is asked for again each time: it was perhaps just installed.
const MISSING_KIND_LIFE: Duration = Duration::from_secs(30);
/// How long the API server's word about a right holds (A5).
const RIGHT_LIFE: Duration = Duration::from_secs(1);
/// Rights that are remembered (A5).
const RIGHTS_MAX: usize = 8192;
/// SubjectAccessReviews at once: whoever floods the webhook with approvals does not pass the flood on.
const ASKED_MAX: usize = 32;
/// Attempts at one SubjectAccessReview (A5).
const ATTEMPTS_MAX: u32 = 2;
/// Pause between two (A5), without the jitter.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Most that a pause is longer: a fifth (A5).
const JITTER_MILLIS_MAX: u64 = 200;
/// Most of the API server's words that are passed on.
const REASON_CHARS_MAX: usize = 300;

type KindName = (String, String);

/// Asks the API server.
pub struct ClusterAuthorizer {
    client: Client,
    metrics: ApprovalMetrics,
    /// What was found; kinds do not change how they are served.
    kinds: Mutex<BTreeMap<KindName, IssuerResource>>,
    /// Kinds that their group lacks.
    missing: Recent<KindName, ()>,
    /// Who may approve what, by the SHA-256 of the review's whole content, so that long ones take no memory.
    rights: Recent<[u8; 32], bool>,
    asking: Semaphore,
}

impl ClusterAuthorizer {
    /// An authorizer that has asked nothing yet.
    pub fn new(client: Client, metrics: ApprovalMetrics) -> Self {
        Self {
            client,
            metrics,
            kinds: Mutex::default(),
            missing: Recent::new(MISSING_KIND_LIFE, KINDS_MAX),
            rights: Recent::new(RIGHT_LIFE, RIGHTS_MAX),
            asking: Semaphore::new(ASKED_MAX),
        }
    }

    async fn resolved(&self, group: &str, kind: &str) -> Result<Option<IssuerResource>, ApprovalError> {
        if let Some(built_in) = built_in(group, kind) {
            return Ok(Some(built_in));
        }
        if group.len() > GROUP_BYTES_MAX || kind.len() > KIND_BYTES_MAX {
            return Ok(None);
        }
        let name = (group.to_owned(), kind.to_owned());
        let known = lock(&self.kinds).get(&name).cloned();
        if known.is_some() || self.missing.get(&name).is_some() {
            self.metrics.looked_up(Lookup::Remembered);
            return Ok(known);
        }
        let found = self.discover(group, kind).await;
        self.metrics.looked_up(match &found {
            Ok(Found::Kind(_)) => Lookup::Found,
            Ok(Found::GroupAlone | Found::Nothing) => Lookup::Missing,
            Err(_) => Lookup::Failed,
        });
        Ok(match found? {
            Found::Nothing => None,
            Found::GroupAlone => {
                self.missing.put(name, ());
                None
            }
            Found::Kind(resource) => {
                let mut kinds = lock(&self.kinds);
                if kinds.len() >= KINDS_MAX {
                    kinds.clear();
                }
                kinds.insert(name, resource.clone());
                Some(resource)
            }
        })
    }

    /// Looks through the versions of the group, one after the other (A2).
    async fn discover(&self, group: &str, kind: &str) -> Result<Found, ApprovalError> {
        let found = match kube::discovery::group(&self.client, group).await {
            Ok(found) => found,
            Err(kube::Error::Discovery(DiscoveryError::MissingApiGroup(_))) => return Ok(Found::Nothing),
            Err(source) => {
                return Err(ApprovalError::Discovery {
                    kind: kind.to_owned(),
                    group: group.to_owned(),
                    source: Box::new(source),
                });
            }
        };
        let versions = found.versions().flat_map(|version| found.versioned_resources(version));
        let resource = versions.into_iter().find(|(resource, _)| resource.kind == kind);
        Ok(resource.map_or(Found::GroupAlone, |(resource, capabilities)| {
            let namespaced = capabilities.scope == Scope::Namespaced;
            Found::Kind(IssuerResource { plural: resource.plural, namespaced })
        }))
    }

    async fn reviewed(&self, review: &SubjectAccessReview) -> Result<bool, ReviewError> {
        // Without a key nothing is remembered; there are only texts in it, so that does not happen.
        let key = serde_json::to_vec(&review.spec).ok().and_then(|content| sha256(&content));
        let remembered = || {
            let allowed = key.and_then(|key| self.rights.get(&key))?;
            self.metrics.reviewed(Verdict::Remembered, Duration::ZERO);
            Some(allowed)
        };
        if let Some(allowed) = remembered() {
            return Ok(allowed);
        }
        let place = self.asking.acquire().await;
        // Whoever was before it may have asked the same.
        if let Some(allowed) = remembered() {
            return Ok(allowed);
        }
        let started = tokio::time::Instant::now();
        let outcome = self.asked(review).await;
        drop(place);
        let verdict = match &outcome {
            Ok(true) => Verdict::Allowed,
            Ok(false) => Verdict::Denied,
            Err(_) => Verdict::Failed,
        };
        self.metrics.reviewed(verdict, started.elapsed());
        if let (Ok(allowed), Some(key)) = (&outcome, key) {
            self.rights.put(key, *allowed);
        }
        outcome
    }

    async fn asked(&self, review: &SubjectAccessReview) -> Result<bool, ReviewError> {
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let mut attempt = 1;
        loop {
            let answer = reviews.create(&PostParams::default(), review).await;
            match answer.map_err(ReviewError::from).and_then(|answer| decided(answer.status)) {
                Ok(allowed) => return Ok(allowed),
                Err(error) if attempt < ATTEMPTS_MAX && is_worth_another(&error) => {
                    tracing::debug!("a SubjectAccessReview failed, trying again: {error}");
                    attempt += 1;
                    tokio::time::sleep(pause()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// What a look through a group came to.
enum Found {
    /// The group is not served.
    Nothing,
    /// It is, without the kind.
    GroupAlone,
    /// The kind.
    Kind(IssuerResource),
}

/// What the API server decided. An authorizer of several may have failed: that is of no importance where another one
/// allows the action, or forbids it outright, and leaves open what nobody allowed.
fn decided(status: Option<SubjectAccessReviewStatus>) -> Result<bool, ReviewError> {
    let Some(status) = status else {
        return Err(ReviewError::Incomplete("the answer has no status".to_owned()));
    };
    match status.evaluation_error.filter(|reason| !reason.is_empty()) {
        Some(reason) if !status.allowed && status.denied != Some(true) => {
            Err(ReviewError::Incomplete(reason.chars().take(REASON_CHARS_MAX).collect()))
        }
        _ => Ok(status.allowed),
    }
}

/// Whether the same call may well succeed a moment later: the API server was not reached, is busy, or has a problem of
/// its own.
fn is_worth_another(error: &ReviewError) -> bool {
    match error {
        ReviewError::Incomplete(_) => true,
        ReviewError::Call(error) => match &**error {
            kube::Error::Api(status) => matches!(status.code, 429 | 500..),
            kube::Error::HyperError(_) | kube::Error::Service(_) => true,
            _ => false,
        },
    }
}

fn sha256(content: &[u8]) -> Option<[u8; 32]> {
    digest::digest(&digest::SHA256, content).as_ref().try_into().ok()
}

fn pause() -> Duration {
    // A new state is keyed at random, so the hash of nothing is a random number.
    let random = RandomState::new().hash_one(());
    RETRY_PAUSE + Duration::from_millis(random % (JITTER_MILLIS_MAX + 1))
}

impl Authorizer for ClusterAuthorizer {
    fn resolve<'a>(
        &'a self,
        group: &'a str,
        kind: &'a str,
    ) -> BoxFuture<'a, Result<Option<IssuerResource>, ApprovalError>> {
        Box::pin(self.resolved(group, kind))
    }

    fn may_approve<'a>(
        &'a self,
        requester: &'a Requester,
        signer: &'a str,
        namespace: Option<&'a str>,
    ) -> BoxFuture<'a, Result<bool, ApprovalError>> {
        Box::pin(async move {
            let review = access_review(requester, signer, namespace);
            self.reviewed(&review).await.map_err(|source| ApprovalError::Review {
                user: requester.username.clone(),
                signer: signer.to_owned(),
                source,
            })
        })
    }
}

fn access_review(requester: &Requester, signer: &str, namespace: Option<&str>) -> SubjectAccessReview {
    let spec = SubjectAccessReviewSpec {
        user: Some(requester.username.clone()),
        uid: Some(requester.uid.clone()),
        groups: Some(requester.groups.clone()),
        extra: Some(requester.extra.clone()),
        resource_attributes: Some(ResourceAttributes {
            verb: Some("approve".to_owned()),
            group: Some(api::GROUP.to_owned()),
            version: Some("*".to_owned()),
            resource: Some("signers".to_owned()),
            name: Some(signer.to_owned()),
            namespace: namespace.map(ToOwned::to_owned),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    };
    SubjectAccessReview { spec, ..SubjectAccessReview::default() }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use http::{Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// An API server that serves the kind Served of the group example.org, and lets `alice` approve. It fails as often
    /// as it is told to.
    #[derive(Clone, Default)]
    struct Server {
        calls: Arc<Mutex<Vec<String>>>,
        failures: Arc<Mutex<Vec<u16>>>,
        /// What is in the status of access reviews besides.
        besides: Arc<Mutex<Value>>,
        /// Whether an answer takes a tenth of a second.
        is_slow: Arc<Mutex<bool>>,
    }

    impl Server {
        fn authorizer(&self) -> ClusterAuthorizer {
            let server = self.clone();
            let answer = move |request: Request<Body>| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            };
            let metrics = ApprovalMetrics::new(&runtime::metrics::Metrics::new("webhook", "0"));
            ClusterAuthorizer::new(Client::new(tower::service_fn(answer), "default"), metrics)
        }

        async fn answer(&self, request: Request<Body>) -> Response<Body> {
            let (head, body) = request.into_parts();
            let path = head.uri.path().to_owned();
            let sent = body.collect_bytes().await.unwrap();
            let sent: Value = serde_json::from_slice(&sent).unwrap_or_default();
            self.calls.lock().unwrap().push(format!("{path} {}", sent["spec"]));
            if *self.is_slow.lock().unwrap() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            if let Some(code) = self.failures.lock().unwrap().pop() {
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "code": code,
                    "status": "Failure", "reason": "Failed", "message": "it failed"});
                let code = StatusCode::from_u16(code).unwrap();
                return Response::builder()
                    .status(code)
                    .body(status.to_string().into_bytes().into())
                    .unwrap();
            }
            let version = json!({"groupVersion": "example.org/v1", "version": "v1"});
            let answer = match path.as_str() {
                "/apis" => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [
                    {"name": "example.org", "versions": [version], "preferredVersion": version}]}),
                "/apis/example.org/v1" => json!({"kind": "APIResourceList", "apiVersion": "v1",
                    "groupVersion": "example.org/v1", "resources": [
                    {"name": "serveds", "singularName": "", "namespaced": false, "kind": "Served", "verbs": ["get"]},
                    {"name": "serveds/status", "singularName": "", "namespaced": true, "kind": "Served",
                     "verbs": ["get"]}]}),
                _ => {
                    let mut status = json!({"allowed": sent["spec"]["user"] == "alice"});
                    for (member, value) in self.besides.lock().unwrap().as_object().into_iter().flatten() {
                        status[member] = value.clone();
                    }
                    json!({"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
                        "metadata": {}, "spec": {}, "status": status})
                }
            };
            Response::new(answer.to_string().into_bytes().into())
        }

        /// How many calls there were since the last look.
        fn calls(&self) -> usize {
            std::mem::take(&mut *self.calls.lock().unwrap()).len()
        }
    }

    fn user(name: &str) -> Requester {
        Requester {
            username: name.to_owned(),
            uid: "u".to_owned(),
            groups: vec!["g".to_owned()],
            extra: BTreeMap::from([("node".to_owned(), vec!["n".to_owned()])]),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_is_looked_up_once_and_one_that_is_missing_now_and_then() {
        let server = Server::default();
        let authorizer = server.authorizer();
        let long = "n".repeat(254);
        let resolve = async |group, kind| authorizer.resolve(group, kind).await.unwrap();
        let served = Some(IssuerResource { plural: "serveds".to_owned(), namespaced: false });
        assert_eq!(resolve("example.org", "Served").await, served);
        assert_eq!(server.calls(), 2);
        assert_eq!(resolve("example.org", "Unserved").await, None);
        assert_eq!(server.calls(), 2);
        assert_eq!(
            (resolve("example.org", "Served").await, resolve("example.org", "Unserved").await),
            (served, None)
        );
        assert_eq!(server.calls(), 0, "both are remembered");
        tokio::time::advance(MISSING_KIND_LIFE).await;
        assert_eq!(resolve("example.org", "Unserved").await, None);
        assert_eq!(server.calls(), 2);
        for _ in 0..2 {
            assert_eq!(resolve("other.org", "Served").await, None);
            assert_eq!(server.calls(), 1, "a group that is missing is looked for each time");
        }
        assert_eq!(resolve("example.org", &long).await, None);
        assert_eq!(resolve(&long, "Served").await, None);
        assert_eq!(server.calls(), 0, "no such name can be served");
        assert!(resolve(api::GROUP, "Issuer").await.is_some_and(|resource| resource.namespaced));
        assert_eq!(server.calls(), 0, "what comes with the API needs no look");
    }

    #[tokio::test]
    async fn a_look_up_that_fails_is_not_remembered() {
        let server = Server::default();
        let authorizer = server.authorizer();
        server.failures.lock().unwrap().push(403);
        let error = authorizer.resolve("example.org", "Served").await.unwrap_err();
        assert_eq!(error.to_string(), "cannot look up kind Served of group example.org");
        assert!(authorizer.resolve("example.org", "Served").await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_is_asked_for_in_full_and_remembered_for_a_second() {
        let server = Server::default();
        let authorizer = server.authorizer();
        let may =
            async |user: &Requester, namespace| authorizer.may_approve(user, "s/*", namespace).await.unwrap();
        assert!(may(&user("alice"), None).await);
        assert_eq!(
            server.calls.lock().unwrap().as_slice(),
            [
                "/apis/authorization.k8s.io/v1/subjectaccessreviews {\"extra\":{\"node\":[\"n\"]},\"groups\":[\"g\"],\
              \"resourceAttributes\":{\"group\":\"cert-manager.io\",\"name\":\"s/*\",\"resource\":\"signers\",\
              \"verb\":\"approve\",\"version\":\"*\"},\"uid\":\"u\",\"user\":\"alice\"}"
            ]
        );
        assert_eq!(server.calls(), 1);
        assert!(may(&user("alice"), None).await);
        assert_eq!(server.calls(), 0);
        let other = Requester { groups: Vec::new(), ..user("alice") };
        for (user, namespace) in [(&other, None), (&user("alice"), Some("team-a"))] {
            assert!(may(user, namespace).await);
            assert_eq!(server.calls(), 1, "not the same question");
        }
        assert!(!may(&user("bob"), None).await && !may(&user("bob"), None).await);
        assert_eq!(server.calls(), 1, "a denial is remembered, too");
        tokio::time::advance(RIGHT_LIFE).await;
        assert!(may(&user("alice"), None).await);
        assert_eq!(server.calls(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_approvals_is_not_passed_on() {
        let server = Server::default();
        *server.is_slow.lock().unwrap() = true;
        let authorizer = server.authorizer();
        let users: Vec<Requester> = (0..ASKED_MAX * 4).map(|index| user(&index.to_string())).collect();
        let all = futures::future::join_all(users.iter().map(|user| authorizer.may_approve(user, "s", None)));
        assert!(tokio::time::timeout(Duration::from_millis(50), all).await.is_err());
        assert_eq!(server.calls(), ASKED_MAX);
        let same = user("alice");
        let all =
            futures::future::join_all((0..ASKED_MAX * 4).map(|_| authorizer.may_approve(&same, "s", None)));
        assert!(all.await.iter().all(|outcome| matches!(outcome, Ok(true))));
        assert!(server.calls() <= ASKED_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn an_authorizer_that_failed_leaves_open_what_no_other_one_decided() {
        let failed = json!({"evaluationError": "no answer from the authorization webhook"});
        let check = async |besides: &Value, name, wanted: Result<bool, &str>, calls: usize| {
            let server = Server::default();
            server.besides.lock().unwrap().clone_from(besides);
            let authorizer = server.authorizer();
            for _ in 0..2 {
                let outcome = authorizer.may_approve(&user(name), "s", None).await;
                let outcome = outcome.map_err(|error| format!("{:#}", anyhow::Error::new(error)));
                assert_eq!(outcome.as_ref().map_err(String::as_str), wanted.as_ref().map_err(|text| *text));
            }
            assert_eq!(server.calls(), calls, "{besides} for {name}");
        };
        let open = "cannot review whether \"bob\" may approve signer s: an authorizer of the cluster failed: no answer \
                    from the authorization webhook";
        check(&failed, "bob", Err(open), 4).await;
        check(&failed, "alice", Ok(true), 1).await;
        let mut forbidden = failed;
        forbidden["denied"] = json!(true);
        check(&forbidden, "bob", Ok(false), 1).await;
        check(&json!({"evaluationError": ""}), "bob", Ok(false), 1).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_review_that_failed_by_chance_is_tried_once_more() {
        let check = async |failures: &[u16], calls: usize, wanted: Option<bool>| {
            let server = Server::default();
            server.failures.lock().unwrap().extend(failures);
            let started = tokio::time::Instant::now();
            let outcome = server.authorizer().may_approve(&user("alice"), "s", None).await;
            assert_eq!((outcome.ok(), server.calls()), (wanted, calls), "{failures:?}");
            let paused = started.elapsed().as_millis();
            let wanted = if calls == 2 { 1000..=1200 } else { 0..=0 };
            assert!(wanted.contains(&paused), "{paused} ms");
        };
        check(&[403], 1, None).await;
        check(&[503, 500], 2, None).await;
        check(&[500], 2, Some(true)).await;
        check(&[429], 2, Some(true)).await;
        check(&[], 1, Some(true)).await;
    }
}

//! Reads a pod, and those Services that a judgement turns on, when they are needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod as PodKind, Service as ServiceKind};
use kube::core::ApiResource;
use kube::{Api, Client};
use runtime::lock::lock;
use runtime::trimmed::Trimmed;
use runtime::watch::Failure;

use super::pod::{KeepPod, Pod};
use super::service::{KeepService, view};
use crate::policy::{Asked, Permitted, PodFacts, Policy, Refusal, ServiceFacts, Services, Subject, judge};

/// Time for all that one judgement has to read.
const READ_TIME_MAX: Duration = Duration::from_secs(10);

/// Longest name of an object.
const NAME_BYTES_MAX: usize = 253;

/// Something could not be read, so that nothing can be said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot be read: {why}")]
pub struct Unread {
    what: String,
    why: String,
}

/// Reads with the rights of a client.
#[derive(Clone)]
pub struct Reader {
    client: Client,
}

impl Reader {
    /// Reads through `client`, which needs the right to get pods and Services.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The pod of this name; `None`: there is none.
    ///
    /// # Errors
    /// When the API server does not answer, or does not permit it.
    pub async fn pod(&self, namespace: &str, name: &str) -> Result<Option<Pod>, Unread> {
        // They may come from whoever creates objects, and become a part of a path.
        if ![namespace, name].into_iter().all(is_object_name) {
            return Ok(None);
        }
        let resource = ApiResource::erase::<PodKind>(&());
        let pods: Api<Trimmed<KeepPod>> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let read = within(pods.get_opt(name)).await;
        let found = read.map_err(|why| Unread { what: format!("Pod {namespace}/{name}"), why })?;
        Ok(found.map(Pod::of))
    }

    /// What the policy permits to this pod whatever Services there are; `None`: that turns on some, or it refuses.
    pub fn without_reading(asked: &Asked<'_>, pod: PodFacts<'_>, policy: &Policy) -> Option<Permitted> {
        let services = Known { services: &BTreeMap::new(), missing: Mutex::default() };
        let permitted = judge(asked, &Subject { pod, services: &services }, policy).ok();
        permitted.filter(|_| lock(&services.missing).is_empty())
    }

    /// What the policy says to what is asked for, for this pod.
    ///
    /// # Errors
    /// When a Service that it turns on cannot be read.
    pub async fn judge(
        &self,
        asked: &Asked<'_>,
        pod: PodFacts<'_>,
        policy: &Policy,
    ) -> Result<Result<Permitted, Refusal>, Unread> {
        let mut known = BTreeMap::new();
        loop {
            let services = Known { services: &known, missing: Mutex::default() };
            let judged = judge(asked, &Subject { pod, services: &services }, policy);
            let missing = std::mem::take(&mut *lock(&services.missing));
            if missing.is_empty() {
                return Ok(judged);
            }
            // The next turn knows of each of them, so that there is an end: a request has a bounded number of names.
            known.extend(self.services(pod.namespace, missing).await?);
        }
    }

    async fn services(&self, namespace: &str, names: BTreeSet<String>) -> Result<ServicesByName, Unread> {
        let resource = ApiResource::erase::<ServiceKind>(&());
        let api: Api<Trimmed<KeepService>> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let reads = names.into_iter().map(|name| {
            let api = &api;
            async move {
                let found = api.get_opt(&name).await?;
                Ok::<_, kube::Error>((name, found.map(|service| Arc::new(view(service)))))
            }
        });
        let read = within(futures::future::try_join_all(reads)).await;
        let found =
            read.map_err(|why| Unread { what: format!("a Service of namespace {namespace}"), why })?;
        Ok(found.into_iter().collect())
    }
}

/// Whether an object can have such a name (Kubernetes, "DNS Subdomain Names").
fn is_object_name(text: &str) -> bool {
    let is_usual =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_usual) && !text.starts_with('.')
}

async fn within<T>(read: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    let answered = tokio::time::timeout(READ_TIME_MAX, read).await;
    let answered = answered.map_err(|_| format!("it took longer than {READ_TIME_MAX:?}"))?;
    answered.map_err(|error| Failure::from(&error).to_string())
}

type ServicesByName = BTreeMap<String, Option<Arc<ServiceFacts>>>;

/// Services of one namespace that were read, and the names of those that were asked for and were not.
struct Known<'a> {
    services: &'a ServicesByName,
    missing: Mutex<BTreeSet<String>>,
}

impl Services for Known<'_> {
    fn get(&self, _: &str, name: &str) -> Option<Arc<ServiceFacts>> {
        match self.services.get(name) {
            Some(known) => known.clone(),
            None => {
                lock(&self.missing).insert(name.to_owned());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Request, Response};
    use issuance::key::{KeyAlgorithm, PrivateKey};
    use issuance::name::SubjectAltName;
    use issuance::request::{Request as Signing, RequestSpec};
    use issuance::usage::Usages;
    use jiff::SignedDuration;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;
    use crate::policy::{DURATION_MAX, Rules};

    /// An API server with Service `web` and pod `web-0`, and the paths that it was asked for. Service `broken` is not to be
    /// had.
    fn server() -> (Reader, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&asked);
        let client = runtime::testing::client(move |request: Request<Body>| {
            let path = request.uri().path().trim_start_matches("/api/v1/namespaces/").to_owned();
            lock(&hears).push(path.clone());
            let (status, answer) = match path.as_str() {
                "team-a/services/web" => (200, json!({"metadata": {}, "spec": {"selector": {"app": "web"}}})),
                "team-a/pods/web-0" => (200, pod()),
                "team-a/services/broken" => (403, status(403)),
                _ => (404, status(404)),
            };
            async move {
                let body = Body::from(serde_json::to_vec(&answer).unwrap());
                Response::builder().status(status).body(body).unwrap()
            }
        });
        (Reader::new(client), asked)
    }

    fn status(code: u16) -> Value {
        let reason = if code == 404 { "NotFound" } else { "Forbidden" };
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": "no", "code": code})
    }

    fn pod() -> Value {
        json!({
            "metadata": {"namespace": "team-a", "name": "web-0", "uid": "u1", "labels": {"app": "web"}},
            "spec": {"nodeName": "n1", "serviceAccountName": "shop"},
        })
    }

    async fn judged(reader: &Reader, names: &[&str]) -> Result<Result<Permitted, Refusal>, Unread> {
        let names = names.iter().map(|name| SubjectAltName::Dns((*name).to_owned())).collect();
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let request = Signing::build(&RequestSpec { names, ..RequestSpec::default() }, &key).unwrap();
        let (usages, issuer) = (Usages::default(), api::IssuerRef::default());
        let duration = SignedDuration::from_hours(1);
        let asked = Asked { request: &request, usages: &usages, is_ca: false, duration, issuer: &issuer };
        let policy = Policy {
            cluster_domain: "cluster.local".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            duration_max: DURATION_MAX,
            rules: Rules::default(),
        };
        let pod = reader.pod("team-a", "web-0").await.unwrap().unwrap();
        reader.judge(&asked, pod.facts(), &policy).await
    }

    #[tokio::test]
    async fn what_is_no_name_is_not_asked_for() {
        let (reader, asked) = server();
        for (namespace, name) in
            [("team-a", "../secrets/x"), ("team-a/pods", "x"), ("team-a", ""), ("team-a", "..")]
        {
            assert_eq!(reader.pod(namespace, name).await, Ok(None), "{namespace} {name}");
        }
        assert!(lock(&asked).is_empty());
    }

    #[tokio::test]
    async fn without_an_answer_about_a_service_nothing_is_said() {
        let (reader, _) = server();
        let unread = judged(&reader, &["web.team-a.svc", "broken.team-a.svc"]).await.unwrap_err();
        assert!(unread.to_string().starts_with("a Service of namespace team-a cannot be read: "), "{unread}");
    }

    #[tokio::test]
    async fn only_what_a_judgement_turns_on_is_read_and_once() {
        let (reader, asked) = server();
        assert!(judged(&reader, &["web.team-a.svc", "web.team-a.svc.cluster.local"]).await.unwrap().is_ok());
        assert_eq!(*lock(&asked), ["team-a/pods/web-0", "team-a/services/web"]);
        let refused = judged(&reader, &["db.team-a.svc", "a.test"]).await.unwrap().unwrap_err();
        assert!(refused.message.contains("there is no Service team-a/db"), "{refused}");
        assert_eq!(lock(&asked).split_off(2), ["team-a/pods/web-0", "team-a/services/db"]);
    }
}

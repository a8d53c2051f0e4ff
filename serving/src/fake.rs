//! API servers for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, Response, StatusCode};
use issuance::bundle::Bundle;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::client::Body;
use runtime::testing;
pub(crate) use runtime::testing::silent;
use serde_json::{Value, json};

/// An API server that forbids everything.
pub(crate) fn refusing() -> Client {
    testing::client(async |_| failure(StatusCode::FORBIDDEN, "Forbidden"))
}

fn failure(code: StatusCode, reason: &str) -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": reason, "code": code.as_u16()});
    Response::builder().status(code).body(Body::from(status.to_string().into_bytes())).unwrap()
}

/// How a cainjector treats a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Injects {
    /// There is none.
    Nothing,
    /// It adds what is missing and drops nothing.
    Merging,
    /// It replaces what is there.
    Replacing,
}

/// Secrets and webhook configurations, with the API server's rules on who overwrites whom. Watches of them tell nothing.
#[derive(Clone, Default)]
pub(crate) struct ApiServer {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// By path.
    objects: BTreeMap<String, Value>,
    resource_version: u64,
    /// Writes that changed something.
    writes: usize,
    is_down: bool,
    /// Configurations cannot be patched.
    is_forbidden: bool,
}

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";

impl ApiServer {
    pub(crate) fn client(&self) -> Client {
        let kept = self.clone();
        testing::client(move |request| {
            let kept = kept.clone();
            async move { kept.answer(request).await }
        })
    }

    /// Adds both configurations, each with two webhooks and no bundle.
    pub(crate) fn add_configurations(&self, name: &str, is_annotated: bool) {
        for (plural, kind) in [
            ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
            ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
        ] {
            let annotations = if is_annotated {
                json!({"cert-manager.io/inject-ca-from-secret": "ns/webhook-ca"})
            } else {
                json!({})
            };
            let webhook = |name: &str| {
                json!({"name": name, "clientConfig": {}, "sideEffects": "None",
                "admissionReviewVersions": ["v1"]})
            };
            let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
                "metadata": {"name": name, "annotations": annotations},
                "webhooks": [webhook("a.example.test"), webhook("b.example.test")]});
            self.state().store(&format!("{CONFIGURATIONS}/{plural}/{name}"), object);
        }
        self.state().writes = 0;
    }

    /// Does what a cainjector does that finds this Secret.
    pub(crate) fn inject_secret(&self, injects: Injects) {
        let data = self.secret().and_then(|secret| secret.data).unwrap_or_default();
        if let Some(source) = data.get("ca.crt") {
            self.inject(injects, std::str::from_utf8(&source.0).unwrap());
        }
    }

    /// Does what a cainjector does that finds `source` in `ca.crt`.
    pub(crate) fn inject(&self, injects: Injects, source: &str) {
        let mut state = self.state();
        let configurations: Vec<(String, Value)> = state
            .objects
            .iter()
            .filter(|(path, _)| path.starts_with(CONFIGURATIONS))
            .map(|(path, object)| (path.clone(), object.clone()))
            .collect();
        for (path, mut object) in configurations {
            let before = object.clone();
            for webhook in object["webhooks"].as_array_mut().unwrap() {
                let bundle = &mut webhook["clientConfig"]["caBundle"];
                let merged = match injects {
                    Injects::Nothing => return,
                    Injects::Replacing => source.to_owned(),
                    Injects::Merging => {
                        let mut merged = Bundle::parse(decoded(bundle).as_bytes()).unwrap_or_default();
                        for ca in Bundle::parse(source.as_bytes()).unwrap().into_certificates() {
                            merged.add(ca);
                        }
                        merged.to_pem()
                    }
                };
                *bundle = STANDARD.encode(merged).into();
            }
            if object != before {
                state.store(&path, object);
            }
        }
    }

    /// The bundles of the configurations of this kind.
    pub(crate) fn bundles(&self, kind: &str) -> Vec<String> {
        let state = self.state();
        let of_kind = state.objects.values().filter(|object| object["kind"] == kind);
        let webhooks = of_kind.flat_map(|object| object["webhooks"].as_array().unwrap());
        webhooks.map(|webhook| decoded(&webhook["clientConfig"]["caBundle"])).collect()
    }

    /// How often something was changed.
    pub(crate) fn writes(&self) -> usize {
        self.state().writes
    }

    /// Whether it answers nothing but errors from now on.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.state().is_down = is_down;
    }

    /// Forbids patches of configurations from now on.
    pub(crate) fn forbid_patches(&self) {
        self.state().is_forbidden = true;
    }

    /// The Secret, if it is there.
    pub(crate) fn secret(&self) -> Option<Secret> {
        let state = self.state();
        let secret = state.objects.iter().find(|(path, _)| path.contains("/secrets/"));
        secret.map(|(_, object)| serde_json::from_value(object.clone()).unwrap())
    }

    /// Writes the Secret as somebody else would, or deletes it.
    pub(crate) fn set_secret(&self, secret: Option<Secret>) {
        let path = "/api/v1/namespaces/ns/secrets/webhook-ca";
        let mut state = self.state();
        match secret {
            Some(secret) => state.store(path, serde_json::to_value(secret).unwrap()),
            None => {
                state.objects.remove(path);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let is_list = ["/secrets", "configurations"].iter().any(|end| path.ends_with(end));
        if head.method == Method::GET && is_list {
            std::future::pending::<()>().await;
        }
        let body = body.collect_bytes().await.unwrap();
        // Others have their turn between two calls.
        tokio::task::yield_now().await;
        let mut state = self.state();
        if state.is_down {
            return failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
        }
        let written = if head.method == Method::GET {
            state.objects.get(&path).cloned().ok_or((StatusCode::NOT_FOUND, "NotFound"))
        } else {
            state.write(&head.method, &path, serde_json::from_slice(&body).unwrap())
        };
        match written {
            Ok(object) => Response::new(Body::from(serde_json::to_vec(&object).unwrap())),
            Err((code, reason)) => failure(code, reason),
        }
    }
}

impl State {
    fn write(
        &mut self,
        method: &Method,
        path: &str,
        body: Value,
    ) -> Result<Value, (StatusCode, &'static str)> {
        const NOT_FOUND: (StatusCode, &str) = (StatusCode::NOT_FOUND, "NotFound");
        const CONFLICT: (StatusCode, &str) = (StatusCode::CONFLICT, "Conflict");
        match *method {
            Method::POST => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
                if self.objects.contains_key(&path) {
                    return Err((StatusCode::CONFLICT, "AlreadyExists"));
                }
                self.store(&path, body);
                Ok(self.objects[&path].clone())
            }
            Method::PUT => {
                let stored = self.objects.get(path).ok_or(NOT_FOUND)?;
                if stored["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] {
                    return Err(CONFLICT);
                }
                self.store(path, body);
                Ok(self.objects[path].clone())
            }
            Method::PATCH if self.is_forbidden => Err((StatusCode::FORBIDDEN, "Forbidden")),
            Method::PATCH => {
                let mut object = self.objects.get(path).cloned().ok_or(NOT_FOUND)?;
                let patch: json_patch::Patch = serde_json::from_value(body).unwrap();
                let failed = json_patch::patch(&mut object, &patch).is_err();
                if failed {
                    return Err((StatusCode::UNPROCESSABLE_ENTITY, "Invalid"));
                }
                self.store(path, object);
                Ok(self.objects[path].clone())
            }
            _ => Err((StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed")),
        }
    }

    fn store(&mut self, path: &str, mut object: Value) {
        self.resource_version += 1;
        self.writes += 1;
        object["metadata"]["resourceVersion"] = self.resource_version.to_string().into();
        self.objects.insert(path.to_owned(), object);
    }
}

fn decoded(bundle: &Value) -> String {
    let bytes = STANDARD.decode(bundle.as_str().unwrap_or_default()).unwrap();
    String::from_utf8(bytes).unwrap()
}

//! An API server for tests of watches, which gives scripted answers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::lock::lock;
use crate::testing;

/// What it was asked for, in order: `list`, or `watch from` a version.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    pub(crate) fn all(&self) -> Vec<String> {
        lock(&self.0).clone()
    }
}

/// Gives these bodies in turn, and then no answer any more. Each has status 200, but for a denial.
pub(crate) fn client(answers: Vec<String>) -> (Client, Asked) {
    let (asked, answers) = (Asked::default(), Arc::new(Mutex::new(VecDeque::from(answers))));
    let seen = asked.clone();
    let answer = move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default();
        let version = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let is_watch = query.split('&').any(|pair| pair == "watch=true");
        let what =
            if is_watch { format!("watch from {}", version.unwrap_or("?")) } else { "list".to_owned() };
        lock(&seen.0).push(what);
        let next = lock(&answers).pop_front();
        async move {
            match next {
                Some(body) => {
                    let status = if body == denied() { 403 } else { 200 };
                    let mut response = Response::new(Body::from(body.into_bytes()));
                    *response.status_mut() = StatusCode::from_u16(status).unwrap();
                    response
                }
                None => std::future::pending().await,
            }
        }
    };
    (testing::client(answer), asked)
}

/// A list of Secrets of these names and versions, itself of a version.
pub(crate) fn list(version: &str, objects: &[(&str, &str)]) -> String {
    let items: Vec<_> = objects.iter().map(|(name, version)| secret(name, version)).collect();
    json!({"apiVersion": "v1", "kind": "SecretList", "metadata": {"resourceVersion": version}, "items": items})
        .to_string()
}

/// A watch that tells of these changes (type, name, version) and then ends.
pub(crate) fn events(changes: &[(&str, &str, &str)]) -> String {
    let events = changes
        .iter()
        .map(|(kind, name, version)| format!("{}\n", json!({"type": kind, "object": secret(name, version)})));
    events.collect()
}

/// What ends a watch from a version that the server does not remember any more.
pub(crate) fn gone() -> String {
    let status = json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": "too old resource version: 11 (19)", "reason": "Expired", "code": 410});
    format!("{}\n", json!({"type": "ERROR", "object": status}))
}

/// What is answered to whoever lacks the right to ask.
pub(crate) fn denied() -> String {
    let status = json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": "secrets is forbidden", "reason": "Forbidden", "code": 403});
    status.to_string()
}

fn secret(name: &str, version: &str) -> Value {
    let metadata = json!({"name": name, "namespace": "team-a", "resourceVersion": version});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})
}

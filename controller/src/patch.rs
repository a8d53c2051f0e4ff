//! Writes of a status, bound to the version that was read.
//!
//! Elsewhere writes are server-side applies of the own fields alone. Not so the status of CertificateRequests and
//! Certificates: an apply cannot remove what another manager owns, and a condition that a user's tool or the peer wrote would
//! stay for ever. So the list of conditions is written as a whole, by a merge patch, which is safe only because the API
//! server refuses it once the object has changed.

use std::fmt::Debug;

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use runtime::watch::Failure;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is there.
    Done {
        /// The version that it made.
        version: String,
    },
    /// The object is not there any more.
    Gone,
    /// The object has changed since it was read; the watch is about to say so.
    Stale,
    /// It was understood and refused, and would be again.
    Refused(Failure),
    /// It failed in passing.
    Failed(Failure),
}

impl Written {
    fn of(failure: Failure) -> Self {
        match failure.code {
            Some(404) => Self::Gone,
            Some(409) => Self::Stale,
            Some(400 | 403 | 422) => Self::Refused(failure),
            _ => Self::Failed(failure),
        }
    }
}

/// Patches the status of an object if it is still of this `version`. `body` is a merge patch; what `K` does not know of the
/// answer is not decoded.
pub async fn patch_status<K>(api: &Api<K>, name: &str, version: &str, manager: &str, body: &Value) -> Written
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let mut body = body.clone();
    body["metadata"] = json!({ "resourceVersion": version });
    let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    match api.patch_status(name, &params, &Patch::Merge(&body)).await {
        Ok(object) => Written::Done { version: object.meta().resource_version.clone().unwrap_or_default() },
        Err(error) => Written::of(Failure::from(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use api::CertificateRequest;
    use http::{Request, Response};
    use kube::client::Body;
    use kube::core::PartialObjectMeta;

    use super::*;

    /// What a server that answers so makes of a write, and the body that it was sent.
    async fn written(status: u16, answer: Value) -> (Written, Value) {
        let sent = Arc::new(Mutex::new(Value::Null));
        let received = Arc::clone(&sent);
        let client = runtime::testing::client(move |request: Request<Body>| {
            let (received, answer) = (Arc::clone(&received), answer.to_string());
            async move {
                assert_eq!(
                    request.uri().path(),
                    "/apis/cert-manager.io/v1/namespaces/a/certificaterequests/r/status"
                );
                assert_eq!(request.headers()["content-type"], "application/merge-patch+json");
                let body = request.into_body().collect_bytes().await.unwrap();
                *received.lock().unwrap() = serde_json::from_slice(&body).unwrap();
                Response::builder().status(status).body(Body::from(answer.into_bytes())).unwrap()
            }
        });
        let api: Api<PartialObjectMeta<CertificateRequest>> = Api::namespaced(client, "a");
        let body = json!({"status": {"failureTime": "t"}});
        let written = patch_status(&api, "r", "7", "m", &body).await;
        let sent = sent.lock().unwrap().clone();
        (written, sent)
    }

    #[tokio::test]
    async fn a_write_is_bound_to_the_version_that_was_read() {
        let answer = json!({"apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest",
            "metadata": {"name": "r", "resourceVersion": "8"}, "spec": {"request": 3}});
        let (written, sent) = written(200, answer).await;
        assert_eq!(written, Written::Done { version: "8".to_owned() });
        assert_eq!(sent, json!({"metadata": {"resourceVersion": "7"}, "status": {"failureTime": "t"}}));
    }

    #[tokio::test]
    async fn what_became_of_a_write_that_was_not_made_is_told() {
        let check = async |code: u16, expected: &str| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no",
                "reason": "r", "code": code});
            let shown = format!("{:?}", written(code, status).await.0);
            assert!(shown.starts_with(expected), "{code}: {shown}");
        };
        check(404, "Gone").await;
        check(409, "Stale").await;
        check(403, "Refused").await;
        check(422, "Refused").await;
        check(500, "Failed").await;
    }
}

//! API servers for tests.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::client::Body;
use serde_json::json;

/// An API server that takes calls and never answers.
pub(crate) fn silent() -> Client {
    let hang = |_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>();
    Client::new(tower::service_fn(hang), "default")
}

/// An API server that forbids everything.
pub(crate) fn refusing() -> Client {
    let refuse = async |_: Request<Body>| Ok::<_, Infallible>(failure(StatusCode::FORBIDDEN, "Forbidden"));
    Client::new(tower::service_fn(refuse), "default")
}

fn failure(code: StatusCode, reason: &str) -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": reason, "code": code.as_u16()});
    Response::builder().status(code).body(Body::from(status.to_string().into_bytes())).unwrap()
}

/// What an API server keeps that has one Secret and nothing else; watches of it tell nothing.
#[derive(Clone, Default)]
pub(crate) struct OneSecret {
    pub(crate) secret: Arc<Mutex<Option<Secret>>>,
}

impl OneSecret {
    pub(crate) fn client(&self) -> Client {
        let kept = self.clone();
        let answer = move |request: Request<Body>| {
            let kept = kept.clone();
            async move { Ok::<_, Infallible>(kept.answer(request).await) }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        if head.method == Method::GET && head.uri.path().ends_with("/secrets") {
            std::future::pending::<()>().await;
        }
        let written = body.collect_bytes().await.unwrap();
        let mut secret = self.secret.lock().unwrap();
        if head.method != Method::GET {
            let mut new: Secret = serde_json::from_slice(&written).unwrap();
            new.metadata.resource_version = Some("1".to_owned());
            *secret = Some(new);
        }
        match &*secret {
            Some(secret) => Response::new(Body::from(serde_json::to_vec(secret).unwrap())),
            None => failure(StatusCode::NOT_FOUND, "NotFound"),
        }
    }
}

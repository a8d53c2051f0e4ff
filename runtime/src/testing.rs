//! API servers for tests: those of this crate, and with feature `testing` those of others.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use tokio::sync::Notify;

/// A client of a server that answers so.
pub fn client<Answer>(answer: impl Fn(Request<Body>) -> Answer + Send + 'static) -> Client
where
    Answer: Future<Output = Response<Body>> + Send + 'static,
{
    let service = move |request: Request<Body>| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    };
    Client::new(tower::service_fn(service), "default")
}

/// A client of a server that takes calls and never answers.
pub fn silent() -> Client {
    client(|_| std::future::pending())
}

/// A server that answers some requests, each when it is told to, and all others never.
#[derive(Debug, Clone, Default)]
pub struct SlowServer {
    asked: Arc<Notify>,
    told: Arc<Notify>,
}

impl SlowServer {
    /// A client of it; `is_meant` tells which requests are answered, with `body` and status 200.
    pub fn client(
        &self,
        is_meant: impl Fn(&Request<Body>) -> bool + Send + 'static,
        body: &'static str,
    ) -> Client {
        let server = self.clone();
        client(move |request| {
            let (server, is_meant) = (server.clone(), is_meant(&request));
            async move {
                if !is_meant {
                    return std::future::pending().await;
                }
                server.asked.notify_one();
                server.told.notified().await;
                Response::new(Body::from(body.as_bytes().to_vec()))
            }
        })
    }

    /// Waits for such a request.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Answers one.
    pub fn answer(&self) {
        self.told.notify_one();
    }
}

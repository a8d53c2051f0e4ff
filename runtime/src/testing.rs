//! API servers and a log for tests: those of this crate, and with feature `testing` those of others.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use tokio::sync::Notify;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::lock::lock;

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

/// What is logged during a test.
#[derive(Debug, Clone, Default)]
pub struct Log {
    written: Arc<Mutex<Vec<u8>>>,
}

impl Log {
    /// Takes what this thread logs, at every level, until the guard is dropped.
    #[must_use]
    pub fn listen(&self) -> DefaultGuard {
        let log = self.clone();
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || log.clone());
        tracing::subscriber::set_default(tracing_subscriber::registry().with(lines))
    }

    /// What was logged so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.written)).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.written).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! An HTTP server before the API server, which passes on what it is asked, or fails as it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use e2e::namespace::Scope;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What it does in place of passing requests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: all are passed on.
    #[default]
    None,
    /// Connections end, and no new one lasts.
    Cut,
    /// Requests of paths with this in them are answered with status 500.
    Unavailable(&'static str),
}

/// A server that passes on with the administrator's rights, until this value is dropped.
pub(crate) struct Front {
    /// Where it listens, in the machine's own network, without TLS.
    pub(crate) address: SocketAddr,
    fault: watch::Sender<Fault>,
    refused: Arc<AtomicUsize>,
    patched: Paths,
    /// Aborted with this value.
    _accepting: JoinSet<()>,
}

#[derive(Clone)]
struct Way {
    client: Client,
    fault: watch::Receiver<Fault>,
    refused: Arc<AtomicUsize>,
    patched: Paths,
}

/// Of requests, in their order.
type Paths = Arc<Mutex<Vec<String>>>;

impl Front {
    pub(crate) async fn start(scope: &Scope) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("failed to listen")?;
        let address = listener.local_addr()?;
        let (fault, receiver) = watch::channel(Fault::None);
        let (refused, patched) = (Arc::default(), Paths::default());
        let way = Way {
            client: scope.client.clone(),
            fault: receiver,
            refused: Arc::clone(&refused),
            patched: Arc::clone(&patched),
        };
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, way));
        Ok(Self { address, fault, refused, patched, _accepting: accepting })
    }

    /// Does this from now on.
    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// How many requests to patch the object of this name, of whatever kind, have come so far. The API server takes one that
    /// changes nothing without a trace.
    pub(crate) fn patches(&self, name: &str) -> usize {
        let patched = self.patched.lock().unwrap_or_else(PoisonError::into_inner);
        patched.iter().filter(|path| path.rsplit('/').next() == Some(name)).count()
    }

    /// How many requests were answered with an error so far.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, mut way: Way) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                if *way.fault.borrow() != Fault::Cut {
                    connections.spawn(serve(stream, way.clone()));
                }
            }
            changed = way.fault.changed() => {
                if changed.is_err() {
                    return;
                }
                if *way.fault.borrow_and_update() == Fault::Cut {
                    connections.shutdown().await;
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, way: Way) {
    let answer = service_fn(move |request| answer(request, way.clone()));
    // A client that leaves is no fault of the test.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

async fn answer(request: Request<Incoming>, way: Way) -> anyhow::Result<Response<Body>> {
    let fault = *way.fault.borrow();
    if matches!(fault, Fault::Unavailable(part) if request.uri().path().contains(part)) {
        way.refused.fetch_add(1, Ordering::Relaxed);
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500,
            "reason": "InternalError", "message": "the storage is away"});
        let response = Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR);
        let response = response.header("content-type", "application/json");
        return Ok(response.body(Body::from(status.to_string().into_bytes()))?);
    }
    if request.method() == Method::PATCH {
        let path = request.uri().path().to_owned();
        way.patched.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }
    let (mut head, body) = request.into_parts();
    strip(&mut head.headers);
    let body = body.collect().await?.to_bytes().to_vec();
    let mut response = way.client.send(Request::from_parts(head, Body::from(body))).await?;
    strip(response.headers_mut());
    Ok(response)
}

/// Takes out what is of one connection alone.
fn strip(headers: &mut HeaderMap) {
    for name in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
}

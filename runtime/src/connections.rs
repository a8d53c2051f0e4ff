//! The open connections of a listener: how many there are, what each of them does, and for how long it was silent.
//! [`claims`] says which of them goes when another one comes, [`success`] which answers count for that.

mod claims;
mod success;

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use axum::{BoxError, Router};
use axum_server::accept::Accept;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Request;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::Service;

use crate::lock::lock;
use claims::{Doing, Seen};
use success::Head;

/// Pause between two looks for a connection that could give way to a new one.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The open connections of one listener.
pub(crate) struct Connections {
    room: Arc<Semaphore>,
    /// See [`claims::first_to_go`].
    rest: Duration,
    open: Mutex<Vec<Weak<Connection>>>,
}

impl Connections {
    /// None yet, and at most `max`.
    pub(crate) fn new(max: usize, rest: Duration) -> Arc<Self> {
        Arc::new(Self { room: Arc::new(Semaphore::new(max)), rest, open: Mutex::default() })
    }

    /// Waits for room, and makes some if it can.
    async fn admit(self: Arc<Self>) -> Arc<Connection> {
        let place = loop {
            if let Ok(place) = Arc::clone(&self.room).try_acquire_owned() {
                break place;
            }
            self.close_one();
            let freed = tokio::time::timeout(LOOK_INTERVAL, Arc::clone(&self.room).acquire_owned());
            if let Ok(Ok(place)) = freed.await {
                break place;
            }
        };
        let connection = Arc::new(Connection {
            usage: Mutex::new(Usage::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), Instant::now())),
            closing: CancellationToken::new(),
            _place: place,
        });
        let mut open = lock(&self.open);
        open.retain(|connection| connection.strong_count() > 0);
        open.push(Arc::downgrade(&connection));
        connection
    }

    /// Closes the connection that is to go first, if one may.
    fn close_one(&self) {
        let open: Vec<_> = lock(&self.open).iter().filter_map(Weak::upgrade).collect();
        let now = Instant::now();
        let seen: Vec<_> = open.iter().map(|connection| lock(&connection.usage).seen(now)).collect();
        if let Some(first) = claims::first_to_go(&seen, self.rest).and_then(|first| open.get(first)) {
            tracing::debug!("closing a connection for a new one");
            first.closing.cancel();
        }
    }
}

/// One open connection; its place is free again when the last handle is dropped.
pub(crate) struct Connection {
    usage: Mutex<Usage>,
    closing: CancellationToken,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug, Clone, Copy)]
struct Usage {
    /// From where it comes.
    origin: IpAddr,
    /// Requests in work.
    requests: usize,
    /// Those of them whose bodies have not come whole.
    arriving: usize,
    /// What of their bodies has come since `at`, in bytes.
    arrived_bytes: usize,
    /// Whether a request was answered with success.
    has_claim: bool,
    opened: Instant,
    /// When it was opened, or the last request began, had come whole, or ended. That another one begins while some
    /// arrive does not count: they would never be found to stall.
    at: Instant,
}

impl Usage {
    fn new(origin: IpAddr, now: Instant) -> Self {
        Self { origin, requests: 0, arriving: 0, arrived_bytes: 0, has_claim: false, opened: now, at: now }
    }

    fn seen(&self, now: Instant) -> Seen {
        let doing = match self {
            Self { requests: 0, .. } => Doing::Rests,
            Self { requests, arriving, .. } if requests == arriving => {
                Doing::Receives { bytes: self.arrived_bytes }
            }
            _ => Doing::Answers,
        };
        Seen {
            origin: self.origin,
            has_claim: self.has_claim,
            age: now.saturating_duration_since(self.opened),
            doing,
            time: now.saturating_duration_since(self.at),
        }
    }
}

impl Connection {
    fn begin(self: Arc<Self>) -> InWork {
        let mut usage = lock(&self.usage);
        usage.requests = usage.requests.saturating_add(1);
        if usage.arriving == 0 {
            usage.at = Instant::now();
        }
        drop(usage);
        InWork { connection: self }
    }

    fn succeeded(&self) {
        lock(&self.usage).has_claim = true;
    }

    fn expect(self: Arc<Self>) -> Arriving {
        let mut usage = lock(&self.usage);
        usage.arriving = usage.arriving.saturating_add(1);
        drop(usage);
        Arriving { connection: self }
    }
}

/// A request in work.
struct InWork {
    connection: Arc<Connection>,
}

impl Drop for InWork {
    fn drop(&mut self) {
        let mut usage = lock(&self.connection.usage);
        usage.requests = usage.requests.saturating_sub(1);
        usage.at = Instant::now();
    }
}

/// A body that comes in; when it is dropped, it has come whole, or nobody wants it any more.
struct Arriving {
    connection: Arc<Connection>,
}

impl Arriving {
    fn count(&self, bytes: usize) {
        let mut usage = lock(&self.connection.usage);
        usage.arrived_bytes = usage.arrived_bytes.saturating_add(bytes);
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let mut usage = lock(&self.connection.usage);
        usage.arriving = usage.arriving.saturating_sub(1);
        (usage.arrived_bytes, usage.at) = (0, Instant::now());
    }
}

/// Gives each new connection its place and its copy of the router. Its readiness is what the server waits for before
/// it takes the next connection.
pub(crate) struct Admission {
    connections: Arc<Connections>,
    router: Router,
    waiting: Option<BoxFuture<'static, Arc<Connection>>>,
    admitted: Option<Arc<Connection>>,
}

impl Admission {
    /// Serves `router` on each of `connections`.
    pub(crate) fn new(connections: Arc<Connections>, router: Router) -> Self {
        Self { connections, router, waiting: None, admitted: None }
    }
}

/// A connection was handed over although there was no room for it.
#[derive(Debug, thiserror::Error)]
#[error("there is no room for another connection")]
pub(crate) struct NoRoom;

impl Service<SocketAddr> for Admission {
    type Response = Admitted;
    type Error = NoRoom;
    type Future = Ready<Result<Admitted, NoRoom>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NoRoom>> {
        if self.admitted.is_none() {
            let connections = &self.connections;
            let waiting = self.waiting.get_or_insert_with(|| Arc::clone(connections).admit().boxed());
            let Poll::Ready(connection) = waiting.as_mut().poll(cx) else {
                return Poll::Pending;
            };
            (self.waiting, self.admitted) = (None, Some(connection));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, client: SocketAddr) -> Self::Future {
        let connection = self.admitted.take().ok_or(NoRoom);
        ready(connection.map(|connection| {
            // The place was kept free for it for as long as nobody came.
            *lock(&connection.usage) = Usage::new(claims::origin(client.ip()), Instant::now());
            Admitted { router: self.router.clone(), connection }
        }))
    }
}

/// The router on one connection, whose requests it counts.
#[derive(Clone)]
pub(crate) struct Admitted {
    router: Router,
    connection: Arc<Connection>,
}

impl<B> Service<Request<B>> for Admitted
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.router, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let in_work = Arc::clone(&self.connection).begin();
        let request = request.map(|body| {
            if body.is_end_stream() {
                return Body::new(body);
            }
            let arriving = Arc::clone(&self.connection).expect();
            Body::new(body.inspect_frame(move |frame| {
                arriving.count(frame.data_ref().map_or(0, Bytes::len));
            }))
        });
        let (answer, connection) = (self.router.call(request), Arc::clone(&self.connection));
        async move {
            let Ok(answer) = answer.await;
            let answer = noted(answer, connection);
            drop(in_work);
            Ok(answer)
        }
        .boxed()
    }
}

/// The same answer; the connection has a claim once it is known that its request had success.
fn noted(answer: Response, connection: Arc<Connection>) -> Response {
    match success::of_head(answer.status(), answer.headers()) {
        Head::Failure => answer,
        Head::Success => {
            connection.succeeded();
            answer
        }
        Head::AtEnd => answer.map(|body| {
            Body::new(body.inspect_frame(move |frame| {
                if frame.trailers_ref().is_some_and(success::is_ok) {
                    connection.succeeded();
                }
            }))
        }),
    }
}

/// Makes each stream end when it has been silent for too long or its place is needed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watching {
    silence: Duration,
}

impl Watching {
    /// `silence` is the longest time without a byte in either direction.
    pub(crate) fn new(silence: Duration) -> Self {
        Self { silence }
    }
}

impl Accept<TcpStream, Admitted> for Watching {
    type Stream = WatchedStream;
    type Service = Admitted;
    type Future = Ready<io::Result<(WatchedStream, Admitted)>>;

    fn accept(&self, stream: TcpStream, service: Admitted) -> Self::Future {
        // Answers are small and written at once: nothing is won by waiting for more.
        ready(stream.set_nodelay(true).map(|()| {
            let stream = WatchedStream {
                stream,
                silence: self.silence,
                moved: Instant::now(),
                look: Box::pin(tokio::time::sleep(self.silence)),
                closing: Box::pin(service.connection.closing.clone().cancelled_owned()),
            };
            (stream, service)
        }))
    }
}

/// A stream that ends by itself, see [`Watching`].
pub(crate) struct WatchedStream {
    stream: TcpStream,
    silence: Duration,
    /// When the last byte went either way.
    moved: Instant,
    /// Fires now and then; a timer that is reset at each byte would cost more.
    look: Pin<Box<Sleep>>,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl WatchedStream {
    /// Passes on what the stream said. One that would wait does so only while it may stay open.
    fn watched<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.moved = Instant::now();
            return polled;
        }
        if self.closing.as_mut().poll(cx).is_ready() {
            let error = io::Error::new(io::ErrorKind::ConnectionAborted, "closed for another connection");
            return Poll::Ready(Err(error));
        }
        while self.look.as_mut().poll(cx).is_ready() {
            let due = self.moved + self.silence;
            if due <= Instant::now() {
                let error = io::Error::new(io::ErrorKind::TimedOut, "the connection was silent for too long");
                return Poll::Ready(Err(error));
            }
            self.look.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.watched(cx, polled)
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buffer);
        self.watched(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.watched(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // Both are done at once on a socket.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

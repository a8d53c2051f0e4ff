//! The open connections of a listener: how many there are, which of them rest, and for how long each was silent.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{self, Future, Ready};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use axum_server::accept::Accept;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::Service;

use crate::lock::lock;

/// Pause between two looks for a place, of connections that wait for one.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Most connections that wait for a place; further ones stay with the kernel until then. Each is a socket and a task.
const WAITING_MAX: usize = 64;
/// The same of one address that keeps half of all places busy; one more is closed at once.
const BUSY_WAITING_MAX: usize = 8;

/// The connections of one listener: those that have a place, and those that wait for one.
pub(crate) struct Connections {
    places: usize,
    /// How long a connection must be without a request before it can be closed for another.
    rest: Duration,
    known: Mutex<Vec<Weak<Connection>>>,
}

impl Connections {
    /// None yet, and places for `max`.
    pub(crate) fn new(max: usize, rest: Duration) -> Arc<Self> {
        Arc::new(Self { places: max, rest, known: Mutex::default() })
    }

    /// Waits until another connection may wait.
    async fn room(self: Arc<Self>) {
        let waiting = || {
            let known = lock(&self.known);
            known.iter().filter_map(Weak::upgrade).filter(|connection| !connection.has_place()).count()
        };
        while waiting() >= WAITING_MAX {
            tokio::time::sleep(LOOK_INTERVAL / 5).await;
        }
    }

    /// A connection of `peer` that has yet to wait for its place. None: that address keeps half of all places busy
    /// already, and so many wait that those of others would soon wait behind them.
    fn queue(&self, peer: IpAddr) -> Option<Arc<Connection>> {
        let mut known = lock(&self.known);
        known.retain(|connection| connection.strong_count() > 0);
        let (mut busy, mut waiting) = (0_usize, 0_usize);
        for own in known.iter().filter_map(Weak::upgrade).filter(|other| other.peer == peer) {
            busy += usize::from(lock(&own.usage).requests > 0);
            waiting += usize::from(!own.has_place());
        }
        if busy >= self.places.div_ceil(2) && waiting >= BUSY_WAITING_MAX {
            return None;
        }
        let connection = Arc::new(Connection {
            peer,
            usage: Mutex::new(Usage { requests: 0, is_new: true, at: Instant::now() }),
            has_place: AtomicBool::new(false),
            closing: CancellationToken::new(),
        });
        known.push(Arc::downgrade(&connection));
        Some(connection)
    }

    /// Waits for a place, and makes one if it can.
    async fn admit(self: Arc<Self>, connection: Arc<Connection>) {
        while !self.look(&connection) {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Takes a place if one is free; else makes somebody give way who may.
    fn look(&self, newcomer: &Connection) -> bool {
        let known = lock(&self.known);
        let all: Vec<_> = known.iter().filter_map(Weak::upgrade).collect();
        let (placed, waiting): (Vec<_>, Vec<_>) = all.iter().partition(|connection| connection.has_place());
        let mut places_of: HashMap<IpAddr, usize> = HashMap::new();
        for connection in &placed {
            *places_of.entry(connection.peer).or_default() += 1;
        }
        let places = |peer: IpAddr| places_of.get(&peer).copied().unwrap_or_default();
        let own = places(newcomer.peer);
        if placed.len() < self.places {
            // A place that was made for an address with few of them is not for one with many.
            let is_next = waiting.iter().all(|other| places(other.peer) >= own);
            newcomer.has_place.fetch_or(is_next, Ordering::Relaxed);
            return is_next;
        }
        let leaving = placed.iter().filter(|connection| connection.closing.is_cancelled()).count();
        if leaving < waiting.len() {
            let ranked = placed.iter().filter_map(|connection| {
                let rank = self.rank(connection, places(connection.peer), own)?;
                Some((rank, connection))
            });
            if let Some((_, connection)) = ranked.min_by_key(|(rank, _)| *rank) {
                tracing::debug!(peer = %connection.peer, "closing a connection for one of {}", newcomer.peer);
                connection.closing.cancel();
            }
        }
        false
    }

    /// Who gives way first to an address with `own` places; None: not at all. First come those without a request, those
    /// who never had one before all others, unless their address has fewer places itself. Then, so that nobody shuts
    /// the others out by keeping all places busy, those of the address with most places, if it has more.
    fn rank(
        &self,
        connection: &Connection,
        places: usize,
        own: usize,
    ) -> Option<(bool, Reverse<usize>, bool, Instant)> {
        let usage = *lock(&connection.usage);
        let rests = usage.requests == 0 && usage.at.elapsed() >= self.rest;
        let may_give_way = if rests { places >= own } else { places > own.saturating_add(1) };
        if connection.closing.is_cancelled() || !may_give_way {
            return None;
        }
        Some((!rests, Reverse(if rests { 0 } else { places }), !usage.is_new, usage.at))
    }
}

/// One connection; its place is free again when the last handle is dropped.
pub(crate) struct Connection {
    peer: IpAddr,
    usage: Mutex<Usage>,
    has_place: AtomicBool,
    closing: CancellationToken,
}

#[derive(Debug, Clone, Copy)]
struct Usage {
    /// Requests in work.
    requests: usize,
    /// Whether there was none yet.
    is_new: bool,
    /// When it was opened, or the last request began or ended.
    at: Instant,
}

impl Connection {
    /// It changes only while the list of all is locked.
    fn has_place(&self) -> bool {
        self.has_place.load(Ordering::Relaxed)
    }

    fn begin(self: Arc<Self>) -> Request {
        let mut usage = lock(&self.usage);
        *usage = Usage { requests: usage.requests.saturating_add(1), is_new: false, at: Instant::now() };
        drop(usage);
        Request { connection: self }
    }
}

/// A request in work.
struct Request {
    connection: Arc<Connection>,
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut usage = lock(&self.connection.usage);
        usage.requests = usage.requests.saturating_sub(1);
        usage.at = Instant::now();
    }
}

/// Gives each new connection its copy of the router, and a part in the wait for a place.
pub(crate) struct Admission {
    connections: Arc<Connections>,
    router: Router,
    room: Option<BoxFuture<'static, ()>>,
}

impl Admission {
    /// Serves `router` on each of `connections`.
    pub(crate) fn new(connections: Arc<Connections>, router: Router) -> Self {
        Self { connections, router, room: None }
    }
}

/// The client keeps so many connections busy that it may not have another.
#[derive(Debug, thiserror::Error)]
#[error("there is no room for another connection")]
pub(crate) struct NoRoom;

impl Service<SocketAddr> for Admission {
    type Response = Admitted;
    type Error = NoRoom;
    type Future = Ready<Result<Admitted, NoRoom>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NoRoom>> {
        let connections = &self.connections;
        let room = self.room.get_or_insert_with(|| Arc::clone(connections).room().boxed());
        ready!(room.as_mut().poll(cx));
        self.room = None;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, peer: SocketAddr) -> Self::Future {
        let (router, connections) = (self.router.clone(), Arc::clone(&self.connections));
        let connection = connections.queue(peer.ip().to_canonical());
        future::ready(connection.map(|connection| Admitted { router, connections, connection }).ok_or(NoRoom))
    }
}

/// The router on one connection, whose requests it counts.
#[derive(Clone)]
pub(crate) struct Admitted {
    router: Router,
    connections: Arc<Connections>,
    connection: Arc<Connection>,
}

impl<R> Service<R> for Admitted
where
    Router: Service<R, Response = Response, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.router.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let in_work = Arc::clone(&self.connection).begin();
        let answer = self.router.call(request);
        async move {
            let answer = answer.await;
            drop(in_work);
            answer
        }
        .boxed()
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
    type Future = BoxFuture<'static, io::Result<(WatchedStream, Admitted)>>;

    /// Waits for the connection's place, so that those behind it are taken meanwhile.
    fn accept(&self, stream: TcpStream, service: Admitted) -> Self::Future {
        let silence = self.silence;
        async move {
            // Answers are small and written at once: nothing is won by waiting for more.
            stream.set_nodelay(true)?;
            Arc::clone(&service.connections).admit(Arc::clone(&service.connection)).await;
            let stream = WatchedStream {
                stream,
                silence,
                moved: Instant::now(),
                look: Box::pin(tokio::time::sleep(silence)),
                closing: Box::pin(service.connection.closing.clone().cancelled_owned()),
            };
            Ok((stream, service))
        }
        .boxed()
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

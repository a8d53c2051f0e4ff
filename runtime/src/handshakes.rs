//! TLS handshakes that fail: probes that hang up, clients that trust another CA, scanners. They are no fault of the
//! process, so they are counted, and told only to those who debug.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum_server::accept::Accept;
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::net::TcpStream;

use crate::lock::lock;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// Counts failed handshakes by reason; clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct Handshakes {
    failures: Family<ReasonLabel, Counter>,
    /// From where the process last dialled itself.
    own: Arc<Mutex<Option<SocketAddr>>>,
}

impl Handshakes {
    /// Counters that appear in `registry`.
    pub fn new(registry: &crate::metrics::Metrics) -> Self {
        let handshakes = Self::default();
        registry.register(|registry| {
            registry.register(
                "signet_tls_handshake_failures",
                "TLS handshakes that failed: the client hung up (closed), was too slow (late), or the two did not \
                 agree (tls)",
                handshakes.failures.clone(),
            );
        });
        handshakes
    }

    /// The process itself dials from this address, to see whether its listener answers. That it has no certificate of a
    /// client to show is no failure.
    pub fn expect_own(&self, address: SocketAddr) {
        *lock(&self.own) = Some(canonical(address));
    }

    fn failed(&self, client: Option<SocketAddr>, error: &io::Error) {
        if client.is_some() && client.map(canonical) == *lock(&self.own) {
            return;
        }
        let reason = match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => "closed",
            io::ErrorKind::TimedOut => "late",
            _ => "tls",
        };
        self.failures.get_or_create(&ReasonLabel { reason }).inc();
        tracing::debug!(reason, "a TLS handshake failed: {error}");
    }
}

/// An IPv4 address is the same, whichever kind of socket tells it.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// An acceptor whose failures are counted.
#[derive(Debug, Clone)]
pub(crate) struct Counted<A> {
    acceptor: A,
    handshakes: Handshakes,
}

impl<A> Counted<A> {
    pub(crate) fn new(acceptor: A, handshakes: Handshakes) -> Self {
        Self { acceptor, handshakes }
    }
}

impl<A, S> Accept<TcpStream, S> for Counted<A>
where
    A: Accept<TcpStream, S, Future: Send + 'static>,
{
    type Stream = A::Stream;
    type Service = A::Service;
    type Future = BoxFuture<'static, io::Result<(A::Stream, A::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let handshakes = self.handshakes.clone();
        let client = stream.peer_addr().ok();
        let accepting = self.acceptor.accept(stream, service);
        accepting.inspect_err(move |error| handshakes.failed(client, error)).boxed()
    }
}

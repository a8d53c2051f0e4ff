//! TLS handshakes that fail: probes that hang up, clients that trust another CA, scanners. They are no fault of the
//! process, so they are counted, and told only to those who debug.

use std::io;

use axum_server::accept::Accept;
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::net::TcpStream;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// Counts failed handshakes by reason; clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct Handshakes {
    failures: Family<ReasonLabel, Counter>,
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

    fn failed(&self, error: &io::Error) {
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
        self.acceptor.accept(stream, service).inspect_err(move |error| handshakes.failed(error)).boxed()
    }
}

//! Serves a router over HTTP, in TLS or without, and bounds what a stranger who can connect may take: how many
//! connections are open, how long one may be silent, how long a header may take, and how long a shutdown waits.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;

use crate::connections::{Admission, Connections, Watching};
use crate::handshakes::{Counted, Handshakes};
use crate::shutdown::Shutdown;

/// Most connections of one listener. API servers, kubelets and scrapers keep one or two each; so many, each with its
/// buffers, still fit in what the chart gives the smallest container.
const CONNECTIONS_MAX: usize = 256;
/// How long a connection stays although there is no room for another and it has no request, or only such whose bodies
/// do not come: long enough for an answer that was just given to leave, and for a packet that was lost to come again.
const REST_TIME_MIN: Duration = Duration::from_secs(1);
/// Longest silence on a connection, in both directions. Whoever wants to keep one open over HTTP/2 answers our pings.
const SILENCE_TIME_MAX: Duration = Duration::from_secs(60);
/// Time for a TLS handshake: two round trips.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
/// Time for a request's header, and for the next request of an HTTP/1.1 connection to begin.
const HEADER_TIME_MAX: Duration = Duration::from_secs(30);
/// Pause between pings over HTTP/2, so that a peer that is gone is noticed.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Time for the answer to one.
const PING_TIME_MAX: Duration = Duration::from_secs(20);
/// Requests at a time on one HTTP/2 connection. An API server sends all its reviews over one, and opens another when
/// that is full.
const STREAMS_MAX: u32 = 250;
/// What an HTTP/2 peer may send of one body before we have read it; 256 KiB a round trip is fast enough for a body
/// of some MiB from afar.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// The same for all bodies of a connection. It bounds what a connection can make us hold unread: with 256 connections
/// 64 MiB, and only while as many bodies are not read although nobody waits for memory to read them.
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// Most of an HTTP/1.1 request's header, and of what is read ahead of its body: 8 MiB for 256 connections, where hyper
/// alone would take 100. No API server, kubelet or scraper sends more than some KiB.
const BUFFER_BYTES_MAX: usize = 32 * 1024;

/// The bounds, which only tests change.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    connections: usize,
    rest: Duration,
    silence: Duration,
    header: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS_MAX,
            rest: REST_TIME_MIN,
            silence: SILENCE_TIME_MAX,
            header: HEADER_TIME_MAX,
        }
    }
}

/// How TLS is served.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Certificate, versions, suites and clients.
    pub config: ServerConfig,
    /// Counts handshakes that fail.
    pub handshakes: Handshakes,
}

/// Nobody looks at the counters.
impl From<ServerConfig> for Tls {
    fn from(config: ServerConfig) -> Self {
        Self { config, handshakes: Handshakes::default() }
    }
}

/// Serves `router` until `end` is requested. Then nothing new is taken, and what is in flight has `drain` to end
/// before its connection is cut. Without `tls` it is plain HTTP.
///
/// No more than 256 connections are open: a further one takes the place of one that never had an answer of success, or
/// else of one whose requests' bodies do not come, or else of one of the address that has most places; or waits while
/// all are being answered.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: std::net::TcpListener,
    tls: Option<Tls>,
    router: Router,
    end: Shutdown,
    drain: Duration,
) -> anyhow::Result<()> {
    serve_within(Bounds::default(), listener, tls, router, end, drain).await
}

/// As [`serve`], with room for another number of connections: for callers of which each keeps one open, such as the nodes
/// of a cluster.
///
/// # Errors
/// When the listener fails.
pub async fn serve_many(
    connections: NonZeroUsize,
    listener: std::net::TcpListener,
    tls: Option<Tls>,
    router: Router,
    end: Shutdown,
    drain: Duration,
) -> anyhow::Result<()> {
    let bounds = Bounds { connections: connections.get(), ..Bounds::default() };
    serve_within(bounds, listener, tls, router, end, drain).await
}

async fn serve_within(
    bounds: Bounds,
    listener: std::net::TcpListener,
    tls: Option<Tls>,
    router: Router,
    end: Shutdown,
    drain: Duration,
) -> anyhow::Result<()> {
    let handle = Handle::new();
    let server = axum_server::from_tcp(listener).context("cannot take over the listener")?;
    let server = configured(server.handle(handle.clone()), bounds);
    let connections = Connections::new(bounds.connections, bounds.rest);
    let admission = Admission::new(connections, router);
    let watching = Watching::new(bounds.silence);
    let serving = async {
        match tls {
            None => server.acceptor(watching).serve(admission).await,
            Some(tls) => {
                let Tls { config, handshakes } = tls;
                let tls = RustlsAcceptor::new(RustlsConfig::from_config(Arc::new(config)));
                let acceptor = tls.handshake_timeout(HANDSHAKE_TIME_MAX).acceptor(watching);
                server.acceptor(Counted::new(acceptor, handshakes)).serve(admission).await
            }
        }
    };
    let ending = async {
        end.requested().await;
        handle.graceful_shutdown(Some(drain));
        tokio::time::sleep(drain).await;
        handle.shutdown();
    };
    tokio::select! {
        biased;
        served = serving => served.context("the listener failed"),
        () = ending => Ok(()),
    }
}

fn configured(mut server: Server<SocketAddr>, bounds: Bounds) -> Server<SocketAddr> {
    let http = server.http_builder();
    http.http1().timer(TokioTimer::new()).header_read_timeout(bounds.header).max_buf_size(BUFFER_BYTES_MAX);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIME_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    server
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::listen;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    /// More than any of these tests takes; without a bound they would hang.
    const PATIENCE: Duration = Duration::from_secs(20);
    const BRIEF: Duration = Duration::from_millis(100);

    struct Started {
        address: SocketAddr,
        end: Shutdown,
        served: JoinHandle<anyhow::Result<()>>,
    }

    fn start(bounds: Bounds, router: Router, drain: Duration) -> Started {
        let listener = listen::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let end = Shutdown::default();
        let served = tokio::spawn(serve_within(bounds, listener, None, router, end.clone(), drain));
        Started { address, end, served }
    }

    fn quick() -> Router {
        Router::new().route("/", get(async || "here\n"))
    }

    async fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// Reads until the answer has come; fails if the connection is closed before.
    async fn answer(stream: &mut TcpStream) {
        let mut read = Vec::new();
        let answered = async {
            while !read.ends_with(b"here\n") {
                assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "closed without an answer");
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("no answer");
    }

    /// Waits until the server has closed the connection.
    async fn closed(stream: &mut TcpStream) {
        let mut rest = Vec::new();
        // A reset is as good as an end.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("still open");
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_closed() {
        let server = start(Bounds { silence: BRIEF, ..Bounds::default() }, quick(), BRIEF);
        for begun in [&b""[..], b"G", b"PRI * HTTP/2.0\r\n\r\n"] {
            closed(&mut send(server.address, begun).await).await;
        }
    }

    #[tokio::test]
    async fn a_handshake_that_fails_is_counted_by_its_reason() {
        crate::install_crypto();
        let registry = crate::metrics::Metrics::new("process", "0");
        let config = crate::tls::server_config(crate::tls::ServingCertificate::new(), &[]);
        let handshakes = Handshakes::new(&registry);
        let tls = Tls { config, handshakes: handshakes.clone() };
        let listener = listen::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Some(tls), quick(), Shutdown::default(), BRIEF));
        let mut own = send(address, b"").await;
        handshakes.expect_own(own.local_addr().unwrap());
        own.write_all(REQUEST).await.unwrap();
        closed(&mut own).await;
        drop(send(address, b"").await);
        closed(&mut send(address, REQUEST).await).await;
        let wanted = ["closed", "tls"]
            .map(|reason| format!("signet_tls_handshake_failures_total{{reason=\"{reason}\"}} 1\n"));
        let counted = async {
            while !wanted.iter().all(|line| registry.encode().unwrap().contains(line)) {
                tokio::time::sleep(BRIEF / 10).await;
            }
        };
        tokio::time::timeout(PATIENCE, counted).await.expect("not counted");
    }

    #[tokio::test]
    async fn a_header_that_is_too_long_is_refused() {
        let server = start(Bounds::default(), quick(), BRIEF);
        for (length, wanted) in [(BUFFER_BYTES_MAX, "431 "), (BUFFER_BYTES_MAX / 2, "200 ")] {
            let header = format!("GET / HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "b".repeat(length));
            let mut stream = send(server.address, header.as_bytes()).await;
            let mut read = vec![0; "HTTP/1.1 200 ".len()];
            tokio::time::timeout(PATIENCE, stream.read_exact(&mut read)).await.expect("no answer").unwrap();
            assert_eq!(String::from_utf8_lossy(&read), format!("HTTP/1.1 {wanted}"));
        }
    }

    #[tokio::test]
    async fn a_header_that_trickles_in_is_cut_off() {
        let server = start(Bounds { header: BRIEF * 3, ..Bounds::default() }, quick(), BRIEF);
        let mut stream = send(server.address, b"GET / HTTP/1.1\r\nhost: x\r\n").await;
        let trickle = async {
            while stream.write_all(b"a: b\r\n").await.is_ok() {
                tokio::time::sleep(BRIEF / 2).await;
            }
        };
        tokio::time::timeout(PATIENCE, trickle).await.expect("still open");
    }

    #[tokio::test]
    async fn a_shutdown_does_not_wait_for_what_never_ends() {
        let hanging = Router::new().route("/", get(std::future::pending::<()>));
        for begun in [&b""[..], b"G", b"GET / HTTP/1.1\r\nhost: x\r\n", REQUEST] {
            let server = start(Bounds::default(), hanging.clone(), BRIEF);
            let mut stream = send(server.address, begun).await;
            tokio::time::sleep(BRIEF).await;
            server.end.request();
            let served = tokio::time::timeout(PATIENCE, server.served).await.expect("still waiting");
            served.unwrap().unwrap();
            closed(&mut stream).await;
        }
    }

    #[tokio::test]
    async fn a_shutdown_does_not_wait_for_room_for_another_connection() {
        let hanging = Router::new().route("/", get(std::future::pending::<()>));
        let server = start(Bounds { connections: 1, ..Bounds::default() }, hanging, BRIEF);
        let _first = send(server.address, REQUEST).await;
        let _second = send(server.address, REQUEST).await;
        tokio::time::sleep(BRIEF).await;
        server.end.request();
        let served = tokio::time::timeout(PATIENCE, server.served).await.expect("still waiting");
        served.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_shutdown_lets_what_is_in_flight_end() {
        let slow = get(async || {
            tokio::time::sleep(BRIEF / 2).await;
            "here\n"
        });
        let server = start(Bounds::default(), Router::new().route("/", slow), PATIENCE);
        let mut stream = send(server.address, REQUEST).await;
        tokio::time::sleep(BRIEF / 4).await;
        server.end.request();
        answer(&mut stream).await;
        server.served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_connection_too_many_takes_the_place_of_the_one_that_rests_for_longest() {
        let bounds = Bounds { connections: 2, rest: BRIEF, ..Bounds::default() };
        let server = start(bounds, quick(), BRIEF);
        let mut resting = send(server.address, b"").await;
        let mut used = send(server.address, REQUEST).await;
        answer(&mut used).await;
        let mut third = send(server.address, REQUEST).await;
        answer(&mut third).await;
        closed(&mut resting).await;
        used.write_all(REQUEST).await.unwrap();
        answer(&mut used).await;
    }

    #[tokio::test]
    async fn a_connection_that_was_used_stays_while_there_are_strangers() {
        let bounds = Bounds { connections: 2, rest: BRIEF * 5, ..Bounds::default() };
        let server = start(bounds, quick(), BRIEF);
        let mut used = send(server.address, REQUEST).await;
        answer(&mut used).await;
        tokio::time::sleep(BRIEF * 6).await;
        let mut stranger = send(server.address, b"").await;
        let mut other = send(server.address, REQUEST).await;
        answer(&mut other).await;
        closed(&mut stranger).await;
        used.write_all(REQUEST).await.unwrap();
        answer(&mut used).await;
    }

    #[tokio::test]
    async fn requests_that_fail_all_the_time_shut_nobody_out() {
        let bounds = Bounds { connections: 3, rest: BRIEF, ..Bounds::default() };
        let server = start(bounds, quick(), BRIEF);
        let mut used = send(server.address, REQUEST).await;
        answer(&mut used).await;
        for _ in 0..2 {
            let mut stranger = TcpStream::connect(server.address).await.unwrap();
            tokio::spawn(async move {
                while stranger.write_all(b"GET /none HTTP/1.1\r\nhost: x\r\n\r\n").await.is_ok() {
                    tokio::time::sleep(BRIEF / 10).await;
                }
            });
        }
        tokio::time::sleep(BRIEF * 2).await;
        answer(&mut send(server.address, REQUEST).await).await;
        used.write_all(REQUEST).await.unwrap();
        answer(&mut used).await;
    }

    #[tokio::test]
    async fn calls_that_fail_in_their_trailers_earn_no_place() {
        let failing = get(async || {
            let trailers = [("grpc-status".parse().unwrap(), "16".parse().unwrap())].into_iter().collect();
            let body = http_body_util::Full::<axum::body::Bytes>::from("here\n");
            let body = axum::body::Body::new(body.with_trailers(std::future::ready(Some(Ok(trailers)))));
            ([("content-type", "application/grpc"), ("trailer", "grpc-status")], body)
        });
        let bounds = Bounds { connections: 2, rest: BRIEF, ..Bounds::default() };
        let server = start(bounds, quick().route("/failing", failing), BRIEF);
        let mut used = send(server.address, REQUEST).await;
        answer(&mut used).await;
        let mut failed =
            send(server.address, b"GET /failing HTTP/1.1\r\nhost: x\r\nte: trailers\r\n\r\n").await;
        let mut head = [0; "HTTP/1.1 200 ".len()];
        tokio::time::timeout(PATIENCE, failed.read_exact(&mut head)).await.expect("no answer").unwrap();
        tokio::time::sleep(BRIEF).await;
        let mut third = send(server.address, REQUEST).await;
        answer(&mut third).await;
        closed(&mut failed).await;
        used.write_all(REQUEST).await.unwrap();
        answer(&mut used).await;
    }

    /// The beginning of a request whose body does not come whole.
    const STALLED: &[u8] = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{";

    /// Answers once it has the whole body.
    fn reading() -> Router {
        Router::new().route("/", get(async || "here\n").post(async |_: axum::body::Bytes| "here\n"))
    }

    #[tokio::test]
    async fn bodies_that_stall_shut_nobody_out() {
        const SLOW: usize = 300;
        let [begun, release] = [(); 2].map(|()| Arc::new(Notify::new()));
        let (beginning, released) = (Arc::clone(&begun), Arc::clone(&release));
        let slow = axum::routing::post(async move |_: axum::body::Bytes| {
            beginning.notify_one();
            released.notified().await;
            "here\n"
        });
        let server = start(Bounds::default(), reading().route("/slow", slow), BRIEF);
        let mut in_flight =
            send(server.address, b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n{").await;
        begun.notified().await;
        let mut strangers = Vec::new();
        for _ in 0..SLOW {
            strangers.push(send(server.address, STALLED).await);
        }
        let started = std::time::Instant::now();
        let mut review = send(server.address, STALLED).await;
        review.write_all(&[b' '; 999]).await.unwrap();
        answer(&mut review).await;
        assert!(started.elapsed() < Duration::from_secs(2), "it took {:?}", started.elapsed());
        release.notify_one();
        answer(&mut in_flight).await;
    }

    #[tokio::test]
    async fn a_body_that_stalls_gives_way_before_a_connection_that_rests() {
        let bounds = Bounds { connections: 3, rest: BRIEF, ..Bounds::default() };
        let server = start(bounds, reading(), BRIEF);
        let mut used = send(server.address, REQUEST).await;
        answer(&mut used).await;
        let mut first = send(server.address, STALLED).await;
        tokio::time::sleep(BRIEF / 2).await;
        let mut second = send(server.address, STALLED).await;
        tokio::time::sleep(BRIEF * 2).await;
        let mut third = send(server.address, REQUEST).await;
        answer(&mut third).await;
        closed(&mut first).await;
        second.write_all(&[b' '; 999]).await.unwrap();
        answer(&mut second).await;
        used.write_all(REQUEST).await.unwrap();
        answer(&mut used).await;
    }

    #[tokio::test]
    async fn a_body_that_comes_at_a_fair_pace_keeps_its_place() {
        const PIECES: usize = 8;
        let bounds = Bounds { connections: 1, rest: BRIEF, ..Bounds::default() };
        let server = start(bounds, reading(), BRIEF);
        let piece = [b' '; 8 * 1024];
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", PIECES * piece.len());
        let mut slow = send(server.address, head.as_bytes()).await;
        let mut other = TcpStream::connect(server.address).await.unwrap();
        other.write_all(REQUEST).await.unwrap();
        for _ in 0..PIECES {
            slow.write_all(&piece).await.unwrap();
            tokio::time::sleep(BRIEF / 2).await;
        }
        answer(&mut slow).await;
        answer(&mut other).await;
    }

    #[tokio::test]
    async fn a_connection_with_a_request_keeps_its_place() {
        let [begun, release] = [(); 2].map(|()| Arc::new(Notify::new()));
        let (beginning, released) = (Arc::clone(&begun), Arc::clone(&release));
        let slow = get(async move || {
            beginning.notify_one();
            released.notified().await;
            "here\n"
        });
        let bounds = Bounds { connections: 1, rest: BRIEF, ..Bounds::default() };
        let server = start(bounds, Router::new().route("/", slow), BRIEF);
        let mut first = send(server.address, REQUEST).await;
        begun.notified().await;
        let mut second = send(server.address, REQUEST).await;
        let early = tokio::time::timeout(BRIEF * 3, second.read_u8()).await;
        assert!(early.is_err(), "there was no room for it");
        release.notify_one();
        answer(&mut first).await;
        release.notify_one();
        answer(&mut second).await;
    }
}

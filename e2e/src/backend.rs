//! A server that the API server calls: a conversion webhook and an aggregated API, served by the test itself.
//!
//! It listens in the network of the cluster's control plane and is announced by a Service without a selector. Each call
//! is a connection of its own, so that none escapes the look at the certificate, and handshakes are counted.

mod answers;
mod objects;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::authority::Pair;
use crate::netns::Network;
pub use objects::Api;

/// How long a client may take to shake hands and to send its request.
const ASKED_WITHIN: Duration = Duration::from_secs(20);

/// Longest request: a review of some small objects.
const BODY_MAX: usize = 1 << 20;

/// A server that runs until this value is dropped.
pub struct Backend {
    /// Where it listens, in the network that it was started in.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    /// Aborted with this value.
    _accepting: JoinSet<()>,
}

/// What has become of the connections so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Handshakes that both sides were content with.
    pub handshakes: usize,
    /// Reviews of objects to convert that were answered.
    pub conversions: usize,
    /// Lists of the aggregated API that were answered.
    pub lists: usize,
    /// Why handshakes failed, in order.
    pub failures: Vec<String>,
}

struct Shared {
    api: Api,
    serving: Mutex<TlsAcceptor>,
    tally: Mutex<Tally>,
}

impl Backend {
    /// Listens on a free port of `ip` and proves itself with `pair`. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// When the network cannot be entered, or the pair is unusable.
    pub fn start(network: &Network, ip: IpAddr, api: Api, pair: &Pair) -> anyhow::Result<Self> {
        let listener =
            network.listen(SocketAddr::new(ip, 0)).context("failed to listen for the API server")?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let serving = Mutex::new(acceptor(pair)?);
        let shared = Arc::new(Shared { api, serving, tally: Mutex::default() });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, _accepting: accepting })
    }

    /// Proves itself with `pair` to those who connect from now on.
    ///
    /// # Errors
    /// When the pair is unusable.
    pub fn serve_with(&self, pair: &Pair) -> anyhow::Result<()> {
        *lock(&self.shared.serving) = acceptor(pair)?;
        Ok(())
    }

    /// What has become of the connections so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        lock(&self.shared.tally).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// TLS without tickets: who comes again looks at the certificate again.
fn acceptor(pair: &Pair) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.context("the server's certificate is not PEM")?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).context("the server's key is not PEM")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("the server's key is not that of its certificate")?;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => drop(connections.spawn(serve(socket, Arc::clone(&shared)))),
                Err(error) => return shared.fail(format!("nobody is listened to any more: {error}")),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    let Some(stream) = shared.shake_hands(socket).await else { return };
    let answer = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.answer(request).await) }
    });
    let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), answer);
    // A call that is cut off fails at its other end, and is counted there.
    let _ = tokio::time::timeout(ASKED_WITHIN, connection).await;
}

impl Shared {
    async fn shake_hands(&self, socket: TcpStream) -> Option<TlsStream<TcpStream>> {
        let acceptor = lock(&self.serving).clone();
        match tokio::time::timeout(ASKED_WITHIN, acceptor.accept(socket)).await {
            Ok(Ok(stream)) => {
                lock(&self.tally).handshakes += 1;
                return Some(stream);
            }
            Ok(Err(error)) => self.fail(error.to_string()),
            Err(_) => self.fail("the client did not finish its handshake".to_owned()),
        }
        None
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = match Limited::new(body, BODY_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return response(&answers::bad_request(&error.to_string())),
        };
        let answer = answers::answer(&self.api, &head.method, head.uri.path(), &body);
        let mut tally = lock(&self.tally);
        match answer.what {
            answers::What::Conversion => tally.conversions += 1,
            answers::What::List => tally.lists += 1,
            answers::What::Other => {}
        }
        drop(tally);
        response(&answer)
    }

    fn fail(&self, why: String) {
        lock(&self.tally).failures.push(why);
    }
}

fn response(answer: &answers::Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(answer.body.to_string()));
    *response.status_mut() = answer.status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::authority::Authority;

    const NAME: &str = "backend.x.svc";

    fn start() -> (Backend, Authority) {
        let (ca, pair) = Authority::with_server("one", &[NAME.to_owned()]).unwrap();
        let api = Api::in_namespace("x");
        let backend = Backend::start(&Network::machine(), [127, 0, 0, 1].into(), api, &pair).unwrap();
        (backend, ca)
    }

    /// Asks for the resources of the aggregated API, trusting `ca` alone.
    async fn ask(backend: &Backend, ca: &Authority) -> anyhow::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.certificate.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = Network::machine().connect_async(backend.address).await?;
        let mut stream = TlsConnector::from(Arc::new(config)).connect(NAME.try_into()?, socket).await?;
        let path = format!("/apis/{}/v1", backend.shared.api.aggregated_group());
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_client_that_trusts_another_ca_is_counted_on_both_sides() {
        let (backend, ca) = start();
        let (other, pair) = Authority::with_server("two", &[NAME.to_owned()]).unwrap();
        ask(&backend, &other).await.unwrap_err();
        backend.serve_with(&pair).unwrap();
        ask(&backend, &ca).await.unwrap_err();
        ask(&backend, &other).await.unwrap();
        let tally = backend.tally();
        assert_eq!((tally.handshakes, tally.failures.len()), (1, 2), "{tally:?}");
        assert!(tally.failures[0].contains("alert"), "{tally:?}");
    }

    #[tokio::test]
    async fn each_call_is_a_handshake_and_ends_its_connection() {
        let (backend, ca) = start();
        for _ in 0..3 {
            // It is read to the end of the connection, which the server has to bring about.
            let answer = ask(&backend, &ca).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(answer.contains("APIResourceList"), "{answer}");
        }
        assert_eq!(backend.tally().handshakes, 3);
    }
}

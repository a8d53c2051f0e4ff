//! Where a serving certificate comes from: a CA of the program's own, or two files.

mod files;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use jiff::Timestamp;
use kube::Client;
use runtime::args::ListenAddress;
use runtime::listen;
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use runtime::tls::{self, ServingCertificate};
use tokio::sync::watch;

use self::files::FileSource;
use crate::config::{Source, Tls};
use crate::configurations::{Configuration, Injector, Trusts};
use crate::metrics::Metrics;
use crate::renewer::{Outlet, Renewer, Served};

/// Protocols offered in the handshake; the API server takes the first.
pub const ALPN: [&str; 2] = ["h2", "http/1.1"];

/// What keeping a certificate takes, whatever its source.
pub struct Keeping {
    /// Reads and writes the Secret.
    pub client: Client,
    /// Who has to trust a CA before it is served under.
    pub trusts: Trusts,
    /// Counts.
    pub metrics: Metrics,
    /// Ends it.
    pub shutdown: Shutdown,
}

impl Keeping {
    /// Keeps a certificate from `source`, as one of `tasks`, until shutdown.
    ///
    /// # Errors
    /// When the CA would not live long enough.
    pub fn start(
        &self,
        tasks: &mut Tasks,
        name: &'static str,
        source: Source,
    ) -> anyhow::Result<(Arc<ServingCertificate>, watch::Receiver<Option<Served>>)> {
        let certificate = ServingCertificate::new();
        let (sender, served) = watch::channel(None);
        let outlet = Outlet {
            certificate: Arc::clone(&certificate),
            served: sender,
            metrics: self.metrics.clone(),
            clock: Arc::new(Timestamp::now),
        };
        let shutdown = self.shutdown.clone();
        match source {
            Source::Dynamic(settings) => {
                let renewer = Renewer::new(settings, self.client.clone(), outlet, self.trusts.clone())?;
                tasks.spawn_infallible(name, renewer.run(shutdown));
            }
            Source::Files { certificate, key } => {
                let source = FileSource::new(certificate, key, outlet);
                tasks.spawn_infallible(name, source.run(shutdown));
            }
        }
        Ok((certificate, served))
    }

    /// Adds the CA of what is `served` to a configuration, as one of `tasks`, until shutdown.
    pub fn inject<K>(&self, tasks: &mut Tasks, name: String, served: &watch::Receiver<Option<Served>>)
    where
        K: Configuration + kube::Resource<Scope = k8s_openapi::ClusterResourceScope>,
    {
        let (client, trusts) = (self.client.clone(), self.trusts.clone());
        let injector = Injector::<K>::new(name, client, served.clone(), trusts, self.metrics.clone());
        tasks.spawn_infallible(K::KIND, injector.run(self.shutdown.clone()));
    }
}

/// Metrics over TLS.
pub struct MetricsServer {
    /// Where they are served.
    pub address: ListenAddress,
    /// How.
    pub tls: Tls,
    /// What answers.
    pub router: Router,
    /// Ends the serving; a request in flight has `grace` then.
    pub end: Shutdown,
    /// Time for that.
    pub grace: Duration,
}

impl MetricsServer {
    /// Serves them. Their certificate is kept, until `shutdown`, like any other one; whoever scrapes them learns of its CA
    /// from the Secret, so an overlap is there for as long as cainjectors get.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the parameters contradict each other.
    pub fn start(self, tasks: &mut Tasks, client: Client, shutdown: Shutdown) -> anyhow::Result<()> {
        let Self { address, tls, router, end, grace } = self;
        let Some(address) = address.socket() else { return Ok(()) };
        let parameters = tls.parameters();
        // No configuration has to trust it, and figures about certificates are those of the program's main one.
        let (trusts, metrics) = (Trusts::of_kinds([]), Metrics::default());
        let keeping = Keeping { client, trusts, metrics, shutdown };
        let (certificate, _) = keeping.start(tasks, "metrics certificate renewal", tls.source)?;
        let tls = tls::server_config_with(certificate, &ALPN, &parameters);
        let tls = tls.context("cannot serve metrics over TLS")?;
        let listener =
            listen::bind(address).with_context(|| format!("cannot listen on {address} for metrics"))?;
        tracing::info!(name = "metrics", address = %listener.local_addr()?, "listening");
        tasks.spawn("metrics", runtime::server::serve(listener, Some(tls.into()), router, end, grace));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::path::Path;

    use axum::routing::get;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::config::{Found, Program, TlsSettings};
    use crate::fake;

    const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

    /// What is answered to a plain request; nothing where the connection is closed.
    async fn plain(address: SocketAddr) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(REQUEST).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    async fn scrape(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<String> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
        stream.write_all(REQUEST).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn files(folder: &Path) -> (TlsSettings, Arc<ClientConfig>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let [certificate, key] = ["tls.crt", "tls.key"].map(|name| folder.join(name));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let settings = TlsSettings {
            certificate_file: Some(certificate),
            key_file: Some(key),
            ..TlsSettings::default()
        };
        (settings, Arc::new(config))
    }

    #[tokio::test]
    async fn metrics_over_tls_are_not_served_in_the_clear() {
        runtime::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let (settings, trusting) = files(folder.path());
        let program = Program { name: "example", manager: "example" };
        let tls = Found::default().tls(program, "metricsTLSConfig", "metrics-", settings).unwrap();
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let (router, end) = (Router::new().route("/metrics", get("figures")), Shutdown::default());
        let mut tasks = Tasks::new(end.clone());
        let address = ListenAddress::On(free);
        let server = MetricsServer { address, tls, router, end: end.clone(), grace: Duration::from_secs(1) };
        server.start(&mut tasks, fake::silent(), end.clone()).unwrap();
        let scraped = async {
            loop {
                // Until the files have been read there is no certificate.
                if let Ok(answer) = scrape(free, &trusting).await {
                    break answer;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let answer = tokio::time::timeout(Duration::from_secs(20), scraped).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("figures"), "{answer}");
        let answer = plain(free).await.unwrap_or_default();
        assert!(!answer.contains("figures"), "{answer}");
        end.request();
        tasks.run(Duration::from_secs(5)).await.unwrap();
    }
}

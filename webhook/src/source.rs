//! Where a serving certificate comes from: a CA of the webhook's own, or two files.

mod files;

use std::sync::Arc;

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
use crate::clock::Clock;
use crate::config::{self, Source, Tls};
use crate::configurations::{Configuration, Injector, Trusts};
use crate::metrics::Metrics;
use crate::renewer::{Renewer, Served};

/// What keeping a certificate takes, whatever its source.
pub(crate) struct Keeping<'a> {
    pub(crate) client: &'a Client,
    /// Who has to trust a CA before it is served under.
    pub(crate) trusts: &'a Trusts,
    pub(crate) metrics: &'a Metrics,
    pub(crate) shutdown: &'a Shutdown,
}

impl Keeping<'_> {
    /// Keeps a certificate from `source`, as one of `tasks`, until shutdown.
    ///
    /// # Errors
    /// When the CA would not live long enough.
    pub(crate) fn start(
        &self,
        tasks: &mut Tasks,
        name: &'static str,
        source: Source,
    ) -> anyhow::Result<(Arc<ServingCertificate>, watch::Receiver<Option<Served>>)> {
        let certificate = ServingCertificate::new();
        let (sender, served) = watch::channel(None);
        let clock: Clock = Arc::new(Timestamp::now);
        let (kept, metrics, shutdown) =
            (Arc::clone(&certificate), self.metrics.clone(), self.shutdown.clone());
        match source {
            Source::Dynamic(settings) => {
                let (client, trusts) = (self.client.clone(), self.trusts.clone());
                let renewer = Renewer::new(settings, client, kept, sender, trusts, metrics, clock)?;
                crate::spawn(tasks, name, renewer.run(shutdown));
            }
            Source::Files { certificate, key } => {
                let source = FileSource::new(certificate, key, kept, sender, metrics, clock);
                crate::spawn(tasks, name, source.run(shutdown));
            }
        }
        Ok((certificate, served))
    }

    /// Adds the CA of what is `served` to a configuration, as one of `tasks`, until shutdown.
    pub(crate) fn inject<K>(&self, tasks: &mut Tasks, name: String, served: &watch::Receiver<Option<Served>>)
    where
        K: Configuration + kube::Resource<Scope = k8s_openapi::ClusterResourceScope>,
    {
        let (client, trusts) = (self.client.clone(), self.trusts.clone());
        let injector = Injector::<K>::new(name, client, served.clone(), trusts, self.metrics.clone());
        crate::spawn(tasks, K::KIND, injector.run(self.shutdown.clone()));
    }

    /// Serves metrics over TLS until `end`. Their certificate is kept like the other one; whoever scrapes them learns of
    /// its CA from the Secret, so an overlap is there for as long as cainjectors get.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the parameters contradict each other.
    pub(crate) fn serve_metrics(
        &self,
        tasks: &mut Tasks,
        address: ListenAddress,
        tls: Tls,
        router: Router,
        end: &Shutdown,
    ) -> anyhow::Result<()> {
        let Some(address) = address.socket() else { return Ok(()) };
        let parameters = config::parameters(&tls, None)?;
        // Figures about certificates are those of the reviews'.
        let unseen = Metrics::new(&runtime::metrics::Metrics::new("webhook", env!("CARGO_PKG_VERSION")));
        let keeping = Keeping { trusts: &Trusts::of_kinds([]), metrics: &unseen, ..*self };
        let (certificate, _) = keeping.start(tasks, "metrics certificate renewal", tls.source)?;
        let tls = tls::server_config_with(certificate, &crate::ALPN, &parameters);
        let tls = tls.context("cannot serve metrics over TLS")?;
        let listener =
            listen::bind(address).with_context(|| format!("cannot listen on {address} for metrics"))?;
        tracing::info!(name = "metrics", address = %listener.local_addr()?, "listening");
        let serving =
            runtime::server::serve(listener, Some(tls.into()), router, end.clone(), crate::END_TIME_MAX);
        tasks.spawn("metrics", serving);
        Ok(())
    }
}

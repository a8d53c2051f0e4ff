//! The admission webhook: judges objects of the cert-manager.io API by the rule table, and stamps CertificateRequests
//! with who asked.
//!
//! A review's way: [`server`] takes it in, [`admission`] reads it, decides without asking anybody and writes the answer;
//! [`approval`] asks the API server about the right to approve.
//!
//! [`linter`] judges files by the same rules, without a cluster.
//!
//! What makes calls possible: [`serving`] keeps CA and certificate in place and makes the API server trust them, [`dial`]
//! tries them out.

pub mod approval;
pub mod args;
pub mod body;
pub mod cluster;
pub mod command;
pub mod config;
pub mod dial;
pub mod judge;
pub mod linter;
pub mod metrics;
pub mod server;
mod skew;

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::Client;
use runtime::alive::Alive;
use runtime::args::ListenAddress;
use runtime::config::Text;
use runtime::handshakes::Handshakes;
use runtime::readiness::Readiness;
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use runtime::tls;
use runtime::{admin, listen};
use serving::Trust;
use serving::config::Source;
use serving::configurations::{Configuration, Trusts};
use serving::renewer::Served;
use serving::source::{ALPN, Keeping, MetricsServer};
use tokio::sync::watch;

pub use args::Args;
pub use command::Command;

use crate::approval::ClusterAuthorizer;
use crate::args::ConfigurationArgs;
use crate::cluster::{ClusterMetrics, Index};
use crate::config::Config;
use crate::dial::Dialer;
use crate::judge::Judge;
use crate::metrics::{ApprovalMetrics, Metrics};
use crate::server::Service;
use crate::skew::Skew;

/// Time for requests in flight after the drain period: what a review may take, and time to send its answer.
const IN_FLIGHT_TIME_MAX: Duration = server::REVIEW_TIME_MAX.saturating_add(Duration::from_secs(1));
/// Time for everything else to end.
const END_TIME_MAX: Duration = Duration::from_secs(2);

/// Runs the webhook until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, or a part of it ends unasked.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let config = Config::load(args)?;
    runtime::log::init(&config.logging);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let agent = concat!("signet-webhook/", env!("CARGO_PKG_VERSION"));
    let client = runtime::client::connect(&config.kubernetes, agent).await?;
    serve(config, client, shutdown).await
}

/// Runs the webhook with a given client until shutdown is requested.
///
/// # Errors
/// As [`run`].
pub async fn serve(config: Config, client: Client, shutdown: Shutdown) -> anyhow::Result<()> {
    let Config { secure_port, listen_host, healthz_port, shutdown_drain_period, .. } = config;
    let registry = runtime::metrics::Metrics::new("webhook", env!("CARGO_PKG_VERSION"));
    let (metrics, handshakes) = (Metrics::new(&registry), Handshakes::new(&registry));
    let readiness = Readiness::default();
    // Reviews, probes and metrics are served for a while after the first sign of shutdown.
    let (drained, mut tasks) = (Shutdown::default(), Tasks::new(shutdown.clone()));

    let host = listen_host.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
    let address = SocketAddr::new(host, secure_port);
    let listener =
        listen::bind(address).with_context(|| format!("cannot listen on {address} for reviews"))?;
    let address = listener.local_addr().context("cannot tell the address of the listener")?;
    tracing::info!(%address, "listening for reviews");
    let probes = ListenAddress::On(SocketAddr::new(host, healthz_port));
    let alive = Alive::default();
    tasks.spawn("heart", alive.heart(drained.clone()));
    admin::spawn_probes(&mut tasks, probes, admin::probes(readiness.clone(), alive), &drained)?;

    let own = OwnConfigurations::of(&config.serving.source, config.configurations);
    let trusts = Trusts::of_kinds(own.kinds());
    let keeping = Keeping {
        client: client.clone(),
        trusts: trusts.clone(),
        metrics: serving::metrics::Metrics::new(&registry),
        shutdown: shutdown.clone(),
    };
    let parameters = config::parameters(&config.serving, config.clients.as_ref())?;
    let (certificate, served) = keeping.start(&mut tasks, "certificate renewal", config.serving.source)?;
    let (router, metrics_address) = (admin::metrics(registry.clone()), config.metrics_listen_address);
    match config.metrics_serving {
        None => admin::spawn(&mut tasks, "metrics", metrics_address, router, &drained)?,
        Some(tls) => {
            let (end, grace) = (drained.clone(), END_TIME_MAX);
            let server = MetricsServer { address: metrics_address, tls, router, end, grace };
            server.start(&mut tasks, client.clone(), shutdown.clone())?;
        }
    }

    let dialer = Dialer::new(address, handshakes.clone());
    tasks.spawn_infallible("self-dial", dialer.clone().run(served.clone(), shutdown.clone()));
    let skew = Skew::new(Arc::new(Timestamp::now));
    tasks.spawn_infallible("API server's time", skew.clone().follow(client.clone(), shutdown.clone()));
    watch_readiness(&readiness, &served, dialer, skew, &trusts, own.kinds());
    own.inject(&mut tasks, &keeping, &served);

    let cluster = config.cluster_warnings.then(|| {
        let index = Index::new();
        cluster::watch(&mut tasks, &client, &index, &ClusterMetrics::new(&registry), &shutdown);
        index as Arc<dyn rules::Cluster>
    });
    let (rules, forbids_only, grants) = (config.rules, config.forbids_only, config.grants);
    let judge = Judge { settings: rules, cluster, forbids_only, grants };
    let authorizer = Arc::new(ClusterAuthorizer::new(client.clone(), ApprovalMetrics::new(&registry)));
    let router = server::router(&Service::new(metrics.clone(), authorizer, judge, shutdown.clone()));
    let tls = tls::server_config_with(certificate, &ALPN, &parameters).context("cannot serve TLS")?;
    let tls = runtime::server::Tls { config: tls, handshakes };
    tasks.spawn("listener", take_calls(served, listener, tls, router, drained.clone()));
    tasks.tell(readiness.clone());
    let drain = drain(shutdown.clone(), readiness, shutdown_drain_period, drained);
    tasks.spawn_infallible("drain", drain);
    tasks.run(shutdown_drain_period + IN_FLIGHT_TIME_MAX + END_TIME_MAX).await
}

/// Serves until `end`, from the first certificate on.
///
/// Who connects before that waits in the listener's queue for a moment, instead of being told that there is no
/// certificate: after a sudden death the container runs again before its node has told that it was gone, so API servers
/// still call it.
async fn take_calls(
    mut served: watch::Receiver<Option<Served>>,
    listener: std::net::TcpListener,
    tls: runtime::server::Tls,
    router: Router,
    end: Shutdown,
) -> anyhow::Result<()> {
    let made = async {
        if served.wait_for(Option::is_some).await.is_err() {
            // Nobody makes one any more, and whoever was to do so says why.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = made => {}
        () = end.requested() => return Ok(()),
    }
    runtime::server::serve(listener, Some(tls), router, end, IN_FLIGHT_TIME_MAX).await
}

/// Unready at once, served a while longer, then no new connections.
async fn drain(shutdown: Shutdown, readiness: Readiness, period: Duration, drained: Shutdown) {
    shutdown.requested().await;
    readiness.drain();
    tokio::time::sleep(period).await;
    drained.request();
}

/// The webhook's own configurations, by name; none of a kind that somebody else takes care of.
struct OwnConfigurations {
    validating: Option<String>,
    mutating: Option<String>,
}

impl OwnConfigurations {
    /// Those that `args` name, or else those that are called like the Service in front of us.
    fn of(source: &Source, args: ConfigurationArgs) -> Self {
        // An operator's certificate comes from an operator's CA, which others have to make callers trust: nothing is
        // written then, but those that are named say under which names we are called.
        let service_name = source.service_name();
        Self {
            validating: Text::of(args.validating_configuration_name).or_else(|| service_name.clone()),
            mutating: Text::of(args.mutating_configuration_name).or(service_name),
        }
    }

    fn kinds(&self) -> impl Iterator<Item = &'static str> + use<> {
        let validating = self.validating.as_ref().map(|_| ValidatingWebhookConfiguration::KIND);
        let mutating = self.mutating.as_ref().map(|_| MutatingWebhookConfiguration::KIND);
        validating.into_iter().chain(mutating)
    }

    /// Adds the CA to them, where it is ours, and looks at them, until shutdown.
    fn inject(self, tasks: &mut Tasks, keeping: &Keeping, served: &watch::Receiver<Option<Served>>) {
        if let Some(name) = self.validating {
            keeping.inject::<ValidatingWebhookConfiguration>(tasks, name, served);
        }
        if let Some(name) = self.mutating {
            keeping.inject::<MutatingWebhookConfiguration>(tasks, name, served);
        }
    }
}

/// Ready means that a call would get through.
fn watch_readiness(
    readiness: &Readiness,
    served: &watch::Receiver<Option<Served>>,
    dialer: Dialer,
    skew: Skew,
    trusts: &Trusts,
    kinds: impl Iterator<Item = &'static str>,
) {
    let now_served = served.clone();
    readiness.check("certificate", move || match &*now_served.borrow() {
        None => Err("not made yet".to_owned()),
        Some(served) => served.check(Timestamp::now()),
    });
    readiness.check("listener", move || dialer.outcome());
    let now_served = served.clone();
    readiness.check_of_others("clock", move || {
        let (ours, theirs) = (Timestamp::now(), skew.server_time());
        let Some(Err(reason)) = now_served.borrow().as_ref().map(|served| served.check(theirs)) else {
            return Ok(());
        };
        Err(format!(
            "the API server's shows {theirs:.0} and this node's {ours:.0}, so that for the former the certificate is \
             {reason}; set the clocks"
        ))
    });
    for kind in kinds {
        let (served, trusts) = (served.clone(), trusts.clone());
        readiness.check_of_others(kind, move || {
            let served = served.borrow();
            let (Some(served), Some(names)) = (&*served, trusts.names(kind)) else {
                return Err("not looked at yet".to_owned());
            };
            match served.ca.as_ref().map(|ca| trusts.get(kind, ca)) {
                Some(Trust::Unknown) => Err("not looked at yet".to_owned()),
                Some(Trust::Missing) => Err("does not trust the CA yet".to_owned()),
                // Without a known CA the trust is not ours to see to.
                Some(Trust::NotOurs | Trust::Present) | None => served.check_names(&names),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use http::Response;
    use rustls::pki_types::ServerName;
    use serde_json::json;
    use serving::configurations::Wanted;
    use serving::{CA_LIFETIME, Leaf, LeafTerms};

    use super::*;

    #[test]
    fn the_chart_gives_the_pod_longer_than_its_drain_takes() {
        let args = Args::parse_from(["signet-webhook"]);
        let drain = args.shutdown_drain_period + IN_FLIGHT_TIME_MAX + END_TIME_MAX;
        let template = include_str!("../../manifests/chart/templates/webhook.yaml");
        let mut lines = template.lines().map(str::trim);
        let grace = lines.find_map(|line| line.strip_prefix("terminationGracePeriodSeconds: ")).unwrap();
        assert!(drain < Duration::from_secs(grace.parse().unwrap()), "{drain:?} and {grace} s");
    }

    /// What readiness says about the validating configuration, whose webhook is the Service webhook.ns, while a
    /// certificate for `name` is served, from files or by a CA that the configuration trusts.
    async fn told(name: &'static str, is_of_files: bool) -> String {
        let now = Timestamp::now();
        let authority = serving::keeping::new_ca(CA_LIFETIME, now).unwrap();
        let ca = authority.certificate().clone();
        let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": "own"},
            "kind": ValidatingWebhookConfiguration::KIND, "webhooks": [{"name": "a.test", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "clientConfig": {"service": {"name": "webhook", "namespace": "ns"},
            "caBundle": k8s_openapi::ByteString(ca.to_pem().into_bytes())}}]});
        let client = runtime::testing::client(move |_| {
            let answer = configuration.to_string();
            async move { Response::new(answer.into_bytes().into()) }
        });
        let name = ServerName::try_from(name).unwrap();
        let terms = LeafTerms { names: std::slice::from_ref(&name), lifetime: CA_LIFETIME / 2, replica: "a" };
        let certificate = serving::new_leaf(&authority, terms, now).unwrap().certificate;
        let ca = (!is_of_files).then_some(ca);
        let (_sender, served) =
            watch::channel(Some(Served { certificate, name, ca, wanted: Wanted::default() }));
        let own = OwnConfigurations { validating: Some("own".to_owned()), mutating: None };
        let (trusts, shutdown) = (Trusts::of_kinds(own.kinds()), Shutdown::default());
        let readiness = Readiness::default();
        let dialer = Dialer::new(([127, 0, 0, 1], 1).into(), Handshakes::default());
        let skew = Skew::new(Arc::new(Timestamp::now));
        watch_readiness(&readiness, &served, dialer, skew, &trusts, own.kinds());
        let mut tasks = Tasks::new(shutdown.clone());
        let metrics = serving::metrics::Metrics::default();
        own.inject(&mut tasks, &Keeping { client, trusts, metrics, shutdown }, &served);
        loop {
            let line = readiness.report().lines.pop().unwrap();
            if !line.ends_with("not looked at yet") {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_certificate_that_is_not_for_the_name_of_the_service_is_not_ready() {
        let kind = ValidatingWebhookConfiguration::KIND;
        let wrong = format!(
            "[-] {kind}: calls webhook.ns.svc, and the certificate is not for that name; add it to \
             --dynamic-serving-dns-names"
        );
        assert_eq!(told("other.ns.svc", false).await, wrong);
        let cure = told("webhook", true).await;
        assert!(cure.ends_with("is not for that name; put one that is into the files"), "{cure}");
        for is_of_files in [false, true] {
            assert_eq!(told("webhook.ns.svc", is_of_files).await, format!("[+] {kind} ok"));
        }
    }

    #[tokio::test]
    async fn a_call_that_comes_before_the_certificate_waits_for_it() {
        runtime::install_crypto();
        let listener = listen::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let (pair, (sender, served)) = (tls::ServingCertificate::new(), watch::channel(None));
        let tls = tls::server_config(Arc::clone(&pair), &ALPN).into();
        let end = Shutdown::default();
        let serving = tokio::spawn(take_calls(served, listener, tls, Router::new(), end.clone()));

        let now = Timestamp::now();
        let authority = serving::keeping::new_ca(CA_LIFETIME, now).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.certificate().der().to_vec().into()).unwrap();
        let trusting = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("webhook.ns.svc").unwrap();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(trusting));
        let mut call = std::pin::pin!(connector.connect(name.clone(), stream));
        let early = tokio::time::timeout(Duration::from_millis(100), &mut call).await;
        assert!(early.is_err(), "it was answered: {:?}", early.map(|answer| answer.map(drop)));

        let terms = LeafTerms { names: std::slice::from_ref(&name), lifetime: CA_LIFETIME / 2, replica: "a" };
        let Leaf { chain, key, certificate, .. } = serving::new_leaf(&authority, terms, now).unwrap();
        pair.set(chain, &key).unwrap();
        sender.send_replace(Some(Served { certificate, name, ca: None, wanted: Wanted::default() }));
        tokio::time::timeout(Duration::from_secs(20), call).await.unwrap().unwrap();
        end.request();
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_end_before_the_certificate_is_an_end() {
        let listener = listen::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let tls = tls::server_config(tls::ServingCertificate::new(), &ALPN).into();
        let (sender, served) = watch::channel(None);
        drop(sender);
        let end = Shutdown::default();
        end.request();
        take_calls(served, listener, tls, Router::new(), end).await.unwrap();
    }

    #[tokio::test]
    async fn health_does_not_depend_on_the_configurations() {
        let (readiness, kind) = (Readiness::default(), ValidatingWebhookConfiguration::KIND);
        let (_sender, served) = watch::channel(None);
        let dialer = Dialer::new(([127, 0, 0, 1], 1).into(), Handshakes::default());
        let (skew, trusts) = (Skew::new(Arc::new(Timestamp::now)), Trusts::of_kinds([kind]));
        watch_readiness(&readiness, &served, dialer, skew, &trusts, [kind].into_iter());
        let own = ["[-] certificate: not made yet".to_owned(), "[-] listener: not dialled yet".to_owned()];
        assert_eq!(readiness.health().lines, own);
        let all = readiness.report().lines;
        assert_eq!(all.last().unwrap(), "[-] ValidatingWebhookConfiguration: not looked at yet");
    }
}

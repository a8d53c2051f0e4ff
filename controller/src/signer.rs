//! The signer service `signet.signer.v1`: nodes ask it for signatures, so that they need no key of a CA.
//!
//! [`gate`] takes a call's place and its body; [`service`] checks it in this order: the driver's token, the pod's token,
//! both pods, the request, the name policy, the issuer. The API server reviews tokens ([`tokens`], [`review`]); pods and Services are watched
//! ([`catalogue`]), so that a warm call costs no API call at all. Nothing is stored: every replica answers, whoever
//! leads. The service has a CA of its own, which [`publish`] tells drivers.

pub mod answer;
pub mod audit;
pub mod callers;
pub mod catalogue;
pub mod gate;
pub mod issuers;
pub mod limits;
pub mod metrics;
pub mod publish;
pub mod review;
pub mod service;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod tokens;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use ::issuers::live::Reader;
use ::issuers::live::pod::{KeepPod, Pod};
use ::issuers::live::service::{self as services, KeepService};
use anyhow::Context as _;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Pod as PodKind, Service as ServiceKind};
use kube::core::ApiResource;
use kube::{Api, Client};
use proto::signer::signer_server::SignerServer;
use proto::signing::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX};
use runtime::follow::follow;
use runtime::listen;
use runtime::readiness::{Readiness, Teller};
use runtime::shutdown::Shutdown;
use runtime::tasks::Tasks;
use runtime::tls;
use runtime::trimmed::{Keep, Trimmed};
use serving::CA_LIFETIME;
use serving::config::Source;
use serving::configurations::Trusts;
use serving::renewer;
use serving::source::Keeping;

use crate::context::Context;

use self::catalogue::Catalogue;
use self::gate::Gate;
use self::metrics::Metrics;
use self::publish::Publisher;
use self::service::{Parts, Service};
use self::settings::SignerSettings;
use self::tokens::Tokens;

/// Field manager of the Secret that keeps the service's CA.
const MANAGER: &str = "signet-controller-signer";

/// Life of the serving certificate.
const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(168);

/// Time for calls in flight when the process ends.
const DRAIN: Duration = Duration::from_secs(20);

/// Starts the service as some of `tasks`. Tokens are reviewed through `reviews`, whose connection no watch is on.
///
/// # Errors
/// When its address cannot be listened on.
pub fn start(
    settings: SignerSettings,
    context: &Context,
    reviews: Client,
    tasks: &mut Tasks,
) -> anyhow::Result<()> {
    let Context { client, metrics, readiness, shutdown, clock, .. } = context;
    let metrics = Metrics::new(metrics);
    let pods = Arc::new(Catalogue::default());
    let services = Arc::new(Catalogue::default());
    let watches = Watches { client, readiness, shutdown };
    let standings = [
        watches.follow::<KeepPod, _>(tasks, "pods", &ApiResource::erase::<PodKind>(&()), &pods, Pod::of),
        watches.follow::<KeepService, _>(
            tasks,
            "services",
            &ApiResource::erase::<ServiceKind>(&()),
            &services,
            services::view,
        ),
    ];
    let tls = serve_ca(&settings, context, tasks)?;
    let gate = Gate { limits: Arc::default(), callers: Arc::default(), metrics: metrics.clone() };
    let place = Place { address: settings.listen, connections: settings.connections_max };
    let service = Service::new(Parts {
        reader: Reader::new(client.clone()),
        tokens: Arc::new(Tokens::new(reviews, metrics.clone())),
        pods,
        services,
        standings,
        policies: context.policies.clone(),
        issuers: Arc::clone(&context.issuers) as _,
        limits: Arc::clone(&gate.limits),
        callers: Arc::clone(&gate.callers),
        metrics,
        clock: Arc::clone(clock),
        settings,
    });
    serve(place, tls, gate, service, shutdown, tasks)
}

/// Keeps the serving certificate, and publishes its CA.
fn serve_ca(
    settings: &SignerSettings,
    context: &Context,
    tasks: &mut Tasks,
) -> anyhow::Result<rustls::ServerConfig> {
    let Context { client, readiness, shutdown, clock, .. } = context;
    // No webhook configuration has to trust it: whoever calls learns of its CA from the ConfigMap.
    let keeping = Keeping {
        client: client.clone(),
        trusts: Trusts::of_kinds([]),
        metrics: serving::metrics::Metrics::default(),
        shutdown: shutdown.clone(),
    };
    let source = Source::Dynamic(renewer::Settings {
        manager: MANAGER,
        secret_namespace: settings.ca_secret.namespace.clone().unwrap_or_default(),
        secret_name: settings.ca_secret.name.clone(),
        names: settings.names.clone(),
        leaf_lifetime: LEAF_LIFETIME,
        ca_lifetime: CA_LIFETIME,
    });
    let (certificate, served) = keeping.start(tasks, "signer certificate renewal", source)?;
    let publisher = Publisher {
        client: client.clone(),
        name: settings.ca_config_map.clone(),
        served,
        standing: readiness.teller("signer CA"),
        clock: Arc::clone(clock),
    };
    tasks.spawn("signer CA publication", publisher.run(shutdown.clone()));
    // gRPC is HTTP/2.
    Ok(tls::server_config(certificate, &["h2"]))
}

/// Where calls come in, and over how many connections.
struct Place {
    address: SocketAddr,
    connections: NonZeroUsize,
}

fn serve(
    Place { address, connections }: Place,
    tls: rustls::ServerConfig,
    gate: Gate,
    service: Service,
    shutdown: &Shutdown,
    tasks: &mut Tasks,
) -> anyhow::Result<()> {
    let listener = listen::bind(address)
        .with_context(|| format!("cannot listen on {address} for the signer service"))?;
    tracing::info!(name = "signer", address = %listener.local_addr()?, "listening");
    let server = SignerServer::new(service)
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(RESPONSE_BYTES_MAX);
    let router = gate.before(tonic::service::Routes::new(server).into_axum_router());
    let serving =
        runtime::server::serve_many(connections, listener, Some(tls.into()), router, shutdown.clone(), DRAIN);
    tasks.spawn("signer", serving);
    Ok(())
}

/// What watches need.
struct Watches<'a> {
    client: &'a Client,
    readiness: &'a Readiness,
    shutdown: &'a Shutdown,
}

impl Watches<'_> {
    /// Follows all objects of a kind into a catalogue; the teller says whether they have been seen.
    fn follow<K: Keep, V: Send + Sync + 'static>(
        &self,
        tasks: &mut Tasks,
        what: &'static str,
        resource: &ApiResource,
        catalogue: &Arc<Catalogue<V>>,
        view: fn(Trimmed<K>) -> V,
    ) -> Teller {
        let standing = self.readiness.teller(what);
        let api: Api<Trimmed<K>> = Api::all_with(self.client.clone(), resource);
        let catalogue = Arc::clone(catalogue);
        let changed = move |change| catalogue.changed(change, view);
        tasks.spawn(what, follow(api, None, what, standing.clone(), self.shutdown.clone(), changed));
        standing
    }
}

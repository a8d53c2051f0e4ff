//! Puts the own CA into the `caBundle` of the own webhook configurations, so that the API server trusts us without
//! waiting for a cainjector. A CA that is there already is left where it is, one that nothing needs any more is taken
//! out again, and nothing else is ever changed.
//!
//! A cainjector may write the same fields. One that merges, ours or cert-manager's, keeps what it finds, so there is
//! nothing to fight about; in configurations that bear its annotation nothing is taken out, since it would be put back.
//! One that replaces the field takes the next CA out as often as it is added, so after the second time that is left to
//! `ca.crt`, which every cainjector copies ([`crate::keeping`]). Only the CA that is served under is put back
//! within seconds, however often it goes.
//!
//! A configuration also tells under which names we are called. With a certificate from files, whose CA is not ours to
//! spread, they are all that is looked at.

mod bundle;
#[cfg(test)]
mod tests;
mod trusts;

use std::fmt::Debug;
use std::time::Duration;

use api::keys::annotation;
use http::Uri;
use issuance::certificate::Certificate;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::api::{PartialObjectMeta, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use runtime::shutdown::Shutdown;
use rustls::pki_types::ServerName;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use self::bundle::Bundles;
pub use self::bundle::Wanted;
pub use self::trusts::{Changes, Observed, Trusts};
pub(crate) use self::trusts::{Reading, Seen};
use crate::metrics::Metrics;
use crate::renewer::{self, Served};
use runtime::pause;

/// Owner of the fields that are written, as cert-manager's webhook.
const FIELD_MANAGER: &str = "cert-manager-webhook";
/// How often a configuration is looked at without an event: a watch that is forbidden or stuck must not stop us.
const POLL_INTERVAL: Duration = Duration::from_secs(60);
/// Time for one look and what it leads to: an API server that takes longer is tried again.
const STEP_TIME_MAX: Duration = Duration::from_secs(10);
/// Whoever takes out what we add does so within this time; what stays is settled.
const SETTLE_TIME: Duration = Duration::from_secs(3);
/// What is added and taken out again so often is no coincidence.
const LOSSES_MAX: u32 = 2;
/// The pause before it is added once more, doubled with each loss; there is none before [`LOSSES_MAX`].
const LOSS_PAUSE: Duration = Duration::from_secs(15);
/// The longest such pause, and how long a CA has to stay until its losses are forgotten.
const LOSS_PAUSE_MAX: Duration = Duration::from_secs(600);
/// The longest such pause where the CA that is served under is missing: until it is back, no call gets through.
const OUTAGE_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Annotations that tell a cainjector to write the bundles.
const INJECTION: [&str; 3] =
    [annotation::INJECT_CA_FROM, annotation::INJECT_CA_FROM_SECRET, annotation::INJECT_APISERVER_CA];

/// A kind of webhook configuration.
pub trait Configuration:
    kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// Name of the kind.
    const KIND: &'static str;

    /// How the API server calls each of the configuration's webhooks.
    fn clients(&self) -> Vec<&WebhookClientConfig>;
}

impl Configuration for ValidatingWebhookConfiguration {
    const KIND: &'static str = "ValidatingWebhookConfiguration";

    fn clients(&self) -> Vec<&WebhookClientConfig> {
        self.webhooks.iter().flatten().map(|webhook| &webhook.client_config).collect()
    }
}

impl Configuration for MutatingWebhookConfiguration {
    const KIND: &'static str = "MutatingWebhookConfiguration";

    fn clients(&self) -> Vec<&WebhookClientConfig> {
        self.webhooks.iter().flatten().map(|webhook| &webhook.client_config).collect()
    }
}

/// The names that API servers expect in the certificate of a webhook: that of its Service, or the host of its URL.
fn names(clients: &[&WebhookClientConfig]) -> Vec<ServerName<'static>> {
    let mut names = Vec::new();
    for client in clients {
        let name = match (&client.service, &client.url) {
            (Some(service), _) => {
                ServerName::try_from(format!("{}.{}.svc", service.name, service.namespace)).ok()
            }
            (None, url) => url.as_deref().and_then(host),
        };
        names.extend(name.filter(|name| !names.contains(name)));
    }
    names
}

/// The host of a URL. None: there is none that a certificate could be for.
fn host(url: &str) -> Option<ServerName<'static>> {
    let uri: Uri = url.parse().ok()?;
    let host = uri.host()?;
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(host.to_owned()).ok()
}

/// Whether somebody takes out what we add.
#[derive(Debug, Default)]
struct Contest {
    /// What belongs in every bundle; other losses begin with another CA.
    required: Vec<Certificate>,
    /// What we added, and when.
    added: Option<(Vec<Certificate>, Instant)>,
    /// How often it was taken out, and when that was seen last.
    losses: u32,
    lost_at: Option<Instant>,
}

impl Contest {
    /// Compares a configuration with what we added to it.
    fn look(&mut self, bundles: &[Vec<u8>], required: &[Certificate]) {
        if self.required != required {
            *self = Self { required: required.to_vec(), ..Self::default() };
        }
        let Some((added, at)) = &self.added else {
            return;
        };
        let is_lost = |ca: &Certificate| !bundles.iter().all(|bundle| bundle::contains(bundle, ca));
        if added.iter().any(is_lost) {
            self.losses = self.losses.saturating_add(1);
            (self.added, self.lost_at) = (None, Some(Instant::now()));
        } else if at.elapsed() >= LOSS_PAUSE_MAX {
            *self = Self { required: std::mem::take(&mut self.required), ..Self::default() };
        }
    }

    fn add(&mut self) {
        self.added = Some((self.required.clone(), Instant::now()));
    }

    /// The pause until it is added again; callers have none left that they could trust if there `is_outage`.
    fn pause(&self, is_outage: bool) -> Duration {
        if !self.is_hopeless() {
            return Duration::ZERO;
        }
        let doublings = self.losses.saturating_sub(1).min(16);
        let longest = if is_outage { OUTAGE_PAUSE_MAX } else { LOSS_PAUSE_MAX };
        let pause = LOSS_PAUSE.saturating_mul(1 << doublings).min(longest);
        self.lost_at.map_or(Duration::ZERO, |lost_at| pause.saturating_sub(lost_at.elapsed()))
    }

    /// Time until what we added is settled.
    fn unsettled(&self) -> Duration {
        self.added.as_ref().map_or(Duration::ZERO, |(_, at)| SETTLE_TIME.saturating_sub(at.elapsed()))
    }

    fn is_hopeless(&self) -> bool {
        self.losses >= LOSSES_MAX
    }
}

/// Keeps one configuration trusting what is served, until shutdown.
pub struct Injector<K> {
    name: String,
    api: Api<K>,
    metadata: Api<PartialObjectMeta<K>>,
    served: watch::Receiver<Option<Served>>,
    trusts: Trusts,
    metrics: Metrics,
    contest: Contest,
    /// Failures in a row.
    failures: u32,
    /// Whether the last look succeeded. A watch of what may not be read would only fill the log.
    is_readable: bool,
    /// Whether the last attempt was refused.
    is_forbidden: bool,
}

impl<K: Configuration> Injector<K>
where
    K: kube::Resource<Scope = k8s_openapi::ClusterResourceScope>,
{
    /// An injector for the configuration of this name, which tells `trusts` what it finds.
    pub fn new(
        name: String,
        client: Client,
        served: watch::Receiver<Option<Served>>,
        trusts: Trusts,
        metrics: Metrics,
    ) -> Self {
        let (api, metadata, contest) = (Api::all(client.clone()), Api::all(client), Contest::default());
        let (failures, is_readable, is_forbidden) = (0, false, false);
        Self { name, api, metadata, served, trusts, metrics, contest, failures, is_readable, is_forbidden }
    }

    /// Runs until shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let events = watcher(self.metadata.clone(), config).default_backoff();
        let mut events = std::pin::pin!(events);
        loop {
            let wanted = self.served.borrow_and_update().as_ref().map(|served| served.wanted.clone());
            let pause = match wanted {
                Some(wanted) => tokio::select! {
                    () = shutdown.requested() => return,
                    pause = self.step(&wanted) => pause,
                },
                None => POLL_INTERVAL,
            };
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(pause) => {}
                Ok(()) = self.served.changed() => {}
                () = renewer::next_event(&mut events), if self.is_readable => {}
            }
        }
    }

    /// Looks at the configuration once. Gives the pause until the next look.
    pub(crate) async fn step(&mut self, wanted: &Wanted) -> Duration {
        let Ok(outcome) = tokio::time::timeout(STEP_TIME_MAX, self.inject(wanted)).await else {
            self.failures = self.failures.saturating_add(1);
            let (kind, name) = (K::KIND, &self.name);
            tracing::warn!(
                kind,
                name,
                "the API server did not answer within {STEP_TIME_MAX:?}; trying again"
            );
            return pause::after(self.failures);
        };
        let was_forbidden = self.is_forbidden;
        self.is_forbidden = matches!(&outcome, Err(kube::Error::Api(status)) if status.is_forbidden());
        self.metrics.set_forbidden(K::KIND, self.is_forbidden);
        self.failures = if outcome.is_ok() { 0 } else { self.failures.saturating_add(1) };
        match outcome {
            Ok(pause) => pause.min(POLL_INTERVAL),
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                if !was_forbidden {
                    let consequence = if wanted.required.is_empty() {
                        "may not read the webhook configuration, so that the name in it is not checked"
                    } else {
                        "may not keep the own CA in the webhook configuration, so a cainjector has to"
                    };
                    tracing::warn!(kind = K::KIND, name = self.name, "{consequence}: {}", status.message);
                }
                POLL_INTERVAL
            }
            // A failed test is answered as 422: somebody else wrote in between.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.code == 422 => {
                tracing::debug!(kind = K::KIND, name = self.name, "the configuration changed; looking again");
                pause::after(self.failures)
            }
            Err(error) => {
                tracing::warn!(
                    kind = K::KIND,
                    name = self.name,
                    "cannot see to the webhook configuration: {:#}; trying again",
                    anyhow::Error::new(error)
                );
                pause::after(self.failures)
            }
        }
    }

    async fn inject(&mut self, wanted: &Wanted) -> Result<Duration, kube::Error> {
        let read = self.api.get_opt(&self.name).await;
        self.is_readable = read.is_ok();
        let Some(configuration) = read.inspect_err(|error| self.cannot_read(error))? else {
            if self.trusts.set(K::KIND, Seen::Hidden) {
                tracing::info!(kind = K::KIND, name = self.name, "no such configuration yet");
            }
            return Ok(POLL_INTERVAL);
        };
        let annotations = configuration.meta().annotations.as_ref();
        let is_annotated =
            annotations.is_some_and(|all| INJECTION.iter().any(|annotation| all.contains_key(*annotation)));
        let bundles = Bundles::new(&configuration.clients(), wanted, is_annotated);
        self.contest.look(&bundles.before, &wanted.required);
        let is_refused = self.is_forbidden || self.contest.is_hopeless();
        let is_settled = self.contest.unsettled().is_zero();
        let before = bundles.before.clone();
        let settled = if is_settled { before.clone() } else { self.trusts.observed().settled(K::KIND) };
        let names = names(&configuration.clients());
        let mut reading = Reading { bundles: before, settled, is_annotated, is_refused, names };
        self.trusts.set(K::KIND, Seen::Read(reading.clone()));
        let operations = bundles.operations(configuration.meta().resource_version.as_deref());
        let pause = self.contest.pause(self.is_outage(&bundles.before));
        if operations.is_empty() || !pause.is_zero() {
            let pauses = [pause, self.contest.unsettled()].into_iter();
            return Ok(pauses.filter(|pause| !pause.is_zero()).min().unwrap_or(POLL_INTERVAL));
        }
        let patched = self.patch(operations).await;
        reading.is_refused = match &patched {
            Ok(()) => self.contest.is_hopeless(),
            Err(kube::Error::Api(status)) if status.is_forbidden() => true,
            Err(_) => is_refused,
        };
        if patched.is_ok() {
            self.contest.add();
            reading.bundles = bundles.afterwards();
        }
        self.trusts.set(K::KIND, Seen::Read(reading));
        patched.map(|()| SETTLE_TIME)
    }

    /// Whether a webhook does not trust what is served.
    fn is_outage(&self, bundles: &[Vec<u8>]) -> bool {
        let served = self.served.borrow();
        let ca = served.as_ref().and_then(|served| served.ca.as_ref());
        ca.is_some_and(|ca| !bundles.iter().all(|bundle| bundle::contains(bundle, ca)))
    }

    async fn patch(&self, operations: Vec<Value>) -> Result<(), kube::Error> {
        let patch = serde_json::from_value(Value::Array(operations)).map_err(kube::Error::SerdeError)?;
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.api.patch_metadata(&self.name, &params, &Patch::Json::<()>(patch)).await?;
        self.metrics.wrote_configuration(K::KIND);
        tracing::info!(kind = K::KIND, name = self.name, "wrote the own CA to the webhook configuration");
        Ok(())
    }

    fn cannot_read(&self, error: &kube::Error) {
        if matches!(error, kube::Error::Api(status) if status.is_forbidden()) {
            self.trusts.set(K::KIND, Seen::Hidden);
        }
    }
}

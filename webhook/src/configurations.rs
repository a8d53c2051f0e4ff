//! Puts the own CA into the `caBundle` of the own webhook configurations, so that the API server trusts us without
//! waiting for a cainjector. A CA that is there already is left where it is, and nothing else is ever changed.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{PartialObjectMeta, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use runtime::shutdown::Shutdown;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::pause;
use crate::renewer::{self, Served};

/// How often a configuration is looked at without an event: a watch that is forbidden or stuck must not stop us.
const POLL_INTERVAL: Duration = Duration::from_secs(60);

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

/// What is known about one configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// It was not looked at yet.
    #[default]
    Unknown,
    /// It does not exist, or may not be read or patched: somebody else has to see to it.
    NotOurs,
    /// The CA that is served is not in it yet.
    Missing,
    /// The CA that is served is in it.
    Present,
}

/// The own configurations' state, for readiness; clones share it.
#[derive(Debug, Clone, Default)]
pub struct TrustState {
    trust: Arc<Mutex<Trust>>,
}

impl TrustState {
    /// What was found last.
    pub fn get(&self) -> Trust {
        *self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, trust: Trust) -> Trust {
        std::mem::replace(&mut *self.trust.lock().unwrap_or_else(PoisonError::into_inner), trust)
    }
}

/// The operations (RFC 6902) that add `own` to each webhook that lacks it; empty when none does. The first operation
/// makes the patch fail if the configuration has changed since it was read.
pub fn operations(
    resource_version: Option<&str>,
    clients: &[&WebhookClientConfig],
    own: &Certificate,
) -> Vec<Value> {
    let mut operations: Vec<Value> = clients
        .iter()
        .enumerate()
        .filter_map(|(index, client)| {
            let bundle = appended(client.ca_bundle.as_ref(), own)?;
            let path = format!("/webhooks/{index}/clientConfig/caBundle");
            Some(json!({"op": "add", "path": path, "value": STANDARD.encode(bundle)}))
        })
        .collect();
    if !operations.is_empty() {
        let unchanged = json!({"op": "test", "path": "/metadata/resourceVersion", "value": resource_version});
        operations.insert(0, unchanged);
    }
    operations
}

/// The bundle with `own` at its end. None: it is in there.
fn appended(bundle: Option<&ByteString>, own: &Certificate) -> Option<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let text = String::from_utf8_lossy(bundle.map_or(&[], |bundle| bundle.0.as_slice()));
    let pem = own.to_pem();
    let is_there = text.contains(pem.trim_end())
        || Bundle::parse(text.as_bytes()).is_ok_and(|bundle| bundle.contains(own));
    if is_there {
        None
    } else if text.contains(BEGIN) {
        // What others wrote stays as it is, even if some of it is broken: clients skip what they cannot read.
        Some(format!("{}\n{pem}", text.trim_end()))
    } else {
        Some(pem) // nothing, or a placeholder
    }
}

/// Keeps one configuration trusting what is served, until shutdown.
pub struct Injector<K> {
    name: String,
    api: Api<K>,
    metadata: Api<PartialObjectMeta<K>>,
    served: watch::Receiver<Option<Served>>,
    state: TrustState,
    metrics: Metrics,
    /// Failures in a row.
    failures: u32,
    /// Whether the last look succeeded. A watch of what may not be read would only fill the log.
    readable: bool,
}

impl<K: Configuration> Injector<K>
where
    K: kube::Resource<Scope = k8s_openapi::ClusterResourceScope>,
{
    /// An injector for the configuration of this name.
    pub fn new(
        name: String,
        client: Client,
        served: watch::Receiver<Option<Served>>,
        metrics: Metrics,
    ) -> Self {
        let state = TrustState::default();
        let metadata = Api::all(client.clone());
        Self { name, api: Api::all(client), metadata, served, state, metrics, failures: 0, readable: false }
    }

    /// What it finds.
    pub fn state(&self) -> TrustState {
        self.state.clone()
    }

    /// Runs until shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let events = watcher(self.metadata.clone(), config).default_backoff();
        let mut events = std::pin::pin!(events);
        loop {
            let served = self.served.borrow_and_update().clone();
            let pause = match served {
                Some(served) => self.step(&served.ca).await,
                None => POLL_INTERVAL,
            };
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(pause) => {}
                Ok(()) = self.served.changed() => {}
                () = renewer::next_event(&mut events), if self.readable => {}
            }
        }
    }

    /// Looks at the configuration once. Gives the pause until the next look.
    async fn step(&mut self, own: &Certificate) -> Duration {
        let outcome = self.inject(own).await;
        self.readable = outcome.is_ok();
        self.failures = if outcome.is_ok() { 0 } else { self.failures.saturating_add(1) };
        match outcome {
            Ok(trust) => {
                self.metrics.configurations_forbidden.set(0);
                if self.state.set(trust) != trust && trust == Trust::NotOurs {
                    tracing::info!(kind = K::KIND, name = self.name, "no such configuration yet");
                }
                POLL_INTERVAL
            }
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                self.metrics.configurations_forbidden.set(1);
                if self.state.set(Trust::NotOurs) != Trust::NotOurs {
                    tracing::warn!(
                        kind = K::KIND,
                        name = self.name,
                        "may not keep the own CA in the webhook configuration, so a cainjector has to: {}",
                        status.message
                    );
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

    async fn inject(&self, own: &Certificate) -> Result<Trust, kube::Error> {
        let Some(configuration) = self.api.get_opt(&self.name).await? else {
            return Ok(Trust::NotOurs);
        };
        let ObjectMeta { resource_version, .. } = configuration.meta();
        let operations = operations(resource_version.as_deref(), &configuration.clients(), own);
        if operations.is_empty() {
            return Ok(Trust::Present);
        }
        self.state.set(Trust::Missing);
        let patch = serde_json::from_value(Value::Array(operations)).map_err(kube::Error::SerdeError)?;
        let params =
            PatchParams { field_manager: Some(crate::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.api.patch_metadata(&self.name, &params, &Patch::Json::<()>(patch)).await?;
        tracing::info!(kind = K::KIND, name = self.name, "added the own CA to the webhook configuration");
        Ok(Trust::Present)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::serving;

    fn ca() -> Certificate {
        let data = serving::new_ca(Timestamp::from_second(1_800_000_000).unwrap()).unwrap();
        Bundle::parse(&data["ca.crt"].0).unwrap().certificates()[0].clone()
    }

    fn check(bundle: Option<&str>, own: &Certificate, wanted: Option<&str>) {
        let bundle = bundle.map(|text| ByteString(text.into()));
        assert_eq!(appended(bundle.as_ref(), own).as_deref(), wanted, "for {bundle:?}");
    }

    #[test]
    fn a_bundle_without_the_own_ca_gets_it_at_its_end() {
        let (own, foreign) = (ca(), ca().to_pem());
        let pem = own.to_pem();
        let both = format!("{}\n{pem}", foreign.trim_end());
        check(None, &own, Some(&pem));
        check(Some(""), &own, Some(&pem));
        check(Some("\n"), &own, Some(&pem));
        check(Some("placeholder"), &own, Some(&pem));
        check(Some(&foreign), &own, Some(&both));
        check(Some(foreign.trim_end()), &own, Some(&both));
    }

    #[test]
    fn a_broken_block_of_somebody_else_stays() {
        let own = ca();
        let broken = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----";
        check(Some(broken), &own, Some(&format!("{broken}\n{}", own.to_pem())));
        // And once the own CA stands beside it, nothing is added again.
        check(Some(&format!("{broken}\n{}", own.to_pem())), &own, None);
    }

    #[test]
    fn a_bundle_with_the_own_ca_is_left_alone() {
        let (own, foreign) = (ca(), ca().to_pem());
        check(Some(&own.to_pem()), &own, None);
        check(Some(&format!("{}{foreign}", own.to_pem())), &own, None);
        check(Some(&format!("# comment\n{foreign}{}", own.to_pem())), &own, None);
    }

    #[test]
    fn only_webhooks_without_the_own_ca_are_patched_and_only_if_nobody_else_wrote() {
        let own = ca();
        let with = WebhookClientConfig {
            ca_bundle: Some(ByteString(own.to_pem().into_bytes())),
            ..WebhookClientConfig::default()
        };
        let without = WebhookClientConfig::default();
        assert_eq!(operations(Some("7"), &[&with, &with], &own), Vec::<Value>::new());
        assert_eq!(
            operations(Some("7"), &[&with, &without], &own),
            [
                json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"}),
                json!({"op": "add", "path": "/webhooks/1/clientConfig/caBundle",
                       "value": STANDARD.encode(own.to_pem())}),
            ]
        );
    }
}

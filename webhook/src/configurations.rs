//! Puts the own CA into the `caBundle` of the own webhook configurations, so that the API server trusts us without
//! waiting for a cainjector. A CA that is there already is left where it is, and nothing else is ever changed.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use issuance::bundle::Bundle;
use issuance::certificate::Certificate;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
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
use crate::serving::Trust;

/// How often a configuration is looked at without an event: a watch that is forbidden or stuck must not stop us.
const POLL_INTERVAL: Duration = Duration::from_secs(60);
/// Time for one look and what it leads to: an API server that takes longer is tried again.
const STEP_TIME_MAX: Duration = Duration::from_secs(10);

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

/// What was seen of one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing was asked yet.
    Nothing,
    /// It does not exist, or may not be read.
    Hidden,
    /// Of the CAs that it should trust, these are in each of its webhooks.
    Trusted(Vec<Certificate>),
}

/// What is known of the own configurations; clones share it.
#[derive(Debug, Clone)]
pub struct Trusts {
    seen: Arc<watch::Sender<BTreeMap<&'static str, Seen>>>,
}

impl Trusts {
    /// Nothing is known yet of the configurations of these kinds.
    pub fn of_kinds(kinds: impl IntoIterator<Item = &'static str>) -> Self {
        let seen = kinds.into_iter().map(|kind| (kind, Seen::Nothing)).collect();
        Self { seen: Arc::new(watch::Sender::new(seen)) }
    }

    /// Whether the configuration of this kind trusts `ca`.
    pub fn get(&self, kind: &str, ca: &Certificate) -> Trust {
        self.seen.borrow().get(kind).map_or(Trust::Unknown, |seen| seen.trust(ca))
    }

    /// Whether each of them trusts `ca`.
    pub fn all(&self, ca: &Certificate) -> Vec<Trust> {
        self.seen.borrow().values().map(|seen| seen.trust(ca)).collect()
    }

    /// Waits for changes from now on.
    pub fn changes(&self) -> Changes {
        Changes { seen: self.seen.subscribe() }
    }

    /// Notes what was seen; whether that is news.
    pub(crate) fn set(&self, kind: &'static str, seen: Seen) -> bool {
        self.seen.send_if_modified(|all| {
            let is_news = all.get(kind) != Some(&seen);
            all.insert(kind, seen);
            is_news
        })
    }
}

/// Tells when something else is known of the own configurations.
#[derive(Debug)]
pub struct Changes {
    seen: watch::Receiver<BTreeMap<&'static str, Seen>>,
}

impl Changes {
    /// Waits for the next change.
    pub async fn next(&mut self) {
        if self.seen.changed().await.is_err() {
            std::future::pending::<()>().await; // nobody looks any more
        }
    }
}

impl Seen {
    fn trust(&self, ca: &Certificate) -> Trust {
        match self {
            Self::Nothing => Trust::Unknown,
            Self::Hidden => Trust::NotOurs,
            Self::Trusted(trusted) if trusted.contains(ca) => Trust::Present,
            Self::Trusted(_) => Trust::Missing,
        }
    }
}

/// What is in each webhook of a configuration, and what should be.
#[derive(Debug)]
struct Bundles {
    /// As they were read.
    before: Vec<String>,
    /// As they should be; None where nothing is to be done.
    after: Vec<Option<String>>,
}

impl Bundles {
    /// `wanted` are the CAs to trust, the newest last. One that has the newest is left as it is: an older one that is
    /// missing there was taken out by somebody who knows of the newest.
    fn new(clients: &[&WebhookClientConfig], wanted: &[Certificate]) -> Self {
        let text = |bundle: &ByteString| String::from_utf8_lossy(&bundle.0).into_owned();
        let before: Vec<String> =
            clients.iter().map(|client| client.ca_bundle.as_ref().map(text).unwrap_or_default()).collect();
        let after = before.iter().map(|bundle| completed(bundle, wanted)).collect();
        Self { before, after }
    }

    /// Those of `wanted` that are in each webhook: as it was read, or after the [`operations`](Self::operations).
    fn trusted(&self, wanted: &[Certificate], afterwards: bool) -> Vec<Certificate> {
        let bundles = self.before.iter().zip(&self.after);
        let bundles: Vec<&String> =
            bundles.map(|(before, after)| after.as_ref().filter(|_| afterwards).unwrap_or(before)).collect();
        wanted.iter().filter(|ca| bundles.iter().all(|bundle| contains(bundle, ca))).cloned().collect()
    }

    /// The operations (RFC 6902) that make the bundles as they should be; empty when they are. The first operation makes
    /// the patch fail if the configuration has changed since it was read.
    fn operations(&self, resource_version: Option<&str>) -> Vec<Value> {
        let changed = self.after.iter().enumerate();
        let mut operations: Vec<Value> = changed
            .filter_map(|(index, bundle)| {
                let path = format!("/webhooks/{index}/clientConfig/caBundle");
                Some(json!({"op": "add", "path": path, "value": STANDARD.encode(bundle.as_ref()?)}))
            })
            .collect();
        if !operations.is_empty() {
            let unchanged =
                json!({"op": "test", "path": "/metadata/resourceVersion", "value": resource_version});
            operations.insert(0, unchanged);
        }
        operations
    }
}

/// The bundle with those of `wanted` at its end that it lacks. None: it has the last one.
fn completed(bundle: &str, wanted: &[Certificate]) -> Option<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    if contains(bundle, wanted.last()?) {
        return None;
    }
    // What others wrote stays as it is, even if some of it is broken: clients skip what they cannot read. What is no
    // PEM at all is a placeholder.
    let mut completed =
        if bundle.contains(BEGIN) { format!("{}\n", bundle.trim_end()) } else { String::new() };
    for ca in wanted.iter().filter(|ca| !contains(bundle, ca)) {
        completed.push_str(&ca.to_pem());
    }
    Some(completed)
}

fn contains(bundle: &str, ca: &Certificate) -> bool {
    bundle.contains(ca.to_pem().trim_end())
        || Bundle::parse(bundle.as_bytes()).is_ok_and(|bundle| bundle.contains(ca))
}

/// Keeps one configuration trusting what is served, until shutdown.
pub struct Injector<K> {
    name: String,
    api: Api<K>,
    metadata: Api<PartialObjectMeta<K>>,
    served: watch::Receiver<Option<Served>>,
    trusts: Trusts,
    metrics: Metrics,
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
        let metadata = Api::all(client.clone());
        let (failures, is_readable, is_forbidden) = (0, false, false);
        let api = Api::all(client);
        Self { name, api, metadata, served, trusts, metrics, failures, is_readable, is_forbidden }
    }

    /// Runs until shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let events = watcher(self.metadata.clone(), config).default_backoff();
        let mut events = std::pin::pin!(events);
        loop {
            let wanted = self.served.borrow_and_update().as_ref().map(Served::cas);
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
    async fn step(&mut self, wanted: &[Certificate]) -> Duration {
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
            Ok(()) => POLL_INTERVAL,
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                if !was_forbidden {
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

    async fn inject(&mut self, wanted: &[Certificate]) -> Result<(), kube::Error> {
        let read = self.api.get_opt(&self.name).await;
        self.is_readable = read.is_ok();
        let Some(configuration) = read.inspect_err(|error| self.cannot_read(error))? else {
            if self.trusts.set(K::KIND, Seen::Hidden) {
                tracing::info!(kind = K::KIND, name = self.name, "no such configuration yet");
            }
            return Ok(());
        };
        let bundles = Bundles::new(&configuration.clients(), wanted);
        self.trusts.set(K::KIND, Seen::Trusted(bundles.trusted(wanted, false)));
        let operations = bundles.operations(configuration.meta().resource_version.as_deref());
        if operations.is_empty() {
            return Ok(());
        }
        let patch = serde_json::from_value(Value::Array(operations)).map_err(kube::Error::SerdeError)?;
        let params =
            PatchParams { field_manager: Some(crate::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.api.patch_metadata(&self.name, &params, &Patch::Json::<()>(patch)).await?;
        tracing::info!(kind = K::KIND, name = self.name, "added the own CA to the webhook configuration");
        self.trusts.set(K::KIND, Seen::Trusted(bundles.trusted(wanted, true)));
        Ok(())
    }

    fn cannot_read(&self, error: &kube::Error) {
        if matches!(error, kube::Error::Api(status) if status.is_forbidden()) {
            self.trusts.set(K::KIND, Seen::Hidden);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{fake, serving};

    fn ca() -> Certificate {
        let data = serving::new_ca(Timestamp::from_second(1_800_000_000).unwrap()).unwrap();
        Bundle::parse(&data["ca.crt"].0).unwrap().certificates()[0].clone()
    }

    fn check(bundle: &str, wanted: &[&Certificate], completed: Option<&str>) {
        let wanted: Vec<Certificate> = wanted.iter().map(|ca| (*ca).clone()).collect();
        assert_eq!(super::completed(bundle, &wanted).as_deref(), completed, "for {bundle:?}");
    }

    #[test]
    fn a_bundle_without_the_own_ca_gets_it_at_its_end() {
        let (own, foreign) = (ca(), ca().to_pem());
        let pem = own.to_pem();
        let both = format!("{}\n{pem}", foreign.trim_end());
        check("", &[&own], Some(&pem));
        check("\n", &[&own], Some(&pem));
        check("placeholder", &[&own], Some(&pem));
        check(&foreign, &[&own], Some(&both));
        check(foreign.trim_end(), &[&own], Some(&both));
    }

    #[test]
    fn a_broken_block_of_somebody_else_stays() {
        let own = ca();
        let broken = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----";
        check(broken, &[&own], Some(&format!("{broken}\n{}", own.to_pem())));
        // And once the own CA stands beside it, nothing is added again.
        check(&format!("{broken}\n{}", own.to_pem()), &[&own], None);
    }

    #[test]
    fn a_bundle_with_the_own_ca_is_left_alone() {
        let (own, foreign) = (ca(), ca().to_pem());
        check(&own.to_pem(), &[&own], None);
        check(&format!("{}{foreign}", own.to_pem()), &[&own], None);
        check(&format!("# comment\n{foreign}{}", own.to_pem()), &[&own], None);
    }

    #[test]
    fn while_the_ca_changes_both_are_trusted_unless_somebody_has_moved_on_already() {
        let (old, new) = (ca(), ca());
        let (old_pem, new_pem) = (old.to_pem(), new.to_pem());
        let both = format!("{old_pem}{new_pem}");
        check("", &[&old, &new], Some(&both));
        check(&old_pem, &[&old, &new], Some(&both));
        check(&both, &[&old, &new], None);
        check(&new_pem, &[&old, &new], None);
    }

    fn client(bundle: Option<&str>) -> WebhookClientConfig {
        WebhookClientConfig {
            ca_bundle: bundle.map(|bundle| ByteString(bundle.into())),
            ..WebhookClientConfig::default()
        }
    }

    #[test]
    fn only_webhooks_without_the_own_ca_are_patched_and_only_if_nobody_else_wrote() {
        let wanted = [ca()];
        let pem = wanted[0].to_pem();
        let (with, without) = (client(Some(&pem)), client(None));
        assert_eq!(Bundles::new(&[&with, &with], &wanted).operations(Some("7")), Vec::<Value>::new());
        assert_eq!(
            Bundles::new(&[&with, &without], &wanted).operations(Some("7")),
            [
                json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"}),
                json!({"op": "add", "path": "/webhooks/1/clientConfig/caBundle",
                       "value": STANDARD.encode(pem)}),
            ]
        );
    }

    #[test]
    fn a_ca_is_trusted_when_each_webhook_has_it() {
        let wanted = [ca(), ca()];
        let [old, new] = wanted.each_ref().map(Certificate::to_pem);
        let clients = [client(Some(&old)), client(Some(&format!("{old}{new}")))];
        let bundles = Bundles::new(&clients.each_ref(), &wanted);
        assert_eq!(bundles.trusted(&wanted, false), wanted[..1]);
        assert_eq!(bundles.trusted(&wanted, true), wanted);
    }

    #[test]
    fn what_is_known_of_a_configuration_is_about_one_ca() {
        let (old, new) = (ca(), ca());
        let trusts = Trusts::of_kinds(["A", "B"]);
        assert_eq!(trusts.all(&old), [Trust::Unknown, Trust::Unknown]);
        assert!(trusts.set("A", Seen::Trusted(vec![old.clone()])));
        assert!(!trusts.set("A", Seen::Trusted(vec![old.clone()])), "no news");
        trusts.set("B", Seen::Hidden);
        assert_eq!(trusts.all(&old), [Trust::Present, Trust::NotOurs]);
        assert_eq!(trusts.get("A", &new), Trust::Missing);
    }

    fn injector<K>(client: Client, metrics: &Metrics) -> (watch::Sender<Option<Served>>, Trusts, Injector<K>)
    where
        K: Configuration + kube::Resource<Scope = k8s_openapi::ClusterResourceScope>,
    {
        let not_after = Timestamp::from_second(1_800_000_000).unwrap();
        let (sender, served) = watch::channel(Some(Served { ca: ca(), not_after, next_ca: None }));
        let trusts = Trusts::of_kinds([K::KIND]);
        let injector = Injector::new("own".to_owned(), client, served, trusts.clone(), metrics.clone());
        (sender, trusts, injector)
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_does_not_answer_holds_nothing_up() {
        let metrics = Metrics::new(&runtime::metrics::Metrics::new("webhook", "0"));
        let (_sender, _, mut injector) = injector::<ValidatingWebhookConfiguration>(fake::silent(), &metrics);
        let pause = tokio::time::timeout(STEP_TIME_MAX * 2, injector.step(&[ca()])).await;
        assert_eq!(pause.expect("no deadline"), pause::after(1));

        let shutdown = Shutdown::default();
        let running = tokio::spawn(injector.run(shutdown.clone()));
        tokio::time::sleep(STEP_TIME_MAX / 2).await;
        shutdown.request();
        let ended = tokio::time::timeout(Duration::from_secs(1), running).await;
        ended.expect("it goes on after the shutdown").unwrap();
    }

    #[tokio::test]
    async fn a_kind_that_is_fine_does_not_hide_that_the_other_is_forbidden() {
        let registry = runtime::metrics::Metrics::new("webhook", "0");
        let metrics = Metrics::new(&registry);
        let (_sender, trusts, mut refused) =
            injector::<ValidatingWebhookConfiguration>(fake::refusing(), &metrics);
        refused.step(&[ca()]).await;
        assert_eq!(trusts.all(&ca()), [Trust::NotOurs]);
        let empty = fake::OneSecret::default().client();
        let (_sender, _, mut fine) = injector::<MutatingWebhookConfiguration>(empty, &metrics);
        fine.step(&[ca()]).await;
        let text = registry.encode().unwrap();
        for (kind, value) in [("ValidatingWebhookConfiguration", 1), ("MutatingWebhookConfiguration", 0)] {
            let wanted = format!("signet_webhook_configurations_forbidden{{kind=\"{kind}\"}} {value}\n");
            assert!(text.contains(&wanted), "{wanted:?} is not in:\n{text}");
        }
    }
}

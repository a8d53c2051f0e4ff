//! Keeps the CA's Secret and the serving certificate as [`crate::serving`] wants them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use issuance::authority::Authority;
use issuance::certificate::Certificate;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use runtime::shutdown::Shutdown;
use runtime::tls::{ServingCertificate, ServingCertificateError};
use rustls::pki_types::ServerName;
use tokio::sync::watch;

use crate::configurations::Trusts;
use crate::metrics::Metrics;
use crate::pause;
use crate::serving::{self, Leaf, Plan, ServingError};

/// How often everything is checked without being told to: it bounds what a missed event, a suspended machine or a
/// jump of the clock can cost.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// The same while a new CA waits for the callers' trust.
const HANDOVER_POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Time for one check and what it leads to: an API server that takes longer is tried again.
const STEP_TIME_MAX: Duration = Duration::from_secs(10);
/// Replicas that write at the same time see each other's CA at the second look; more looks than this mean that
/// something else is writing there.
const ATTEMPTS_MAX: usize = 5;

/// Label and annotation of the Secret (spec S1). The annotation lets the cainjector read it.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "cert-manager-webhook");
const ALLOW_INJECTION: (&str, &str) = (api::keys::annotation::ALLOW_DIRECT_INJECTION, "true");

/// What is served now, for those who depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Certificate of the CA.
    pub ca: Certificate,
    /// End of the serving certificate's life.
    pub not_after: Timestamp,
    /// Certificate of the CA that will be served under as soon as callers trust it.
    pub next_ca: Option<Certificate>,
}

impl Served {
    /// The CAs that callers should trust, the newest last.
    pub fn cas(&self) -> Vec<Certificate> {
        std::iter::once(&self.ca).chain(&self.next_ca).cloned().collect()
    }
}

/// Where the CA is kept, and what is served under it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Namespace of the Secret.
    pub secret_namespace: String,
    /// Name of the Secret.
    pub secret_name: String,
    /// Names to serve under.
    pub names: Vec<ServerName<'static>>,
    /// Life of a serving certificate.
    pub leaf_lifetime: SignedDuration,
}

impl Settings {
    /// Name of the Service in front of us: the first label of the first DNS name. None: we serve under IP addresses only.
    pub fn service_name(&self) -> Option<String> {
        self.names.iter().find_map(|name| match name {
            ServerName::DnsName(name) => name.as_ref().split('.').next().map(ToOwned::to_owned),
            _ => None,
        })
    }
}

#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error("cannot read Secret {0}")]
    Read(String, #[source] Box<kube::Error>),
    #[error("cannot write Secret {0}")]
    Write(String, #[source] Box<kube::Error>),
    #[error("the API server did not answer within {STEP_TIME_MAX:?} about Secret {0}")]
    Late(String),
    #[error("Secret {0} keeps being written by somebody else")]
    Contended(String),
    #[error(transparent)]
    Make(#[from] ServingError),
    #[error("cannot serve the new certificate")]
    Serve(#[from] ServingCertificateError),
}

/// Serves and renews until shutdown. Failures are logged and tried again for ever.
pub struct Renewer {
    settings: Settings,
    secrets: Api<Secret>,
    certificate: Arc<ServingCertificate>,
    served: watch::Sender<Option<Served>>,
    trusts: Trusts,
    metrics: Metrics,
    renew_at: Timestamp,
    /// A CA that is not served under yet, and when it was first seen.
    next: Option<(Certificate, Timestamp)>,
}

impl Renewer {
    /// A renewer that has served nothing yet. `served` hears of each change; `trusts` tells when a new CA can be served
    /// under.
    pub fn new(
        settings: Settings,
        client: Client,
        certificate: Arc<ServingCertificate>,
        served: watch::Sender<Option<Served>>,
        trusts: Trusts,
        metrics: Metrics,
    ) -> Self {
        let secrets = Api::namespaced(client, &settings.secret_namespace);
        let (renew_at, next) = (Timestamp::MIN, None);
        Self { settings, secrets, certificate, served, trusts, metrics, renew_at, next }
    }

    /// Runs until shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        let only_this = format!("metadata.name={}", self.settings.secret_name);
        let config = watcher::Config::default().fields(&only_this);
        let events = watcher(self.secrets.clone(), config).default_backoff();
        let mut events = std::pin::pin!(events);
        let mut changes = self.trusts.changes();
        let mut failures: u32 = 0;
        loop {
            let outcome = tokio::select! {
                () = shutdown.requested() => return,
                outcome = self.step_in_time(Timestamp::now()) => outcome,
            };
            let pause = match outcome {
                Ok(()) => {
                    failures = 0;
                    if self.next.is_some() { HANDOVER_POLL_INTERVAL } else { POLL_INTERVAL }
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.metrics.certificate_failures.inc();
                    tracing::warn!("{:#}; trying again", anyhow::Error::new(error));
                    pause::after(failures)
                }
            };
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(pause) => {}
                () = changes.next(), if self.next.is_some() => {}
                // The watcher tries again by itself, and polling goes on meanwhile.
                () = next_event(&mut events) => {}
            }
        }
    }

    async fn step_in_time(&mut self, now: Timestamp) -> Result<(), RenewError> {
        let secret = self.secret();
        let late = |_| Err(RenewError::Late(secret));
        tokio::time::timeout(STEP_TIME_MAX, self.step(now)).await.unwrap_or_else(late)
    }

    async fn step(&mut self, now: Timestamp) -> Result<(), RenewError> {
        let authority = self.authority(now).await?;
        let served = self.served.borrow().clone();
        let is_due = match &served {
            None => true,
            Some(served) if served.ca == *authority.certificate() => {
                self.announce(served, None, now);
                now >= self.renew_at
            }
            Some(served) => self.is_handover_due(served, authority.certificate(), now),
        };
        if is_due { self.serve(&authority, now) } else { Ok(()) }
    }

    /// Whether to go over to the CA `next` now. Until then, callers are made to trust it.
    fn is_handover_due(&mut self, served: &Served, next: &Certificate, now: Timestamp) -> bool {
        let since = self.announce(served, Some(next), now);
        let trust = self.trusts.all(next);
        serving::Handover { old_until: served.not_after, since, trust: &trust }.is_due(now)
    }

    /// Tells which CA comes next, if that is news. Gives the time since which it has been known.
    fn announce(&mut self, served: &Served, next: Option<&Certificate>, now: Timestamp) -> Timestamp {
        if let (Some((known, since)), Some(next)) = (&self.next, next)
            && known == next
        {
            return *since;
        }
        self.next = next.map(|next| (next.clone(), now));
        if served.next_ca.as_ref() != next {
            if next.is_some() {
                tracing::info!(
                    "there is a new CA; serving under the old one until callers trust the new one"
                );
            }
            self.served.send_replace(Some(Served { next_ca: next.cloned(), ..served.clone() }));
        }
        now
    }

    fn serve(&mut self, authority: &Authority, now: Timestamp) -> Result<(), RenewError> {
        let Settings { names, leaf_lifetime, .. } = &self.settings;
        let Leaf { chain, key, ca, not_after, renew_at } =
            serving::new_leaf(authority, names, *leaf_lifetime, now)?;
        self.certificate.set(chain, &key)?;
        self.metrics.certificates_issued.inc();
        self.metrics.certificate_expiry.set(not_after.as_second());
        self.metrics.ca_expiry.set(ca.not_after().as_second());
        tracing::info!(%not_after, %renew_at, "serving a new certificate");
        (self.renew_at, self.next) = (renew_at, None);
        self.served.send_replace(Some(Served { ca, not_after, next_ca: None }));
        Ok(())
    }

    /// The CA in the Secret, after it was written if need be. Whoever writes first wins, and all others adopt it.
    async fn authority(&self, now: Timestamp) -> Result<Authority, RenewError> {
        for _ in 0..ATTEMPTS_MAX {
            let stored = self.secrets.get_opt(&self.settings.secret_name).await;
            let stored = stored.map_err(|error| RenewError::Read(self.secret(), Box::new(error)))?;
            let data = stored.as_ref().and_then(|secret| secret.data.as_ref());
            let reason = match serving::plan(data.or(stored.is_some().then_some(&BTreeMap::new())), now) {
                Plan::Use(authority) => return Ok(*authority),
                Plan::Replace(reason) => reason,
            };
            let secret = secret(stored, &self.settings, serving::new_ca(now)?);
            match self.write(&secret).await {
                Ok(()) => tracing::info!(secret = self.secret(), reason, "wrote a new CA"),
                Err(kube::Error::Api(status)) if status.is_already_exists() || status.is_conflict() => {
                    tracing::info!(secret = self.secret(), "another replica wrote the CA first");
                }
                Err(error) => return Err(RenewError::Write(self.secret(), Box::new(error))),
            }
        }
        Err(RenewError::Contended(self.secret()))
    }

    async fn write(&self, secret: &Secret) -> Result<(), kube::Error> {
        let params =
            PostParams { field_manager: Some(crate::FIELD_MANAGER.to_owned()), ..PostParams::default() };
        if secret.metadata.resource_version.is_some() {
            self.secrets.replace(&self.settings.secret_name, &params, secret).await?;
        } else {
            self.secrets.create(&params, secret).await?;
        }
        Ok(())
    }

    fn secret(&self) -> String {
        format!("{}/{}", self.settings.secret_namespace, self.settings.secret_name)
    }
}

/// Waits for a change. Failures of the watch are passed over, and so is its mere beginning.
pub(crate) async fn next_event<K>(
    events: &mut (impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Unpin),
) {
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => {}
            Ok(_) => return,
            Err(error) => tracing::debug!(%error, "a watch was interrupted"),
        }
    }
    std::future::pending::<()>().await;
}

/// The Secret with a new CA. What else is in a stored one stays; its resource version makes the write fail if somebody
/// else was faster.
fn secret(stored: Option<Secret>, settings: &Settings, ca: serving::Data) -> Secret {
    let mut secret = stored.unwrap_or_else(|| Secret {
        metadata: ObjectMeta {
            name: Some(settings.secret_name.clone()),
            namespace: Some(settings.secret_namespace.clone()),
            ..ObjectMeta::default()
        },
        ..Secret::default()
    });
    let put = |map: &mut Option<BTreeMap<String, String>>, (key, value): (&str, &str)| {
        map.get_or_insert_default().insert(key.to_owned(), value.to_owned());
    };
    put(&mut secret.metadata.labels, MANAGED_BY);
    put(&mut secret.metadata.annotations, ALLOW_INJECTION);
    secret.metadata.managed_fields = None;
    secret.data.get_or_insert_default().extend(ca);
    secret
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;
    use crate::configurations::Seen;
    use crate::fake;

    fn settings() -> Settings {
        Settings {
            secret_namespace: "ns".to_owned(),
            secret_name: "webhook-ca".to_owned(),
            names: vec![ServerName::try_from("webhook.ns.svc").unwrap()],
            leaf_lifetime: SignedDuration::from_hours(1),
        }
    }

    fn data(key: &str, value: &str) -> serving::Data {
        serving::Data::from([(key.to_owned(), ByteString(value.into()))])
    }

    #[test]
    fn a_stored_secret_keeps_what_is_not_ours() {
        let stored = Secret {
            metadata: ObjectMeta {
                name: Some("webhook-ca".to_owned()),
                resource_version: Some("7".to_owned()),
                labels: Some(BTreeMap::from([("theirs".to_owned(), "x".to_owned())])),
                ..ObjectMeta::default()
            },
            data: Some(data("theirs", "x")),
            ..Secret::default()
        };
        let secret = secret(Some(stored), &settings(), data("tls.crt", "new"));
        assert_eq!(secret.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(secret.metadata.labels.unwrap().len(), 2);
        assert_eq!(secret.data.unwrap().len(), 2);
    }

    #[test]
    fn a_new_secret_may_be_read_by_the_cainjector() {
        let secret = secret(None, &settings(), data("tls.crt", "new"));
        assert_eq!(
            (secret.metadata.namespace.as_deref(), secret.metadata.name.as_deref()),
            (Some("ns"), Some("webhook-ca"))
        );
        assert_eq!(secret.metadata.labels.unwrap()["app.kubernetes.io/managed-by"], "cert-manager-webhook");
        assert_eq!(secret.metadata.annotations.unwrap()["cert-manager.io/allow-direct-injection"], "true");
    }

    const KIND: &str = "ValidatingWebhookConfiguration";

    fn renewer(client: Client) -> (watch::Receiver<Option<Served>>, Trusts, Renewer) {
        let (sender, served) = watch::channel(None);
        let trusts = Trusts::of_kinds([KIND]);
        let metrics = Metrics::new(&runtime::metrics::Metrics::new("webhook", "0"));
        let certificate = ServingCertificate::new();
        let renewer = Renewer::new(settings(), client, certificate, sender, trusts.clone(), metrics);
        (served, trusts, renewer)
    }

    fn now_served(served: &watch::Receiver<Option<Served>>) -> Served {
        served.borrow().clone().expect("nothing is served")
    }

    #[tokio::test]
    async fn a_new_ca_is_served_under_only_when_callers_trust_it() {
        let api = fake::OneSecret::default();
        let (served, trusts, mut renewer) = renewer(api.client());
        let now = Timestamp::now();
        renewer.step(now).await.unwrap();
        let first = now_served(&served);
        assert_eq!((&first.next_ca, first.cas().len()), (&None, 1));
        trusts.set(KIND, Seen::Trusted(vec![first.ca.clone()]));

        let of_another_replica = serving::new_ca(now).unwrap();
        api.secret.lock().unwrap().as_mut().unwrap().data = Some(of_another_replica);
        renewer.step(now).await.unwrap();
        let second = now_served(&served);
        assert_eq!((&second.ca, second.not_after), (&first.ca, first.not_after), "nobody trusts the new CA");
        let next = second.next_ca.clone().expect("the new CA is not announced");
        assert_eq!(second.cas(), [first.ca.clone(), next.clone()]);

        trusts.set(KIND, Seen::Trusted(vec![first.ca, next.clone()]));
        renewer.step(now).await.unwrap();
        let third = now_served(&served);
        assert_eq!((&third.ca, &third.next_ca), (&next, &None));
    }

    #[tokio::test]
    async fn a_ca_that_was_put_back_is_no_change() {
        let api = fake::OneSecret::default();
        let (served, _, mut renewer) = renewer(api.client());
        let now = Timestamp::now();
        renewer.step(now).await.unwrap();
        let first = now_served(&served);
        let secret = || api.secret.lock().unwrap();
        let kept = secret().clone();
        secret().as_mut().unwrap().data = Some(serving::new_ca(now).unwrap());
        renewer.step(now).await.unwrap();
        assert!(now_served(&served).next_ca.is_some());
        *secret() = kept;
        renewer.step(now).await.unwrap();
        assert_eq!(now_served(&served), first);
        assert_eq!(renewer.next, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_does_not_answer_holds_nothing_up() {
        let (_served, _, renewer) = renewer(fake::silent());
        let (failures, shutdown) = (renewer.metrics.certificate_failures.clone(), Shutdown::default());
        let running = tokio::spawn(renewer.run(shutdown.clone()));
        tokio::time::sleep(STEP_TIME_MAX * 2).await;
        assert_eq!(failures.get(), 1, "no deadline");
        shutdown.request();
        let ended = tokio::time::timeout(Duration::from_secs(1), running).await;
        ended.expect("it goes on after the shutdown").unwrap();
    }
}

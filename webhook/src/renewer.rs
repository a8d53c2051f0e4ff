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

use crate::metrics::Metrics;
use crate::pause;
use crate::serving::{self, Leaf, Plan, ServingError};

/// How often everything is checked without being told to: it bounds what a missed event, a suspended machine or a
/// jump of the clock can cost.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
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

#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error("cannot read Secret {0}")]
    Read(String, #[source] Box<kube::Error>),
    #[error("cannot write Secret {0}")]
    Write(String, #[source] Box<kube::Error>),
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
    metrics: Metrics,
    renew_at: Timestamp,
}

impl Renewer {
    /// A renewer that has served nothing yet. `served` hears of each change.
    pub fn new(
        settings: Settings,
        client: Client,
        certificate: Arc<ServingCertificate>,
        served: watch::Sender<Option<Served>>,
        metrics: Metrics,
    ) -> Self {
        let secrets = Api::namespaced(client, &settings.secret_namespace);
        Self { settings, secrets, certificate, served, metrics, renew_at: Timestamp::MIN }
    }

    /// Runs until shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        let only_this = format!("metadata.name={}", self.settings.secret_name);
        let config = watcher::Config::default().fields(&only_this);
        let events = watcher(self.secrets.clone(), config).default_backoff();
        let mut events = std::pin::pin!(events);
        let mut failures: u32 = 0;
        loop {
            let pause = match self.step(Timestamp::now()).await {
                Ok(()) => {
                    failures = 0;
                    POLL_INTERVAL
                }
                Err(error) => {
                    failures += 1;
                    self.metrics.certificate_failures.inc();
                    tracing::warn!("{:#}; trying again", anyhow::Error::new(error));
                    pause::after(failures)
                }
            };
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(pause) => {}
                // The watcher tries again by itself, and polling goes on meanwhile.
                () = next_event(&mut events) => {}
            }
        }
    }

    async fn step(&mut self, now: Timestamp) -> Result<(), RenewError> {
        let authority = self.authority(now).await?;
        let same_ca =
            self.served.borrow().as_ref().is_some_and(|served| served.ca == *authority.certificate());
        if same_ca && now < self.renew_at {
            return Ok(());
        }
        let Settings { names, leaf_lifetime, .. } = &self.settings;
        let Leaf { chain, key, ca, not_after, renew_at } =
            serving::new_leaf(&authority, names, *leaf_lifetime, now)?;
        self.certificate.set(chain, &key)?;
        self.metrics.certificates_issued.inc();
        self.metrics.certificate_expiry.set(not_after.as_second());
        self.metrics.ca_expiry.set(ca.not_after().as_second());
        tracing::info!(%not_after, %renew_at, "serving a new certificate");
        self.renew_at = renew_at;
        self.served.send_replace(Some(Served { ca, not_after }));
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

    fn settings() -> Settings {
        Settings {
            secret_namespace: "ns".to_owned(),
            secret_name: "webhook-ca".to_owned(),
            names: Vec::new(),
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
}

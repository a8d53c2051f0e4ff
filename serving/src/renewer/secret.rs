//! The Secret of the CA, read and written so that replicas cannot overwrite each other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use api::keys::annotation;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};

use super::RenewError;
use crate::keeping::{self, Change, Situation};
use crate::metrics::Metrics;
use crate::stored::{Data, Stored};

/// Replicas that write at the same time see each other's CA at the second look; more looks than this mean that
/// something else is writing there.
const ATTEMPTS_MAX: usize = 5;

/// Label and annotation of the Secret (spec S1). The annotation lets the cainjector read it.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const ALLOW_INJECTION: (&str, &str) = (annotation::ALLOW_DIRECT_INJECTION, "true");

/// Reads and writes the Secret.
pub(super) struct Keeper {
    secrets: Api<Secret>,
    /// Field manager, and value of the label.
    manager: &'static str,
    namespace: String,
    secret_name: String,
    /// For messages.
    name: String,
    metrics: Metrics,
    /// Whether label and annotation were put back. Somebody who takes them out again means it.
    has_marked: AtomicBool,
}

impl Keeper {
    pub(super) fn new(
        client: Client,
        manager: &'static str,
        (namespace, secret_name): (&str, &str),
        metrics: Metrics,
    ) -> Self {
        let secrets = Api::namespaced(client, namespace);
        let (namespace, name) = (namespace.to_owned(), format!("{namespace}/{secret_name}"));
        Self {
            secrets,
            manager,
            namespace,
            secret_name: secret_name.to_owned(),
            name,
            metrics,
            has_marked: AtomicBool::new(false),
        }
    }

    pub(super) fn secrets(&self) -> Api<Secret> {
        self.secrets.clone()
    }

    /// `namespace/name`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What is in the Secret, after everything that is to be done about it was done. Whoever writes first wins, and all
    /// others look again.
    pub(super) async fn look(&self, situation: &Situation<'_>, now: Timestamp) -> Result<Stored, RenewError> {
        for _ in 0..ATTEMPTS_MAX {
            let secret = self.secrets.get_opt(&self.secret_name).await;
            let secret = secret.map_err(|error| RenewError::Read(self.name.clone(), Box::new(error)))?;
            let mut stored = read(secret.as_ref());
            let changes = keeping::advance(&mut stored, situation, now)?;
            if changes.is_empty() {
                self.mark(secret).await;
                return Ok(stored);
            }
            let secret = written(secret, self.manager, (&self.namespace, &self.secret_name), &stored);
            match self.write(&secret).await {
                Ok(()) => {
                    self.tell(&changes);
                    return Ok(stored);
                }
                Err(kube::Error::Api(status)) if status.is_already_exists() || status.is_conflict() => {
                    tracing::info!(secret = self.name, "another replica wrote first; looking again");
                }
                // It was deleted in between.
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(RenewError::Write(self.name.clone(), Box::new(error))),
            }
        }
        Err(RenewError::Contended(self.name.clone()))
    }

    /// Puts back what the Secret needs besides CAs, once. Without it only the cainjector is worse off, so a failure is
    /// told and passed over.
    async fn mark(&self, secret: Option<Secret>) {
        let Some(mut secret) = secret.filter(|secret| !is_marked(secret, self.manager)) else { return };
        if self.has_marked.swap(true, Ordering::Relaxed) {
            return;
        }
        mark(&mut secret, self.manager);
        match self.write(&secret).await {
            Ok(()) => {
                tracing::info!(secret = self.name, "put back the label and the annotation of the Secret");
            }
            Err(error) => {
                let error = anyhow::Error::new(error);
                tracing::warn!(secret = self.name, "cannot put back label and annotation: {error:#}");
            }
        }
    }

    async fn write(&self, secret: &Secret) -> Result<(), kube::Error> {
        let params = PostParams { field_manager: Some(self.manager.to_owned()), ..PostParams::default() };
        if secret.metadata.resource_version.is_some() {
            self.secrets.replace(&self.secret_name, &params, secret).await?;
        } else {
            self.secrets.create(&params, secret).await?;
        }
        Ok(())
    }

    fn tell(&self, changes: &[Change]) {
        for change in changes {
            if matches!(change, Change::Created(_) | Change::Prepared) {
                self.metrics.cas_made.inc();
            }
            tracing::info!(secret = self.name, "{change}");
        }
    }
}

fn read(secret: Option<&Secret>) -> Stored {
    let empty = Data::new();
    let data = secret.map(|secret| secret.data.as_ref().unwrap_or(&empty));
    let annotations = secret.and_then(|secret| secret.metadata.annotations.as_ref());
    let own = annotations.and_then(|all| all.get(annotation::WEBHOOK_CA_SERIAL_NUMBER));
    Stored::read(data, own.map(String::as_str))
}

/// The Secret with these CAs. What else is in a stored one stays; its resource version makes the write fail if somebody
/// else was faster.
fn written(
    secret: Option<Secret>,
    manager: &str,
    (namespace, name): (&str, &str),
    stored: &Stored,
) -> Secret {
    let mut secret = secret.unwrap_or_else(|| Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        ..Secret::default()
    });
    mark(&mut secret, manager);
    let annotations = secret.metadata.annotations.get_or_insert_default();
    annotations.remove(annotation::WEBHOOK_CA_SERIAL_NUMBER);
    if let Some(own) = stored.current.as_ref().filter(|_| stored.is_own) {
        let serial = own.certificate().serial_hex();
        annotations.insert(annotation::WEBHOOK_CA_SERIAL_NUMBER.to_owned(), serial);
    }
    stored.write(secret.data.get_or_insert_default());
    secret
}

fn is_marked(secret: &Secret, manager: &str) -> bool {
    let has = |map: &Option<BTreeMap<String, String>>, (key, value): (&str, &str)| {
        map.as_ref().and_then(|map| map.get(key)).is_some_and(|found| found == value)
    };
    has(&secret.metadata.labels, (MANAGED_BY, manager)) && has(&secret.metadata.annotations, ALLOW_INJECTION)
}

fn mark(secret: &mut Secret, manager: &str) {
    let put = |map: &mut Option<BTreeMap<String, String>>, (key, value): (&str, &str)| {
        map.get_or_insert_default().insert(key.to_owned(), value.to_owned());
    };
    put(&mut secret.metadata.labels, (MANAGED_BY, manager));
    put(&mut secret.metadata.annotations, ALLOW_INJECTION);
    secret.metadata.managed_fields = None;
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;
    use crate::CA_LIFETIME;

    const MANAGER: &str = "cert-manager-webhook";

    fn stored(is_own: bool) -> Stored {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let current = keeping::new_ca(CA_LIFETIME, now).unwrap();
        Stored { current: Some(current), is_own, ..Stored::default() }
    }

    #[test]
    fn a_stored_secret_keeps_what_is_not_ours_and_gets_back_what_was_lost() {
        let theirs = Some(BTreeMap::from([("theirs".to_owned(), "x".to_owned())]));
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some("webhook-ca".to_owned()),
                resource_version: Some("7".to_owned()),
                labels: theirs.clone(),
                annotations: theirs,
                ..ObjectMeta::default()
            },
            data: Some(Data::from([("theirs".to_owned(), ByteString(b"x".to_vec()))])),
            ..Secret::default()
        };
        let secret = written(Some(secret), MANAGER, ("ns", "webhook-ca"), &stored(true));
        assert_eq!(secret.metadata.resource_version.as_deref(), Some("7"));
        let (labels, annotations) = (secret.metadata.labels.unwrap(), secret.metadata.annotations.unwrap());
        assert_eq!((labels["theirs"].as_str(), annotations["theirs"].as_str()), ("x", "x"));
        assert_eq!(labels["app.kubernetes.io/managed-by"], "cert-manager-webhook");
        assert_eq!(annotations["cert-manager.io/allow-direct-injection"], "true");
        let data = secret.data.unwrap();
        let keys: Vec<&str> = data.keys().map(String::as_str).collect();
        assert_eq!(keys, ["ca.crt", "theirs", "tls.crt", "tls.key"]);
    }

    #[test]
    fn a_new_secret_may_be_read_by_the_cainjector_and_tells_whose_ca_it_holds() {
        let ours = written(None, MANAGER, ("ns", "webhook-ca"), &stored(true));
        assert_eq!(
            (ours.metadata.namespace.as_deref(), ours.metadata.name.as_deref()),
            (Some("ns"), Some("webhook-ca"))
        );
        assert!(read(Some(&ours)).is_own);
        let theirs = written(Some(ours), MANAGER, ("ns", "webhook-ca"), &stored(false));
        assert!(!read(Some(&theirs)).is_own);
        assert_eq!(theirs.metadata.annotations.unwrap().len(), 1);
    }
}

//! Signing in this process (`local` mode): CA issuers by their Secret's key, SelfSigned ones by the subject's own. Vault is
//! not asked from here: its credentials do not belong on every node.

use std::sync::Arc;
use std::time::Duration;

use api::{ClusterIssuer, Issuer, IssuerSpec};
use issuance::authority::Terms;
use issuance::key::PrivateKey;
use issuance::request::Request;
use jiff::Timestamp;
use kube::Client;
use runtime::watch::{self, NamedObjects, ObjectName, State};

use crate::issuer::{Opened, Order, open_local};
use crate::material::{Material, Materials};
use crate::outcome::{IssuerId, IssuerKind, Outcome, RETRY_AFTER};
use crate::references::references;

/// How long the first answer about an issuer or a Secret may take; the caller has a deadline of its own, and its
/// retry finds the watch warm.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The issuers that this process can sign for. Each Issuer and Secret is watched by name from its first use on, so a
/// signature with a warm watch costs no API call and goes on working while the API server is away.
#[derive(Debug, Clone)]
pub struct LocalIssuers {
    issuers: NamedObjects<IssuerSpec>,
    cluster_issuers: NamedObjects<IssuerSpec>,
    secrets: NamedObjects<Material>,
    cluster_resource_namespace: String,
}

impl LocalIssuers {
    /// Issuers as `client` sees them. Secrets of ClusterIssuers are read from `cluster_resource_namespace`.
    pub fn new(client: Client, cluster_resource_namespace: String) -> Self {
        Self {
            issuers: NamedObjects::namespaced(client.clone(), |issuer: Issuer| issuer.spec),
            cluster_issuers: NamedObjects::cluster(client.clone(), |issuer: ClusterIssuer| issuer.spec),
            secrets: NamedObjects::namespaced(client, Material::take),
            cluster_resource_namespace,
        }
    }

    /// Has `request` signed by `id`. `subject_key` is the key of the request, for SelfSigned issuers. URLs of
    /// revocation and issuer information come from the issuer, whatever `terms` say about them.
    pub async fn sign(
        &self,
        id: &IssuerId,
        request: &Request,
        subject_key: Option<&PrivateKey>,
        terms: &Terms,
        now: Timestamp,
    ) -> Outcome {
        self.attempt(id, request, subject_key, terms, now).await.unwrap_or_else(|unsigned| unsigned)
    }

    async fn attempt(
        &self,
        id: &IssuerId,
        request: &Request,
        subject_key: Option<&PrivateKey>,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<Outcome, Outcome> {
        let spec = self.spec(id).await?;
        let materials: Arc<dyn Materials> = Arc::new(Watched(self.secrets.clone()));
        let issuer = match open_local(id, &spec, &self.cluster_resource_namespace, &materials) {
            Opened::Issuer(issuer) => issuer,
            Opened::Unsupported { type_ } => {
                return Err(Outcome::Terminal {
                    reason: "IssuerTypeUnsupported",
                    message: format!("{id} is of type {type_}, which cannot sign here; use ca or selfSigned"),
                });
            }
            Opened::Malformed { message } => {
                return Err(Outcome::Wait {
                    reason: "IssuerTypeMissing",
                    message: format!("{id}: {message}"),
                });
            }
        };
        for secret in references(id, &spec, &self.cluster_resource_namespace) {
            // The first answer is waited for; what it says, the issuer reads.
            read(&self.secrets, &secret).await;
        }
        Ok(issuer.sign(&Order { request, terms, subject_key, now }).await)
    }

    async fn spec(&self, id: &IssuerId) -> Result<Arc<IssuerSpec>, Outcome> {
        let (objects, name) = match id.kind {
            IssuerKind::Issuer => (&self.issuers, ObjectName::namespaced(&id.namespace, &id.name)),
            IssuerKind::ClusterIssuer => (&self.cluster_issuers, ObjectName::cluster(&id.name)),
        };
        match read(objects, &name).await {
            State::Present(spec) => Ok(spec),
            State::Absent => Err(Outcome::Wait {
                reason: "IssuerNotFound",
                message: format!("{id} does not exist; create it or correct the reference to it"),
            }),
            State::Pending => Err(no_answer("IssuerGetError", &id.to_string())),
            State::Failed(failure) => Err(unreadable("IssuerGetError", &id.to_string(), &failure)),
        }
    }
}

/// Secrets that are watched by name from their first use on.
struct Watched(NamedObjects<Material>);

impl Materials for Watched {
    fn secret(&self, name: &ObjectName) -> State<Material> {
        match self.0.get(name) {
            Ok(receiver) => receiver.borrow().clone(),
            Err(refused) => refused_watch(&refused),
        }
    }
}

fn refused_watch<T>(refused: &watch::TooManyWatches) -> State<T> {
    State::Failed(watch::Failure { code: None, message: refused.to_string() })
}

async fn read<T: Send + Sync + 'static>(objects: &NamedObjects<T>, name: &ObjectName) -> State<T> {
    let mut receiver = match objects.get(name) {
        Ok(receiver) => receiver,
        Err(refused) => return refused_watch(&refused),
    };
    tokio::time::timeout(ANSWER_TIMEOUT, watch::answer(&mut receiver)).await.unwrap_or(State::Pending)
}

fn no_answer(reason: &'static str, what: &str) -> Outcome {
    let message = format!("the API server gave no answer about {what} within {ANSWER_TIMEOUT:?}");
    Outcome::Retry { after: RETRY_AFTER, reason, message }
}

fn unreadable(reason: &'static str, what: &str, failure: &watch::Failure) -> Outcome {
    let cure = if failure.is_forbidden() { "; grant this program get, list and watch on it" } else { "" };
    Outcome::Retry { after: RETRY_AFTER, reason, message: format!("cannot read {what}: {failure}{cure}") }
}

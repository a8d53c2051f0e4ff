//! Signing in this process (`local` mode): CA issuers by their Secret's key, SelfSigned ones by the subject's own.

use std::time::Duration;

use api::{ClusterIssuer, Issuer, IssuerSpec, IssuerType};
use issuance::authority::{self, Authority, Terms};
use issuance::key::PrivateKey;
use issuance::request::Request;
use jiff::Timestamp;
use kube::Client;
use runtime::watch::{self, NamedObjects, ObjectName, State};

use crate::ca::CaSecret;
use crate::outcome::{IssuerId, IssuerKind, Outcome};

/// How long the first answer about an issuer or a Secret may take; the caller has a deadline of its own, and its
/// retry finds the watch warm.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// When to come back after the API server gave no answer.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The issuers that this process can sign for. Each Issuer and Secret is watched by name from its first use on, so a
/// signature with a warm watch costs no API call and goes on working while the API server is away.
#[derive(Debug, Clone)]
pub struct LocalIssuers {
    issuers: NamedObjects<IssuerSpec>,
    cluster_issuers: NamedObjects<IssuerSpec>,
    secrets: NamedObjects<CaSecret>,
    cluster_resource_namespace: String,
}

impl LocalIssuers {
    /// Issuers as `client` sees them. Secrets of ClusterIssuers are read from `cluster_resource_namespace`.
    pub fn new(client: Client, cluster_resource_namespace: String) -> Self {
        Self {
            issuers: NamedObjects::namespaced(client.clone(), |issuer: Issuer| issuer.spec),
            cluster_issuers: NamedObjects::cluster(client.clone(), |issuer: ClusterIssuer| issuer.spec),
            secrets: NamedObjects::namespaced(client, CaSecret::take),
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
        match spec.types().as_slice() {
            [IssuerType::Ca] => {
                let secret = self.secret(id, &spec).await?;
                let terms = with_issuer_urls(terms, &spec);
                let ca = usable(id, &spec, &secret)?;
                Ok(Outcome::of_signing(id, ca.sign(request, &terms, now)))
            }
            [IssuerType::SelfSigned] => {
                let key = subject_key.ok_or_else(|| Outcome::Terminal {
                    reason: "MissingKey",
                    message: format!("{id} signs with the subject's own key, which was not given"),
                })?;
                let terms = with_issuer_urls(terms, &spec);
                Ok(Outcome::of_signing(id, authority::self_sign(request, key, &terms, now)))
            }
            [other] => Err(Outcome::Terminal {
                reason: "IssuerTypeUnsupported",
                message: format!(
                    "{id} is of type {}, which cannot sign here; use ca or selfSigned",
                    other.field()
                ),
            }),
            _ => Err(Outcome::Wait {
                reason: "IssuerTypeMissing",
                message: format!("the spec of {id} must name exactly one type, such as ca or selfSigned"),
            }),
        }
    }

    async fn spec(&self, id: &IssuerId) -> Result<std::sync::Arc<IssuerSpec>, Outcome> {
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

    async fn secret(&self, id: &IssuerId, spec: &IssuerSpec) -> Result<std::sync::Arc<CaSecret>, Outcome> {
        let namespace = match id.kind {
            IssuerKind::Issuer => &id.namespace,
            IssuerKind::ClusterIssuer => &self.cluster_resource_namespace,
        };
        let name = ObjectName::namespaced(namespace, crate::secret_name(spec).unwrap_or_default());
        match read(&self.secrets, &name).await {
            State::Present(secret) => Ok(secret),
            State::Absent => Err(Outcome::Wait {
                reason: "SecretMissing",
                message: format!("Secret {name} of {id} does not exist; create it with tls.crt and tls.key"),
            }),
            State::Pending => Err(no_answer("SecretGetError", &format!("Secret {name} of {id}"))),
            State::Failed(failure) => {
                Err(unreadable("SecretGetError", &format!("Secret {name} of {id}"), &failure))
            }
        }
    }
}

/// The CA in a Secret, or the outcome of there being none.
fn usable<'a>(id: &IssuerId, spec: &IssuerSpec, secret: &'a CaSecret) -> Result<&'a Authority, Outcome> {
    secret.authority().map_err(|error| Outcome::Wait {
        reason: "SecretInvalidData",
        message: format!("Secret {:?} of {id} {error}", crate::secret_name(spec).unwrap_or_default()),
    })
}

/// The terms with the URLs that the issuer writes into every certificate.
fn with_issuer_urls(terms: &Terms, spec: &IssuerSpec) -> Terms {
    let mut terms = terms.clone();
    if let Some(ca) = &spec.ca {
        terms.crl_distribution_points.clone_from(&ca.crl_distribution_points);
        terms.ocsp_servers.clone_from(&ca.ocsp_servers);
        terms.issuing_certificate_urls.clone_from(&ca.issuing_certificate_urls);
    }
    if let Some(self_signed) = &spec.self_signed {
        terms.crl_distribution_points.clone_from(&self_signed.crl_distribution_points);
    }
    terms
}

async fn read<T: Send + Sync + 'static>(objects: &NamedObjects<T>, name: &ObjectName) -> State<T> {
    let mut receiver = match objects.get(name) {
        Ok(receiver) => receiver,
        Err(refused) => {
            return State::Failed(watch::Failure { code: None, message: refused.to_string() });
        }
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

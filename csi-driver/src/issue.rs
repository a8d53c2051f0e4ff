//! From attributes to a credential that may be written: key, request, signature, verification.

use std::sync::Arc;

use api::keys::csi_context;
use issuance::authority::Terms;
use issuance::credential::{Credential, Verified, VerifyError};
use issuance::key::{KeyAlgorithm, PrivateKey};
use issuance::outcome::causes;
use issuance::request::{RequestError, RequestSpec};
use issuers::Outcome;
use jiff::Timestamp;

use crate::Clock;
use crate::attributes::Attributes;
use crate::keys::{Keys, NoKey};
use crate::metrics::{DriverMetrics, Phase};
use crate::signing::{Order, Signing};
use crate::volume::VolumeSpec;

/// Why a volume gets no certificate now.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// No key.
    #[error(transparent)]
    Key(#[from] NoKey),
    /// The attributes make no request.
    #[error("the volume's attributes make no certificate request")]
    Request(#[from] RequestError),
    /// Something that others make is missing; it may come.
    #[error("no certificate yet: {message}")]
    Waiting {
        /// What is missing.
        message: String,
    },
    /// The issuer did not answer; it may answer later.
    #[error("no certificate now: {message}")]
    Unreachable {
        /// What happened.
        message: String,
    },
    /// The issuer said no, and will say so again.
    #[error("no certificate: {message}")]
    Refused {
        /// Why.
        message: String,
    },
    /// What the issuer gave is not what was asked for.
    #[error("{issuer} gave a certificate that cannot be used")]
    Unusable {
        /// Kind and name of the issuer.
        issuer: String,
        /// What is wrong.
        source: VerifyError,
    },
    /// The process is ending.
    #[error("building the certificate request was interrupted")]
    Interrupted,
}

/// Makes credentials; clones share keys and issuers.
#[derive(Clone)]
pub struct Issuance {
    keys: Keys,
    signing: Arc<dyn Signing>,
    clock: Clock,
    metrics: DriverMetrics,
}

impl Issuance {
    /// Takes keys from `keys` and signatures from `signing`.
    pub fn new(keys: Keys, signing: Arc<dyn Signing>, clock: Clock, metrics: DriverMetrics) -> Self {
        Self { keys, signing, clock, metrics }
    }

    /// A credential for a volume, and the moment of its issue. `kept` is the key of the certificate before, where
    /// the volume keeps its key.
    ///
    /// # Errors
    /// When there is none to be had now.
    pub async fn issue(
        &self,
        spec: &VolumeSpec,
        kept: Option<PrivateKey>,
    ) -> Result<(Credential<Verified>, Timestamp), IssueError> {
        let attributes = &spec.attributes;
        let timer = self.metrics.phase(Phase::Key);
        let key = match kept {
            Some(key) => key,
            None => self.keys.new_key(attributes.key).await?,
        };
        let pending = build(key, request_spec(attributes)).await?.asking_for(attributes.duration);
        drop(timer);

        let _timer = self.metrics.phase(Phase::Sign);
        let now = (self.clock)();
        let order = Order {
            issuer: &attributes.issuer,
            volume: &spec.id,
            pod: &spec.pod,
            account: spec.context.get(csi_context::SERVICE_ACCOUNT_NAME).map_or("", String::as_str),
            request: pending.request(),
            key: pending.key(),
            terms: &terms(attributes),
            now,
        };
        let issued = match self.signing.sign(order).await {
            Outcome::Issued(issued) => issued,
            Outcome::Wait { message, .. } => return Err(IssueError::Waiting { message }),
            Outcome::Retry { message, .. } => return Err(IssueError::Unreachable { message }),
            Outcome::Terminal { message, .. } => return Err(IssueError::Refused { message }),
        };
        let credential =
            pending.signed(issued).verify((self.clock)()).map_err(|source| IssueError::Unusable {
                issuer: format!("{} {}", attributes.issuer.kind_or_default(), attributes.issuer.name),
                source,
            })?;
        tell(spec, &credential);
        Ok((credential, now))
    }
}

/// What the issuer had to say, and what a user would otherwise find out in the pod.
fn tell(spec: &VolumeSpec, credential: &Credential<Verified>) {
    for note in credential.notes() {
        tracing::info!(volume = %spec.id, pod = %spec.pod, "{note}");
    }
    for warning in credential.warnings() {
        tracing::warn!(volume = %spec.id, pod = %spec.pod, "{}", causes(warning));
    }
    if credential.ca().is_empty() {
        tracing::warn!(
            volume = %spec.id, pod = %spec.pod, issuer = spec.attributes.issuer.name,
            "the issuer gave no CA certificate, so {:?} is empty", spec.attributes.files.ca.as_str()
        );
    }
}

/// Signing a request with a large RSA key would hold up a whole worker thread.
async fn build(
    key: PrivateKey,
    spec: RequestSpec,
) -> Result<Credential<issuance::credential::Pending>, IssueError> {
    match key.algorithm() {
        KeyAlgorithm::Ecdsa(_) | KeyAlgorithm::Ed25519 => Ok(Credential::new(key, &spec)?),
        KeyAlgorithm::Rsa(_) => {
            let built = tokio::task::spawn_blocking(move || Credential::new(key, &spec));
            Ok(built.await.map_err(|_| IssueError::Interrupted)??)
        }
    }
}

fn request_spec(attributes: &Attributes) -> RequestSpec {
    RequestSpec {
        subject: attributes.subject.clone().into(),
        names: attributes.names.clone(),
        usages: attributes.usages.clone(),
        is_ca: attributes.is_ca,
        // As the peer: usages travel beside the request, not in it.
        encode_usages: false,
        ..RequestSpec::default()
    }
}

fn terms(attributes: &Attributes) -> Terms {
    Terms {
        duration: attributes.duration,
        usages: attributes.usages.clone(),
        is_ca: attributes.is_ca,
        ..Terms::default()
    }
}

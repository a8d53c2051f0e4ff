//! Sources: what is kept of a Secret, and whether a CA may be taken from it.

use api::keys::annotation;
use issuance::bundle::Bundle;
use issuance::pem::PemError;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use runtime::watch::{ObjectName, State};

use crate::plan::{Reason, Refusal};

/// Key of the CA in a Secret's data.
const CA_KEY: &str = "ca.crt";

/// What is kept of a Secret. The rest of it, `tls.key` included, is dropped as soon as it is decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceSecret {
    /// Whether the Secret's owner allows that its CA is copied into cluster-scoped objects.
    pub allowed: bool,
    /// `ca.crt`, if there is one.
    pub ca: Option<Vec<u8>>,
}

impl SourceSecret {
    /// Keeps what is needed of the Secret.
    pub fn keep(secret: Secret) -> Self {
        let annotations = secret.metadata.annotations.unwrap_or_default();
        let consent = annotations.get(annotation::ALLOW_DIRECT_INJECTION);
        Self {
            allowed: consent.is_some_and(|value| value == "true"),
            ca: secret.data.and_then(|mut data| data.remove(CA_KEY)).map(|ca| ca.0),
        }
    }
}

/// The CA certificates to inject from this Secret.
///
/// # Errors
/// Why nothing may be taken from it; targets then keep what they have.
pub fn bundle(name: &ObjectName, state: &State<SourceSecret>, now: Timestamp) -> Result<Bundle, Refusal> {
    let secret = match state {
        State::Present(secret) => secret,
        State::Pending => {
            let text = format!("Secret {name} has not been read yet");
            return Err(Refusal::new(Reason::SourceUnavailable, text));
        }
        State::Absent => {
            let text = format!("Secret {name} does not exist");
            return Err(Refusal::new(Reason::SourceNotFound, text));
        }
        State::Failed(failure) if failure.is_forbidden() => {
            let text = format!(
                "reading Secret {name} is forbidden: {failure}; the cainjector needs get, list and watch on it"
            );
            return Err(Refusal::new(Reason::Forbidden, text));
        }
        State::Failed(failure) => {
            let text = format!("Secret {name} cannot be read: {failure}");
            return Err(Refusal::new(Reason::SourceUnavailable, text));
        }
    };
    if !secret.allowed {
        let annotation = annotation::ALLOW_DIRECT_INJECTION;
        let text = format!(
            "Secret {name} does not allow it: its owner must set the annotation {annotation} to \"true\""
        );
        return Err(Refusal::new(Reason::SourceNotAllowed, text));
    }
    let Some(ca) = secret.ca.as_deref().filter(|ca| !ca.is_empty()) else {
        let text = format!("Secret {name} has no {CA_KEY}: put the CA certificate in PEM there");
        return Err(Refusal::new(Reason::NoCAData, text));
    };
    let bundle = Bundle::parse(ca).map_err(|error| {
        let reason = match error {
            PemError::PrivateKey { .. } => Reason::PrivateKeyInSource,
            _ => Reason::InvalidPEM,
        };
        Refusal::new(reason, format!("{CA_KEY} of Secret {name}: {error}"))
    })?;
    let certificates = bundle.certificates();
    if certificates.iter().all(|certificate| certificate.not_after() < now) {
        let text = format!("every certificate in {CA_KEY} of Secret {name} has expired");
        return Err(Refusal::new(Reason::CAExpired, text));
    }
    Ok(bundle)
}

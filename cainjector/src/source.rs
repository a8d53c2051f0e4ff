//! Sources: what is kept of a Secret, and whether a CA may be taken from it.

use api::keys::annotation;
use issuance::bundle::Bundle;
use issuance::pem::PemError;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::core::ApiResource;
use kube::{Api, Client};
use runtime::trimmed::{Keep, Trimmed};
use runtime::watch::{ObjectName, State};
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess};

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

/// What is read of a Secret. Of its data, `ca.crt` alone is decoded: keys are not looked at.
#[derive(Debug, Clone, Default)]
pub struct SecretContent {
    ca: Option<ByteString>,
}

impl Keep for SecretContent {
    const ANNOTATIONS: &'static [&'static str] = &[annotation::ALLOW_DIRECT_INJECTION];

    fn member<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        #[derive(Deserialize)]
        struct Data {
            #[serde(rename = "ca.crt")]
            ca: Option<ByteString>,
        }
        if name == "data" {
            self.ca = map.next_value::<Option<Data>>()?.and_then(|data| data.ca);
            return Ok(());
        }
        map.next_value::<IgnoredAny>().map(drop)
    }
}

/// Where the Secret of a name is to be watched.
pub fn secrets(client: Client) -> impl Fn(&ObjectName) -> Api<Trimmed<SecretContent>> {
    let resource = ApiResource::erase::<Secret>(&());
    move |name| {
        let namespace = name.namespace.as_deref().unwrap_or_default();
        Api::namespaced_with(client.clone(), namespace, &resource)
    }
}

impl SourceSecret {
    /// Keeps what is needed of the Secret.
    pub fn keep(secret: Trimmed<SecretContent>) -> Self {
        let annotations = secret.metadata.annotations.unwrap_or_default();
        let consent = annotations.get(annotation::ALLOW_DIRECT_INJECTION);
        Self { allowed: consent.is_some_and(|value| value == "true"), ca: secret.content.ca.map(|ca| ca.0) }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(secret: &str, allowed: bool, ca: Option<&str>) {
        let secret: Trimmed<SecretContent> = serde_json::from_str(secret).unwrap();
        let expected = SourceSecret { allowed, ca: ca.map(|ca| ca.as_bytes().to_vec()) };
        assert_eq!(SourceSecret::keep(secret), expected);
    }

    #[test]
    fn a_ca_that_is_not_base64_is_refused() {
        let secret = r#"{"metadata": {}, "data": {"ca.crt": "no base64 !"}}"#;
        assert!(serde_json::from_str::<Trimmed<SecretContent>>(secret).is_err());
    }

    #[test]
    fn the_ca_and_the_consent_are_all_that_is_read() {
        check(r#"{"metadata": {"name": "ca"}, "type": "Opaque"}"#, false, None);
        check(r#"{"metadata": {"name": "ca"}, "data": null}"#, false, None);
        let consent = r#""cert-manager.io/allow-direct-injection": "true""#;
        // A key that cannot be decoded shows that nobody tries.
        check(
            &format!(
                r#"{{"metadata": {{"annotations": {{{consent}, "other": "x"}}}},
                    "data": {{"tls.key": "no base64 !", "ca.crt": "b2xk"}}}}"#
            ),
            true,
            Some("old"),
        );
    }
}

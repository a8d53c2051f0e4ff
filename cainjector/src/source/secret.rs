//! Secrets as sources.

use std::fmt;
use std::ops::Deref;

use api::keys::annotation;
use issuance::bundle::Bundle;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::core::ApiResource;
use kube::{Api, Client};
use runtime::trimmed::{Keep, Trimmed};
use runtime::watch::crowd::Versioned;
use runtime::watch::{ObjectName, State};
use serde::de::{IgnoredAny, MapAccess};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::{CA_KEY, Found};
use crate::bounds::{VALUE_BYTES_MAX, clipped};
use crate::plan::{Reason, Refusal};

/// What is kept of a Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceSecret {
    /// `metadata.uid`, for events.
    pub uid: String,
    /// Whether the Secret's owner allows that its CA is copied into cluster-scoped objects.
    pub allowed: bool,
    /// The Certificate that it says to belong to.
    pub certificate_name: Option<String>,
    /// `ca.crt`, if there is one.
    pub ca: Option<CaText>,
}

/// What stands at `ca.crt`. That may be a private key by mistake, so it is treated as one: never printed, and zeroed when
/// dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CaText(Zeroizing<Vec<u8>>);

impl From<Vec<u8>> for CaText {
    fn from(text: Vec<u8>) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Deref for CaText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for CaText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl<'de> Deserialize<'de> for CaText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ByteString::deserialize(deserializer).map(|text| Self::from(text.0))
    }
}

/// What is read of a Secret. Of its data, `ca.crt` alone is decoded: keys are not looked at.
#[derive(Debug, Clone, Default)]
pub struct SecretContent {
    ca: Option<CaText>,
}

impl Keep for SecretContent {
    const ANNOTATIONS: &'static [&'static str] =
        &[annotation::ALLOW_DIRECT_INJECTION, annotation::CERTIFICATE_NAME];

    fn member<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        #[derive(Deserialize)]
        struct Data {
            #[serde(rename = "ca.crt")]
            ca: Option<CaText>,
        }
        if name == "data" {
            self.ca = map.next_value::<Option<Data>>()?.and_then(|data| data.ca);
            return Ok(());
        }
        map.next_value::<IgnoredAny>().map(drop)
    }
}

/// The kind.
pub fn resource() -> ApiResource {
    ApiResource::erase::<Secret>(&())
}

/// Where the Secret of a name is to be watched.
pub fn watched(client: Client) -> impl Fn(&ObjectName) -> Api<Trimmed<SecretContent>> {
    let resource = resource();
    move |name| {
        let namespace = name.namespace.as_deref().unwrap_or_default();
        Api::namespaced_with(client.clone(), namespace, &resource)
    }
}

/// Where all Secrets of a namespace are to be watched, by their versions.
pub fn crowd(client: Client) -> impl Fn(&str) -> Api<Versioned> {
    let resource = resource();
    move |namespace| Api::namespaced_with(client.clone(), namespace, &resource)
}

impl SourceSecret {
    /// Keeps what is needed of the Secret.
    pub fn keep(secret: Trimmed<SecretContent>) -> Self {
        let mut annotations = secret.metadata.annotations.unwrap_or_default();
        let consent = annotations.get(annotation::ALLOW_DIRECT_INJECTION);
        Self {
            uid: secret.metadata.uid.unwrap_or_default(),
            allowed: consent.is_some_and(|value| value == "true"),
            certificate_name: annotations
                .remove(annotation::CERTIFICATE_NAME)
                .map(|name| clipped(name, VALUE_BYTES_MAX)),
            ca: secret.content.ca,
        }
    }

    /// Its CA certificates; whether they may be taken is the caller's to know.
    pub(super) fn bundle(&self, name: &ObjectName) -> Result<Bundle, Refusal> {
        let Some(ca) = self.ca.as_deref().filter(|ca| !ca.is_empty()) else {
            let text = format!("Secret {name} has no {CA_KEY}: put the CA certificate in PEM there");
            return Err(Refusal::new(Reason::NoCAData, text));
        };
        super::parse(&format!("{CA_KEY} of Secret {name}"), ca)
    }
}

/// The CA certificates to inject from this Secret, or why nothing may be taken from it.
pub fn bundle(name: &ObjectName, state: &State<SourceSecret>) -> Found<Bundle> {
    let found = super::present("Secret", name, state)?;
    Some(found.and_then(|secret| {
        if secret.allowed {
            return secret.bundle(name);
        }
        let annotation = annotation::ALLOW_DIRECT_INJECTION;
        let text = format!(
            "Secret {name} does not allow it: its owner must set the annotation {annotation} to \"true\""
        );
        Err(Refusal::new(Reason::SourceNotAllowed, text))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(secret: &str, allowed: bool, certificate_name: Option<&str>, ca: Option<&str>) {
        let secret: Trimmed<SecretContent> = serde_json::from_str(secret).unwrap();
        let expected = SourceSecret {
            uid: secret.metadata.uid.clone().unwrap_or_default(),
            allowed,
            certificate_name: certificate_name.map(ToOwned::to_owned),
            ca: ca.map(|ca| ca.as_bytes().to_vec().into()),
        };
        assert_eq!(SourceSecret::keep(secret), expected);
    }

    #[test]
    fn a_ca_that_is_not_base64_is_refused() {
        let secret = r#"{"metadata": {}, "data": {"ca.crt": "no base64 !"}}"#;
        assert!(serde_json::from_str::<Trimmed<SecretContent>>(secret).is_err());
    }

    #[test]
    fn what_may_be_a_key_is_not_printed() {
        let secret = SourceSecret {
            ca: Some(b"-----BEGIN PRIVATE KEY-----".to_vec().into()),
            ..SourceSecret::default()
        };
        let text = format!("{secret:?}");
        assert!(text.contains("ca: Some([27 bytes])"), "{text}");
    }

    #[test]
    fn the_ca_and_who_may_take_it_are_all_that_is_read() {
        check(r#"{"metadata": {"name": "ca", "uid": "u"}, "type": "Opaque"}"#, false, None, None);
        check(r#"{"metadata": {"name": "ca"}, "data": null}"#, false, None, None);
        let annotations = r#""cert-manager.io/allow-direct-injection": "true",
            "cert-manager.io/certificate-name": "web", "other": "x""#;
        // A key that cannot be decoded shows that nobody tries.
        check(
            &format!(
                r#"{{"metadata": {{"annotations": {{{annotations}}}}},
                    "data": {{"tls.key": "no base64 !", "ca.crt": "b2xk"}}}}"#
            ),
            true,
            Some("web"),
            Some("old"),
        );
        for other in ["True", "yes", "false", ""] {
            let annotation = format!(r#""cert-manager.io/allow-direct-injection": "{other}""#);
            check(&format!(r#"{{"metadata": {{"annotations": {{{annotation}}}}}}}"#), false, None, None);
        }
    }
}

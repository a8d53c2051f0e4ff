//! Certificates as sources: by way of the Secret that each is issued into.

use api::injection::is_name;
use api::keys::annotation;
use issuance::bundle::Bundle;
use kube::core::ApiResource;
use kube::{Api, Client};
use runtime::trimmed::{Keep, Trimmed};
use runtime::watch::crowd::Versioned;
use runtime::watch::{ObjectName, State};
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess};

use super::{Found, SourceSecret};
use crate::plan::{Reason, Refusal};

/// What is kept of a Certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceCertificate {
    /// `metadata.uid`, for events.
    pub uid: String,
    /// `spec.secretName`.
    pub secret_name: String,
}

/// What is read of a Certificate.
#[derive(Debug, Clone, Default)]
pub struct CertificateContent {
    secret_name: Option<String>,
}

impl Keep for CertificateContent {
    fn member<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Spec {
            secret_name: Option<String>,
        }
        if name == "spec" {
            self.secret_name = map.next_value::<Option<Spec>>()?.and_then(|spec| spec.secret_name);
            return Ok(());
        }
        map.next_value::<IgnoredAny>().map(drop)
    }
}

/// The kind.
pub fn resource() -> ApiResource {
    ApiResource::erase::<api::Certificate>(&())
}

/// Where the Certificate of a name is to be watched.
pub fn watched(client: Client) -> impl Fn(&ObjectName) -> Api<Trimmed<CertificateContent>> {
    let resource = resource();
    move |name| {
        let namespace = name.namespace.as_deref().unwrap_or_default();
        Api::namespaced_with(client.clone(), namespace, &resource)
    }
}

/// Where all Certificates of a namespace are to be watched, by their versions.
pub fn crowd(client: Client) -> impl Fn(&str) -> Api<Versioned> {
    let resource = resource();
    move |namespace| Api::namespaced_with(client.clone(), namespace, &resource)
}

impl SourceCertificate {
    /// Keeps what is needed of the Certificate.
    pub fn keep(certificate: Trimmed<CertificateContent>) -> Self {
        let uid = certificate.metadata.uid.unwrap_or_default();
        Self { uid, secret_name: certificate.content.secret_name.unwrap_or_default() }
    }
}

/// The Secret that a Certificate is issued into, if it is known and names one.
pub fn secret(name: &ObjectName, state: &State<SourceCertificate>) -> Option<ObjectName> {
    match state {
        State::Present(certificate) if is_name(&certificate.secret_name) => {
            let namespace = name.namespace.clone();
            Some(ObjectName { namespace, name: certificate.secret_name.clone() })
        }
        _ => None,
    }
}

/// The CA certificates to inject from this Certificate, or why nothing may be taken. `secret_state` is what is known of
/// its [`secret`].
pub fn bundle(
    name: &ObjectName,
    state: &State<SourceCertificate>,
    secret_state: &State<SourceSecret>,
) -> Found<Bundle> {
    let certificate = match super::present("Certificate", name, state)? {
        Ok(certificate) => certificate,
        Err(refusal) => return Some(Err(refusal)),
    };
    let Some(secret_name) = secret(name, state) else {
        let found = &certificate.secret_name;
        let text = format!("Certificate {name} names no Secret: its spec.secretName is {found:?}");
        return Some(Err(Refusal::new(Reason::SourceNotFound, text)));
    };
    let found = super::present("Secret", &secret_name, secret_state)?;
    let bundle = found.and_then(|secret| owned(secret, &secret_name, name)?.bundle(&secret_name));
    Some(bundle.map_err(|Refusal { reason, message }| {
        Refusal::new(reason, format!("{message} (it is the Secret of Certificate {name})"))
    }))
}

/// The Secret, if it says to belong to the Certificate: another one of that name is not its owner's to give away.
fn owned<'a>(
    secret: &'a SourceSecret,
    secret_name: &ObjectName,
    certificate: &ObjectName,
) -> Result<&'a SourceSecret, Refusal> {
    let found = match secret.certificate_name.as_deref() {
        Some(found) if found == certificate.name => return Ok(secret),
        Some(found) => format!("is {found:?}"),
        None => "is missing".to_owned(),
    };
    let (annotation, expected) = (annotation::CERTIFICATE_NAME, &certificate.name);
    let text = format!(
        "the annotation {annotation} of Secret {secret_name} {found}: it must be {expected:?}, and is set when the \
         Certificate is issued"
    );
    Err(Refusal::new(Reason::SourceNotOwned, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(certificate: &str, secret_name: &str) {
        let read: Trimmed<CertificateContent> = serde_json::from_str(certificate).unwrap();
        assert_eq!(SourceCertificate::keep(read).secret_name, secret_name, "{certificate}");
    }

    #[test]
    fn a_certificate_without_a_secret_names_none() {
        check(r#"{"metadata": {}}"#, "");
        check(r#"{"metadata": {}, "spec": null}"#, "");
        check(r#"{"metadata": {}, "spec": {"secretName": null}}"#, "");
    }

    #[test]
    fn the_secret_is_all_that_is_read() {
        check(r#"{"metadata": {}, "spec": {"secretName": "web", "dnsNames": "any"}, "status": 1}"#, "web");
    }
}

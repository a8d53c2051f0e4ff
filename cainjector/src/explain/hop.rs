//! The way from an annotation to a CA.

use api::keys::annotation;
use issuance::certificate::Certificate;
use issuance::pem::{self, Limit};
use jiff::Timestamp;
use runtime::watch::{ObjectName, State};
use serde::Serialize;

use super::text::number;
use super::{CertificateFacts, Objects};
use crate::plan::Inputs;
use crate::reference::{SourceRef, Wanted};
use crate::source::{CA_KEY, SourceSecret, certificate};

/// One object on the way from an annotation to a CA, and what was found there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// The object.
    pub object: String,
    /// What was found.
    pub found: Vec<String>,
    /// The CA certificates that it has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateFacts>,
}

/// The way to the CA that is asked for.
pub(super) fn hops(inputs: &Inputs, objects: &Objects, now: Timestamp) -> Vec<Hop> {
    let Wanted::Source(source) = &inputs.wanted else { return Vec::new() };
    match source {
        SourceRef::Secret(name) => {
            let consent = |secret: &SourceSecret| {
                let (annotation, is) = (annotation::ALLOW_DIRECT_INJECTION, secret.allowed);
                format!("annotation {annotation} is {}\"true\"", if is { "" } else { "not " })
            };
            vec![secret(name, objects, consent, now)]
        }
        SourceRef::Certificate(name) => certificate_hops(name, objects, now),
        SourceRef::ApiServer => {
            let found = match &inputs.source {
                Ok(bundle) => format!("its CA holds {}", number(bundle.certificates().len())),
                Err(refusal) => refusal.message.clone(),
            };
            let certificates = inputs.source.as_ref().map(|bundle| told(bundle.certificates(), now));
            vec![Hop {
                object: "the configuration by which this process reaches the API server".to_owned(),
                found: vec![found],
                certificates: certificates.unwrap_or_default(),
            }]
        }
    }
}

fn certificate_hops(name: &ObjectName, objects: &Objects, now: Timestamp) -> Vec<Hop> {
    let state = objects.certificates.get(name);
    let found = match state {
        Some(State::Present(found)) => vec![format!("spec.secretName is {:?}", found.secret_name)],
        state => vec![absent(state)],
    };
    let first = Hop { object: format!("Certificate {name}"), found, certificates: Vec::new() };
    let secret_name = state.and_then(|state| certificate::secret(name, state));
    let owner = |secret: &SourceSecret| {
        let annotation = annotation::CERTIFICATE_NAME;
        match &secret.certificate_name {
            Some(owner) => format!("annotation {annotation} is {owner:?}"),
            None => format!("annotation {annotation} is missing"),
        }
    };
    let second = secret_name.map(|secret_name| secret(&secret_name, objects, owner, now));
    [Some(first), second].into_iter().flatten().collect()
}

fn secret(
    name: &ObjectName,
    objects: &Objects,
    consent: impl Fn(&SourceSecret) -> String,
    now: Timestamp,
) -> Hop {
    let object = format!("Secret {name}");
    let secret = match objects.secrets.get(name) {
        Some(State::Present(secret)) => secret,
        state => return Hop { object, found: vec![absent(state)], certificates: Vec::new() },
    };
    let mut found = vec![consent(secret)];
    let certificates = match secret.ca.as_deref() {
        None => Err("is missing".to_owned()),
        Some([]) => Err("is empty".to_owned()),
        Some(ca) => pem::certificates(ca, Limit::BUNDLE).map_err(|error| format!("is unusable: {error}")),
    };
    found.push(match &certificates {
        Ok(certificates) => format!("{CA_KEY} holds {}", number(certificates.len())),
        Err(error) => format!("{CA_KEY} {error}"),
    });
    Hop { object, found, certificates: told(&certificates.unwrap_or_default(), now) }
}

fn told(certificates: &[Certificate], now: Timestamp) -> Vec<CertificateFacts> {
    let told = |certificate| CertificateFacts {
        is_from_source: true,
        ..CertificateFacts::of(certificate, None, now)
    };
    certificates.iter().map(told).collect()
}

fn absent<T>(state: Option<&State<T>>) -> String {
    match state {
        Some(State::Absent) => "does not exist".to_owned(),
        Some(State::Failed(failure)) => format!("cannot be read: {failure}"),
        Some(State::Present(_)) => "is there".to_owned(),
        None | Some(State::Pending) => "is not looked at".to_owned(),
    }
}

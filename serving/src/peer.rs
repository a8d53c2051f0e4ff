//! What cert-manager's webhook does with the Secret (spec S1 to S3), for tests beside it.

use std::collections::BTreeMap;

use issuance::authority::Authority;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::stored::Data;

const LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);

/// The data of a Secret as it makes it: ECDSA P-384, self-signed, 365 days from now on, not back-dated.
pub(crate) fn data(now: Timestamp) -> Data {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "cert-manager-webhook-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    let at = |at: Timestamp| std::time::SystemTime::from(at).into();
    (params.not_before, params.not_after) = (at(now), at(now + LIFETIME));
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem().into_bytes();
    [("tls.crt", certificate.clone()), ("tls.key", key.serialize_pem().into_bytes()), ("ca.crt", certificate)]
        .map(|(key, value)| (key.to_owned(), ByteString(value)))
        .into()
}

/// Why it would replace what is in a Secret.
pub(crate) fn regenerates(data: Option<&Data>, now: Timestamp) -> Option<&'static str> {
    let get = |key: &str| data.and_then(|data| data.get(key)).filter(|value| !value.0.is_empty());
    let (Some(certificate), Some(key), Some(ca)) = (get("tls.crt"), get("tls.key"), get("ca.crt")) else {
        return Some("a key is empty");
    };
    if certificate != ca {
        return Some("ca.crt is not tls.crt");
    }
    let Ok(authority) = Authority::from_pem(&certificate.0, &key.0, None) else {
        return Some("the pair is not a CA's");
    };
    let certificate = authority.certificate();
    let lifetime = certificate.not_after().duration_since(certificate.not_before());
    let is_old = certificate.not_after().duration_since(now) < lifetime / 3;
    is_old.then_some("less than a third of its life is left")
}

/// What it makes of a Secret: the same one, or one with a new CA in which all else stays.
pub(crate) fn seen_to(secret: Option<Secret>, now: Timestamp) -> Secret {
    if let Some(secret) = &secret
        && regenerates(secret.data.as_ref(), now).is_none()
    {
        return secret.clone();
    }
    let mut secret = secret.unwrap_or_else(|| Secret {
        metadata: ObjectMeta {
            name: Some("webhook-ca".to_owned()),
            namespace: Some("ns".to_owned()),
            labels: Some(map("app.kubernetes.io/managed-by", "cert-manager-webhook")),
            annotations: Some(map("cert-manager.io/allow-direct-injection", "true")),
            ..ObjectMeta::default()
        },
        ..Secret::default()
    });
    secret.data.get_or_insert_default().extend(data(now));
    secret
}

fn map(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

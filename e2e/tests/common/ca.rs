//! The webhook's CA: in its Secret, in its configurations, and what it serves under.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use e2e::namespace::Scope;
use e2e::{install, wait};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

use super::replicas;
use super::reviewer::{Reviewer, SECRET};

/// How long replicas may take to serve under another CA; some seconds are usual.
const SERVED_WITHIN: Duration = Duration::from_secs(60);

/// How long cert-manager's CA lives.
pub(crate) const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// The kinds of its configurations, and the name that both have.
pub(crate) const KINDS: [&str; 2] = ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"];
pub(crate) const CONFIGURATION: &str = "cert-manager-webhook";

/// The Secret's namespace.
pub(crate) fn secrets(scope: &Scope) -> Api<Secret> {
    Api::namespaced(scope.client.clone(), install::RELEASE)
}

/// What is in one key of the Secret.
pub(crate) async fn stored(scope: &Scope, key: &str) -> anyhow::Result<Vec<u8>> {
    let data = secrets(scope).get(SECRET).await?.data;
    Ok(data.and_then(|mut data| data.remove(key)).with_context(|| format!("the Secret has no {key}"))?.0)
}

/// The CA in the Secret, PEM.
pub(crate) async fn current(scope: &Scope) -> anyhow::Result<Vec<u8>> {
    stored(scope, "tls.crt").await
}

/// Waits until every replica serves under the CA in the Secret.
pub(crate) async fn served(scope: &Scope) -> anyhow::Result<()> {
    wait::until("every replica to serve under the CA in the Secret", SERVED_WITHIN, || async {
        let reviewer = Reviewer::new(&scope.cluster).await?;
        replicas::ready(&scope.client).await?.iter().try_for_each(|replica| reviewer.open(replica).map(drop))
    })
    .await
}

/// A CA as cert-manager's webhook makes it, of this age: certificate and key, PEM.
pub(crate) fn like_cert_managers(age: Duration) -> anyhow::Result<(String, String)> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "cert-manager-webhook-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    let born = SystemTime::now() - age;
    params.not_before = born.into();
    params.not_after = (born + LIFETIME).into();
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// Takes the bundles out of every entry of a configuration.
pub(crate) async fn empty_bundles(scope: &Scope, kind: &str) -> anyhow::Result<()> {
    let api = scope.resource("admissionregistration.k8s.io/v1", kind);
    let count = api.get(CONFIGURATION).await?.data["webhooks"].as_array().map_or(0, Vec::len);
    let operations: Vec<Value> = (0..count)
        .map(|index| json!({"op": "remove", "path": format!("/webhooks/{index}/clientConfig/caBundle")}))
        .collect();
    let patch = Patch::Json::<()>(serde_json::from_value(json!(operations))?);
    api.patch(CONFIGURATION, &PatchParams::default(), &patch).await?;
    Ok(())
}

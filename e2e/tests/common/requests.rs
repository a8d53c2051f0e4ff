//! CertificateRequests, and what becomes of them.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::namespace::Scope;
use e2e::objects::{decision, signing_request};
use e2e::wait;
use k8s_openapi::api::core::v1::Event;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// How long an answer may take on a busy machine; a tenth of a second is usual.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);

const API_VERSION: &str = "cert-manager.io/v1";
const KIND: &str = "CertificateRequest";

/// A request of this name to the issuer `ca`.
pub(crate) fn request(name: &str, kind: &str, group: &str) -> anyhow::Result<Value> {
    Ok(json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {"request": signing_request()?, "issuerRef": {"name": "ca", "kind": kind, "group": group}},
    }))
}

/// The status of a request.
pub(crate) async fn status(scope: &Scope, name: &str) -> anyhow::Result<Value> {
    Ok(scope.resource(API_VERSION, KIND).get(name).await?.data["status"].clone())
}

/// A condition of a status.
pub(crate) fn condition<'a>(status: &'a Value, type_: &str) -> Option<&'a Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)
}

/// Approves or denies as an administrator does: what else the status holds stays.
pub(crate) async fn decide(scope: &Scope, name: &str, type_: &str) -> anyhow::Result<()> {
    wait::until(&format!("{name} to be decided"), WITHIN, || async {
        let requests = scope.resource(API_VERSION, KIND);
        let found = requests.get(name).await?;
        let mut conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.push(decision(type_));
        let patch = json!({
            "metadata": {"resourceVersion": found.metadata.resource_version},
            "status": {"conditions": conditions},
        });
        requests.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        anyhow::Ok(())
    })
    .await
}

/// Waits until the request has a condition of this type with this reason, and a message with this in it; the status then.
pub(crate) async fn is_told(
    scope: &Scope,
    name: &str,
    type_: &str,
    reason: &str,
    message: &str,
) -> anyhow::Result<Value> {
    wait::until(&format!("request {name} to be {type_}, {reason}"), WITHIN, || async {
        let status = status(scope, name).await?;
        let found = condition(&status, type_).with_context(|| format!("no condition {type_}: {status}"))?;
        let text = found["message"].as_str().unwrap_or_default();
        ensure!(found["reason"] == reason && text.contains(message), "the condition is {found}");
        anyhow::Ok(status)
    })
    .await
}

/// Waits until an event about the request has this reason.
pub(crate) async fn is_heard(scope: &Scope, name: &str, reason: &str) -> anyhow::Result<()> {
    wait::until(&format!("event {reason} about {name}"), WITHIN, || async {
        let about = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let events = scope.api::<Event>().list(&about).await?;
        let reasons: Vec<_> = events.iter().filter_map(|event| event.reason.as_deref()).collect();
        ensure!(reasons.contains(&reason), "the reasons are {reasons:?}");
        anyhow::Ok(())
    })
    .await
}

//! What becomes of CertificateRequests: approved, signed, refused, or waiting for what is missing. The shared controller
//! approves nothing, so that tests can; one of a test's own does.

mod common;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use common::rival;
use e2e::authority::{Authority, issuer};
use e2e::namespace::{self, Scope};
use e2e::objects::{decision, signing_request, signing_request_by};
use e2e::wait;
use k8s_openapi::api::core::v1::Event;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// How long an answer may take on a busy machine; a tenth of a second is usual.
const WITHIN: Duration = Duration::from_secs(30);

const API_VERSION: &str = "cert-manager.io/v1";
const KIND: &str = "CertificateRequest";

#[tokio::test]
async fn a_request_is_approved_and_signed() -> anyhow::Result<()> {
    namespace::own("approved", |scope| async move {
        let values = rival_controller(&scope);
        rival::with(&scope, &values, async {
            scope.create(&Authority::new("root")?.secret("ca")).await?;
            scope.create(&issuer("Issuer", "ca", &json!({"ca": {"secretName": "ca"}}))).await?;
            scope.create(&request("web", "Issuer", "cert-manager.io")?).await?;
            let status = is_told(&scope, "web", "Approved", "cert-manager.io", "").await?;
            ensure!(status["failureTime"].is_null(), "it has a failure time: {status}");
            let status = is_told(&scope, "web", "Ready", "Issued", "is valid until").await?;
            for field in ["certificate", "ca"] {
                ensure!(status[field].as_str().is_some_and(|text| !text.is_empty()), "no {field}: {status}");
            }
            is_heard(&scope, "web", "CertificateIssued").await?;

            scope.create(&request("foreign", "Widget", "example.com")?).await?;
            // The webhook lets nobody approve what no kind of the cluster stands for.
            is_heard(&scope, "foreign", "ApprovalForbidden").await?;
            let foreign = self::status(&scope, "foreign").await?;
            ensure!(condition(&foreign, "Ready").is_none(), "it was answered: {foreign}");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn approval_can_be_left_to_others() -> anyhow::Result<()> {
    namespace::own("left", |scope| async move {
        scope.create(&Authority::new("root")?.secret("ca")).await?;
        scope.create(&issuer("Issuer", "ca", &json!({"ca": {"secretName": "ca"}}))).await?;
        scope.create(&request("web", "Issuer", "cert-manager.io")?).await?;
        is_heard(&scope, "web", "WaitingForApproval").await?;
        ensure!(condition(&status(&scope, "web").await?, "Approved").is_none(), "somebody approved it");
        decide(&scope, "web", "Approved").await?;
        is_told(&scope, "web", "Ready", "Issued", "").await?;

        scope.create(&request("unwanted", "Issuer", "cert-manager.io")?).await?;
        decide(&scope, "unwanted", "Denied").await?;
        let status = is_told(&scope, "unwanted", "Ready", "Denied", "denied").await?;
        ensure!(status["failureTime"].is_string() && status["certificate"].is_null(), "{status}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_request_waits_until_its_issuer_is_there_and_ready() -> anyhow::Result<()> {
    namespace::own("pending", |scope| async move {
        scope.create(&request("web", "Issuer", "cert-manager.io")?).await?;
        decide(&scope, "web", "Approved").await?;
        is_told(&scope, "web", "Ready", "Pending", "IssuerNotFound").await?;
        scope.create(&issuer("Issuer", "ca", &json!({"ca": {"secretName": "ca"}}))).await?;
        is_told(&scope, "web", "Ready", "Pending", "IssuerNotReady").await?;
        scope.create(&Authority::new("root")?.secret("ca")).await?;
        is_told(&scope, "web", "Ready", "Issued", "").await.map(drop)
    })
    .await
}

#[tokio::test]
async fn a_self_signed_request_uses_only_keys_that_are_there_for_certificates() -> anyhow::Result<()> {
    namespace::own("selfsigned", |scope| async move {
        scope.create(&issuer("Issuer", "ca", &json!({"selfSigned": {}}))).await?;
        scope.create(&request("nameless", "Issuer", "cert-manager.io")?).await?;
        decide(&scope, "nameless", "Approved").await?;
        let status = is_told(&scope, "nameless", "Ready", "Failed", "private-key-secret-name").await?;
        ensure!(status["failureTime"].is_string(), "no failure time: {status}");
        is_heard(&scope, "nameless", "MissingAnnotation").await?;

        let key = rcgen::KeyPair::generate()?;
        for (name, labels) in
            [("private", json!({})), ("next", json!({"cert-manager.io/next-private-key": "true"}))]
        {
            let mut request = request(name, "Issuer", "cert-manager.io")?;
            request["spec"]["request"] = json!(signing_request_by(&key)?);
            request["metadata"]["annotations"] = json!({"cert-manager.io/private-key-secret-name": name});
            scope.create(&request).await?;
            decide(&scope, name, "Approved").await?;
            is_told(&scope, name, "Ready", "Pending", "MissingSecret").await?;
            scope
                .create(&json!({
                    "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels},
                    "stringData": {"tls.key": key.serialize_pem()},
                }))
                .await?;
        }
        is_told(&scope, "private", "Ready", "Failed", "is not there for certificates").await?;
        is_told(&scope, "next", "Ready", "Issued", "").await.map(drop)
    })
    .await
}

/// Values of a controller that approves, and works in the namespace of the test alone.
fn rival_controller(scope: &Scope) -> Vec<String> {
    let namespace = &scope.namespace;
    vec![
        "webhook.enabled=false,cainjector.enabled=false,csiDriver.enabled=false".to_owned(),
        format!("controller.leaderElection.namespace={namespace}"),
        format!("controller.extraArgs={{--namespace={namespace}}}"),
    ]
}

fn request(name: &str, kind: &str, group: &str) -> anyhow::Result<Value> {
    Ok(json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {"request": signing_request()?, "issuerRef": {"name": "ca", "kind": kind, "group": group}},
    }))
}

async fn status(scope: &Scope, name: &str) -> anyhow::Result<Value> {
    Ok(scope.resource(API_VERSION, KIND).get(name).await?.data["status"].clone())
}

fn condition<'a>(status: &'a Value, type_: &str) -> Option<&'a Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)
}

/// Approves or denies as an administrator does: what else the status holds stays.
async fn decide(scope: &Scope, name: &str, type_: &str) -> anyhow::Result<()> {
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
async fn is_told(
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
async fn is_heard(scope: &Scope, name: &str, reason: &str) -> anyhow::Result<()> {
    wait::until(&format!("event {reason} about {name}"), WITHIN, || async {
        let about = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let events = scope.api::<Event>().list(&about).await?;
        let reasons: Vec<_> = events.iter().filter_map(|event| event.reason.as_deref()).collect();
        ensure!(reasons.contains(&reason), "the reasons are {reasons:?}");
        anyhow::Ok(())
    })
    .await
}

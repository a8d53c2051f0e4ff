//! What becomes of CertificateRequests: approved, signed, refused, or waiting for what is missing. The shared controller
//! approves nothing, so that tests can; one of a test's own does.

mod common;

use anyhow::ensure;
use common::requests::{condition, decide, is_heard, is_told, request, status};
use common::rival;
use e2e::authority::{Authority, issuer};
use e2e::namespace::{self, Scope};
use e2e::objects::signing_request_by;
use serde_json::json;

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
            let foreign = common::requests::status(&scope, "foreign").await?;
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

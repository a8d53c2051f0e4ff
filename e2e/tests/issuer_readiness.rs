//! What an Issuer's Ready condition says while its Secret comes, goes and changes.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::authority::{Authority, issuer};
use e2e::namespace::{self, Scope};
use e2e::wait;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

/// How long a condition may take on a busy machine; a tenth of a second is usual.
const WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn an_issuer_is_ready_for_as_long_as_its_key_pair_is_there() -> anyhow::Result<()> {
    namespace::own("readiness", |scope| async move {
        scope.create(&issuer("Issuer", "ca", &json!({"ca": {"secretName": "ca"}}))).await?;
        is_told(&scope, "ca", "False", "ErrGetKeyPair", "Secret \"ca\" does not exist").await?;

        let authority = Authority::new("first")?;
        scope.create(&authority.secret("ca")).await?;
        is_told(&scope, "ca", "True", "KeyPairVerified", "").await?;

        // The key of another CA beside the certificate of the first.
        let stranger = Authority::new("second")?;
        let patch = Patch::Merge(json!({"stringData": {"tls.key": stranger.key}}));
        scope.resource("v1", "Secret").patch("ca", &PatchParams::default(), &patch).await?;
        is_told(&scope, "ca", "False", "ErrInvalidKeyPair", "does not belong").await?;

        scope.resource("v1", "Secret").delete("ca", &DeleteParams::default()).await?;
        is_told(&scope, "ca", "False", "ErrGetKeyPair", "Secret \"ca\" does not exist").await
    })
    .await
}

#[tokio::test]
async fn a_self_signed_issuer_needs_nothing() -> anyhow::Result<()> {
    namespace::own("readiness", |scope| async move {
        scope.create(&issuer("Issuer", "own", &json!({"selfSigned": {}}))).await?;
        is_told(&scope, "own", "True", "IsReady", "").await
    })
    .await
}

/// Waits until the issuer's Ready condition has this status and reason, and a message with this in it.
async fn is_told(scope: &Scope, name: &str, status: &str, reason: &str, message: &str) -> anyhow::Result<()> {
    let issuers = scope.resource("cert-manager.io/v1", "Issuer");
    wait::until(&format!("issuer {name} to be Ready {status}, {reason}"), WITHIN, || async {
        let issuer = issuers.get(name).await?;
        let conditions = issuer.data.pointer("/status/conditions").and_then(Value::as_array);
        let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
        let ready = ready.context("it has no condition Ready")?;
        let text = ready["message"].as_str().unwrap_or_default();
        ensure!(
            ready["status"] == status && ready["reason"] == reason && text.contains(message),
            "the condition is {ready}"
        );
        anyhow::Ok(())
    })
    .await
}

//! Issuers, and what their Ready condition says.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::install::RELEASE;
use e2e::namespace::Scope;
use e2e::wait;
use serde_json::{Value, json};

/// How long a condition may take on a busy machine; a tenth of a second is usual.
const WITHIN: Duration = Duration::from_secs(30);

/// Waits until the issuer, as its spec is now, has a Ready condition with this status and reason, and a message with this in it.
pub(crate) async fn is_told(
    scope: &Scope,
    name: &str,
    status: &str,
    reason: &str,
    message: &str,
) -> anyhow::Result<()> {
    let issuers = scope.resource("cert-manager.io/v1", "Issuer");
    wait::until(&format!("issuer {name} to be Ready {status}, {reason}"), WITHIN, || async {
        let issuer = issuers.get(name).await?;
        let conditions = issuer.data.pointer("/status/conditions").and_then(Value::as_array);
        let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
        let ready = ready.context("it has no condition Ready")?;
        let text = ready["message"].as_str().unwrap_or_default();
        ensure!(
            ready["observedGeneration"] == json!(issuer.metadata.generation),
            "the condition {ready} is of an earlier spec"
        );
        ensure!(
            ready["status"] == status && ready["reason"] == reason && text.contains(message),
            "the condition is {ready}"
        );
        anyhow::Ok(())
    })
    .await
}

/// Lets the shared controller ask for tokens of a service account in the test's namespace.
pub(crate) async fn grant_tokens(scope: &Scope, account: &str) -> anyhow::Result<()> {
    let name = format!("{account}-token");
    scope
        .create(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": name},
            "rules": [{
                "apiGroups": [""],
                "resources": ["serviceaccounts/token"],
                "resourceNames": [account],
                "verbs": ["create"],
            }],
        }))
        .await?;
    scope
        .create(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": RELEASE, "namespace": RELEASE}],
        }))
        .await?;
    Ok(())
}

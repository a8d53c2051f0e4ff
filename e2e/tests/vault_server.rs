//! Issuers that ask a real Vault server, each way to log in, and what becomes of requests while the server is not well.
//! Needs the feature `vault`.
// Not `required-features`: cargo would then refuse `--test '*'` without the feature.
#![cfg(feature = "vault")]

mod common;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::issuers as readiness;
use common::requests::{decide, is_told, request};
use e2e::authority::{Authority, issuer};
use e2e::namespace::{self, Scope};
use e2e::vault::{Vault, text};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_signs_until_it_is_revoked_and_again_with_another_one() -> anyhow::Result<()> {
    namespace::own("vault-token", |scope| async move {
        let vault = started(&scope).await?;
        let token = vault.token("sign").await?;
        scope.create(&secret("vault", &json!({"token": token}))).await?;
        let auth = json!({"tokenSecretRef": {"name": "vault"}});
        scope.create(&at(&vault, "pki/sign/web", &auth)).await?;
        readiness::is_told(&scope, "ca", "True", "VaultVerified", "").await?;
        // The names of the request count, and Vault says so.
        asked(&scope, "first").await?;
        let status = is_told(&scope, "first", "Ready", "Issued", "Vault: ").await?;
        signed_by(&vault, &status).await?;

        vault.write("auth/token/revoke", &json!({"token": token})).await?;
        asked(&scope, "second").await?;
        is_told(&scope, "second", "Ready", "Pending", "VaultInitError").await?;
        let patch = Patch::Merge(json!({"stringData": {"token": vault.token("sign").await?}}));
        scope.resource("v1", "Secret").patch("vault", &PatchParams::default(), &patch).await?;
        is_told(&scope, "second", "Ready", "Issued", "").await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_role_logs_in_anew_when_its_login_was_revoked() -> anyhow::Result<()> {
    namespace::own("vault-approle", |scope| async move {
        let vault = started(&scope).await?;
        vault.write("sys/auth/approle", &json!({"type": "approle"})).await?;
        vault.write("auth/approle/role/web", &json!({"token_policies": "sign", "token_ttl": "1h"})).await?;
        let role_id = text(&vault.read("auth/approle/role/web/role-id").await?, "/data/role_id")?;
        scope.create(&secret("vault", &json!({"id": "wrong"}))).await?;
        let auth = json!({"appRole": {
            "path": "approle", "roleId": role_id, "secretRef": {"name": "vault", "key": "id"},
        }});
        scope.create(&at(&vault, "pki/sign/web", &auth)).await?;
        readiness::is_told(&scope, "ca", "False", "VaultError", "invalid role or secret ID").await?;
        let made = vault.write("auth/approle/role/web/secret-id", &json!({})).await?;
        let patch = Patch::Merge(json!({"stringData": {"id": text(&made, "/data/secret_id")?}}));
        scope.resource("v1", "Secret").patch("vault", &PatchParams::default(), &patch).await?;
        readiness::is_told(&scope, "ca", "True", "VaultVerified", "").await?;
        asked(&scope, "first").await?;
        is_told(&scope, "first", "Ready", "Issued", "").await?;

        vault.write("sys/leases/revoke-prefix/auth/approle", &json!({})).await?;
        asked(&scope, "second").await?;
        is_told(&scope, "second", "Ready", "Issued", "").await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_logs_in() -> anyhow::Result<()> {
    namespace::own("vault-cert", |scope| async move {
        let vault = started(&scope).await?;
        let (clients, pair) = Authority::with_client("clients", &["signer.test".to_owned()])?;
        vault.write("sys/auth/cert", &json!({"type": "cert"})).await?;
        let role = json!({"certificate": clients.certificate, "token_policies": "sign"});
        vault.write("auth/cert/certs/web", &role).await?;
        scope.create(&secret("pair", &json!({"tls.crt": pair.certificate, "tls.key": pair.key}))).await?;
        let auth = json!({"clientCertificate": {"name": "web", "secretName": "pair"}});
        scope.create(&at(&vault, "pki/sign/web", &auth)).await?;
        readiness::is_told(&scope, "ca", "True", "VaultVerified", "").await?;
        asked(&scope, "web").await?;
        is_told(&scope, "web", "Ready", "Issued", "").await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_account_logs_in_and_the_api_server_vouches_for_it() -> anyhow::Result<()> {
    namespace::own("vault-account", |scope| async move {
        let vault = started(&scope).await?;
        let namespace = &scope.namespace;
        vault.write("sys/auth/kubernetes", &json!({"type": "kubernetes"})).await?;
        let ca = std::fs::read_to_string(scope.cluster.pki().join("ca.crt")).context("the cluster's CA")?;
        let config = json!({
            "kubernetes_host": format!("https://{}", scope.cluster.api_server()),
            "kubernetes_ca_cert": ca,
            "disable_local_ca_jwt": true,
            "token_reviewer_jwt": reviewer(&scope).await?,
        });
        vault.write("auth/kubernetes/config", &config).await?;
        let role = json!({
            "bound_service_account_names": "signer",
            "bound_service_account_namespaces": namespace,
            "audience": format!("vault://{namespace}/ca"),
            "token_policies": "sign",
        });
        vault.write("auth/kubernetes/role/web", &role).await?;
        for account in ["signer", "other"] {
            scope.create(&named("ServiceAccount", account)).await?;
            readiness::grant_tokens(&scope, account).await?;
        }
        let auth =
            |account: &str| json!({"kubernetes": {"role": "web", "serviceAccountRef": {"name": account}}});
        scope.create(&at(&vault, "pki/sign/web", &auth("other"))).await?;
        readiness::is_told(&scope, "ca", "False", "VaultError", "was refused with status 403").await?;
        let patch = Patch::Merge(json!({"spec": {"vault": {"auth": auth("signer")}}}));
        let issuers = scope.resource("cert-manager.io/v1", "Issuer");
        issuers.patch("ca", &PatchParams::default(), &patch).await?;
        readiness::is_told(&scope, "ca", "True", "VaultVerified", "").await?;
        asked(&scope, "web").await?;
        let status = is_told(&scope, "web", "Ready", "Issued", "").await?;
        signed_by(&vault, &status).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_vault_refuses_for_good_fails() -> anyhow::Result<()> {
    namespace::own("vault-refusals", |scope| async move {
        let vault = started(&scope).await?;
        scope.create(&secret("vault", &json!({"token": vault.token("sign").await?}))).await?;
        let auth = json!({"tokenSecretRef": {"name": "vault"}});
        scope.create(&at(&vault, "pki/sign/other", &auth)).await?;
        asked(&scope, "unknown").await?;
        is_told(&scope, "unknown", "Ready", "Failed", "status 400: unknown role: other").await?;

        let spec = |path: &str| Patch::Merge(json!({"spec": {"vault": {"path": path}}}));
        let issuers = scope.resource("cert-manager.io/v1", "Issuer");
        issuers.patch("ca", &PatchParams::default(), &spec("elsewhere/sign/web")).await?;
        readiness::is_told(&scope, "ca", "True", "VaultVerified", "").await?;
        asked(&scope, "forbidden").await?;
        is_told(&scope, "forbidden", "Ready", "Failed", "permission denied").await?;

        issuers.patch("ca", &PatchParams::default(), &spec("pki/sign/web")).await?;
        let quota = json!({"rate": 1, "interval": "2s", "path": "pki/"});
        vault.write("sys/quotas/rate-limit/few", &quota).await?;
        for name in ["a", "b", "c"] {
            scope.create(&request(name, "Issuer", "cert-manager.io")?).await?;
        }
        for name in ["a", "b", "c"] {
            decide(&scope, name, "Approved").await?;
        }
        for name in ["a", "b", "c"] {
            is_told(&scope, name, "Ready", "Issued", "").await?;
        }

        vault.write("sys/seal", &json!({})).await?;
        asked(&scope, "sealed").await?;
        is_told(&scope, "sealed", "Ready", "Pending", "Vault is sealed").await.map(drop)
    })
    .await
}

/// A server with what signs.
async fn started(scope: &Scope) -> anyhow::Result<Vault> {
    let vault = Vault::start(&scope.cluster).await?;
    vault.with_pki().await?;
    Ok(vault)
}

/// The Issuer `ca` at this server.
fn at(vault: &Vault, path: &str, auth: &Value) -> Value {
    let spec = json!({"vault": {
        "server": vault.server,
        "path": path,
        "caBundle": STANDARD.encode(&vault.ca),
        "auth": auth,
    }});
    issuer("Issuer", "ca", &spec)
}

/// Asks the Issuer `ca`, and approves that.
async fn asked(scope: &Scope, name: &str) -> anyhow::Result<()> {
    scope.create(&request(name, "Issuer", "cert-manager.io")?).await?;
    decide(scope, name, "Approved").await
}

/// Whether the CA of a status is that of the server's engine.
async fn signed_by(vault: &Vault, status: &Value) -> anyhow::Result<()> {
    let ca = STANDARD.decode(status["ca"].as_str().unwrap_or_default())?;
    let expected = text(&vault.read("pki/cert/ca").await?, "/data/certificate")?;
    ensure!(String::from_utf8_lossy(&ca).trim() == expected.trim(), "the CA is another one's");
    Ok(())
}

fn secret(name: &str, data: &Value) -> Value {
    let mut secret = named("Secret", name);
    secret["stringData"] = data.clone();
    secret
}

fn named(kind: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}})
}

/// The token of an account that may have tokens reviewed.
async fn reviewer(scope: &Scope) -> anyhow::Result<String> {
    scope.create(&named("ServiceAccount", "reviewer")).await?;
    scope
        .create(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{}-reviewer", scope.namespace)},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "reviewer", "namespace": scope.namespace}],
        }))
        .await?;
    let spec = TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() };
    let asked = TokenRequest { spec, ..TokenRequest::default() };
    let accounts = scope.api::<ServiceAccount>();
    let given = accounts.create_token_request("reviewer", &PostParams::default(), &asked).await?;
    Ok(given.status.context("the API server gave no token")?.token)
}

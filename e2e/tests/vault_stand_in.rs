//! An Issuer that logs in to a Vault by a service account's token, with a stand-in for Vault that the controller reaches from
//! its pod. The real one is for `cargo xtask test --vault`.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{issuers as readiness, requests};
use e2e::authority::{Authority, Pair, issuer};
use e2e::namespace::{self, Scope};
use issuers::vault::stand_in::{Answer, StandIn};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_logs_in_by_an_account_that_a_role_grants_it() -> anyhow::Result<()> {
    namespace::own("vault", |scope| async move {
        let (vault, ca) = stand_in(&scope)?;
        let spec = json!({"vault": {
            "server": format!("https://{}", vault.address()),
            "path": "pki/sign/web",
            "caBundle": STANDARD.encode(&ca.certificate),
            "auth": {"kubernetes": {"role": "web", "serviceAccountRef": {"name": "signer"}}},
        }});
        scope.create(&account()).await?;
        scope.create(&issuer("Issuer", "ca", &spec)).await?;
        readiness::is_told(&scope, "ca", "False", "VaultError", "grant the controller create").await?;
        readiness::grant_tokens(&scope, "signer").await?;
        readiness::is_told(&scope, "ca", "True", "VaultVerified", "is well").await?;

        scope.create(&requests::request("web", "Issuer", "cert-manager.io")?).await?;
        // The first answer is that of a Vault which is overloaded.
        vault.tell("/v1/pki", Answer::refusal(429, "rate limit quota exceeded"));
        requests::decide(&scope, "web", "Approved").await?;
        requests::is_told(&scope, "web", "Ready", "Issued", "use_csr_common_name").await?;

        vault.tell("/v1/pki", Answer::refusal(400, "unknown role: web"));
        scope.create(&requests::request("refused", "Issuer", "cert-manager.io")?).await?;
        requests::decide(&scope, "refused", "Approved").await?;
        requests::is_told(&scope, "refused", "Ready", "Failed", "unknown role: web").await?;

        ensure!(vault.count("/v1/auth/kubernetes/login") == 1, "it logged in for each signature");
        let asked = vault.asked();
        let login =
            asked.iter().find(|asked| asked.line.ends_with("/login")).context("there was no login")?;
        let claims = claims(login.body["jwt"].as_str().unwrap_or_default())?;
        let server = format!("https://{}", vault.address());
        let expected = json!([format!("vault://{}/ca", scope.namespace), server]);
        ensure!(claims["aud"] == expected, "the audiences are {}", claims["aud"]);
        Ok(())
    })
    .await
}

/// A stand-in in the network that pods reach, and the CA by which it is known.
fn stand_in(scope: &Scope) -> anyhow::Result<(StandIn, Authority)> {
    let ip = scope.cluster.api_server().ip();
    let (ca, pair) = Authority::with_server("vault", &[ip.to_string()])?;
    let listener = scope.cluster.network().listen(SocketAddr::new(ip, 0)).context("no port is free")?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    Ok((StandIn::on(listener, Some(tls(&pair)?))?, ca))
}

fn tls(pair: &Pair) -> anyhow::Result<Arc<ServerConfig>> {
    let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?;
    Ok(Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?))
}

fn account() -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "signer"}})
}

/// What a token says, without a look at its signature.
fn claims(token: &str) -> anyhow::Result<Value> {
    let middle = token.split('.').nth(1).context("it is no token of a service account")?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(middle)?;
    Ok(serde_json::from_slice(&bytes)?)
}

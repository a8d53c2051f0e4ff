//! A real Vault server beside a cluster, in memory and unsealed, for tests of issuers.

mod build;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use http::header::{HeaderName, HeaderValue};
use http::{Method, Request};
use kube::Client;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::{process, wait};

/// The token that may do everything.
const ROOT_TOKEN: &str = "root";

/// How long a server may take to be well; 0.1 s is usual.
const WELL_WITHIN: Duration = Duration::from_secs(30);

/// Log lines that an error message shows.
const LOG_LINES: usize = 20;

/// Builds the program unless it is there, so that no test has to wait for it.
///
/// # Errors
/// When Go is missing or the build fails; the message holds its last lines.
pub fn ensure() -> anyhow::Result<()> {
    build::program().map(drop)
}

/// A server that runs until this is dropped. It serves over TLS, and asks for certificates without insisting on one.
pub struct Vault {
    /// Its address, in the cluster's network.
    pub server: String,
    /// The CA by which it is known, PEM.
    pub ca: String,
    administrator: Client,
    _process: Ended,
}

/// A process that ends with this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Vault {
    /// Starts a server in the network of the control plane, where pods reach it. The program is built at the first time.
    ///
    /// # Errors
    /// When it cannot be built, or is not well in time; the message ends with its last log lines.
    pub async fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        let program = build::program()?;
        // Nobody else takes addresses in there.
        let free = cluster.network().listen(SocketAddr::new(cluster.api_server().ip(), 0));
        let address = free.and_then(|listener| listener.local_addr());
        let address = address.context("no port is free in the cluster's network")?;
        let dir = cluster.folder().join(format!("vault-{}", address.port()));
        fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
        let log_file = dir.join("log");
        let process = run(cluster, &program, address, &dir, &log_file)?;
        let server = format!("https://{address}");
        let began = wait::until("vault to be well", WELL_WITHIN, || well(cluster, &server, &dir)).await;
        let (ca, administrator) = began
            .with_context(|| format!("its log ends with\n{}", process::last_lines(&log_file, LOG_LINES)))?;
        Ok(Self { server, ca, administrator, _process: process })
    }

    /// Reads `path`, such as `sys/health`.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn read(&self, path: &str) -> anyhow::Result<Value> {
        call(&self.administrator, Method::GET, path, &Value::Null).await
    }

    /// Writes to `path`, such as `sys/auth/approle`.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn write(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        call(&self.administrator, Method::POST, path, body).await
    }

    /// A PKI engine at `pki` with a CA of its own, whose role `web` signs anything, and a policy `sign` that lets whoever has it
    /// do that.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn with_pki(&self) -> anyhow::Result<()> {
        self.write("sys/mounts/pki", &json!({"type": "pki", "config": {"max_lease_ttl": "87600h"}})).await?;
        self.write(
            "pki/root/generate/internal",
            &json!({"common_name": "vault", "ttl": "8760h", "key_type": "ec", "key_bits": 256}),
        )
        .await?;
        let role =
            json!({"allow_any_name": true, "require_cn": false, "key_type": "any", "max_ttl": "4320h"});
        self.write("pki/roles/web", &role).await?;
        let policy = r#"path "pki/sign/*" { capabilities = ["create", "update"] }"#;
        self.write("sys/policies/acl/sign", &json!({"policy": policy})).await?;
        Ok(())
    }

    /// A new token with this policy; it ends with the server.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn token(&self, policy: &str) -> anyhow::Result<String> {
        let answer = self.write("auth/token/create", &json!({"policies": [policy], "ttl": "1h"})).await?;
        text(&answer, "/auth/client_token")
    }
}

/// A text in an answer.
///
/// # Errors
/// When there is none.
pub fn text(answer: &Value, pointer: &str) -> anyhow::Result<String> {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    Ok(found.with_context(|| format!("the answer has no {pointer}"))?.to_owned())
}

fn run(
    cluster: &Cluster,
    program: &Path,
    address: SocketAddr,
    dir: &Path,
    log_file: &Path,
) -> anyhow::Result<Ended> {
    let log = File::create(log_file).with_context(|| format!("failed to create {}", log_file.display()))?;
    let mut command = cluster.network().command(program);
    command.args(["server", "-dev", "-dev-tls", "-dev-no-kv", "-dev-no-store-token"]);
    command.arg(format!("-dev-tls-cert-dir={}", dir.display()));
    command.arg(format!("-dev-tls-san={}", address.ip()));
    command.arg(format!("-dev-listen-address={address}"));
    command.arg(format!("-dev-root-token-id={ROOT_TOKEN}"));
    command.env("HOME", dir).stdin(Stdio::null());
    command.stdout(log.try_clone().context("failed to share a log file")?).stderr(log);
    Ok(Ended(command.spawn().context("failed to start vault")?))
}

/// The CA by which a server is known, and an administrator's client, once it is well.
async fn well(cluster: &Cluster, server: &str, dir: &Path) -> anyhow::Result<(String, Client)> {
    let file = dir.join("vault-ca.pem");
    let ca = fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let root = CertificateDer::from_pem_slice(ca.as_bytes()).context("its CA is no certificate")?;
    let mut config = kube::Config::new(server.parse().context("its address is no URL")?);
    config.root_cert = Some(vec![root.to_vec()]);
    config.headers = vec![(HeaderName::from_static("x-vault-token"), HeaderValue::from_static(ROOT_TOKEN))];
    let client = cluster.client_with(&config)?;
    call(&client, Method::GET, "sys/health", &Value::Null).await?;
    Ok((ca, client))
}

/// What the server answers; null where that is nothing.
async fn call(client: &Client, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::builder().method(&method).uri(format!("/v1/{path}")).body(body);
    let answer = client.request_text(request.context("the path is no part of a URL")?).await;
    let answer = answer.with_context(|| format!("vault refused {method} {path}"))?;
    if answer.is_empty() {
        Ok(Value::Null)
    } else {
        serde_json::from_str(&answer).context("vault answered no JSON")
    }
}

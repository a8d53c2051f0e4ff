//! `cargo xtask bench install`: how long after `kubectl apply -f install.yaml` has returned the first object is admitted.
//! That is what an installer waits for who applies issuers and certificates next.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::cluster::Cluster;
use e2e::image::Archive;
use e2e::{paths, progress};
use kube::Client;
use serde_json::{Value, json};

/// Times that the manifest is applied to a cluster that has nothing of it.
const ROUNDS: usize = 5;

/// Time between two attempts; the figure is too large by up to that much.
const EVERY: Duration = Duration::from_millis(10);

/// After this an installation has failed.
const ADMITTED_WITHIN: Duration = Duration::from_secs(60);

/// What was found out about installing.
pub(crate) struct Install {
    /// From the return of `kubectl apply` to the first object that was admitted, a round each.
    pub(crate) admitted_after: Vec<Duration>,
}

/// Installs, asks, and takes everything away again, in each round.
///
/// # Errors
/// When a manifest cannot be applied or deleted, or nothing is admitted within a minute.
pub(crate) async fn run(cluster: &Cluster, images: &[Archive]) -> anyhow::Result<Install> {
    images.iter().try_for_each(|image| cluster.import_image(&image.path))?;
    let manifest = paths::workspace().join("manifests/install.yaml");
    let manifest = manifest.to_str().context("the path of install.yaml is not text")?;
    let client = cluster.client().await?;
    let mut admitted_after = Vec::new();
    for _ in 0..ROUNDS {
        cluster.kubectl(&["apply", "-f", manifest])?;
        let after = first_admission(&client).await?;
        progress::note(&format!("admitted {:.2} s after the manifest was applied", after.as_secs_f64()));
        admitted_after.push(after);
        cluster.kubectl(&["delete", "--wait", "--timeout=120s", "-f", manifest])?;
    }
    admitted_after.sort_unstable();
    Ok(Install { admitted_after })
}

/// Asks for a Certificate, again and again, until it is admitted: then the webhook has answered, since nothing is
/// admitted without it. To be sure of that, a wrong one must be refused by its rules right after.
async fn first_admission(client: &Client) -> anyhow::Result<Duration> {
    let began = Instant::now();
    loop {
        let outcome = create(client, &json!({"name": "ca"})).await;
        let after = began.elapsed();
        match outcome {
            Ok(_) => {
                let wrong = create(client, &json!({"name": "ca", "kind": "Isuer"})).await;
                let told = wrong.err().map(|error| error.to_string()).unwrap_or_default();
                ensure!(
                    told.contains("spec.issuerRef.kind"),
                    "admitted without the webhook's rules: {told:?}"
                );
                return Ok(after);
            }
            Err(error) => ensure!(after < ADMITTED_WITHIN, "nothing is admitted after {after:?}: {error}"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// A dry run, which asks the webhooks and keeps nothing.
async fn create(client: &Client, issuer: &Value) -> anyhow::Result<Value> {
    let certificate = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": "first"},
        "spec": {"secretName": "first", "dnsNames": ["first.test"], "issuerRef": issuer},
    });
    let uri = "/apis/cert-manager.io/v1/namespaces/default/certificates?dryRun=All";
    let request = http::Request::post(uri)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(certificate.to_string().into_bytes())?;
    Ok(client.request(request).await?)
}

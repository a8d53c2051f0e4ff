//! Scenes (e) and (f): what the controller makes of a Certificate, and of a CertificateRequest.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::cluster::Cluster;
use e2e::objects::signing_request;
use serde_json::json;

use super::{certificates, headline, scenes, show};

const CERTIFICATE: &str = include_str!("certificate.yaml");

/// (e) The Issuer `ca` of the scenes before signs for a Certificate, and what it signed is in a Secret.
pub(crate) fn certificate(cluster: &Cluster) -> anyhow::Result<()> {
    headline("(e) A Certificate becomes a Secret");
    scenes::apply(cluster, CERTIFICATE)?;
    show("kubectl apply -f certificate.yaml", CERTIFICATE);
    cluster.kubectl(&["-n", "demo", "wait", "--for=condition=Ready", "certificate/shop", "--timeout=60s"])?;
    show("kubectl -n demo get certificate", &cluster.kubectl(&["-n", "demo", "get", "certificate"])?);
    let path = r"jsonpath={.data.tls\.crt}";
    let chain = decoded(&cluster.kubectl(&["-n", "demo", "get", "secret", "shop-tls", "-o", path])?)?;
    show(
        r"kubectl -n demo get secret shop-tls -o jsonpath='{.data.tls\.crt}' | base64 -d",
        &certificates::describe(&chain)?,
    );
    Ok(())
}

/// (f) A signing request whose key the cluster never sees is approved and signed.
pub(crate) fn request(cluster: &Cluster) -> anyhow::Result<()> {
    headline("(f) A CertificateRequest becomes a certificate");
    let request = json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "CertificateRequest",
        "metadata": {"name": "own-key", "namespace": "demo"},
        "spec": {"request": signing_request()?, "issuerRef": {"name": "ca"}},
    });
    scenes::apply(cluster, &request.to_string())?;
    let ready = "--for=condition=Ready";
    cluster.kubectl(&["-n", "demo", "wait", ready, "certificaterequest/own-key", "--timeout=60s"])?;
    show(
        "kubectl -n demo get certificaterequest own-key",
        &cluster.kubectl(&["-n", "demo", "get", "certificaterequest", "own-key"])?,
    );
    let path = "jsonpath={.status.certificate}";
    let chain =
        decoded(&cluster.kubectl(&["-n", "demo", "get", "certificaterequest", "own-key", "-o", path])?)?;
    show(
        "kubectl -n demo get certificaterequest own-key -o jsonpath='{.status.certificate}' | base64 -d",
        &certificates::describe(&chain)?,
    );
    Ok(())
}

fn decoded(text: &str) -> anyhow::Result<Vec<u8>> {
    STANDARD.decode(text.trim()).context("kubectl did not print base64")
}

//! Scenes (a) and (b), which need a control plane alone.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::authority::{Authority, in_namespace, trust_secret};
use e2e::cluster::Cluster;
use e2e::wait;

use super::{certificates, headline, show};

const WRONG_CERTIFICATE: &str = include_str!("wrong-certificate.yaml");

const TARGETS: &str = include_str!("targets.yaml");

/// How long an injection may take on a busy machine; a tenth of a second is usual.
const INJECTED_WITHIN: Duration = Duration::from_secs(30);

/// (a) A Certificate with several mistakes, and what its author is told.
pub(crate) fn refused_certificate(cluster: &Cluster) -> anyhow::Result<()> {
    headline("(a) A wrong Certificate is refused, with the cure");
    show("cat wrong.yaml", WRONG_CERTIFICATE);
    let (accepted, output) = kubectl(cluster, &["apply", "-f", "-"], WRONG_CERTIFICATE)?;
    ensure!(!accepted, "the wrong Certificate was accepted: {output}");
    show("kubectl apply -f wrong.yaml", &output);
    Ok(())
}

/// (b) One Secret, two kinds of object that trust what is in it, and a third that trusts in vain. `cainjector` gives the
/// command that runs the cainjector's program, to which arguments are added.
pub(crate) async fn injected_bundles(
    cluster: &Cluster,
    cainjector: impl Fn() -> Command,
) -> anyhow::Result<()> {
    headline("(b) A CA bundle is injected into a webhook configuration and an APIService");
    apply(cluster, TARGETS)?;
    let ca = Authority::new("Demo trust anchor")?;
    apply(cluster, &in_namespace(trust_secret("trust", &ca.certificate), "demo").to_string())?;
    show(
        "kubectl -n demo create secret generic trust --from-file=ca.crt",
        "and annotated cert-manager.io/allow-direct-injection=true",
    );
    let targets = [
        ("validatingwebhookconfiguration/demo", "{.webhooks[0].clientConfig.caBundle}"),
        ("apiservice/v1alpha1.demo.signet.example", "{.spec.caBundle}"),
    ];
    for (target, path) in targets {
        let bundle = wait::until(&format!("the bundle in {target}"), INJECTED_WITHIN, || async {
            let path = format!("jsonpath={path}");
            let field = cluster.kubectl(&["get", target, "-o", &path])?;
            let pem = STANDARD.decode(field.trim())?;
            ensure!(!pem.is_empty(), "it is empty");
            anyhow::Ok(pem)
        })
        .await?;
        ensure!(bundle == ca.certificate.as_bytes(), "the bundle in {target} is not the Secret's");
        show(
            &format!("kubectl get {target} -o jsonpath='{path}' | base64 -d"),
            &certificates::describe(&bundle)?,
        );
    }
    let mut unwilling = in_namespace(trust_secret("unwilling", &ca.certificate), "demo");
    if let Some(metadata) = unwilling["metadata"].as_object_mut() {
        // No annotation, no consent.
        metadata.remove("annotations");
    }
    apply(cluster, &unwilling.to_string())?;
    for (name, status) in [("demo", 0), ("demo-broken", 1)] {
        let target = format!("validatingwebhookconfiguration/{name}");
        let output = cainjector().args(["explain", &target]).stdin(Stdio::null()).output();
        let output = output.context("failed to run the cainjector")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(status), "explain ended with {}: {said}{errors}", output.status);
        show(&format!("signet-cainjector explain {target}"), &said);
    }
    // Nobody serves the API that it announces, and clients that list every API would say so for ever.
    cluster.kubectl(&["delete", "apiservice", "v1alpha1.demo.signet.example"])?;
    Ok(())
}

/// Applies manifests that must be accepted.
pub(crate) fn apply(cluster: &Cluster, manifests: &str) -> anyhow::Result<()> {
    match kubectl(cluster, &["apply", "-f", "-"], manifests)? {
        (true, _) => Ok(()),
        (false, output) => bail!("kubectl apply failed: {output}"),
    }
}

/// Runs kubectl with some input; whether it succeeded, and all that it said.
fn kubectl(cluster: &Cluster, arguments: &[&str], input: &str) -> anyhow::Result<(bool, String)> {
    let mut command = cluster.kubectl_command();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("failed to run kubectl")?;
    let mut stdin = child.stdin.take().context("kubectl has no standard input")?;
    stdin.write_all(input.as_bytes()).context("kubectl did not read the manifests")?;
    drop(stdin);
    let output = child.wait_with_output().context("failed to run kubectl")?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

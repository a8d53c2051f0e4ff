//! Our programs on a cluster, as a user installs them: by the Helm chart.

use anyhow::Context as _;

use crate::cluster::Cluster;
use crate::image::Archive;
use crate::{paths, progress};

/// The Helm release, and the namespace that it lives in.
pub const RELEASE: &str = "cert-manager";

/// How long the workloads may take to become ready, in Helm's words.
const READY_WITHIN: &str = "120s";

/// Imports `images` into every node and installs the chart with them and these `values`. A second call upgrades the release.
///
/// # Errors
/// When an image cannot be imported, or a workload does not become ready: the message ends with the state and the
/// events of the release's namespace.
pub async fn install(cluster: &Cluster, images: &[Archive], values: &[&str]) -> anyhow::Result<()> {
    progress::step("importing the images", || {
        images.iter().try_for_each(|image| cluster.import_image(&image.path))
    })?;
    let chart = paths::workspace().join("manifests/chart");
    let chart = chart.to_str().context("the path of the chart is not text")?;
    let mut arguments = vec![
        "upgrade",
        "--install",
        RELEASE,
        chart,
        "--namespace",
        RELEASE,
        "--create-namespace",
        "--set",
        "image.pullPolicy=Never",
        "--set",
        "cainjector.inject.configMaps=true",
        "--set",
        "cainjector.inject.clusterTrustBundles=true",
        "--set",
        "cainjector.inject.signers={signet.example/allowed}",
        // Tests mount any name; what the name policy makes of names is a matter of tests with a driver of their own.
        "--set",
        "controller.signer.rules[0].allow=any",
        "--wait",
        "--timeout",
        READY_WITHIN,
    ];
    arguments.extend(values.iter().flat_map(|value| ["--set", value]));
    let installed = progress::step("installing the chart", || cluster.helm(&arguments));
    if let Err(error) = installed {
        let state = crate::dump::namespace(&cluster.client().await?, RELEASE).await;
        return Err(error.context(format!("the chart did not become ready:\n{state}")));
    }
    Ok(())
}

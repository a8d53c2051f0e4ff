//! A second installation beside the one that all tests share, in the namespace of a test.

use e2e::namespace::Scope;
use e2e::paths;

const RELEASE: &str = "rival";

/// Installs the chart with these values, under the name of the namespace; runs `test`, and uninstalls it again.
pub(crate) async fn with(
    scope: &Scope,
    values: &[String],
    test: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let outcome = match install(scope, values) {
        Ok(()) => test.await,
        Err(error) => Err(error),
    };
    let uninstalled = scope.cluster.helm(&["uninstall", RELEASE, "--namespace", &scope.namespace, "--wait"]);
    outcome?;
    uninstalled.map(drop)
}

/// What is the same of each: the shared installation has the CRDs and the roles of users.
fn install(scope: &Scope, values: &[String]) -> anyhow::Result<()> {
    let namespace = &scope.namespace;
    let chart = paths::workspace().join("manifests/chart").display().to_string();
    let name = format!("fullnameOverride={namespace}");
    let shared = "image.pullPolicy=Never,crds.enabled=false,userRoles=false";
    let mut arguments = vec!["install", RELEASE, &chart, "--namespace", namespace];
    arguments.extend(["--wait", "--timeout", "90s", "--set", &name, "--set", shared]);
    arguments.extend(values.iter().flat_map(|value| ["--set", value]));
    scope.cluster.helm(&arguments).map(drop)
}

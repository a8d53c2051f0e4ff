//! What people see when they make the mistakes that people make: the very text that kubectl prints.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use e2e::authority::issuer;
use e2e::namespace::{self, Scope};
use e2e::{paths, wait};
use expect_test::expect_file;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;

/// The manifests, each beside what kubectl says to it. `UPDATE_EXPECT=1` writes the latter.
const FOLDER: &str = "e2e/tests/mistakes";

/// One without a mistake.
const RIGHT: &str = "right/certificate.yaml";

/// How long the webhook may take to hear of an issuer.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);

/// How many there are at least, so that an empty folder is no success.
const MISTAKES_MIN: usize = 20;

/// How many run at a time.
const AT_ONCE: usize = 4;

#[tokio::test]
async fn a_typical_mistake_is_answered_by_what_to_type_instead() -> anyhow::Result<()> {
    let folder = paths::workspace().join(FOLDER);
    let mut manifests = files(&folder, "yaml")?;
    manifests.sort();
    ensure!(manifests.len() >= MISTAKES_MIN, "only {} mistakes are there", manifests.len());
    let said = namespace::own("mistakes", |scope| async move {
        with_issuer(&scope).await?;
        let runs = manifests.into_iter().map(|manifest| apply(scope.clone(), manifest));
        futures::stream::iter(runs).buffered(AT_ONCE).try_collect::<Vec<_>>().await
    })
    .await?;
    for (manifest, text) in said {
        expect_file![manifest.with_extension("txt")].assert_eq(&text);
    }
    Ok(())
}

/// The issuer that the Certificates name. Until the webhook knows of it, each of them has a warning.
async fn with_issuer(scope: &Scope) -> anyhow::Result<()> {
    scope.create(&issuer("Issuer", "ca", &json!({"selfSigned": {}}))).await?;
    wait::until("the webhook to know the issuer", KNOWN_WITHIN, || async {
        let Output { stderr, .. } = kubectl(scope, RIGHT, &["--dry-run=server"]).await?;
        ensure!(stderr.is_empty(), "kubectl says {:?}", String::from_utf8_lossy(&stderr));
        anyhow::Ok(())
    })
    .await
}

async fn kubectl(scope: &Scope, file: &str, more: &[&str]) -> anyhow::Result<Output> {
    let mut command = scope.cluster.kubectl_command();
    command.current_dir(paths::workspace().join(FOLDER)).stdin(Stdio::null());
    command.args(["apply", "--namespace", &scope.namespace, "--filename", file]).args(more);
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

/// Applies a manifest, which must be refused, and gives what kubectl prints.
async fn apply(scope: Scope, manifest: PathBuf) -> anyhow::Result<(PathBuf, String)> {
    let name = manifest.file_name().and_then(|name| name.to_str()).context("a manifest without a name")?;
    let Output { status, stdout, stderr } = kubectl(&scope, name, &[]).await?;
    if status.success() {
        bail!("{name} was accepted: {}", String::from_utf8_lossy(&stdout));
    }
    let text = String::from_utf8(stderr).context("kubectl printed something else than text")?;
    Ok((manifest, text.replace(&scope.namespace, "NAMESPACE")))
}

fn files(folder: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry?.path());
    }
    files.retain(|file| file.extension().is_some_and(|found| found == extension));
    Ok(files)
}

//! What becomes of injections when the cainjector is restarted, watches are cut, what they knew is too old for the API server, a source cannot be read, or
//! the CA of the API server is not known.
//!
//! A test program of its own, whose tests take turns: the cainjector runs outside the cluster, behind a server that fails as
//! it is told, while the installed one is away.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use api::keys::annotation;
use common::front::{Fault, Front};
use common::injectors::with_injectors;
use common::targets::{SECRET, Target, set_bundle, trusted, versions};
use e2e::authority::Authority;
use e2e::cluster::{Cluster, Component};
use e2e::namespace::Scope;
use e2e::wait;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{WatchEvent, WatchParams};
use serde_json::json;
use tokio::sync::OnceCell;

const PROGRAM: &str = "signet-cainjector";

/// The file beside it that leads to the front.
const KUBECONFIG: &str = "kubeconfig";

/// What is in its executable.
static PROGRAM_FILE: OnceCell<Vec<u8>> = OnceCell::const_new();

/// How often the CA is replaced while nobody watches: no more than the cainjector remembers of one source.
const CHANGES: usize = 6;

/// For how long is looked whether anything is written: what was found at the start is seen to in less than a second.
const CALM: Duration = Duration::from_secs(5);

/// How long a source may be tried in vain; the pauses between tries grow from 50 ms on.
const TRIED_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_restart_writes_nothing() -> anyhow::Result<()> {
    behind("restart", |scope, outside| async move {
        let (first, targets) = Target::both_injected(&scope, "Calm CA").await?;
        let patches = || targets.iter().map(|target| outside.front.patches(&target.name)).collect::<Vec<_>>();
        // An API service changes by itself, which may have its first write refused.
        tokio::time::sleep(CALM).await;
        let before = patches();
        ensure!(before.iter().all(|count| *count > 0), "the first bundles took {before:?} requests");
        outside.restart()?;
        // What comes after the restart is served after what the new process found there.
        let sentinel = Target::create(&scope, "sentinel").await?;
        sentinel.holds(&scope, &[&first]).await?;
        tokio::time::sleep(CALM).await;
        ensure!(patches() == before, "after {before:?} requests the restart led to {:?}", patches());
        // And it does see to them.
        let next = Authority::new("Next CA")?;
        set_bundle(&scope, &next.certificate).await?;
        for target in &targets {
            target.holds(&scope, &[&first, &next]).await?;
        }
        let more = patches().iter().zip(&before).all(|(after, before)| after > before);
        ensure!(more, "the next CA took none: {:?} after {before:?}", patches());
        outside.is_alive()
    })
    .await
}

#[tokio::test]
async fn after_its_watches_were_cut_every_ca_arrives_that_a_source_had_meanwhile() -> anyhow::Result<()> {
    behind("cut", |scope, outside| async move {
        let (first, [target, service]) = Target::both_injected(&scope, "CA 0").await?;
        let mut cas = vec![first];
        outside.front.set(Fault::Cut);
        for number in 1..=CHANGES {
            let ca = Authority::new(&format!("CA {number}"))?;
            set_bundle(&scope, &ca.certificate).await?;
            cas.push(ca);
        }
        outside.front.set(Fault::None);
        for target in [&target, &service] {
            target.holds(&scope, &cas.iter().collect::<Vec<_>>()).await?;
        }
        outside.is_alive()
    })
    .await
}

#[tokio::test]
async fn when_what_it_knew_is_too_old_for_the_api_server_the_newest_ca_arrives_and_nothing_else_is_written()
-> anyhow::Result<()> {
    behind("too-old", |scope, outside| async move {
        let (first, [target, service]) = Target::both_injected(&scope, "CA 0").await?;
        let untouched =
            [Target::asking(&scope, "server", &json!({annotation::INJECT_APISERVER_CA: "yes"})).await?];
        let before = versions(&scope, &untouched).await?;
        outside.front.set(Fault::Cut);
        let known = scope.api::<Secret>().get(SECRET).await?.metadata.resource_version;
        let known = known.context("the Secret has no version")?;
        // What the API server has in its cache from before is lost with its process.
        set_bundle(&scope, &Authority::new("Lost CA")?.certificate).await?;
        scope.cluster.restart(Component::ApiServer).await?;
        let newest = Authority::new("Newest CA")?;
        set_bundle(&scope, &newest.certificate).await?;
        ensure!(is_too_old(&scope, &known).await?, "the API server still knows what came after {known}");
        outside.front.set(Fault::None);
        for target in [&target, &service] {
            target.holds(&scope, &[&first, &newest]).await?;
        }
        ensure!(versions(&scope, &untouched).await? == before, "another target was written");
        outside.is_alive()
    })
    .await
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_told_and_tried_again_until_it_can() -> anyhow::Result<()> {
    behind("unreadable", |scope, outside| async move {
        outside.front.set(Fault::Unavailable("/secrets"));
        let ca = trusted(&scope, "CA 0").await?;
        let target = Target::webhook_configuration(&scope).await?;
        let told = target.event(&scope, "SourceUnavailable").await?;
        ensure!(told.contains("the storage is away"), "the event says {told:?}");
        wait::until("more tries", TRIED_WITHIN, || async {
            let refused = outside.front.refused();
            ensure!(refused > 3, "{refused} so far");
            Ok(())
        })
        .await?;
        ensure!(target.bundles(&scope).await? == [None, None], "a bundle came from nowhere");
        outside.front.set(Fault::None);
        // Nothing changes that anybody could be told of.
        target.holds(&scope, &[&ca]).await?;
        outside.is_alive()
    })
    .await
}

#[tokio::test]
async fn where_no_ca_of_the_api_server_is_known_that_is_told() -> anyhow::Result<()> {
    behind("no-ca", |scope, outside| async move {
        let asks = json!({annotation::INJECT_APISERVER_CA: "true"});
        let target = Target::asking(&scope, "server", &asks).await?;
        let told = target.event(&scope, "NoCAData").await?;
        ensure!(told.contains("the client's configuration names none"), "the event says {told:?}");
        ensure!(target.bundles(&scope).await? == [None, None], "a bundle came from nowhere");
        outside.is_alive()
    })
    .await
}

/// Whether the API server can tell no more what has become of the Secret since this version.
async fn is_too_old(scope: &Scope, version: &str) -> anyhow::Result<bool> {
    let of_secret = WatchParams::default().fields(&format!("metadata.name={SECRET}"));
    let mut events = scope.api::<Secret>().watch(&of_secret, version).await?.boxed();
    Ok(matches!(events.try_next().await?, Some(WatchEvent::Error(status)) if status.code == 410))
}

/// The cainjector as a process of this machine, behind a front; it ends with this value.
struct Outside {
    front: Front,
    process: Mutex<Child>,
    /// Its executable and its kubeconfig; they go with this value.
    folder: tempfile::TempDir,
}

impl Outside {
    async fn start(scope: &Scope, program: &[u8]) -> anyhow::Result<Self> {
        let (front, folder) = (Front::start(scope).await?, tempfile::tempdir()?);
        let executable = folder.path().join(PROGRAM);
        fs::write(&executable, program)?;
        fs::set_permissions(&executable, Permissions::from_mode(0o700))?;
        let kubeconfig = folder.path().join(KUBECONFIG);
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "front",
            "contexts": [{"name": "front", "context": {"cluster": "front", "user": "nobody"}}],
            "clusters": [{"name": "front", "cluster": {"server": format!("http://{}", front.address)}}],
            "users": [{"name": "nobody", "user": {}}],
        });
        fs::write(&kubeconfig, config.to_string())?;
        let process = spawn(folder.path())?;
        Ok(Self { front, process: process.into(), folder })
    }

    /// Ends the process without warning, and starts another one.
    fn restart(&self) -> anyhow::Result<()> {
        let mut process = self.process.lock().map_err(|_| anyhow::anyhow!("a test has panicked"))?;
        process.kill().context("failed to end the cainjector")?;
        process.wait().context("failed to wait for the cainjector")?;
        *process = spawn(self.folder.path())?;
        Ok(())
    }

    fn is_alive(&self) -> anyhow::Result<()> {
        let mut process = self.process.lock().map_err(|_| anyhow::anyhow!("a test has panicked"))?;
        let ended = process.try_wait()?;
        ensure!(ended.is_none(), "the cainjector has ended: {ended:?}");
        Ok(())
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if let Ok(process) = self.process.get_mut() {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Starts the cainjector that is in this folder.
fn spawn(folder: &Path) -> anyhow::Result<Child> {
    let mut command = Command::new(folder.join(PROGRAM));
    command.arg(format!("--kubeconfig={}", folder.join(KUBECONFIG).display()));
    command.args(["--leader-elect=false", "--metrics-listen-address=0", "--healthz-listen-address=0"]);
    command.stdin(Stdio::null()).spawn().context("failed to start the cainjector")
}

/// Runs `test` while the cainjector of the installation runs outside the cluster, and nowhere else.
async fn behind<F, Fut>(prefix: &str, test: F) -> anyhow::Result<()>
where
    F: FnOnce(Scope, Arc<Outside>) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    // Before any test takes the installed one away.
    let program = PROGRAM_FILE.get_or_try_init(executable).await?;
    with_injectors(prefix, 0, &[], |scope| async move {
        let outside = Outside::start(&scope, program).await?;
        test(scope, outside.into()).await
    })
    .await
}

/// The executable of the installed cainjector.
async fn executable() -> anyhow::Result<Vec<u8>> {
    let running = Cluster::shared()?.processes(PROGRAM);
    let process = running.first().context("no cainjector runs")?;
    fs::read(format!("/proc/{process}/exe")).context("failed to read the cainjector's executable")
}

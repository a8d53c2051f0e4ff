//! cert-manager's own CA injector takes over from ours, and ours from it: by the account that our chart makes, with its rights
//! and held by its policies. Needs the feature `soak`, since it takes minutes
//! to build cert-manager's.

#![cfg(feature = "soak")]

mod common;

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use common::injectors::{self, DEPLOYMENT, LEASE};
use common::targets::{Target, owns, set_bundle, versions};
use e2e::authority::Authority;
use e2e::namespace::{self, Scope};
use e2e::toolchain::Tool;
use e2e::{install, wait};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// How long an election may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(120);

#[tokio::test]
async fn cert_managers_injector_and_ours_take_over_from_each_other_and_keep_every_ca() -> anyhow::Result<()> {
    namespace::own("peer", |scope| async move {
        let (first, targets) = Target::both_injected(&scope, "CA 0").await?;
        let mut cas = vec![first];
        let before = versions(&scope, &targets).await?;
        let mut peer = Peer::start(&scope)?;
        let outcome = async {
            scale(&scope, 0).await?;
            leads(&scope, false).await?;
            change(&scope, &targets, &mut cas).await?;
            ensure!(versions(&scope, &targets).await? != before, "cert-manager's has written nothing");
            let before = versions(&scope, &targets).await?;
            scale(&scope, 1).await?;
            peer.stop()?;
            leads(&scope, true).await?;
            // What comes after the takeover is served after what was found then.
            let sentinel = Target::create(&scope, "sentinel").await?;
            sentinel.holds(&scope, &cas.iter().skip(1).collect::<Vec<_>>()).await?;
            ensure!(versions(&scope, &targets).await? == before, "the takeover wrote without need");
            change(&scope, &targets, &mut cas).await
        };
        let outcome = outcome.await;
        scale(&scope, 1).await?;
        outcome
    })
    .await
}

/// Replaces the CA, and waits until all targets trust it beside the former ones, by fields that are still the same
/// manager's.
async fn change(scope: &Scope, targets: &[Target], cas: &mut Vec<Authority>) -> anyhow::Result<()> {
    let ca = Authority::new(&format!("CA {}", cas.len()))?;
    set_bundle(scope, &ca.certificate).await?;
    cas.push(ca);
    for target in targets {
        target.holds(scope, &cas.iter().collect::<Vec<_>>()).await?;
        owns(&target.get(scope).await?, target.owned)?;
    }
    Ok(())
}

/// Waits until the Lease is held by a pod of ours, or by anybody else.
async fn leads(scope: &Scope, is_ours: bool) -> anyhow::Result<()> {
    let leases = Api::<Lease>::namespaced(scope.client.clone(), "kube-system");
    wait::until("the takeover", WITHIN, || async {
        let lease = leases.get(LEASE).await?.spec.context("the Lease is empty")?;
        let holder = lease.holder_identity.unwrap_or_default();
        let fits = !holder.is_empty() && holder.starts_with(DEPLOYMENT) == is_ours;
        ensure!(fits, "{holder:?} leads");
        Ok(())
    })
    .await
}

async fn scale(scope: &Scope, replicas: usize) -> anyhow::Result<()> {
    let api = Api::<Deployment>::namespaced(scope.client.clone(), install::RELEASE);
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    api.patch_scale(DEPLOYMENT, &PatchParams::default(), &patch).await?;
    wait::until(&format!("{replicas} cainjectors"), WITHIN, || async {
        let pods = injectors::all(scope).await?;
        let ready = pods.iter().filter(|pod| common::is_ready(pod)).count();
        ensure!(pods.len() == replicas && ready == replicas, "{} are there, {ready} are Ready", pods.len());
        Ok(())
    })
    .await
}

/// cert-manager's injector, which ends with this value.
struct Peer {
    process: Child,
    /// Its kubeconfig, which goes with this value.
    _folder: tempfile::TempDir,
}

impl Peer {
    fn start(scope: &Scope) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let kubeconfig = folder.path().join("kubeconfig");
        fs::write(&kubeconfig, of_account(scope)?.to_string())?;
        let mut command = scope.cluster.peer_command(Tool::PeerCainjector)?;
        command.env("KUBECONFIG", &kubeconfig).stdin(Stdio::null());
        let process = command.spawn().context("failed to start cert-manager's injector")?;
        Ok(Self { process, _folder: folder })
    }

    /// Ends it as kubelet does.
    fn stop(&mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.process.id().try_into()?), Signal::SIGTERM)?;
        let status = self.process.wait().context("failed to wait for cert-manager's injector")?;
        ensure!(status.success(), "cert-manager's injector ended with {status}");
        Ok(())
    }
}

/// A kubeconfig of the account of our Deployment.
fn of_account(scope: &Scope) -> anyhow::Result<Value> {
    let cluster = &scope.cluster;
    let token = cluster.kubectl(&["create", "token", DEPLOYMENT, "-n", install::RELEASE, "--duration=1h"])?;
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": {
            "server": format!("https://{}", cluster.api_server()),
            "certificate-authority": cluster.pki().join("ca.crt"),
        }}],
        "users": [{"name": "cainjector", "user": {"token": token.trim()}}],
        "contexts": [{"name": "context", "context": {"cluster": "cluster", "user": "cainjector"}}],
        "current-context": "context",
    }))
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

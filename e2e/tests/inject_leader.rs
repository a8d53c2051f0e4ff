//! One cainjector writes at a time, by the Lease that cert-manager's takes too.
//!
//! A test program of its own: while somebody else holds the Lease, no other test would see an injection.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use api::keys::annotation;
use e2e::authority::{Authority, trust_secret};
use e2e::cluster::Cluster;
use e2e::namespace::{self, Scope};
use e2e::{install, wait};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use tokio::time::Instant;

/// How long an election or an injection may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(60);

/// How long the other holder's Lease holds.
const FOREIGN_LEASE: Duration = Duration::from_secs(10);

/// By then the former leader has seen that it leads no more: if not by its watch, then since its next renewal failed.
const SEEN_AFTER: Duration = Duration::from_secs(3);

/// How much later than that the takeover may be on a busy machine; without a watch it would be two seconds.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test]
async fn nothing_is_written_while_another_holds_the_lease_and_at_once_after_it() -> anyhow::Result<()> {
    namespace::with(&Cluster::shared()?, "leader", |scope| async move {
        let leases = Api::<Lease>::namespaced(scope.client.clone(), "kube-system");
        held_by_ours(&leases).await?;
        let ca = Authority::new("Elected CA")?;
        scope.create(&trust_secret("trust", &ca.certificate)).await?;

        // Nobody renews it: that is what a holder which was killed leaves behind.
        let taken = take(&leases).await?;
        tokio::time::sleep(SEEN_AFTER).await;
        target(&scope).await?;
        while taken.elapsed() + Duration::from_secs(1) < FOREIGN_LEASE {
            ensure!(!has_bundle(&scope).await?, "a bundle was injected after {:?}", taken.elapsed());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        wait::until("the injection", WITHIN, || async {
            ensure!(has_bundle(&scope).await?, "there is no bundle yet");
            Ok(())
        })
        .await?;
        let late = taken.elapsed().saturating_sub(FOREIGN_LEASE);
        ensure!(late < TAKEN_OVER_WITHIN, "the Lease was taken over {late:?} after its end");
        let spec = held_by_ours(&leases).await?;
        ensure!(spec.lease_transitions == Some(8), "the Lease is {spec:?}");

        leases.delete(LEASE, &DeleteParams::default()).await?;
        held_by_ours(&leases).await?;
        Ok(())
    })
    .await
}

const LEASE: &str = "cert-manager-cainjector-leader-election";

/// Waits until one of our pods holds the Lease.
async fn held_by_ours(leases: &Api<Lease>) -> anyhow::Result<LeaseSpec> {
    let pod = format!("{}-cainjector-", install::RELEASE);
    wait::until("a cainjector of ours to hold the Lease", WITHIN, || async {
        let spec = leases.get(LEASE).await?.spec.context("the Lease is empty")?;
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        ensure!(holder.starts_with(&pod), "its holder is {holder:?}");
        Ok(spec)
    })
    .await
}

/// Takes the Lease, in the form in which Go programs do.
async fn take(leases: &Api<Lease>) -> anyhow::Result<Instant> {
    wait::until("the Lease to be taken", WITHIN, || async {
        let mut lease = leases.get(LEASE).await?;
        let now = Some(MicroTime(jiff::Timestamp::now()));
        lease.spec = Some(LeaseSpec {
            holder_identity: Some("another-cainjector_1".to_owned()),
            lease_duration_seconds: i32::try_from(FOREIGN_LEASE.as_secs()).ok(),
            acquire_time: now.clone(),
            renew_time: now,
            lease_transitions: Some(7),
            ..LeaseSpec::default()
        });
        let taken = Instant::now();
        leases.replace(LEASE, &PostParams::default(), &lease).await?;
        Ok::<_, anyhow::Error>(taken)
    })
    .await
}

fn name(scope: &Scope) -> String {
    format!("{}-hooks", scope.namespace)
}

/// A configuration without rules, so that nobody ever calls it.
async fn target(scope: &Scope) -> anyhow::Result<()> {
    let source = format!("{}/trust", scope.namespace);
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name(scope), "annotations": {annotation::INJECT_CA_FROM_SECRET: source}},
        "webhooks": [{
            "name": "one.signet.example",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Ignore",
            "clientConfig": {"url": "https://127.0.0.1:9/one"},
        }],
    });
    scope.create(&configuration).await?;
    Ok(())
}

async fn has_bundle(scope: &Scope) -> anyhow::Result<bool> {
    let configurations = scope.resource("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration");
    let live = configurations.get(&name(scope)).await?;
    Ok(live.data.pointer("/webhooks/0/clientConfig/caBundle").is_some())
}

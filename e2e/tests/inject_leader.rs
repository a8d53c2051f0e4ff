//! One cainjector writes at a time, by the Lease that cert-manager's takes too.
//!
//! A test program of its own: while somebody else holds the Lease, no other test would see an injection.

mod common;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use common::injectors::LEASE;
use common::targets::{Target, trusted};
use e2e::namespace::{self, Scope};
use e2e::{install, wait};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
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
    namespace::own("leader", |scope| async move {
        let leases = Api::<Lease>::namespaced(scope.client.clone(), "kube-system");
        held_by_ours(&leases).await?;
        let ca = trusted(&scope, "Elected CA").await?;

        // Nobody renews it: that is what a holder which was killed leaves behind.
        let taken = take(&leases).await?;
        tokio::time::sleep(SEEN_AFTER).await;
        let target = Target::webhook_configuration(&scope).await?;
        while taken.elapsed() + Duration::from_secs(1) < FOREIGN_LEASE {
            ensure!(!has_bundle(&target, &scope).await?, "a bundle was injected after {:?}", taken.elapsed());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        target.holds(&scope, &[&ca]).await?;
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

async fn has_bundle(target: &Target, scope: &Scope) -> anyhow::Result<bool> {
    Ok(target.bundles(scope).await?.iter().any(Option::is_some))
}

//! What becomes of injections when the leader is killed or paused, two write at once, the API server restarts, or
//! somebody else writes to the target all the while.
//!
//! A test program of its own, whose tests take turns: they change how the cainjector is installed, and put it back.

mod common;

use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use api::keys::annotation;
use common::injectors::{self, DEPLOYMENT, LEASE, with_injectors};
use common::replicas::{self, HARM};
use common::targets::{CERTIFICATE, Target, certificate, issued, set_bundle, trusted, versions};
use e2e::authority::Authority;
use e2e::cluster::Component;
use e2e::namespace::{self, Scope};
use e2e::wait;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, Patch, PostParams, WatchEvent, WatchParams};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

const PROGRAM: &str = "signet-cainjector";
const CERTIFICATES: &str = "certificates.cert-manager.io";

/// How long a change of the installation, an election or a repair may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(90);

/// How much later than the end of its predecessor's Lease a new one may lead on a busy machine: it retries every two
/// seconds.
const LED_WITHIN: Duration = Duration::from_secs(6);

/// For how long is looked whether anybody still writes. A writer who takes turns with another does so in milliseconds.
const CALM: Duration = Duration::from_secs(5);

/// A paused container must wake before kubelet gives it up, which takes 20 seconds; so others have to take over sooner
/// than they do as installed.
const SHORT_LEASE: [&str; 3] = [
    "--leader-election-lease-duration=6s",
    "--leader-election-renew-deadline=4s",
    "--leader-election-retry-period=1s",
];

/// How often the CA is replaced while others write.
const CHANGES: usize = 20;

/// The pause between two writes of somebody else: many fall between the cainjector's read and its write.
const FOREIGN_PAUSE: Duration = Duration::from_millis(10);

#[tokio::test]
async fn a_leader_that_is_killed_is_replaced_within_its_lease() -> anyhow::Result<()> {
    with_injectors("killed", 2, &[], |scope| async move {
        let ca = trusted(&scope, "CA 0").await?;
        let former = leader(&scope).await?;
        let lease = former.lease.lease_duration_seconds.context("the Lease has no duration")?;
        let lease = Duration::from_secs(lease.try_into()?);
        kill(Pid::from_raw(former.process), Signal::SIGKILL)?;
        let killed = Timestamp::now();
        // Who was dead before it came cannot have served it.
        let target = Target::webhook_configuration(&scope).await?;
        other_leader(&scope, &former).await?;
        let next = leader(&scope).await?;
        ensure!(next.name() != former.name(), "{:?} leads again", next.name());
        // When it began to lead: renewals come later, and the test may be slow to see any of it.
        let acquired =
            next.lease.acquire_time.as_ref().context("the Lease has no time of its acquisition")?;
        let took = Duration::try_from(acquired.0.duration_since(killed)).context("it led before the kill")?;
        println!("the next leader has led {took:?} after the kill");
        ensure!(took < lease + LED_WITHIN, "the Lease is for {lease:?}, and it took {took:?}");
        target.holds(&scope, &[&ca]).await
    })
    .await
}

#[tokio::test]
async fn a_leader_that_was_paused_does_no_harm_when_it_wakes() -> anyhow::Result<()> {
    with_injectors("paused", 2, &SHORT_LEASE, |scope| async move {
        let mut cas = vec![trusted(&scope, "CA 0").await?];
        let target = Target::webhook_configuration(&scope).await?;
        target.holds(&scope, &[&cas[0]]).await?;
        let former = leader(&scope).await?;
        let ((), writes) = counted(&scope, &target, async {
            kill(Pid::from_raw(former.process), Signal::SIGSTOP)?;
            let changed = async {
                other_leader(&scope, &former).await?;
                change(&scope, &target, &mut cas).await
            };
            let outcome = changed.await;
            // It finds that it leads no more, and that the target was changed twice.
            kill(Pid::from_raw(former.process), Signal::SIGCONT)?;
            outcome?;
            change(&scope, &target, &mut cas).await
        })
        .await?;
        ensure!(writes == 2, "two changes took {writes} writes");
        let next = leader(&scope).await?;
        ensure!(next.name() != former.name(), "{:?} leads again", next.name());
        let transitions = |leader: &Leader| leader.lease.lease_transitions.unwrap_or_default();
        ensure!(
            transitions(&next) == transitions(&former) + 1,
            "the Lease went to and fro: {:?}",
            next.lease
        );
        let alive = scope.cluster.processes(PROGRAM);
        ensure!(alive.contains(&former.process), "the former leader has ended");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn two_that_write_at_once_come_to_the_same_end() -> anyhow::Result<()> {
    with_injectors("rivals", 2, &["--leader-elect=false"], |scope| async move {
        let (ca, targets) = Target::both_injected(&scope, "CA 0").await?;
        let mut cas = vec![ca];
        let holder = lease(&scope).await?.holder_identity.unwrap_or_default();
        ensure!(!holder.starts_with(DEPLOYMENT), "{holder:?} leads, so the other one does not write");
        let [first, _] = &targets;
        let ((), writes) = counted(&scope, first, async {
            for number in 1..=CHANGES {
                let ca = Authority::new(&format!("CA {number}"))?;
                set_bundle(&scope, &ca.certificate).await?;
                cas.push(ca);
            }
            let all: Vec<_> = cas.iter().collect();
            for target in &targets {
                target.holds(&scope, &all).await?;
            }
            Ok(())
        })
        .await?;
        println!("{writes} writes for {CHANGES} changes by two writers");
        // One that adds nothing would be one too many.
        ensure!(writes <= CHANGES, "{CHANGES} changes took {writes} writes");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn after_a_restart_of_the_api_server_changes_arrive_and_nothing_else_is_written() -> anyhow::Result<()>
{
    let _alone = HARM.write().await;
    namespace::own("restart", |scope| async move {
        let (ca, targets) = Target::both_injected(&scope, "CA 0").await?;
        let mut cas = vec![ca];
        let before = (injectors::all(&scope).await?, versions(&scope, &targets).await?);
        scope.cluster.restart(Component::ApiServer).await?;
        let sentinel = Target::create(&scope, "sentinel").await?;
        sentinel.holds(&scope, &[&cas[0]]).await?;
        ensure!(versions(&scope, &targets).await? == before.1, "a target was written without need");
        let began = Instant::now();
        for target in &targets {
            change(&scope, target, &mut cas).await?;
        }
        println!("two changes were injected within {:?}", began.elapsed());
        let after = injectors::all(&scope).await?;
        ensure!(replicas::lives(&before.0) == replicas::lives(&after), "a cainjector was restarted");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn who_changes_the_target_all_the_while_keeps_its_changes_and_gets_each_bundle() -> anyhow::Result<()> {
    let _alone = HARM.write().await;
    namespace::own("busy", |scope| async move {
        let mut cas = vec![trusted(&scope, "CA 0").await?];
        let target = Target::webhook_configuration(&scope).await?;
        target.holds(&scope, &[&cas[0]]).await?;
        let writes = while_written(&scope, &target, async {
            for _ in 0..CHANGES {
                change(&scope, &target, &mut cas).await?;
            }
            Ok(())
        })
        .await?;
        println!("{writes} writes of somebody else during {CHANGES} changes");
        ensure!(writes > CHANGES, "somebody else wrote only {writes} times");
        let last = timeout(writes);
        write_timeout(&scope, &target, last).await?;
        tokio::time::sleep(CALM).await;
        let live = target.get(&scope).await?;
        ensure!(
            live.data["webhooks"][0]["timeoutSeconds"] == last,
            "the last change was lost: {:?}",
            live.data
        );
        target.holds(&scope, &cas.iter().collect::<Vec<_>>()).await
    })
    .await
}

#[tokio::test]
async fn sources_that_the_flags_exclude_are_told_and_not_read() -> anyhow::Result<()> {
    let flags = ["--namespace=elsewhere", "--enable-certificates-data-source=false"];
    with_injectors("excluded", 1, &flags, |scope| async move {
        trusted(&scope, "Excluded CA").await?;
        let target = Target::webhook_configuration(&scope).await?;
        let told = target.event(&scope, "NamespaceNotServed").await?;
        ensure!(told.contains("--namespace"), "the event says {told:?}");
        let asks = json!({annotation::INJECT_CA_FROM: "elsewhere/web"});
        let other = Target::asking(&scope, "certificate", &asks).await?;
        let told = other.event(&scope, "SourceNotSupported").await?;
        ensure!(told.contains("--enable-certificates-data-source"), "the event says {told:?}");
        for target in [target, other] {
            ensure!(target.bundles(&scope).await? == [None, None], "{} got a bundle", target.name);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn without_the_kind_certificate_secrets_are_served_and_certificates_when_it_is_there()
-> anyhow::Result<()> {
    with_injectors("late-kind", 1, &[], |scope| async move {
        let definitions = scope.resource("apiextensions.k8s.io/v1", "CustomResourceDefinition");
        let mut definition = definitions.get(CERTIFICATES).await?;
        definition.metadata = ObjectMeta {
            name: definition.metadata.name,
            labels: definition.metadata.labels,
            annotations: definition.metadata.annotations,
            ..ObjectMeta::default()
        };
        definitions.delete(CERTIFICATES, &DeleteParams::default()).await?;
        let outcome = async {
            wait::until("the kind to be gone", WITHIN, || async {
                ensure!(definitions.get_opt(CERTIFICATES).await?.is_none(), "it is still there");
                Ok(())
            })
            .await?;
            let ca = trusted(&scope, "CA 0").await?;
            let asks = json!({annotation::INJECT_CA_FROM: format!("{}/{CERTIFICATE}", scope.namespace)});
            let waiting = Target::asking(&scope, "certificate", &asks).await?;
            let served = Target::webhook_configuration(&scope).await?;
            served.holds(&scope, &[&ca]).await?;
            ensure!(waiting.bundles(&scope).await? == [None, None], "a bundle came from nowhere");
            anyhow::Ok(waiting)
        };
        let outcome = outcome.await;
        definitions.create(&PostParams::default(), &definition).await?;
        let (waiting, ca) = (outcome?, Authority::new("CA 1")?);
        scope.create(&issued("web-tls", CERTIFICATE, &ca)).await?;
        let certificate = certificate("web-tls");
        wait::until("Certificates to be served", WITHIN, || scope.create(&certificate)).await?;
        waiting.holds(&scope, &[&ca]).await
    })
    .await
}

/// Somebody writes to the target until `work` is done; how often.
async fn while_written(
    scope: &Scope,
    target: &Target,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<usize> {
    let (mut work, mut writes) = (pin!(work), 0);
    loop {
        tokio::select! {
            outcome = &mut work => return outcome.map(|()| writes),
            outcome = write_timeout(scope, target, timeout(writes)) => {
                outcome?;
                writes += 1;
            }
        }
    }
}

/// The value of a foreign write: seconds, 1 to 30 by the API.
fn timeout(number: usize) -> usize {
    number % 30 + 1
}

async fn write_timeout(scope: &Scope, target: &Target, seconds: usize) -> anyhow::Result<()> {
    let operations = json!([{"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": seconds}]);
    let patch = Patch::Json::<()>(serde_json::from_value(operations)?);
    let written = target.patch(scope, &patch).await?;
    for entry in written.data["webhooks"].as_array().context("there are no entries")? {
        ensure!(entry["clientConfig"].get("caBundle").is_some(), "{} has lost its bundle", entry["name"]);
    }
    tokio::time::sleep(FOREIGN_PAUSE).await;
    Ok(())
}

/// Replaces the CA in the Secret, and waits until the target trusts it beside the former ones.
async fn change(scope: &Scope, target: &Target, cas: &mut Vec<Authority>) -> anyhow::Result<()> {
    let ca = Authority::new(&format!("CA {}", cas.len()))?;
    set_bundle(scope, &ca.certificate).await?;
    cas.push(ca);
    target.holds(scope, &cas.iter().collect::<Vec<_>>()).await
}

/// How often the target is written while `work` is done, and in the calm after it.
async fn counted<T>(
    scope: &Scope,
    target: &Target,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(T, usize)> {
    let api = scope.resource(target.api_version, target.kind);
    let now = api.get(&target.name).await?.metadata.resource_version.context("no resource version")?;
    let params = WatchParams::default().fields(&format!("metadata.name={}", target.name));
    let mut events = api.watch(&params, &now).await?.boxed();
    let work = async {
        let value = work.await?;
        tokio::time::sleep(CALM).await;
        anyhow::Ok(value)
    };
    let (mut work, mut writes) = (pin!(work), 0);
    loop {
        tokio::select! {
            value = &mut work => return Ok((value?, writes)),
            event = events.try_next() => match event?.context("the watch ended")? {
                WatchEvent::Modified(_) => writes += 1,
                WatchEvent::Error(error) => bail!("the watch failed: {error:?}"),
                _ => {}
            }
        }
    }
}

/// Who leads.
struct Leader {
    lease: LeaseSpec,
    process: i32,
}

impl Leader {
    fn name(&self) -> Option<&str> {
        self.lease.holder_identity.as_deref()
    }
}

async fn lease(scope: &Scope) -> anyhow::Result<LeaseSpec> {
    let leases = Api::<Lease>::namespaced(scope.client.clone(), "kube-system");
    leases.get(LEASE).await?.spec.context("the Lease is empty")
}

/// Waits until one of the pods holds the Lease, and finds its process.
async fn leader(scope: &Scope) -> anyhow::Result<Leader> {
    wait::until("a leader", WITHIN, || async {
        let lease = lease(scope).await?;
        let holder = lease.holder_identity.clone().unwrap_or_default();
        let pods = injectors::all(scope).await?;
        let is_holder = |pod: &&Pod| {
            pod.metadata.name.as_ref().is_some_and(|name| holder.starts_with(&format!("{name}_")))
        };
        let pod = pods.iter().find(is_holder).with_context(|| format!("the Lease is held by {holder:?}"))?;
        let uid = pod.metadata.uid.as_deref().context("a pod has no UID")?;
        let process =
            common::process_of(scope, PROGRAM, uid).with_context(|| format!("{holder} does not run"))?;
        anyhow::Ok(Leader { lease, process })
    })
    .await
}

/// Waits until another one than `former` holds the Lease.
async fn other_leader(scope: &Scope, former: &Leader) -> anyhow::Result<()> {
    wait::until("another leader", WITHIN, || async {
        let holder = lease(scope).await?.holder_identity;
        ensure!(holder.as_deref() != former.name(), "{holder:?} still leads");
        Ok(())
    })
    .await
}

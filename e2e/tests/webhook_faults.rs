//! What happens to calls when something that the webhook stands on is killed, restarted, lost or damaged.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use common::ca;
use common::load::{self, Failure, Load, Report};
use common::replicas;
use common::reviewer::{self, Reviewer};
use common::rival;
use e2e::cluster::Component;
use e2e::namespace::{self, Scope};
use e2e::resources::refusal;
use e2e::{install, wait};
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::KeyPair;
use serde_json::{Value, json};

/// How many clients call at the same time.
const CLIENTS: usize = 4;

/// How long after a replica's sudden death a call may still be written to its connection: the API server's reader has to
/// get a turn before the connection counts as ended, which on a busy machine is not at once.
const CONNECTION_ENDED_WITHIN: Duration = Duration::from_secs(2);

/// What the API server says of a call on such a connection, in the words of Go's network library.
const CUT_OFF: [&str; 5] =
    ["EOF", "connection reset by peer", "broken pipe", "use of closed network connection", "connection lost"];

/// The same of a call to a dead replica, of which it does not know yet.
const REFUSED: &str = "connection refused";

/// How long after kubelet has noticed the death calls may still be sent to it: the endpoint controller and then the API
/// server have to hear of it.
const AVOIDED_WITHIN: Duration = Duration::from_secs(5);

/// How long the kernel may take to end a process with many threads.
const DEAD_WITHIN: Duration = Duration::from_secs(30);

/// How long the webhook may take to put right what was damaged; a second is usual.
const REPAIRED_WITHIN: Duration = Duration::from_secs(60);

/// Replicas that race at their installation, and how long they are called afterwards.
const RACERS: usize = 5;
const CALLED_FOR: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_replica_that_is_drained_costs_no_call() -> anyhow::Result<()> {
    let _alone = replicas::HARM.write().await;
    namespace::own("drain", |scope| async move {
        let doomed = replicas::ready(&scope.client).await?.swap_remove(0);
        let name = doomed.metadata.name.context("a replica has no name")?;
        let load = Load::start(&scope, CLIENTS).await?;
        let api = Api::<Pod>::namespaced(scope.client.clone(), install::RELEASE);
        api.delete(&name, &DeleteParams::default()).await?;
        wait::until("the drained replica to be replaced", replicas::BACK_WITHIN, || async {
            ensure!(api.get_opt(&name).await?.is_none(), "it is still there");
            replicas::ready(&scope.client).await
        })
        .await?;
        let sent = load.finish_without_failure().await?;
        println!("{sent} calls while a replica was drained");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_replica_that_is_killed_fails_closed_and_briefly() -> anyhow::Result<()> {
    let _alone = replicas::HARM.write().await;
    namespace::own("kill", |scope| async move {
        let before = replicas::ready(&scope.client).await?.swap_remove(0);
        let uid = before.metadata.uid.as_deref().context("a replica has no UID")?;
        let doomed =
            common::process_of(&scope, replicas::PROGRAM, uid).context("the replica has no process")?;
        let load = Load::start(&scope, CLIENTS).await?;
        kill(Pid::from_raw(doomed), Signal::SIGKILL)?;
        // Its threads end one by one, and the last one closes its connections.
        wait::until("the killed process to be gone", DEAD_WITHIN, || async {
            ensure!(!Path::new(&format!("/proc/{doomed}")).exists(), "it is still there");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        let dead = Instant::now();
        // Until kubelet notices, the dead replica still counts as Ready.
        wait::until("its death to be noticed", replicas::BACK_WITHIN, || async {
            let pods = replicas::all(&scope.client, install::RELEASE).await?;
            let victim = pods.iter().find(|pod| pod.metadata.uid.as_deref() == Some(uid));
            let is_as_before =
                |pod: &Pod| common::is_ready(pod) && common::restarts(pod) == common::restarts(&before);
            ensure!(!victim.is_some_and(is_as_before), "it counts as Ready");
            Ok(())
        })
        .await?;
        let noticed = Instant::now();
        wait::until("all replicas", replicas::BACK_WITHIN, || replicas::ready(&scope.client)).await?;
        println!("noticed {:?} after the death, back after {:?}", noticed - dead, dead.elapsed());
        let Report { sent, failures } = load.finish().await?;
        println!("{sent} calls, of which {} failed:\n{}", failures.len(), load::told(&failures, dead));
        failures.iter().try_for_each(|failure| is_due_to(failure, dead, noticed))?;
        replicas::replace_restarted(&scope).await
    })
    .await
}

/// Whether a call had to fail because of a replica's death. Nobody can answer for a process that is gone, so the calls
/// that it was answering fail, and those that are still sent to it are refused by its node.
fn is_due_to(failure: &Failure, dead: Instant, noticed: Instant) -> anyhow::Result<()> {
    let began = failure.sent.saturating_duration_since(dead);
    let is_cut_off = CUT_OFF.iter().any(|words| failure.error.contains(words));
    ensure!(
        failure.sent <= dead
            || failure.error.contains(REFUSED)
            || (is_cut_off && began < CONNECTION_ENDED_WITHIN),
        "a call that began {began:?} after the death failed with {}",
        failure.error
    );
    let ended = failure.failed.saturating_duration_since(noticed);
    ensure!(
        ended < AVOIDED_WITHIN,
        "a call still failed {ended:?} after the death was noticed, {:?} after it: {}",
        failure.failed - dead,
        failure.error
    );
    Ok(())
}

#[tokio::test]
async fn an_api_server_that_restarts_finds_the_webhook_as_it_was() -> anyhow::Result<()> {
    let _alone = replicas::HARM.write().await;
    namespace::own("restart", |scope| async move {
        let before = replicas::ready(&scope.client).await?;
        scope.cluster.restart(Component::ApiServer).await?;
        let began = Instant::now();
        wait::until("calls to succeed again", REPAIRED_WITHIN, || load::once(&scope)).await?;
        println!("calls succeed {:?} after the API server is ready", began.elapsed());
        // What has watches notices that they broke; who has lost them for good would not see this.
        for kind in ca::KINDS {
            ca::empty_bundles(&scope, kind).await?;
        }
        repaired(&scope).await?;
        let after =
            wait::until("all replicas", replicas::BACK_WITHIN, || replicas::ready(&scope.client)).await?;
        ensure!(replicas::lives(&before) == replicas::lives(&after), "a replica was restarted");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_bundle_that_somebody_empties_is_filled_again() -> anyhow::Result<()> {
    let _alone = replicas::HARM.write().await;
    namespace::own("bundle", |scope| async move {
        for kind in ca::KINDS {
            ca::empty_bundles(&scope, kind).await?;
        }
        let began = Instant::now();
        repaired(&scope).await?;
        println!("the bundles are back after {:?}", began.elapsed());
        wait::until("calls to succeed again", REPAIRED_WITHIN, || load::once(&scope)).await
    })
    .await
}

#[tokio::test]
async fn a_ca_that_is_lost_or_damaged_is_replaced_without_a_failed_call() -> anyhow::Result<()> {
    let _alone = replicas::HARM.write().await;
    namespace::own("secret", |scope| async move {
        let load = Load::start(&scope, CLIENTS).await?;
        let secrets = Api::<Secret>::namespaced(scope.client.clone(), install::RELEASE);
        let damages: [(&str, Value); 4] = [
            ("no key", json!({"data": {"tls.key": null}})),
            (
                "a key of another certificate",
                json!({"stringData": {"tls.key": KeyPair::generate()?.serialize_pem()}}),
            ),
            ("what is no certificate", json!({"stringData": {"tls.crt": "no PEM", "ca.crt": "no PEM"}})),
            ("nothing at all", json!({"data": null})),
        ];
        for (what, damage) in damages {
            let former = ca::current(&scope).await?;
            secrets.patch(reviewer::SECRET, &PatchParams::default(), &Patch::Merge(damage)).await?;
            replaced(&scope, &former).await.with_context(|| format!("a Secret with {what}"))?;
        }
        let former = ca::current(&scope).await?;
        secrets.delete(reviewer::SECRET, &DeleteParams::default()).await?;
        replaced(&scope, &former).await.context("a Secret that is gone")?;
        let sent = load.finish_without_failure().await?;
        println!("{sent} calls while the CA was lost and damaged five times");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_ca_of_cert_manager_is_taken_over_without_a_failed_call() -> anyhow::Result<()> {
    let _alone = replicas::HARM.write().await;
    namespace::own("peer", |scope| async move {
        let load = Load::start(&scope, CLIENTS).await?;
        let (certificate, key) = ca::like_cert_managers(Duration::ZERO)?;
        let secret = json!({"stringData": {"tls.crt": certificate, "ca.crt": certificate, "tls.key": key}});
        let secrets = Api::<Secret>::namespaced(scope.client.clone(), install::RELEASE);
        secrets.patch(reviewer::SECRET, &PatchParams::default(), &Patch::Merge(secret)).await?;
        ca::served(&scope).await?;
        ensure!(ca::current(&scope).await? == certificate.as_bytes(), "the Secret was written");
        let sent = load.finish_without_failure().await?;
        println!("{sent} calls while the CA was changed by cert-manager");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn replicas_that_race_at_their_installation_agree_on_one_ca() -> anyhow::Result<()> {
    let _alone = replicas::HARM.write().await;
    namespace::own("race", |scope| async move {
        // Its guard of requests is about every namespace, so nothing else may be going on.
        let values = [
            format!("webhook.replicas={RACERS}"),
            format!(
                "webhook.namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name={}",
                scope.namespace
            ),
            "cainjector.enabled=false,csiDriver.enabled=false,controller.enabled=false".to_owned(),
        ];
        rival::with(&scope, &values, race(&scope)).await
    })
    .await
}

/// What is right of a second installation, of the webhook alone, for objects of the test's namespace.
async fn race(scope: &Scope) -> anyhow::Result<()> {
    let namespace = &scope.namespace;
    // Who is Ready can be called, at once.
    let load = Load::start(scope, CLIENTS).await?;
    tokio::time::sleep(CALLED_FOR).await;
    let sent = load.finish_without_failure().await?;
    println!("{sent} calls right after the installation");
    let (secret, name) = (format!("{namespace}-webhook-ca"), format!("{namespace}-webhook.{namespace}.svc"));
    let reviewer = Reviewer::of(&scope.cluster, namespace, &secret, &name).await?;
    let pods = replicas::all(&scope.client, namespace).await?;
    ensure!(pods.len() == RACERS, "{} replicas are there", pods.len());
    for pod in &pods {
        reviewer.open(pod).context("a replica serves under another CA than the one in the Secret")?;
        ensure!(common::restarts(pod) == 0, "a replica was restarted");
    }
    Ok(())
}

#[tokio::test]
async fn readiness_knows_what_callers_need_and_what_it_may_not_read() -> anyhow::Result<()> {
    let _alone = replicas::HARM.write().await;
    namespace::own("ready", |scope| async move {
        let values = [
            "webhook.replicas=1".to_owned(),
            format!(
                "webhook.namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name={}",
                scope.namespace
            ),
            "cainjector.enabled=false,csiDriver.enabled=false,controller.enabled=false".to_owned(),
        ];
        rival::with(&scope, &values, async {
            with_files(&scope).await?;
            with_cert_managers_rights(&scope).await
        })
        .await
    })
    .await
}

/// A replica with a certificate from files is ready if that is for the name by which its configuration calls it.
async fn with_files(scope: &Scope) -> anyhow::Result<()> {
    let name = format!("{}-webhook", scope.namespace);
    let installed = replicas::all(&scope.client, &scope.namespace).await?;
    let container = installed.first().and_then(|pod| pod.spec.as_ref()?.containers.first());
    let image = container.and_then(|container| container.image.clone()).context("no replica is there")?;
    for (pod, host) in
        [("wrong", "other.example.com".to_owned()), ("right", format!("{name}.{}.svc", scope.namespace))]
    {
        let made = rcgen::generate_simple_self_signed([host])?;
        let pair = json!({"tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem()});
        scope
            .create(
                &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": pod}, "stringData": pair}),
            )
            .await?;
        let args = [
            "--tls-cert-file=/tls/tls.crt".to_owned(),
            "--tls-private-key-file=/tls/tls.key".to_owned(),
            "--metrics-listen-address=0".to_owned(),
            format!("--validating-configuration-name={name}"),
            format!("--mutating-configuration-name={name}"),
        ];
        let probe = json!({"httpGet": {"path": "/readyz", "port": 6080}, "periodSeconds": 1});
        let container = json!({"name": "webhook", "image": image, "imagePullPolicy": "Never", "args": args,
            "readinessProbe": probe, "volumeMounts": [{"name": "tls", "mountPath": "/tls"}]});
        scope
            .create(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod}, "spec": {
                "serviceAccountName": name, "automountServiceAccountToken": true, "containers": [container],
                "volumes": [{"name": "tls", "secret": {"secretName": pod}}]}}))
            .await?;
    }
    scope.pod_ready("right", replicas::BACK_WITHIN).await?;
    let path = format!("/api/v1/namespaces/{}/pods/http:wrong:6080/proxy/readyz", scope.namespace);
    wait::until("the reason of the other one", replicas::BACK_WITHIN, || async {
        let request = http::Request::get(&path).body(Vec::new())?;
        let told = refusal(scope.client.request_text(request).await)?.message;
        ensure!(told.contains("the certificate is not for that name"), "its probe says {told:?}");
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// A replica that may read no configuration, as by cert-manager's Role, is ready without them.
async fn with_cert_managers_rights(scope: &Scope) -> anyhow::Result<()> {
    let namespace = &scope.namespace;
    let rules = json!({"rules": [{"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"],
        "verbs": ["create"]}]});
    let roles = Api::<ClusterRole>::all(scope.client.clone());
    roles.patch(&format!("{namespace}-webhook"), &PatchParams::default(), &Patch::Merge(rules)).await?;
    let before = replicas::all(&scope.client, namespace).await?;
    for pod in &before {
        let name = pod.metadata.name.clone().unwrap_or_default();
        scope.api::<Pod>().delete(&name, &DeleteParams::default()).await?;
    }
    wait::until("a replica with fewer rights to be ready", replicas::BACK_WITHIN, || async {
        let mut pods = replicas::all(&scope.client, namespace).await?;
        pods.retain(|pod| before.iter().all(|old| old.metadata.uid != pod.metadata.uid));
        ensure!(pods.iter().any(common::is_ready), "none of {} is", pods.len());
        Ok(())
    })
    .await
}

/// Waits until another CA than the former is in the Secret and every replica serves under it.
async fn replaced(scope: &Scope, former: &[u8]) -> anyhow::Result<()> {
    wait::until("another CA", REPAIRED_WITHIN, || async {
        ensure!(ca::current(scope).await? != former, "it is still the former");
        Ok(())
    })
    .await?;
    ca::served(scope).await
}

/// Waits until no entry of the two configurations is without a bundle.
async fn repaired(scope: &Scope) -> anyhow::Result<()> {
    wait::until("every bundle to be filled", REPAIRED_WITHIN, || async {
        for kind in ca::KINDS {
            let configuration =
                scope.resource("admissionregistration.k8s.io/v1", kind).get(ca::CONFIGURATION).await?;
            for entry in configuration.data["webhooks"].as_array().context("no webhooks")? {
                let bundle = entry["clientConfig"]["caBundle"].as_str().unwrap_or_default();
                ensure!(!bundle.is_empty(), "{} of the {kind} has none", entry["name"]);
            }
        }
        Ok(())
    })
    .await
}

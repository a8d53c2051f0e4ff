//! From a Certificate to its Secret, and how that stays as it should be: each test has a controller of its own, which works in
//! the namespace of the test alone and approves what it asks for.

mod common;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::rival;
use e2e::authority::{Authority, issuer};
use e2e::namespace::{self, Scope};
use e2e::wait;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// How long an issuance may take on a busy machine; a tenth of a second is usual.
const WITHIN: Duration = Duration::from_secs(60);

/// Certificates that are issued while their controller is killed.
const KEPT: usize = 12;

const API_VERSION: &str = "cert-manager.io/v1";
const CERTIFICATE: &str = "Certificate";
const REQUEST: &str = "CertificateRequest";

#[tokio::test]
async fn a_certificate_becomes_a_secret_and_is_kept_as_it_was_written() -> anyhow::Result<()> {
    with_controller("issued", |scope| async move {
        ca(&scope).await?;
        scope
            .create(&certificate(
                "web",
                &json!({
                    "dnsNames": ["web.example.com"],
                    "secretTemplate": {"labels": {"team": "a"}, "annotations": {"example.com/owner": "web"}},
                    "additionalOutputFormats": [{"type": "CombinedPEM"}, {"type": "DER"}],
                }),
            ))
            .await?;
        let status = is_ready(&scope, "web", 1).await?;
        for field in ["notBefore", "notAfter", "renewalTime"] {
            ensure!(status[field].is_string(), "no {field}: {status}");
        }
        let written = secret(&scope, "web").await?;
        let entries: Vec<_> = written.data.iter().flatten().map(|(name, _)| name.as_str()).collect();
        ensure!(
            entries == ["ca.crt", "key.der", "tls-combined.pem", "tls.crt", "tls.key"],
            "the entries are {entries:?}"
        );
        ensure!(written.type_.as_deref() == Some("kubernetes.io/tls"), "the type is {:?}", written.type_);
        let annotations = written.metadata.annotations.clone().unwrap_or_default();
        for (key, value) in [
            ("cert-manager.io/certificate-name", "web"),
            ("cert-manager.io/issuer-name", "ca"),
            ("cert-manager.io/alt-names", "web.example.com"),
            ("example.com/owner", "web"),
        ] {
            ensure!(annotations.get(key).map(String::as_str) == Some(value), "{key}: {annotations:?}");
        }
        let requests = names(&scope, REQUEST).await?;
        ensure!(requests == ["web-1"], "the requests are {requests:?}");
        no_key_is_left(&scope).await?;

        // Labels and forms that somebody changes are put right, and the pair stays.
        let before = pair(&written);
        let patch = json!({"metadata": {"labels": {"team": "b", "controller.cert-manager.io/fao": null}},
            "data": {"tls-combined.pem": "eA=="}});
        patch_secret(&scope, "web", &patch).await?;
        wait::until("the Secret to be repaired", WITHIN, || async {
            let secret = secret(&scope, "web").await?;
            let labels = secret.metadata.labels.clone().unwrap_or_default();
            ensure!(labels.get("team").map(String::as_str) == Some("a"), "the labels are {labels:?}");
            ensure!(labels.contains_key("controller.cert-manager.io/fao"), "the labels are {labels:?}");
            let combined = secret.data.as_ref().and_then(|data| data.get("tls-combined.pem"));
            ensure!(combined.is_some_and(|combined| combined.0.len() > 100), "the combined form is wrong");
            ensure!(pair(&secret) == before, "the pair has changed");
            anyhow::Ok(())
        })
        .await?;

        // A Secret that is deleted comes back with another pair.
        scope.api::<Secret>().delete("web", &DeleteParams::default()).await?;
        is_ready(&scope, "web", 2).await?;
        ensure!(pair(&secret(&scope, "web").await?) != before, "the pair is the same");
        let requests = names(&scope, REQUEST).await?;
        wait::until("the first request to go", WITHIN, || async {
            let requests = names(&scope, REQUEST).await?;
            ensure!(requests == ["web-2"], "the requests are {requests:?}");
            anyhow::Ok(())
        })
        .await
        .with_context(|| format!("they were {requests:?}"))?;

        // A spec that asks for something else is issued anew, and at once.
        let patch = Patch::Merge(json!({"spec": {"dnsNames": ["other.example.com"]}}));
        scope.resource(API_VERSION, CERTIFICATE).patch("web", &PatchParams::default(), &patch).await?;
        is_ready(&scope, "web", 3).await?;
        let names = alt_names(&secret(&scope, "web").await?)?;
        ensure!(names == ["other.example.com"], "the names are {names:?}");
        no_key_is_left(&scope).await
    })
    .await
}

#[tokio::test]
async fn a_chain_of_authorities_is_made_of_certificates() -> anyhow::Result<()> {
    with_controller("chain", |scope| async move {
        scope.create(&issuer("Issuer", "own", &json!({"selfSigned": {}}))).await?;
        for (name, signer) in [("root", "own"), ("intermediate", "root")] {
            let spec = json!({"isCA": true, "commonName": name, "privateKey": {"algorithm": "ECDSA", "size": 256},
                "issuerRef": {"name": signer}});
            scope.create(&certificate(name, &spec)).await?;
            scope.create(&issuer("Issuer", name, &json!({"ca": {"secretName": name}}))).await?;
        }
        let spec = json!({"dnsNames": ["leaf.example.com"], "issuerRef": {"name": "intermediate"},
            "privateKey": {"algorithm": "Ed25519"}});
        scope.create(&certificate("leaf", &spec)).await?;
        is_ready(&scope, "leaf", 1).await?;
        let leaf = secret(&scope, "leaf").await?;
        let chain = certificates(&entry(&leaf, "tls.crt")?)?;
        ensure!(chain.len() == 2, "the chain has {} certificates", chain.len());
        let dir = tempfile::tempdir()?;
        for (file, name) in [("ca.pem", "ca.crt"), ("chain.pem", "tls.crt")] {
            std::fs::write(dir.path().join(file), entry(&leaf, name)?)?;
        }
        // The first certificate of the chain is the one that is verified.
        let verify = ["verify", "-CAfile", "ca.pem", "-untrusted", "chain.pem", "chain.pem"];
        let verified = std::process::Command::new("openssl").args(verify).current_dir(dir.path()).output()?;
        let said = String::from_utf8_lossy(&verified.stderr);
        ensure!(verified.status.success(), "openssl refuses the chain: {said}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn certificates_are_renewed_in_time_and_without_end() -> anyhow::Result<()> {
    with_controller("renewed", |scope| async move {
        // Admission wants an hour at least.
        let labels = json!({"metadata": {"labels": {"cert-manager.io/disable-validation": "true"}}});
        let namespaces: Api<Namespace> = Api::all(scope.client.clone());
        namespaces.patch(&scope.namespace, &PatchParams::default(), &Patch::Merge(labels)).await?;
        ca(&scope).await?;
        let spec = json!({"dnsNames": ["web.example.com"], "duration": "15s"});
        let short_lived = certificate("web", &spec);
        // The API server reads the labels of namespaces from a watch, which may be a moment behind.
        wait::until("the webhook to leave the namespace alone", WITHIN, || scope.create(&short_lived))
            .await?;
        is_ready(&scope, "web", 1).await?;
        let first = pair(&secret(&scope, "web").await?);
        let status = is_at(&scope, "web", 3).await?;
        ensure!(status["failedIssuanceAttempts"].is_null(), "an issuance failed: {status}");
        ensure!(pair(&secret(&scope, "web").await?) != first, "the pair is the same");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn of_two_certificates_with_one_secret_the_elder_has_it() -> anyhow::Result<()> {
    with_controller("conflict", |scope| async move {
        ca(&scope).await?;
        scope.create(&certificate("elder", &json!({"dnsNames": ["elder.example.com"]}))).await?;
        is_ready(&scope, "elder", 1).await?;
        let spec = json!({"dnsNames": ["younger.example.com"], "secretName": "elder"});
        scope.create(&certificate("younger", &spec)).await?;
        is_told(&scope, "younger", "Ready", "SecretNameConflict", "belongs to Certificate \"elder\"").await?;
        scope.resource(API_VERSION, CERTIFICATE).delete("elder", &DeleteParams::default()).await?;
        is_ready(&scope, "younger", 1).await?;
        let names = alt_names(&secret(&scope, "elder").await?)?;
        ensure!(names == ["younger.example.com"], "the names are {names:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn keystores_follow_their_password() -> anyhow::Result<()> {
    with_controller("keystores", |scope| async move {
        ca(&scope).await?;
        let from = json!({"name": "password", "key": "word"});
        let keystores = json!({"jks": {"create": true, "passwordSecretRef": from},
            "pkcs12": {"create": true, "profile": "Modern2023", "passwordSecretRef": from}});
        scope
            .create(&certificate("web", &json!({"dnsNames": ["web.example.com"], "keystores": keystores})))
            .await?;
        // Nothing is issued before the password is there.
        is_heard(&scope, "web", "KeystorePasswordSecretNotFound").await?;
        let password = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password"},
            "stringData": {"word": "first"}});
        scope.create(&password).await?;
        is_ready(&scope, "web", 1).await?;
        let stores = |secret: &Secret| -> anyhow::Result<Vec<Vec<u8>>> {
            ["keystore.jks", "truststore.jks", "keystore.p12", "truststore.p12"]
                .into_iter()
                .map(|name| entry(secret, name))
                .collect()
        };
        let before = secret(&scope, "web").await?;
        let (first, kept) = (stores(&before)?, pair(&before));
        patch_secret(&scope, "password", &json!({"stringData": {"word": "second"}})).await?;
        wait::until("the keystores to be made anew", WITHIN, || async {
            let secret = secret(&scope, "web").await?;
            let now = stores(&secret)?;
            ensure!(now.iter().zip(&first).all(|(now, first)| now != first), "one is the same");
            ensure!(pair(&secret) == kept, "the pair has changed");
            anyhow::Ok(())
        })
        .await?;
        // What is right is left alone: a touched Certificate has nothing written.
        let version = secret(&scope, "web").await?.metadata.resource_version;
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"touched": "yes"}}}));
        scope.resource(API_VERSION, CERTIFICATE).patch("web", &PatchParams::default(), &patch).await?;
        scope.create(&certificate("later", &json!({"dnsNames": ["later.example.com"]}))).await?;
        is_ready(&scope, "later", 1).await?;
        let after = secret(&scope, "web").await?.metadata.resource_version;
        ensure!(version == after, "the Secret was written again");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_cannot_be_issued_says_why_and_goes_on_once_the_spec_is_mended() -> anyhow::Result<()> {
    with_controller("mended", |scope| async move {
        ca(&scope).await?;
        let spec = json!({"dnsNames": ["web.example.com"], "issuerRef": {"name": "nobody"}});
        scope.create(&certificate("waiting", &spec)).await?;
        wait::until("its request to wait", WITHIN, || async {
            scope.resource(API_VERSION, REQUEST).get("waiting-1").await
        })
        .await?;
        is_told(&scope, "waiting", "Ready", "DoesNotExist", "").await?;
        is_told(&scope, "waiting", "Issuing", "DoesNotExist", "").await?;
        // The CA of its own issuer would be overwritten.
        let spec = json!({"dnsNames": ["web.example.com"], "secretName": "ca"});
        scope.create(&certificate("greedy", &spec)).await?;
        is_told(&scope, "greedy", "Ready", "SecretIsIssuerCA", "holds the CA").await?;
        // Each goes on at once.
        let to = |field: &str, value: Value| Patch::Merge(json!({"spec": {field: value}}));
        let certificates = scope.resource(API_VERSION, CERTIFICATE);
        let params = PatchParams::default();
        certificates.patch("waiting", &params, &to("issuerRef", json!({"name": "ca"}))).await?;
        certificates.patch("greedy", &params, &to("secretName", json!("greedy"))).await?;
        is_ready(&scope, "waiting", 1).await?;
        is_ready(&scope, "greedy", 1).await?;
        no_key_is_left(&scope).await
    })
    .await
}

#[tokio::test]
async fn a_temporary_certificate_stands_in_until_the_real_one_is_there() -> anyhow::Result<()> {
    with_controller("temporary", |scope| async move {
        let mut wanted = certificate("web", &json!({"dnsNames": ["web.example.com"]}));
        wanted["metadata"]["annotations"] = json!({"cert-manager.io/issue-temporary-certificate": "true"});
        scope.create(&wanted).await?;
        is_told(&scope, "web", "Ready", "TemporaryCertificate", "temporary").await?;
        let temporary = pair(&secret(&scope, "web").await?);
        ca(&scope).await?;
        is_ready(&scope, "web", 1).await?;
        let real = secret(&scope, "web").await?;
        ensure!(pair(&real) != temporary, "the temporary certificate stayed");
        ensure!(entry(&real, "ca.crt").is_ok(), "it has no CA");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_leader_that_is_killed_is_followed_and_nothing_is_issued_twice() -> anyhow::Result<()> {
    let election = "controller.replicas=2,controller.leaderElection.leaseDuration=6s,\
                    controller.leaderElection.renewDeadline=4s,controller.leaderElection.retryPeriod=1s";
    with_values("killed", &[election], |scope| async move {
        ca(&scope).await?;
        scope.create(&certificate("first", &json!({"dnsNames": ["first.example.com"]}))).await?;
        is_ready(&scope, "first", 1).await?;
        let name = |number: usize| format!("web-{number}");
        for number in 0..KEPT {
            scope.create(&certificate(&name(number), &json!({"dnsNames": ["web.example.com"]}))).await?;
            if number == KEPT / 2 {
                kill_leader(&scope).await?;
            }
        }
        for number in 0..KEPT {
            is_ready(&scope, &name(number), 1).await?;
        }
        no_key_is_left(&scope).await?;
        let requests = names(&scope, REQUEST).await?;
        ensure!(requests.len() == KEPT + 1, "the requests are {requests:?}");
        Ok(())
    })
    .await
}

/// Ends the process that holds the Lease without letting it give that back.
async fn kill_leader(scope: &Scope) -> anyhow::Result<()> {
    let lease = scope.api::<Lease>().get("cert-manager-controller").await?;
    let holder = lease.spec.and_then(|spec| spec.holder_identity).context("nobody holds the Lease")?;
    let pods = scope.api::<Pod>().list(&ListParams::default()).await?;
    let leader = pods.into_iter().find(|pod| holder.starts_with(pod.metadata.name.as_deref().unwrap_or("-")));
    let uid = leader.and_then(|pod| pod.metadata.uid).with_context(|| format!("{holder} is no pod"))?;
    let process = common::process_of(scope, "signet-controller", &uid).context("the leader does not run")?;
    Ok(kill(Pid::from_raw(process), Signal::SIGKILL)?)
}

/// Runs `test` beside a controller that works in its namespace alone, and is on for all that there is.
async fn with_controller<F, Fut>(prefix: &str, test: F) -> anyhow::Result<()>
where
    F: FnOnce(Scope) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    with_values(prefix, &[], test).await
}

/// The same with further values of the chart.
async fn with_values<F, Fut>(prefix: &str, further: &[&str], test: F) -> anyhow::Result<()>
where
    F: FnOnce(Scope) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    namespace::own(prefix, |scope| async move {
        let namespace = &scope.namespace;
        let mut values = vec![
            "webhook.enabled=false,cainjector.enabled=false,csiDriver.enabled=false".to_owned(),
            format!("controller.leaderElection.namespace={namespace}"),
            format!("controller.extraArgs={{--namespace={namespace}}}"),
        ];
        values.extend(further.iter().map(|&value| value.to_owned()));
        rival::with(&scope, &values, test(scope.clone())).await
    })
    .await
}

/// An issuer `ca` whose CA is there.
async fn ca(scope: &Scope) -> anyhow::Result<()> {
    scope.create(&Authority::new("root")?.secret("ca")).await?;
    scope.create(&issuer("Issuer", "ca", &json!({"ca": {"secretName": "ca"}}))).await?;
    Ok(())
}

/// A Certificate, kept in a Secret of its name and issued by `ca` unless `spec` says otherwise.
fn certificate(name: &str, spec: &Value) -> Value {
    let mut whole = json!({"secretName": name, "issuerRef": {"name": "ca"}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        whole[field] = value.clone();
    }
    json!({"apiVersion": API_VERSION, "kind": CERTIFICATE, "metadata": {"name": name}, "spec": whole})
}

async fn status(scope: &Scope, name: &str) -> anyhow::Result<Value> {
    Ok(scope.resource(API_VERSION, CERTIFICATE).get(name).await?.data["status"].clone())
}

/// Waits until a Certificate is ready and at rest at this revision; its status then.
async fn is_ready(scope: &Scope, name: &str, revision: i64) -> anyhow::Result<Value> {
    wait::until(&format!("Certificate {name} to be ready at revision {revision}"), WITHIN, || async {
        let status = status(scope, name).await?;
        let ready = condition(&status, "Ready").with_context(|| format!("no Ready: {status}"))?;
        ensure!(ready["status"] == "True" && status["revision"] == revision, "the status is {status}");
        ensure!(condition(&status, "Issuing").is_none(), "it is still being issued: {status}");
        anyhow::Ok(status)
    })
    .await
}

/// Waits until a Certificate has come to this revision; its status then.
async fn is_at(scope: &Scope, name: &str, revision: i64) -> anyhow::Result<Value> {
    wait::until(&format!("Certificate {name} to come to revision {revision}"), WITHIN, || async {
        let status = status(scope, name).await?;
        ensure!(status["revision"].as_i64() >= Some(revision), "the status is {status}");
        anyhow::Ok(status)
    })
    .await
}

async fn is_told(
    scope: &Scope,
    name: &str,
    type_: &str,
    reason: &str,
    message: &str,
) -> anyhow::Result<Value> {
    wait::until(&format!("Certificate {name} to be {type_}, {reason}"), WITHIN, || async {
        let status = status(scope, name).await?;
        let found = condition(&status, type_).with_context(|| format!("no condition {type_}: {status}"))?;
        let text = found["message"].as_str().unwrap_or_default();
        ensure!(found["reason"] == reason && text.contains(message), "the condition is {found}");
        anyhow::Ok(status)
    })
    .await
}

async fn is_heard(scope: &Scope, name: &str, reason: &str) -> anyhow::Result<()> {
    wait::until(&format!("event {reason} about {name}"), WITHIN, || async {
        let about = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let events = scope.api::<k8s_openapi::api::core::v1::Event>().list(&about).await?;
        let reasons: Vec<_> = events.iter().filter_map(|event| event.reason.as_deref()).collect();
        ensure!(reasons.contains(&reason), "the reasons are {reasons:?}");
        anyhow::Ok(())
    })
    .await
}

fn condition<'a>(status: &'a Value, type_: &str) -> Option<&'a Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)
}

async fn secret(scope: &Scope, name: &str) -> anyhow::Result<Secret> {
    Ok(scope.api::<Secret>().get(name).await?)
}

async fn patch_secret(scope: &Scope, name: &str, patch: &Value) -> anyhow::Result<()> {
    scope.api::<Secret>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

async fn names(scope: &Scope, kind: &str) -> anyhow::Result<Vec<String>> {
    let objects = scope.resource(API_VERSION, kind).list(&ListParams::default()).await?;
    Ok(objects.into_iter().filter_map(|object| object.metadata.name).collect())
}

/// No issuance under way, so no key of one.
async fn no_key_is_left(scope: &Scope) -> anyhow::Result<()> {
    let keys = ListParams::default().labels("cert-manager.io/next-private-key=true");
    wait::until("the keys of issuances to go", WITHIN, || async {
        let keys = scope.api::<Secret>().list(&keys).await?;
        ensure!(keys.items.is_empty(), "there are {}", keys.items.len());
        anyhow::Ok(())
    })
    .await
}

fn entry(secret: &Secret, name: &str) -> anyhow::Result<Vec<u8>> {
    let data = secret.data.as_ref().context("the Secret is empty")?;
    Ok(data.get(name).with_context(|| format!("no entry {name}"))?.0.clone())
}

/// Key and chain, to be compared.
fn pair(secret: &Secret) -> (Option<String>, Option<String>) {
    let text = |name| entry(secret, name).ok().map(|bytes| STANDARD.encode(bytes));
    (text("tls.key"), text("tls.crt"))
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let blocks = x509_parser::pem::Pem::iter_from_buffer(pem);
    blocks.map(|block| Ok(block?.contents)).collect()
}

fn alt_names(secret: &Secret) -> anyhow::Result<Vec<String>> {
    let leaf = certificates(&entry(secret, "tls.crt")?)?.remove(0);
    let (_, leaf) = X509Certificate::from_der(&leaf)?;
    let names = leaf.subject_alternative_name()?.context("it has no names")?;
    let name = |name: &x509_parser::extensions::GeneralName<'_>| match name {
        x509_parser::extensions::GeneralName::DNSName(name) => (*name).to_owned(),
        other => other.to_string(),
    };
    Ok(names.value.general_names.iter().map(name).collect())
}

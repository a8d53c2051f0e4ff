//! The webhook's CA is replaced again and again while the API server calls without a pause.

mod common;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use common::ca;
use common::load::Load;
use common::replicas;
use common::reviewer::SECRET;
use e2e::namespace::{self, Scope};
use e2e::wait;
use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// How often the CA is replaced; each time once by somebody else and once by the webhook.
const ROUNDS: usize = if cfg!(feature = "soak") { 25 } else { 2 };

/// How many clients call at the same time.
const CLIENTS: usize = 4;

/// How long one step of a rotation may take on a busy machine.
const STEP_WITHIN: Duration = Duration::from_secs(60);

/// How old the CA is that somebody else puts there: so old that the webhook replaces it, by a rotation with all its
/// steps.
const OLD: Duration = Duration::from_secs(300 * 24 * 3600);

/// For how long the next CA has to have been public before it signs. The test does not wait for that: it writes that
/// the next CA has been public for so long.
const PUBLIC_FOR: SignedDuration = SignedDuration::from_mins(5);

/// Where the Secret says how far a rotation is.
const ROTATION: &str = "rotation.json";

/// Most certificates in one bundle at the end. Where a cainjector is told to write, CAs stay until they expire; each is
/// there once, and so are those that other tests left.
const BUNDLE_MAX: usize = 2 * ROUNDS + 32;

#[tokio::test]
async fn a_ca_that_is_replaced_under_load_costs_no_call() -> anyhow::Result<()> {
    let _alone = replicas::HARM.write().await;
    namespace::own("rotate", |scope| async move {
        let before = replicas::ready(&scope.client).await?;
        let load = Load::start(&scope, CLIENTS).await?;
        let began = Instant::now();
        for round in 1..=ROUNDS {
            replace(&scope).await.with_context(|| format!("round {round}, replaced by somebody else"))?;
            rotate(&scope).await.with_context(|| format!("round {round}, replaced by the webhook"))?;
        }
        let took = began.elapsed();
        let sent = load.finish_without_failure().await?;
        println!("{sent} calls during {} replacements in {took:?}", 2 * ROUNDS);
        for kind in ca::KINDS {
            let live = scope.resource("admissionregistration.k8s.io/v1", kind).get(ca::CONFIGURATION).await?;
            for entry in live.data["webhooks"].as_array().context("no webhooks")? {
                let count = certificates(&entry["clientConfig"]["caBundle"])?;
                println!("{count} certificates in {} of the {kind}", entry["name"]);
                ensure!(count <= BUNDLE_MAX, "{count} certificates are in a bundle");
            }
        }
        let after = replicas::ready(&scope.client).await?;
        ensure!(replicas::lives(&before) == replicas::lives(&after), "a replica was restarted");
        Ok(())
    })
    .await
}

/// Somebody puts another CA into the Secret.
async fn replace(scope: &Scope) -> anyhow::Result<()> {
    let (certificate, key) = ca::like_cert_managers(OLD)?;
    let secret = json!({"stringData": {"tls.crt": certificate, "ca.crt": certificate, "tls.key": key}});
    ca::secrets(scope).patch(SECRET, &PatchParams::default(), &Patch::Merge(secret)).await?;
    ca::served(scope).await
}

/// The webhook replaces the CA, which is old, and the time between two of its steps passes at once.
async fn rotate(scope: &Scope) -> anyhow::Result<()> {
    let former = ca::current(scope).await?;
    wait::until("the next CA to be published", STEP_WITHIN, || async {
        let mut record: Value = serde_json::from_slice(&ca::stored(scope, ROTATION).await?)?;
        let published = record["nextPublishedAt"].as_str().context("it is not yet")?;
        let earlier = published.parse::<Timestamp>()?.checked_sub(PUBLIC_FOR)?;
        record["nextPublishedAt"] = json!(earlier);
        let version = ca::secrets(scope).get(SECRET).await?.metadata.resource_version;
        let secret = json!({
            "metadata": {"resourceVersion": version},
            "stringData": {ROTATION: record.to_string()},
        });
        ca::secrets(scope).patch(SECRET, &PatchParams::default(), &Patch::Merge(secret)).await?;
        anyhow::Ok(())
    })
    .await?;
    wait::until("the next CA to sign", STEP_WITHIN, || async {
        ensure!(ca::current(scope).await? != former, "it is still the former");
        anyhow::Ok(())
    })
    .await?;
    ca::served(scope).await
}

fn certificates(bundle: &Value) -> anyhow::Result<usize> {
    use base64::Engine as _;
    let pem = base64::engine::general_purpose::STANDARD.decode(bundle.as_str().context("no bundle")?)?;
    Ok(String::from_utf8_lossy(&pem).matches("BEGIN CERTIFICATE").count())
}

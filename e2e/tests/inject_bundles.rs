//! CA bundles that reach the objects which ask for them, and nothing else that does.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use api::keys::annotation;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::authority::{Authority, trust_secret};
use e2e::cluster::Cluster;
use e2e::namespace::{self, Scope};
use e2e::{install, wait};
use k8s_openapi::api::core::v1::{Event, Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

/// How long an injection may take on a busy machine; a tenth of a second is usual.
const INJECTED_WITHIN: Duration = Duration::from_secs(60);

/// Who the cainjector is to the API server.
const MANAGER: &str = "cert-manager-cainjector";

/// The Secret of each test.
const SECRET: &str = "trust";

#[tokio::test]
async fn without_the_owners_consent_nothing_is_taken_from_a_secret() -> anyhow::Result<()> {
    with("consent", |scope| async move {
        let ca = Authority::new("Consent CA")?;
        let mut secret = trust_secret(SECRET, &ca.certificate);
        secret["metadata"]["annotations"] = json!({annotation::ALLOW_DIRECT_INJECTION: "false"});
        scope.create(&secret).await?;
        let target = Target::webhook_configuration(&scope).await?;
        let told = target.event(&scope, "SourceNotAllowed").await?;
        ensure!(told.contains(annotation::ALLOW_DIRECT_INJECTION), "the event says {told:?}");
        ensure!(target.bundles(&scope).await? == [None, None], "a bundle was injected");

        let consent = json!({"metadata": {"annotations": {annotation::ALLOW_DIRECT_INJECTION: "true"}}});
        patch_secret(&scope, &consent).await?;
        target.holds(&scope, &[&ca]).await
    })
    .await
}

#[tokio::test]
async fn a_webhook_configuration_and_an_api_service_get_the_bundle_and_keep_the_rest() -> anyhow::Result<()> {
    with("inject", |scope| async move {
        let ca = Authority::new("Injected CA")?;
        scope.create(&trust_secret(SECRET, &ca.certificate)).await?;
        for target in Target::both(&scope).await? {
            target.holds(&scope, &[&ca]).await?;
            let live = target.get(&scope).await?;
            ensure!(
                target.without_bundles(&live.data["spec"], &live.data["webhooks"]) == target.sent,
                "{} is now {:?}",
                target.name,
                live.data
            );
            let owned = owned_fields(&live)?;
            ensure!(owned == target.owned, "the cainjector owns {owned:?} of {}", target.name);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_bundle_that_cannot_be_read_leaves_the_good_one() -> anyhow::Result<()> {
    with("broken", |scope| async move {
        let ca = Authority::new("Good CA")?;
        scope.create(&trust_secret(SECRET, &ca.certificate)).await?;
        let targets = Target::both(&scope).await?;
        for target in &targets {
            target.holds(&scope, &[&ca]).await?;
        }
        let versions = versions(&scope, &targets).await?;
        let half: String = ca.certificate.chars().take(ca.certificate.len() / 2).collect();
        set_bundle(&scope, &half).await?;
        for target in &targets {
            target.event(&scope, "InvalidPEM").await?;
        }
        ensure!(self::versions(&scope, &targets).await? == versions, "a target was written");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_private_key_beside_the_ca_is_never_published() -> anyhow::Result<()> {
    with("key", |scope| async move {
        let ca = Authority::new("Careless CA")?;
        scope.create(&trust_secret(SECRET, &format!("{}{}", ca.certificate, ca.key))).await?;
        let body = ca.key.lines().nth(1).context("the key has no body")?;
        for target in Target::both(&scope).await? {
            let told = target.event(&scope, "PrivateKeyInSource").await?;
            ensure!(!told.contains(body), "the event shows the key");
            let live = serde_json::to_string(&target.get(&scope).await?)?;
            ensure!(!live.contains("caBundle"), "{} got a bundle", target.name);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_rotated_ca_is_trusted_beside_the_former_one() -> anyhow::Result<()> {
    with("rotate", |scope| async move {
        let (old, new) = (Authority::new("Old CA")?, Authority::new("New CA")?);
        scope.create(&trust_secret(SECRET, &old.certificate)).await?;
        let targets = Target::both(&scope).await?;
        for target in &targets {
            target.holds(&scope, &[&old]).await?;
        }
        set_bundle(&scope, &new.certificate).await?;
        for target in &targets {
            target.holds(&scope, &[&old, &new]).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_restart_writes_nothing() -> anyhow::Result<()> {
    with("restart", |scope| async move {
        let ca = Authority::new("Calm CA")?;
        scope.create(&trust_secret(SECRET, &ca.certificate)).await?;
        let targets = Target::both(&scope).await?;
        for target in &targets {
            target.holds(&scope, &[&ca]).await?;
        }
        let versions = versions(&scope, &targets).await?;
        restart_cainjector(&scope).await?;
        // What comes after the restart is served after what the new process found there.
        let sentinel = Target::create(&scope, "sentinel").await?;
        sentinel.holds(&scope, &[&ca]).await?;
        ensure!(self::versions(&scope, &targets).await? == versions, "a target was written");
        Ok(())
    })
    .await
}

async fn with<F, Fut>(prefix: &str, test: F) -> anyhow::Result<()>
where
    F: FnOnce(Scope) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    namespace::with(&Cluster::shared()?, prefix, test).await
}

/// An object that asks for the bundle in Secret [`SECRET`] of the test's namespace.
struct Target {
    api_version: &'static str,
    kind: &'static str,
    name: String,
    /// Where its bundles are.
    pointers: &'static [&'static str],
    /// What the cainjector may own of it.
    owned: &'static [&'static str],
    /// Spec and webhooks, as they were before anything was injected.
    sent: [Value; 2],
}

impl Target {
    async fn both(scope: &Scope) -> anyhow::Result<[Self; 2]> {
        Ok([Self::webhook_configuration(scope).await?, Self::api_service(scope).await?])
    }

    async fn webhook_configuration(scope: &Scope) -> anyhow::Result<Self> {
        Self::create(scope, "hooks").await
    }

    /// A configuration with two entries and no rules, so that nobody ever calls it.
    async fn create(scope: &Scope, suffix: &str) -> anyhow::Result<Self> {
        let entry = |name: &str| {
            json!({
                "name": format!("{name}.signet.example"),
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Ignore",
                "clientConfig": {"url": format!("https://127.0.0.1:9/{name}")},
            })
        };
        let (api_version, kind) = ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration");
        let body = json!({"webhooks": [entry("one"), entry("two")]});
        let mut target = Self {
            api_version,
            kind,
            name: format!("{}-{suffix}", scope.namespace),
            pointers: &["/webhooks/0/clientConfig/caBundle", "/webhooks/1/clientConfig/caBundle"],
            owned: &[
                "webhooks/one.signet.example/clientConfig/caBundle",
                "webhooks/one.signet.example/name",
                "webhooks/two.signet.example/clientConfig/caBundle",
                "webhooks/two.signet.example/name",
            ],
            sent: [Value::Null, Value::Null],
        };
        target.send(scope, body).await?;
        Ok(target)
    }

    /// The announcement of an API that nobody serves.
    async fn api_service(scope: &Scope) -> anyhow::Result<Self> {
        let group = format!("{}.signet.example", scope.namespace);
        let body = json!({"spec": {
            "group": group,
            "version": "v1alpha1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"namespace": scope.namespace, "name": "nowhere", "port": 443},
        }});
        let mut target = Self {
            api_version: "apiregistration.k8s.io/v1",
            kind: "APIService",
            name: format!("v1alpha1.{group}"),
            pointers: &["/spec/caBundle"],
            owned: &["spec/caBundle"],
            sent: [Value::Null, Value::Null],
        };
        target.send(scope, body).await?;
        Ok(target)
    }

    async fn send(&mut self, scope: &Scope, mut object: Value) -> anyhow::Result<()> {
        let source = format!("{}/{SECRET}", scope.namespace);
        object["apiVersion"] = json!(self.api_version);
        object["kind"] = json!(self.kind);
        object["metadata"] =
            json!({"name": self.name, "annotations": {annotation::INJECT_CA_FROM_SECRET: source}});
        let created = scope.create(&object).await?;
        self.sent = self.without_bundles(&created.data["spec"], &created.data["webhooks"]);
        Ok(())
    }

    async fn get(&self, scope: &Scope) -> kube::Result<DynamicObject> {
        scope.resource(self.api_version, self.kind).get(&self.name).await
    }

    fn without_bundles(&self, spec: &Value, webhooks: &Value) -> [Value; 2] {
        let mut both = json!({"spec": spec, "webhooks": webhooks});
        for pointer in self.pointers {
            let parent = pointer.trim_end_matches("/caBundle");
            if let Some(parent) = both.pointer_mut(parent).and_then(Value::as_object_mut) {
                parent.remove("caBundle");
            }
        }
        [both["spec"].take(), both["webhooks"].take()]
    }

    /// The certificates in each bundle field; none where there is no bundle.
    async fn bundles(&self, scope: &Scope) -> anyhow::Result<Vec<Option<Vec<Vec<u8>>>>> {
        let live = self.get(scope).await?;
        let bundles = self.pointers.iter().map(|pointer| {
            let Some(bundle) = live.data.pointer(pointer).and_then(Value::as_str) else {
                return Ok(None);
            };
            let pem = STANDARD.decode(bundle).context("a bundle is not base64")?;
            certificates(&pem).map(Some)
        });
        bundles.collect()
    }

    /// Waits until each bundle field holds the certificates of these CAs, in this order.
    async fn holds(&self, scope: &Scope, cas: &[&Authority]) -> anyhow::Result<()> {
        let pem: String = cas.iter().map(|ca| ca.certificate.as_str()).collect();
        let mut wanted = certificates(pem.as_bytes())?;
        wanted.sort();
        wait::until(&format!("the bundles of {}", self.name), INJECTED_WITHIN, || async {
            for bundle in self.bundles(scope).await? {
                let mut held = bundle.context("there is none yet")?;
                held.sort();
                ensure!(held == wanted, "{} of {} certificates are there", held.len(), wanted.len());
            }
            Ok(())
        })
        .await
    }

    /// Waits for an event with this reason; its message.
    async fn event(&self, scope: &Scope, reason: &str) -> anyhow::Result<String> {
        let api = Api::<Event>::namespaced(scope.client.clone(), "default");
        let of_target = ListParams::default().fields(&format!("involvedObject.name={}", self.name));
        wait::until(&format!("event {reason} of {}", self.name), INJECTED_WITHIN, || async {
            let events = api.list(&of_target).await?.items;
            let reasons: Vec<_> = events.iter().map(|event| event.reason.clone()).collect();
            let found = events.into_iter().find(|event| event.reason.as_deref() == Some(reason));
            found.and_then(|event| event.message).with_context(|| format!("its events are {reasons:?}"))
        })
        .await
    }
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    CertificateDer::pem_slice_iter(pem)
        .map(|der| Ok(der.context("a bundle is not a list of certificates")?.to_vec()))
        .collect()
}

async fn set_bundle(scope: &Scope, bundle: &str) -> anyhow::Result<()> {
    patch_secret(scope, &json!({"stringData": {"ca.crt": bundle}})).await
}

async fn patch_secret(scope: &Scope, patch: &Value) -> anyhow::Result<()> {
    let api = scope.api::<Secret>();
    api.patch(SECRET, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

async fn versions(scope: &Scope, targets: &[Target]) -> anyhow::Result<Vec<Option<String>>> {
    let mut versions = Vec::new();
    for target in targets {
        versions.push(managed_part(&target.get(scope).await?));
    }
    Ok(versions)
}

/// What a write of the cainjector changes. An APIService's resource version moves with its status too, which others
/// write; the time of our own entry in its managed fields does not.
fn managed_part(live: &DynamicObject) -> Option<String> {
    let fields = live.metadata.managed_fields.iter().flatten();
    let has_status = live.data.get("status").is_some();
    let ours = fields.filter(|entry| entry.manager.as_deref() == Some(MANAGER));
    let times: Vec<_> = ours.map(|entry| format!("{:?}", entry.time)).collect();
    let version = live.metadata.resource_version.clone().filter(|_| !has_status);
    Some(format!("{version:?} {times:?} {}", live.data["spec"]["caBundle"]))
}

/// The fields that the cainjector owns, sorted, and a check that it owns them by server-side apply.
fn owned_fields(live: &DynamicObject) -> anyhow::Result<Vec<String>> {
    let mut owned = Vec::new();
    for entry in live.metadata.managed_fields.iter().flatten() {
        if entry.manager.as_deref() == Some(MANAGER) {
            ensure!(entry.operation.as_deref() == Some("Apply"), "the fields are managed as {entry:?}");
            let fields = entry.fields_v1.as_ref().context("an entry has no fields")?;
            leaves(&fields.0, "", &mut owned)?;
        }
    }
    owned.sort();
    Ok(owned)
}

/// The paths in a FieldsV1: `f:` is a member, `k:` an entry of a list by its key, `.` the thing itself.
fn leaves(fields: &Value, path: &str, found: &mut Vec<String>) -> anyhow::Result<()> {
    let members = fields.as_object().context("fields are no object")?;
    if members.is_empty() {
        found.push(path.trim_start_matches('/').to_owned());
    }
    for (name, below) in members.iter().filter(|(name, _)| *name != ".") {
        let step = match name.split_once(':') {
            Some(("k", key)) => {
                let key: Value = serde_json::from_str(key)?;
                key["name"].as_str().unwrap_or_default().to_owned()
            }
            Some((_, member)) => member.to_owned(),
            None => name.clone(),
        };
        leaves(below, &format!("{path}/{step}"), found)?;
    }
    Ok(())
}

async fn restart_cainjector(scope: &Scope) -> anyhow::Result<()> {
    let api = Api::<Pod>::namespaced(scope.client.clone(), install::RELEASE);
    let of_injector = ListParams::default().labels("app.kubernetes.io/component=cainjector");
    let former: Vec<_> =
        api.list(&of_injector).await?.items.into_iter().filter_map(|pod| pod.metadata.name).collect();
    ensure!(!former.is_empty(), "no cainjector runs");
    for name in &former {
        api.delete(name, &DeleteParams::default()).await?;
    }
    wait::until("the former cainjector to be gone", INJECTED_WITHIN, || async {
        for name in &former {
            ensure!(api.get_opt(name).await?.is_none(), "{name} is still there");
        }
        Ok(())
    })
    .await
}

//! Objects that ask for a bundle, and what the cainjector made of them.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use api::keys::annotation;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::authority::{Authority, trust_secret};
use e2e::namespace::Scope;
use e2e::wait;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
use serde_json::{Value, json};

/// How long an injection may take on a busy machine; a tenth of a second is usual.
pub(crate) const INJECTED_WITHIN: Duration = Duration::from_secs(60);

/// Who the cainjector is to the API server.
pub(crate) const MANAGER: &str = "cert-manager-cainjector";

/// The Secret of each test.
pub(crate) const SECRET: &str = "trust";

/// The Certificate of each test.
pub(crate) const CERTIFICATE: &str = "web";

/// An object that asks for the bundle in Secret [`SECRET`] of the test's namespace.
pub(crate) struct Target {
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// Where its bundles are.
    pub(crate) pointers: &'static [&'static str],
    /// What the cainjector may own of it.
    pub(crate) owned: &'static [&'static str],
    /// Spec and webhooks, as they were before anything was injected.
    pub(crate) sent: [Value; 2],
}

impl Target {
    pub(crate) async fn both(scope: &Scope) -> anyhow::Result<[Self; 2]> {
        Ok([Self::webhook_configuration(scope).await?, Self::api_service(scope).await?])
    }

    /// Both, once they hold the bundle of a new CA; [`trusted`] says which.
    pub(crate) async fn both_injected(scope: &Scope, name: &str) -> anyhow::Result<(Authority, [Self; 2])> {
        let ca = trusted(scope, name).await?;
        let targets = Self::both(scope).await?;
        for target in &targets {
            target.holds(scope, &[&ca]).await?;
        }
        Ok((ca, targets))
    }

    pub(crate) async fn webhook_configuration(scope: &Scope) -> anyhow::Result<Self> {
        Self::create(scope, "hooks").await
    }

    /// A configuration with two entries and no rules, so that nobody ever calls it.
    pub(crate) async fn create(scope: &Scope, suffix: &str) -> anyhow::Result<Self> {
        Self::asking(scope, suffix, &asks(scope)).await
    }

    /// The same with these annotations.
    pub(crate) async fn asking(scope: &Scope, suffix: &str, annotations: &Value) -> anyhow::Result<Self> {
        let target = Self {
            api_version: "admissionregistration.k8s.io/v1",
            kind: "ValidatingWebhookConfiguration",
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
        target.sent(scope, json!({"webhooks": [entry("one"), entry("two")]}), annotations).await
    }

    /// The announcement of an API that nobody serves.
    pub(crate) async fn api_service(scope: &Scope) -> anyhow::Result<Self> {
        let (name, body) = announcement(scope);
        let target = Self {
            api_version: "apiregistration.k8s.io/v1",
            kind: "APIService",
            name,
            pointers: &["/spec/caBundle"],
            owned: &["spec/caBundle"],
            sent: [Value::Null, Value::Null],
        };
        target.sent(scope, body, &asks(scope)).await
    }

    /// A definition of objects that nobody has; `conversion` is its `spec.conversion`, and `description` that of its
    /// schema.
    pub(crate) async fn definition(
        scope: &Scope,
        conversion: &Value,
        description: &str,
    ) -> anyhow::Result<Self> {
        let group = group(scope);
        let schema = json!({"openAPIV3Schema": {
            "type": "object",
            "description": description,
            "x-kubernetes-preserve-unknown-fields": true,
        }});
        let body = json!({"spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
            "conversion": conversion,
        }});
        let target = Self {
            api_version: "apiextensions.k8s.io/v1",
            kind: "CustomResourceDefinition",
            name: format!("widgets.{group}"),
            pointers: &["/spec/conversion/webhook/clientConfig/caBundle"],
            owned: &["spec/conversion/webhook/clientConfig/caBundle"],
            sent: [Value::Null, Value::Null],
        };
        target.sent(scope, body, &asks(scope)).await
    }

    async fn sent(mut self, scope: &Scope, mut object: Value, annotations: &Value) -> anyhow::Result<Self> {
        object["apiVersion"] = json!(self.api_version);
        object["kind"] = json!(self.kind);
        object["metadata"] = json!({"name": self.name, "annotations": annotations});
        let created = scope.create(&object).await?;
        self.sent = self.without_bundles(&created.data["spec"], &created.data["webhooks"]);
        Ok(self)
    }

    pub(crate) async fn get(&self, scope: &Scope) -> kube::Result<DynamicObject> {
        scope.resource(self.api_version, self.kind).get(&self.name).await
    }

    /// Changes it as its owner does.
    pub(crate) async fn patch<P: Serialize + Debug>(
        &self,
        scope: &Scope,
        patch: &Patch<P>,
    ) -> kube::Result<DynamicObject> {
        let api = scope.resource(self.api_version, self.kind);
        api.patch(&self.name, &PatchParams::default(), patch).await
    }

    pub(crate) fn without_bundles(&self, spec: &Value, webhooks: &Value) -> [Value; 2] {
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
    pub(crate) async fn bundles(&self, scope: &Scope) -> anyhow::Result<Vec<Option<Vec<Vec<u8>>>>> {
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
    pub(crate) async fn holds(&self, scope: &Scope, cas: &[&Authority]) -> anyhow::Result<()> {
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
    pub(crate) async fn event(&self, scope: &Scope, reason: &str) -> anyhow::Result<String> {
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

/// An entry of a webhook configuration that nobody ever calls: it has no rules.
pub(crate) fn entry(name: &str) -> Value {
    json!({
        "name": format!("{name}.signet.example"),
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Ignore",
        "clientConfig": {"url": format!("https://127.0.0.1:9/{name}")},
    })
}

/// Name and content of an APIService for an API that nobody serves.
pub(crate) fn announcement(scope: &Scope) -> (String, Value) {
    let group = group(scope);
    let name = format!("v1alpha1.{group}");
    let content = json!({"spec": {
        "group": group,
        "version": "v1alpha1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "service": {"namespace": scope.namespace, "name": "nowhere", "port": 443},
    }});
    (name, content)
}

/// An API group that no other test has.
pub(crate) fn group(scope: &Scope) -> String {
    format!("{}.signet.example", scope.namespace)
}

/// The annotation by which a target asks for the CA in Secret [`SECRET`].
fn asks(scope: &Scope) -> Value {
    json!({annotation::INJECT_CA_FROM_SECRET: format!("{}/{SECRET}", scope.namespace)})
}

/// A new CA, in Secret [`SECRET`], whose owner consents.
pub(crate) async fn trusted(scope: &Scope, name: &str) -> anyhow::Result<Authority> {
    let ca = Authority::new(name)?;
    scope.create(&trust_secret(SECRET, &ca.certificate)).await?;
    Ok(ca)
}

/// Certificate [`CERTIFICATE`], which nobody will issue.
pub(crate) fn certificate(secret_name: &str) -> Value {
    json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": CERTIFICATE},
        "spec": {"secretName": secret_name, "dnsNames": ["web.example.com"], "issuerRef": {"name": "nobody"}},
    })
}

/// A Secret as the issuer of a Certificate leaves it, without consent to anything else.
pub(crate) fn issued(name: &str, certificate: &str, ca: &Authority) -> Value {
    let mut secret = trust_secret(name, &ca.certificate);
    secret["metadata"]["annotations"] = json!({annotation::CERTIFICATE_NAME: certificate});
    secret
}

/// Writes the owner's consent to the Secret.
pub(crate) async fn consent(scope: &Scope) -> anyhow::Result<()> {
    let consent = json!({"metadata": {"annotations": {annotation::ALLOW_DIRECT_INJECTION: "true"}}});
    patch_secret(scope, &consent).await
}

pub(crate) async fn set_bundle(scope: &Scope, bundle: &str) -> anyhow::Result<()> {
    patch_secret(scope, &json!({"stringData": {"ca.crt": bundle}})).await
}

pub(crate) async fn patch_secret(scope: &Scope, patch: &Value) -> anyhow::Result<()> {
    let api = scope.api::<Secret>();
    api.patch(SECRET, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

pub(crate) async fn versions(scope: &Scope, targets: &[Target]) -> anyhow::Result<Vec<Option<String>>> {
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

/// Whether the cainjector owns these fields, sorted, by server-side apply, and no other.
pub(crate) fn owns(live: &DynamicObject, fields: &[&str]) -> anyhow::Result<()> {
    let owned = owned_fields(live)?;
    ensure!(owned == fields, "the cainjector owns {owned:?} of {:?}", live.metadata.name);
    Ok(())
}

/// The fields that the cainjector owns, sorted, and a check that it owns them by server-side apply.
pub(crate) fn owned_fields(live: &DynamicObject) -> anyhow::Result<Vec<String>> {
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

//! The cainjector's account may write bundles and nothing else, whatever RBAC grants it: forged writes in its name.

mod common;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use api::keys::{annotation, label};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::targets::{MANAGER, announcement, entry, group};
use e2e::authority::Authority;
use e2e::namespace::{self, Scope};
use e2e::resources::{self, refusal};
use e2e::{install, wait};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};

/// How long the API server may take to go by a new grant, and the controller manager to look at the policies' types.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(60);

/// Entries of a configuration of unusual size.
const MANY: usize = 100;

const NO_UPDATE: &str = "it does not create or delete them";

#[tokio::test]
async fn forged_writes_of_the_cainjectors_account_are_refused() -> anyhow::Result<()> {
    with(|scope, account| async move {
        let ca = Authority::new("Forged CA")?;
        let targets = [
            hooks(&scope, "ValidatingWebhookConfiguration", 2),
            hooks(&scope, "MutatingWebhookConfiguration", 2),
            api_service(&scope),
            definition(&scope),
            config_map(&scope),
            trust_bundle(&scope)?,
        ];
        for target in targets {
            let live = scope.create(&target.object).await?;
            target.granted(&account).await?;
            let objects = target.objects(&account);
            for (forged, told) in target.forged(&live, &ca) {
                let outcome =
                    objects.patch(&target.name(), &PatchParams::default(), &Patch::Merge(&forged)).await;
                target.refused(outcome, told).with_context(|| format!("forged: {forged}"))?;
            }
            target.refused(objects.delete(&target.name(), &DeleteParams::default()).await, NO_UPDATE)?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_bundle_is_emptied_only_where_its_release_is_asked_for() -> anyhow::Result<()> {
    with(|scope, account| async move {
        let ca = Authority::new("Emptied CA")?;
        let targets = [
            hooks(&scope, "ValidatingWebhookConfiguration", 2),
            hooks(&scope, "MutatingWebhookConfiguration", 2),
            api_service(&scope),
            definition(&scope),
            config_map(&scope),
        ];
        for target in targets {
            scope.create(&target.object).await?;
            target.granted(&account).await?;
            let live = target.apply(&account, &ca.certificate).await.context("a right bundle is refused")?;
            let emptied = Patch::Merge(target.with_bundle(live.data.get("webhooks"), ""));
            let (name, params, ours) = (target.name(), PatchParams::default(), target.objects(&account));
            target.refused(ours.patch(&name, &params, &emptied).await, "takes none out unasked")?;
            // What an apply leaves out is gone as well.
            let mut nothing = json!({"apiVersion": target.text("apiVersion"), "kind": target.text("kind")});
            nothing["metadata"] = json!({"name": name});
            let given_up = PatchParams::apply(MANAGER).force();
            let outcome = ours.patch(&name, &given_up, &Patch::Apply(&nothing)).await;
            target.refused(outcome, "takes none out unasked")?;

            let release = json!({"metadata": {"annotations": {annotation::RELEASE_BUNDLE: "true"}}});
            let theirs = target.objects(&scope.client);
            theirs.patch(&name, &params, &Patch::Merge(release)).await?;
            ours.patch(&name, &given_up, &Patch::Apply(&nothing)).await.context("a release is refused")?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_status_in_the_cainjectors_name_is_refused() -> anyhow::Result<()> {
    with(|scope, account| async move {
        for target in [api_service(&scope), definition(&scope)] {
            scope.create(&target.object).await?;
            target.granted(&account).await?;
            let condition = json!({"type": "Forged", "status": "True", "reason": "Forged", "message": "forged",
                "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let forged = Patch::Merge(json!({"status": {"conditions": [condition]}}));
            let ours = target.objects(&account);
            let outcome = ours.patch_status(&target.name(), &PatchParams::default(), &forged).await;
            target.refused(outcome, "nor write their status")?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_bundle_of_an_object_that_asks_for_none_is_refused() -> anyhow::Result<()> {
    with(|scope, account| async move {
        let ca = Authority::new("Unasked CA")?;
        let mut target = hooks(&scope, "ValidatingWebhookConfiguration", 1);
        target.object["metadata"]["annotations"] = json!({"note": "no CA, please"});
        scope.create(&target.object).await?;
        target.granted(&account).await?;
        let outcome = target.apply(&account, &ca.certificate).await;
        target.refused(outcome, "does not ask the cainjector for a CA")?;
        target.object["metadata"]["name"] = json!(format!("{}-another", scope.namespace));
        target.refused(scope.create_as(&account, &target.object).await, NO_UPDATE)
    })
    .await
}

#[tokio::test]
async fn what_is_not_labelled_or_is_the_clusters_own_is_refused() -> anyhow::Result<()> {
    with(|scope, account| async move {
        let ca = Authority::new("Unlabelled CA")?;
        for mut target in [config_map(&scope), trust_bundle(&scope)?] {
            target.object["metadata"]["labels"] = json!({label::INJECT: "false"});
            scope.create(&target.object).await?;
            target.granted(&account).await?;
            target.refused(target.apply(&account, &ca.certificate).await, "has no label")?;
        }
        let mut own = config_map(&scope);
        own.object["metadata"]["name"] = json!("kube-root-ca.crt");
        let metadata = &own.object["metadata"];
        let asking =
            json!({"metadata": {"labels": metadata["labels"], "annotations": metadata["annotations"]}});
        let ours = own.objects(&scope.client);
        ours.patch(&own.name(), &PatchParams::default(), &Patch::Merge(asking)).await?;
        own.refused(own.apply(&account, &ca.certificate).await, "the controller manager's")
    })
    .await
}

#[tokio::test]
async fn what_the_cainjector_does_and_what_others_do_passes() -> anyhow::Result<()> {
    with(|scope, account| async move {
        let ca = Authority::new("Right CA")?;
        let targets = [
            hooks(&scope, "ValidatingWebhookConfiguration", MANY),
            hooks(&scope, "MutatingWebhookConfiguration", 1),
            api_service(&scope),
            definition(&scope),
            config_map(&scope),
            trust_bundle(&scope)?,
        ];
        for target in targets {
            target.types_fit(&scope).await?;
            scope.create(&target.object).await?;
            target.granted(&account).await?;
            target.apply(&account, &ca.certificate).await.context("a right bundle is refused")?;
            let (name, params) = (target.name(), PatchParams::default());
            let managed = json!({"metadata": {"managedFields": [{}]}});
            let ours = target.objects(&account);
            ours.patch(&name, &params, &Patch::Merge(managed))
                .await
                .context("managed fields alone are refused")?;
            let labelled = json!({"metadata": {"labels": {"a": "b"}}});
            target.objects(&scope.client).patch(&name, &params, &Patch::Merge(labelled)).await?;
        }
        Ok(())
    })
    .await
}

/// Runs a test with a client that is the cainjector's account, with the right to do anything to the targets: what refuses
/// it then is no lack of rights.
async fn with<F, Fut>(test: F) -> anyhow::Result<()>
where
    F: FnOnce(Scope, Client) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    namespace::own("forged", |scope| async move {
        let (namespace, account) = (install::RELEASE, format!("{}-cainjector", install::RELEASE));
        let name = format!("{}-everything", scope.namespace);
        let rbac = "rbac.authorization.k8s.io";
        scope
            .create(&json!({
                "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": name},
                "rules": [{
                    "apiGroups": ["admissionregistration.k8s.io", "apiregistration.k8s.io", "apiextensions.k8s.io",
                        "certificates.k8s.io", ""],
                    "resources": ["validatingwebhookconfigurations", "mutatingwebhookconfigurations", "apiservices",
                        "apiservices/status", "customresourcedefinitions", "customresourcedefinitions/status",
                        "clustertrustbundles", "configmaps"],
                    "verbs": ["*"],
                }],
            }))
            .await?;
        scope
            .create(&json!({
                "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": name},
                "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": account}],
            }))
            .await?;
        let user = format!("system:serviceaccount:{namespace}:{account}");
        let client = scope.cluster.client_as(&user).await?;
        test(scope, client).await
    })
    .await
}

struct Target {
    plural: &'static str,
    object: Value,
    /// Where the bundle is: in each of the webhooks, or below spec.
    below: &'static [&'static str],
}

impl Target {
    fn text(&self, member: &str) -> &str {
        self.object[member].as_str().unwrap_or_default()
    }

    fn name(&self) -> String {
        self.object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
    }

    fn policy(&self) -> String {
        format!("{}-cainjector-{}", install::RELEASE, self.plural)
    }

    fn objects(&self, client: &Client) -> Api<DynamicObject> {
        let namespace = self.object["metadata"]["namespace"].as_str().unwrap_or_default();
        resources::api(client, namespace, self.text("apiVersion"), self.text("kind"))
    }

    /// Waits until the account could do anything, were it not for the policy.
    async fn granted(&self, account: &Client) -> anyhow::Result<()> {
        let objects = self.objects(account);
        wait::until("the grant to be in force", IN_FORCE_WITHIN, || async {
            let params = DeleteParams { dry_run: true, ..DeleteParams::default() };
            self.refused(objects.delete(&self.name(), &params).await, NO_UPDATE)
        })
        .await
    }

    /// Waits until the policy's types were looked at; nothing in it may be unknown to the API server then.
    async fn types_fit(&self, scope: &Scope) -> anyhow::Result<()> {
        let policies = scope.resource("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy");
        let status = wait::until("the types to be looked at", IN_FORCE_WITHIN, || async {
            let status = policies.get(&self.policy()).await?.data.get("status").cloned().unwrap_or_default();
            ensure!(status.get("observedGeneration").is_some(), "the status is {status}");
            Ok(status)
        })
        .await?;
        let warnings = status.pointer("/typeChecking/expressionWarnings");
        ensure!(warnings.is_none(), "the types of {} do not fit: {warnings:#?}", self.policy());
        Ok(())
    }

    fn refused<T>(&self, outcome: kube::Result<T>, told: &str) -> anyhow::Result<()> {
        let status = refusal(outcome)?;
        let message = &status.message;
        ensure!(status.code == 403 && message.contains(&self.policy()), "{} {message}", status.code);
        ensure!(message.contains(told), "not for the right reason: {message}");
        Ok(())
    }

    /// A change of the bundle alone, as a merge patch or a server-side apply.
    fn with_bundle(&self, live: Option<&Value>, pem: &str) -> Value {
        match self.plural {
            "configmaps" => return json!({"data": {"ca.crt": pem}}),
            "clustertrustbundles" => return json!({"spec": {"trustBundle": pem}}),
            _ => {}
        }
        let bundle = json!({"caBundle": STANDARD.encode(pem)});
        if let Some(webhooks) = self.object["webhooks"].as_array() {
            let mut entries = match live {
                Some(live) => live.as_array().cloned().unwrap_or_default(),
                None => {
                    webhooks.iter().map(|entry| json!({"name": entry["name"], "clientConfig": {}})).collect()
                }
            };
            for entry in &mut entries {
                entry["clientConfig"]["caBundle"] = bundle["caBundle"].clone();
            }
            return json!({"webhooks": entries});
        }
        let nested = self.below.iter().rev().fold(bundle, |value, member| json!({*member: value}));
        json!({"spec": nested})
    }

    async fn apply(&self, account: &Client, pem: &str) -> kube::Result<DynamicObject> {
        let mut body = self.with_bundle(None, pem);
        body["apiVersion"] = json!(self.text("apiVersion"));
        body["kind"] = json!(self.text("kind"));
        body["metadata"] = json!({"name": self.name()});
        let params = PatchParams::apply(MANAGER).force();
        self.objects(account).patch(&self.name(), &params, &Patch::Apply(body)).await
    }

    /// Merge patches that no cainjector sends, and what is told of each.
    fn forged(&self, live: &DynamicObject, ca: &Authority) -> Vec<(Value, &'static str)> {
        let webhooks = live.data.get("webhooks");
        let careless = format!("{}{}", ca.certificate, ca.key);
        let mut all = vec![
            (json!({"metadata": {"labels": {"a": "b"}}}), "metadata: "),
            (json!({"metadata": {"annotations": {"a": "b"}}}), "metadata: "),
            (json!({"metadata": {"finalizers": ["signet.example/stay"]}}), "metadata: "),
        ];
        // Some of that the API server refuses by itself.
        if self.plural != "clustertrustbundles" {
            all.push((self.with_bundle(webhooks, &careless), "a private key"));
        }
        if !["customresourcedefinitions", "clustertrustbundles"].contains(&self.plural) {
            all.push((self.with_bundle(webhooks, "no PEM"), "certificates in PEM"));
        }
        let with_entry = |change: &dyn Fn(&mut Value)| {
            let mut entries = webhooks.cloned().unwrap_or_default();
            change(&mut entries[0]);
            json!({"webhooks": entries})
        };
        all.extend(match self.plural {
            "apiservices" => vec![
                (json!({"spec": {"insecureSkipTLSVerify": true}}), "spec: "),
                (json!({"spec": {"service": {"name": "mine"}}}), "spec: "),
            ],
            "customresourcedefinitions" => vec![
                (json!({"spec": {"names": {"shortNames": ["mine"]}}}), "spec: "),
                (json!({"spec": {"conversion": {"webhook": {"clientConfig": {"service": {"name": "mine"}}}}}}),
                    "spec.conversion.webhook.clientConfig: "),
            ],
            "configmaps" => vec![
                (json!({"data": {"script": "exit 0"}}), "data: "),
                (json!({"data": {"note": null}}), "data: "),
                (json!({"data": {"ca.crt": null}}), "takes none out unasked"),
                (json!({"binaryData": {"more": "AA=="}}), "nothing outside of data"),
                (json!({"immutable": true}), "nothing outside of data"),
            ],
            "clustertrustbundles" => Vec::new(),
            _ => vec![
                (with_entry(&|entry| entry["failurePolicy"] = json!("Fail")), "clientConfig.caBundle alone"),
                (with_entry(&|entry| entry["clientConfig"]["url"] = json!("https://mine.example")), "caBundle alone"),
                (json!({"webhooks": []}), "does not add, remove or move entries"),
            ],
        });
        all
    }
}

/// A configuration without rules, so that nobody ever calls it. Its source does not exist, so the cainjector itself
/// leaves it alone.
fn hooks(scope: &Scope, kind: &str, count: usize) -> Target {
    let entries: Vec<Value> = (0..count).map(|number| entry(&format!("hook-{number}"))).collect();
    let plural = match kind {
        "ValidatingWebhookConfiguration" => "validatingwebhookconfigurations",
        _ => "mutatingwebhookconfigurations",
    };
    let api_version = "admissionregistration.k8s.io/v1";
    let object =
        object(scope, api_version, kind, &format!("{}-hooks", scope.namespace), json!({"webhooks": entries}));
    Target { plural, object, below: &[] }
}

fn api_service(scope: &Scope) -> Target {
    let (name, content) = announcement(scope);
    let object = object(scope, "apiregistration.k8s.io/v1", "APIService", &name, content);
    Target { plural: "apiservices", object, below: &[] }
}

/// A kind that nobody uses, and that nobody would convert.
fn definition(scope: &Scope) -> Target {
    let group = group(scope);
    let spec = json!({"spec": {
        "group": group,
        "names": {"plural": "forgeries", "singular": "forgery", "kind": "Forgery"},
        "scope": "Cluster",
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        "conversion": {"strategy": "Webhook", "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": {"service": {"namespace": scope.namespace, "name": "nowhere", "path": "/convert"}},
        }},
    }});
    let name = format!("forgeries.{group}");
    let object = object(scope, "apiextensions.k8s.io/v1", "CustomResourceDefinition", &name, spec);
    Target { plural: "customresourcedefinitions", object, below: &["conversion", "webhook", "clientConfig"] }
}

/// A ConfigMap that asks for a bundle, and has something else besides.
fn config_map(scope: &Scope) -> Target {
    let data = json!({"data": {"ca.crt": "to be replaced", "note": "to stay"}});
    let mut object = object(scope, "v1", "ConfigMap", "trust", data);
    object["metadata"]["namespace"] = json!(scope.namespace);
    object["metadata"]["labels"] = json!({label::INJECT: "true"});
    Target { plural: "configmaps", object, below: &[] }
}

/// Roots that pods could mount.
fn trust_bundle(scope: &Scope) -> anyhow::Result<Target> {
    let spec = json!({"spec": {"trustBundle": Authority::new("First CA")?.certificate}});
    let name = format!("{}-trust", scope.namespace);
    let mut object = object(scope, "certificates.k8s.io/v1beta1", "ClusterTrustBundle", &name, spec);
    object["metadata"]["labels"] = json!({label::INJECT: "true"});
    Ok(Target { plural: "clustertrustbundles", object, below: &[] })
}

fn object(scope: &Scope, api_version: &str, kind: &str, name: &str, mut content: Value) -> Value {
    let source = format!("{}/nowhere", scope.namespace);
    content["apiVersion"] = json!(api_version);
    content["kind"] = json!(kind);
    content["metadata"] = json!({"name": name, "annotations": {annotation::INJECT_CA_FROM_SECRET: source}});
    content
}

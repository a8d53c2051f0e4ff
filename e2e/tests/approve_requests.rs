//! Who may approve for which issuer: every scope of a grant, with the API server's own RBAC.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use e2e::namespace::{self, Scope};
use e2e::objects::{self, signing_request};
use e2e::{resources, wait};
use futures::future::try_join_all;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};

/// How long the API server may take to act on a new role or a new kind.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);

const API_VERSION: &str = "cert-manager.io/v1";
const KIND: &str = "CertificateRequest";
const RBAC: &str = "rbac.authorization.k8s.io/v1";
const OWN: &str = "cert-manager.io";

/// A decision by somebody with one grant.
struct Combination {
    issuer_kind: &'static str,
    issuer_group: &'static str,
    /// The name in the grant, in which `{ns}` is the request's namespace.
    granted: &'static str,
    /// The kind of the role that grants it.
    role: &'static str,
    decision: &'static str,
    is_allowed: bool,
}

/// A grant by a ClusterRole for an issuer of our own group.
const fn own(
    issuer_kind: &'static str,
    granted: &'static str,
    decision: &'static str,
    is_allowed: bool,
) -> Combination {
    Combination { issuer_kind, issuer_group: OWN, granted, role: "ClusterRole", decision, is_allowed }
}

/// The same for a kind of another group, which has one of each scope.
const fn external(issuer_kind: &'static str, granted: &'static str, is_allowed: bool) -> Combination {
    let issuer_group = "{ns}.signet.example";
    Combination { issuer_kind, issuer_group, granted, role: "ClusterRole", decision: "Approved", is_allowed }
}

const COMBINATIONS: [Combination; 19] = [
    own("Issuer", "issuers.cert-manager.io/*", "Approved", true),
    own("Issuer", "issuers.cert-manager.io/*", "Denied", true),
    own("Issuer", "issuers.cert-manager.io/{ns}.ca", "Approved", true),
    own("Issuer", "issuers.cert-manager.io/{ns}.ca", "Denied", true),
    own("ClusterIssuer", "clusterissuers.cert-manager.io/*", "Approved", true),
    own("ClusterIssuer", "clusterissuers.cert-manager.io/*", "Denied", true),
    own("ClusterIssuer", "clusterissuers.cert-manager.io/ca", "Approved", true),
    own("ClusterIssuer", "clusterissuers.cert-manager.io/ca", "Denied", true),
    external("Widget", "widgets.{ns}.signet.example/*", true),
    external("Widget", "widgets.{ns}.signet.example/{ns}.ca", true),
    external("ClusterWidget", "clusterwidgets.{ns}.signet.example/ca", true),
    // The form of the other scope, the other kind, another namespace, another group.
    own("Issuer", "issuers.cert-manager.io/ca", "Approved", false),
    own("ClusterIssuer", "clusterissuers.cert-manager.io/{ns}.ca", "Denied", false),
    own("Issuer", "clusterissuers.cert-manager.io/*", "Approved", false),
    own("ClusterIssuer", "issuers.cert-manager.io/*", "Denied", false),
    own("Issuer", "issuers.cert-manager.io/elsewhere.ca", "Approved", false),
    external("Widget", "issuers.cert-manager.io/*", false),
    // A kind that nobody serves, in a group that somebody serves.
    external("Gadget", "gadgets.{ns}.signet.example/*", false),
    // A Role reaches no further than its namespace, and signers are in none.
    Combination {
        issuer_kind: "Issuer",
        issuer_group: OWN,
        granted: "issuers.cert-manager.io/{ns}.ca",
        role: "Role",
        decision: "Approved",
        is_allowed: false,
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_reaches_as_far_as_it_says_and_no_further() -> anyhow::Result<()> {
    namespace::own("grants", |scope| async move {
        let group = format!("{}.signet.example", scope.namespace);
        for (kind, reach) in [("Widget", "Namespaced"), ("ClusterWidget", "Cluster")] {
            define(&scope, &group, kind, reach).await?;
        }
        let everybody =
            json!({"kind": "Group", "name": "system:authenticated", "apiGroup": "rbac.authorization.k8s.io"});
        let rules =
            json!([{"apiGroups": [OWN], "resources": ["certificaterequests/status"], "verbs": ["patch"]}]);
        grant(&scope, "status", "Role", &rules, &everybody).await?;
        let scope = &scope;
        try_join_all(COMBINATIONS.iter().enumerate().map(|(number, combination)| async move {
            let user = format!("{}-{number}", scope.namespace);
            let context = || {
                format!(
                    "a grant for {} by a {} ({})",
                    combination.granted, combination.role, combination.decision
                )
            };
            combination.check(scope, &user).await.with_context(context)
        }))
        .await
        .map(drop)
    })
    .await
}

impl Combination {
    async fn check(&self, scope: &Scope, user: &str) -> anyhow::Result<()> {
        let fill = |text: &str| text.replace("{ns}", &scope.namespace);
        let (granted, group) = (fill(self.granted), fill(self.issuer_group));
        scope.create(&request(user, self.issuer_kind, &group)?).await?;
        let rules = json!([{"apiGroups": [OWN], "resources": ["signers"], "resourceNames": [granted], "verbs": ["approve"]}]);
        let subject = json!({"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"});
        grant(scope, user, self.role, &rules, &subject).await?;
        // A refusal tells only something once the grant counts.
        wait::until("the grant to count", KNOWN_WITHIN, || is_granted(scope, user, &granted, self.role))
            .await?;
        let client = scope.cluster.client_as(user).await?;
        let decided = decide(scope, &client, user, self.decision).await;
        match (decided, self.is_allowed) {
            (Ok(_), true) => Ok(()),
            (Ok(_), false) => bail!("it was allowed"),
            (Err(kube::Error::Api(status)), false) => {
                let names = status.message.contains(user) || status.message.contains(self.issuer_kind);
                ensure!(status.code == 403 && names, "it was answered by {status:?}");
                Ok(())
            }
            (Err(error), _) => Err(error).context("it was not allowed"),
        }
    }
}

/// A kind of issuer that nobody has heard of.
async fn define(scope: &Scope, group: &str, kind: &str, reach: &str) -> anyhow::Result<()> {
    let (singular, plural) = (kind.to_lowercase(), format!("{}s", kind.to_lowercase()));
    let name = format!("{plural}.{group}");
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": group,
            "scope": reach,
            "names": {"kind": kind, "plural": plural, "singular": singular},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}},
            }],
        },
    });
    scope.create(&definition).await?;
    wait::until(&format!("{name} to be served"), KNOWN_WITHIN, || async {
        let served = scope.client.list_api_group_resources(&format!("{group}/v1")).await?;
        ensure!(served.resources.iter().any(|resource| resource.kind == kind), "it is not served yet");
        anyhow::Ok(())
    })
    .await
}

/// A role of this kind and name with these rules, bound to the subject.
async fn grant(scope: &Scope, name: &str, role: &str, rules: &Value, subject: &Value) -> anyhow::Result<()> {
    let name = if role == "Role" { name.to_owned() } else { format!("{name}-approve") };
    scope
        .create(&json!({"apiVersion": RBAC, "kind": role, "metadata": {"name": name}, "rules": rules}))
        .await?;
    let binding = json!({
        "apiVersion": RBAC,
        "kind": format!("{role}Binding"),
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": name},
        "subjects": [subject],
    });
    scope.create(&binding).await?;
    Ok(())
}

/// Asks the API server whether the grant counts: in its own reach, which for a Role is the namespace.
async fn is_granted(scope: &Scope, user: &str, signer: &str, role: &str) -> anyhow::Result<()> {
    let namespace = if role == "Role" { scope.namespace.as_str() } else { "" };
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": {
            "verb": "approve", "group": OWN, "resource": "signers", "name": signer, "namespace": namespace,
        }},
    });
    let review = serde_json::from_value(review)?;
    let api =
        kube::Api::<k8s_openapi::api::authorization::v1::SubjectAccessReview>::all(scope.client.clone());
    let answer = api.create(&PostParams::default(), &review).await?;
    ensure!(answer.status.is_some_and(|status| status.allowed), "it does not yet");
    Ok(())
}

fn request(name: &str, issuer_kind: &str, issuer_group: &str) -> anyhow::Result<Value> {
    Ok(json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {
            "request": signing_request()?,
            "issuerRef": {"name": "ca", "kind": issuer_kind, "group": issuer_group},
        },
    }))
}

async fn decide(
    scope: &Scope,
    client: &kube::Client,
    name: &str,
    decision: &str,
) -> kube::Result<DynamicObject> {
    let patch = Patch::Merge(json!({"status": {"conditions": [objects::decision(decision)]}}));
    let api = resources::api(client, &scope.namespace, API_VERSION, KIND);
    api.patch_status(name, &PatchParams::default(), &patch).await
}

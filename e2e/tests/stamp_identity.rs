//! Who asked for a certificate and who approved it: stamped, unforgeable, and only by those who may.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::namespace::{self, Scope};
use e2e::objects::{self, signing_request};
use e2e::resources::refusal;
use e2e::{resources, wait};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};

/// How long the API server may take to act on a new role.
const GRANTED_WITHIN: Duration = Duration::from_secs(30);

/// The service account of the tests.
const ACCOUNT: &str = "requester";

#[tokio::test]
async fn a_request_bears_its_requester_whatever_was_written() -> anyhow::Result<()> {
    namespace::own("stamp", |scope| async move {
        let requester = requester(&scope).await?;
        let forged = json!({
            "username": "system:admin",
            "uid": "0",
            "groups": ["system:masters"],
            "extra": {"example.com/rank": ["general"]},
        });
        let honest = create(&scope, &requester, "honest", &json!({})).await?;
        let liar = create(&scope, &requester, "liar", &forged).await?;
        let account = scope.api::<ServiceAccount>().get(ACCOUNT).await?;
        for request in [honest, liar] {
            let spec = &request.data["spec"];
            let mut groups: Vec<_> = spec["groups"].as_array().into_iter().flatten().collect();
            groups.sort_by_key(ToString::to_string);
            let namespace = &scope.namespace;
            let wanted = json!([
                "system:authenticated",
                "system:serviceaccounts",
                format!("system:serviceaccounts:{namespace}"),
            ]);
            ensure!(
                spec["username"] == format!("system:serviceaccount:{namespace}:{ACCOUNT}")
                    && spec["uid"].as_str() == account.metadata.uid.as_deref()
                    && json!(groups) == wanted,
                "the request is {spec}"
            );
            let extra = spec["extra"].as_object().context("the token's own attributes are not there")?;
            ensure!(!extra.contains_key("example.com/rank"), "a forged attribute stayed: {spec}");
            ensure!(
                extra.contains_key("authentication.kubernetes.io/credential-id"),
                "the token's id is not there: {spec}"
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_requesters_identity_cannot_be_changed_afterwards() -> anyhow::Result<()> {
    namespace::own("stamp", |scope| async move {
        let requester = requester(&scope).await?;
        create(&scope, &requester, "mine", &json!({})).await?;
        let changes = [
            ("spec.username", json!({"username": "somebody-else"})),
            ("spec.uid", json!({"uid": "1"})),
            ("spec.groups", json!({"groups": ["system:masters"]})),
            ("spec.extra", json!({"extra": {"example.com/rank": ["general"]}})),
        ];
        for (field, change) in changes {
            // Not even the administrator may.
            let api = scope.resource(API_VERSION, KIND);
            let patch = Patch::Merge(json!({"spec": change}));
            let outcome = api.patch("mine", &PatchParams::default(), &patch).await;
            let status = refusal(outcome).with_context(|| format!("a change of {field}"))?;
            ensure!(
                status.code == 403 && status.message.contains(field),
                "a change of {field} was answered by {status:?}"
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn only_who_may_approve_the_signer_decides() -> anyhow::Result<()> {
    namespace::own("approve", |scope| async move {
        let requester = requester(&scope).await?;
        create(&scope, &requester, "first", &json!({})).await?;
        for decision in ["Approved", "Denied"] {
            let outcome = decide(&scope, &requester, "first", decision).await;
            let status = refusal(outcome).with_context(|| format!("{decision} without the right"))?;
            let signer = format!("issuers.cert-manager.io/{}.ca", scope.namespace);
            ensure!(
                status.code == 403
                    && status.message.contains(&signer)
                    && status.message.contains("ClusterRole"),
                "{decision} without the right was answered by {status:?}"
            );
        }
        grant_approval(&scope).await?;
        wait::until("the approval to be allowed", GRANTED_WITHIN, || async {
            decide(&scope, &requester, "first", "Approved").await
        })
        .await?;
        let status = refusal(decide(&scope, &requester, "first", "Denied").await)
            .context("the opposite of an earlier decision")?;
        ensure!(status.code == 403, "the opposite of an earlier decision was answered by {status:?}");
        create(&scope, &requester, "second", &json!({})).await?;
        decide(&scope, &requester, "second", "Denied").await?;
        Ok(())
    })
    .await
}

const API_VERSION: &str = "cert-manager.io/v1";
const KIND: &str = "CertificateRequest";

/// A service account that may make requests in its namespace and write their status, but approve nothing.
async fn requester(scope: &Scope) -> anyhow::Result<Client> {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}});
    scope.create(&account).await?;
    let role = json!({
        "apiVersion": RBAC,
        "kind": "Role",
        "metadata": {"name": ACCOUNT},
        "rules": [
            {"apiGroups": ["cert-manager.io"], "resources": ["certificaterequests"], "verbs": ["create", "get"]},
            {"apiGroups": ["cert-manager.io"], "resources": ["certificaterequests/status"], "verbs": ["patch"]},
        ],
    });
    scope.create(&role).await?;
    scope.create(&binding(scope, "RoleBinding", ACCOUNT, "Role")).await?;
    let accounts = scope.api::<ServiceAccount>();
    let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
    let issued = accounts.create_token_request(ACCOUNT, &PostParams::default(), &request).await?;
    let token = issued.status.context("the API server gave no token")?.token;
    scope.cluster.client_with_token(&token).await
}

async fn grant_approval(scope: &Scope) -> anyhow::Result<()> {
    let name = &scope.namespace;
    let role = json!({
        "apiVersion": RBAC,
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [{
            "apiGroups": ["cert-manager.io"],
            "resources": ["signers"],
            "resourceNames": [format!("issuers.cert-manager.io/{name}.ca")],
            "verbs": ["approve"],
        }],
    });
    scope.create(&role).await?;
    scope.create(&binding(scope, "ClusterRoleBinding", name, "ClusterRole")).await?;
    Ok(())
}

const RBAC: &str = "rbac.authorization.k8s.io/v1";

fn binding(scope: &Scope, kind: &str, name: &str, role_kind: &str) -> Value {
    json!({
        "apiVersion": RBAC,
        "kind": kind,
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": scope.namespace}],
    })
}

/// Creates a CertificateRequest as the service account, with more in its spec.
async fn create(scope: &Scope, client: &Client, name: &str, more: &Value) -> anyhow::Result<DynamicObject> {
    let mut spec = json!({"request": signing_request()?, "issuerRef": {"name": "ca"}});
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    let object = json!({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec});
    wait::until("the request to be accepted", GRANTED_WITHIN, || scope.create_as(client, &object)).await
}

async fn decide(scope: &Scope, client: &Client, name: &str, decision: &str) -> kube::Result<DynamicObject> {
    // A merge replaces the list, so an earlier decision would vanish; this one is put beside it.
    let api = resources::api(client, &scope.namespace, API_VERSION, KIND);
    let mut conditions = match api.get(name).await?.data["status"]["conditions"].take() {
        Value::Array(conditions) => conditions,
        _ => Vec::new(),
    };
    conditions.push(objects::decision(decision));
    let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
    api.patch_status(name, &PatchParams::default(), &patch).await
}

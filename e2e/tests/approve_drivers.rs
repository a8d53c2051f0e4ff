//! What CSI drivers ask for by CertificateRequests, as cert-manager's does: approved for live pods on the driver's node and
//! names that the policy permits them, denied with the reason otherwise. The shared controller approves nothing; one of the
//! test's own does.

mod common;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{pods, rival};
use e2e::namespace::{self, Scope};
use e2e::objects::{self, PodExt as _};
use e2e::{image, wait};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Client;
use kube::api::PostParams;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde_json::{Value, json};

/// How long an answer may take on a busy machine; a tenth of a second is usual.
const WITHIN: Duration = Duration::from_secs(30);

const API_VERSION: &str = "cert-manager.io/v1";
const KIND: &str = "CertificateRequest";

/// The account of the driver.
const DRIVER: &str = "driver";

#[tokio::test]
async fn a_drivers_request_is_approved_for_a_pod_beside_it_and_its_names_alone() -> anyhow::Result<()> {
    namespace::own("drivers", |scope| async move {
        pods::with_ca(&scope).await?;
        let checks = async {
            account(&scope).await?;
            let pause = image::reference("pause");
            let beside = pods::run(&scope, &objects::pod("driver", &pause).service_account(DRIVER)).await?;
            let web = pods::run(&scope, &objects::pod("web", &pause)).await?;
            let bound = client(&scope, Some(&beside)).await?;
            let own = format!("web.{}.svc", scope.namespace);

            create(&scope, &bound, "own", Some(&web), &own, "1h").await?;
            is_told(&scope, "own", "Ready", "Issued", "").await?;
            create(&scope, &bound, "foreign", Some(&web), "kubernetes.default.svc", "1h").await?;
            is_told(&scope, "foreign", "Denied", "DnsNameNotPermitted", "add this rule").await?;
            create(&scope, &bound, "long", Some(&web), &own, "48h").await?;
            is_told(&scope, "long", "Denied", "DurationNotPermitted", "ask for 24h or less").await?;
            create(&scope, &bound, "ownerless", None, &own, "1h").await?;
            is_told(&scope, "ownerless", "Denied", "PodMissing", "one owner reference of kind Pod").await?;

            let unbound = client(&scope, None).await?;
            create(&scope, &unbound, "unbound", Some(&web), &own, "1h").await?;
            is_told(&scope, "unbound", "Denied", "TokenUnbound", "node-name").await?;
            // Nobody else is asked for a pod.
            create(&scope, &scope.client, "others", None, "a.example.org", "1h").await?;
            is_told(&scope, "others", "Ready", "Issued", "").await
        };
        rival::with(&scope, &values(&scope), Box::pin(checks)).await
    })
    .await
}

/// A controller that approves, works in the namespace of the test alone, and knows the driver.
fn values(scope: &Scope) -> Vec<String> {
    let namespace = &scope.namespace;
    let driver = format!("system:serviceaccount:{namespace}:{DRIVER}");
    vec![
        "webhook.enabled=false,cainjector.enabled=false,csiDriver.enabled=false".to_owned(),
        format!("controller.leaderElection.namespace={namespace}"),
        format!("controller.extraArgs={{--namespace={namespace},--driver-accounts={driver}}}"),
    ]
}

/// The account of a driver, which may create requests.
async fn account(scope: &Scope) -> anyhow::Result<()> {
    const RBAC: &str = "rbac.authorization.k8s.io";
    let version = format!("{RBAC}/v1");
    scope
        .create(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DRIVER}}))
        .await?;
    scope
        .create(&json!({
            "apiVersion": version, "kind": "Role", "metadata": {"name": DRIVER},
            "rules": [{"apiGroups": ["cert-manager.io"], "resources": ["certificaterequests"], "verbs": ["create"]}],
        }))
        .await?;
    scope
        .create(&json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": {"name": DRIVER},
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": DRIVER},
            "subjects": [{"kind": "ServiceAccount", "name": DRIVER, "namespace": scope.namespace}],
        }))
        .await?;
    Ok(())
}

/// The driver, by a token that is bound to this pod, or to none.
async fn client(scope: &Scope, pod: Option<&Pod>) -> anyhow::Result<Client> {
    let bound_object_ref = pod.map(|pod| BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    });
    let spec = TokenRequestSpec { bound_object_ref, ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let accounts = scope.api::<ServiceAccount>();
    let made = accounts.create_token_request(DRIVER, &PostParams::default(), &request).await?;
    let token = made.status.context("the API server gave no token")?.token;
    scope.cluster.client_with_token(&token).await
}

/// Creates a request for this DNS name, which belongs to `owner`.
async fn create(
    scope: &Scope,
    client: &Client,
    name: &str,
    owner: Option<&Pod>,
    dns_name: &str,
    duration: &str,
) -> anyhow::Result<()> {
    let mut params = CertificateParams::new(vec![dns_name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&KeyPair::generate()?)?.pem()?;
    let owners: Vec<Value> = owner
        .into_iter()
        .map(|pod| {
            let (name, uid) = (&pod.metadata.name, &pod.metadata.uid);
            json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid})
        })
        .collect();
    let object = json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "ownerReferences": owners},
        "spec": {
            "request": STANDARD.encode(request),
            "issuerRef": {"name": "ca", "kind": "Issuer", "group": "cert-manager.io"},
            "duration": duration,
        },
    });
    // The right may be a moment behind.
    wait::until("the request to be accepted", WITHIN, || scope.create_as(client, &object)).await.map(drop)
}

/// Waits until the request has a condition of this type with this reason, and a message with this in it.
async fn is_told(scope: &Scope, name: &str, type_: &str, reason: &str, message: &str) -> anyhow::Result<()> {
    wait::until(&format!("request {name} to be {type_}, {reason}"), WITHIN, || async {
        let status = scope.resource(API_VERSION, KIND).get(name).await?.data["status"].clone();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == type_);
        let found = found.with_context(|| format!("no condition {type_}: {status}"))?;
        let text = found["message"].as_str().unwrap_or_default();
        ensure!(found["reason"] == reason && text.contains(message), "the condition is {found}");
        anyhow::Ok(())
    })
    .await
}

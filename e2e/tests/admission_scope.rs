//! Which writes the webhook is asked about, who may opt out, and what people may write at all.

mod common;

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::replicas;
use common::reviewer;
use e2e::authority::issuer;
use e2e::cluster::Cluster;
use e2e::namespace::{self, Scope};
use e2e::objects::{decision, signing_request};
use e2e::resources::refusal;
use e2e::toolchain::KUBERNETES_VERSION;
use e2e::{install, paths, resources, wait};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

/// How long the API server may take to act on a new label or role.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);

/// The port of the webhook's metrics.
const METRICS_PORT: u16 = 9402;

const API_VERSION: &str = "cert-manager.io/v1";
const ACME: &str = "acme.cert-manager.io/v1";

#[tokio::test]
async fn a_namespace_opts_out_of_the_rules_but_not_of_identity_and_approval() -> anyhow::Result<()> {
    let _quiet = replicas::HARM.read().await;
    namespace::own("opt-out", |scope| async move {
        let wrong = certificate("wrong", &json!({"secretName": "", "issuerRef": {"name": "ca"}}));
        let status = refusal(scope.create(&wrong).await)?;
        ensure!(status.code == 422, "before it opts out: {status:?}");
        let label = json!({"metadata": {"labels": {"cert-manager.io/disable-validation": "true"}}});
        let namespaces = Api::<Namespace>::all(scope.client.clone());
        namespaces.patch(&scope.namespace, &PatchParams::default(), &Patch::Merge(label)).await?;
        wait::until("the namespace to be out", KNOWN_WITHIN, || scope.create(&wrong)).await?;

        let stranger = stranger(&scope).await?;
        let request = scope.create_as(&stranger, &request("mine")?).await?;
        let user = &request.data["spec"]["username"];
        ensure!(*user == *scope.namespace, "the request was stamped with {user}");
        let approval = json!({"status": {"conditions": [decision("Approved")]}});
        let requests = resources::api(&stranger, &scope.namespace, API_VERSION, "CertificateRequest");
        let approved = requests.patch_status("mine", &PatchParams::default(), &Patch::Merge(approval)).await;
        let status = refusal(approved)?;
        ensure!(status.code == 403 && status.message.contains("may not approve"), "{status:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_webhook_is_asked_about_a_status_only_where_a_rule_looks_at_it() -> anyhow::Result<()> {
    let _alone = replicas::HARM.write().await;
    namespace::own("status", |scope| async move {
        let objects = [
            certificate(
                "web",
                &json!({"secretName": "web", "issuerRef": {"name": "ca"}, "dnsNames": ["a.test"]}),
            ),
            issuer("ClusterIssuer", &scope.namespace, &json!({"selfSigned": {}})),
            order(),
        ];
        for object in &objects {
            scope.create(object).await?;
        }
        let write = |kind: &'static str, name: String, status: Value| {
            let scope = scope.clone();
            async move {
                let api = scope.resource(if kind == "Order" { ACME } else { API_VERSION }, kind);
                let patch = Patch::Merge(json!({"status": status}));
                api.patch_status(&name, &PatchParams::default(), &patch).await
            }
        };
        let first = reviews(&scope).await?;
        for revision in 1..=5 {
            write("Certificate", "web".to_owned(), json!({"revision": revision})).await?;
            let uri = format!("https://acme.example.com/{revision}");
            write("ClusterIssuer", scope.namespace.clone(), json!({"acme": {"uri": uri}})).await?;
        }
        let second = reviews(&scope).await?;
        ensure!(second == first, "ten status writes took {} reviews", second - first);

        // A write that changes nothing but finalizers is no status write.
        for (finalizers, count) in [(json!(["example.com/kept"]), 1), (json!([]), 2)] {
            let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
            scope.resource(API_VERSION, "Certificate").patch("web", &PatchParams::default(), &patch).await?;
            let now = reviews(&scope).await?;
            ensure!(now == second + count, "{count} writes of finalizers took {} reviews", now - second);
        }
        let second = second + 2;

        let url = |path: &str| json!({"url": format!("https://acme.example.com/{path}")});
        write("Order", "web".to_owned(), url("1")).await?;
        let third = reviews(&scope).await?;
        ensure!(third == second + 1, "a change of an Order's status took {} reviews", third - second);
        let status = refusal(write("Order", "web".to_owned(), url("2")).await)?;
        ensure!(status.message.contains("status.url"), "a URL that was set is refused with {status:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn people_edit_what_is_theirs_and_only_look_at_orders_and_challenges() -> anyhow::Result<()> {
    namespace::own("editor", |scope| async move {
        let cases = [
            ("create", "cert-manager.io", "certificates", true),
            ("delete", "cert-manager.io", "certificaterequests", true),
            ("update", "cert-manager.io", "issuers", true),
            ("update", "cert-manager.io", "certificates/status", true),
            ("list", "acme.cert-manager.io", "orders", true),
            ("watch", "acme.cert-manager.io", "challenges", true),
            ("create", "acme.cert-manager.io", "challenges", false),
            ("update", "acme.cert-manager.io", "challenges", false),
            ("patch", "acme.cert-manager.io", "challenges/status", false),
            ("delete", "acme.cert-manager.io", "challenges", false),
            ("create", "acme.cert-manager.io", "orders", false),
            ("patch", "acme.cert-manager.io", "orders", false),
            ("patch", "cert-manager.io", "certificaterequests/status", false),
            ("create", "cert-manager.io", "clusterissuers", false),
            ("approve", "cert-manager.io", "signers", false),
        ];
        let name = &scope.namespace;
        for role in ["edit", "admin"] {
            let user = format!("{role}-{name}");
            bind(&scope, &user, "ClusterRole", role).await?;
            let (verb, group, resource, _) = cases[0];
            wait::until("the role to count", KNOWN_WITHIN, || async {
                ensure!(may(&scope, &user, verb, group, resource).await?, "it does not yet");
                anyhow::Ok(())
            })
            .await?;
            for (verb, group, resource, wanted) in cases {
                let found = may(&scope, &user, verb, group, resource).await?;
                ensure!(found == wanted, "{role}: {verb} {resource}.{group} is {found}");
            }
        }
        Ok(())
    })
    .await
}

#[test]
fn the_chart_says_what_is_wrong_with_a_value_and_renders_what_is_right() -> anyhow::Result<()> {
    let render = |values: &[&str]| {
        let chart = paths::workspace().join("manifests/chart").display().to_string();
        let mut arguments = vec![
            "template",
            install::RELEASE,
            &chart,
            "--namespace",
            "certs",
            "--kube-version",
            KUBERNETES_VERSION,
        ];
        arguments.extend(values.iter().flat_map(|value| ["--set", value]));
        Cluster::shared()?.helm(&arguments)
    };
    let refused: [(&[&str], &str); 5] = [
        (&["webhook.hostNetwork=true", "webhook.securePort=10250"], "10250 is kubelet's port"),
        (&["webhook.failurePolicy=fail"], "failurePolicy"),
        (&["webhook.url.host=https://a.test"], "host"),
        (&["webhook.timeoutSeconds=31"], "timeoutSeconds"),
        (&["webhook.securePort=70000"], "securePort"),
    ];
    for (values, wanted) in refused {
        let Err(error) = render(values) else { bail!("{values:?} were accepted") };
        let told = format!("{error:#}");
        ensure!(told.contains(wanted), "{values:?} were refused with {told}");
    }
    let accepted: [(&[&str], &[&str]); 7] = [
        (&[], &["--secure-port=10250", "failurePolicy: Fail", "maxUnavailable: 1", "replicas: 2"]),
        (&["webhook.hostNetwork=true"], &["--secure-port=10260", "hostNetwork: true"]),
        (
            &["webhook.url.host=hooks.example.com:8443"],
            &[
                "url: https://hooks.example.com:8443/mutate",
                "--dynamic-serving-dns-names=hooks.example.com\n",
            ],
        ),
        (
            &["webhook.url.host=[2001:db8::1]:8443"],
            &["url: https://[2001:db8::1]:8443/validate", "--dynamic-serving-dns-names=2001:db8::1\n"],
        ),
        (&["webhook.clusterWarnings=false"], &["--cluster-warnings=false"]),
        (
            &["webhook.metricsTLS=true"],
            &[
                "webhook-metrics-ca]",
                "--metrics-dynamic-serving-dns-names=",
                "--metrics-dynamic-serving-ca-secret-name=",
            ],
        ),
        (&["webhook.failurePolicy=Ignore"], &["failurePolicy: Ignore", "failurePolicy: Fail"]),
    ];
    for (values, wanted) in accepted {
        let text = render(values)?;
        for line in wanted {
            ensure!(text.contains(line), "{values:?} give no {line:?}");
        }
    }
    Ok(())
}

const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// A user, called like the namespace, who may make requests and write their status there.
async fn stranger(scope: &Scope) -> anyhow::Result<kube::Client> {
    let name = &scope.namespace;
    let rules = json!([
        {"apiGroups": ["cert-manager.io"], "resources": ["certificaterequests"], "verbs": ["create"]},
        {"apiGroups": ["cert-manager.io"], "resources": ["certificaterequests/status"], "verbs": ["patch"]},
    ]);
    scope
        .create(&json!({"apiVersion": RBAC, "kind": "Role", "metadata": {"name": name}, "rules": rules}))
        .await?;
    bind(scope, name, "Role", name).await?;
    wait::until("the stranger's role to count", KNOWN_WITHIN, || async {
        let may = may(scope, name, "patch", "cert-manager.io", "certificaterequests/status").await?;
        ensure!(may, "it does not yet");
        anyhow::Ok(())
    })
    .await?;
    scope.cluster.client_as(name).await
}

/// Gives a user a role in the test's namespace.
async fn bind(scope: &Scope, user: &str, role_kind: &str, role: &str) -> anyhow::Result<()> {
    let binding = json!({
        "apiVersion": RBAC,
        "kind": "RoleBinding",
        "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    scope.create(&binding).await?;
    Ok(())
}

/// Whether a user may do something in the test's namespace.
async fn may(scope: &Scope, user: &str, verb: &str, group: &str, resource: &str) -> anyhow::Result<bool> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": {
            "namespace": scope.namespace, "verb": verb, "group": group,
            "resource": resource, "subresource": subresource,
        }},
    });
    let api = Api::<SubjectAccessReview>::all(scope.client.clone());
    let answer = api.create(&PostParams::default(), &serde_json::from_value(review)?).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// How many reviews all replicas together have answered.
async fn reviews(scope: &Scope) -> anyhow::Result<u64> {
    let mut sum = 0;
    for replica in replicas::ready(&scope.client).await? {
        let address = SocketAddr::new(reviewer::address(&replica)?.ip(), METRICS_PORT);
        let mut socket = scope.cluster.network().connect(address)?;
        socket.set_read_timeout(Some(KNOWN_WITHIN))?;
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: webhook\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        socket.read_to_string(&mut text)?;
        let counts = text.lines().filter(|line| line.starts_with("signet_webhook_reviews_total{"));
        for count in counts {
            let (_, count) = count.rsplit_once(' ').context("a metric without a value")?;
            sum += count.parse::<u64>()?;
        }
    }
    Ok(sum)
}

fn certificate(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": "Certificate", "metadata": {"name": name}, "spec": spec})
}

fn request(name: &str) -> anyhow::Result<Value> {
    Ok(json!({
        "apiVersion": API_VERSION,
        "kind": "CertificateRequest",
        "metadata": {"name": name},
        "spec": {"request": signing_request()?, "issuerRef": {"name": "ca"}, "username": "forged"},
    }))
}

fn order() -> Value {
    json!({
        "apiVersion": ACME,
        "kind": "Order",
        "metadata": {"name": "web"},
        "spec": {"request": STANDARD.encode("a request"), "issuerRef": {"name": "acme"}},
    })
}

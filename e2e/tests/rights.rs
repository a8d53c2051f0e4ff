//! What each of the four accounts may do, by what the API server says: that which it needs, and nothing of that which would
//! hurt most in the hands of somebody who took it over.

use anyhow::ensure;
use e2e::cluster::Cluster;
use e2e::install;

/// Namespaces and names of accounts: the release's own.
const ACCOUNTS: [&str; 4] =
    ["cert-manager", "cert-manager-webhook", "cert-manager-cainjector", "cert-manager-csi-driver"];

/// One question: which account, verb, resource and name, where, and whether the answer is yes.
#[derive(Clone, Copy)]
struct Row {
    account: &'static str,
    verb: &'static str,
    resource: &'static str,
    namespace: &'static str,
    may: bool,
}

const fn row(
    account: &'static str,
    verb: &'static str,
    resource: &'static str,
    namespace: &'static str,
    may: bool,
) -> Row {
    Row { account, verb, resource, namespace, may }
}

const CONTROLLER: &str = ACCOUNTS[0];
const WEBHOOK: &str = ACCOUNTS[1];
const CAINJECTOR: &str = ACCOUNTS[2];
const DRIVER: &str = ACCOUNTS[3];

/// What each needs for its work, and what is nearest to it and not needed.
const ROWS: &[Row] = &[
    row(CONTROLLER, "patch", "certificates.cert-manager.io/status", "default", true),
    row(CONTROLLER, "patch", "certificates.cert-manager.io", "default", false),
    row(CONTROLLER, "delete", "certificates.cert-manager.io", "default", false),
    row(CONTROLLER, "update", "certificates.cert-manager.io/finalizers", "default", true),
    row(CONTROLLER, "create", "certificaterequests.cert-manager.io", "default", true),
    row(CONTROLLER, "delete", "certificaterequests.cert-manager.io", "default", true),
    row(CONTROLLER, "patch", "certificaterequests.cert-manager.io/status", "default", true),
    row(CONTROLLER, "patch", "certificaterequests.cert-manager.io", "default", false),
    row(CONTROLLER, "patch", "issuers.cert-manager.io/status", "default", true),
    row(CONTROLLER, "patch", "issuers.cert-manager.io", "default", false),
    row(CONTROLLER, "patch", "clusterissuers.cert-manager.io/status", "", true),
    row(CONTROLLER, "create", "clusterissuers.cert-manager.io", "", false),
    row(CONTROLLER, "patch", "secrets", "default", true),
    row(CONTROLLER, "delete", "secrets", "default", true),
    row(CONTROLLER, "update", "leases.coordination.k8s.io/cert-manager-controller", "kube-system", true),
    row(CONTROLLER, "update", "leases.coordination.k8s.io/another", "kube-system", false),
    row(CONTROLLER, "create", "events", "default", true),
    row(CONTROLLER, "create", "serviceaccounts/token", "default", false),
    row(WEBHOOK, "create", "subjectaccessreviews.authorization.k8s.io", "", true),
    row(WEBHOOK, "list", "certificates.cert-manager.io", "default", true),
    row(WEBHOOK, "get", "secrets", "default", false),
    row(WEBHOOK, "get", "secrets/cert-manager-webhook-ca", install::RELEASE, true),
    row(WEBHOOK, "get", "secrets/another", install::RELEASE, false),
    row(
        WEBHOOK,
        "patch",
        "validatingwebhookconfigurations.admissionregistration.k8s.io/cert-manager-webhook",
        "",
        true,
    ),
    row(WEBHOOK, "patch", "validatingwebhookconfigurations.admissionregistration.k8s.io/another", "", false),
    row(WEBHOOK, "patch", "certificaterequests.cert-manager.io/status", "default", false),
    row(CAINJECTOR, "list", "secrets", "default", true),
    row(CAINJECTOR, "patch", "secrets", "default", false),
    row(CAINJECTOR, "create", "secrets", "default", false),
    row(CAINJECTOR, "patch", "apiservices.apiregistration.k8s.io", "", true),
    row(CAINJECTOR, "create", "apiservices.apiregistration.k8s.io", "", false),
    row(CAINJECTOR, "delete", "customresourcedefinitions.apiextensions.k8s.io", "", false),
    row(DRIVER, "get", "issuers.cert-manager.io", "default", true),
    row(DRIVER, "list", "secrets", "default", true),
    row(DRIVER, "patch", "secrets", "default", false),
    row(DRIVER, "patch", "certificaterequests.cert-manager.io/status", "default", false),
];

/// What none of them may.
const FORBIDDEN: [(&str, &str, &str); 8] = [
    ("create", "pods", "default"),
    ("create", "pods/exec", "default"),
    ("impersonate", "users", ""),
    ("escalate", "clusterroles.rbac.authorization.k8s.io", ""),
    ("bind", "clusterroles.rbac.authorization.k8s.io", ""),
    ("create", "clusterrolebindings.rbac.authorization.k8s.io", ""),
    ("update", "nodes", ""),
    ("create", "serviceaccounts/token", "default"),
];

#[test]
fn each_account_may_do_its_work_and_nothing_else() -> anyhow::Result<()> {
    let cluster = Cluster::shared()?;
    let mut wrong = Vec::new();
    let forbidden = ACCOUNTS.into_iter().flat_map(|account| {
        FORBIDDEN
            .into_iter()
            .map(move |(verb, resource, namespace)| row(account, verb, resource, namespace, false))
    });
    for Row { account, verb, resource, namespace, may } in ROWS.iter().copied().chain(forbidden) {
        if can_i(&cluster, account, verb, resource, namespace)? != may {
            let said = if may { "may not" } else { "may" };
            wrong.push(format!("{account} {said} {verb} {resource} in {namespace:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn can_i(
    cluster: &Cluster,
    account: &str,
    verb: &str,
    resource: &str,
    namespace: &str,
) -> anyhow::Result<bool> {
    let user = format!("--as=system:serviceaccount:{}:{account}", install::RELEASE);
    // kubectl takes a subresource apart from the name of an object.
    let (resource, subresource) = match resource.split_once('/') {
        Some((kind, sub @ ("status" | "finalizers" | "token" | "exec"))) => {
            (kind.to_owned(), format!("--subresource={sub}"))
        }
        _ => (resource.to_owned(), String::new()),
    };
    let mut command = cluster.kubectl_command();
    command.args(["auth", "can-i", verb, &resource, &user]);
    if !subresource.is_empty() {
        command.arg(subresource);
    }
    if !namespace.is_empty() {
        command.args(["--namespace", namespace]);
    }
    // It says yes or no, and its exit code says so as well; warnings about resources without a namespace are no answer.
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    match said.trim().lines().last().and_then(|line| line.split_whitespace().next()) {
        Some("yes") => Ok(true),
        Some("no") => Ok(false),
        _ => anyhow::bail!(
            "kubectl auth can-i {verb} {resource}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

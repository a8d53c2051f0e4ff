//! What is refused of a spec, and what the rest comes to.

use serde_json::{Value, json};

use super::*;

fn merged(mut into: Value, changes: &Value) -> Value {
    fn merge(into: &mut Value, changes: &Value) {
        match (into.as_object_mut(), changes.as_object()) {
            (Some(object), Some(changes)) => {
                for (key, value) in changes {
                    merge(object.entry(key).or_insert(Value::Null), value);
                }
            }
            _ => *into = changes.clone(),
        }
    }
    merge(&mut into, changes);
    into
}

fn parsed_as(kind: IssuerKind, changes: &Value) -> Result<Settings, Unusable> {
    let good = json!({
        "server": "https://vault.test:8200",
        "path": "pki/sign/web",
        "auth": {"tokenSecretRef": {"name": "vault"}},
    });
    let spec: VaultIssuer = serde_json::from_value(merged(good, changes)).unwrap();
    let id = IssuerId { kind, namespace: "team-a".to_owned(), name: "vault".to_owned() };
    Settings::parse(&id, &spec, "cluster")
}

fn parsed(changes: &Value) -> Result<Settings, Unusable> {
    parsed_as(IssuerKind::Issuer, changes)
}

fn refused(changes: &Value, expected: &str) {
    match parsed(changes) {
        Err(Unusable::Malformed(message)) => assert!(message.contains(expected), "{changes}: {message}"),
        other => panic!("{changes}: {other:?}"),
    }
}

#[test]
fn what_no_call_could_be_made_of_is_refused_with_what_would_be_right() {
    let token = Value::Null;
    refused(&json!({"server": ""}), "cannot be read as a URL");
    refused(&json!({"server": "vault.test:8200"}), "is neither an https nor an http URL");
    refused(&json!({"server": "unix:///run/vault"}), "spec.vault.server");
    refused(&json!({"server": "https://me:secret@vault.test"}), "holds a user name");
    refused(&json!({"server": "https://vault.test?x=1"}), "has a query");
    refused(&json!({"path": "/"}), "spec.vault.path is empty");
    refused(&json!({"path": "pki/../sys/seal"}), "has the segment \"..\"");
    refused(&json!({"namespace": "team\na"}), "has control characters");
    refused(&json!({"serverName": "a b"}), "neither a DNS name nor an IP address");
    refused(&json!({"caBundle": "eA=="}), "spec.vault.caBundle cannot be used: no PEM block");
    refused(&json!({"caBundle": "eA==", "caBundleSecretRef": {"name": "ca"}}), "remove one");
    refused(&json!({"caBundleSecretRef": {"name": ""}}), "spec.vault.caBundleSecretRef names no Secret");
    refused(&json!({"clientCertSecretRef": {"name": "a"}}), "set both or none");
    refused(&json!({"auth": {"tokenSecretRef": token}}), "names no way to log in");
    refused(
        &json!({"auth": {"tokenSecretRef": {"name": ""}}}),
        "spec.vault.auth.tokenSecretRef names no Secret",
    );
}

#[test]
fn ways_to_log_in_that_lack_something_are_refused() {
    let check = |auth: Value, expected: &str| {
        refused(&merged(json!({"auth": {"tokenSecretRef": null}}), &json!({"auth": auth})), expected);
    };
    check(json!({"appRole": {"roleId": " "}}), "appRole.roleId is empty");
    check(json!({"appRole": {"roleId": "r", "secretRef": {"name": "a"}}}), "secretRef names no key");
    check(json!({"clientCertificate": {}}), "has nothing to show");
    check(json!({"kubernetes": {}}), "role is empty");
    check(json!({"kubernetes": {"role": "r"}}), "has no identity");
    check(json!({"kubernetes": {"role": "r", "serviceAccountRef": {}}}), "names no service account");
    let both = json!({"role": "r", "serviceAccountRef": {"name": "a"}, "secretRef": {"name": "a"}});
    check(json!({"kubernetes": both}), "has both secretRef and serviceAccountRef");
    let plain = json!({"server": "http://vault.test", "auth": {
        "tokenSecretRef": null, "clientCertificate": {"secretName": "pair"},
    }});
    refused(&plain, "needs TLS");
    let aws = json!({"auth": {"tokenSecretRef": null, "aws": {"role": "r"}}});
    assert_eq!(parsed(&aws), Err(Unusable::Unsupported("vault with auth.aws")));
}

#[test]
fn paths_are_below_the_address_and_hold_nothing_that_leads_elsewhere() {
    let check = |server: &str, path: &str, expected: &str| {
        let settings = parsed(&json!({"server": server, "path": path})).unwrap();
        assert_eq!(settings.sign.uri.to_string(), expected);
    };
    check("https://vault.test", "pki/sign/web", "https://vault.test/v1/pki/sign/web");
    check("https://vault.test/", "/pki//sign/web/", "https://vault.test/v1/pki/sign/web");
    check(
        "http://[::1]:8200/vault/",
        "a b/sign?x#y/\u{e4}%2e",
        "http://[::1]:8200/vault/v1/a%20b/sign%3Fx%23y/%C3%A4%252e",
    );
}

#[test]
fn each_way_to_log_in_goes_to_its_endpoint() {
    let check = |auth: Value, expected: Option<&str>| {
        let changes = merged(json!({"auth": {"tokenSecretRef": null}}), &json!({"auth": auth}));
        let login = parsed(&changes).unwrap().login;
        let endpoint = match &login {
            Login::Token(_) => None,
            Login::AppRole { endpoint, .. }
            | Login::Certificate { endpoint, .. }
            | Login::Kubernetes { endpoint, .. }
            | Login::Account { endpoint, .. } => Some(endpoint.uri.path()),
        };
        assert_eq!(endpoint, expected, "{changes}");
    };
    let secret = json!({"name": "a", "key": "id"});
    check(json!({"tokenSecretRef": {"name": "vault"}, "aws": {}}), None);
    check(json!({"appRole": {"roleId": "r", "secretRef": secret}}), Some("/v1/auth/approle/login"));
    check(
        json!({"appRole": {"path": "own/", "roleId": "r", "secretRef": secret}}),
        Some("/v1/auth/own/login"),
    );
    check(json!({"clientCertificate": {"secretName": "pair"}}), Some("/v1/auth/cert/login"));
    let kubernetes = json!({"kubernetes": {"role": "r", "secretRef": secret}});
    check(kubernetes, Some("/v1/auth/kubernetes/login"));
    let own = json!({"kubernetes": {"role": "r", "secretRef": secret, "mountPath": "v1/auth/own"}});
    check(own, Some("/v1/auth/own/login"));
}

#[test]
fn a_token_that_is_asked_for_names_issuer_and_server() {
    let check = |kind, expected: (&str, &[&str])| {
        let account = json!({"name": "vault", "audiences": ["own"]});
        let auth = json!({"tokenSecretRef": null, "kubernetes": {"role": "r", "serviceAccountRef": account}});
        let Login::Account { account, audiences, .. } =
            parsed_as(kind, &json!({"auth": auth})).unwrap().login
        else {
            panic!("an account's token is used");
        };
        assert_eq!(
            (account.to_string().as_str(), audiences.iter().map(String::as_str).collect::<Vec<_>>()),
            (expected.0, expected.1.to_vec())
        );
    };
    check(IssuerKind::Issuer, ("team-a/vault", &["own", "vault://team-a/vault", "https://vault.test:8200"]));
    check(IssuerKind::ClusterIssuer, ("cluster/vault", &["own", "vault://vault", "https://vault.test:8200"]));
}

#[test]
fn every_secret_is_told_once() {
    let check = |changes: Value, expected: &[&str]| {
        let secrets = parsed(&changes).unwrap().secrets();
        assert_eq!(secrets.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{changes}");
    };
    check(json!({}), &["team-a/vault"]);
    check(json!({"caBundleSecretRef": {"name": "ca"}}), &["team-a/vault", "team-a/ca"]);
    let pair = json!({"name": "pair"});
    let tls = json!({"clientCertSecretRef": pair, "clientKeySecretRef": pair});
    check(tls.clone(), &["team-a/vault", "team-a/pair"]);
    let method = json!({"auth": {"tokenSecretRef": null, "clientCertificate": {"secretName": "own"}}});
    check(merged(tls, &method), &["team-a/own"]);
    // Over plain HTTP nothing is verified, so no CA is needed.
    check(json!({"server": "http://vault.test", "caBundleSecretRef": {"name": "ca"}}), &["team-a/vault"]);
}

//! What the chart makes of values that no installation of the suite uses. It is only rendered: no cluster is needed.

use std::process::{Command, Output};

use anyhow::Context as _;
use e2e::paths;
use e2e::toolchain::{KUBERNETES_VERSION, Tool, Toolchain};
use serde_json::{Value, json};

/// What helm says to `template` of the chart's file with these values of the webhook.
fn rendered(template: &str, webhook: &Value) -> anyhow::Result<Output> {
    let helm = Toolchain::ensure(&[Tool::Helm])?.path(Tool::Helm);
    Command::new(helm)
        .args(["template", "cert-manager", "manifests/chart", "--namespace", "cert-manager"])
        .args(["--kube-version", KUBERNETES_VERSION, "--show-only", template])
        .args(["--set-json", &format!("webhook={webhook}")])
        .current_dir(paths::workspace())
        .output()
        .context("failed to start helm")
}

fn webhook(values: &Value) -> anyhow::Result<String> {
    let output = rendered("templates/webhook.yaml", values)?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn files() -> Value {
    json!({
        "config": {"tlsConfig": {"filesystem": {"certFile": "/tls/tls.crt", "keyFile": "/tls/tls.key"}}},
        "volumes": [{"name": "tls", "secret": {"secretName": "webhook-tls"}}],
        "volumeMounts": [{"name": "tls", "mountPath": "/tls", "readOnly": true}],
        "configurationAnnotations": {"cert-manager.io/inject-ca-from": "cert-manager/webhook"},
    })
}

#[test]
fn half_a_certificate_or_two_sources_of_one_are_refused() -> anyhow::Result<()> {
    let pair = json!({"certFile": "/tls/tls.crt", "keyFile": "/tls/tls.key"});
    for (tls, wanted) in [
        (json!({"filesystem": {"certFile": "/tls/tls.crt"}}), "keyFile"),
        (json!({"filesystem": {"certFile": "/tls/tls.crt", "keyFile": ""}}), "keyFile"),
        (json!({"filesystem": pair, "dynamic": {"leafDuration": "24h"}}), "tlsConfig"),
    ] {
        let output = rendered("templates/webhook.yaml", &json!({"config": {"tlsConfig": tls}}))?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(wanted), "{said}");
    }
    Ok(())
}

#[test]
fn with_files_nothing_is_left_of_its_own_ca() -> anyhow::Result<()> {
    let text = webhook(&files())?;
    for absent in
        ["--dynamic-serving", "inject-ca-from-secret", "cert-manager-webhook-ca", "patch]", "secrets]"]
    {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
    for (wanted, times) in [
        ("- --config=/var/cert-manager/config/config.yaml", 1),
        ("certFile: /tls/tls.crt", 1),
        ("mountPath: /var/cert-manager/config", 1),
        ("secretName: webhook-tls", 1),
        ("mountPath: /tls\n", 1),
        ("- --validating-configuration-name=cert-manager-webhook\n", 1),
        ("- --mutating-configuration-name=cert-manager-webhook\n", 1),
        ("cert-manager.io/inject-ca-from: cert-manager/webhook\n", 2),
    ] {
        assert_eq!(text.matches(wanted).count(), times, "{wanted} in {text}");
    }
    Ok(())
}

#[test]
fn metrics_over_tls_keep_a_ca_of_their_own_beside_files() -> anyhow::Result<()> {
    let mut values = files();
    values["metricsTLS"] = json!(true);
    let text = webhook(&values)?;
    assert!(text.contains("--metrics-dynamic-serving-ca-secret-name=cert-manager-webhook-metrics-ca"));
    assert!(text.contains("resources: [secrets]"), "{text}");
    Ok(())
}

#[test]
fn other_settings_of_the_file_leave_its_own_ca_to_it() -> anyhow::Result<()> {
    let text = webhook(&json!({"config": {"featureGates": {"OtherNames": false}}}))?;
    assert!(text.contains("--dynamic-serving-ca-secret-name=cert-manager-webhook-ca"), "{text}");
    assert!(text.contains("OtherNames: false") && !text.contains("--validating-configuration-name"));
    assert_eq!(text.matches("cert-manager.io/inject-ca-from-secret: ").count(), 2, "{text}");
    Ok(())
}

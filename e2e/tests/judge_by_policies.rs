//! The admission policies that copy rules: the API server takes them, and judges as the rules do.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use e2e::namespace::{self, Scope};
use e2e::wait;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use rules::Example;
use rules::cel::{Expression, POLICIES, Policy, Told};
use serde_json::{Value, json};

/// How long the API server may take to go by new policies, and the controller manager to look at their types.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(60);

/// Names in one Certificate of unusual size.
const MANY: usize = 5_000;

#[tokio::test]
async fn policies_judge_as_the_rules_that_they_copy() -> anyhow::Result<()> {
    namespace::own("policies", |scope| async move {
        leave_to_policies(&scope).await?;
        let stored = certificate("stored", &json!({"secretName": "Wrong_", "commonName": "a"}));
        // The API server reads the labels of namespaces from a watch, which may be a moment behind.
        wait::until("the webhook to leave the namespace alone", IN_FORCE_WITHIN, || scope.create(&stored))
            .await?;
        for policy in POLICIES {
            install(&scope, policy).await?;
        }
        for policy in POLICIES {
            in_force(&scope, policy).await?;
        }
        check_examples(&scope).await?;
        check_good(&scope).await?;
        check_borders(&scope).await?;
        check_many(&scope).await?;
        check_ratchet(&scope, &stored).await
    })
    .await
}

/// The webhook has an opt-out, which makes what the policies say heard.
async fn leave_to_policies(scope: &Scope) -> anyhow::Result<()> {
    let label = json!({"metadata": {"labels": {"cert-manager.io/disable-validation": "true"}}});
    let namespaces = Api::<Namespace>::all(scope.client.clone());
    namespaces.patch(&scope.namespace, &PatchParams::default(), &Patch::Merge(label)).await?;
    Ok(())
}

fn name(scope: &Scope, policy: &Policy) -> String {
    format!("{}-{}", scope.namespace, policy.name)
}

/// Other tests do not see it: it is for this namespace alone.
async fn install(scope: &Scope, policy: &Policy) -> anyhow::Result<()> {
    let (api_version, name) = ("admissionregistration.k8s.io/v1", name(scope, policy));
    let object = |kind: &str, spec: Value| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec});
    let binding = json!({
        "policyName": name,
        "validationActions": ["Deny"],
        "matchResources": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": scope.namespace}},
        },
    });
    let own = object("ValidatingAdmissionPolicy", policy.spec());
    scope.create(&own).await.with_context(|| format!("the API server refuses the policy {}", policy.name))?;
    scope.create(&object("ValidatingAdmissionPolicyBinding", binding)).await?;
    Ok(())
}

/// Waits until the policy denies, and until its types were looked at; the API server then knows of no field or function
/// that does not exist.
async fn in_force(scope: &Scope, policy: &Policy) -> anyhow::Result<()> {
    let wrong = match policy.name {
        "certificates" => certificate("wrong", &json!({"secretName": ""})),
        _ => issuer("wrong", &json!({})),
    };
    let name = name(scope, policy);
    wait::until(&format!("policy {name} to be in force"), IN_FORCE_WITHIN, || async {
        let told = refusal(scope, &wrong).await?;
        ensure!(told.as_deref().is_some_and(|told| told.contains(&name)), "the API server says {told:?}");
        Ok(())
    })
    .await?;
    let policies = scope.resource("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy");
    let checked = wait::until("the types to be looked at", IN_FORCE_WITHIN, || async {
        let status = policies.get(&name).await?.data.get("status").cloned().unwrap_or_default();
        ensure!(status.get("observedGeneration").is_some(), "the status is {status}");
        Ok(status)
    })
    .await?;
    let warnings = checked.pointer("/typeChecking/expressionWarnings");
    ensure!(warnings.is_none(), "the types of {} do not fit: {warnings:#?}", policy.name);
    Ok(())
}

/// What the API server says against the creation of an object; None: nothing.
async fn refusal(scope: &Scope, object: &Value) -> anyhow::Result<Option<String>> {
    let text = |member: &str| object[member].as_str().unwrap_or_default();
    let api = scope.resource(text("apiVersion"), text("kind"));
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&dry_run, &serde_json::from_value(object.clone())?).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => Ok(Some(status.message)),
        Err(error) => Err(error.into()),
    }
}

/// Examples that the CRDs refuse as well. With these members of the object at a pointer they pass there.
const PASSING_CRDS: [(&str, &str, &str); 6] = [
    ("C01", "/spec", r#"{"secretName": ""}"#),
    ("C03", "/spec/issuerRef", r#"{"name": ""}"#),
    ("C49", "/spec/renewal", r#"{"policy": null}"#),
    ("I05", "/spec/acme", r#"{"privateKeySecretRef": {"name": ""}}"#),
    ("I36", "/spec/acme/solvers/0/dns01/azureDNS", r#"{"subscriptionID": ""}"#),
    ("I37", "/spec/acme/solvers/0/dns01/azureDNS", r#"{"resourceGroupName": ""}"#),
];

/// For each rule that has an expression: the object that breaks it is refused, by the policy and for this reason, or
/// that of another rule that it breaks.
async fn check_examples(scope: &Scope) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for policy in POLICIES {
        for expression in policy.expressions {
            let Some(mut example) = example(policy, expression)? else { continue };
            for (_, parent, members) in PASSING_CRDS.iter().filter(|(id, ..)| *id == expression.id) {
                let parent = example.object.pointer_mut(parent).and_then(Value::as_object_mut);
                let members: serde_json::Map<String, Value> = serde_json::from_str(members)?;
                parent
                    .with_context(|| format!("the example of {} has changed", expression.id))?
                    .extend(members);
            }
            let verdict = example.judge()?;
            let broken: Vec<&str> = verdict.denials.iter().map(|denial| denial.rule.id).collect();
            ensure!(broken.contains(&expression.id), "{} is not refused by the rules", expression.id);
            let told = refusal(scope, &placed(example.object)).await?.unwrap_or_default();
            let mut reasons = policy.expressions.iter().filter(|other| broken.contains(&other.id));
            if !told.contains(&name(scope, policy))
                || !reasons.any(|other| told.contains(beginning(&other.told)))
            {
                wrong.push(format!("{} should say {:?}: {told:?}", expression.id, expression.told));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The example of a rule. None: it has none, which is for the rules' own tests to find.
fn example(policy: &Policy, expression: &Expression) -> anyhow::Result<Option<Example>> {
    let folder = if policy.name == "certificates" { "certificate" } else { "issuer" };
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../rules/examples/{folder}/{}.yaml", expression.id));
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// The object in the test's own namespace, where nothing but the policies judges it.
fn placed(mut object: Value) -> Value {
    if object["kind"] == "ClusterIssuer" {
        object["kind"] = "Issuer".into();
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    object
}

/// The part of a message that does not depend on the object.
fn beginning(told: &Told) -> &'static str {
    match told {
        Told::Text(text) => text,
        Told::Computed(expression) => {
            expression.trim_start_matches('\'').split('\'').next().unwrap_or_default().trim_end_matches('"')
        }
    }
}

/// Whatever the rules allow, the policies do.
async fn check_good(scope: &Scope) -> anyhow::Result<()> {
    for object in good() {
        let example = Example { object: object.clone(), ..Example::default() };
        let verdict = example.judge()?;
        ensure!(verdict.is_allowed(), "the rules refuse {object}: {}", verdict.message());
        if let Some(told) = refusal(scope, &object).await? {
            bail!("{object} is refused: {told}");
        }
    }
    Ok(())
}

/// On either side of a rule's border, policies and rules say the same.
async fn check_borders(scope: &Scope) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for (id, refused, allowed) in borders() {
        for (object, is_refused) in [(refused, true), (allowed, false)] {
            let example = Example { object: object.clone(), ..Example::default() };
            let verdict = example.judge()?;
            let breaks = verdict.denials.iter().any(|denial| denial.rule.id == id);
            ensure!(
                breaks == is_refused && (is_refused || verdict.is_allowed()),
                "{id}: {}",
                verdict.message()
            );
            let told = refusal(scope, &object).await?.unwrap_or_default();
            let by_policy = told.contains("ValidatingAdmissionPolicy") && told.contains(&scope.namespace);
            if by_policy != is_refused {
                wrong.push(format!("{id}: {object} is answered with {told:?}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// For a rule an object that just breaks it, and one that just does not.
fn borders() -> Vec<(&'static str, Value, Value)> {
    let certificates = certificate_borders().into_iter().map(|(id, refused, allowed)| {
        let of = |mut spec: Value| {
            for (member, value) in [("secretName", json!("tls")), ("commonName", json!("a"))] {
                if spec.get(member).is_none() {
                    spec[member] = value;
                }
            }
            certificate("border", &spec)
        };
        (id, of(refused), of(allowed))
    });
    let issuers = issuer_borders()
        .into_iter()
        .map(|(id, refused, allowed)| (id, issuer("border", &refused), issuer("border", &allowed)));
    certificates.chain(issuers).collect()
}

fn certificate_borders() -> Vec<(&'static str, Value, Value)> {
    let key = |algorithm: &str, size: u32| json!({"privateKey": {"algorithm": algorithm, "size": size}});
    let annotated = |key: &str| json!({"secretTemplate": {"annotations": {key: "true"}}});
    let labelled = |key: &str, value: &str| json!({"secretTemplate": {"labels": {key: value}}});
    let jks = |password: Value| json!({"keystores": {"jks": password}});
    let constrained =
        |range: &str| json!({"isCA": true, "nameConstraints": {"permitted": {"ipRanges": [range]}}});
    vec![
        ("C02", json!({"secretName": "a".repeat(254)}), json!({"secretName": "a".repeat(253)})),
        ("C02", json!({"secretName": "a..b"}), json!({"secretName": "a.b"})),
        (
            "C04",
            json!({"issuerRef": {"name": "a", "kind": "Other"}}),
            json!({"issuerRef": {"name": "a", "kind": "Other", "group": "b.c"}}),
        ),
        ("C12", json!({"commonName": "a".repeat(65)}), json!({"commonName": "a".repeat(64)})),
        ("C13", json!({"ipAddresses": ["192.0.2.256"]}), json!({"ipAddresses": ["192.0.2.255"]})),
        ("C20", key("RSA", 2047), key("RSA", 2048)),
        ("C20", key("RSA", 8193), key("RSA", 8192)),
        ("C21", key("ECDSA", 255), key("ECDSA", 256)),
        (
            "C24",
            json!({"duration": "59m59s", "renewBefore": "5m"}),
            json!({"duration": "1h", "renewBefore": "5m"}),
        ),
        (
            "C26",
            json!({"duration": "2h", "renewBefore": "4m59s"}),
            json!({"duration": "2h", "renewBefore": "5m"}),
        ),
        (
            "C27",
            json!({"duration": "2h", "renewBefore": "2h"}),
            json!({"duration": "2h", "renewBefore": "1h59m"}),
        ),
        ("C31", json!({"revisionHistoryLimit": 0}), json!({"revisionHistoryLimit": 1})),
        ("C32", labelled("a/b/c", "d"), labelled("a/b", "d")),
        ("C33", labelled("a", "-b"), labelled("a", "b-c")),
        ("C34", annotated("cert-manager.io/other"), annotated("cert-manager.io/allow-direct-injection")),
        ("C35", annotated("a/b/c"), annotated("A.example/B")),
        ("C40", constrained("192.0.2.0/33"), constrained("192.0.2.0/24")),
        ("C43", jks(json!({"create": true})), jks(json!({"create": true, "password": "a"}))),
        (
            "C42",
            jks(json!({"create": true, "password": "a", "passwordSecretRef": {"name": "a", "key": "b"}})),
            jks(json!({"create": true, "passwordSecretRef": {"name": "a", "key": "b"}})),
        ),
        (
            "C41",
            json!({"additionalOutputFormats": [{"type": "DER"}, {"type": "DER"}]}),
            json!({"additionalOutputFormats": [{"type": "DER"}, {"type": "CombinedPEM"}]}),
        ),
    ]
}

fn issuer_borders() -> Vec<(&'static str, Value, Value)> {
    let vault = |path: &str, auth: Value| json!({"vault": {"server": "https://vault.example.com", "path": path, "auth": auth}});
    let token = || json!({"tokenSecretRef": {"name": "a", "key": "b"}});
    let role = |path: &str, id: &str| json!({"appRole": {"path": path, "roleId": id, "secretRef": {"name": "a", "key": "b"}}});
    vec![
        ("I01", json!({}), json!({"selfSigned": {}})),
        ("I02", json!({"ca": {"secretName": "a"}, "selfSigned": {}}), json!({"ca": {"secretName": "a"}})),
        ("I58", json!({"ca": {"secretName": ""}}), json!({"ca": {"secretName": "a"}})),
        ("I62", vault("", token()), vault("pki/sign/a", token())),
        ("I63", vault("pki/../a", token()), vault("pki/..a", token())),
        ("I68", vault("pki/sign/a", json!({})), vault("pki/sign/a", token())),
        ("I69", vault("pki/sign/a", role("approle", "")), vault("pki/sign/a", role("approle", "b"))),
        ("I71", vault("pki/sign/a", role("a/..", "b")), vault("pki/sign/a", role("a/b..", "b"))),
    ]
}

/// A large object is judged like others: a policy that costs too much would be passed over.
async fn check_many(scope: &Scope) -> anyhow::Result<()> {
    let mut addresses: Vec<String> =
        (0..MANY).map(|number| format!("2001:db8::{number:x}:ffff:ffff:ffff")).collect();
    let labels: BTreeMap<String, &str> =
        (0..MANY).map(|number| (format!("example.com/label-{number}"), "value")).collect();
    let object = |addresses: &[String]| {
        certificate(
            "many",
            &json!({"secretName": "many", "issuerRef": {"name": "ca"}, "ipAddresses": addresses,
                "secretTemplate": {"labels": labels, "annotations": labels}}),
        )
    };
    let told = refusal(scope, &object(&addresses)).await?;
    ensure!(told.is_none(), "{MANY} addresses are refused: {told:?}");
    addresses.push("192.0.2.300".to_owned());
    let told = refusal(scope, &object(&addresses)).await?.unwrap_or_default();
    ensure!(told.contains("192.0.2.300"), "behind {MANY} right addresses the wrong one is seen: {told}");
    Ok(())
}

/// What was wrong already keeps nobody from changing something else; what becomes wrong is refused.
async fn check_ratchet(scope: &Scope, stored: &Value) -> anyhow::Result<()> {
    let certificates = scope.resource("cert-manager.io/v1", "Certificate");
    let name = stored["metadata"]["name"].as_str().unwrap_or_default();
    let patch = |patch: Value| {
        let certificates = &certificates;
        async move { certificates.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await }
    };
    patch(json!({"metadata": {"labels": {"a": "b"}}})).await.context("a label is refused")?;
    patch(json!({"spec": {"commonName": "b"}})).await.context("another field is refused")?;
    match patch(json!({"spec": {"commonName": "c", "revisionHistoryLimit": 0}})).await {
        Err(kube::Error::Api(status))
            if status.message.contains("spec.revisionHistoryLimit: Invalid value") => {}
        other => bail!("a new fault is answered with {other:?}"),
    }
    patch(json!({"spec": {"secretName": "right", "issuerRef": {"name": "ca"}}})).await?;
    match patch(json!({"spec": {"secretName": "Wrong_"}})).await {
        Err(kube::Error::Api(status)) if status.message.contains("spec.secretName: Invalid value") => Ok(()),
        other => bail!("a fault that comes back is answered with {other:?}"),
    }
}

fn certificate(name: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    if spec.get("issuerRef").is_none() {
        spec["issuerRef"] = json!({"name": "ca"});
    }
    json!({"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": name}, "spec": spec})
}

fn issuer(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": name}, "spec": spec})
}

/// Objects that use as much of the API as they can without breaking a rule.
fn good() -> Vec<Value> {
    let certificates = good_certificates();
    let certificates = certificates.iter().map(|spec| certificate("good", spec));
    certificates.chain(good_issuers().iter().map(|spec| issuer("good", spec))).collect()
}

fn good_certificates() -> [Value; 4] {
    let names = json!({
        "secretName": "web-tls", "issuerRef": {"name": "ca", "kind": "ClusterIssuer", "group": "cert-manager.io"},
        "commonName": "ü".repeat(32), "dnsNames": ["web.example.com"],
        "ipAddresses": ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.2"],
        "duration": "1h", "renewBefore": "5m0s", "revisionHistoryLimit": 1,
        "privateKey": {"algorithm": "ECDSA", "size": 521}, "signatureAlgorithm": "ECDSAWithSHA512",
        "additionalOutputFormats": [{"type": "DER"}, {"type": "CombinedPEM"}],
        "secretTemplate": {
            "labels": {"app": "", "example.com/part-of": "shop_1.2"},
            "annotations": {"Note": "any text", "cert-manager.io/allow-direct-injection": "true"},
        },
        "keystores": {
            "jks": {"create": true, "passwordSecretRef": {"name": "a", "key": "b"}},
            "pkcs12": {"create": true, "password": "changeit"},
        },
    });
    let literal = json!({"secretName": "a.b", "literalSubject": "CN=web,O=Example", "privateKey": {"size": 0},
        "issuerRef": {"name": "ca", "kind": "AWSPCAIssuer", "group": "awspca.cert-manager.io"}});
    let ca = json!({"secretName": "ca", "isCA": true, "commonName": "ca", "nameConstraints":
        {"permitted": {"ipRanges": ["10.0.0.0/8", "10.0.0.0/08", "2001:db8::/32"]}, "excluded": {"dnsDomains": ["a.test"]}}});
    let windows = json!({"secretName": "w", "dnsNames": ["w.example.com"], "duration": "720h",
        "renewal": {"policy": "Disabled"}});
    [names, literal, ca, windows]
}

fn good_issuers() -> Vec<Value> {
    let secret = json!({"name": "s", "key": "k"});
    let acme = json!({"acme": {"server": "https://acme.example.com/directory", "privateKeySecretRef": {"name": "a"},
        "externalAccountBinding": {"keyID": "k", "keySecretRef": secret}, "solvers": good_solvers()}});
    let vault = |auth: Value| {
        json!({"vault": {"server": "https://vault.example.com:8200", "path": "pki/sign/..role", "auth": auth,
            "clientCertSecretRef": secret, "clientKeySecretRef": secret}})
    };
    vec![
        acme,
        json!({"selfSigned": {}}),
        json!({"ca": {"secretName": "ca", "ocspServers": ["http://ocsp.example.com"]}}),
        vault(json!({"tokenSecretRef": secret})),
        vault(json!({"appRole": {"path": "approle", "roleId": "r", "secretRef": secret}})),
        vault(json!({"clientCertificate": {}})),
        vault(json!({"kubernetes": {"role": "r", "serviceAccountRef": {"name": "a"}}})),
        vault(json!({"aws": {"role": "r", "serviceAccountRef": {"name": "a"},
            "iamRoleArn": "arn:aws:iam::123456789012:role/issuer"}})),
        json!({"venafi": {"zone": "z", "tpp": {"url": "https://tpp.example.com/vedsdk", "credentialsRef": {"name": "c"}}}}),
        json!({"venafi": {"zone": "z", "ngts": {"tsgID": "1", "credentialsRef": {"name": "c"}}}}),
    ]
}

fn good_solvers() -> Vec<Value> {
    let mut solvers: Vec<Value> = good_dns01()
        .iter()
        .enumerate()
        .map(|(number, dns01)| json!({"dns01": dns01, "selector": {"dnsZones": [format!("z{number}.example.com")]}}))
        .collect();
    let selector = |zone: &str| json!({"dnsZones": [zone]});
    solvers.push(json!({"http01": {"ingress": {"ingressClassName": "nginx", "serviceType": "ClusterIP"}},
        "selector": selector("i.example.com"), "waitInsteadOfSelfCheck": "90s"}));
    solvers.push(
        json!({"http01": {"gatewayHTTPRoute": {"parentRefs": [{"name": "gateway", "kind": "Gateway"}]}},
        "selector": selector("g.example.com")}),
    );
    solvers
}

/// Each provider in each of its forms.
fn good_dns01() -> [Value; 12] {
    let secret = json!({"name": "s", "key": "k"});
    [
        json!({"akamai": {"serviceConsumerDomain": "a.akamaiapis.net", "clientTokenSecretRef": secret,
            "clientSecretSecretRef": secret, "accessTokenSecretRef": secret}, "cnameStrategy": "Follow"}),
        json!({"azureDNS": {"subscriptionID": "s", "resourceGroupName": "g",
            "managedIdentity": {"clientID": "c", "tenantID": "t"}}}),
        json!({"azureDNS": {"subscriptionID": "s", "resourceGroupName": "g", "clientID": "c", "tenantID": "t",
            "clientSecretSecretRef": secret, "environment": "AzurePublicCloud"}}),
        json!({"cloudDNS": {"project": "p", "serviceAccountSecretRef": secret}}),
        json!({"cloudDNS": {"project": "p"}}),
        json!({"cloudflare": {"apiTokenSecretRef": secret}}),
        json!({"cloudflare": {"email": "a@example.com", "apiKeySecretRef": secret}}),
        json!({"route53": {"region": "eu-central-1"}}),
        json!({"acmeDNS": {"host": "https://auth.example.com", "accountSecretRef": secret}}),
        json!({"digitalocean": {"tokenSecretRef": secret}}),
        json!({"rfc2136": {"nameserver": "192.0.2.53:53", "tsigKeyName": "k", "tsigAlgorithm": "hmacsha256",
            "tsigSecretSecretRef": secret}}),
        json!({"webhook": {"groupName": "acme.example.com", "solverName": "s", "config": {"any": ["thing"]}}}),
    ]
}

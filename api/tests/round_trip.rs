//! A manifest of each kind that sets every field comes out as it went in.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn check<T: DeserializeOwned + Serialize>(manifest: &str) {
    let before: Value = serde_saphyr::from_str(manifest).expect("the manifest is YAML");
    let object: T = serde_json::from_value(before.clone()).expect("the manifest is of this kind");
    let after = serde_json::to_value(object).expect("the object is JSON");
    assert_eq!(after, before);
}

/// Every field of the schema occurs in the manifest, so that `check` looks at all of them.
fn check_covers(kind: &str, manifest: &str) {
    let value: Value = serde_saphyr::from_str(manifest).expect("the manifest is YAML");
    let crd = api::crd::all()
        .into_iter()
        .find(|crd| crd["spec"]["names"]["kind"] == kind)
        .expect("a CRD of this kind");
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut missing = Vec::new();
    for part in ["spec", "status"] {
        uncovered(part, &schema["properties"][part], &[&value[part]], &mut missing);
    }
    assert!(missing.is_empty(), "{kind}: the manifest does not set {missing:#?}");
}

/// Adds the paths below `schema` that none of `values` sets. Kubernetes' own types are left out.
fn uncovered(path: &str, schema: &Value, values: &[&Value], missing: &mut Vec<String>) {
    const UPSTREAM: &[&str] = &[".affinity", ".tolerations"];
    if UPSTREAM.iter().any(|part| path.ends_with(part)) {
        return;
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let found: Vec<&Value> = values.iter().filter_map(|value| value.get(name)).collect();
        let path = format!("{path}.{name}");
        if found.is_empty() {
            missing.push(path);
        } else {
            uncovered(&path, property, &found, missing);
        }
    }
    if let Some(items) = schema.get("items") {
        let found: Vec<&Value> = values.iter().filter_map(|value| value.as_array()).flatten().collect();
        uncovered(&format!("{path}[]"), items, &found, missing);
    }
}

#[test]
fn certificate() {
    let manifest = include_str!("manifests/certificate.yaml");
    check::<api::Certificate>(manifest);
    check_covers("Certificate", manifest);
}

#[test]
fn certificate_request() {
    let manifest = include_str!("manifests/certificate-request.yaml");
    check::<api::CertificateRequest>(manifest);
    check_covers("CertificateRequest", manifest);
}

#[test]
fn issuer() {
    let manifest = include_str!("manifests/issuer.yaml");
    check::<api::Issuer>(manifest);
    check_covers("Issuer", manifest);
}

#[test]
fn cluster_issuer() {
    let manifest = include_str!("manifests/issuer.yaml").replace("kind: Issuer\n", "kind: ClusterIssuer\n");
    check::<api::ClusterIssuer>(&manifest);
}

#[test]
fn order() {
    let manifest = include_str!("manifests/order.yaml");
    check::<api::Order>(manifest);
    check_covers("Order", manifest);
}

#[test]
fn challenge() {
    let manifest = include_str!("manifests/challenge.yaml");
    check::<api::Challenge>(manifest);
}

#[test]
fn an_issuer_type_without_members_is_kept() {
    check::<api::Issuer>(
        "apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: root}\nspec: {selfSigned: {}}\n",
    );
}

#[test]
fn texts_that_the_schema_refuses_are_kept_as_written() {
    let manifest = "
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: odd}
spec:
  secretName: odd
  issuerRef: {name: ca}
  duration: 90d
  usages: [server-auth]
  signatureAlgorithm: MD5
  privateKey: {algorithm: rsa, encoding: der, rotationPolicy: Sometimes}
  keystores: {pkcs12: {create: true, password: '', profile: Modern1999}}
  additionalOutputFormats: [{type: PEM}]
";
    check::<api::Certificate>(manifest);
}

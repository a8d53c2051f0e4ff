//! Reviews as the API server sends them, of objects that are right.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use issuance::key::{KeyAlgorithm, PrivateKey, RsaSize};
use issuance::name::{Subject, SubjectAltName};
use issuance::request::{Request, RequestSpec};
use serde_json::{Value, json};

/// Who creates the objects.
const USER: &str = "system:serviceaccount:team-a:deployer";
const USER_UID: &str = "7e0d0c1c-5b0e-4c7e-9a8e-0c9c9b1f6f10";
const GROUPS: [&str; 3] = ["system:serviceaccounts", "system:serviceaccounts:team-a", "system:authenticated"];

/// Solvers of the ACME issuer: so many DNS zones, each with a provider, are the largest in use.
const SOLVERS: usize = 40;

/// The UID of every review; the answer must repeat it.
pub(crate) const REVIEW_UID: &str = "d7f7b1de-1f4e-4d5e-8f5a-3b1c1a2f9e01";

/// What is sent, and where to; clones share the body.
#[derive(Clone)]
pub(crate) struct Review {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) body: Bytes,
}

/// The reviews that are measured.
pub(crate) fn all() -> anyhow::Result<Vec<Review>> {
    let request = certificate_request()?;
    let review = |name, path, resource: &str, kind: &str, object: &Value| {
        let body = envelope(resource, kind, object).to_string();
        Review { name, path, body: Bytes::from(body) }
    };
    let requests = ("certificaterequests", "CertificateRequest");
    Ok(vec![
        review("Certificate", "/validate", "certificates", "Certificate", &certificate()),
        review("CertificateRequest", "/validate", requests.0, requests.1, &request),
        review("large ACME Issuer", "/validate", "issuers", "Issuer", &acme_issuer()),
        review("stamping a CertificateRequest", "/mutate", requests.0, requests.1, &request),
    ])
}

fn envelope(resource: &str, kind: &str, object: &Value) -> Value {
    let kind = json!({"group": "cert-manager.io", "version": "v1", "kind": kind});
    let resource = json!({"group": "cert-manager.io", "version": "v1", "resource": resource});
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": REVIEW_UID,
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "name": "web",
            "namespace": "team-a",
            "operation": "CREATE",
            "userInfo": {"username": USER, "uid": USER_UID, "groups": GROUPS},
            "object": object,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl"},
        },
    })
}

fn metadata() -> Value {
    json!({
        "name": "web",
        "namespace": "team-a",
        "uid": "0b5c8d0e-92a1-4a2b-9d4b-0e6a4f6f2b11",
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"app.kubernetes.io/name": "web", "app.kubernetes.io/part-of": "shop"},
    })
}

/// A request with an RSA key, the most common one.
fn certificate_request() -> anyhow::Result<Value> {
    let key = PrivateKey::generate(KeyAlgorithm::Rsa(RsaSize::Bits2048))?;
    let names = ["web.team-a.svc", "web.team-a.svc.cluster.local"];
    let spec = RequestSpec {
        subject: Subject::common_name(names[0]).into(),
        names: names.map(|name| SubjectAltName::Dns(name.to_owned())).to_vec(),
        ..RequestSpec::default()
    };
    let request = Request::build(&spec, &key).context("failed to build the request of the benchmark")?;
    Ok(json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "CertificateRequest",
        "metadata": metadata(),
        "spec": {
            "request": STANDARD.encode(request.to_pem()),
            "issuerRef": {"name": "ca", "kind": "Issuer", "group": "cert-manager.io"},
            "duration": "24h",
            "usages": ["digital signature", "key encipherment"],
            "username": USER,
            "uid": USER_UID,
            "groups": GROUPS,
        },
    }))
}

fn certificate() -> Value {
    json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": metadata(),
        "spec": {
            "secretName": "web-tls",
            "commonName": "web.team-a.svc",
            "dnsNames": ["web.team-a.svc", "web.team-a.svc.cluster.local"],
            "uris": ["spiffe://cluster.local/ns/team-a/sa/web"],
            "issuerRef": {"name": "ca", "kind": "Issuer", "group": "cert-manager.io"},
            "duration": "2160h",
            "renewBefore": "360h",
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "usages": ["digital signature", "server auth", "client auth"],
        },
    })
}

/// An issuer of a platform team: each zone has its own solver and credentials.
fn acme_issuer() -> Value {
    let dns = |number: usize| {
        let secret = |key: &str| json!({"name": format!("dns-{number}"), "key": key});
        let provider = match number % 4 {
            0 => json!({"cloudflare": {"apiTokenSecretRef": secret("token")}}),
            1 => json!({"route53": {"region": "eu-central-1", "hostedZoneID": "Z0123456789",
                "accessKeyIDSecretRef": secret("id"), "secretAccessKeySecretRef": secret("key")}}),
            2 => json!({"cloudDNS": {"project": "shop", "serviceAccountSecretRef": secret("key.json")}}),
            _ => json!({"rfc2136": {"nameserver": "192.0.2.53:53", "tsigKeyName": "signet",
                "tsigAlgorithm": "HMACSHA512", "tsigSecretSecretRef": secret("tsig")}}),
        };
        let zone = format!("zone-{number}.example.com");
        json!({"selector": {"dnsZones": [zone]}, "dns01": provider})
    };
    let http = json!({"http01": {"ingress": {"ingressClassName": "nginx"}}});
    let solvers: Vec<Value> = (0..SOLVERS).map(dns).chain([http]).collect();
    json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Issuer",
        "metadata": metadata(),
        "spec": {"acme": {
            "server": "https://acme.example.com/directory",
            "email": "tls@example.com",
            "privateKeySecretRef": {"name": "acme-account"},
            "solvers": solvers,
        }},
    })
}

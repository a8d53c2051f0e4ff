//! The webhook at its work: what it refuses and how, and what it does with what is no review.

mod common;

use anyhow::{Context as _, bail, ensure};
use common::replicas;
use common::reviewer::{Answer, Reviewer};
use e2e::authority::issuer;
use e2e::cluster::Cluster;
use e2e::namespace::{self, Scope};
use serde_json::{Value, json};

#[tokio::test]
async fn a_wrong_object_is_refused_with_the_field_and_the_cure() -> anyhow::Result<()> {
    let issuer_name = "spec.issuerRef.name";
    let cases: [(Value, &[Cause]); 7] = [
        (
            certificate(
                "no-secret",
                &json!({"secretName": "", "issuerRef": {"name": "ca"}, "dnsNames": ["a.test"]}),
            ),
            &[(
                "spec.secretName",
                "FieldValueRequired",
                "name the Secret that is to receive key and certificate",
            )],
        ),
        (
            certificate(
                "no-issuer",
                &json!({"secretName": "tls", "issuerRef": {"name": ""}, "dnsNames": ["a.test"]}),
            ),
            &[(issuer_name, "FieldValueRequired", "name the Issuer or ClusterIssuer that is to sign")],
        ),
        (
            certificate(
                "neither",
                &json!({"secretName": "", "issuerRef": {"name": ""}, "dnsNames": ["a.test"]}),
            ),
            &[
                ("spec.secretName", "FieldValueRequired", "name the Secret"),
                (issuer_name, "FieldValueRequired", "name the Issuer or ClusterIssuer"),
            ],
        ),
        (
            certificate(
                "days",
                &json!({"secretName": "tls", "issuerRef": {"name": "ca"}, "dnsNames": ["a.test"], "duration": "90d"}),
            ),
            &[("spec.duration", "FieldValueInvalid", "write \"2160h\"")],
        ),
        (issuer("Issuer", "no-type", &json!({})), &[("spec", "FieldValueRequired", "set one of ")]),
        (
            issuer("Issuer", "two-types", &json!({"selfSigned": {}, "ca": {"secretName": "ca"}})),
            &[("spec.selfSigned", "FieldValueForbidden", "remove one, or make an issuer of each")],
        ),
        (issuer("ClusterIssuer", "no-type", &json!({})), &[("spec", "FieldValueRequired", "set one of ")]),
    ];
    namespace::own("admit", |scope| async move {
        for (object, causes) in &cases {
            check_refused(&scope, object, causes)
                .await
                .with_context(|| format!("the object was {object}"))?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_right_object_is_accepted_and_stored_as_it_was_sent() -> anyhow::Result<()> {
    namespace::own("admit", |scope| async move {
        let objects = [
            certificate("web", &good_certificate()),
            issuer("Issuer", "ca", &json!({"ca": {"secretName": "ca"}})),
            issuer("ClusterIssuer", &scope.namespace, &json!({"selfSigned": {}})),
        ];
        for object in &objects {
            let stored = scope.create(object).await.with_context(|| format!("{object} was refused"))?;
            ensure!(
                stored.data.get("spec") == object.get("spec"),
                "{object} was stored as {:?}",
                stored.data
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_malformed_review_gets_a_well_formed_denial() -> anyhow::Result<()> {
    let json = "application/json";
    // The limit is 7 MiB: two objects of 3 MiB, the most that etcd takes, and the envelope.
    let large = vec![b' '; 8 << 20];
    let review = br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#;
    let cases: [Malformed; 8] = [
        ("POST", json, b"", 400, 400, "the body is empty"),
        ("POST", json, b"certainly no JSON", 400, 400, "cannot read the AdmissionReview"),
        ("POST", json, b"{\"kind\":", 400, 400, "cannot read the AdmissionReview"),
        ("POST", json, b"\xff\xfe\x00", 400, 400, "cannot read the AdmissionReview"),
        ("POST", json, review, 400, 400, "has no request"),
        ("POST", "text/yaml", b"a: b", 415, 415, "send application/json"),
        ("GET", json, b"", 405, 405, "use POST"),
        ("POST", json, &large, 413, 413, "larger than"),
    ];
    let cluster = Cluster::shared()?;
    let client = cluster.client().await?;
    let before = replicas::ready(&client).await?;
    let reviewer = Reviewer::new(&cluster).await?;
    for replica in &before {
        for path in ["/validate", "/mutate"] {
            for (method, content_type, body, status, code, message) in &cases {
                let answer = reviewer.send(replica, method, path, content_type, body)?;
                check_denial(&answer, *status, *code, message).with_context(|| {
                    format!("{method} {path} with {} bytes of {content_type}", body.len())
                })?;
            }
        }
    }
    let after = replicas::ready(&client).await?;
    ensure!(replicas::lives(&before) == replicas::lives(&after), "a replica was restarted");
    Ok(())
}

/// Method, content type and body of a call; HTTP status, the code in the denial, and a part of its message.
type Malformed<'a> = (&'a str, &'a str, &'a [u8], u16, u64, &'a str);

/// Field, reason, and a part of the message.
type Cause = (&'static str, &'static str, &'static str);

async fn check_refused(scope: &Scope, object: &Value, causes: &[Cause]) -> anyhow::Result<()> {
    let status = match scope.create(object).await {
        Ok(_) => bail!("it was accepted"),
        Err(kube::Error::Api(status)) => status,
        Err(error) => return Err(error.into()),
    };
    ensure!(status.code == 422 && status.reason == "Invalid", "the status is {status:?}");
    let told = &status.details.as_ref().context("the status has no details")?.causes;
    ensure!(told.len() == causes.len(), "the causes are {told:?}");
    for (cause, (field, reason, advice)) in told.iter().zip(causes) {
        ensure!(
            cause.field == *field && cause.reason == *reason && cause.message.contains(advice),
            "the cause is {cause:?}"
        );
        ensure!(
            status.message.contains(field) && status.message.contains(advice),
            "the message is {}",
            status.message
        );
    }
    Ok(())
}

fn check_denial(answer: &Answer, status: u16, code: u64, message: &str) -> anyhow::Result<()> {
    ensure!(answer.status == status, "the answer is {answer:?}");
    let review: Value =
        serde_json::from_str(&answer.body).with_context(|| format!("the answer is {answer:?}"))?;
    let told = review.pointer("/response/status/message").and_then(Value::as_str).unwrap_or_default();
    ensure!(
        review["apiVersion"] == "admission.k8s.io/v1"
            && review["kind"] == "AdmissionReview"
            && review["response"]["allowed"] == false
            && review["response"]["status"]["code"] == code
            && told.contains(message),
        "the answer is {review}"
    );
    Ok(())
}

fn certificate(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": name},
        "spec": spec,
    })
}

fn good_certificate() -> Value {
    json!({"secretName": "web-tls", "issuerRef": {"name": "ca"}, "dnsNames": ["web.example.com"]})
}

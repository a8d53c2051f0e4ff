//! What is sent to the API server for a Certificate, made by hand: the typed structs would write empty required fields, and
//! under server-side apply that would take away what others put there.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use issuance::key::{KeyEncoding, PrivateKey};
use issuance::request::Request;
use issuance::secret::SecretBytes;
use issuance::secret_data::TLS_KEY;
use serde_json::{Map, Value, json};

use api::keys::annotation;

use crate::certificate::metadata::{self, Texts};
use crate::certificate::view::CertificateView;

/// Type of a new Secret with a certificate.
pub const TLS: &str = "kubernetes.io/tls";

/// The CertificateRequest of a revision, for POST. `key_secret` is the Secret with the key of `request`; a self-signed
/// certificate is signed with what is in it.
pub fn request(
    certificate: &CertificateView,
    revision: i64,
    name: &str,
    key_secret: &str,
    request: &Request,
) -> Value {
    let mut annotations = certificate.copied_annotations.clone();
    let ours = [
        (annotation::CERTIFICATE_REVISION, revision.to_string()),
        (annotation::PRIVATE_KEY_SECRET_NAME, key_secret.to_owned()),
        (annotation::CERTIFICATE_NAME, certificate.name.name.clone()),
    ];
    annotations.extend(ours.map(|(key, value)| (key.to_owned(), value)));
    let wanted = &certificate.spec;
    let mut spec = Map::new();
    spec.insert("request".to_owned(), json!(BASE64_STANDARD.encode(request.to_pem())));
    spec.insert("issuerRef".to_owned(), json!(wanted.issuer_ref));
    if let Some(duration) = &wanted.duration {
        spec.insert("duration".to_owned(), json!(duration));
    }
    if wanted.is_ca {
        spec.insert("isCA".to_owned(), json!(true));
    }
    if !wanted.usages.is_empty() {
        spec.insert("usages".to_owned(), json!(wanted.usages));
    }
    let mut metadata = owned(certificate, name, &certificate.labels);
    insert_texts(&mut metadata, "annotations", &annotations);
    json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "CertificateRequest",
        "metadata": metadata,
        "spec": spec,
    })
}

/// The Secret with the key of an issuance under way, for POST. It holds the key, so it must not be logged.
pub fn key_secret(certificate: &CertificateView, name: &str, key: &PrivateKey) -> Value {
    let key = BASE64_STANDARD.encode(key.to_pem(KeyEncoding::Pkcs8).expose());
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": owned(certificate, name, &metadata::next_key()),
        "type": "Opaque",
        "data": { TLS_KEY: key },
    })
}

/// What a Secret is to hold, and to say about it.
#[derive(Debug)]
pub struct Target<'a> {
    /// The type of the Secret that is there, which cannot change; `None` when there is none.
    pub type_: Option<&'a str>,
    /// Its labels from us, without those of the template.
    pub labels: Texts,
    /// Its annotations from us, without those of the template.
    pub annotations: Texts,
    /// Its entries from us.
    pub data: &'a BTreeMap<&'static str, SecretBytes>,
    /// Whether it goes with the Certificate (`--enable-certificate-owner-ref`).
    pub is_owned: bool,
}

/// The Secret of a Certificate, for server-side apply. It holds the key, so it must not be logged.
pub fn target(certificate: &CertificateView, target: Target<'_>) -> Value {
    let (labels, annotations) = metadata::with_template(&certificate.spec, target.labels, target.annotations);
    let secret = certificate.secret();
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(secret.name));
    metadata.insert("namespace".to_owned(), json!(secret.namespace));
    insert_texts(&mut metadata, "labels", &labels);
    insert_texts(&mut metadata, "annotations", &annotations);
    if target.is_owned {
        metadata.insert("ownerReferences".to_owned(), json!([certificate.owner_reference()]));
    }
    let entry = |(name, value): (&&'static str, &SecretBytes)| {
        ((*name).to_owned(), json!(BASE64_STANDARD.encode(value.expose())))
    };
    let data: Map<String, Value> = target.data.iter().map(entry).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": target.type_.unwrap_or(TLS),
        "data": data,
    })
}

fn owned(certificate: &CertificateView, name: &str, labels: &Texts) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(name));
    metadata.insert("namespace".to_owned(), json!(certificate.name.namespace));
    metadata.insert("ownerReferences".to_owned(), json!([certificate.owner_reference()]));
    insert_texts(&mut metadata, "labels", labels);
    metadata
}

fn insert_texts(metadata: &mut Map<String, Value>, field: &str, texts: &Texts) {
    if !texts.is_empty() {
        metadata.insert(field.to_owned(), json!(texts));
    }
}

#[cfg(test)]
mod tests {
    use api::CertificateRequest;
    use expect_test::expect;

    use super::*;
    use crate::certificate::metadata::Prefixes;
    use crate::request::view::RequestView;
    use crate::testing;

    fn certificate(spec: &Value) -> CertificateView {
        let metadata = json!({
            "namespace": "team-a", "name": "web", "uid": "u-1", "labels": {"app": "web"},
            "annotations": {"example.org/a": "1", "cert-manager.io/certificate-revision": "99"}
        });
        let certificate = json!({"metadata": metadata, "spec": spec});
        CertificateView::of(serde_json::from_value(certificate).unwrap(), &Prefixes::default())
    }

    #[test]
    fn a_request_says_who_it_is_for_and_nothing_about_who_asks() {
        let certificate = certificate(&json!({
            "secretName": "web-tls", "issuerRef": {"name": "ca", "kind": "ClusterIssuer"}, "duration": "2h",
            "isCA": true, "usages": ["server auth"]
        }));
        let asked = testing::request("a.test", &testing::key());
        let mut body = request(&certificate, 3, "web-3", "web-next-key-3", &asked);
        let read: CertificateRequest = serde_json::from_value(body.clone()).unwrap();
        assert_eq!(read.spec.request.0, asked.to_pem().as_bytes());
        let view = RequestView::of(read);
        assert_eq!((view.revision, view.key_secret.as_deref()), (Some(3), Some("web-next-key-3")));
        assert!(view.is_owned_by("u-1"));
        body["spec"]["request"] = json!("…");
        expect![[r#"
            {
              "apiVersion": "cert-manager.io/v1",
              "kind": "CertificateRequest",
              "metadata": {
                "annotations": {
                  "cert-manager.io/certificate-name": "web",
                  "cert-manager.io/certificate-revision": "3",
                  "cert-manager.io/private-key-secret-name": "web-next-key-3",
                  "example.org/a": "1"
                },
                "labels": {
                  "app": "web"
                },
                "name": "web-3",
                "namespace": "team-a",
                "ownerReferences": [
                  {
                    "apiVersion": "cert-manager.io/v1",
                    "blockOwnerDeletion": true,
                    "controller": true,
                    "kind": "Certificate",
                    "name": "web",
                    "uid": "u-1"
                  }
                ]
              },
              "spec": {
                "duration": "2h",
                "isCA": true,
                "issuerRef": {
                  "kind": "ClusterIssuer",
                  "name": "ca"
                },
                "request": "…",
                "usages": [
                  "server auth"
                ]
              }
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&body).unwrap());
    }

    #[test]
    fn a_request_leaves_out_what_the_certificate_does() {
        let certificate = certificate(&json!({"secretName": "s", "issuerRef": {"name": "ca"}}));
        let body = request(&certificate, 1, "web-1", "k", &testing::request("a.test", &testing::key()));
        let fields: Vec<_> = body["spec"].as_object().unwrap().keys().collect();
        assert_eq!(fields, ["issuerRef", "request"]);
    }

    #[test]
    fn a_key_of_an_issuance_is_found_by_its_labels_and_goes_with_the_certificate() {
        let certificate = certificate(&json!({"secretName": "s"}));
        let key = testing::key();
        let body = key_secret(&certificate, "web-next-key-1", &key);
        let labels =
            json!({"cert-manager.io/next-private-key": "true", "controller.cert-manager.io/fao": "true"});
        assert_eq!(body["metadata"]["labels"], labels);
        assert_eq!(body["metadata"]["ownerReferences"][0]["uid"], "u-1");
        let pem = BASE64_STANDARD.decode(body["data"]["tls.key"].as_str().unwrap()).unwrap();
        assert_eq!(PrivateKey::from_pem(&pem).unwrap().public_key(), key.public_key());
        assert!(pem.starts_with(b"-----BEGIN PRIVATE KEY"));
    }

    #[test]
    fn ours_win_over_the_template_of_the_secret() {
        let template = json!({"labels": {"controller.cert-manager.io/fao": "no", "a": "b"},
                              "annotations": {"cert-manager.io/common-name": "x", "c": "d"}});
        let certificate = certificate(&json!({"secretName": "web-tls", "secretTemplate": template}));
        let data = [("tls.crt", SecretBytes::new(b"x".to_vec()))].into();
        let annotations = || [(annotation::COMMON_NAME.to_owned(), "web".to_owned())].into();
        let body = |type_, is_owned| {
            let ours = Target {
                type_,
                labels: metadata::managed(),
                annotations: annotations(),
                data: &data,
                is_owned,
            };
            target(&certificate, ours)
        };
        expect![[r#"{"apiVersion":"v1","data":{"tls.crt":"eA=="},"kind":"Secret","metadata":{"annotations":{"c":"d","cert-manager.io/common-name":"web"},"labels":{"a":"b","controller.cert-manager.io/fao":"true"},"name":"web-tls","namespace":"team-a"},"type":"kubernetes.io/tls"}"#]]
        .assert_eq(&body(None, false).to_string());
        let there = body(Some("Opaque"), true);
        assert_eq!(there["type"], "Opaque");
        assert_eq!(there["metadata"]["ownerReferences"][0]["name"], "web");
    }
}

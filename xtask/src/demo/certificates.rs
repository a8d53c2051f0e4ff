//! The demo's own CA, and certificates in words.

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::json;
use x509_parser::pem::Pem;

/// A new CA, valid until the end of next year.
pub(crate) struct Ca {
    /// Its certificate, PEM.
    pub(crate) certificate: String,
    /// Its key, PEM.
    pub(crate) key: String,
}

pub(crate) fn ca(name: &str) -> anyhow::Result<Ca> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let year = i32::from(Timestamp::now().to_zoned(TimeZone::UTC).year());
    params.not_after = rcgen::date_time_ymd(year + 2, 1, 1);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.pem();
    Ok(Ca { certificate, key: key.serialize_pem() })
}

/// A Secret whose CA may be copied into trust bundles.
pub(crate) fn trust_secret(namespace: &str, name: &str, certificate: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": {api::keys::annotation::ALLOW_DIRECT_INJECTION: "true"},
        },
        "stringData": {"ca.crt": certificate},
    })
    .to_string()
}

/// The Secret of a CA issuer.
pub(crate) fn ca_secret(namespace: &str, name: &str, ca: &Ca) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": {"tls.crt": ca.certificate, "tls.key": ca.key},
    })
    .to_string()
}

/// One line a certificate.
pub(crate) fn describe(pem: &[u8]) -> anyhow::Result<String> {
    let mut lines = Vec::new();
    for block in Pem::iter_from_buffer(pem) {
        let block = block.context("the bundle is not PEM")?;
        let certificate = block.parse_x509().context("the bundle holds something else than certificates")?;
        let fingerprint = certificate.raw_serial_as_string();
        lines.push(format!(
            "a certificate of {}, serial {}, valid until {}",
            certificate.subject(),
            fingerprint,
            certificate.validity().not_after
        ));
    }
    Ok(lines.join("\n"))
}

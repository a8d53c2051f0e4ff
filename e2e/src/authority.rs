//! CAs that tests make up.

use anyhow::Context as _;
use api::keys::annotation;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

/// A new CA, valid until the end of next year.
pub struct Authority {
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its key, PEM.
    pub key: String,
}

impl Authority {
    /// A root of that common name.
    ///
    /// # Errors
    /// When the cryptography fails.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        Ok(Self::of(&root(name, 2)?))
    }

    /// A root whose time is over.
    ///
    /// # Errors
    /// When the cryptography fails.
    pub fn expired(name: &str) -> anyhow::Result<Self> {
        Ok(Self::of(&root(name, -1)?))
    }

    /// Its certificate, DER.
    ///
    /// # Errors
    /// When it is none.
    pub fn der(&self) -> anyhow::Result<Vec<u8>> {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        Ok(der.context("the certificate of a CA is none")?.to_vec())
    }

    /// A root of that common name, and what a server of these names proves itself with to those who trust it.
    ///
    /// # Errors
    /// When one of them is no name, or the cryptography fails.
    pub fn with_server(name: &str, names: &[String]) -> anyhow::Result<(Self, Pair)> {
        Self::with_pair(name, names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A root of that common name, and what a client of these names proves itself with.
    ///
    /// # Errors
    /// When one of them is no name, or the cryptography fails.
    pub fn with_client(name: &str, names: &[String]) -> anyhow::Result<(Self, Pair)> {
        Self::with_pair(name, names, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn with_pair(
        name: &str,
        names: &[String],
        purpose: ExtendedKeyUsagePurpose,
    ) -> anyhow::Result<(Self, Pair)> {
        let root = root(name, 2)?;
        let mut params = CertificateParams::new(names)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().context("failed to make a key")?;
        let certificate = params.signed_by(&key, &root).context("failed to sign a certificate")?.pem();
        Ok((Self::of(&root), Pair { certificate, key: key.serialize_pem() }))
    }

    fn of(root: &CertifiedIssuer<'static, KeyPair>) -> Self {
        Self { certificate: root.pem(), key: root.key().serialize_pem() }
    }

    /// The Secret of a CA issuer.
    #[must_use]
    pub fn secret(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": name},
            "stringData": {"tls.crt": self.certificate, "tls.key": self.key},
        })
    }
}

/// What a server or a client proves itself with.
pub struct Pair {
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its key, PEM.
    pub key: String,
}

/// A root that is valid until this many years after the first of January of this one.
fn root(name: &str, years: i32) -> anyhow::Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let year = i32::from(Timestamp::now().to_zoned(TimeZone::UTC).year());
    params.not_after = rcgen::date_time_ymd(year + years, 1, 1);
    let key = KeyPair::generate().context("failed to make a key")?;
    CertifiedIssuer::self_signed(params, key).context("failed to sign a CA")
}

/// The same object in `namespace`, for those who create it by its text.
#[must_use]
pub fn in_namespace(mut object: Value, namespace: &str) -> Value {
    object["metadata"]["namespace"] = namespace.into();
    object
}

/// A Secret whose owner consents to `bundle` being copied into trust bundles.
#[must_use]
pub fn trust_secret(name: &str, bundle: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "annotations": {annotation::ALLOW_DIRECT_INJECTION: "true"}},
        "stringData": {"ca.crt": bundle},
    })
}

/// An Issuer or ClusterIssuer with this spec.
#[must_use]
pub fn issuer(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    })
}

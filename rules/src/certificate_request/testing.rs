//! Signing requests for tests: those in `tests/requests`, which OpenSSL made.

use api::CertificateRequestSpec;
use serde_json::Value;

/// One for web.example.com, signed by a P-256 key, without usages and basic constraints.
pub(crate) const PLAIN: &str = include_str!("../../tests/requests/plain.pem");

/// The text as `spec.request` holds it.
pub(crate) fn encoded(text: impl Into<Vec<u8>>) -> Value {
    let mut spec = CertificateRequestSpec::default();
    spec.request.0 = text.into();
    serde_json::to_value(spec).unwrap()["request"].clone()
}

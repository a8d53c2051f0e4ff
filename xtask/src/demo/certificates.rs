//! Certificates in words.

use anyhow::Context as _;
use x509_parser::pem::Pem;

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

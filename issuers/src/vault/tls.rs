//! TLS to a Vault server: by what it is known, and what is shown to it.

use issuance::bundle::Bundle;
use issuance::key::PrivateKey;
use issuance::outcome::causes;
use issuance::pem::{self, Limit};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::fault::Fault;
use super::secrets::Entry;
use super::settings::Trust;

/// What TLS is to be; `bundle` is the text of the CAs in a Secret, and `shown` certificate and key of this client.
pub(super) fn config(
    trust: Option<&Trust>,
    bundle: Option<&Entry>,
    shown: Option<&(Entry, Entry)>,
) -> Result<ClientConfig, Fault> {
    let roots = match (trust, bundle) {
        // Nothing is asked over TLS.
        (None, _) => RootCertStore::empty(),
        (Some(Trust::Given(bundle)), _) => given(bundle, "spec.vault.caBundle")?,
        (Some(Trust::Secret(_)), Some(entry)) => {
            let certificates = pem::certificates(entry.bytes(), Limit::BUNDLE)
                .map_err(|error| entry.invalid(&causes(&error)))?;
            given(&Bundle::of(certificates), &entry.to_string())?
        }
        (Some(Trust::System | Trust::Secret(_)), _) => system()?,
    };
    let config = ClientConfig::builder().with_root_certificates(roots);
    let Some((certificate, key)) = shown else { return Ok(config.with_no_client_auth()) };
    let chain = pem::certificates_among(certificate.bytes(), Limit::CHAIN)
        .map_err(|error| certificate.invalid(&causes(&error)))?;
    let chain = chain.iter().map(|one| CertificateDer::from(one.der().to_vec())).collect();
    let private =
        PrivateKey::from_pem_among(key.bytes(), Limit::PAIR).map_err(|error| key.invalid(&causes(&error)))?;
    let private = PrivatePkcs8KeyDer::from(private.to_pkcs8_der().expose().to_vec());
    config
        .with_client_auth_cert(chain, PrivateKeyDer::Pkcs8(private))
        .map_err(|error| key.invalid(&format!("it cannot be shown with {certificate}: {error}")))
}

fn given(bundle: &Bundle, whose: &str) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    let ders = bundle.certificates().iter().map(|one| CertificateDer::from(one.der().to_vec()));
    let (added, _) = roots.add_parsable_certificates(ders);
    if added == 0 {
        return Err(Fault::Invalid(format!(
            "{whose} holds no certificate that can be a CA; put that of the server there"
        )));
    }
    Ok(roots)
}

/// The roots of the system, as `SSL_CERT_FILE` and `SSL_CERT_DIR` name them or where systems have them. Images of this
/// program have none.
fn system() -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let text = "spec.vault has neither caBundle nor caBundleSecretRef, and this system has no CA certificates of its \
                    own; set one of them, or mount a bundle and name it by SSL_CERT_FILE";
        return Err(Fault::Invalid(text.to_owned()));
    }
    Ok(roots)
}

//! A serving certificate from two files, which somebody else renews: an operator, or a Certificate's Secret in a volume.
//! One file that holds both will do, as in Go's servers.
//!
//! Both files are read again and again instead of being watched: kubelet replaces a link above them, which a watch of
//! the file does not see, and at no moment are both sure to be of the same generation. So a pair that does not fit
//! together, or cannot be read, changes nothing; the last good one stays, for as long as it takes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use issuance::certificate::Certificate;
use issuance::key::{KeyError, PrivateKey};
use issuance::name::SubjectAltName;
use issuance::pem::{self, Limit, PemError};
use issuance::secret::SecretBytes;
use jiff::Timestamp;
use runtime::shutdown::Shutdown;
use runtime::tls::ServingCertificateError;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::AsyncReadExt as _;

use crate::configurations::Wanted;
use crate::renewer::{self, Outlet, Served};

/// How often the files are read, as cert-manager's (spec §4.3).
const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("cannot read {path:?}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path:?} is larger than {limit} bytes")]
    TooLarge { path: PathBuf, limit: usize },
    #[error("cannot use the certificates in {path:?}")]
    Certificate { path: PathBuf, source: PemError },
    #[error("cannot use the private key in {path:?}")]
    Key { path: PathBuf, source: KeyError },
    #[error("the private key in {key:?} is not that of the first certificate in {certificate:?}")]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("the certificate in {path:?} is valid from {not_before} to {not_after} only; renew it")]
    NotValid { path: PathBuf, not_before: Timestamp, not_after: Timestamp },
    #[error("the certificate in {path:?} is for no DNS name and no IP address; callers look for one")]
    Nameless { path: PathBuf },
    #[error("cannot serve the certificate in {path:?}")]
    Serve { path: PathBuf, source: ServingCertificateError },
}

/// Serves what is in two files.
pub(super) struct FileSource {
    certificate_path: PathBuf,
    key_path: PathBuf,
    outlet: Outlet,
    /// The chain that is served, leaf first.
    chain: Vec<Certificate>,
    /// What was told last, so that it is told once.
    complaint: Option<String>,
}

impl FileSource {
    pub(super) fn new(certificate_path: PathBuf, key_path: PathBuf, outlet: Outlet) -> Self {
        Self { certificate_path, key_path, outlet, chain: Vec::new(), complaint: None }
    }

    /// Runs until shutdown. No failure ends it.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        loop {
            self.step().await;
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    async fn step(&mut self) {
        let Err(error) = self.load().await else {
            self.complaint = None;
            return;
        };
        self.outlet.metrics.certificate_failures.inc();
        let complaint = format!("{:#}", anyhow::Error::new(error));
        if self.complaint.as_ref() != Some(&complaint) {
            let is_set = self.outlet.certificate.is_set();
            tracing::warn!(is_set, "{complaint}; what was served before stays, and the files are read again");
            self.complaint = Some(complaint);
        }
    }

    async fn load(&mut self) -> Result<(), FileError> {
        let chain = self.read_chain().await?;
        let path = self.certificate_path.clone();
        let leaf = chain.first().cloned().ok_or_else(|| FileError::Nameless { path: path.clone() })?;
        let key = self.read_key(&leaf).await?;
        let name = name(&leaf).ok_or_else(|| FileError::Nameless { path: path.clone() })?;
        let (not_before, not_after) = (leaf.not_before(), leaf.not_after());
        if !leaf.is_valid_at((self.outlet.clock)()) {
            return Err(FileError::NotValid { path, not_before, not_after });
        }
        // The key belongs to the certificate, so it is the same as well.
        if chain == self.chain {
            return Ok(());
        }
        let parts = chain.iter().map(|part| part.der().to_vec().into()).collect();
        self.outlet.certificate.set(parts, &key).map_err(|source| FileError::Serve { path, source })?;
        self.outlet.metrics.certificates_loaded.inc();
        self.outlet.metrics.certificate_expiry.set(not_after.as_second());
        tracing::info!(%not_after, name = %name.to_str(), "serving the certificate from the files");
        self.chain = chain;
        let wanted = Wanted::default();
        self.outlet.served.send_replace(Some(Served { certificate: leaf, name, ca: None, wanted }));
        Ok(())
    }

    async fn read_chain(&self) -> Result<Vec<Certificate>, FileError> {
        let path = &self.certificate_path;
        let text = read(path, Limit::PAIR).await?;
        pem::certificates_among(text.expose(), Limit::PAIR)
            .map_err(|source| FileError::Certificate { path: path.clone(), source })
    }

    async fn read_key(&self, leaf: &Certificate) -> Result<PrivateKeyDer<'static>, FileError> {
        let path = &self.key_path;
        let text = read(path, Limit::PAIR).await?;
        let key = PrivateKey::from_pem_among(text.expose(), Limit::PAIR)
            .map_err(|source| FileError::Key { path: path.clone(), source })?;
        if key.public_key() != leaf.public_key() {
            let (certificate, key) = (self.certificate_path.clone(), path.clone());
            return Err(FileError::Mismatch { certificate, key });
        }
        Ok(PrivatePkcs8KeyDer::from(key.to_pkcs8_der().expose().to_vec()).into())
    }
}

async fn read(path: &Path, Limit { bytes: limit, .. }: Limit) -> Result<SecretBytes, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut text = Vec::with_capacity(limit);
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut text).await.map_err(failed)?;
    let text = SecretBytes::new(text);
    if text.expose().len() > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(text)
}

/// A name under which the certificate can be dialled.
fn name(leaf: &Certificate) -> Option<ServerName<'static>> {
    renewer::dialled(leaf.names().iter().filter_map(|name| match name {
        SubjectAltName::Dns(name) => {
            // One that stands for many is dialled as one of them.
            let name = name.strip_prefix("*.").map_or_else(|| name.clone(), |rest| format!("webhook.{rest}"));
            ServerName::try_from(name).ok()
        }
        SubjectAltName::Ip(address) => Some(ServerName::IpAddress((*address).into())),
        _ => None,
    }))
}

#[cfg(test)]
mod tests;

//! The certificates of a cluster: one authority for clients, servers and the front proxy, made anew at each start.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};

use crate::process::write_atomically;

/// One certificate of a cluster.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The stem of its files.
    pub(crate) file: String,
    /// The Kubernetes user name.
    pub(crate) user: String,
    /// The Kubernetes group, where one is needed.
    pub(crate) group: Option<&'static str>,
    /// Names and addresses under which it serves.
    pub(crate) names: Vec<String>,
}

impl Identity {
    /// A client of the API server.
    pub(crate) fn client(file: &str, user: &str, group: Option<&'static str>) -> Self {
        Self { file: file.to_owned(), user: user.to_owned(), group, names: Vec::new() }
    }

    /// The API server, under every name by which it is called.
    pub(crate) fn api_server(addresses: &[IpAddr]) -> Self {
        let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let names =
            names.into_iter().map(str::to_owned).chain(addresses.iter().map(IpAddr::to_string)).collect();
        Self { file: "apiserver".to_owned(), user: "kube-apiserver".to_owned(), group: None, names }
    }

    /// A node: the name that the Node authorizer wants, and kubelet's own server.
    pub(crate) fn node(name: &str, address: IpAddr) -> Self {
        Self {
            file: name.to_owned(),
            user: format!("system:node:{name}"),
            group: Some("system:nodes"),
            names: vec![name.to_owned(), address.to_string()],
        }
    }
}

/// Writes the authority (`ca.crt`, `ca.key`), the service account key (`sa.key`, `sa.pub`) and a pair for each identity.
pub(crate) fn write(dir: &Path, cluster: &str, identities: &[Identity]) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
    let authority = authority(cluster).context("failed to make the cluster's authority")?;
    write_atomically(&dir.join("ca.crt"), authority.pem().as_bytes())?;
    write_atomically(&dir.join("ca.key"), authority.key().serialize_pem().as_bytes())?;
    let accounts = KeyPair::generate().context("failed to make the service account key")?;
    write_atomically(&dir.join("sa.key"), accounts.serialize_pem().as_bytes())?;
    write_atomically(&dir.join("sa.pub"), accounts.public_key_pem().as_bytes())?;
    for identity in identities {
        let (certificate, key) = issue(&authority, identity)
            .with_context(|| format!("failed to make the certificate of {}", identity.user))?;
        write_atomically(&dir.join(format!("{}.crt", identity.file)), certificate.as_bytes())?;
        write_atomically(&dir.join(format!("{}.key", identity.file)), key.as_bytes())?;
    }
    Ok(())
}

fn authority(cluster: &str) -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(&format!("{cluster}-ca"), None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

fn issue(
    authority: &CertifiedIssuer<'static, KeyPair>,
    identity: &Identity,
) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(identity.names.clone())?;
    params.distinguished_name = subject(&identity.user, identity.group);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if !identity.names.is_empty() {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, authority)?.pem(), key.serialize_pem()))
}

fn subject(user: &str, group: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    name.push(DnType::CommonName, user);
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use x509_parser::prelude::{FromDer as _, X509Certificate};

    fn der(path: &Path) -> Vec<u8> {
        x509_parser::pem::parse_x509_pem(&fs::read(path).unwrap()).unwrap().1.contents
    }

    #[test]
    fn a_node_certificate_carries_what_the_node_authorizer_reads() {
        let dir = tempfile::tempdir().unwrap();
        let node = Identity::node("node1", IpAddr::from([198, 51, 100, 11]));
        write(dir.path(), "x", &[node, Identity::client("admin", "admin", Some("system:masters"))]).unwrap();
        let der = der(&dir.path().join("node1.crt"));
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(certificate.subject().to_string(), "O=system:nodes, CN=system:node:node1");
        assert_eq!(certificate.issuer().to_string(), "CN=x-ca");
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 2);
        for key in ["ca.key", "sa.key", "node1.key", "admin.key"] {
            let mode = fs::metadata(dir.path().join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{key} is readable by others");
        }
    }
}

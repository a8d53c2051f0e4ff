//! Serving TLS whose certificate can be swapped while connections are open.

mod clients;
mod parameters;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use clients::{Clients, ClientsError};
pub use parameters::{CipherSuiteError, CipherSuites, MinVersion};

/// Why a pair cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServingCertificateError {
    /// The key is of a kind that TLS cannot use.
    #[error("the private key cannot be used for TLS")]
    Key(#[source] rustls::Error),
    /// Key and certificate do not belong together.
    #[error("the private key does not belong to the certificate")]
    Mismatch(#[source] rustls::Error),
}

/// The certificate that a server presents. Each handshake takes the newest one; connections that are open stay open.
#[derive(Default)]
pub struct ServingCertificate {
    current: ArcSwapOption<CertifiedKey>,
}

impl ServingCertificate {
    /// A server without a certificate: it refuses handshakes until [`Self::set`] is called.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Serves this chain, leaf first, from the next handshake on.
    ///
    /// # Errors
    /// When the pair cannot be used; the previous one stays.
    pub fn set(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<(), ServingCertificateError> {
        let key = aws_lc_rs::sign::any_supported_type(key).map_err(ServingCertificateError::Key)?;
        let pair = CertifiedKey::new(chain, key);
        pair.keys_match().map_err(ServingCertificateError::Mismatch)?;
        self.current.store(Some(Arc::new(pair)));
        Ok(())
    }

    /// Whether there is a certificate to serve.
    pub fn is_set(&self) -> bool {
        self.current.load().is_some()
    }
}

impl fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingCertificate").field("set", &self.is_set()).finish()
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

/// A server configuration without client authentication that presents `certificate` and offers `alpn` protocols, the
/// preferred one first.
pub fn server_config(certificate: Arc<ServingCertificate>, alpn: &[&str]) -> ServerConfig {
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(certificate);
    config.alpn_protocols = protocols(alpn);
    config
}

/// What an operator may choose about a TLS server.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    /// Lowest version.
    pub min_version: MinVersion,
    /// Suites.
    pub cipher_suites: CipherSuites,
    /// Whom it talks to; None: to everybody.
    pub clients: Option<Clients>,
}

/// Why a server cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum ServerConfigError {
    /// The version and the suites do not go together.
    #[error("the cipher suites are of no use with the lowest version of TLS")]
    Parameters(#[source] rustls::Error),
    /// Clients cannot be verified.
    #[error(transparent)]
    Clients(#[from] ClientsError),
}

/// As [`server_config`], with parameters. Where clients are verified, no session is resumed, so that each connection
/// is verified anew.
///
/// # Errors
/// When the parameters contradict each other.
pub fn server_config_with(
    certificate: Arc<ServingCertificate>,
    alpn: &[&str],
    parameters: &Parameters,
) -> Result<ServerConfig, ServerConfigError> {
    let provider = Arc::new(parameters.cipher_suites.provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(parameters.min_version.versions())
        .map_err(ServerConfigError::Parameters)?;
    let mut config = match &parameters.clients {
        None => builder.with_no_client_auth().with_cert_resolver(certificate),
        Some(clients) => {
            let verifier = clients.verifier(provider)?;
            let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(certificate);
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            config
        }
    };
    config.alpn_protocols = protocols(alpn);
    Ok(config)
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    };
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, Connection, Error, RootCertStore, ServerConnection};

    use super::*;

    const NAME: &str = "webhook.ns.svc";

    fn ca() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn signed(
        ca: &CertifiedIssuer<'static, KeyPair>,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, ca).unwrap();
        (vec![certificate.der().clone()], key.into())
    }

    /// What a handshake and one byte in each direction come to.
    fn talk(server: &ServerConfig, client: ClientConfig) -> Result<rustls::ProtocolVersion, Error> {
        let name = ServerName::try_from(NAME).unwrap();
        let mut client = Connection::Client(ClientConnection::new(Arc::new(client), name)?);
        let mut server = Connection::Server(ServerConnection::new(Arc::new(server.clone()))?);
        for connection in [&mut client, &mut server] {
            connection.writer().write_all(b"x").unwrap();
        }
        for _ in 0..10 {
            pass(&mut client, &mut server)?;
            pass(&mut server, &mut client)?;
        }
        for connection in [&mut client, &mut server] {
            let mut byte = [0];
            connection.reader().read_exact(&mut byte).unwrap();
        }
        Ok(server.protocol_version().unwrap())
    }

    fn pass(from: &mut Connection, to: &mut Connection) -> Result<(), Error> {
        let mut bytes = Vec::new();
        while from.wants_write() {
            from.write_tls(&mut bytes).unwrap();
        }
        let mut bytes = bytes.as_slice();
        while !bytes.is_empty() {
            to.read_tls(&mut bytes).unwrap();
            to.process_new_packets()?;
        }
        Ok(())
    }

    struct Parties {
        ca: CertifiedIssuer<'static, KeyPair>,
        certificate: Arc<ServingCertificate>,
    }

    impl Parties {
        fn new() -> Self {
            crate::install_crypto();
            let ca = ca();
            let certificate = ServingCertificate::new();
            let (chain, key) = signed(&ca, NAME, ExtendedKeyUsagePurpose::ServerAuth);
            certificate.set(chain, &key).unwrap();
            Self { ca, certificate }
        }

        fn server(&self, parameters: &Parameters) -> ServerConfig {
            server_config_with(Arc::clone(&self.certificate), &["h2"], parameters).unwrap()
        }

        fn client(
            &self,
            versions: &[&'static rustls::SupportedProtocolVersion],
            identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
        ) -> ClientConfig {
            let mut roots = RootCertStore::empty();
            roots.add(self.ca.der().clone()).unwrap();
            let builder =
                ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots);
            match identity {
                None => builder.with_no_client_auth(),
                Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            }
        }
    }

    #[test]
    fn a_client_that_is_too_old_is_refused() {
        let parties = Parties::new();
        let old = || parties.client(&[&rustls::version::TLS12], None);
        let parameters = Parameters { min_version: MinVersion::Tls13, ..Parameters::default() };
        assert!(talk(&parties.server(&parameters), old()).is_err());
        let modern_suites = CipherSuites::of_names(&["TLS_AES_128_GCM_SHA256"]).unwrap();
        let parameters = Parameters { cipher_suites: modern_suites, ..Parameters::default() };
        assert!(talk(&parties.server(&parameters), old()).is_err());
        let spoken = talk(&parties.server(&Parameters::default()), old()).unwrap();
        assert_eq!(spoken, rustls::ProtocolVersion::TLSv1_2);
    }

    #[test]
    fn a_client_that_is_not_wanted_is_refused() {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let (parties, stranger) = (Parties::new(), ca());
        let (wanted, _) = signed(&parties.ca, "apiserver", ClientAuth);
        let length = wanted[0].len();
        // Names of other lengths make certificates of other lengths, which is all that this test's judge looks at.
        let is_wanted = move |certificate: &CertificateDer<'_>| certificate.len().abs_diff(length) < 6;
        let clients = Clients::new(parties.ca.pem().as_bytes(), is_wanted).unwrap();
        let server = parties.server(&Parameters { clients: Some(clients), ..Parameters::default() });
        for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
            let outcome =
                |name, usage| talk(&server, parties.client(versions, Some(signed(&parties.ca, name, usage))));
            assert!(talk(&server, parties.client(versions, None)).is_err(), "no certificate");
            assert!(outcome("somebody-with-another-name", ClientAuth).is_err(), "unwanted");
            assert!(outcome("apiserver", ServerAuth).is_err(), "not for clients");
            let (chain, key) = signed(&stranger, "apiserver", ClientAuth);
            assert!(talk(&server, parties.client(versions, Some((chain, key)))).is_err(), "of another CA");
            outcome("apiserver", ClientAuth).unwrap();
        }
    }

    #[test]
    fn cas_of_clients_that_cannot_be_used_are_refused() {
        let refused = |pem: &str| Clients::new(pem.as_bytes(), |_| true).unwrap_err().to_string();
        assert_eq!(refused(""), "there is no certificate among the CAs of clients");
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(refused(garbage), "cannot use certificate 1 of the CAs of clients");
        assert_eq!(refused("-----BEGIN CERTIFICATE-----\n"), "cannot read the CAs of clients");
    }
}

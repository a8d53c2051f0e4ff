//! The Kubernetes client of a process.

mod connection;

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use http::header::{HeaderValue, USER_AGENT};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::args::KubernetesArgs;

/// How long a connection may take: an API server on the other side of a slow link, not a dead one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a write may take; server-side limits are longer, so this ends only a connection that is stuck.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// The CA by which a client knows the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerCa {
    /// None is configured: the system's roots count, or nothing is verified.
    None,
    /// These certificates, DER, for as long as the process lives.
    Fixed(Vec<Vec<u8>>),
    /// What is in this file, PEM, which is replaced when the CA changes.
    File(PathBuf),
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig file cannot be used.
    #[error("cannot read the kubeconfig {path}")]
    Kubeconfig {
        /// The file that the flag names.
        path: String,
        /// What is wrong with it.
        source: kube::config::KubeconfigError,
    },
    /// Neither a service account nor a kubeconfig was found.
    #[error("found neither a pod's service account nor a kubeconfig; --kubeconfig names one")]
    Infer(#[source] kube::config::InferConfigError),
    /// `--api-server-host` is not an address.
    #[error("{0:?} is no address of an API server; write https://HOST:PORT")]
    Host(String),
    /// The user agent is not a header value.
    #[error("{0:?} cannot be sent as a user agent")]
    UserAgent(String),
    /// The client cannot be built from the configuration.
    #[error("cannot build a Kubernetes client")]
    Build(#[source] kube::Error),
}

/// Builds a client that calls itself `user_agent`. Nothing is sent yet.
///
/// # Errors
/// When the configuration cannot be found or used.
pub async fn connect(args: &KubernetesArgs, user_agent: &str) -> Result<Client, ClientError> {
    connect_with_ca(args, user_agent).await.map(|(client, _)| client)
}

/// The same, and the CA by which the client knows the API server.
///
/// # Errors
/// As [`connect`].
pub async fn connect_with_ca(
    args: &KubernetesArgs,
    user_agent: &str,
) -> Result<(Client, ServerCa), ClientError> {
    let mut config = configuration(args).await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    let agent =
        HeaderValue::from_str(user_agent).map_err(|_| ClientError::UserAgent(user_agent.to_owned()))?;
    config.headers.push((USER_AGENT, agent));
    let ca = server_ca(&config);
    Ok((connection::client(config).map_err(ClientError::Build)?, ca))
}

fn server_ca(config: &Config) -> ServerCa {
    match (&config.root_cert_file, &config.root_cert) {
        (Some(file), _) => ServerCa::File(file.clone()),
        (None, Some(certificates)) => ServerCa::Fixed(certificates.clone()),
        (None, None) => ServerCa::None,
    }
}

/// The file with the CA of the cluster that a kubeconfig is for, if its CA is in one.
fn ca_file(kubeconfig: &Kubeconfig) -> Option<PathBuf> {
    let current = kubeconfig.current_context.as_deref()?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == current)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster)?;
    let cluster = cluster.cluster.as_ref()?;
    // As for kubectl, what is in the kubeconfig itself counts before a file.
    let file = cluster.certificate_authority.as_ref()?;
    cluster.certificate_authority_data.is_none().then(|| PathBuf::from(file))
}

async fn configuration(args: &KubernetesArgs) -> Result<Config, ClientError> {
    let mut config = match (args.kubeconfig(), args.api_server_host()) {
        (None, None) => return Config::infer().await.map_err(ClientError::Infer),
        // As the peers: an address alone comes without credentials, for it is that of a proxy.
        (None, Some(_)) => Config::new(Uri::from_static("http://localhost")),
        (Some(path), _) => {
            let failed = |source| ClientError::Kubeconfig { path: path.display().to_string(), source };
            let file = Kubeconfig::read_from(path).map_err(failed)?;
            let ca_file = ca_file(&file);
            let options = KubeConfigOptions::default();
            let mut config = Config::from_custom_kubeconfig(file, &options).await.map_err(failed)?;
            // The client reads the file again now and then, as that of a pod.
            config.root_cert_file = ca_file;
            config
        }
    };
    if let Some(host) = args.api_server_host() {
        config.cluster_url = server(host, config.root_cert.is_some())?;
    }
    Ok(config)
}

/// The address of an API server; without a scheme it is HTTPS where there is a CA to trust.
fn server(host: &str, has_ca: bool) -> Result<Uri, ClientError> {
    let scheme = if has_ca { "https" } else { "http" };
    let text = if host.contains("://") { host.to_owned() } else { format!("{scheme}://{host}") };
    let url: Option<Uri> = text.parse().ok();
    let url = url.filter(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some());
    url.ok_or_else(|| ClientError::Host(host.to_owned()))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use http::HeaderMap;
    use http::header::AUTHORIZATION;
    use k8s_openapi::ByteString;
    use k8s_openapi::apimachinery::pkg::version::Info;
    use rustls::pki_types::PrivatePkcs8KeyDer;

    use super::*;
    use crate::server::serve;
    use crate::shutdown::Shutdown;
    use crate::tls::{ServingCertificate, server_config};

    #[test]
    fn an_address_of_the_api_server_that_cannot_be_one_is_refused() {
        for host in ["", "ftp://a", "http://", "a b"] {
            let error = server(host, false).unwrap_err().to_string();
            assert_eq!(error, format!("{host:?} is no address of an API server; write https://HOST:PORT"));
        }
    }

    #[tokio::test]
    async fn the_ca_of_a_kubeconfig_is_found_inline_or_in_a_file() {
        let folder = std::env::temp_dir().join(format!("signet-client-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let ca = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert;
        std::fs::write(folder.join("ca.crt"), ca.pem()).unwrap();
        let data = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1BPT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=";
        let from_file = ServerCa::File(folder.join("ca.crt"));
        for (cluster, expected) in [
            (String::new(), ServerCa::None),
            (", certificate-authority: ca.crt".to_owned(), from_file),
            (
                format!(", certificate-authority: ca.crt, certificate-authority-data: {data}"),
                ServerCa::Fixed(vec![vec![b'0']]),
            ),
        ] {
            let path = folder.join("config");
            let text = format!(
                "{{clusters: [{{name: c, cluster: {{server: 'https://localhost:6443'{cluster}}}}}],\n \
                 contexts: [{{name: x, context: {{cluster: c, user: u}}}}], current-context: x,\n \
                 users: [{{name: u, user: {{}}}}]}}"
            );
            std::fs::write(&path, text).unwrap();
            let args = KubernetesArgs { api_server_host: None, kubeconfig: Some(path) };
            assert_eq!(server_ca(&configuration(&args).await.unwrap()), expected, "{cluster}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn an_api_server_is_asked_over_tls_with_credentials_and_the_name_of_the_program() {
        crate::install_crypto();
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (ServingCertificate::new(), pair.signing_key.serialize_der());
        certificate.set(vec![pair.cert.der().clone()], &PrivatePkcs8KeyDer::from(key).into()).unwrap();
        let version = async |headers: HeaderMap| {
            let told = [AUTHORIZATION, USER_AGENT].map(|name| headers[name].to_str().unwrap().to_owned());
            serde_json::to_string(&Info { git_version: told.join(" "), ..Info::default() }).unwrap()
        };
        let router = Router::new().route("/version", get(version));
        let listener = crate::listen::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let (tls, end) = (server_config(certificate, &[]).into(), Shutdown::default());
        let served = tokio::spawn(serve(listener, Some(tls), router, end.clone(), Duration::ZERO));

        let folder = tempfile::tempdir().unwrap();
        let ca = serde_json::to_string(&ByteString(pair.cert.pem().into_bytes())).unwrap();
        let text = format!(
            "{{clusters: [{{name: c, cluster: {{server: '{address}', certificate-authority-data: {ca}}}}}],\n \
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}], current-context: x,\n \
             users: [{{name: u, user: {{token: secret}}}}]}}"
        );
        let path = folder.path().join("config");
        std::fs::write(&path, text).unwrap();
        let args = KubernetesArgs { api_server_host: None, kubeconfig: Some(path) };
        let client = connect(&args, "tester/1").await.unwrap();
        assert_eq!(client.apiserver_version().await.unwrap().git_version, "Bearer secret tester/1");
        end.request();
        served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_address_alone_is_asked_without_credentials() {
        let args = KubernetesArgs { api_server_host: Some("localhost:8001".to_owned()), kubeconfig: None };
        let config = configuration(&args).await.unwrap();
        assert_eq!(config.cluster_url, "http://localhost:8001/");
        assert!(config.auth_info.token.is_none() && config.auth_info.token_file.is_none());
        assert_eq!(server("10.0.0.1:6443", true).unwrap(), "https://10.0.0.1:6443/");
        assert_eq!(server("https://10.0.0.1:6443", false).unwrap(), "https://10.0.0.1:6443/");
    }
}

//! The Kubernetes client of a process.

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
    let mut config = configuration(args).await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    let agent =
        HeaderValue::from_str(user_agent).map_err(|_| ClientError::UserAgent(user_agent.to_owned()))?;
    config.headers.push((USER_AGENT, agent));
    Client::try_from(config).map_err(ClientError::Build)
}

async fn configuration(args: &KubernetesArgs) -> Result<Config, ClientError> {
    let mut config = match (args.kubeconfig(), args.api_server_host()) {
        (None, None) => return Config::infer().await.map_err(ClientError::Infer),
        // As the peers: an address alone comes without credentials, for it is that of a proxy.
        (None, Some(_)) => Config::new(Uri::from_static("http://localhost")),
        (Some(path), _) => {
            let failed = |source| ClientError::Kubeconfig { path: path.display().to_string(), source };
            let file = Kubeconfig::read_from(path).map_err(failed)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(failed)?
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
    use super::*;

    #[test]
    fn an_address_of_the_api_server_that_cannot_be_one_is_refused() {
        for host in ["", "ftp://a", "http://", "a b"] {
            let error = server(host, false).unwrap_err().to_string();
            assert_eq!(error, format!("{host:?} is no address of an API server; write https://HOST:PORT"));
        }
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

//! The Kubernetes client of a process.

use std::time::Duration;

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
    let Some(path) = &args.kubeconfig else {
        return Config::infer().await.map_err(ClientError::Infer);
    };
    let failed = |source| ClientError::Kubeconfig { path: path.display().to_string(), source };
    let file = Kubeconfig::read_from(path).map_err(failed)?;
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(failed)
}

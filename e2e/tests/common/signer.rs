//! Speaks to the signer service of an installation of a test's own, as a node's driver does, with any token.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e::cluster::Cluster;
use e2e::namespace::Scope;
use e2e::wait;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use kube::api::{ListParams, LogParams, Patch, PatchParams, PostParams};
use proto::signer::signer_client::SignerClient;
use proto::signer::{SignRequest, SignResponse};
use rcgen::{KeyPair, SigningKey as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Audiences of the two tokens of a call.
pub(crate) const DRIVER_AUDIENCE: &str = "signet-signer-driver";
pub(crate) const POD_AUDIENCE: &str = "signet-signer-pod";

/// The port of the service in the controller's pod.
const PORT: u16 = 10_443;

/// How long a pod, or what it writes, may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(60);

/// How long the API server lets a token live at least.
const TOKEN_SECONDS: i64 = 600;

/// The service, on one connection.
pub(crate) struct Signer {
    channel: Channel,
}

impl Signer {
    /// Connects to the controller's pod of the installation in the test's namespace.
    pub(crate) async fn connect(scope: &Scope) -> anyhow::Result<Self> {
        let pod = pod_of(scope, "controller").await?;
        let address = pod.status.and_then(|status| status.pod_ip).context("the controller has no address")?;
        let address = SocketAddr::new(address.parse()?, PORT);
        let (cluster, tls) = (scope.cluster.clone(), trust(scope).await?);
        let name = format!("{0}-signer.{0}.svc", scope.namespace);
        let connector = tower::service_fn(move |_| {
            let (cluster, tls, name) = (cluster.clone(), Arc::clone(&tls), name.clone());
            async move {
                let socket = cluster.network().connect_async(address).await?;
                let name = name.try_into().map_err(std::io::Error::other)?;
                let stream = TlsConnector::from(tls).connect(name, socket).await?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        // TLS is the connector's.
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let channel = endpoint.connect_with_connector(connector).await;
        Ok(Self { channel: channel.context("no connection to the signer service")? })
    }

    /// One call; without a bearer it shows no token.
    pub(crate) async fn sign(
        &self,
        bearer: Option<&str>,
        message: SignRequest,
    ) -> anyhow::Result<Result<SignResponse, Status>> {
        let mut call = tonic::Request::new(message);
        if let Some(bearer) = bearer {
            call.metadata_mut().insert("authorization", format!("Bearer {bearer}").parse()?);
        }
        let answered = SignerClient::new(self.channel.clone()).sign(call).await;
        Ok(answered.map(tonic::Response::into_inner))
    }
}

/// The CAs that the controller publishes for drivers.
async fn trust(scope: &Scope) -> anyhow::Result<Arc<ClientConfig>> {
    let name = format!("{}-signer-ca", scope.namespace);
    let map = scope.api::<ConfigMap>().get(&name).await?;
    let text = map.data.and_then(|mut data| data.remove("ca.crt")).context("no CA is published")?;
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(text.as_bytes()) {
        roots.add(root.context("the published CA is not PEM")?)?;
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Tells the driver where the service is: test clusters have no name service, so the driver's pod gets an entry in its table
/// of hosts.
pub(crate) async fn resolvable(scope: &Scope) -> anyhow::Result<()> {
    let (namespace, service) = (&scope.namespace, format!("{}-signer", scope.namespace));
    let found = scope.api::<Service>().get(&service).await?;
    let address = found.spec.and_then(|spec| spec.cluster_ip).context("the Service has no address")?;
    let aliases = json!([{"ip": address, "hostnames": [format!("{service}.{namespace}.svc")]}]);
    let patch = Patch::Merge(json!({"spec": {"template": {"spec": {"hostAliases": aliases}}}}));
    let daemons = scope.api::<DaemonSet>();
    daemons.patch(&format!("{namespace}-csi-driver"), &PatchParams::default(), &patch).await?;
    wait::until("a driver that knows the service", WITHIN, || async {
        let driver = pod_of(scope, "csi-driver").await?;
        let aliases = driver.spec.and_then(|spec| spec.host_aliases).unwrap_or_default();
        ensure!(!aliases.is_empty(), "it is still the former one");
        ensure!(driver.metadata.deletion_timestamp.is_none(), "it is going");
        Ok(())
    })
    .await
}

/// The only pod of a component of the installation in the test's namespace.
pub(crate) async fn pod_of(scope: &Scope, component: &str) -> anyhow::Result<Pod> {
    let of_component = ListParams::default().labels(&format!("app.kubernetes.io/component={component}"));
    wait::until(&format!("the pod of the {component}"), WITHIN, || async {
        let mut pods = scope.api::<Pod>().list(&of_component).await?.items;
        pods.retain(super::is_ready);
        ensure!(pods.len() == 1, "{} pods of it are Ready", pods.len());
        pods.pop().context("it has gone")
    })
    .await
}

/// A token that kubelet could have made for this pod.
pub(crate) async fn token(scope: &Scope, pod: &Pod, audience: &str) -> anyhow::Result<String> {
    let account = account(pod);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![audience.to_owned()],
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
            expiration_seconds: Some(TOKEN_SECONDS),
        },
        ..TokenRequest::default()
    };
    let accounts = scope.api::<ServiceAccount>();
    let made = accounts.create_token_request(account, &PostParams::default(), &request).await?;
    Ok(made.status.context("the API server gave no token")?.token)
}

/// The service account of a pod.
pub(crate) fn account(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default")
}

/// The same token as it would be if its time had been an hour ago, signed by the key of the API server: no API gives out
/// one that is over already.
pub(crate) fn expired(cluster: &Cluster, token: &str) -> anyhow::Result<String> {
    let mut parts = token.split('.');
    let (Some(header), Some(payload)) = (parts.next(), parts.next()) else {
        anyhow::bail!("the token is no JSON Web Token");
    };
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
    let end = Timestamp::now().as_second() - 3600;
    for (claim, at) in [("iat", end - TOKEN_SECONDS), ("nbf", end - TOKEN_SECONDS), ("exp", end)] {
        claims[claim] = json!(at);
    }
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let key = KeyPair::from_pem(&fs::read_to_string(cluster.pki().join("sa.key"))?)?;
    let signature = fixed(&key.sign(signed.as_bytes())?)?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// An ECDSA P-256 signature as JSON Web Tokens have it (RFC 7518 §3.4): two numbers of 32 bytes, in place of the DER
/// (RFC 3279 §2.2.3) that X.509 has.
fn fixed(der: &[u8]) -> anyhow::Result<Vec<u8>> {
    let [0x30, length, numbers @ ..] = der else { anyhow::bail!("the signature is no sequence") };
    ensure!(usize::from(*length) == numbers.len(), "the signature has a length of another kind");
    let (mut rest, mut fixed) = (numbers, Vec::new());
    for _ in 0..2 {
        let [0x02, length, after @ ..] = rest else { anyhow::bail!("the signature holds no number") };
        let (number, left) = after.split_at_checked(usize::from(*length)).context("a number is cut")?;
        let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
        let number = number.get(start..).unwrap_or_default();
        let missing = 32_usize.checked_sub(number.len()).context("a number is too large")?;
        fixed.extend(std::iter::repeat_n(0, missing).chain(number.iter().copied()));
        rest = left;
    }
    Ok(fixed)
}

/// Waits until the audit log has a line with all of `parts`; it must not have any of the `secrets`.
pub(crate) async fn audited(scope: &Scope, parts: &[&str], secrets: &[&str]) -> anyhow::Result<()> {
    let controller =
        pod_of(scope, "controller").await?.metadata.name.context("the controller has no name")?;
    wait::until(&format!("an audit line with {parts:?}"), WITHIN, || async {
        let log = scope.api::<Pod>().logs(&controller, &LogParams::default()).await?;
        let signature = |token: &&str| token.rsplit('.').next().unwrap_or_default().to_owned();
        for signature in secrets.iter().map(signature).filter(|text| !text.is_empty()) {
            ensure!(!log.contains(&signature), "a token is in the log");
        }
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("signet::audit")).collect();
        let is_meant = |line: &&&str| parts.iter().all(|part| line.contains(part));
        lines.iter().find(is_meant).map(drop).with_context(|| format!("its last lines are {lines:#?}"))
    })
    .await
}

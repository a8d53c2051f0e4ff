//! `cargo xtask bench review`: how fast the webhook answers, asked as the API server asks, and beside it how fast the
//! same TLS and HTTP stack answers without a thought (the program `floor` of the fixtures), and cert-manager's own webhook.

mod peer;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use e2e::cluster::Cluster;
use e2e::install::RELEASE;
use e2e::netns::Network;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use self::peer::Peer;
use super::bodies::{self, REVIEW_UID, Review};
use super::figures::Series;
use super::load;
use super::process::{Memory, Process};

const PROGRAM: &str = "signet-webhook";

/// Numbers of connections, each with one review under way.
const CONNECTIONS: [usize; 2] = [1, 32];

/// How long the same load runs before it is measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// Most reviews of one connection in one series; it bounds the memory for their durations to 16 MiB.
const REVIEWS_MAX: usize = 1 << 20;

/// Longest answer to one of our reviews: a verdict, or a patch of a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long our configurations let the API server wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Turns in which the servers are measured: what disturbs the machine meanwhile disturbs all of them.
const TURNS: u32 = 3;

/// What was found out about reviews.
pub(crate) struct Reviews {
    /// The webhook.
    pub(crate) series: Vec<Series>,
    /// The floor, with the same reviews in the same order.
    pub(crate) floor: Vec<Series>,
    pub(crate) memory: Vec<(String, Memory)>,
    pub(crate) peer: Option<Beside>,
}

/// What was found out about cert-manager's webhook, with the same reviews in the same order.
pub(crate) struct Beside {
    pub(crate) series: Vec<Series>,
    pub(crate) memory: Vec<(String, Memory)>,
}

/// Measures on a cluster on which the chart is installed; `time` is the length of each series. With `beside_peer`
/// cert-manager's webhook, too.
///
/// # Errors
/// The first answer that does not allow what it should: a failure is never measured.
pub(crate) async fn run(cluster: &Cluster, time: Duration, beside_peer: bool) -> anyhow::Result<Reviews> {
    let webhook = find(cluster)?;
    let floor = Floor::start_beside(&webhook)?;
    let peer = if beside_peer { Some(Peer::start_beside(&webhook, cluster).await?) } else { None };
    load::idle(webhook.process).await?;
    let mut servers = vec![&webhook, &floor.server];
    servers.extend(peer.as_ref().map(|peer| &peer.server));
    let mut found: Vec<Beside> = Vec::new();
    for server in &servers {
        let memory = vec![("before the first review".to_owned(), server.process.memory()?)];
        found.push(Beside { series: Vec::new(), memory });
    }
    for review in bodies::all()? {
        for connections in CONNECTIONS {
            let plural = if connections == 1 { "" } else { "s" };
            let name = format!("{}, {connections} connection{plural}", review.name);
            let measured = in_turns(&name, &servers, connections, &review, time).await?;
            for ((found, series), server) in found.iter_mut().zip(measured).zip(&servers) {
                found.series.push(series);
                found.memory.push((format!("after {name}"), server.process.memory()?));
            }
        }
    }
    let mut found = found.into_iter();
    let (ours, floor) = found.next().zip(found.next()).context("nothing was measured")?;
    Ok(Reviews { series: ours.series, floor: floor.series, memory: ours.memory, peer: found.next() })
}

/// Measures the servers with the same load by turns; a series for each.
async fn in_turns(
    name: &str,
    servers: &[&Server],
    connections: usize,
    review: &Review,
    time: Duration,
) -> anyhow::Result<Vec<Series>> {
    let mut loads = Vec::new();
    for server in servers {
        let open = server.connect(connections).await?;
        send_for(&open, review, WARM_UP).await?;
        loads.push((server.process, open, Vec::new()));
    }
    for _ in 0..TURNS {
        for (process, open, parts) in &mut loads {
            parts.push(load::measure(name, *process, send_for(open, review, time / TURNS)).await?);
        }
    }
    let series: Vec<_> = loads.iter().map(|(_, _, parts)| Series::together(name, parts)).collect();
    Ok(series
        .into_iter()
        .enumerate()
        .map(|(index, series)| if index == 0 { series.told() } else { series })
        .collect())
}

/// A server of reviews: its process, and how to reach and trust it.
struct Server {
    process: Process,
    network: Network,
    address: SocketAddr,
    name: ServerName<'static>,
    tls: TlsConnector,
}

/// Finds the first replica of the webhook. The load goes to the pod itself, as the API server's does.
fn find(cluster: &Cluster) -> anyhow::Result<Server> {
    let selector = format!("app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=webhook");
    let pods = ["-n", RELEASE, "get", "pods", "-l", &selector, "-o", "json"];
    let pods: Value = serde_json::from_str(&cluster.kubectl(&pods)?).context("kubectl printed no JSON")?;
    let pod = &pods["items"][0];
    let text = |path: &str| pod.pointer(path).and_then(Value::as_str);
    let uid = text("/metadata/uid").context("the webhook has no pod")?;
    let ip = text("/status/podIP").context("the webhook's pod has no address")?;
    let ports = pod["spec"]["containers"][0]["ports"].as_array().into_iter().flatten();
    let port =
        ports.clone().find(|port| port["name"] == "https").and_then(|port| port["containerPort"].as_u64());
    let port = u16::try_from(port.context("the webhook's pod has no port called https")?)?;

    let programs = cluster.processes(PROGRAM);
    let process = programs.into_iter().map(Process::new).find(|program| program.is_of_pod(uid));
    let process = process.with_context(|| format!("no {PROGRAM} of pod {uid} runs"))?;
    let secret = format!("{RELEASE}-webhook-ca");
    let ca = ["-n", RELEASE, "get", "secret", &secret, "-o", r"jsonpath={.data.ca\.crt}"];
    let ca = STANDARD.decode(cluster.kubectl(&ca)?.trim()).context("the webhook's CA is not base64")?;
    Ok(Server {
        process,
        network: cluster.network().clone(),
        address: SocketAddr::new(ip.parse()?, port),
        name: ServerName::try_from(format!("{RELEASE}-webhook.{RELEASE}.svc"))?,
        tls: TlsConnector::from(Arc::new(client_config(&ca).context("the webhook's CA")?)),
    })
}

/// The program `floor`, which ends with this value.
struct Floor {
    server: Server,
    child: Child,
}

impl Floor {
    /// Starts it in the network of the webhook's pod: a packet has the same way to both.
    fn start_beside(webhook: &Server) -> anyhow::Result<Self> {
        let program = e2e::image::floor()?;
        let mut child = Network::of_process(webhook.process.id())
            .command(&program)
            .arg(webhook.address.ip().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let mut line = String::new();
        let output = child.stdout.take().context("its output is not ours")?;
        BufReader::new(output).read_line(&mut line).context("failed to read what it prints")?;
        let told: Value = serde_json::from_str(&line)
            .with_context(|| format!("{} printed {line:?} instead of its address", program.display()))?;
        let text = |member: &str| {
            told[member].as_str().with_context(|| format!("the floor's line has no {member}: {line:?}"))
        };
        let (address, ca) = (text("address")?.parse()?, text("ca")?);
        // nsenter replaces itself by the program, so the child is the server.
        let process = Process::of(&child)?;
        let tls = TlsConnector::from(Arc::new(client_config(ca.as_bytes()).context("the floor's CA")?));
        let name = ServerName::try_from("localhost")?;
        let network = webhook.network.clone();
        Ok(Self { server: Server { process, network, address, name, tls }, child })
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // Its exit status says nothing about what was measured.
        let _ = self.child.wait();
    }
}

/// TLS as the API server speaks it, with the server's own CA in PEM.
fn client_config(ca: &[u8]) -> anyhow::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        roots.add(certificate.context("not PEM")?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// An open connection, and what requests over it name as their target.
#[derive(Clone)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    origin: String,
}

impl Server {
    async fn connect(&self, count: usize) -> anyhow::Result<Vec<Connection>> {
        let mut connections = Vec::new();
        for _ in 0..count {
            let connected = self.connect_once().await;
            connections
                .push(connected.with_context(|| format!("failed to connect to {}", self.name.to_str()))?);
        }
        Ok(connections)
    }

    async fn connect_once(&self) -> anyhow::Result<Connection> {
        let tcp = self.network.connect_async(self.address).await?;
        let tls = self.tls.connect(self.name.clone(), tcp).await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await?;
        // It ends with its last sender; why it ended before is what the request under way returns.
        tokio::spawn(connection);
        Ok(Connection { sender, origin: format!("https://{}", self.name.to_str()) })
    }
}

/// Sends the same review over every connection, again and again, for some time; how long each answer took.
async fn send_for(
    connections: &[Connection],
    review: &Review,
    time: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let end = Instant::now() + time;
    let mut workers = JoinSet::new();
    for connection in connections {
        let (mut connection, review) = (connection.clone(), review.clone());
        let uri: http::Uri = format!("{}{}?timeout=10s", connection.origin, review.path).parse()?;
        workers.spawn(async move {
            let mut durations = Vec::new();
            while Instant::now() < end && durations.len() < REVIEWS_MAX {
                let began = Instant::now();
                let answer =
                    tokio::time::timeout(ANSWER_WITHIN, send(&mut connection.sender, &uri, &review)).await;
                let answer = answer.context("the server did not answer in time")??;
                durations.push(began.elapsed());
                judge(&answer).with_context(|| format!("the answer to {}", review.name))?;
            }
            Ok(durations)
        });
    }
    load::all(workers).await
}

async fn send(
    sender: &mut SendRequest<Full<Bytes>>,
    uri: &http::Uri,
    review: &Review,
) -> anyhow::Result<Bytes> {
    let request = http::Request::post(uri)
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(http::header::ACCEPT, "application/json, */*")
        .body(Full::new(review.body.clone()))?;
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    ensure!(response.status() == http::StatusCode::OK, "the server answered {}", response.status());
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok(body.map_err(|error| anyhow::anyhow!(error))?.to_bytes())
}

/// Refuses every answer but the one that allows.
fn judge(answer: &[u8]) -> anyhow::Result<()> {
    let text = || String::from_utf8_lossy(answer).into_owned();
    let review: Value = serde_json::from_slice(answer).with_context(text)?;
    let response = &review["response"];
    ensure!(response["uid"] == REVIEW_UID, "it is for another review: {}", text());
    ensure!(response["allowed"] == true, "it does not allow a correct object: {}", text());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_allows_this_review_counts() {
        for answer in [
            "".to_owned(),
            "{}".to_owned(),
            format!(r#"{{"response":{{"uid":"{REVIEW_UID}","allowed":false}}}}"#),
            format!(r#"{{"response":{{"uid":"{REVIEW_UID}"}}}}"#),
            r#"{"response":{"uid":"x","allowed":true}}"#.to_owned(),
        ] {
            assert!(judge(answer.as_bytes()).is_err(), "{answer}");
        }
        judge(format!(r#"{{"response":{{"uid":"{REVIEW_UID}","allowed":true}}}}"#).as_bytes()).unwrap();
    }
}

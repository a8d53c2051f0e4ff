//! A stand-in for Vault: it answers what a real server was seen to answer, signs with a CA of its own, and can be told to
//! answer otherwise.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use issuance::authority::{Authority, AuthorityError, Terms};
use issuance::key::{Curve, KeyAlgorithm, PrivateKey};
use issuance::request::Request;
use jiff::{SignedDuration, Timestamp};
use runtime::lock::lock;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// Longest request; those of the issuer have a few kilobytes.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// A token that is good from the beginning.
pub const TOKEN: &str = "hvs.stand-in";
/// Secret id of the one AppRole.
pub const SECRET_ID: &str = "stand-in-secret-id";
/// Id of the one AppRole.
pub const ROLE_ID: &str = "stand-in-role-id";
/// Role of the certificate and the Kubernetes method, and of the PKI engine.
pub const ROLE: &str = "web";

/// What the real server says of a token that it does not know.
const INVALID_TOKEN: &str = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n";

/// A request as it was received.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Method and path.
    pub line: String,
    /// Names, in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// JSON; null where there was no body.
    pub body: Value,
    /// Whether the client showed a certificate.
    pub is_shown: bool,
}

impl Asked {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_default()
    }
}

/// How a request is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// With this status and body.
    Json(u16, Value),
    /// With these bytes, after which the connection ends.
    Bytes(Vec<u8>),
    /// Not at all.
    Silence,
}

impl Answer {
    /// A refusal with this text.
    pub fn refusal(status: u16, text: &str) -> Self {
        Self::Json(status, json!({"errors": [text]}))
    }

    /// Status 200, and a body with these members beside the usual ones.
    pub fn good(members: &Value) -> Self {
        let mut body = json!({
            "request_id": "5f3b4e4b-0000-0000-0000-000000000000",
            "lease_id": "",
            "renewable": false,
            "lease_duration": 0,
            "data": null,
            "wrap_info": null,
            "warnings": null,
            "auth": null,
            "mount_type": "",
        });
        for (name, value) in members.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        Self::Json(200, body)
    }
}

/// What the server knows.
#[derive(Debug)]
struct State {
    authority: Authority,
    tokens: BTreeSet<String>,
    logins: usize,
    lease_seconds: u64,
    /// Answers that come first, each to the next request whose path begins so.
    told: VecDeque<(String, Answer)>,
    asked: Vec<Asked>,
}

/// A server that listens until it is dropped.
#[derive(Debug)]
pub struct StandIn {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _task: AbortOnDropHandle<()>,
}

impl StandIn {
    /// A server on loopback.
    ///
    /// # Errors
    /// When no address can be listened on, or no CA can be made.
    pub async fn start(tls: Option<Arc<ServerConfig>>) -> std::io::Result<Self> {
        Self::on(TcpListener::bind("127.0.0.1:0").await?, tls)
    }

    /// A server on this listener.
    ///
    /// # Errors
    /// When no CA can be made.
    pub fn on(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let state = State {
            authority: authority().map_err(std::io::Error::other)?,
            tokens: BTreeSet::from([TOKEN.to_owned()]),
            logins: 0,
            lease_seconds: 3600,
            told: VecDeque::new(),
            asked: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let task = tokio::spawn(serve(listener, tls.map(TlsAcceptor::from), Arc::clone(&state)));
        Ok(Self { address, state, _task: AbortOnDropHandle::new(task) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers the next request whose path begins so in this way; several are taken in order.
    pub fn tell(&self, path: &str, answer: Answer) {
        lock(&self.state).told.push_back((path.to_owned(), answer));
    }

    /// Forgets every token, as a restarted server in memory does.
    pub fn revoke_all(&self) {
        lock(&self.state).tokens.clear();
    }

    /// How long the logins from now on are valid.
    pub fn lease(&self, seconds: u64) {
        lock(&self.state).lease_seconds = seconds;
    }

    /// What was asked so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state).asked.clone()
    }

    /// How often a path that begins so was asked for.
    pub fn count(&self, path: &str) -> usize {
        let is_meant = |asked: &&Asked| asked.line.split(' ').nth(1).is_some_and(|own| own.starts_with(path));
        lock(&self.state).asked.iter().filter(is_meant).count()
    }
}

fn authority() -> Result<Authority, AuthorityError> {
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).map_err(AuthorityError::Sign)?;
    Authority::self_signed("stand-in", key, SignedDuration::from_hours(24 * 365), now())
}

/// Whole seconds, as certificates have them.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
    // Connections end with the server.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        connections.spawn(async move {
            match tls {
                None => converse(stream, false, &state).await,
                Some(tls) => {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let is_shown = stream.get_ref().1.peer_certificates().is_some();
                    converse(stream, is_shown, &state).await;
                }
            }
        });
    }
}

/// Answers one request after the other, until the client or an answer ends it.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, is_shown: bool, state: &Mutex<State>) {
    let mut received = Vec::new();
    while let Some(mut asked) = next(&mut stream, &mut received).await {
        asked.is_shown = is_shown;
        let answer = lock(state).answer(&asked);
        let is_written = match answer {
            Answer::Json(status, body) => {
                let body = body.to_string();
                let head = format!(
                    "HTTP/1.1 {status} Told\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.is_ok()
            }
            Answer::Bytes(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Answer::Silence => std::future::pending().await,
        };
        if !is_written || stream.flush().await.is_err() {
            return;
        }
    }
}

/// The next request on a connection; `received` holds what was read beyond the last one.
async fn next(stream: &mut (impl AsyncRead + Unpin), received: &mut Vec<u8>) -> Option<Asked> {
    const END: &[u8] = b"\r\n\r\n";
    loop {
        if let Some(end) = received.windows(END.len()).position(|window| window == END) {
            let head = String::from_utf8_lossy(received.get(..end)?).into_owned();
            let mut asked = parsed(&head);
            let length = asked.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            let (from, until) = (end + END.len(), end.checked_add(END.len())?.checked_add(length)?);
            if received.len() >= until {
                asked.body = serde_json::from_slice(received.get(from..until)?).unwrap_or_default();
                received.drain(..until);
                return Some(asked);
            }
        }
        if received.len() > REQUEST_BYTES_MAX || stream.read_buf(received).await.ok()? == 0 {
            return None;
        }
    }
}

fn parsed(head: &str) -> Asked {
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let pairs = lines.filter_map(|line| line.split_once(':'));
    let headers = pairs.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
    Asked { line, headers, body: Value::Null, is_shown: false }
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Answer {
        let (method, path) = asked.line.split_once(' ').unwrap_or_default();
        let (method, path) = (method.to_owned(), path.to_owned());
        self.asked.push(asked.clone());
        if let Some(at) = self.told.iter().position(|(begins, _)| path.starts_with(begins))
            && let Some((_, answer)) = self.told.remove(at)
        {
            return answer;
        }
        match (method.as_str(), path.as_str()) {
            ("GET", "/v1/sys/health") => Answer::Json(
                200,
                json!({"initialized": true, "sealed": false, "standby": false, "version": "1.21.4"}),
            ),
            ("POST", "/v1/auth/approle/login") => {
                let is_right = asked.text("role_id") == ROLE_ID && asked.text("secret_id") == SECRET_ID;
                self.login(is_right, "invalid role or secret ID")
            }
            ("POST", "/v1/auth/cert/login") => {
                self.login(asked.is_shown, "client certificate must be supplied")
            }
            ("POST", "/v1/auth/kubernetes/login") => {
                let role = asked.text("role");
                self.login(
                    role == ROLE && !asked.text("jwt").is_empty(),
                    &format!("invalid role name {role:?}"),
                )
            }
            ("GET", "/v1/auth/token/lookup-self") => self.allowed(asked).unwrap_or_else(|| {
                Answer::good(&json!({"data": {"ttl": 0, "creation_ttl": 0, "expire_time": null}}))
            }),
            ("POST", "/v1/pki/sign/web") => self.allowed(asked).unwrap_or_else(|| self.sign(asked)),
            ("POST", "/v1/pki/sign/forbidden") => {
                Answer::refusal(403, "1 error occurred:\n\t* permission denied\n\n")
            }
            ("POST", unknown) if unknown.starts_with("/v1/pki/sign/") => {
                let role = unknown.rsplit('/').next().unwrap_or_default();
                self.allowed(asked).unwrap_or_else(|| Answer::refusal(400, &format!("unknown role: {role}")))
            }
            (_, path) => {
                let path = path.trim_start_matches("/v1/");
                Answer::refusal(404, &format!("no handler for route {path:?}. route entry not found."))
            }
        }
    }

    fn login(&mut self, is_right: bool, refusal: &str) -> Answer {
        if !is_right {
            return Answer::refusal(400, refusal);
        }
        self.logins += 1;
        let token = format!("hvs.login-{}", self.logins);
        self.tokens.insert(token.clone());
        Answer::good(&json!({"auth": {
            "client_token": token,
            "accessor": "accessor",
            "policies": ["default", "sign"],
            "token_policies": ["default", "sign"],
            "metadata": {},
            "lease_duration": self.lease_seconds,
            "renewable": true,
            "entity_id": "",
            "token_type": "service",
            "orphan": true,
            "mfa_requirement": null,
            "num_uses": 0,
        }}))
    }

    /// Why the token of a request is not accepted.
    fn allowed(&self, asked: &Asked) -> Option<Answer> {
        match asked.header("x-vault-token") {
            None => Some(Answer::refusal(403, "permission denied")),
            Some(token) if self.tokens.contains(token) => None,
            Some(_) => Some(Answer::refusal(403, INVALID_TOKEN)),
        }
    }

    fn sign(&self, asked: &Asked) -> Answer {
        let Ok(request) = Request::from_pem(asked.text("csr").as_bytes()) else {
            return Answer::refusal(400, "csr contains no data");
        };
        let seconds = asked.text("ttl").trim_end_matches('s').parse().unwrap_or(0);
        let terms = Terms { duration: SignedDuration::from_secs(seconds), ..Terms::default() };
        match self.authority.sign(&request, &terms, now()) {
            Ok(issued) => {
                let (leaf, ca) = (issued.chain.leaf(), self.authority.chain().to_pem());
                Answer::good(&json!({
                    "data": {
                        "certificate": leaf.to_pem(),
                        "issuing_ca": ca,
                        "ca_chain": [ca],
                        "serial_number": leaf.serial_hex(),
                        "expiration": leaf.not_after().as_second(),
                        "authority_key_id": "",
                    },
                    "warnings": ["the common_name field was provided but the role is set with \"use_csr_common_name\" set to true"],
                }))
            }
            Err(error) => Answer::refusal(400, &error.to_string()),
        }
    }
}

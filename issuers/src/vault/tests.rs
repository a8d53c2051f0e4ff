//! The whole issuer against a stand-in for Vault over real connections.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use issuance::authority::Terms;
use issuance::key::{Curve, KeyAlgorithm, PrivateKey};
use issuance::name::SubjectAltName;
use issuance::request::{Request, RequestSpec};
use issuance::verification::{self, Asked as Wanted};
use jiff::SignedDuration;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use runtime::watch::State;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};

use super::stand_in::{Answer, ROLE_ID, SECRET_ID, StandIn, TOKEN};
use super::*;
use crate::material::Material;
use crate::material::testing::material;
use crate::outcome::IssuerKind;

/// Secrets of namespace `team-a`, which can be changed.
#[derive(Default)]
struct Cluster {
    secrets: Mutex<BTreeMap<String, State<Material>>>,
    /// What was asked for: account and audiences.
    tokens: Mutex<Vec<(String, Vec<String>)>>,
    refusal: Mutex<Option<Failure>>,
}

impl Cluster {
    fn put(&self, name: &str, data: &[(&str, &[u8])]) {
        lock(&self.secrets).insert(name.to_owned(), State::Present(Arc::new(material(data))));
    }
}

impl Materials for Cluster {
    fn secret(&self, name: &ObjectName) -> State<Material> {
        assert_eq!(name.namespace.as_deref(), Some("team-a"));
        lock(&self.secrets).get(&name.name).cloned().unwrap_or(State::Absent)
    }
}

impl AccountTokens for Cluster {
    fn token<'a>(
        &'a self,
        account: &'a ObjectName,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Zeroizing<String>, Failure>> {
        let mut tokens = lock(&self.tokens);
        tokens.push((account.to_string(), audiences.to_vec()));
        let token = match lock(&self.refusal).clone() {
            Some(failure) => Err(failure),
            None => Ok(Zeroizing::new(format!("jwt-{}", tokens.len()))),
        };
        futures::future::ready(token).boxed()
    }
}

struct World {
    vault: StandIn,
    cluster: Arc<Cluster>,
    issuer: Arc<dyn Issuer>,
}

fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap()
}

/// An issuer at the stand-in, with these changes to its spec; by default it has a token.
fn at(vault: StandIn, spec: &Value) -> World {
    let address = vault.address();
    let mut whole = json!({"server": format!("http://{address}"), "path": "pki/sign/web"});
    for (field, value) in spec.as_object().unwrap() {
        whole[field] = value.clone();
    }
    if whole["auth"].is_null() {
        whole["auth"] = json!({"tokenSecretRef": {"name": "vault"}});
    }
    let cluster = Arc::new(Cluster::default());
    cluster.put("vault", &[("token", format!("{TOKEN}\n").as_bytes())]);
    cluster.put("approle", &[("id", SECRET_ID.as_bytes())]);
    let id = IssuerId { kind: IssuerKind::Issuer, namespace: "team-a".to_owned(), name: "vault".to_owned() };
    let materials: Arc<dyn Materials> = Arc::<Cluster>::clone(&cluster);
    let accounts: Arc<dyn AccountTokens> = Arc::<Cluster>::clone(&cluster);
    let access = Access { materials, accounts };
    let Opened::Issuer(issuer) = open(&id, &serde_json::from_value(whole).unwrap(), "cluster", &access)
    else {
        panic!("the spec cannot be used");
    };
    World { vault, cluster, issuer }
}

async fn with(spec: &Value) -> World {
    at(StandIn::start(None).await.unwrap(), spec)
}

fn app_role() -> Value {
    let secret = json!({"name": "approle", "key": "id"});
    json!({"auth": {"appRole": {"roleId": ROLE_ID, "secretRef": secret}}})
}

impl World {
    async fn sign(&self) -> Outcome {
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
        let names = vec![SubjectAltName::Dns("a.test".to_owned())];
        let request = Request::build(&RequestSpec { names, ..RequestSpec::default() }, &key).unwrap();
        let terms = Terms { duration: SignedDuration::from_hours(1), ..Terms::default() };
        let order = Order { request: &request, terms: &terms, subject_key: None, now: now() };
        let outcome = self.issuer.sign(&order).await;
        if let Outcome::Issued(issued) = &outcome {
            verification::verify(issued, &Wanted::of(&request, &terms), now()).unwrap();
        }
        outcome
    }

    /// Signs, and compares what came of it; no secret may be in it.
    async fn check(&self, expected: &str, message: &str) {
        let outcome = self.sign().await;
        let shown = match &outcome {
            Outcome::Issued(_) => "Issued".to_owned(),
            Outcome::Wait { reason, .. } => format!("Wait {reason}"),
            Outcome::Retry { reason, .. } => format!("Retry {reason}"),
            Outcome::Terminal { reason, .. } => format!("Terminal {reason}"),
        };
        let text = outcome.message().unwrap_or_default();
        assert_eq!(shown, expected, "{text}");
        assert!(text.contains(message), "{text}");
        shows_no_secret(text);
    }

    async fn judge(&self, expected: (bool, &str), message: &str) {
        let told = self.issuer.readiness(now()).await.unwrap();
        assert_eq!((told.ready, told.reason), expected, "{}", told.message);
        assert!(told.message.contains(message), "{}", told.message);
        shows_no_secret(&told.message);
    }
}

fn shows_no_secret(text: &str) {
    for secret in [TOKEN, SECRET_ID, "hvs.", "jwt-1"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn refusals_of_the_signing_are_final_and_have_vaults_text() {
    let check = async |path: &str, message: &str| {
        with(&json!({"path": path})).await.check("Terminal SigningError", message).await;
    };
    check("pki/sign/other", "was refused with status 400: unknown role: other").await;
    check("pki/sign/forbidden", "was refused with status 403: 1 error occurred: * permission denied").await;
    check("nowhere", "was refused with status 404: no handler for route \"nowhere\".").await;
    let world = with(&json!({})).await;
    world.vault.tell("/v1/pki", Answer::refusal(405, "unsupported operation"));
    world.check("Terminal SigningError", "status 405: unsupported operation").await;
    world.vault.tell("/v1/pki", Answer::refusal(400, &format!("no {TOKEN} here")));
    world.check("Terminal SigningError", "status 400: no (redacted) here").await;
}

#[tokio::test]
async fn what_vault_blames_on_the_moment_is_tried_again() {
    let world = with(&json!({})).await;
    for (status, text) in [
        (412, "required index state not present"),
        (429, "rate limit quota exceeded"),
        (503, "Vault is sealed"),
        (500, "x"),
    ] {
        world.vault.tell("/v1/pki", Answer::refusal(status, text));
        world.check("Retry SigningError", &format!("was refused with status {status}: {text}")).await;
    }
    world.vault.tell(
        "/v1/pki",
        Answer::Bytes(
            b"HTTP/1.1 307 x\r\nlocation: http://other.test/\r\ncontent-length: 0\r\n\r\n".to_vec(),
        ),
    );
    world.check("Retry SigningError", "was sent elsewhere with status 307").await;
    world.check("Issued", "").await;
}

#[tokio::test]
async fn connections_that_break_are_tried_again() {
    let world = with(&json!({})).await;
    for bytes in [
        &b""[..],
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"data\":",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{\"data\":\r\n",
    ] {
        world.vault.tell("/v1/pki", Answer::Bytes(bytes.to_vec()));
        world.check("Retry SigningError", "got no answer: ").await;
    }
    let address = world.vault.address();
    let closed = at(StandIn::start(None).await.unwrap(), &json!({"server": format!("http://{address}")}));
    drop(world);
    closed
        .check("Retry SigningError", &format!("signing at http://{address}/v1/pki/sign/web got no answer: "))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let world = with(&json!({})).await;
    world.vault.tell("/v1/pki", Answer::Silence);
    world.check("Retry SigningError", "got no whole answer within 10s").await;
    world.vault.tell("/v1/sys/health", Answer::Silence);
    world.judge((false, "VaultError"), "got no whole answer within 10s").await;
}

#[tokio::test]
async fn answers_that_cannot_be_used_are_final() {
    let world = with(&json!({})).await;
    world.vault.tell("/v1/pki", Answer::Json(200, json!({"data": "x".repeat(2 << 20)})));
    world.check("Terminal SigningError", "got an answer of more than 1048576 bytes").await;
    world.vault.tell(
        "/v1/pki",
        Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n<html>x</html>\n".to_vec()),
    );
    world.check("Terminal SigningError", "it is not what a signing is answered with (Syntax)").await;
    world.vault.tell("/v1/pki", Answer::good(&json!({"data": {"certificate": ""}})));
    world.check("Terminal SigningError", "it holds no certificate").await;
}

#[tokio::test]
async fn a_secret_that_is_not_right_is_waited_for() {
    let world = with(&json!({})).await;
    world.cluster.put("vault", &[("token", b"hvs.unknown")]);
    world.check("Wait VaultInitError", "invalid token; put another token into Secret team-a/vault").await;
    world.judge((false, "VaultError"), "invalid token; put another token into Secret team-a/vault").await;
    world.cluster.put("vault", &[("token", b"two\nlines")]);
    world
        .check(
            "Wait VaultInitError",
            "\"token\" of Secret team-a/vault of spec.vault.auth.tokenSecretRef cannot be used",
        )
        .await;
    world.cluster.put("vault", &[("other", b"x")]);
    world.check("Wait VaultInitError", "has nothing under \"token\"").await;
    lock(&world.cluster.secrets).clear();
    world
        .check("Wait SecretMissing", "Secret team-a/vault of spec.vault.auth.tokenSecretRef does not exist")
        .await;
    world.judge((false, "VaultError"), "does not exist").await;
    lock(&world.cluster.secrets).insert("vault".to_owned(), State::Pending);
    world.check("Retry VaultInitError", "has not answered").await;
    assert!(world.issuer.readiness(now()).await.is_none());
}

#[tokio::test]
async fn a_token_signs_without_a_login() {
    let world = with(&json!({"namespace": "team/a"})).await;
    world.judge((true, "VaultVerified"), "is well and lets the issuer in").await;
    world.check("Issued", "").await;
    let asked = world.vault.asked();
    let lines: Vec<_> = asked.iter().map(|asked| asked.line.as_str()).collect();
    assert_eq!(lines, ["GET /v1/sys/health", "GET /v1/auth/token/lookup-self", "POST /v1/pki/sign/web"]);
    let headers = |name| asked.iter().map(|asked| asked.header(name)).collect::<Vec<_>>();
    assert_eq!(headers("x-vault-token"), [None, Some(TOKEN), Some(TOKEN)]);
    assert_eq!(headers("x-vault-namespace"), [None, Some("team/a"), Some("team/a")]);
    assert_eq!(headers("x-vault-request"), [Some("true"); 3]);
    assert_eq!(asked[2].body["ttl"], "3600s");
}

#[tokio::test]
async fn a_login_serves_many_signatures_and_ends_with_its_lease_or_its_secret() {
    let world = with(&app_role()).await;
    let logins = || world.vault.count("/v1/auth/approle/login");
    futures::future::join_all((0..16).map(|_| world.check("Issued", ""))).await;
    assert_eq!(logins(), 1);
    world.judge((true, "VaultVerified"), "").await;
    assert_eq!(logins(), 1);
    let data: &[(&str, &[u8])] = &[("id", SECRET_ID.as_bytes()), ("unrelated", b"x")];
    world.cluster.put("approle", data);
    world.check("Issued", "").await;
    assert_eq!(logins(), 1);
    world.cluster.put("approle", &[("id", b"wrong")]);
    world.check("Retry VaultInitError", "login at http://").await;
    world.judge((false, "VaultError"), "was refused with status 400: invalid role or secret ID").await;
    assert_eq!(logins(), 3);
    world.cluster.put("approle", &[("id", SECRET_ID.as_bytes())]);
    world.check("Issued", "").await;
    world.judge((true, "VaultVerified"), "").await;
    assert_eq!(logins(), 4);
}

#[tokio::test]
async fn a_login_that_is_not_accepted_any_more_is_made_anew_once() {
    let world = with(&app_role()).await;
    world.check("Issued", "").await;
    world.vault.revoke_all();
    world.check("Issued", "").await;
    assert_eq!(world.vault.count("/v1/auth/approle/login"), 2);
    for _ in 0..2 {
        world.vault.tell("/v1/pki", Answer::refusal(403, "permission denied"));
    }
    world.check("Terminal SigningError", "was refused with status 403: permission denied").await;
    assert_eq!(world.vault.count("/v1/auth/approle/login"), 3);
    // A login that is new is not made again.
    let fresh = with(&app_role()).await;
    fresh.vault.tell("/v1/pki", Answer::refusal(403, "permission denied"));
    fresh.check("Terminal SigningError", "permission denied").await;
    assert_eq!(fresh.vault.count("/v1/auth/approle/login"), 1);
}

#[tokio::test]
async fn logins_that_bring_no_token_are_tried_again() {
    let world = with(&app_role()).await;
    world.vault.tell("/v1/auth", Answer::good(&json!({"auth": null})));
    world.check("Retry VaultInitError", "it holds no token").await;
    world.vault.tell("/v1/auth", Answer::Json(200, json!({"auth": {"client_token": 7}})));
    world.check("Retry VaultInitError", "it is not what a login is answered with (Data)").await;
    world.vault.tell("/v1/auth", Answer::refusal(403, &format!("{SECRET_ID} is not allowed")));
    world.check("Retry VaultInitError", "login at http://").await;
    world.vault.tell("/v1/auth", Answer::refusal(503, "Vault is sealed"));
    world.check("Retry VaultInitError", "Vault is sealed").await;
    let other =
        with(&json!({"auth": {"kubernetes": {"role": "other", "secretRef": {"name": "vault"}}}})).await;
    other.check("Retry VaultInitError", "was refused with status 400: invalid role name \"other\"").await;
}

#[tokio::test]
async fn the_token_of_an_account_is_asked_for_at_each_login() {
    let account = json!({"name": "signer", "audiences": ["own"]});
    let spec = json!({"auth": {"kubernetes": {"role": "web", "serviceAccountRef": account}}});
    let world = with(&spec).await;
    for (code, cure) in [(403, "grant the controller create on serviceaccounts/token"), (404, "create it")] {
        *lock(&world.cluster.refusal) = Some(Failure { code: Some(code), message: "no".to_owned() });
        world.check("Retry VaultInitError", cure).await;
    }
    *lock(&world.cluster.refusal) = None;
    world.check("Issued", "").await;
    world.check("Issued", "").await;
    let tokens = lock(&world.cluster.tokens).clone();
    assert_eq!(tokens.len(), 3);
    let server = format!("http://{}", world.vault.address());
    let audiences = ["own", "vault://team-a/vault", &server].map(str::to_owned);
    assert_eq!(tokens[2], ("team-a/signer".to_owned(), audiences.to_vec()));
    let login =
        world.vault.asked().into_iter().find(|asked| asked.line.ends_with("/kubernetes/login")).unwrap();
    assert_eq!(login.body, json!({"role": "web", "jwt": "jwt-3"}));
}

#[tokio::test]
async fn the_token_of_an_account_can_be_in_a_secret() {
    let world = with(&json!({"auth": {"kubernetes": {"role": "web", "secretRef": {"name": "vault"}}}})).await;
    world.check("Issued", "").await;
    let login =
        world.vault.asked().into_iter().find(|asked| asked.line.ends_with("/kubernetes/login")).unwrap();
    assert_eq!(login.body, json!({"role": "web", "jwt": TOKEN}));
}

#[tokio::test]
async fn a_server_that_is_not_well_is_told_and_looked_at_again() {
    let world = with(&json!({})).await;
    let sealed = Answer::Json(503, json!({"initialized": true, "sealed": true}));
    world.vault.tell("/v1/sys/health", sealed);
    let told = world.issuer.readiness(now()).await.unwrap();
    assert_eq!((told.ready, told.reason), (false, "VaultError"));
    assert!(told.message.contains("Vault is sealed; unseal it") && told.again.is_some(), "{told:?}");
    // The same question is not asked again at once.
    assert_eq!(world.issuer.readiness(now()).await, Some(told));
    assert_eq!(world.vault.count("/v1/sys/health"), 1);
    // What its Secrets hold changes the question.
    world.cluster.put("vault", &[("token", b"hvs.unknown")]);
    world.judge((false, "VaultError"), "invalid token").await;
    world.cluster.put("vault", &[("token", TOKEN.as_bytes())]);
    world.judge((true, "VaultVerified"), "").await;
}

#[tokio::test]
async fn a_token_that_ends_soon_is_told_once_the_issuer_is_ready() {
    let world = with(&json!({})).await;
    let soon = (now() + SignedDuration::from_secs(60)).to_string();
    let facts = json!({"ttl": 60, "creation_ttl": 3600, "expire_time": soon});
    world.vault.tell("/v1/auth/token", Answer::good(&json!({"data": facts})));
    let told = world.issuer.readiness(now()).await.unwrap();
    let (reason, text) = told.advice.unwrap();
    assert!(told.ready && reason == "TokenExpiresSoon", "{}", told.message);
    assert_eq!(
        text,
        format!(
            "the token in Secret team-a/vault expires at {soon} and is not renewed; put another one there"
        )
    );
}

#[tokio::test]
async fn a_token_that_may_not_look_at_itself_is_not_told_to_be_bad() {
    let world = with(&json!({})).await;
    world.vault.tell("/v1/auth/token", Answer::refusal(403, "1 error occurred:\n\t* permission denied\n\n"));
    world.judge((true, "VaultVerified"), "").await;
    let world = with(&json!({})).await;
    world.vault.tell("/v1/auth/token", Answer::refusal(500, "x"));
    world.judge((false, "VaultError"), "looking the token up at http://").await;
}

/// A CA, and what it signed.
struct Pki(CertifiedIssuer<'static, KeyPair>);

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pair(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// A server of this name that asks for certificates of this CA.
    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let (certificate, key) = self.pair(name);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let clients = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build().unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder().with_client_cert_verifier(clients);
        Arc::new(config.with_single_cert(chain, key).unwrap())
    }

    async fn world(&self, spec: &Value) -> World {
        let vault = StandIn::start(Some(self.server("vault.test"))).await.unwrap();
        let mut whole = json!({
            "server": format!("https://{}", vault.address()),
            "serverName": "vault.test",
            "caBundle": BASE64_STANDARD.encode(self.0.pem()),
        });
        for (field, value) in spec.as_object().unwrap() {
            whole[field] = value.clone();
        }
        let world = at(vault, &whole);
        let (certificate, key) = self.pair("client.test");
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        world.cluster.put("pair", &[("tls.crt", certificate.as_bytes()), ("tls.key", key.as_bytes())]);
        world.cluster.put("ca", &[("ca.crt", self.0.pem().as_bytes())]);
        world
    }
}

#[tokio::test]
async fn a_server_that_is_not_the_one_gets_no_token() {
    let pki = Pki::new();
    let check = async |spec: Value, message: &str| {
        let world = pki.world(&spec).await;
        world.check("Retry SigningError", message).await;
        assert_eq!(world.vault.count("/"), 0, "{spec}");
    };
    check(json!({"caBundle": BASE64_STANDARD.encode(Pki::new().0.pem())}), "says by which CA").await;
    check(json!({"serverName": "other.test"}), "not valid for name \"other.test\"").await;
    check(json!({"serverName": null}), "not valid for name \"127.0.0.1\"").await;
}

#[tokio::test]
async fn a_server_is_known_by_a_bundle_in_the_spec_or_in_a_secret() {
    let pki = Pki::new();
    pki.world(&json!({})).await.check("Issued", "").await;
    let spec = json!({"caBundle": null, "caBundleSecretRef": {"name": "ca"}});
    let world = pki.world(&spec).await;
    world.check("Issued", "").await;
    let connected = world.vault.count("/v1/pki");
    world.cluster.put("ca", &[("ca.crt", Pki::new().0.pem().as_bytes())]);
    world.check("Retry SigningError", "invalid peer certificate").await;
    assert_eq!(world.vault.count("/v1/pki"), connected, "the old connection was used");
    world.cluster.put("ca", &[("ca.crt", b"x")]);
    world
        .check("Wait VaultInitError", "\"ca.crt\" of Secret team-a/ca of spec.vault.caBundleSecretRef")
        .await;
}

#[tokio::test]
async fn a_certificate_logs_in_and_is_shown_at_every_call() {
    let pki = Pki::new();
    let auth = json!({"auth": {"clientCertificate": {"name": "web", "secretName": "pair"}}});
    let world = pki.world(&auth).await;
    world.judge((true, "VaultVerified"), "").await;
    world.check("Issued", "").await;
    let asked = world.vault.asked();
    assert!(asked.iter().all(|asked| asked.is_shown));
    assert_eq!(asked[1].body, json!({"name": "web"}));
    let pair = json!({"name": "pair"});
    let shared =
        json!({"auth": {"clientCertificate": {}}, "clientCertSecretRef": pair, "clientKeySecretRef": pair});
    let world = pki.world(&shared).await;
    world.check("Issued", "").await;
    assert_eq!(world.vault.asked()[0].body, json!({}));
    let (_, stranger) = pki.pair("client.test");
    let certificate = pki.pair("client.test").0.pem();
    world.cluster.put(
        "pair",
        &[("tls.crt", certificate.as_bytes()), ("tls.key", stranger.serialize_pem().as_bytes())],
    );
    world.check("Wait VaultInitError", "cannot be shown with").await;
    world.cluster.put("pair", &[("tls.crt", certificate.as_bytes()), ("tls.key", b"x")]);
    world
        .check("Wait VaultInitError", "\"tls.key\" of Secret team-a/pair of spec.vault.clientKeySecretRef")
        .await;
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_and_sees_none_refuses_the_login() {
    let pki = Pki::new();
    let auth = json!({"auth": {"clientCertificate": {"secretName": "pair"}}});
    let world = pki.world(&auth).await;
    world.vault.tell("/v1/auth/cert", Answer::refusal(400, "client certificate must be supplied"));
    world.check("Retry VaultInitError", "client certificate must be supplied").await;
}

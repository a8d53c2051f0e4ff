//! Calls to one Vault server over HTTP: bounded in time and size, without redirections, and with what is secret erased.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use zeroize::Zeroizing;

use super::answer::{Token, said};
use super::fault::CallFault;
use super::settings::Endpoint;

/// Longest time to a connection, the handshake of TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time from a call to the last byte of its answer. A signature takes milliseconds; a server that is overloaded may
/// take seconds.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest answer: a chain of twenty certificates of the largest size that is accepted has less.
pub(super) const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How long a connection waits for its next call; Vault's own end is after 5 min.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Most connections that wait.
const IDLE_MAX: usize = 8;

/// Names this program to Vault's audit log.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("signet/", env!("CARGO_PKG_VERSION")));

/// The token of a call.
const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
/// The namespace of a call (Vault Enterprise).
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Says that no browser was tricked into this call; agents of Vault may insist on it.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// A call.
#[derive(Default)]
pub(super) struct Call<'a> {
    /// The namespace that it is for.
    pub(super) namespace: Option<&'a HeaderValue>,
    /// By which it is allowed.
    pub(super) token: Option<&'a Token>,
    /// What is sent; see [`body`].
    pub(super) body: Zeroizing<Vec<u8>>,
    /// What must not be shown, should the server repeat it.
    pub(super) secrets: &'a [&'a str],
}

/// Connections to a server, by one configuration of TLS.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: legacy::Client<TimeoutConnector<HttpsConnector<HttpConnector>>, Full<Bytes>>,
}

impl Client {
    /// Nothing is sent yet.
    pub(super) fn new(tls: ClientConfig, server_name: Option<ServerName<'static>>) -> Self {
        let mut tcp = HttpConnector::new();
        // The scheme is TLS's to judge.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let https = match server_name {
            Some(name) => builder
                .with_server_name_resolver(FixedServerNameResolver::new(name))
                .enable_http1()
                .wrap_connector(tcp),
            None => builder.enable_http1().wrap_connector(tcp),
        };
        let mut connector = TimeoutConnector::new(https);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .build(connector);
        Self { http }
    }

    /// The body of a good answer.
    pub(super) async fn call(
        &self,
        endpoint: &Endpoint,
        call: Call<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, CallFault> {
        let token = call.token;
        let secrets: Vec<&str> = call.secrets.iter().copied().chain(token.map(Token::expose)).collect();
        let (status, body) = self.exchange(endpoint, call).await?;
        if status.is_success() {
            Ok(body)
        } else if status.is_redirection() {
            Err(CallFault::Redirected(status.as_u16()))
        } else {
            Err(CallFault::Refused { status: status.as_u16(), said: said(&body, &secrets) })
        }
    }

    /// Status and body of an answer.
    pub(super) async fn exchange(
        &self,
        endpoint: &Endpoint,
        call: Call<'_>,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), CallFault> {
        let request = request(endpoint, call)?;
        let exchange = async {
            let answer = self.http.request(request).await.map_err(|error| unreached(&error))?;
            Ok((answer.status(), bounded(answer.into_body()).await?))
        };
        let whole = tokio::time::timeout(CALL_TIMEOUT, exchange).await;
        whole.unwrap_or(Err(CallFault::Late(CALL_TIMEOUT)))
    }
}

/// A body of JSON that is erased once it is sent. It is written into a buffer that never moves, so that nothing is left
/// behind by its growth.
pub(super) fn body(value: &impl Serialize) -> Zeroizing<Vec<u8>> {
    let mut length = Length(0);
    // Texts and lists of texts are always JSON.
    let _ = serde_json::to_writer(&mut length, value);
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    let _ = serde_json::to_writer(&mut *bytes, value);
    bytes
}

struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn request(endpoint: &Endpoint, call: Call<'_>) -> Result<Request<Full<Bytes>>, CallFault> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, AGENT);
    headers.insert(REQUEST, HeaderValue::from_static("true"));
    if let Some(namespace) = call.namespace {
        headers.insert(NAMESPACE, namespace.clone());
    }
    if let Some(token) = call.token {
        let bytes = Bytes::from_owner(Zeroizing::new(token.expose().as_bytes().to_vec()));
        let mut value = HeaderValue::from_maybe_shared(bytes).map_err(|_| {
            CallFault::Unusable("the token has characters that no header can hold".to_owned())
        })?;
        value.set_sensitive(true);
        headers.insert(TOKEN, value);
    }
    if !call.body.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let mut request = Request::new(Full::new(Bytes::from_owner(call.body)));
    *request.method_mut() = endpoint.method.clone();
    *request.uri_mut() = endpoint.uri.clone();
    *request.headers_mut() = headers;
    Ok(request)
}

/// The body, if it is not too long.
async fn bounded(mut body: Incoming) -> Result<Zeroizing<Vec<u8>>, CallFault> {
    let (mut parts, mut length) = (Vec::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| CallFault::Unreached(causes(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > ANSWER_BYTES_MAX {
            return Err(CallFault::TooLong(ANSWER_BYTES_MAX));
        }
        parts.push(data);
    }
    let mut whole = Zeroizing::new(Vec::with_capacity(length));
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    Ok(whole)
}

fn unreached(error: &legacy::Error) -> CallFault {
    let text = causes(error);
    let cure = if text.contains("invalid peer certificate") {
        "; spec.vault.caBundle or caBundleSecretRef says by which CA the server is known, and serverName under which name"
    } else {
        ""
    };
    CallFault::Unreached(format!("{text}{cure}"))
}

/// The error with its causes, of which some repeat the one below.
fn causes(error: &dyn Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_fills_its_buffer_and_leaves_no_copy() {
        let body = body(&json!({"jwt": "x".repeat(10_000)}));
        assert_eq!(body.len(), body.capacity());
    }

    #[test]
    fn a_request_does_not_show_its_token() {
        let endpoint =
            Endpoint { method: http::Method::POST, uri: "http://vault.test/v1/x".parse().unwrap() };
        let token = Token::from("s.secret".to_owned());
        let call = Call { token: Some(&token), body: body(&json!({})), ..Call::default() };
        let request = request(&endpoint, call).unwrap();
        assert_eq!(request.headers().get(TOKEN).unwrap(), "s.secret");
        assert!(!format!("{:?}", request.headers()).contains("secret"));
    }
}

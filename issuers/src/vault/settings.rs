//! What the spec of a Vault issuer comes to: parsed once, so that calls find nothing to object to (spec/issuance.md §8).

#[cfg(test)]
mod tests;

use api::SecretKeySelector;
use api::vault::{
    DEFAULT_CA_BUNDLE_KEY, VaultAppRole, VaultAuth, VaultClientCertificate, VaultIssuer, VaultKubernetesAuth,
};
use http::header::HeaderValue;
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Uri};
use issuance::bundle::Bundle;
use issuance::outcome::causes;
use issuance::pem::{self, Limit};
use runtime::watch::ObjectName;
use rustls::pki_types::ServerName;

use crate::outcome::{IssuerId, IssuerKind};

/// Keys of a Secret of type kubernetes.io/tls.
const CERTIFICATE: &str = "tls.crt";
const PRIVATE_KEY: &str = "tls.key";

/// Key of a token where none is named.
const TOKEN: &str = "token";

/// Where the methods are mounted unless the spec says otherwise.
const APP_ROLE_PATH: &str = "approle";
const CERTIFICATE_PATH: &str = "/v1/auth/cert";
const KUBERNETES_PATH: &str = "/v1/auth/kubernetes";

/// One key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SecretKey {
    /// The Secret.
    pub(super) secret: ObjectName,
    /// Key of its data.
    pub(super) key: String,
    /// The field that refers to it, for people.
    pub(super) field: &'static str,
}

/// By what the server is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trust {
    /// The roots of the system.
    System,
    /// These CAs.
    Given(Bundle),
    /// The CAs in a Secret.
    Secret(SecretKey),
}

/// Certificate and key that are shown to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// Certificate, with its intermediates.
    pub(super) certificate: SecretKey,
    /// Private key.
    pub(super) key: SecretKey,
}

/// How a token is got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// It is in a Secret.
    Token(SecretKey),
    /// By a role's id and a secret one.
    AppRole { endpoint: Endpoint, role_id: String, secret_id: SecretKey },
    /// By the certificate that is shown.
    Certificate { endpoint: Endpoint, name: Option<String> },
    /// By the token of a service account that is in a Secret.
    Kubernetes { endpoint: Endpoint, role: String, token: SecretKey },
    /// By a token that is asked for when it is needed.
    Account { endpoint: Endpoint, role: String, account: ObjectName, audiences: Vec<String> },
}

/// Where a call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Method.
    pub(super) method: Method,
    /// Whole address.
    pub(super) uri: Uri,
}

/// What the spec comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// Address, as in the spec.
    pub(super) server: String,
    /// What signs.
    pub(super) sign: Endpoint,
    /// Whether the server is well.
    pub(super) health: Endpoint,
    /// What the server says of a token.
    pub(super) lookup: Endpoint,
    /// Namespace within Vault Enterprise.
    pub(super) namespace: Option<HeaderValue>,
    /// By what the server is known; `None`: it is not asked over TLS.
    pub(super) trust: Option<Trust>,
    /// The name that its certificate has to bear, where that is not the host of the address.
    pub(super) server_name: Option<ServerName<'static>>,
    /// What is shown to it.
    pub(super) identity: Option<Identity>,
    /// How a token is got.
    pub(super) login: Login,
}

/// Why a spec cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It asks for what is not served here: the part of the spec.
    Unsupported(&'static str),
    /// It is incomplete or wrong; the text says what would be right.
    Malformed(String),
}

impl Settings {
    /// Parses a spec. What a ClusterIssuer refers to is in the namespace `cluster_resources`.
    pub(super) fn parse(
        id: &IssuerId,
        spec: &VaultIssuer,
        cluster_resources: &str,
    ) -> Result<Self, Unusable> {
        let base = address(&spec.server)?;
        let fields = Fields { id, cluster_resources };
        let namespace = spec.namespace.as_deref().map(|namespace| {
            HeaderValue::from_str(namespace.trim()).map_err(|_| {
                malformed("spec.vault.namespace has control characters; write it as in \"team/a\"")
            })
        });
        let server_name = spec.server_name.as_deref().map(|name| {
            ServerName::try_from(name.to_owned()).map_err(|_| {
                malformed(format!(
                    "spec.vault.serverName is {name:?}, which is neither a DNS name nor an IP address"
                ))
            })
        });
        if spec.path.trim_matches('/').is_empty() {
            return Err(malformed(
                "spec.vault.path is empty; write the path that signs, such as \"pki/sign/my-role\"",
            ));
        }
        let identity = identity(&fields, spec)?;
        Ok(Self {
            server: spec.server.clone(),
            sign: endpoint(Method::POST, &base, &["v1", &spec.path], "spec.vault.path")?,
            health: endpoint(Method::GET, &base, &["v1/sys/health"], "spec.vault.server")?,
            lookup: endpoint(Method::GET, &base, &["v1/auth/token/lookup-self"], "spec.vault.server")?,
            namespace: namespace.transpose()?,
            trust: if base.scheme() == Some(&Scheme::HTTPS) { Some(trust(&fields, spec)?) } else { None },
            server_name: server_name.transpose()?,
            login: login(&fields, spec, &base, identity.is_some())?,
            identity,
        })
    }

    /// The Secrets that it refers to, each once.
    pub(super) fn secrets(&self) -> Vec<ObjectName> {
        let trust = self.trust.as_ref().and_then(|trust| match trust {
            Trust::Secret(key) => Some(key),
            Trust::System | Trust::Given(_) => None,
        });
        let shown = self.identity.iter().flat_map(|identity| [&identity.certificate, &identity.key]);
        let mut names = Vec::new();
        for key in self.login.secret().into_iter().chain(trust).chain(shown) {
            if !names.contains(&key.secret) {
                names.push(key.secret.clone());
            }
        }
        names
    }
}

impl Login {
    /// What it needs of a Secret.
    pub(super) fn secret(&self) -> Option<&SecretKey> {
        match self {
            Self::Token(key) | Self::AppRole { secret_id: key, .. } | Self::Kubernetes { token: key, .. } => {
                Some(key)
            }
            Self::Certificate { .. } | Self::Account { .. } => None,
        }
    }
}

/// Turns references of the spec into names of Secrets.
struct Fields<'a> {
    id: &'a IssuerId,
    cluster_resources: &'a str,
}

impl Fields<'_> {
    fn key(
        &self,
        field: &'static str,
        reference: &SecretKeySelector,
        default: &str,
    ) -> Result<SecretKey, Unusable> {
        self.key_of(field, &reference.name, reference.key_or(default))
    }

    fn key_of(&self, field: &'static str, name: &str, key: &str) -> Result<SecretKey, Unusable> {
        if name.is_empty() {
            return Err(malformed(format!("spec.vault.{field} names no Secret; name one")));
        }
        let secret = self.id.secret(name, self.cluster_resources);
        Ok(SecretKey { secret, key: key.to_owned(), field })
    }
}

fn malformed(message: impl Into<String>) -> Unusable {
    Unusable::Malformed(message.into())
}

/// The address that all paths are below.
fn address(server: &str) -> Result<Uri, Unusable> {
    // What was written may hold a password, so it is not repeated.
    let wrong = |why: &str| {
        malformed(format!(
            "spec.vault.server {why}; write the address alone, such as \"https://vault.example.com:8200\""
        ))
    };
    let uri: Uri = server.trim().parse().map_err(|_| wrong("cannot be read as a URL"))?;
    if ![Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&uri.scheme()) {
        return Err(wrong("is neither an https nor an http URL"));
    }
    if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
        return Err(wrong("holds a user name"));
    }
    if uri.query().is_some() { Err(wrong("has a query")) } else { Ok(uri) }
}

/// A path below the server's address; what no path can hold is escaped.
fn endpoint(method: Method, base: &Uri, path: &[&str], field: &'static str) -> Result<Endpoint, Unusable> {
    let mut text = base.path().trim_end_matches('/').to_owned();
    for segment in path.iter().flat_map(|part| part.split('/')).filter(|segment| !segment.is_empty()) {
        if matches!(segment, "." | "..") {
            return Err(malformed(format!("{field} has the segment {segment:?}; write the path without it")));
        }
        text.push('/');
        escape(segment, &mut text);
    }
    let wrong = || malformed(format!("{field} cannot be part of a URL; write it as in \"pki/sign/my-role\""));
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).map_err(|_| wrong())?);
    let uri = Uri::from_parts(parts).map_err(|_| wrong())?;
    Ok(Endpoint { method, uri })
}

/// RFC 3986 §3.3: what a segment may hold stays, all else is escaped.
fn escape(segment: &str, into: &mut String) {
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

fn trust(fields: &Fields<'_>, spec: &VaultIssuer) -> Result<Trust, Unusable> {
    let given = spec.ca_bundle.as_ref().map(|text| text.0.as_slice()).filter(|text| !text.is_empty());
    match (given, &spec.ca_bundle_secret_ref) {
        (Some(_), Some(_)) => {
            Err(malformed("spec.vault has both caBundle and caBundleSecretRef; remove one"))
        }
        (Some(text), None) => {
            let certificates = pem::certificates(text, Limit::BUNDLE).map_err(|error| {
                malformed(format!("spec.vault.caBundle cannot be used: {}", causes(&error)))
            })?;
            Ok(Trust::Given(Bundle::of(certificates)))
        }
        (None, Some(reference)) => {
            fields.key("caBundleSecretRef", reference, DEFAULT_CA_BUNDLE_KEY).map(Trust::Secret)
        }
        (None, None) => Ok(Trust::System),
    }
}

/// The pair that is shown. That of the certificate method is shown at every call: a server sees one client.
fn identity(fields: &Fields<'_>, spec: &VaultIssuer) -> Result<Option<Identity>, Unusable> {
    const SECRET: &str = "auth.clientCertificate.secretName";
    if let Some(Way::Certificate(VaultClientCertificate { secret_name: Some(name), .. })) = way(&spec.auth) {
        return Ok(Some(Identity {
            certificate: fields.key_of(SECRET, name, CERTIFICATE)?,
            key: fields.key_of(SECRET, name, PRIVATE_KEY)?,
        }));
    }
    match (&spec.client_cert_secret_ref, &spec.client_key_secret_ref) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(Identity {
            certificate: fields.key("clientCertSecretRef", certificate, CERTIFICATE)?,
            key: fields.key("clientKeySecretRef", key, PRIVATE_KEY)?,
        })),
        _ => Err(malformed(
            "spec.vault has one of clientCertSecretRef and clientKeySecretRef; a certificate is shown with its key, so \
             set both or none",
        )),
    }
}

/// The ways to log in.
#[derive(Debug, Clone, Copy)]
enum Way<'a> {
    Token(&'a SecretKeySelector),
    AppRole(&'a VaultAppRole),
    Certificate(&'a VaultClientCertificate),
    Kubernetes(&'a VaultKubernetesAuth),
    Aws,
}

/// The way that counts: the first that is set, in the order of the fields' documentation.
fn way(auth: &VaultAuth) -> Option<Way<'_>> {
    let ways = [
        auth.token_secret_ref.as_ref().map(Way::Token),
        auth.app_role.as_ref().map(Way::AppRole),
        auth.client_certificate.as_ref().map(Way::Certificate),
        auth.kubernetes.as_ref().map(Way::Kubernetes),
        auth.aws.as_ref().map(|_| Way::Aws),
    ];
    ways.into_iter().flatten().next()
}

fn login(fields: &Fields<'_>, spec: &VaultIssuer, base: &Uri, is_shown: bool) -> Result<Login, Unusable> {
    let post = |path: &[&str], field| endpoint(Method::POST, base, path, field);
    match way(&spec.auth) {
        None => Err(malformed(
            "spec.vault.auth names no way to log in; set one of tokenSecretRef, appRole, clientCertificate, kubernetes",
        )),
        Some(Way::Aws) => Err(Unusable::Unsupported("vault with auth.aws")),
        Some(Way::Token(reference)) => fields.key("auth.tokenSecretRef", reference, TOKEN).map(Login::Token),
        Some(Way::AppRole(own)) => {
            let role_id = own.role_id.trim().to_owned();
            if role_id.is_empty() {
                return Err(malformed("spec.vault.auth.appRole.roleId is empty; write the id of the role"));
            }
            let path = if own.path.is_empty() { APP_ROLE_PATH } else { &own.path };
            let endpoint = post(&["v1/auth", path, "login"], "spec.vault.auth.appRole.path")?;
            let Some(key) = own.secret_ref.key.as_deref() else {
                return Err(malformed(
                    "spec.vault.auth.appRole.secretRef names no key; say under which key the secret id is",
                ));
            };
            let secret_id = fields.key("auth.appRole.secretRef", &own.secret_ref, key)?;
            Ok(Login::AppRole { endpoint, role_id, secret_id })
        }
        Some(Way::Certificate(own)) => {
            if !is_shown {
                return Err(malformed(
                    "spec.vault.auth.clientCertificate has nothing to show; set its secretName, or clientCertSecretRef and \
                     clientKeySecretRef of spec.vault",
                ));
            }
            if base.scheme() != Some(&Scheme::HTTPS) {
                return Err(malformed(
                    "spec.vault.auth.clientCertificate needs TLS; write an https URL into spec.vault.server",
                ));
            }
            let path = own.mount_path.as_deref().unwrap_or(CERTIFICATE_PATH);
            let endpoint = post(&[path, "login"], "spec.vault.auth.clientCertificate.mountPath")?;
            Ok(Login::Certificate { endpoint, name: own.name.clone() })
        }
        Some(Way::Kubernetes(own)) => kubernetes(fields, spec, own, base),
    }
}

fn kubernetes(
    fields: &Fields<'_>,
    spec: &VaultIssuer,
    own: &VaultKubernetesAuth,
    base: &Uri,
) -> Result<Login, Unusable> {
    let wrong = |what| Err(malformed(format!("spec.vault.auth.kubernetes{what}")));
    let role = own.role.clone();
    if role.is_empty() {
        return wrong(".role is empty; name the role to log in as");
    }
    let path = own.mount_path.as_deref().unwrap_or(KUBERNETES_PATH);
    let endpoint = endpoint(Method::POST, base, &[path, "login"], "spec.vault.auth.kubernetes.mountPath")?;
    let secret = own.secret_ref.as_ref().filter(|secret| !secret.name.is_empty());
    match (secret, &own.service_account_ref) {
        (Some(_), Some(_)) => wrong(" has both secretRef and serviceAccountRef; keep serviceAccountRef"),
        (None, None) => wrong(" has no identity; set serviceAccountRef"),
        (Some(secret), None) => {
            let token = fields.key("auth.kubernetes.secretRef", secret, TOKEN)?;
            Ok(Login::Kubernetes { endpoint, role, token })
        }
        (None, Some(account)) if account.name.is_empty() => {
            wrong(".serviceAccountRef names no service account; name one")
        }
        (None, Some(account)) => {
            let mut audiences = account.audiences.clone();
            audiences.extend([audience(fields.id), spec.server.clone()]);
            let account = fields.id.secret(&account.name, fields.cluster_resources);
            Ok(Login::Account { endpoint, role, account, audiences })
        }
    }
}

/// The audience that says for which issuer a token was made, so that no other one can use it.
fn audience(id: &IssuerId) -> String {
    match id.kind {
        IssuerKind::Issuer => format!("vault://{}/{}", id.namespace, id.name),
        IssuerKind::ClusterIssuer => format!("vault://{}", id.name),
    }
}

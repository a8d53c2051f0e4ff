//! What else is in the cluster, for rules that warn.

use std::fmt::Debug;
use std::sync::Arc;

use api::{CertificateSpec, IssuerRef, IssuerSpec};
use serde::Deserialize;

use crate::case::Object;

/// What else is in the cluster, as an index of watched objects knows it. It may be out of date, so nothing is rejected
/// because of it. Every answer is one look-up in memory: rules ask during an admission review.
pub trait Cluster: Debug + Send + Sync {
    /// The name of a Certificate in `namespace`, other than `certificate`, whose `spec.secretName` is `secret`. None:
    /// there is none, or the Certificates are not known yet.
    fn other_certificate_of(&self, namespace: &str, secret: &str, certificate: &str) -> Option<Arc<str>>;

    /// What an `issuerRef` to an Issuer or ClusterIssuer of cert-manager.io means in an object of `namespace`. Rules
    /// do not ask for issuers of other groups.
    fn issuer(&self, namespace: &str, issuer: &IssuerRef) -> Lookup<IssuerFacts>;

    /// Whether the API server serves this API group, which is not cert-manager.io. None: not known yet.
    fn serves_group(&self, group: &str) -> Option<bool>;
}

/// The outcome of a look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<T> {
    /// Objects of this kind are not known yet, or not watched.
    Unknown,
    /// There is no such object.
    Missing,
    /// This is known about it.
    Found(T),
}

/// What rules want to know about an issuer. An index keeps this rather than the issuer's spec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IssuerFacts {
    /// Present for issuers of type ACME.
    pub acme: Option<AcmeFacts>,
    /// `spec.ca.secretName`, for issuers of type CA.
    pub ca_secret: Option<Arc<str>>,
}

/// What rules want to know about an ACME issuer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AcmeFacts {
    /// Whether a solver proves domains by DNS-01, as wildcards need it.
    pub has_dns01: bool,
    /// Whether the server is that of a CA which browsers trust, and which therefore signs for public names only.
    pub is_public: bool,
}

/// Domains of the ACME servers of publicly trusted CAs. A server that is missing here is taken for a private one, so
/// that one warning less is told.
const PUBLIC_SERVERS: &[&str] = &[
    "letsencrypt.org",
    "pki.goog",
    "zerossl.com",
    "buypass.com",
    "buypass.no",
    "ssl.com",
    "digicert.com",
    "sectigo.com",
    "globalsign.com",
    "entrust.net",
    "actalis.com",
];

impl IssuerFacts {
    /// What `spec` says.
    pub fn of(spec: &IssuerSpec) -> Self {
        Self {
            acme: spec.acme.as_ref().map(|acme| {
                let has_dns01 = acme.solvers.iter().any(|solver| solver.dns01.is_some());
                AcmeFacts::of(&acme.server, has_dns01)
            }),
            ca_secret: spec.ca.as_ref().map(|ca| ca.secret_name.as_str().into()),
        }
    }
}

impl AcmeFacts {
    /// Facts about an issuer whose server has this URL.
    pub fn of(server: &str, has_dns01: bool) -> Self {
        let host = server.split_once("://").map_or("", |(_, rest)| rest);
        let host = host.split(['/', ':', '?']).next().unwrap_or_default();
        let is_within = |domain: &str| {
            let border = host.strip_suffix(domain);
            border.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        Self { has_dns01, is_public: PUBLIC_SERVERS.iter().any(|domain| is_within(domain)) }
    }
}

/// A cluster that is known in full: what is not in it does not exist. For files instead of a cluster, and for tests.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Snapshot {
    /// Certificates, as manifests.
    pub certificates: Vec<Object<CertificateSpec>>,
    /// Issuers and ClusterIssuers, as manifests.
    pub issuers: Vec<Object<IssuerSpec>>,
    /// API groups that are served, besides our own.
    pub groups: Vec<String>,
}

impl Cluster for Snapshot {
    fn other_certificate_of(&self, namespace: &str, secret: &str, certificate: &str) -> Option<Arc<str>> {
        let is_other = |other: &&Object<CertificateSpec>| {
            other.metadata.namespace == namespace
                && other.spec.secret_name == secret
                && other.metadata.name != certificate
        };
        self.certificates.iter().find(is_other).map(|other| other.metadata.name.as_str().into())
    }

    fn issuer(&self, namespace: &str, issuer: &IssuerRef) -> Lookup<IssuerFacts> {
        let kind = issuer.kind_or_default();
        let is_meant = |object: &&Object<IssuerSpec>| {
            object.kind == kind
                && object.metadata.name == issuer.name
                && (issuer.is_cluster_issuer() || object.metadata.namespace == namespace)
        };
        let found = self.issuers.iter().find(is_meant);
        found.map_or(Lookup::Missing, |found| Lookup::Found(IssuerFacts::of(&found.spec)))
    }

    fn serves_group(&self, group: &str) -> Option<bool> {
        Some(self.groups.iter().any(|served| served == group))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn snapshot() -> Snapshot {
        let acme = json!({"acme": {"server": "https://acme-v02.api.letsencrypt.org/directory",
                                   "solvers": [{"http01": {}}, {"dns01": {}}]}});
        serde_json::from_value(json!({
            "certificates": [{"metadata": {"namespace": "shop", "name": "web"}, "spec": {"secretName": "tls"}}],
            "issuers": [
                {"kind": "Issuer", "metadata": {"namespace": "shop", "name": "ca"},
                 "spec": {"ca": {"secretName": "root"}}},
                {"kind": "ClusterIssuer", "metadata": {"name": "acme"}, "spec": acme},
            ],
            "groups": ["awspca.cert-manager.io"],
        }))
        .unwrap()
    }

    fn reference(value: Value) -> IssuerRef {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_not_in_a_snapshot_does_not_exist() {
        let cluster = snapshot();
        assert_eq!(cluster.other_certificate_of("shop", "tls", "web"), None, "itself");
        assert_eq!(cluster.other_certificate_of("other", "tls", "app"), None);
        assert_eq!(cluster.other_certificate_of("shop", "other", "app"), None);
        assert_eq!(cluster.issuer("other", &reference(json!({"name": "ca"}))), Lookup::Missing);
        assert_eq!(cluster.issuer("shop", &reference(json!({"name": "acme"}))), Lookup::Missing);
        assert_eq!(cluster.serves_group("other.io"), Some(false));
    }

    #[test]
    fn what_is_in_a_snapshot_is_found() {
        let cluster = snapshot();
        assert_eq!(cluster.other_certificate_of("shop", "tls", "app").as_deref(), Some("web"));
        let ca = IssuerFacts { ca_secret: Some("root".into()), acme: None };
        assert_eq!(cluster.issuer("shop", &reference(json!({"name": "ca"}))), Lookup::Found(ca));
        let acme = Some(AcmeFacts { has_dns01: true, is_public: true });
        let acme = IssuerFacts { acme, ca_secret: None };
        let by_name = reference(json!({"name": "acme", "kind": "ClusterIssuer"}));
        assert_eq!(cluster.issuer("anywhere", &by_name), Lookup::Found(acme));
        assert_eq!(cluster.serves_group("awspca.cert-manager.io"), Some(true));
    }

    #[test]
    fn a_server_is_public_by_its_host_alone() {
        let check = |server: &str, is_public: bool| {
            assert_eq!(AcmeFacts::of(server, false).is_public, is_public, "{server}");
        };
        check("https://acme.internal/letsencrypt.org", false);
        check("https://notletsencrypt.org/directory", false);
        check("https://letsencrypt.org.internal:14000/dir", false);
        check("letsencrypt.org", false);
        check("https://letsencrypt.org/", true);
        check("https://dv.acme-v02.api.pki.goog/directory", true);
    }
}

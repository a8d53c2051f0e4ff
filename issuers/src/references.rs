//! Which Secrets an issuer refers to.

use api::{IssuerSpec, IssuerType};
use runtime::watch::ObjectName;

use crate::outcome::{IssuerId, IssuerKind};

/// The Secrets that an issuer needs, each once. ClusterIssuers find theirs in the namespace `cluster_resources`. Types that
/// we do not have refer to nothing.
pub fn references(id: &IssuerId, spec: &IssuerSpec, cluster_resources: &str) -> Vec<ObjectName> {
    if let ([IssuerType::Vault], Some(vault)) = (spec.types().as_slice(), &spec.vault) {
        return crate::vault::references(id, vault, cluster_resources);
    }
    let ca = spec.ca.as_ref().map(|ca| ca.secret_name.as_str()).filter(|name| !name.is_empty());
    ca.map(|name| id.secret(name, cluster_resources)).into_iter().collect()
}

impl IssuerId {
    /// The Secret that this issuer means by `name`.
    pub(crate) fn secret(&self, name: &str, cluster_resources: &str) -> ObjectName {
        let namespace = match self.kind {
            IssuerKind::Issuer => self.namespace.as_str(),
            IssuerKind::ClusterIssuer => cluster_resources,
        };
        ObjectName::namespaced(namespace, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_those_of_the_issuers_namespace_or_of_the_one_for_all() {
        let check = |kind, spec: &str, expected: &[&str]| {
            let id = IssuerId { kind, namespace: "team-a".to_owned(), name: "ca".to_owned() };
            let names = references(&id, &serde_json::from_str(spec).unwrap(), "cluster");
            assert_eq!(names.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{spec}");
        };
        check(IssuerKind::Issuer, r#"{"selfSigned":{}}"#, &[]);
        check(IssuerKind::Issuer, r#"{"ca":{"secretName":""}}"#, &[]);
        check(IssuerKind::Issuer, r#"{"ca":{"secretName":"root"}}"#, &["team-a/root"]);
        check(IssuerKind::ClusterIssuer, r#"{"ca":{"secretName":"root"}}"#, &["cluster/root"]);
        let vault = r#"{"vault":{"server":"https://a","path":"b","auth":{"tokenSecretRef":{"name":"c"}}}}"#;
        check(IssuerKind::Issuer, vault, &["team-a/c"]);
        check(IssuerKind::Issuer, r#"{"vault":{}}"#, &[]);
    }
}

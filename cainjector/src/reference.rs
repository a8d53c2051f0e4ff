//! What the annotations of a target ask for.

use std::collections::BTreeMap;
use std::fmt;

use api::injection;
use api::keys::annotation;
use runtime::watch::ObjectName;

use crate::bounds::{VALUE_BYTES_MAX, clipped};

/// The annotations that [`wanted`] looks at.
pub const ANNOTATIONS: &[&str] = &[
    annotation::INJECT_CA_FROM_SECRET,
    annotation::INJECT_CA_FROM,
    annotation::INJECT_APISERVER_CA,
    annotation::RELEASE_BUNDLE,
];

/// What a target asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The CA of this source.
    Source(SourceRef),
    /// No CA any more: the bundles are to be given up.
    Release,
    /// Nothing any more, after it asked for something: this is still to be told.
    Stopped,
    /// The annotation that decides cannot be followed.
    Malformed {
        /// Its name.
        annotation: &'static str,
        /// Its value.
        value: String,
    },
}

impl Wanted {
    /// The annotation that decides. `None`: none is there any more.
    pub fn annotation(&self) -> Option<&'static str> {
        match self {
            Self::Source(source) => Some(source.annotation()),
            Self::Release => Some(annotation::RELEASE_BUNDLE),
            Self::Malformed { annotation, .. } => Some(annotation),
            Self::Stopped => None,
        }
    }
}

/// Where a CA comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceRef {
    /// `ca.crt` of this Secret, whose owner has to consent.
    Secret(ObjectName),
    /// `ca.crt` of the Secret that this Certificate is issued into.
    Certificate(ObjectName),
    /// The CA by which this process knows the API server.
    ApiServer,
}

impl SourceRef {
    /// The annotation that asks for it.
    pub fn annotation(&self) -> &'static str {
        match self {
            Self::Secret(_) => annotation::INJECT_CA_FROM_SECRET,
            Self::Certificate(_) => annotation::INJECT_CA_FROM,
            Self::ApiServer => annotation::INJECT_APISERVER_CA,
        }
    }

    /// The namespace that it is in.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Secret(name) | Self::Certificate(name) => name.namespace.as_deref(),
            Self::ApiServer => None,
        }
    }
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "Secret {name}"),
            Self::Certificate(name) => write!(f, "Certificate {name}"),
            Self::ApiServer => f.write_str("the API server"),
        }
    }
}

/// Reads the annotations. Precedence is the peer's: Secret, then Certificate, then the API server's own CA; the first
/// one that is configured decides, whatever its value is worth. Giving the bundles up counts only where no CA is asked
/// for, since it breaks the calls. `None`: the object asks for nothing.
pub fn wanted(annotations: &BTreeMap<String, String>) -> Option<Wanted> {
    type Make = fn(ObjectName) -> SourceRef;
    let named: [(&'static str, Make); 2] = [
        (annotation::INJECT_CA_FROM_SECRET, SourceRef::Secret),
        (annotation::INJECT_CA_FROM, SourceRef::Certificate),
    ];
    for (annotation, source) in named {
        if let Some(value) = annotations.get(annotation) {
            return Some(match object_name(value) {
                Some(name) => Wanted::Source(source(name)),
                None => Wanted::Malformed { annotation, value: clipped(value.clone(), VALUE_BYTES_MAX) },
            });
        }
    }
    // Any other value means "not configured", as for the peer.
    let is_true = |annotation| annotations.get(annotation).is_some_and(|value: &String| value == "true");
    if is_true(annotation::INJECT_APISERVER_CA) {
        return Some(Wanted::Source(SourceRef::ApiServer));
    }
    is_true(annotation::RELEASE_BUNDLE).then_some(Wanted::Release)
}

fn object_name(value: &str) -> Option<ObjectName> {
    let (namespace, name) = injection::reference(value)?;
    Some(ObjectName::namespaced(namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(annotations: &[(&str, &str)], expected: Option<&Wanted>) {
        let map = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        assert_eq!(wanted(&map.collect()).as_ref(), expected, "{annotations:?}");
    }

    #[test]
    fn malformed_references_are_told_and_block_the_others() {
        for annotation in [annotation::INJECT_CA_FROM_SECRET, annotation::INJECT_CA_FROM] {
            for value in ["", "name", "ns/a/b", " ns/name"] {
                check(
                    &[(annotation, value), ("cert-manager.io/inject-apiserver-ca", "true")],
                    Some(&Wanted::Malformed { annotation, value: value.to_owned() }),
                );
            }
        }
    }

    #[test]
    fn what_is_not_configured_asks_for_nothing() {
        check(&[], None);
        check(&[("cert-manager.io/inject-apiserver-ca", "yes")], None);
        check(&[("certmanager.k8s.io/inject-ca-from", "a/b")], None);
        check(&[("cainjector.cert-manager.io/release", "yes")], None);
    }

    #[test]
    fn the_secret_wins_over_the_certificate_and_that_over_the_api_server() {
        let secret = ("cert-manager.io/inject-ca-from-secret", "team-a/ca.v2");
        let certificate = ("cert-manager.io/inject-ca-from", "team-a/certificate");
        let api_server = ("cert-manager.io/inject-apiserver-ca", "true");
        let expect = |annotations: &[(&str, &str)], source| {
            check(annotations, Some(&Wanted::Source(source)));
        };
        expect(
            &[secret, certificate, api_server],
            SourceRef::Secret(ObjectName::namespaced("team-a", "ca.v2")),
        );
        expect(
            &[certificate, api_server],
            SourceRef::Certificate(ObjectName::namespaced("team-a", "certificate")),
        );
        let release = ("cainjector.cert-manager.io/release", "true");
        expect(&[api_server, release], SourceRef::ApiServer);
        check(&[release], Some(&Wanted::Release));
    }
}

//! The issuers and the Secrets that they refer to: state without IO.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use runtime::watch::ObjectName;

use crate::object::{IssuerKey, IssuerKind, Seen};

/// What is known of the issuers.
#[derive(Debug)]
pub struct Index {
    cluster_resource_namespace: String,
    issuers: BTreeMap<IssuerKey, Arc<Seen>>,
    by_secret: HashMap<ObjectName, BTreeSet<IssuerKey>>,
}

impl Index {
    /// An empty index. ClusterIssuers refer to Secrets of this namespace.
    pub fn new(cluster_resource_namespace: String) -> Self {
        Self { cluster_resource_namespace, issuers: BTreeMap::new(), by_secret: HashMap::new() }
    }

    /// Takes an issuer in, as it is now. Returns a Secret that nobody refers to any more.
    pub fn set(&mut self, key: IssuerKey, seen: Seen) -> Option<ObjectName> {
        let before = self.issuers.get(&key).and_then(|old| self.secret_of(&key, old));
        let after = self.secret_of(&key, &seen);
        let closed = if before == after { None } else { before.filter(|secret| self.unlink(secret, &key)) };
        if let Some(secret) = after {
            self.by_secret.entry(secret).or_default().insert(key.clone());
        }
        self.issuers.insert(key, Arc::new(seen));
        closed
    }

    /// Forgets an issuer. Returns a Secret that nobody refers to any more.
    pub fn remove(&mut self, key: &IssuerKey) -> Option<ObjectName> {
        let seen = self.issuers.remove(key)?;
        self.secret_of(key, &seen).filter(|secret| self.unlink(secret, key))
    }

    /// An issuer as it was last seen.
    pub fn get(&self, key: &IssuerKey) -> Option<Arc<Seen>> {
        self.issuers.get(key).cloned()
    }

    /// The Secret that an issuer refers to.
    pub fn secret_of(&self, key: &IssuerKey, seen: &Seen) -> Option<ObjectName> {
        let name = issuers::secret_name(&seen.spec)?;
        let namespace = match &key.name.namespace {
            Some(namespace) => namespace,
            None => &self.cluster_resource_namespace,
        };
        (!name.is_empty()).then(|| ObjectName::namespaced(namespace, name))
    }

    /// The issuers that refer to this Secret, in order.
    pub fn issuers_of(&self, secret: &ObjectName) -> Vec<IssuerKey> {
        self.by_secret.get(secret).into_iter().flatten().cloned().collect()
    }

    /// The known issuers of this kind that are not in `listed`: a list has shown that they are gone.
    pub fn missing(&self, kind: IssuerKind, listed: &HashSet<ObjectName>) -> Vec<IssuerKey> {
        let keys = self.issuers.keys();
        keys.filter(|key| key.kind == kind && !listed.contains(&key.name)).cloned().collect()
    }

    /// Whether that was the last reference to the Secret.
    fn unlink(&mut self, secret: &ObjectName, key: &IssuerKey) -> bool {
        let Some(keys) = self.by_secret.get_mut(secret) else {
            return false;
        };
        keys.remove(key);
        let last = keys.is_empty();
        if last {
            self.by_secret.remove(secret);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::issuer::CaIssuer;
    use api::{IssuerSpec, IssuerStatus};

    fn key(namespace: Option<&str>, name: &str) -> IssuerKey {
        IssuerKey {
            kind: match namespace {
                Some(_) => IssuerKind::Issuer,
                None => IssuerKind::ClusterIssuer,
            },
            name: ObjectName { namespace: namespace.map(str::to_owned), name: name.to_owned() },
        }
    }

    fn seen(secret: Option<&str>) -> Seen {
        let ca = secret.map(|name| CaIssuer { secret_name: name.to_owned(), ..CaIssuer::default() });
        Seen {
            uid: "u".to_owned(),
            resource_version: "1".to_owned(),
            generation: Some(1),
            deleting: false,
            spec: IssuerSpec { ca, ..IssuerSpec::default() },
            status: IssuerStatus::default(),
        }
    }

    #[test]
    fn a_secret_is_of_interest_to_the_last_issuer_that_refers_to_it() {
        let mut index = Index::new("cluster".to_owned());
        let (one, two) = (key(Some("cluster"), "one"), key(None, "two"));
        let secret = ObjectName::namespaced("cluster", "ca");
        assert_eq!(index.set(one.clone(), seen(Some("ca"))), None);
        assert_eq!(index.set(two.clone(), seen(Some("ca"))), None);
        assert_eq!(index.issuers_of(&secret), [one.clone(), two.clone()]);
        assert_eq!(index.set(one.clone(), seen(Some("other"))), None);
        assert_eq!(index.set(two.clone(), seen(None)), Some(secret.clone()));
        assert!(index.issuers_of(&secret).is_empty());
        assert_eq!(index.remove(&one), Some(ObjectName::namespaced("cluster", "other")));
        assert_eq!(index.remove(&one), None);
        assert_eq!(index.remove(&two), None);
    }

    #[test]
    fn issuers_that_a_list_does_not_show_are_missing() {
        let mut index = Index::new("cluster".to_owned());
        let (one, two) = (key(Some("a"), "one"), key(Some("b"), "one"));
        index.set(one.clone(), seen(None));
        index.set(two.clone(), seen(None));
        let listed = HashSet::from([two.name]);
        assert_eq!(index.missing(IssuerKind::Issuer, &listed), [one]);
        assert!(index.missing(IssuerKind::ClusterIssuer, &listed).is_empty());
    }
}

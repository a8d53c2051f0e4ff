//! The issuers, what their specs came to, and the Secrets that they refer to: state without IO.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use issuers::Opened;
use runtime::watch::ObjectName;

use crate::object::{IssuerKey, IssuerKind, Seen, is_older};

/// What is known of the issuers.
#[derive(Default)]
pub struct Index {
    issuers: BTreeMap<IssuerKey, Known>,
    by_secret: HashMap<ObjectName, BTreeSet<IssuerKey>>,
}

/// What is known of one issuer.
#[derive(Clone)]
pub struct Known {
    /// The object.
    pub seen: Arc<Seen>,
    /// What its spec came to.
    pub opened: Opened,
    /// The Secrets that it refers to.
    pub secrets: Vec<ObjectName>,
}

impl Index {
    /// Whether this is news: the issuer as it is known is not a later one of the same life.
    pub fn is_news(&self, key: &IssuerKey, seen: &Seen) -> bool {
        self.issuers.get(key).is_none_or(|known| {
            known.seen.uid != seen.uid || !is_older(&seen.resource_version, &known.seen.resource_version)
        })
    }

    /// Takes an issuer in, as it is now. Returns the Secrets that nobody refers to any more.
    pub fn set(&mut self, key: &IssuerKey, known: Known) -> Vec<ObjectName> {
        for secret in &known.secrets {
            self.by_secret.entry(secret.clone()).or_default().insert(key.clone());
        }
        let needed = known.secrets.clone();
        let before = self.issuers.insert(key.clone(), known);
        let before = before.map(|before| before.secrets).unwrap_or_default();
        let dropped = before.into_iter().filter(|secret| !needed.contains(secret));
        dropped.filter(|secret| self.unlink(secret, key)).collect()
    }

    /// Forgets an issuer. Returns the Secrets that nobody refers to any more.
    pub fn remove(&mut self, key: &IssuerKey) -> Vec<ObjectName> {
        let Some(known) = self.issuers.remove(key) else { return Vec::new() };
        known.secrets.into_iter().filter(|secret| self.unlink(secret, key)).collect()
    }

    /// What is known of an issuer.
    pub fn get(&self, key: &IssuerKey) -> Option<&Known> {
        self.issuers.get(key)
    }

    /// All issuers, in order.
    pub fn all(&self) -> impl Iterator<Item = (&IssuerKey, &Known)> {
        self.issuers.iter()
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
    use crate::object::testing::seen;

    fn key(namespace: Option<&str>, name: &str) -> IssuerKey {
        IssuerKey {
            kind: match namespace {
                Some(_) => IssuerKind::Issuer,
                None => IssuerKind::ClusterIssuer,
            },
            name: ObjectName { namespace: namespace.map(str::to_owned), name: name.to_owned() },
        }
    }

    fn known(secrets: &[&str]) -> Known {
        Known {
            seen: Arc::new(seen("{}")),
            opened: Opened::Malformed { message: String::new() },
            secrets: secrets.iter().map(|name| secret(name)).collect(),
        }
    }

    fn secret(name: &str) -> ObjectName {
        ObjectName::namespaced("cluster", name)
    }

    #[test]
    fn a_secret_is_of_interest_to_the_last_issuer_that_refers_to_it() {
        let mut index = Index::default();
        let (one, two) = (key(Some("cluster"), "one"), key(None, "two"));
        assert_eq!(index.set(&one, known(&["ca", "login"])), []);
        assert_eq!(index.set(&two, known(&["ca"])), []);
        assert_eq!(index.issuers_of(&secret("ca")), [one.clone(), two.clone()]);
        assert_eq!(index.set(&one, known(&["login", "other"])), []);
        assert_eq!(index.set(&two, known(&[])), [secret("ca")]);
        assert!(index.issuers_of(&secret("ca")).is_empty());
        assert_eq!(index.remove(&one), [secret("login"), secret("other")]);
        assert_eq!(index.remove(&one), []);
        assert_eq!(index.remove(&two), []);
    }

    #[test]
    fn issuers_that_a_list_does_not_show_are_missing() {
        let mut index = Index::default();
        let (one, two) = (key(Some("a"), "one"), key(Some("b"), "one"));
        index.set(&one, known(&[]));
        index.set(&two, known(&[]));
        let listed = HashSet::from([two.name]);
        assert_eq!(index.missing(IssuerKind::Issuer, &listed), [one]);
        assert!(index.missing(IssuerKind::ClusterIssuer, &listed).is_empty());
    }

    #[test]
    fn what_is_older_than_what_is_known_is_no_news() {
        let mut index = Index::default();
        let one = key(Some("a"), "one");
        let mut now = seen("{}");
        assert!(index.is_news(&one, &now));
        index.set(&one, known(&[]));
        now.resource_version = "6".to_owned();
        assert!(!index.is_news(&one, &now));
        now.uid = "another".to_owned();
        assert!(index.is_news(&one, &now));
    }
}

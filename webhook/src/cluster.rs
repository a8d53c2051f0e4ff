//! What else is in the cluster, for rules that warn: an index in memory, kept by watches. Neither a review nor readiness
//! waits for it, and what is not known warns of nothing.
//!
//! It is small: of a Certificate it keeps its name and two hashes, some ninety bytes, so that a hundred thousand of them
//! take less than fifteen megabytes. Two names with the same hash would cause a warning that is wrong, once in
//! 10⁹ clusters of that size.

mod seen;
mod watching;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex};

use api::IssuerRef;
use rules::{Cluster, IssuerFacts, Lookup};
use runtime::lock::lock;
use runtime::watch::ObjectName;

pub use watching::{ClusterMetrics, watch};

/// Most Certificates that are known; more are passed over.
const CERTIFICATES_MAX: usize = 200_000;
/// Most issuers of a kind that are known; more are passed over.
const ISSUERS_MAX: usize = 10_000;

/// The index.
#[derive(Default)]
pub struct Index {
    certificates: Mutex<Certificates>,
    issuers: Mutex<Issuers>,
    cluster_issuers: Mutex<Issuers>,
    groups: Mutex<Option<HashSet<Box<str>>>>,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("certificates", &lock(&self.certificates).by_name.len())
            .finish_non_exhaustive()
    }
}

impl Index {
    /// An index that knows nothing.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn issuers_of(&self, is_cluster: bool) -> &Mutex<Issuers> {
        if is_cluster { &self.cluster_issuers } else { &self.issuers }
    }
}

impl Cluster for Index {
    fn other_certificate_of(&self, namespace: &str, secret: &str, certificate: &str) -> Option<Arc<str>> {
        lock(&self.certificates).other_of(namespace, secret, certificate)
    }

    fn issuer(&self, namespace: &str, issuer: &IssuerRef) -> Lookup<IssuerFacts> {
        let is_cluster = issuer.is_cluster_issuer();
        let name = if is_cluster {
            ObjectName::cluster(issuer.name.as_str())
        } else {
            ObjectName::namespaced(namespace, issuer.name.as_str())
        };
        let issuers = lock(self.issuers_of(is_cluster));
        match issuers.facts.get(&name) {
            Some((facts, _)) => Lookup::Found(facts.clone()),
            None if issuers.is_complete => Lookup::Missing,
            None => Lookup::Unknown,
        }
    }

    fn serves_group(&self, group: &str) -> Option<bool> {
        lock(&self.groups).as_ref().map(|groups| groups.contains(group))
    }
}

/// What a watch tells of a kind.
trait Known {
    /// What is kept of an object.
    type Fact;

    /// All objects are about to be told anew.
    fn begin(&mut self);

    /// All have been told; what was not is gone.
    fn end(&mut self);

    /// An object is there. False: there is no room for it.
    fn put(&mut self, name: &ObjectName, fact: Self::Fact) -> bool;

    /// An object is gone.
    fn remove(&mut self, name: &ObjectName);

    /// How many are known.
    fn count(&self) -> usize;
}

/// Which Certificates write into which Secrets.
struct Certificates {
    /// Most that are kept.
    max: usize,
    hashes: RandomState,
    /// By the hash of namespace and name: the hash of namespace and Secret, whose last bit says in which round the
    /// Certificate was told of.
    by_name: HashMap<u64, u64>,
    /// By the hash of namespace and Secret: the Certificates.
    by_secret: HashMap<u64, Writers>,
    /// The round, 0 or 1.
    round: u64,
}

/// The Certificates of one Secret: nearly always one.
enum Writers {
    One(Writer),
    Several(Vec<Writer>),
}

struct Writer {
    /// Hash of namespace and name.
    key: u64,
    name: Box<str>,
}

impl Writers {
    fn as_slice(&self) -> &[Writer] {
        match self {
            Self::One(writer) => std::slice::from_ref(writer),
            Self::Several(writers) => writers,
        }
    }

    /// With one more.
    fn with(self, writer: Writer) -> Self {
        match self {
            Self::One(first) => Self::Several(vec![first, writer]),
            Self::Several(mut writers) => {
                writers.push(writer);
                Self::Several(writers)
            }
        }
    }

    /// Without one; None: nobody is left.
    fn without(self, key: u64) -> Option<Self> {
        match self {
            Self::One(writer) => (writer.key != key).then_some(Self::One(writer)),
            Self::Several(mut writers) => {
                writers.retain(|writer| writer.key != key);
                if writers.len() == 1 { writers.pop().map(Self::One) } else { Some(Self::Several(writers)) }
            }
        }
    }
}

impl Default for Certificates {
    fn default() -> Self {
        let (hashes, by_name, by_secret) = (RandomState::new(), HashMap::new(), HashMap::new());
        Self { max: CERTIFICATES_MAX, hashes, by_name, by_secret, round: 0 }
    }
}

impl Certificates {
    /// A hash of two names, whose last bit is free for other use.
    fn hash(&self, namespace: &str, name: &str) -> u64 {
        self.hashes.hash_one((namespace, name)) & !1
    }

    fn other_of(&self, namespace: &str, secret: &str, certificate: &str) -> Option<Arc<str>> {
        let writers = self.by_secret.get(&self.hash(namespace, secret))?;
        let names = writers.as_slice().iter().map(|writer| &*writer.name);
        names.into_iter().find(|name| *name != certificate).map(Arc::from)
    }

    fn add(&mut self, secret: u64, writer: Writer) {
        let writers = match self.by_secret.remove(&secret) {
            None => Writers::One(writer),
            Some(writers) => writers.with(writer),
        };
        self.by_secret.insert(secret, writers);
    }

    fn forget(&mut self, secret: u64, key: u64) {
        if let Some(rest) = self.by_secret.remove(&secret).and_then(|writers| writers.without(key)) {
            self.by_secret.insert(secret, rest);
        }
    }
}

impl Known for Certificates {
    /// Name of the Secret.
    type Fact = String;

    fn begin(&mut self) {
        self.round ^= 1;
    }

    fn end(&mut self) {
        let round = self.round;
        let gone: Vec<(u64, u64)> = self.by_name.extract_if(|_, secret| *secret & 1 != round).collect();
        for (key, secret) in gone {
            self.forget(secret & !1, key);
        }
    }

    fn put(&mut self, name: &ObjectName, secret: String) -> bool {
        let namespace = name.namespace.as_deref().unwrap_or_default();
        let (key, secret) = (self.hash(namespace, &name.name), self.hash(namespace, &secret));
        let old = self.by_name.get(&key).map(|old| old & !1);
        if old.is_none() && self.by_name.len() >= self.max {
            return false;
        }
        self.by_name.insert(key, secret | self.round);
        if old == Some(secret) {
            return true;
        }
        if let Some(old) = old {
            self.forget(old, key);
        }
        self.add(secret, Writer { key, name: name.name.as_str().into() });
        true
    }

    fn remove(&mut self, name: &ObjectName) {
        let key = self.hash(name.namespace.as_deref().unwrap_or_default(), &name.name);
        if let Some(secret) = self.by_name.remove(&key) {
            self.forget(secret & !1, key);
        }
    }

    fn count(&self) -> usize {
        self.by_name.len()
    }
}

/// The issuers of one kind.
#[derive(Default)]
struct Issuers {
    /// What is known of each, and whether it was told of in this round.
    facts: HashMap<ObjectName, (IssuerFacts, bool)>,
    /// Whether an issuer that is not here does not exist.
    is_complete: bool,
    /// Whether one was passed over in this round.
    is_full: bool,
}

impl Known for Issuers {
    type Fact = IssuerFacts;

    fn begin(&mut self) {
        self.is_full = false;
        for (_, is_told) in self.facts.values_mut() {
            *is_told = false;
        }
    }

    fn end(&mut self) {
        self.facts.retain(|_, (_, is_told)| *is_told);
        self.is_complete = !self.is_full;
    }

    fn put(&mut self, name: &ObjectName, facts: IssuerFacts) -> bool {
        if self.facts.len() >= ISSUERS_MAX && !self.facts.contains_key(name) {
            (self.is_full, self.is_complete) = (true, false);
            return false;
        }
        self.facts.insert(name.clone(), (facts, true));
        true
    }

    fn remove(&mut self, name: &ObjectName) {
        self.facts.remove(name);
    }

    fn count(&self) -> usize {
        self.facts.len()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn certificate(namespace: &str, name: &str) -> ObjectName {
        ObjectName::namespaced(namespace, name)
    }

    fn other(index: &Index, namespace: &str, secret: &str, certificate: &str) -> Option<String> {
        index.other_certificate_of(namespace, secret, certificate).map(|name| name.to_string())
    }

    #[test]
    fn another_certificate_of_the_same_secret_is_known_for_as_long_as_it_is_there() {
        let index = Index::new();
        let put = |name: &str, secret: &str| {
            assert!(lock(&index.certificates).put(&certificate("team-a", name), secret.to_owned()));
        };
        let other = |namespace: &str, name: &str| other(&index, namespace, "tls", name);
        put("web", "tls");
        assert_eq!(other("team-a", "web"), None, "itself");
        assert_eq!(other("team-b", "api"), None, "elsewhere");
        assert_eq!(other("team-a", "api").as_deref(), Some("web"));
        put("api", "tls");
        put("api", "tls");
        put("old", "tls");
        assert_eq!(other("team-a", "web").as_deref(), Some("api"));
        put("api", "another");
        assert_eq!(other("team-a", "web").as_deref(), Some("old"));
        lock(&index.certificates).remove(&certificate("team-a", "old"));
        lock(&index.certificates).remove(&certificate("team-a", "never"));
        assert_eq!(other("team-a", "web"), None);
        lock(&index.certificates).remove(&certificate("team-a", "web"));
        lock(&index.certificates).remove(&certificate("team-a", "api"));
        let certificates = lock(&index.certificates);
        assert!(certificates.by_name.is_empty() && certificates.by_secret.is_empty());
    }

    #[test]
    fn what_a_new_list_does_not_tell_of_is_gone() {
        let mut certificates = Certificates::default();
        for round in 0..4 {
            certificates.begin();
            for name in ["kept", &format!("of-round-{round}")] {
                certificates.put(&certificate("team-a", name), "tls".to_owned());
            }
            certificates.end();
            assert_eq!(certificates.count(), 2, "round {round}");
            let other = certificates.other_of("team-a", "tls", "kept").unwrap();
            assert_eq!(*other, format!("of-round-{round}"));
        }
    }

    #[test]
    fn a_certificate_too_many_is_passed_over() {
        let mut certificates = Certificates { max: 10, ..Certificates::default() };
        for number in 0..=10 {
            let has_room = certificates.put(&certificate("team-a", &number.to_string()), number.to_string());
            assert_eq!(has_room, number < 10, "{number}");
        }
        assert!(
            certificates.put(&certificate("team-a", "0"), "changed".to_owned()),
            "a known one can change"
        );
    }

    #[test]
    fn an_issuer_is_unknown_until_all_were_listed() {
        let index = Index::new();
        let reference = |kind: &str, name: &str| -> IssuerRef {
            serde_json::from_value(json!({"name": name, "kind": kind})).unwrap()
        };
        let facts = IssuerFacts { ca_secret: Some("ca".into()), ..IssuerFacts::default() };
        let look = |kind: &str, name: &str| index.issuer("team-a", &reference(kind, name));
        lock(&index.issuers).put(&certificate("team-a", "ca"), facts.clone());
        lock(&index.cluster_issuers).put(&ObjectName::cluster("ca"), IssuerFacts::default());
        assert_eq!(look("Issuer", "none"), Lookup::Unknown);
        assert_eq!(look("Issuer", "ca"), Lookup::Found(facts));
        lock(&index.issuers).end();
        assert_eq!(look("Issuer", "none"), Lookup::Missing);
        assert_eq!(look("ClusterIssuer", "none"), Lookup::Unknown);
        assert_eq!(look("ClusterIssuer", "ca"), Lookup::Found(IssuerFacts::default()));
        assert_eq!(index.issuer("team-b", &reference("Issuer", "ca")), Lookup::Missing);
        lock(&index.issuers).begin();
        assert!(matches!(look("Issuer", "ca"), Lookup::Found(_)), "until the new list says otherwise");
        lock(&index.issuers).end();
        assert_eq!(look("Issuer", "ca"), Lookup::Missing);
    }

    #[test]
    fn an_issuer_may_be_one_of_those_that_were_passed_over() {
        let mut issuers = Issuers::default();
        for number in 0..=ISSUERS_MAX {
            issuers.put(&certificate("team-a", &number.to_string()), IssuerFacts::default());
        }
        issuers.end();
        assert!(!issuers.is_complete);
    }

    #[test]
    fn groups_are_unknown_until_they_were_listed() {
        let index = Index::new();
        assert_eq!(index.serves_group("example.org"), None);
        *lock(&index.groups) = Some(HashSet::from(["example.org".into()]));
        assert_eq!(index.serves_group("example.org"), Some(true));
        assert_eq!(index.serves_group("example.com"), Some(false));
    }
}

//! The issuers as their watches have shown them, for everybody who has something signed. It is fed on every replica, so
//! that whoever begins to lead knows them all.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, RwLock, Weak};

use api::conditions::{self, Condition};
use issuers::vault::Access;
use issuers::{Issuer, IssuerId, Material, Materials, Opened};
use kube::Client;
use runtime::held::Held;
use runtime::lock::lock;
use runtime::watch::{ObjectName, State};

use crate::issuer::accounts::KubeAccounts;
use crate::issuer::index::{Index, Known};
use crate::object::{IssuerKey, IssuerKind, Seen};
use crate::secrets;

/// What can be expected of an issuer.
#[derive(Clone)]
pub enum IssuerState {
    /// There is none of this name.
    Absent,
    /// It is of a type that we do not have, such as `acme`.
    Unsupported(&'static str),
    /// Its spec does not say of which type it is; the text says what would be right.
    Malformed(String),
    /// Its Ready condition does not say that it can sign; the text says why.
    NotReady(String),
    /// It can be asked.
    Ready {
        /// Asks it.
        issuer: Arc<dyn Issuer>,
        /// The field of its spec, such as `ca`.
        type_: &'static str,
    },
    /// The issuers of its kind have not been listed yet.
    Unknown,
}

impl fmt::Debug for IssuerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::Unsupported(type_) => f.debug_tuple("Unsupported").field(type_).finish(),
            Self::Malformed(message) => f.debug_tuple("Malformed").field(message).finish(),
            Self::NotReady(message) => f.debug_tuple("NotReady").field(message).finish(),
            Self::Ready { type_, .. } => f.debug_tuple("Ready").field(type_).finish(),
            Self::Unknown => f.write_str("Unknown"),
        }
    }
}

/// Hears of issuers of which something changed: the object, or a Secret that it refers to.
type Listener = Box<dyn Fn(&IssuerKey) + Send + Sync>;

/// The issuers, and the Secrets that they refer to.
pub struct Registry {
    cluster_resources: String,
    index: Mutex<Index>,
    secrets: Held<Material>,
    /// The kinds of which all have been seen once.
    listed: Mutex<BTreeSet<IssuerKind>>,
    listeners: RwLock<Vec<Listener>>,
    /// What issuers need of the cluster.
    access: Access,
}

impl Registry {
    /// Nothing is known yet. Secrets of ClusterIssuers are those of the namespace `cluster_resources`. Of the kinds in
    /// `unwatched` there is nothing to be known.
    pub(crate) fn new(
        client: Client,
        cluster_resources: String,
        unwatched: impl IntoIterator<Item = IssuerKind>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| {
            let told = Weak::clone(this);
            let accounts = Arc::new(KubeAccounts::new(client.clone()));
            let secrets = secrets::named(client, Material::take).on_change(move |secret, _| {
                if let Some(registry) = told.upgrade() {
                    let issuers = lock(&registry.index).issuers_of(secret);
                    issuers.iter().for_each(|issuer| registry.tell(issuer));
                }
            });
            Self {
                cluster_resources,
                index: Mutex::default(),
                secrets: Held::new(secrets),
                listed: Mutex::new(unwatched.into_iter().collect()),
                listeners: RwLock::default(),
                access: Access { materials: Arc::new(Referred(Weak::clone(this))), accounts },
            }
        })
    }

    /// What can be expected of an issuer.
    pub fn state(&self, id: &IssuerId) -> IssuerState {
        let key = IssuerKey::of(id);
        let index = lock(&self.index);
        let Some(Known { seen, opened, .. }) = index.get(&key) else {
            let is_listed = lock(&self.listed).contains(&key.kind);
            return if is_listed { IssuerState::Absent } else { IssuerState::Unknown };
        };
        match opened {
            Opened::Unsupported { type_ } => IssuerState::Unsupported(type_),
            Opened::Malformed { message } => IssuerState::Malformed(message.clone()),
            Opened::Issuer(issuer) => match not_ready(&seen.status.conditions) {
                Some(why) => IssuerState::NotReady(why),
                None => {
                    let type_ = seen.spec.types().first().map_or("", |issuer_type| issuer_type.field());
                    IssuerState::Ready { issuer: Arc::clone(issuer), type_ }
                }
            },
        }
    }

    /// What the spec of an issuer came to, whatever its Ready condition says; `None`: none is known.
    pub fn open(&self, id: &IssuerId) -> Option<Opened> {
        lock(&self.index).get(&IssuerKey::of(id)).map(|known| known.opened.clone())
    }

    /// Calls `listener` for each issuer of which something changed from now on. It must not block.
    pub fn on_change(&self, listener: impl Fn(&IssuerKey) + Send + Sync + 'static) {
        self.listeners.write().unwrap_or_else(std::sync::PoisonError::into_inner).push(Box::new(listener));
    }

    /// The issuers of type CA whose CA is in this Secret.
    pub fn ca_secret_users(&self, secret: &ObjectName) -> Vec<IssuerKey> {
        let index = lock(&self.index);
        let mut keys = index.issuers_of(secret);
        keys.retain(|key| index.get(key).is_some_and(|known| known.seen.spec.ca.is_some()));
        keys
    }

    /// An issuer, and what its spec came to.
    pub(crate) fn known(&self, key: &IssuerKey) -> Option<Known> {
        lock(&self.index).get(key).cloned()
    }

    /// The Ready condition's status of each issuer.
    pub(crate) fn ready_statuses(&self) -> Vec<(IssuerKey, String)> {
        let index = lock(&self.index);
        let status = |seen: &Seen| {
            let ready = conditions::find(&seen.status.conditions, conditions::READY);
            ready.map_or("Unknown", |ready| ready.status.as_str()).to_owned()
        };
        index.all().map(|(key, known)| (key.clone(), status(&known.seen))).collect()
    }

    /// An issuer was seen.
    pub(crate) fn seen(&self, key: &IssuerKey, seen: Seen) {
        let mut index = lock(&self.index);
        if !index.is_news(key, &seen) {
            return;
        }
        let id = key.id();
        let known = match index.get(key) {
            // What it came to is the same, and so are its watches.
            Some(before) if before.seen.uid == seen.uid && before.seen.spec == seen.spec => {
                Known { seen: Arc::new(seen), ..before.clone() }
            }
            _ => Known {
                opened: issuers::open(&id, &seen.spec, &self.cluster_resources, &self.access),
                secrets: issuers::references(&id, &seen.spec, &self.cluster_resources),
                seen: Arc::new(seen),
            },
        };
        // The index stays locked, so that nobody refers to a Secret anew while it is released.
        for secret in &known.secrets {
            self.secrets.state(secret);
        }
        let closed = index.set(key, known);
        self.close(&closed);
        drop(index);
        self.tell(key);
    }

    /// The status that was written of an issuer, and the version that it got: nobody has to wait for the watch to say so.
    pub(crate) fn wrote(&self, key: &IssuerKey, version: String, ready: Condition) {
        let mut index = lock(&self.index);
        let Some(known) = index.get(key).cloned() else { return };
        let mut seen = Seen { resource_version: version, ..(*known.seen).clone() };
        if !index.is_news(key, &seen) {
            return;
        }
        seen.status.conditions.retain(|condition| condition.type_ != ready.type_);
        seen.status.conditions.push(ready);
        index.set(key, Known { seen: Arc::new(seen), ..known });
        drop(index);
        self.tell(key);
    }

    /// An issuer is not there any more.
    pub(crate) fn gone(&self, key: &IssuerKey) {
        let mut index = lock(&self.index);
        let closed = index.remove(key);
        self.close(&closed);
        drop(index);
        self.tell(key);
    }

    /// All issuers of this kind have been seen; those that are not among them are gone.
    pub(crate) fn listed(&self, kind: IssuerKind, names: &HashSet<ObjectName>) {
        let missing = lock(&self.index).missing(kind, names);
        missing.iter().for_each(|key| self.gone(key));
        if lock(&self.listed).insert(kind) {
            // What was asked about and unknown may be absent now. Nobody knows its name here, so its kind is told.
            self.tell(&IssuerKey { kind, name: ObjectName::cluster("") });
        }
    }

    /// How many Secrets are watched.
    #[cfg(test)]
    pub(crate) fn watched(&self) -> usize {
        self.secrets.count()
    }

    fn close(&self, secrets: &[ObjectName]) {
        secrets.iter().for_each(|secret| self.secrets.release(secret));
    }

    fn tell(&self, key: &IssuerKey) {
        let listeners = self.listeners.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        listeners.iter().for_each(|listener| listener(key));
    }
}

/// Why the conditions do not say that an issuer can sign; `None`: they do.
fn not_ready(conditions: &[Condition]) -> Option<String> {
    let Some(ready) = conditions::find(conditions, conditions::READY) else {
        return Some("it has not been judged yet".to_owned());
    };
    if conditions::is_true(conditions, conditions::READY) {
        return None;
    }
    let reason = ready.reason.as_deref().unwrap_or_default();
    Some(format!("{reason}: {}", ready.message.as_deref().unwrap_or_default()))
}

/// The Secrets that known issuers refer to. What nobody refers to any more is not watched because somebody still asks.
struct Referred(Weak<Registry>);

impl Materials for Referred {
    fn secret(&self, name: &ObjectName) -> State<Material> {
        let Some(registry) = self.0.upgrade() else { return State::Pending };
        // The index stays locked, so that the last reference cannot go, and the Secret be released, before it is watched.
        let index = lock(&registry.index);
        if index.issuers_of(name).is_empty() { State::Pending } else { registry.secrets.state(name) }
    }
}

#[cfg(test)]
mod tests {
    use issuers::IssuerKind as Kind;
    use runtime::testing::SlowServer;
    use serde_json::json;

    use super::*;
    use crate::object::testing::seen;

    fn registry() -> Arc<Registry> {
        let client = SlowServer::default().client(|_| false, "");
        Registry::new(client, "cluster".to_owned(), [IssuerKind::ClusterIssuer])
    }

    fn id(kind: Kind) -> IssuerId {
        IssuerId { kind, namespace: "team-a".to_owned(), name: "ca".to_owned() }
    }

    fn check(registry: &Registry, kind: Kind, expected: &str) {
        assert_eq!(format!("{:?}", registry.state(&id(kind))), expected);
    }

    #[tokio::test]
    async fn an_issuer_is_absent_only_after_its_kind_was_listed() {
        let registry = registry();
        check(&registry, Kind::ClusterIssuer, "Absent");
        check(&registry, Kind::Issuer, "Unknown");
        registry.listed(IssuerKind::Issuer, &HashSet::new());
        check(&registry, Kind::Issuer, "Absent");
    }

    #[tokio::test]
    async fn what_can_be_expected_is_what_spec_and_condition_say() {
        let registry = registry();
        let key = IssuerKey::of(&id(Kind::Issuer));
        let spec_and_status = |spec: &str, condition: serde_json::Value| {
            let mut seen = seen(spec);
            seen.status = serde_json::from_value(json!({"conditions": [condition]})).unwrap();
            seen
        };
        let ready = json!({"type": "Ready", "status": "True"});
        let unready = json!({"type": "Ready", "status": "False", "reason": "R", "message": "m"});
        let table = [
            (r#"{"acme":{}}"#, ready.clone(), r#"Unsupported("acme")"#),
            (
                "{}",
                ready.clone(),
                r#"Malformed("spec names no type; set one of ca, selfSigned, vault, acme, venafi")"#,
            ),
            (r#"{"selfSigned":{}}"#, unready, r#"NotReady("R: m")"#),
            (
                r#"{"selfSigned":{}}"#,
                json!({"type": "X", "status": "True"}),
                r#"NotReady("it has not been judged yet")"#,
            ),
            (r#"{"selfSigned":{}}"#, ready, r#"Ready("selfSigned")"#),
        ];
        for (spec, condition, expected) in table {
            registry.seen(&key, spec_and_status(spec, condition));
            check(&registry, Kind::Issuer, expected);
        }
        registry.gone(&key);
        check(&registry, Kind::Issuer, "Unknown");
    }

    #[tokio::test]
    async fn a_status_that_was_written_counts_before_the_watch_shows_it() {
        let registry = registry();
        let key = IssuerKey::of(&id(Kind::Issuer));
        registry.seen(&key, seen(r#"{"selfSigned":{}}"#));
        let ready = Condition::new(conditions::READY, api::ConditionStatus::True, "IsReady", "m");
        registry.wrote(&key, "8".to_owned(), ready);
        check(&registry, Kind::Issuer, r#"Ready("selfSigned")"#);
        // The watch comes with what was there before the write.
        registry.seen(&key, seen(r#"{"selfSigned":{}}"#));
        check(&registry, Kind::Issuer, r#"Ready("selfSigned")"#);
    }

    #[tokio::test]
    async fn whoever_listens_hears_of_each_change() {
        let registry = registry();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        registry.on_change(move |key| hears.lock().unwrap().push(key.name.name.clone()));
        let key = IssuerKey::of(&id(Kind::Issuer));
        registry.seen(&key, seen(r#"{"ca":{"secretName":"root"}}"#));
        assert_eq!(
            registry.ca_secret_users(&ObjectName::namespaced("team-a", "root")),
            std::slice::from_ref(&key)
        );
        assert_eq!(registry.watched(), 1);
        registry.gone(&key);
        assert_eq!((registry.watched(), heard.lock().unwrap().len()), (0, 2));
    }
}

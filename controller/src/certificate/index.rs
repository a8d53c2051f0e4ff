//! The Certificates, the Secrets that they are kept in, and the keys of issuances under way: state without IO. Their
//! CertificateRequests are in the index of those.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use api::keys::label;
use issuers::IssuerId;
use k8s_openapi::api::core::v1::Secret;
use runtime::watch::ObjectName;
use tokio::time::Instant;

use crate::certificate::passwords;
use crate::certificate::secret::{KeySecretView, SecretView};
use crate::certificate::snapshot::Namesake;
use crate::certificate::view::CertificateView;
use crate::links::Links;
use crate::object::{IssuerKey, is_older};

/// How long the answer to a look at a Secret counts that is not among those which are watched.
const LOOK_LASTS: Duration = Duration::from_secs(60);

/// What is known of Certificates and Secrets.
#[derive(Debug, Default)]
pub struct Index {
    certificates: HashMap<ObjectName, Arc<CertificateView>>,
    by_secret: Links<ObjectName, ObjectName>,
    by_issuer: Links<IssuerKey, ObjectName>,
    by_password: Links<ObjectName, ObjectName>,
    /// Secrets with the label by which they are watched.
    secrets: HashMap<ObjectName, Arc<SecretView>>,
    /// Secrets without it that somebody looked at, and when; `None`: there was none.
    looked: HashMap<ObjectName, (Option<Arc<SecretView>>, Instant)>,
    keys: HashMap<ObjectName, KeySecretView>,
    keys_by_owner: Links<String, ObjectName>,
}

/// What is known of a Secret.
#[derive(Debug, Clone, PartialEq)]
pub enum Sight {
    /// It is not among those that are watched, and nobody has looked lately.
    Unknown,
    /// It does not exist.
    Absent,
    /// It is there.
    There(Arc<SecretView>),
}

impl Index {
    /// Takes a Certificate in, as it is now. Returns the Secrets with passwords that nobody needs any more; nothing
    /// changes if it is known as it was later.
    pub fn set_certificate(&mut self, view: CertificateView) -> Vec<ObjectName> {
        let known = self.certificates.get(&view.name);
        if known.is_some_and(|known| known.uid == view.uid && is_older(&view.version, &known.version)) {
            return Vec::new();
        }
        let mut released = self.remove_certificate(&view.name);
        let name = view.name.clone();
        self.by_secret.add(view.secret(), name.clone());
        if let Some(issuer) = issuer(&view) {
            self.by_issuer.add(IssuerKey::of(&issuer), name.clone());
        }
        for secret in passwords::secrets(&view) {
            self.by_password.add(secret, name.clone());
        }
        self.certificates.insert(name, Arc::new(view));
        released.retain(|secret| !self.by_password.has(secret));
        released
    }

    /// Forgets a Certificate. Returns the Secrets with passwords that nobody needs any more.
    pub fn remove_certificate(&mut self, name: &ObjectName) -> Vec<ObjectName> {
        let Some(view) = self.certificates.remove(name) else { return Vec::new() };
        if self.by_secret.remove(&view.secret(), name) {
            self.looked.remove(&view.secret());
        }
        if let Some(issuer) = issuer(&view) {
            self.by_issuer.remove(&IssuerKey::of(&issuer), name);
        }
        let passwords = passwords::secrets(&view).into_iter();
        passwords.filter(|secret| self.by_password.remove(secret, name)).collect()
    }

    /// A Certificate as it was last seen.
    pub fn certificate(&self, name: &ObjectName) -> Option<Arc<CertificateView>> {
        self.certificates.get(name).cloned()
    }

    /// All Certificates, in no order.
    pub fn certificates(&self) -> impl Iterator<Item = &Arc<CertificateView>> {
        self.certificates.values()
    }

    /// The known Certificates that are not in `listed`: a list has shown that they are gone.
    pub fn missing_certificates(&self, listed: &HashSet<ObjectName>) -> Vec<ObjectName> {
        self.certificates.keys().filter(|name| !listed.contains(name)).cloned().collect()
    }

    /// The other Certificates with the same Secret.
    pub fn namesakes(&self, view: &CertificateView) -> Vec<Namesake> {
        let others = self.by_secret.of(&view.secret()).into_iter().filter(|name| *name != view.name);
        let others = others.filter_map(|name| self.certificates.get(&name)).filter(|other| !other.deleting);
        others.map(|other| Namesake { name: other.name.name.clone(), created: other.created }).collect()
    }

    /// The Certificates that refer to this issuer; an empty name stands for all issuers of its kind.
    pub fn users_of_issuer(&self, issuer: &IssuerKey) -> Vec<ObjectName> {
        if !issuer.name.name.is_empty() {
            return self.by_issuer.of(issuer);
        }
        let all = self.by_issuer.all().filter(|(key, _)| key.kind == issuer.kind);
        all.flat_map(|(_, names)| names).cloned().collect()
    }

    /// The Certificates that need a password of this Secret.
    pub fn users_of_password(&self, secret: &ObjectName) -> Vec<ObjectName> {
        self.by_password.of(secret)
    }

    /// The Certificates that are kept in this Secret, or whose issuance has its key there.
    pub fn users_of_secret(&self, secret: &ObjectName) -> Vec<ObjectName> {
        let mut users = self.by_secret.of(secret);
        let owner = self.keys.get(secret).and_then(|key| key.owner.as_ref());
        users.extend(
            owner.map(|owner| ObjectName { namespace: secret.namespace.clone(), name: owner.name.clone() }),
        );
        users
    }

    /// Takes a Secret in: one with a key of an issuance, or one that Certificates are kept in. Nothing changes if it is known
    /// as it was later. Returns whether it was news.
    pub fn set_secret(&mut self, secret: Secret, now: Instant) -> bool {
        let name = ObjectName::of(&secret.metadata);
        let has = |label: &str| {
            let labels = secret.metadata.labels.as_ref();
            labels.and_then(|labels| labels.get(label)).is_some_and(|value| value == "true")
        };
        let (is_key, is_watched) = (has(label::NEXT_PRIVATE_KEY), has(label::MANAGED_SECRET));
        if is_key {
            self.drop_key(&name);
            let key = KeySecretView::take(secret);
            if let Some(owner) = &key.owner {
                self.keys_by_owner.add(owner.uid.clone(), name.clone());
            }
            self.keys.insert(name, key);
            return true;
        }
        let version = secret.metadata.resource_version.as_deref().unwrap_or_default();
        let known = self.secrets.get(&name).map(|known| known.version.as_str());
        if is_watched && known.is_some_and(|known| known == version || is_older(version, known)) {
            return false;
        }
        let view = Arc::new(SecretView::take(secret));
        if is_watched {
            self.looked.remove(&name);
            self.secrets.insert(name, view);
        } else {
            self.secrets.remove(&name);
            self.looked.insert(name, (Some(view), now));
        }
        true
    }

    /// A look has shown that there is no Secret of this name.
    pub fn looked_in_vain(&mut self, name: ObjectName, now: Instant) {
        self.secrets.remove(&name);
        self.looked.insert(name, (None, now));
    }

    /// A Secret is not among the watched ones any more: it is gone, or its label is. `version` is the one in which that
    /// happened; `None`: a list has shown it.
    pub fn remove_secret(&mut self, name: &ObjectName, version: Option<&str>) {
        self.drop_key(name);
        let known = self.secrets.get(name);
        if known.is_some_and(|known| version.is_some_and(|version| is_older(version, &known.version))) {
            return;
        }
        self.secrets.remove(name);
        self.looked.remove(name);
    }

    /// The known Secrets of this namespace, or of all, that are not in `listed`.
    pub fn missing_secrets(&self, namespace: Option<&str>, listed: &HashSet<ObjectName>) -> Vec<ObjectName> {
        let names = self.secrets.keys().chain(self.keys.keys());
        let within = names.filter(|name| namespace.is_none() || name.namespace.as_deref() == namespace);
        within.filter(|name| !listed.contains(name)).cloned().collect()
    }

    /// What is known of the Secret of a Certificate.
    pub fn secret(&self, name: &ObjectName, now: Instant) -> Sight {
        if let Some(view) = self.secrets.get(name) {
            return Sight::There(Arc::clone(view));
        }
        match self.looked.get(name) {
            Some((_, at)) if now.duration_since(*at) >= LOOK_LASTS => Sight::Unknown,
            Some((Some(view), _)) => Sight::There(Arc::clone(view)),
            Some((None, _)) => Sight::Absent,
            None => Sight::Unknown,
        }
    }

    /// The keys of issuances that belong to the object with this UID, and the one of this name, whoever it belongs to.
    pub fn keys_of(&self, uid: &str, name: &ObjectName) -> Vec<KeySecretView> {
        let mut names = self.keys_by_owner.of(uid);
        if !names.contains(name) {
            names.push(name.clone());
        }
        names.iter().filter_map(|name| self.keys.get(name)).cloned().collect()
    }

    /// A key is gone.
    pub fn drop_key(&mut self, name: &ObjectName) {
        if let Some(owner) = self.keys.remove(name).and_then(|key| key.owner) {
            self.keys_by_owner.remove(&owner.uid, name);
        }
    }
}

/// The issuer of our own group that a Certificate refers to.
pub fn issuer(view: &CertificateView) -> Option<IssuerId> {
    IssuerId::of(&view.spec.issuer_ref, view.name.namespace.as_deref()?)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::certificate::metadata::Prefixes;
    use crate::object::IssuerKind;

    fn name(name: &str) -> ObjectName {
        ObjectName::namespaced("a", name)
    }

    fn certificate(name: &str, version: u32, spec: &Value) -> CertificateView {
        let certificate = json!({
            "metadata": {"namespace": "a", "name": name, "uid": format!("u-{name}"),
                         "resourceVersion": version.to_string()},
            "spec": spec,
        });
        CertificateView::of(serde_json::from_value(certificate).unwrap(), &Prefixes::default())
    }

    fn kept_in(secret: &str) -> Value {
        json!({"secretName": secret, "issuerRef": {"name": "ca"}})
    }

    fn secret(name: &str, version: u32, labels: &[&str]) -> Secret {
        let labels: serde_json::Map<String, Value> =
            labels.iter().map(|label| ((*label).to_owned(), json!("true"))).collect();
        let owner = json!([{"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "name": "web", "uid": "u-web",
            "controller": true}]);
        let metadata = json!({"namespace": "a", "name": name, "labels": labels, "ownerReferences": owner,
            "resourceVersion": version.to_string()});
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    fn version(index: &Index, secret: &str, now: Instant) -> Option<String> {
        match index.secret(&name(secret), now) {
            Sight::There(view) => Some(view.version.clone()),
            Sight::Unknown | Sight::Absent => None,
        }
    }

    #[test]
    fn certificates_are_found_by_what_they_refer_to() {
        let mut index = Index::default();
        index.set_certificate(certificate("web", 1, &kept_in("tls")));
        index.set_certificate(certificate("app", 1, &kept_in("tls")));
        let issuer = IssuerKey { kind: IssuerKind::Issuer, name: name("ca") };
        assert_eq!(index.users_of_issuer(&issuer), [name("app"), name("web")]);
        assert_eq!(index.users_of_secret(&name("tls")), [name("app"), name("web")]);
        let view = index.certificate(&name("web")).unwrap();
        assert_eq!(index.namesakes(&view).len(), 1);
        index.set_certificate(certificate("web", 2, &kept_in("other")));
        assert_eq!(index.users_of_secret(&name("tls")), [name("app")]);
        index.remove_certificate(&name("app"));
        let all = IssuerKey { kind: IssuerKind::Issuer, name: ObjectName::cluster("") };
        assert_eq!(index.users_of_issuer(&all), [name("web")]);
        assert_eq!(index.missing_certificates(&HashSet::new()), [name("web")]);
    }

    #[test]
    fn what_is_older_than_what_is_known_is_not_taken() {
        let (mut index, now) = (Index::default(), Instant::now());
        index.set_certificate(certificate("web", 10, &kept_in("tls")));
        index.set_certificate(certificate("web", 9, &kept_in("other")));
        assert_eq!(index.certificate(&name("web")).unwrap().version, "10");
        index.set_secret(secret("tls", 10, &[label::MANAGED_SECRET]), now);
        index.set_secret(secret("tls", 9, &[label::MANAGED_SECRET]), now);
        index.remove_secret(&name("tls"), Some("9"));
        assert_eq!(version(&index, "tls", now).as_deref(), Some("10"));
        index.remove_secret(&name("tls"), Some("11"));
        assert_eq!(index.secret(&name("tls"), now), Sight::Unknown);
    }

    #[test]
    fn a_look_at_a_secret_that_is_not_watched_counts_for_a_minute() {
        let (mut index, now) = (Index::default(), Instant::now());
        index.set_secret(secret("tls", 3, &[]), now);
        assert_eq!(version(&index, "tls", now).as_deref(), Some("3"));
        assert_eq!(index.secret(&name("tls"), now + LOOK_LASTS), Sight::Unknown);
        index.looked_in_vain(name("tls"), now);
        assert_eq!(index.secret(&name("tls"), now), Sight::Absent);
        index.set_secret(secret("tls", 4, &[label::MANAGED_SECRET]), now);
        assert_eq!(version(&index, "tls", now + LOOK_LASTS).as_deref(), Some("4"));
    }

    #[test]
    fn keys_are_found_by_their_owner_and_by_name() {
        let (mut index, now) = (Index::default(), Instant::now());
        let key = |name: &str| secret(name, 1, &[label::MANAGED_SECRET, label::NEXT_PRIVATE_KEY]);
        index.set_secret(key("one"), now);
        index.set_secret(key("two"), now);
        let found = |index: &Index, uid: &str| {
            let keys = index.keys_of(uid, &name("two"));
            keys.into_iter().map(|key| key.name).collect::<Vec<_>>()
        };
        assert_eq!(found(&index, "u-web"), ["one", "two"]);
        assert_eq!(found(&index, "another"), ["two"]);
        assert_eq!(index.users_of_secret(&name("one")), [name("web")]);
        assert_eq!(index.missing_secrets(Some("b"), &HashSet::new()), Vec::<ObjectName>::new());
        assert_eq!(index.missing_secrets(Some("a"), &HashSet::from([name("one")])), [name("two")]);
        index.remove_secret(&name("two"), None);
        assert_eq!(found(&index, "u-web"), ["one"]);
    }
}

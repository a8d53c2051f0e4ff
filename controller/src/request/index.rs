//! The CertificateRequests, and what those of them wait for that are not at their end: state without IO.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use issuers::IssuerId;
use runtime::watch::ObjectName;

use crate::links::Links;
use crate::object::{IssuerKey, is_older};
use crate::request::view::RequestView;

/// What is known of the requests.
#[derive(Debug, Default)]
pub struct Index {
    requests: HashMap<ObjectName, Arc<RequestView>>,
    by_issuer: Links<IssuerKey, ObjectName>,
    by_key: Links<ObjectName, ObjectName>,
    by_owner: Links<String, ObjectName>,
}

impl Index {
    /// Takes a request in, as it is now. Returns the Secret that no request needs any more; nothing changes if the request is
    /// known as it was later.
    pub fn set(&mut self, view: RequestView) -> Option<ObjectName> {
        let known = self.requests.get(&view.name);
        if known.is_some_and(|known| known.uid == view.uid && is_older(&view.version, &known.version)) {
            return None;
        }
        let closed = self.remove(&view.name);
        let name = view.name.clone();
        if is_waiting(&view) {
            if let Some(issuer) = issuer(&view) {
                self.by_issuer.add(IssuerKey::of(&issuer), name.clone());
            }
            if let Some(secret) = key_secret(&view) {
                self.by_key.add(secret, name.clone());
            }
        }
        if let Some(owner) = &view.owner {
            self.by_owner.add(owner.uid.clone(), name.clone());
        }
        self.requests.insert(name, Arc::new(view));
        closed.filter(|secret| !self.by_key.has(secret))
    }

    /// Forgets a request. Returns the Secret that no request needs any more.
    pub fn remove(&mut self, name: &ObjectName) -> Option<ObjectName> {
        let view = self.requests.remove(name)?;
        if let Some(owner) = &view.owner {
            self.by_owner.remove(&owner.uid, name);
        }
        if let Some(issuer) = issuer(&view) {
            self.by_issuer.remove(&IssuerKey::of(&issuer), name);
        }
        key_secret(&view).filter(|secret| self.by_key.remove(secret, name))
    }

    /// A request as it was last seen.
    pub fn get(&self, name: &ObjectName) -> Option<Arc<RequestView>> {
        self.requests.get(name).cloned()
    }

    /// The requests that belong to the object with this UID.
    pub fn of_owner(&self, uid: &str) -> Vec<Arc<RequestView>> {
        self.by_owner.of(uid).iter().filter_map(|name| self.get(name)).collect()
    }

    /// The requests that wait for this issuer; an empty name stands for all issuers of its kind.
    pub fn waiting_for(&self, issuer: &IssuerKey) -> Vec<ObjectName> {
        if !issuer.name.name.is_empty() {
            return self.by_issuer.of(issuer);
        }
        let all = self.by_issuer.all().filter(|(key, _)| key.kind == issuer.kind);
        all.flat_map(|(_, names)| names).cloned().collect()
    }

    /// The requests that wait and have their private key in this Secret.
    pub fn waiting_for_key(&self, secret: &ObjectName) -> Vec<ObjectName> {
        self.by_key.of(secret)
    }

    /// The known requests that are not in `listed`: a list has shown that they are gone.
    pub fn missing(&self, listed: &HashSet<ObjectName>) -> Vec<ObjectName> {
        self.requests.keys().filter(|name| !listed.contains(name)).cloned().collect()
    }
}

/// The issuer of our own group that a request is for.
pub(crate) fn issuer(view: &RequestView) -> Option<IssuerId> {
    IssuerId::of(&view.spec.issuer, view.name.namespace.as_deref()?)
}

/// The Secret that a request names for its private key.
pub(crate) fn key_secret(view: &RequestView) -> Option<ObjectName> {
    Some(ObjectName::namespaced(view.name.namespace.as_deref()?, view.key_secret.as_deref()?))
}

/// Whether something may still be done about a request.
fn is_waiting(view: &RequestView) -> bool {
    !view.deleting && view.end().is_none() && view.certificate.is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::object::IssuerKind;

    fn view(name: &str, version: u32, secret: Option<&str>, status: &Value) -> RequestView {
        let annotations = secret.map(|secret| json!({"cert-manager.io/private-key-secret-name": secret}));
        let request = json!({
            "metadata": {"namespace": "a", "name": name, "uid": "u", "resourceVersion": version.to_string(),
                "annotations": annotations},
            "spec": {"request": "eA==", "issuerRef": {"name": "ca"}},
            "status": status,
        });
        RequestView::of(serde_json::from_value(request).unwrap())
    }

    fn name(name: &str) -> ObjectName {
        ObjectName::namespaced("a", name)
    }

    fn issuer(name: &str) -> IssuerKey {
        IssuerKey { kind: IssuerKind::Issuer, name: ObjectName::namespaced("a", name) }
    }

    fn all() -> IssuerKey {
        IssuerKey { kind: IssuerKind::Issuer, name: ObjectName::cluster("") }
    }

    #[test]
    fn a_request_waits_for_its_issuer_and_its_key_until_its_end() {
        let mut index = Index::default();
        assert_eq!(index.set(view("r", 1, Some("key"), &json!({}))), None);
        assert_eq!(index.set(view("s", 1, Some("key"), &json!({}))), None);
        assert_eq!(index.waiting_for(&issuer("ca")), [name("r"), name("s")]);
        assert_eq!(index.waiting_for_key(&name("key")), [name("r"), name("s")]);
        assert!(index.waiting_for(&issuer("other")).is_empty());
        let issued = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "Issued"}]});
        assert_eq!(index.set(view("r", 2, Some("key"), &issued)), None);
        assert_eq!(index.waiting_for(&issuer("ca")), [name("s")]);
        assert_eq!(index.remove(&name("s")), Some(name("key")));
        assert!(index.waiting_for(&all()).is_empty());
        assert_eq!(index.remove(&name("r")), None);
    }

    #[test]
    fn a_secret_that_is_needed_on_is_not_given_up() {
        let mut index = Index::default();
        index.set(view("r", 1, Some("key"), &json!({})));
        assert_eq!(index.set(view("r", 2, Some("key"), &json!({}))), None);
        assert_eq!(index.set(view("r", 3, None, &json!({}))), Some(name("key")));
    }

    #[test]
    fn what_is_older_than_what_is_known_is_not_taken() {
        let mut index = Index::default();
        index.set(view("r", 10, None, &json!({})));
        index.set(view("r", 9, None, &json!({})));
        assert_eq!(index.get(&name("r")).unwrap().version, "10");
        assert_eq!(index.missing(&HashSet::new()), [name("r")]);
        assert!(index.missing(&HashSet::from([name("r")])).is_empty());
    }

    #[test]
    fn all_of_a_kind_are_told_when_no_name_is() {
        let mut index = Index::default();
        index.set(view("r", 1, None, &json!({})));
        assert_eq!(index.waiting_for(&all()), [name("r")]);
        let other = IssuerKey { kind: IssuerKind::ClusterIssuer, ..all() };
        assert!(index.waiting_for(&other).is_empty());
    }
}

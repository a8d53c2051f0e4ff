//! All objects of a namespaced kind, by name: what a watch has shown of them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use issuers::policy::{ServiceFacts, Services};
use runtime::follow::Change;
use runtime::trimmed::{Keep, Trimmed};

/// What is known of the objects of one kind; `V` is what is kept of each.
#[derive(Debug)]
pub struct Catalogue<V> {
    objects: RwLock<HashMap<String, HashMap<String, Arc<V>>>>,
}

// By hand, because a derive would ask for `V: Default`.
impl<V> Default for Catalogue<V> {
    fn default() -> Self {
        Self { objects: RwLock::default() }
    }
}

impl<V> Catalogue<V> {
    /// The object of this name, as it was last seen.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<V>> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        objects.get(namespace)?.get(name).cloned()
    }

    /// Takes in what a watch tells. When the right to see the objects is gone, so are they: what was known may be wrong.
    pub fn changed<K: Keep>(&self, change: Change<Trimmed<K>>, view: impl Fn(Trimmed<K>) -> V) {
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Seen(object) => {
                let (namespace, name) = place(&object);
                objects.entry(namespace).or_default().insert(name, Arc::new(view(object)));
            }
            Change::Gone(object) => {
                let (namespace, name) = place(&object);
                if let Some(around) = objects.get_mut(&namespace) {
                    around.remove(&name);
                    if around.is_empty() {
                        objects.remove(&namespace);
                    }
                }
            }
            Change::Listed(names) => {
                let mut listed: HashMap<&str, Vec<&str>> = HashMap::new();
                for name in &names {
                    let namespace = name.namespace.as_deref().unwrap_or_default();
                    listed.entry(namespace).or_default().push(&name.name);
                }
                let mut known = std::mem::take(&mut *objects);
                for (namespace, names) in listed {
                    let Some(mut before) = known.remove(namespace) else { continue };
                    let kept = names.into_iter().filter_map(|name| before.remove_entry(name)).collect();
                    objects.insert(namespace.to_owned(), kept);
                }
            }
            Change::Denied(_) => objects.clear(),
        }
    }
}

/// By these the name policy knows what pods are called.
impl Services for Catalogue<ServiceFacts> {
    fn get(&self, namespace: &str, name: &str) -> Option<Arc<ServiceFacts>> {
        Self::get(self, namespace, name)
    }
}

fn place<K>(object: &Trimmed<K>) -> (String, String) {
    let metadata = &object.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use runtime::watch::{Failure, ObjectName};

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Nothing;

    impl Keep for Nothing {}

    fn object(namespace: &str, name: &str, uid: &str) -> Trimmed<Nothing> {
        let mut object = Trimmed::<Nothing>::default();
        object.metadata.namespace = Some(namespace.to_owned());
        object.metadata.name = Some(name.to_owned());
        object.metadata.uid = Some(uid.to_owned());
        object
    }

    fn tell(catalogue: &Catalogue<String>, change: Change<Trimmed<Nothing>>) {
        catalogue.changed(change, |object| object.metadata.uid.unwrap_or_default());
    }

    fn full() -> Catalogue<String> {
        let catalogue = Catalogue::default();
        for (namespace, name, uid) in [("a", "x", "1"), ("a", "y", "2"), ("b", "x", "3")] {
            tell(&catalogue, Change::Seen(object(namespace, name, uid)));
        }
        catalogue
    }

    fn seen(catalogue: &Catalogue<String>) -> [Option<String>; 3] {
        [("a", "x"), ("a", "y"), ("b", "x")]
            .map(|(namespace, name)| catalogue.get(namespace, name).map(|uid| uid.to_string()))
    }

    #[test]
    fn what_may_not_be_seen_any_more_is_forgotten() {
        let catalogue = full();
        tell(&catalogue, Change::Denied(Failure { code: Some(403), message: "no".to_owned() }));
        assert_eq!(seen(&catalogue), [None, None, None]);
    }

    #[test]
    fn what_a_list_does_not_name_is_gone() {
        let catalogue = full();
        tell(&catalogue, Change::Listed(HashSet::from([ObjectName::namespaced("a", "y")])));
        assert_eq!(seen(&catalogue), [None, Some("2".to_owned()), None]);
    }

    #[test]
    fn the_last_that_was_seen_counts() {
        let catalogue = full();
        tell(&catalogue, Change::Seen(object("a", "x", "4")));
        tell(&catalogue, Change::Gone(object("b", "x", "3")));
        tell(&catalogue, Change::Gone(object("c", "x", "5")));
        assert_eq!(seen(&catalogue), [Some("4".to_owned()), Some("2".to_owned()), None]);
    }
}

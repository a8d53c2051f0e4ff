//! Who wants whose CA: state without IO.

use std::collections::{BTreeSet, HashMap, HashSet};

use runtime::watch::ObjectName;

use crate::reference::Wanted;
use crate::target::{Target, TargetKind};

/// The annotated targets and the Secrets that they name. Targets without an annotation take no room.
#[derive(Debug, Default)]
pub struct Index {
    wanted: HashMap<Target, Wanted>,
    by_secret: HashMap<ObjectName, BTreeSet<Target>>,
}

/// What a change means for the watches of Secrets.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// A Secret that is named for the first time.
    pub opened: Option<ObjectName>,
    /// A Secret that nobody names any more.
    pub closed: Option<ObjectName>,
}

impl Index {
    /// Takes in what a target asks for now; `None`: nothing, or it is gone.
    pub fn set(&mut self, target: Target, wanted: Option<Wanted>) -> Change {
        let mut change = Change::default();
        if self.wanted.get(&target) == wanted.as_ref() {
            return change;
        }
        if let Some(Wanted::Secret(secret)) = self.wanted.remove(&target)
            && let Some(targets) = self.by_secret.get_mut(&secret)
        {
            targets.remove(&target);
            if targets.is_empty() {
                self.by_secret.remove(&secret);
                change.closed = Some(secret);
            }
        }
        if let Some(Wanted::Secret(secret)) = &wanted {
            let targets = self.by_secret.entry(secret.clone()).or_default();
            if targets.is_empty() {
                change.opened = Some(secret.clone());
            }
            targets.insert(target.clone());
        }
        if let Some(wanted) = wanted {
            self.wanted.insert(target, wanted);
        }
        change
    }

    /// What a target asks for.
    pub fn wanted(&self, target: &Target) -> Option<&Wanted> {
        self.wanted.get(target)
    }

    /// The targets that name this Secret, in order.
    pub fn targets_of(&self, secret: &ObjectName) -> Vec<Target> {
        let targets = self.by_secret.get(secret);
        targets.into_iter().flatten().cloned().collect()
    }

    /// The targets of this kind that are not in `seen`: a list has shown that they are gone, or ask for nothing.
    pub fn missing(&self, kind: TargetKind, seen: &HashSet<String>) -> Vec<Target> {
        let targets = self.wanted.keys();
        targets.filter(|target| target.kind == kind && !seen.contains(&target.name)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Target {
        Target { kind: TargetKind::ApiService, name: name.to_owned() }
    }

    fn secret(name: &str) -> ObjectName {
        ObjectName::namespaced("team-a", name)
    }

    fn check(index: &mut Index, name: &str, wants: Option<&str>, opened: Option<&str>, closed: Option<&str>) {
        let change = index.set(target(name), wants.map(|name| Wanted::Secret(secret(name))));
        let expected = Change { opened: opened.map(secret), closed: closed.map(secret) };
        assert_eq!(change, expected, "{name} wants {wants:?}");
    }

    #[test]
    fn a_secret_is_watched_from_its_first_user_to_its_last() {
        let mut index = Index::default();
        check(&mut index, "one", Some("ca"), Some("ca"), None);
        check(&mut index, "one", Some("ca"), None, None);
        check(&mut index, "two", Some("ca"), None, None);
        assert_eq!(index.targets_of(&secret("ca")), [target("one"), target("two")]);
        check(&mut index, "one", None, None, None);
        check(&mut index, "two", Some("other"), Some("other"), Some("ca"));
        assert!(index.targets_of(&secret("ca")).is_empty());
        check(&mut index, "two", None, None, Some("other"));
        check(&mut index, "two", None, None, None);
        assert!(index.wanted(&target("two")).is_none());
    }

    #[test]
    fn a_reference_that_cannot_be_followed_watches_nothing() {
        let mut index = Index::default();
        check(&mut index, "one", Some("ca"), Some("ca"), None);
        let malformed = Wanted::Malformed { annotation: "a", value: "b".to_owned() };
        let change = index.set(target("one"), Some(malformed.clone()));
        assert_eq!(change.closed, Some(secret("ca")));
        assert_eq!(index.wanted(&target("one")), Some(&malformed));
    }

    #[test]
    fn targets_that_a_list_does_not_show_are_missing() {
        let mut index = Index::default();
        check(&mut index, "one", Some("ca"), Some("ca"), None);
        check(&mut index, "two", Some("ca"), None, None);
        let seen = HashSet::from(["two".to_owned()]);
        assert_eq!(index.missing(TargetKind::ApiService, &seen), [target("one")]);
        assert!(index.missing(TargetKind::MutatingWebhookConfiguration, &seen).is_empty());
    }
}

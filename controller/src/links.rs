//! Who refers to what: state without IO.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Many to many: the `V`s that refer to a `K`.
#[derive(Debug)]
pub struct Links<K, V>(HashMap<K, BTreeSet<V>>);

// By hand, because a derive would ask for `K: Default`.
impl<K, V> Default for Links<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq, V: Ord + Clone> Links<K, V> {
    /// `value` refers to `key` from now on.
    pub fn add(&mut self, key: K, value: V) {
        self.0.entry(key).or_default().insert(value);
    }

    /// `value` refers to `key` no more. True: that was the last one.
    pub fn remove<Q>(&mut self, key: &Q, value: &V) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let Some(values) = self.0.get_mut(key) else { return false };
        values.remove(value);
        let is_last = values.is_empty();
        if is_last {
            self.0.remove(key);
        }
        is_last
    }

    /// What refers to `key`, in order.
    pub fn of<Q>(&self, key: &Q) -> Vec<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.get(key).into_iter().flatten().cloned().collect()
    }

    /// Whether anything refers to `key`.
    pub fn has<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.contains_key(key)
    }

    /// All keys with what refers to them.
    pub fn all(&self) -> impl Iterator<Item = (&K, &BTreeSet<V>)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reference_that_goes_is_told() {
        let mut links = Links::<String, u8>::default();
        links.add("a".to_owned(), 2);
        links.add("a".to_owned(), 1);
        assert_eq!(links.of("a"), [1, 2]);
        assert!(!links.remove("b", &1) && !links.remove("a", &2));
        assert!(links.remove("a", &1) && !links.has("a") && links.of("a").is_empty());
    }
}

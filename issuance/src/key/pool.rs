//! A stock of keys that were made ahead, for kinds whose generation takes long.

use std::collections::HashMap;

use super::{KeyAlgorithm, PrivateKey};

/// Keys that are ready to be given out, up to a bound for each kind. The pool makes no keys: whoever holds it asks for
/// [`Self::wanted`], generates where that may take its time, and [`Self::put`]s the key in.
#[derive(Debug)]
pub struct KeyPool {
    shelves: Vec<Shelf>,
}

#[derive(Debug)]
struct Shelf {
    algorithm: KeyAlgorithm,
    bound: usize,
    keys: Vec<PrivateKey>,
}

impl KeyPool {
    /// A pool that holds up to so many keys of each kind, and none of other kinds. A kind that is named twice has the
    /// last bound.
    pub fn new(bounds: impl IntoIterator<Item = (KeyAlgorithm, usize)>) -> Self {
        let mut order = Vec::new();
        let mut known = HashMap::new();
        for (algorithm, bound) in bounds {
            if known.insert(algorithm, bound).is_none() {
                order.push(algorithm);
            }
        }
        let shelf = |algorithm| {
            let bound = known.get(&algorithm).copied().unwrap_or(0);
            Shelf { algorithm, bound, keys: Vec::new() }
        };
        Self { shelves: order.into_iter().map(shelf).collect() }
    }

    /// A key of this kind, oldest first; each is given out once. `None` when there is none ready.
    pub fn take(&mut self, algorithm: KeyAlgorithm) -> Option<PrivateKey> {
        let shelf = self.shelves.iter_mut().find(|shelf| shelf.algorithm == algorithm)?;
        (!shelf.keys.is_empty()).then(|| shelf.keys.remove(0))
    }

    /// Puts a key in, and gives it back when there is no room for one of its kind.
    #[must_use = "a key that comes back is still of use"]
    pub fn put(&mut self, key: PrivateKey) -> Option<PrivateKey> {
        let shelf = self.shelves.iter_mut().find(|shelf| shelf.algorithm == key.algorithm());
        match shelf {
            Some(shelf) if shelf.keys.len() < shelf.bound => {
                shelf.keys.push(key);
                None
            }
            _ => Some(key),
        }
    }

    /// The kind of which a key is missing most, counted against its bound; the first one among equals. `None` when
    /// the pool is full.
    pub fn wanted(&self) -> Option<KeyAlgorithm> {
        let mut emptiest: Option<&Shelf> = None;
        for shelf in self.shelves.iter().filter(|shelf| shelf.keys.len() < shelf.bound) {
            // a/b < c/d as a·d < c·b, which is exact.
            let emptier = emptiest.is_none_or(|other| {
                shelf.keys.len().saturating_mul(other.bound) < other.keys.len().saturating_mul(shelf.bound)
            });
            if emptier {
                emptiest = Some(shelf);
            }
        }
        emptiest.map(|shelf| shelf.algorithm)
    }

    /// How many keys of this kind are ready.
    pub fn ready(&self, algorithm: KeyAlgorithm) -> usize {
        let shelf = self.shelves.iter().find(|shelf| shelf.algorithm == algorithm);
        shelf.map_or(0, |shelf| shelf.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Curve;

    const ED25519: KeyAlgorithm = KeyAlgorithm::Ed25519;
    const P256: KeyAlgorithm = KeyAlgorithm::Ecdsa(Curve::P256);

    fn key(algorithm: KeyAlgorithm) -> PrivateKey {
        PrivateKey::generate(algorithm).unwrap()
    }

    #[test]
    fn a_key_for_which_there_is_no_room_comes_back() {
        let mut pool = KeyPool::new([(ED25519, 1), (P256, 0)]);
        assert!(pool.put(key(ED25519)).is_none());
        let other = key(ED25519);
        let public = other.public_key().clone();
        assert_eq!(pool.put(other).unwrap().public_key(), &public);
        assert!(pool.put(key(P256)).is_some());
        assert!(pool.put(key(KeyAlgorithm::Ecdsa(Curve::P384))).is_some());
    }

    #[test]
    fn each_key_is_given_out_once_and_in_order() {
        let mut pool = KeyPool::new([(ED25519, 2)]);
        assert!(pool.take(ED25519).is_none());
        let keys = [key(ED25519), key(ED25519)];
        let publics = keys.each_ref().map(|key| key.public_key().clone());
        for key in keys {
            assert!(pool.put(key).is_none());
        }
        assert_eq!(pool.ready(ED25519), 2);
        assert!(pool.take(P256).is_none());
        for public in publics {
            assert_eq!(pool.take(ED25519).unwrap().public_key(), &public);
        }
        assert!(pool.take(ED25519).is_none());
    }

    #[test]
    fn the_emptiest_kind_is_wanted_first() {
        let mut pool = KeyPool::new([(ED25519, 4), (P256, 9), (P256, 2)]);
        let mut wanted = Vec::new();
        while let Some(algorithm) = pool.wanted() {
            wanted.push(algorithm);
            assert!(pool.put(key(algorithm)).is_none());
        }
        assert_eq!(wanted, [ED25519, P256, ED25519, ED25519, P256, ED25519]);
        assert_eq!((pool.ready(ED25519), pool.ready(P256)), (4, 2));
        assert_eq!(KeyPool::new([]).wanted(), None);
    }
}

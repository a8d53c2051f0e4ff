//! Requests that are answered by the one who created them: whoever else works on requests leaves them alone until then.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runtime::watch::ObjectName;

/// The requests that are claimed now; clones are the same.
#[derive(Clone)]
pub struct Claims {
    shared: Arc<Shared>,
}

struct Shared {
    names: Mutex<HashSet<ObjectName>>,
    released: Box<dyn Fn(ObjectName) + Send + Sync>,
}

/// One claimed name. It is released, and told to whom it may concern, when this is dropped.
pub struct Claim {
    shared: Arc<Shared>,
    name: ObjectName,
}

impl Claims {
    /// Nothing is claimed. `released` hears of each name that is free again, to look at it then.
    pub fn new(released: impl Fn(ObjectName) + Send + Sync + 'static) -> Self {
        Self { shared: Arc::new(Shared { names: Mutex::default(), released: Box::new(released) }) }
    }

    /// Claims `name`, before the request is created; `None` when somebody else has.
    pub fn claim(&self, name: ObjectName) -> Option<Claim> {
        let is_new = self.shared.lock().insert(name.clone());
        is_new.then(|| Claim { shared: Arc::clone(&self.shared), name })
    }

    /// Whether `name` is claimed.
    pub fn contains(&self, name: &ObjectName) -> bool {
        self.shared.lock().contains(name)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.lock().remove(&self.name);
        (self.shared.released)(self.name.clone());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashSet<ObjectName>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claims").field(&self.shared.lock()).finish()
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_claimed_once_and_told_when_it_is_free() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&told);
        let claims = Claims::new(move |name: ObjectName| hears.lock().unwrap().push(name));
        let name = ObjectName::namespaced("team-a", "web-1");
        let claim = claims.claim(name.clone()).unwrap();
        assert!(claims.claim(name.clone()).is_none());
        let same = claims.clone();
        assert!(same.contains(&name));
        assert!(claims.contains(&name));
        assert!(told.lock().unwrap().is_empty());
        drop(claim);
        assert!(!claims.contains(&name));
        assert_eq!(*told.lock().unwrap(), std::slice::from_ref(&name));
        assert!(claims.claim(name).is_some());
    }
}

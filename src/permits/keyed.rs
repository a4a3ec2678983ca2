//! Permits by key: they bound what one user or one address has at a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The permits of each key. Keys without a permit take no memory.
#[derive(Debug)]
pub struct KeyedPermits<K: Eq + Hash> {
    taken: Mutex<HashMap<K, usize>>,
    most: usize,
}

/// What a key has taken, given back when this is dropped.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once bounds nothing"]
pub struct KeyedPermit<K: Eq + Hash> {
    permits: Arc<KeyedPermits<K>>,
    key: K,
    size: usize,
}

// === impl KeyedPermits ===

impl<K: Eq + Hash + Clone> KeyedPermits<K> {
    /// Permits with `most` places for each key.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::default(), most })
    }

    /// Takes one place for this key, if one is free.
    pub fn take(self: &Arc<Self>, key: &K) -> Option<KeyedPermit<K>> {
        let mut permit = self.none(key);
        permit.grow(1).then_some(permit)
    }

    /// A permit that holds nothing yet.
    pub fn none(self: &Arc<Self>, key: &K) -> KeyedPermit<K> {
        KeyedPermit { permits: Arc::clone(self), key: key.clone(), size: 0 }
    }
}

impl<K: Eq + Hash> KeyedPermits<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl KeyedPermit ===

impl<K: Eq + Hash + Clone> KeyedPermit<K> {
    /// Its key.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Takes `by` more places, if they are free. Returns whether it did.
    #[must_use]
    pub fn grow(&mut self, by: usize) -> bool {
        let most = self.permits.most;
        let mut all = self.permits.lock();
        let taken = all.get(&self.key).copied().unwrap_or_default();
        if taken + by > most {
            return false;
        }
        all.insert(self.key.clone(), taken + by);
        self.size += by;
        true
    }
}

impl<K: Eq + Hash> Drop for KeyedPermit<K> {
    fn drop(&mut self) {
        if self.size == 0 {
            return;
        }
        let mut all = self.permits.lock();
        let Some(taken) = all.get_mut(&self.key) else { return };
        *taken = taken.saturating_sub(self.size);
        if *taken == 0 {
            all.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_permits_and_an_unused_key_is_forgotten() {
        let permits = KeyedPermits::new(2);
        let (one, two) = (permits.take(&"ann"), permits.take(&"ann"));
        assert!(one.is_some() && two.is_some());
        assert!(permits.take(&"ann").is_none());
        let bob = permits.take(&"bob").expect("his own");
        assert_eq!(bob.key(), &"bob");
        drop(two);
        let again = permits.take(&"ann");
        assert!(again.is_some() && permits.take(&"ann").is_none());
        drop((one, again, bob));
        assert!(permits.lock().is_empty());
    }

    #[test]
    fn a_permit_grows_as_far_as_its_key_may_have_more() {
        let permits = KeyedPermits::new(100);
        let mut bytes = permits.none(&"ann");
        assert!(permits.lock().is_empty(), "nothing is taken yet");
        assert!(bytes.grow(60) && bytes.grow(40) && !bytes.grow(1));
        drop(bytes);
        assert!(permits.lock().is_empty());
    }
}

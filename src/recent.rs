//! A map for callers that look up the same entry again and again: a driver's connection its room, a
//! room its driver.

use std::hash::Hash;
use std::ops::{Deref, DerefMut};

use foldhash::fast::RandomState;
use indexmap::IndexMap;

/// An [`IndexMap`] that remembers where it found the last entry, and looks there first. That saves
/// the hash, and a read of memory that is not used otherwise.
#[derive(Debug)]
pub struct RecentMap<K, V> {
    entries: IndexMap<K, V, RandomState>,
    /// The index of the last entry found. A guess: entries move when others are removed.
    last: usize,
}

impl<K: Hash + Eq, V> RecentMap<K, V> {
    /// Adds an entry, or replaces the value of the one that has its key.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.entries.is_empty() {
            // Many maps never get a second entry; a first insertion would reserve space for three.
            self.entries.reserve_exact(1);
        }
        self.entries.insert(key, value)
    }

    /// The value of a key. Its index is remembered for the next lookup.
    pub fn get_recent(&mut self, key: &K) -> Option<&mut V> {
        let guessed = self.entries.get_index(self.last).is_some_and(|(known, _)| known == key);
        if !guessed {
            self.last = self.entries.get_index_of(key)?;
        }
        self.entries.get_index_mut(self.last).map(|(_, value)| value)
    }
}

impl<K, V> Default for RecentMap<K, V> {
    fn default() -> Self {
        Self { entries: IndexMap::default(), last: 0 }
    }
}

impl<K, V> Deref for RecentMap<K, V> {
    type Target = IndexMap<K, V, RandomState>;

    fn deref(&self) -> &Self::Target {
        &self.entries
    }
}

impl<K, V> DerefMut for RecentMap<K, V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_wherever_it_has_moved() {
        let mut map = RecentMap::default();
        for key in ["a", "b", "c"] {
            map.insert(key, key.to_uppercase());
        }
        for _ in 0..2 {
            assert_eq!(map.get_recent(&"c").map(|value| value.as_str()), Some("C"));
        }
        map.swap_remove("a");
        assert_eq!(map.get_recent(&"c").map(|value| value.as_str()), Some("C"));
        map.swap_remove("c");
        assert_eq!(map.get_recent(&"c"), None);
        assert_eq!(map.get_recent(&"b").map(|value| value.as_str()), Some("B"));
    }
}

//! A store within one process, for the command line and for tests.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::{SharedStore, StoreError, Versioned};

/// A map in memory that behaves like Envoy's: it evicts nothing, and all keys share one version counter.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    map: HashMap<Vec<u8>, Versioned>,
    version: u32,
}

impl Entries {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        // Zero is not a version, because hosts interpret it as "any version".
        self.version = self.version.checked_add(1).unwrap_or(1);
        self.map.insert(key.to_vec(), Versioned { value: value.to_vec(), version: self.version });
    }
}

impl MemoryStore {
    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries(|entries| entries.map.len())
    }

    /// Reports whether the store has no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Evicts a key, as a host does when it runs out of room.
    #[cfg(test)]
    pub(crate) fn forget(&self, key: &[u8]) {
        self.entries(|entries| entries.map.remove(key));
    }

    /// Returns every key with its value.
    #[cfg(test)]
    pub(crate) fn dump(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.entries(|entries| entries.map.iter().map(|(key, entry)| (key.clone(), entry.value.clone())).collect())
    }

    fn entries<T>(&self, with: impl FnOnce(&mut Entries) -> T) -> T {
        // A panic of another thread leaves the map consistent, because each operation is a single one.
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SharedStore for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        Ok(self.entries(|entries| entries.map.get(key).cloned()))
    }

    fn create(&self, key: &[u8], value: &[u8]) -> Result<bool, StoreError> {
        Ok(self.entries(|entries| {
            let absent = !entries.map.contains_key(key);
            if absent {
                entries.put(key, value);
            }
            absent
        }))
    }

    fn compare_and_set(&self, key: &[u8], value: &[u8], version: u32) -> Result<bool, StoreError> {
        Ok(self.entries(|entries| {
            let same = entries.map.get(key).is_some_and(|entry| entry.version == version);
            if same {
                entries.put(key, value);
            }
            same
        }))
    }
}

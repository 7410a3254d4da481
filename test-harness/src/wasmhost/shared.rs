//! The map that all VMs with one `vm_id` share, as Envoy keeps it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The map that VMs share. VMs that are given clones of it are workers of one gateway.
#[derive(Debug, Clone, Default)]
pub struct SharedData(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    map: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    version: u32,
}

impl SharedData {
    /// How many keys there are. Envoy forgets none.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with(|entries| entries.map.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a value there, as another plugin of the same gateway could.
    #[cfg(test)]
    pub(super) fn put(&self, key: &[u8], value: &[u8]) {
        self.set(key, value, 0);
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.with(|entries| entries.map.get(key).cloned())
    }

    /// Whether the value was written: a version other than zero must be that of the entry, where there is one.
    pub(super) fn set(&self, key: &[u8], value: &[u8], version: u32) -> bool {
        self.with(|entries| {
            if version != 0 && entries.map.get(key).is_some_and(|(_, standing)| *standing != version) {
                return false;
            }
            entries.version = entries.version.checked_add(1).unwrap_or(1);
            entries.map.insert(key.to_vec(), (value.to_vec(), entries.version));
            true
        })
    }

    fn with<T>(&self, body: impl FnOnce(&mut Entries) -> T) -> T {
        body(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

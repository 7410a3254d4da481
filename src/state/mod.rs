//! The state that all workers of a gateway share. It is bounded and exact, and one worker changes it at a time.
//!
//! The host offers a process-wide map, [`SharedStore`]. One gateway never evicts its entries, and another may evict any of them.
//! No input from a request creates new keys: identities that the policy names have their own keys, and all others share a fixed
//! number of slots. A [`Namespace`] separates the policies of one gateway and creates keys that outsiders cannot predict. This
//! module does not know the meaning of the values.

mod flag;
mod key;
mod layout;
#[cfg(not(target_arch = "wasm32"))]
mod memory;
mod namespace;
mod sealed;
mod slot;

pub(crate) use flag::Flag;
pub(crate) use key::{BucketKey, Identity, StoreKey};
pub(crate) use layout::{ENTRY, SlotKind};
#[cfg(not(target_arch = "wasm32"))]
pub use memory::MemoryStore;
pub use namespace::{Namespace, Opened, Secret};
pub(crate) use sealed::{PolicyStore, Seal, Zone, bytes_in_zone};
pub(crate) use slot::{Slot, Stored};

use std::cell::Cell;
use std::rc::Rc;

use crate::text::monotonic::Monotonic;
use crate::text::time::Timestamp;

/// The number of attempts to change a value while other workers interfere. Each failure means that another worker succeeded, so a
/// worker gives up only if sixty-four others were faster in a row.
pub(crate) const MOST_ATTEMPTS: usize = 64;

/// A value with its version, which a later change must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The bytes.
    pub value: Vec<u8>,
    /// Changes with every write. Versions are neither ordered nor unique forever.
    pub version: u32,
}

/// A map that all workers share. Every operation is atomic.
pub trait SharedStore {
    /// Returns the value of a key.
    ///
    /// # Errors
    /// Returns [`StoreError`] if the host fails.
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError>;

    /// Stores a value under a key that does not exist. Returns false if the key exists. If several workers create the same key,
    /// one succeeds.
    ///
    /// # Errors
    /// Returns [`StoreError`] if the host fails.
    fn create(&self, key: &[u8], value: &[u8]) -> Result<bool, StoreError>;

    /// Replaces the value if it still has this version. Returns false if it has changed.
    ///
    /// # Errors
    /// Returns [`StoreError`] if the host fails.
    fn compare_and_set(&self, key: &[u8], value: &[u8], version: u32) -> Result<bool, StoreError>;

    /// Reports whether the host may lose a key while it runs, for example to make room.
    fn forgets(&self) -> bool {
        true
    }

    /// Reports whether a key that was lost and created again can have the same versions as before. A late change of the lost
    /// value then succeeds.
    fn repeats_versions(&self) -> bool {
        false
    }
}

/// The clock of the host, for code that needs a more recent time than that of the request.
pub trait Clock {
    /// Returns the current time.
    ///
    /// # Errors
    /// Returns [`StoreError`] if the host fails.
    fn now(&self) -> Result<Timestamp, StoreError>;

    /// Returns the time of a clock that never goes back, which ages and waits are measured with. A clock that is never set can keep
    /// this implementation.
    ///
    /// # Errors
    /// Returns [`StoreError`] if the host fails.
    fn monotonic(&self) -> Result<Monotonic, StoreError> {
        self.now().map(|now| Monotonic::from_millis(now.as_nanos() / 1_000_000))
    }
}

/// A clock that shows the time to which it is set.
impl Clock for Rc<Cell<Timestamp>> {
    fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.get())
    }
}

/// A fixed time is a clock that does not advance.
impl Clock for Timestamp {
    fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(*self)
    }
}

/// The shared state of a gateway's workers, as an evaluation uses it.
#[derive(Clone, Copy)]
pub struct Shared<'s> {
    /// The map.
    pub store: &'s dyn SharedStore,
    /// The part of it that belongs to the policy.
    pub namespace: &'s Namespace,
    /// The clock.
    pub clock: &'s dyn Clock,
}

/// Statistics of the shared store for one request, for the gateway's metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// The number of other identities' entries that were evicted to make room.
    pub evicted: u32,
    /// The number of changes that were retried because another worker interfered.
    pub retried: u32,
    /// The change in the number of entries in the replay table.
    pub replay_entries: i32,
}

impl StoreStats {
    /// Returns the sum of both statistics.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            evicted: self.evicted.saturating_add(other.evicted),
            retried: self.retried.saturating_add(other.retried),
            replay_entries: self.replay_entries.saturating_add(other.replay_entries),
        }
    }
}

/// The shared store failed, or contains a value that this version did not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreError;

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the shared store cannot be used")
    }
}

impl std::error::Error for StoreError {}

#[cfg(test)]
pub(crate) mod simulation;

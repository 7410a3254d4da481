//! What all workers of a gateway share: bounded, exact, and changed by one worker at a time.
//!
//! The host offers a process-wide map, [`SharedStore`], in which nothing is ever forgotten on one gateway and anything may be on
//! another. So no key is made for whatever comes along: what the policy names has a key of its own, everything else shares a
//! fixed number of [slots](Place). A [`Namespace`] separates the policies of one gateway and makes keys that no outsider can
//! foresee. What the values mean is not known in here.

mod key;
mod layout;
#[cfg(not(target_arch = "wasm32"))]
mod memory;
mod namespace;
mod sealed;
mod slot;

pub(crate) use key::{BucketKey, Identity, StoreKey};
pub(crate) use layout::{ENTRY, SlotKind};
#[cfg(not(target_arch = "wasm32"))]
pub use memory::MemoryStore;
pub use namespace::{Namespace, Opened, Secret};
pub(crate) use sealed::{PolicyStore, Seal, bytes_in_zone};
pub(crate) use slot::{Slot, Stored};

use std::cell::Cell;
use std::rc::Rc;

use crate::text::time::Timestamp;

/// How often a change is tried again when other workers come in between. Each failure means that one of them got through, so
/// that a worker gives up only where sixty-four others were faster in a row.
pub(crate) const MOST_ATTEMPTS: usize = 64;

/// A value with the version that a later change must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The bytes.
    pub value: Vec<u8>,
    /// Changes with every write. Neither ordered nor unique for ever.
    pub version: u32,
}

/// A map that all workers share. Every operation is atomic.
pub trait SharedStore {
    /// The value under a key.
    ///
    /// # Errors
    /// [`StoreError`] when the host cannot say.
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError>;

    /// Puts a value under a key that has none; false where it has one. Of any number of workers one succeeds.
    ///
    /// # Errors
    /// [`StoreError`] when the host cannot do it.
    fn create(&self, key: &[u8], value: &[u8]) -> Result<bool, StoreError>;

    /// Replaces the value of this version; false where it has been replaced meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] when the host cannot do it.
    fn compare_and_set(&self, key: &[u8], value: &[u8], version: u32) -> Result<bool, StoreError>;

    /// Whether the host may lose a key while it runs, as one does that makes room.
    fn forgets(&self) -> bool {
        true
    }

    /// Whether a key that was lost and made again has versions that it had before, so that a change of what was lost goes
    /// through, if it comes late.
    fn repeats_versions(&self) -> bool {
        false
    }
}

/// The clock of the host, for what must know the moment better than the call's own.
pub trait Clock {
    /// The moment.
    ///
    /// # Errors
    /// [`StoreError`] when the host cannot say.
    fn now(&self) -> Result<Timestamp, StoreError>;
}

/// A clock that shows what it was set to.
impl Clock for Rc<Cell<Timestamp>> {
    fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.get())
    }
}

/// A moment is a clock that stands still.
impl Clock for Timestamp {
    fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(*self)
    }
}

/// What the workers of a gateway share, as an evaluation uses it.
#[derive(Clone, Copy)]
pub struct Shared<'s> {
    /// The map.
    pub store: &'s dyn SharedStore,
    /// The part of it that belongs to the policy.
    pub namespace: &'s Namespace,
    /// The clock.
    pub clock: &'s dyn Clock,
}

/// How the shared store was used for one call, for the gateway's metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Entries of other identities that were given up for want of room.
    pub evicted: u32,
    /// Changes that had to be tried again because another worker came in between.
    pub retried: u32,
    /// By how many entries more the replay table holds.
    pub replay_entries: i32,
}

impl StoreStats {
    /// Both uses together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            evicted: self.evicted.saturating_add(other.evicted),
            retried: self.retried.saturating_add(other.retried),
            replay_entries: self.replay_entries.saturating_add(other.replay_entries),
        }
    }
}

/// The shared store did not do what it was asked, or holds what nobody of this version wrote there.
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

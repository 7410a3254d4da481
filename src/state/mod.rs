//! What all workers of a gateway share: bounded, exact, and changed by one worker at a time.
//!
//! The host offers a process-wide map, [`SharedStore`], in which nothing is ever forgotten on one gateway and anything may be on
//! another. So no key is made for whatever comes along: what the policy names has a key of its own, everything else shares a
//! fixed number of [slots](Place). A [`Namespace`] separates the policies of one gateway and makes keys that no outsider can
//! foresee. What the values mean is not known in here.

#[cfg(not(target_arch = "wasm32"))]
mod memory;
mod namespace;
mod place;
mod sealed;
mod slot;

#[cfg(not(target_arch = "wasm32"))]
pub use memory::MemoryStore;
pub use namespace::{Namespace, Opened, Secret};
pub(crate) use place::{Identity, Place, StoreKey};
pub use sealed::PolicyStore;
pub(crate) use sealed::{Seal, bytes_in_zone};
pub(crate) use slot::{Slot, Stored};

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

/// The shared store did not do what it was asked, or holds what nobody of this version wrote there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreError;

#[cfg(test)]
pub(crate) mod simulation;

//! The state that all VMs of a gateway share, as its host keeps it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::profile::Store;
use super::zones::{Full, PAGE, Zone};

/// The name of the zone for the gate's keys, which is their prefix.
pub const ZONE: &[u8] = b"callgate";

/// The default size of that zone.
const ZONE_BYTES: usize = 32 << 20;

/// The name of the zone for the documents that the gate fetches, which is the prefix of their keys.
pub const DOCUMENTS_ZONE: &[u8] = b"callgate_documents";

/// The size of that zone.
pub const DOCUMENTS_ZONE_BYTES: usize = 4 << 20;

/// What the monotonic clock shows at first, in nanoseconds. The gateway's host has been running for a while.
const STARTED: u64 = 1_000_000_000_000_000;

/// The shared state. VMs that hold clones of it are workers of one gateway.
#[derive(Debug, Clone)]
pub struct SharedData {
    kept: Arc<Mutex<Kept>>,
    concurrent: Arc<Mutex<ConcurrentWriters>>,
    /// The clock that only moves forward, which all workers of a host share. No snapshot contains it.
    monotonic: Arc<AtomicU64>,
    /// How many workers were started.
    workers: Arc<AtomicU64>,
}

/// A snapshot of the shared state.
#[derive(Debug, Clone)]
pub struct Snapshot(Kept);

#[derive(Debug, Clone)]
enum Kept {
    Map { entries: BTreeMap<Vec<u8>, (Vec<u8>, u32)>, version: u32 },
    Zones(BTreeMap<Vec<u8>, Zone>),
    Nothing,
}

/// Simulates other workers that change a key just before this worker writes it.
#[derive(Debug, Default)]
struct ConcurrentWriters {
    /// The number of writes that succeed first.
    leave: usize,
    /// The number of writes after those that lose to another worker.
    beat: usize,
}

/// Why a host stops the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// The key begins with no zone's name, and there is no zone `*`.
    NoZone,
    /// Nothing can be evicted for a new key.
    Full,
}

impl Default for SharedData {
    fn default() -> Self {
        Self::of(Store::Map)
    }
}

impl SharedData {
    /// Creates the state that workers share on a host of this kind.
    #[must_use]
    pub fn of(store: Store) -> Self {
        match store {
            Store::Map => Self::keeping(Kept::Map { entries: BTreeMap::new(), version: 0 }),
            Store::Zones => Self::zones(&[(ZONE, ZONE_BYTES), (DOCUMENTS_ZONE, DOCUMENTS_ZONE_BYTES)]),
            Store::None => Self::keeping(Kept::Nothing),
        }
    }

    /// Creates zones with these names and sizes. `*` stores the keys that belong to no other zone.
    #[must_use]
    pub fn zones(zones: &[(&[u8], usize)]) -> Self {
        Self::keeping(Kept::Zones(zones.iter().map(|(name, bytes)| (name.to_vec(), Zone::new(*bytes))).collect()))
    }

    /// Returns whether the gateway starts with these zones: their sizes must be whole pages.
    pub(super) fn is_aligned(&self) -> bool {
        self.with(|kept| match kept {
            Kept::Zones(zones) => zones.values().all(|zone| zone.bytes().is_multiple_of(PAGE)),
            Kept::Map { .. } | Kept::Nothing => true,
        })
    }

    /// Returns the state of the next generation of workers after a reload: empty zones of the same sizes. The previous generation keeps its
    /// zones until it ends.
    #[must_use]
    pub fn reloaded(&self) -> Self {
        self.with(|kept| match kept {
            Kept::Zones(zones) => {
                let zones: Vec<_> = zones.iter().map(|(name, zone)| (name.as_slice(), zone.bytes())).collect();
                Self {
                    monotonic: Arc::clone(&self.monotonic),
                    workers: Arc::clone(&self.workers),
                    ..Self::zones(&zones)
                }
            }
            Kept::Map { .. } | Kept::Nothing => self.clone(),
        })
    }

    fn keeping(kept: Kept) -> Self {
        let monotonic = Arc::new(AtomicU64::new(STARTED));
        Self { kept: Arc::new(Mutex::new(kept)), concurrent: Arc::default(), monotonic, workers: Arc::default() }
    }

    /// Returns another number for each worker.
    pub(super) fn next_worker(&self) -> u64 {
        self.workers.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets time pass, for all workers. The time of day stays as it is: each request has its own.
    pub fn pass(&self, span: Duration) {
        let nanoseconds = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.monotonic.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Returns what the clock shows that only moves forward, in nanoseconds.
    pub(super) fn monotonic(&self) -> u64 {
        self.monotonic.load(Ordering::Relaxed)
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with(|kept| match kept {
            Kept::Map { entries, .. } => entries.len(),
            Kept::Zones(zones) => zones.values().map(Zone::len).sum(),
            Kept::Nothing => 0,
        })
    }

    /// Returns whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many keys were evicted.
    #[must_use]
    pub fn forgotten(&self) -> usize {
        self.with(|kept| match kept {
            Kept::Zones(zones) => zones.values().map(Zone::forgotten).sum(),
            Kept::Map { .. } | Kept::Nothing => 0,
        })
    }

    /// Takes a snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.with(|kept| Snapshot(kept.clone()))
    }

    /// Restores a snapshot.
    pub fn restore(&self, snapshot: &Snapshot) {
        self.with(|kept| kept.clone_from(&snapshot.0));
    }

    /// Stores a value, as another plugin of the same gateway could.
    #[cfg(test)]
    pub(super) fn put(&self, key: &[u8], value: &[u8]) {
        let version = self.get(key).ok().flatten().map_or(0, |(_, version)| version);
        let _ = self.set(key, value, version);
    }

    /// Returns the keys of a map.
    #[cfg(test)]
    pub(super) fn keys(&self) -> Vec<Vec<u8>> {
        self.with(|kept| match kept {
            Kept::Map { entries, .. } => entries.keys().cloned().collect(),
            Kept::Zones(_) | Kept::Nothing => Vec::new(),
        })
    }

    /// Evicts the key with this index from the gate's zone, as a full zone may do. Returns false if there are not that many.
    #[cfg(test)]
    pub(crate) fn forget(&self, number: usize) -> bool {
        self.with(|kept| match kept {
            Kept::Zones(zones) => zones.get_mut(ZONE).is_some_and(|zone| zone.forget(number)),
            Kept::Map { .. } | Kept::Nothing => false,
        })
    }

    /// Lets `leave` writes succeed, and then lets another worker win against the next `beat` writes.
    #[cfg(test)]
    pub(crate) fn contend(&self, leave: usize, beat: usize) {
        *self.concurrent.lock().unwrap_or_else(PoisonError::into_inner) = ConcurrentWriters { leave, beat };
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<(Vec<u8>, u32)>, Unusable> {
        self.with(|kept| match kept {
            Kept::Map { entries, .. } => Ok(entries.get(key).cloned()),
            Kept::Zones(zones) => Ok(zone(zones, key).ok_or(Unusable::NoZone)?.get(key)),
            Kept::Nothing => Ok(None),
        })
    }

    /// Writes a value, and returns whether it was written.
    pub(super) fn set(&self, key: &[u8], value: &[u8], version: u32) -> Result<bool, Unusable> {
        let beaten = self.concurrent.lock().unwrap_or_else(PoisonError::into_inner).next();
        if beaten && let Some((standing, version)) = self.get(key)? {
            self.write(key, &standing, version)?;
        }
        self.write(key, value, version)
    }

    fn write(&self, key: &[u8], value: &[u8], version: u32) -> Result<bool, Unusable> {
        self.with(|kept| match kept {
            // If there is an entry, a version other than zero must match its version.
            Kept::Map { entries, version: latest } => {
                if version != 0 && entries.get(key).is_some_and(|(_, standing)| *standing != version) {
                    return Ok(false);
                }
                *latest = latest.checked_add(1).unwrap_or(1);
                entries.insert(key.to_vec(), (value.to_vec(), *latest));
                Ok(true)
            }
            Kept::Zones(zones) => {
                let zone = zone(zones, key).ok_or(Unusable::NoZone)?;
                zone.set(key, value, version).map_err(|Full| Unusable::Full)
            }
            Kept::Nothing => Ok(false),
        })
    }

    fn with<T>(&self, body: impl FnOnce(&mut Kept) -> T) -> T {
        body(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ConcurrentWriters {
    /// Returns whether another worker wins against the next write.
    fn next(&mut self) -> bool {
        if let Some(leave) = self.leave.checked_sub(1) {
            self.leave = leave;
            return false;
        }
        let beat = self.beat.checked_sub(1);
        self.beat = beat.unwrap_or_default();
        beat.is_some()
    }
}

/// Returns the zone whose name is the key's prefix, or else the zone for all others.
fn zone<'z>(zones: &'z mut BTreeMap<Vec<u8>, Zone>, key: &[u8]) -> Option<&'z mut Zone> {
    let name =
        key.split(|byte| *byte == b'/').next().filter(|name| name.len() < key.len() && zones.contains_key(*name));
    zones.get_mut(name.unwrap_or(b"*"))
}

//! What all VMs of a gateway share, as its host keeps it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::profile::Store;
use super::zones::{Full, PAGE, Zone};

/// The zone that the gate's keys begin with.
pub const ZONE: &[u8] = b"callgate";

/// The size of that zone unless a test says otherwise.
const ZONE_BYTES: usize = 32 << 20;

/// What VMs share. VMs that are given clones of it are workers of one gateway.
#[derive(Debug, Clone)]
pub struct SharedData {
    kept: Arc<Mutex<Kept>>,
    concurrent: Arc<Mutex<ConcurrentWriters>>,
}

/// What was shared at some moment.
#[derive(Debug, Clone)]
pub struct Snapshot(Kept);

#[derive(Debug, Clone)]
enum Kept {
    Map { entries: BTreeMap<Vec<u8>, (Vec<u8>, u32)>, version: u32 },
    Zones(BTreeMap<Vec<u8>, Zone>),
    Nothing,
}

/// Other workers, which change a key whenever somebody is about to.
#[derive(Debug, Default)]
struct ConcurrentWriters {
    /// So many writes they leave alone before they begin.
    leave: usize,
    /// So many writes come too late then.
    beat: usize,
}

/// Why a host stops the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// The key begins with no zone's name, and there is none for the others.
    NoZone,
    /// Nothing can be forgotten for a new key.
    Full,
}

impl Default for SharedData {
    fn default() -> Self {
        Self::of(Store::Map)
    }
}

impl SharedData {
    /// What workers share on a host of this kind.
    #[must_use]
    pub fn of(store: Store) -> Self {
        match store {
            Store::Map => Self::keeping(Kept::Map { entries: BTreeMap::new(), version: 0 }),
            Store::Zones => Self::zones(&[(ZONE, ZONE_BYTES)]),
            Store::None => Self::keeping(Kept::Nothing),
        }
    }

    /// Zones of these names and sizes; `*` takes whatever belongs to no other.
    #[must_use]
    pub fn zones(zones: &[(&[u8], usize)]) -> Self {
        Self::keeping(Kept::Zones(zones.iter().map(|(name, bytes)| (name.to_vec(), Zone::new(*bytes))).collect()))
    }

    /// Whether the gateway starts with these zones: their sizes are whole pages.
    pub(super) fn is_aligned(&self) -> bool {
        self.with(|kept| match kept {
            Kept::Zones(zones) => zones.values().all(|zone| zone.bytes().is_multiple_of(PAGE)),
            Kept::Map { .. } | Kept::Nothing => true,
        })
    }

    /// What the workers of the next generation share after a reload: zones of the same sizes, which are empty. Those of the generation
    /// before keep theirs until they end.
    #[must_use]
    pub fn reloaded(&self) -> Self {
        self.with(|kept| match kept {
            Kept::Zones(zones) => {
                let zones: Vec<_> = zones.iter().map(|(name, zone)| (name.as_slice(), zone.bytes())).collect();
                Self::zones(&zones)
            }
            Kept::Map { .. } | Kept::Nothing => self.clone(),
        })
    }

    fn keeping(kept: Kept) -> Self {
        Self { kept: Arc::new(Mutex::new(kept)), concurrent: Arc::default() }
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with(|kept| match kept {
            Kept::Map { entries, .. } => entries.len(),
            Kept::Zones(zones) => zones.values().map(Zone::len).sum(),
            Kept::Nothing => 0,
        })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys had to go for others.
    #[must_use]
    pub fn forgotten(&self) -> usize {
        self.with(|kept| match kept {
            Kept::Zones(zones) => zones.values().map(Zone::forgotten).sum(),
            Kept::Map { .. } | Kept::Nothing => 0,
        })
    }

    /// What is shared now, apart from whatever comes later.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.with(|kept| Snapshot(kept.clone()))
    }

    /// Goes back to what was shared at another moment.
    pub fn restore(&self, snapshot: &Snapshot) {
        self.with(|kept| kept.clone_from(&snapshot.0));
    }

    /// Puts a value there, as another plugin of the same gateway could.
    #[cfg(test)]
    pub(super) fn put(&self, key: &[u8], value: &[u8]) {
        let version = self.get(key).ok().flatten().map_or(0, |(_, version)| version);
        let _ = self.set(key, value, version);
    }

    /// The keys of a map.
    #[cfg(test)]
    pub(super) fn keys(&self) -> Vec<Vec<u8>> {
        self.with(|kept| match kept {
            Kept::Map { entries, .. } => entries.keys().cloned().collect(),
            Kept::Zones(_) | Kept::Nothing => Vec::new(),
        })
    }

    /// Forgets one key of the gate's zone, as a full one may: that of this number, while there are so many.
    #[cfg(test)]
    pub(crate) fn forget(&self, number: usize) -> bool {
        self.with(|kept| match kept {
            Kept::Zones(zones) => zones.get_mut(ZONE).is_some_and(|zone| zone.forget(number)),
            Kept::Map { .. } | Kept::Nothing => false,
        })
    }

    /// Lets so many writes pass, and other workers be faster than so many that come after them.
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

    /// Whether the value was written.
    pub(super) fn set(&self, key: &[u8], value: &[u8], version: u32) -> Result<bool, Unusable> {
        let beaten = self.concurrent.lock().unwrap_or_else(PoisonError::into_inner).next();
        if beaten && let Some((standing, version)) = self.get(key)? {
            self.write(key, &standing, version)?;
        }
        self.write(key, value, version)
    }

    fn write(&self, key: &[u8], value: &[u8], version: u32) -> Result<bool, Unusable> {
        self.with(|kept| match kept {
            // A version other than zero must be that of the entry, where there is one.
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
    /// Whether they are faster than the write that comes now.
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

/// The zone whose name the key begins with, or else the one for all others.
fn zone<'z>(zones: &'z mut BTreeMap<Vec<u8>, Zone>, key: &[u8]) -> Option<&'z mut Zone> {
    let name =
        key.split(|byte| *byte == b'/').next().filter(|name| name.len() < key.len() && zones.contains_key(*name));
    zones.get_mut(name.unwrap_or(b"*"))
}

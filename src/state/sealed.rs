//! The policy's view of the store. It ignores values that others wrote, and detects a host that confuses two keys.
//!
//! If a policy has a key for its tables, every value contains a mark of its store key and a seal over both (keyed SipHash-2-4
//! with 128 bits). A value that somebody else wrote, or that was written under another store key, has no valid seal. A value
//! that was written before and put back has one: anyone who can write to the map can undo later writes. A policy's key prevents
//! everything beyond that.
//!
//! Kong's zone needs more. It identifies keys by their CRC32, so each name is a fixed prefix and four bytes of a hash: a CRC32
//! distinguishes all differences within four bytes. If two keys, of this policy or of another, have the same four bytes, the
//! second one uses its next four bytes. Values have their full length from the beginning, so they never need more room. The host
//! copies values without a lock, so a value that is only half written is read again.

use std::ops::Deref;

use siphasher::sip128::SipHasher24;

use super::{SharedStore, SlotKind, StoreError, Versioned};

/// The bytes before a value: the mark of its key, its seal and its length.
const HEAD: usize = 8 + 16 + 4;
/// The number of alternative names of a key.
const PLACES: u8 = 4;
/// The maximum number of reads of a value that is being written meanwhile.
const READS: usize = 64;

/// One of Kong's zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    /// The zone of limits and replay protection.
    Tables,
    /// The zone of fetched documents. They are large, and must not push out entries of the tables.
    Documents,
}

impl Zone {
    /// Returns the prefix of all keys in the zone. It starts with the name of the zone, which is used if a zone of that name
    /// exists.
    const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Tables => b"callgate/cg3-",
            Self::Documents => b"callgate_documents/cg3-",
        }
    }
}

/// The key that seals values, and the zone that they are in.
#[derive(Debug, Clone)]
pub(crate) struct Seal {
    pub(crate) key: [u8; 16],
    /// `None` if the store is no zone.
    pub(crate) zone: Option<Zone>,
}

/// The policy's view of the store, which it accesses through any kind of pointer.
#[derive(Debug, Clone)]
pub(crate) struct PolicyStore<S> {
    store: S,
    seal: Option<Seal>,
}

impl<S> PolicyStore<S> {
    pub(crate) fn new(store: S, seal: Option<Seal>) -> Self {
        Self { store, seal }
    }
}

/// The value under one name of a key.
enum Found {
    /// No value.
    Nothing,
    /// The key's own value, and the host's version of it.
    Own(Versioned, u32),
    /// The value of another key, or one that Callgate did not write.
    Foreign,
}

impl Seal {
    fn hash(&self, parts: &[&[u8]]) -> u128 {
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
        for part in parts {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        let hash = SipHasher24::new_with_key(&self.key).hash(&bytes);
        u128::from(hash.h1) << 64 | u128::from(hash.h2)
    }

    /// Returns the mark that identifies the owner of a value. It does not depend on the value, so a half-written value has it
    /// too.
    fn mark(&self, key: &[u8]) -> [u8; 8] {
        (self.hash(&[b"mark", key]) as u64).to_le_bytes()
    }

    /// Returns one of a key's names. It depends on the seal, so values of an earlier key are never found.
    fn name(&self, key: &[u8], place: u8) -> Vec<u8> {
        let hash = self.hash(&[b"name 2", &[place], key]);
        match self.zone {
            Some(zone) => [zone.prefix(), &(hash as u32).to_le_bytes()].concat(),
            None => [key, b"-", &hash.to_le_bytes()].concat(),
        }
    }

    /// Returns the number of names of a key.
    fn places(&self) -> u8 {
        if self.zone.is_some() { PLACES } else { 1 }
    }

    fn seal(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let length = u32::try_from(value.len()).map_err(|_| StoreError)?.to_le_bytes();
        let seal = self.hash(&[b"seal", key, value]).to_le_bytes();
        let mut sealed = [&self.mark(key)[..], &seal, &length, value].concat();
        if self.zone.is_some() {
            sealed.resize(HEAD + room(value).ok_or(StoreError)?, 0);
        }
        Ok(sealed)
    }

    /// Returns the value if it belongs to this key, with a part of its seal. Returns `None` if the seal is invalid.
    ///
    /// The part of the seal distinguishes versions that the host assigns twice: to a value, and to a value that is written after
    /// the first one was lost.
    fn open(&self, key: &[u8], sealed: &[u8]) -> Option<(Vec<u8>, u32)> {
        let (_, rest) = sealed.split_first_chunk::<8>()?;
        let (seal, rest) = rest.split_first_chunk()?;
        let seal = u128::from_le_bytes(*seal);
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let value = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        (self.hash(&[b"seal", key, value]) == seal).then(|| (value.to_vec(), seal as u32))
    }

    /// Returns the value under one name of a key.
    fn find(&self, store: &(impl SharedStore + ?Sized), key: &[u8], place: u8) -> Result<Found, StoreError> {
        let name = self.name(key, place);
        for _ in 0..READS {
            let Some(Versioned { value, version }) = store.get(&name)? else { return Ok(Found::Nothing) };
            if !value.starts_with(&self.mark(key)) {
                return Ok(Found::Foreign);
            }
            if let Some((value, tag)) = self.open(key, &value) {
                return Ok(Found::Own(Versioned { value, version: version ^ tag }, version));
            }
        }
        Err(StoreError)
    }
}

impl<S: Deref<Target: SharedStore>> SharedStore for PolicyStore<S> {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        let Some(seal) = &self.seal else { return self.store.get(key) };
        for place in 0..seal.places() {
            match seal.find(&*self.store, key, place)? {
                Found::Own(standing, _) => return Ok(Some(standing)),
                Found::Nothing => return Ok(None),
                Found::Foreign => {}
            }
        }
        Err(StoreError)
    }

    fn create(&self, key: &[u8], value: &[u8]) -> Result<bool, StoreError> {
        let Some(seal) = &self.seal else { return self.store.create(key, value) };
        let sealed = seal.seal(key, value)?;
        for place in 0..seal.places() {
            if self.store.create(&seal.name(key, place), &sealed)? {
                return Ok(true);
            }
            match seal.find(&*self.store, key, place)? {
                Found::Own(..) => return Ok(false),
                // It existed a moment ago. A store that loses keys this fast is unusable.
                Found::Nothing => return Err(StoreError),
                Found::Foreign => {}
            }
        }
        Err(StoreError)
    }

    fn compare_and_set(&self, key: &[u8], value: &[u8], version: u32) -> Result<bool, StoreError> {
        let Some(seal) = &self.seal else { return self.store.compare_and_set(key, value, version) };
        let sealed = seal.seal(key, value)?;
        for place in 0..seal.places() {
            match seal.find(&*self.store, key, place)? {
                Found::Own(standing, host) if standing.version == version => {
                    return self.store.compare_and_set(&seal.name(key, place), &sealed, host);
                }
                Found::Own(..) | Found::Nothing => return Ok(false),
                Found::Foreign => {}
            }
        }
        Err(StoreError)
    }

    fn forgets(&self) -> bool {
        self.store.forgets()
    }

    fn repeats_versions(&self) -> bool {
        self.seal.as_ref().is_some_and(|seal| seal.zone.is_some()) || self.store.repeats_versions()
    }
}

/// Returns the bytes that a zone allocates for a value, which never change: those of the first kind of slot that is long enough.
/// A slot of the replay table gets its full length from the beginning. A document is rounded up to a power of two, so that it rarely
/// outgrows its room.
fn room(value: &[u8]) -> Option<usize> {
    /// The smallest room of a value that is no slot.
    const LEAST: usize = 256;
    if !SlotKind::ALL.iter().any(|kind| value.first() == Some(&kind.tag())) {
        return value.len().checked_next_power_of_two().map(|length| length.max(LEAST));
    }
    let grows = value.first() == Some(&SlotKind::Replay.tag());
    let fits = |kind: &SlotKind| kind.most_bytes() >= value.len() && (!grows || *kind == SlotKind::Replay);
    SlotKind::ALL.into_iter().find(fits).map(SlotKind::most_bytes)
}

/// Returns the bytes that a zone needs for a slot. Hosts round up to powers of two, and keep the old allocation when a value
/// outgrows it.
pub(crate) fn bytes_in_zone(kind: SlotKind) -> u64 {
    // The overhead of nginx and its module for each key and value.
    const NODE: usize = 112;
    let rounded =
        |kind: SlotKind| (NODE + Zone::Tables.prefix().len() + 4 + HEAD + kind.most_bytes()).next_power_of_two() as u64;
    match kind {
        SlotKind::Shared | SlotKind::Replay => rounded(kind),
        SlotKind::Own => rounded(SlotKind::Shared) + rounded(SlotKind::Own),
    }
}

#[cfg(test)]
#[path = "sealed_tests.rs"]
mod tests;

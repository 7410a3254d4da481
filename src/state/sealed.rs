//! The store as a policy sees it: what others write there is not believed, and a host that takes two keys for one is noticed.
//!
//! Where a policy has a key of its own for its tables, every value carries a mark of the key that it stands under and a seal
//! (SipHash-2-4 with 128 bits, keyed) over both. What somebody else wrote, or wrote under another key, has no such seal. A
//! value that was written before and put back has: whoever can write into the map can undo what was written since, and with a
//! key nobody can do more.
//!
//! Kong's zone asks for more than that. Its keys are told apart by their CRC32, so each is a fixed beginning and four bytes of a
//! hash: a CRC32 tells all differences within four bytes apart. Where two keys, of this policy or of another, have the same
//! four bytes, the one that comes second goes on to the next four. Values have their full length from the
//! beginning, so that none ever needs more room, and the host copies them out without a lock, so that half of a value that is
//! just being written is read again.

use std::ops::Deref;

use siphasher::sip128::SipHasher24;

use super::{SharedStore, SlotKind, StoreError, Versioned};

/// What is in front of a value: the mark of its key, its seal and its length.
const HEAD: usize = 8 + 16 + 2;
/// How many places a key has.
const PLACES: u8 = 4;
/// How often a value is read that is being written meanwhile.
const READS: usize = 64;
/// What the names of all keys in Kong's zone begin with: the zone, as long as there is one of that name.
const ZONE: &[u8] = b"callgate/cg2-";

/// What values are sealed with, and whether they lie in a zone.
#[derive(Debug, Clone)]
pub(crate) struct Seal {
    pub(crate) key: [u8; 16],
    pub(crate) zone: bool,
}

/// The store as a policy sees it, which it reaches through a pointer of some kind.
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

/// What stands in one of the places of a key.
enum Found {
    /// Nothing.
    Nothing,
    /// The key's own value, and the host's version of it.
    Own(Versioned, u32),
    /// Another key's, or what nobody of us wrote.
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

    /// What tells whose value it is. It does not change with the value, so that no half of one lacks it.
    fn mark(&self, key: &[u8]) -> [u8; 8] {
        (self.hash(&[b"mark", key]) as u64).to_le_bytes()
    }

    /// The name of a place of a key. With another seal it is another one, so that nobody comes upon what an earlier key left.
    fn name(&self, key: &[u8], place: u8) -> Vec<u8> {
        let hash = self.hash(&[b"name", &[place], key]);
        if self.zone {
            [ZONE, &(hash as u32).to_le_bytes()].concat()
        } else {
            [key, b"-", &hash.to_le_bytes()].concat()
        }
    }

    /// How many places there are for a key.
    fn places(&self) -> u8 {
        if self.zone { PLACES } else { 1 }
    }

    fn seal(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let length = u16::try_from(value.len()).map_err(|_| StoreError)?.to_le_bytes();
        let seal = self.hash(&[b"seal", key, value]).to_le_bytes();
        let mut sealed = [&self.mark(key)[..], &seal, &length, value].concat();
        if self.zone {
            sealed.resize(HEAD + room(value).ok_or(StoreError)?, 0);
        }
        Ok(sealed)
    }

    /// The value, where it is this key's, and a part of its seal; none where that is broken.
    ///
    /// The part makes versions differ that a host gives twice: to a value, and to what is written after that was lost.
    fn open(&self, key: &[u8], sealed: &[u8]) -> Option<(Vec<u8>, u32)> {
        let (_, rest) = sealed.split_first_chunk::<8>()?;
        let (seal, rest) = rest.split_first_chunk()?;
        let seal = u128::from_le_bytes(*seal);
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let value = rest.get(..usize::from(u16::from_le_bytes(*length)))?;
        (self.hash(&[b"seal", key, value]) == seal).then(|| (value.to_vec(), seal as u32))
    }

    /// What stands in a place of a key.
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
                // It was there a moment ago: whatever loses keys so fast keeps nothing.
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
        self.seal.as_ref().is_some_and(|seal| seal.zone) || self.store.repeats_versions()
    }
}

/// The bytes that a zone keeps for a value, whatever becomes of it: of the first kind of slot that has so many. A slot of the replay table
/// has all of its own from the beginning.
fn room(value: &[u8]) -> Option<usize> {
    let grows = value.first() == Some(&SlotKind::Replay.tag());
    let fits = |kind: &SlotKind| kind.most_bytes() >= value.len() && (!grows || *kind == SlotKind::Replay);
    SlotKind::ALL.into_iter().find(fits).map(SlotKind::most_bytes)
}

/// How many bytes a zone needs for a slot: hosts round up to powers of two, and keep what is left where a value outgrew its room.
pub(crate) fn bytes_in_zone(kind: SlotKind) -> u64 {
    // What nginx and its module keep beside key and value.
    const NODE: usize = 112;
    let rounded = |kind: SlotKind| (NODE + ZONE.len() + 4 + HEAD + kind.most_bytes()).next_power_of_two() as u64;
    match kind {
        SlotKind::Shared | SlotKind::Replay => rounded(kind),
        SlotKind::Own => rounded(SlotKind::Shared) + rounded(SlotKind::Own),
    }
}

#[cfg(test)]
#[path = "sealed_tests.rs"]
mod tests;

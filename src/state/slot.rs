//! The value of one key: a few entries, each with the fingerprint of its identity.
//!
//! Every stored value has this form, even if an identity has its own key. If a host confuses two keys, their entries are mixed,
//! and each identity still finds its own.

use super::{BucketKey, ENTRY, SharedStore, SlotKind, StoreError};

/// The first byte of every value, of both kinds.
const TAG: u8 = SlotKind::Own.tag();

/// The entries under a key as they were read, with pending changes.
#[derive(Debug)]
pub(crate) struct Slot {
    bytes: Vec<u8>,
    /// `None` if the key does not exist yet.
    version: Option<u32>,
}

/// The result of storing an entry in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// The entry is stored, and no live entry was evicted.
    Kept,
    /// The entry is stored, and the live entry with the smallest value was evicted.
    Evicted,
    /// There is no room for the entry.
    Full,
}

impl Slot {
    /// Reads the slot of a bucket.
    pub(crate) fn read(store: &dyn SharedStore, place: &BucketKey) -> Result<Self, StoreError> {
        let Some(standing) = store.get(place.key.as_bytes())? else {
            return Ok(Self { bytes: vec![TAG], version: None });
        };
        let entries = standing.value.strip_prefix(&[TAG]).ok_or(StoreError)?;
        if entries.len() % ENTRY != 0 || entries.len() > SlotKind::Own.most_entries() * ENTRY {
            return Err(StoreError);
        }
        Ok(Self { bytes: standing.value, version: Some(standing.version) })
    }

    /// Creates an empty slot if it does not exist, which reserves its room.
    pub(crate) fn make(store: &dyn SharedStore, place: &BucketKey) -> Result<(), StoreError> {
        store.create(place.key.as_bytes(), &[TAG]).map(|_| ())
    }

    /// Returns the value of an identity's entry.
    pub(crate) fn value(&self, place: &BucketKey) -> Option<u64> {
        self.entries().find(|(fingerprint, _)| *fingerprint == place.fingerprint).map(|(_, value)| value)
    }

    /// Stores the value of an identity. An entry with a value up to `decayed` has no effect any more and is replaced. If all
    /// others are live, a full shared slot evicts the entry with the smallest value, and an identity's own slot evicts none.
    pub(crate) fn put(&mut self, place: &BucketKey, value: u64, decayed: u64) -> Stored {
        let entry = encode(place.fingerprint, value);
        let entries = || self.entries().enumerate();
        let own = entries().find(|(_, (fingerprint, _))| *fingerprint == place.fingerprint);
        let free = || entries().find(|(_, (_, value))| *value <= decayed);
        if let Some((index, _)) = own.or_else(free) {
            self.replace(index, entry);
            return Stored::Kept;
        }
        let least = entries().min_by_key(|(_, (_, value))| *value);
        match least {
            Some((index, _)) if self.entries().count() >= place.most_entries() => {
                if place.shared {
                    self.replace(index, entry);
                    Stored::Evicted
                } else {
                    Stored::Full
                }
            }
            _ => {
                self.bytes.extend_from_slice(&entry);
                Stored::Kept
            }
        }
    }

    /// Writes the entries back. Returns false if another worker was faster and the slot must be read again.
    pub(crate) fn write(&self, store: &dyn SharedStore, place: &BucketKey) -> Result<bool, StoreError> {
        match self.version {
            None => store.create(place.key.as_bytes(), &self.bytes),
            Some(version) => store.compare_and_set(place.key.as_bytes(), &self.bytes, version),
        }
    }

    fn entries(&self) -> impl Iterator<Item = (u64, u64)> {
        // Entries are split from the end, and the remainder is the tag.
        let (_, entries) = self.bytes.as_rchunks::<ENTRY>();
        entries.iter().map(decode)
    }

    fn replace(&mut self, index: usize, entry: [u8; ENTRY]) {
        let (_, entries) = self.bytes.as_rchunks_mut::<ENTRY>();
        if let Some(standing) = entries.get_mut(index) {
            *standing = entry;
        }
    }
}

fn encode(fingerprint: u64, value: u64) -> [u8; ENTRY] {
    (u128::from(value) << 64 | u128::from(fingerprint)).to_le_bytes()
}

fn decode(entry: &[u8; ENTRY]) -> (u64, u64) {
    let both = u128::from_le_bytes(*entry);
    (both as u64, (both >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::super::key::{Hash, StoreKey};
    use super::super::{MemoryStore, Versioned};
    use super::*;

    fn place(fingerprint: u64, shared: bool) -> BucketKey {
        BucketKey { key: StoreKey::of(Hash(0, 1)), fingerprint, shared }
    }

    fn filled(values: &[u64], shared: bool) -> (MemoryStore, Slot) {
        let store = MemoryStore::default();
        for (fingerprint, value) in (100..).zip(values) {
            let mut slot = Slot::read(&store, &place(fingerprint, shared)).unwrap();
            assert_eq!(slot.put(&place(fingerprint, shared), *value, 0), Stored::Kept);
            assert!(slot.write(&store, &place(fingerprint, shared)).unwrap());
        }
        let slot = Slot::read(&store, &place(0, shared)).unwrap();
        (store, slot)
    }

    #[test]
    fn finds_the_entry_of_each_identity() {
        let (_, slot) = filled(&[7, 8, 9], true);
        assert_eq!(
            [99, 100, 101, 102, 103].map(|own| slot.value(&place(own, true))),
            [None, Some(7), Some(8), Some(9), None]
        );
    }

    #[test]
    fn replaces_a_decayed_entry_before_a_live_one() {
        let (_, mut slot) = filled(&[50, 10, 40, 41, 42, 43, 44, 45], true);
        assert_eq!(slot.put(&place(1, true), 60, 10), Stored::Kept);
        assert_eq!((slot.value(&place(101, true)), slot.value(&place(1, true))), (None, Some(60)));
        assert_eq!(slot.put(&place(2, true), 60, 10), Stored::Evicted);
        assert_eq!(slot.value(&place(102, true)), None, "the one that restricted least");
        assert_eq!(slot.entries().count(), SlotKind::Shared.most_entries());
    }

    #[test]
    fn never_evicts_an_entry_from_an_own_slot() {
        let live: Vec<u64> = [50, 10].into_iter().chain(40..70).collect();
        assert_eq!(live.len(), SlotKind::Own.most_entries());
        let (_, mut slot) = filled(&live, false);
        assert_eq!(slot.put(&place(1, false), 60, 9), Stored::Full);
        assert_eq!(slot.value(&place(101, false)), Some(10));
        assert_eq!(slot.put(&place(101, false), 61, 9), Stored::Kept);
        assert_eq!(slot.value(&place(101, false)), Some(61));
    }

    #[test]
    fn only_one_of_two_concurrent_writes_succeeds() {
        let (store, mut first) = filled(&[1], true);
        let mut second = Slot::read(&store, &place(5, true)).unwrap();
        first.put(&place(4, true), 2, 0);
        second.put(&place(5, true), 3, 0);
        assert_eq!(first.write(&store, &place(4, true)), Ok(true));
        assert_eq!(second.write(&store, &place(5, true)), Ok(false));
        let fresh = BucketKey { key: StoreKey::of(Hash(0, 2)), ..place(6, true) };
        let (mut first, mut second) = (Slot::read(&store, &fresh).unwrap(), Slot::read(&store, &fresh).unwrap());
        first.put(&fresh, 2, 0);
        second.put(&fresh, 3, 0);
        assert_eq!((first.write(&store, &fresh), second.write(&store, &fresh)), (Ok(true), Ok(false)));
    }

    #[test]
    fn rejects_values_in_an_unknown_format() {
        struct Holds(Vec<u8>);
        impl SharedStore for Holds {
            fn get(&self, _: &[u8]) -> Result<Option<Versioned>, StoreError> {
                Ok(Some(Versioned { value: self.0.clone(), version: 1 }))
            }
            fn create(&self, _: &[u8], _: &[u8]) -> Result<bool, StoreError> {
                Err(StoreError)
            }
            fn compare_and_set(&self, _: &[u8], _: &[u8], _: u32) -> Result<bool, StoreError> {
                Err(StoreError)
            }
        }
        for value in [vec![], vec![2], vec![2; 17], vec![1; 16], vec![1; 18], vec![1; 1 + 33 * 16]] {
            assert!(Slot::read(&Holds(value.clone()), &place(1, true)).is_err(), "{value:?}");
        }
        assert!(Slot::read(&Holds(vec![1; 17]), &place(1, true)).is_ok());
    }
}

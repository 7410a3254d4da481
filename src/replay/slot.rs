//! What stands under one key of the table: a horizon, and the messages made after it that were used.

use std::time::Duration;

use crate::state::{ENTRY, SharedStore, SlotKind, StoreError, StoreKey, Versioned};
use crate::text::time::Timestamp;

/// The first byte of every value of the table.
pub(super) const TAG: u8 = SlotKind::Replay.tag();
const HEAD: usize = SlotKind::Replay.head();
const MOST_ENTRIES: usize = SlotKind::Replay.most_entries();

/// A slot as it was read.
#[derive(Debug)]
pub(super) struct Slot {
    /// Nothing that was made up to this moment is known.
    horizon: Timestamp,
    /// Tag, horizon and entries.
    value: Vec<u8>,
    version: u32,
}

/// A message that was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) fingerprint: u64,
    pub(super) made: Timestamp,
}

impl Slot {
    /// Makes a slot where there is none. Nothing made up to `horizon` can be used in it.
    pub(super) fn make(store: &dyn SharedStore, key: &StoreKey, horizon: Timestamp) -> Result<(), StoreError> {
        store.create(key.as_bytes(), &head(horizon)).map(|_| ())
    }

    /// Reads a slot; none where there is none.
    pub(super) fn read(store: &dyn SharedStore, key: &StoreKey) -> Result<Option<Self>, StoreError> {
        let Some(Versioned { value, version }) = store.get(key.as_bytes())? else { return Ok(None) };
        let (horizon, entries) = value.strip_prefix(&[TAG]).and_then(<[u8]>::split_first_chunk).ok_or(StoreError)?;
        if entries.len() % ENTRY != 0 || entries.len() > MOST_ENTRIES * ENTRY {
            return Err(StoreError);
        }
        Ok(Some(Self { horizon: moment(*horizon), value, version }))
    }

    pub(super) fn horizon(&self) -> Timestamp {
        self.horizon
    }

    pub(super) fn holds(&self, fingerprint: u64) -> bool {
        self.entries().any(|entry| entry.fingerprint == fingerprint)
    }

    /// The moment from which there is room, where there is none: all entries are live, and this one is the first that decays.
    pub(super) fn full_until(&self, now: Timestamp, window: Duration) -> Option<Timestamp> {
        if self.entries().len() < MOST_ENTRIES {
            return None;
        }
        let first = self.entries().map(|entry| entry.made).min()?.plus(window);
        (first > now).then_some(first)
    }

    /// Writes the slot with one entry more, and without those that have decayed. What comes back is by how many entries more
    /// there are; none where another worker was faster.
    pub(super) fn add(
        &self,
        store: &dyn SharedStore,
        key: &StoreKey,
        entry: Entry,
        now: Timestamp,
        window: Duration,
    ) -> Result<Option<i32>, StoreError> {
        // What was made up to then has decayed; before there was time for that, nothing has.
        let oldest = now.minus(window);
        let has_decayed = |entry: &Entry| entry.made <= oldest && oldest > Timestamp::from_nanos(0);
        // INVARIANT: an entry goes only where the horizon covers it.
        let decayed = self.entries().filter(has_decayed).map(|entry| entry.made);
        let (mut horizon, mut gone) = (self.horizon, 0);
        for made in decayed {
            horizon = horizon.max(made);
            gone += 1;
        }
        let mut value = Vec::with_capacity(self.value.len() + ENTRY);
        value.extend_from_slice(&head(horizon));
        for entry in self.entries().filter(|entry| !has_decayed(entry)).chain([entry]) {
            value.extend_from_slice(&entry.fingerprint.to_le_bytes());
            value.extend_from_slice(&entry.made.as_nanos().to_le_bytes());
        }
        let written = store.compare_and_set(key.as_bytes(), &value, self.version)?;
        Ok(written.then_some(1 - gone))
    }

    fn entries(&self) -> impl ExactSizeIterator<Item = Entry> {
        // From the end, so that what is left over is the head, which is shorter than an entry.
        const { assert!(HEAD < ENTRY) };
        let (_, entries) = self.value.as_rchunks::<ENTRY>();
        entries.iter().map(decode)
    }
}

fn head(horizon: Timestamp) -> [u8; HEAD] {
    let mut head = [TAG; HEAD];
    head.iter_mut().skip(1).zip(horizon.as_nanos().to_le_bytes()).for_each(|(to, from)| *to = from);
    head
}

fn decode(entry: &[u8; ENTRY]) -> Entry {
    let both = u128::from_le_bytes(*entry);
    Entry { fingerprint: both as u64, made: Timestamp::from_nanos((both >> 64) as u64) }
}

fn moment(bytes: [u8; 8]) -> Timestamp {
    Timestamp::from_nanos(u64::from_le_bytes(bytes))
}

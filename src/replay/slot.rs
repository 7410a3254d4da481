//! The value of one key of the table: a horizon, and the used messages that were created after it.

use std::time::Duration;

use crate::state::{ENTRY, SharedStore, SlotKind, StoreError, StoreKey, Versioned};
use crate::text::time::Timestamp;

/// The first byte of every value of the table.
pub(super) const TAG: u8 = SlotKind::Replay.tag();
const HEAD: usize = SlotKind::Replay.head();
const MOST_ENTRIES: usize = SlotKind::Replay.most_entries();

/// A slot with the version that was read.
#[derive(Debug)]
pub(super) struct Slot {
    /// The slot has no information about messages that were created at or before this time.
    horizon: Timestamp,
    /// Tag, horizon and entries.
    value: Vec<u8>,
    version: u32,
}

/// A used message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) fingerprint: u64,
    pub(super) made: Timestamp,
}

impl Slot {
    /// Creates a slot if it does not exist. It accepts no message that was created at or before `horizon`.
    pub(super) fn make(store: &dyn SharedStore, key: &StoreKey, horizon: Timestamp) -> Result<(), StoreError> {
        store.create(key.as_bytes(), &head(horizon)).map(|_| ())
    }

    /// Reads a slot. Returns `None` if it does not exist.
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

    /// Returns the time at which a full slot has room again, when its oldest entry decays, or `None` if the slot has room.
    pub(super) fn full_until(&self, now: Timestamp, window: Duration) -> Option<Timestamp> {
        if self.entries().len() < MOST_ENTRIES {
            return None;
        }
        let first = self.entries().map(|entry| entry.made).min()?.plus(window);
        (first > now).then_some(first)
    }

    /// Writes the slot with an added entry and without the decayed ones. Returns the change in the number of entries, or `None`
    /// if another worker was faster.
    pub(super) fn add(
        &self,
        store: &dyn SharedStore,
        key: &StoreKey,
        entry: Entry,
        now: Timestamp,
        window: Duration,
    ) -> Result<Option<i32>, StoreError> {
        // Entries that were created at or before this time have decayed. If the clock shows less than `window` since 1970, none
        // have.
        let oldest = now.minus(window);
        let has_decayed = |entry: &Entry| entry.made <= oldest && oldest > Timestamp::from_nanos(0);
        // INVARIANT: an entry is removed only if the horizon covers it.
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
        // Entries are split from the end. The remainder is the head, which is shorter than an entry.
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

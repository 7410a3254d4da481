//! The size of an agent's partition of the replay table.

use std::num::NonZeroU32;

use crate::state::SlotKind;

/// An agent's partition of the table: whole slots, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AgentPartition {
    slots: NonZeroU32,
}

impl AgentPartition {
    /// The number of entries in a slot.
    pub(crate) const SLOT: u32 = SlotKind::Replay.most_entries() as u32;

    /// Returns each owner's partition of a table with this many entries and owners.
    pub(crate) fn of(entries: u32, sharers: usize) -> Self {
        let sharers = u32::try_from(sharers).unwrap_or(u32::MAX).max(1);
        Self { slots: NonZeroU32::new(entries / Self::SLOT / sharers).unwrap_or(NonZeroU32::MIN) }
    }

    pub(super) fn of_slots(slots: u32) -> Option<Self> {
        NonZeroU32::new(slots).map(|slots| Self { slots })
    }

    pub(crate) fn slots(self) -> NonZeroU32 {
        self.slots
    }

    /// Returns the number of entries in the partition.
    pub(crate) fn entries(self) -> u32 {
        self.slots.get().saturating_mul(Self::SLOT)
    }

    /// Returns the number of live entries that are accepted without rejections: all entries of a single slot, or half of the
    /// entries of several slots, because entries are distributed unevenly.
    pub(crate) fn safe_capacity(self) -> u64 {
        u64::from(if self.slots == NonZeroU32::MIN { Self::SLOT } else { self.entries() / 2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_has_whole_slots_and_at_least_one() {
        for (entries, sharers, share, safe_capacity) in [
            (131_072, 1, 131_072, 65_536),
            (131_072, 3, 43_648, 21_824),
            (131_072, 2048, 64, 64),
            (131_072, 1_000_000, 64, 64),
            (64, 0, 64, 64),
            (0, 1, 64, 64),
            (255, 1, 192, 96),
        ] {
            let found = AgentPartition::of(entries, sharers);
            assert_eq!((found.entries(), found.safe_capacity()), (share, safe_capacity), "{entries} {sharers}");
        }
    }
}

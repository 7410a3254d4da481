//! The layout of values in the shared store: their first byte and their maximum length.
//!
//! This module is the only definition of the layout. Slots are written, sealed and allocated in Kong's zone according to it.

/// The bytes of an entry: 8 for its fingerprint and 8 for its value.
pub(crate) const ENTRY: usize = 16;

/// The kind of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotKind {
    /// A slot of the table for identities that the policy does not name.
    Shared,
    /// The slot of an identity that the policy names.
    Own,
    /// A slot of the replay table.
    Replay,
}

impl SlotKind {
    /// All kinds, from the shortest to the longest.
    pub(crate) const ALL: [Self; 3] = [Self::Shared, Self::Own, Self::Replay];

    /// Returns the first byte of each value. Hosts may confuse two keys, and may return empty values as missing. Therefore no
    /// value is empty or starts like one of another form.
    pub(crate) const fn tag(self) -> u8 {
        match self {
            Self::Shared | Self::Own => 1,
            Self::Replay => 0x11,
        }
    }

    /// Returns the bytes before the entries: the tag, and the horizon in a slot of the replay table.
    pub(crate) const fn head(self) -> usize {
        match self {
            Self::Shared | Self::Own => 1,
            Self::Replay => 1 + 8,
        }
    }

    /// Returns the maximum number of entries.
    pub(crate) const fn most_entries(self) -> usize {
        match self {
            Self::Shared => 8,
            Self::Own => 32,
            Self::Replay => 64,
        }
    }

    /// Returns the maximum length of a value, in bytes.
    pub(crate) const fn most_bytes(self) -> usize {
        self.head() + self.most_entries() * ENTRY
    }
}

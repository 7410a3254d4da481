//! How the values in the shared store are laid out: what each begins with, and how long it may become.
//!
//! The one place for it: slots are written, sealed, and given room in Kong's zone by what is stated here.

/// Bytes of an entry: 8 of its fingerprint and 8 of its value.
pub(crate) const ENTRY: usize = 16;

/// What kind of slot a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotKind {
    /// A slot of the table that identities share which the policy does not name.
    Shared,
    /// The place of an identity that the policy names.
    Own,
    /// A slot of the replay table.
    Replay,
}

impl SlotKind {
    /// From the shortest to the longest.
    pub(crate) const ALL: [Self; 3] = [Self::Shared, Self::Own, Self::Replay];

    /// The first byte of each value. Hosts may take two keys for one, and may hand out empty values as none, so that no value is empty
    /// or begins like one of another form.
    pub(crate) const fn tag(self) -> u8 {
        match self {
            Self::Shared | Self::Own => 1,
            Self::Replay => 0x11,
        }
    }

    /// Bytes in front of the entries: the tag, and the horizon of a slot of the replay table.
    pub(crate) const fn head(self) -> usize {
        match self {
            Self::Shared | Self::Own => 1,
            Self::Replay => 1 + 8,
        }
    }

    /// How many entries there may be.
    pub(crate) const fn most_entries(self) -> usize {
        match self {
            Self::Shared => 8,
            Self::Own => 32,
            Self::Replay => 64,
        }
    }

    /// The longest value, in bytes.
    pub(crate) const fn most_bytes(self) -> usize {
        self.head() + self.most_entries() * ENTRY
    }
}

//! The keys under which the state of identities is stored.

use std::fmt;

use siphasher::sip128::SipHasher24;

use super::SlotKind;
use crate::text::ascii::{bytes_eq, hexadecimal};

/// The identity that state belongs to. Each part is stored with its length, so no two identities have the same bytes. They are
/// hashed (SipHash-2-4 with 128 bits) with a secret key, so outsiders cannot search for colliding identities.
#[derive(Clone)]
pub(crate) struct Identity {
    secret: [u8; 16],
    /// The parts are hashed at once. Hashing after every few bytes takes several times as long.
    parts: Vec<u8>,
}

impl Identity {
    /// Returns an identity without parts.
    pub(super) fn new(secret: &[u8; 16]) -> Self {
        Self { secret: *secret, parts: Vec::with_capacity(128) }
    }

    /// Adds a text part.
    pub(crate) fn text(self, part: &str) -> Self {
        self.bytes(part.as_bytes())
    }

    /// Adds a part that may be absent. An absent part differs from an empty one.
    pub(crate) fn optional(self, part: Option<&str>) -> Self {
        match part {
            Some(part) => self.text(part),
            None => self.length(u32::MAX),
        }
    }

    /// Adds a part of bytes.
    pub(crate) fn bytes(self, part: &[u8]) -> Self {
        // No part of a request is close to 4 GiB.
        let mut with = self.length(u32::try_from(part.len()).unwrap_or(u32::MAX - 1));
        with.parts.extend_from_slice(part);
        with
    }

    fn length(mut self, length: u32) -> Self {
        self.parts.extend_from_slice(&length.to_le_bytes());
        self
    }

    pub(super) fn hash(&self) -> Hash {
        let hash = SipHasher24::new_with_key(&self.secret).hash(&self.parts);
        Hash(hash.h1, hash.h2)
    }
}

/// The hash of an identity, in two halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hash(pub(super) u64, pub(super) u64);

/// A key of the shared store: visible ASCII without a slash, because one host interprets the text before a slash as a zone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoreKey([u8; Self::LENGTH]);

impl StoreKey {
    const PREFIX: [u8; 4] = *b"cg2-";
    const LENGTH: usize = 4 + 32;

    pub(super) fn of(Hash(first, second): Hash) -> Self {
        let mut key = [0; Self::LENGTH];
        let (prefix, digits) = key.split_at_mut(Self::PREFIX.len());
        prefix.copy_from_slice(&Self::PREFIX);
        digits.copy_from_slice(&hexadecimal(first, second));
        Self(key)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// The location of an identity's state: its key, and the fingerprint of its entry under that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BucketKey {
    pub(super) key: StoreKey,
    pub(super) fingerprint: u64,
    /// Whether entries of other identities are stored there too, in which case they can evict each other.
    pub(super) shared: bool,
}

impl BucketKey {
    /// Returns the location of the identity's entry `other` under the same key. `own` is the entry of this location.
    pub(crate) fn beside(self, own: u64, other: u64) -> Self {
        Self { fingerprint: self.fingerprint ^ own ^ other, ..self }
    }

    /// Reports whether both are entries of one value, which are read and written together.
    pub(crate) fn same_slot(&self, other: &Self) -> bool {
        bytes_eq(&self.key.0, &other.key.0)
    }

    /// Returns the maximum number of entries under its key.
    pub(super) fn most_entries(&self) -> usize {
        if self.shared { SlotKind::Shared.most_entries() } else { SlotKind::Own.most_entries() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_identities_have_different_hashes() {
        let new = || Identity::new(&[9; 16]);
        let all = [
            new().text("a"),
            new().text("a").text(""),
            new().text("a").optional(None),
            new().text("").text("a"),
            new().text("a").text("b").text("c"),
            new().text("a").text("bc"),
            new().text("a").text("b").optional(None).text("c"),
            new().text("a").bytes(&[7]),
            Identity::new(&[8; 16]).text("a"),
        ];
        let hashes: std::collections::BTreeSet<_> = all.iter().map(|identity| identity.hash()).collect();
        assert_eq!(hashes.len(), all.len());
    }

    #[test]
    fn a_key_is_a_prefix_and_lowercase_hex_digits() {
        let key = |first, second| StoreKey::of(Hash(first, second));
        assert_eq!(
            key(0x0123_4567_89ab_cdef, 0x0011_2233_4455_6677).as_bytes(),
            b"cg2-0123456789abcdef0011223344556677"
        );
        assert_eq!(key(u64::MAX, 0).as_bytes(), b"cg2-ffffffffffffffff0000000000000000");
        for number in [0x9a9a_0909_f00f_a55a_u64, 0x1234_5678_90ab_cdef] {
            let digits = format!("cg2-{number:016x}{:016x}", !number);
            assert_eq!(key(number, !number).as_bytes(), digits.as_bytes());
        }
    }
}

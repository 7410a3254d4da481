//! Where the state of an identity is kept.

use std::fmt;
use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

/// Whose state it is: parts, each with its length, so that no two identities spell the same bytes.
#[derive(Clone)]
pub(crate) struct Identity(Vec<u8>);

impl Identity {
    /// An identity of this kind, without parts yet.
    pub(crate) fn new(kind: &str) -> Self {
        Self(Vec::with_capacity(96)).text(kind)
    }

    /// With one part more.
    pub(crate) fn text(self, part: &str) -> Self {
        self.bytes(part.as_bytes())
    }

    /// With one part more, which may be absent; that is not the same as empty.
    pub(crate) fn optional(self, part: Option<&str>) -> Self {
        match part {
            Some(part) => self.text(part),
            None => self.length(u32::MAX),
        }
    }

    /// With one part more.
    pub(crate) fn bytes(mut self, part: &[u8]) -> Self {
        // Nothing that comes in a request is near four gigabytes.
        self = self.length(u32::try_from(part.len()).unwrap_or(u32::MAX - 1));
        self.0.extend_from_slice(part);
        self
    }

    /// With one part more.
    pub(crate) fn number(self, part: u32) -> Self {
        self.bytes(&part.to_le_bytes())
    }

    fn length(mut self, length: u32) -> Self {
        self.0.extend_from_slice(&length.to_le_bytes());
        self
    }

    /// SipHash-2-4 with 128 bits: whoever does not know the secret cannot look for identities that fall together.
    pub(super) fn hash(&self, secret: &[u8; 16], namespace: &str) -> u128 {
        let mut hasher = SipHasher24::new_with_key(secret);
        hasher.write(&u32::try_from(namespace.len()).unwrap_or(u32::MAX).to_le_bytes());
        hasher.write(namespace.as_bytes());
        hasher.write(&self.0);
        hasher.finish128().as_u128()
    }
}

/// A key of the shared store: visible ASCII without a slash, which one host takes for a zone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoreKey([u8; Self::LENGTH]);

impl StoreKey {
    const PREFIX: [u8; 4] = *b"cg1-";
    const LENGTH: usize = 4 + 32;

    pub(super) fn own(hash: u128) -> Self {
        let mut key = [0; Self::LENGTH];
        let digits = hash.to_be_bytes().into_iter().flat_map(|byte| [byte >> 4, byte & 0xf]).map(digit);
        key.iter_mut().zip(Self::PREFIX.into_iter().chain(digits)).for_each(|(to, from)| *to = from);
        Self(key)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + (value - 10) }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// Where the state of an identity is kept: under which key, and which of the entries there is its.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) key: StoreKey,
    pub(super) fingerprint: u64,
    /// Whether others have their entries there too, and may lose them to each other.
    pub(super) shared: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_identities_spell_the_same_bytes() {
        let all = [
            Identity::new("a"),
            Identity::new("a").text(""),
            Identity::new("a").optional(None),
            Identity::new("").text("a"),
            Identity::new("a").text("b").text("c"),
            Identity::new("a").text("bc"),
            Identity::new("a").text("b").optional(None).text("c"),
            Identity::new("a").number(7),
            Identity::new("a").bytes(&[7]),
        ];
        let hashes: std::collections::BTreeSet<_> = all.iter().map(|identity| identity.hash(&[9; 16], "n")).collect();
        assert_eq!(hashes.len(), all.len());
    }

    #[test]
    fn a_key_is_text_that_no_host_reads_as_anything_else() {
        let key = StoreKey::own(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(key.as_bytes(), b"cg1-0123456789abcdef0011223344556677");
    }
}

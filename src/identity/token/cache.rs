//! Tokens that were verified before, so that a signature is computed once for each token and not for each call.
//!
//! Two generations, each with half of the budget. A token enters the young one, and so does a token of the old one that
//! is asked for again; when the young one is full it becomes the old one, and what was old is forgotten. What is in use
//! stays, what is not leaves within two turns, and no list has to be kept in order. A caller with many tokens turns the
//! generations faster at the price of one verified signature for each token it brings; a token that somebody else
//! is using meanwhile is at worst verified once more.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use super::VerifiedToken;
use crate::text::ascii::bytes_eq;
use crate::text::hash::spread;

/// What an entry costs beside what it refers to: its place in the table and the allocator's share.
const ENTRY_BYTES: usize = 128;

/// Verified tokens by all their bytes, within a bound of memory.
///
/// It belongs to one [`Issuers`](super::Issuers): a cache that outlived the policy that verified its tokens would go on
/// accepting what a new policy does not.
#[derive(Debug)]
pub struct TokenCache {
    young: Generation,
    old: Generation,
    /// What one generation may hold, in bytes.
    half: usize,
    hits: u64,
    misses: u64,
}

/// How a cache stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CacheUsage {
    /// How often a token was found.
    pub hits: u64,
    /// How often one was not.
    pub misses: u64,
    /// How many tokens are remembered.
    pub entries: u64,
    /// What they take, in bytes.
    pub bytes: u64,
}

/// By the hash of the token. Of two tokens with the same one the later stays.
type Entries = HashMap<u64, Entry, BuildHasherDefault<Hashed>>;

#[derive(Debug)]
struct Entry {
    token: Box<[u8]>,
    verified: Rc<VerifiedToken>,
}

#[derive(Debug, Default)]
struct Generation {
    entries: Entries,
    bytes: usize,
}

impl TokenCache {
    /// A budget for some five hundred tokens of usual size in use at a time; in Wasm, whose pointers are shorter, more.
    pub const DEFAULT_BYTES: usize = 4 * 1024 * 1024;

    /// An empty cache that holds at most about this many bytes. With 0 it remembers nothing.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { young: Generation::default(), old: Generation::default(), half: bytes / 2, hits: 0, misses: 0 }
    }

    /// How many tokens are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.entries.len() + self.old.entries.len()
    }

    /// Whether no token is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How the cache stands.
    #[must_use]
    pub fn usage(&self) -> CacheUsage {
        CacheUsage {
            hits: self.hits,
            misses: self.misses,
            entries: self.len() as u64,
            bytes: self.young.bytes.saturating_add(self.old.bytes) as u64,
        }
    }

    /// The verified token with exactly these bytes. Whether it is still good now is for the caller to ask.
    pub(super) fn get(&mut self, token: &[u8]) -> Option<Rc<VerifiedToken>> {
        let found = self.find(token);
        let figure = if found.is_some() { &mut self.hits } else { &mut self.misses };
        *figure = figure.wrapping_add(1);
        found
    }

    fn find(&mut self, token: &[u8]) -> Option<Rc<VerifiedToken>> {
        let hash = hash(token);
        if let Some(found) = self.young.get(hash, token) {
            return Some(Rc::clone(&found.verified));
        }
        let entry = self.old.remove(hash, token)?;
        let found = Rc::clone(&entry.verified);
        self.insert_entry(hash, entry);
        Some(found)
    }

    /// Remembers a token that was just verified.
    pub(super) fn insert(&mut self, token: &[u8], verified: Rc<VerifiedToken>) {
        self.insert_entry(hash(token), Entry { token: token.into(), verified });
    }

    /// Forgets a token that will not be good again.
    pub(super) fn remove(&mut self, token: &[u8]) {
        let hash = hash(token);
        if self.young.remove(hash, token).is_none() {
            self.old.remove(hash, token);
        }
    }

    fn insert_entry(&mut self, hash: u64, entry: Entry) {
        let cost = entry.cost();
        if cost > self.half {
            return;
        }
        if self.young.bytes.saturating_add(cost) > self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.bytes += cost;
        if let Some(replaced) = self.young.entries.insert(hash, entry) {
            self.young.bytes = self.young.bytes.saturating_sub(replaced.cost());
        }
    }
}

impl Default for TokenCache {
    fn default() -> Self {
        Self::new(Self::DEFAULT_BYTES)
    }
}

impl Generation {
    fn get(&self, hash: u64, token: &[u8]) -> Option<&Entry> {
        self.entries.get(&hash).filter(|entry| bytes_eq(&entry.token, token))
    }

    fn remove(&mut self, hash: u64, token: &[u8]) -> Option<Entry> {
        self.get(hash, token)?;
        let entry = self.entries.remove(&hash)?;
        self.bytes = self.bytes.saturating_sub(entry.cost());
        Some(entry)
    }
}

impl Entry {
    fn cost(&self) -> usize {
        ENTRY_BYTES + self.token.len() + self.verified.memory()
    }
}

/// A hash of the token's end, which is its signature: random enough to tell tokens apart, and nobody finds the end of
/// somebody else's by trying. It has no secret seed, and needs none: only a token that an issuer signed gets in, and whoever
/// has two with the same end loses no more than the place of one.
fn hash(token: &[u8]) -> u64 {
    const END: usize = 32;
    let end = token.last_chunk::<END>().map_or(token, <[u8; END]>::as_slice);
    let (words, rest) = end.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word)).chain(rest.iter().map(|byte| u64::from(*byte)));
    words.fold(token.len() as u64, |hash, word| spread(hash ^ word))
}

/// Takes what is a hash already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// For other keys than there are.
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| spread(hash ^ u64::from(*byte)));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;

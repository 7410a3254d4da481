//! A cache of verified tokens, so each token's signature is verified once and not for each request.
//!
//! The cache has two generations, each with half of the budget. A new token enters the young generation, and a token of the old
//! generation moves there when it is used. When the young generation is full it becomes the old one, and the previous old one is dropped.
//! Tokens in use stay, unused ones leave within two rotations, and no list has to be kept in order. An agent with many tokens rotates the
//! generations faster, but each of these tokens costs it one verified signature. The worst effect on another agent's token in use is one
//! more verification.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use super::VerifiedToken;
use crate::text::ascii::bytes_eq;
use crate::text::hash::spread;

/// The cost of an entry without the data it refers to: its slot in the table and the allocator's overhead.
const ENTRY_BYTES: usize = 128;

/// Verified tokens, found by all their bytes, within a memory limit.
///
/// A cache belongs to one [`Issuers`](super::Issuers). If it outlived the policy that verified its tokens, it would accept tokens that a
/// new policy rejects.
#[derive(Debug)]
pub struct TokenCache {
    young: Generation,
    old: Generation,
    /// The maximum size of one generation, in bytes.
    half: usize,
    hits: u64,
    misses: u64,
}

/// The statistics of a cache.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CacheUsage {
    /// How often a token was found.
    pub hits: u64,
    /// How often a token was not found.
    pub misses: u64,
    /// The number of cached tokens.
    pub entries: u64,
    /// The size of all entries, in bytes.
    pub bytes: u64,
}

/// Maps the hash of a token to its entry. If two tokens have the same hash, the later one replaces the earlier one.
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
    /// Enough for about five hundred tokens of usual size in use at a time, and for more in Wasm, where pointers are shorter.
    pub const DEFAULT_BYTES: usize = 4 * 1024 * 1024;

    /// Creates an empty cache that holds at most about this many bytes. With 0 it stores nothing.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { young: Generation::default(), old: Generation::default(), half: bytes / 2, hits: 0, misses: 0 }
    }

    /// Returns the number of cached tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.entries.len() + self.old.entries.len()
    }

    /// Returns whether the cache is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the statistics of the cache.
    #[must_use]
    pub fn usage(&self) -> CacheUsage {
        CacheUsage {
            hits: self.hits,
            misses: self.misses,
            entries: self.len() as u64,
            bytes: self.young.bytes.saturating_add(self.old.bytes) as u64,
        }
    }

    /// Returns the verified token with exactly these bytes. The caller must check that it is still valid.
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

    /// Stores a token that was just verified.
    pub(super) fn insert(&mut self, token: &[u8], verified: Rc<VerifiedToken>) {
        self.insert_entry(hash(token), Entry { token: token.into(), verified });
    }

    /// Removes a token that cannot become valid again.
    pub(super) fn remove(&mut self, token: &[u8]) {
        let hash = hash(token);
        if self.young.remove(hash, token).is_none() {
            self.old.remove(hash, token);
        }
    }

    /// Removes the tokens for which `is_forgotten` returns true.
    pub(crate) fn forget(&mut self, is_forgotten: impl Fn(&VerifiedToken) -> bool) {
        for generation in [&mut self.young, &mut self.old] {
            let mut freed = 0;
            generation.entries.retain(|_, entry| {
                let keeps = !is_forgotten(&entry.verified);
                freed += if keeps { 0 } else { entry.cost() };
                keeps
            });
            generation.bytes = generation.bytes.saturating_sub(freed);
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

/// Returns a hash of the token's end, which is part of its signature. The signature is random enough to distinguish tokens, and nobody
/// can guess the end of another agent's token. The hash needs no secret seed: only tokens signed by an issuer are stored, and a client
/// with two tokens that have the same end loses only one cache entry.
fn hash(token: &[u8]) -> u64 {
    const END: usize = 32;
    let end = token.last_chunk::<END>().map_or(token, <[u8; END]>::as_slice);
    let (words, rest) = end.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word)).chain(rest.iter().map(|byte| u64::from(*byte)));
    words.fold(token.len() as u64, |hash, word| spread(hash ^ word))
}

/// Uses a key that already is a hash.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// Required by the trait; keys are `u64`, so this method is not used.
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| spread(hash ^ u64::from(*byte)));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;

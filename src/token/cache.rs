//! Tokens that were verified before, so that a signature is computed once for each token and not for each call.
//!
//! Two generations, each with half of the budget. A token enters the young one, and so does a token of the old one that
//! is asked for again; when the young one is full it becomes the old one, and what was old is forgotten. What is in use
//! stays, what is not leaves within two turns, and no list has to be kept in order. A caller with many tokens turns the
//! generations faster at the price of one verified signature for each token it brings; a token that somebody else
//! is using meanwhile is at worst verified once more.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::rc::Rc;

use super::VerifiedToken;

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
}

// The hasher has no secret seed, and needs none: only a token that an issuer signed gets in, so a caller cannot choose
// colliding ones.
type Entries = HashMap<Box<[u8]>, Rc<VerifiedToken>, BuildHasherDefault<DefaultHasher>>;

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
        Self { young: Generation::default(), old: Generation::default(), half: bytes / 2 }
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

    /// The verified token with exactly these bytes. Whether it is still good now is for the caller to ask.
    pub(super) fn get(&mut self, token: &[u8]) -> Option<Rc<VerifiedToken>> {
        if let Some(found) = self.young.entries.get(token) {
            return Some(Rc::clone(found));
        }
        let (bytes, found) = self.old.remove(token)?;
        self.insert_entry(bytes, Rc::clone(&found));
        Some(found)
    }

    /// Remembers a token that was just verified.
    pub(super) fn insert(&mut self, token: &[u8], verified: Rc<VerifiedToken>) {
        self.insert_entry(token.into(), verified);
    }

    /// Forgets a token that will not be good again.
    pub(super) fn remove(&mut self, token: &[u8]) {
        if self.young.remove(token).is_none() {
            self.old.remove(token);
        }
    }

    fn insert_entry(&mut self, token: Box<[u8]>, verified: Rc<VerifiedToken>) {
        let cost = cost(&token, &verified);
        if cost > self.half {
            return;
        }
        if self.young.bytes.saturating_add(cost) > self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.bytes += cost;
        self.young.entries.insert(token, verified);
    }
}

impl Default for TokenCache {
    fn default() -> Self {
        Self::new(Self::DEFAULT_BYTES)
    }
}

impl Generation {
    fn remove(&mut self, token: &[u8]) -> Option<(Box<[u8]>, Rc<VerifiedToken>)> {
        let (token, verified) = self.entries.remove_entry(token)?;
        self.bytes = self.bytes.saturating_sub(cost(&token, &verified));
        Some((token, verified))
    }
}

fn cost(token: &[u8], verified: &VerifiedToken) -> usize {
    ENTRY_BYTES + token.len() + verified.memory()
}

#[cfg(test)]
mod tests;

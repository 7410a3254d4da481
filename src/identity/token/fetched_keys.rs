//! The fetched keys that a worker uses, by issuer. If several issuers have a key, the one that had it first uses it: it could sign tokens in
//! the name of the others, and they could otherwise take it away by publishing it too.
//!
//! The decision depends only on the sets, and not on the order in which a worker reads them, so all workers decide alike.

use std::collections::BTreeSet;

use super::fetched::{DocumentFault, FetchedSet};
use super::issuer::{IssuerId, Issuers};
use super::jwks;
use super::keys::{Key, Keys};
use crate::identity::crypto::{Algorithm, KeyIdentity, KeyUse};
use crate::text::monotonic::Monotonic;

/// The keys of one issuer from a fetched set.
#[derive(Debug)]
pub(super) struct KeySet {
    pub(super) keys: Vec<Key>,
}

impl KeySet {
    fn keys(set: Option<&Self>) -> &[Key] {
        set.map_or(&[][..], |set| &set.keys)
    }
}

/// The fetched keys that a worker uses, by issuer.
#[derive(Debug, Default)]
pub struct FetchedKeys(Vec<OfIssuer>);

/// The fetched keys of one issuer.
#[derive(Debug, Default)]
struct OfIssuer {
    /// The keys of its set that fit it, in the order of the set.
    candidates: Vec<Candidate>,
    /// Those that it uses. `None` if it uses none.
    in_use: Option<KeySet>,
}

/// A key of a set that fits an issuer.
#[derive(Debug)]
struct Candidate {
    key: Key,
    /// Since when the issuer has it.
    since: Monotonic,
    /// Whether the policy itself contains the key, for another issuer.
    is_reserved: bool,
    /// Whether the issuer does not use the key because another one has it.
    is_lost: bool,
}

/// How the keys of an issuer changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyChange {
    /// The `kid`s of the new keys.
    pub(crate) added: Vec<String>,
    /// The `kid`s of the keys that are no longer used.
    pub(crate) removed: Vec<String>,
    /// The number of further keys that another issuer of the policy has. They are not used.
    pub(crate) of_others: usize,
    /// Whether tokens that were verified earlier may have been signed with a key that is no longer used.
    pub(crate) has_removed: bool,
    /// Whether a key that is still used verifies fewer tokens than before.
    pub(crate) has_narrowed: bool,
}

/// What a new set means for the issuers of the policy.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Replaced {
    /// The issuers whose keys changed. They may be others than those of the set.
    pub(crate) changes: Vec<(IssuerId, KeyChange)>,
    /// The issuers of the set that no key of it fits. They keep the keys that they have.
    pub(crate) unserved: Vec<IssuerId>,
}

impl FetchedKeys {
    /// Returns no keys.
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Returns the keys that an issuer uses. `None` if there are none.
    pub(super) fn of(&self, id: IssuerId) -> Option<&KeySet> {
        self.0.get(id.position())?.in_use.as_ref()
    }

    /// Returns whether a worker uses this key for the issuer.
    pub(crate) fn contains(&self, id: IssuerId, key: &KeyIdentity) -> bool {
        self.of(id).is_some_and(|set| set.keys.iter().any(|own| *own.identity == *key))
    }

    /// Replaces the keys of the issuers that have this set.
    pub(crate) fn replace(&mut self, issuers: &Issuers, ids: &[IssuerId], set: &FetchedSet) -> Replaced {
        let mut unserved = Vec::new();
        for id in ids {
            let mut new: Vec<_> = candidates(issuers, *id, set).map(|(_, candidate)| candidate).collect();
            if new.iter().all(|candidate| candidate.is_reserved) {
                unserved.push(*id);
                continue;
            }
            let Some(own) = self.entry(*id) else { continue };
            for candidate in &mut new {
                let same = |old: &Candidate| old.is_lost && old.key.identity == candidate.key.identity;
                candidate.is_lost = own.candidates.iter().any(same);
            }
            own.candidates = new;
        }
        Replaced { changes: self.settle(issuers), unserved }
    }

    /// Stops using the keys of issuers, because they are too old. Returns the issuers whose keys changed.
    pub(crate) fn remove(&mut self, issuers: &Issuers, ids: &[IssuerId]) -> Vec<(IssuerId, KeyChange)> {
        for id in ids {
            if let Some(own) = self.entry(*id) {
                own.candidates.clear();
            }
        }
        self.settle(issuers)
    }

    /// Checks that an issuer of a set could use one of its keys. Returns the number of keys that fit none of its issuers.
    ///
    /// # Errors
    /// The reason why none of them could use any key.
    pub(crate) fn review(&self, issuers: &Issuers, ids: &[IssuerId], set: &FetchedSet) -> Result<usize, DocumentFault> {
        let (mut fitting, mut is_usable) = (BTreeSet::new(), false);
        for id in ids {
            for (index, candidate) in candidates(issuers, *id, set) {
                fitting.insert(index);
                is_usable |= !candidate.is_reserved && !self.is_taken(issuers, ids, *id, &candidate);
            }
        }
        match (fitting.is_empty(), is_usable) {
            (true, _) => Err(DocumentFault::NoFittingKey),
            (false, false) => Err(DocumentFault::KeysOfOthers),
            (false, true) => Ok(set.keys.len().saturating_sub(fitting.len())),
        }
    }

    /// Returns whether an issuer of another set than that of `ids` uses a key, and had it before the issuer with this candidate.
    fn is_taken(&self, issuers: &Issuers, ids: &[IssuerId], id: IssuerId, candidate: &Candidate) -> bool {
        let mut others = issuers.ids().filter(|other| !ids.contains(other) && !issuers.share_keys(id, *other));
        others.any(|other| {
            let keys = self.0.get(other.position()).into_iter().flat_map(|own| &own.candidates);
            let mut same = keys.filter(|own| !own.is_lost && own.key.identity == candidate.key.identity);
            same.any(|own| (own.since, other) < (candidate.since, id))
        })
    }

    /// Decides which issuers use which keys. Of the issuers that have a key, the first one uses it, and those that share their keys with
    /// every other one that uses it. Two issuers that have it since the same time come in the order of their names: after a start, nobody
    /// knows which one had it first.
    fn settle(&mut self, issuers: &Issuers) -> Vec<(IssuerId, KeyChange)> {
        let mut all = Vec::new();
        for (position, own) in self.0.iter().enumerate() {
            let open = own.candidates.iter().enumerate().filter(|(_, candidate)| !candidate.is_reserved);
            all.extend(open.map(|(index, candidate)| (&*candidate.key.identity, candidate.since, position, index)));
        }
        all.sort_unstable();
        let mut used = BTreeSet::new();
        for same in all.chunk_by(|(one, ..), (other, ..)| one == other) {
            let mut users: Vec<IssuerId> = Vec::new();
            for (_, _, position, index) in same {
                let id = IssuerId::at(*position);
                // A set may have the same key under two names.
                if users.iter().all(|user| *user == id || issuers.share_keys(*user, id)) {
                    users.push(id);
                    used.insert((*position, *index));
                }
            }
        }
        let mut changes = Vec::new();
        for (position, own) in self.0.iter_mut().enumerate() {
            let change = own.settle(|index| used.contains(&(position, index)));
            if change != KeyChange::default() {
                changes.push((IssuerId::at(position), change));
            }
        }
        changes
    }

    fn entry(&mut self, id: IssuerId) -> Option<&mut OfIssuer> {
        if self.0.len() <= id.position() {
            self.0.resize_with(id.position().saturating_add(1), OfIssuer::default);
        }
        self.0.get_mut(id.position())
    }
}

impl OfIssuer {
    /// Uses the candidates with these indices from now on.
    fn settle(&mut self, is_used: impl Fn(usize) -> bool) -> KeyChange {
        let (mut keys, mut of_others) = (Vec::new(), 0);
        for (index, candidate) in self.candidates.iter_mut().enumerate() {
            let was_lost = std::mem::replace(&mut candidate.is_lost, !is_used(index));
            if !candidate.is_lost {
                keys.push(candidate.key.clone());
            } else if !was_lost {
                of_others += 1;
            }
        }
        let after = (!keys.is_empty()).then_some(KeySet { keys });
        let before = std::mem::replace(&mut self.in_use, after);
        KeyChange { of_others, ..KeyChange::between(KeySet::keys(before.as_ref()), KeySet::keys(self.in_use.as_ref())) }
    }
}

impl KeyChange {
    fn between(before: &[Key], after: &[Key]) -> Self {
        let missing = |from: &[Key], other: &[Key]| {
            let gone = from.iter().filter(|key| !other.iter().any(|own| own.identity == key.identity));
            gone.map(|key| key.kid.clone().unwrap_or_else(|| "(no kid)".to_owned())).collect::<Vec<_>>()
        };
        let (added, removed) = (missing(after, before), missing(before, after));
        let same = |key: &Key| after.iter().find(|own| own.identity == key.identity && own.kid == key.kid);
        let is_narrowed = |key: &Key| {
            same(key).is_some_and(|own| {
                let lacks = |algorithm: &Algorithm| !own.algorithms.contains(algorithm);
                key.algorithms.iter().any(lacks) || own.only_tenant.is_some() && own.only_tenant != key.only_tenant
            })
        };
        let has_narrowed = before.iter().any(is_narrowed);
        let has_removed = before.iter().any(|key| same(key).is_none());
        Self { added, removed, of_others: 0, has_removed, has_narrowed }
    }
}

/// Returns the keys of a set that fit an issuer, each with its index in the set.
fn candidates<'s>(issuers: &'s Issuers, id: IssuerId, set: &'s FetchedSet) -> impl Iterator<Item = (usize, Candidate)> {
    let issuer = issuers.get(id).filter(|issuer| set.wanted == KeyUse::Signatures || issuer.svid.is_some());
    set.keys.iter().enumerate().filter_map(move |(index, fetched)| {
        let issuer = issuer?;
        // Without an `iss` no key for one issuer is used, because it is not known to be for this one.
        let iss = issuer.iss.as_deref().unwrap_or_default();
        let key = jwks::read(&fetched.jwk, set.wanted, Some(iss), &issuer.algorithms).ok()?.into_key();
        let mut others = issuers.ids().filter(|other| *other != id && !issuers.share_keys(id, *other));
        let is_reserved = others.any(|other| issuers.has_in_policy(other, &key));
        Some((index, Candidate { key, since: fetched.since, is_reserved, is_lost: false }))
    })
}

impl Issuers {
    /// Returns the issuers whose keys are fetched.
    pub(crate) fn fetched(&self) -> impl Iterator<Item = IssuerId> {
        self.ids().filter(|id| self.get(*id).is_some_and(|issuer| matches!(issuer.keys, Keys::Fetched)))
    }

    /// Returns whether both issuers state that they have the same keys.
    fn share_keys(&self, one: IssuerId, other: IssuerId) -> bool {
        let names = self.get(one).zip(self.get(other));
        names.is_some_and(|(one, other)| one.shares_keys_with.iter().any(|name| **name == *other.name))
    }

    /// Returns whether the policy itself contains this key for the issuer.
    fn has_in_policy(&self, id: IssuerId, key: &Key) -> bool {
        self.get(id).is_some_and(|issuer| issuer.keys.iter().any(|own| own.is_same_as(&key.key)))
    }

    /// Returns all algorithms of the issuers whose keys are fetched.
    pub(crate) fn fetched_algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.fetched().filter_map(|id| self.get(id)).flat_map(|issuer| issuer.algorithms.iter().copied())
    }
}

#[cfg(test)]
#[path = "fetched_keys_tests.rs"]
mod tests;

//! The fetched list of revoked credentials, as one worker reads, shares and uses it.

use std::cmp::Ordering;
use std::hash::Hasher as _;
use std::rc::Rc;
use std::time::Duration;

use super::document_work::DocumentEvent;
use super::documents::{Document, Documents, Prospect, Times};
use crate::fetch::{Attempt, Availability, EntityTag, Source, Validator};
use crate::identity::revocation::Entries;
use crate::policy::{ListFault, ListRules, ListTimes, Policy};
use crate::state::{PolicyStore, SharedStore, StoreError};
use crate::text::hash::Spreading;
use crate::text::monotonic::Monotonic;

/// A list that this worker fetched and published.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastList {
    /// Identifies the response. Who can answer with another response of the same hash can answer with the same response as well, and its
    /// `exp` ends both.
    hash: u64,
    bytes: usize,
    /// Identifies the entries that were published: another list of the same second may have replaced them since.
    entries: u64,
    times: ListTimes,
}

/// A response with a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListResponse<'r> {
    /// The value of its header `ETag`.
    pub(super) etag: Option<&'r [u8]>,
    pub(super) body: &'r [u8],
}

impl Documents {
    /// Returns the list of revoked credentials, if there is one that can be used.
    pub(super) fn revocations(&self) -> Option<&Entries> {
        self.all.iter().find_map(|document| document.list.as_ref())
    }

    /// Returns what a request can do while there is no list.
    pub(super) fn list_prospect(&self, policy: &Policy, now: Monotonic) -> Prospect {
        let found =
            policy.revocation_list().and_then(|(index, _)| policy.documents.get(index).zip(self.all.get(index)));
        let Some((document, own)) = found else { return Prospect::After(Duration::ZERO) };
        match own.fetcher.availability(&document.source, now) {
            Availability::Usable | Availability::Coming => Prospect::Coming,
            Availability::After(wait) => Prospect::After(wait),
        }
    }

    /// Returns the age of the list in use, for the metrics.
    #[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
    pub(super) fn list_age(&self, now: Monotonic) -> Duration {
        let in_use = self.all.iter().find(|document| document.list.is_some());
        in_use.and_then(|document| document.fetcher.age(now)).unwrap_or_default()
    }

    /// Uses this list from now on, instead of the fetched one.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn provide_list(&mut self, policy: &Policy, entries: Entries) {
        let Some((index, _)) = policy.revocation_list() else { return };
        let Some(own) = self.all.get_mut(index) else { return };
        (own.is_provided, own.list) = (true, Some(entries));
    }
}

impl Document {
    /// Uses a list that was published, and reports one that is too old. Stops using it if the policy requires that.
    pub(super) fn use_list(
        &mut self,
        rules: &ListRules,
        source: &Source,
        looked: Result<Option<Vec<u8>>, StoreError>,
        now: Monotonic,
        events: &mut Vec<DocumentEvent>,
    ) -> Result<(), StoreError> {
        // A list becomes too old even if the store cannot be used.
        let age = self.fetcher.age(now);
        let is_too_old = |most: Duration| age.is_none_or(|age| age > most);
        let (was_stale, keeps) = (self.is_stale, !is_too_old(source.stale_for));
        self.is_stale = self.list.is_some() && is_too_old(rules.stale_after);
        if self.is_stale && !was_stale {
            events.push(DocumentEvent::RevocationsStale { keeps });
        }
        if self.list.is_some() && !keeps {
            self.list = None;
            self.fetcher.forget();
        }
        if let Some(bytes) = looked? {
            match Entries::open(bytes) {
                Some(entries) => self.list = Some(entries),
                // A worker published only what it had read itself. The list in use stays in use, and another one is fetched.
                None => self.fetcher.lose(),
            }
        }
        Ok(())
    }

    /// Reads a list that was fetched, and publishes it for all workers.
    pub(super) fn take_list(
        &mut self,
        (rules, policy): (&ListRules, &Policy),
        (store, source): (&PolicyStore<Rc<dyn SharedStore>>, &Source),
        attempt: Attempt,
        ListResponse { etag, body }: ListResponse<'_>,
        Times { now, time }: Times,
        events: &mut Vec<DocumentEvent>,
    ) -> Result<(), StoreError> {
        let before = self.fetcher.published(store, source)?.and_then(Entries::open);
        let (hash, bytes) = (hash_of(body), body.len());
        // The same response again is not parsed again, which would take long for a large list.
        let same = self.last.filter(|last| last.hash == hash && last.bytes == bytes);
        let same = same.zip(before.as_ref()).filter(|(last, before)| last.entries == hash_of(before.bytes()));
        let read = match same {
            Some((last, _)) => last.times.check(policy, time).map(|()| (last.times.exp, None)),
            None => rules.read(policy, body, time).and_then(|list| {
                // The store may have lost what it had, but not what this worker uses.
                before.iter().chain(&self.list).try_for_each(|before| check_order(&list.entries, before))?;
                Ok((list.expires, Some(list)))
            }),
        };
        match read {
            Ok((expires, list)) => {
                let entries = list.as_ref().map(|list| &list.entries).or(before.as_ref());
                let bytes_of_entries = entries.map(Entries::bytes).unwrap_or_default();
                let tag = etag.filter(|_| policy.features.reads_not_modified()).and_then(EntityTag::parse);
                let validator = tag.map(|tag| Validator { tag, expires });
                let differs = self.fetcher.publish(store, source, attempt, bytes_of_entries, validator.as_ref())?;
                events.push(DocumentEvent::RevocationsFetched);
                if let Some(list) = list {
                    let times = ListTimes { iat: list.entries.issued(), exp: list.expires };
                    self.last = Some(LastList { hash, bytes, entries: hash_of(list.entries.bytes()), times });
                    if differs {
                        let (entries, ignored) = (list.entries.len(), list.ignored);
                        events.push(DocumentEvent::RevocationsChanged { entries, ignored });
                    }
                }
            }
            Err(fault) => {
                self.fetcher.fail(store, source, attempt, now)?;
                events.push(DocumentEvent::RevocationsRefused { url: source.target.url(), why: fault.to_string() });
            }
        }
        Ok(())
    }

    /// Processes the answer that the list has not changed. It is valid until its `exp`, however often its server confirms it.
    pub(super) fn renew_list(
        &mut self,
        policy: &Policy,
        (store, source): (&PolicyStore<Rc<dyn SharedStore>>, &Source),
        attempt: Attempt,
        Times { now, time }: Times,
        events: &mut Vec<DocumentEvent>,
    ) -> Result<(), StoreError> {
        let Some(condition) = self.condition.take() else { return Ok(()) };
        let times = ListTimes { iat: self.list.as_ref().map_or(0, Entries::issued), exp: condition.expires() };
        match times.check(policy, time) {
            Ok(()) => {
                if self.fetcher.renew(store, source, attempt, &condition)? {
                    events.push(DocumentEvent::RevocationsFetched);
                }
            }
            Err(fault) => {
                self.fetcher.fail(store, source, attempt, now)?;
                events.push(DocumentEvent::RevocationsRefused { url: source.target.url(), why: fault.to_string() });
            }
        }
        Ok(())
    }
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = Spreading::default();
    hasher.write(bytes);
    hasher.finish()
}

/// Checks that a list may replace another one. Of two lists that were issued in the same second, only their entries show which one is newer:
/// the one that revokes everything that the other one does. A list that restores something needs a later `iat`.
fn check_order(list: &Entries, before: &Entries) -> Result<(), ListFault> {
    match list.issued().cmp(&before.issued()) {
        Ordering::Less => Err(ListFault::Older),
        Ordering::Equal if !list.includes(before) => Err(ListFault::SameTime),
        Ordering::Equal | Ordering::Greater => Ok(()),
    }
}

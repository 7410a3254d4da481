//! The key sets that one worker uses: which fetched sets are published, and what a new set means for issuers and verified tokens.

use super::document_work::{CallId, DocumentEvent};
use super::documents::{Documents, failed, position};
use super::responses::FetchFault;
use crate::identity::crypto::KeyIdentity;
use crate::identity::token::{DocumentFault, FetchedKeys, FetchedSet, IssuerId, KeyChange, Replaced, TokenCache};
use crate::policy::Policy;
use crate::state::StoreError;
use crate::text::monotonic::Monotonic;

impl Documents {
    /// Publishes a fetched set for all workers, unless none of its issuers could use any of its keys. What they use then stays in use, as
    /// after any other failed fetch.
    pub(super) fn take_set(
        &mut self,
        policy: &Policy,
        id: CallId,
        set: FetchedSet,
        now: Monotonic,
        events: &mut Vec<DocumentEvent>,
    ) -> Result<(), StoreError> {
        let Self { store, keys, all } = self;
        let Some((document, own)) = policy.documents.get(id.document).zip(all.get_mut(id.document)) else {
            return Ok(());
        };
        let source = &document.source;
        // A published set counts even if it is too old to be used: an issuer does not lose its keys to another one while its server cannot
        // be reached. If the store lost that set, this worker may still use it.
        let published = own.fetcher.published(store, source)?;
        let published = published.and_then(|bytes| FetchedSet::parse_published(&bytes).ok());
        let set = set.dated(id.attempt.started(), [published.as_ref(), own.set.as_ref()]);
        let bytes = set.to_json();
        let unfit = match keys.review(&policy.issuers, &document.issuers, &set) {
            Ok(_) if bytes.len() > source.most => Err(DocumentFault::Size),
            reviewed => reviewed,
        };
        match unfit {
            Ok(unfit) => {
                own.fetcher.publish(store, source, id.attempt, &bytes, None)?;
                events.push(DocumentEvent::Fetched);
                let count = set.dropped.saturating_add(unfit);
                if count > 0 {
                    events.push(DocumentEvent::KeysDropped { url: source.target.url(), count });
                }
            }
            Err(fault) => {
                own.fetcher.fail(store, source, id.attempt, now)?;
                events.push(failed(document, FetchFault::Document(fault).to_string()));
            }
        }
        Ok(())
    }

    /// Uses a key set from now on. `used` is when the last fetch started that found the set before it.
    pub(super) fn use_set(
        &mut self,
        policy: &Policy,
        index: usize,
        set: FetchedSet,
        used: Monotonic,
        cache: &mut TokenCache,
        events: &mut Vec<DocumentEvent>,
    ) {
        let Self { keys, all, .. } = self;
        let Some((document, own)) = policy.documents.get(index).zip(all.get_mut(index)) else { return };
        let Replaced { changes, unserved } = keys.replace(&policy.issuers, &document.issuers, &set);
        own.set = Some(set);
        let before = std::mem::take(&mut own.unserved);
        for id in unserved {
            let known = before.iter().find(|(other, _)| *other == id);
            if known.is_none() {
                let issuer = policy.issuers.name(id).to_owned();
                events.push(DocumentEvent::KeysMissing { issuer, url: document.source.target.url() });
            }
            own.unserved.push(known.copied().unwrap_or((id, used)));
        }
        report(policy, keys, &changes, &[], cache, events);
    }

    /// Stops using keys that are too old.
    pub(super) fn expire_keys(
        &mut self,
        policy: &Policy,
        index: usize,
        cache: &mut TokenCache,
        now: Monotonic,
        events: &mut Vec<DocumentEvent>,
    ) {
        let Self { keys, all, .. } = self;
        let Some((document, own)) = policy.documents.get(index).zip(all.get_mut(index)) else { return };
        let stale_for = document.source.stale_for;
        let expired: Vec<IssuerId> = if own.set.is_some() && own.fetcher.age(now).is_none_or(|age| age > stale_for) {
            own.set = None;
            own.fetcher.forget();
            document.issuers.clone()
        } else {
            let all = own.unserved.iter().filter(|(_, since)| now.since(*since) > stale_for);
            all.map(|(id, _)| *id).collect()
        };
        if !expired.is_empty() {
            own.unserved.retain(|(id, _)| !expired.contains(id));
            let changes = keys.remove(&policy.issuers, &expired);
            report(policy, keys, &changes, &expired, cache, events);
        }
    }

    /// Fetches a set again that was published and cannot be read.
    pub(super) fn lose_set(&mut self, index: usize) {
        if let Some(own) = self.all.get_mut(index) {
            own.fetcher.lose();
        }
    }
}

/// Reports which keys changed, and forgets the verified tokens that were signed with keys that are no longer used.
fn report(
    policy: &Policy,
    keys: &FetchedKeys,
    changes: &[(IssuerId, KeyChange)],
    expired: &[IssuerId],
    cache: &mut TokenCache,
    events: &mut Vec<DocumentEvent>,
) {
    for (id, change) in changes {
        if change.has_removed || change.has_narrowed {
            let is_gone = |key: Option<&KeyIdentity>| key.is_none_or(|key| !keys.contains(*id, key));
            cache.forget(|token| token.issuer_id() == *id && (change.has_narrowed || is_gone(token.fetched_key())));
        }
        let issuer = policy.issuers.name(*id).to_owned();
        let KeyChange { added, removed, of_others, .. } = change;
        if expired.contains(id) {
            events.push(DocumentEvent::KeysExpired { issuer });
        } else if !(added.is_empty() && removed.is_empty()) {
            events.push(DocumentEvent::KeysChanged { issuer, added: added.clone(), removed: removed.clone() });
        }
        if let Some((_, document)) = position(policy, *id).filter(|_| *of_others > 0) {
            events.push(DocumentEvent::KeysDropped { url: document.source.target.url(), count: *of_others });
        }
    }
}

#[cfg(test)]
#[path = "key_sets_tests.rs"]
mod tests;

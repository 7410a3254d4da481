//! The fetched documents that one worker uses. The host makes the calls; this module decides which calls are made, reads their
//! results, and gives the keys to the verification of tokens.

use std::rc::Rc;
use std::time::Duration;

use super::asked::Asked;
use super::document_work::{CallId, CallResult, DocumentCall, DocumentEvent, DocumentWork, Step};
use super::keys::Needs;
use super::lists::{LastList, ListResponse};
use super::responses::{FetchFault, Read, read};
use crate::fetch::{Attempt, Availability, Condition, Fetcher, Wanted};
use crate::identity::revocation::Entries;
use crate::identity::token::{FetchedKeys, FetchedSet, IssuerId, TokenCache};
use crate::policy::{DocumentKind, FetchedDocument, Policy, Store};
use crate::reason::Reason;
use crate::state::{PolicyStore, Seal, SharedStore, StoreError, Zone};
use crate::text::monotonic::Monotonic;
use crate::text::time::Timestamp;

/// The minimum time that a host gives to a call.
const LEAST_TIMEOUT: Duration = Duration::from_millis(100);
/// The minimum time between two reports that the store cannot be used. While requests wait, the timer fires every few milliseconds.
const REPORT_PERIOD: Duration = Duration::from_secs(1);

/// The documents of a policy, as one worker uses them.
pub(super) struct Documents {
    pub(super) store: PolicyStore<Rc<dyn SharedStore>>,
    pub(super) keys: FetchedKeys,
    /// In the order of the policy.
    pub(super) all: Vec<Document>,
}

/// The times at which the result of a call arrives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) now: Monotonic,
    /// The time of day.
    pub(super) time: Timestamp,
}

pub(super) struct Document {
    pub(super) fetcher: Fetcher,
    /// The fetch that this worker is carrying out.
    attempt: Option<(Attempt, Step)>,
    /// The condition of its request. Only requests for lists have one.
    pub(super) condition: Option<Condition>,
    /// The key set that this worker uses.
    pub(super) set: Option<FetchedSet>,
    /// The issuers that no key of the set fits, each with the time at which the last fetch started that found keys for it. Until those
    /// are too old, the issuer keeps them.
    pub(super) unserved: Vec<(IssuerId, Monotonic)>,
    /// The requests that asked for newer keys and could not wait.
    asked: Asked,
    /// The list of revoked credentials that this worker uses.
    pub(super) list: Option<Entries>,
    /// The last list that this worker fetched itself.
    pub(super) last: Option<LastList>,
    /// Whether the list is too old, and was reported as such.
    pub(super) is_stale: bool,
    /// When it was last reported that the store cannot be used.
    reported: Option<Monotonic>,
    /// Whether the document was provided instead of fetched.
    pub(super) is_provided: bool,
}

/// What a request that needs newer keys can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prospect {
    /// A fetch that started after the request arrived has ended. There are no newer keys.
    Current,
    /// A fetch is running or about to start.
    Coming,
    /// No fetch starts within this time.
    After(Duration),
}

impl Documents {
    /// Creates the view of a worker that has read nothing yet. `id` must differ from those of all other workers.
    pub(super) fn new(policy: &Policy, store: Rc<dyn SharedStore>, id: u64) -> Self {
        let zone = (policy.features.store == Store::Zone).then_some(Zone::Documents);
        let seal = policy.tables_key.as_ref().map(|key| Seal { key: key.seals(), zone });
        let new = |_| Document {
            fetcher: Fetcher::new(id),
            attempt: None,
            condition: None,
            set: None,
            unserved: Vec::new(),
            asked: Asked::default(),
            list: None,
            last: None,
            is_stale: false,
            reported: None,
            is_provided: false,
        };
        Self {
            store: PolicyStore::new(store, seal),
            keys: FetchedKeys::default(),
            all: policy.documents.iter().map(new).collect(),
        }
    }

    pub(super) fn keys(&self) -> &FetchedKeys {
        &self.keys
    }

    /// Reads what other workers published, and claims the fetches that are due.
    pub(super) fn tick(&mut self, policy: &Policy, cache: &mut TokenCache, now: Monotonic) -> DocumentWork {
        let mut work = DocumentWork::default();
        for (index, document) in policy.documents.iter().enumerate() {
            let looked = self.look(policy, index, cache, now, &mut work.events);
            let Self { store, all, .. } = self;
            let Some(own) = all.get_mut(index).filter(|own| !own.is_provided) else { continue };
            // The other documents do not depend on this one.
            let attempt = match looked.and_then(|()| own.fetcher.claim(store, &document.source, now)) {
                Ok(Some(attempt)) => attempt,
                Ok(None) => continue,
                Err(error) => {
                    if own.reported.is_none_or(|last| now.since(last) >= REPORT_PERIOD) {
                        own.reported = Some(now);
                        work.events.push(failed(document, error.to_string()));
                    }
                    continue;
                }
            };
            let (step, condition) = match document.kind {
                // Key sets are small, and only their content shows that a key was withdrawn.
                DocumentKind::KeySet => (Step::KeySet, None),
                DocumentKind::Metadata { .. } => (Step::Metadata, None),
                DocumentKind::Revocations(_) if policy.features.reads_not_modified() => {
                    (Step::Revocations, own.fetcher.condition(store, &document.source))
                }
                DocumentKind::Revocations(_) => (Step::Revocations, None),
            };
            own.attempt = Some((attempt, step));
            own.condition = condition;
            let unless = own.condition.as_ref().map(|condition| condition.tag().clone());
            let id = CallId { document: index, attempt, step };
            let (target, timeout) = (document.source.target.clone(), document.source.timeout);
            work.calls.push(DocumentCall { target, timeout, id, unless });
        }
        work
    }

    /// Reads what other workers published, and claims nothing.
    #[cfg(any(test, feature = "adapter"))]
    pub(super) fn read(&mut self, policy: &Policy, cache: &mut TokenCache, now: Monotonic) -> Vec<DocumentEvent> {
        let mut events = Vec::new();
        for (index, document) in policy.documents.iter().enumerate() {
            if let Err(error) = self.look(policy, index, cache, now, &mut events) {
                events.push(failed(document, error.to_string()));
            }
        }
        events
    }

    /// Reads a document if another version is published than this worker uses, and stops using one that is too old.
    pub(super) fn look(
        &mut self,
        policy: &Policy,
        index: usize,
        cache: &mut TokenCache,
        now: Monotonic,
        events: &mut Vec<DocumentEvent>,
    ) -> Result<(), StoreError> {
        let Some((document, own)) = policy.documents.get(index).zip(self.all.get_mut(index)) else { return Ok(()) };
        if own.is_provided {
            return Ok(());
        }
        let used = own.fetcher.used();
        let looked = own.fetcher.look(&self.store, &document.source, now);
        if let DocumentKind::Revocations(rules) = &document.kind {
            return own.use_list(rules, &document.source, looked, now, events);
        }
        // Keys become too old even if the store cannot be used.
        self.expire_keys(policy, index, cache, now, events);
        if let Some(bytes) = looked? {
            match FetchedSet::parse_published(&bytes) {
                Ok(set) => self.use_set(policy, index, set, used, cache, events),
                // A worker published only what it had read itself. The set is fetched again.
                Err(_) => self.lose_set(index),
            }
        }
        Ok(())
    }

    /// Processes the result of a call.
    pub(super) fn receive(
        &mut self,
        policy: &Policy,
        id: CallId,
        result: CallResult<'_>,
        cache: &mut TokenCache,
        Times { now, time }: Times,
    ) -> Result<DocumentWork, StoreError> {
        let mut work = DocumentWork::default();
        let Some((document, own)) = policy.documents.get(id.document).zip(self.all.get_mut(id.document)) else {
            return Ok(work);
        };
        // The result of a fetch that this worker no longer carries out.
        if own.attempt != Some((id.attempt, id.step)) {
            return Ok(work);
        }
        let source = &document.source;
        let read = match result {
            CallResult::Response { status: 200, etag, body } => match &document.kind {
                DocumentKind::Revocations(rules) => {
                    own.attempt = None;
                    own.take_list(
                        (&**rules, policy),
                        (&self.store, source),
                        id.attempt,
                        ListResponse { etag, body },
                        Times { now, time },
                        &mut work.events,
                    )?;
                    self.look(policy, id.document, cache, now, &mut work.events)?;
                    return Ok(work);
                }
                DocumentKind::KeySet | DocumentKind::Metadata { .. } => {
                    read(document, id.step, body).map_err(|fault| FetchFault::Document(fault).to_string())
                }
            },
            CallResult::Response { status: 304, etag, .. }
                if own.condition.as_ref().is_some_and(|condition| condition.is_confirmed_by(etag)) =>
            {
                own.attempt = None;
                own.renew_list(policy, (&self.store, source), id.attempt, Times { now, time }, &mut work.events)?;
                self.look(policy, id.document, cache, now, &mut work.events)?;
                return Ok(work);
            }
            CallResult::Response { status, .. } => Err(FetchFault::Status(status).to_string()),
            CallResult::NoResponse => Err(
                "there was no response in time; look at the gateway's cluster for this host, and at its TLS settings"
                    .to_owned(),
            ),
            CallResult::NotMade(error) => Err(error.to_owned()),
        };
        match read {
            Ok(Read::Next(target)) => {
                let id = CallId { step: Step::KeySet, ..id };
                own.attempt = Some((id.attempt, id.step));
                let timeout = source.timeout.saturating_sub(now.since(id.attempt.started())).max(LEAST_TIMEOUT);
                work.calls.push(DocumentCall { target, timeout, id, unless: None });
            }
            Ok(Read::Set(set)) => {
                own.attempt = None;
                self.take_set(policy, id, set, now, &mut work.events)?;
                self.look(policy, id.document, cache, now, &mut work.events)?;
            }
            Err(why) => {
                own.attempt = None;
                own.fetcher.fail(&self.store, source, id.attempt, now)?;
                work.events.push(failed(document, why));
            }
        }
        Ok(work)
    }

    /// Returns what a request can do whose token needs newer keys of this issuer. For a request that cannot wait, `token` is the token.
    pub(super) fn prospect(
        &mut self,
        policy: &Policy,
        id: IssuerId,
        reason: Reason,
        arrived: Monotonic,
        token: Option<&[u8]>,
        now: Monotonic,
    ) -> Result<Prospect, StoreError> {
        let Some((index, document)) = position(policy, id) else { return Ok(Prospect::After(Duration::ZERO)) };
        let Some(own) = self.all.get_mut(index) else { return Ok(Prospect::After(Duration::ZERO)) };
        if own.is_provided {
            return Ok(Prospect::Current);
        }
        if reason == Reason::KeysUnavailable {
            return Ok(match own.fetcher.availability(&document.source, now) {
                // The set in use has no key for the issuer.
                Availability::Usable => {
                    let age = own.fetcher.age(now).unwrap_or_default();
                    Prospect::After(document.source.refresh.saturating_sub(age))
                }
                Availability::Coming => Prospect::Coming,
                Availability::After(wait) => Prospect::After(wait),
            });
        }
        let arrived = token.map_or(arrived, |token| own.asked.first(token, now));
        Ok(match own.fetcher.want(&self.store, &document.source, arrived, now)? {
            Wanted::Current => Prospect::Current,
            Wanted::Coming => Prospect::Coming,
            Wanted::After(wait) => Prospect::After(wait),
        })
    }

    /// Returns a number that changes when the keys of an issuer, or the list of revoked credentials, may have changed.
    pub(super) fn progress(&self, policy: &Policy, needs: Needs) -> u64 {
        let index = match needs {
            Needs::Keys(issuer) => position(policy, issuer).map(|(index, _)| index),
            Needs::Revocations => policy.revocation_list().map(|(index, _)| index),
        };
        let own = index.and_then(|index| self.all.get(index));
        let is_usable = |own: &Document| own.set.is_some() || own.list.is_some();
        own.map_or(0, |own| own.fetcher.attempts().wrapping_mul(2).wrapping_add(u64::from(is_usable(own))))
    }

    /// Uses this key set for an issuer from now on, instead of the fetched one.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn provide(&mut self, policy: &Policy, id: IssuerId, set: FetchedSet, cache: &mut TokenCache) {
        let Some((index, _)) = position(policy, id) else { return };
        let Some(own) = self.all.get_mut(index) else { return };
        own.is_provided = true;
        self.use_set(policy, index, set, Monotonic::default(), cache, &mut Vec::new());
    }

    /// Returns the age of the oldest document in use, for the metrics.
    #[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
    pub(super) fn oldest(&self, now: Monotonic) -> Duration {
        let in_use = self.all.iter().filter(|document| document.set.is_some());
        in_use.filter_map(|document| document.fetcher.age(now)).max().unwrap_or_default()
    }
}

/// Returns the event of a fetch that failed.
pub(super) fn failed(document: &FetchedDocument, why: String) -> DocumentEvent {
    let url = document.source.target.url();
    match document.kind {
        DocumentKind::KeySet | DocumentKind::Metadata { .. } => DocumentEvent::Failed { url, why },
        DocumentKind::Revocations(_) => DocumentEvent::RevocationsFailed { url, why },
    }
}

pub(super) fn position(policy: &Policy, id: IssuerId) -> Option<(usize, &FetchedDocument)> {
    policy.documents.iter().enumerate().find(|(_, document)| document.issuers.contains(&id))
}

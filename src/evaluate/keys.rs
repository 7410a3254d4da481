//! What happens to a request that needs a document which is not available yet: keys, or the list of revoked credentials.

use std::time::Duration;

use super::documents::Prospect;
use super::limits::guarded;
use super::{Denied, DocumentUse, Evaluation};
use crate::decision::{Facts, Rule};
use crate::identity::token::{IssuerId, Refusal};
use crate::policy::{Fetching, Policy};
use crate::quota::WaitingPlace;
use crate::quota::held::{HeldBytes, Reservation};
use crate::reason::Reason;
use crate::text::monotonic::Monotonic;

/// Seconds after which a request may be repeated that was denied because too many wait, or because the keys are about to arrive.
const RETRY_AFTER: u64 = 1;

/// The document that a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// The keys of an issuer.
    Keys(IssuerId),
    /// The list of revoked credentials.
    Revocations,
}

impl Needs {
    /// Returns how long a request waits.
    pub(super) fn timeout(self, policy: &Policy) -> Duration {
        match self {
            Self::Keys(issuer) => policy.key_timeout(issuer),
            Self::Revocations => policy.list_timeout(),
        }
    }

    /// Returns why a request is denied if it has waited in vain.
    pub(super) fn denial(self, policy: &Policy) -> (Reason, Rule<'_>) {
        let reason = Reason::KeysUnavailable;
        match self {
            Self::Keys(issuer) => (reason, Rule::Issuer(policy.issuers.name(issuer), reason.issuer_field())),
            Self::Revocations => (Reason::RevocationsUnavailable, Rule::Policy("revocations")),
        }
    }
}

/// The wait of a request for keys, or for the list of revoked credentials.
#[derive(Debug)]
pub(super) struct KeyWait {
    pub(super) needs: Needs,
    /// When the request arrived.
    pub(super) arrived: Monotonic,
    /// The progress of the document when the request was evaluated.
    pub(super) progress: u64,
    /// Its place among the waiting requests, until it is decided.
    _place: WaitingPlace,
    /// The bytes reserved for the request. `None` if the host does not bound them.
    pub(super) reservation: Option<Reservation>,
    /// The bytes of the headers.
    pub(super) headers: u64,
}

impl Evaluation<'_, '_> {
    /// Decides what happens to a token that newer keys could verify. Ends the evaluation if the request waits for them.
    pub(super) fn await_keys(&mut self, refusal: Refusal, token: &[u8]) -> Result<Refusal, Denied> {
        let Some(issuer) = refusal.issuer.filter(|_| refusal.awaits_keys) else { return Ok(refusal) };
        let Some(DocumentUse { all: documents, services }) = self.context.documents else {
            return Ok(self.unavailable(refusal, RETRY_AFTER));
        };
        let Ok(now) = services.clock.monotonic() else { return Ok(Refusal { reason: Reason::HostError, ..refusal }) };
        let waited = self.waited.take();
        let policy = self.facts.policy;
        let holds = policy.features.fetching == Fetching::Held && !self.observing && self.context.trace.is_none();
        let needs = Needs::Keys(issuer);
        let timeout = needs.timeout(policy);
        let arrived = waited.as_ref().map_or(now, |wait| wait.arrived);
        // A request that cannot wait is denied before any fetch. A fetch that started after an earlier request with the same token answers it.
        let repeated = (!holds).then_some(token);
        let prospect = match documents.try_borrow_mut() {
            Ok(mut documents) => documents.prospect(policy, issuer, refusal.reason, arrived, repeated, now),
            Err(_) => return Ok(Refusal { reason: Reason::HostError, ..refusal }),
        };
        match prospect {
            Err(_) => Ok(Refusal { reason: Reason::HostError, ..refusal }),
            Ok(Prospect::Current) => Ok(self.charge_unknown_key(refusal)),
            Ok(Prospect::After(wait)) => Ok(self.unavailable(refusal, wait.as_secs().saturating_add(1))),
            Ok(Prospect::Coming) => {
                let may_wait = holds && now < arrived.plus(timeout);
                let wait = if may_wait { self.enter(needs, arrived, waited) } else { None };
                let Some(wait) = wait else { return Ok(self.unavailable(refusal, RETRY_AFTER)) };
                self.key_wait = Some(wait);
                Err(Denied)
            }
        }
    }

    /// Decides what happens to a request while there is no list of revoked credentials that can be used. Ends the evaluation if the request
    /// waits for one.
    pub(super) fn await_revocations(&mut self) -> Result<(), Denied> {
        let waited = self.waited.take();
        let policy = self.facts.policy;
        let found = self.context.documents.and_then(|DocumentUse { all, services }| {
            let (documents, now) = (all.try_borrow().ok()?, services.clock.monotonic().ok()?);
            Some((documents.list_prospect(policy, now), now))
        });
        let holds = policy.features.fetching == Fetching::Held && !self.observing && self.context.trace.is_none();
        let seconds = match found {
            Some((Prospect::Coming, now)) => {
                let arrived = waited.as_ref().map_or(now, |wait| wait.arrived);
                let may_wait = holds && now < arrived.plus(Needs::Revocations.timeout(policy));
                let wait = if may_wait { self.enter(Needs::Revocations, arrived, waited) } else { None };
                if wait.is_some() {
                    self.key_wait = wait;
                    return Err(Denied);
                }
                RETRY_AFTER
            }
            Some((Prospect::After(wait), _)) => wait.as_secs().saturating_add(1),
            Some((Prospect::Current, _)) | None => RETRY_AFTER,
        };
        self.facts.retry_after = Some(seconds);
        Ok(())
    }

    /// Takes a place among the waiting requests, and reserves memory for the bytes of the request that are known so far. `None` if
    /// there is no room.
    fn enter(&self, needs: Needs, arrived: Monotonic, waited: Option<Box<KeyWait>>) -> Option<Box<KeyWait>> {
        let Facts { policy, request, head, .. } = &self.facts;
        let DocumentUse { all, services } = self.context.documents?;
        let progress = all.try_borrow().ok()?.progress(policy, needs);
        if let Some(wait) = waited {
            return Some(Box::new(KeyWait { needs, progress, ..*wait }));
        }
        let headers = request.headers.bytes();
        let bytes = headers.saturating_add(head.length().unwrap_or_default());
        let reserve = |held: &HeldBytes| held.reserve(None, request.source, policy.held_bodies.shares, bytes);
        let reservation = self.context.held.map(reserve).transpose().ok()?;
        let place = services.waiting.enter(request.source)?;
        Some(Box::new(KeyWait { needs, arrived, progress, _place: place, reservation, headers }))
    }

    fn unavailable(&mut self, refusal: Refusal, seconds: u64) -> Refusal {
        self.facts.retry_after = Some(seconds.max(1));
        Refusal { reason: Reason::KeysUnavailable, ..refusal }
    }

    /// A token with an unknown key counts as a failed credential. This was not charged before, because the key could have been new.
    fn charge_unknown_key(&mut self, refusal: Refusal) -> Refusal {
        if refusal.reason != Reason::TokenKey {
            return refusal;
        }
        let Self { facts, context, .. } = self;
        let charged = guarded(facts, context, |verifier, _, _| {
            verifier.unknown_key();
            Err::<(), _>(Reason::TokenKey)
        });
        let reason = self.settle(charged).err().unwrap_or(Reason::TokenKey);
        Refusal { reason, ..refusal }
    }
}

//! The limit before authentication: how often credentials from one source address may fail.
//!
//! Verifying a credential is the most expensive operation that an unauthenticated client can cause. The limit is checked before
//! that, and each failed credential is charged. A source that guesses credentials is blocked, and a source with valid credentials
//! is not affected.
//!
//! Agents may share an address with a client that guesses. A signer that verified a credential from the address in the last
//! minutes is still served, up to an allowance of its own, which its failures use up. A token that a worker has cached is never
//! checked here.

use std::cell::{Cell, RefCell};

use ipnet::IpNet;

use super::identity::{signer as with_signer, source as with_source};
use super::recent::RECENT;
use super::{Limit, LimitBatch, LimitSubject, Recent, Refused};
use crate::identity::crypto::{Algorithm, BadSignature, Signer, VerifySignature, VerifyingKey};
use crate::request::incoming::Source;
use crate::state::{Shared, StoreStats};
use crate::state::{Slot, Stored};
use crate::text::time::Timestamp;

/// The rates at which credentials may fail.
#[derive(Debug)]
pub(crate) struct AuthFailureLimit {
    pub(crate) usual: Allowed,
    /// Networks whose addresses have their own rate, the narrowest first.
    pub(crate) sources: Vec<(IpNet, Allowed)>,
}

/// The rate at which credentials of one source may fail, and the rate of each known signer there after the source has exceeded
/// its own.
#[derive(Debug)]
pub(crate) struct Allowed {
    pub(crate) source: Limit,
    pub(crate) signer: Limit,
}

impl AuthFailureLimit {
    /// Returns the rates of a source address.
    fn of(&self, source: Option<Source>) -> &Allowed {
        let own =
            source.and_then(|source| self.sources.iter().find(|(network, _)| network.contains(&source.address())));
        own.map_or(&self.usual, |(_, allowed)| allowed)
    }
}

/// A verifier that does not verify signatures from a source whose credentials failed too often, except those of a known signer.
pub(crate) struct Guard<'g> {
    verifier: &'g dyn VerifySignature,
    allowed: &'g Allowed,
    shared: Shared<'g>,
    recent: &'g Recent,
    source: Option<Source>,
    now: Timestamp,
    admission: RefCell<Admission<'g>>,
    outcome: Cell<Outcome>,
}

/// The state that was read for the credential that is being verified.
#[derive(Default)]
struct Admission<'g> {
    /// Whether the limits were checked.
    asked: bool,
    /// The source's limit, if a credential from it failed recently.
    source: Option<LimitBatch<'g, 'g>>,
    /// The allowance of the known signer, if the source has exceeded its limit.
    signer: Option<LimitBatch<'g, 'g>>,
    /// The hashes of the signers at this source.
    signers: Vec<[u64; 2]>,
}

/// The result of a [`Guard`] for one credential.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) stopped: Option<Stopped>,
    pub(crate) used: StoreStats,
}

/// The reason why a credential was not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Too many credentials from this source failed. The value is the wait in seconds.
    Limited(u64),
    /// The shared store cannot be used.
    Store,
}

impl From<Refused<'_>> for Stopped {
    /// Only the store can fail here, because an exhausted limit is handled earlier.
    fn from(_: Refused<'_>) -> Self {
        Self::Store
    }
}

impl VerifySignature for Guard<'_> {
    fn verify(
        &self,
        key: &VerifyingKey,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        // A caller that did not call `admit` is checked now, as an unknown signer.
        if !self.admission.borrow().asked {
            self.admit(&[])?;
        }
        if self.outcome.get().stopped.is_some() {
            return Err(BadSignature);
        }
        let result = self.verifier.verify(key, algorithm, message, signature);
        self.or_stop(if result.is_ok() { self.note() } else { self.charge() })?;
        result
    }

    fn admit(&self, signers: &[Signer<'_>]) -> Result<(), BadSignature> {
        self.or_stop(self.look(signers))
    }

    fn unknown_key(&self) {
        // A failure to charge stops the verification, and there is no other result to return.
        let _ = self.or_stop(self.charge());
    }

    fn known_key(&self) -> Result<(), BadSignature> {
        self.or_stop(self.note())
    }
}

impl<'g> Guard<'g> {
    pub(crate) fn new(
        verifier: &'g dyn VerifySignature,
        failed: &'g AuthFailureLimit,
        shared: Shared<'g>,
        recent: &'g Recent,
        source: Option<Source>,
        now: Timestamp,
    ) -> Self {
        let allowed = failed.of(source);
        let (admission, outcome) = (RefCell::default(), Cell::default());
        Self { verifier, allowed, shared, recent, source, now, admission, outcome }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        self.outcome.get()
    }

    /// Records that a signer's credential is valid, if it was verified earlier.
    pub(crate) fn recognize(&self, signer: Signer<'_>) {
        let [_, fingerprint] = self.numbers(signer);
        self.recent.note(fingerprint, self.now);
    }

    /// Checks the limit of the source. If it is exhausted, checks the allowance of a known signer.
    fn look(&self, signers: &[Signer<'_>]) -> Result<(), Stopped> {
        let mut admission = self.admission.borrow_mut();
        if !admission.asked {
            (admission.asked, admission.source) = (true, self.failures()?);
        }
        admission.signers = signers.iter().map(|signer| self.numbers(*signer)).collect();
        let Some(source) = admission.source.as_ref().filter(|source| source.exceeded().is_err()) else { return Ok(()) };
        let wait = source.retry_after();
        for (signer, numbers) in signers.iter().zip(&admission.signers) {
            if self.is_known(*numbers)? {
                let allowance = self.batch(&self.allowed.signer, Some(*signer))?;
                if allowance.exceeded().is_ok() {
                    admission.signer = Some(allowance);
                    return Ok(());
                }
            }
        }
        Err(Stopped::Limited(wait))
    }

    /// Returns the limit of the source, or `None` if it is idle. Credentials rarely fail, so one read is enough in most cases and
    /// nothing has to be counted.
    fn failures(&self) -> Result<Option<LimitBatch<'g, 'g>>, Refused<'g>> {
        let (limit, who) = (&self.allowed.source, self.who(None));
        let place = limit.place(limit.entry(&who, None), &who, None, self.shared.namespace).ok_or(Refused::Store)?;
        let tat = Slot::read(self.shared.store, &place)?.value(&place);
        let is_at_rest = tat.is_none_or(|tat| tat <= self.now.as_nanos());
        if is_at_rest { Ok(None) } else { self.batch(limit, None).map(Some) }
    }

    /// Charges a failed credential.
    fn charge(&self) -> Result<(), Stopped> {
        let mut admission = self.admission.borrow_mut();
        let source = admission.source.take().map_or_else(|| self.batch(&self.allowed.source, None), Ok)?;
        for mut batch in std::iter::once(source).chain(admission.signer.take()) {
            // Other workers may have exhausted the limit meanwhile. This credential is rejected in any case.
            let charged = batch.charge();
            self.use_also(batch.used());
            if charged == Err(Refused::Store) {
                return Err(Stopped::Store);
            }
        }
        Ok(())
    }

    /// Records the signers of a valid credential as known. Other workers need this information while credentials from the source
    /// fail.
    fn note(&self) -> Result<(), Stopped> {
        let admission = self.admission.borrow();
        for numbers in &admission.signers {
            let [_, fingerprint] = *numbers;
            self.recent.note(fingerprint, self.now);
            if admission.source.is_some() {
                self.tell(*numbers)?;
            }
        }
        Ok(())
    }

    /// Shares with other workers that a signer is known, and renews the mark after half of its lifetime. The mark is skipped if
    /// another worker interferes or if the slot is full of live limits, because a mark must not evict a limit.
    fn tell(&self, numbers: [u64; 2]) -> Result<(), Refused<'g>> {
        let place = self.shared.namespace.slot_of(numbers);
        let mut slot = Slot::read(self.shared.store, &place)?;
        let (renewed, until) = (self.now.plus(RECENT / 2).as_nanos(), self.now.plus(RECENT).as_nanos());
        let is_told = slot.value(&place).is_some_and(|until| until > renewed);
        if !is_told && slot.put(&place, until, self.now.as_nanos()) == Stored::Kept {
            slot.write(self.shared.store, &place)?;
        }
        Ok(())
    }

    /// Reports whether a signer verified a credential from this source recently, in this worker or another.
    fn is_known(&self, numbers: [u64; 2]) -> Result<bool, Refused<'g>> {
        let [_, fingerprint] = numbers;
        if self.recent.has(fingerprint, self.now) {
            return Ok(true);
        }
        let place = self.shared.namespace.slot_of(numbers);
        let until = Slot::read(self.shared.store, &place)?.value(&place);
        Ok(until.is_some_and(|until| until > self.now.as_nanos() && until <= self.now.plus(RECENT).as_nanos()))
    }

    fn numbers(&self, signer: Signer<'_>) -> [u64; 2] {
        let namespace = self.shared.namespace;
        namespace.numbers(with_signer(with_source(namespace.identity("known signer"), self.source), signer))
    }

    fn who<'w>(&self, signer: Option<Signer<'w>>) -> LimitSubject<'w> {
        LimitSubject { caller: None, source: self.source, endpoint: "", signer }
    }

    fn batch(&self, limit: &'g Limit, signer: Option<Signer<'_>>) -> Result<LimitBatch<'g, 'g>, Refused<'g>> {
        LimitBatch::open(self.shared, std::iter::once((limit, None, 1)), self.who(signer), self.now)
    }

    fn use_also(&self, used: StoreStats) {
        let outcome = self.outcome.get();
        self.outcome.set(Outcome { used: outcome.used.and(used), ..outcome });
    }

    fn or_stop(&self, result: Result<(), Stopped>) -> Result<(), BadSignature> {
        result.map_err(|stopped| {
            self.outcome.set(Outcome { stopped: Some(stopped), ..self.outcome.get() });
            BadSignature
        })
    }
}

#[cfg(test)]
#[path = "failed_tests.rs"]
mod tests;

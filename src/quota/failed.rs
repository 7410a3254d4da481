//! The limit before authentication: how often credentials from one source address may fail.
//!
//! What a credential costs before it is known to be good is the dearest thing that an outsider can ask of the gate. The limit is
//! looked at before that, and charged by each credential that fails: a source that guesses is cut off, and one whose credentials
//! hold never notices.
//!
//! Agents may share an address with whoever guesses. Those who verified something from it in the last minutes are served all the
//! same, each up to an allowance of its own, which its failures use up. A token that a worker remembers is never asked about.

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

/// How often credentials may fail.
#[derive(Debug)]
pub(crate) struct FailedCredentials {
    pub(crate) usual: Allowed,
    /// Networks whose addresses have a rate of their own, the narrowest first.
    pub(crate) sources: Vec<(IpNet, Allowed)>,
}

/// How often credentials of one source may fail, and once it has failed too often, those of each signer there who is known.
#[derive(Debug)]
pub(crate) struct Allowed {
    pub(crate) source: Limit,
    pub(crate) signer: Limit,
}

impl FailedCredentials {
    /// What a source address is allowed.
    fn of(&self, source: Option<Source>) -> &Allowed {
        let own =
            source.and_then(|source| self.sources.iter().find(|(network, _)| network.contains(&source.address())));
        own.map_or(&self.usual, |(_, allowed)| allowed)
    }
}

/// A verifier that computes nothing for a source whose credentials failed too often, unless for a signer who is known there.
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

/// What was looked at for the credential that is being verified.
#[derive(Default)]
struct Admission<'g> {
    /// Whether anything was.
    asked: bool,
    /// The source's limit, where something of it failed lately.
    source: Option<LimitBatch<'g, 'g>>,
    /// The allowance of the signer for whose sake a source is served that failed too often.
    signer: Option<LimitBatch<'g, 'g>>,
    /// The numbers of the signers at this source.
    signers: Vec<[u64; 2]>,
}

/// What became of the credential that a [`Guard`] was asked about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) stopped: Option<Stopped>,
    pub(crate) used: StoreStats,
}

/// Why nothing was computed for a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Too many from this source failed; for so many seconds.
    Limited(u64),
    /// The shared store cannot be used.
    Store,
}

impl From<Refused<'_>> for Stopped {
    /// Of what is looked at here, only the store can fail: an exhausted limit is handled before.
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
        // Whoever did not ask is asked about now, as somebody who is not known.
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
        // What cannot be charged stops the verification, whatever comes of it.
        let _ = self.or_stop(self.charge());
    }
}

impl<'g> Guard<'g> {
    pub(crate) fn new(
        verifier: &'g dyn VerifySignature,
        failed: &'g FailedCredentials,
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

    /// Notes that a signer's credential holds, which was verified before.
    pub(crate) fn recognize(&self, signer: Signer<'_>) {
        let [_, fingerprint] = self.numbers(signer);
        self.recent.note(fingerprint, self.now);
    }

    /// Looks at the limit of the source, and where that has nothing left, for a signer who is known and has.
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

    /// The limit of the source; none where it is at rest, as hardly anything from a source ever fails: one look tells, and nothing
    /// has to be counted.
    fn failures(&self) -> Result<Option<LimitBatch<'g, 'g>>, Refused<'g>> {
        let (limit, who) = (&self.allowed.source, self.who(None));
        let place = limit.place(limit.entry(who), who, self.shared.namespace).ok_or(Refused::Store)?;
        let tat = Slot::read(self.shared.store, &place)?.value(&place);
        let is_at_rest = tat.is_none_or(|tat| tat <= self.now.as_nanos());
        if is_at_rest { Ok(None) } else { self.batch(limit, None).map(Some) }
    }

    /// A credential failed.
    fn charge(&self) -> Result<(), Stopped> {
        let mut admission = self.admission.borrow_mut();
        let source = admission.source.take().map_or_else(|| self.batch(&self.allowed.source, None), Ok)?;
        for mut batch in std::iter::once(source).chain(admission.signer.take()) {
            // Others may have used up the rest meanwhile; this one is refused for what it is in any case.
            let charged = batch.charge();
            self.use_also(batch.used());
            if charged == Err(Refused::Store) {
                return Err(Stopped::Store);
            }
        }
        Ok(())
    }

    /// A credential holds: its signers are known. Other workers have to know while something from here fails.
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

    /// Tells the other workers that a signer is known, and again when half of the time is over. Where another one came in between, or
    /// the table is full of what restricts, they are not told: a mark pushes out no limit.
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

    /// Whether a signer verified something from this source lately, before this worker or another.
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
        LimitBatch::open(self.shared, std::iter::once(limit), self.who(signer), 1, self.now)
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

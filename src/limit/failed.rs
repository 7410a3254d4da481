//! The limit before authentication: how often credentials from one source address may fail.
//!
//! Computing a signature is the dearest thing that an outsider can ask of the gate. The limit is looked at before each, and
//! charged by each that fails: a source that guesses is cut off, and one whose credentials hold never notices.

use std::cell::Cell;

use ipnet::IpNet;

use super::{Ledger, Limit, Refused, Shared, Use, Who};
use crate::call::Source;
use crate::crypto::{Algorithm, BadSignature, VerifySignature, VerifyingKey};
use crate::state::Slot;
use crate::time::Timestamp;

/// How often credentials may fail.
#[derive(Debug)]
pub(crate) struct FailedCredentials {
    pub(crate) usual: Limit,
    /// Networks whose addresses have a rate of their own, the narrowest first.
    pub(crate) sources: Vec<(IpNet, Limit)>,
}

impl FailedCredentials {
    /// The limit of a source address.
    fn of(&self, source: Option<Source>) -> &Limit {
        let own =
            source.and_then(|source| self.sources.iter().find(|(network, _)| network.contains(&source.address())));
        own.map_or(&self.usual, |(_, limit)| limit)
    }
}

/// A verifier that computes nothing for a source whose credentials failed too often.
pub(crate) struct Guard<'g> {
    pub(crate) verifier: &'g dyn VerifySignature,
    pub(crate) failed: &'g FailedCredentials,
    pub(crate) shared: Shared<'g>,
    pub(crate) source: Option<Source>,
    pub(crate) now: Timestamp,
    /// What stopped it, and how the store was used.
    pub(crate) outcome: Cell<Outcome>,
}

/// What became of the signatures that a [`Guard`] was asked about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) stopped: Option<Stopped>,
    pub(crate) used: Use,
}

/// Why a signature was not computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Too many from this source failed; for so many seconds.
    Limited(u64),
    /// The shared store cannot be used.
    Store,
}

impl VerifySignature for Guard<'_> {
    fn verify(
        &self,
        key: &VerifyingKey,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let Ok(looked) = self.look() else { return self.stop(Stopped::Store) };
        if let Some(ledger) = &looked
            && ledger.exceeded().is_err()
        {
            return self.stop(Stopped::Limited(ledger.retry_after()));
        }
        let result = self.verifier.verify(key, algorithm, message, signature);
        if result.is_err() {
            let Ok(mut ledger) = looked.map_or_else(|| self.ledger(), Ok) else { return self.stop(Stopped::Store) };
            // Others may have used up the rest meanwhile; this one is refused for its signature in any case.
            let charged = ledger.charge();
            self.outcome.set(Outcome { stopped: None, used: ledger.used() });
            if charged == Err(Refused::Store) {
                return self.stop(Stopped::Store);
            }
        }
        result
    }
}

impl<'g> Guard<'g> {
    fn who(&self) -> Who<'static> {
        Who { caller: None, source: self.source, endpoint: "" }
    }

    /// Looks at the limit; none where it is at rest, as hardly anything from a source ever fails: one look tells, and nothing has
    /// to be counted.
    fn look(&self) -> Result<Option<Ledger<'g, 'g>>, Refused<'g>> {
        let (limit, who) = (self.failed.of(self.source), self.who());
        let place = limit.place(limit.entry(who), who, self.shared.namespace).ok_or(Refused::Store)?;
        let arrival = Slot::read(self.shared.store, &place)?.value(&place);
        let is_at_rest = arrival.is_none_or(|arrival| arrival <= self.now.as_nanos());
        if is_at_rest { Ok(None) } else { self.ledger().map(Some) }
    }

    fn ledger(&self) -> Result<Ledger<'g, 'g>, Refused<'g>> {
        Ledger::open(self.shared, std::iter::once(self.failed.of(self.source)), self.who(), 1, self.now)
    }

    fn stop(&self, stopped: Stopped) -> Result<(), BadSignature> {
        self.outcome.set(Outcome { stopped: Some(stopped), ..self.outcome.get() });
        Err(BadSignature)
    }
}

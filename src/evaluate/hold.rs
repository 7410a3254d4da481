//! A call that is held until its body has come.
//!
//! Everything that the head decides was decided before. What the body is hashed to, the limits and what may happen only once
//! come after it, so that a call whose body never comes costs its caller nothing.

use super::{Context, Evaluation, Stop};
use crate::decision::{Decision, Facts, Grant, Rule};
use crate::digest::Hashing;
use crate::reason::Reason;
use crate::time::Timestamp;
use crate::trace::Check;

/// A call that is held until its body has come.
#[derive(Debug)]
pub struct Hold<'a> {
    facts: Facts<'a>,
    observing: bool,
    hashing: Result<Box<Hashing>, Reason>,
}

/// Whether more of a body is to be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The call stays held.
    Goes,
    /// What came decides the call already.
    Ends,
}

impl<'a> Hold<'a> {
    /// What was learnt about the call.
    #[must_use]
    pub fn facts(&self) -> &Facts<'a> {
        &self.facts
    }

    /// How many bytes of the body were taken.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.hashing.as_ref().map_or(0, |hashing| hashing.seen())
    }

    /// Takes the next part of the body.
    pub fn update(&mut self, part: &[u8]) -> Wait {
        let Ok(hashing) = &mut self.hashing else { return Wait::Ends };
        match hashing.update(part) {
            Ok(()) => Wait::Goes,
            Err(reason) => {
                self.hashing = Err(reason);
                Wait::Ends
            }
        }
    }

    /// Decides the call, now that its body has come. `now` is this moment: the body may have taken its time.
    pub fn finish(self, now: Timestamp, context: Context<'_>) -> Decision<'a> {
        let Self { mut facts, observing, hashing } = self;
        facts.call.now = facts.call.now.max(now);
        let mut evaluation = Evaluation { facts, context, observing };
        let ended = evaluation.resume(hashing);
        evaluation.end(ended)
    }
}

impl<'a> Evaluation<'a, '_> {
    pub(super) fn hold(self, hashing: Box<Hashing>) -> Hold<'a> {
        Hold { facts: self.facts, observing: self.observing, hashing: Ok(hashing) }
    }

    fn resume(&mut self, hashing: Result<Box<Hashing>, Reason>) -> Result<Grant, Stop> {
        self.settle_body(hashing.map(|hashing| *hashing))?;
        // A signature that went stale meanwhile is forgotten by those who remember what was used.
        let stale = self.facts.signature.as_ref().is_some_and(|signature| self.facts.call.now >= signature.until);
        if stale {
            let expired = Err::<(), _>(Reason::SignatureExpired);
            self.judge(Check::Signature, Rule::Policy("signatures"), expired, |()| Vec::new())?;
        }
        self.finish()
    }
}

//! A call that is held until its body has come.
//!
//! Everything that the head decides was decided before. What the body is hashed to, the limits and what may happen only once
//! come after it, so that a call whose body never comes costs its caller nothing.
//!
//! Where a gateway does not hold the head back, all of that is decided before it goes on, and the body is [checked
//! late](Late): none of it goes on before, so that the upstream sees the head of a call without its end.

use super::signature::body_rule;
use super::{Context, Evaluation, Stop, decided};
use crate::decision::{Allow, BodySeen, Decision, Denial, Deny, Facts, Grant, Rule, Step};
use crate::digest::Hashing;
use crate::policy::{BodyCheck, Endpoint};
use crate::reason::Reason;
use crate::time::Timestamp;
use crate::trace::{Check, Trace, Traced};

/// A call that is held until its body has come.
#[derive(Debug)]
pub struct Hold<'a> {
    facts: Box<Facts<'a>>,
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
    pub(super) fn new(facts: Box<Facts<'a>>, observing: bool, hashing: Box<Hashing>) -> Self {
        Self { facts, observing, hashing: Ok(hashing) }
    }

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
        let mut evaluation = Evaluation::begin(&mut facts, context, observing);
        let ended = evaluation.resume(hashing);
        evaluation.conclude(&ended);
        decided(facts, ended)
    }

    /// What stands in the record of a call that ended before its body had come: a denial, since nothing of it went on. It costs
    /// its caller nothing, and can be sent again. `now` is this moment, where there still is a clock.
    pub fn abandon(self, now: Option<Timestamp>) -> Decision<'a> {
        let Self { mut facts, observing, .. } = self;
        facts.call.now = now.map_or(facts.call.now, |now| facts.call.now.max(now));
        denied(facts, Denial { reason: Reason::BodyIncomplete, rule: Rule::Gate, enforced: !observing })
    }
}

/// What becomes of a call that its body denies.
fn denied<'a>(mut facts: Box<Facts<'a>>, denial: Denial<'a>) -> Decision<'a> {
    facts.denials.push(denial);
    if denial.enforced {
        Decision::Deny(Deny { facts, denial })
    } else {
        Decision::Allow(Allow { facts, grant: Grant::Observed })
    }
}

/// A call that goes on before its body has come.
#[derive(Debug)]
pub struct Late<'a> {
    decision: Decision<'a>,
    observing: bool,
    awaited: Result<Awaited, Reason>,
}

/// What a body has to be.
#[derive(Debug)]
pub(super) enum Awaited {
    /// The one that was signed.
    Signed(Box<Hashing>),
    /// None was announced, and what was decided holds for a call without one.
    Nothing,
}

impl<'a> Late<'a> {
    /// What was decided about the head.
    pub fn decision(&self) -> &Decision<'a> {
        &self.decision
    }

    /// How many bytes of the body were taken.
    #[must_use]
    pub fn seen(&self) -> u64 {
        match &self.awaited {
            Ok(Awaited::Signed(hashing)) => hashing.seen(),
            _ => 0,
        }
    }

    /// Takes the next part of the body.
    pub fn update(&mut self, part: &[u8]) -> Wait {
        let taken = match &mut self.awaited {
            Ok(Awaited::Signed(hashing)) => hashing.update(part),
            Ok(Awaited::Nothing) if part.is_empty() => Ok(()),
            Ok(Awaited::Nothing) => Err(Reason::BodyLengthMissing),
            Err(_) => return Wait::Ends,
        };
        match taken {
            Ok(()) => Wait::Goes,
            Err(reason) => {
                self.awaited = Err(reason);
                Wait::Ends
            }
        }
    }

    /// Whether the body, which has come, may go on after the head.
    pub fn finish(self, trace: Option<&mut Trace>) -> Decision<'a> {
        let Decision::Allow(Allow { mut facts, grant }) = self.decision else { return self.decision };
        let (seen, checked) = match self.awaited {
            Ok(Awaited::Signed(hashing)) => (hashing.seen(), hashing.finish()),
            Ok(Awaited::Nothing) => return Decision::Allow(Allow { facts, grant }),
            Err(reason) => (0, Err(reason)),
        };
        let rule = body_rule(checked.as_ref().err());
        if let Some(trace) = trace {
            let facts = if checked.is_ok() { vec![("bytes", seen.to_string())] } else { Vec::new() };
            trace.push(Traced { check: Check::Body, denied: checked.err(), rule: rule.to_string(), facts });
        }
        let Err(reason) = checked else {
            facts.body = Some(BodySeen::CheckedLate);
            return Decision::Allow(Allow { facts, grant });
        };
        denied(facts, Denial { reason, rule, enforced: !self.observing })
    }

    /// What stands in the record of a call whose body never came to its end.
    pub fn abandon(self) -> Decision<'a> {
        self.decision
    }
}

/// Lets a call go on, and its body only where it has to be nothing in particular.
pub(super) fn go_on<'a>(decision: Decision<'a>, awaited: Option<Awaited>, observing: bool) -> Step<'a> {
    match (decision, awaited) {
        (decision @ Decision::Allow(_), Some(awaited)) => {
            Step::Late(Late { decision, observing, awaited: Ok(awaited) })
        }
        (decision, _) => Step::Decided(decision),
    }
}

impl Evaluation<'_, '_> {
    /// The body is to be checked after the head went on. Where the end of a call is not told, an empty body never comes, and one
    /// that is chunked may turn out to be empty: then nobody would ask whether that is what was signed.
    pub(super) fn await_body(&mut self, hashing: Hashing) -> Result<(), Stop> {
        let Facts { policy, head, .. } = &self.facts;
        let announced = policy.features.tells_end || head.content_length.is_some() && !head.has_transfer_encoding;
        let result = if announced { Ok(()) } else { Err(Reason::BodyLengthMissing) };
        self.judge(Check::Body, Rule::Gate, result, |()| Vec::new())?;
        self.awaited = announced.then(|| Awaited::Signed(Box::new(hashing)));
        self.facts.body = announced.then_some(BodySeen::Awaited);
        Ok(())
    }

    /// Where the end of a call is not told, one that announces no body was judged as one that has none, and has to stay so where
    /// that matters: its signature covers no body, or no media type says that it is no form.
    pub(super) fn await_none(&mut self, endpoint: &Endpoint) {
        let Facts { policy, call, head, signature, .. } = &self.facts;
        let signed = signature.is_some() && !endpoint.streams && head.upgrade.count == 0;
        let untyped = endpoint.refuses_forms.is_some() && head.content_type.count == 0;
        let matters = policy.features.body == BodyCheck::Late && !policy.features.tells_end && call.end_of_stream;
        if matters && (signed || untyped) && self.awaited.is_none() {
            self.awaited = Some(Awaited::Nothing);
        }
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

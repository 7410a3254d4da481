//! A request that is held until its body has arrived.
//!
//! Everything that the head decides was decided before. The digest of the body, the limits and replay protection come after it,
//! so that a request whose body never arrives costs its caller nothing. Limits and replays are looked at before as well, so that
//! nothing is held that would be denied anyway.
//!
//! Where a gateway does not hold the head back, all of that is decided before it is forwarded, and the body is [checked
//! late](Late): none of it is forwarded before, so that the upstream sees the head of a request without its end.

use std::time::Duration;

use super::awaited::{Awaited, AwaitedBody};
use super::signature::body_rule;
use super::{Context, Evaluation, Step, Stop, decided};
use crate::decision::trace::{Check, Trace, Traced};
use crate::decision::{Allow, BodySeen, Decision, Denial, Deny, Facts, Grant, Rule};
use crate::policy::{BodyCheck, Endpoint};
use crate::quota::held::HeldBytes;
use crate::reason::Reason;
use crate::text::time::Timestamp;

/// Seconds after which a request may be sent again for which the bytes that are held left no room: others end at any time.
const RETRY_AFTER: u64 = 1;

/// A call that is held until its body has come.
#[derive(Debug)]
pub struct Hold<'a> {
    facts: Box<Facts<'a>>,
    observing: bool,
    body: AwaitedBody,
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
    pub(super) fn new(facts: Box<Facts<'a>>, observing: bool, body: AwaitedBody) -> Self {
        Self { facts, observing, body }
    }

    /// What was learnt about the call.
    #[must_use]
    pub fn facts(&self) -> &Facts<'a> {
        &self.facts
    }

    /// How many bytes of the body were taken.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.body.seen()
    }

    /// Takes the next part of the body.
    pub fn update(&mut self, part: &[u8]) -> Wait {
        self.body.update(part)
    }

    /// Lets a period of the host's timer pass. [`Wait::Ends`] says that the body takes too long, and that the request is to be
    /// [timed out](Hold::time_out). Observed, it only loses its ground: it stays held, and its record says why.
    pub fn elapse(&mut self, period: Duration) -> Wait {
        let overdue = self.body.elapse(period, &self.facts.policy.held_bodies);
        if overdue && self.observing && !self.facts.denied(Reason::BodyTimeout) {
            self.facts.denials.push(late(false));
        }
        if overdue && !self.observing { Wait::Ends } else { Wait::Goes }
    }

    /// Decides the call, now that its body has come. `now` is this moment: the body may have taken its time.
    pub fn finish(self, now: Timestamp, context: Context<'_>) -> Decision<'a> {
        let Self { mut facts, observing, body } = self;
        facts.call.now = facts.call.now.max(now);
        let mut evaluation = Evaluation::begin(&mut facts, context, observing);
        let ended = evaluation.resume(body.end());
        evaluation.conclude(&ended);
        decided(facts, ended)
    }

    /// What stands in the record of a call that ended before its body had come: a denial, since nothing of it went on. It costs
    /// its caller nothing, and can be sent again. `now` is this moment, where there still is a clock.
    pub fn abandon(self, now: Option<Timestamp>) -> Decision<'a> {
        let observing = self.observing;
        self.end(now, Denial { reason: Reason::BodyIncomplete, rule: Rule::Gate, enforced: !observing })
    }

    /// Denies a request whose body takes too long. Like one that its client abandoned, it uses nothing up.
    pub fn time_out(self, now: Option<Timestamp>) -> Decision<'a> {
        let enforced = !self.observing;
        self.end(now, late(enforced))
    }

    fn end(self, now: Option<Timestamp>, denial: Denial<'a>) -> Decision<'a> {
        let mut facts = self.facts;
        facts.call.now = now.map_or(facts.call.now, |now| facts.call.now.max(now));
        denied(facts, denial)
    }
}

/// The denial of a request whose body takes too long.
fn late<'a>(enforced: bool) -> Denial<'a> {
    Denial { reason: Reason::BodyTimeout, rule: body_rule(Some(&Reason::BodyTimeout)), enforced }
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
    body: AwaitedBody,
    /// Whether it was observed that the body takes too long.
    overdue: bool,
}

impl<'a> Late<'a> {
    /// What was decided about the head.
    pub fn decision(&self) -> &Decision<'a> {
        &self.decision
    }

    /// How many bytes of the body were taken.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.body.seen()
    }

    /// Takes the next part of the body.
    pub fn update(&mut self, part: &[u8]) -> Wait {
        self.body.update(part)
    }

    /// Lets a period of the host's timer pass, as [`Hold::elapse`] does.
    pub fn elapse(&mut self, period: Duration) -> Wait {
        let overdue = self.body.elapse(period, &self.decision.facts().policy.held_bodies);
        self.overdue |= overdue && self.observing;
        if overdue && !self.observing { Wait::Ends } else { Wait::Goes }
    }

    /// Denies a request whose body takes too long: its head was forwarded, and of its body nothing is.
    pub fn time_out(self) -> Decision<'a> {
        match self.decision {
            Decision::Allow(Allow { facts, .. }) => denied(facts, late(!self.observing)),
            decision @ Decision::Deny(_) => decision,
        }
    }

    /// Whether the body, which has come, may go on after the head.
    pub fn finish(self, trace: Option<&mut Trace>) -> Decision<'a> {
        let Decision::Allow(Allow { mut facts, mut grant }) = self.decision else { return self.decision };
        if self.overdue {
            facts.denials.push(late(false));
            grant = Grant::Observed;
        }
        let (seen, checked) = match self.body.end() {
            Ok(Awaited::Signed(hashing)) => (hashing.seen(), hashing.finish()),
            Ok(Awaited::Nothing(_)) => return Decision::Allow(Allow { facts, grant }),
            Err(reason) => (0, Err(reason)),
        };
        note_reason(&mut facts, checked.as_ref().err());
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
pub(super) fn go_on<'a>(decision: Decision<'a>, body: Option<AwaitedBody>, observing: bool) -> Step<'a> {
    match (decision, body) {
        (decision @ Decision::Allow(_), Some(body)) => Step::Late(Late { decision, observing, body, overdue: false }),
        (decision, _) => Step::Decided(decision),
    }
}

/// What else follows from the reason for which a body is not what it has to be.
fn note_reason(facts: &mut Facts<'_>, reason: Option<&Reason>) {
    match reason {
        // There is a body, so that the client is told to sign its digest.
        Some(Reason::ContentDigestMissing) => facts.body = Some(BodySeen::Unsigned),
        Some(Reason::HeldBytesFull) => facts.retry_after = Some(RETRY_AFTER),
        _ => {}
    }
}

impl Evaluation<'_, '_> {
    /// Charges the request with what is known of it. None where there is no room and that is only observed: such a request is
    /// forwarded without being held.
    pub(super) fn hold(&mut self, awaited: Awaited) -> Result<Option<AwaitedBody>, Stop> {
        let Facts { policy, call, signature, .. } = &self.facts;
        let headers = call.headers.bytes();
        let announced = self.facts.head.length().unwrap_or_default();
        let agent = signature.as_ref().and_then(|signature| policy.agents.get(signature.key.agent));
        let agent = (&*policy.name, agent.map_or("", |agent| &*agent.name));
        let bytes = headers.saturating_add(announced);
        let reserve = |held: &HeldBytes| held.reserve(agent, call.source, policy.held_bodies.shares, bytes);
        let Ok(reservation) = self.context.held.map(reserve).transpose() else {
            let full = Reason::HeldBytesFull;
            note_reason(self.facts, Some(&full));
            self.judge(Check::Body, body_rule(Some(&full)), Err::<(), _>(full), |()| Vec::new())?;
            return Ok(None);
        };
        Ok(Some(AwaitedBody::new(awaited, reservation, headers)))
    }

    /// The body is to be checked after the head went on. Where the end of a call is not told, an empty body never comes, and one
    /// that is chunked may turn out to be empty: then nobody would ask whether that is what was signed.
    pub(super) fn await_body(&mut self, awaited: Awaited) -> Result<(), Stop> {
        let Facts { policy, head, .. } = &self.facts;
        let announced = policy.features.tells_end || head.content_length.is_some() && !head.has_transfer_encoding;
        let result = if announced { Ok(()) } else { Err(Reason::BodyLengthMissing) };
        self.judge(Check::Body, Rule::Gate, result, |()| Vec::new())?;
        if announced {
            let signed = matches!(awaited, Awaited::Signed(_));
            self.awaited = self.hold(awaited)?;
            self.facts.body = self.awaited.as_ref().filter(|_| signed).map(|_| BodySeen::Awaited);
        }
        Ok(())
    }

    /// Where the end of a call is not told, one that announces no body was judged as one that has none, and has to stay so where
    /// that matters: its signature covers no body, or no media type says that it is no form.
    pub(super) fn await_none(&mut self, endpoint: &Endpoint) {
        let Facts { policy, call, head, signature, .. } = &self.facts;
        let signed = signature.is_some() && !endpoint.streams && head.upgrade.count == 0;
        let untyped = endpoint.rejected_bodies.is_some() && head.content_type.count == 0;
        let matters = policy.features.body == BodyCheck::Late && !policy.features.tells_end && call.end_of_stream;
        if matters && (signed || untyped) && self.awaited.is_none() {
            let nothing = Awaited::Nothing(Reason::BodyLengthMissing);
            self.awaited = Some(AwaitedBody::new(nothing, None, 0));
        }
    }

    fn resume(&mut self, body: Result<Awaited, Reason>) -> Result<Grant, Stop> {
        match body {
            Ok(Awaited::Signed(hashing)) => self.settle_body(Ok(*hashing))?,
            // Nothing came: it is a request without a body.
            Ok(Awaited::Nothing(_)) => self.facts.call.end_of_stream = true,
            Err(reason) => {
                note_reason(self.facts, Some(&reason));
                self.settle_body(Err(reason))?;
            }
        }
        // A signature that went stale meanwhile is forgotten by those who remember what was used.
        let stale = self.facts.signature.as_ref().is_some_and(|signature| self.facts.call.now >= signature.until);
        if stale {
            let expired = Err::<(), _>(Reason::SignatureExpired);
            self.judge(Check::Signature, Rule::Policy("signatures"), expired, |()| Vec::new())?;
        }
        self.finish()
    }
}

//! A request that waits for its body.
//!
//! Where a gateway holds the head back, everything that the head decides was decided before, and the digest of the body, the limits and
//! replay protection come after it: a request whose body never arrives costs its caller nothing. Limits and replays are checked before as
//! well, so that nothing is held that would be denied anyway.
//!
//! Where a gateway does not hold the head back, all of that is decided before it is forwarded, and the body alone is still to be
//! checked: none of it is forwarded before, so that the upstream sees the head of a request without its end.

use std::time::Duration;

use super::awaited::{Awaited, AwaitedBody};
use super::body::{body_rule, note_reason};
use super::{CheckDetails, Context, Evaluation, HeldEvaluation, decided};
use crate::decision::evidence::{CallerEvidence, FormEvidence};
use crate::decision::trace::{Check, Trace, Traced};
use crate::decision::{Allow, BodySeen, Decision, Denial, Deny, Facts, Grant, Rule};
use crate::reason::Reason;
use crate::text::time::Timestamp;

/// A request that is decided once something else has arrived: [`awaits`](Self::awaits) says what, [`forwards`](Self::forwards) whether its
/// head is forwarded meanwhile, and [`Engine::resume`](crate::Engine::resume) decides it.
#[derive(Debug)]
pub struct Pending<'a>(Box<Waiting<'a>>);

/// A request that waits. Few do, so that all others need not make room for it.
#[derive(Debug)]
struct Waiting<'a> {
    head: Head<'a>,
    observing: bool,
    body: AwaitedBody,
    /// Whether it was observed that the body takes too long.
    overdue: bool,
}

/// What becomes of the head meanwhile.
#[derive(Debug)]
enum Head<'a> {
    /// It is held. What it has shown is kept for the decision.
    Held { facts: Box<Facts<'a>>, form: FormEvidence, caller: CallerEvidence, denied_at: Option<Box<Facts<'a>>> },
    /// It is forwarded.
    Forwarded(Allow<'a>),
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Awaits {
    /// Its body, of which so many bytes were received.
    Body {
        /// Bytes received.
        received: u64,
    },
}

/// Whether a request needs more of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Need {
    /// It does.
    More,
    /// What arrived decides it.
    Nothing,
}

impl<'a> Pending<'a> {
    pub(super) fn held(facts: Box<Facts<'a>>, observing: bool, held: HeldEvaluation<'a>) -> Self {
        let HeldEvaluation { body, form, caller, denied_at } = held;
        let head = Head::Held { facts, form, caller, denied_at };
        Self(Box::new(Waiting { head, observing, body, overdue: false }))
    }

    pub(super) fn forwarded(allow: Allow<'a>, observing: bool, body: AwaitedBody) -> Self {
        Self(Box::new(Waiting { head: Head::Forwarded(allow), observing, body, overdue: false }))
    }

    /// What it waits for.
    #[must_use]
    pub fn awaits(&self) -> Awaits {
        Awaits::Body { received: self.0.body.seen() }
    }

    /// The decision about the head, where it is forwarded before the body was checked; none where it is held.
    #[must_use]
    pub fn forwards(&self) -> Option<&Allow<'a>> {
        match &self.0.head {
            Head::Held { .. } => None,
            Head::Forwarded(allow) => Some(allow),
        }
    }

    /// What was learned about the request.
    #[must_use]
    pub fn facts(&self) -> &Facts<'a> {
        match &self.0.head {
            Head::Held { facts, .. } => facts,
            Head::Forwarded(allow) => &allow.facts,
        }
    }

    /// Takes the next part of the body.
    pub fn receive(&mut self, part: &[u8]) -> Need {
        self.0.body.update(part)
    }

    /// Lets a period of the host's timer pass. [`Need::Nothing`] says that the body takes too long, and that the request is to be
    /// [timed out](Self::time_out). In observation it only loses its ground: it keeps waiting, and its record says why.
    pub fn elapse(&mut self, period: Duration) -> Need {
        let bounds = &self.facts().policy.held_bodies;
        let overdue = self.0.body.elapse(period, bounds);
        self.0.overdue |= overdue;
        if overdue && !self.0.observing { Need::Nothing } else { Need::More }
    }

    /// Denies a request whose body takes too long. Like one that its client abandoned, it uses nothing up. `now` is this moment, where
    /// there still is a clock.
    pub fn time_out(self, now: Option<Timestamp>) -> Decision<'a> {
        let denial = overdue(!self.0.observing);
        match self.0.head {
            Head::Held { facts, .. } => denied(at(facts, now), denial),
            Head::Forwarded(allow) => denied(allow.facts, denial),
        }
    }

    /// What is recorded of a request that ended before its body had arrived: a denial where its head was held, since nothing of it was
    /// forwarded, and otherwise what was decided about the head. `now` is this moment, where there still is a clock.
    pub fn abandon(self, now: Option<Timestamp>) -> Decision<'a> {
        let enforced = !self.0.observing;
        match self.0.head {
            Head::Held { mut facts, .. } => {
                self.0.overdue.then(|| note_overdue(&mut facts));
                denied(at(facts, now), Denial { reason: Reason::BodyIncomplete, rule: Rule::Gate, enforced })
            }
            Head::Forwarded(allow) => Decision::Allow(allow),
        }
    }

    /// Decides the request, now that its body has arrived. `now` is this moment: the body may have taken its time.
    pub(super) fn resume(self, now: Timestamp, context: Context<'_>) -> Decision<'a> {
        let Waiting { head, observing, body, overdue } = *self.0;
        match head {
            Head::Forwarded(allow) => check_body(allow, body, observing, overdue, context.trace),
            Head::Held { mut facts, form, caller, denied_at } => {
                if overdue {
                    note_overdue(&mut facts);
                }
                facts.request.now = facts.request.now.max(now);
                let mut evaluation = Evaluation::begin(&mut facts, context, observing);
                evaluation.denied_at = denied_at;
                let ended = evaluation.resume(body.end(), form, caller);
                evaluation.conclude(&ended);
                decided(facts, ended)
            }
        }
    }
}

/// The denial of a request whose body takes too long.
fn overdue<'a>(enforced: bool) -> Denial<'a> {
    Denial { reason: Reason::BodyTimeout, rule: body_rule(Some(&Reason::BodyTimeout)), enforced }
}

/// Notes that it was observed that the body takes too long.
fn note_overdue(facts: &mut Facts<'_>) {
    facts.denials.push(overdue(false));
}

fn at<'a>(mut facts: Box<Facts<'a>>, now: Option<Timestamp>) -> Box<Facts<'a>> {
    facts.request.now = now.map_or(facts.request.now, |now| facts.request.now.max(now));
    facts
}

/// What becomes of a request that its body denies.
fn denied<'a>(mut facts: Box<Facts<'a>>, denial: Denial<'a>) -> Decision<'a> {
    facts.denials.push(denial);
    if denial.enforced {
        Decision::Deny(Deny { facts, denial })
    } else {
        Decision::Allow(Allow { facts, grant: Grant::Observed })
    }
}

/// Whether the body, which has arrived, is forwarded after the head.
fn check_body<'a>(
    allow: Allow<'a>,
    body: AwaitedBody,
    observing: bool,
    overdue: bool,
    trace: Option<&mut Trace>,
) -> Decision<'a> {
    let Allow { mut facts, mut grant } = allow;
    if overdue {
        note_overdue(&mut facts);
        grant = Grant::Observed;
    }
    let (seen, checked) = match body.end() {
        Ok(Awaited::Signed(hashing)) => (hashing.seen(), hashing.finish()),
        Ok(Awaited::Nothing(_)) => return Decision::Allow(Allow { facts, grant }),
        Err(reason) => (0, Err(reason)),
    };
    note_reason(&mut facts, checked.as_ref().err());
    let rule = body_rule(checked.as_ref().err());
    if let Some(trace) = trace {
        let facts = if checked.is_ok() { vec![("bytes", seen.to_string())] } else { CheckDetails::new() };
        trace.push(Traced { check: Check::Body, denied: checked.err(), rule: rule.to_string(), facts });
    }
    let Err(reason) = checked else {
        facts.body = Some(BodySeen::CheckedLate);
        return Decision::Allow(Allow { facts, grant });
    };
    denied(facts, Denial { reason, rule, enforced: !observing })
}

//! A request that waits for its body.
//!
//! If the gateway can hold the headers back, the checks that need only the headers run first. The digest and the content of the body,
//! the limits and replay protection are checked when the body has arrived, because a request whose body never arrives must not cost
//! its caller anything. Limits and replays are also checked before the request is held, because bytes must not be held for a
//! request that would be denied anyway.
//!
//! If the gateway cannot hold the headers back, all of these checks run before the headers are forwarded, and only the body
//! remains. The body is forwarded only after it was checked. If it is rejected, the upstream has received the headers of a
//! request that never ends.

use std::time::Duration;

use super::awaited::{Awaited, AwaitedBody};
use super::body::{body_rule, note_reason};
use super::content::ExpectedContent;
use super::keys::KeyWait;
use super::revocation::{Refused, revoked_since};
use super::{CheckDetails, Context, Evaluation, HeldEvaluation, decided};
use crate::decision::evidence::{CallerEvidence, FormEvidence};
use crate::decision::trace::{Check, Traced};
use crate::decision::{Allow, BodySeen, Decision, Denial, Deny, Facts, Grant, Rule};
use crate::reason::Reason;
use crate::text::time::Timestamp;

/// A request that cannot be decided yet. [`awaits`](Self::awaits) returns what is missing.
///
/// - If that is the body, [`forwards`](Self::forwards) returns whether the headers are forwarded in the meantime, and
///   [`Engine::resume`](crate::Engine::resume) decides the request.
/// - If that is keys, nothing is forwarded in the meantime, and [`Engine::retry`](crate::Engine::retry) evaluates the request again.
#[derive(Debug)]
pub struct Pending<'a>(Box<Waiting<'a>>);

/// The state of a waiting request. It is boxed because few requests wait, and the others should not reserve space for it.
#[derive(Debug)]
enum Waiting<'a> {
    Body(BodyWait<'a>),
    Keys {
        facts: Box<Facts<'a>>,
        wait: Box<KeyWait>,
        /// Whether the body that arrived meanwhile exceeds the bytes that may be held.
        is_full: bool,
    },
}

/// The state of a request that waits for its body.
#[derive(Debug)]
struct BodyWait<'a> {
    head: Head<'a>,
    observing: bool,
    body: Box<AwaitedBody>,
    /// Whether the body took too long and that was only observed.
    overdue: bool,
}

/// What happens to the headers while the body arrives.
#[derive(Debug)]
enum Head<'a> {
    /// They are held. The results of their checks are kept for the decision.
    Held {
        facts: Box<Facts<'a>>,
        expected: ExpectedContent<'a>,
        form: FormEvidence,
        caller: CallerEvidence,
        denied_at: Option<Box<Facts<'a>>>,
    },
    /// They are forwarded.
    Forwarded(Allow<'a>),
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Awaits {
    /// The rest of its body.
    Body {
        /// Bytes received so far.
        received: u64,
    },
    /// The keys of its token's issuer, or the list of revoked credentials.
    Keys,
}

/// Whether a request needs more of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Need {
    /// More of the body is needed.
    More,
    /// The bytes that arrived are enough to decide the request.
    Nothing,
}

impl<'a> Pending<'a> {
    pub(super) fn held(facts: Box<Facts<'a>>, observing: bool, held: HeldEvaluation<'a>) -> Self {
        let HeldEvaluation { body, expected, form, caller, denied_at } = held;
        let head = Head::Held { facts, expected, form, caller, denied_at };
        Self(Box::new(Waiting::Body(BodyWait { head, observing, body, overdue: false })))
    }

    pub(super) fn forwarded(allow: Allow<'a>, observing: bool, body: Box<AwaitedBody>) -> Self {
        Self(Box::new(Waiting::Body(BodyWait { head: Head::Forwarded(allow), observing, body, overdue: false })))
    }

    pub(super) fn for_keys(facts: Box<Facts<'a>>, wait: Box<KeyWait>) -> Self {
        Self(Box::new(Waiting::Keys { facts, wait, is_full: false }))
    }

    /// Returns what the request waits for.
    #[must_use]
    pub fn awaits(&self) -> Awaits {
        match &*self.0 {
            Waiting::Body(wait) => Awaits::Body { received: wait.body.seen() },
            Waiting::Keys { .. } => Awaits::Keys,
        }
    }

    /// Returns the decision about the headers if they are forwarded before the body is checked. `None` if they are held.
    #[must_use]
    pub fn forwards(&self) -> Option<&Allow<'a>> {
        match &*self.0 {
            Waiting::Body(BodyWait { head: Head::Forwarded(allow), .. }) => Some(allow),
            Waiting::Body(BodyWait { head: Head::Held { .. }, .. }) | Waiting::Keys { .. } => None,
        }
    }

    /// Returns what is known about the request.
    #[must_use]
    pub fn facts(&self) -> &Facts<'a> {
        match &*self.0 {
            Waiting::Body(BodyWait { head: Head::Held { facts, .. }, .. }) | Waiting::Keys { facts, .. } => facts,
            Waiting::Body(BodyWait { head: Head::Forwarded(allow), .. }) => &allow.facts,
        }
    }

    /// Processes the next chunk of the body, if the request waits for it.
    pub fn receive(&mut self, part: &[u8]) -> Need {
        match &mut *self.0 {
            Waiting::Body(wait) => wait.body.update(part),
            Waiting::Keys { .. } => Need::More,
        }
    }

    /// Records that the host holds this many bytes of the body while the request waits for keys. [`Need::Nothing`] means that they
    /// are too many, and that the request must be evaluated again, which denies it.
    pub fn buffered(&mut self, bytes: u64) -> Need {
        let Waiting::Keys { wait, is_full, .. } = &mut *self.0 else { return Need::More };
        let bytes = wait.headers.saturating_add(bytes);
        *is_full |= wait.reservation.as_mut().is_some_and(|held| held.grow_to(bytes).is_err());
        if *is_full { Need::Nothing } else { Need::More }
    }

    /// Records that a period of the host's timer has passed. [`Need::Nothing`] means that the body takes too long and that the
    /// caller must [time out](Self::time_out) the request. In observation the request continues to wait, and its record
    /// contains the denial.
    pub fn elapse(&mut self, period: Duration) -> Need {
        let bounds = &self.facts().policy.held_bodies;
        let Waiting::Body(wait) = &mut *self.0 else { return Need::More };
        let overdue = wait.body.elapse(period, bounds);
        wait.overdue |= overdue;
        if overdue && !wait.observing { Need::Nothing } else { Need::More }
    }

    /// Denies a request whose body takes too long. Like an abandoned request, it consumes no quota and reserves nothing. `now`
    /// is the current time, or `None` if no clock is available.
    pub fn time_out(self, now: Option<Timestamp>) -> Decision<'a> {
        match *self.0 {
            Waiting::Keys { facts, wait, .. } => without_keys(at(facts, now), &wait),
            Waiting::Body(BodyWait { head, observing, .. }) => {
                let denial = overdue(!observing);
                match head {
                    Head::Held { facts, .. } => denied(at(facts, now), denial),
                    Head::Forwarded(allow) => denied(allow.facts, denial),
                }
            }
        }
    }

    /// Returns the decision to record for a request that ended before it was decided. If the headers were held, that is a
    /// denial, because nothing was forwarded. Otherwise it is the decision about the headers. `now` is the current time, or
    /// `None` if no clock is available.
    pub fn abandon(self, now: Option<Timestamp>) -> Decision<'a> {
        match *self.0 {
            Waiting::Keys { facts, wait, .. } => without_keys(at(facts, now), &wait),
            Waiting::Body(BodyWait { head, observing, overdue, .. }) => match head {
                Head::Held { mut facts, .. } => {
                    overdue.then(|| note_overdue(&mut facts));
                    let enforced = !observing;
                    denied(at(facts, now), Denial { reason: Reason::BodyIncomplete, rule: Rule::Gate, enforced })
                }
                Head::Forwarded(allow) => Decision::Allow(allow),
            },
        }
    }

    /// Returns the request and its wait for keys, and whether its body exceeds the bytes that may be held. `None` if it waits for its
    /// body.
    pub(super) fn into_key_wait(self) -> Result<(Box<Facts<'a>>, Box<KeyWait>, bool), Self> {
        match *self.0 {
            Waiting::Keys { facts, wait, is_full } => Ok((facts, wait, is_full)),
            body @ Waiting::Body(_) => Err(Self(Box::new(body))),
        }
    }

    /// Returns the wait for keys.
    pub(super) fn key_wait(&self) -> Option<(&KeyWait, bool)> {
        match &*self.0 {
            Waiting::Keys { wait, is_full, .. } => Some((wait, *is_full)),
            Waiting::Body(_) => None,
        }
    }

    /// Decides the request after its body has arrived. `now` is the current time, which may be much later than the start of the
    /// request.
    pub(super) fn resume(self, now: Timestamp, context: Context<'_>) -> Decision<'a> {
        let BodyWait { head, observing, body, overdue } = match *self.0 {
            Waiting::Body(wait) => wait,
            // Such a request is evaluated again instead. Here it is denied.
            Waiting::Keys { facts, wait, .. } => return without_keys(at(facts, Some(now)), &wait),
        };
        match head {
            Head::Forwarded(allow) => {
                let late = LateBody { body: *body, observing, overdue, now };
                check_body(allow, late, context)
            }
            Head::Held { mut facts, expected, form, caller, denied_at } => {
                if overdue {
                    note_overdue(&mut facts);
                }
                facts.request.now = facts.request.now.max(now);
                let mut evaluation = Evaluation::begin(&mut facts, context, observing);
                evaluation.denied_at = denied_at;
                let ended = evaluation.resume(body.end(), expected, form, caller);
                evaluation.conclude(&ended);
                decided(facts, ended)
            }
        }
    }
}

/// Denies a request whose keys, or whose list of revoked credentials, have not arrived.
fn without_keys<'a>(facts: Box<Facts<'a>>, wait: &KeyWait) -> Decision<'a> {
    let policy = facts.policy;
    let (reason, rule) = wait.needs.denial(policy);
    denied(facts, Denial { reason, rule, enforced: true })
}

/// Denies a request whose body exceeds the bytes that may be held while it waits for keys.
pub(super) fn held_bytes_full(mut facts: Box<Facts<'_>>) -> Decision<'_> {
    let reason = Reason::HeldBytesFull;
    note_reason(&mut facts, Some(&reason));
    denied(facts, Denial { reason, rule: body_rule(Some(&reason)), enforced: true })
}

/// Returns the denial of a request whose body takes too long.
fn overdue<'a>(enforced: bool) -> Denial<'a> {
    Denial { reason: Reason::BodyTimeout, rule: body_rule(Some(&Reason::BodyTimeout)), enforced }
}

/// Records an observed denial for a body that takes too long.
fn note_overdue(facts: &mut Facts<'_>) {
    facts.denials.push(overdue(false));
}

fn at<'a>(mut facts: Box<Facts<'a>>, now: Option<Timestamp>) -> Box<Facts<'a>> {
    facts.request.now = now.map_or(facts.request.now, |now| facts.request.now.max(now));
    facts
}

/// Adds the denial, and returns the decision that follows from it.
fn denied<'a>(mut facts: Box<Facts<'a>>, denial: Denial<'a>) -> Decision<'a> {
    facts.denials.push(denial);
    if denial.enforced {
        Decision::Deny(Deny { facts, denial })
    } else {
        Decision::Allow(Allow { facts, grant: Grant::Observed })
    }
}

/// A body that has arrived after the headers were forwarded.
struct LateBody {
    body: AwaitedBody,
    observing: bool,
    overdue: bool,
    now: Timestamp,
}

/// Checks the body after the headers were forwarded, and decides whether it is forwarded as well.
fn check_body<'a>(allow: Allow<'a>, late: LateBody, mut context: Context<'_>) -> Decision<'a> {
    let LateBody { body, observing, overdue, now } = late;
    let Allow { mut facts, mut grant } = allow;
    if overdue {
        note_overdue(&mut facts);
        grant = Grant::Observed;
    }
    let (seen, checked) = match body.end() {
        Ok(Awaited::Signed(hashing)) => (hashing.seen(), hashing.finish()),
        Ok(Awaited::Nothing(_)) => return still_allowed(Allow { facts, grant }, observing, now, context),
        // INVARIANT: a policy in which the content of bodies decides does not compile for a gateway that forwards the headers first.
        Ok(Awaited::Kept(_)) => (0, Err(Reason::HostError)),
        Err(reason) => (0, Err(reason)),
    };
    note_reason(&mut facts, checked.as_ref().err());
    let rule = body_rule(checked.as_ref().err());
    if let Some(trace) = &mut context.trace {
        let facts = if checked.is_ok() { vec![("bytes", seen.to_string())] } else { CheckDetails::new() };
        trace.push(Traced { check: Check::Body, denied: checked.err(), rule: rule.to_string(), facts });
    }
    let Err(reason) = checked else {
        facts.body = Some(BodySeen::CheckedLate);
        return still_allowed(Allow { facts, grant }, observing, now, context);
    };
    denied(facts, Denial { reason, rule, enforced: !observing })
}

/// Denies a request whose credentials were revoked while its body arrived. The rest of the body is not forwarded.
fn still_allowed<'a>(allow: Allow<'a>, observing: bool, now: Timestamp, context: Context<'_>) -> Decision<'a> {
    let Allow { mut facts, grant } = allow;
    let now = facts.request.now.max(now);
    let Err(Refused { reason, rule, why }) = revoked_since(&facts, &context, now) else {
        return Decision::Allow(Allow { facts, grant });
    };
    if let Some(trace) = context.trace {
        let (rule, facts) = (rule.to_string(), CheckDetails::new());
        trace.push(Traced { check: Check::Revocation, denied: Some(reason), rule, facts });
    }
    facts.revoked = why.or_else(|| facts.revoked.take());
    note_reason(&mut facts, Some(&reason));
    denied(facts, Denial { reason, rule, enforced: !observing })
}

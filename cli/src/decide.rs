//! One call, decided as if nothing had come before it: every limit at rest, and nothing used up.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;

use callgate::{Decision, DecisionId, Engine, Headers, Outcome, Policy, Request, Services, Source, Timestamp, Trace};

/// What follows the headers of a call.
#[derive(Clone, Copy)]
pub(crate) enum Body<'a> {
    /// Nothing.
    None,
    /// Something that nobody has.
    Unknown,
    /// This.
    Known(&'a [u8]),
}

/// A call, and the policy that decides about it.
pub(crate) struct Asked<'a> {
    pub(crate) policy: &'a Arc<Policy>,
    /// All lines, pseudo-headers first.
    pub(crate) headers: &'a Headers,
    pub(crate) body: Body<'a>,
    pub(crate) source: Option<Source>,
    /// Seconds since 1970.
    pub(crate) time: u64,
}

/// Decides about the call and hands the decision over; none where it rests on a body that nobody has.
pub(crate) fn decide<T>(
    asked: &Asked<'_>,
    mut trace: Option<&mut Trace>,
    then: impl FnOnce(&Decision<'_>, Option<&mut Trace>) -> T,
) -> Option<T> {
    let now = Timestamp::from_secs(asked.time);
    let request = Request {
        headers: asked.headers,
        end_of_stream: matches!(asked.body, Body::None | Body::Known([])),
        source: asked.source,
        now,
        id: DecisionId(u128::from(RandomState::new().build_hasher().finish())),
    };
    let clock = Rc::new(Cell::new(Timestamp::from_secs(0)));
    // One request has nothing to remember a token for.
    let services = Services { token_cache: 0, ..Services::in_memory(Rc::clone(&clock), [0; 16]) };
    let engine = Engine::new(Arc::clone(asked.policy), services);
    // A table of what was used that has always been there.
    engine.open().ok()?;
    clock.set(now);
    let outcome = match trace.as_deref_mut() {
        Some(trace) => engine.explain(request, trace),
        None => engine.decide(request),
    };
    let decision = match outcome.ok()? {
        Outcome::Decided(decision) => decision,
        Outcome::Pending(mut pending) => {
            let Body::Known(body) = asked.body else { return None };
            let _ = pending.receive(body);
            let decision = match trace.as_deref_mut() {
                Some(trace) => engine.resume_explained(pending, now, trace),
                None => engine.resume(pending, now),
            };
            decision.ok()?
        }
    };
    Some(then(&decision, trace))
}

//! Decides one request as if it were the first: all limits are unused, and nothing counts as a replay.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;

use callgate::{
    ClientCertificate, Decision, DecisionId, Engine, Headers, Outcome, Policy, Request, Services, Source, Timestamp,
    Trace,
};

/// The body of a request.
#[derive(Clone, Copy)]
pub(crate) enum Body<'a> {
    /// No body.
    None,
    /// A body whose content is not available.
    Unknown,
    /// A body with this content.
    Known(&'a [u8]),
}

/// A request, and the policy that decides it.
pub(crate) struct Asked<'a> {
    pub(crate) policy: &'a Arc<Policy>,
    /// All lines, pseudo-headers first.
    pub(crate) headers: &'a Headers,
    pub(crate) body: Body<'a>,
    pub(crate) source: Option<Source>,
    /// The certificate that the client presents.
    pub(crate) certificate: Option<&'a ClientCertificate>,
    /// Seconds since 1970.
    pub(crate) time: u64,
    /// The key sets of issuers whose keys are fetched, by the issuer's name in the policy.
    pub(crate) keys: &'a [(String, Vec<u8>)],
    /// The list of revoked credentials that the gate fetches.
    pub(crate) revocations: Option<&'a [u8]>,
}

/// Why a request cannot be decided.
pub(crate) enum Undecidable {
    /// The decision depends on a body that is not available.
    Body,
    /// A key set cannot be used. The message names its issuer.
    Keys(String),
    /// The list of revoked credentials cannot be used.
    Revocations(String),
}

/// Decides the request and passes the decision to `then`.
pub(crate) fn decide<T>(
    asked: &Asked<'_>,
    mut trace: Option<&mut Trace>,
    then: impl FnOnce(&Decision<'_>, Option<&mut Trace>) -> T,
) -> Result<T, Undecidable> {
    let now = Timestamp::from_secs(asked.time);
    let request = Request {
        headers: asked.headers,
        end_of_stream: matches!(asked.body, Body::None | Body::Known([])),
        source: asked.source,
        certificate: asked.certificate,
        now,
        id: DecisionId(u128::from(RandomState::new().build_hasher().finish())),
    };
    let clock = Rc::new(Cell::new(Timestamp::from_secs(0)));
    // Caching a token is useless for a single request.
    let services = Services { token_cache: 0, ..Services::in_memory(Rc::clone(&clock), [0; 16]) };
    let engine = Engine::new(Arc::clone(asked.policy), services);
    // The replay table is opened while the clock is at zero, so it counts as having always existed.
    engine.open().map_err(|_| Undecidable::Body)?;
    clock.set(now);
    for (issuer, set) in asked.keys {
        engine.provide_keys(issuer, set).map_err(|problem| Undecidable::Keys(format!("{issuer}: {problem}")))?;
    }
    if let Some(list) = asked.revocations {
        engine.provide_revocations(Some(list)).map_err(Undecidable::Revocations)?;
    }
    let outcome = match trace.as_deref_mut() {
        Some(trace) => engine.explain(request, trace),
        None => engine.decide(request),
    };
    let decision = match outcome.map_err(|_| Undecidable::Body)? {
        Outcome::Decided(decision) => decision,
        Outcome::Pending(mut pending) => match asked.body {
            Body::Known(body) => {
                let _ = pending.receive(body);
                let decision = match trace.as_deref_mut() {
                    Some(trace) => engine.resume_explained(pending, now, trace),
                    None => engine.resume(pending, now),
                };
                decision.map_err(|_| Undecidable::Body)?
            }
            Body::None | Body::Unknown if pending.forwards().is_some() => return Err(Undecidable::Body),
            // An explanation continues after a denial, so the headers may deny even a request whose body is awaited.
            Body::None | Body::Unknown => match engine.decide(request).map_err(|_| Undecidable::Body)? {
                Outcome::Decided(decision) => decision,
                Outcome::Pending(_) => return Err(Undecidable::Body),
            },
        },
    };
    Ok(then(&decision, trace))
}

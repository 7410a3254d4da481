//! One call, decided as if nothing had come before it: every limit at rest, and nothing used up.

use std::hash::{BuildHasher, Hasher, RandomState};

use callgate::identity::crypto::SoftwareVerifier;
use callgate::identity::token::TokenCache;
use callgate::state::MemoryStore;
use callgate::{
    Call, Context, Decision, DecisionId, Headers, Policy, PolicyState, Recent, Source, Step, Timestamp, Trace, evaluate,
};

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
    pub(crate) policy: &'a Policy,
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
    let call = Call {
        headers: asked.headers,
        end_of_stream: matches!(asked.body, Body::None | Body::Known([])),
        source: asked.source,
        now,
        id: DecisionId(u128::from(RandomState::new().build_hasher().finish())),
    };
    let mut cache = TokenCache::new(0);
    let store = MemoryStore::default();
    // A table of what was used that has always been there.
    let opened = PolicyState::open(asked.policy, &store, &Timestamp::from_secs(0), [0; 16]).ok().flatten();
    let state = opened.map(|opened| opened.state);
    let own = state.as_ref().map(|state| state.store(&store));
    let shared = state.as_ref().zip(own.as_ref()).map(|(state, store)| state.shared(store, &now));
    let mut context = Context {
        verifier: &SoftwareVerifier,
        cache: &mut cache,
        recent: &Recent::default(),
        shared,
        replay: state.as_ref().and_then(PolicyState::replay),
        held: None,
        trace: trace.as_deref_mut(),
    };
    let decision = match evaluate(asked.policy, call, context.again()) {
        Step::Decided(decision) => decision,
        Step::Hold(mut hold) => {
            let Body::Known(body) = asked.body else { return None };
            hold.update(body);
            hold.finish(now, context)
        }
        Step::Late(mut late) => {
            let Body::Known(body) = asked.body else { return None };
            late.update(body);
            late.finish(context.trace)
        }
    };
    Some(then(&decision, trace))
}

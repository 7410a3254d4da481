//! Runs cases against the engine as it is linked in here: no gateway, no wasm, no clock.

use std::collections::BTreeMap;

use callgate::document::{Findings, Place};
use callgate::identity::crypto::SoftwareVerifier;
use callgate::identity::token::{SecretLookup, Secrets, TokenCache};
use callgate::state::MemoryStore;
use callgate::text::time::Timestamp;
use callgate::{
    Answer, Change, Context, Decision, DecisionId, Headers, PolicyState, Recent, Source, Step, Wait, evaluate,
};
use serde_json::Value;

use super::judge::{End, Seen, differences};
use super::{Call, Policy, Suite};
use crate::diagnostic::Diagnostics;
use crate::document;

/// How a case ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The case, by its position in the suite.
    pub case: usize,
    /// Every way in which it came out otherwise than it expects; none when it passed.
    pub differences: Vec<String>,
}

/// Runs every case of a suite.
///
/// # Errors
/// Everything that is wrong with the policy, where it does not compile.
pub fn run(suite: &Suite) -> Result<Vec<Outcome>, Diagnostics> {
    let policies = compile(suite)?;
    let outcome = |index| Some(Outcome { case: index, differences: one(suite, &policies, index)? });
    Ok((0..suite.cases.len()).filter_map(outcome).collect())
}

/// The differences of one case, and of those that come before it, decided by the suite's compiled policies; none for a case that is
/// not there.
#[must_use]
pub fn one(suite: &Suite, policies: &[callgate::Policy], index: usize) -> Option<Vec<String>> {
    one_as(suite, policies, index, |call| call)
}

/// The same, of requests as a gateway's server hands them on.
#[must_use]
pub fn one_as(
    suite: &Suite,
    policies: &[callgate::Policy],
    index: usize,
    received: impl Fn(Call) -> Call,
) -> Option<Vec<String>> {
    let case = suite.cases.get(index)?;
    let mut gate = Gate::new(policies.get(case.policy)?);
    let mut differences = Vec::new();
    // Earlier requests are decided by the same gate, so that what it remembers of them is there.
    for index in case.before.iter().chain([&index]) {
        let (case, policy) = (suite.cases.get(*index)?, suite.policies.get(case.policy)?);
        let call = received(case.call(suite.now));
        let seen = gate.decide(&call, case.at.from(suite.now));
        differences.extend(self::differences(case, policy, &gate.policy.version, &call, &seen));
    }
    Some(differences)
}

/// A case's request and what the engine did with it, after those that come before it; none for a case that is not there.
#[must_use]
pub fn seen(suite: &Suite, policies: &[callgate::Policy], index: usize) -> Option<(Call, Seen)> {
    let case = suite.cases.get(index)?;
    let mut gate = Gate::new(policies.get(case.policy)?);
    let cases = case.before.iter().chain([&index]).filter_map(|index| suite.cases.get(*index));
    cases.map(|case| (case, case.call(suite.now))).fold(None, |_, (case, call)| {
        let seen = gate.decide(&call, case.at.from(suite.now));
        Some((call, seen))
    })
}

/// The policies of a suite, ready to decide, in its order.
///
/// # Errors
/// Everything that is wrong with the first that does not compile.
pub fn compile(suite: &Suite) -> Result<Vec<callgate::Policy>, Diagnostics> {
    let compiled = |policy: &Policy| {
        callgate::Policy::from_value(policy.document.clone(), &Environment(&suite.environment))
            .map(|compiled| compiled.policy)
            .map_err(|findings| wrong(suite, policy, &findings))
    };
    suite.policies.iter().map(compiled).collect()
}

/// What is wrong with a policy: with its line where the document is a file's, at the variant where it is a patched one.
fn wrong(suite: &Suite, policy: &Policy, findings: &Findings) -> Diagnostics {
    let file = policy.origin.as_ref().filter(|_| policy.name.is_none());
    let read = match file {
        Some(origin) => document::read(origin),
        None => document::read(&suite.file),
    };
    let document = match read {
        Ok(document) => document,
        Err(unreadable) => return unreadable,
    };
    let errors = findings.errors.iter().map(|finding| match (file, &policy.name) {
        (Some(_), _) => document.error(&finding.place, &*finding.message),
        (None, Some(name)) => document.error(&Place::root().field("variants").field(name), format!("{finding}")),
        (None, None) => document.error(&Place::root().field("policy"), format!("{finding}")),
    });
    Diagnostics::wrong(errors.collect())
}

/// The variables that a file of cases names, in the place of the process's own.
struct Environment<'e>(&'e BTreeMap<String, String>);

impl Secrets for Environment<'_> {
    fn resolve(&self, name: &str) -> SecretLookup {
        self.0.get(name).map_or(SecretLookup::Missing, |value| SecretLookup::Found(value.as_bytes().to_vec()))
    }
}

/// A policy and what it remembers between calls.
struct Gate<'g> {
    policy: &'g callgate::Policy,
    cache: TokenCache,
    recent: Recent,
    store: MemoryStore,
    state: Option<PolicyState>,
    decided: u128,
}

impl<'g> Gate<'g> {
    fn new(policy: &'g callgate::Policy) -> Self {
        let store = MemoryStore::default();
        // Nothing stands in an empty store yet that could be in the way.
        let opened = PolicyState::open(policy, &store, &Timestamp::from_secs(0), [0; 16]).ok().flatten();
        let state = opened.map(|opened| opened.state);
        Self { policy, cache: TokenCache::default(), recent: Recent::default(), store, state, decided: 0 }
    }

    fn decide(&mut self, call: &Call, now: Timestamp) -> Seen {
        let lines = call.all_lines();
        let headers: Headers = lines.iter().map(|(name, value)| (name, value)).collect();
        self.decided += 1;
        let shown = callgate::Call {
            headers: &headers,
            end_of_stream: call.end_of_stream,
            source: call.source.as_deref().and_then(|source| Source::parse(source.as_bytes())),
            now,
            id: DecisionId(self.decided),
        };
        let later = call.slow.from(now);
        let state = self.state.as_ref();
        let store = state.map(|state| state.store(&self.store));
        let shared = |clock| state.zip(store.as_ref()).map(|(state, store)| state.shared(store, clock));
        let mut context = Context {
            verifier: &SoftwareVerifier,
            cache: &mut self.cache,
            recent: &self.recent,
            shared: shared(&now),
            replay: state.and_then(PolicyState::replay),
            held: None,
            trace: None,
        };
        // What goes on before its body has come goes on as its head was decided.
        let mut gone = None;
        let decision = match evaluate(self.policy, shown, context.again()) {
            Step::Decided(decision) => decision,
            Step::Hold(mut hold) => {
                // As a gateway does, the rest is not read where it changes nothing.
                let _ = call.body.iter().any(|part| hold.update(part) == Wait::Ends);
                context.shared = shared(&later);
                hold.finish(later, context)
            }
            Step::Late(mut late) => {
                if let Decision::Allow(allow) = late.decision() {
                    gone = Some(changed(lines.clone(), &allow.changes()));
                }
                let _ = call.body.iter().any(|part| late.update(part) == Wait::Ends);
                late.finish(None)
            }
        };
        let record: Value = serde_json::from_slice(&decision.record().to_json()).unwrap_or_default();
        let end = match &decision {
            Decision::Deny(deny) => answered(deny.answer()),
            Decision::Allow(allow) => {
                End::Forwarded { lines: gone.unwrap_or_else(|| changed(lines.clone(), &allow.changes())) }
            }
        };
        Seen { record, end }
    }
}

/// An answer as the client sees it.
fn answered(answer: Answer) -> End {
    let mut headers: Vec<(String, Vec<u8>)> =
        answer.headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect();
    let details = Some(answer.details);
    match answer.grpc_status {
        None => End::Answered { status: answer.status, headers, body: answer.body.into_bytes(), details },
        Some(grpc_status) => {
            // As a gateway tells a gRPC client.
            headers.push(("grpc-status".to_owned(), grpc_status.to_string().into_bytes()));
            headers.push(("grpc-message".to_owned(), answer.body.into_bytes()));
            End::Answered { status: 200, headers, body: Vec::new(), details }
        }
    }
}

/// The lines after the changes, made as a gateway makes them.
fn changed(mut lines: Vec<(Vec<u8>, Vec<u8>)>, changes: &[Change<'_>]) -> Vec<(Vec<u8>, Vec<u8>)> {
    for change in changes {
        match change {
            // What a gateway cannot remove arrives with an empty value, and counts as removed.
            Change::Remove(name) | Change::Clear(name) => lines.retain(|(own, _)| own != name),
            Change::Set(name, value) => {
                lines.retain(|(own, _)| !own.eq_ignore_ascii_case(name.as_bytes()));
                lines.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
            }
            Change::Add(name, value) => lines.push((name.as_bytes().to_vec(), value.as_bytes().to_vec())),
        }
    }
    lines
}

//! Runs cases against the linked engine: without a gateway, without wasm and without a real clock.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use callgate::document::{Findings, Place};
use callgate::state::StoreError;
use callgate::text::monotonic::Monotonic;
use callgate::{
    Answer, Awaits, Change, ClientCertificate, Clock, Decision, DecisionId, Engine, Headers, Need, Outcome, Request,
    Services, Source, Timestamp, Undecided,
};
use serde_json::Value;

use super::judge::{End, Seen, differences};
use super::{Call, Documents, Policy, Suite};
use crate::diagnostic::Diagnostics;
use crate::document;
use crate::policy::variables;

/// The result of a case.
#[derive(Clone, Debug)]
pub struct CaseResult {
    /// The case, as an index into the suite's cases.
    pub case: usize,
    /// All differences from the expected result; empty if the case passed.
    pub differences: Vec<String>,
}

/// Runs every case of a suite.
///
/// # Errors
/// Reports all problems of a policy that does not compile.
pub fn run(suite: &Suite) -> Result<Vec<CaseResult>, Diagnostics> {
    let policies = compile(suite)?;
    let outcome = |index| Some(CaseResult { case: index, differences: one(suite, &policies, index)? });
    Ok((0..suite.cases.len()).filter_map(outcome).collect())
}

/// Returns the differences of one case and of the cases that it requires first, decided by the suite's compiled policies; `None` if
/// the case does not exist.
#[must_use]
pub fn one(suite: &Suite, policies: &[Arc<callgate::Policy>], index: usize) -> Option<Vec<String>> {
    one_as(suite, policies, index, |call| call)
}

/// Does the same as [`one`], for requests in the form in which a gateway's server forwards them.
#[must_use]
pub fn one_as(
    suite: &Suite,
    policies: &[Arc<callgate::Policy>],
    index: usize,
    received: impl Fn(Call) -> Call,
) -> Option<Vec<String>> {
    let case = suite.cases.get(index)?;
    let mut gate = Gate::new(policies.get(case.policy)?);
    let mut differences = Vec::new();
    // The same gate decides the earlier requests, so its state includes them.
    for index in case.before.iter().chain([&index]) {
        let (case, policy) = (suite.cases.get(*index)?, suite.policies.get(case.policy)?);
        let call = received(case.call(suite.now));
        let seen = gate.decide(&call, case.at.from(suite.now), &case.documents.at(suite.now));
        differences.extend(self::differences(case, policy, &gate.engine.policy().version, &call, &seen));
    }
    Some(differences)
}

/// Returns a case's request and the engine's result, after the cases that it requires first; `None` if the case does not exist.
#[must_use]
pub fn seen(suite: &Suite, policies: &[Arc<callgate::Policy>], index: usize) -> Option<(Call, Seen)> {
    let case = suite.cases.get(index)?;
    let mut gate = Gate::new(policies.get(case.policy)?);
    let cases = case.before.iter().chain([&index]).filter_map(|index| suite.cases.get(*index));
    cases.map(|case| (case, case.call(suite.now))).fold(None, |_, (case, call)| {
        let seen = gate.decide(&call, case.at.from(suite.now), &case.documents.at(suite.now));
        Some((call, seen))
    })
}

/// Returns the compiled policies of a suite, in its order.
///
/// # Errors
/// Reports all problems of the first policy that does not compile.
pub fn compile(suite: &Suite) -> Result<Vec<Arc<callgate::Policy>>, Diagnostics> {
    let compiled = |policy: &Policy| {
        callgate::Policy::from_value(policy.document.clone(), &variables(&suite.environment))
            .map(|compiled| Arc::new(compiled.policy))
            .map_err(|findings| wrong(suite, policy, &findings))
    };
    suite.policies.iter().map(compiled).collect()
}

/// Reports the problems of a policy. A policy from its own file gets the positions in that file; a variant gets the position of its
/// patch.
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

/// How often the timer of a gateway looks for documents while requests wait for keys.
const TICK: Duration = Duration::from_millis(25);

/// The time of day of the current case, and a clock that follows it and never goes back.
struct TestClock {
    now: Cell<Timestamp>,
    monotonic: Cell<Monotonic>,
}

impl TestClock {
    fn set(&self, now: Timestamp) {
        self.now.set(now);
        let shown = Monotonic::from_millis(now.as_nanos() / 1_000_000);
        self.monotonic.set(self.monotonic.get().max(shown));
    }

    fn pass(&self, span: Duration) {
        self.monotonic.set(self.monotonic.get().plus(span));
    }
}

/// A handle to the clock, for the engine.
struct Handle(Rc<TestClock>);

impl Clock for Handle {
    fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.0.now.get())
    }

    fn monotonic(&self) -> Result<Monotonic, StoreError> {
        Ok(self.0.monotonic.get())
    }
}

/// A policy and its state between requests.
struct Gate {
    engine: Engine,
    clock: Rc<TestClock>,
    decided: u128,
}

impl Gate {
    fn new(policy: &Arc<callgate::Policy>) -> Self {
        let (now, monotonic) = (Cell::new(Timestamp::from_secs(0)), Cell::default());
        let clock = Rc::new(TestClock { now, monotonic });
        let engine = Engine::new(Arc::clone(policy), Services::in_memory(Handle(Rc::clone(&clock)), [0; 16]));
        // Opening an empty store cannot fail. The clock is at zero, so the replay table counts as having always existed.
        let _ = engine.open();
        Self { engine, clock, decided: 0 }
    }

    fn decide(&mut self, call: &Call, now: Timestamp, documents: &Documents) -> Seen {
        let lines = call.all_lines();
        let headers: Headers = lines.iter().map(|(name, value)| (name, value)).collect();
        self.decided += 1;
        let certificate =
            call.certificate.as_ref().map(|presented| ClientCertificate::new(&presented.pem, &presented.sha256));
        let request = Request {
            headers: &headers,
            end_of_stream: call.end_of_stream,
            source: call.source.as_deref().and_then(|source| Source::parse(source.as_bytes())),
            certificate: certificate.as_ref(),
            now,
            id: DecisionId(self.decided),
        };
        self.clock.set(now);
        // Headers that are forwarded before the body arrives are forwarded with the changes of that moment.
        let mut forwarded = None;
        let decided = self.fetch(documents).and_then(|()| self.engine.decide(request));
        let decision = match decided.and_then(|outcome| self.await_keys(outcome, now, documents)) {
            Ok(Outcome::Decided(decision)) => Ok(decision),
            Ok(Outcome::Pending(mut pending)) => {
                forwarded = pending.forwards().map(|allow| changed(lines.clone(), &allow.changes()));
                // As in a gateway, the remaining chunks are not read if they cannot change the decision.
                let _ = call.body.iter().any(|part| pending.receive(part) == Need::Nothing);
                let later = call.slow.from(now);
                self.clock.set(later);
                self.engine.resume(pending, later)
            }
            Err(undecided) => Err(undecided),
        };
        let decision = match decision {
            Ok(decision) => decision,
            Err(_) => return Seen { record: Value::Null, end: answered(Answer::host_error()) },
        };
        let record: Value = serde_json::from_slice(&decision.record().to_json()).unwrap_or_default();
        let end = match &decision {
            Decision::Serve(serve) => answered(serve.answer()),
            Decision::Deny(deny) => answered(deny.answer()),
            Decision::Allow(allow) => {
                End::Forwarded { lines: forwarded.unwrap_or_else(|| changed(lines.clone(), &allow.changes())) }
            }
        };
        Seen { record, end }
    }

    /// Makes the calls that are due.
    fn fetch(&self, documents: &Documents) -> Result<(), Undecided> {
        let mut calls = VecDeque::from(self.engine.fetch_documents()?.calls);
        while let Some(call) = calls.pop_front() {
            calls.extend(self.engine.receive_document(call.id(), documents.result(&call))?.calls);
        }
        Ok(())
    }

    /// Lets time pass until a request no longer waits for keys.
    fn await_keys<'a>(
        &'a self,
        mut outcome: Outcome<'a>,
        now: Timestamp,
        documents: &Documents,
    ) -> Result<Outcome<'a>, Undecided> {
        loop {
            let pending = match outcome {
                Outcome::Pending(pending) if pending.awaits() == Awaits::Keys => pending,
                other => return Ok(other),
            };
            // This ends: a request does not wait longer than the policy's `timeout`.
            while !self.engine.is_ready(&pending) {
                self.clock.pass(TICK);
                self.fetch(documents)?;
            }
            outcome = self.engine.retry(pending, now)?;
        }
    }
}

/// Returns a response as the client sees it.
fn answered(answer: Answer) -> End {
    let mut headers: Vec<(String, Vec<u8>)> =
        answer.headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect();
    let details = Some(answer.details);
    match answer.grpc_status {
        None => End::Answered { status: answer.status, headers, body: answer.body.into_bytes(), details },
        Some(grpc_status) => {
            // A gRPC client receives headers instead, as from a gateway.
            headers.push(("grpc-status".to_owned(), grpc_status.to_string().into_bytes()));
            headers.push(("grpc-message".to_owned(), answer.body.into_bytes()));
            End::Answered { status: 200, headers, body: Vec::new(), details }
        }
    }
}

/// Returns the lines after a gateway applied the changes.
fn changed(mut lines: Vec<(Vec<u8>, Vec<u8>)>, changes: &[Change<'_>]) -> Vec<(Vec<u8>, Vec<u8>)> {
    for change in changes {
        change.apply(&mut lines);
    }
    lines
}

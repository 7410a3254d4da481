//! Runs the corpus in the filter under a wasm host that emulates each gateway in turn: the shipped module, on a clock that can be set.
//!
//! Cases that share a policy share a VM, as requests do. Before each case, the state that workers share is reset to its state at the start,
//! but the VM keeps its cache of verified tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use callgate::request::Host;
use callgate::text::time::Timestamp;
use callgate_kit::corpus::{Call, Case, Decision, Documents, End, Published, Seen, Suite, differences, run};
use callgate_kit::diagnostic::Diagnostics;
use serde_json::Value;

use super::feature::Feature;
use super::{adapt, clusters, described};
use crate::wasmhost::{
    self, Body, DOCUMENTS_ZONE, DOCUMENTS_ZONE_BYTES, HostProfile, Level, Log, Module, Outcome, Removal, Request,
    SharedData, Snapshot, Store, Verdict, Vm, ZONE, pairs,
};

/// The result of a case on an emulated gateway.
#[derive(Clone, Debug)]
pub struct Row {
    /// The gateway.
    pub profile: HostProfile,
    /// The file of the case.
    pub file: String,
    /// The case's name.
    pub case: String,
    /// The result.
    pub result: CaseResult,
}

/// The result of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseResult {
    /// The case passes.
    Holds,
    /// The case passes, but the head of the request was forwarded before the request was denied.
    Late,
    /// The case differs from its expectation, as it must where these features are missing.
    Without(BTreeSet<Feature>),
    /// The case fails. Contains the case and every difference.
    Differs(String),
}

/// Runs every case under each of these gateways, with as many threads as there are processors.
///
/// # Errors
/// When a policy cannot be adapted to a gateway, or a suite is invalid.
pub fn run(module: &Module, suites: &[Suite], profiles: &[HostProfile]) -> Result<Vec<Row>> {
    let jobs: Vec<_> = profiles.iter().flat_map(|gateway| suites.iter().map(|suite| (*gateway, suite))).collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((profile, suite)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let rows = of_suite(&module.under(*profile), suite);
            done.lock().unwrap_or_else(PoisonError::into_inner).push(rows);
        }
    };
    thread::scope(|scope| {
        (0..thread::available_parallelism().map_or(1, NonZero::get)).for_each(|_| drop(scope.spawn(work)));
    });
    let rows: Result<Vec<_>> = done.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect();
    let mut rows = rows?.concat();
    rows.sort_by(|one, other| (one.profile, &one.file).cmp(&(other.profile, &other.file)));
    Ok(rows)
}

/// Returns the versions of a suite's policies according to the native engine.
pub(super) fn versions(suite: &Suite) -> Result<Vec<String>> {
    Ok(compile(suite)?.iter().map(|policy| policy.version.to_string()).collect())
}

fn compile(suite: &Suite) -> Result<Vec<Arc<callgate::Policy>>> {
    run::compile(suite).map_err(|wrong: Diagnostics| anyhow!("{wrong}"))
}

fn of_suite(module: &Module, suite: &Suite) -> Result<Vec<Row>> {
    let profile = module.profile();
    let adapted = adapt::suite(suite, profile.quirks())?;
    let native = compile(&adapted.suite)?;
    let mut gates = BTreeMap::new();
    let row = |(index, case): (usize, &Case)| {
        let lost = adapted.lost.get(case.policy).context("unknown policy in a case")?;
        if lost.everything {
            let result = CaseResult::Without(lost.features.clone());
            return Ok(Row { profile, file: suite.file.clone(), case: case.name.clone(), result });
        }
        let gate =
            gates.entry(case.policy).or_insert_with(|| Gate::start(module, &adapted.suite, &native, case.policy));
        let (found, late) = match gate {
            Ok(gate) => gate.case(module, &adapted.suite, &native, index)?,
            Err(wrong) => (vec![wrong.to_string()], false),
        };
        let result = if found.is_empty() {
            if late { CaseResult::Late } else { CaseResult::Holds }
        } else {
            let expected = || {
                let received = |call| received(profile, call).0;
                run::one_as(&adapted.suite, &native, index, received).unwrap_or_default()
            };
            match excuse(profile, (case, suite.now), &lost.features, &found, expected) {
                Some(without) => CaseResult::Without(without),
                None => CaseResult::Differs(described(suite, case, &found)),
            }
        };
        Ok(Row { profile, file: suite.file.clone(), case: case.name.clone(), result })
    };
    adapted.suite.cases.iter().enumerate().map(row).collect()
}

/// Returns the missing features that explain why a case differs from its expectation, if they do.
fn excuse(
    profile: HostProfile,
    (case, now): (&Case, Timestamp),
    lost: &BTreeSet<Feature>,
    found: &[String],
    natively: impl FnOnce() -> Vec<String>,
) -> Option<BTreeSet<Feature>> {
    if case.is_answered_as_grpc() && !profile.quirks().grpc_answers && found.iter().all(|one| of_an_answer(one)) {
        return Some(BTreeSet::from([Feature::Grpc]));
    }
    // A request that the server answers itself never reaches the upstream.
    if found.iter().all(|one| one.starts_with(ANSWERED)) && case.decision() != Decision::Allow {
        return Some(BTreeSet::from([Feature::OwnAnswers]));
    }
    // The engine must differ from the case in the same way when it gets the same policy and the request as the server passes it on.
    if !natively().iter().map(|one| nameless(one)).eq(found.iter().map(|one| nameless(one))) {
        return None;
    }
    let mut lost = lost.clone();
    if lost.is_empty() && profile.quirks().body == Body::Never && says_nothing_of_a_body(&case.call(now)) {
        lost.insert(Feature::Unannounced);
    }
    lost.extend(received(profile, case.call(now)).1);
    (!lost.is_empty()).then_some(lost)
}

/// Returns a request as the gateway's server passes it to the filter, and the features that are lost by its changes.
fn received(profile: HostProfile, call: Call) -> (Call, BTreeSet<Feature>) {
    let sent = call.all_lines();
    let has_body = call.body.iter().any(|part| !part.is_empty());
    let Ok(lines) = wasmhost::received(profile.quirks(), &sent, has_body) else { return (call, BTreeSet::new()) };
    let target = lines.iter().find(|(name, _)| name == b":path").map(|(_, target)| target.clone());
    let target = target.unwrap_or_default();
    let lines: Vec<_> = lines.into_iter().filter(|(name, _)| !name.starts_with(b":")).collect();
    let canonical = |host: &Vec<u8>| Host::parse(host).is_ok_and(|host| !host.is_rewritten());
    let changes = [
        (Feature::AbsoluteTargets, target != call.target),
        (Feature::DroppedNames, call.lines.iter().any(|line| !lines.contains(line))),
        (Feature::Chunked, lines.iter().any(|line| !call.lines.contains(line))),
        (Feature::Hosts, profile.quirks().removal == Removal::Hides && !call.host.as_ref().is_some_and(canonical)),
    ];
    let lost = changes.into_iter().filter(|(_, changed)| *changed).map(|(feature, _)| feature).collect();
    (Call { target, lines, ..call }, lost)
}

/// Returns whether no header states if a body follows.
fn says_nothing_of_a_body(call: &Call) -> bool {
    let names = call.lines.iter().map(|(name, _)| name.to_ascii_lowercase());
    !names.into_iter().any(|name| matches!(name.as_slice(), b"content-length" | b"transfer-encoding"))
}

/// Returns a difference without the name of the decision, which every engine reports differently.
fn nameless(difference: &str) -> String {
    let mut parts = difference.split("urn:callgate:decision:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
}

/// Returns whether a difference is in the response to the client and not in the decision.
fn of_an_answer(difference: &str) -> bool {
    ["expected the status", "expected `grpc-", "expected the problem", "the response is not"]
        .iter()
        .any(|start| difference.starts_with(start))
}

/// The number of ticks after which a waiting request is held forever: more than any policy lets it wait.
const MOST_TICKS: usize = 2_000;

/// A worker with one policy.
struct Gate {
    profile: HostProfile,
    vm: Vm,
    shared: SharedData,
    /// The shared state right after the start.
    fresh: Snapshot,
}

impl Gate {
    fn start(module: &Module, suite: &Suite, native: &[Arc<callgate::Policy>], policy: usize) -> Result<Self> {
        // The zone has the size that the policy requires.
        let room = native.get(policy).and_then(|policy| policy.shared_bytes());
        let policy = suite.policies.get(policy).context("unknown policy in a case")?;
        let environment: Vec<_> = suite.environment.clone().into_iter().collect();
        let shared = match room.map(usize::try_from).transpose()? {
            Some(bytes) => SharedData::zones(&[(ZONE, bytes), (DOCUMENTS_ZONE, DOCUMENTS_ZONE_BYTES)]),
            None => SharedData::of(module.profile().quirks().store),
        };
        let mut vm = Vm::start_beside(module, policy.document.to_string().as_bytes(), &environment, &shared)
            .map_err(|failed| anyhow!("the module does not start: {failed}"))?;
        clusters(&policy.document).iter().for_each(|cluster| vm.add_cluster(cluster));
        if module.profile().quirks().store == Store::Zones {
            // The first request creates the tables, which must be older than the timestamps that the cases send.
            let lines = [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "first.example")];
            vm.request(&Request { headers: pairs::from_text(&lines), now: 0, ..Request::default() });
        }
        let fresh = shared.snapshot();
        Ok(Self { profile: module.profile(), vm, shared, fresh })
    }

    /// Returns every difference of a case and of the cases that precede it, and whether a head was forwarded too early.
    fn case(
        &mut self,
        module: &Module,
        suite: &Suite,
        native: &[Arc<callgate::Policy>],
        index: usize,
    ) -> Result<(Vec<String>, bool)> {
        let case = suite.cases.get(index).context("unknown case")?;
        let policy = suite.policies.get(case.policy).context("unknown policy in a case")?;
        let native_policy = native.get(case.policy).context("unknown policy in a case")?;
        let fetches = native_policy.fetches();
        if policy.document.get("auth_failure_limit").is_some() || fetches {
            // Such a limit counts signature verifications, and a token in this worker's cache needs none. Fetched keys are also part of
            // the worker's state.
            *self = Self::start(module, suite, native, case.policy)?;
        }
        self.shared.restore(&self.fresh);
        let version = &native_policy.version;
        let (mut found, mut late, mut latest) = (Vec::new(), false, suite.now);
        for case in case.before.iter().chain([&index]).filter_map(|index| suite.cases.get(*index)) {
            let call = case.call(suite.now);
            let mut request = request(&call, case, suite);
            if !module.profile().quirks().tells_the_end() {
                // The decision must not depend on what such a gateway reports as the end of the stream.
                request.end_told = Some(index.is_multiple_of(2));
            }
            let outcome = if fetches {
                // The clock that only moves forward follows the time of day.
                let now = case.at.from(suite.now);
                self.vm.pass(Duration::from_nanos(now.as_nanos().saturating_sub(latest.as_nanos())));
                latest = latest.max(now);
                self.request(&request, &case.documents.at(suite.now))
                    .map_err(|trap| anyhow!("{}: {trap}", case.name))?
            } else {
                self.vm.request(&request)
            };
            let trapped = matches!(outcome.verdict, Verdict::Trap(_));
            if outcome.gone.is_some() && module.profile().quirks().body == Body::AfterTheHead {
                late = true;
            } else if outcome.gone.is_some() {
                found.push("the request headers were forwarded before the request was denied".to_owned());
            }
            let complaints = outcome.logs.iter().filter(|log| log.level >= Level::Warn);
            found.extend(complaints.map(|log| format!("the module logged a warning or error: {}", log.message)));
            found.extend(match seen(outcome, module.profile()) {
                Ok(seen) => self::differences(case, policy, version, &call, &seen),
                Err(instead) => vec![instead],
            });
            if trapped {
                *self = Self::start(module, suite, native, case.policy)?;
            }
        }
        if self.shared.forgotten() > 0 {
            found.push("the shared memory zone of the policy's size is too small".to_owned());
        }
        Ok((found, late))
    }

    /// Sends a request after the module has fetched what was due. The module can fetch again while the request waits.
    fn request(&mut self, request: &Request, documents: &Documents) -> Result<Outcome, String> {
        self.vm.set_clock(request.now);
        self.fetch(documents)?;
        if !self.profile.quirks().timers_end_requests() {
            return Ok(self.vm.request(request));
        }
        let root = self.vm.first_root();
        let mut stream = self.vm.open(root, request);
        let mut logs = self.vm.logs().to_vec();
        let parts = request.body.iter().flatten();
        for (number, part) in (1..).zip(parts) {
            self.vm.send(&mut stream, part, request.body.as_ref().is_some_and(|parts| parts.len() == number));
            logs.extend_from_slice(self.vm.logs());
        }
        for _ in 0..MOST_TICKS {
            if stream.verdict().is_some() || stream.forwarded_by().is_some() {
                break;
            }
            self.fetch(documents)?;
            self.vm.look(&mut stream);
        }
        let outcome = self.vm.close(stream);
        logs.extend(outcome.logs);
        Ok(Outcome { logs, ..outcome })
    }

    /// Fires the timer, and answers the calls that the module makes.
    fn fetch(&mut self, documents: &Documents) -> Result<(), String> {
        self.vm.tick(self.vm.first_root())?;
        while let Some(call) = self.vm.http_calls().into_iter().next() {
            let header = |name: &str| call.header(name).unwrap_or_default();
            match documents.get(&header(":authority"), &header(":path")) {
                Published::Response { status, body } => self.vm.answer_call(call.id, *status, &[], body)?,
                Published::Unavailable => self.vm.fail_call(call.id)?,
            }
        }
        Ok(())
    }
}

fn request(call: &Call, case: &Case, suite: &Suite) -> Request {
    let now = case.at.from(suite.now);
    Request {
        headers: call.all_lines(),
        end_of_stream: call.end_of_stream,
        body: (!call.end_of_stream).then(|| call.body.clone()),
        body_at: Some(call.slow.from(now).as_nanos()),
        source: Some(source(call)),
        certificate: call.certificate.as_ref().map(|presented| (presented.pem.clone(), presented.sha256.clone())),
        now: now.as_nanos(),
        ..Request::default()
    }
}

/// Returns address and port in the form that gateways use.
fn source(call: &Call) -> String {
    match call.source.as_deref() {
        Some(source) if source.contains(':') => format!("[{source}]:40000"),
        source => format!("{}:40000", source.unwrap_or("192.0.2.1")),
    }
}

/// The prefix of a difference for a request that the gateway's server answered itself.
const ANSWERED: &str = "the gateway's server responds with the status ";

fn seen(outcome: Outcome, profile: HostProfile) -> Result<Seen, String> {
    let record = outcome.record.or_else(|| logged(&outcome.logs));
    let record = match (record, &outcome.verdict) {
        (Some(record), _) => record,
        (None, Verdict::Server(status)) => return Err(format!("{ANSWERED}{status}")),
        (None, _) => return Err("there is no record of the decision".to_owned()),
    };
    let end = match outcome.verdict {
        Verdict::Continue { mut headers } => {
            if profile.quirks().removal == Removal::Hides {
                // A header that cannot be removed arrives with an empty value and counts as removed.
                headers.retain(|(_, value)| !value.is_empty());
            }
            End::Forwarded { lines: headers }
        }
        Verdict::Reply(reply) => {
            let mut headers: Vec<_> = reply
                .headers
                .into_iter()
                .map(|(name, value)| (String::from_utf8_lossy(&name).to_ascii_lowercase(), value))
                .collect();
            let details = Some(reply.details);
            match reply.grpc_status {
                None => {
                    let status = u16::try_from(reply.status).unwrap_or_default();
                    End::Answered { status, headers, body: reply.body, details }
                }
                Some(status) => {
                    // Gateways report the status to a gRPC client in these headers.
                    headers.push(("grpc-status".to_owned(), status.to_string().into_bytes()));
                    headers.push(("grpc-message".to_owned(), reply.body));
                    End::Answered { status: 200, headers, body: Vec::new(), details }
                }
            }
        }
        Verdict::Server(status) => return Err(format!("{ANSWERED}{status}")),
        Verdict::Hang => return Err("the request is held forever".to_owned()),
        Verdict::Trap(trap) => return Err(format!("the module trapped: {trap}")),
    };
    Ok(Seen { record, end })
}

/// Returns the record that was written to the gateway's log.
fn logged(logs: &[Log]) -> Option<Value> {
    let mut records = logs.iter().rev().filter_map(|log| serde_json::from_str::<Value>(&log.message).ok());
    records.find(|record| record.get("decision").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{self, Flavor};
    use crate::corpus::suites;

    /// Returns a suite with its policies adapted to Kong, and the module on an emulated Kong.
    fn on_kong(file: &str) -> (Module, Suite, Vec<Arc<callgate::Policy>>) {
        under(HostProfile::Kong, file)
    }

    fn under(profile: HostProfile, file: &str) -> (Module, Suite, Vec<Arc<callgate::Policy>>) {
        let module = Module::load(&build::filter(Flavor::Release).unwrap()).unwrap().under(profile);
        let suite = suites().unwrap().into_iter().find(|suite| suite.file.ends_with(file)).unwrap();
        let adapted = adapt::suite(&suite, module.profile().quirks()).unwrap().suite;
        let native = compile(&adapted).unwrap();
        (module, adapted, native)
    }

    #[test]
    fn rejects_signed_requests_whose_body_kong_buffers_to_disk() {
        let (module, suite, native) = on_kong("signature-bodies.cases.yaml");
        let mut tried = 0;
        for case in &suite.cases {
            let call = case.call(suite.now);
            let digest = call.lines.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"content-digest"));
            if case.decision() != callgate_kit::corpus::Decision::Allow || call.whole_body().is_empty() || !digest {
                continue;
            }
            let mut gate = Gate::start(&module, &suite, &native, case.policy).unwrap();
            let request = Request { body_on_disk: true, ..request(&call, case, &suite) };
            let verdict = gate.vm.request(&request).verdict;
            assert!(matches!(verdict, Verdict::Reply(_)), "{}: {verdict:?}", case.name);
            tried += 1;
        }
        assert!(tried > 5, "{tried}");
    }

    #[test]
    fn rejects_signed_bodies_of_unknown_length_on_kong() {
        let (module, suite, native) = on_kong("signature-bodies.cases.yaml");
        let case = |name: &str| suite.cases.iter().find(|case| case.name == name).unwrap();
        let of = |name: &str| (request(&case(name).call(suite.now), case(name), &suite), case(name).policy);
        let (mut chunked, policy) = of("body");
        chunked.headers.retain(|(name, _)| name != b"content-length");
        chunked.headers.push((b"transfer-encoding".to_vec(), b"chunked".to_vec()));
        // A chunked body in a request whose signature covers no body.
        let (added, _) = of("get-added-in-parts");
        let mut gate = Gate::start(&module, &suite, &native, policy).unwrap();
        for (request, status, code) in [(chunked, 411, "body_length_missing"), (added, 403, "content_digest_missing")] {
            let outcome = gate.vm.request(&request);
            let Verdict::Reply(reply) = &outcome.verdict else { panic!("{outcome:?}") };
            assert_eq!((reply.status, &*reply.details), (status, &*format!("callgate_{code}")));
            assert_eq!(outcome.gone, None);
            assert_eq!(outcome.record.unwrap()["reason"], code);
        }
        assert!(matches!(gate.vm.request(&of("body").0).verdict, Verdict::Continue { .. }));
    }

    #[test]
    fn contended_signed_request_gets_503_and_consumes_nothing() {
        let limits = |outcome: &Outcome| {
            let answer = outcome.answer.clone().unwrap_or_default();
            answer.into_iter().find(|(name, _)| name == b"ratelimit").unwrap()
        };
        for profile in [HostProfile::Envoy, HostProfile::Istio, HostProfile::Kong] {
            let (module, suite, native) = under(profile, "replay.cases.yaml");
            let case = suite.cases.iter().find(|case| case.name == "first").unwrap();
            let request = request(&case.call(suite.now), case, &suite);
            let mut gate = Gate::start(&module, &suite, &native, case.policy).unwrap();
            let passed = gate.vm.request(&request);
            let writes = passed.calls.iter().filter(|call| **call == "proxy_set_shared_data").count();
            assert!(writes > 1, "{profile:?}: {writes}");

            // The replay reservation is the last write.
            gate.shared.restore(&gate.fresh);
            gate.shared.contend(writes - 1, 64);
            let outcome = gate.vm.request(&request);
            let Verdict::Reply(reply) = &outcome.verdict else { panic!("{profile:?}: {outcome:?}") };
            assert_eq!((reply.status, &*reply.details), (503, "callgate_replay_contended"), "{profile:?}");
            assert!(reply.headers.contains(&(b"retry-after".to_vec(), b"1".to_vec())), "{profile:?}: {reply:?}");
            assert_eq!(outcome.record.as_ref().unwrap()["reason"], "replay_contended");
            // Neither the limit nor the signature was consumed.
            let again = gate.vm.request(&request);
            assert_eq!(limits(&again), limits(&passed), "{profile:?}: {:?}", again.verdict);

            gate.shared.restore(&gate.fresh);
            gate.shared.contend(writes - 1, 63);
            assert!(matches!(gate.vm.request(&request).verdict, Verdict::Continue { .. }), "{profile:?}");
        }
    }

    #[test]
    fn rejects_replays_after_any_kong_eviction() {
        let (module, suite, native) = on_kong("replay.cases.yaml");
        let again = suite.cases.iter().find(|case| case.name == "again").unwrap();
        let first = &suite.cases[again.before[0]];
        let call = |case: &Case| request(&case.call(suite.now), case, &suite);
        let mut gate = Gate::start(&module, &suite, &native, again.policy).unwrap();
        let (first, again) = (call(first), call(again));
        assert!(matches!(gate.vm.request(&first).verdict, Verdict::Continue { .. }));
        let used = gate.shared.snapshot();
        let mut forgotten = 0;
        loop {
            gate.shared.restore(&used);
            if !gate.shared.forget(forgotten) {
                break;
            }
            let verdict = gate.vm.request(&again).verdict;
            assert!(matches!(verdict, Verdict::Reply(_)), "{forgotten}: {verdict:?}");
            forgotten += 1;
        }
        assert!(forgotten > 1, "{forgotten}");
    }
}

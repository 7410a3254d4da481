//! The corpus in the filter under a wasm host that behaves like each gateway in turn: the module that ships, on a clock that can be
//! set.
//!
//! Cases that share a policy share a VM, as calls do: before each of them what workers share is as it was at the start, but tokens
//! that were verified stay known.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use callgate::request::Host;
use callgate::text::time::Timestamp;
use callgate_kit::corpus::{Call, Case, Decision, End, Seen, Suite, differences, run};
use callgate_kit::diagnostic::Diagnostics;
use serde_json::Value;

use super::feature::Feature;
use super::{adapt, described};
use crate::wasmhost::{
    self, Body, HostProfile, Level, Module, Outcome, Removal, Request, SharedData, Snapshot, Store, Verdict, Vm, ZONE,
    pairs,
};

/// A case under a gateway.
#[derive(Clone, Debug)]
pub struct Row {
    /// The gateway.
    pub profile: HostProfile,
    /// The file of the case.
    pub file: String,
    /// Its name.
    pub case: String,
    /// How it ended.
    pub result: CaseResult,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseResult {
    /// What it expects.
    Holds,
    /// What it expects, but the head of the call had gone on before it was denied.
    Late,
    /// Something else, as it has to where these features are missing.
    Without(BTreeSet<Feature>),
    /// Something else: the case, and every difference.
    Differs(String),
}

/// Runs every case under each of these gateways, as many at once as there are processors.
///
/// # Errors
/// When a policy cannot be brought to a gateway, or a suite is broken.
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

/// The versions of a suite's policies, as the native engine has them.
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
        let lost = adapted.lost.get(case.policy).context("a case names a policy that is not there")?;
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

/// What a case lacks that ended otherwise than it expects, where it has to.
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
    // A request that the server answers itself gets nowhere.
    if found.iter().all(|one| one.starts_with(ANSWERED)) && case.decision() != Decision::Allow {
        return Some(BTreeSet::from([Feature::OwnAnswers]));
    }
    // The engine, given the same policy and what the server hands on, differs from the case in the same way.
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

/// A request as the gateway's server hands it on to the filter, and what was lost with what it changed.
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

/// Whether no header tells if a body comes.
fn says_nothing_of_a_body(call: &Call) -> bool {
    let names = call.lines.iter().map(|(name, _)| name.to_ascii_lowercase());
    !names.into_iter().any(|name| matches!(name.as_slice(), b"content-length" | b"transfer-encoding"))
}

/// A difference without the name of the decision, which no two engines give alike.
fn nameless(difference: &str) -> String {
    let mut parts = difference.split("urn:callgate:decision:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
}

/// Whether a difference is in what the client is told, and not in what was decided.
fn of_an_answer(difference: &str) -> bool {
    ["expected the status", "expected `grpc-", "expected the problem", "the answer is no"]
        .iter()
        .any(|start| difference.starts_with(start))
}

/// A worker with one policy.
struct Gate {
    vm: Vm,
    shared: SharedData,
    /// What was shared when it had started.
    fresh: Snapshot,
}

impl Gate {
    fn start(module: &Module, suite: &Suite, native: &[Arc<callgate::Policy>], policy: usize) -> Result<Self> {
        // A zone is as large as the policy says that it has to be.
        let room = native.get(policy).and_then(|policy| policy.shared_bytes());
        let policy = suite.policies.get(policy).context("a case names a policy that is not there")?;
        let environment: Vec<_> = suite.environment.clone().into_iter().collect();
        let shared = match room.map(usize::try_from).transpose()? {
            Some(bytes) => SharedData::zones(&[(ZONE, bytes)]),
            None => SharedData::of(module.profile().quirks().store),
        };
        let mut vm = Vm::start_beside(module, policy.document.to_string().as_bytes(), &environment, &shared)
            .map_err(|failed| anyhow!("the module does not start: {failed}"))?;
        if module.profile().quirks().store == Store::Zones {
            // The first request makes the tables, which are to be older than what the cases send.
            let lines = [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "first.example")];
            vm.request(&Request { headers: pairs::from_text(&lines), now: 0, ..Request::default() });
        }
        let fresh = shared.snapshot();
        Ok(Self { vm, shared, fresh })
    }

    /// Every difference of a case and of those before it, and whether a head went on that should not have.
    fn case(
        &mut self,
        module: &Module,
        suite: &Suite,
        native: &[Arc<callgate::Policy>],
        index: usize,
    ) -> Result<(Vec<String>, bool)> {
        let case = suite.cases.get(index).context("there is no such case")?;
        let policy = suite.policies.get(case.policy).context("a case names a policy that is not there")?;
        if policy.document.get("failed_credentials").is_some() {
            // What such a limit counts are signatures, and a token that this worker knows needs none.
            *self = Self::start(module, suite, native, case.policy)?;
        }
        self.shared.restore(&self.fresh);
        let version = native.get(case.policy).map_or("", |policy| &policy.version);
        let (mut found, mut late) = (Vec::new(), false);
        for case in case.before.iter().chain([&index]).filter_map(|index| suite.cases.get(*index)) {
            let call = case.call(suite.now);
            let mut request = request(&call, case, suite);
            if !module.profile().quirks().tells_the_end() {
                // Whatever such a gateway says of the end, nothing may hang on it.
                request.end_told = Some(index.is_multiple_of(2));
            }
            let outcome = self.vm.request(&request);
            let trapped = matches!(outcome.verdict, Verdict::Trap(_));
            if outcome.gone.is_some() && module.profile().quirks().body == Body::AfterTheHead {
                late = true;
            } else if outcome.gone.is_some() {
                found.push("the head of the call had gone on before it was denied".to_owned());
            }
            let complaints = outcome.logs.iter().filter(|log| log.level >= Level::Warn);
            found.extend(complaints.map(|log| format!("the module complains: {}", log.message)));
            found.extend(match seen(outcome, module.profile()) {
                Ok(seen) => self::differences(case, policy, version, &call, &seen),
                Err(instead) => vec![instead],
            });
            if trapped {
                *self = Self::start(module, suite, native, case.policy)?;
            }
        }
        if self.shared.forgotten() > 0 {
            found.push("the zone that the policy asks for is too small".to_owned());
        }
        Ok((found, late))
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
        now: now.as_nanos(),
        ..Request::default()
    }
}

/// Address and port, as a gateway gives them.
fn source(call: &Call) -> String {
    match call.source.as_deref() {
        Some(source) if source.contains(':') => format!("[{source}]:40000"),
        source => format!("{}:40000", source.unwrap_or("192.0.2.1")),
    }
}

/// How the difference of a case begins whose request the gateway's server answered itself.
const ANSWERED: &str = "the gateway's server answers with the status ";

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
                // What cannot be removed arrives with an empty value, and counts as removed.
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
                    // As a gateway tells a gRPC client.
                    headers.push(("grpc-status".to_owned(), status.to_string().into_bytes()));
                    headers.push(("grpc-message".to_owned(), reply.body));
                    End::Answered { status: 200, headers, body: Vec::new(), details }
                }
            }
        }
        Verdict::Server(status) => return Err(format!("{ANSWERED}{status}")),
        Verdict::Hang => return Err("the call is held for ever".to_owned()),
        Verdict::Trap(trap) => return Err(format!("the module trapped: {trap}")),
    };
    Ok(Seen { record, end })
}

/// The record that went to the gateway's log.
fn logged(logs: &[crate::wasmhost::Log]) -> Option<Value> {
    let mut records = logs.iter().rev().filter_map(|log| serde_json::from_str::<Value>(&log.message).ok());
    records.find(|record| record.get("decision").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{self, Flavor};
    use crate::corpus::suites;

    /// A suite as it is on Kong with its policies, and the module there.
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
    fn a_body_that_kong_wrote_to_a_file_lets_no_signed_call_through() {
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
    fn a_signed_body_whose_length_is_not_announced_is_refused_where_no_end_is_told() {
        let (module, suite, native) = on_kong("signature-bodies.cases.yaml");
        let case = |name: &str| suite.cases.iter().find(|case| case.name == name).unwrap();
        let of = |name: &str| (request(&case(name).call(suite.now), case(name), &suite), case(name).policy);
        let (mut chunked, policy) = of("body");
        chunked.headers.retain(|(name, _)| name != b"content-length");
        chunked.headers.push((b"transfer-encoding".to_vec(), b"chunked".to_vec()));
        // A body in chunks, behind a request whose signature covers none.
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
    fn a_signed_call_that_sixty_four_others_come_before_is_refused_and_uses_nothing_up() {
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

            // The claim is the last of them.
            gate.shared.restore(&gate.fresh);
            gate.shared.contend(writes - 1, 64);
            let outcome = gate.vm.request(&request);
            let Verdict::Reply(reply) = &outcome.verdict else { panic!("{profile:?}: {outcome:?}") };
            assert_eq!((reply.status, &*reply.details), (503, "callgate_replay_contended"), "{profile:?}");
            assert!(reply.headers.contains(&(b"retry-after".to_vec(), b"1".to_vec())), "{profile:?}: {reply:?}");
            assert_eq!(outcome.record.as_ref().unwrap()["reason"], "replay_contended");
            // Neither the limit nor the signature.
            let again = gate.vm.request(&request);
            assert_eq!(limits(&again), limits(&passed), "{profile:?}: {:?}", again.verdict);

            gate.shared.restore(&gate.fresh);
            gate.shared.contend(writes - 1, 63);
            assert!(matches!(gate.vm.request(&request).verdict, Verdict::Continue { .. }), "{profile:?}");
        }
    }

    #[test]
    fn whatever_kong_forgets_a_signed_call_passes_once() {
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

//! Runs the corpus in a real Envoy: sends requests as bytes on the wire, over HTTP/1.1 or HTTP/2, and derives decisions from the observed
//! effects.
//!
//! One Envoy has a listener for each policy. Three sources show the decision: the upstream, the client's response, and the access log that
//! contains the record. Each request carries a trace id that correlates the three.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use callgate::text::time::Timestamp;
use callgate_kit::corpus::{Call, Case, End, Policy, Seen, Suite, differences};
use serde_json::{Value, json};

use super::publisher::Publisher;
use super::wasm::versions;
use super::wire::Wire;
use super::{clusters, described, each_cluster};
use crate::client::Response;
use crate::envoy::{Adapter, Binary, Bootstrap, Envoy, Options, record_in};
use crate::upstream::{self, Upstream};

/// How long to wait until Envoy has written the access log.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why cases with fetched documents are skipped where the gateway cannot reach this process.
const UNPUBLISHED: &str = "nothing publishes documents there";

/// How long a gate needs to distinguish fresh signatures from replayed ones: more than `clock_ahead` (5 s by default) plus one second.
const RIPENING: Duration = Duration::from_secs(7);

/// The results of the cases.
#[derive(Debug, Default)]
pub struct Report {
    /// Descriptions of the cases that differ from what they expect.
    pub wrong: Vec<String>,
    /// How many cases could not be expressed in this protocol, by reason.
    pub unsaid: BTreeMap<&'static str, usize>,
}

/// Runs every case that is not skipped over this protocol, with the filter or the dynamic module in this file, in the given Envoy or else in
/// the one that is found. Cases that are skipped for Envoy are skipped for both.
///
/// # Errors
/// When Envoy does not start or a connection breaks.
pub fn run(module: &Path, suites: &[Suite], binary: Option<Binary>, wire: Wire) -> Result<Report> {
    let suites = adapted(told_apart(suites), Adapter::of(module));
    let upstream = Upstream::start()?;
    let publisher = Publisher::start(&suites)?;
    let (mut bootstrap, environment) = bootstrap(module, &suites, upstream.address())?;
    for (cluster, address) in publisher.clusters() {
        bootstrap.add_server(cluster, *address)?;
    }
    let envoy = Envoy::start(&bootstrap, &Options { environment, binary, ..Options::default() })?;
    judge(&Here { envoy, upstream }, &suites, wire)
}

/// A gateway with the policies of the corpus, and the sources that show the effects of a request to it.
pub(crate) trait Site {
    /// Returns the address of the listener with this policy.
    fn listener(&self, name: &str) -> Result<SocketAddr>;

    /// Returns the request with this header line that reached the upstream.
    fn saw(&self, name: &str, value: &str) -> Result<Option<upstream::Seen>>;

    /// Returns the lines of the access log so far.
    fn access_log(&self) -> Vec<Value>;
}

/// An Envoy and an upstream that this process started.
struct Here {
    envoy: Envoy,
    upstream: Upstream,
}

impl Site for Here {
    fn listener(&self, name: &str) -> Result<SocketAddr> {
        self.envoy.listener(name)
    }

    fn saw(&self, name: &str, value: &str) -> Result<Option<upstream::Seen>> {
        Ok(self.upstream.saw(name, value))
    }

    fn access_log(&self) -> Vec<Value> {
        self.envoy.access_log()
    }
}

/// Runs every case that is not skipped at a gateway that has just started, and describes those that differ from what they expect.
///
/// # Errors
/// When a connection breaks.
pub(crate) fn judge(site: &impl Site, suites: &[Suite], wire: Wire) -> Result<Report> {
    let mut report = Report::default();
    if suites.iter().flat_map(|suite| &suite.policies).any(|policy| remembers(&policy.document)) {
        thread::sleep(RIPENING);
    }
    let (mut sent, mut calls) = (Vec::new(), 0);
    for (number, suite) in suites.iter().enumerate() {
        let versions = versions(suite)?;
        for case in suite.cases.iter().filter(|case| case.skip_envoy.is_none()) {
            let policy = suite.policies.get(case.policy).context("unknown policy in a case")?;
            let version = versions.get(case.policy).context("unknown policy in a case")?.clone();
            let address = site.listener(&listener(number, case.policy))?;
            let now = now()?;
            let earlier: Vec<_> = case.before.iter().filter_map(|index| suite.cases.get(*index)).collect();
            if let Some(why) = earlier.iter().chain([&case]).find_map(|case| wire.lacks(&case.call(now))) {
                *report.unsaid.entry(why).or_default() += 1;
                continue;
            }
            let broke = || described(suite, case, &["the connection broke".to_owned()]);
            for earlier in earlier {
                wire.send(address, &earlier.call(now), &traceparent(&trace(0))).with_context(broke)?;
            }
            calls += 1;
            let (call, id) = (case.call(now), trace(calls));
            let Some(answer) = wire.send(address, &call, &traceparent(&id)).with_context(broke)? else {
                report.wrong.push(described(
                    suite,
                    case,
                    &["Envoy ended the stream, and the gate made no decision".to_owned()],
                ));
                continue;
            };
            sent.push(Sent {
                suite,
                case,
                policy,
                version,
                call,
                answer,
                forwarded: site.saw("traceparent", &traceparent(&id))?,
                id,
            });
        }
    }
    let log = await_log(site, sent.len())?;
    report.wrong.extend(sent.iter().filter_map(|sent| sent.judge(&log)));
    Ok(report)
}

/// A request that was sent, and what its client and the upstream observed.
struct Sent<'s> {
    suite: &'s Suite,
    case: &'s Case,
    policy: &'s Policy,
    version: String,
    call: Call,
    answer: Response,
    forwarded: Option<upstream::Seen>,
    id: String,
}

impl Sent<'_> {
    fn judge(&self, log: &HashMap<String, Line>) -> Option<String> {
        let differences = match log.get(&self.id) {
            None => vec![format!("Envoy responded with {} itself, and the gate made no decision", self.answer.status)],
            Some(line) => {
                let seen = Seen { record: line.record.clone(), end: self.end(line) };
                differences(self.case, self.policy, &self.version, &self.call, &seen)
            }
        };
        (!differences.is_empty()).then(|| described(self.suite, self.case, &differences))
    }

    fn end(&self, line: &Line) -> End {
        match &self.forwarded {
            Some(seen) => End::Forwarded { lines: lines(seen) },
            None => End::Answered {
                status: self.answer.status,
                headers: self.answer.headers.clone(),
                body: self.answer.body.clone(),
                details: Some(line.details.clone()),
            },
        }
    }
}

/// A line of the access log.
struct Line {
    record: Value,
    details: String,
}

/// Returns Envoy's bootstrap configuration, with a listener for each policy, and the variables of the policies.
///
/// # Errors
/// When files of cases conflict, or there are none.
pub(crate) fn bootstrap(
    module: &Path,
    suites: &[Suite],
    upstream: SocketAddr,
) -> Result<(Bootstrap, Vec<(String, String)>)> {
    let mut environment = BTreeMap::new();
    for (name, value) in suites.iter().flat_map(|suite| &suite.environment) {
        let other = environment.insert(name.clone(), value.clone()).filter(|other| other != value);
        ensure!(other.is_none(), "two case files set the variable `{name}` to different values");
    }
    let policies = listeners(suites);
    let first = policies.first().context("there are no cases")?;
    let mut bootstrap = Bootstrap::new(module, &first.1, upstream)?;
    let names: Vec<_> = environment.keys().collect();
    bootstrap.set_environment(&names)?;
    // Requests for any host reach the gate, and nothing in front of it answers a preflight.
    let hosts = bootstrap.virtual_hosts()?;
    hosts.truncate(1);
    if let Some(host) = hosts.first_mut().and_then(Value::as_object_mut) {
        host.insert("domains".to_owned(), json!(["*"]));
        host.remove("typed_per_filter_config");
    }
    Ok((bootstrap.with_listeners(&policies)?, environment.into_iter().collect()))
}

/// Returns the policies (JSON), each with the name of its listener, in the order of the listeners.
pub(crate) fn listeners(suites: &[Suite]) -> Vec<(String, String)> {
    let of = |(number, suite): (usize, &Suite)| {
        let policies = suite.policies.iter().enumerate();
        policies.map(move |(index, policy)| (listener(number, index), policy.document.to_string())).collect::<Vec<_>>()
    };
    suites.iter().enumerate().flat_map(of).collect()
}

/// Returns how many cases are skipped, by reason.
pub(crate) fn skipped(suites: &[Suite]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for why in suites.iter().flat_map(|suite| &suite.cases).filter_map(|case| case.skip_envoy.as_deref()) {
        *counts.entry(why).or_default() += 1;
    }
    counts
}

/// Skips the cases whose documents somebody has to publish.
pub(crate) fn without_documents(mut suites: Vec<Suite>) -> Vec<Suite> {
    for Suite { policies, cases, .. } in &mut suites {
        for case in cases {
            if policies.get(case.policy).is_some_and(|policy| !clusters(&policy.document).is_empty()) {
                case.skip_envoy.get_or_insert_with(|| UNPUBLISHED.to_owned());
            }
        }
    }
    suites
}

/// Returns the suites as they run in one gateway.
pub(crate) fn told_apart(suites: &[Suite]) -> Vec<Suite> {
    suites.iter().enumerate().map(|(number, suite)| apart(number, suite)).collect()
}

/// Returns the suites with the policies of this adapter. The records contain the version of the policy that the gateway has.
fn adapted(mut suites: Vec<Suite>, adapter: Adapter) -> Vec<Suite> {
    for policy in suites.iter_mut().flat_map(|suite| &mut suite.policies) {
        adapter.adapt(&mut policy.document);
    }
    suites
}

/// Returns a suite in which each case that counts requests or fetches documents has a separate policy with a unique name and its own
/// clusters, and each policy that revokes or suspends something has a unique name. The state that the workers of a gateway share outlives a case, and cases must not affect each other.
fn apart(number: usize, suite: &Suite) -> Suite {
    let mut apart = suite.clone();
    for (index, case) in apart.cases.iter_mut().enumerate().filter(|(_, case)| case.skip_envoy.is_none()) {
        let Some(mut policy) = suite.policies.get(case.policy).cloned() else { continue };
        let counts = ["limits", "auth_failure_limit"].iter().any(|member| policy.document.get(member).is_some())
            || remembers(&policy.document)
            || !clusters(&policy.document).is_empty();
        if let Some(name) = policy.document.get_mut("name").filter(|_| counts) {
            *name = json!(format!("{}-{number}-{index}", name.as_str().unwrap_or_default()));
            each_cluster(&mut policy.document, &mut |cluster| *cluster = format!("{cluster}-{number}-{index}"));
            case.policy = apart.policies.len();
            apart.policies.push(policy);
        }
    }
    for (index, policy) in apart.policies.iter_mut().enumerate().filter(|(_, policy)| publishes(&policy.document)) {
        if let Some(name) = policy.document.get_mut("name") {
            *name = json!(format!("{}-{number}-p{index}", name.as_str().unwrap_or_default()));
        }
    }
    apart
}

/// Returns whether a policy revokes or suspends something, which other policies of the same name would apply too.
fn publishes(policy: &Value) -> bool {
    match policy {
        Value::Object(members) => members.iter().any(|(name, value)| {
            matches!(name.as_str(), "revoked" | "revocations" | "suspended" | "streams") || publishes(value)
        }),
        Value::Array(items) => items.iter().any(publishes),
        _ => false,
    }
}

/// Returns whether a policy may enable replay protection.
fn remembers(policy: &Value) -> bool {
    let agents = policy.get("agents").and_then(Value::as_object).into_iter().flatten();
    policy.get("dpop").is_some() || agents.into_iter().any(|(_, agent)| agent.get("signing_keys").is_some())
}

fn listener(suite: usize, policy: usize) -> String {
    format!("corpus-{suite}-{policy}")
}

/// Returns the time of day.
pub(super) fn now() -> Result<Timestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is set before 1970")?;
    Ok(Timestamp::from_secs(since.as_secs()))
}

/// Returns the trace id for the request with this number. The prefix keeps it from being all zeros, which is invalid.
fn trace(number: usize) -> String {
    format!("c0{number:030x}")
}

fn traceparent(id: &str) -> String {
    format!("00-{id}-00000000000000c0-01")
}

fn lines(seen: &upstream::Seen) -> Vec<(Vec<u8>, Vec<u8>)> {
    let line = |name: &str, value: &str| (name.as_bytes().to_vec(), unescaped(value));
    [(":method", &seen.method), (":path", &seen.path), (":authority", &seen.host)]
        .into_iter()
        .map(|(name, value)| line(name, value))
        .chain(seen.headers.iter().filter(|(name, _)| name != "host").map(|(name, value)| line(name, value)))
        .collect()
}

/// Reverses `escape_ascii`.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match (byte == b'\\').then(|| rest.next()).flatten() {
            None => bytes.push(byte),
            Some(b'x') => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).unwrap_or_default();
                let value = digit() * 16 + digit();
                bytes.push(u8::try_from(value).unwrap_or_default());
            }
            Some(b't') => bytes.push(b'\t'),
            Some(b'r') => bytes.push(b'\r'),
            Some(b'n') => bytes.push(b'\n'),
            Some(other) => bytes.push(other),
        }
    }
    bytes
}

/// Returns the records by trace id, once there is one for each request or no new ones have arrived for a while.
fn await_log(site: &impl Site, wanted: usize) -> Result<HashMap<String, Line>> {
    let deadline = Instant::now() + PATIENCE;
    let mut latest = (0, Instant::now());
    loop {
        let lines = site.access_log();
        let broken = lines.iter().find(|line| line.get("unreadable").is_some());
        ensure!(broken.is_none(), "a line of the access log is not JSON: {}", broken.unwrap_or(&Value::Null));
        let log: HashMap<_, _> = lines.iter().filter_map(line).collect();
        let count = log.keys().filter(|id| **id != trace(0)).count();
        if count != latest.0 {
            latest = (count, Instant::now());
        }
        // A request that Envoy itself rejected has no record, so do not wait long for the rest.
        if count >= wanted || latest.1.elapsed() > Duration::from_secs(2) {
            return Ok(log);
        }
        ensure!(Instant::now() < deadline, "the access log does not end");
        thread::sleep(Duration::from_millis(50));
    }
}

fn line(line: &Value) -> Option<(String, Line)> {
    let record = record_in(line)?;
    let id = record.get("trace_id")?.as_str()?.to_owned();
    let details = line.get("details").and_then(Value::as_str).unwrap_or_default().to_owned();
    Some((id, Line { record, details }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unescaping_restores_every_byte() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescaped(&all.escape_ascii().to_string()), all);
    }

    #[test]
    fn the_module_runs_the_same_cases_with_policies_for_it() {
        let suites = crate::corpus::suites().unwrap();
        let for_module = adapted(suites.clone(), Adapter::Module);
        assert_eq!(skipped(&for_module), skipped(&suites));
        let gateways = |suites: &[Suite]| -> Vec<Value> {
            suites.iter().flat_map(|suite| &suite.policies).map(|policy| policy.document["gateway"].clone()).collect()
        };
        for (before, after) in gateways(&suites).into_iter().zip(gateways(&for_module)) {
            let expected = if before == "envoy" { json!("envoy-module") } else { before };
            assert_eq!(after, expected);
        }
        assert!(gateways(&for_module).iter().any(|gateway| gateway == "envoy-module"));
    }

    #[test]
    fn skipped_cases_are_counted_by_their_first_reason() {
        let suites = crate::corpus::suites().unwrap();
        let all = suites.iter().flat_map(|suite| &suite.cases).count();
        let here = skipped(&suites);
        assert!(!here.contains_key(UNPUBLISHED));
        let there = without_documents(suites.clone());
        let mut counts = skipped(&there);
        assert!(counts.remove(UNPUBLISHED).is_some_and(|count| count > 0 && count < all));
        assert_eq!(counts, here);
    }
}

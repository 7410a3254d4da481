//! The test requests: the engine's decision about each, and the bytes that the client sends and that the gate forwards.

use anyhow::{Context as _, Result, anyhow, ensure};
use callgate_kit::corpus::{self, Call, Decision, End, Seen, run};
use serde_json::Value;

use super::reading::Reading;
use super::strict::{self, Lines, Routes};
use crate::client::Request;
use crate::corpus::{described, suites};
use crate::paths;

/// Methods that every framework routes.
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A request, as sent by the client or as forwarded by the gate.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) request: Request,
    /// The strict reader's reading.
    pub(super) strict: Reading,
}

/// A request and what the gate does with it.
#[derive(Debug)]
pub(super) struct Case {
    /// Its name in the document.
    pub(super) title: String,
    /// The request as the client sends it, if the servers also get it without the gate.
    pub(super) raw: Option<Sent>,
    /// The request as the gate forwards it, if it does.
    pub(super) forwarded: Option<Sent>,
    /// The description of the gate's decision in the document.
    pub(super) gate: String,
}

/// All requests.
#[derive(Debug)]
pub(super) struct Requests {
    /// Requests to the endpoints of this folder's policy.
    own: Vec<Case>,
    /// The same requests, decided by a policy with `merges: [form, json]`.
    own_with_merged_json: Vec<Case>,
    /// Allowed requests of the corpus. No server has routes for their paths.
    pub(super) corpus: Vec<Case>,
}

impl Requests {
    /// Loads all cases and lets the engine decide them.
    pub(super) fn load() -> Result<Self> {
        Ok(Self { own: own(0)?, own_with_merged_json: own(1)?, corpus: from_corpus()? })
    }

    /// Returns the requests to the endpoints of the policy that fits a server.
    pub(super) fn own(&self, merges_json: bool) -> &[Case] {
        if merges_json { &self.own_with_merged_json } else { &self.own }
    }
}

/// Returns the requests of this folder, decided by the policy with this index. Their expectations are about the first policy.
fn own(policy: usize) -> Result<Vec<Case>> {
    let folder = paths::root().join("test-harness/upstreams");
    let mut cases = Vec::new();
    for (file, shown_raw) in [("attacks.cases.yaml", true), ("allowed.cases.yaml", false)] {
        let mut suite = corpus::load(folder.join(file)).map_err(|wrong| anyhow!("{wrong}"))?;
        let policies = run::compile(&suite).map_err(|wrong| anyhow!("{wrong}"))?;
        let routes = Routes::of(&suite.policies.first().context("a suite has no policy")?.document)?;
        suite.cases.iter_mut().for_each(|case| case.policy = policy);
        for (index, case) in suite.cases.iter().enumerate() {
            let differences =
                if policy == 0 { run::one(&suite, &policies, index).unwrap_or_default() } else { Vec::new() };
            ensure!(differences.is_empty(), "{}", described(&suite, case, &differences));
            let (call, seen) = run::seen(&suite, &policies, index).context("a case is missing")?;
            let (forwarded, gate) = decided(case, &call, &seen, &routes)?;
            let raw = call.all_lines();
            let raw = shown_raw.then(|| Sent { request: request(&raw, &call), strict: routes.read(&raw) });
            cases.push(Case { title: case.intent.clone(), raw, forwarded, gate });
        }
    }
    Ok(cases)
}

/// Returns the forwarded request, and the document's description of the decision.
fn decided(case: &corpus::Case, call: &Call, seen: &Seen, routes: &Routes) -> Result<(Option<Sent>, String)> {
    let lines = match &seen.end {
        End::Answered { .. } => return Ok((None, format!("rejects it: `{}`", text(&seen.record, "reason")))),
        End::Forwarded { lines } => lines,
    };
    let sent = Sent { request: request(lines, call), strict: routes.read(lines) };
    let (endpoint, strict) = (text(&seen.record, "endpoint"), sent.strict.route.as_deref().unwrap_or_default());
    ensure!(strict == endpoint, "{}: the gate matches `{endpoint}`, a strict reader `{strict}`", case.intent);
    let removed = call.lines.iter().any(|line| line.0 != b"authorization" && !lines.contains(line));
    Ok((Some(sent), if removed { "removes the header" } else { "allows it" }.to_owned()))
}

fn text<'v>(record: &'v Value, member: &str) -> &'v str {
    record.get(member).and_then(Value::as_str).unwrap_or_default()
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the forwarded requests of the corpus, one for each method and target.
fn from_corpus() -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    let mut known = std::collections::BTreeSet::new();
    for suite in suites()? {
        let policies = run::compile(&suite).map_err(|wrong| anyhow!("{wrong}"))?;
        for (index, case) in suite.cases.iter().enumerate() {
            let call = case.call(suite.now);
            let method = text_of(&call.method);
            let upgrades = call.lines.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"upgrade"));
            let is_new = case.decision() == Decision::Allow
                && METHODS.contains(&&*method)
                && !upgrades
                && known.insert((method, call.target.clone()));
            if !is_new {
                continue;
            }
            let (call, seen) = run::seen(&suite, &policies, index).context("a case is missing")?;
            let End::Forwarded { lines } = &seen.end else { continue };
            let sent = Sent { request: request(lines, &call), strict: strict::echo(lines) };
            let title = format!("`{} {}`", text_of(&call.method), text_of(&call.target));
            cases.push(Case { title, raw: None, forwarded: Some(sent), gate: String::new() });
        }
    }
    Ok(cases)
}

/// Returns the bytes of an HTTP/1.1 request as Envoy writes them. The body is framed as its headers state, or chunked if they state
/// nothing.
fn request(lines: &Lines, call: &Call) -> Request {
    let of = |name: &str| {
        lines.iter().find(|(own, _)| own == name.as_bytes()).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let mut request = Request::new(of(":method"), of(":path")).host(of(":authority"));
    let mut framed = false;
    for (name, value) in lines.iter().filter(|(name, _)| !name.starts_with(b":")) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        request = if is("content-length") && !framed {
            framed = true;
            request.body(call.whole_body())
        } else if is("transfer-encoding") && !framed {
            framed = true;
            chunked(request, call)
        } else {
            request.header(name, value)
        };
    }
    match (framed, call.end_of_stream) {
        (false, false) => chunked(request, call),
        // Envoy adds `Content-Length: 0` to methods that usually have a body.
        (false, true) if [&b"POST"[..], b"PUT", b"PATCH"].contains(&call.method.as_slice()) => request.body(b""),
        _ => request,
    }
}

fn chunked(request: Request, call: &Call) -> Request {
    let parts: Vec<&[u8]> = call.body.iter().map(Vec::as_slice).filter(|part| !part.is_empty()).collect();
    request.chunked(&parts)
}

//! Describes one record in words.

use std::fmt;

use super::chain;
use super::operation::{MEMBER, operation, plain};
use super::record::{Outcome, Record, meaning};
use super::summary::show;
use crate::escape;

/// A description of a record, safe for a terminal. `place` returns the position of a rule if it is known.
pub struct Words<'r> {
    /// The record.
    pub record: &'r Record,
    /// Returns the position of the rule at this path, such as `policy.yaml:12:5`.
    pub place: &'r dyn Fn(&str) -> Option<String>,
}

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.record;
        let verdict = match record.decision.as_str() {
            "allow" => "allowed",
            "deny" => "denied",
            _ => "observed: the request was allowed, but would be denied with `enforce`",
        };
        self.row(f, verdict, &because(&record.reason))?;
        self.rule(f, &record.rule)?;
        for denial in record.would_deny.iter().skip(1) {
            self.row(f, "and", &because(&denial.reason))?;
            self.rule(f, &denial.rule)?;
        }
        let id = record.id.as_deref().unwrap_or("without an ID");
        let time = record.time_ms.map_or("at an unknown time".to_owned(), show);
        self.row(f, "when", &format!("{time}, decision {id}"))?;
        self.row(f, "who", &who(record))?;
        self.row(f, "what", &what(record))?;
        for (name, value) in &record.headers {
            self.row(f, "header", &format!("{name}: {value}"))?;
        }
        // `what` describes the operation, if it can be described.
        let more = record.more().filter(|(name, value)| *name != MEMBER || operation(value).is_none());
        // `who` describes the chain, if it can be described.
        let more = more.filter(|(name, _)| *name != chain::MEMBER || record.chain().is_none());
        let more: Vec<_> = more.map(|(name, value)| format!("{name} {}", plain(value))).collect();
        if !more.is_empty() {
            self.row(f, "more", &more.join(", "))?;
        }
        let ids = [("request", &record.request_id), ("trace", &record.trace_id)];
        let ids: Vec<_> = ids.iter().filter_map(|(name, id)| id.as_ref().map(|id| format!("{name} {id}"))).collect();
        if !ids.is_empty() {
            self.row(f, "ids", &ids.join(", "))?;
        }
        let Record { policy, policy_version, module_version, .. } = record;
        self.row(f, "policy", &format!("{policy}, version {policy_version}, module {module_version}"))?;
        match &record.outcome {
            Some(outcome) => self.row(f, "outcome", &describe_outcome(outcome)),
            None => Ok(()),
        }
    }
}

impl Words<'_> {
    fn row(&self, f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
        writeln!(f, "{label:<8}  {}", escape::text(text))
    }

    fn rule(&self, f: &mut fmt::Formatter<'_>, rule: &str) -> fmt::Result {
        if rule.is_empty() {
            return Ok(());
        }
        let place = (self.place)(rule).map(|place| format!("{place}: ")).unwrap_or_default();
        self.row(f, "", &format!("{place}{rule}"))
    }
}

fn because(code: &str) -> String {
    match meaning(code) {
        Some(meaning) => format!("{code}: {meaning}"),
        None => code.to_owned(),
    }
}

fn who(record: &Record) -> String {
    let facts = [
        ("agent", &record.agent),
        ("client", &record.client),
        ("subject", &record.subject),
        ("issuer", &record.issuer),
        ("tenant", &record.tenant),
        ("token", &record.token),
        ("from", &record.source),
    ];
    let mut known: Vec<String> =
        facts.iter().filter_map(|(name, fact)| fact.as_ref().map(|fact| format!("{name} {fact}"))).collect();
    known.extend(record.chain().map(|chain| format!("chain {chain}")));
    if !record.scopes.is_empty() {
        known.push(format!("scopes {}", record.scopes.join(" ")));
    }
    if known.is_empty() { "no identity was verified".to_owned() } else { known.join(", ") }
}

fn what(record: &Record) -> String {
    let method = record.method.as_deref().unwrap_or("?");
    let host = record.host.as_deref().unwrap_or_default();
    let path = record.path.as_deref().or(record.raw_path.as_deref()).unwrap_or("?");
    let mut text = format!("{method} {host}{path}");
    if !record.query.is_empty() {
        text.push_str(&format!(", query {}", record.query.join(" & ")));
    }
    if let Some(endpoint) = &record.endpoint {
        text.push_str(&format!(", endpoint {endpoint}"));
    }
    if let Some(operation) = record.more.get(MEMBER).and_then(operation) {
        text.push_str(&format!(", {operation}"));
    }
    text
}

fn describe_outcome(outcome: &Outcome) -> String {
    let status = outcome.status.map_or("no status was sent".to_owned(), |status| format!("status {status}"));
    let ended = outcome.ended.as_deref().map(|ended| match ended {
        "complete" => "the response is complete",
        "client_gone" => "the client disconnected",
        "timeout" => "a timeout ended it",
        "upstream_failed" => "the upstream failed",
        "gateway" => "the gateway ended it",
        other => other,
    });
    let ended = ended.map(|ended| match meaning(ended) {
        Some(meaning) => format!("Callgate ended the stream: {ended} ({meaning})"),
        None => ended.to_owned(),
    });
    let changed = &outcome.tools_changed;
    let bytes = |count: Option<u64>, way: &str| count.map(|count| format!("{count} bytes {way}"));
    let facts = [
        ended,
        outcome.duration_ms.map(|duration| format!("{duration} ms")),
        bytes(outcome.bytes_received, "received"),
        bytes(outcome.bytes_sent, "sent"),
        outcome.details.clone(),
        (!changed.is_empty()).then(|| format!("tools that were removed because they changed: {}", changed.join(", "))),
    ];
    [status].into_iter().chain(facts.into_iter().flatten()).collect::<Vec<_>>().join(", ")
}

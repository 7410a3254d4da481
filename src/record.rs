//! The record of a decision: one JSON object, from which a call can be reconstructed.
//!
//! It never holds a token, key, signature, secret or cookie; a token appears as a short hash, so that its uses can be found.

use serde::Serialize;

use crate::call::DecisionId;
use crate::decision::{Facts, Grant, Rule, Step};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::time::Timestamp;
use crate::upstream::granted;

/// The longest text from a request that a record takes over, in bytes.
const MOST_TEXT: usize = 1024;

/// The record of a decision.
#[derive(Debug, Default, Serialize)]
pub struct Record<'r> {
    /// `allow`, `deny`, or `observe` for a call that would have been denied.
    decision: &'static str,
    /// The reason's code; on an allowed call the ground of it.
    reason: &'static str,
    /// The place in the policy of the rule that decided.
    #[serde(skip_serializing_if = "String::is_empty")]
    rule: String,
    /// Under observation: every reason for which the call would have been denied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    would_deny: Vec<WouldDeny>,
    /// The decision's name; without one where the host gave none.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The moment, in milliseconds since 1970-01-01 UTC; without one where the host gave none.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'r str>,
    /// The policy's name of the issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'r str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<&'r str>,
    /// The first digits of the token's SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'r str>,
    /// Whether the endpoint's body is passed on as it arrives.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    body_streams: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'r str>,
    /// The canonical path.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// The path as it came, escaped, where it has no canonical form.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_path: Option<String>,
    /// The names of the query's parameters, without their values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    query: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// The gateway's own id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// The trace id of a valid `traceparent` (W3C Trace Context).
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'r str>,
    policy: &'r str,
    policy_version: &'r str,
    module_version: &'static str,
}

#[derive(Debug, Serialize)]
struct WouldDeny {
    reason: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    rule: String,
}

impl Step<'_> {
    /// The record of this decision.
    #[must_use]
    pub fn record(&self) -> Record<'_> {
        let facts = self.facts();
        let (decision, reason, rule) = self.verdict();
        let token = facts.token.as_deref();
        let observed = decision == "observe";
        let would_deny = facts.denials.iter().filter(|_| observed);
        Record {
            decision,
            reason,
            rule: rule.to_string(),
            would_deny: would_deny
                .map(|denial| WouldDeny { reason: denial.reason.code(), rule: denial.rule.to_string() })
                .collect(),
            id: Some(facts.call.id.to_string()),
            time_ms: Some(milliseconds(facts.call.now)),
            agent: facts.agent.map(|agent| &*agent.name),
            issuer: token.map(|token| token.issuer_name()),
            client: token.and_then(|token| token.client()),
            subject: token.and_then(|token| token.subject()),
            scopes: token.map(|token| granted(token, facts.agent).collect()).unwrap_or_default(),
            token: token.map(|token| token.token_hash()),
            endpoint: facts.endpoint.map(|endpoint| &*endpoint.id),
            body_streams: facts.endpoint.is_some_and(|endpoint| endpoint.streams),
            method: facts.method.map(|method| method.as_str()),
            host: facts.host.as_ref().map(|host| host.as_str()),
            path: facts.path.as_ref().map(|path| bounded(path.as_str().as_bytes())),
            raw_path: facts.path.is_none().then(|| raw_path(facts)),
            query: facts.query.as_ref().map(query_names).unwrap_or_default(),
            source: facts.call.source.map(|source| source.to_string()),
            request_id: facts.head.request_id.map(bounded),
            trace_id: facts.head.traceparent.only().and_then(trace_id),
            policy: &facts.policy.name,
            policy_version: &facts.policy.version,
            module_version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn verdict(&self) -> (&'static str, &'static str, Rule<'_>) {
        match self {
            Self::Deny(deny) => ("deny", deny.denial.reason.code(), deny.denial.rule),
            Self::Allow(allow) => {
                let endpoint = allow.facts.endpoint;
                let rule = endpoint.map_or(Rule::Gate, |endpoint| Rule::Endpoint(endpoint.position, ""));
                match (allow.grant, allow.facts.denials.first()) {
                    (Grant::Observed, Some(first)) => ("observe", first.reason.code(), first.rule),
                    (grant, _) => (
                        "allow",
                        grant.code(),
                        if grant == Grant::Preflight { Rule::Policy("preflight") } else { rule },
                    ),
                }
            }
        }
    }
}

impl Grant {
    /// The ground's stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Endpoint => "allowed",
            Self::Public => "public",
            Self::Preflight => "preflight",
            Self::Observed => "observed",
        }
    }
}

impl<'r> Record<'r> {
    /// The record of a call that was denied because the host did not give what it takes to decide it.
    #[must_use]
    pub fn undecided(policy: &'r Policy, now: Option<Timestamp>, id: Option<DecisionId>) -> Self {
        Self {
            decision: "deny",
            reason: Reason::HostError.code(),
            id: id.map(|id| id.to_string()),
            time_ms: now.map(milliseconds),
            policy: &policy.name,
            policy_version: &policy.version,
            module_version: env!("CARGO_PKG_VERSION"),
            ..Self::default()
        }
    }

    /// The outcome and the reason, by which decisions are counted.
    #[must_use]
    pub fn outcome(&self) -> (&'static str, &'static str) {
        (self.decision, self.reason)
    }

    /// The record as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // INVARIANT: a record holds only strings, numbers and lists of them, which JSON can always carry.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn milliseconds(moment: Timestamp) -> u64 {
    moment.as_nanos() / 1_000_000
}

fn raw_path(facts: &Facts<'_>) -> String {
    let (path, _) = crate::request::split_target(facts.head.target);
    bounded(path)
}

fn query_names(query: &crate::request::Query<'_>) -> Vec<String> {
    const MOST_NAMES: usize = 32;
    query.parameters().take(MOST_NAMES).map(|(name, _)| bounded(name.as_bytes())).collect()
}

/// Bytes as text: those that are not visible ASCII escaped, the rest cut with an ellipsis where it grows too long.
fn bounded(bytes: &[u8]) -> String {
    let mut text = bytes.get(..bytes.len().min(MOST_TEXT)).unwrap_or_default().escape_ascii().to_string();
    if bytes.len() > MOST_TEXT {
        text.push('…');
    }
    text
}

/// The trace id of a `traceparent` of any version (W3C Trace Context, section 3.2).
fn trace_id(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.splitn(5, '-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
    };
    let known_end = version != "00" || parts.next().is_none();
    let whole = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    let null = |part: &str| part.bytes().all(|b| b == b'0');
    (whole && known_end && version != "ff" && !null(trace) && !null(parent)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_traceparent_has_a_trace_id() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let good = format!("00-{id}-b7ad6b7169203331-01");
        assert_eq!(trace_id(good.as_bytes()), Some(id));
        assert_eq!(trace_id(format!("01-{id}-b7ad6b7169203331-01-more").as_bytes()), Some(id));
        for wrong in [
            format!("ff-{id}-b7ad6b7169203331-01"),
            format!("00-{id}-b7ad6b7169203331-01-more"),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{}-b7ad6b7169203331-01", id.to_uppercase()),
            format!("00-{id}-b7ad6b7169203331"),
            id.to_owned(),
        ] {
            assert_eq!(trace_id(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(trace_id(b"\xff"), None);
    }

    #[test]
    fn text_is_escaped_and_bounded() {
        assert_eq!(bounded(b"/a\r\n\xff"), "/a\\r\\n\\xff");
        let long = bounded(&[b'a'; 5000]);
        assert!(long.starts_with("aaaa") && long.ends_with('…') && long.chars().count() == MOST_TEXT + 1);
    }
}

//! The record of a decision: one JSON object that describes the request and the decision.
//!
//! A record never contains a token, key, signature, secret or cookie. A short hash represents a token, so its uses can be
//! found.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

mod json;
mod outcome;
mod redact;
#[cfg(feature = "schema")]
mod schema;

pub use outcome::{Completion, Ended, Ending};

use crate::decision::upstream::granted;
use crate::decision::{Allow, BodySeen, Decision, Deny, Facts, Ground, Rule};
use crate::identity::token::VerifiedToken;
use crate::policy::{Agent, Policy};
use crate::reason::Reason;
use crate::request::incoming::{DecisionId, Source};
use crate::request::shown::{bounded, bounded_to, is_shown_as_is, parameter_is_secret, visible};
use crate::text::time::Timestamp;

#[cfg(feature = "schema")]
use schemars::JsonSchema;

/// The maximum number of query parameters in a record.
const MOST_PARAMETERS: usize = 32;
/// The maximum size of the query in a record, in bytes, for all parameters together.
const MOST_QUERY: usize = 4096;
/// The maximum length of a header value in a record, in bytes.
const MOST_HEADER: usize = 256;

/// Declares the record, and lists the names of its members in the order in which they are written.
macro_rules! record {
    ($(#[$of_all:meta])+ pub struct Record<'r> { $($(#[$about:meta])+ $member:ident: $kind:ty,)+ }) => {
        $(#[$of_all])+
        pub struct Record<'r> { $($(#[$about])+ $member: $kind,)+ }

        impl Record<'_> {
            /// The names of all members, in the order in which they are written.
            pub const MEMBERS: &'static [&'static str] = &[$(stringify!($member)),+];
        }
    };
}

record! {
    /// The record of a decision: one JSON object with the same members for allowed and denied requests. Members without a value
    /// are absent.
    #[derive(Debug, Default, Serialize)]
    #[cfg_attr(feature = "schema", derive(JsonSchema))]
    #[serde(deny_unknown_fields)]
    pub struct Record<'r> {
        /// The decision.
        decision: Verdict,
        /// The code of the reason for the denial (see reasons.md), or the ground on which the request is forwarded.
        #[cfg_attr(feature = "schema", schemars(schema_with = "schema::reasons"))]
        reason: &'static str,
        /// The location in the policy of the rule that decided. It is absent for a built-in rule.
        #[serde(skip_serializing_if = "is_empty")]
        rule: Cow<'r, str>,
        /// In observation: every reason for which the request would have been denied, in the order of the checks.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        would_deny: Vec<WouldDeny>,
        /// The id of the decision. It is also in the answer's `instance` and in a header for the upstream. It is absent if the
        /// gateway provided no random numbers.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schemars(with = "Option<String>", regex(pattern = "^[0-9a-f]{32}$")))]
        id: Option<DecisionId>,
        /// The time of the decision, in milliseconds since 1970-01-01 UTC. It is absent if the gateway provided no time.
        #[serde(skip_serializing_if = "Option::is_none")]
        time_ms: Option<u64>,
        /// The agent that the credential belongs to, even if the request is denied.
        #[serde(skip_serializing_if = "Option::is_none")]
        agent: Option<&'r str>,
        /// The policy's name of the issuer whose token was verified.
        #[serde(skip_serializing_if = "Option::is_none")]
        issuer: Option<&'r str>,
        /// The client, from the token. In `client`, `subject` and `scopes`, characters that are invisible or reorder the text
        /// around them are escaped, such as `\u{202e}`; a backslash is doubled; and text longer than 1,024 bytes is truncated
        /// and ends with `…`.
        #[serde(skip_serializing_if = "Option::is_none")]
        client: Option<Cow<'r, str>>,
        /// The subject, from the token. If the policy sets `audit.subject: hash`, it is `hmac:` and the first 16 hexadecimal
        /// digits of HMAC-SHA-256 over the subject.
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<Cow<'r, str>>,
        /// The scopes of the token and of the agent's registration.
        #[serde(skip_serializing_if = "Scopes::is_empty")]
        #[cfg_attr(feature = "schema", schemars(with = "Vec<&'r str>"))]
        scopes: Scopes<'r>,
        /// The first 16 hexadecimal digits of SHA-256 over the token's `header.payload`, to find other uses of the token. The
        /// signature is left out, because an ECDSA signature has a second valid form.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[0-9a-f]{16}$")))]
        token: Option<&'r str>,
        /// The proof that the caller holds the key that its token is bound to. It is absent for a bearer token, and if no proof
        /// was accepted.
        #[serde(skip_serializing_if = "Option::is_none")]
        proof: Option<ProofKind>,
        /// The `keyid` of the request's signature, if one was verified.
        #[serde(skip_serializing_if = "Option::is_none")]
        signed_by: Option<&'r str>,
        /// The id of the endpoint that the request matched.
        #[serde(skip_serializing_if = "Option::is_none")]
        endpoint: Option<&'r str>,
        /// `true` if the endpoint's body is forwarded as it arrives.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        body_streams: bool,
        /// `true` if the body matches its signed digest and was checked before it was forwarded.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        body_checked: bool,
        /// `true` if the headers of the request were forwarded before its body was checked, which `body_check` accepts.
        /// Without `body_checked`, the body did not arrive or did not match.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        body_late: bool,
        /// The method. In `method`, `host`, the paths and `query`, text that is longer than 256 bytes or looks like a
        /// credential is replaced by its length and the first digits of its SHA-256: `[43 bytes, sha256 0123456789abcdef]`.
        /// Text looks like a credential if it is a JSON Web Token, or 32 or more characters of base64 or hexadecimal digits
        /// that are neither a UUID nor words.
        #[serde(skip_serializing_if = "Option::is_none")]
        method: Option<Cow<'r, str>>,
        /// The host in lower case, without the ports 80 and 443.
        #[serde(skip_serializing_if = "Option::is_none")]
        host: Option<Cow<'r, str>>,
        /// The canonical path. Each segment is shown or replaced.
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<Cow<'r, str>>,
        /// The path as the client sent it, escaped, if it has no canonical form.
        #[serde(skip_serializing_if = "Option::is_none")]
        raw_path: Option<Cow<'r, str>>,
        /// The query's parameters as the client sent them: names, or `name=value` if the policy sets `audit.query: values`. The
        /// value of a parameter whose name looks like that of a secret is left out. If there are more than 32 parameters or
        /// 4,096 bytes, the last item is `…`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        query: Vec<Cow<'r, str>>,
        /// The headers that the policy lists in `audit.include`, by name. Lines with the same name are joined by `, `. A value
        /// longer than 256 bytes is truncated and ends with `…`. A value that contains a JSON Web Token is replaced as in
        /// `path`.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<&'r str, String>,
        /// The address that the request came from, without its port.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
        source: Option<Source>,
        /// The gateway's own id of the request. Some gateways keep an id that the client sent, so a JSON Web Token is replaced
        /// here too.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<Cow<'r, str>>,
        /// The trace id of a valid `traceparent` (W3C Trace Context).
        #[serde(skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[0-9a-f]{32}$")))]
        trace_id: Option<&'r str>,
        /// The name of the policy.
        policy: &'r str,
        /// SHA-256 over the policy's canonical JSON, as `callgate check` prints it.
        #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[0-9a-f]{64}$")))]
        policy_version: &'r str,
        /// The version of the module.
        module_version: &'static str,
        /// The outcome of the request, if the policy sets `audit.outcome: true`. It is added when the request has ended.
        #[serde(skip_serializing_if = "Option::is_none")]
        outcome: Option<Completion>,
    }
}

/// The scopes of a caller. They are collected only when the record is written.
#[derive(Debug, Default)]
struct Scopes<'r> {
    token: Option<&'r VerifiedToken>,
    agent: Option<&'r Agent>,
}

impl Scopes<'_> {
    fn is_empty(&self) -> bool {
        granted(self.token, self.agent).next().is_none()
    }
}

impl Serialize for Scopes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The scopes of a policy consist of visible ASCII characters.
        if self.token.is_none_or(VerifiedToken::is_plain) {
            return serializer.collect_seq(granted(self.token, self.agent));
        }
        serializer.collect_seq(granted(self.token, self.agent).map(visible))
    }
}

/// A proof that the caller holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
enum ProofKind {
    /// A DPoP proof (RFC 9449) for this request.
    Dpop,
}

/// A decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// The request is forwarded.
    Allow,
    /// The request is not forwarded. Callgate answers it, unless the client has already disconnected.
    #[default]
    Deny,
    /// The request would have been denied. The denial is only recorded, and the request is forwarded.
    Observe,
}

/// A reason for which a request would have been denied.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
struct WouldDeny {
    /// The code of the reason.
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::denials"))]
    reason: &'static str,
    /// The location of the rule in the policy. It is absent for a built-in rule.
    #[serde(skip_serializing_if = "String::is_empty")]
    rule: String,
}

impl Decision<'_> {
    /// Returns the record of this decision.
    #[must_use]
    pub fn record(&self) -> Record<'_> {
        match self {
            Self::Allow(allow) => allow.record(),
            Self::Deny(Deny { facts, denial }) => Record::of(facts, (Verdict::Deny, denial.reason.code(), denial.rule)),
        }
    }
}

impl Allow<'_> {
    /// Returns the record of this decision.
    #[must_use]
    pub fn record(&self) -> Record<'_> {
        Record::of(&self.facts, self.verdict())
    }

    fn verdict(&self) -> (Verdict, &'static str, Rule<'_>) {
        let rule = self.facts.endpoint.map_or(Rule::Gate, |endpoint| Rule::Endpoint(endpoint.position, ""));
        match (self.ground(), self.facts.denials.first()) {
            (Ground::Observed, Some(first)) => (Verdict::Observe, first.reason.code(), first.rule),
            (Ground::Preflight, _) => (Verdict::Allow, Ground::Preflight.code(), Rule::Policy("preflight")),
            (ground, _) => (Verdict::Allow, ground.code(), rule),
        }
    }
}

impl<'r> Record<'r> {
    fn of(facts: &'r Facts<'_>, (decision, reason, rule): (Verdict, &'static str, Rule<'r>)) -> Self {
        let token = facts.token.as_deref();
        let observed = decision == Verdict::Observe;
        let would_deny = facts.denials.iter().filter(|_| observed);
        Record {
            decision,
            reason,
            rule: rule.text(facts.endpoint),
            would_deny: would_deny
                .map(|denial| WouldDeny { reason: denial.reason.code(), rule: denial.rule.to_string() })
                .collect(),
            id: Some(facts.request.id),
            time_ms: Some(milliseconds(facts.request.now)),
            agent: facts.agent.map(|agent| &*agent.name),
            issuer: token.map(|token| token.issuer_name()),
            client: token.and_then(|token| Some(of_token(token, token.client()?))),
            subject: token.and_then(|token| Some(shown_subject(token, token.subject()?, facts.policy))),
            scopes: Scopes { token, agent: facts.agent.filter(|_| token.is_some() || facts.signature.is_some()) },
            token: token.map(|token| token.token_hash()),
            proof: facts.proof.map(|_| ProofKind::Dpop),
            signed_by: facts.signature.as_ref().map(|signature| &*signature.key.keyid),
            endpoint: facts.endpoint.map(|endpoint| &*endpoint.id),
            body_streams: facts.endpoint.is_some_and(|endpoint| endpoint.streams),
            body_checked: matches!(facts.body, Some(BodySeen::Checked | BodySeen::CheckedLate)),
            body_late: matches!(facts.body, Some(BodySeen::Awaited | BodySeen::CheckedLate)),
            method: facts.method.map(|method| shown_text(method.as_str(), redact::shown)),
            host: facts.host.as_ref().map(|host| shown_host(host.as_str(), facts)),
            path: facts.path.as_ref().map(|path| shown_text(path.as_str(), redact::path)),
            raw_path: facts.path.is_none().then(|| raw_path(facts)),
            query: facts.query.as_ref().map(|query| parameters(query, facts.policy)).unwrap_or_default(),
            headers: included(facts),
            source: facts.request.source,
            request_id: facts.head.request_id.map(|id| escaped(redact::without_jws(id))),
            trace_id: facts.head.traceparent.only().and_then(trace_id),
            policy: &facts.policy.name,
            policy_version: &facts.policy.version,
            module_version: env!("CARGO_PKG_VERSION"),
            outcome: None,
        }
    }
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Observe => "observe",
        }
    }
}

impl Ground {
    /// The grounds that a record may contain as its reason. The record of an observed request contains the reason for the
    /// denial.
    pub const RECORDED: [Self; 3] = [Self::Endpoint, Self::Public, Self::Preflight];

    /// Returns the stable code of the ground.
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
    /// Returns the record of a request that was denied because the host failed.
    #[must_use]
    pub fn undecided(policy: &'r Policy, now: Option<Timestamp>, id: Option<DecisionId>) -> Self {
        Self {
            decision: Verdict::Deny,
            reason: Reason::HostError.code(),
            id,
            time_ms: now.map(milliseconds),
            policy: &policy.name,
            policy_version: &policy.version,
            module_version: env!("CARGO_PKG_VERSION"),
            ..Self::default()
        }
    }

    /// Returns the outcome and the reason, which are the labels of the decision metric.
    #[must_use]
    pub fn outcome(&self) -> (&'static str, &'static str) {
        (self.decision.name(), self.reason)
    }

    /// Returns the record as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // INVARIANT: a record contains only strings, numbers and lists of them, which JSON can always represent.
        json::to_json(self).or_else(|| serde_json::to_vec(self).ok()).unwrap_or_default()
    }
}

fn is_empty(text: &str) -> bool {
    text.is_empty()
}

fn milliseconds(moment: Timestamp) -> u64 {
    moment.as_nanos() / 1_000_000
}

fn raw_path<'f>(facts: &'f Facts<'_>) -> Cow<'f, str> {
    let (path, _) = crate::request::split_target(facts.head.target);
    shown_path(path)
}

/// Returns text that a client chose, redacted by `redact`. Most texts are short and plain and are returned unchanged.
fn shown_text(text: &str, redact: impl Fn(&[u8]) -> Cow<'_, [u8]>) -> Cow<'_, str> {
    if redact::is_short(text) && is_shown_as_is(text) { Cow::Borrowed(text) } else { escaped(redact(text.as_bytes())) }
}

/// Returns text that a client chose, with credentials replaced.
fn shown(text: &[u8]) -> Cow<'_, str> {
    escaped(redact::shown(text))
}

/// Returns a path, with credentials in its segments replaced.
fn shown_path(path: &[u8]) -> Cow<'_, str> {
    escaped(redact::path(path))
}

/// Returns the host, redacted unless the policy names it, because such a host is no secret. A host that matched an endpoint is
/// named by the policy, so that lookup is skipped.
fn shown_host<'h>(host: &'h str, facts: &Facts<'_>) -> Cow<'h, str> {
    let is_named = facts.endpoint.is_some() || facts.policy.table(host).is_some();
    if is_named { Cow::Borrowed(host) } else { shown(host.as_bytes()) }
}

fn escaped(text: Cow<'_, [u8]>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => bounded(text),
        Cow::Owned(text) => Cow::Owned(bounded(&text).into_owned()),
    }
}

/// Returns a claim of a token. Whether the token contains only plain characters was determined when it was verified.
fn of_token<'t>(token: &VerifiedToken, claim: &'t str) -> Cow<'t, str> {
    if token.is_plain() { Cow::Borrowed(claim) } else { visible(claim) }
}

fn shown_subject<'s>(token: &VerifiedToken, subject: &'s str, policy: &Policy) -> Cow<'s, str> {
    match &policy.audit.subject_key {
        None => of_token(token, subject),
        Some(key) => Cow::Owned(key.hash(subject)),
    }
}

/// Returns the parameters of a query that the policy includes in records.
fn parameters<'q>(query: &'q crate::request::Query<'_>, policy: &Policy) -> Vec<Cow<'q, str>> {
    let mut room = MOST_QUERY;
    let mut list = Vec::new();
    for (name, value) in query.parameters() {
        let Some(left) = room.checked_sub(name.len()).filter(|_| list.len() < MOST_PARAMETERS) else {
            list.push("…".into());
            break;
        };
        room = left;
        let value = value.filter(|value| policy.audit.query_values && !parameter_is_secret(name, value));
        let name = shown(name.as_bytes());
        list.push(match value {
            Some(value) => {
                let value = redact::shown(value.as_bytes());
                let value = bounded_to(&value, room);
                room = room.saturating_sub(value.len());
                format!("{name}={value}").into()
            }
            None => name,
        });
    }
    list
}

/// Returns the headers that the policy includes in records.
fn included<'r>(facts: &Facts<'r>) -> BTreeMap<&'r str, String> {
    let mut headers = BTreeMap::new();
    for name in &facts.policy.audit.include {
        let lines = facts.request.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes()));
        let values: Vec<&[u8]> = lines.map(|(_, value)| value).collect();
        if !values.is_empty() {
            let value = values.join(&b", "[..]);
            headers.insert(&**name, bounded_to(&redact::without_jws(&value), MOST_HEADER).into_owned());
        }
    }
    headers
}

/// Returns the trace id of a `traceparent` of any version (W3C Trace Context, section 3.2).
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
    fn reads_a_trace_id_only_from_a_valid_traceparent() {
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
}

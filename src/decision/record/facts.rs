//! Builds the record of a decision from its facts: selects them, redacts text that a client chose, and bounds its size.
//!
//! The declaration of a member belongs in `record`, and the rules for what looks like a credential belong in `redact`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{CertificateRecord, ProofKind, Record, RpcRecord, Scopes, Verdict, WouldDeny, milliseconds, redact};
use crate::allowlist::operations::OperationKind;
use crate::decision::{Allow, BodySeen, Caller, Decision, Deny, Facts, Ground, Proven, RpcFacts, Rule, Serve};
use crate::document::Authenticate;
use crate::identity::crypto::{first, sha256};
use crate::identity::token::{Chain, VerifiedToken};
use crate::policy::Policy;
use crate::request::headers::name_is;
use crate::request::shown::{bounded, bounded_to, is_shown_as_is, parameter_is_secret, visible};
use crate::text::ascii::are_printable;

/// The maximum number of query parameters in a record.
const MOST_PARAMETERS: usize = 32;
/// The maximum size of the query in a record, in bytes, for all parameters together.
const MOST_QUERY: usize = 4096;
/// The maximum length of a header value in a record, in bytes.
const MOST_HEADER: usize = 256;

impl Decision<'_> {
    /// Returns the record of this decision.
    #[must_use]
    pub fn record(&self) -> Record<'_> {
        match self {
            Self::Allow(allow) => allow.record(),
            Self::Serve(Serve { facts, .. }) => {
                Record::of(facts, (Verdict::Allow, Ground::Metadata.code(), Rule::Policy("metadata")))
            }
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
        // Next to a token, a certificate may identify the caller. The record has the token's hash, and names whom the upstream sees.
        let workload = match &facts.caller {
            Some(Caller { by: Proven::Certificate(certificate), .. }) => Some(certificate),
            _ => None,
        };
        let named = token.filter(|_| workload.is_none());
        let has_credential =
            token.is_some() || facts.signature.is_some() || facts.api_key.is_some() || facts.certificate.is_some();
        let accepts_several = facts.endpoint.is_some_and(|endpoint| endpoint.authenticate.len() > 1);
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
            issuer: named.map(|token| token.issuer_name()),
            tenant: named.and_then(|token| token.tenant()),
            client: named.and_then(|token| Some(of_token(token, token.client()?))),
            subject: match workload {
                Some(certificate) => certificate.spiffe_id().map(|id| of_workload(id, facts.policy)),
                None => named.and_then(|token| Some(shown_subject(token, token.subject()?, facts.policy))),
            },
            chain: named.and_then(|token| Some(chain(token, token.chain()?, facts))).unwrap_or_default(),
            scopes: Scopes { token: named, agent: facts.agent.filter(|_| has_credential) },
            token: token.map(|token| token.token_hash()),
            api_key: facts.api_key.map(|key| &*key.name),
            certificate: certificate(facts),
            authenticated_by: facts
                .counted()
                .filter(|kind| accepts_several || matches!(kind, Authenticate::ApiKey | Authenticate::Certificate)),
            proof: facts.proof.map(|_| ProofKind::Dpop),
            revoked: facts.revoked.as_deref(),
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
            rpc: facts.rpc.as_deref().and_then(|rpc| message(rpc, facts)),
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

/// Returns the certificate of a request.
fn certificate<'r>(facts: &'r Facts<'_>) -> Option<CertificateRecord<'r>> {
    let certificate = facts.certificate.as_ref()?;
    let (spiffe, uri, dns) = certificate.shown();
    let key = facts.policy.audit.subject_key.as_ref();
    let text = |name: &'r str| key.map_or_else(|| bounded(name.as_bytes()), |key| Cow::Owned(key.hash(name)));
    Some(CertificateRecord {
        spiffe: spiffe.map(text),
        uri: uri.map(text),
        dns: dns.map(text),
        sha256: format!("{:016x}", u64::from_be_bytes(first(*certificate.sha256()))),
    })
}

/// Returns the message of a request, or `None` if nothing is known about it.
fn message<'r>(rpc: &'r RpcFacts<'_>, facts: &Facts<'_>) -> Option<Box<RpcRecord<'r>>> {
    let text = |text: &'r str| shown_text(text, redact::shown);
    let named = |kind| rpc.named.as_ref().filter(|(own, _)| *own == kind).map(|(_, name)| text(name));
    let record = RpcRecord {
        method: rpc.method.as_deref().map(text),
        tool: named(OperationKind::Tool),
        uri: named(OperationKind::Resource),
        uris: Some(rpc.resources as u64).filter(|resources| *resources > 1),
        prompt: named(OperationKind::Prompt),
        id: rpc.id.as_deref().map(shown_id),
        session: session(facts),
    };
    (record != RpcRecord::default()).then(|| Box::new(record))
}

/// Returns the id of a request. Unlike other text, most ids have quotes, which stay as they are.
fn shown_id(id: &str) -> Cow<'_, str> {
    match redact::shown(id.as_bytes()) {
        Cow::Borrowed(_) if are_printable(id.as_bytes()) => Cow::Borrowed(id),
        shown => escaped(shown),
    }
}

/// Returns the hash of the id of a session.
fn session(facts: &Facts<'_>) -> Option<String> {
    const NAME: &str = "mcp-session-id";
    let mut lines = facts.request.headers.as_long_as(NAME.as_bytes()).filter(|(name, _)| name_is(name, NAME));
    let (_, id) = lines.next()?;
    Some(match &facts.policy.audit.subject_key {
        Some(key) => key.hash(&String::from_utf8_lossy(id)),
        None => format!("sha256:{:016x}", u64::from_be_bytes(first(sha256(id)))),
    })
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

/// Returns the SPIFFE ID of a certificate. Its characters need no escaping.
fn of_workload<'i>(id: &'i str, policy: &Policy) -> Cow<'i, str> {
    policy.audit.subject_key.as_ref().map_or(Cow::Borrowed(id), |key| Cow::Owned(key.hash(id)))
}

fn shown_subject<'s>(token: &VerifiedToken, subject: &'s str, policy: &Policy) -> Cow<'s, str> {
    match &policy.audit.subject_key {
        None => of_token(token, subject),
        Some(key) => Cow::Owned(key.hash(subject)),
    }
}

/// Returns the subject of a token and its actors, as records show them.
fn chain<'t>(token: &'t VerifiedToken, chain: &'t Chain, facts: &Facts<'_>) -> Vec<Cow<'t, str>> {
    let subject = token.subject().map(|subject| shown_subject(token, subject, facts.policy));
    let actors = chain.actors().iter().enumerate().map(|(position, actor)| {
        let name = match actor.iss() {
            None if !actor.sub().contains('#') => Cow::Borrowed(actor.sub()),
            iss => Cow::Owned(format!("{}#{}", iss.unwrap_or_else(|| token.iss()), actor.sub())),
        };
        // Who the other actors are is not known. They can be persons.
        let is_agent = position == 0 && facts.agent.is_some();
        match &facts.policy.audit.subject_key {
            Some(key) if !is_agent => Cow::Owned(key.hash(&name)),
            _ if token.is_plain() => name,
            _ => Cow::Owned(visible(&name).into_owned()),
        }
    });
    subject.into_iter().chain(actors).collect()
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
        let is_secret = |value: &str| parameter_is_secret(name, value) || policy.names_credential(name);
        let value = value.filter(|value| policy.audit.query_values && !is_secret(value));
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

//! What the signature of a request must cover. The evaluation enforces it, and answers state it.

use crate::allowlist::Binding;
use crate::decision::{BodySeen, Facts};
use crate::identity::signature::ProfileName;
use crate::identity::signature::{Coverage, SignatureAgent};
use crate::policy::{BodyCheck, Endpoint};
use crate::request::headers::{Headers, name_reads_as};

/// Returns whether a header is sent, including under names that only some servers read as this one. A header under such a name
/// would also have to be covered, which is not possible.
fn is_sent(headers: &Headers, name: &str) -> bool {
    headers.as_long_as(name.as_bytes()).any(|(own, _)| name_reads_as(own, name))
}

/// Returns what a signature of this request must cover: first the components that every endpoint requires, then the additional
/// ones of the matched endpoint.
pub(crate) fn coverage<'a>(facts: &Facts<'a>, profile: ProfileName) -> (Coverage<'a>, Coverage<'a>) {
    let Facts { policy, request, endpoint, query, .. } = facts;
    let profile = policy.signatures.profile(profile);
    let (mut coverage, mut further) = (Coverage::default(), Coverage::default());
    let has_query = query.as_ref().is_some_and(|query| !query.as_str().is_empty());
    let is_sent = |name: &str| is_sent(request.headers, name);
    for name in &profile.cover {
        if (&**name != "@query" || has_query) && (name.starts_with('@') || is_sent(name)) {
            coverage.ask(name);
        }
    }
    if let Some(agent) = profile.web_bot_auth {
        // Earlier drafts allow agents to omit the header. If it is sent, it must always be covered.
        if agent == SignatureAgent::Member || is_sent("signature-agent") {
            coverage.ask_agent(agent);
        }
        return (coverage, further);
    }
    // The header that carries the credential, wherever the policy accepts it. The upstream never gets an `Authorization` header that is
    // no credential.
    if policy.credentials.authorization && is_sent("authorization") {
        coverage.ask("authorization");
    }
    if let Some(carried) = facts.head.elsewhere.first {
        coverage.ask(carried.header());
    }
    if is_sent("dpop") {
        coverage.ask("dpop");
    }
    facts.api_key_header().into_iter().for_each(|name| coverage.ask(name));
    let Some(endpoint) = *endpoint else { return (coverage, further) };
    endpoint.bindings.iter().filter_map(Binding::header).for_each(|name| further.ask(name));
    if expects_body(facts, endpoint) {
        ask_body(&mut further, facts);
    }
    (coverage, further)
}

/// Requires the components that protect a body: its digest, and the headers that determine how it is read.
fn ask_body(coverage: &mut Coverage<'_>, facts: &Facts<'_>) {
    coverage.ask("content-digest");
    ["content-type", "content-encoding"]
        .into_iter()
        .filter(|name| is_sent(facts.request.headers, name))
        .for_each(|name| coverage.ask(name));
}

/// Returns the coverage that the answer asks for. An authenticated client learns what the endpoint requires. For other clients,
/// the result depends only on the request and the policy. If the request has a body, it includes the components that protect a
/// body, so the next request can succeed.
pub(crate) fn wanted_coverage<'a>(facts: &Facts<'a>, profile: ProfileName) -> Coverage<'a> {
    let (mut coverage, further) = coverage(facts, profile);
    let signatures = &facts.policy.signatures;
    if let Some(agent) = signatures.profile(profile).web_bot_auth {
        coverage.ask_agent(agent);
    } else if facts.caller.is_some() {
        coverage.join(further);
    } else if signatures.signs_bodies && !facts.request.end_of_stream && facts.head.upgrade.count == 0 {
        ask_body(&mut coverage, facts);
    }
    coverage
}

/// Returns whether a body follows that Callgate checks.
fn expects_body(facts: &Facts<'_>, endpoint: &Endpoint) -> bool {
    !facts.request.end_of_stream && !endpoint.streams && facts.head.upgrade.count == 0 && !may_be_empty(facts)
}

/// Returns whether the request may turn out to have no body, although its headers do not end it. HTTP/2 clients send an empty
/// `DATA` frame after a `POST` without a body, and a chunked body may have no chunks. A request with a digest is expected to
/// have a body. If the gateway cannot hold the headers, a request that announces chunks is not forwarded to find out. If it
/// does not report the end of a request, it does not report a missing body either.
pub(crate) fn may_be_empty(facts: &Facts<'_>) -> bool {
    let Facts { policy, request, head, body, .. } = facts;
    let is_digest = |(name, _): (&[u8], &[u8])| name_reads_as(name, "content-digest");
    policy.features.tells_end
        && match policy.features.body {
            BodyCheck::Held => true,
            BodyCheck::Late => !head.has_transfer_encoding,
            BodyCheck::Unseen => false,
        }
        && *body != Some(BodySeen::Unsigned)
        && head.length().is_none_or(|length| length == 0)
        && !request.headers.as_long_as(b"content-digest").any(is_digest)
}

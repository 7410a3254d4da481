//! What the signature of a request has to cover, as it is asked of the request and as the answer states it.

use crate::allowlist::Binding;
use crate::decision::{BodySeen, Facts};
use crate::identity::signature::ProfileName;
use crate::identity::signature::{Coverage, SignatureAgent};
use crate::policy::{BodyCheck, Endpoint};
use crate::request::headers::{Headers, name_reads_as};

/// Whether a header is sent, also under a name that only some servers read as this one: what is added under it has to be signed,
/// and cannot be.
fn is_sent(headers: &Headers, name: &str) -> bool {
    headers.as_long_as(name.as_bytes()).any(|(own, _)| name_reads_as(own, name))
}

/// What a signature of this request has to cover: whatever the endpoint, and what the endpoint asks for beside that.
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
        // Earlier drafts let agents leave out the header. One that is sent has to be covered in any case.
        if agent == SignatureAgent::Member || is_sent("signature-agent") {
            coverage.ask_agent(agent);
        }
        return (coverage, further);
    }
    ["authorization", "dpop"].into_iter().filter(|name| is_sent(name)).for_each(|name| coverage.ask(name));
    let Some(endpoint) = *endpoint else { return (coverage, further) };
    endpoint.bindings.iter().filter_map(Binding::header).for_each(|name| further.ask(name));
    if expects_body(facts, endpoint) {
        ask_body(&mut further, facts);
    }
    (coverage, further)
}

/// Asks for what signs a body: its digest, and the headers that say how to read it.
fn ask_body(coverage: &mut Coverage<'_>, facts: &Facts<'_>) {
    coverage.ask("content-digest");
    ["content-type", "content-encoding"]
        .into_iter()
        .filter(|name| is_sent(facts.request.headers, name))
        .for_each(|name| coverage.ask(name));
}

/// What the answer asks a signature of this request to cover. A client that is authenticated is told what the endpoint requires.
/// For others it depends on request and policy alone: with a body, what signs one, so that the next request can succeed.
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

/// Whether a body is to come that is looked at.
fn expects_body(facts: &Facts<'_>, endpoint: &Endpoint) -> bool {
    !facts.request.end_of_stream && !endpoint.streams && facts.head.upgrade.count == 0 && !may_be_empty(facts)
}

/// Whether the request may turn out to have no body, though its head does not end it: HTTP/2 clients send an empty `DATA` frame
/// after a `POST` without a body, and chunks may be none. A request that brings a digest expects a body. Where the head cannot be
/// held, one that announces chunks is not forwarded to find out; and where the end is not told, that nothing comes is not told
/// either.
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

//! The answer to a denial: status, headers and body, for HTTP and gRPC clients.
//!
//! All answers to denials are built here. An answer contains a stable reason code but no data from the request, so nothing that an
//! attacker sends is reflected.

use serde::Serialize;

use super::rpc_answer::error;
use crate::decision::coverage::wanted_coverage;
use crate::decision::{Deny, Facts};
use crate::identity::signature::ProfileName;
use crate::identity::signature::accept_signature;
use crate::reason::{Challenge, Reason};
use crate::request::credential::Scheme;

/// An answer that Callgate sends instead of the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header lines.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
    /// The status for gRPC clients. `None` for others.
    pub grpc_status: Option<u32>,
    /// The response details in the gateway's access log.
    pub details: String,
}

/// A problem document (RFC 9457).
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    instance: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
}

impl Deny<'_> {
    /// Returns the answer to this denial.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let row = self.denial.reason.row();
        let disclosed = self.denial.reason.disclosed();
        let details = format!("callgate_{}", row.code);
        let mut headers = Vec::with_capacity(6);
        if let Some(challenge) = challenge(row.challenge, &self.facts) {
            headers.push(("www-authenticate", challenge));
            if self.facts.head.has_origin && self.facts.metadata().is_some() {
                headers.push(("access-control-expose-headers", "WWW-Authenticate".to_owned()));
            }
        }
        headers.extend(wanted_signatures(row.challenge, &self.facts).map(|wanted| ("accept-signature", wanted)));
        if let (Challenge::UseNonce, Some(nonce)) = (row.challenge, &self.facts.dpop_nonce) {
            headers.push((DPOP_NONCE, nonce.clone()));
        }
        if self.denial.reason == Reason::SessionMethod {
            // RFC 9110, section 15.5.6.
            headers.push(("allow", "POST".to_owned()));
        }
        if let Some(seconds) = self.facts.retry_after {
            headers.push(("retry-after", seconds.to_string()));
        }
        headers.extend(self.facts.policy.rate_limit_headers(&self.facts.limits, [None, None]));
        // The answer applies only to this caller at this time.
        headers.push(("cache-control", "no-store".to_owned()));
        if self.facts.policy.features.grpc && is_grpc(self.facts.head.content_type.first) {
            // The gateway copies the body of a local reply into `grpc-message`.
            let body = format!("{}: {}", disclosed.code, disclosed.title);
            return Answer { status: row.status, headers, body, grpc_status: Some(grpc_status(row.status)), details };
        }
        if let Some(rpc) = self.answered_as_rpc() {
            let (status, body) = error(self, rpc);
            headers.push(("content-type", "application/json".to_owned()));
            return Answer { status, headers, body, grpc_status: None, details };
        }
        let problem = Problem {
            r#type: disclosed.url(),
            title: disclosed.title,
            status: row.status,
            detail: disclosed.detail,
            code: disclosed.code,
            instance: format!("urn:callgate:decision:{}", self.facts.request.id),
            help: self.facts.policy.help.as_deref(),
        };
        headers.push(("content-type", "application/problem+json".to_owned()));
        // INVARIANT: a problem document contains only strings and a number, which JSON can always represent.
        let body = serde_json::to_string(&problem).unwrap_or_default();
        Answer { status: row.status, headers, body, grpc_status: None, details }
    }
}

/// The header with the nonce for the client's next proof (RFC 9449, section 8).
pub const DPOP_NONCE: &str = "dpop-nonce";

/// Returns the challenge (RFC 6750, section 3; RFC 9449, section 7.1; RFC 9728, section 5.1). It lists every scheme that the
/// policy accepts, each with the URL of the metadata, and reports the error with the scheme that it concerns. Its values come only
/// from the policy and were checked when it was compiled, so they need no escaping in quotes.
///
/// The scheme with the error comes first, because some clients read only the first challenge. The order depends only on the
/// request.
fn challenge(challenge: Challenge, facts: &Facts<'_>) -> Option<String> {
    let invalid_token = || ", error=\"invalid_token\"".to_owned();
    let (about, error) = match challenge {
        Challenge::No | Challenge::Signature => return None,
        Challenge::Bare => (used_scheme(facts), String::new()),
        Challenge::InvalidToken => (used_scheme(facts), invalid_token()),
        Challenge::InvalidProof => (Scheme::Dpop, ", error=\"invalid_dpop_proof\"".to_owned()),
        Challenge::UseNonce => (Scheme::Dpop, ", error=\"use_dpop_nonce\"".to_owned()),
        Challenge::InsufficientScope => {
            let mut scopes = facts.endpoint.map(|endpoint| endpoint.scopes.names()).unwrap_or_default();
            // All scopes of the operations belong in one challenge, because clients ask for a new token once.
            let of_operations = facts.rpc.iter().flat_map(|rpc| &rpc.asked);
            for scope in of_operations.flat_map(|operation| operation.scopes.names()) {
                if !scopes.contains(&scope) {
                    scopes.push(scope);
                }
            }
            // A new token cannot grant what a ceiling excludes.
            scopes.retain(|scope| facts.caller.as_ref().is_none_or(|caller| caller.permits_scope(scope)));
            let scopes = scopes.join(" ");
            (used_scheme(facts), format!(", error=\"insufficient_scope\", scope=\"{scopes}\""))
        }
    };
    let realm = &facts.resource.identifier;
    let more = facts.metadata().map_or("", |metadata| metadata.parameters(challenge));
    let bearer = |error: &str| format!("Bearer realm=\"{realm}\"{error}{more}");
    let Some(rules) = &facts.policy.dpop else { return Some(bearer(&error)) };
    let dpop = |error: &str| format!("DPoP realm=\"{realm}\"{error}{more}, algs=\"{}\"", rules.told);
    Some(match about {
        // If bearer tokens are not accepted, the error of a bearer token is reported with `DPoP`, the only scheme that the
        // client can retry with.
        _ if rules.required => dpop(&error),
        Scheme::Dpop => format!("{}, {}", dpop(&error), bearer("")),
        Scheme::Bearer => format!("{}, {}", bearer(&error), dpop("")),
    })
}

/// Returns the scheme that the request used or tried to use: that of an unreadable credential, or `DPoP` for a proof without a
/// credential. Otherwise it is `Bearer`, because clients without a key look for it (MCP clients look there for further information).
fn used_scheme(facts: &Facts<'_>) -> Scheme {
    let head = &facts.head;
    let named = || head.authorization.first.and_then(Scheme::of_credentials);
    let proof = || (head.dpop.count > 0).then_some(Scheme::Dpop);
    facts.scheme.or_else(named).or_else(proof).unwrap_or(Scheme::Bearer)
}

/// Returns the value of `Accept-Signature` (RFC 9421, section 5.1). It accompanies denials that concern a signature, and the
/// challenges to unauthenticated clients if the policy accepts a signature alone.
///
/// An authenticated client is asked for the signature that the endpoint requires. Others are asked for one signature per
/// profile that the policy accepts alone, beginning with the profile of the signature that they sent.
fn wanted_signatures(challenge: Challenge, facts: &Facts<'_>) -> Option<String> {
    let signatures = &facts.policy.signatures;
    let asks = |label: &str, name: ProfileName| {
        let rules = signatures.profile(name);
        accept_signature(label, &wanted_coverage(facts, name), rules.nonce, rules.tag.as_deref())
    };
    let required = facts.endpoint.filter(|_| challenge == Challenge::Signature && facts.caller.is_some());
    match (challenge, required) {
        (Challenge::No | Challenge::InsufficientScope, _) => None,
        (_, Some(endpoint)) => Some(asks(FIRST_LABEL, endpoint.signature.profile)),
        _ => {
            let sent = facts.signed_for.into_iter();
            let others = signatures.alone.iter().copied().filter(|name| Some(*name) != facts.signed_for);
            // One label per profile, in order.
            let members = [FIRST_LABEL, "sig2"].into_iter().zip(sent.chain(others));
            let members: Vec<_> = members.map(|(label, name)| asks(label, name)).collect();
            (!members.is_empty()).then(|| members.join(", "))
        }
    }
}

/// The label of the first requested signature.
const FIRST_LABEL: &str = "sig";

/// Returns whether the media type is that of gRPC: `application/grpc`, alone or followed by `+` or `;`.
fn is_grpc(content_type: Option<&[u8]>) -> bool {
    let Some((kind, rest)) = content_type.and_then(|value| value.split_at_checked(b"application/grpc".len())) else {
        return false;
    };
    kind.eq_ignore_ascii_case(b"application/grpc") && matches!(rest.first(), None | Some(b'+' | b';'))
}

/// Maps an HTTP status to a gRPC status. This is gRPC's own mapping, with specific codes for statuses that it maps to
/// `UNKNOWN`.
#[must_use]
pub fn grpc_status(status: u16) -> u32 {
    const INVALID_ARGUMENT: u32 = 3;
    const PERMISSION_DENIED: u32 = 7;
    const RESOURCE_EXHAUSTED: u32 = 8;
    const INTERNAL: u32 = 13;
    const UNAVAILABLE: u32 = 14;
    const UNAUTHENTICATED: u32 = 16;
    match status {
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        429 => RESOURCE_EXHAUSTED,
        400..=499 => INVALID_ARGUMENT,
        503 => UNAVAILABLE,
        _ => INTERNAL,
    }
}

impl Answer {
    /// Returns the answer that replaces a response which cannot be checked: a JSON-RPC error. Clients show it to their users only with
    /// status 200.
    #[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
    pub(crate) fn unreadable(error: Vec<u8>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", "application/json".to_owned()), ("cache-control", "no-store".to_owned())],
            body: String::from_utf8(error).unwrap_or_default(),
            grpc_status: None,
            details: "callgate_answer_unreadable".to_owned(),
        }
    }

    /// Returns the answer with which an open stream is ended. The client gets it only if the response has not begun; otherwise the
    /// gateway resets the stream.
    #[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
    pub(crate) fn ended(reason: Reason) -> Self {
        let (row, disclosed) = (reason.row(), reason.disclosed());
        let mut headers = vec![("cache-control", "no-store".to_owned())];
        if row.status == 401 {
            headers.push(("www-authenticate", "Bearer error=\"invalid_token\"".to_owned()));
        }
        Self {
            status: row.status,
            headers,
            body: format!("{}: {}", disclosed.code, disclosed.title),
            grpc_status: Some(grpc_status(row.status)),
            details: format!("callgate_{}", row.code),
        }
    }

    /// Returns the answer to a request that could not be decided because the host failed.
    #[must_use]
    pub fn host_error() -> Self {
        let row = Reason::HostError.row();
        Self {
            status: row.status,
            headers: vec![("cache-control", "no-store".to_owned())],
            body: format!("{}: {}", row.code, row.title),
            grpc_status: Some(grpc_status(row.status)),
            details: format!("callgate_{}", row.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_grpc_by_its_media_type() {
        for yes in ["application/grpc", "application/grpc+proto", "Application/GRPC;x=y"] {
            assert!(is_grpc(Some(yes.as_bytes())), "{yes}");
        }
        for no in ["application/grpc-web", "application/grpcx", "application/json", ""] {
            assert!(!is_grpc(Some(no.as_bytes())), "{no}");
        }
        assert!(!is_grpc(None));
    }

    #[test]
    fn the_end_of_a_stream_discloses_no_more_than_a_denial() {
        let ended = Answer::ended(Reason::AgentSuspended);
        assert_eq!((ended.status, ended.details.as_str()), (403, "callgate_agent_suspended"));
        assert!(!ended.body.contains("suspended"), "{}", ended.body);
        let revoked = Answer::ended(Reason::TokenRevoked);
        assert!(revoked.headers.iter().any(|(name, _)| *name == "www-authenticate"), "RFC 9110, section 15.5.2");
        assert_eq!((revoked.status, revoked.grpc_status), (401, Some(16)));
    }

    #[test]
    fn every_reason_maps_to_a_grpc_error_status() {
        for reason in Reason::ALL {
            assert!((1..=16).contains(&grpc_status(reason.row().status)), "{reason:?}");
        }
    }
}

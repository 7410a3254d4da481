//! How a denial is answered: status, headers and body, for HTTP clients and for gRPC clients.
//!
//! One place for all of it. An answer names its reason by a stable code and nothing of what the request contained, so that
//! nothing an outsider sends comes back through it.

use serde::Serialize;

use crate::decision::{Deny, Facts};
use crate::dpop::Scheme;
use crate::evaluate::wanted_coverage;
use crate::reason::{Challenge, Reason};
use crate::signature::accept_signature;

/// An answer that the gate gives in the upstream's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header lines.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
    /// The status for gRPC clients; none for others.
    pub grpc_status: Option<u32>,
    /// What the gateway's access log prints as details of the response.
    pub details: String,
}

/// A problem (RFC 9457).
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    instance: String,
}

impl Deny<'_> {
    /// The answer to this denial.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let row = self.denial.reason.row();
        let told = self.denial.reason.told();
        let details = format!("callgate_{}", row.code);
        let mut headers = Vec::with_capacity(6);
        if let Some(challenge) = challenge(row.challenge, &self.facts) {
            headers.push(("www-authenticate", challenge));
        }
        headers.extend(wanted_signature(row.challenge, &self.facts).map(|wanted| ("accept-signature", wanted)));
        if let (Challenge::UseNonce, Some(nonce)) = (row.challenge, &self.facts.dpop_nonce) {
            headers.push((DPOP_NONCE, nonce.clone()));
        }
        if let Some(seconds) = self.facts.retry_after {
            headers.push(("retry-after", seconds.to_string()));
        }
        headers.extend(self.facts.policy.rate_limit_headers(&self.facts.limits, [None, None]));
        // An answer belongs to this caller at this moment.
        headers.push(("cache-control", "no-store".to_owned()));
        if self.facts.policy.features.grpc && is_grpc(self.facts.head.content_type.first) {
            // The gateway puts the body of a local reply into `grpc-message`.
            let body = format!("{told}: {}", row.title);
            return Answer { status: row.status, headers, body, grpc_status: Some(grpc_status(row.status)), details };
        }
        let problem = Problem {
            r#type: format!("urn:callgate:problem:{told}"),
            title: row.title,
            status: row.status,
            code: told,
            instance: format!("urn:callgate:decision:{}", self.facts.call.id),
        };
        headers.push(("content-type", "application/problem+json".to_owned()));
        // INVARIANT: a problem holds only strings and a number, which JSON can always carry.
        let body = serde_json::to_string(&problem).unwrap_or_default();
        Answer { status: row.status, headers, body, grpc_status: None, details }
    }
}

/// The header in which a client finds the nonce for its next proof (RFC 9449, section 8).
pub const DPOP_NONCE: &str = "dpop-nonce";

/// The challenge (RFC 6750, section 3; RFC 9449, section 7.1): every scheme that the policy takes, with the error at the one it
/// is about. Its values come from the policy alone and were checked when it was compiled, so nothing in here needs a quote
/// escaped.
fn challenge(challenge: Challenge, facts: &Facts<'_>) -> Option<String> {
    let used = facts.scheme.unwrap_or(Scheme::Bearer);
    let invalid_token = || ", error=\"invalid_token\"".to_owned();
    let (about, error) = match challenge {
        Challenge::No | Challenge::Signature => return None,
        Challenge::Bare => (used, String::new()),
        Challenge::InvalidToken => (used, invalid_token()),
        Challenge::InvalidProof => (Scheme::Dpop, ", error=\"invalid_dpop_proof\"".to_owned()),
        Challenge::UseNonce => (Scheme::Dpop, ", error=\"use_dpop_nonce\"".to_owned()),
        Challenge::InsufficientScope => {
            let scopes = facts.endpoint.map(|endpoint| endpoint.scopes.names().join(" ")).unwrap_or_default();
            (used, format!(", error=\"insufficient_scope\", scope=\"{scopes}\""))
        }
    };
    let dpop = facts.policy.dpop.as_ref();
    let takes_bearer = dpop.is_none_or(|dpop| !dpop.required);
    // What is wrong with a bearer token where none is taken is told to those who come back with another.
    let about = if takes_bearer { about } else { Scheme::Dpop };
    let realm = &facts.policy.resource;
    let error_of = |scheme| if scheme == about { error.as_str() } else { "" };
    let bearer = takes_bearer.then(|| format!("Bearer realm=\"{realm}\"{}", error_of(Scheme::Bearer)));
    let dpop = dpop.map(|dpop| format!("DPoP realm=\"{realm}\"{}, algs=\"{}\"", error_of(Scheme::Dpop), dpop.told));
    Some(bearer.into_iter().chain(dpop).collect::<Vec<_>>().join(", "))
}

/// What a signature has to be (RFC 9421, section 5.1): told with a refusal that is about one, and beside the challenges of callers
/// who are not known where a signature alone would do.
fn wanted_signature(challenge: Challenge, facts: &Facts<'_>) -> Option<String> {
    let signatures = &facts.policy.signatures;
    let profile = match challenge {
        Challenge::Signature => match facts.endpoint.filter(|_| facts.caller.is_some()) {
            Some(endpoint) => endpoint.signature.profile,
            None => *signatures.alone.first()?,
        },
        Challenge::Bare | Challenge::InvalidToken | Challenge::InvalidProof | Challenge::UseNonce => {
            *signatures.alone.first()?
        }
        Challenge::No | Challenge::InsufficientScope => return None,
    };
    let rules = signatures.profile(profile);
    Some(accept_signature(&wanted_coverage(facts, profile), rules.nonce, rules.tag.as_deref()))
}

/// Whether a media type is gRPC's: `application/grpc`, alone or before `+` or `;`.
fn is_grpc(content_type: Option<&[u8]>) -> bool {
    let Some((kind, rest)) = content_type.and_then(|value| value.split_at_checked(b"application/grpc".len())) else {
        return false;
    };
    kind.eq_ignore_ascii_case(b"application/grpc") && matches!(rest.first(), None | Some(b'+' | b';'))
}

/// The gRPC status of an HTTP status: what gRPC's own mapping says, with the statuses that it folds into `UNKNOWN` told apart.
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
    /// The answer where the host did not give the gate what it needs to decide, so that there is no decision to answer.
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
    fn grpc_is_told_by_its_media_type() {
        for yes in ["application/grpc", "application/grpc+proto", "Application/GRPC;x=y"] {
            assert!(is_grpc(Some(yes.as_bytes())), "{yes}");
        }
        for no in ["application/grpc-web", "application/grpcx", "application/json", ""] {
            assert!(!is_grpc(Some(no.as_bytes())), "{no}");
        }
        assert!(!is_grpc(None));
    }

    #[test]
    fn every_reason_has_a_grpc_status_that_is_an_error() {
        for reason in Reason::ALL {
            assert!((1..=16).contains(&grpc_status(reason.row().status)), "{reason:?}");
        }
    }
}

//! Names of headers that a field of the policy must not claim, because requests, gateways, Callgate or other fields use them.

use crate::document;
use crate::document::names::is_plain_header;
use crate::document::{Findings, Place};
use crate::request::head::WITHOUT_LOOKALIKES;
use crate::request::headers::name_begins_like;

/// The maximum length of a header's name. Each name is compared with every header of a request.
pub(super) const MOST_NAME: usize = 128;

/// Headers that every request has or that Callgate needs, except [those without lookalikes](WITHOUT_LOOKALIKES).
const NEEDED: [&str; 19] = [
    "accept",
    "access-control-request-headers",
    "access-control-request-method",
    "authorization",
    "connection",
    "cookie",
    "dpop",
    "expect",
    "host",
    "origin",
    "signature",
    "te",
    "traceparent",
    "upgrade",
    "user-agent",
    // Gateways set these themselves.
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-request-id",
    "via",
];

/// Headers that upstreams take as facts about the connection, or that change how a request is processed. A policy may list some of them
/// as override headers, but no credential or claim belongs there.
const OF_THE_CONNECTION: [&str; 15] = [
    "forwarded",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "prefer",
    "range",
    "referer",
    "trailer",
    "tracestate",
    "x-forwarded-client-cert",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-real-ip",
];

/// The beginnings of further such names.
const FAMILIES: [&str; 6] = ["access-control-", "content-", "if-", "proxy-", "sec-", "accept-"];

/// Reports whether gateways set this header or Callgate needs it.
pub(super) fn is_needed(name: &str) -> bool {
    NEEDED.contains(&name) || WITHOUT_LOOKALIKES.contains(&name)
}

/// Reports whether this is a header of the gateway or one of Callgate's own.
pub(super) fn is_of_the_gate(name: &str, document: &document::Document) -> bool {
    ["x-envoy-", &document.audit.headers.prefix].iter().any(|prefix| name_begins_like(name.as_bytes(), prefix))
}

/// Checks that a header has a plain name that nothing else uses. Reports whether it does.
pub(super) fn check(
    name: &str,
    example: &str,
    document: &document::Document,
    place: &Place,
    findings: &mut Findings,
) -> bool {
    let shown = name.escape_debug();
    let bound = format!("header.{name}");
    let message = if !is_plain_header(name) || name.len() > MOST_NAME {
        format!(
            "invalid header name `{shown}`; expected at most {MOST_NAME} lower-case letters, digits and hyphens, such as `{example}` \
             (every other character of a header's name reads as a hyphen)"
        )
    } else if is_needed(name)
        || OF_THE_CONNECTION.contains(&name)
        || FAMILIES.iter().any(|family| name.starts_with(family))
    {
        format!("`{shown}` is set by clients or gateways, or needed by the gate; name a header of your own")
    } else if is_of_the_gate(name, document) {
        format!("`{shown}` is a header of the gateway or of the gate; name a header of your own")
    } else if super::overrides::is_listed(name, document) {
        format!("`{shown}` is an override header, which is rejected or removed in every request; name another header")
    } else if document.endpoints.iter().any(|endpoint| endpoint.bind.binds(&bound)) {
        format!("`{shown}` is bound at an endpoint; name another header")
    } else {
        return true;
    };
    findings.error(place.clone(), message);
    false
}

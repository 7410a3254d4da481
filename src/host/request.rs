//! Reads the headers and the source of a request from the gateway.

use super::failure::Failure;
use super::{Host, HostError, Map};
use crate::policy::{Features, HostName};
use crate::request::headers::Headers;
use crate::request::incoming::Source;

/// The address of the client, with its port. Gateways separate the segments of a property's path by zero bytes.
const SOURCE_ADDRESS: &[u8] = b"source\0address";
/// The same on gateways that know only nginx variables.
const REMOTE_ADDRESS: &[u8] = b"remote_addr";
/// Path and query as the client sent them, on gateways that decode `:path`.
const REQUEST_TARGET: &[u8] = b"request\0path";

/// Returns the headers of the current request, as the client sent them.
pub(super) fn headers(host: &impl Host, features: &Features) -> Result<Headers, Failure> {
    let pairs = host.header_pairs(Map::RequestHeaders)?;
    let headers = match features.listed_headers {
        Some(most) => Headers::decode_listed(pairs, most),
        None => Headers::decode(pairs),
    };
    let mut headers = headers.map_err(|_| Failure::Headers)?;
    if features.host == HostName::Header {
        headers = as_sent(&headers, &host.property(REQUEST_TARGET)?.ok_or(Failure::Target)?);
    }
    #[cfg(feature = "panic-on-purpose")]
    panic_on_purpose(&headers);
    Ok(headers)
}

/// Returns the source of the request, as far as the gateway provides it.
pub(super) fn source(host: &impl Host, features: &Features) -> Result<Option<Source>, HostError> {
    let mut address = host.property(SOURCE_ADDRESS)?;
    if address.is_none() && features.knows_nginx_variables {
        address = host.property(REMOTE_ADDRESS)?;
    }
    Ok(address.and_then(|address| Source::parse(&address)))
}

/// Returns the headers as the client sent them, for a server that decodes `:path` and puts its own name into `:authority`. Only
/// `Host` contains the client's host.
fn as_sent(headers: &Headers, target: &[u8]) -> Headers {
    headers.with_values(|name, value| match name {
        b":authority" => None,
        b":path" => Some(target),
        _ => Some(value),
    })
}

/// Values of the header `x-panic-on-purpose` that do not stop the hook for the headers of the request: the module stops in a later hook.
#[cfg(feature = "panic-on-purpose")]
pub const LATER_PANICS: [&str; 9] = [
    "body",
    "trailers",
    "response",
    "response-body",
    "response-trailers",
    "local-reply",
    "wake",
    "complete",
    "destroy",
];

/// Stops the VM, for a test of the consequences of a panic. Never part of a release.
#[cfg(feature = "panic-on-purpose")]
#[expect(clippy::panic, reason = "this is its purpose")]
fn panic_on_purpose(headers: &Headers) {
    let is_later = |value: &[u8]| LATER_PANICS.iter().any(|hook| hook.as_bytes() == value);
    if headers.iter().any(|(name, value)| name == b"x-panic-on-purpose" && !is_later(value)) {
        panic!("on purpose");
    }
}

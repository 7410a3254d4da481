//! A request of the corpus on the wire: as HTTP/1.1 bytes, or as an HTTP/2 header block and data.

use std::net::SocketAddr;

use anyhow::Result;
use callgate_kit::corpus::Call;

use crate::client::{self, Request, Response};
use crate::http2;

/// The protocol for sending requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Cleartext HTTP/1.1, with one connection for each request.
    Http1,
    /// Cleartext HTTP/2, with one connection for each request and without an upgrade (prior knowledge).
    Http2,
}

impl Wire {
    /// Returns why this request cannot be expressed in this protocol.
    #[must_use]
    pub fn lacks(self, call: &Call) -> Option<&'static str> {
        match self {
            Self::Http1 => None,
            Self::Http2 => unsaid(call),
        }
    }

    /// Sends a request with this `traceparent` and waits for the response. Returns `None` if the gateway ends the stream without one.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn send(self, address: SocketAddr, call: &Call, traceparent: &str) -> Result<Option<Response>> {
        match self {
            Self::Http1 => client::call(address, &request(call, traceparent)).map(Some),
            Self::Http2 => {
                let (lines, body) = block(call, traceparent);
                http2::call(address, &lines, body.as_deref())
            }
        }
    }
}

/// Returns a request as bytes. The body is framed as its headers state, or chunked if they state nothing.
fn request(call: &Call, traceparent: &str) -> Request {
    let mut request = Request::new(&call.method, &call.target);
    if let Some(host) = &call.host {
        request = request.host(host);
    }
    request = request.header("traceparent", traceparent);
    let (mut framed, mut upgrades) = (false, false);
    let parts: Vec<&[u8]> = call.body.iter().map(Vec::as_slice).filter(|part| !part.is_empty()).collect();
    for (name, value) in &call.lines {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
        upgrades |= is("upgrade");
        request = match length {
            Some(length) if is("content-length") && !framed => {
                framed = true;
                let mut body = call.whole_body();
                body.resize(length, b'x');
                request.body(body)
            }
            _ if is("transfer-encoding") && !framed => {
                framed = true;
                request.chunked(&parts)
            }
            _ => request.header(name, value),
        };
    }
    if call.end_of_stream || framed || upgrades { request } else { request.chunked(&parts) }
}

/// Returns why HTTP/2 (RFC 9113) cannot express this request, or why Envoy rejects it before it reaches the gate.
fn unsaid(call: &Call) -> Option<&'static str> {
    let is = |name: &[u8], known: &[&str]| known.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    let has = |known: &[&str]| call.lines.iter().any(|(name, _)| is(name, known));
    if has(&["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"]) {
        return Some("a header of the connection");
    }
    if call.host.as_ref().is_some_and(|host| host.contains(&b'@')) {
        return Some("a user in the authority, which Envoy rejects");
    }
    None
}

/// Returns the header lines of a request, and its body in parts. The headers state the body's length.
fn block(call: &Call, traceparent: &str) -> (http2::Lines, Option<Vec<Vec<u8>>>) {
    let line = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    let mut lines = vec![line(":method", &call.method), line(":scheme", b"http"), line(":path", &call.target)];
    lines.extend(call.host.as_deref().map(|host| line(":authority", host)));
    lines.push(line("traceparent", traceparent.as_bytes()));
    lines.extend(call.lines.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
    let length = call.lines.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"content-length"));
    let length = length.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
    let body = match length {
        Some(length) => {
            let mut body = call.whole_body();
            body.resize(length, b'x');
            Some(vec![body])
        }
        None => (!call.end_of_stream).then(|| call.body.clone()),
    };
    (lines, body)
}

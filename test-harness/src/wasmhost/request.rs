//! The input of a VM, and the observable results.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pairs::Pairs;
use super::state::{Fault, Log, Reply};

/// A request as a gateway shows it to a filter.
#[derive(Debug, Clone)]
pub struct Request {
    /// Field lines, pseudo-header fields first.
    pub headers: Pairs,
    /// Whether the stream ends with the headers.
    pub end_of_stream: bool,
    /// Overrides the end-of-stream flag that the gateway passes to the callback of the headers.
    pub end_told: Option<bool>,
    /// The body in the parts in which it arrives. Without any part, the stream ends after the headers.
    pub body: Option<Vec<Vec<u8>>>,
    /// Whether the gateway buffered the body in a file, which the module cannot read.
    pub body_on_disk: bool,
    /// When the last part of the body arrives, in nanoseconds since 1970. Defaults to `now`.
    pub body_at: Option<u64>,
    /// The trailers, if any.
    pub trailers: Option<Pairs>,
    /// `source.address`: address and port, if the gateway knows them.
    pub source: Option<String>,
    /// The certificate that the client presented: its PEM, and SHA-256 of its DER in hexadecimal digits.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// Other properties of the stream. The segments of a path are joined by zero bytes.
    pub properties: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The header lines of the upstream's response, without the status.
    pub answer: Pairs,
    /// The chunks of the body of the upstream's response.
    pub answer_body: Vec<Vec<u8>>,
    /// Whether that body ends with trailers, which the module does not see. Then no chunk of it is the last one of the response.
    pub answer_trailers: bool,
    /// When the last chunk of that body arrives, in nanoseconds since 1970. Defaults to the time of the chunks before.
    pub answer_at: Option<u64>,
    /// The current time, in nanoseconds since 1970.
    pub now: u64,
    /// A host call that fails during this request.
    pub fault: Option<Fault>,
}

impl Default for Request {
    /// Returns a request without headers, body or trailers, from a documentation address (RFC 5737) in November 2026.
    fn default() -> Self {
        Self {
            headers: Pairs::new(),
            end_of_stream: true,
            end_told: None,
            body: None,
            body_on_disk: false,
            body_at: None,
            trailers: None,
            source: Some("192.0.2.1:40000".into()),
            certificate: None,
            properties: BTreeMap::new(),
            answer: Pairs::new(),
            answer_body: Vec::new(),
            answer_trailers: false,
            answer_at: None,
            now: 1_795_000_000_000_000_000,
            fault: None,
        }
    }
}

/// The result of a request, and its observable effects.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The result.
    pub verdict: Verdict,
    /// The header lines that were already forwarded when the module answered or when the request was held forever.
    pub gone: Option<Pairs>,
    /// The forwarded trailers, if the request was forwarded and has any.
    pub trailers: Option<Pairs>,
    /// The header lines of the upstream's response as the client received them, if the request was forwarded.
    pub answer: Option<Pairs>,
    /// The chunks of the body of the upstream's response as the client received them.
    pub answer_body: Vec<Vec<u8>>,
    /// The record of the decision. Text that is not JSON stays text.
    pub record: Option<Value>,
    /// The log lines of this request.
    pub logs: Vec<Log>,
    /// The host calls, in order.
    pub calls: Vec<&'static str>,
    /// Instructions from the creation of the stream to its end, as wasmtime counts fuel.
    pub fuel: u64,
    /// The number of instructions executed by the time of each host call.
    pub fuel_at: Vec<u64>,
}

/// The result of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was forwarded.
    Continue {
        /// The forwarded field lines.
        headers: Pairs,
    },
    /// The module answered. If it answered during the body or the trailers, the earlier parts may already be forwarded.
    Reply(Reply),
    /// The gateway's server responded with this status, and the module did not see the request.
    Server(u32),
    /// It is held forever.
    Hang,
    /// The module traps, or had trapped earlier.
    Trap(String),
}

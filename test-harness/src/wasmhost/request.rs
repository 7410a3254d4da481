//! What goes into a VM, and what can be seen of what it did.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pairs::Pairs;
use super::state::{Fault, Log, Reply};

/// A request as a gateway shows it to a filter.
#[derive(Debug, Clone)]
pub struct Request {
    /// Field lines, pseudo-header fields first.
    pub headers: Pairs,
    /// Whether nothing follows the headers.
    pub end_of_stream: bool,
    /// What the callback of the headers is told of that, in the place of what the gateway tells.
    pub end_told: Option<bool>,
    /// The body in the parts in which it comes, where one does; without any, the stream ends after the headers.
    pub body: Option<Vec<Vec<u8>>>,
    /// Whether the gateway wrote the body to a file, where the module cannot read it.
    pub body_on_disk: bool,
    /// Nanoseconds since 1970 when the last part of the body has come; `now` when absent.
    pub body_at: Option<u64>,
    /// The trailers, where there are some.
    pub trailers: Option<Pairs>,
    /// `source.address`: address and port, where the gateway knows them.
    pub source: Option<String>,
    /// Other properties of the stream; segments of a path are joined by zero bytes.
    pub properties: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the upstream answers, beside the status.
    pub answer: Pairs,
    /// Nanoseconds since 1970.
    pub now: u64,
    /// A host call that fails during this request.
    pub fault: Option<Fault>,
}

impl Default for Request {
    /// A request with no header, which ends with its headers, from a documentation address (RFC 5737) in November 2026.
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
            properties: BTreeMap::new(),
            answer: Pairs::new(),
            now: 1_795_000_000_000_000_000,
            fault: None,
        }
    }
}

/// What became of a request, and what could be seen of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What became of it.
    pub verdict: Verdict,
    /// The header lines that had gone upstream when the module answered or the request was held for ever.
    pub gone: Option<Pairs>,
    /// The trailers that went upstream, if the request did and has some.
    pub trailers: Option<Pairs>,
    /// The header lines of the upstream's answer as they went to the client, if the request went upstream.
    pub answer: Option<Pairs>,
    /// The record of the decision; text that is no JSON stays text.
    pub record: Option<Value>,
    /// What was logged meanwhile.
    pub logs: Vec<Log>,
    /// The host calls that were made, in order.
    pub calls: Vec<&'static str>,
    /// Instructions from the creation of the stream to its end, as wasmtime counts fuel.
    pub fuel: u64,
    /// How many of them had been executed when each of the host calls was made.
    pub fuel_at: Vec<u64>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It went upstream.
    Continue {
        /// The field lines that went.
        headers: Pairs,
    },
    /// The module answered. When it answers the body or the trailers, what came before them has gone upstream.
    Reply(Reply),
    /// The gateway's server answered with this status, and the module saw nothing of the request.
    Server(u32),
    /// It is held, and nothing will ever let it go on.
    Hang,
    /// The module trapped, or had before.
    Trap(String),
}

//! Adapters: how the engine runs in a gateway.
//!
//! What all gateways have in common is written once, over the [`Host`] trait: a policy in force ([`gate`]), the phases of a request
//! ([`stream`]), the timer that ends requests whose bodies do not arrive ([`waiting`]), records and metrics. `wasm` implements the trait
//! for proxy-wasm. Adapters fetch what the engine asks for and carry out what it decides. They decide nothing themselves, except that a
//! request about which a host call failed is denied.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::decision::metrics::Kind;
use crate::policy::ClockCall;
use crate::state::{Clock, SharedStore, StoreError};
use crate::text::time::Timestamp;

mod completion;
#[cfg(test)]
mod fake;
mod gate;
mod metrics;
mod root;
mod stream;
#[cfg(test)]
mod tests;
mod verify;
mod waiting;
#[cfg(target_arch = "wasm32")]
mod wasm;

/// A host call that did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostError {
    pub(crate) call: &'static str,
    pub(crate) status: i32,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self.status {
            1 => "not found",
            2 => "bad argument",
            3 => "serialization failure",
            4 => "parse failure",
            5 => "bad expression",
            6 => "invalid memory access",
            7 => "empty",
            8 => "compare-and-set mismatch",
            9 => "result mismatch",
            10 => "internal failure",
            11 => "broken connection",
            12 => "not implemented by this gateway",
            _ => "a status that no list has",
        };
        write!(f, "the host call `{}` failed with status {}", self.call, self.status)?;
        // WASI numbers its errors differently, and says no more than a number here.
        if self.call.starts_with("proxy_") { write!(f, " ({meaning})") } else { Ok(()) }
    }
}

/// The header maps of a stream that adapters touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Map {
    RequestHeaders = 0,
    RequestTrailers = 1,
    ResponseHeaders = 2,
}

/// Header lines of an answer.
pub(crate) type AnswerHeaders<'a> = [(&'static str, &'a str)];

/// What a gateway does for the stream that it calls, or for its own context.
///
/// Every call returns its error. Nothing in here knows what a header or property means.
pub(crate) trait Host: Clone + 'static {
    /// All lines of a map in the serialization that [`Headers::decode`](crate::request::headers::Headers::decode) reads.
    fn header_pairs(&self, map: Map) -> Result<Vec<u8>, HostError>;

    /// Whether a map has a line with this name.
    fn has_header(&self, map: Map, name: &[u8]) -> Result<bool, HostError>;

    /// Puts one line in the place of all with the same name. A value that would break the line is an error.
    fn replace_header(&self, map: Map, name: &[u8], value: &[u8]) -> Result<(), HostError>;

    /// Adds a line next to those with the same name. A value that would break the line is an error.
    fn add_header(&self, map: Map, name: &[u8], value: &[u8]) -> Result<(), HostError>;

    /// Removes all lines with this name.
    fn remove_header(&self, map: Map, name: &[u8]) -> Result<(), HostError>;

    /// A property of the stream, or none when the gateway does not know it; segments of the path are joined by zero bytes.
    fn property(&self, path: &[u8]) -> Result<Option<Vec<u8>>, HostError>;

    /// Sets a property of the stream.
    fn set_property(&self, path: &[u8], value: &[u8]) -> Result<(), HostError>;

    /// What the host holds of the request's body from this byte on, at most so much; nothing where it holds no more.
    fn request_body(&self, start: usize, most: usize) -> Result<Vec<u8>, HostError>;

    /// The plugin's configuration, of which the host said how long it is.
    fn configuration(&self, size: usize) -> Result<Vec<u8>, HostError>;

    /// An environment variable that the gateway passes on.
    fn variable(&self, name: &str) -> Option<Vec<u8>>;

    /// Answers the client in the upstream's place. `details` is what access logs print; `grpc_status` is for gRPC clients.
    fn send_response(
        &self,
        status: u16,
        details: &str,
        headers: &AnswerHeaders<'_>,
        body: &[u8],
        grpc_status: Option<u32>,
    ) -> Result<(), HostError>;

    /// Lets the root context that is called have a tick every so often. Kong ends the worker's request where this is called by a stream,
    /// or twice.
    fn set_tick_period(&self, period: Duration) -> Result<(), HostError>;

    /// Makes this context the one that the following calls are about, until the callback ends.
    fn set_effective_context(&self, context: u32) -> Result<(), HostError>;

    /// A metric under this name; defining it again returns the same one.
    fn define_metric(&self, kind: Kind, name: &str) -> Result<u32, HostError>;

    /// Adds to a metric; a negative change is possible for gauges alone.
    fn change_metric(&self, metric: u32, change: i64) -> Result<(), HostError>;

    /// Writes a record to the gateway's log.
    fn log_record(&self, json: &[u8]);

    /// The time by the clock that the gateway has.
    fn now(&self, clock: ClockCall) -> Result<Timestamp, HostError>;

    /// Fills a buffer with random bytes.
    fn random(&self, bytes: &mut [u8]) -> Result<(), HostError>;

    /// What the gateway's function `verify_signature` answers.
    fn verify_signature(&self, request: &[u8]) -> Result<Vec<u8>, HostError>;

    /// The map that all workers share: a zone, which loses what is oldest where there is no room, or a map that loses nothing.
    fn store(&self, zone: bool) -> Rc<dyn SharedStore>;

    /// From now on the host may write so many bytes more than it asks for.
    fn expect_overrun(&self, bytes: usize);
}

/// The clock of a host, for the state that workers share.
struct HostClock<H>(H);

impl<H: Host> Clock for HostClock<H> {
    fn now(&self) -> Result<Timestamp, StoreError> {
        self.0.now(ClockCall::Host).map_err(|error| {
            // The engine is told that it failed, the operator why.
            log::error!("what the workers share cannot be used: {error}");
            StoreError
        })
    }
}

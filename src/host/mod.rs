//! Adapters that run the engine in a gateway.
//!
//! The code that all gateways share is written against the [`Host`] trait: a policy in force ([`gate`]), the phases of a
//! request ([`stream`]), open streams ([`recheck`]), the timer that ends requests whose bodies do not arrive ([`waiting`]), records and metrics. `wasm`
//! implements the trait for proxy-wasm. Adapters fetch the engine's inputs and carry out its decisions. They make no decisions
//! themselves, with one exception: they deny a request if a host call for it fails.

use std::fmt;
use std::rc::Rc;
#[cfg(any(test, feature = "adapter"))]
use std::sync::Arc;
use std::time::Duration;

pub use crate::decision::metrics::Kind;
pub use crate::identity::crypto::{TableVerifier, VerifySignature};
pub use crate::policy::ClockCall;
#[cfg(any(test, feature = "adapter"))]
use crate::policy::{GATEWAY_VARIABLE, Policy};
pub use crate::state::{Clock, SharedStore, StoreError};
use crate::text::ascii::are_free_of_controls;
pub use crate::text::monotonic::Monotonic;
pub use crate::text::time::Timestamp;

mod certificates;
mod completion;
mod documents;
mod exchange;
mod failure;
#[cfg(test)]
mod fake;
mod gate;
#[cfg(test)]
mod key_tests;
mod metrics;
mod recheck;
#[cfg(test)]
mod recheck_tests;
mod request;
mod response;
#[cfg(test)]
mod response_tests;
mod root;
mod stream;
#[cfg(test)]
mod tests;
mod verify;
mod waiting;
#[cfg(target_arch = "wasm32")]
mod wasm;

#[cfg(feature = "panic-on-purpose")]
#[doc(hidden)]
pub use request::LATER_PANICS;
pub use root::Root;
pub use stream::{HttpStream, StreamAction};

/// The status of an error for a value that must not be written.
pub const BAD_ARGUMENT: i32 = 2;

/// A host call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostError {
    /// The name of the host call.
    pub call: &'static str,
    /// The status that the host returned.
    pub status: i32,
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
        // WASI numbers its errors differently, and returns only a number here.
        if self.call.starts_with("proxy_") { write!(f, " ({meaning})") } else { Ok(()) }
    }
}

/// The header maps of a stream that adapters use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Map {
    /// The headers of the request.
    RequestHeaders = 0,
    /// The trailers of the request.
    RequestTrailers = 1,
    /// The headers of the response.
    ResponseHeaders = 2,
    /// Those of the response to a call.
    CallHeaders = 6,
}

/// Header lines of an answer.
pub type AnswerHeaders<'a> = [(&'static str, &'a str)];

/// The functions of a gateway for the current stream or context.
///
/// Every function returns its error. Implementations do not interpret headers or properties.
pub trait Host: Clone + 'static {
    /// Returns all lines of a map, in the serialization that [`Headers::decode`](crate::request::headers::Headers::decode)
    /// reads.
    fn header_pairs(&self, map: Map) -> Result<Vec<u8>, HostError>;

    /// Returns whether a map has a line with this name.
    fn has_header(&self, map: Map, name: &[u8]) -> Result<bool, HostError>;

    /// Replaces all lines with this name by one line. A line break or NUL in the value is an error.
    fn replace_header(&self, map: Map, name: &[u8], value: &[u8]) -> Result<(), HostError>;

    /// Adds a line, and keeps those with the same name. A line break or NUL in the value is an error.
    fn add_header(&self, map: Map, name: &[u8], value: &[u8]) -> Result<(), HostError>;

    /// Removes all lines with this name.
    fn remove_header(&self, map: Map, name: &[u8]) -> Result<(), HostError>;

    /// Returns a property of the stream, or `None` if the gateway does not know it. Zero bytes separate the segments of the
    /// path.
    fn property(&self, path: &[u8]) -> Result<Option<Vec<u8>>, HostError>;

    /// Sets a property of the stream.
    fn set_property(&self, path: &[u8], value: &[u8]) -> Result<(), HostError>;

    /// Returns at most `most` bytes of the request's body from byte `start` on, as far as the host holds them. The result is
    /// empty if it holds no more.
    fn request_body(&self, start: usize, most: usize) -> Result<Vec<u8>, HostError>;

    /// Returns the `size` bytes of the response's body that the host passes to the filter in this callback.
    fn response_body(&self, size: usize) -> Result<Vec<u8>, HostError>;

    /// Replaces the `size` bytes of the response's body that the host passes to the filter in this callback.
    fn set_response_body(&self, size: usize, bytes: &[u8]) -> Result<(), HostError>;

    /// Forwards the held request of the current stream.
    fn continue_request(&self) -> Result<(), HostError>;

    /// Sends a request without a body to another server. Returns the number of the call. Only root contexts call this: a call of a
    /// stream would end with it.
    fn call(&self, upstream: &str, headers: &[(&str, &str)], timeout: Duration) -> Result<u32, HostError>;

    /// Returns at most `most` bytes of the body of the response to a call, in the callback that reports it.
    fn call_body(&self, most: usize) -> Result<Vec<u8>, HostError>;

    /// Returns the plugin's configuration. The host reports its `size` in bytes.
    fn configuration(&self, size: usize) -> Result<Vec<u8>, HostError>;

    /// Returns an environment variable that the gateway passes to the filter.
    fn variable(&self, name: &str) -> Option<Vec<u8>>;

    /// Sends a response to the client without contacting the upstream. Access logs print `details`; `grpc_status` is for gRPC
    /// clients.
    fn send_response(
        &self,
        status: u16,
        details: &str,
        headers: &AnswerHeaders<'_>,
        body: &[u8],
        grpc_status: Option<u32>,
    ) -> Result<(), HostError>;

    /// Sets the period of the current root context's timer. Kong terminates the worker's request if a stream calls this, or if
    /// it is called twice.
    fn set_tick_period(&self, period: Duration) -> Result<(), HostError>;

    /// Makes this context the target of the following calls, until the callback returns.
    fn set_effective_context(&self, context: u32) -> Result<(), HostError>;

    /// Defines a metric. Defining the same name again returns the same metric.
    fn define_metric(&self, kind: Kind, name: &str) -> Result<u32, HostError>;

    /// Adds to a metric. Only gauges accept a negative change.
    fn change_metric(&self, metric: u32, change: i64) -> Result<(), HostError>;

    /// Writes a record to the gateway's log.
    fn log_record(&self, json: &[u8]);

    /// Returns the time from the clock that the gateway provides.
    fn now(&self, clock: ClockCall) -> Result<Timestamp, HostError>;

    /// Returns the time of a clock that never goes back.
    fn monotonic(&self) -> Result<Monotonic, HostError>;

    /// Fills a buffer with random bytes.
    fn random(&self, bytes: &mut [u8]) -> Result<(), HostError>;

    /// Returns the result of the gateway's foreign function `verify_signature`.
    fn verify_signature(&self, request: &[u8]) -> Result<Vec<u8>, HostError>;

    /// Returns a verifier that is faster than the engine's, and handles what it does not support with `behind`. Gives `behind` back if the
    /// adapter has none.
    fn native_verifier(&self, behind: TableVerifier) -> Result<Box<dyn VerifySignature>, TableVerifier> {
        Err(behind)
    }

    /// Returns the map that all workers share. A zone evicts its oldest entries when it is full; the other map never evicts.
    fn store(&self, zone: bool) -> Rc<dyn SharedStore>;

    /// Announces that the host may write up to `bytes` bytes beyond the buffers that it requests.
    fn expect_overrun(&self, bytes: usize);
}

/// Compiles a policy, and logs its warnings, in an adapter whose workers share policies. `gateway` is the value that the policy's field of
/// this name must have in this adapter.
///
/// # Errors
/// What is wrong, a line for each problem.
#[cfg(any(test, feature = "adapter"))]
pub fn compile<H: Host>(host: &H, json: &[u8], gateway: &'static str) -> Result<Arc<Policy>, Vec<String>> {
    let variable = host.variable(GATEWAY_VARIABLE);
    gate::compile(host, json, variable.as_deref(), Some(gateway)).map_err(|why| why.lines())
}

/// Rejects a header value that would end its line: it contains a line break or NUL. `call` is the host call that would write it.
///
/// # Errors
/// An error of this call with the status [`BAD_ARGUMENT`].
#[inline]
pub fn check_value(call: &'static str, value: &[u8]) -> Result<(), HostError> {
    // Nearly all values have no control characters, which takes fewer instructions to find out.
    if !are_free_of_controls(value) && value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(HostError { call, status: BAD_ARGUMENT });
    }
    Ok(())
}

/// The clock of a host, for the shared state.
struct HostClock<H>(H);

impl<H: Host> Clock for HostClock<H> {
    fn now(&self) -> Result<Timestamp, StoreError> {
        self.0.now(ClockCall::Host).map_err(|error| {
            // The engine learns only that the call failed. The log has the reason.
            log::error!("cannot use the shared state of the workers: {error}");
            StoreError
        })
    }

    fn monotonic(&self) -> Result<Monotonic, StoreError> {
        self.0.monotonic().map_err(|error| {
            log::error!("cannot measure the age of documents: {error}");
            StoreError
        })
    }
}

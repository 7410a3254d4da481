//! The host's state: the current stream, and everything that outlives it.

use std::collections::{BTreeMap, BTreeSet};

use wasmtime::{Memory, TypedFunc};

use super::calls::{CALL_HEADERS, HttpCall, Response};
use super::foreign::Answer;
use super::guest::Stop;
use super::pairs::Pairs;
use super::profile::{HostProfile, HostQuirks};
use super::shared::SharedData;

/// The statuses of ABI 0.2.1 that the host returns.
pub(super) mod status {
    pub(crate) const OK: i32 = 0;
    pub(crate) const NOT_FOUND: i32 = 1;
    pub(crate) const BAD_ARGUMENT: i32 = 2;
    pub(crate) const CAS_MISMATCH: i32 = 8;
    pub(crate) const INVALID_MEMORY_ACCESS: i32 = 6;
    pub(crate) const INTERNAL_FAILURE: i32 = 10;
    pub(crate) const UNIMPLEMENTED: i32 = 12;
}

/// A host call that a test makes fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The call's name in the module's imports.
    pub call: String,
    /// Which call with this name fails, counted from 1 within one request or configuration.
    pub nth: usize,
    /// The result: a status of the ABI, or an error number of WASI. It may be a number that neither defines.
    pub status: i32,
}

/// A line that the module logged or printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The severity that the module chose.
    pub level: Level,
    /// The text. Bytes that are not UTF-8 are replaced.
    pub message: String,
}

/// Severity, in the ABI's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

impl Level {
    pub(super) fn from_abi(level: u32) -> Option<Self> {
        use Level::{Critical, Debug, Error, Info, Trace, Warn};
        [Trace, Debug, Info, Warn, Error, Critical].get(usize::try_from(level).ok()?).copied()
    }
}

/// A response that the module sent instead of the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u32,
    /// The header lines that the module asked for.
    pub headers: Pairs,
    /// The body.
    pub body: Vec<u8>,
    /// The value of `%RESPONSE_CODE_DETAILS%` in an access log, which replaces white space with `_`.
    pub details: String,
    /// The gRPC status, if the module set one.
    pub grpc_status: Option<i32>,
}

/// The ABI's number for the headers of the request.
pub(super) const REQUEST_HEADERS: u32 = 0;

/// What made a gateway forward the headers of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedBy {
    /// The callback of the headers did not hold them.
    Headers,
    /// They were held, and a callback of the body did not hold its part. Envoy then forwards the headers as well.
    Body,
    /// They were held, and the callback of the trailers did not hold these. Envoy then forwards everything.
    Trailers,
    /// They were held, and the module continued the request in a callback of another context, or of a call.
    Continued,
}

/// The current stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The context of the stream.
    pub(super) number: u32,
    /// Its root context.
    pub(super) root: u32,
    /// Absent once the module let them continue. From then on they can be neither read nor written.
    pub(super) headers: Option<Pairs>,
    /// The lines as they were when they were forwarded.
    pub(super) forwarded: Option<Pairs>,
    pub(super) forwarded_by: Option<ForwardedBy>,
    /// Whether the module holds what it was shown last.
    pub(super) held: bool,
    /// Whether the module continued the held request. The gateway does so when the callback has returned.
    pub(super) continued: bool,
    /// Lines that the module can no longer see but that are forwarded.
    pub(super) hidden: Pairs,
    pub(super) trailers: Option<Pairs>,
    pub(super) response_headers: Option<Pairs>,
    /// The chunk of the response's body that the module sees.
    pub(super) response_body: Option<Vec<u8>>,
    pub(super) body: Option<Vec<u8>>,
    /// Whether the gateway buffered the body in a file, which the module cannot read.
    pub(super) body_on_disk: bool,
    pub(super) properties: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The properties that the module wrote, by the names that the host gives them.
    pub(super) written: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) reply: Option<Reply>,
    /// Whether the module has sent a reply.
    pub(super) replied: bool,
    /// The lines of the upstream's response that the client received.
    pub(super) answer: Option<Pairs>,
    /// The chunks of the body of the upstream's response that the client received.
    pub(super) answer_body: Vec<Vec<u8>>,
}

impl Stream {
    /// Returns the map with this number in the ABI, if it is accessible now.
    pub(super) fn map(&mut self, number: u32) -> Option<&mut Pairs> {
        match number {
            REQUEST_HEADERS => self.headers.as_mut(),
            1 if !self.continued => self.trailers.as_mut(),
            2 => self.response_headers.as_mut(),
            _ => None,
        }
    }
}

impl Stream {
    /// Forwards the headers, unless that has happened.
    pub(super) fn forward(&mut self, by: ForwardedBy) {
        if let Some(lines) = self.headers.take() {
            self.forwarded = Some(lines);
            self.forwarded_by = Some(by);
        }
    }

    /// Continues the held request, as the module asks. From now on it can no longer read or change what it held.
    pub(super) fn continue_held(&mut self) -> Result<(), Stop> {
        if !self.held || self.replied || self.continued {
            return Err(Stop::misuse("a request is continued that is not held"));
        }
        self.continued = true;
        self.body = None;
        self.forward(ForwardedBy::Continued);
        Ok(())
    }

    /// Rewrites the first line with the name, or adds one. Hides other lines with the name.
    pub(super) fn replace_first(&mut self, line: (Vec<u8>, Vec<u8>)) -> Result<(), Stop> {
        let lines = self.headers.as_mut().ok_or(Stop::Status(status::BAD_ARGUMENT))?;
        let Some(first) = lines.iter().position(|(name, _)| name.eq_ignore_ascii_case(&line.0)) else {
            lines.push(line);
            return Ok(());
        };
        let after = lines.split_off(first).into_iter().skip(1);
        let (others, rest): (Pairs, Pairs) = after.partition(|(name, _)| name.eq_ignore_ascii_case(&line.0));
        lines.push(line);
        lines.extend(rest);
        self.hidden.extend(others);
        Ok(())
    }

    /// Hides all lines with the name from the module.
    pub(super) fn hide(&mut self, wanted: &[u8]) -> Result<(), Stop> {
        let lines = self.headers.as_mut().ok_or(Stop::Status(status::BAD_ARGUMENT))?;
        let (removed, rest): (Pairs, Pairs) =
            std::mem::take(lines).into_iter().partition(|(name, _)| name.eq_ignore_ascii_case(wanted));
        *lines = rest;
        self.hidden.extend(removed);
        Ok(())
    }
}

/// The state that host calls read and write.
#[derive(Default)]
pub(super) struct State {
    pub(super) profile: HostProfile,
    /// Overrides the result of `verify_signature`.
    pub(super) answer: Option<Answer>,
    pub(super) memory: Option<Memory>,
    pub(super) allocate: Option<TypedFunc<u32, u32>>,
    /// Set while `_initialize` runs: Envoy accepts only logging and WASI calls then.
    pub(super) initializing: bool,
    /// Present while a root context is being configured.
    pub(super) configuration: Option<Vec<u8>>,
    /// The callback that runs, by its name in the module.
    pub(super) callback: &'static str,
    /// The stream that calls act on.
    pub(super) stream: Option<Stream>,
    /// The other open streams, by number.
    pub(super) open: BTreeMap<u32, Stream>,
    /// The root context that is being called.
    pub(super) root: Option<u32>,
    /// The clusters of the gateway.
    pub(super) clusters: BTreeSet<String>,
    /// The calls without a response yet.
    pub(super) http_calls: BTreeMap<u32, HttpCall>,
    /// How many calls were made.
    pub(super) http_calls_made: u32,
    /// Present while the module learns the result of a call.
    pub(super) response: Option<Response>,
    /// The timers of root contexts, in milliseconds.
    pub(super) timers: BTreeMap<u32, u32>,
    pub(super) shared: SharedData,
    pub(super) environment: Vec<(String, String)>,
    /// The current time, in nanoseconds since 1970.
    pub(super) clock: u64,
    pub(super) random: u64,
    pub(super) logs: Vec<Log>,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) gauges: BTreeMap<String, i64>,
    /// The metric for each id that was returned. Envoy's ids carry the kind in their low bits.
    pub(super) metric_ids: Vec<String>,
    pub(super) calls: Vec<&'static str>,
    /// The remaining fuel at each call.
    pub(super) fuel_left: Vec<u64>,
    pub(super) fault: Option<Fault>,
}

impl State {
    pub(super) fn quirks(&self) -> &'static HostQuirks {
        self.profile.quirks()
    }

    /// Selects the open stream that calls act on, or none.
    pub(super) fn choose(&mut self, stream: Option<u32>) {
        if let Some(other) = self.stream.take() {
            self.open.insert(other.number, other);
        }
        self.stream = stream.and_then(|number| self.open.remove(&number));
    }

    /// Returns whether a stream with this number is open.
    pub(super) fn is_open(&self, number: u32) -> bool {
        self.number() == Some(number) || self.open.contains_key(&number)
    }

    /// Returns the number of the selected stream.
    pub(super) fn number(&self) -> Option<u32> {
        self.stream.as_ref().map(|stream| stream.number)
    }

    /// Returns the context that calls act on.
    pub(super) fn context(&self) -> Option<u32> {
        self.number().or(self.root)
    }

    /// Returns the map with this number in the ABI, if it is accessible in the current context.
    ///
    /// # Errors
    /// When there is no stream that could have it.
    pub(super) fn map(&mut self, number: u32) -> Result<Option<&mut Pairs>, Stop> {
        if number == CALL_HEADERS {
            let context = self.context();
            let response = self.response.as_mut().filter(|response| Some(response.context) == context);
            return Ok(response.and_then(|response| response.headers.as_mut()));
        }
        self.stream.as_mut().map(|stream| stream.map(number)).ok_or(Stop::Status(status::NOT_FOUND))
    }

    /// Records a call. Returns the status if the call has to fail.
    pub(super) fn enter(&mut self, call: &'static str, fuel_left: u64) -> Option<i32> {
        self.calls.push(call);
        self.fuel_left.push(fuel_left);
        let fault = self.fault.as_ref().filter(|fault| fault.call == call)?;
        let nth = self.calls.iter().filter(|made| **made == call).count();
        (nth == fault.nth).then_some(fault.status)
    }

    /// Returns pseudo-random bytes (SplitMix64), the same in each run.
    pub(super) fn random_byte(&mut self) -> u8 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()[0]
    }
}

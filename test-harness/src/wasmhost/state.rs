//! The host's state: the current stream, and everything that outlives it.

use std::collections::BTreeMap;

use wasmtime::{Memory, TypedFunc};

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

/// The current stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Absent once the module let them continue. From then on they can be neither read nor written.
    pub(super) headers: Option<Pairs>,
    /// Lines that the module can no longer see but that are forwarded.
    pub(super) hidden: Pairs,
    pub(super) trailers: Option<Pairs>,
    pub(super) response_headers: Option<Pairs>,
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
}

impl Stream {
    /// Returns the map with this number in the ABI, if it is accessible now.
    pub(super) fn map(&mut self, number: u32) -> Option<&mut Pairs> {
        match number {
            REQUEST_HEADERS => self.headers.as_mut(),
            1 => self.trailers.as_mut(),
            2 => self.response_headers.as_mut(),
            _ => None,
        }
    }
}

impl Stream {
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
    /// The stream that calls act on.
    pub(super) stream: Option<Stream>,
    /// The number of that stream, if other streams are open as well.
    pub(super) chosen: Option<u32>,
    /// The other open streams, by number.
    pub(super) open: BTreeMap<u32, Stream>,
    /// The root context that is being called.
    pub(super) root: Option<u32>,
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
        if let Some((number, other)) = self.chosen.take().zip(self.stream.take()) {
            self.open.insert(number, other);
        }
        self.stream = stream.and_then(|number| self.open.remove(&number));
        self.chosen = stream.filter(|_| self.stream.is_some());
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

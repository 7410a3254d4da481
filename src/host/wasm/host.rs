//! The host calls that the filter makes, each of which returns its error.
//!
//! The SDK's own calls panic on a status that they do not expect, on text that is not UTF-8, and hold statuses in an enum
//! that lacks some of those that hosts return, which is undefined behaviour. So the [imports](super::abi) are declared with a
//! plain number as their result. This is the one place that calls what is unsafe; nothing here knows what a header or property means.
#![expect(unsafe_code, reason = "host calls are foreign functions, and the host hands over memory by pointer")]

use std::fmt;
use std::time::Duration;

use super::{abi, memory};
use crate::decision::metrics::Kind;
use crate::state::Clock;
use crate::state::{SharedStore, StoreError, Versioned};
use crate::text::ascii::are_free_of_controls;
use crate::text::time::Timestamp;

/// A host call that did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostError {
    call: &'static str,
    status: i32,
}

const OK: i32 = 0;
const NOT_FOUND: i32 = 1;
const BAD_ARGUMENT: i32 = 2;
const SERIALIZATION_FAILURE: i32 = 3;
const CAS_MISMATCH: i32 = 8;

impl HostError {
    fn of(call: &'static str, status: i32) -> Result<(), Self> {
        if status == OK { Ok(()) } else { Err(Self { call, status }) }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self.status {
            NOT_FOUND => "not found",
            BAD_ARGUMENT => "bad argument",
            SERIALIZATION_FAILURE => "serialization failure",
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

/// The header maps that the filter touches.
#[derive(Debug, Clone, Copy)]
pub(super) enum Map {
    RequestHeaders = 0,
    RequestTrailers = 1,
    ResponseHeaders = 2,
}

/// Severity of a line in the gateway's log.
#[derive(Debug, Clone, Copy)]
pub(super) enum Level {
    Trace = 0,
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
    Critical = 5,
}

/// The buffers that the filter reads.
const REQUEST_BODY: u32 = 0;
const PLUGIN_CONFIGURATION: u32 = 7;

/// All lines of a map in the host's serialisation, which [`Headers::decode`](crate::request::headers::Headers::decode) reads.
pub(super) fn header_map_pairs(map: Map) -> Result<Vec<u8>, HostError> {
    // SAFETY: the pointers are valid for writes during the call, which is all that the host uses them for.
    hand_over("proxy_get_header_map_pairs", |data, size| unsafe {
        abi::proxy_get_header_map_pairs(map as u32, data, size)
    })
}

/// Whether a map has a line with this name. Its value would be that of the first such line alone.
pub(super) fn has_header(map: Map, name: &[u8]) -> Result<bool, HostError> {
    // SAFETY: the name outlives the call, and the pointers are valid for writes during it.
    let value = hand_over("proxy_get_header_map_value", |data, size| unsafe {
        abi::proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, size)
    });
    match value {
        Ok(_) => Ok(true),
        Err(HostError { status: NOT_FOUND, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Puts one line in the place of all with the same name. A value that would break the line is an error: Envoy writes it as
/// it is.
pub(super) fn replace_header(map: Map, name: &[u8], value: &[u8]) -> Result<(), HostError> {
    check_value("proxy_replace_header_map_value", value)?;
    // SAFETY: the slices outlive the call; the host copies them.
    let status = unsafe {
        abi::proxy_replace_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    };
    HostError::of("proxy_replace_header_map_value", status)
}

/// Adds a line, beside those with the same name. A value that would break the line is an error.
pub(super) fn add_header(map: Map, name: &[u8], value: &[u8]) -> Result<(), HostError> {
    check_value("proxy_add_header_map_value", value)?;
    // SAFETY: the slices outlive the call; the host copies them.
    let status =
        unsafe { abi::proxy_add_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
    HostError::of("proxy_add_header_map_value", status)
}

/// That a value does not break the line that it is written into.
fn check_value(call: &'static str, value: &[u8]) -> Result<(), HostError> {
    if !are_free_of_controls(value) && value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(HostError { call, status: BAD_ARGUMENT });
    }
    Ok(())
}

/// Removes all lines with this name.
pub(super) fn remove_header(map: Map, name: &[u8]) -> Result<(), HostError> {
    // SAFETY: the slice outlives the call; the host copies it.
    let status = unsafe { abi::proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) };
    HostError::of("proxy_remove_header_map_value", status)
}

/// A property of the stream, or nothing when the gateway does not know it; segments of the path are joined by zero bytes.
pub(super) fn property(path: &[u8]) -> Result<Option<Vec<u8>>, HostError> {
    // SAFETY: the path outlives the call, and the pointers are valid for writes during it.
    let value = hand_over("proxy_get_property", |data, size| unsafe {
        abi::proxy_get_property(path.as_ptr(), path.len(), data, size)
    });
    match value {
        Ok(value) => Ok(Some(value)),
        // Envoy answers so for a property that it knows and that has no value here.
        Err(HostError { status: NOT_FOUND | SERIALIZATION_FAILURE, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets a property of the stream; Envoy keeps it in filter state, under `wasm.` and the path.
pub(super) fn set_property(path: &[u8], value: &[u8]) -> Result<(), HostError> {
    // SAFETY: the slices outlive the call; the host copies them.
    let status = unsafe { abi::proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) };
    HostError::of("proxy_set_property", status)
}

/// The map that all workers of a gateway share. Its operations are atomic; its values outlive this VM.
pub(super) struct SharedData {
    /// Whether it is a zone of Kong's, which loses what is oldest where there is no room, or Envoy's map, which loses nothing.
    pub(super) zone: bool,
}

impl SharedData {
    /// Written with this version a key that exists is left alone and an absent one is made, whatever other workers do
    /// meanwhile. To ask first and write without a version lets two of them through.
    const ABSENT: u32 = u32::MAX;
    /// What Kong takes for "must not exist", where Envoy takes it for "whichever".
    const ABSENT_FROM_ZONE: u32 = 0;

    fn set(key: &[u8], value: &[u8], version: u32) -> Result<bool, StoreError> {
        // SAFETY: the slices outlive the call; the host copies them.
        let status =
            unsafe { abi::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), version) };
        match HostError::of("proxy_set_shared_data", status) {
            Ok(()) => Ok(true),
            Err(HostError { status: CAS_MISMATCH, .. }) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }
}

impl SharedStore for SharedData {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        let mut version = 0;
        // SAFETY: the key outlives the call, and the pointers are valid for writes during it.
        let value = hand_over("proxy_get_shared_data", |data, size| unsafe {
            abi::proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut version)
        });
        match value {
            Ok(value) => Ok(Some(Versioned { value, version })),
            Err(HostError { status: NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    fn create(&self, key: &[u8], value: &[u8]) -> Result<bool, StoreError> {
        Self::set(key, value, if self.zone { Self::ABSENT_FROM_ZONE } else { Self::ABSENT })
    }

    fn compare_and_set(&self, key: &[u8], value: &[u8], version: u32) -> Result<bool, StoreError> {
        // Hosts take 0 for "whichever version", and give it to no entry.
        if version == 0 { Err(StoreError) } else { Self::set(key, value, version) }
    }

    fn forgets(&self) -> bool {
        self.zone
    }
}

/// The clock of the host.
pub(super) struct HostClock;

impl Clock for HostClock {
    fn now(&self) -> Result<Timestamp, StoreError> {
        now().map(Timestamp::from_nanos).map_err(failed)
    }
}

/// The engine is told that it failed, the operator why.
fn failed(error: HostError) -> StoreError {
    log::error!("what the workers share cannot be used: {error}");
    StoreError
}

/// Nanoseconds since 1970, by the clock of WASI.
pub(super) fn wasi_now() -> Result<u64, HostError> {
    const REALTIME: u32 = 0;
    let mut nanoseconds = 0;
    // SAFETY: the pointer is valid for writes during the call.
    let status = unsafe { abi::clock_time_get(REALTIME, 1, &raw mut nanoseconds) };
    HostError::of("clock_time_get", status).map(|()| nanoseconds)
}

/// Nanoseconds since 1970.
pub(super) fn now() -> Result<u64, HostError> {
    let mut nanoseconds = 0;
    // SAFETY: the pointer is valid for writes during the call.
    let status = unsafe { abi::proxy_get_current_time_nanoseconds(&raw mut nanoseconds) };
    HostError::of("proxy_get_current_time_nanoseconds", status).map(|()| nanoseconds)
}

/// What the host holds of the request's body from this byte on, at most so much; nothing where it holds no more.
pub(super) fn request_body(start: usize, most: usize) -> Result<Vec<u8>, HostError> {
    // SAFETY: the pointers are valid for writes during the call, which is all that the host uses them for.
    let part = hand_over("proxy_get_buffer_bytes", |data, taken| unsafe {
        abi::proxy_get_buffer_bytes(REQUEST_BODY, start, most, data, taken)
    });
    match part {
        Err(HostError { status: NOT_FOUND, .. }) => Ok(Vec::new()),
        other => other,
    }
}

/// The plugin's configuration, of which the host said how long it is.
pub(super) fn plugin_configuration(size: usize) -> Result<Vec<u8>, HostError> {
    // SAFETY: the pointers are valid for writes during the call, which is all that the host uses them for.
    hand_over("proxy_get_buffer_bytes", |data, taken| unsafe {
        abi::proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, size, data, taken)
    })
}

/// Answers the client in the upstream's place. `details` is what access logs print; `grpc_status` is for gRPC calls.
pub(super) fn send_local_response<'a>(
    status: u16,
    details: &str,
    headers: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    body: &[u8],
    grpc_status: Option<u32>,
) -> Result<(), HostError> {
    let headers = encode_pairs(headers);
    // SAFETY: the slices outlive the call; the host copies them.
    let result = unsafe {
        abi::proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc_status.and_then(|status| i32::try_from(status).ok()).unwrap_or(-1),
        )
    };
    HostError::of("proxy_send_local_response", result)
}

/// Lets the root context that is called have a tick every so often, and none any more after zero. Kong ends the worker's request
/// where this is called by a stream, or twice.
pub(super) fn set_tick_period(period: Duration) -> Result<(), HostError> {
    let milliseconds = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    // SAFETY: no pointers.
    let status = unsafe { abi::proxy_set_tick_period_milliseconds(milliseconds) };
    HostError::of("proxy_set_tick_period_milliseconds", status)
}

/// Makes this context the one that the following calls are about, until the callback ends.
pub(super) fn set_effective_context(context: u32) -> Result<(), HostError> {
    // SAFETY: no pointers.
    HostError::of("proxy_set_effective_context", unsafe { abi::proxy_set_effective_context(context) })
}

/// A metric under this name; defining it again gives the same one.
pub(super) fn define_metric(kind: Kind, name: &str) -> Result<u32, HostError> {
    let kind = match kind {
        Kind::Counter => 0,
        Kind::Gauge => 1,
    };
    let mut id = 0;
    // SAFETY: the name outlives the call, and the pointer is valid for writes during it.
    let status = unsafe { abi::proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) };
    HostError::of("proxy_define_metric", status).map(|()| id)
}

/// Adds to a metric; what is negative is taken from it, which only a gauge allows.
pub(super) fn change_metric(metric: u32, change: i64) -> Result<(), HostError> {
    // SAFETY: no pointers.
    HostError::of("proxy_increment_metric", unsafe { abi::proxy_increment_metric(metric, change) })
}

/// Fills a buffer with random bytes.
pub(super) fn random(bytes: &mut [u8]) -> Result<(), HostError> {
    // SAFETY: the slice is valid for writes during the call.
    HostError::of("random_get", unsafe { abi::random_get(bytes.as_mut_ptr(), bytes.len()) })
}

/// What the gateway's function `verify_signature` answers. Kong ends the request that calls a function it does not have.
pub(super) fn verify_signature(request: &[u8]) -> Result<Vec<u8>, HostError> {
    const NAME: &[u8] = b"verify_signature";
    // SAFETY: the slices outlive the call, and the pointers are valid for writes during it.
    hand_over("proxy_call_foreign_function", |data, size| unsafe {
        abi::proxy_call_foreign_function(NAME.as_ptr(), NAME.len(), request.as_ptr(), request.len(), data, size)
    })
}

/// Writes a line to the gateway's log. Nobody is left to be told when that fails.
pub(super) fn log(level: Level, message: &str) {
    // SAFETY: the message outlives the call; the host copies it.
    let _ = unsafe { abi::proxy_log(level as u32, message.as_ptr(), message.len()) };
}

/// Makes a call that hands over memory, and takes it.
fn hand_over(call: &'static str, make: impl FnOnce(*mut *mut u8, *mut usize) -> i32) -> Result<Vec<u8>, HostError> {
    let mut data = std::ptr::null_mut();
    let mut size: usize = 0;
    let (status, room) = memory::with_room(|| make(&raw mut data, &raw mut size));
    HostError::of(call, status)?;
    if data.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the host asked the module's exported allocator for exactly `size` bytes and got `room` more, which cannot overflow
    // since that much was allocated. The `size` bytes are initialized: by the allocator where there is more room, and by the host,
    // which keeps no pointer to them.
    let mut bytes = unsafe { Vec::from_raw_parts(data, size, size.wrapping_add(room)) };
    if room > 0 {
        bytes.shrink_to_fit();
    }
    Ok(bytes)
}

/// The serialisation that hosts read: the number of pairs, the two lengths of each, then names and values, each ended by a
/// zero byte; numbers are 32 bits, little-endian. Answers are small, so that no length is near 32 bits.
fn encode_pairs<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Vec<u8> {
    let word = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let mut encoded = word(pairs.clone().count()).to_vec();
    for part in pairs.clone().flat_map(|(name, value)| [name, value]) {
        encoded.extend_from_slice(&word(part.len()));
    }
    for part in pairs.flat_map(|(name, value)| [name, value]) {
        encoded.extend_from_slice(part);
        encoded.push(0);
    }
    encoded
}

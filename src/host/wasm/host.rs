//! The host calls of proxy-wasm. Each returns its error.
//!
//! The SDK's functions panic on an unexpected status and on text that is not UTF-8. They also store statuses in an enum that
//! lacks some of the values that hosts return, which is undefined behavior. For these reasons, the [imports](super::abi) are
//! declared with a plain number as their result. Only this module calls unsafe functions.
#![expect(unsafe_code, reason = "host calls are foreign functions, and the host hands over memory by pointer")]

use std::ffi::OsString;
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::hostcalls;

use super::{abi, memory};
use crate::decision::metrics::Kind;
use crate::host::{AnswerHeaders, Host, HostError, Map, check_value};
use crate::policy::ClockCall;
use crate::state::{SharedStore, StoreError, Versioned};
use crate::text::monotonic::Monotonic;
use crate::text::time::Timestamp;

const OK: i32 = 0;
const NOT_FOUND: i32 = 1;
const SERIALIZATION_FAILURE: i32 = 3;
const CAS_MISMATCH: i32 = 8;

fn check(call: &'static str, status: i32) -> Result<(), HostError> {
    if status == OK { Ok(()) } else { Err(HostError { call, status }) }
}

/// The severity of a line in the gateway's log.
#[derive(Debug, Clone, Copy)]
pub(super) enum Level {
    Trace = 0,
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
    Critical = 5,
}

/// The buffers that the filter reads and changes.
const REQUEST_BODY: u32 = 0;
const RESPONSE_BODY: u32 = 1;
const CALL_BODY: u32 = 4;
const PLUGIN_CONFIGURATION: u32 = 7;

/// The direction from the client to the upstream.
const REQUEST_STREAM: u32 = 0;

/// WASI's clock that is never set.
const MONOTONIC: u32 = 1;
/// WASI's clock for the time of day.
const REALTIME: u32 = 0;

/// The gateway, accessed through the calls of proxy-wasm.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProxyWasm;

impl Host for ProxyWasm {
    fn header_pairs(&self, map: Map) -> Result<Vec<u8>, HostError> {
        // SAFETY: the pointers are valid for writes during the call, which is all that the host uses them for.
        hand_over("proxy_get_header_map_pairs", |data, size| unsafe {
            abi::proxy_get_header_map_pairs(map as u32, data, size)
        })
    }

    fn has_header(&self, map: Map, name: &[u8]) -> Result<bool, HostError> {
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

    fn replace_header(&self, map: Map, name: &[u8], value: &[u8]) -> Result<(), HostError> {
        check_value("proxy_replace_header_map_value", value)?;
        // SAFETY: the slices outlive the call; the host copies them.
        let status = unsafe {
            abi::proxy_replace_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
        };
        check("proxy_replace_header_map_value", status)
    }

    #[inline]
    fn add_header(&self, map: Map, name: &[u8], value: &[u8]) -> Result<(), HostError> {
        check_value("proxy_add_header_map_value", value)?;
        // SAFETY: the slices outlive the call; the host copies them.
        let status = unsafe {
            abi::proxy_add_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
        };
        check("proxy_add_header_map_value", status)
    }

    fn remove_header(&self, map: Map, name: &[u8]) -> Result<(), HostError> {
        // SAFETY: the slice outlives the call; the host copies it.
        let status = unsafe { abi::proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) };
        check("proxy_remove_header_map_value", status)
    }

    fn property(&self, path: &[u8]) -> Result<Option<Vec<u8>>, HostError> {
        // SAFETY: the path outlives the call, and the pointers are valid for writes during it.
        let value = hand_over("proxy_get_property", |data, size| unsafe {
            abi::proxy_get_property(path.as_ptr(), path.len(), data, size)
        });
        match value {
            Ok(value) => Ok(Some(value)),
            // Envoy returns this status for a known property that has no value here.
            Err(HostError { status: NOT_FOUND | SERIALIZATION_FAILURE, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn set_property(&self, path: &[u8], value: &[u8]) -> Result<(), HostError> {
        // SAFETY: the slices outlive the call; the host copies them.
        let status = unsafe { abi::proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) };
        check("proxy_set_property", status)
    }

    fn request_body(&self, start: usize, most: usize) -> Result<Vec<u8>, HostError> {
        // SAFETY: the pointers are valid for writes during the call, which is all that the host uses them for.
        let part = hand_over("proxy_get_buffer_bytes", |data, taken| unsafe {
            abi::proxy_get_buffer_bytes(REQUEST_BODY, start, most, data, taken)
        });
        match part {
            Err(HostError { status: NOT_FOUND, .. }) => Ok(Vec::new()),
            other => other,
        }
    }

    fn response_body(&self, size: usize) -> Result<Vec<u8>, HostError> {
        // SAFETY: the pointers are valid for writes during the call, which is all that the host uses them for.
        hand_over("proxy_get_buffer_bytes", |data, taken| unsafe {
            abi::proxy_get_buffer_bytes(RESPONSE_BODY, 0, size, data, taken)
        })
    }

    fn set_response_body(&self, size: usize, bytes: &[u8]) -> Result<(), HostError> {
        // SAFETY: the slice outlives the call; the host copies it.
        let status = unsafe { abi::proxy_set_buffer_bytes(RESPONSE_BODY, 0, size, bytes.as_ptr(), bytes.len()) };
        check("proxy_set_buffer_bytes", status)
    }

    fn continue_request(&self) -> Result<(), HostError> {
        // SAFETY: no pointers.
        check("proxy_continue_stream", unsafe { abi::proxy_continue_stream(REQUEST_STREAM) })
    }

    fn call(&self, upstream: &str, headers: &[(&str, &str)], timeout: Duration) -> Result<u32, HostError> {
        // The SDK passes the result of a call only to a context that made it through the SDK. Its function panics if the host
        // returns a status other than these two; no host does, because the call is well-formed.
        hostcalls::dispatch_http_call(upstream, headers.to_vec(), None, Vec::new(), timeout)
            .map_err(|status| HostError { call: "proxy_http_call", status: status as i32 })
    }

    fn call_body(&self, most: usize) -> Result<Vec<u8>, HostError> {
        if most == 0 {
            return Ok(Vec::new());
        }
        // SAFETY: the pointers are valid for writes during the call, which is all that the host uses them for.
        hand_over("proxy_get_buffer_bytes", |data, taken| unsafe {
            abi::proxy_get_buffer_bytes(CALL_BODY, 0, most, data, taken)
        })
    }

    fn configuration(&self, size: usize) -> Result<Vec<u8>, HostError> {
        // SAFETY: the pointers are valid for writes during the call, which is all that the host uses them for.
        hand_over("proxy_get_buffer_bytes", |data, taken| unsafe {
            abi::proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, size, data, taken)
        })
    }

    fn set_tick_period(&self, period: Duration) -> Result<(), HostError> {
        let milliseconds = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
        // SAFETY: no pointers.
        let status = unsafe { abi::proxy_set_tick_period_milliseconds(milliseconds) };
        check("proxy_set_tick_period_milliseconds", status)
    }

    fn variable(&self, name: &str) -> Option<Vec<u8>> {
        std::env::var_os(name).map(OsString::into_encoded_bytes)
    }

    fn send_response(
        &self,
        status: u16,
        details: &str,
        headers: &AnswerHeaders<'_>,
        body: &[u8],
        grpc_status: Option<u32>,
    ) -> Result<(), HostError> {
        let headers = encode_pairs(headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
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
        check("proxy_send_local_response", result)
    }

    fn set_effective_context(&self, context: u32) -> Result<(), HostError> {
        // SAFETY: no pointers.
        check("proxy_set_effective_context", unsafe { abi::proxy_set_effective_context(context) })
    }

    fn define_metric(&self, kind: Kind, name: &str) -> Result<u32, HostError> {
        let kind = match kind {
            Kind::Counter => 0,
            Kind::Gauge => 1,
        };
        let mut id = 0;
        // SAFETY: the name outlives the call, and the pointer is valid for writes during it.
        let status = unsafe { abi::proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) };
        check("proxy_define_metric", status).map(|()| id)
    }

    fn change_metric(&self, metric: u32, change: i64) -> Result<(), HostError> {
        // SAFETY: no pointers.
        check("proxy_increment_metric", unsafe { abi::proxy_increment_metric(metric, change) })
    }

    fn log_record(&self, json: &[u8]) {
        log(Level::Info, &String::from_utf8_lossy(json));
    }

    fn now(&self, clock: ClockCall) -> Result<Timestamp, HostError> {
        let mut nanoseconds = 0;
        // SAFETY: the pointers are valid for writes during the calls.
        let (call, status) = match clock {
            ClockCall::Host => ("proxy_get_current_time_nanoseconds", unsafe {
                abi::proxy_get_current_time_nanoseconds(&raw mut nanoseconds)
            }),
            ClockCall::Wasi => ("clock_time_get", unsafe { abi::clock_time_get(REALTIME, 1, &raw mut nanoseconds) }),
        };
        check(call, status).map(|()| Timestamp::from_nanos(nanoseconds))
    }

    fn monotonic(&self) -> Result<Monotonic, HostError> {
        let mut nanoseconds = 0;
        // SAFETY: the pointer is valid for writes during the call.
        let status = unsafe { abi::clock_time_get(MONOTONIC, 1, &raw mut nanoseconds) };
        check("clock_time_get", status).map(|()| Monotonic::from_millis(nanoseconds / 1_000_000))
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), HostError> {
        // SAFETY: the slice is valid for writes during the call.
        check("random_get", unsafe { abi::random_get(bytes.as_mut_ptr(), bytes.len()) })
    }

    fn verify_signature(&self, request: &[u8]) -> Result<Vec<u8>, HostError> {
        const NAME: &[u8] = b"verify_signature";
        // SAFETY: the slices outlive the call, and the pointers are valid for writes during it.
        hand_over("proxy_call_foreign_function", |data, size| unsafe {
            abi::proxy_call_foreign_function(NAME.as_ptr(), NAME.len(), request.as_ptr(), request.len(), data, size)
        })
    }

    fn store(&self, zone: bool) -> Rc<dyn SharedStore> {
        Rc::new(SharedData { zone })
    }

    fn expect_overrun(&self, bytes: usize) {
        memory::expect_overrun(bytes);
    }
}

/// The map that all workers of a gateway share. Its operations are atomic, and its values outlive this VM.
pub(super) struct SharedData {
    /// Whether this is a Kong zone, which evicts its oldest entries when it is full, or Envoy's map, which never evicts.
    pub(super) zone: bool,
}

impl SharedData {
    /// A write with this version creates an absent key and leaves an existing one unchanged, even if other workers write at the
    /// same time. Reading first and then writing without a version would let two workers succeed.
    const ABSENT: u32 = u32::MAX;
    /// Kong's value for "must not exist". Envoy interprets it as "any version".
    const ABSENT_FROM_ZONE: u32 = 0;

    fn set(key: &[u8], value: &[u8], version: u32) -> Result<bool, StoreError> {
        // SAFETY: the slices outlive the call; the host copies them.
        let status =
            unsafe { abi::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), version) };
        match check("proxy_set_shared_data", status) {
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
        // Hosts interpret 0 as "any version", and never assign it to an entry.
        if version == 0 { Err(StoreError) } else { Self::set(key, value, version) }
    }

    fn forgets(&self) -> bool {
        self.zone
    }
}

/// The engine learns only that the call failed. The log has the reason.
fn failed(error: HostError) -> StoreError {
    log::error!("cannot use the shared state of the workers: {error}");
    StoreError
}

/// Writes a line to the gateway's log. A failure is ignored, because there is no other place to report it.
pub(super) fn log(level: Level, message: &str) {
    // SAFETY: the message outlives the call; the host copies it.
    let _ = unsafe { abi::proxy_log(level as u32, message.as_ptr(), message.len()) };
}

/// Makes a call that returns allocated memory, and takes ownership of it.
fn hand_over(call: &'static str, make: impl FnOnce(*mut *mut u8, *mut usize) -> i32) -> Result<Vec<u8>, HostError> {
    let mut data = std::ptr::null_mut();
    let mut size: usize = 0;
    let (status, room) = memory::with_room(|| make(&raw mut data, &raw mut size));
    check(call, status)?;
    if data.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the host requested exactly `size` bytes from the module's exported allocator and got `room` more. The sum cannot
    // overflow, because that much was allocated. The `size` bytes are initialized: by the allocator if there is more room, and
    // by the host, which keeps no pointer to them.
    let mut bytes = unsafe { Vec::from_raw_parts(data, size, size.wrapping_add(room)) };
    if room > 0 {
        bytes.shrink_to_fit();
    }
    Ok(bytes)
}

/// Encodes header lines as hosts read them: the number of pairs, the two lengths of each pair, then names and values, each
/// followed by a zero byte. Numbers are 32-bit little-endian. Answers are small, so no length comes near 32 bits.
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

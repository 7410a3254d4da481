//! The functions that Envoy provides to modules, as far as the adapter uses them, and the types of their arguments.
//!
//! The dynamic loader resolves all functions when Envoy loads the library, so each must exist in the oldest supported Envoy, 1.38, and have
//! the same signature in all newer ones. Enums are plain numbers, because Envoy may pass values that no list has.
#![expect(unsafe_code, reason = "Envoy's functions are foreign functions")]

use std::ffi::c_void;

/// Envoy's object for a stream. It is valid until the hook `destroy` of the stream has returned.
pub(crate) type EnvoyStream = *mut c_void;
/// Envoy's object for a configuration. It is valid until the hook `config_destroy` has returned.
pub(crate) type EnvoyConfig = *mut c_void;
/// An object that passes events to a stream or a configuration.
pub(crate) type EnvoyScheduler = *mut c_void;

/// Bytes that belong to Envoy. They are valid until the hook returns, or until a function changes what they are part of.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct EnvoyBuffer {
    data: *const u8,
    size: usize,
}

impl EnvoyBuffer {
    /// No bytes.
    pub(crate) const EMPTY: Self = Self { data: std::ptr::null(), size: 0 };

    /// Returns a buffer that is valid as long as the bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), size: bytes.len() }
    }

    /// Returns the number of bytes.
    pub(crate) fn size(self) -> usize {
        self.size
    }

    /// Returns the bytes.
    ///
    /// # Safety
    /// Envoy must have filled the buffer, and its bytes must stay valid and unchanged for `'a`.
    pub(crate) unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.data.is_null() || self.size == 0 {
            return &[];
        }
        // SAFETY: the caller guarantees that the pointer and the size are Envoy's.
        unsafe { std::slice::from_raw_parts(self.data, self.size) }
    }
}

/// Bytes that belong to the module. Envoy copies them before a function returns.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct ModuleBuffer {
    data: *const u8,
    size: usize,
}

impl ModuleBuffer {
    /// Returns a buffer that is valid as long as the bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), size: bytes.len() }
    }

    /// No buffer, which differs from an empty one.
    pub(crate) const NONE: Self = Self { data: std::ptr::null(), size: 0 };

    /// Returns the bytes, as Envoy reads them.
    ///
    /// # Safety
    /// The bytes that the buffer was made of must still be valid, and must be for `'a`.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: the caller guarantees that the pointer and the size are valid.
        unsafe { EnvoyBuffer { data: self.data, size: self.size }.bytes() }
    }
}

/// A header line, of Envoy or of the module. Both have the same layout.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeaderLine {
    name: EnvoyBuffer,
    value: EnvoyBuffer,
}

impl HeaderLine {
    /// A line without a name.
    pub(crate) const EMPTY: Self = Self { name: EnvoyBuffer::EMPTY, value: EnvoyBuffer::EMPTY };

    /// Returns a line that is valid as long as the bytes.
    pub(crate) fn of(name: &[u8], value: &[u8]) -> Self {
        Self { name: EnvoyBuffer::of(name), value: EnvoyBuffer::of(value) }
    }

    /// Returns the number of bytes in the name and the value.
    pub(crate) fn size(self) -> usize {
        self.name.size.saturating_add(self.value.size)
    }

    /// Returns the name and the value.
    ///
    /// # Safety
    /// As for [`EnvoyBuffer::bytes`].
    pub(crate) unsafe fn parts<'a>(self) -> (&'a [u8], &'a [u8]) {
        // SAFETY: the caller guarantees it for both.
        unsafe { (self.name.bytes(), self.value.bytes()) }
    }
}

/// The header maps of a stream.
pub(crate) const REQUEST_HEADERS: u32 = 0;
pub(crate) const REQUEST_TRAILERS: u32 = 1;
pub(crate) const RESPONSE_HEADERS: u32 = 2;

/// The bodies of a stream: what Envoy passes to the current hook, and what it holds from before.
pub(crate) const RECEIVED_REQUEST_BODY: u32 = 0;
pub(crate) const BUFFERED_REQUEST_BODY: u32 = 1;
pub(crate) const RECEIVED_RESPONSE_BODY: u32 = 2;
pub(crate) const BUFFERED_RESPONSE_BODY: u32 = 3;

/// The severities in Envoy's log.
pub(crate) const DEBUG: u32 = 1;
pub(crate) const INFO: u32 = 2;
pub(crate) const WARN: u32 = 3;
pub(crate) const ERROR: u32 = 4;
pub(crate) const CRITICAL: u32 = 5;
pub(crate) const TRACE: u32 = 0;

/// The result of a function about metrics or calls that succeeded.
pub(crate) const SUCCESS: u32 = 0;

/// What Envoy does with headers, bodies and trailers after a hook.
pub(crate) const CONTINUE: u32 = 0;
/// Holds the headers or the trailers. The hooks for the body are still called, unlike after `StopAllIterationAndBuffer`.
pub(crate) const STOP_ITERATION: u32 = 1;
/// Holds the body, and what comes after it.
pub(crate) const STOP_AND_BUFFER: u32 = 1;

/// The reason with which the module resets a stream.
pub(crate) const LOCAL_RESET: u32 = 0;

/// The attributes of a stream that all supported versions provide to a filter. Envoy logs an error for each request for another one.
pub(crate) const RESPONSE_CODE: u32 = 15;
pub(crate) const SOURCE_ADDRESS: u32 = 24;
pub(crate) const PEER_CERTIFICATE_DIGEST: u32 = 38;
pub(crate) const UPSTREAM_ADDRESS: u32 = 41;

/// Declares the functions, and lists their names.
macro_rules! callbacks {
    ($(fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)+) => {
        unsafe extern "C" {
            $(pub(crate) fn $name($($argument: $type),*) $(-> $result)?;)+
        }

        /// The names of all functions that the module needs from Envoy.
        pub const CALLBACKS: &[&str] = &[$(stringify!($name)),+];
    };
}

callbacks! {
    fn envoy_dynamic_module_callback_log(level: u32, message: ModuleBuffer);

    fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        config: EnvoyConfig, name: ModuleBuffer, labels: *const ModuleBuffer, count: usize, id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_config_define_gauge(
        config: EnvoyConfig, name: ModuleBuffer, labels: *const ModuleBuffer, count: usize, id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_increment_counter(
        stream: EnvoyStream, id: usize, values: *const ModuleBuffer, count: usize, change: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_increment_gauge(
        stream: EnvoyStream, id: usize, values: *const ModuleBuffer, count: usize, change: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_decrement_gauge(
        stream: EnvoyStream, id: usize, values: *const ModuleBuffer, count: usize, change: u64,
    ) -> u32;

    fn envoy_dynamic_module_callback_http_get_header(
        stream: EnvoyStream, map: u32, name: ModuleBuffer, value: *mut EnvoyBuffer, index: usize, count: *mut usize,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_get_headers_size(stream: EnvoyStream, map: u32) -> usize;
    fn envoy_dynamic_module_callback_http_get_headers(stream: EnvoyStream, map: u32, lines: *mut HeaderLine) -> bool;
    fn envoy_dynamic_module_callback_http_add_header(
        stream: EnvoyStream, map: u32, name: ModuleBuffer, value: ModuleBuffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_set_header(
        stream: EnvoyStream, map: u32, name: ModuleBuffer, value: ModuleBuffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_clear_route_cache(stream: EnvoyStream);

    fn envoy_dynamic_module_callback_http_get_body_size(stream: EnvoyStream, body: u32) -> usize;
    fn envoy_dynamic_module_callback_http_get_body_chunks_size(stream: EnvoyStream, body: u32) -> usize;
    fn envoy_dynamic_module_callback_http_get_body_chunks(stream: EnvoyStream, body: u32, chunks: *mut EnvoyBuffer) -> bool;
    fn envoy_dynamic_module_callback_http_append_body(stream: EnvoyStream, body: u32, data: ModuleBuffer) -> bool;
    fn envoy_dynamic_module_callback_http_drain_body(stream: EnvoyStream, body: u32, size: usize) -> bool;
    fn envoy_dynamic_module_callback_http_received_buffered_request_body(stream: EnvoyStream) -> bool;
    fn envoy_dynamic_module_callback_http_received_buffered_response_body(stream: EnvoyStream) -> bool;

    fn envoy_dynamic_module_callback_http_send_response(
        stream: EnvoyStream, status: u32, lines: *const HeaderLine, count: usize, body: ModuleBuffer, details: ModuleBuffer,
    );
    fn envoy_dynamic_module_callback_http_filter_continue_decoding(stream: EnvoyStream);
    fn envoy_dynamic_module_callback_http_filter_reset_stream(stream: EnvoyStream, reason: u32, details: ModuleBuffer);

    fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        stream: EnvoyStream, attribute: u32, value: *mut EnvoyBuffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_filter_get_attribute_int(
        stream: EnvoyStream, attribute: u32, value: *mut u64,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_set_filter_state_bytes(
        stream: EnvoyStream, key: ModuleBuffer, value: ModuleBuffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_get_filter_state_bytes(
        stream: EnvoyStream, key: ModuleBuffer, value: *mut EnvoyBuffer,
    ) -> bool;

    fn envoy_dynamic_module_callback_http_filter_scheduler_new(stream: EnvoyStream) -> EnvoyScheduler;
    fn envoy_dynamic_module_callback_http_filter_scheduler_commit(scheduler: EnvoyScheduler, event: u64);
    fn envoy_dynamic_module_callback_http_filter_scheduler_delete(scheduler: EnvoyScheduler);
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(config: EnvoyConfig) -> EnvoyScheduler;
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(scheduler: EnvoyScheduler, event: u64);
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(scheduler: EnvoyScheduler);

    fn envoy_dynamic_module_callback_http_filter_config_http_callout(
        config: EnvoyConfig, id: *mut u64, cluster: ModuleBuffer, lines: *const HeaderLine, count: usize,
        body: ModuleBuffer, timeout_milliseconds: u64,
    ) -> u32;
}

//! The functions that Envoy calls. Each only finds its object, and catches panics.
//!
//! A panic must not leave a hook: Envoy would abort with all its connections, and its crash report prints the request. A stream whose hook
//! panics is answered with status 500, or reset if its response has begun or the module has answered it already.
//!
//! Envoy looks up the functions by their names. It rejects a library that lacks one of those about streams and configurations, even if the
//! module has no use for it.
#![expect(unsafe_code, reason = "Envoy finds the functions by their names, and passes pointers")]

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use callgate::Answer;
use callgate::host::StreamAction;

use crate::abi::{self, EnvoyBuffer, EnvoyConfig, EnvoyStream, HeaderLine};
use crate::config::Shared;
use crate::io::{Io, Reply};
use crate::main_thread::{self, Response};
#[cfg(test)]
use crate::on_purpose;
use crate::stream::{Phase, Stream};
use crate::{logger, metrics, worker};

/// The module's object for a stream, from `Rc::into_raw`. Null if it could not be created.
type ModuleStream = *const c_void;
/// The module's object for a configuration, from `Arc::into_raw`.
type ModuleConfig = *const c_void;

/// The version of Envoy's interface. Envoy only warns about another one.
const VERSION: &std::ffi::CStr = c"v0.1.0";
/// When the timer of a configuration fires again after a panic, unless a request that waits needs it earlier. It bounds how often a defect
/// is logged that panics each time.
const AFTER_A_PANIC: Duration = Duration::from_secs(1);

#[cfg(any(test, feature = "testing"))]
thread_local! {
    /// The number of panics that hooks of this thread caught.
    pub(crate) static CAUGHT: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Calls a function, and returns `None` if it panics. The panic hook has logged that, and a metric counts it.
fn guarded<T>(act: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(value) => Some(value),
        Err(payload) => {
            // Dropping it could panic again.
            std::mem::forget(payload);
            metrics::count_panic();
            #[cfg(any(test, feature = "testing"))]
            CAUGHT.set(CAUGHT.get() + 1);
            None
        }
    }
}

/// Returns the object of a stream. It stays valid if Envoy ends the stream meanwhile.
///
/// # Safety
/// `module` must be null, or what the hook `new` returned for a stream whose hook `destroy` was not called.
unsafe fn stream(module: ModuleStream) -> Option<Rc<Stream>> {
    let module = module.cast::<Stream>();
    if module.is_null() {
        return None;
    }
    // SAFETY: the caller guarantees that the object exists, and all hooks of a stream run on the same thread.
    unsafe {
        Rc::increment_strong_count(module);
        Some(Rc::from_raw(module))
    }
}

/// Returns the object of a configuration.
///
/// # Safety
/// `module` must be null, or what the hook `config_new` returned for a configuration whose hook `config_destroy` was not called.
unsafe fn config(module: ModuleConfig) -> Option<Arc<Shared>> {
    let module = module.cast::<Shared>();
    if module.is_null() {
        return None;
    }
    // SAFETY: the caller guarantees that the object exists.
    unsafe {
        Arc::increment_strong_count(module);
        Some(Arc::from_raw(module))
    }
}

/// Calls a function with a stream. If it panics, the stream is answered or reset, and its data is held.
fn with_stream(
    stream: Option<Rc<Stream>>,
    phase: Phase,
    act: impl FnOnce(&Stream) -> StreamAction,
) -> Option<StreamAction> {
    let stream = stream?;
    let action = guarded(|| act(&stream)).unwrap_or_else(|| {
        guarded(|| stream.fail(phase));
        StreamAction::Pause
    });
    // If Envoy ended the stream meanwhile, this is the last reference.
    guarded(move || drop(stream));
    Some(action)
}

/// Answers a stream that has no object.
fn answer_without_object(envoy: EnvoyStream) -> StreamAction {
    guarded(|| Io::new(envoy).send(&Reply::from(Answer::host_error())));
    StreamAction::Pause
}

/// Returns what Envoy does with headers and trailers.
fn iteration(action: StreamAction) -> u32 {
    if action == StreamAction::Continue { abi::CONTINUE } else { abi::STOP_ITERATION }
}

/// Returns what Envoy does with bodies.
fn buffering(action: StreamAction) -> u32 {
    if action == StreamAction::Continue { abi::CONTINUE } else { abi::STOP_AND_BUFFER }
}

/// Exports the functions, and lists their names.
macro_rules! hooks {
    ($($(#[$about:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block)+) => {
        $(
            $(#[$about])*
            ///
            /// # Safety
            /// Envoy calls it as its interface describes.
            #[unsafe(no_mangle)]
            pub(crate) unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? $body
        )+

        /// The names of all functions that the module exports.
        pub const HOOKS: &[&str] = &[$(stringify!($name)),+];
    };
}

hooks! {
    /// Called once when Envoy loads the library, on the main thread.
    fn envoy_dynamic_module_on_program_init() -> *const c_char {
        guarded(logger::install);
        VERSION.as_ptr()
    }

    /// Creates a configuration, on the main thread. If the policy has errors, Envoy gets null: it rejects an update and keeps the previous
    /// configuration, or does not start.
    fn envoy_dynamic_module_on_http_filter_config_new(
        envoy: EnvoyConfig, _name: EnvoyBuffer, configuration: EnvoyBuffer,
    ) -> ModuleConfig {
        // SAFETY: the configuration is valid until the hook returns.
        let configuration = unsafe { configuration.bytes() };
        let created = guarded(|| match Shared::new(envoy, configuration) {
            Ok(config) => Arc::into_raw(config).cast(),
            Err(lines) => {
                for line in lines {
                    log::error!("{line}");
                    #[cfg(test)]
                    on_purpose::configuration::panic_in("findings");
                }
                ptr::null()
            }
        });
        created.unwrap_or(ptr::null())
    }

    /// Ends a configuration, on any thread, after its last stream.
    fn envoy_dynamic_module_on_http_filter_config_destroy(module: ModuleConfig) {
        if module.is_null() {
            return;
        }
        // SAFETY: Envoy calls this once for each configuration, and does not use the object any more.
        let config = unsafe { Arc::from_raw(module.cast::<Shared>()) };
        guarded(move || {
            config.end();
            main_thread::drop_ended();
            worker::drop_ended();
        });
    }

    /// Rejects configurations of routes: a policy applies to all routes.
    fn envoy_dynamic_module_on_http_filter_per_route_config_new(
        _name: EnvoyBuffer, _configuration: EnvoyBuffer,
    ) -> *const c_void {
        guarded(|| log::error!("a route configures the filter; the module has one policy for all routes"));
        ptr::null()
    }

    /// Does nothing: there are no configurations of routes.
    fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(_module: *const c_void) {}

    /// Handles the timer of a configuration, on the main thread.
    fn envoy_dynamic_module_on_http_filter_config_scheduled(envoy: EnvoyConfig, module: ModuleConfig, _event: u64) {
        // SAFETY: Envoy passes the object of a configuration that has not ended.
        let Some(config) = (unsafe { config(module) }) else { return };
        let ticked = guarded(|| {
            #[cfg(test)]
            on_purpose::configuration::panic_in("config_scheduled");
            main_thread::tick(&config, envoy);
        });
        if ticked.is_none() {
            // Without its timer, the configuration would never fetch a document again.
            guarded(|| config.tick_after(Some(AFTER_A_PANIC)));
        }
        guarded(move || drop(config));
    }

    /// Handles the result of a call of a configuration, on the main thread.
    fn envoy_dynamic_module_on_http_filter_config_http_callout_done(
        envoy: EnvoyConfig, module: ModuleConfig, call: u64, _result: u32, headers: *const HeaderLine, headers_count: usize,
        chunks: *const EnvoyBuffer, chunks_count: usize,
    ) {
        // SAFETY: Envoy passes the object of a configuration that has not ended.
        let Some(config) = (unsafe { config(module) }) else { return };
        // A call that failed has no headers, which the engine reads as its failure.
        // SAFETY: Envoy passes the lists, and the response is dropped before this hook returns.
        guarded(move || {
            let response = unsafe { Response::new(headers, headers_count, chunks, chunks_count) };
            #[cfg(test)]
            on_purpose::configuration::panic_in("config_http_callout_done");
            main_thread::receive(&config, envoy, call, response);
        });
    }

    /// Creates a stream, on its worker.
    fn envoy_dynamic_module_on_http_filter_new(module: ModuleConfig, envoy: EnvoyStream) -> ModuleStream {
        // SAFETY: Envoy passes the object of a configuration that has not ended.
        let Some(config) = (unsafe { config(module) }) else { return ptr::null() };
        let stream = guarded(|| Rc::into_raw(Rc::new(Stream::new(&config, Io::new(envoy)))).cast::<c_void>());
        stream.unwrap_or(ptr::null())
    }

    /// Handles the headers of a request.
    fn envoy_dynamic_module_on_http_filter_request_headers(
        envoy: EnvoyStream, module: ModuleStream, end_of_stream: bool,
    ) -> u32 {
        // SAFETY: Envoy passes the object of a stream that has not ended.
        let stream = unsafe { stream(module) };
        let action = with_stream(stream, Phase::BeforeResponse, |stream| stream.request_headers(end_of_stream));
        iteration(action.unwrap_or_else(|| answer_without_object(envoy)))
    }

    /// Handles a part of a request's body.
    fn envoy_dynamic_module_on_http_filter_request_body(
        _envoy: EnvoyStream, module: ModuleStream, end_of_stream: bool,
    ) -> u32 {
        // SAFETY: Envoy passes the object of a stream that has not ended.
        let stream = unsafe { stream(module) };
        let action = with_stream(stream, Phase::BeforeResponse, |stream| stream.request_body(end_of_stream));
        buffering(action.unwrap_or(StreamAction::Pause))
    }

    /// Handles the trailers of a request.
    fn envoy_dynamic_module_on_http_filter_request_trailers(_envoy: EnvoyStream, module: ModuleStream) -> u32 {
        // SAFETY: Envoy passes the object of a stream that has not ended.
        let stream = unsafe { stream(module) };
        let action = with_stream(stream, Phase::BeforeResponse, Stream::request_trailers);
        iteration(action.unwrap_or(StreamAction::Pause))
    }

    /// Handles the headers of a response.
    fn envoy_dynamic_module_on_http_filter_response_headers(
        _envoy: EnvoyStream, module: ModuleStream, end_of_stream: bool,
    ) -> u32 {
        // SAFETY: Envoy passes the object of a stream that has not ended.
        let stream = unsafe { stream(module) };
        let action = with_stream(stream, Phase::BeforeResponse, |stream| stream.response_headers(end_of_stream));
        iteration(action.unwrap_or(StreamAction::Continue))
    }

    /// Handles a part of a response's body.
    fn envoy_dynamic_module_on_http_filter_response_body(
        _envoy: EnvoyStream, module: ModuleStream, end_of_stream: bool,
    ) -> u32 {
        // SAFETY: Envoy passes the object of a stream that has not ended.
        let stream = unsafe { stream(module) };
        let action = with_stream(stream, Phase::Response, |stream| stream.response_body(end_of_stream));
        buffering(action.unwrap_or(StreamAction::Continue))
    }

    /// Handles the trailers of a response.
    fn envoy_dynamic_module_on_http_filter_response_trailers(_envoy: EnvoyStream, module: ModuleStream) -> u32 {
        // SAFETY: Envoy passes the object of a stream that has not ended.
        let stream = unsafe { stream(module) };
        let action = with_stream(stream, Phase::Response, Stream::response_trailers);
        iteration(action.unwrap_or(StreamAction::Continue))
    }

    /// Notes the details of a response that Envoy or a filter sends.
    fn envoy_dynamic_module_on_http_filter_local_reply(
        _envoy: EnvoyStream, module: ModuleStream, _status: u32, details: EnvoyBuffer, _reset_imminent: bool,
    ) -> u32 {
        // SAFETY: Envoy passes the object of a stream that has not ended, and the details are valid until the hook returns.
        let (stream, details) = unsafe { (stream(module), details.bytes()) };
        with_stream(stream, Phase::Reply, |stream| {
            stream.local_reply(details);
            StreamAction::Continue
        });
        abi::CONTINUE
    }

    /// Handles the timer of a stream, on its worker.
    fn envoy_dynamic_module_on_http_filter_scheduled(_envoy: EnvoyStream, module: ModuleStream, _event: u64) {
        // SAFETY: Envoy passes the object of a stream that has not ended.
        let stream = unsafe { stream(module) };
        with_stream(stream, Phase::BeforeResponse, |stream| {
            stream.wake();
            StreamAction::Continue
        });
    }

    /// Completes the record of a stream. The access log is written after this.
    fn envoy_dynamic_module_on_http_filter_stream_complete(_envoy: EnvoyStream, module: ModuleStream) {
        // SAFETY: Envoy passes the object of a stream that has not ended.
        let stream = unsafe { stream(module) };
        with_stream(stream, Phase::End, |stream| {
            stream.complete();
            StreamAction::Continue
        });
    }

    /// Ends a stream. Envoy may call this inside another hook of the same stream.
    fn envoy_dynamic_module_on_http_filter_destroy(module: ModuleStream) {
        if module.is_null() {
            return;
        }
        // SAFETY: Envoy calls this once for each stream, and does not use the object any more. Hooks that run around this one have
        // other references.
        let stream = unsafe { Rc::from_raw(module.cast::<Stream>()) };
        if guarded(|| stream.end()).is_none() {
            guarded(|| stream.retire_worker());
        }
        guarded(move || drop(stream));
    }

    /// Does nothing: streams make no calls.
    fn envoy_dynamic_module_on_http_filter_http_callout_done(
        _envoy: EnvoyStream, _module: ModuleStream, _call: u64, _result: u32, _headers: *const HeaderLine,
        _headers_count: usize, _chunks: *const EnvoyBuffer, _chunks_count: usize,
    ) {
    }

    /// Does nothing: streams open no other streams.
    fn envoy_dynamic_module_on_http_filter_http_stream_headers(
        _envoy: EnvoyStream, _module: ModuleStream, _stream: u64, _headers: *const HeaderLine, _count: usize, _end: bool,
    ) {
    }

    /// Does nothing: streams open no other streams.
    fn envoy_dynamic_module_on_http_filter_http_stream_data(
        _envoy: EnvoyStream, _module: ModuleStream, _stream: u64, _chunks: *const EnvoyBuffer, _count: usize, _end: bool,
    ) {
    }

    /// Does nothing: streams open no other streams.
    fn envoy_dynamic_module_on_http_filter_http_stream_trailers(
        _envoy: EnvoyStream, _module: ModuleStream, _stream: u64, _trailers: *const HeaderLine, _count: usize,
    ) {
    }

    /// Does nothing: streams open no other streams.
    fn envoy_dynamic_module_on_http_filter_http_stream_complete(_envoy: EnvoyStream, _module: ModuleStream, _stream: u64) {}

    /// Does nothing: streams open no other streams.
    fn envoy_dynamic_module_on_http_filter_http_stream_reset(
        _envoy: EnvoyStream, _module: ModuleStream, _stream: u64, _reason: u32,
    ) {
    }

    /// Does nothing: the module sends nothing that a slow client could delay.
    fn envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(
        _envoy: EnvoyStream, _module: ModuleStream,
    ) {
    }

    /// Does nothing: the module sends nothing that a slow client could delay.
    fn envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(
        _envoy: EnvoyStream, _module: ModuleStream,
    ) {
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_even_if_its_payload_panics() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        assert_eq!(guarded(|| 1), Some(1));
        assert_eq!(
            guarded(|| if true {
                std::panic::panic_any(Bomb)
            }),
            None
        );
    }

    #[test]
    fn exports_each_hook_once() {
        let mut names = HOOKS.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), HOOKS.len());
        assert!(names.iter().all(|name| name.starts_with("envoy_dynamic_module_on_")));
    }
}

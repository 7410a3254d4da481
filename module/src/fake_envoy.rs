//! An Envoy in memory, for tests: it has the functions that modules link to, and calls the hooks as Envoy does, also inside each other.
#![expect(unsafe_code, reason = "it implements foreign functions")]

mod functions;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::abi::{self, EnvoyBuffer, HeaderLine};
use crate::hooks::*;

pub(crate) type Lines = Vec<(String, Vec<u8>)>;
type Body = Vec<Vec<u8>>;

/// A response that the module sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) status: u32,
    pub(crate) details: String,
    pub(crate) headers: Lines,
    pub(crate) body: String,
}

/// The events of a stream or a configuration, and the numbers of schedulers that were created and deleted.
#[derive(Default)]
pub(crate) struct Events {
    queue: Mutex<VecDeque<u64>>,
    changed: Condvar,
    created: AtomicUsize,
    deleted: AtomicUsize,
}

impl Events {
    /// Waits for an event.
    pub(crate) fn next(&self) -> Option<u64> {
        let queue = self.queue.lock().unwrap();
        let (mut queue, _) =
            self.changed.wait_timeout_while(queue, Duration::from_secs(9), |queue| queue.is_empty()).unwrap();
        queue.pop_front()
    }
}

/// Envoy's object for a configuration. All threads use it.
#[derive(Default)]
pub(crate) struct Config {
    names: Mutex<Vec<String>>,
    pub(crate) metrics: Mutex<BTreeMap<String, i64>>,
    pub(crate) events: Arc<Events>,
    /// The clusters and paths of calls.
    pub(crate) calls: Mutex<Vec<String>>,
    frozen: AtomicUsize,
}

/// A gateway with the module.
pub(crate) struct Gateway {
    pub(crate) envoy: Box<Config>,
    /// The module's object, as a number because threads share it.
    module: usize,
}

impl Gateway {
    /// Loads a configuration. `None` if the module rejects it.
    pub(crate) fn new(configuration: &str) -> Option<Self> {
        let envoy = Box::<Config>::default();
        let [name, text] = [&b"callgate"[..], configuration.as_bytes()].map(EnvoyBuffer::of);
        // SAFETY: the configuration outlives the hook.
        let module = unsafe {
            envoy_dynamic_module_on_program_init();
            envoy_dynamic_module_on_http_filter_config_new(pointer(&*envoy), name, text)
        };
        envoy.frozen.store(1, SeqCst);
        (!module.is_null()).then(|| Self { envoy, module: module as usize })
    }

    fn object(&self) -> *const c_void {
        self.module as *const c_void
    }

    /// Opens a stream with these request headers.
    pub(crate) fn connect(&self, headers: &[(&str, &str)]) -> Connection {
        let connection = Connection::default();
        connection.set_headers(abi::REQUEST_HEADERS, headers);
        connection.0.config.set(pointer(&*self.envoy) as usize);
        // SAFETY: the configuration has not ended.
        let module = unsafe { envoy_dynamic_module_on_http_filter_new(self.object(), connection.pointer()) };
        connection.0.module.set(module as usize);
        connection
    }

    /// Calls the hook of the configuration's timer.
    pub(crate) fn tick(&self) {
        // SAFETY: the configuration has not ended.
        unsafe {
            envoy_dynamic_module_on_http_filter_config_scheduled(pointer(&*self.envoy), self.object(), 0);
        }
    }

    /// Reports the result of a call.
    pub(crate) fn answer_call(&self, call: u64, headers: &[(&str, &str)], chunks: &[&str]) {
        let lines: Vec<_> =
            headers.iter().map(|(name, value)| HeaderLine::of(name.as_bytes(), value.as_bytes())).collect();
        let chunks: Vec<_> = chunks.iter().map(|chunk| EnvoyBuffer::of(chunk.as_bytes())).collect();
        let (lines, chunks) = ((lines.as_ptr(), lines.len()), (chunks.as_ptr(), chunks.len()));
        let (envoy, module) = (pointer(&*self.envoy), self.object());
        // SAFETY: the configuration has not ended, and the lists outlive the hook.
        unsafe {
            envoy_dynamic_module_on_http_filter_config_http_callout_done(
                envoy, module, call, 0, lines.0, lines.1, chunks.0, chunks.1,
            );
        }
    }

    /// Ends the configuration.
    pub(crate) fn end(self) {
        // SAFETY: no stream of the configuration is left.
        unsafe { envoy_dynamic_module_on_http_filter_config_destroy(self.object()) };
    }

    pub(crate) fn metric(&self, name: &str) -> i64 {
        self.envoy.metrics.lock().unwrap().get(name).copied().unwrap_or(0)
    }
}

/// Envoy's object for a stream.
#[derive(Default)]
pub(crate) struct Stream {
    /// Pointers as numbers, here and below. 0 is null.
    config: Cell<usize>,
    /// The module's object. Null after the stream has ended.
    pub(crate) module: Cell<usize>,
    maps: RefCell<[Lines; 3]>,
    bodies: RefCell<[Body; 4]>,
    state: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
    upstream: RefCell<Option<Vec<u8>>>,
    events: Arc<Events>,
    pub(crate) sent: RefCell<Vec<Sent>>,
    pub(crate) resets: Cell<u32>,
    pub(crate) continued: Cell<u32>,
    pub(crate) routes: Cell<u32>,
    /// Whether a response ends the stream before the function that sends it returns.
    pub(crate) ends_at_once: Cell<bool>,
    /// Whether continuing a request makes Envoy answer it before the function that continues it returns.
    pub(crate) fails_at_once: Cell<bool>,
    /// Whether the hook `destroy` is called later than the stream is taken apart, as since Envoy 1.40.
    pub(crate) defers_destroy: Cell<bool>,
    /// Whether Envoy has taken the stream apart. Functions would follow null pointers then.
    is_taken_apart: Cell<bool>,
}

/// A stream, from the side of Envoy.
#[derive(Default)]
pub(crate) struct Connection(pub(crate) Box<Stream>);

fn pointer<T>(object: &T) -> *mut c_void {
    (&raw const *object).cast_mut().cast()
}

impl Connection {
    pub(crate) fn pointer(&self) -> *mut c_void {
        pointer(&*self.0)
    }

    pub(crate) fn set_headers(&self, map: u32, lines: &[(&str, &str)]) {
        self.0.maps.borrow_mut()[map as usize] =
            lines.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    }

    pub(crate) fn header(&self, map: u32, name: &str) -> Option<String> {
        let maps = self.0.maps.borrow();
        let value = maps[map as usize].iter().find(|(own, _)| own == name);
        value.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
    }

    pub(crate) fn set_state(&self, key: &str, value: &str) {
        self.0.state.borrow_mut().insert(key.into(), value.into());
    }

    pub(crate) fn state(&self, key: &str) -> Option<String> {
        self.0.state.borrow().get(key.as_bytes()).map(|value| String::from_utf8(value.clone()).unwrap())
    }

    pub(crate) fn set_upstream(&self, address: &str) {
        self.0.upstream.replace(Some(address.into()));
    }

    pub(crate) fn schedulers(&self) -> (usize, usize) {
        (self.0.events.created.load(SeqCst), self.0.events.deleted.load(SeqCst))
    }

    pub(crate) fn next_event(&self) -> Option<u64> {
        self.0.events.next()
    }

    pub(crate) fn events(&self) -> usize {
        self.0.events.queue.lock().unwrap().len()
    }

    /// Returns the record that the access log would print.
    pub(crate) fn record(&self) -> serde_json::Value {
        self.state("wasm.callgate").map_or(serde_json::Value::Null, |json| serde_json::from_str(&json).unwrap())
    }

    pub(crate) fn request_headers(&self, end: bool) -> u32 {
        // SAFETY: here and below, the stream has not ended.
        unsafe { envoy_dynamic_module_on_http_filter_request_headers(self.pointer(), self.object(), end) }
    }

    /// Passes a part of the body. `moved` is how some versions of Envoy pass the last one: behind what they hold.
    pub(crate) fn request_body(&self, chunk: &str, end: bool, moved: bool) -> u32 {
        let body = if moved { abi::BUFFERED_REQUEST_BODY } else { abi::RECEIVED_REQUEST_BODY };
        self.0.bodies.borrow_mut()[body as usize].push(chunk.into());
        let status = unsafe { envoy_dynamic_module_on_http_filter_request_body(self.pointer(), self.object(), end) };
        let mut bodies = self.0.bodies.borrow_mut();
        let received = std::mem::take(&mut bodies[abi::RECEIVED_REQUEST_BODY as usize]);
        if status == abi::STOP_AND_BUFFER {
            bodies[abi::BUFFERED_REQUEST_BODY as usize].extend(received);
        }
        status
    }

    pub(crate) fn request_trailers(&self) -> u32 {
        unsafe { envoy_dynamic_module_on_http_filter_request_trailers(self.pointer(), self.object()) }
    }

    pub(crate) fn response_headers(&self, lines: &[(&str, &str)], end: bool) -> u32 {
        self.set_headers(abi::RESPONSE_HEADERS, lines);
        unsafe { envoy_dynamic_module_on_http_filter_response_headers(self.pointer(), self.object(), end) }
    }

    pub(crate) fn response_trailers(&self) -> u32 {
        unsafe { envoy_dynamic_module_on_http_filter_response_trailers(self.pointer(), self.object()) }
    }

    /// Passes a part of the response. Returns what is forwarded instead.
    pub(crate) fn response_body(&self, chunk: &str, end: bool, moved: bool) -> Option<String> {
        let body = if moved { abi::BUFFERED_RESPONSE_BODY } else { abi::RECEIVED_RESPONSE_BODY };
        self.0.bodies.borrow_mut()[body as usize].push(chunk.into());
        let status = unsafe { envoy_dynamic_module_on_http_filter_response_body(self.pointer(), self.object(), end) };
        let forwarded = std::mem::take(&mut self.0.bodies.borrow_mut()[body as usize]).concat();
        (status == abi::CONTINUE).then(|| String::from_utf8(forwarded).unwrap())
    }

    /// Does the same, with a filter behind the module that holds the whole response. Returns what that forwards at the end.
    pub(crate) fn held_response_body(&self, chunk: &str, end: bool) -> String {
        let [received, buffered] = [abi::RECEIVED_RESPONSE_BODY, abi::BUFFERED_RESPONSE_BODY].map(|body| body as usize);
        self.0.bodies.borrow_mut()[if end { buffered } else { received }].push(chunk.into());
        let status = unsafe { envoy_dynamic_module_on_http_filter_response_body(self.pointer(), self.object(), end) };
        assert_eq!(status, abi::CONTINUE);
        let mut bodies = self.0.bodies.borrow_mut();
        let passed = std::mem::take(&mut bodies[received]);
        bodies[buffered].extend(passed);
        if end { String::from_utf8(std::mem::take(&mut bodies[buffered]).concat()).unwrap() } else { String::new() }
    }

    pub(crate) fn wake(&self, event: u64) {
        unsafe { envoy_dynamic_module_on_http_filter_scheduled(self.pointer(), self.object(), event) };
    }

    /// Ends the stream, unless it has ended.
    pub(crate) fn end(&self) {
        self.0.end();
        self.0.destroy();
    }

    fn object(&self) -> *const c_void {
        self.0.module.get() as *const c_void
    }
}

impl Stream {
    /// Completes the stream, and takes it apart.
    pub(crate) fn end(&self) {
        let module = self.module.get() as *const c_void;
        if !module.is_null() && !self.is_taken_apart.get() {
            // SAFETY: the stream has not ended.
            unsafe { envoy_dynamic_module_on_http_filter_stream_complete(pointer(self), module) };
            self.is_taken_apart.set(true);
        }
        if !self.defers_destroy.get() {
            self.destroy();
        }
    }

    fn destroy(&self) {
        let module = self.module.replace(0) as *const c_void;
        if !module.is_null() {
            // SAFETY: Envoy calls no hook of this stream any more.
            unsafe { envoy_dynamic_module_on_http_filter_destroy(module) };
        }
    }
}

//! An Envoy in memory, for tests and fuzzing: it has the functions that modules link to, and calls the hooks as Envoy does, also
//! inside each other.
#![expect(unsafe_code, reason = "it implements foreign functions")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "only tests and fuzzing use it")]
#![cfg_attr(not(test), allow(dead_code, reason = "fuzzing uses only a part"))]

mod functions;
mod gateway;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Arc;

use crate::abi::{self, EnvoyBuffer};
use crate::hooks::*;

pub(crate) use gateway::{Config, Events, Gateway};

pub(crate) type Lines = Vec<(String, Vec<u8>)>;
/// Lines whose names are any bytes.
pub(crate) type RawLines = Vec<(Vec<u8>, Vec<u8>)>;
type Body = Vec<Vec<u8>>;

/// A response that the module sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) status: u32,
    pub(crate) details: String,
    pub(crate) headers: Lines,
    pub(crate) body: String,
}

/// Envoy's object for a stream.
#[derive(Default)]
pub(crate) struct Stream {
    /// Pointers as numbers, here and below. 0 is null.
    config: Cell<usize>,
    /// The module's object. Null after the stream has ended.
    pub(crate) module: Cell<usize>,
    maps: RefCell<[RawLines; 3]>,
    bodies: RefCell<[Body; 4]>,
    /// Whether another filter held the part of the request that Envoy passes to the current hook.
    pub(crate) receives_buffered: Cell<bool>,
    /// The bytes of the request's body that left the filter.
    pub(crate) forwarded: RefCell<Vec<u8>>,
    state: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
    upstream: RefCell<Option<Vec<u8>>>,
    /// The address of the client, if it is not the usual one.
    pub(crate) source: RefCell<Option<Vec<u8>>>,
    events: Arc<Events>,
    pub(crate) sent: RefCell<Vec<Sent>>,
    pub(crate) resets: Cell<u32>,
    pub(crate) continued: Cell<u32>,
    pub(crate) routes: Cell<u32>,
    /// Whether a response has reached the filter.
    responds: Cell<bool>,
    /// Whether the filter let the headers of a response pass.
    pub(crate) responded: Cell<bool>,
    /// The number of responses that the module sent after that.
    pub(crate) late: Cell<u32>,
    /// Whether a response passes the hooks for responses before the function that sends it returns.
    pub(crate) encodes_at_once: Cell<bool>,
    /// Whether a response ends the stream before the function that sends it returns. So do requests that continue, and resets.
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

fn raw_lines(lines: &[(&str, &str)]) -> RawLines {
    lines.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

thread_local! {
    /// Whether this thread logs only defects.
    pub(crate) static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

fn pointer<T>(object: &T) -> *mut c_void {
    (&raw const *object).cast_mut().cast()
}

impl Connection {
    pub(crate) fn pointer(&self) -> *mut c_void {
        pointer(&*self.0)
    }

    pub(crate) fn set_headers(&self, map: u32, lines: &[(&str, &str)]) {
        self.set_lines(map, raw_lines(lines));
    }

    pub(crate) fn set_lines(&self, map: u32, lines: RawLines) {
        self.0.maps.borrow_mut()[map as usize] = lines;
    }

    pub(crate) fn lines(&self, map: u32) -> RawLines {
        self.0.maps.borrow()[map as usize].clone()
    }

    pub(crate) fn header(&self, map: u32, name: &str) -> Option<String> {
        let maps = self.0.maps.borrow();
        let value = maps[map as usize].iter().find(|(own, _)| own == name.as_bytes());
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
        self.0.events.schedulers()
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
        self.request_bytes(chunk.as_bytes(), end, moved)
    }

    /// As [`request_body`](Self::request_body), with any bytes.
    pub(crate) fn request_bytes(&self, chunk: &[u8], end: bool, moved: bool) -> u32 {
        let body = if moved { abi::BUFFERED_REQUEST_BODY } else { abi::RECEIVED_REQUEST_BODY };
        self.0.bodies.borrow_mut()[body as usize].push(chunk.to_vec());
        self.pass_request_body(end)
    }

    /// Passes a part of the body that another filter held. Both bodies are the same one.
    pub(crate) fn buffered_request_bytes(&self, chunk: &[u8], end: bool) -> u32 {
        for body in [abi::BUFFERED_REQUEST_BODY, abi::RECEIVED_REQUEST_BODY] {
            self.0.bodies.borrow_mut()[body as usize].push(chunk.to_vec());
        }
        self.0.receives_buffered.set(true);
        let status = unsafe { envoy_dynamic_module_on_http_filter_request_body(self.pointer(), self.object(), end) };
        self.0.receives_buffered.set(false);
        self.0.bodies.borrow_mut()[abi::RECEIVED_REQUEST_BODY as usize].clear();
        if status == abi::CONTINUE {
            self.0.forward();
        }
        status
    }

    fn pass_request_body(&self, end: bool) -> u32 {
        let status = unsafe { envoy_dynamic_module_on_http_filter_request_body(self.pointer(), self.object(), end) };
        {
            let mut bodies = self.0.bodies.borrow_mut();
            let received = std::mem::take(&mut bodies[abi::RECEIVED_REQUEST_BODY as usize]);
            bodies[abi::BUFFERED_REQUEST_BODY as usize].extend(received);
        }
        if status == abi::CONTINUE {
            self.0.forward();
        }
        status
    }

    pub(crate) fn request_trailers(&self) -> u32 {
        let status = unsafe { envoy_dynamic_module_on_http_filter_request_trailers(self.pointer(), self.object()) };
        if status == abi::CONTINUE {
            self.0.forward();
        }
        status
    }

    pub(crate) fn response_headers(&self, lines: &[(&str, &str)], end: bool) -> u32 {
        self.respond(raw_lines(lines), end)
    }

    /// As [`response_headers`](Self::response_headers), with any bytes.
    pub(crate) fn respond(&self, lines: RawLines, end: bool) -> u32 {
        self.set_lines(abi::RESPONSE_HEADERS, lines);
        self.0.responds.set(true);
        let status =
            unsafe { envoy_dynamic_module_on_http_filter_response_headers(self.pointer(), self.object(), end) };
        self.0.responded.set(status == abi::CONTINUE);
        status
    }

    /// Passes a part of the response. Returns what is forwarded instead.
    pub(crate) fn response_body(&self, chunk: &str, end: bool, moved: bool) -> Option<String> {
        self.response_bytes(chunk.as_bytes(), end, moved).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    /// As [`response_body`](Self::response_body), with any bytes.
    pub(crate) fn response_bytes(&self, chunk: &[u8], end: bool, moved: bool) -> Option<Vec<u8>> {
        let body = if moved { abi::BUFFERED_RESPONSE_BODY } else { abi::RECEIVED_RESPONSE_BODY };
        self.0.bodies.borrow_mut()[body as usize].push(chunk.to_vec());
        let status = unsafe { envoy_dynamic_module_on_http_filter_response_body(self.pointer(), self.object(), end) };
        let forwarded = std::mem::take(&mut self.0.bodies.borrow_mut()[body as usize]).concat();
        (status == abi::CONTINUE).then_some(forwarded)
    }

    pub(crate) fn response_trailers(&self) -> u32 {
        unsafe { envoy_dynamic_module_on_http_filter_response_trailers(self.pointer(), self.object()) }
    }

    /// Reports a response that Envoy or another filter sends.
    pub(crate) fn local_reply(&self, status: u32, details: &[u8]) {
        let details = EnvoyBuffer::of(details);
        unsafe {
            envoy_dynamic_module_on_http_filter_local_reply(self.pointer(), self.object(), status, details, false)
        };
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

    /// Returns whether the stream has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_taken_apart.get()
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

    /// Forwards what Envoy holds of the request's body.
    fn forward(&self) {
        let held = std::mem::take(&mut self.bodies.borrow_mut()[abi::BUFFERED_REQUEST_BODY as usize]);
        self.forwarded.borrow_mut().extend(held.concat());
    }
}

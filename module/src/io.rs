//! One stream of Envoy: reads and changes it, and keeps what Envoy does not report.
//!
//! What sends a response or continues a request is only recorded, and carried out when no part of the module is borrowed any more, because
//! Envoy calls other hooks of the same stream meanwhile. One of them may end the stream. After that, every function returns an error.
#![expect(unsafe_code, reason = "Envoy's functions are foreign functions")]

use std::cell::{Cell, RefCell};
use std::time::Instant;

use callgate::Answer;
use callgate::host::{HostError, check_value};

use crate::abi::{self, EnvoyBuffer, EnvoyStream, HeaderLine, ModuleBuffer};
use crate::body::Passed;
use crate::clock;
use crate::headers::{is_grpc, serialize};

/// The status of an error for something that Envoy does not have.
pub(crate) const NOT_FOUND: i32 = 1;
/// The status of an error of Envoy itself, or for a stream that has ended.
pub(crate) const FAILED: i32 = 10;

/// A response that the module sends instead of the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) details: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) grpc_status: Option<u32>,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        let Answer { status, headers, body, grpc_status, details, .. } = answer;
        Self { status, details, headers, body: body.into_bytes(), grpc_status }
    }
}

/// The bytes that passed the filter in one direction, and whether it ended.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) began: Cell<bool>,
    pub(crate) ended: Cell<bool>,
    pub(crate) bytes: Cell<u64>,
}

impl Traffic {
    pub(crate) fn add(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_add(bytes as u64));
    }
}

/// One stream of Envoy.
pub(crate) struct Io {
    /// Null after the stream has ended.
    envoy: Cell<EnvoyStream>,
    pub(crate) began: Instant,
    pub(crate) request: Traffic,
    pub(crate) response: Traffic,
    /// The bytes of the request's body that Envoy held at the end of the last hook.
    pub(crate) held: Cell<usize>,
    /// Which body has the part of the response that Envoy passes to the current hook.
    pub(crate) part: Cell<u32>,
    /// Where the part begins in that body.
    pub(crate) part_start: Cell<usize>,
    pub(crate) passed: RefCell<Passed>,
    /// What the code for all gateways wants done.
    reply: RefCell<Option<Reply>>,
    continues: Cell<bool>,
    /// Whether headers of the request were changed, on which the route may depend.
    rerouted: Cell<bool>,
    /// The size of the body with which the module answered.
    answered: Cell<Option<u64>>,
    /// A value for the filter state that is stored when the stream ends, with its key.
    pub(crate) kept: RefCell<Option<(Vec<u8>, Vec<u8>)>>,
    /// The details of the last response that Envoy or one of its filters sent.
    pub(crate) reply_details: RefCell<Option<Vec<u8>>>,
}

impl Io {
    pub(crate) fn new(envoy: EnvoyStream) -> Self {
        Self {
            envoy: Cell::new(envoy),
            began: clock::instant(),
            request: Traffic::default(),
            response: Traffic::default(),
            held: Cell::default(),
            part: Cell::new(abi::RECEIVED_RESPONSE_BODY),
            part_start: Cell::default(),
            passed: RefCell::default(),
            reply: RefCell::default(),
            continues: Cell::default(),
            rerouted: Cell::default(),
            answered: Cell::default(),
            kept: RefCell::default(),
            reply_details: RefCell::default(),
        }
    }

    /// Returns Envoy's object, or an error after the stream has ended. Each pointer that this returns is valid: Envoy calls the hook
    /// `destroy`, which calls [`end`](Self::end), before it frees the object, and all hooks of a stream run on the same thread.
    pub(crate) fn envoy(&self, call: &'static str) -> Result<EnvoyStream, HostError> {
        let envoy = self.envoy.get();
        if envoy.is_null() { Err(HostError { call, status: FAILED }) } else { Ok(envoy) }
    }

    /// Notes that Envoy's object must not be used any more.
    pub(crate) fn end(&self) {
        self.envoy.set(std::ptr::null_mut());
    }

    pub(crate) fn is_over(&self) -> bool {
        self.envoy.get().is_null()
    }

    /// Passes all lines of a map to a function.
    pub(crate) fn lines<T>(&self, map: u32, read: impl FnOnce(&[HeaderLine]) -> T) -> Result<T, HostError> {
        const CALL: &str = "http_get_headers";
        let envoy = self.envoy(CALL)?;
        // SAFETY: the stream is valid.
        let count = unsafe { abi::envoy_dynamic_module_callback_http_get_headers_size(envoy, map) };
        let mut lines = vec![HeaderLine::EMPTY; count];
        // SAFETY: the stream is valid, and Envoy writes as many lines as it reported, because nothing changed them meanwhile.
        if count > 0 && !unsafe { abi::envoy_dynamic_module_callback_http_get_headers(envoy, map, lines.as_mut_ptr()) }
        {
            return Err(HostError { call: CALL, status: FAILED });
        }
        Ok(read(&lines))
    }

    /// Returns all lines of a map as the engine reads them.
    pub(crate) fn serialized(&self, map: u32) -> Result<Vec<u8>, HostError> {
        // SAFETY: Envoy filled the lines, and nothing changes the map while they are read.
        self.lines(map, |lines| serialize(lines.iter().map(|line| unsafe { line.parts() })))
    }

    /// Passes the first value of a header to a function, or `None` if there is no such line.
    pub(crate) fn value<T>(
        &self,
        map: u32,
        name: &[u8],
        read: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Result<T, HostError> {
        let envoy = self.envoy("http_get_header")?;
        let (mut value, mut count) = (EnvoyBuffer::EMPTY, 0);
        // SAFETY: the stream is valid, the name outlives the call, and the pointers are valid for writes during it.
        let found = unsafe {
            abi::envoy_dynamic_module_callback_http_get_header(
                envoy,
                map,
                ModuleBuffer::of(name),
                &raw mut value,
                0,
                &raw mut count,
            )
        };
        // SAFETY: Envoy filled the buffer, and the function that reads it changes nothing in Envoy.
        Ok(read(found.then(|| unsafe { value.bytes() })))
    }

    /// Replaces all lines with this name by one, or removes them if the value is empty: no supported Envoy lets modules set an empty value.
    pub(crate) fn set_header(&self, map: u32, name: &[u8], value: &[u8]) -> Result<(), HostError> {
        const CALL: &str = "http_set_header";
        // Release builds of Envoy do not check that.
        check_value(CALL, value)?;
        let envoy = self.envoy(CALL)?;
        self.rerouted.set(self.rerouted.get() || map == abi::REQUEST_HEADERS);
        let value = if value.is_empty() { ModuleBuffer::NONE } else { ModuleBuffer::of(value) };
        // SAFETY: the stream is valid, and Envoy copies the name and the value.
        let done =
            unsafe { abi::envoy_dynamic_module_callback_http_set_header(envoy, map, ModuleBuffer::of(name), value) };
        if done { Ok(()) } else { Err(HostError { call: CALL, status: FAILED }) }
    }

    /// Adds a line. An empty value adds none: no supported Envoy lets modules add one.
    pub(crate) fn add_header(&self, map: u32, name: &[u8], value: &[u8]) -> Result<(), HostError> {
        const CALL: &str = "http_add_header";
        check_value(CALL, value)?;
        let envoy = self.envoy(CALL)?;
        if value.is_empty() {
            return Ok(());
        }
        self.rerouted.set(self.rerouted.get() || map == abi::REQUEST_HEADERS);
        let value = ModuleBuffer::of(value);
        // SAFETY: the stream is valid, and Envoy copies the name and the value.
        let done =
            unsafe { abi::envoy_dynamic_module_callback_http_add_header(envoy, map, ModuleBuffer::of(name), value) };
        if done { Ok(()) } else { Err(HostError { call: CALL, status: FAILED }) }
    }

    /// Returns an attribute that is text.
    pub(crate) fn attribute(&self, attribute: u32) -> Result<Option<Vec<u8>>, HostError> {
        let envoy = self.envoy("http_filter_get_attribute_string")?;
        let mut value = EnvoyBuffer::EMPTY;
        // SAFETY: the stream is valid, and the pointer is valid for writes during the call.
        let found = unsafe {
            abi::envoy_dynamic_module_callback_http_filter_get_attribute_string(envoy, attribute, &raw mut value)
        };
        // SAFETY: Envoy filled the buffer, and nothing changed it since.
        Ok(found.then(|| unsafe { value.bytes() }.to_vec()))
    }

    /// Returns an attribute that is a number.
    pub(crate) fn number(&self, attribute: u32) -> Result<Option<u64>, HostError> {
        let envoy = self.envoy("http_filter_get_attribute_int")?;
        let mut value = 0;
        // SAFETY: the stream is valid, and the pointer is valid for writes during the call.
        let found = unsafe {
            abi::envoy_dynamic_module_callback_http_filter_get_attribute_int(envoy, attribute, &raw mut value)
        };
        Ok(found.then_some(value))
    }

    /// Returns a value that this or another filter stored for the stream.
    pub(crate) fn filter_state(&self, key: &[u8]) -> Result<Option<Vec<u8>>, HostError> {
        let envoy = self.envoy("http_get_filter_state_bytes")?;
        let mut value = EnvoyBuffer::EMPTY;
        // SAFETY: the stream is valid, the key outlives the call, and the pointer is valid for writes during it.
        let found = unsafe {
            abi::envoy_dynamic_module_callback_http_get_filter_state_bytes(envoy, ModuleBuffer::of(key), &raw mut value)
        };
        // SAFETY: Envoy filled the buffer, and nothing changed it since.
        Ok(found.then(|| unsafe { value.bytes() }.to_vec()))
    }

    /// Stores a value for the stream, where the access log finds it.
    pub(crate) fn set_filter_state(&self, key: &[u8], value: &[u8]) -> Result<(), HostError> {
        const CALL: &str = "http_set_filter_state_bytes";
        let envoy = self.envoy(CALL)?;
        let (key, value) = (ModuleBuffer::of(key), ModuleBuffer::of(value));
        // SAFETY: the stream is valid, and Envoy copies the key and the value.
        let done = unsafe { abi::envoy_dynamic_module_callback_http_set_filter_state_bytes(envoy, key, value) };
        if done { Ok(()) } else { Err(HostError { call: CALL, status: FAILED }) }
    }

    /// Records a response, which is sent when the hook has finished. Only the first one is.
    pub(crate) fn record_reply(&self, reply: Reply) {
        let mut recorded = self.reply.borrow_mut();
        if recorded.is_none() {
            *recorded = Some(reply);
        }
    }

    /// Records that the held request continues when the hook has finished.
    pub(crate) fn record_continue(&self) {
        self.continues.set(true);
    }

    /// Takes the recorded response.
    pub(crate) fn take_reply(&self) -> Option<Reply> {
        self.reply.take()
    }

    /// Returns whether the held request continues, once.
    pub(crate) fn take_continue(&self) -> bool {
        self.continues.take()
    }

    /// Returns the size of the body with which the module answered, if it did.
    pub(crate) fn answered(&self) -> Option<u64> {
        self.answered.get()
    }

    /// Sends a response. Envoy calls other hooks of this stream meanwhile, and may end it.
    pub(crate) fn send(&self, reply: &Reply) {
        let Ok(envoy) = self.envoy("http_send_response") else { return };
        // A second response is undefined behavior in Envoy.
        if self.answered.get().is_some() {
            return;
        }
        let is_grpc = self.value(abi::REQUEST_HEADERS, b"content-type", |value| value.is_some_and(is_grpc));
        let is_grpc = is_grpc.unwrap_or(false);
        let is_head = self.value(abi::REQUEST_HEADERS, b":method", |method| method == Some(&b"HEAD"[..]));
        let has_body = !is_grpc && !is_head.unwrap_or(false);
        self.answered.set(Some(if has_body { reply.body.len() as u64 } else { 0 }));
        // Without this line, Envoy reports success to gRPC clients. It puts the body into `grpc-message` itself.
        let status = reply.grpc_status.filter(|_| is_grpc).map(|status| status.to_string());
        let lines = reply.headers.iter().map(|(name, value)| HeaderLine::of(name.as_bytes(), value.as_bytes()));
        let lines = lines.chain(status.iter().map(|status| HeaderLine::of(b"grpc-status", status.as_bytes())));
        let lines: Vec<_> = lines.collect();
        // SAFETY: the stream is valid, and Envoy copies the lines, the body and the details before it returns. Nothing of the module is
        // borrowed but this reply, which no hook uses.
        unsafe {
            abi::envoy_dynamic_module_callback_http_send_response(
                envoy,
                u32::from(reply.status),
                lines.as_ptr(),
                lines.len(),
                ModuleBuffer::of(&reply.body),
                ModuleBuffer::of(reply.details.as_bytes()),
            );
        }
    }

    /// Lets Envoy choose the route again, if headers of the request were changed. The Wasm filter's host does so after each change.
    pub(crate) fn clear_route(&self) {
        if self.rerouted.take()
            && let Ok(envoy) = self.envoy("http_clear_route_cache")
        {
            // SAFETY: the stream is valid.
            unsafe { abi::envoy_dynamic_module_callback_http_clear_route_cache(envoy) };
        }
    }

    /// Continues the held request. Envoy calls other hooks of this stream meanwhile, and may end it.
    pub(crate) fn resume(&self) {
        self.held.set(0);
        if let Ok(envoy) = self.envoy("http_filter_continue_decoding") {
            // SAFETY: the stream is valid, and nothing of the module is borrowed.
            unsafe { abi::envoy_dynamic_module_callback_http_filter_continue_decoding(envoy) };
        }
    }

    /// Resets the stream, because its response has begun and must not continue. Envoy may end it meanwhile.
    pub(crate) fn reset(&self, details: &str) {
        if let Ok(envoy) = self.envoy("http_filter_reset_stream") {
            let details = ModuleBuffer::of(details.as_bytes());
            // SAFETY: the stream is valid, Envoy copies the details, and nothing of the module is borrowed.
            unsafe { abi::envoy_dynamic_module_callback_http_filter_reset_stream(envoy, abi::LOCAL_RESET, details) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_envoy::Connection;

    fn reply(status: u16) -> Reply {
        let headers = vec![("cache-control", "no-store".to_owned())];
        Reply { status, details: "callgate_x".to_owned(), headers, body: b"body".to_vec(), grpc_status: Some(7) }
    }

    #[test]
    fn sends_nothing_before_the_hook_has_finished_and_only_one_response() {
        let stream = Connection::default();
        let io = Io::new(stream.pointer());
        io.record_reply(reply(403));
        io.record_reply(reply(500));
        assert!(stream.0.sent.borrow().is_empty());
        let recorded = io.take_reply().unwrap();
        assert_eq!((recorded.status, io.take_reply()), (403, None));
        io.send(&recorded);
        io.send(&reply(500));
        let sent = stream.0.sent.borrow().clone();
        assert_eq!((sent.len(), sent[0].status, &*sent[0].details, &*sent[0].body), (1, 403, "callgate_x", "body"));
        assert_eq!(
            (io.answered(), io.reply_details.borrow().is_none()),
            (Some(4), true),
            "no hook of the module was called"
        );

        io.record_continue();
        assert_eq!((io.take_continue(), io.take_continue(), stream.0.continued.get()), (true, false, 0));
        io.resume();
        assert_eq!(stream.0.continued.get(), 1);
    }

    #[test]
    fn only_grpc_clients_get_a_grpc_status_and_no_body() {
        for (lines, status, bytes) in [
            (&[(":method", "POST"), ("content-type", "application/grpc")][..], Some("7"), 0),
            (&[(":method", "POST"), ("content-type", "application/json")], None, 4),
            (&[(":method", "HEAD")], None, 0),
        ] {
            let stream = Connection::default();
            stream.set_headers(abi::REQUEST_HEADERS, lines);
            let io = Io::new(stream.pointer());
            io.send(&reply(403));
            let sent = stream.0.sent.borrow();
            let line = sent[0].headers.iter().find(|(name, _)| name == "grpc-status");
            assert_eq!(line.map(|(_, value)| str::from_utf8(value).unwrap()), status, "{lines:?}");
            assert_eq!(io.answered(), Some(bytes), "{lines:?}");
        }
    }

    #[test]
    fn replaces_adds_and_removes_headers() {
        let stream = Connection::default();
        stream.set_headers(abi::REQUEST_HEADERS, &[("a", "1"), ("b", "2"), ("a", "3")]);
        let io = Io::new(stream.pointer());
        let lines = || {
            let headers = callgate::Headers::decode(io.serialized(abi::REQUEST_HEADERS).unwrap()).unwrap();
            let lines =
                headers.iter().map(|(name, value)| [name, value].map(|text| str::from_utf8(text).unwrap().to_owned()));
            lines.map(|[name, value]| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        io.clear_route();
        assert_eq!(stream.0.routes.get(), 0, "nothing was changed");
        io.set_header(abi::REQUEST_HEADERS, b"a", b"4").unwrap();
        assert_eq!(lines(), "b=2 a=4");
        io.add_header(abi::REQUEST_HEADERS, b"a", b"5").unwrap();
        assert_eq!(lines(), "b=2 a=4 a=5");
        io.set_header(abi::REQUEST_HEADERS, b"a", b"").unwrap();
        io.add_header(abi::REQUEST_HEADERS, b"c", b"").unwrap();
        assert_eq!(lines(), "b=2", "no line is left empty");
        for (name, value) in [(b"b", &b"1\r\nx: y"[..]), (b"b", b"\0")] {
            io.set_header(abi::REQUEST_HEADERS, name, value).unwrap_err();
            io.add_header(abi::REQUEST_HEADERS, name, value).unwrap_err();
        }
        assert_eq!(lines(), "b=2");
        io.clear_route();
        io.clear_route();
        assert_eq!(stream.0.routes.get(), 1, "the route is chosen again once");
    }

    #[test]
    fn a_stream_that_has_ended_is_not_touched() {
        let stream = Connection::default();
        let io = Io::new(stream.pointer());
        io.set_header(abi::REQUEST_HEADERS, b"a", b"1").unwrap();
        io.end();
        io.set_header(abi::REQUEST_HEADERS, b"a", b"2").unwrap_err();
        io.serialized(abi::REQUEST_HEADERS).unwrap_err();
        io.request_body(0, 1).unwrap_err();
        io.send(&reply(403));
        io.resume();
        io.reset("x");
        io.clear_route();
        assert!(io.is_over() && stream.0.sent.borrow().is_empty());
        assert_eq!([stream.0.continued.get(), stream.0.resets.get(), stream.0.routes.get()], [0; 3]);
        assert_eq!(stream.header(abi::REQUEST_HEADERS, "a").as_deref(), Some("1"));
    }
}

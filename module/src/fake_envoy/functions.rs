//! The functions that modules link to, over the streams and configurations in memory.
#![expect(unsafe_code, reason = "it implements foreign functions")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "only tests and fuzzing use it")]

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::{Config, Events, IS_QUIET, Sent, Stream};
use crate::abi::{self, EnvoyBuffer, HeaderLine, ModuleBuffer};
use crate::hooks::*;

/// Returns the stream of a pointer.
fn stream<'s>(stream: *mut c_void) -> &'s Stream {
    // SAFETY: the tests keep the objects of all streams, also of those that have ended.
    let stream = unsafe { &*stream.cast::<Stream>() };
    assert!(!stream.is_taken_apart.get(), "a stream was used that Envoy has taken apart");
    stream
}

/// Returns the bytes of the module. Envoy reads them only during the call.
fn read(bytes: ModuleBuffer) -> Vec<u8> {
    // SAFETY: the module passed valid bytes.
    unsafe { bytes.bytes() }.to_vec()
}

macro_rules! functions {
    ($(fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block)+) => {
        $(#[unsafe(no_mangle)] extern "C" fn $name($($argument: $type),*) $(-> $result)? $body)+
    };
}

/// Writes through a pointer of the module.
fn give<T>(to: *mut T, value: Option<T>) -> bool {
    let found = value.is_some();
    if let Some(value) = value {
        // SAFETY: the module passed a pointer that is valid for writes.
        unsafe { to.write(value) };
    }
    found
}

fn change(envoy: *mut c_void, id: usize, values: *const ModuleBuffer, count: usize, by: i64) -> u32 {
    // SAFETY: the gateway outlives its streams, and the module passed a valid list.
    let (config, values) =
        unsafe { (&*(stream(envoy).config.get() as *const Config), std::slice::from_raw_parts(values, count)) };
    let values = values.iter().map(|value| String::from_utf8(read(*value)).unwrap());
    let name = std::iter::once(config.names.lock().unwrap()[id].clone()).chain(values).collect::<Vec<_>>().join(".");
    *config.metrics.lock().unwrap().entry(name).or_default() += by;
    abi::SUCCESS
}

fn define(config: *mut c_void, name: ModuleBuffer, id: *mut usize) -> u32 {
    // SAFETY: the module uses only pointers of configurations that exist.
    let config = unsafe { &*config.cast::<Config>() };
    if config.frozen.load(SeqCst) > 0 {
        return 3;
    }
    let mut names = config.names.lock().unwrap();
    names.push(String::from_utf8(read(name)).unwrap());
    give(id, Some(names.len() - 1));
    abi::SUCCESS
}

/// Passes a response of the module through its own hooks.
fn encode(stream: &Stream, envoy: *mut c_void, sent: &Sent) {
    let status = (b":status".to_vec(), sent.status.to_string().into_bytes());
    let lines = sent.headers.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone()));
    stream.maps.borrow_mut()[abi::RESPONSE_HEADERS as usize] = std::iter::once(status).chain(lines).collect();
    let (module, ends) = (stream.module.get() as *const c_void, sent.body.is_empty());
    // SAFETY: the stream has not ended.
    let passed = unsafe { envoy_dynamic_module_on_http_filter_response_headers(envoy, module, ends) };
    assert_eq!(passed, abi::CONTINUE, "the module holds its own response");
    stream.responds.set(true);
    stream.responded.set(true);
    if ends {
        return;
    }
    stream.bodies.borrow_mut()[abi::RECEIVED_RESPONSE_BODY as usize].push(sent.body.clone().into_bytes());
    // SAFETY: as above.
    let passed = unsafe { envoy_dynamic_module_on_http_filter_response_body(envoy, module, true) };
    assert_eq!(passed, abi::CONTINUE, "the module holds its own response");
    let body = std::mem::take(&mut stream.bodies.borrow_mut()[abi::RECEIVED_RESPONSE_BODY as usize]).concat();
    assert_eq!(body, sent.body.as_bytes(), "the module changes its own response");
}

/// Schedulers are references to events, which exist as long as one of both sides.
fn schedule(events: &Arc<Events>) -> *mut c_void {
    events.created.fetch_add(1, SeqCst);
    Arc::into_raw(Arc::clone(events)).cast_mut().cast()
}

fn commit(scheduler: *mut c_void, event: u64) {
    // SAFETY: the module deletes a scheduler once, after its last use.
    let events = unsafe { &*scheduler.cast::<Events>() };
    events.queue.lock().unwrap().push_back(event);
    events.changed.notify_all();
}

fn delete(scheduler: *mut c_void) {
    // SAFETY: as for `commit`.
    let events = unsafe { Arc::from_raw(scheduler.cast::<Events>()) };
    events.deleted.fetch_add(1, SeqCst);
}

functions! {
    fn envoy_dynamic_module_callback_log(level: u32, message: ModuleBuffer) {
        let message = read(message);
        if level >= abi::CRITICAL || !IS_QUIET.get() {
            eprintln!("{}", String::from_utf8_lossy(&message));
        }
    }
    fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        config: *mut c_void, name: ModuleBuffer, _labels: *const ModuleBuffer, _count: usize, id: *mut usize,
    ) -> u32 { define(config, name, id) }
    fn envoy_dynamic_module_callback_http_filter_config_define_gauge(
        config: *mut c_void, name: ModuleBuffer, _labels: *const ModuleBuffer, _count: usize, id: *mut usize,
    ) -> u32 { define(config, name, id) }
    fn envoy_dynamic_module_callback_http_filter_increment_counter(
        envoy: *mut c_void, id: usize, values: *const ModuleBuffer, count: usize, by: u64,
    ) -> u32 { change(envoy, id, values, count, by.cast_signed()) }
    fn envoy_dynamic_module_callback_http_filter_increment_gauge(
        envoy: *mut c_void, id: usize, values: *const ModuleBuffer, count: usize, by: u64,
    ) -> u32 { change(envoy, id, values, count, by.cast_signed()) }
    fn envoy_dynamic_module_callback_http_filter_decrement_gauge(
        envoy: *mut c_void, id: usize, values: *const ModuleBuffer, count: usize, by: u64,
    ) -> u32 { change(envoy, id, values, count, -by.cast_signed()) }

    fn envoy_dynamic_module_callback_http_get_header(
        envoy: *mut c_void, map: u32, name: ModuleBuffer, value: *mut EnvoyBuffer, index: usize, count: *mut usize,
    ) -> bool {
        let maps = stream(envoy).maps.borrow();
        let name = read(name);
        let values: Vec<_> = maps[map as usize].iter().filter(|(own, _)| *own == name).collect();
        give(count, Some(values.len()));
        give(value, values.get(index).map(|(_, value)| EnvoyBuffer::of(value)))
    }
    fn envoy_dynamic_module_callback_http_get_headers_size(envoy: *mut c_void, map: u32) -> usize {
        stream(envoy).maps.borrow()[map as usize].len()
    }
    fn envoy_dynamic_module_callback_http_get_headers(envoy: *mut c_void, map: u32, lines: *mut HeaderLine) -> bool {
        for (at, (name, value)) in stream(envoy).maps.borrow()[map as usize].iter().enumerate() {
            // SAFETY: the module passed room for all lines.
            unsafe { lines.add(at).write(HeaderLine::of(name, value)) };
        }
        true
    }
    fn envoy_dynamic_module_callback_http_add_header(
        envoy: *mut c_void, map: u32, name: ModuleBuffer, value: ModuleBuffer,
    ) -> bool {
        let (name, value) = (read(name), read(value));
        let is_accepted = !value.is_empty();
        if is_accepted {
            stream(envoy).maps.borrow_mut()[map as usize].push((name, value));
        }
        is_accepted
    }
    fn envoy_dynamic_module_callback_http_set_header(
        envoy: *mut c_void, map: u32, name: ModuleBuffer, value: ModuleBuffer,
    ) -> bool {
        let (name, value) = (read(name), read(value));
        let lines = &mut stream(envoy).maps.borrow_mut()[map as usize];
        lines.retain(|(own, _)| *own != name);
        if !value.is_empty() {
            lines.push((name, value));
        }
        true
    }
    fn envoy_dynamic_module_callback_http_clear_route_cache(envoy: *mut c_void) {
        let stream = stream(envoy);
        stream.routes.set(stream.routes.get() + 1);
    }
    fn envoy_dynamic_module_callback_http_get_body_size(envoy: *mut c_void, body: u32) -> usize {
        stream(envoy).bodies.borrow()[body as usize].iter().map(Vec::len).sum()
    }
    fn envoy_dynamic_module_callback_http_get_body_chunks_size(envoy: *mut c_void, body: u32) -> usize {
        stream(envoy).bodies.borrow()[body as usize].len()
    }
    fn envoy_dynamic_module_callback_http_get_body_chunks(envoy: *mut c_void, body: u32, chunks: *mut EnvoyBuffer) -> bool {
        for (at, chunk) in stream(envoy).bodies.borrow()[body as usize].iter().enumerate() {
            // SAFETY: the module passed room for all chunks.
            unsafe { chunks.add(at).write(EnvoyBuffer::of(chunk)) };
        }
        true
    }
    fn envoy_dynamic_module_callback_http_append_body(envoy: *mut c_void, body: u32, data: ModuleBuffer) -> bool {
        stream(envoy).bodies.borrow_mut()[body as usize].push(read(data));
        true
    }
    fn envoy_dynamic_module_callback_http_drain_body(envoy: *mut c_void, body: u32, size: usize) -> bool {
        let body = &mut stream(envoy).bodies.borrow_mut()[body as usize];
        let rest = body.concat()[size..].to_vec();
        *body = if rest.is_empty() { Vec::new() } else { vec![rest] };
        true
    }
    fn envoy_dynamic_module_callback_http_received_buffered_request_body(envoy: *mut c_void) -> bool {
        stream(envoy).receives_buffered.get()
    }
    fn envoy_dynamic_module_callback_http_received_buffered_response_body(_envoy: *mut c_void) -> bool { false }
    fn envoy_dynamic_module_callback_http_send_response(
        envoy: *mut c_void, status: u32, lines: *const HeaderLine, count: usize, body: ModuleBuffer, details: ModuleBuffer,
    ) {
        let stream = stream(envoy);
        // SAFETY: the module passed a valid list, whose bytes are valid during the call.
        let lines = unsafe { std::slice::from_raw_parts(lines, count) }.iter().map(|line| unsafe { line.parts() });
        let headers = lines.map(|(name, value)| (String::from_utf8(name.to_vec()).unwrap(), value.to_vec())).collect();
        let [body, details] = [read(body), read(details)].map(|text| String::from_utf8(text).unwrap());
        // SAFETY: the stream has not ended.
        unsafe {
            let details = EnvoyBuffer::of(details.as_bytes());
            envoy_dynamic_module_on_http_filter_local_reply(envoy, stream.module.get() as *const c_void, status, details, false);
        }
        stream.late.set(stream.late.get() + u32::from(stream.responded.get()));
        let sent = Sent { status, details, headers, body };
        // A response in place of one that has reached the filters skips them.
        if stream.encodes_at_once.get() && !stream.responds.get() {
            encode(stream, envoy, &sent);
        }
        stream.sent.borrow_mut().push(sent);
        if stream.ends_at_once.get() {
            stream.end();
        }
    }
    fn envoy_dynamic_module_callback_http_filter_continue_decoding(envoy: *mut c_void) {
        let stream = stream(envoy);
        stream.continued.set(stream.continued.get() + 1);
        stream.forward();
        if stream.fails_at_once.get() {
            let (module, details) = (stream.module.get() as *const c_void, EnvoyBuffer::of(b"no_healthy_upstream"));
            // SAFETY: the stream has not ended.
            unsafe {
                envoy_dynamic_module_on_http_filter_local_reply(envoy, module, 503, details, false);
                envoy_dynamic_module_on_http_filter_response_headers(envoy, module, true);
            }
            stream.responded.set(true);
        }
        if stream.ends_at_once.get() {
            stream.end();
        }
    }
    fn envoy_dynamic_module_callback_http_filter_reset_stream(envoy: *mut c_void, _reason: u32, _details: ModuleBuffer) {
        let stream = stream(envoy);
        stream.resets.set(stream.resets.get() + 1);
        if stream.ends_at_once.get() {
            stream.end();
        }
    }
    fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        envoy: *mut c_void, attribute: u32, value: *mut EnvoyBuffer,
    ) -> bool {
        let (upstream, source) = (stream(envoy).upstream.borrow(), stream(envoy).source.borrow());
        give(value, match attribute {
            abi::SOURCE_ADDRESS => Some(EnvoyBuffer::of(source.as_deref().unwrap_or(b"192.0.2.1:80"))),
            abi::PEER_CERTIFICATE_DIGEST => Some(EnvoyBuffer::of(b"ab12")),
            abi::UPSTREAM_ADDRESS => upstream.as_deref().map(EnvoyBuffer::of),
            other => panic!("attribute {other} is not supported by all versions"),
        })
    }
    fn envoy_dynamic_module_callback_http_filter_get_attribute_int(
        envoy: *mut c_void, attribute: u32, value: *mut u64,
    ) -> bool {
        assert_eq!(attribute, abi::RESPONSE_CODE, "not supported by all versions");
        let maps = stream(envoy).maps.borrow();
        let status = maps[abi::RESPONSE_HEADERS as usize].iter().find(|(name, _)| name == b":status");
        give(value, status.and_then(|(_, status)| str::from_utf8(status).ok()?.parse().ok()))
    }
    fn envoy_dynamic_module_callback_http_set_filter_state_bytes(
        envoy: *mut c_void, key: ModuleBuffer, value: ModuleBuffer,
    ) -> bool {
        stream(envoy).state.borrow_mut().insert(read(key), read(value));
        true
    }
    fn envoy_dynamic_module_callback_http_get_filter_state_bytes(
        envoy: *mut c_void, key: ModuleBuffer, value: *mut EnvoyBuffer,
    ) -> bool {
        give(value, stream(envoy).state.borrow().get(&read(key)).map(|value| EnvoyBuffer::of(value)))
    }
    fn envoy_dynamic_module_callback_http_filter_scheduler_new(envoy: *mut c_void) -> *mut c_void {
        schedule(&stream(envoy).events)
    }
    fn envoy_dynamic_module_callback_http_filter_scheduler_commit(scheduler: *mut c_void, event: u64) {
        commit(scheduler, event);
    }
    fn envoy_dynamic_module_callback_http_filter_scheduler_delete(scheduler: *mut c_void) { delete(scheduler); }
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(config: *mut c_void) -> *mut c_void {
        // SAFETY: the module uses only pointers of configurations that exist.
        schedule(unsafe { &(*config.cast::<Config>()).events })
    }
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(scheduler: *mut c_void, event: u64) {
        commit(scheduler, event);
    }
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(scheduler: *mut c_void) { delete(scheduler); }
    fn envoy_dynamic_module_callback_http_filter_config_http_callout(
        config: *mut c_void, id: *mut u64, cluster: ModuleBuffer, lines: *const HeaderLine, count: usize,
        _body: ModuleBuffer, _timeout: u64,
    ) -> u32 {
        // SAFETY: the module uses only pointers of configurations that exist, and passed a valid list.
        let (config, lines) = unsafe { (&*config.cast::<Config>(), std::slice::from_raw_parts(lines, count)) };
        // SAFETY: the bytes are valid during the call.
        let path = lines.iter().map(|line| unsafe { line.parts() }).find(|(name, _)| *name == b":path").unwrap().1;
        let mut calls = config.calls.lock().unwrap();
        calls.push(format!("{} {}", String::from_utf8(read(cluster)).unwrap(), str::from_utf8(path).unwrap()));
        give(id, Some(calls.len() as u64));
        abi::SUCCESS
    }
}

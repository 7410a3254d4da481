//! A configuration of the module, from the side of Envoy.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::{Connection, RawLines, pointer, raw_lines};
use crate::abi::{self, EnvoyBuffer, HeaderLine};
use crate::hooks::*;

/// The events of a stream or a configuration, and the numbers of schedulers that were created and deleted.
#[derive(Default)]
pub(crate) struct Events {
    pub(super) queue: Mutex<VecDeque<u64>>,
    pub(super) changed: Condvar,
    pub(super) created: AtomicUsize,
    pub(super) deleted: AtomicUsize,
}

impl Events {
    /// Returns the numbers of schedulers that were created and deleted.
    pub(crate) fn schedulers(&self) -> (usize, usize) {
        (self.created.load(SeqCst), self.deleted.load(SeqCst))
    }

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
    pub(super) names: Mutex<Vec<String>>,
    pub(crate) metrics: Mutex<BTreeMap<String, i64>>,
    pub(crate) events: Arc<Events>,
    /// The clusters and paths of calls.
    pub(crate) calls: Mutex<Vec<String>>,
    pub(super) frozen: AtomicUsize,
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
        (!module.is_null()).then_some(Self { envoy, module: module as usize })
    }

    fn object(&self) -> *const c_void {
        self.module as *const c_void
    }

    /// Opens a stream with these request headers.
    pub(crate) fn connect(&self, headers: &[(&str, &str)]) -> Connection {
        let connection = Connection::default();
        connection.set_headers(abi::REQUEST_HEADERS, headers);
        self.open(connection)
    }

    /// Opens a stream.
    pub(crate) fn open(&self, connection: Connection) -> Connection {
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
        let chunks: Vec<_> = chunks.iter().map(|chunk| chunk.as_bytes()).collect();
        self.end_call(call, 0, &raw_lines(headers), &chunks);
    }

    /// Reports the result of a call, which may have failed.
    pub(crate) fn end_call(&self, call: u64, result: u32, headers: &RawLines, chunks: &[&[u8]]) {
        let lines: Vec<_> = headers.iter().map(|(name, value)| HeaderLine::of(name, value)).collect();
        let chunks: Vec<_> = chunks.iter().map(|chunk| EnvoyBuffer::of(chunk)).collect();
        let (lines, chunks) = ((lines.as_ptr(), lines.len()), (chunks.as_ptr(), chunks.len()));
        let (envoy, module) = (pointer(&*self.envoy), self.object());
        // SAFETY: the configuration has not ended, and the lists outlive the hook.
        unsafe {
            envoy_dynamic_module_on_http_filter_config_http_callout_done(
                envoy, module, call, result, lines.0, lines.1, chunks.0, chunks.1,
            );
        }
    }

    /// Ends the configuration.
    pub(crate) fn end(mut self) {
        self.destroy();
    }

    /// Ends the configuration, unless it has ended. Envoy's object remains.
    pub(crate) fn destroy(&mut self) {
        let module = std::mem::replace(&mut self.module, 0) as *const c_void;
        // SAFETY: the configuration has not ended, and null is allowed.
        unsafe { envoy_dynamic_module_on_http_filter_config_destroy(module) };
    }

    /// Returns whether the configuration has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.module == 0
    }

    pub(crate) fn metric(&self, name: &str) -> i64 {
        self.envoy.metrics.lock().unwrap().get(name).copied().unwrap_or(0)
    }
}

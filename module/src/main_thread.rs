//! What the main thread does for a configuration: it fetches documents and publishes them for all workers.
//!
//! Envoy may end a configuration on a worker, with its last stream. The main thread then drops its part in its next hook.
#![expect(unsafe_code, reason = "Envoy's functions are foreign functions")]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use callgate::Policy;
use callgate::host::{HostError, Root};

use crate::abi::{self, EnvoyBuffer, EnvoyConfig, HeaderLine, ModuleBuffer};
use crate::body::cut;
use crate::config::Shared;
use crate::headers::serialize;
use crate::host::{Envoy, Target};

/// A configuration on the main thread.
struct MainRoot {
    config: Arc<Shared>,
    host: Envoy,
    root: RefCell<Root<Envoy>>,
}

thread_local! {
    static ROOTS: RefCell<Vec<Rc<MainRoot>>> = const { RefCell::new(Vec::new()) };
}

/// The response to a call. It is valid until the hook that reports it returns.
pub(crate) struct Response {
    headers: Vec<HeaderLine>,
    chunks: Vec<EnvoyBuffer>,
}

impl Response {
    /// Copies the lists of lines and chunks, but not their bytes.
    ///
    /// # Safety
    /// Envoy must have passed the lists to the current hook, and the response must be dropped before that returns.
    pub(crate) unsafe fn new(
        headers: *const HeaderLine,
        headers_count: usize,
        chunks: *const EnvoyBuffer,
        chunks_count: usize,
    ) -> Self {
        // SAFETY: the caller guarantees that Envoy passed the pointers with these counts.
        unsafe { Self { headers: list(headers, headers_count), chunks: list(chunks, chunks_count) } }
    }

    /// Returns the header lines as the engine reads them. A call that failed has none.
    pub(crate) fn header_pairs(&self) -> Vec<u8> {
        // SAFETY: the bytes are valid while the response exists.
        serialize(self.headers.iter().map(|line| unsafe { line.parts() }))
    }

    /// Returns at most `most` bytes of the body.
    pub(crate) fn body(&self, most: usize) -> Vec<u8> {
        // SAFETY: the bytes are valid while the response exists.
        cut(self.chunks.iter().map(|chunk| unsafe { chunk.bytes() }), 0, most)
    }

    fn size(&self) -> usize {
        self.chunks.iter().fold(0, |sum, chunk| sum.saturating_add(chunk.size()))
    }
}

/// Copies a list of Envoy.
///
/// # Safety
/// The pointer must be null, or valid for reads of `count` values.
unsafe fn list<T: Copy>(first: *const T, count: usize) -> Vec<T> {
    if first.is_null() || count == 0 {
        return Vec::new();
    }
    // SAFETY: the caller guarantees it.
    unsafe { std::slice::from_raw_parts(first, count) }.to_vec()
}

/// Puts a policy in force on the main thread, in the hook that creates its configuration.
///
/// # Errors
/// What is wrong, a line for each problem.
pub(crate) fn start(host: &Envoy, policy: Arc<Policy>) -> Result<Root<Envoy>, Vec<String>> {
    drop_ended();
    let mut root = Root::new(host.clone(), 0);
    root.start(policy)?;
    Ok(root)
}

/// Keeps what [`start`] returned until the configuration ends.
pub(crate) fn keep(config: Arc<Shared>, host: Envoy, root: Root<Envoy>) {
    let root = Rc::new(MainRoot { config, host, root: RefCell::new(root) });
    ROOTS.with_borrow_mut(|roots| roots.push(root));
}

/// Fetches documents that are due.
pub(crate) fn tick(config: &Shared, envoy: EnvoyConfig) {
    drop_ended();
    let Some(main) = find(config) else { return };
    // The timer continues whatever happens in this call.
    config.tick_after(main.host.period());
    let _entered = main.host.enter(Target::Config(envoy));
    if let Ok(mut root) = main.root.try_borrow_mut() {
        root.on_tick();
    }
}

/// Handles the result of a call.
pub(crate) fn receive(config: &Shared, envoy: EnvoyConfig, call: u64, response: Response) {
    let (Some(main), Ok(call)) = (find(config), u32::try_from(call)) else { return };
    let size = response.size();
    let _entered = main.host.enter(Target::Called(envoy, Rc::new(response)));
    if let Ok(mut root) = main.root.try_borrow_mut() {
        root.on_call_response(call, size);
    }
}

/// Makes a call to a cluster. Returns its number.
pub(crate) fn call(
    config: EnvoyConfig,
    cluster: &str,
    headers: &[(&str, &str)],
    timeout: Duration,
) -> Result<u32, HostError> {
    let lines: Vec<_> = headers.iter().map(|(name, value)| HeaderLine::of(name.as_bytes(), value.as_bytes())).collect();
    let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let mut id = 0;
    // SAFETY: Envoy passed the configuration to the current hook, the lines and the name outlive the call, and the pointer is valid for
    // writes during it.
    let status = unsafe {
        abi::envoy_dynamic_module_callback_http_filter_config_http_callout(
            config,
            &raw mut id,
            ModuleBuffer::of(cluster.as_bytes()),
            lines.as_ptr(),
            lines.len(),
            ModuleBuffer::NONE,
            milliseconds,
        )
    };
    let error = HostError { call: "http_filter_config_http_callout", status: status.cast_signed() };
    if status == abi::SUCCESS { u32::try_from(id).map_err(|_| error) } else { Err(error) }
}

/// Drops what this thread has for configurations that have ended.
pub(crate) fn drop_ended() {
    let ended = ROOTS.with_borrow_mut(|roots| {
        let (ended, running): (Vec<_>, Vec<_>) =
            std::mem::take(roots).into_iter().partition(|root| root.config.is_over());
        *roots = running;
        ended
    });
    // Nothing is borrowed while they are dropped.
    drop(ended);
}

fn find(config: &Shared) -> Option<Rc<MainRoot>> {
    ROOTS.with_borrow(|roots| roots.iter().find(|root| root.config.id == config.id).map(Rc::clone))
}

/// Returns the number of configurations that this thread fetches documents for.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn count() -> usize {
    ROOTS.with_borrow(Vec::len)
}

//! A configuration in one worker: the caches of the engine, and the requests that wait.
//!
//! It is created with the worker's first stream, and dropped with a later one of any configuration after its own has ended.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callgate::host::{HttpStream, Root};

use crate::clock;
use crate::config::{self, Shared};
use crate::host::{Entered, Envoy, Target};
use crate::io::Io;

/// How often a worker reads the documents that the main thread published.
const READ_PERIOD: Duration = Duration::from_secs(1);
/// How often it does so while requests wait for them. Each of these is woken separately, and strangers decide how many there are.
const HURRIED_READ_PERIOD: Duration = Duration::from_millis(10);

/// A configuration in one worker.
pub(crate) struct Worker {
    config: Arc<Shared>,
    host: Envoy,
    root: RefCell<Root<Envoy>>,
    /// The number of streams so far.
    streams: Cell<u32>,
    /// When documents were last read.
    read: Cell<Instant>,
    /// How many hooks of streams run inside each other.
    depth: Cell<u32>,
}

/// The configurations in this worker.
#[derive(Default)]
struct Workers {
    /// The number of configurations that had ended when the list was last searched.
    ended: u64,
    all: Vec<Rc<Worker>>,
}

thread_local! {
    static WORKERS: RefCell<Workers> = RefCell::default();
}

/// A hook of a stream, which the functions of the host apply to.
pub(crate) struct Hook<'w> {
    worker: &'w Worker,
    _entered: Entered<'w>,
}

impl Drop for Hook<'_> {
    fn drop(&mut self) {
        self.worker.depth.set(self.worker.depth.get().saturating_sub(1));
    }
}

impl Worker {
    /// Returns the state of a configuration in this worker.
    pub(crate) fn of(config: &Arc<Shared>) -> Rc<Self> {
        let (known, ended) = WORKERS.with_borrow_mut(|workers| {
            let known = workers.all.iter().find(|worker| worker.config.id == config.id).map(Rc::clone);
            (known, if workers.ended == config::ended() { Vec::new() } else { workers.take_ended() })
        });
        // Nothing is borrowed while they are dropped.
        drop(ended);
        known.unwrap_or_else(|| {
            let worker = Rc::new(Self::new(Arc::clone(config)));
            WORKERS.with_borrow_mut(|workers| workers.all.push(Rc::clone(&worker)));
            worker
        })
    }

    fn new(config: Arc<Shared>) -> Self {
        let host = Envoy::new(Arc::clone(&config));
        let mut root = Root::new(host.clone(), 0);
        // A worker without a policy denies every request.
        if let Some(policy) = config.policy()
            && let Err(lines) = root.join(Arc::clone(policy))
        {
            for line in lines {
                log::error!("{line}");
            }
        }
        let now = clock::instant();
        let read = now.checked_sub(READ_PERIOD).unwrap_or(now);
        let [streams, depth] = <[Cell<u32>; 2]>::default();
        Self { config, host, root: RefCell::new(root), streams, read: Cell::new(read), depth }
    }

    /// Returns the configuration.
    pub(crate) fn config(&self) -> &Shared {
        &self.config
    }

    /// Creates the state of a stream. `None` while the configuration is used, which no hook does.
    pub(crate) fn stream(&self) -> Option<HttpStream<Envoy>> {
        let id = self.streams.get().wrapping_add(1);
        self.streams.set(id);
        self.root.try_borrow().ok().map(|root| root.stream(id))
    }

    /// Makes a stream the target of the host's functions, and reads documents if that is due.
    pub(crate) fn enter(&self, io: &Rc<Io>, waits_for_keys: bool) -> Hook<'_> {
        let is_nested = self.depth.get() > 0;
        self.depth.set(self.depth.get().saturating_add(1));
        let hook = Hook { worker: self, _entered: self.host.enter(Target::Stream(Rc::clone(io))) };
        if !is_nested {
            if let Ok(envoy) = io.envoy("http_filter_increment_counter") {
                self.config.metrics().flush(envoy);
            }
            self.read_documents(waits_for_keys);
        }
        hook
    }

    fn read_documents(&self, waits_for_keys: bool) {
        let now = clock::instant();
        let period = if waits_for_keys { HURRIED_READ_PERIOD } else { READ_PERIOD };
        if now.saturating_duration_since(self.read.get()) < period {
            return;
        }
        if let Ok(mut root) = self.root.try_borrow_mut() {
            self.read.set(now);
            root.read_documents();
        }
    }

    /// Makes the next stream start with new caches, because a defect may have left these in a wrong state.
    pub(crate) fn retire(&self) {
        let retired = WORKERS.with_borrow_mut(|workers| {
            let at = workers.all.iter().position(|worker| std::ptr::eq(&**worker, self));
            at.map(|at| workers.all.swap_remove(at))
        });
        drop(retired);
    }
}

impl Workers {
    fn take_ended(&mut self) -> Vec<Rc<Worker>> {
        self.ended = config::ended();
        let (ended, running) = std::mem::take(&mut self.all).into_iter().partition(|worker| worker.config.is_over());
        self.all = running;
        ended
    }
}

/// Drops what this thread has for configurations that have ended.
pub(crate) fn drop_ended() {
    drop(WORKERS.with_borrow_mut(Workers::take_ended));
}

/// Returns the number of configurations in this worker.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn count() -> usize {
    WORKERS.with_borrow(|workers| workers.all.len())
}

/// Returns the configurations in this worker, to show when they are dropped.
#[cfg(all(test, feature = "panic-on-purpose"))]
pub(crate) fn all() -> Vec<std::rc::Weak<Worker>> {
    WORKERS.with_borrow(|workers| workers.all.iter().map(Rc::downgrade).collect())
}

/// Returns the number of bytes that are held for the requests and answers of this worker.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn held_bytes() -> u64 {
    WORKERS.with_borrow(|workers| workers.all.iter().map(|worker| worker.root.borrow().held_bytes()).sum())
}

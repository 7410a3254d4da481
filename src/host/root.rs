//! One configuration of the filter in one worker.

use std::rc::{Rc, Weak};
#[cfg(any(test, feature = "adapter"))]
use std::sync::Arc;

use super::documents::Calls;
use super::gate::Gate;
#[cfg(any(test, feature = "adapter"))]
use super::gate::NewEngine;
use super::stream::HttpStream;
use super::waiting::{PERIOD, WaitingList};
use super::{Host, HostError};
#[cfg(any(test, feature = "adapter"))]
use crate::evaluate::Engine;
#[cfg(any(test, feature = "adapter"))]
use crate::policy::Policy;
use crate::text::monotonic::Monotonic;

/// One configuration of the filter in one worker. Without a policy it denies every request.
pub struct Root<H: Host> {
    host: H,
    /// The id of this context.
    id: u32,
    gate: Option<Rc<Gate<H>>>,
    /// The previous policies of this context that fetch documents and still have streams.
    previous: Vec<Weak<Gate<H>>>,
    /// The requests that wait, under this policy or its predecessor.
    waiting: Rc<WaitingList<H>>,
    calls: Calls<H>,
    /// When the last whole period of the timer ended. `None` before the timer fires for the first time.
    elapsed: Option<Monotonic>,
}

impl<H: Host> Root<H> {
    /// Creates a context without a policy. `id` is the context's own.
    #[must_use]
    pub fn new(host: H, id: u32) -> Self {
        let (waiting, calls) = (Rc::default(), Calls::default());
        Self { host, id, gate: None, previous: Vec::new(), waiting, calls, elapsed: None }
    }

    /// Accepts a policy. If the policy has errors, Envoy gets `false`: it rejects an update and keeps the previous policy, or
    /// does not start. Kong would then forward requests without the filter. On Kong, this returns `true`, drops the previous
    /// policy and denies every request.
    pub fn on_configure(&mut self, size: usize) -> bool {
        match Gate::configure(self.host.clone(), size) {
            Ok(gate) => {
                if let Err(error) = self.start_timer(&gate) {
                    log::error!(
                        "the policy needs a timer, to fetch keys or to end requests whose bodies do not arrive: {error}; allow the \
                         capabilities `proxy_on_tick`, `proxy_set_tick_period_milliseconds` and `proxy_set_effective_context`"
                    );
                    if gate.features().refuses_configuration {
                        return false;
                    }
                    // This gateway would forward requests without the filter. It gets one that denies every request.
                    self.gate = None;
                    return true;
                }
                self.replace(gate);
                true
            }
            Err(refused) => {
                for line in refused.lines() {
                    log::error!("{line}");
                }
                if refused.must_accept() {
                    log::error!("no policy is active; every request is denied until one is accepted");
                    self.gate = None;
                }
                refused.must_accept()
            }
        }
    }

    /// Puts a compiled policy in force, in an adapter whose workers share policies.
    ///
    /// # Errors
    /// What is wrong, a line for each problem.
    #[cfg(any(test, feature = "adapter"))]
    pub fn start(&mut self, policy: Arc<Policy>) -> Result<(), Vec<String>> {
        self.begin(policy, Engine::new)
    }

    /// Puts a policy in force that another context has started. A newer policy may have been started since.
    ///
    /// # Errors
    /// What is wrong, a line for each problem.
    #[cfg(any(test, feature = "adapter"))]
    pub fn join(&mut self, policy: Arc<Policy>) -> Result<(), Vec<String>> {
        self.begin(policy, Engine::following)
    }

    #[cfg(any(test, feature = "adapter"))]
    fn begin(&mut self, policy: Arc<Policy>, engine: NewEngine) -> Result<(), Vec<String>> {
        let gate = Gate::new(self.host.clone(), policy, engine).map_err(|why| why.lines())?;
        self.start_timer(&gate).map_err(|error| vec![format!("the policy needs a timer: {error}")])?;
        self.replace(gate);
        Ok(())
    }

    /// Reads the documents that another context of the process published, in an adapter whose workers make no calls.
    #[cfg(any(test, feature = "adapter"))]
    pub fn read_documents(&mut self) {
        self.drop_ended();
        for gate in self.fetching() {
            match gate.engine.read_documents() {
                Ok(events) => gate.tell_documents(&events),
                Err(error) => log::error!("documents are not read: {error}"),
            }
        }
        if let Some(gate) = &self.gate {
            gate.tell_held();
            gate.tell_keys();
        }
    }

    /// Handles the gateway's timer.
    pub fn on_tick(&mut self) {
        self.drop_ended();
        let gates = self.fetching();
        for gate in &gates {
            self.calls.make(&self.host, gate);
        }
        let mut acted = !gates.is_empty() && self.waiting.retry(&self.host);
        if self.period_has_passed() {
            acted |= self.waiting.elapse(&self.host);
            if let Some(gate) = &self.gate {
                gate.tell_held();
                gate.tell_keys();
            }
        }
        self.return_to_root(acted);
        self.waiting.adapt_timer(&self.host);
    }

    /// Handles the result of a call.
    pub fn on_call_response(&mut self, call: u32, size: usize) {
        self.calls.receive(&self.host, call, size);
        let acted = self.waiting.retry(&self.host);
        self.return_to_root(acted);
        self.waiting.adapt_timer(&self.host);
    }

    /// Creates the state of a stream.
    #[must_use]
    pub fn stream(&self, id: u32) -> HttpStream<H> {
        HttpStream::new(self.host.clone(), id, self.gate.clone(), Rc::clone(&self.waiting))
    }

    /// Returns the number of bytes that are held for requests and answers.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.gate.as_ref().map_or(0, |gate| gate.engine.held_bytes())
    }

    /// Replaces the policy.
    fn replace(&mut self, gate: Gate<H>) {
        let previous = self.gate.replace(Rc::new(gate)).filter(|gate| gate.policy().fetches());
        self.previous.extend(previous.as_ref().map(Rc::downgrade));
        // This one is kept only if a stream has it.
        drop(previous);
        self.drop_ended();
    }

    /// Returns the policies that fetch documents: requests that wait under a previous policy, and its open streams, need that policy's.
    fn fetching(&self) -> Vec<Rc<Gate<H>>> {
        let all = self.gate.iter().map(Rc::clone).chain(self.previous.iter().filter_map(Weak::upgrade));
        all.filter(|gate| gate.policy().fetches()).collect()
    }

    /// Forgets the previous policies whose last stream has ended.
    fn drop_ended(&mut self) {
        self.previous.retain(|gate| gate.strong_count() > 0);
    }

    /// Starts the timer that fetches documents and ends held requests, if the policy needs it.
    fn start_timer(&self, gate: &Gate<H>) -> Result<(), HostError> {
        let policy = gate.policy();
        if policy.times_out_held_bodies() || policy.fetches() { self.waiting.start_timer(&self.host) } else { Ok(()) }
    }

    /// Returns whether a period has passed since the last one. While requests wait for keys, the timer fires more often.
    fn period_has_passed(&mut self) -> bool {
        // Timers fire a little early or late.
        let almost = PERIOD * 9 / 10;
        // Without a clock, every tick counts: bodies must time out in any case.
        let Ok(now) = self.host.monotonic() else { return true };
        let passed = self.elapsed.is_none_or(|last| now.since(last) >= almost);
        if passed {
            self.elapsed = Some(now);
        }
        passed
    }

    /// Makes this context the target of host calls again, if a callback acted on a stream.
    fn return_to_root(&self, acted: bool) {
        if acted && let Err(error) = self.host.set_effective_context(self.id) {
            log::error!("the timer cannot return to its context: {error}");
        }
    }
}

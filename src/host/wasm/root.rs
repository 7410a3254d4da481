//! The root context: one configuration of the filter in one VM.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use super::gate::Gate;
use super::host::{self, HostError};
use super::http::Http;
use super::waiting::{PERIOD, WaitingCalls};

/// One configuration of the filter in one VM. Without a policy it denies every call.
pub(super) struct Root {
    /// The number of this context.
    id: u32,
    gate: Option<Rc<Gate>>,
    /// The requests that wait for their bodies, under this policy or the one before it.
    waiting: Rc<WaitingCalls>,
    /// Whether the gateway's timer runs.
    ticks: bool,
}

impl Root {
    pub(super) fn new(id: u32) -> Self {
        Self { id, gate: None, waiting: Rc::default(), ticks: false }
    }

    /// Starts the timer that ends held requests, where the policy holds any and the gateway has one. It is never stopped: under
    /// the policy before this one requests may still be held.
    fn start_timer(&mut self, gate: &Gate) -> Result<(), HostError> {
        if gate.policy().times_out_held_bodies() && !self.ticks {
            host::set_tick_period(PERIOD)?;
            self.ticks = true;
        }
        Ok(())
    }
}

impl Context for Root {}

impl RootContext for Root {
    /// Takes a policy, or keeps the one it has: Envoy rejects the update, or does not start, when this returns false. Kong would
    /// then forward requests without the filter, so that there a policy with mistakes leaves the gate without one, and every
    /// request is denied.
    fn on_configure(&mut self, size: usize) -> bool {
        match Gate::configure(size) {
            Ok(gate) => {
                if let Err(error) = self.start_timer(&gate) {
                    log::error!(
                        "requests are held for their bodies, and no timer would end that: {error}; allow the capabilities \
                         `proxy_on_tick`, `proxy_set_tick_period_milliseconds` and `proxy_set_effective_context`"
                    );
                    return false;
                }
                self.gate = Some(Rc::new(gate));
                true
            }
            Err(refused) => {
                for line in refused.lines() {
                    log::error!("{line}");
                }
                if refused.must_accept() {
                    log::error!("no policy is in force: every request is denied until another one is accepted");
                    self.gate = None;
                }
                refused.must_accept()
            }
        }
    }

    fn on_tick(&mut self) {
        if let Err(error) = self.waiting.tick(self.id) {
            log::error!("the timer cannot come back to its own context: {error}");
        }
        if let Some(gate) = &self.gate {
            gate.tell_held();
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http::new(id, self.gate.clone(), Rc::clone(&self.waiting))))
    }
}

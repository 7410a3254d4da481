//! One configuration of the filter in one worker.

use std::rc::Rc;

use super::gate::Gate;
use super::stream::HttpStream;
use super::waiting::{PERIOD, WaitingList};
use super::{Host, HostError};

/// One configuration of the filter in one worker. Without a policy it denies every request.
pub(super) struct Root<H: Host> {
    host: H,
    /// The id of this context.
    id: u32,
    gate: Option<Rc<Gate<H>>>,
    /// The requests that wait for their bodies, under this policy or its predecessor.
    waiting: Rc<WaitingList<H>>,
    /// Whether the gateway's timer runs.
    ticks: bool,
}

impl<H: Host> Root<H> {
    pub(super) fn new(host: H, id: u32) -> Self {
        Self { host, id, gate: None, waiting: Rc::default(), ticks: false }
    }

    /// Accepts a policy. If the policy has errors, Envoy gets `false`: it rejects an update and keeps the previous policy, or
    /// does not start. Kong would then forward requests without the filter. On Kong, this returns `true`, drops the previous
    /// policy and denies every request.
    pub(super) fn on_configure(&mut self, size: usize) -> bool {
        match Gate::configure(self.host.clone(), size) {
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
                    log::error!("no policy is active; every request is denied until one is accepted");
                    self.gate = None;
                }
                refused.must_accept()
            }
        }
    }

    /// Handles the gateway's timer.
    pub(super) fn on_tick(&mut self) {
        if let Err(error) = self.waiting.tick(&self.host, self.id) {
            log::error!("the timer cannot return to its context: {error}");
        }
        if let Some(gate) = &self.gate {
            gate.tell_held();
        }
    }

    /// Creates the state of a stream.
    pub(super) fn stream(&self, id: u32) -> HttpStream<H> {
        HttpStream::new(self.host.clone(), id, self.gate.clone(), Rc::clone(&self.waiting))
    }

    /// Starts the timer that ends held requests, if the policy holds any and the gateway has timers. The timer is never
    /// stopped, because requests may still be held under the previous policy.
    fn start_timer(&mut self, gate: &Gate<H>) -> Result<(), HostError> {
        if gate.policy().times_out_held_bodies() && !self.ticks {
            self.host.set_tick_period(PERIOD)?;
            self.ticks = true;
        }
        Ok(())
    }
}

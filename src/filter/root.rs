//! The root context: one configuration of the filter in one VM.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use super::gate::Gate;
use super::http::Http;

/// One configuration of the filter in one VM. Without a policy it denies every call.
#[derive(Default)]
pub(super) struct Root {
    gate: Option<Rc<Gate>>,
}

impl Context for Root {}

impl RootContext for Root {
    /// Takes a policy, or keeps the one it has: Envoy rejects the update, or does not start, when this returns false. Kong would
    /// lose the worker by that, so that there a policy with mistakes leaves the gate without one, and every call is denied.
    fn on_configure(&mut self, size: usize) -> bool {
        match Gate::configure(size) {
            Ok(gate) => {
                self.gate = Some(Rc::new(gate));
                true
            }
            Err(refused) => {
                for line in refused.lines() {
                    log::error!("{line}");
                }
                if refused.stops_the_worker() {
                    log::error!("no policy is in force: every call is denied until another one is taken");
                    self.gate = None;
                }
                refused.stops_the_worker()
            }
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http::new(self.gate.clone())))
    }
}

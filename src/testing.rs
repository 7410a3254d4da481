//! What tests of several rooms need: a worker whose clock and store they control.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::decision::trace::Trace;
use crate::evaluate::{Context, Engine, Services};
use crate::identity::crypto::SoftwareVerifier;
use crate::identity::token::{SecretLookup, Secrets, TokenCache};
use crate::policy::Policy;
use crate::quota::Recent;
use crate::quota::held::HeldBytes;
use crate::state::{MemoryStore, SharedStore};
use crate::text::time::Timestamp;

/// Every secret has this value.
pub(crate) struct OneSecret(pub(crate) &'static [u8]);

impl Secrets for OneSecret {
    fn resolve(&self, _: &str) -> SecretLookup {
        SecretLookup::Found(self.0.to_vec())
    }
}

/// A worker of a gateway.
pub(crate) struct Worker<S = MemoryStore> {
    pub(crate) engine: Engine,
    pub(crate) clock: Rc<Cell<Timestamp>>,
    pub(crate) store: Rc<S>,
    pub(crate) held: HeldBytes,
}

impl<S> Worker<S> {
    /// Sets the clock, in seconds.
    pub(crate) fn set_clock(&self, seconds: u64) {
        self.clock.set(Timestamp::from_secs(seconds));
    }
}

impl Worker {
    /// A worker whose gateway has been running since the beginning of time.
    pub(crate) fn new(policy: Policy) -> Self {
        Self::joining(policy, Rc::default(), 0)
    }
}

impl<S: SharedStore + 'static> Worker<S> {
    /// A worker that starts at this moment, in seconds, where others may have been before.
    pub(crate) fn joining(policy: impl Into<Arc<Policy>>, store: Rc<S>, since: u64) -> Self {
        let (clock, held) = (Rc::new(Cell::new(Timestamp::from_secs(since))), HeldBytes::default());
        let services = Services {
            store: Rc::clone(&store) as Rc<dyn SharedStore>,
            held: Some(held.clone()),
            ..Services::in_memory(Rc::clone(&clock), [1; 16])
        };
        let engine = Engine::new(policy, services);
        engine.open().unwrap();
        Self { engine, clock, store, held }
    }
}

/// An evaluation that shares nothing.
pub(crate) fn alone<'c>(cache: &'c mut TokenCache, recent: &'c Recent, trace: Option<&'c mut Trace>) -> Context<'c> {
    Context { verifier: &SoftwareVerifier, cache, recent, shared: None, replay: None, held: None, trace }
}

//! A policy in force: everything that one worker needs to decide requests, and all that it remembers between them.

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::shared::{OtherSizes, SharedState};
use super::{Context, Outcome, Pending, evaluate};
use crate::decision::Decision;
use crate::decision::trace::Trace;
#[cfg(not(target_arch = "wasm32"))]
use crate::identity::crypto::SoftwareVerifier;
use crate::identity::crypto::VerifySignature;
use crate::identity::token::{CacheUsage, TokenCache};
use crate::policy::Policy;
use crate::quota::Recent;
use crate::quota::held::HeldBytes;
use crate::request::incoming::Request;
#[cfg(not(target_arch = "wasm32"))]
use crate::state::MemoryStore;
use crate::state::{Clock, SharedStore, StoreError};
use crate::text::time::Timestamp;

/// What an engine uses of its host.
pub struct Services {
    /// Verifies signatures.
    pub verifier: Box<dyn VerifySignature>,
    /// The map that all workers share.
    pub store: Rc<dyn SharedStore>,
    /// The clock, for what must know the time better than the request's own.
    pub clock: Box<dyn Clock>,
    /// Fresh randomness, which the first worker that opens the shared state keys its names with.
    pub secret: [u8; 16],
    /// The bytes of requests that this worker holds, under any of its policies; none where the host bounds them in another way.
    pub held: Option<HeldBytes>,
    /// How many bytes the cache of verified tokens takes at most.
    pub token_cache: usize,
}

#[cfg(not(target_arch = "wasm32"))]
impl Services {
    /// A worker without a gateway: signatures are verified in software, and its store is shared with nobody. `secret` has to be random where
    /// strangers send requests.
    #[must_use]
    pub fn in_memory(clock: impl Clock + 'static, secret: [u8; 16]) -> Self {
        Self {
            verifier: Box::new(SoftwareVerifier),
            store: Rc::new(MemoryStore::default()),
            clock: Box::new(clock),
            secret,
            held: None,
            token_cache: TokenCache::DEFAULT_BYTES,
        }
    }
}

/// A policy in force in one worker.
///
/// It owns what the worker remembers under the policy: verified tokens, who verified something lately, and its view of what all workers
/// share. The policy itself can be shared by the engines of all workers.
pub struct Engine {
    policy: Arc<Policy>,
    services: Services,
    tokens: RefCell<TokenCache>,
    recent: Recent,
    /// What the policy shares with other workers, once it is open; none where it counts nothing and accepts nothing once.
    state: OnceCell<Option<SharedState>>,
}

/// Why a request could not be decided. It must be denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undecided {
    /// What the workers share cannot be used.
    State,
    /// The engine is in use by the request that is being decided, which is possible only after a trap on a host that continues with the
    /// same VM.
    InUse,
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::State => {
                "the map that the gateway's workers share cannot be used, holds something else under this policy's name, or has \
                 not enough room; give the gate's plugins a `vm_id` of their own, or on Kong a zone of the size that \
                 `callgate check` prints"
            }
            Self::InUse => "an earlier request stopped the filter, and the gateway went on with it",
        })
    }
}

impl std::error::Error for Undecided {}

impl Engine {
    /// An engine that has remembered nothing yet.
    #[must_use]
    pub fn new(policy: impl Into<Arc<Policy>>, services: Services) -> Self {
        Self {
            policy: policy.into(),
            tokens: RefCell::new(TokenCache::new(services.token_cache)),
            services,
            recent: Recent::default(),
            state: OnceCell::new(),
        }
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Opens what the policy shares with other workers. The first decision does it where nobody did before. Returns the tables that have
    /// another size than the policy asks for, to the call that opened them.
    ///
    /// # Errors
    /// [`Undecided::State`] when the store cannot be used. It can be tried again.
    pub fn open(&self) -> Result<OtherSizes, Undecided> {
        if self.state.get().is_some() {
            return Ok(OtherSizes::default());
        }
        let Services { store, clock, secret, .. } = &self.services;
        let opened = SharedState::open(&self.policy, Rc::clone(store), &**clock, *secret);
        let (state, sizes) = opened.map_err(|StoreError| Undecided::State)?.unzip();
        self.state.get_or_init(|| state);
        Ok(sizes.unwrap_or_default())
    }

    /// Whether it is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state.get().is_some()
    }

    /// Decides a request by its head, or says what else it needs.
    ///
    /// # Errors
    /// Why it could not be decided; it must be denied.
    pub fn decide<'a>(&'a self, request: Request<'a>) -> Result<Outcome<'a>, Undecided> {
        self.evaluating(None, |context| evaluate(&self.policy, request, context))
    }

    /// Decides a request as [`decide`](Self::decide) does, and traces each check. Checks after the denial are traced as well; the decision
    /// is the same.
    ///
    /// # Errors
    /// Why it could not be decided.
    pub fn explain<'a>(&'a self, request: Request<'a>, trace: &mut Trace) -> Result<Outcome<'a>, Undecided> {
        self.evaluating(Some(trace), |context| evaluate(&self.policy, request, context))
    }

    /// Decides a request whose body has arrived. `now` is this moment.
    ///
    /// # Errors
    /// Why it could not be decided; it must be denied.
    pub fn resume<'a>(&self, pending: Pending<'a>, now: Timestamp) -> Result<Decision<'a>, Undecided> {
        self.evaluating(None, |context| pending.resume(now, context))
    }

    /// Decides as [`resume`](Self::resume) does, and traces each check.
    ///
    /// # Errors
    /// Why it could not be decided.
    pub fn resume_explained<'a>(
        &self,
        pending: Pending<'a>,
        now: Timestamp,
        trace: &mut Trace,
    ) -> Result<Decision<'a>, Undecided> {
        self.evaluating(Some(trace), |context| pending.resume(now, context))
    }

    /// How the cache of verified tokens was used; none while a request is being decided.
    #[must_use]
    pub fn token_usage(&self) -> Option<CacheUsage> {
        self.tokens.try_borrow().ok().map(|tokens| tokens.usage())
    }

    /// The bytes of requests that this worker holds.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.services.held.as_ref().map_or(0, HeldBytes::total)
    }

    fn evaluating<T>(&self, trace: Option<&mut Trace>, run: impl FnOnce(Context<'_>) -> T) -> Result<T, Undecided> {
        let mut tokens = self.tokens.try_borrow_mut().map_err(|_| Undecided::InUse)?;
        if self.state.get().is_none() {
            self.open()?;
        }
        let state = self.state.get().and_then(Option::as_ref);
        let Services { verifier, clock, held, .. } = &self.services;
        Ok(run(Context {
            verifier: &**verifier,
            cache: &mut tokens,
            recent: &self.recent,
            shared: state.map(|state| state.shared(&**clock)),
            replay: state.and_then(SharedState::replay),
            held: held.as_ref(),
            trace,
        }))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("policy", &self.policy.name).finish_non_exhaustive()
    }
}

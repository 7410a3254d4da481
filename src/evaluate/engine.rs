//! The engine: a compiled policy together with everything that one worker needs to decide requests and remembers between them.

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

#[cfg(any(test, feature = "adapter"))]
use super::document_work::DocumentEvent;
use super::document_work::{CallId, CallResult, DocumentWork};
use super::documents::{Documents, Times};
use super::newest::Newest;
use super::pending::held_bytes_full;
#[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
use super::rpc::changed_flag;
use super::shared::{OtherSizes, SharedState};
use super::{Context, DocumentUse, Outcome, Pending, evaluate};
#[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
use crate::allowlist::operations::Operation;
use crate::decision::Decision;
use crate::decision::trace::Trace;
#[cfg(not(target_arch = "wasm32"))]
use crate::identity::crypto::SoftwareVerifier;
use crate::identity::crypto::{VerifySignature, first, sha256};
#[cfg(not(target_arch = "wasm32"))]
use crate::identity::revocation::Builder;
use crate::identity::revocation::Entries;
use crate::identity::token::TokenCache;
#[cfg(not(target_arch = "wasm32"))]
use crate::identity::token::{FetchedKeys, FetchedSet};
#[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
use crate::policy::Endpoint;
use crate::policy::Policy;
use crate::quota::held::HeldBytes;
use crate::quota::{Recent, WaitingRequests};
use crate::request::incoming::Request;
#[cfg(not(target_arch = "wasm32"))]
use crate::state::MemoryStore;
use crate::state::{Clock, SharedStore, StoreError};
use crate::text::monotonic::Monotonic;
use crate::text::time::Timestamp;

mod usage;

/// The services of the host that an engine uses.
pub struct Services {
    /// Verifies signatures.
    pub verifier: Box<dyn VerifySignature>,
    /// The map that all workers share.
    pub store: Rc<dyn SharedStore>,
    /// The clock. Some operations need a newer time than the request's timestamp.
    pub clock: Box<dyn Clock>,
    /// Fresh random bytes. The first worker that opens the shared state derives the key of its names from them.
    pub secret: [u8; 16],
    /// The requests of this worker that wait for documents, under all of its policies.
    pub waiting: WaitingRequests,
    /// The bytes of requests and answers that this worker holds, under all of its policies. `None` if the host bounds them in another way.
    pub held: Option<HeldBytes>,
    /// The maximum size of the cache of verified tokens, in bytes.
    pub token_cache: usize,
}

#[cfg(not(target_arch = "wasm32"))]
impl Services {
    /// Returns services for a worker without a gateway. It verifies signatures in software, and its store is not shared.
    /// `secret` must be random if untrusted clients send requests.
    #[must_use]
    pub fn in_memory(clock: impl Clock + 'static, secret: [u8; 16]) -> Self {
        Self {
            verifier: Box::new(SoftwareVerifier),
            store: Rc::new(MemoryStore::default()),
            clock: Box::new(clock),
            secret,
            waiting: WaitingRequests::default(),
            held: None,
            token_cache: TokenCache::DEFAULT_BYTES,
        }
    }
}

/// A compiled policy in one worker.
///
/// The engine owns everything that the worker remembers under the policy: verified tokens, recently verified signers, and the
/// worker's view of the shared state. The engines of all workers can share the policy itself.
pub struct Engine {
    policy: Arc<Policy>,
    services: Services,
    tokens: RefCell<TokenCache>,
    recent: Recent,
    /// The documents that the policy fetches. `None` if there are none.
    documents: Option<RefCell<Documents>>,
    /// What the newest policy of this name revokes. `None` if the gateway cannot pass that on.
    newest: Option<Newest>,
    /// The policy's shared state, once it is open. The inner value is `None` if the policy has neither limits nor replay
    /// protection.
    state: OnceCell<Option<SharedState>>,
}

/// Why a request could not be decided. Such a request must be denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undecided {
    /// The shared state cannot be used.
    State,
    /// The engine is already deciding a request. This is possible only after a trap, on a host that continues to use the same
    /// VM.
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
            Self::InUse => "an earlier request stopped the filter, and the gateway continued to use it",
        })
    }
}

impl std::error::Error for Undecided {}

impl Engine {
    /// Creates an engine that remembers nothing yet.
    #[must_use]
    pub fn new(policy: impl Into<Arc<Policy>>, services: Services) -> Self {
        let policy = policy.into();
        let documents = policy.fetches().then(|| {
            // The secret is random, and differs in each worker.
            let id = u64::from_le_bytes(first(sha256(&services.secret)));
            RefCell::new(Documents::new(&policy, Rc::clone(&services.store), id))
        });
        Self {
            newest: Newest::new(&policy, &services.store),
            policy,
            documents,
            tokens: RefCell::new(TokenCache::new(services.token_cache)),
            services,
            recent: Recent::default(),
            state: OnceCell::new(),
        }
    }

    /// Creates the engine of a worker that begins to use a policy after another context has started it, perhaps after a newer policy.
    #[cfg(any(test, feature = "adapter"))]
    pub(crate) fn following(policy: Arc<Policy>, services: Services) -> Self {
        let mut engine = Self::new(policy, services);
        if let Some(newest) = &mut engine.newest {
            newest.follow();
        }
        engine
    }

    /// Returns the policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Opens the policy's shared state, and publishes what the policy revokes for older policies of its name. The first decision opens it
    /// if nobody did so before. The call that opens it returns the tables whose size differs from the policy; later calls return none.
    ///
    /// # Errors
    /// [`Undecided::State`] if the store cannot be used. The caller may try again.
    pub fn open(&self) -> Result<OtherSizes, Undecided> {
        if self.state.get().is_some() {
            return Ok(OtherSizes::default());
        }
        let Services { store, clock, secret, .. } = &self.services;
        let opened = SharedState::open(&self.policy, Rc::clone(store), &**clock, *secret);
        let (state, sizes) = opened.map_err(|StoreError| Undecided::State)?.unzip();
        if let Some(newest) = &self.newest {
            newest.publish().map_err(|StoreError| Undecided::State)?;
        }
        self.state.get_or_init(|| state);
        Ok(sizes.unwrap_or_default())
    }

    /// Returns whether the policy does not apply what a newer one revokes, because it could not use the store and needs it for nothing else.
    #[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
    pub(crate) fn ignores_newer(&self) -> bool {
        self.newest.as_ref().is_some_and(Newest::is_off)
    }

    /// Returns whether the shared state is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state.get().is_some()
    }

    /// Decides a request by its headers, or returns it as pending if the decision depends on the body.
    ///
    /// # Errors
    /// The reason why the request could not be decided. It must be denied.
    pub fn decide<'a>(&'a self, request: Request<'a>) -> Result<Outcome<'a>, Undecided> {
        self.evaluating(None, |context| evaluate(&self.policy, request, None, context))
    }

    /// Decides a request as [`decide`](Self::decide) does, and traces each check. Checks after a denial are traced as well;
    /// they do not change the decision.
    ///
    /// # Errors
    /// The reason why the request could not be decided.
    pub fn explain<'a>(&'a self, request: Request<'a>, trace: &mut Trace) -> Result<Outcome<'a>, Undecided> {
        self.evaluating(Some(trace), |context| evaluate(&self.policy, request, None, context))
    }

    /// Evaluates a request again that waits for keys. `now` is the current time. A request that waits for its body stays as it is.
    ///
    /// # Errors
    /// The reason why the request could not be decided. It must be denied.
    pub fn retry<'a>(&'a self, pending: Pending<'a>, now: Timestamp) -> Result<Outcome<'a>, Undecided> {
        let (facts, wait, is_full) = match pending.into_key_wait() {
            Ok(waiting) => waiting,
            Err(pending) => return Ok(Outcome::Pending(pending)),
        };
        if is_full {
            return Ok(Outcome::Decided(held_bytes_full(facts)));
        }
        let request = Request { now: facts.request.now.max(now), ..facts.request };
        self.evaluating(None, |context| evaluate(&self.policy, request, Some(wait), context))
    }

    /// Returns whether a request that waits for keys should be evaluated again: there may be newer keys, or it has waited too long.
    #[must_use]
    pub fn is_ready(&self, pending: &Pending<'_>) -> bool {
        let (Some((wait, is_full)), Some(documents)) = (pending.key_wait(), &self.documents) else { return false };
        let progress = documents.try_borrow().ok().map(|documents| documents.progress(&self.policy, wait.needs));
        let deadline = wait.arrived.plus(wait.needs.timeout(&self.policy));
        is_full || progress != Some(wait.progress) || self.services.clock.monotonic().is_ok_and(|now| now >= deadline)
    }

    /// Reads the documents that other workers published, and returns the calls that this worker must make. A host calls it once
    /// per second, and more often while requests wait for keys.
    ///
    /// # Errors
    /// The reason why the documents cannot be used. The caller may try again.
    pub fn fetch_documents(&self) -> Result<DocumentWork, Undecided> {
        self.with_documents(|documents, cache, now| Ok(documents.tick(&self.policy, cache, now)))
    }

    /// Reads the documents that other workers published, in a worker that makes no calls.
    ///
    /// # Errors
    /// The reason why the documents cannot be used. The caller may try again.
    #[cfg(any(test, feature = "adapter"))]
    pub(crate) fn read_documents(&self) -> Result<Vec<DocumentEvent>, Undecided> {
        self.with_documents(|documents, cache, now| Ok(documents.read(&self.policy, cache, now)))
    }

    /// Processes the result of a call. A fetch may need another call.
    ///
    /// # Errors
    /// The reason why the result cannot be used.
    pub fn receive_document(&self, id: CallId, result: CallResult<'_>) -> Result<DocumentWork, Undecided> {
        self.with_documents(|documents, cache, now| {
            let time = self.services.clock.now()?;
            documents.receive(&self.policy, id, result, cache, Times { now, time })
        })
    }

    /// Returns the maximum size of the response to a call, in bytes. A larger one is not used.
    #[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
    pub(crate) fn most_bytes(&self, id: CallId) -> usize {
        self.policy.documents.get(id.document).map_or(0, |document| document.kind.most_bytes())
    }

    /// Uses this list of revoked credentials from now on, whenever it was issued, or an empty one. Nothing is fetched for it any more.
    ///
    /// # Errors
    /// A description of the problem: the policy fetches no list, or this one cannot be used.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn provide_revocations(&self, list: Option<&[u8]>) -> Result<(), String> {
        let (_, rules) = self.policy.revocation_list().ok_or("the policy fetches no list of revoked credentials")?;
        let entries = match list {
            Some(list) => {
                let (list, _) = rules.read_at_any_time(&self.policy, list).map_err(|fault| fault.to_string())?;
                list.entries
            }
            None => Builder::default().finish(0),
        };
        let provided = self.with_documents(|documents, _, _| {
            documents.provide_list(&self.policy, entries);
            Ok(())
        });
        provided.map_err(|error| error.to_string())
    }

    /// Returns what the newest policy of this name revokes and suspends, if that differs from what this one does.
    pub(super) fn newest(&self, now: Timestamp) -> Result<Option<Rc<Entries>>, StoreError> {
        self.newest.as_ref().map_or(Ok(None), |newest| newest.entries(now))
    }

    /// Returns the documents, if the policy fetches any.
    pub(super) fn documents(&self) -> Option<&RefCell<Documents>> {
        self.documents.as_ref()
    }

    /// Uses this key set (RFC 7517) for an issuer from now on. Nothing is fetched for the issuer any more.
    ///
    /// # Errors
    /// A description of the problem: there is no such issuer, its keys are not fetched, or the key set cannot be used.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn provide_keys(&self, issuer: &str, key_set: &[u8]) -> Result<(), String> {
        let id = self.policy.issuers.id(issuer).ok_or_else(|| format!("the policy has no issuer `{issuer}`"))?;
        if !self.policy.issuers.fetched().any(|fetched| fetched == id) {
            return Err(format!("the policy contains the keys of `{issuer}`, so they cannot be replaced"));
        }
        let set = FetchedSet::parse(key_set).map_err(|fault| fault.to_string())?;
        FetchedKeys::new().review(&self.policy.issuers, &[id], &set).map_err(|fault| fault.to_string())?;
        let provided = self.with_documents(|documents, cache, _| {
            documents.provide(&self.policy, id, set, cache);
            Ok(())
        });
        provided.map_err(|error| error.to_string())
    }

    fn with_documents<T: Default>(
        &self,
        run: impl FnOnce(&mut Documents, &mut TokenCache, Monotonic) -> Result<T, StoreError>,
    ) -> Result<T, Undecided> {
        let Some(documents) = &self.documents else { return Ok(T::default()) };
        let mut documents = documents.try_borrow_mut().map_err(|_| Undecided::InUse)?;
        let mut tokens = self.tokens.try_borrow_mut().map_err(|_| Undecided::InUse)?;
        let now = self.services.clock.monotonic().map_err(|StoreError| Undecided::State)?;
        run(&mut documents, &mut tokens, now).map_err(|StoreError| Undecided::State)
    }

    /// Decides a request whose body has arrived. `now` is the current time.
    ///
    /// # Errors
    /// The reason why the request could not be decided. It must be denied.
    pub fn resume<'a>(&self, pending: Pending<'a>, now: Timestamp) -> Result<Decision<'a>, Undecided> {
        self.evaluating(None, |context| pending.resume(now, context))
    }

    /// Decides a request as [`resume`](Self::resume) does, and traces each check.
    ///
    /// # Errors
    /// The reason why the request could not be decided.
    pub fn resume_explained<'a>(
        &self,
        pending: Pending<'a>,
        now: Timestamp,
        trace: &mut Trace,
    ) -> Result<Decision<'a>, Undecided> {
        self.evaluating(Some(trace), |context| pending.resume(now, context))
    }

    /// Notes for all workers whether a server's definition of a tool matches none of its pins. Requests for such a tool are denied. Returns
    /// whether that is new.
    ///
    /// # Errors
    /// [`Undecided::State`] if the shared state cannot be used.
    #[cfg(any(test, target_arch = "wasm32", feature = "adapter"))]
    pub(crate) fn note_definition(
        &self,
        endpoint: &Endpoint,
        operation: &Operation,
        changed: bool,
    ) -> Result<bool, Undecided> {
        let state = self.state.get().and_then(Option::as_ref).ok_or(Undecided::State)?;
        let shared = state.shared(&*self.services.clock);
        changed_flag(shared, endpoint, operation).set(shared.store, changed).map_err(|StoreError| Undecided::State)
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
            documents: self.documents.as_ref().map(|all| DocumentUse { all, services: &self.services }),
            newest: self.newest.as_ref(),
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

//! Runs the checks of a request in their order.
//!
//! Each check returns evidence that it passed, or the reason for the denial. In enforcement, the evaluation ends with the first
//! denial. In observation and in an explanation, it continues with every check whose inputs are available. No check logs, waits
//! or reads the system clock.

use std::cell::RefCell;

use crate::allowlist::{self, Found};
use crate::decision::evidence::{
    Authorized, BodySettled, CallerEvidence, ContentAllowed, FinalEvidence, FormEvidence, OperationAllowed, Public,
};
use crate::decision::trace::Trace;
use crate::decision::{Allow, Decision, Denial, Deny, Facts, Grant, Published, Rule, Serve};
use crate::identity::crypto::VerifySignature;
use crate::identity::token::TokenCache;
use crate::policy::{Access, BodyCheck, Endpoint, Policy};
use crate::quota::held::HeldBytes;
use crate::quota::{LimitBatch, Recent};
use crate::reason::Reason;
use crate::replay::Table;
use crate::request::incoming::Request;
use crate::state::Shared;

mod api_key;
mod asked;
mod authorize;
mod awaited;
mod body;
mod caller;
mod certificate;
mod content;
mod delegation;
mod document_work;
mod documents;
mod engine;
mod form;
mod key_sets;
mod keys;
mod limits;
mod lists;
mod metadata;
mod newest;
mod pending;
mod possession;
mod reach;
mod reading;
mod recheck;
mod record;
mod replay;
mod responses;
mod revocation;
mod rpc;
pub(crate) mod shared;
mod signature;

use awaited::AwaitedBody;
use body::BodyProgress;
use content::ExpectedContent;
pub use document_work::{CallId, CallResult, DocumentCall, DocumentEvent, DocumentWork};
use documents::Documents;
pub use engine::{Engine, Services, Undecided};
use keys::KeyWait;
use newest::Newest;
pub use pending::{Awaits, Need, Pending};
pub use recheck::Recheck;

/// The result of evaluating the headers of a request.
#[derive(Debug)]
#[must_use]
pub enum Outcome<'a> {
    /// The request is decided.
    Decided(Decision<'a>),
    /// The decision depends on the body, which has not arrived yet.
    Pending(Pending<'a>),
}

/// The services and state that an evaluation uses.
pub(crate) struct Context<'c> {
    /// Verifies signatures.
    pub(crate) verifier: &'c dyn VerifySignature,
    /// Tokens that were verified earlier under this policy.
    pub(crate) cache: &'c mut TokenCache,
    /// Signers whose credentials were verified recently under this policy.
    pub(crate) recent: &'c Recent,
    /// The state that the gateway's workers share. Required if the policy [counts](Policy::counts) requests.
    pub(crate) shared: Option<Shared<'c>>,
    /// The replay table. `None` if the policy has no replay protection.
    pub(crate) replay: Option<&'c Table>,
    /// The documents that this worker uses. `None` if the policy has none.
    pub(crate) documents: Option<DocumentUse<'c>>,
    /// What the newest policy of this name revokes. `None` if the gateway cannot pass that on.
    pub(crate) newest: Option<&'c Newest>,
    /// The bytes of requests that this worker holds. `None` if the host does not hold requests.
    pub(crate) held: Option<&'c HeldBytes>,
    /// Receives the result of each check for an explanation. `None` on the request path.
    pub(crate) trace: Option<&'c mut Trace>,
}

/// The documents that this worker uses.
#[derive(Clone, Copy)]
pub(crate) struct DocumentUse<'c> {
    all: &'c RefCell<Documents>,
    /// The clock for their ages, and the requests of this worker that wait for documents.
    services: &'c Services,
}

/// Evaluates the headers of a request, and decides the request if they are sufficient. `waited` is its wait for keys, if it was
/// evaluated before.
fn evaluate<'a>(
    policy: &'a Policy,
    request: Request<'a>,
    waited: Option<Box<KeyWait>>,
    context: Context<'_>,
) -> Outcome<'a> {
    let mut facts = Box::new(Facts::new(policy, request));
    let mut evaluation = Evaluation::begin(&mut facts, context, policy.observe);
    evaluation.waited = waited;
    let progress = evaluation.run();
    // Nothing was charged or reserved before the credential is verified, so the whole evaluation is repeated.
    if let Some(wait) = evaluation.key_wait.take() {
        return Outcome::Pending(Pending::for_keys(facts, wait));
    }
    let (awaited, observing) = (evaluation.awaited.take(), evaluation.observing);
    let ended = match progress {
        Ok(Progress::Held(held)) => return Outcome::Pending(Pending::held(facts, observing, *held)),
        // Requests for what is published end here, before anything is charged or could be denied.
        Ok(Progress::Served(published)) => return Outcome::Decided(Decision::Serve(Serve { facts, published })),
        Ok(Progress::Ended(grant)) => Ok(grant),
        Err(denied) => Err(denied),
    };
    let awaited = awaited.filter(|_| ended.is_ok());
    evaluation.conclude(&ended);
    match (decided(facts, ended), awaited) {
        (Decision::Allow(allow), Some(body)) => Outcome::Pending(Pending::forwarded(allow, observing, body)),
        (decision, _) => Outcome::Decided(decision),
    }
}

/// Returns the decision after all checks have run.
fn decided<'a>(facts: Box<Facts<'a>>, ended: Result<Option<Grant>, Denied>) -> Decision<'a> {
    // INVARIANT: every check that ends the evaluation has recorded an enforced denial, and a grant requires the evidence of
    // every check.
    let enforced = facts.denials.iter().copied().find(|denial| denial.enforced);
    match (enforced, ended) {
        (Some(denial), _) => Decision::Deny(Deny { facts, denial }),
        (None, _) if !facts.denials.is_empty() => Decision::Allow(Allow { facts, grant: Grant::Observed }),
        (None, Ok(Some(grant))) => Decision::Allow(Allow { facts, grant }),
        (None, Ok(None) | Err(Denied)) => {
            let denial = Denial { reason: Reason::HostError, rule: Rule::Gate, enforced: true };
            Decision::Deny(Deny { facts, denial })
        }
    }
}

/// How far an evaluation got.
enum Progress<'a> {
    /// All checks have run. `None` if a check denied the request and the denial is only observed.
    Ended(Option<Grant>),
    /// Callgate answers the request with what the policy publishes. No check denied it.
    Served(Published<'a>),
    /// The remaining checks need the body.
    Held(Box<HeldEvaluation<'a>>),
}

/// An evaluation that needs the body, with the results of the checks that need only the headers.
#[derive(Debug)]
struct HeldEvaluation<'a> {
    body: Box<AwaitedBody>,
    expected: ExpectedContent<'a>,
    form: FormEvidence,
    caller: CallerEvidence,
    denied_at: Option<Box<Facts<'a>>>,
}

/// An enforced denial ends the evaluation.
struct Denied;

/// What a check found, as pairs of a name and a value.
type CheckDetails = Vec<(&'static str, String)>;

/// The state of an evaluation. What few requests have is boxed, because the others would copy the space for it.
struct Evaluation<'a, 'c> {
    facts: &'c mut Facts<'a>,
    context: Context<'c>,
    /// Whether denials from here on are only recorded.
    observing: bool,
    /// The body to expect, if the headers are forwarded before it arrives.
    awaited: Option<Box<AwaitedBody>>,
    /// The limits that were charged. They are refunded if a later check denies the request.
    charged: Option<LimitBatch<'a, 'c>>,
    /// The wait for keys before this evaluation.
    waited: Option<Box<KeyWait>>,
    /// The wait for keys that ends this evaluation.
    key_wait: Option<Box<KeyWait>>,
    /// The facts at the time of the denial. Set if an explanation evaluates the remaining checks after it.
    denied_at: Option<Box<Facts<'a>>>,
}

impl<'a, 'c> Evaluation<'a, 'c> {
    fn begin(facts: &'c mut Facts<'a>, context: Context<'c>, observing: bool) -> Self {
        Self { facts, context, observing, awaited: None, charged: None, waited: None, key_wait: None, denied_at: None }
    }

    /// If the request is denied, restores the facts as they were at the denial, and adds the state of the limits to them. The
    /// decision is based on these facts.
    fn conclude(&mut self, ended: &Result<Option<Grant>, Denied>) {
        let denied_at = self.denied_at.take();
        let denied = denied_at.is_some() || ended.is_err();
        if let Some(facts) = denied_at {
            *self.facts = *facts;
        }
        if denied {
            self.look_at_limits();
        }
    }

    /// Runs the checks in order.
    fn run(&mut self) -> Result<Progress<'a>, Denied> {
        self.read()?;
        self.canonical()?;
        if let Some(published) = self.metadata()? {
            return Ok(Progress::Served(published));
        }
        if self.is_preflight() {
            let escapes = self.preflight()?;
            return Ok(Progress::Ended(escapes.map(Grant::Preflight)));
        }
        let found = self.find();
        self.look_up(found.as_ref());
        let access = self.facts.endpoint.map_or(Access::Known, |endpoint| endpoint.access);
        self.authenticate(access)?;
        let revocation = self.revocation()?;
        let identity = self.identity()?;
        self.allowlist()?;
        let Some(endpoint) = self.facts.endpoint else { return Ok(Progress::Ended(None)) };
        let form = self.form(endpoint, found.as_ref())?;
        if access != Access::Known {
            let active = self.active(endpoint)?;
            self.await_none(endpoint);
            let last = self.last_checks(endpoint)?;
            return Ok(Progress::Ended(Public::by(form, revocation, active, last).map(Grant::Public)));
        }
        let caller = self.authorize(endpoint, found.as_ref(), revocation, identity)?;
        let expected = self.content_form(endpoint)?;
        let progress = self.body(endpoint)?;
        // The bytes of the body are known here only if there are none.
        let (body, bytes) = match self.keep(expected, progress) {
            BodyProgress::Settled(settled) => (settled, self.facts.request.end_of_stream.then_some(&b""[..])),
            BodyProgress::Awaited(awaited) => match self.facts.policy.features.body {
                BodyCheck::Held => {
                    self.look_ahead(endpoint)?;
                    match self.hold(awaited)? {
                        Some(body) => {
                            let denied_at = self.denied_at.take();
                            let held = HeldEvaluation { body, expected, form, caller, denied_at };
                            return Ok(Progress::Held(Box::new(held)));
                        }
                        None => (None, None),
                    }
                }
                BodyCheck::Late => (self.await_body(awaited)?, None),
                // INVARIANT: a policy that requires a body check does not compile for a gateway that does not pass bodies to
                // the filter.
                BodyCheck::Unseen => return Err(Denied),
            },
        };
        self.await_none(endpoint);
        let (content, operation) = self.content(endpoint, expected, bytes)?;
        self.finish(endpoint, form, caller, body, content, operation).map(Progress::Ended)
    }

    /// Runs the last checks before the body is held, without charging or reserving anything. A replayed request or one that
    /// exceeds a limit is denied at once, and no bytes are held for it. The operation of a message decides which limits it is charged
    /// to, so they are checked after the body was read. In observation, only the last checks themselves record denials.
    fn look_ahead(&mut self, endpoint: &'a Endpoint) -> Result<(), Denied> {
        if self.observing {
            return Ok(());
        }
        // The trace shows these checks in their usual place, at the end.
        let trace = self.context.trace.take();
        let ahead = self
            .check_replay()
            .and_then(|_| if endpoint.rpc.is_some() { Ok(()) } else { self.check_limits_ahead(endpoint) });
        self.context.trace = trace;
        ahead.or_else(|Denied| self.continue_explaining())
    }

    /// Runs the checks that follow the body.
    fn finish(
        &mut self,
        endpoint: &'a Endpoint,
        form: FormEvidence,
        caller: CallerEvidence,
        body: Option<BodySettled>,
        content: Option<ContentAllowed>,
        operation: Option<OperationAllowed>,
    ) -> Result<Option<Grant>, Denied> {
        let last = self.last_checks(endpoint)?;
        Ok(Authorized::by(form, caller, body, content, operation, last).map(Grant::Endpoint))
    }

    /// Checks for replays before the limits, because a captured request must not consume its owner's quota. Reserves the nonce
    /// and the proof identifier last, because a denied request must not use them up.
    fn last_checks(&mut self, endpoint: &'a Endpoint) -> Result<FinalEvidence, Denied> {
        let tickets = self.check_replay()?;
        let limits = self.limits(endpoint)?;
        Ok(FinalEvidence { replay: self.reserve(tickets)?, limits })
    }

    /// 3. Finds the template that the path matches.
    fn find(&self) -> Option<Found<'a, 'a>> {
        let Facts { policy, host, path, .. } = &self.facts;
        let table: &'a allowlist::Table = policy.table(host.as_ref()?.as_str())?;
        table.find(path.as_ref()?)
    }

    /// 3. Finds the endpoint. Its settings apply to later checks. Whether it exists is answered only after authentication.
    fn look_up(&mut self, found: Option<&Found<'a, 'a>>) {
        let Facts { policy, method, .. } = &self.facts;
        let endpoint = found.zip(*method).and_then(|(found, method)| {
            let candidates = found.endpoints().iter().filter_map(|index| policy.endpoints.list.get(*index as usize));
            candidates.into_iter().find(|endpoint| endpoint.methods.iter().any(|own| **own == *method.as_str()))
        });
        self.facts.endpoint = endpoint;
        self.observing |= endpoint.is_some_and(|endpoint| endpoint.observe);
    }
}

#[cfg(test)]
mod api_key_tests;
#[cfg(test)]
mod certificate_tests;
#[cfg(test)]
mod metadata_tests;
#[cfg(test)]
mod possession_tests;
#[cfg(test)]
mod tests;

//! The order of the checks, from top to bottom.
//!
//! Each check returns its proof or the reason why there is none. Enforcement ends with the first denial; observation, and an
//! explanation, go on with every check whose proofs are there. No check logs, waits or asks for the time.

use crate::allowlist::{self, Found};
use crate::decision::evidence::{Authorized, BodySettled, CallerEvidence, FinalEvidence, FormEvidence, Public};
use crate::decision::trace::{Check, Trace, Traced};
use crate::decision::{Allow, Decision, Denial, Deny, Facts, Grant, Rule};
use crate::identity::crypto::VerifySignature;
use crate::identity::token::TokenCache;
use crate::policy::{Access, BodyCheck, Endpoint, Policy};
use crate::quota::held::HeldBytes;
use crate::quota::{LimitBatch, Recent};
use crate::reason::Reason;
use crate::replay::Table;
use crate::request::incoming::Request;
use crate::state::Shared;

mod authorize;
mod awaited;
mod body;
mod caller;
mod engine;
mod form;
mod limits;
mod pending;
mod possession;
mod reading;
mod replay;
pub(crate) mod shared;
mod signature;

use awaited::AwaitedBody;
use body::BodyProgress;
pub use engine::{Engine, Services, Undecided};
pub use pending::{Awaits, Need, Pending};

/// What is decided about a request once its head was read.
#[derive(Debug)]
#[must_use]
pub enum Outcome<'a> {
    /// It is decided.
    Decided(Decision<'a>),
    /// Something else has to arrive before it is.
    Pending(Pending<'a>),
}

/// What an evaluation asks of its host.
pub(crate) struct Context<'c> {
    /// Verifies signatures.
    pub(crate) verifier: &'c dyn VerifySignature,
    /// Tokens that were verified before, under this policy.
    pub(crate) cache: &'c mut TokenCache,
    /// Who verified something lately, under this policy.
    pub(crate) recent: &'c Recent,
    /// What the workers of the gateway share; needed where the policy [counts](Policy::counts) calls.
    pub(crate) shared: Option<Shared<'c>>,
    /// What is accepted once; none where the policy has no such thing.
    pub(crate) replay: Option<&'c Table>,
    /// The bytes of requests that this worker holds; none where no host holds any.
    pub(crate) held: Option<&'c HeldBytes>,
    /// Where each check is put into words; none on the request path.
    pub(crate) trace: Option<&'c mut Trace>,
}

/// Evaluates the head of a request, and decides where that is enough.
pub(crate) fn evaluate<'a>(policy: &'a Policy, request: Request<'a>, context: Context<'_>) -> Outcome<'a> {
    let mut facts = Box::new(Facts::new(policy, request));
    let mut evaluation = Evaluation::begin(&mut facts, context, policy.observe);
    let progress = evaluation.run();
    let (awaited, observing) = (evaluation.awaited.take(), evaluation.observing);
    let ended = match progress {
        Ok(Progress::Held(held)) => return Outcome::Pending(Pending::held(facts, observing, *held)),
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

/// The decision, once nothing more is to be checked.
fn decided<'a>(facts: Box<Facts<'a>>, ended: Result<Option<Grant>, Denied>) -> Decision<'a> {
    // INVARIANT: whatever stopped the evaluation left a denial that is enforced; a grant takes the evidence of every check.
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

/// How far an evaluation came.
enum Progress<'a> {
    /// To its end. No grant where a check denied the request, which is only observed.
    Ended(Option<Grant>),
    /// To where it needs the body.
    Held(Box<HeldEvaluation<'a>>),
}

/// An evaluation that needs the body, with what the head has shown.
#[derive(Debug)]
struct HeldEvaluation<'a> {
    body: AwaitedBody,
    form: FormEvidence,
    caller: CallerEvidence,
    denied_at: Option<Box<Facts<'a>>>,
}

/// The evaluation ends here: a denial is enforced.
struct Denied;

/// What a check found, by name.
type CheckDetails = Vec<(&'static str, String)>;

struct Evaluation<'a, 'c> {
    facts: &'c mut Facts<'a>,
    context: Context<'c>,
    /// Whether denials are only recorded from here on.
    observing: bool,
    /// What the body has to be, where the head is forwarded before it has come.
    awaited: Option<AwaitedBody>,
    /// What was charged, which is refunded where the request is denied after all.
    charged: Option<LimitBatch<'a, 'c>>,
    /// The facts as they were when the request was denied, where an explanation evaluates the remaining checks as well.
    denied_at: Option<Box<Facts<'a>>>,
}

impl<'a, 'c> Evaluation<'a, 'c> {
    fn begin(facts: &'c mut Facts<'a>, context: Context<'c>, observing: bool) -> Self {
        Self { facts, context, observing, awaited: None, charged: None, denied_at: None }
    }

    /// What is still to be learned about a request that is denied. The decision is made from the facts at the denial.
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

    /// The order of the checks.
    fn run(&mut self) -> Result<Progress<'a>, Denied> {
        self.read()?;
        self.canonical()?;
        if self.is_preflight() {
            let escapes = self.preflight()?;
            return Ok(Progress::Ended(escapes.map(Grant::Preflight)));
        }
        let found = self.look_up();
        let access = self.facts.endpoint.map_or(Access::Known, |endpoint| endpoint.access);
        self.authenticate(access)?;
        let identity = self.identity()?;
        self.allowlist()?;
        let Some(endpoint) = self.facts.endpoint else { return Ok(Progress::Ended(None)) };
        let form = self.form(endpoint, found.as_ref())?;
        if access != Access::Known {
            self.await_none(endpoint);
            let last = self.last_checks(endpoint)?;
            return Ok(Progress::Ended(Public::by(form, last).map(Grant::Public)));
        }
        let caller = self.authorize(endpoint, found.as_ref(), identity)?;
        let progress = self.body(endpoint)?;
        let body = match progress {
            BodyProgress::Settled(settled) => settled,
            BodyProgress::Awaited(awaited) => match self.facts.policy.features.body {
                BodyCheck::Held => {
                    self.look_ahead(endpoint)?;
                    match self.hold(awaited)? {
                        Some(body) => {
                            let denied_at = self.denied_at.take();
                            return Ok(Progress::Held(Box::new(HeldEvaluation { body, form, caller, denied_at })));
                        }
                        None => None,
                    }
                }
                BodyCheck::Late => self.await_body(awaited)?,
                // INVARIANT: no such policy compiles.
                BodyCheck::Unseen => return Err(Denied),
            },
        };
        self.await_none(endpoint);
        self.finish(endpoint, form, caller, body).map(Progress::Ended)
    }

    /// Before a body is held: what the last checks would deny is denied now, so that nobody holds bytes for a request that was
    /// captured or exceeds a limit. Nothing is charged or used up. Where denials are only recorded, the last checks record them.
    fn look_ahead(&mut self, endpoint: &'a Endpoint) -> Result<(), Denied> {
        if self.observing {
            return Ok(());
        }
        // An explanation shows these checks where they belong, at the end.
        let trace = self.context.trace.take();
        let ahead = self.check_replay().and_then(|_| self.check_limits_ahead(endpoint));
        self.context.trace = trace;
        ahead.or_else(|Denied| self.continue_explaining())
    }

    /// What comes last, once the body is known where it matters.
    fn finish(
        &mut self,
        endpoint: &'a Endpoint,
        form: FormEvidence,
        caller: CallerEvidence,
        body: Option<BodySettled>,
    ) -> Result<Option<Grant>, Denied> {
        let last = self.last_checks(endpoint)?;
        Ok(Authorized::by(form, caller, body, last).map(Grant::Endpoint))
    }

    /// Replays before limits, so that a captured request costs its owner nothing; what is accepted once is reserved last.
    fn last_checks(&mut self, endpoint: &'a Endpoint) -> Result<FinalEvidence, Denied> {
        let tickets = self.check_replay()?;
        let limits = self.limits(endpoint)?;
        Ok(FinalEvidence { replay: self.reserve(tickets)?, limits })
    }

    /// 3. The endpoint is found and held: what it asks for is used, and whether it exists is answered later.
    fn look_up(&mut self) -> Option<Found<'a, 'a>> {
        let Facts { policy, method, host, path, .. } = &self.facts;
        let table: Option<&'a allowlist::Table> = host.as_ref().and_then(|host| policy.table(host.as_str()));
        let found = table.zip(path.as_ref()).and_then(|(table, path)| table.find(path));
        let endpoint = found.as_ref().zip(*method).and_then(|(found, method)| {
            let candidates = found.endpoints().iter().filter_map(|index| policy.endpoints.list.get(*index as usize));
            candidates.into_iter().find(|endpoint| endpoint.methods.iter().any(|own| **own == *method.as_str()))
        });
        self.facts.endpoint = endpoint;
        self.observing |= endpoint.is_some_and(|endpoint| endpoint.observe);
        found
    }

    /// Takes the result of a check: its proof, or a denial, which ends the evaluation where it is enforced.
    fn record_check<T>(
        &mut self,
        check: Check,
        rule: Rule<'a>,
        result: Result<T, Reason>,
        describe: impl FnOnce(&T) -> CheckDetails,
    ) -> Result<Option<T>, Denied> {
        let details = match (&result, &self.context.trace) {
            (Ok(proof), Some(_)) => describe(proof),
            _ => CheckDetails::new(),
        };
        self.record_check_with_details(check, rule, result, details)
    }

    fn record_check_with_details<T>(
        &mut self,
        check: Check,
        rule: Rule<'a>,
        result: Result<T, Reason>,
        details: CheckDetails,
    ) -> Result<Option<T>, Denied> {
        match result {
            Ok(proof) => {
                if let Some(trace) = &mut self.context.trace {
                    trace.push(Traced { check, denied: None, rule: rule.to_string(), facts: details });
                }
                Ok(Some(proof))
            }
            Err(reason) => self.deny(check, rule, reason, !self.observing, details).map(|()| None),
        }
    }

    /// Notes a denial, which ends the evaluation where it is enforced.
    fn deny(
        &mut self,
        check: Check,
        rule: Rule<'a>,
        reason: Reason,
        enforced: bool,
        facts: CheckDetails,
    ) -> Result<(), Denied> {
        if let Some(trace) = &mut self.context.trace {
            trace.push(Traced { check, denied: Some(reason), rule: rule.to_string(), facts });
        }
        self.facts.denials.push(Denial { reason, rule, enforced });
        if !enforced {
            return Ok(());
        }
        self.continue_explaining()
    }

    /// An explanation continues after the denial, and the decision is made from the facts of now.
    #[cfg(not(target_arch = "wasm32"))]
    fn continue_explaining(&mut self) -> Result<(), Denied> {
        if self.context.trace.is_none() {
            return Err(Denied);
        }
        let facts = &self.facts;
        self.denied_at.get_or_insert_with(|| Box::new(Facts::clone(facts)));
        Ok(())
    }

    /// No gateway asks for an explanation, and the filter is built without the code for it.
    #[cfg(target_arch = "wasm32")]
    fn continue_explaining(&mut self) -> Result<(), Denied> {
        Err(Denied)
    }
}

#[cfg(test)]
mod possession_tests;
#[cfg(test)]
mod tests;

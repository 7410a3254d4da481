//! Checks the limits: the limit on failed credentials while a credential is verified, and the endpoint's limits among the last
//! checks.

use std::rc::Rc;

use super::{CheckDetails, Context, Denied, Evaluation};
use crate::decision::evidence::WithinLimits;
use crate::decision::trace::Check;
use crate::decision::{Caller, Charge, Facts, Rule};
use crate::identity::crypto::VerifySignature;
use crate::identity::token::{FetchedKeys, Refusal, TokenCache, VerifiedToken};
use crate::policy::{Access, Endpoint};
use crate::quota::{
    AuthFailureLimit, Guard, LimitBatch, LimitReport, LimitStatuses, LimitSubject, Outcome, Refused, Stopped,
};
use crate::reason::Reason;
use crate::state::StoreStats;

/// The result of a verification under the limit on failed credentials.
pub(super) struct Guarded<T> {
    result: T,
    used: StoreStats,
    /// Seconds after which the source may retry, if it failed too often.
    wait: Option<u64>,
}

/// Verifies a credential under the limit on failed credentials. Expensive work is done only if the source is below the limit or
/// the signer was verified recently.
pub(super) fn guarded<T, E: From<Reason>>(
    facts: &Facts<'_>,
    context: &mut Context<'_>,
    verify: impl FnOnce(&dyn VerifySignature, &mut TokenCache, &FetchedKeys) -> Result<T, E>,
) -> Guarded<Result<T, E>> {
    static NONE: FetchedKeys = FetchedKeys::new();
    let none = |result| Guarded { result, used: StoreStats::default(), wait: None };
    let documents = context.documents.map(|documents| documents.all.try_borrow());
    let fetched = match &documents {
        None => &NONE,
        Some(Ok(documents)) => documents.keys(),
        Some(Err(_)) => return none(Err(Reason::HostError.into())),
    };
    let Some(failed) = &facts.policy.limits.auth_failure_limit else {
        return none(verify(context.verifier, context.cache, fetched));
    };
    let Some(shared) = context.shared else { return none(Err(Reason::HostError.into())) };
    let Context { verifier, cache, recent, .. } = context;
    let guard = Guard::new(*verifier, failed, shared, recent, facts.request.source, facts.request.now);
    let result = verify(&guard, cache, fetched);
    let Outcome { stopped, used } = guard.outcome();
    match stopped {
        None => Guarded { result, used, wait: None },
        Some(Stopped::Store) => Guarded { result: Err(Reason::HostError.into()), used, wait: None },
        Some(Stopped::Limited(seconds)) => {
            Guarded { result: Err(Reason::CredentialsLimited.into()), used, wait: Some(seconds) }
        }
    }
}

/// Records the signer of a token that was found in the cache. Without this, the signer's next token would count as one of an
/// unknown signer, and be rejected from a source that exceeds the limit on failed credentials.
fn recognize(token: &VerifiedToken, failed: &AuthFailureLimit, facts: &Facts<'_>, context: &Context<'_>) {
    let (source, now) = (facts.request.source, facts.request.now);
    if let Some(shared) = context.shared
        && token.is_to_be_noted(source, now)
    {
        Guard::new(context.verifier, failed, shared, context.recent, source, now).recognize(token.signer());
    }
}

impl<'a, 'c> Evaluation<'a, 'c> {
    /// Records the statistics of a guarded verification, and returns its result.
    pub(super) fn settle<T>(&mut self, guarded: Guarded<T>) -> T {
        self.facts.used = self.facts.used.and(guarded.used);
        self.facts.retry_after = guarded.wait.or(self.facts.retry_after);
        guarded.result
    }

    /// Verifies a token under the limit on failed credentials.
    pub(super) fn verify(&mut self, token: &[u8]) -> Result<Rc<VerifiedToken>, Refusal> {
        let Self { facts, context, .. } = self;
        let (issuers, now, audiences) = (&facts.policy.issuers, facts.request.now, facts.audiences());
        let verified = guarded(facts, context, |verifier, cache, fetched| {
            issuers.verify_for(audiences, token, now, verifier, cache, fetched)
        });
        if let (Ok(token), Some(failed)) = (&verified.result, &facts.policy.limits.auth_failure_limit) {
            recognize(token, failed, facts, context);
        }
        self.settle(verified)
    }

    /// 8. Checks that no limit of the request is exceeded, and charges all of them. The charges can be refunded.
    ///
    /// An observed request that an earlier check denied is not charged, because in enforcement it would not be charged either.
    pub(super) fn limits(&mut self, endpoint: &'a Endpoint) -> Result<Option<WithinLimits>, Denied> {
        let charges = self.facts.denials.is_empty();
        self.check_limits(endpoint, charges)
    }

    /// Checks that no limit of the request is exceeded, without charging any.
    pub(super) fn check_limits_ahead(&mut self, endpoint: &'a Endpoint) -> Result<(), Denied> {
        self.check_limits(endpoint, false).map(drop)
    }

    fn check_limits(&mut self, endpoint: &'a Endpoint, charges: bool) -> Result<Option<WithinLimits>, Denied> {
        if self.has_no_limits(endpoint) {
            return Ok(Some(WithinLimits::assertion()));
        }
        // In observation, a request may get here without a caller. There is then no bucket to charge.
        if endpoint.access == Access::Known && self.facts.caller.is_none() {
            return Ok(None);
        }
        let mut opened = self.batch(endpoint);
        let result = match &mut opened {
            Ok(batch) => {
                let result = batch.exceeded().and_then(|()| if charges { batch.charge() } else { Ok(()) });
                // A message that costs more than a burst is denied at any time. The policy cannot be checked for that, because the message
                // decides how many operations it uses.
                let is_denied_for_now = result.is_err() && batch.fits_when_idle();
                self.facts.retry_after = is_denied_for_now.then(|| batch.retry_after());
                self.facts.used = self.facts.used.and(batch.used());
                self.note(batch);
                result
            }
            Err(refused) => Err(*refused),
        };
        let (result, rule) = match result {
            Ok(()) => (Ok(WithinLimits::assertion()), Rule::Endpoint(endpoint.position, "limits")),
            Err(Refused::Limit(name) | Refused::Contended(name)) => (Err(Reason::RateLimited), Rule::Limit(name)),
            Err(Refused::Store) => (Err(Reason::HostError), Rule::Gate),
        };
        let details = self.context.trace.is_some().then(|| self.describe_limits(endpoint));
        self.charged = opened.ok().filter(|_| charges);
        self.record_check_with_details(Check::Limits, rule, result, details.unwrap_or_default())
    }

    /// Records the state of the limits for the headers of the answer.
    pub(super) fn note(&mut self, batch: &LimitBatch<'a, 'c>) {
        let Some(endpoint) = self.facts.endpoint else { return };
        let report = |(position, (numbers, status))| LimitReport { position, numbers, status };
        let Some(rpc) = self.facts.rpc.as_deref() else {
            // Without operations, an endpoint charges each limit once.
            self.facts.limits =
                LimitStatuses(endpoint.limits.iter().copied().zip(batch.statuses()).map(report).collect());
            return;
        };
        let positions = rpc.charges.iter().map(|charge| charge.limit);
        let mut reports: Vec<LimitReport> = Vec::new();
        for report in positions.zip(batch.statuses()).map(report) {
            match reports.iter_mut().find(|own| own.position == report.position) {
                // A message that uses several operations has the least that a limit leaves for any of them.
                Some(own) if report.status.remaining < own.status.remaining => *own = report,
                Some(_) => {}
                None => reports.push(report),
            }
        }
        self.facts.limits = LimitStatuses(reports);
    }

    /// Records the state of the limits for the answer to a denied request, as for an allowed one. This applies only to
    /// authenticated callers: the answer to others must not depend on the endpoint.
    pub(super) fn look_at_limits(&mut self) {
        let Facts { endpoint, caller, limits, .. } = &self.facts;
        let Some(endpoint) = endpoint.filter(|_| caller.is_some() && limits.0.is_empty()) else { return };
        if self.has_no_limits(endpoint) {
            return;
        }
        // If the store fails, the answer lacks these headers, which is acceptable.
        if let Ok(batch) = self.batch(endpoint) {
            self.note(&batch);
        }
    }

    fn batch(&self, endpoint: &'a Endpoint) -> Result<LimitBatch<'a, 'c>, Refused<'a>> {
        let Facts { policy, caller, request, .. } = &self.facts;
        let shared = self.context.shared.ok_or(Refused::Store)?;
        let who = LimitSubject {
            caller: caller.as_ref().map(Caller::identified),
            source: request.source,
            endpoint: &endpoint.id,
            signer: None,
        };
        let limit = |position: &u32| policy.limits.list.get(*position as usize);
        match self.facts.rpc.as_deref() {
            // Most requests use no operations. Their limits are a slice, without a decision for each.
            None => {
                let limits =
                    endpoint.limits.iter().filter_map(|position| Some((limit(position)?, None, endpoint.cost)));
                LimitBatch::open(shared, limits, who, request.now)
            }
            Some(rpc) => {
                let charge = |charge: &Charge<'a>| Some((limit(&charge.limit)?, charge.operation, charge.cost));
                LimitBatch::open(shared, rpc.charges.iter().filter_map(charge), who, request.now)
            }
        }
    }

    fn has_no_limits(&self, endpoint: &Endpoint) -> bool {
        self.facts.rpc.as_ref().map_or(endpoint.limits.is_empty(), |rpc| rpc.charges.is_empty())
    }

    fn cost(&self, endpoint: &Endpoint) -> u32 {
        self.facts.rpc.as_ref().map_or(endpoint.cost, |rpc| rpc.cost)
    }

    fn describe_limits(&self, endpoint: &Endpoint) -> CheckDetails {
        let mut details = vec![("cost", self.cost(endpoint).to_string())];
        for LimitReport { position, numbers, status } in &self.facts.limits.0 {
            if let Some(limit) = self.facts.policy.limits.list.get(*position as usize) {
                details.push(("limit", limit.name.to_string()));
                details.extend(limit.numbers(*numbers).map(|numbers| ("numbers of", numbers.whose.to_string())));
                details.push(("left", format!("{} of {}", status.remaining, limit.gcra_of(*numbers).burst())));
            }
        }
        details
    }
}

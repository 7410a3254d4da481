//! Limits in the order of the checks: that on failing credentials around their verification, those of the endpoint last.

use std::cell::Cell;
use std::rc::Rc;

use super::{Evaluation, Stop};
use crate::decision::{Facts, Rule};
use crate::limit::{Guard, Ledger, Outcome, Refused, Standings, Stopped, Who};
use crate::policy::{Access, Endpoint};
use crate::reason::Reason;
use crate::token::{Refusal, VerifiedToken};
use crate::trace::Check;

impl<'a, 'c> Evaluation<'a, 'c> {
    /// Verifies a token. Where its signature has to be computed, the source must not have sent too many bad ones.
    pub(super) fn verify(&mut self, token: &[u8]) -> Result<Rc<VerifiedToken>, Refusal> {
        let Facts { policy, call, .. } = &self.facts;
        let (policy, now, source) = (*policy, call.now, call.source);
        let context = &mut self.context;
        let Some(failed) = &policy.limits.failed_credentials else {
            return policy.issuers.verify(token, now, context.verifier, context.cache);
        };
        let shared = context.shared.ok_or(Reason::HostError)?;
        let outcome = Cell::default();
        let guard = Guard { verifier: context.verifier, failed, shared, source, now, outcome };
        let verified = policy.issuers.verify(token, now, &guard, context.cache);
        let Outcome { stopped, used } = guard.outcome.get();
        self.facts.used = self.facts.used.and(used);
        match stopped {
            None => verified,
            Some(Stopped::Store) => Err(Reason::HostError.into()),
            Some(Stopped::Limited(seconds)) => {
                self.facts.retry_after = Some(seconds);
                Err(Reason::CredentialsLimited.into())
            }
        }
    }

    /// 6. How often: every limit of the call has something left for it, and is charged.
    ///
    /// A call that was denied already, and is only observed, is not charged, as it would not be under enforcement.
    pub(super) fn limits(&mut self, endpoint: &'a Endpoint) -> Result<(), Stop> {
        // Only observed, a call may come this far without a caller: there is nobody to count it for.
        let counted = endpoint.access != Access::Known || self.facts.caller.is_some();
        if endpoint.limits.is_empty() || !counted {
            return Ok(());
        }
        let charges = self.facts.denials.is_empty();
        let result = self.ledger(endpoint).and_then(|mut ledger| {
            let result = ledger.exceeded().and_then(|()| if charges { ledger.charge() } else { Ok(()) });
            let standings =
                Standings(endpoint.limits.iter().copied().zip(ledger.standings().map(|(_, s)| s)).collect());
            let (used, wait) = (ledger.used(), ledger.retry_after());
            self.facts.retry_after = result.is_err().then_some(wait);
            self.facts.used = self.facts.used.and(used);
            self.facts.limits = standings;
            result
        });
        let (result, rule) = match result {
            Ok(()) => (Ok(()), Rule::Endpoint(endpoint.position, "limits")),
            Err(Refused::Limit(name) | Refused::Contended(name)) => (Err(Reason::RateLimited), Rule::Limit(name)),
            Err(Refused::Store) => (Err(Reason::HostError), Rule::Gate),
        };
        let said = self.context.trace.is_some().then(|| self.say_limits(endpoint));
        self.judge_saying(Check::Limits, rule, result, said.unwrap_or_default())?;
        Ok(())
    }

    /// What the limits of a denied call have left: its answer says so as an allowed one's would. Only for callers who are known;
    /// to others the answer must not depend on the endpoint.
    pub(super) fn look_at_limits(&mut self) {
        let Facts { endpoint, caller, limits, .. } = &self.facts;
        let Some(endpoint) = endpoint.filter(|_| caller.is_some() && limits.0.is_empty()) else { return };
        if endpoint.limits.is_empty() {
            return;
        }
        // Without it the answer merely says less.
        if let Ok(ledger) = self.ledger(endpoint) {
            let standings = endpoint.limits.iter().copied().zip(ledger.standings().map(|(_, standing)| standing));
            self.facts.limits = Standings(standings.collect());
        }
    }

    fn ledger(&self, endpoint: &'a Endpoint) -> Result<Ledger<'a, 'c>, Refused<'a>> {
        let Facts { policy, caller, call, .. } = &self.facts;
        let shared = self.context.shared.ok_or(Refused::Store)?;
        let who = Who { caller: caller.as_ref(), source: call.source, endpoint: &endpoint.id };
        let limits = endpoint.limits.iter().filter_map(|position| policy.limits.list.get(*position as usize));
        Ledger::open(shared, limits, who, endpoint.cost, call.now)
    }

    fn say_limits(&self, endpoint: &Endpoint) -> super::Said {
        let mut said = vec![("cost", endpoint.cost.to_string())];
        for (position, standing) in &self.facts.limits.0 {
            if let Some(limit) = self.facts.policy.limits.list.get(*position as usize) {
                said.push(("limit", limit.name.to_string()));
                said.push(("left", format!("{} of {}", standing.remaining, limit.gcra.burst())));
            }
        }
        said
    }
}

//! Checks whether an endpoint, and each operation that a message uses, is within the reach of the caller: the lists of agents, the
//! ceilings of the caller, and how fresh its credential is.
//!
//! Scopes that a ceiling excludes are checked with the other scopes.

use super::{CheckDetails, Denied, Evaluation};
use crate::allowlist::operations::Operation;
use crate::allowlist::{Reach, Span};
use crate::decision::Rule;
use crate::decision::evidence::WithinReach;
use crate::decision::trace::Check;
use crate::document::{Authenticate, Effect};
use crate::identity::token::VerifiedToken;
use crate::policy::Endpoint;
use crate::reason::Reason;
use crate::text::time::Timestamp;

/// The reasons why something is out of reach, each with its rule.
type Exclusions<'a> = Vec<(Reason, Rule<'a>)>;

impl<'a> Evaluation<'a, '_> {
    /// Checks that the endpoint is within the caller's reach.
    pub(super) fn reach(&mut self, endpoint: &'a Endpoint) -> Result<Option<WithinReach>, Denied> {
        let Some(caller) = &self.facts.caller else { return Ok(None) };
        let reach = endpoint.reach.as_deref();
        if reach.is_none() && !caller.has_ceiling() {
            return Ok(Some(WithinReach::assertion()));
        }
        let mut excluded: Exclusions<'a> = caller.is_unlisted_at(endpoint).into_iter().collect();
        excluded.extend(caller.exceeds_ceiling_at(endpoint));
        excluded.extend(reach.map(|reach| self.stale(endpoint, reach)).unwrap_or_default());
        let rule = Rule::Endpoint(endpoint.position, "");
        let is_within = self.record_reach(rule, &excluded, reach, endpoint.effect)?;
        Ok(is_within.then(WithinReach::assertion))
    }

    /// Checks that an operation is within the caller's reach. Its scopes are not considered.
    pub(super) fn operation_reach(&mut self, endpoint: &'a Endpoint, operation: &'a Operation) -> Result<bool, Denied> {
        let Some(caller) = &self.facts.caller else { return Ok(false) };
        let reach = operation.reach.as_deref();
        if reach.is_none() && !caller.has_ceiling() {
            return Ok(true);
        }
        let mut excluded: Exclusions<'a> = caller.is_kept_from(operation).into_iter().collect();
        excluded.extend(reach.map(|reach| self.stale(endpoint, reach)).unwrap_or_default());
        self.record_reach(Rule::Operation(&operation.place, ""), &excluded, reach, operation.effect)
    }

    /// Records that an operation is out of reach for its list of agents or a ceiling, if it is. Returns whether the caller reaches it.
    pub(super) fn keep_from(&mut self, operation: &'a Operation) -> Result<bool, Denied> {
        let Some(caller) = &self.facts.caller else { return Ok(false) };
        let excluded: Exclusions<'a> = caller.is_kept_from(operation).into_iter().collect();
        if excluded.is_empty() {
            return Ok(true);
        }
        let rule = Rule::Operation(&operation.place, "");
        self.record_reach(rule, &excluded, operation.reach.as_deref(), operation.effect)
    }

    /// Returns why the caller's credential is not fresh enough.
    fn stale(&self, endpoint: &Endpoint, reach: &Reach) -> Exclusions<'a> {
        let (now, skew) = (self.facts.request.now, self.facts.policy.issuers.skew());
        let (token, issued) = (self.caller_token(), self.credential_issued());
        let exceeds_age = reach.max_age.filter(|most| most.is_exceeded_since(issued, now, skew));
        let exceeds_lifetime = reach.max_lifetime.filter(|most| match token {
            Some(token) => most.is_exceeded_between(issued, token.expires()),
            // The policy limits how long signatures are accepted. Other credentials have no lifetime.
            None => issued.is_none(),
        });
        let too_old = |most: Span| (Reason::TokenTooOld, Rule::asked_by(endpoint, Some(most.origin), "max_age"));
        let too_long_lived =
            |most: Span| (Reason::TokenTooLongLived, Rule::asked_by(endpoint, Some(most.origin), "max_lifetime"));
        let mut excluded = Exclusions::new();
        excluded.extend(exceeds_age.map(too_old));
        excluded.extend(exceeds_lifetime.map(too_long_lived));
        excluded
    }

    fn caller_token(&self) -> Option<&VerifiedToken> {
        self.facts.caller.as_ref()?.token()
    }

    /// Returns when the caller's credential was issued: its token or, without one, the signature that authenticates it. `None` for other
    /// credentials, which do not state it.
    fn credential_issued(&self) -> Option<Timestamp> {
        if let Some(token) = self.caller_token() {
            return token.issued_at();
        }
        let counts = self.facts.counted().is_some_and(Authenticate::is_signature);
        self.facts.signature.as_ref().filter(|_| counts).map(|signature| signature.created)
    }

    /// Records each exclusion, or that there is none. Returns whether there is none.
    fn record_reach(
        &mut self,
        rule: Rule<'a>,
        excluded: &[(Reason, Rule<'a>)],
        reach: Option<&Reach>,
        effect: Effect,
    ) -> Result<bool, Denied> {
        if excluded.is_empty() {
            self.record_check(Check::Reach, rule, Ok::<(), Reason>(()), |()| CheckDetails::new())?;
            return Ok(true);
        }
        for (reason, rule) in excluded {
            let details = self.context.trace.is_some().then(|| self.describe_exclusion(*reason, reach, effect));
            let denied = Err::<(), Reason>(*reason);
            self.record_check_with_details(Check::Reach, *rule, denied, details.unwrap_or_default())?;
        }
        Ok(false)
    }

    /// Returns the values that led to a denial.
    fn describe_exclusion(&self, reason: Reason, reach: Option<&Reach>, effect: Effect) -> CheckDetails {
        let agent = self.facts.agent.map_or("unregistered", |agent| &agent.name).to_owned();
        let issued =
            self.credential_issued().map_or_else(|| "absent".to_owned(), |issued| issued.as_secs().to_string());
        match reason {
            Reason::AgentNotListed => {
                let listed = reach.and_then(|reach| reach.agents.as_deref()).unwrap_or_default();
                let names = listed.iter().filter_map(|position| self.facts.policy.agents.get(*position));
                let names: Vec<_> = names.map(|agent| &*agent.name).collect();
                vec![("agent", agent), ("listed", names.join(" "))]
            }
            Reason::TokenTooOld => {
                let most = reach.and_then(|reach| reach.max_age).map_or(0, |most| most.most.as_secs());
                let now = self.facts.request.now.as_secs().to_string();
                vec![("issued", issued), ("now", now), ("max_age", format!("{most} s"))]
            }
            Reason::TokenTooLongLived => {
                let most = reach.and_then(|reach| reach.max_lifetime).map_or(0, |most| most.most.as_secs());
                let expires =
                    self.caller_token().map_or_else(|| "absent".to_owned(), |own| own.expires().as_secs().to_string());
                vec![("issued", issued), ("expires", expires), ("max_lifetime", format!("{most} s"))]
            }
            _ => vec![("agent", agent), ("effect", effect.name().to_owned())],
        }
    }
}

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;

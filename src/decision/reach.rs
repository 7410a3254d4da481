//! What is within the reach of a caller, whatever its credentials say: the lists of agents at endpoints and operations, and the ceilings
//! of its agents.
//!
//! Freshness depends on the credential, and does not belong here.

use super::{Caller, Rule};
use crate::allowlist::operations::Operation;
use crate::allowlist::{Ceiling, Granted, ScopesWanted};
use crate::policy::{Agent, Endpoint};
use crate::reason::Reason;

impl<'a> Caller<'a> {
    /// Returns the ceilings that apply, each with its agent: that of the agent, and those of the actors before it.
    pub(crate) fn ceilings(&self) -> impl Iterator<Item = (&'a Agent, &'a Ceiling)> {
        let agents = self.agent.into_iter().chain(self.prior_actors().iter().copied());
        agents.filter_map(|agent| Some((agent, agent.at_most.as_deref()?)))
    }

    /// Returns whether any ceiling applies.
    pub(crate) fn has_ceiling(&self) -> bool {
        self.ceilings().next().is_some()
    }

    /// Returns whether a scope counts under all ceilings.
    pub(crate) fn permits_scope(&self, scope: &str) -> bool {
        self.ceilings().all(|(_, ceiling)| ceiling.permits_scope(scope))
    }

    /// Returns the agent whose ceiling keeps the caller from ever having these scopes. A new token would not help then.
    pub(crate) fn never_has(&self, scopes: &ScopesWanted) -> Option<&'a Agent> {
        let (first, _) = self.ceilings().next()?;
        scopes.missing(&Attainable(self))?;
        let alone = self.ceilings().find(|(_, ceiling)| scopes.missing(*ceiling).is_some());
        Some(alone.map_or(first, |(agent, _)| agent))
    }

    /// Returns why an endpoint is out of reach for its list of agents, with the rule.
    pub(crate) fn is_unlisted_at(&self, endpoint: &'a Endpoint) -> Option<(Reason, Rule<'a>)> {
        let reach = endpoint.reach.as_ref()?;
        let unlisted = (Reason::AgentNotListed, Rule::Endpoint(endpoint.position, "agents"));
        (!reach.lists(self.agent.map(|agent| agent.position))).then_some(unlisted)
    }

    /// Returns why an endpoint is out of reach for a ceiling, with the rule.
    pub(crate) fn exceeds_ceiling_at(&self, endpoint: &Endpoint) -> Option<(Reason, Rule<'a>)> {
        let (agent, _) =
            self.ceilings().find(|(_, ceiling)| !ceiling.permits_endpoint(endpoint.position, endpoint.effect))?;
        Some((Reason::AgentCeiling, Rule::AtMost(&agent.name)))
    }

    /// Returns why an operation is out of reach for its list of agents or for a ceiling, with the rule. Scopes are not considered.
    pub(crate) fn is_kept_from(&self, operation: &'a Operation) -> Option<(Reason, Rule<'a>)> {
        let agent = self.agent.map(|agent| agent.position);
        if operation.reach.as_ref().is_some_and(|reach| !reach.lists(agent)) {
            return Some((Reason::AgentNotListed, Rule::Operation(&operation.place, "agents")));
        }
        let (agent, _) = self.ceilings().find(|(_, ceiling)| !ceiling.permits_effect(operation.effect))?;
        Some((Reason::AgentCeiling, Rule::AtMost(&agent.name)))
    }

    /// Returns whether the caller may use an operation, now or with further scopes.
    pub(crate) fn reaches(&self, operation: &'a Operation) -> bool {
        self.is_kept_from(operation).is_none() && self.never_has(&operation.scopes).is_none()
    }
}

/// The most that a new token could grant to a caller: every scope that its ceilings permit.
struct Attainable<'c, 'a>(&'c Caller<'a>);

impl Granted for Attainable<'_, '_> {
    fn has(&self, scope: &str) -> bool {
        self.0.permits_scope(scope)
    }
}

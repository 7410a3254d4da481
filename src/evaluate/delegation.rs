//! Checks for whom a request is made: the agents that are the actors of its token, and whether the endpoint accepts them.

use std::rc::Rc;

use super::{CheckDetails, Denied, Evaluation};
use crate::allowlist::operations::Operation;
use crate::decision::evidence::DelegationAccepted;
use crate::decision::trace::Check;
use crate::decision::{Caller, Facts, Proven, Rule};
use crate::document::DelegationAsked;
use crate::identity::token::VerifiedToken;
use crate::policy::{Agent, Endpoint, Policy};
use crate::reason::Reason;
use crate::text::time::Timestamp;

impl<'a> Evaluation<'a, '_> {
    /// 4. Finds the agent that is the current actor of a token.
    ///
    /// It is the caller. An entry for the token's client or subject is not looked up, and an unregistered actor is never accepted.
    pub(super) fn actor(&mut self, token: &Rc<VerifiedToken>) -> Result<(), Denied> {
        let Facts { policy, request, .. } = &self.facts;
        let (policy, now) = (*policy, request.now);
        let Some(rules) = &policy.delegation else {
            // The record names the agent that sent the token.
            self.facts.agent = policy.agents.find(token).ok();
            let denied = Err::<(), _>(Reason::DelegationNotAllowed);
            self.record_check(Check::Delegation, Rule::Policy("delegation"), denied, |()| CheckDetails::new())?;
            return Ok(());
        };
        let found = policy.agents.find_actor(token);
        let found =
            found.and_then(|agent| if self.shows_another(agent) { Err(Reason::ActorMismatch) } else { Ok(agent) });
        let (result, rule) = match found {
            Err(reason) => (Err(reason), Rule::Policy("delegation")),
            Ok(agent) => match registered(policy, token, agent, rules.checks_prior, now) {
                Err((reason, rule)) => (Err(reason), rule),
                Ok(prior) => (Ok((agent, prior)), Rule::Agent(&agent.name)),
            },
        };
        self.facts.agent = found.ok();
        let found =
            self.record_check(Check::Agent, rule, result, |(agent, _)| vec![("agent", agent.name.to_string())])?;
        self.facts.caller =
            found.map(|(agent, prior)| Caller { by: Proven::Token(Rc::clone(token)), agent: Some(agent), prior });
        Ok(())
    }

    /// Returns whether the key of the request's proof is a signing key of another agent, which then is the sender. The agent of a signature
    /// or a certificate is checked where these are.
    fn shows_another(&self, agent: &Agent) -> bool {
        let keys = &self.facts.policy.signing_keys;
        let proof = self.facts.proof.as_ref().filter(|_| !keys.is_empty());
        let key = proof.and_then(|proof| keys.find_by_thumbprint(&proof.key.to_string()));
        key.is_some_and(|key| key.agent != agent.position)
    }

    /// 5. Checks that the endpoint accepts requests for somebody else, or requests that are not.
    pub(super) fn delegation(&mut self, endpoint: &'a Endpoint) -> Result<Option<DelegationAccepted>, Denied> {
        let Some(caller) = &self.facts.caller else { return Ok(None) };
        let (asked, is_delegated) = (endpoint.delegation.asked, caller.is_delegated());
        // Most requests are not delegated, and an explanation of them does not need this check.
        if !is_delegated && asked != DelegationAsked::Required {
            return Ok(Some(DelegationAccepted::assertion()));
        }
        let details = self.context.trace.is_some().then(|| describe(caller));
        let result = caller.accept_delegation(asked).map(|()| DelegationAccepted::assertion());
        let rule = Rule::asked_by(endpoint, Some(endpoint.delegation.origin), "delegation");
        self.record_check_with_details(Check::Delegation, rule, result, details.unwrap_or_default())
    }

    /// Checks the same for an operation, if its effect differs from that of the endpoint. Returns whether it is accepted; it is not if the
    /// denial is only observed.
    pub(super) fn operation_delegation(&mut self, operation: &'a Operation) -> Result<bool, Denied> {
        let Some(asked) = operation.delegation else { return Ok(true) };
        let Some(caller) = &self.facts.caller else { return Ok(false) };
        let result = caller.accept_delegation(asked);
        let rule = Rule::Effect(operation.effect, "delegation");
        let accepted = self.record_check(Check::Delegation, rule, result, |()| CheckDetails::new())?;
        Ok(accepted.is_some())
    }
}

/// Checks that all agents of a delegated token that matter are registered at this moment. Returns the earlier actors, if the policy checks
/// them.
fn registered<'a>(
    policy: &'a Policy,
    token: &VerifiedToken,
    agent: &'a Agent,
    checks_prior: bool,
    now: Timestamp,
) -> Result<Vec<&'a Agent>, (Reason, Rule<'a>)> {
    agent.registered(now).map_err(|reason| (reason, Rule::Agent(&agent.name)))?;
    let others = policy.agents.check_others(token, agent, now);
    others.map_err(|(other, reason)| (reason, Rule::Agent(&other.name)))?;
    if !checks_prior {
        return Ok(Vec::new());
    }
    let prior = policy.agents.find_prior_actors(token, now);
    prior.map_err(|reason| (reason, Rule::Policy("delegation.prior_actors")))
}

/// Returns for whom and through which checked agents the caller acts.
fn describe(caller: &Caller<'_>) -> CheckDetails {
    let subject = caller.token().filter(|token| token.is_delegated()).and_then(VerifiedToken::subject);
    let prior: Vec<_> = caller.prior_actors().iter().map(|agent| &*agent.name).collect();
    let through = (!prior.is_empty()).then(|| ("through", prior.join(" ")));
    subject.map(|subject| ("for", subject.to_owned())).into_iter().chain(through).collect()
}

//! Who can reach what, and with which credentials, for people who read a policy. Nothing here decides about requests.

use std::time::Duration;

use super::endpoint::{Access, Endpoint};
use super::reach::{Reachable, operation_reachable, reachable};
use super::{Agent, Policy};
use crate::allowlist::{Binding, ScopesWanted};
use crate::document::{Authenticate, Effect, SignatureAsked};

impl Policy {
    /// Returns the registered agents, in the order of their names.
    pub fn registered_agents(&self) -> impl ExactSizeIterator<Item = &Agent> {
        self.agents.iter()
    }

    /// Reports whether the policy accepts tokens of clients that are no registered agent.
    #[must_use]
    pub fn accepts_unregistered(&self) -> bool {
        self.takes_unregistered
    }

    /// Returns whether an agent can reach an endpoint with some credential. Both must belong to this policy. If the endpoint has
    /// operations, the agent may still be able to reach none of them.
    #[must_use]
    pub fn reach_of(&self, agent: &Agent, endpoint: &Endpoint) -> Reachable {
        reachable(agent, endpoint)
    }

    /// Returns whether clients that are no registered agent can reach an endpoint, if the policy accepts them.
    #[must_use]
    pub fn reach_of_unregistered(&self, endpoint: &Endpoint) -> Reachable {
        let lists_agents = endpoint.reach.as_ref().is_some_and(|reach| !reach.lists(None));
        if lists_agents { Reachable::NotListed } else { Reachable::Yes }
    }

    /// Returns the operations of an endpoint, each with whether an agent can reach it, or a client that is no registered agent if
    /// `agent` is `None`. An agent that cannot reach the endpoint can reach none of them.
    #[must_use]
    pub fn operations_of<'p>(&self, agent: Option<&Agent>, endpoint: &'p Endpoint) -> Vec<OperationAccess<'p>> {
        let of_endpoint =
            agent.map_or_else(|| self.reach_of_unregistered(endpoint), |agent| self.reach_of(agent, endpoint));
        let operations = endpoint.rpc.iter().flat_map(|rpc| rpc.operations());
        operations
            .map(|operation| OperationAccess {
                kind: operation.kind.name(),
                name: &operation.name,
                effect: operation.effect,
                reachable: match of_endpoint {
                    Reachable::Yes => operation_reachable(agent, operation),
                    excluded => excluded,
                },
                scopes: required(&operation.scopes),
                bindings: operation.bindings.iter().map(written).collect(),
            })
            .collect()
    }
}

/// An operation of an endpoint, and whether an agent can reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperationAccess<'p> {
    /// `tool`, `resource`, `prompt` or `method`.
    pub kind: &'static str,
    /// The name, or the URI or its template as the policy writes it.
    pub name: &'p str,
    /// What the operation does to the API's data.
    pub effect: Effect,
    /// Whether the agent can reach it.
    pub reachable: Reachable,
    /// The scopes that it requires in addition to those of the endpoint: those that are all required, and lists of which one scope is.
    pub scopes: (Vec<&'p str>, Vec<Vec<&'p str>>),
    /// Its bindings: the bound part, the operator, and the reference or the value as JSON.
    pub bindings: Vec<(&'p str, &'static str, &'p str)>,
}

impl Endpoint {
    /// Returns the methods.
    pub fn methods(&self) -> impl ExactSizeIterator<Item = &str> {
        self.methods.iter().map(|method| &**method)
    }

    /// Returns the path template as the policy writes it.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns what requests do to the API's data.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Reports whether anyone can use the endpoint.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.access != Access::Known
    }

    /// Reports whether the endpoint observes denials instead of enforcing them. A policy that observes does so on every endpoint.
    #[must_use]
    pub fn observes(&self) -> bool {
        self.observe
    }

    /// Returns the scopes that the endpoint and its effect require: those that are all required, and lists of which one scope is.
    #[must_use]
    pub fn required_scopes(&self) -> (Vec<&str>, Vec<Vec<&str>>) {
        required(&self.scopes)
    }

    /// Returns the bindings, those of the body too: the bound part, the operator, and the reference or the value as JSON.
    pub fn bindings(&self) -> impl Iterator<Item = (&str, &'static str, &str)> {
        let of_body = self.content.iter().flat_map(|content| &content.bindings);
        self.bindings.iter().chain(of_body).map(written)
    }

    /// Returns the kinds of credentials of which one authenticates the caller. Public endpoints need none.
    #[must_use]
    pub fn accepted_credentials(&self) -> &[Authenticate] {
        &self.authenticate
    }

    /// Reports whether a token must be bound to a key.
    #[must_use]
    pub fn requires_bound_token(&self) -> bool {
        self.needs_bound_token.is_some()
    }

    /// Returns whether requests must, or may, be signed in addition to another credential.
    #[must_use]
    pub fn asks_signature(&self) -> Option<SignatureAsked> {
        self.signature.asked.map(|(asked, _)| asked)
    }

    /// Returns the names of the limits that each request is charged to.
    pub fn limits<'p>(&self, policy: &'p Policy) -> impl Iterator<Item = &'p str> {
        let limits = self.limits.iter().filter_map(|position| policy.limits.list.get(*position as usize));
        limits.map(|limit| &*limit.name)
    }

    /// Returns the maximum age of the token.
    #[must_use]
    pub fn max_age(&self) -> Option<Duration> {
        Some(self.reach.as_ref()?.max_age?.most)
    }

    /// Returns the maximum lifetime of the token.
    #[must_use]
    pub fn max_lifetime(&self) -> Option<Duration> {
        Some(self.reach.as_ref()?.max_lifetime?.most)
    }

    /// Reports whether the endpoint lists the agents that may use it.
    #[must_use]
    pub fn lists_agents(&self) -> bool {
        self.reach.as_ref().is_some_and(|reach| reach.agents.is_some())
    }
}

impl Agent {
    /// Returns the scopes that requests of the agent for itself have in addition to those of their token.
    pub fn own_scopes(&self) -> impl ExactSizeIterator<Item = &str> {
        self.scopes.iter().map(|scope| &**scope)
    }

    /// Reports whether the agent has a ceiling.
    #[must_use]
    pub fn has_ceiling(&self) -> bool {
        self.at_most.is_some()
    }

    /// Returns whether a required scope counts under the agent's ceiling.
    #[must_use]
    pub fn permits_scope(&self, scope: &str) -> bool {
        self.at_most.as_ref().is_none_or(|ceiling| ceiling.permits_scope(scope))
    }
}

fn required(wanted: &ScopesWanted) -> (Vec<&str>, Vec<Vec<&str>>) {
    let mut all: Vec<&str> = Vec::new();
    for scope in wanted.parts().flat_map(|(all, _)| all) {
        if !all.contains(&scope.as_str()) {
            all.push(scope);
        }
    }
    let any = wanted.parts().filter(|(_, any)| !any.is_empty());
    (all, any.map(|(_, any)| any.iter().map(String::as_str).collect()).collect())
}

fn written(binding: &Binding) -> (&str, &'static str, &str) {
    (&binding.written.0, binding.operator.name(), &binding.written.1)
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;

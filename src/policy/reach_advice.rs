//! Warnings about who can reach what, which compare agents with endpoints.

use std::collections::BTreeMap;

use super::agents::{Agent, Agents};
use super::endpoint::{Access, Endpoint};
use super::endpoints::Endpoints;
use super::reach::{Reachable, operation_reachable, reachable};
use crate::allowlist::Side;
use crate::document;
use crate::document::{Findings, Place};

/// The maximum number of agents that a warning names.
const NAMED: usize = 3;
/// The maximum number of comparisons of an agent with an endpoint. A policy with more gets fewer warnings.
const MAX_COMPARED: u32 = 200_000;

pub(super) fn check(document: &document::Document, agents: &Agents, endpoints: &Endpoints, findings: &mut Findings) {
    let mut budget = Budget(MAX_COMPARED);
    agents_without_endpoints(agents, endpoints, &mut budget, findings);
    endpoints_without_agents(document, agents, endpoints, &mut budget, findings);
    missing_attributes(document, agents, endpoints, &mut budget, findings);
}

/// The number of comparisons that are left.
struct Budget(u32);

impl Budget {
    /// Returns whether an agent can reach an endpoint. `None` if nothing is left to compare them.
    fn reachable(&mut self, agent: &Agent, endpoint: &Endpoint) -> Option<Reachable> {
        self.0 = self.0.checked_sub(1)?;
        Some(reachable(agent, endpoint))
    }
}

/// Warns about agents whose ceiling excludes everything.
fn agents_without_endpoints(agents: &Agents, endpoints: &Endpoints, budget: &mut Budget, findings: &mut Findings) {
    let known = || endpoints.list.iter().filter(|endpoint| endpoint.access == Access::Known);
    if known().next().is_none() {
        return;
    }
    for agent in agents.iter().filter(|agent| agent.at_most.is_some()) {
        if known().all(|endpoint| budget.reachable(agent, endpoint).is_some_and(|reach| reach != Reachable::Yes)) {
            findings.warn(
                Place::root().field("agents").field(&agent.name).field("at_most"),
                "this agent can reach no endpoint, so its requests are denied; raise its ceiling, or remove the agent",
            );
        }
    }
}

/// Warns about endpoints that lists of agents and ceilings close to everyone.
fn endpoints_without_agents(
    document: &document::Document,
    agents: &Agents,
    endpoints: &Endpoints,
    budget: &mut Budget,
    findings: &mut Findings,
) {
    let has_ceilings = agents.iter().any(|agent| agent.at_most.is_some());
    let takes_unregistered = document.unregistered == document::Unregistered::Allow;
    for endpoint in endpoints.list.iter().filter(|endpoint| endpoint.access == Access::Known) {
        let listed = endpoint.reach.as_ref().and_then(|reach| reach.agents.as_ref());
        // An empty list is an error already, and without lists and ceilings everyone can reach everything.
        if listed.is_some_and(|listed| listed.is_empty()) || listed.is_none() && (takes_unregistered || !has_ceilings) {
            continue;
        }
        if agents.iter().len() > 0
            && agents.iter().all(|agent| budget.reachable(agent, endpoint).is_some_and(|reach| reach != Reachable::Yes))
        {
            findings.warn(
                Place::root().field("endpoints").index(endpoint.position as usize),
                "no agent can reach this endpoint, because the ceilings (`at_most`) of the agents that may use it exclude it; raise one of \
                 them, or remove the endpoint",
            );
        }
    }
}

/// The agents that lack an attribute, by their positions, and the endpoints that compare with it.
#[derive(Default)]
struct Lacking<'p> {
    agents: BTreeMap<u32, &'p Agent>,
    endpoints: Vec<&'p Endpoint>,
}

/// Warns about attributes that bindings compare with and that agents which can use the endpoints do not have.
fn missing_attributes(
    document: &document::Document,
    agents: &Agents,
    endpoints: &Endpoints,
    budget: &mut Budget,
    findings: &mut Findings,
) {
    let mut lacking: BTreeMap<&str, Lacking<'_>> = BTreeMap::new();
    let is_suspended = |agent: &Agent| document.agents.get(&*agent.name).is_some_and(|raw| raw.suspended);
    for endpoint in endpoints.list.iter().filter(|endpoint| endpoint.access == Access::Known) {
        let of_body = endpoint.content.iter().flat_map(|content| &content.bindings);
        let of_endpoint = endpoint.bindings.iter().chain(of_body).map(|binding| (None, binding));
        let operations = endpoint.rpc.iter().flat_map(|rpc| rpc.operations());
        let of_operations =
            operations.flat_map(|operation| operation.bindings.iter().map(move |binding| (Some(operation), binding)));
        for (operation, binding) in of_endpoint.chain(of_operations) {
            let Side::Agent(attribute) = &binding.side else { continue };
            let mut lacks = |agent: &&Agent| {
                // The comparison comes first, because each one counts.
                budget.reachable(agent, endpoint) == Some(Reachable::Yes)
                    && operation.is_none_or(|operation| operation_reachable(Some(agent), operation) == Reachable::Yes)
                    && !agent.attributes.contains_key(&**attribute)
                    && !is_suspended(agent)
            };
            for agent in agents.iter().filter(|agent| lacks(agent)) {
                lacking.entry(attribute).or_default().add(agent, endpoint);
            }
        }
    }
    for (attribute, Lacking { agents, endpoints }) in lacking {
        let agents: Vec<&Agent> = agents.into_values().collect();
        let place = Place::root().field("agents");
        let place = match agents.as_slice() {
            [only] => place.field(&only.name).field("attributes"),
            _ => place,
        };
        let who = listing(&agents, |agent| &agent.name);
        let have = if agents.len() == 1 { "has" } else { "have" };
        let at = listing(&endpoints, |endpoint| &endpoint.id);
        findings.warn(
            place,
            format!(
                "{who} {have} no attribute `{attribute}`, which bindings of {at} need, so such requests are denied; add the attribute, or \
                 list in `agents` there who may use it"
            ),
        );
    }
}

impl<'p> Lacking<'p> {
    /// Adds an agent and an endpoint. The endpoints come in their order.
    fn add(&mut self, agent: &'p Agent, endpoint: &'p Endpoint) {
        self.agents.insert(agent.position, agent);
        if self.endpoints.last().is_none_or(|last| last.position != endpoint.position) {
            self.endpoints.push(endpoint);
        }
    }
}

/// Returns the first names, and how many more there are.
fn listing<'t, T>(all: &[&'t T], name: impl Fn(&'t T) -> &'t str) -> String {
    let named: Vec<String> = all.iter().take(NAMED).map(|one| format!("`{}`", name(one))).collect();
    match all.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
#[path = "reach_advice_tests.rs"]
mod tests;

//! Warnings about who can reach what, which compare agents with endpoints.

use super::agents::{Agent, Agents};
use super::endpoint::{Access, Endpoint};
use super::endpoints::Endpoints;
use super::reach::{Reachable, operation_reachable, reachable};
use crate::allowlist::{Binding, Side};
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

/// Warns about attributes that a binding compares with and that an agent which can use the endpoint does not have.
fn missing_attributes(
    document: &document::Document,
    agents: &Agents,
    endpoints: &Endpoints,
    budget: &mut Budget,
    findings: &mut Findings,
) {
    for (raw, endpoint) in document.endpoints.iter().zip(&endpoints.list) {
        if endpoint.access != Access::Known {
            continue;
        }
        let place = Place::root().field("endpoints").index(endpoint.position as usize);
        let of_body = endpoint.content.iter().flat_map(|content| &content.bindings);
        for binding in endpoint.bindings.iter().chain(of_body) {
            let reaches = |agent: &Agent| budget.reachable(agent, endpoint) == Some(Reachable::Yes);
            warn(binding, agents, reaches, &place, findings);
        }
        let written = raw.rpc.iter().flat_map(|rpc| rpc.operations());
        let compiled = endpoint.rpc.iter().flat_map(|rpc| rpc.operations());
        for (entry, operation) in written.zip(compiled) {
            let place = place.field("rpc").field(entry.list).index(entry.index);
            for binding in &operation.bindings {
                let reaches = |agent: &Agent| {
                    budget.reachable(agent, endpoint) == Some(Reachable::Yes)
                        && operation_reachable(Some(agent), operation) == Reachable::Yes
                };
                warn(binding, agents, reaches, &place, findings);
            }
        }
    }
}

fn warn(
    binding: &Binding,
    agents: &Agents,
    mut reaches: impl FnMut(&Agent) -> bool,
    place: &Place,
    findings: &mut Findings,
) {
    let Side::Agent(attribute) = &binding.side else { return };
    // The comparison comes first, because each one counts.
    let lacking: Vec<&Agent> =
        agents.iter().filter(|agent| reaches(agent) && !agent.attributes.contains_key(&**attribute)).collect();
    if lacking.is_empty() {
        return;
    }
    let named: Vec<String> = lacking.iter().take(NAMED).map(|agent| format!("`{}`", agent.name)).collect();
    let more = match lacking.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (who, their) = if lacking.len() == 1 { ("agent", "its") } else { ("agents", "their") };
    let have = if lacking.len() == 1 { "has" } else { "have" };
    findings.warn(
        place.field("bind").field(&binding.written.0),
        format!(
            "{who} {}{more} {have} no attribute `{attribute}`, so {their} requests are denied here; add it, or list in `agents` who may \
             use this",
            named.join(", ")
        ),
    );
}

#[cfg(test)]
#[path = "reach_advice_tests.rs"]
mod tests;

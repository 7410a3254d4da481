//! Compiles who may use what: the ceilings of agents, the lists of agents at endpoints and operations, and how fresh tokens must be.
//!
//! Warnings that compare all agents with all endpoints belong in `reach_advice`.

use std::collections::{BTreeMap, BTreeSet};

use super::agents::Agent;
use super::endpoint::{Access, Compiling, Endpoint};
use crate::allowlist::operations::Operation;
use crate::allowlist::{Ceiling, Origin, Reach, Span};
use crate::document::names::{check_distinct, check_name, check_scope, did_you_mean};
use crate::document::{self, Authenticate, Effect, Lifetime, OperationEntry, Requirement, ScopesAsked};
use crate::document::{Findings, Place};
use crate::text::sort;

/// Whether an agent can reach an endpoint or an operation, with any of its credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reachable {
    /// It can, with a credential that meets the other requirements.
    Yes,
    /// The endpoint or the operation has a list of agents (`agents`), and the agent is not in it.
    NotListed,
    /// The ceiling of the agent (`at_most`) excludes the endpoint, the effect, or a scope that is required.
    Ceiling,
}

/// Returns whether an agent can reach an endpoint. Anyone can reach a public one.
pub(super) fn reachable(agent: &Agent, endpoint: &Endpoint) -> Reachable {
    if endpoint.access != Access::Known {
        return Reachable::Yes;
    }
    if endpoint.reach.as_ref().is_some_and(|reach| !reach.lists(Some(agent.position))) {
        return Reachable::NotListed;
    }
    let is_excluded = |ceiling: &Ceiling| {
        !ceiling.permits_endpoint(endpoint.position, endpoint.effect) || endpoint.scopes.missing(ceiling).is_some()
    };
    if agent.at_most.as_deref().is_some_and(is_excluded) { Reachable::Ceiling } else { Reachable::Yes }
}

/// Returns whether an agent, or an unregistered caller, can reach an operation of an endpoint that it can reach.
pub(super) fn operation_reachable(agent: Option<&Agent>, operation: &Operation) -> Reachable {
    let position = agent.map(|agent| agent.position);
    if operation.reach.as_ref().is_some_and(|reach| !reach.lists(position)) {
        return Reachable::NotListed;
    }
    let is_excluded =
        |ceiling: &Ceiling| !ceiling.permits_effect(operation.effect) || operation.scopes.missing(ceiling).is_some();
    let ceiling = agent.and_then(|agent| agent.at_most.as_deref());
    if ceiling.is_some_and(is_excluded) { Reachable::Ceiling } else { Reachable::Yes }
}

/// The names of agents and groups that other fields can refer to.
pub(super) struct AgentNames<'d> {
    agents: BTreeMap<&'d str, u32>,
    groups: &'d BTreeMap<String, Vec<String>>,
}

impl<'d> AgentNames<'d> {
    pub(super) fn new(document: &'d document::Document) -> Self {
        Self { agents: sort::map(document.agents.keys().map(String::as_str).zip(0..)), groups: &document.groups }
    }

    /// Returns the agents that a list of agents and groups names, by their positions in the order of names, sorted.
    pub(super) fn agents_of(&self, names: &[String], place: &Place, findings: &mut Findings) -> Box<[u32]> {
        if names.is_empty() {
            findings.error(
                place.clone(),
                "the list is empty, so nobody could use this; write at least one agent, or remove the field for every agent",
            );
        }
        check_distinct("agent", names, place, findings);
        let mut listed = BTreeSet::new();
        for (index, name) in names.iter().enumerate() {
            match (self.agents.get(name.as_str()), self.groups.get(name)) {
                (Some(agent), _) => {
                    listed.insert(*agent);
                }
                (None, Some(members)) => {
                    listed.extend(members.iter().filter_map(|member| self.agents.get(member.as_str()).copied()));
                }
                (None, None) => {
                    let known = self.agents.keys().copied().chain(self.groups.keys().map(String::as_str));
                    let hint = did_you_mean(name, known, "expected a name from `agents` or `groups`");
                    findings
                        .error(place.index(index), format!("unknown agent or group `{}`; {hint}", name.escape_debug()));
                }
            }
        }
        listed.into_iter().collect()
    }
}

/// Checks `groups`.
pub(super) fn check_groups(document: &document::Document, findings: &mut Findings) {
    if document.groups.is_empty() {
        return;
    }
    let operations = document.endpoints.iter().filter_map(|endpoint| endpoint.rpc.as_ref());
    let of_operations = operations.flat_map(|rpc| rpc.operations()).filter_map(|operation| operation.agents).flatten();
    let of_endpoints = document.endpoints.iter().filter_map(|endpoint| endpoint.agents.as_ref()).flatten();
    let of_delegation = document.delegation.iter().filter_map(|delegation| delegation.actors.as_ref()).flatten();
    let used = sort::set(of_endpoints.chain(of_operations).chain(of_delegation));
    for (name, members) in &document.groups {
        let place = Place::root().field("groups").field(name);
        check_name("a group", name, &place, findings);
        if document.agents.contains_key(name) {
            findings.error(
                place.clone(),
                "an agent has the same name, and fields name agents and groups alike; choose another",
            );
        }
        if members.is_empty() {
            findings.error(
                place.clone(),
                "the list is empty, so nobody could use what names this group; write at least one agent",
            );
        }
        check_distinct("agent", members, &place, findings);
        for (index, member) in members.iter().enumerate().filter(|(_, member)| !document.agents.contains_key(*member)) {
            let shown = member.escape_debug();
            let message = if document.groups.contains_key(member) {
                format!("`{shown}` is a group, and groups contain only agents; write its agents")
            } else {
                let known = document.agents.keys().map(String::as_str);
                format!("unknown agent `{shown}`; {}", did_you_mean(member, known, "expected a name from `agents`"))
            };
            findings.error(place.index(index), message);
        }
        if !used.contains(name) {
            findings.warn(place, "no field names this group; remove it, or name it in `agents` of an endpoint");
        }
    }
}

/// Compiles the ceilings of all agents, which are in the order of the document.
pub(super) fn set_ceilings(agents: &mut [Agent], document: &document::Document, findings: &mut Findings) {
    if document.agents.values().all(|agent| agent.at_most.is_none()) {
        return;
    }
    let endpoints = sort::map(document.endpoints.iter().map(|endpoint| endpoint.id.as_str()).zip(0..));
    let required = required_scopes(document);
    for agent in agents {
        let Some(raw) = document.agents.get(&*agent.name).and_then(|raw| raw.at_most.as_ref()) else { continue };
        let place = Place::root().field("agents").field(&agent.name).field("at_most");
        agent.at_most = Some(Box::new(ceiling(raw, &endpoints, &required, &place, findings)));
    }
}

fn ceiling(
    raw: &document::AtMost,
    endpoints: &BTreeMap<&str, u32>,
    required: &BTreeSet<&str>,
    place: &Place,
    findings: &mut Findings,
) -> Ceiling {
    if raw.scopes.is_none() && raw.effects.is_none() && raw.endpoints.is_none() {
        findings
            .error(place.clone(), "nothing is restricted; write `scopes`, `effects` or `endpoints`, or remove this");
    }
    Ceiling {
        scopes: raw.scopes.as_deref().map(|own| scopes(own, required, &place.field("scopes"), findings)),
        effects: raw.effects.as_deref().map(|own| effects(own, &place.field("effects"), findings)),
        endpoints: raw.endpoints.as_deref().map(|own| positions(own, endpoints, &place.field("endpoints"), findings)),
    }
}

fn scopes(own: &[String], required: &BTreeSet<&str>, place: &Place, findings: &mut Findings) -> Box<[Box<str>]> {
    check_distinct("scope", own, place, findings);
    for (index, scope) in own.iter().enumerate() {
        let place = place.index(index);
        check_scope(scope, &place, findings);
        if !required.contains(scope.as_str()) {
            let otherwise = "remove it, or list the scopes that endpoints, operations and effects require";
            findings.warn(
                place,
                format!(
                    "nothing requires the scope `{}`; {}",
                    scope.escape_debug(),
                    did_you_mean(scope, required.iter().copied(), otherwise)
                ),
            );
        }
    }
    let sorted = sort::set(own.iter().map(String::as_str));
    sorted.into_iter().map(Into::into).collect()
}

fn effects(own: &[Effect], place: &Place, findings: &mut Findings) -> Box<[Effect]> {
    for (index, effect) in own.iter().enumerate() {
        if own.iter().take(index).any(|earlier| earlier == effect) {
            findings.error(place.index(index), format!("`{}` is listed twice; remove one", effect.name()));
        }
    }
    own.into()
}

fn positions(own: &[String], endpoints: &BTreeMap<&str, u32>, place: &Place, findings: &mut Findings) -> Box<[u32]> {
    check_distinct("endpoint", own, place, findings);
    let mut sorted = BTreeSet::new();
    for (index, id) in own.iter().enumerate() {
        match endpoints.get(id.as_str()) {
            Some(position) => {
                sorted.insert(*position);
            }
            None => findings.error(
                place.index(index),
                format!(
                    "unknown endpoint `{}`; {}",
                    id.escape_debug(),
                    did_you_mean(id, endpoints.keys().copied(), "expected the `id` of an endpoint")
                ),
            ),
        }
    }
    sorted.into_iter().collect()
}

/// Returns every scope that an effect, an endpoint or an operation requires.
fn required_scopes(document: &document::Document) -> BTreeSet<&str> {
    fn names(asked: &ScopesAsked) -> impl Iterator<Item = &str> {
        asked.all.iter().chain(&asked.any).map(String::as_str)
    }
    let of_effects = document.requirements.values().filter_map(|asked| asked.scopes.as_ref());
    let of_endpoints = document.endpoints.iter().filter_map(|endpoint| endpoint.scopes.as_ref());
    let operations = document.endpoints.iter().filter_map(|endpoint| endpoint.rpc.as_ref());
    let of_operations = operations.flat_map(|rpc| rpc.operations()).filter_map(|operation| operation.scopes);
    sort::set(of_effects.chain(of_endpoints).chain(of_operations).flat_map(names))
}

/// Compiles what an endpoint requires of its caller in addition to scopes and bindings. Returns `None` if that is nothing.
pub(super) fn of_endpoint(
    compiling: &Compiling<'_>,
    access: Access,
    authenticate: &[Authenticate],
    findings: &mut Findings,
) -> Option<Box<Reach>> {
    let Compiling { document, raw, place, names, .. } = compiling;
    let of_effect = document.requirements.get(&raw.effect);
    if access != Access::Known {
        check_public(raw, of_effect, place, findings);
        return None;
    }
    check_span(document, raw.max_age, &place.field("max_age"), findings);
    check_span(document, raw.max_lifetime, &place.field("max_lifetime"), findings);
    check_replaced(raw.max_age, of_effect.and_then(|asked| asked.max_age), &place.field("max_age"), findings);
    let lifetime = of_effect.and_then(|asked| asked.max_lifetime);
    check_replaced(raw.max_lifetime, lifetime, &place.field("max_lifetime"), findings);
    let span = |own: Option<Lifetime>, asked: Option<Lifetime>| {
        let own = own.map(|own| Span { most: own.duration(), origin: Origin::Endpoint });
        own.or_else(|| asked.map(|asked| Span { most: asked.duration(), origin: Origin::Effect(raw.effect) }))
    };
    let reach = Reach {
        agents: raw.agents.as_deref().map(|own| names.agents_of(own, &place.field("agents"), findings)),
        max_age: span(raw.max_age, of_effect.and_then(|asked| asked.max_age)),
        max_lifetime: span(raw.max_lifetime, of_effect.and_then(|asked| asked.max_lifetime)),
    };
    check_credentials(&reach, authenticate, &place.field("authenticate"), findings);
    reach.if_any()
}

/// Compiles what an operation requires of its caller in addition to what the endpoint requires. `endpoint` is compiled except for its
/// operations.
pub(super) fn of_operation(
    compiling: &Compiling<'_>,
    endpoint: &Endpoint,
    entry: &OperationEntry<'_>,
    place: &Place,
    findings: &mut Findings,
) -> Option<Box<Reach>> {
    // What the endpoint's own effect requires, or the endpoint instead, applies to every operation.
    let is_other = entry.effect != compiling.raw.effect;
    let asked = compiling.document.requirements.get(&entry.effect).filter(|_| is_other);
    let span =
        |most: Option<Lifetime>| most.map(|most| Span { most: most.duration(), origin: Origin::Effect(entry.effect) });
    let reach = Reach {
        agents: entry.agents.map(|own| compiling.names.agents_of(own, &place.field("agents"), findings)),
        max_age: span(asked.and_then(|asked| asked.max_age)),
        max_lifetime: span(asked.and_then(|asked| asked.max_lifetime)),
    };
    check_credentials(&reach, &endpoint.authenticate, &place.field("effect"), findings);
    let of_endpoint = endpoint.reach.as_ref().and_then(|reach| reach.agents.as_deref());
    if let (Some(own), Some(of_endpoint)) = (&reach.agents, of_endpoint)
        && !own.iter().any(|agent| of_endpoint.binary_search(agent).is_ok())
    {
        findings.warn(
            place.field("agents"),
            "none of these agents may use the endpoint, so nobody can use this; add them to `agents` of the endpoint",
        );
    }
    reach.if_any()
}

fn check_public(raw: &document::Endpoint, of_effect: Option<&Requirement>, place: &Place, findings: &mut Findings) {
    for (field, is_written) in [
        ("agents", raw.agents.is_some()),
        ("max_age", raw.max_age.is_some()),
        ("max_lifetime", raw.max_lifetime.is_some()),
    ] {
        if is_written {
            findings.error(
                place.field(field),
                format!("a public endpoint does not identify clients; remove `{field}` or `access: public`"),
            );
        }
    }
    let asked = [
        ("max_age", of_effect.is_some_and(|asked| asked.max_age.is_some())),
        ("max_lifetime", of_effect.is_some_and(|asked| asked.max_lifetime.is_some())),
    ];
    if let Some((field, _)) = asked.into_iter().find(|(_, is_asked)| *is_asked) {
        findings.error(
            place.field("effect"),
            format!(
                "this effect has `{field}`, but a public endpoint needs no token; remove `access: public` or choose another effect"
            ),
        );
    }
}

/// Rejects kinds of credentials that state neither when they were issued nor when they end, because such requests would always be denied.
/// A signature states when it was created.
fn check_credentials(reach: &Reach, kinds: &[Authenticate], place: &Place, findings: &mut Findings) {
    let field = match (reach.max_age, reach.max_lifetime) {
        (Some(_), _) => "max_age",
        (None, Some(_)) => "max_lifetime",
        (None, None) => return,
    };
    let has_times = |kind: &&Authenticate| **kind == Authenticate::Token || kind.is_signature();
    for kind in kinds.iter().filter(|kind| !has_times(kind)) {
        findings.error(
            place.clone(),
            format!(
                "a caller with `{kind}` has no token, so its requests would always be denied by `{field}`; remove `{kind}` from \
                 `authenticate`, or `{field}`",
                kind = kind.name()
            ),
        );
    }
}

/// Checks the maximums of all effects.
pub(super) fn check_requirements(document: &document::Document, findings: &mut Findings) {
    for (effect, asked) in &document.requirements {
        let place = Place::root().field("requirements").field(effect.name());
        check_span(document, asked.max_age, &place.field("max_age"), findings);
        check_span(document, asked.max_lifetime, &place.field("max_lifetime"), findings);
    }
}

fn check_span(document: &document::Document, most: Option<Lifetime>, place: &Place, findings: &mut Findings) {
    let Some(most) = most.map(Lifetime::duration) else { return };
    let longest = document.issuers.values().map(|issuer| issuer.max_lifetime.duration()).max();
    if most.is_zero() {
        findings.error(place.clone(), "invalid duration `0`; expected at least `1s`");
    } else if longest.is_some_and(|longest| most >= longest) {
        findings.warn(
            place.clone(),
            "no issuer accepts tokens that exceed this, so it has no effect; write less than the `max_lifetime` of the issuers",
        );
    }
}

/// Warns about a maximum of an endpoint that is more than the one of its effect, which it replaces.
fn check_replaced(own: Option<Lifetime>, of_effect: Option<Lifetime>, place: &Place, findings: &mut Findings) {
    if let (Some(own), Some(of_effect)) = (own, of_effect)
        && own.duration() > of_effect.duration()
    {
        findings.warn(
            place.clone(),
            "this is more than the requirements of this effect permit, and replaces them; write less, or keep it if this endpoint is an \
             exception",
        );
    }
}

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;

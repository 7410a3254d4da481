//! What a caller sees of the lists in the answers of an MCP server.

use std::cell::RefCell;

use super::Allow;
use crate::allowlist::operations::{ListKind, Operation, Rpc};
use crate::document::RpcList;
use crate::policy::{Endpoint, Policy};
use crate::quota::held::{HeldBytes, Reservation};
use crate::request::incoming::{DecisionId, Source};
use crate::request::json::Json;
use crate::response::list::{Listed, Shown};
use crate::response::pin::Pin;

/// What a caller sees of the lists in the answer to its request. It outlives the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListRules {
    /// The position of the endpoint in the policy.
    endpoint: u32,
    /// The id of the request, in JSON.
    id: Option<Box<str>>,
    /// The id of the decision about the request.
    decision: DecisionId,
    /// The places of the operations that the caller does not see, although they are listed.
    hidden: Vec<Box<str>>,
    /// The position of the agent in the policy.
    agent: Option<u32>,
    source: Option<Source>,
}

impl<'a> Allow<'a> {
    /// Returns whether the lists in the answer are filtered. In observation they are not.
    pub(crate) fn filters_lists(&self) -> bool {
        let rpc = self.facts.endpoint.and_then(|endpoint| endpoint.rpc.as_ref());
        rpc.is_some_and(|rpc| rpc.filters_lists()) && !self.facts.is_observed()
    }

    /// Returns what the caller sees of the lists in the answer. `None` if they are not filtered.
    pub(crate) fn list_rules(&self) -> Option<ListRules> {
        let facts = &self.facts;
        let endpoint = facts.endpoint.filter(|_| self.filters_lists())?;
        let rpc = endpoint.rpc.as_ref()?;
        let only_granted = rpc.list == RpcList::Granted;
        let hides = |operation: &&'a Operation| {
            facts.caller.as_ref().is_none_or(|caller| {
                !caller.reaches(operation) || only_granted && operation.scopes.missing(caller).is_some()
            })
        };
        let hidden = rpc.operations().filter(hides).map(|operation| operation.place.clone()).collect();
        let id = facts.rpc.as_ref().and_then(|known| known.id.clone());
        Some(ListRules {
            endpoint: endpoint.position,
            id,
            decision: facts.request.id,
            hidden,
            agent: facts.agent.map(|agent| agent.position),
            source: facts.request.source,
        })
    }
}

impl ListRules {
    /// Returns the id of the request, in JSON.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Returns the id of the decision about the request.
    pub(crate) fn decision(&self) -> DecisionId {
        self.decision
    }

    /// Returns the endpoint and its operations.
    pub(crate) fn endpoint<'p>(&self, policy: &'p Policy) -> Option<(&'p Endpoint, &'p Rpc)> {
        let endpoint = policy.endpoints.list.get(usize::try_from(self.endpoint).ok()?)?;
        Some((endpoint, endpoint.rpc.as_deref()?))
    }

    /// Returns a reservation of no bytes for the answer, in the shares of the agent and the source of the request.
    pub(crate) fn reservation(&self, policy: &Policy, held: &HeldBytes) -> Reservation {
        let agent = self.agent.and_then(|agent| policy.agents.get(agent)).map_or("", |agent| &*agent.name);
        held.reserve_nothing(Some((&*policy.name, agent)), self.source, policy.held_bodies.shares)
    }
}

/// Decides about the items of lists, and notes which definitions match their pins.
pub(crate) struct VisibleItems<'p> {
    rules: &'p ListRules,
    rpc: &'p Rpc,
    /// The operations with pins that were listed, each with whether its definition matched none of them.
    seen: RefCell<Vec<(&'p Operation, bool)>>,
}

impl<'p> VisibleItems<'p> {
    pub(crate) fn new(rules: &'p ListRules, rpc: &'p Rpc) -> Self {
        Self { rules, rpc, seen: RefCell::default() }
    }

    /// Returns the operations with pins that were listed, each with whether its definition matched none of them.
    pub(crate) fn seen(self) -> Vec<(&'p Operation, bool)> {
        self.seen.into_inner()
    }

    /// Notes whether a definition changed. If a server lists a tool twice, one changed definition counts.
    fn note(&self, operation: &'p Operation, changed: bool) {
        let mut seen = self.seen.borrow_mut();
        match seen.iter_mut().find(|(own, _)| std::ptr::eq(*own, operation)) {
            Some((_, before)) => *before |= changed,
            None => seen.push((operation, changed)),
        }
    }
}

impl Listed for VisibleItems<'_> {
    fn shows(&self, kind: ListKind, name: &str, definition: Json<'_>) -> Shown {
        let Some(operation) = self.rpc.listed(kind, name) else { return Shown::No };
        if !operation.pins.is_empty() {
            let changed = Pin::of(definition).map_or(true, |pin| !operation.pins.contains(&pin.0));
            self.note(operation, changed);
            if changed {
                return Shown::Changed;
            }
        }
        if self.rules.hidden.contains(&operation.place) { Shown::No } else { Shown::Yes }
    }

    fn is_changed_by_spelling(&self, kind: ListKind, name: &str) -> bool {
        let Some(operation) = self.rpc.listed(kind, name).filter(|operation| !operation.pins.is_empty()) else {
            return false;
        };
        self.note(operation, true);
        true
    }
}

//! What is known about the message of a request to an endpoint with operations.

use crate::allowlist::operations::{Operation, OperationKind, Requested};
use crate::policy::Endpoint;
use crate::quota::{Limit, LimitKey};

/// The parts of a message that decisions, answers and records need. They are set as soon as they were read, so the answer to a message that
/// is rejected later has its id.
#[derive(Debug, Clone, Default)]
pub(crate) struct RpcFacts<'a> {
    /// The id in JSON, exactly as sent. `None` for notifications, and if the message could not be read.
    pub(crate) id: Option<Box<str>>,
    /// The method. `None` if there is no message with a method.
    pub(crate) method: Option<Box<str>>,
    /// What the message names, even if it is not listed. Of several resources, one.
    pub(crate) named: Option<(OperationKind, Box<str>)>,
    /// The number of resources that a subscription names.
    pub(crate) resources: usize,
    /// The revision that the message asks for and that the endpoint does not list.
    pub(crate) unlisted_revision: Option<Box<str>>,
    /// The operations that the message uses, each once, with how often it uses them.
    pub(crate) operations: Vec<(&'a Operation, u32)>,
    /// The operations for whose scopes the answer asks, because the caller lacks some of them.
    pub(crate) asked: Vec<&'a Operation>,
    /// The limits to charge.
    pub(crate) charges: Vec<Charge<'a>>,
    /// The number of requests that the message counts as.
    pub(crate) cost: u32,
}

/// A limit that a message is charged to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Charge<'a> {
    /// The limit's position in the policy.
    pub(crate) limit: u32,
    /// The operation, if the limit counts each separately.
    pub(crate) operation: Option<&'a Operation>,
    /// The number of requests that the message counts as for this limit: the costs of the operations that it counts.
    pub(crate) cost: u32,
}

impl<'a> RpcFacts<'a> {
    /// Determines which limits a message is charged to: those of the endpoint, and those of the operations that it uses or of messages that
    /// use none. `limits` has all limits of the policy. Each limit is charged only for the operations to which it applies.
    pub(crate) fn charge(&mut self, endpoint: &'a Endpoint, lifecycle_limits: &[u32], limits: &[Limit]) {
        self.charges.clear();
        if self.operations.is_empty() {
            self.cost = endpoint.cost;
            endpoint.limits.iter().chain(lifecycle_limits).for_each(|limit| self.add(*limit, None, endpoint.cost));
            return;
        }
        self.cost = 0;
        for (operation, uses) in self.operations.clone() {
            let cost = operation.cost.saturating_mul(uses);
            self.cost = self.cost.saturating_add(cost);
            for limit in endpoint.limits.iter().chain(&operation.limits) {
                let known = usize::try_from(*limit).ok().and_then(|position| limits.get(position));
                let is_separate = known.is_some_and(|limit| limit.per.has(LimitKey::TOOL));
                self.add(*limit, is_separate.then_some(operation), cost);
            }
        }
    }

    /// Adds a charge to those of the same limit and operation.
    fn add(&mut self, limit: u32, operation: Option<&'a Operation>, cost: u32) {
        let is_same = |other: Option<&Operation>| match (other, operation) {
            (Some(other), Some(operation)) => std::ptr::eq(other, operation),
            (None, None) => true,
            _ => false,
        };
        match self.charges.iter_mut().find(|charge| charge.limit == limit && is_same(charge.operation)) {
            Some(charge) => charge.cost = charge.cost.saturating_add(cost),
            None => self.charges.push(Charge { limit, operation, cost }),
        }
    }

    /// Notes the operations that a message uses. Each resource of a subscription is a use.
    pub(crate) fn uses(&mut self, requested: &Requested<'a, '_>) {
        self.operations.clear();
        if let Requested::Operations(found) = requested {
            for (operation, _) in found {
                match self.operations.iter_mut().find(|(own, _)| std::ptr::eq(*own, *operation)) {
                    Some((_, uses)) => *uses = uses.saturating_add(1),
                    None => self.operations.push((*operation, 1)),
                }
            }
        }
    }

    /// Notes that the caller lacks scopes of an operation. The answer also asks for those of the other operations that the message uses: a
    /// client that asks for a new token with only some of them would lack the others next.
    pub(crate) fn lacks(&mut self, operation: &'a Operation) {
        self.asked.clear();
        self.asked.push(operation);
        self.asked.extend(self.operations.iter().map(|(operation, _)| *operation));
    }

    /// Returns whether the message is a request that could be read, which is answered with its id.
    pub(crate) fn is_request(&self) -> bool {
        self.id.is_some()
    }
}

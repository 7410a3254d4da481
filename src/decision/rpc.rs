//! What is known about the message of a request to an endpoint with operations.

use crate::allowlist::operations::{Operation, OperationKind, Requested};
use crate::policy::Endpoint;

/// The parts of a message that decisions, answers and records need. They are set as soon as they were read, so the answer to a message that
/// is rejected later has its id.
#[derive(Debug, Clone, Default)]
pub(crate) struct RpcFacts<'a> {
    /// The id in JSON, exactly as sent. `None` for notifications, and if the message could not be read.
    pub(crate) id: Option<Box<str>>,
    /// The method. `None` if there is no message with a method.
    pub(crate) method: Option<Box<str>>,
    /// What the message names, even if it is not listed.
    pub(crate) named: Option<(OperationKind, Box<str>)>,
    /// The revision that the message asks for and that the endpoint does not list.
    pub(crate) unlisted_revision: Option<Box<str>>,
    /// The operations that the message uses.
    pub(crate) operations: Vec<&'a Operation>,
    /// The operations for whose scopes the answer asks, because the caller lacks some of them.
    pub(crate) asked: Vec<&'a Operation>,
    /// The limits to charge, by their positions in the policy, each with the operation by which it may count.
    pub(crate) limits: Vec<(u32, Option<&'a Operation>)>,
    /// The number of requests that the message counts as.
    pub(crate) cost: u32,
}

impl<'a> RpcFacts<'a> {
    /// Determines which limits a message is charged to: those of the endpoint, and those of the operations that it uses or of messages that
    /// use none.
    pub(crate) fn charge(&mut self, endpoint: &'a Endpoint, lifecycle_limits: &[u32]) {
        self.limits.clear();
        if self.operations.is_empty() {
            self.cost = endpoint.cost;
            endpoint.limits.iter().chain(lifecycle_limits).for_each(|limit| self.add(*limit, None));
            return;
        }
        let costs = self.operations.iter().map(|operation| operation.cost);
        self.cost = costs.fold(0, u32::saturating_add);
        for operation in self.operations.clone() {
            endpoint.limits.iter().chain(&operation.limits).for_each(|limit| self.add(*limit, Some(operation)));
        }
    }

    /// Adds a limit, unless it is charged already with the same operation.
    fn add(&mut self, limit: u32, operation: Option<&'a Operation>) {
        let is_same = |other: &Option<&Operation>| match (other, operation) {
            (Some(other), Some(operation)) => std::ptr::eq(*other, operation),
            (None, None) => true,
            _ => false,
        };
        if !self.limits.iter().any(|(own, other)| *own == limit && is_same(other)) {
            self.limits.push((limit, operation));
        }
    }

    /// Notes the operations that a message uses.
    pub(crate) fn uses(&mut self, requested: &Requested<'a, '_>) {
        self.operations.clear();
        if let Requested::Operations(found) = requested {
            for (operation, _) in found {
                if !self.operations.iter().any(|own| std::ptr::eq(*own, *operation)) {
                    self.operations.push(operation);
                }
            }
        }
    }

    /// Notes that the caller lacks scopes of an operation. The answer also asks for those of the other operations that the message uses: a
    /// client that asks for a new token with only some of them would lack the others next.
    pub(crate) fn lacks(&mut self, operation: &'a Operation) {
        self.asked.clear();
        self.asked.push(operation);
        self.asked.extend(&self.operations);
    }

    /// Returns whether the message is a request that could be read, which is answered with its id.
    pub(crate) fn is_request(&self) -> bool {
        self.id.is_some()
    }
}

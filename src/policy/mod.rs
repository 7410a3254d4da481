//! The policy: from the document that a person writes to lookups that are ready to run.
//!
//! [`raw`] is the document as written, [`Policy`] what the evaluation uses; nothing in here sees a request.

mod agents;
mod bindings;
mod compile;
mod endpoints;
mod error;
mod expiry;
mod names;
pub mod raw;
mod scalar;
mod version;

pub use agents::Agent;
pub use compile::Compiled;
pub use endpoints::Endpoint;
pub use error::{Finding, Findings, Place};
pub use scalar::Lifetime;

pub(crate) use agents::Agents;
pub(crate) use endpoints::{Access, Endpoints};
pub(crate) use names::is_token;

use crate::endpoint::Table;
use crate::token::Issuers;

/// A policy that compiled: whatever it refers to exists, and no two endpoints can match the same call.
#[derive(Debug)]
pub struct Policy {
    /// The policy's name.
    pub name: Box<str>,
    /// SHA-256 over the document's canonical JSON (RFC 8785), in hexadecimal digits.
    pub version: Box<str>,
    /// Name and the version's first twelve digits, as the upstream is told.
    pub(crate) label: Box<str>,
    pub(crate) observe: bool,
    pub(crate) resource: Box<str>,
    pub(crate) passes_preflight: bool,
    pub(crate) overrides: raw::Overrides,
    pub(crate) refuse_query: Vec<Box<str>>,
    pub(crate) takes_unregistered: bool,
    pub(crate) issuers: Issuers,
    pub(crate) agents: Agents,
    pub(crate) endpoints: Endpoints,
    pub(crate) keeps_authorization: bool,
    pub(crate) prefix: Box<str>,
    pub(crate) logs_allow: bool,
    pub(crate) logs_deny: bool,
}

impl Policy {
    /// The allowlist of a host; none where the policy does not answer for it.
    pub(crate) fn table(&self, host: &str) -> Option<&Table> {
        self.endpoints.table(host)
    }

    /// The endpoints, in the order of the document.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints.list
    }

    /// How many agents are registered.
    #[must_use]
    pub fn agents(&self) -> usize {
        self.agents.iter().len()
    }

    /// Whether a record of this outcome also goes to the gateway's own log.
    #[must_use]
    pub fn logs(&self, denied: bool) -> bool {
        if denied { self.logs_deny } else { self.logs_allow }
    }
}

#[cfg(test)]
mod tests;

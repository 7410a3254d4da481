//! The nested allowlist of an endpoint with `rpc`: its operations, and the lookup that finds those which a message names.
//!
//! Whether the caller may use an operation does not belong here, except for the bindings: a lookup returns the parts of the message that
//! bindings compare.

mod find;
pub(crate) mod methods;
mod parts;
mod resources;

pub(crate) use parts::Parts;
pub(crate) use resources::{Lookup, Resources, UriTemplate};

use super::binding::Binding;
use super::reach::Reach;
use super::scopes::ScopesWanted;
use crate::document::{DelegationAsked, Effect, McpRevision, RpcDenials, RpcList, RpcProtocol};
use crate::reason::Reason;
use crate::request::headers::{Headers, name_is};
use crate::request::json::pointer::Pointer;
use crate::request::rpc::RpcFault;
use crate::request::rpc::headers::McpHeaders;
use crate::request::rpc::revision;

/// The operations of an endpoint, and how its messages are read and answered.
#[derive(Debug)]
pub(crate) struct Rpc {
    pub(crate) protocol: RpcProtocol,
    /// The listed revisions of MCP. Empty for other protocols.
    pub(crate) revisions: Vec<McpRevision>,
    /// The accepted values of `Origin`.
    pub(crate) origins: Vec<Box<str>>,
    pub(crate) denials: RpcDenials,
    /// Whether clients may send responses to requests of the server.
    pub(crate) client_responses: bool,
    pub(crate) list: RpcList,
    /// The maximum size of an answer or event whose lists are filtered, in bytes.
    pub(crate) max_answer: usize,
    /// The limits of requests that name no operation, in addition to those of the endpoint, by their positions in the policy.
    pub(crate) lifecycle_limits: Vec<u32>,
    pub(crate) tools: Vec<Operation>,
    pub(crate) resources: Resources,
    pub(crate) prompts: Vec<Operation>,
    pub(crate) methods: Vec<Operation>,
}

/// An entry of the nested allowlist.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) kind: OperationKind,
    /// The name. For resources, the URI or its template as the policy writes it.
    pub(crate) name: Box<str>,
    pub(crate) effect: Effect,
    /// The scopes that the operation needs in addition to those of the endpoint. In their origins, the operation is the endpoint.
    pub(crate) scopes: ScopesWanted,
    pub(crate) bindings: Vec<Binding>,
    /// The limits that apply in addition to those of the endpoint, by their positions in the policy.
    pub(crate) limits: Vec<u32>,
    /// The number of requests that one use counts as, for the limits of the endpoint too.
    pub(crate) cost: u32,
    /// The headers that repeat an argument: what follows `Mcp-Param-` in the name, and the pointer to the argument.
    pub(crate) headers: Vec<(Box<str>, Pointer)>,
    /// The hashes of the accepted definitions. Empty if every definition is accepted.
    pub(crate) pins: Vec<[u8; 32]>,
    /// The place in the policy, such as `endpoints[3].rpc.tools[0]`.
    pub(crate) place: Box<str>,
    /// Whether requests for somebody else are accepted, if the requirements of its effect state it. The endpoint decides too.
    pub(crate) delegation: Option<DelegationAsked>,
    /// Who may use it, and how fresh the token must be, in addition to what the endpoint requires. `None` if nothing is required.
    pub(crate) reach: Option<Box<Reach>>,
}

/// The kind of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OperationKind {
    Tool,
    Resource,
    Prompt,
    Method,
}

impl OperationKind {
    /// Returns the name of the kind, for records and keys of limits.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Prompt => "prompt",
            Self::Method => "method",
        }
    }
}

/// A list of an MCP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListKind {
    /// The result of `tools/list`.
    Tools,
    /// The result of `resources/list`.
    Resources,
    /// The result of `resources/templates/list`.
    ResourceTemplates,
    /// The result of `prompts/list`.
    Prompts,
}

/// What a message asks for.
#[derive(Debug)]
pub(crate) enum Requested<'p, 't> {
    /// The use of these operations, at least one. The message is allowed if all of them are.
    Operations(Vec<(&'p Operation, Parts<'t>)>),
    /// Something that belongs to the connection.
    Lifecycle,
    /// A list.
    List(ListKind),
}

impl Rpc {
    /// Returns whether the lists in its answers are filtered.
    pub(crate) fn filters_lists(&self) -> bool {
        self.protocol == RpcProtocol::Mcp && self.list != RpcList::Unfiltered
    }

    /// Iterates over all operations.
    pub(crate) fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.tools.iter().chain(self.resources.iter()).chain(&self.prompts).chain(&self.methods)
    }

    /// Returns the operation to which an entry of the server's list belongs, by the name of a tool or prompt, or by the `uri` or
    /// `uriTemplate` of a resource.
    pub(crate) fn listed(&self, kind: ListKind, name: &str) -> Option<&Operation> {
        match kind {
            ListKind::Tools => named(&self.tools, name),
            ListKind::Prompts => named(&self.prompts, name),
            ListKind::Resources => self.resources.find(name).map(|(operation, _)| operation),
            ListKind::ResourceTemplates => self.resources.of_template(name),
        }
    }

    /// Checks that a request comes from a listed web page, or from none.
    ///
    /// # Errors
    /// [`Reason::OriginNotAllowed`] for another `Origin`, and for more than one.
    pub(crate) fn check_origin(&self, headers: &Headers) -> Result<(), Reason> {
        let mut lines = headers.as_long_as(b"origin").filter(|(name, _)| name_is(name, "origin"));
        let is_listed = |value: &[u8]| self.origins.iter().any(|origin| origin.as_bytes() == value.trim_ascii());
        match (lines.next(), lines.next()) {
            (None, _) => Ok(()),
            (Some((_, value)), None) if is_listed(value) => Ok(()),
            _ => Err(Reason::OriginNotAllowed),
        }
    }

    /// Checks a request of a session, which has no message: `GET` and `DELETE`.
    ///
    /// # Errors
    /// [`Reason::RpcRevision`] for a revision that is not listed, [`Reason::SessionMethod`] for one without sessions, and
    /// [`Reason::RpcHeaderMismatch`] if a header names a method or an operation.
    pub(crate) fn check_session(&self, headers: &McpHeaders<'_>) -> Result<(), Reason> {
        let revision = revision::of_session(headers, &self.revisions).map_err(RpcFault::reason)?;
        if revision.is_stateless() {
            return Err(Reason::SessionMethod);
        }
        headers.name_nothing().map_err(RpcFault::reason)
    }

    /// Checks a client's response to a request of the server.
    ///
    /// # Errors
    /// [`Reason::ClientResponse`] if the endpoint or the revision allows none, [`Reason::RpcRevision`] for a revision that is not listed,
    /// and [`Reason::RpcHeaderMismatch`] if a header names a method or an operation.
    pub(crate) fn check_response(&self, headers: &McpHeaders<'_>) -> Result<(), Reason> {
        if !self.client_responses {
            return Err(Reason::ClientResponse);
        }
        let revision = revision::of_session(headers, &self.revisions).map_err(RpcFault::reason)?;
        if revision.is_stateless() {
            return Err(Reason::ClientResponse);
        }
        headers.name_nothing().map_err(RpcFault::reason)
    }
}

/// Returns the operation with this name, compared byte for byte.
fn named<'p>(operations: &'p [Operation], name: &str) -> Option<&'p Operation> {
    operations.iter().find(|operation| *operation.name == *name)
}

#[cfg(test)]
mod tests;

//! The operations that a message names.

use std::borrow::Cow;

use super::methods::{Needs, is_notification, needs};
use super::{Operation, Parts, Requested, Rpc, named};
use crate::document::{McpRevision, RpcProtocol};
use crate::reason::Reason;
use crate::request::json::{Json, JsonFault};
use crate::request::rpc::{RpcFault, RpcRequest};

/// The maximum number of resources that one `subscriptions/listen` names, because each of them is checked.
const MOST_SUBSCRIPTIONS: usize = 64;

impl Rpc {
    /// Finds the operations that a request or notification names. `revision` is `None` for protocols without revisions.
    ///
    /// # Errors
    /// [`Reason::OperationNotAllowed`] if an operation is not listed, or the message names none where its method needs one.
    /// [`Reason::RpcMalformed`] if the parameters are an array and the protocol or a binding needs an object, or if a name that decides has
    /// another spelling.
    pub(crate) fn find<'p, 't>(
        &'p self,
        revision: Option<McpRevision>,
        request: &RpcRequest<'t>,
    ) -> Result<Requested<'p, 't>, Reason> {
        let is_positional = request.params.is_some_and(Json::is_array);
        let needs = match (self.protocol, revision) {
            (RpcProtocol::JsonRpc, _) => return self.entry(request, is_positional),
            (RpcProtocol::Mcp, None) => return Err(Reason::OperationNotAllowed),
            (RpcProtocol::Mcp, Some(revision)) => needs(revision, &request.method),
        };
        if is_positional {
            return Err(Reason::RpcMalformed);
        }
        // Otherwise a server could run `tools/call` for a message without an id, which gets no answer.
        if is_notification(&request.method) == request.id.is_some() {
            return Err(Reason::OperationNotAllowed);
        }
        let found = match needs {
            Needs::Lifecycle => return Ok(Requested::Lifecycle),
            Needs::List(kind) => return Ok(Requested::List(kind)),
            Needs::Server => None,
            Needs::Entry => return self.entry(request, is_positional),
            Needs::Tool => with_arguments(&self.tools, request).map_err(RpcFault::reason)?,
            Needs::Prompt => with_arguments(&self.prompts, request).map_err(RpcFault::reason)?,
            Needs::Resource => self.resource(request.text_param("uri").map_err(RpcFault::reason)?),
            Needs::Reference => self.reference(request).map_err(RpcFault::reason)?,
            Needs::Subscriptions => return self.subscriptions(request),
        };
        found.map(|found| Requested::Operations(vec![found])).ok_or(Reason::OperationNotAllowed)
    }

    /// Finds a method under `methods`.
    fn entry<'p, 't>(&'p self, request: &RpcRequest<'t>, is_positional: bool) -> Result<Requested<'p, 't>, Reason> {
        let operation = named(&self.methods, &request.method).ok_or(Reason::OperationNotAllowed)?;
        // A pointer such as `/0` would lead to an item of an array and to a member of an object.
        if is_positional && !operation.bindings.is_empty() {
            return Err(Reason::RpcMalformed);
        }
        let parts = Parts { params: request.params, ..Parts::default() };
        Ok(Requested::Operations(vec![(operation, parts)]))
    }

    fn resource<'t>(&self, uri: Option<Cow<'_, str>>) -> Option<(&Operation, Parts<'t>)> {
        let (operation, captures) = self.resources.find(&uri?)?;
        Some((operation, Parts { captures, ..Parts::default() }))
    }

    /// Finds what a `completion/complete` refers to. Its values are incomplete and elsewhere than in other requests. Bindings to
    /// arguments therefore never hold, and those to variables only if the reference is a URI instead of a template.
    fn reference<'p, 't>(&'p self, request: &RpcRequest<'t>) -> Result<Option<(&'p Operation, Parts<'t>)>, RpcFault> {
        let Some(reference) = request.param("ref")? else { return Ok(None) };
        let text = |name| Ok::<_, RpcFault>(reference.member(name)?.and_then(Json::string));
        Ok(match text("type")?.as_deref() {
            Some("ref/prompt") => {
                let operation = text("name")?.and_then(|name| named(&self.prompts, &name));
                operation.map(|operation| (operation, Parts::default()))
            }
            Some("ref/resource") => {
                let Some(uri) = text("uri")? else { return Ok(None) };
                let of_template = || Some((self.resources.of_template(&uri)?, Parts::default()));
                self.resource(Some(Cow::Borrowed(&*uri))).or_else(of_template)
            }
            _ => None,
        })
    }

    /// Finds the resources to which a `subscriptions/listen` subscribes. Notifications about lists name no operation.
    fn subscriptions<'p, 't>(&'p self, request: &RpcRequest<'t>) -> Result<Requested<'p, 't>, Reason> {
        let ambiguous = |fault: JsonFault| RpcFault::from(fault).reason();
        let filter = request.param("notifications").map_err(RpcFault::reason)?;
        let Some(filter) = filter.filter(|filter| filter.is_object()) else { return Err(Reason::RpcMalformed) };
        let Some(resources) = filter.member("resourceSubscriptions").map_err(ambiguous)? else {
            return Ok(Requested::Lifecycle);
        };
        if !resources.is_array() {
            return Err(Reason::RpcMalformed);
        }
        let mut found = Vec::new();
        for uri in resources.items() {
            let resource = self.resource(uri.string()).filter(|_| found.len() < MOST_SUBSCRIPTIONS);
            found.push(resource.ok_or(Reason::OperationNotAllowed)?);
        }
        Ok(if found.is_empty() { Requested::Lifecycle } else { Requested::Operations(found) })
    }

    /// Returns what a record shows of a `subscriptions/listen`: the first of its resources that is not listed, or else the first, and the number
    /// of its resources. Returns `None` if it names none.
    pub(crate) fn subscribed<'t>(&self, request: &RpcRequest<'t>) -> Option<(Cow<'t, str>, usize)> {
        // Another spelling of a name is rejected when the operations are looked up.
        let filter = request.param("notifications").ok().flatten()?;
        let resources = filter.member("resourceSubscriptions").ok().flatten()?;
        // No more of them are looked up in any case.
        let uris = || resources.items().take(MOST_SUBSCRIPTIONS + 1).filter_map(Json::string);
        let unlisted = uris().find(|uri| self.resources.find(uri).is_none());
        Some((unlisted.or_else(|| uris().next())?, resources.items().count()))
    }
}

/// Finds the tool or prompt in `params.name`.
fn with_arguments<'p, 't>(
    operations: &'p [Operation],
    request: &RpcRequest<'t>,
) -> Result<Option<(&'p Operation, Parts<'t>)>, RpcFault> {
    let arguments = request.arguments()?;
    let operation = request.text_param("name")?.and_then(|name| named(operations, &name));
    Ok(operation.map(|operation| (operation, Parts { arguments, ..Parts::default() })))
}

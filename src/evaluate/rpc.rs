//! Checks the message of an endpoint with operations: that it is one message whose headers agree with it, that the operations which it uses
//! are listed, and that the caller may use them.
//!
//! How messages are read and operations are found does not belong here.

use super::content::ExpectedContent;
use super::{CheckDetails, Denied, Evaluation};
use crate::allowlist::Origin;
use crate::allowlist::operations::{Operation, OperationKind, Parts, Requested, Rpc};
use crate::decision::evidence::OperationAllowed;
use crate::decision::trace::Check;
use crate::decision::{Caller, RpcFacts, Rule};
use crate::document::{McpRevision, RpcProtocol};
use crate::policy::{Content, Endpoint};
use crate::reason::Reason;
use crate::request::json::Json;
use crate::request::rpc::headers::{McpHeaders, agree_with_arguments};
use crate::request::rpc::{self, Message, RpcFault, RpcRequest, revision};
use crate::state::{Flag, Shared, StoreError};

impl<'a> Evaluation<'a, '_> {
    /// Checks the headers of a request to an endpoint with operations. Requests of a session, `GET` and `DELETE`, have no body.
    pub(super) fn rpc_form(
        &mut self,
        endpoint: &'a Endpoint,
        rpc: &'a Rpc,
        content: &'a Content,
    ) -> Result<ExpectedContent<'a>, Denied> {
        let headers = self.facts.request.headers;
        let is_post = self.facts.method.is_some_and(|method| method.as_str() == "POST");
        let result = rpc.check_origin(headers).and_then(|()| {
            if is_post {
                return Ok(());
            }
            rpc.check_session(&McpHeaders::read(headers).map_err(RpcFault::reason)?)
        });
        let mut known = RpcFacts::default();
        // What a message in the body charges is not known yet.
        let limits = &self.facts.policy.limits.list;
        known.charge(endpoint, if is_post { &[] } else { &rpc.lifecycle_limits }, limits);
        self.facts.rpc = Some(Box::new(known));
        let rule = rpc_rule(endpoint, result.as_ref().err());
        if self.record_check(Check::Message, rule, result, |()| CheckDetails::new())?.is_none() {
            return Ok(ExpectedContent::Unread);
        }
        Ok(if is_post { ExpectedContent::Json(content) } else { ExpectedContent::Nothing })
    }

    /// Checks what a request to an endpoint with operations asks for. `json` is its body.
    pub(super) fn operation(
        &mut self,
        endpoint: &'a Endpoint,
        expected: ExpectedContent<'a>,
        json: Option<Json<'_>>,
    ) -> Result<Option<OperationAllowed>, Denied> {
        let Some(rpc) = &endpoint.rpc else { return Ok(Some(OperationAllowed::assertion())) };
        let requested = match expected {
            ExpectedContent::Json(_) => match self.message(endpoint, rpc, json)? {
                Some(requested) => requested,
                None => return Ok(None),
            },
            ExpectedContent::Nothing => Requested::Lifecycle,
            ExpectedContent::Any | ExpectedContent::Unread => return Ok(None),
        };
        let Some(caller) = &self.facts.caller else { return Ok(None) };
        let Requested::Operations(found) = requested else {
            // Who can use nothing needs no session and no list.
            let lacking = if usable(rpc, caller) { None } else { least(rpc, caller) };
            if rpc.operations().next().is_none() {
                let (rule, denied) = (rpc_rule(endpoint, None), Err::<(), _>(Reason::OperationNotAllowed));
                self.record_check(Check::Message, rule, denied, |()| CheckDetails::new())?;
                return Ok(None);
            }
            if let Some(operation) = lacking
                && (!self.keep_from(operation)? || !self.operation_delegation(operation)?)
            {
                return Ok(None);
            }
            return Ok(self
                .granted(endpoint, lacking, lacking.map(|_| Origin::Endpoint))?
                .then(OperationAllowed::assertion));
        };
        let mut all_allowed = true;
        for (operation, parts) in &found {
            all_allowed &= self.operation_reach(endpoint, operation)?;
            let missing = self.facts.caller.as_ref().and_then(|caller| operation.scopes.missing(caller));
            all_allowed &= self.operation_delegation(operation)?;
            all_allowed &= self.granted(endpoint, Some(operation), missing)?;
            all_allowed &= self.operation_bindings(operation, parts)?;
        }
        Ok(all_allowed.then(OperationAllowed::assertion))
    }

    /// Reads the message, and finds what it asks for.
    fn message<'t>(
        &mut self,
        endpoint: &'a Endpoint,
        rpc: &'a Rpc,
        json: Option<Json<'t>>,
    ) -> Result<Option<Requested<'a, 't>>, Denied> {
        let mut known = RpcFacts::default();
        let found =
            json.ok_or(Reason::RpcMalformed).and_then(|json| self.read_message(endpoint, rpc, json, &mut known));
        if let Ok(requested) = &found {
            known.uses(requested);
        }
        known.charge(endpoint, &rpc.lifecycle_limits, &self.facts.policy.limits.list);
        let details = self.context.trace.is_some().then(|| describe(&known, found.as_ref().ok()));
        self.facts.rpc = Some(Box::new(known));
        let rule = rpc_rule(endpoint, found.as_ref().err());
        self.record_check_with_details(Check::Message, rule, found, details.unwrap_or_default())
    }

    /// Reads the message. `known` receives what is known about it, even if it is rejected.
    fn read_message<'t>(
        &self,
        endpoint: &Endpoint,
        rpc: &'a Rpc,
        json: Json<'t>,
        known: &mut RpcFacts<'a>,
    ) -> Result<Requested<'a, 't>, Reason> {
        let headers = self.facts.request.headers;
        let is_mcp = rpc.protocol == RpcProtocol::Mcp;
        let request = match rpc::read(json).map_err(RpcFault::reason)? {
            Message::Request(request) | Message::Notification(request) => request,
            Message::Response if is_mcp => {
                let sent = McpHeaders::read(headers).map_err(RpcFault::reason)?;
                return rpc.check_response(&sent).map(|()| Requested::Lifecycle).inspect_err(|reason| {
                    if *reason == Reason::RpcRevision {
                        known.unlisted_revision =
                            revision::unlisted(&sent, None, &rpc.revisions).map(|version| version.as_ref().into());
                    }
                });
            }
            Message::Response => return Err(Reason::ClientResponse),
        };
        known.id = request.id.map(|id| id.text().into());
        known.method = Some(request.method.as_ref().into());
        if !is_mcp {
            return rpc.find(None, &request);
        }
        known.named = named(&request).map_err(RpcFault::reason)?;
        if request.method == "subscriptions/listen"
            && let Some((uri, resources)) = rpc.subscribed(&request)
        {
            known.named = Some((OperationKind::Resource, uri.as_ref().into()));
            known.resources = resources;
        }
        let sent = McpHeaders::read(headers).map_err(RpcFault::reason)?;
        let revision = revision::of_request(&sent, &request, &rpc.revisions).map_err(|fault| {
            if fault == RpcFault::Revision {
                known.unlisted_revision =
                    revision::unlisted(&sent, Some(&request), &rpc.revisions).map(|version| version.as_ref().into());
            }
            fault.reason()
        })?;
        sent.agree(&request, revision).map_err(RpcFault::reason)?;
        let requested = rpc.find(Some(revision), &request)?;
        if let Requested::Operations(found) = &requested {
            found.iter().try_for_each(|(operation, parts)| {
                self.headers_agree(operation, parts, revision)?;
                self.is_unchanged(endpoint, operation)
            })?;
        }
        Ok(requested)
    }

    /// Checks that the headers which repeat arguments of a tool agree with them.
    fn headers_agree(&self, operation: &Operation, parts: &Parts<'_>, revision: McpRevision) -> Result<(), Reason> {
        let headers = self.facts.request.headers;
        agree_with_arguments(headers, &operation.headers, parts.arguments, revision.is_stateless())
            .map_err(RpcFault::reason)
    }

    /// Checks that no worker saw a definition of the tool that matches none of its pins.
    fn is_unchanged(&self, endpoint: &Endpoint, operation: &Operation) -> Result<(), Reason> {
        if operation.pins.is_empty() {
            return Ok(());
        }
        let shared = self.context.shared.ok_or(Reason::HostError)?;
        match changed_flag(shared, endpoint, operation).read(shared.store) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Reason::ToolChanged),
            Err(StoreError) => Err(Reason::HostError),
        }
    }

    /// Records whether the caller has the scopes of an operation. `missing` is the part of the policy whose scopes it lacks.
    fn granted(
        &mut self,
        endpoint: &'a Endpoint,
        operation: Option<&'a Operation>,
        missing: Option<Origin>,
    ) -> Result<bool, Denied> {
        let caller = self.facts.caller.as_ref().filter(|_| missing.is_some());
        let ceiling = caller.zip(operation).and_then(|(caller, operation)| caller.never_has(&operation.scopes));
        if let (Some(operation), Some(rpc), true) = (operation, &mut self.facts.rpc, missing.is_some()) {
            rpc.lacks(operation);
        }
        let details = self.context.trace.is_some().then(|| {
            let requires = operation.map(|operation| operation.scopes.names().join(" ")).unwrap_or_default();
            vec![("requires", requires)]
        });
        let rule = match (ceiling, missing, operation) {
            (Some(agent), ..) => Rule::AtMost(&agent.name),
            (None, Some(Origin::Effect(effect)), _) => Rule::Effect(effect, "scopes"),
            (None, _, Some(operation)) => Rule::Operation(&operation.place, "scopes"),
            (None, _, None) => Rule::Endpoint(endpoint.position, "rpc"),
        };
        let result = match (missing, ceiling) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(Reason::InsufficientScope),
            (Some(_), Some(_)) => Err(Reason::AgentCeiling),
        };
        let checked = self.record_check_with_details(Check::Scopes, rule, result, details.unwrap_or_default())?;
        Ok(checked.is_some())
    }

    fn operation_bindings(&mut self, operation: &'a Operation, parts: &Parts<'_>) -> Result<bool, Denied> {
        let mut all_hold = true;
        for binding in &operation.bindings {
            let rule = Rule::OperationBinding(&operation.place, &binding.written.0);
            all_hold &= self.binding(rule, binding, parts.value(binding))?;
        }
        Ok(all_hold)
    }
}

/// Returns the flag that a tool's definition matches none of its pins. Other pins have another flag, so a policy with
/// new pins starts without the denial.
pub(super) fn changed_flag(shared: Shared<'_>, endpoint: &Endpoint, operation: &Operation) -> Flag {
    let identity = shared.namespace.identity("changed tool").text(&endpoint.id).text(&operation.name);
    let identity = operation.pins.iter().fold(identity, |identity, pin| identity.bytes(pin));
    Flag::under(shared.namespace.key(identity))
}

/// Returns whether the caller reaches at least one operation and has its scopes.
fn usable<'a>(rpc: &'a Rpc, caller: &Caller<'a>) -> bool {
    let mut granted = rpc.operations().filter(|operation| operation.scopes.missing(caller).is_none());
    granted.any(|operation| caller.is_admitted_to(operation))
}

/// Returns the operation whose scopes a caller without any usable one is asked for: the first with the least effect, of those that it
/// reaches. If it reaches none, the denial is about the first of all.
fn least<'a>(rpc: &'a Rpc, caller: &Caller<'a>) -> Option<&'a Operation> {
    let reached = rpc.operations().filter(|operation| caller.reaches(operation));
    let least = reached.min_by_key(|operation| operation.effect);
    least.or_else(|| rpc.operations().min_by_key(|operation| operation.effect))
}

/// Returns what a message of MCP names, for records. A subscription may name several resources and is not read here.
fn named(request: &RpcRequest<'_>) -> Result<Option<(OperationKind, Box<str>)>, RpcFault> {
    let (kind, parameter) = match &*request.method {
        "tools/call" => (OperationKind::Tool, "name"),
        "prompts/get" => (OperationKind::Prompt, "name"),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => (OperationKind::Resource, "uri"),
        "completion/complete" => return request.param("ref")?.map_or(Ok(None), referred),
        _ => return Ok(None),
    };
    Ok(request.text_param(parameter)?.map(|name| (kind, name.as_ref().into())))
}

/// Returns the prompt or the resource to which a `completion/complete` refers.
fn referred(reference: Json<'_>) -> Result<Option<(OperationKind, Box<str>)>, RpcFault> {
    let text = |name| Ok::<_, RpcFault>(reference.member(name)?.and_then(Json::string));
    let (kind, member) = match text("type")?.as_deref() {
        Some("ref/prompt") => (OperationKind::Prompt, "name"),
        Some("ref/resource") => (OperationKind::Resource, "uri"),
        _ => return Ok(None),
    };
    Ok(text(member)?.map(|name| (kind, name.as_ref().into())))
}

fn describe(known: &RpcFacts<'_>, requested: Option<&Requested<'_, '_>>) -> CheckDetails {
    let mut details = CheckDetails::new();
    details.extend(known.method.iter().map(|method| ("method", method.to_string())));
    details.extend(known.named.iter().map(|(kind, name)| (kind.name(), name.to_string())));
    if let Some(Requested::List(kind)) = requested {
        details.push(("list", kind.member().to_owned()));
    }
    details.extend(known.operations.iter().map(|(operation, _)| ("operation", operation.place.to_string())));
    details
}

fn rpc_rule<'a>(endpoint: &Endpoint, refused: Option<&Reason>) -> Rule<'a> {
    let field = match refused {
        Some(Reason::OriginNotAllowed) => "rpc.origins",
        Some(Reason::RpcRevision | Reason::SessionMethod) => "rpc.revisions",
        Some(Reason::ClientResponse) => "rpc.client_responses",
        _ => "rpc",
    };
    Rule::Endpoint(endpoint.position, field)
}

#[cfg(test)]
#[path = "rpc_tests.rs"]
mod tests;

//! Denials of messages as JSON-RPC errors, because the libraries of clients show nothing else to their users.
//!
//! Which headers an answer has does not belong here.

use serde::Serialize;

use super::Deny;
use crate::allowlist::operations::Rpc;
use crate::document::{RpcDenials, RpcProtocol};
use crate::reason::Reason;

/// Codes of JSON-RPC 2.0 (section 5.1) and of MCP. Other denials have the HTTP status of their reason as the code, because MCP reserves all
/// negative codes that JSON-RPC leaves to servers.
const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const HEADER_MISMATCH: i32 = -32020;
const UNSUPPORTED_REVISION: i32 = -32022;
/// The error of a message.
#[derive(Serialize)]
struct Error<'d> {
    code: i32,
    message: &'d str,
    data: Data<'d>,
}

#[derive(Serialize)]
struct Data<'d> {
    /// The code of the reason.
    code: &'d str,
    /// The HTTP status that belongs to the reason.
    status: u16,
    /// What the developer of the client does about it.
    detail: &'d str,
    /// The id of the decision.
    decision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'d str>,
    /// The supported revisions of MCP, if the requested one is none of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested: Option<&'d str>,
}

impl Deny<'_> {
    /// Returns the operations of the endpoint if the client expects a message as the answer: to what an authenticated caller posts, except
    /// if its credential is rejected. Clients act on the status and the challenge then. Clients of revisions before 2026 do not know the
    /// code for an unlisted revision, and some newer ones begin no session after it, because they take it for the answer of a server of
    /// 2026.
    pub(super) fn answered_as_rpc(&self) -> Option<&Rpc> {
        let facts = &self.facts;
        let rpc = facts.endpoint.and_then(|endpoint| endpoint.rpc.as_deref())?;
        let posts = facts.method.is_some_and(|method| method.as_str() == "POST");
        let reason = self.denial.reason;
        let is_known = reason != Reason::RpcRevision || rpc.revisions.iter().any(|revision| revision.is_stateless());
        (posts && facts.caller.is_some() && is_known && reason.row().status != 401).then_some(rpc)
    }
}

/// Returns the status and the body of the answer to a denied message.
pub(super) fn error(deny: &Deny<'_>, rpc: &Rpc) -> (u16, String) {
    let (facts, reason) = (&deny.facts, deny.denial.reason);
    let (row, disclosed) = (reason.row(), reason.disclosed());
    let known = facts.rpc.as_deref();
    let is_revision = reason == Reason::RpcRevision;
    let listed: Vec<_> = rpc.revisions.iter().map(|revision| revision.name()).collect();
    let error = Error {
        code: code(reason),
        message: disclosed.title,
        data: Data {
            code: disclosed.code,
            status: row.status,
            detail: disclosed.detail,
            decision: facts.request.id.to_string(),
            help: facts.policy.help.as_deref(),
            supported: if is_revision { listed } else { Vec::new() },
            requested: known.and_then(|known| known.unlisted_revision.as_deref()).filter(|_| is_revision),
        },
    };
    // INVARIANT: the error contains only strings and numbers, which JSON can always represent.
    let error = serde_json::to_string(&error).unwrap_or_default();
    // INVARIANT: an id is the JSON of a string or an integer, exactly as sent.
    let id = known.and_then(|known| known.id.as_deref());
    let id = id.map(|id| format!("\"id\":{id},")).unwrap_or_default();
    (status(deny, rpc), format!("{{\"jsonrpc\":\"2.0\",{id}\"error\":{error}}}"))
}

/// Returns the HTTP status of a JSON-RPC error. Libraries of clients show the error to their users only with 200, and end the session at
/// many others. The specification requires the statuses of the revision and the headers, and clients act on that of a missing scope.
fn status(deny: &Deny<'_>, rpc: &Rpc) -> u16 {
    let reason = deny.denial.reason;
    let is_request = deny.facts.rpc.as_ref().is_some_and(|known| known.is_request());
    let keeps = match reason {
        // Clients of revisions before 2026 do not know the codes.
        Reason::RpcRevision | Reason::RpcHeaderMismatch => rpc.protocol == RpcProtocol::Mcp,
        Reason::OriginNotAllowed | Reason::InsufficientScope => true,
        _ => rpc.denials == RpcDenials::Http || !is_request,
    };
    if keeps { reason.row().status } else { 200 }
}

fn code(reason: Reason) -> i32 {
    match reason {
        Reason::JsonMalformed => PARSE_ERROR,
        Reason::RpcMalformed => INVALID_REQUEST,
        Reason::RpcHeaderMismatch => HEADER_MISMATCH,
        Reason::RpcRevision => UNSUPPORTED_REVISION,
        other => other.row().status.into(),
    }
}

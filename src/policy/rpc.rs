//! Compiles the field `rpc` of an endpoint: how its messages are read and answered. The entries for operations are in `rpc_operations`.

use super::endpoint::{Access, Compiling, Endpoint};
use super::gateway::{BodyCheck, Features};
use super::rpc_limits;
use super::rpc_operations::Operations;
use crate::allowlist::operations::Rpc;
use crate::document::{self, McpRevision, RpcProtocol};
use crate::document::{Findings, Place};
use crate::request::Host;

const KIB: u64 = 1024;
/// The default maximum size of an answer whose lists are filtered.
const USUAL_ANSWER: u64 = 256 * KIB;
const LEAST_ANSWER: u64 = KIB;
/// Gateways buffer 1 MiB by default, and an answer can become longer while it is filtered.
const MOST_ANSWER: u64 = 768 * KIB;

/// Compiles the operations of an endpoint that is compiled otherwise.
pub(super) fn compile(compiling: &Compiling<'_>, endpoint: &Endpoint, findings: &mut Findings) -> Option<Box<Rpc>> {
    let raw = compiling.raw.rpc.as_deref()?;
    let place = compiling.place.field("rpc");
    check_endpoint(compiling, endpoint, &place, findings);
    check_revisions(raw, &place, findings);
    check_methods(compiling, raw, findings);
    check_protocol(raw, &place, findings);
    let lifecycle_place = place.field("lifecycle_limits");
    let lifecycle_limits = rpc_limits::of_lifecycle(
        compiling.document,
        compiling.raw,
        &endpoint.limits,
        &raw.lifecycle_limits,
        &lifecycle_place,
        findings,
    );
    let origins = origins(&raw.origins, &place.field("origins"), findings);
    let max_answer = max_answer(raw, &place, findings);
    let Operations { tools, resources, prompts, methods } =
        Operations::compile(compiling, endpoint, raw, &place, findings);
    Some(Box::new(Rpc {
        protocol: raw.protocol,
        revisions: raw.revisions.clone(),
        origins,
        denials: raw.denials,
        client_responses: raw.client_responses == document::ClientResponses::Allow,
        list: raw.list.unwrap_or_default(),
        max_answer,
        lifecycle_limits,
        tools,
        resources,
        prompts,
        methods,
    }))
}

/// Checks the other fields of the endpoint.
fn check_endpoint(compiling: &Compiling<'_>, endpoint: &Endpoint, place: &Place, findings: &mut Findings) {
    let Compiling { document, raw, place: of_endpoint, .. } = compiling;
    let features = Features::of(document.gateway);
    let why = match features.body {
        BodyCheck::Held => None,
        BodyCheck::Late => Some("forwards headers before the body"),
        BodyCheck::Unseen => Some("does not pass bodies to the filter"),
    };
    if let Some(why) = why {
        findings.error(
            place.clone(),
            format!(
                "the gateway `{}` {why}, and operations are named in the body; remove this, or choose another `gateway`",
                features.name
            ),
        );
    }
    if endpoint.access != Access::Known {
        findings.error(
            of_endpoint.field("access"),
            "operations are allowed to known clients, and a public endpoint does not identify them; remove `access: public` or `rpc`",
        );
    }
    if raw.upgrade.is_some() {
        findings.error(
            of_endpoint.field("upgrade"),
            "an upgraded connection has no requests with messages; remove `upgrade` or `rpc`",
        );
    }
    if raw.body.is_some() {
        findings.error(
            of_endpoint.field("body"),
            "a message is held until it is decided, and cannot stream; remove `body` or `rpc`",
        );
    }
    if raw.form_bodies == Some(document::FormBodies::Allow) {
        findings
            .error(of_endpoint.field("form_bodies"), "every message is JSON, and other bodies are denied; remove this");
    }
    if endpoint.rejected_bodies.is_some_and(|rejected| rejected.json) {
        findings.error(
            place.clone(),
            "`upstream.merges` lists `json`, and this endpoint rejects the bodies that it lists, but every message is JSON; remove \
             `json` there, or the binding of a query parameter and `form_bodies: reject` here",
        );
    }
}

fn check_revisions(raw: &document::Rpc, place: &Place, findings: &mut Findings) {
    let place = place.field("revisions");
    match raw.protocol {
        RpcProtocol::JsonRpc if !raw.revisions.is_empty() => {
            findings.error(place, "only `mcp` has revisions; remove this");
            return;
        }
        RpcProtocol::Mcp if raw.revisions.is_empty() => {
            findings.error(
                place,
                "`revisions` is required for `mcp`; write those that the server supports, such as `[2025-11-25, 2026-07-28]`",
            );
            return;
        }
        RpcProtocol::JsonRpc | RpcProtocol::Mcp => {}
    }
    for (index, revision) in raw.revisions.iter().enumerate() {
        if raw.revisions.iter().take(index).any(|earlier| earlier == revision) {
            findings.error(place.index(index), format!("`{}` is listed twice; remove one", revision.name()));
        }
    }
}

/// Returns whether some revision has sessions, or none is known because of another error.
fn may_have_sessions(raw: &document::Rpc) -> bool {
    let has_sessions = |revision: &McpRevision| !revision.is_stateless();
    raw.protocol == RpcProtocol::Mcp && (raw.revisions.is_empty() || raw.revisions.iter().any(has_sessions))
}

fn check_methods(compiling: &Compiling<'_>, raw: &document::Rpc, findings: &mut Findings) {
    let methods = &compiling.raw.methods;
    let place = compiling.place.field("methods");
    if !methods.iter().any(|method| method == "POST") {
        findings.error(place.clone(), "messages are sent with `POST`; add this method");
    }
    for (index, method) in methods.iter().enumerate().filter(|(_, method)| *method != "POST") {
        let why = match raw.protocol {
            RpcProtocol::JsonRpc => "messages are sent with `POST` alone",
            RpcProtocol::Mcp if !may_have_sessions(raw) => {
                "revisions from 2026-07-28 on have no sessions and send every message with `POST`"
            }
            RpcProtocol::Mcp if method == "GET" || method == "DELETE" => continue,
            RpcProtocol::Mcp => "MCP uses only `POST`, `GET` and `DELETE`",
        };
        findings.error(place.index(index), format!("{why}; remove `{}`", method.escape_debug()));
    }
}

/// Checks that each field has a meaning for the protocol and its revisions.
fn check_protocol(raw: &document::Rpc, place: &Place, findings: &mut Findings) {
    let allows_responses = raw.client_responses == document::ClientResponses::Allow;
    if raw.protocol == RpcProtocol::JsonRpc {
        for (field, is_written) in [
            ("tools", !raw.tools.is_empty()),
            ("resources", !raw.resources.is_empty()),
            ("prompts", !raw.prompts.is_empty()),
        ] {
            if is_written {
                findings.error(
                    place.field(field),
                    format!("`json-rpc` has no {field}; list its operations under `methods`, or write `protocol: mcp`"),
                );
            }
        }
        for (field, is_written) in [
            ("list", raw.list.is_some()),
            ("max_answer", raw.max_answer.is_some()),
            ("lifecycle_limits", !raw.lifecycle_limits.is_empty()),
            ("client_responses", allows_responses),
        ] {
            if is_written {
                findings.error(place.field(field), "this applies only to `protocol: mcp`; remove it");
            }
        }
    } else if allows_responses && !may_have_sessions(raw) {
        findings.error(
            place.field("client_responses"),
            "servers send no requests to clients from revision 2026-07-28 on; remove this",
        );
    }
    if raw.operations().next().is_none() {
        findings.warn(
            place.clone(),
            "no operation is listed, and every message is denied; list the operations that clients need",
        );
    }
    if raw.list == Some(document::RpcList::Unfiltered)
        && let Some(index) = raw.tools.iter().position(|tool| !tool.pin.is_empty())
    {
        findings.error(
            place.field("tools").index(index).field("pin"),
            "pins are compared with the server's lists, which `list: unfiltered` does not read; remove one of them",
        );
    }
}

fn max_answer(raw: &document::Rpc, place: &Place, findings: &mut Findings) -> usize {
    let bytes = raw.max_answer.map_or(USUAL_ANSWER, document::Size::bytes);
    if !(LEAST_ANSWER..=MOST_ANSWER).contains(&bytes) {
        findings.error(place.field("max_answer"), "invalid size; expected `1KiB` to `768KiB`");
    }
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn origins(raw: &[String], place: &Place, findings: &mut Findings) -> Vec<Box<str>> {
    document::names::check_distinct("origin", raw, place, findings);
    for (index, origin) in raw.iter().enumerate() {
        let message = if origin == "null" {
            "every sandboxed page sends the origin `null`; list the origins of your pages".to_owned()
        } else if origin.contains('*') {
            "origins are compared exactly; write each origin".to_owned()
        } else if !is_origin(origin) {
            format!(
                "invalid origin `{}`; expected a scheme and a host in lower case, and the port if it is not the default, such as \
                 `https://chat.example.com`",
                origin.escape_debug()
            )
        } else {
            continue;
        };
        findings.error(place.index(index), message);
    }
    raw.iter().map(|origin| origin.as_str().into()).collect()
}

/// Returns whether a text is an origin as browsers write it (RFC 6454, section 6.2).
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let is_scheme_character = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    let is_scheme =
        scheme.starts_with(|first: char| first.is_ascii_lowercase()) && scheme.bytes().all(is_scheme_character);
    let (host, port) = match authority.rsplit_once(':') {
        // The colons in brackets are those of an address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_port = |port: &str| {
        let is_default = matches!((scheme, port), ("http", "80") | ("https", "443"));
        !is_default && !port.starts_with(['0', '+']) && port.parse::<u16>().is_ok()
    };
    // Only an address in brackets contains a colon.
    let is_host = host.starts_with('[') || !host.contains(':');
    let is_host = is_host && Host::parse(host.as_bytes()).is_ok_and(|canonical| canonical.as_str() == host);
    is_scheme && is_host && port.is_none_or(is_port)
}

#[cfg(test)]
#[path = "rpc_tests.rs"]
mod tests;

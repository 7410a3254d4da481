//! Requests that satisfy the bindings of an endpoint as far as they can be satisfied.
//!
//! The engine decides each of them, so a wrong guess here hides what a caller can reach and never adds to it.

use std::collections::BTreeMap;

use callgate::document::{BindingRule, Document, Endpoint, Mode, Operand, OperationEntry, Operator, Rpc, RpcProtocol};
use callgate::identity::token::ClaimName;
use serde_json::{Value, json};

/// What a caller's bindings are compared with.
#[derive(Clone, Copy, Default)]
pub(crate) struct Known<'a> {
    /// The claims of its token.
    pub(crate) claims: Option<&'a Value>,
    /// The attributes of its agent.
    pub(crate) attributes: Option<&'a BTreeMap<String, Value>>,
}

impl Known<'_> {
    /// Returns the known value that a rule compares with, or `None` if the caller has none.
    pub(crate) fn value(&self, rule: &BindingRule) -> Option<Value> {
        match &rule.operand {
            Operand::Literal(value) => Some(value.clone()),
            Operand::Reference(written) => match written.split_once('.')? {
                ("token", claim) => ClaimName::parse(claim).ok()?.find(self.claims?).cloned(),
                ("agent", name) => self.attributes?.get(name).cloned(),
                _ => None,
            },
        }
    }

    /// Returns the values of a request with which a rule could hold.
    fn candidates(&self, rule: &BindingRule) -> Vec<Value> {
        match (self.value(rule), rule.operator) {
            (None, _) => Vec::new(),
            // No maximum is less.
            (Some(_), Operator::AtMost) => vec![json!(0)],
            (Some(Value::Array(items)), _) => items,
            (Some(one), _) => vec![one],
        }
    }

    /// Returns the value to try in this round. Lists have a value for each round.
    fn pick(&self, rule: &BindingRule, round: usize) -> Option<Value> {
        let candidates = self.candidates(rule);
        candidates.get(round).or(candidates.last()).cloned()
    }
}

/// A request: its header lines, pseudo-headers first, and its body.
pub(crate) struct Draft {
    pub(crate) lines: Vec<(String, String)>,
    pub(crate) body: Option<Vec<u8>>,
}

/// Returns the number of rounds in which the requests to an endpoint differ.
pub(crate) fn rounds(endpoint: &Endpoint, operation: Option<&OperationEntry<'_>>, known: Known<'_>) -> usize {
    /// A list with more values than this is tried in part.
    const MOST: usize = 16;
    let of_operation = operation.into_iter().flat_map(|operation| operation.bind.iter());
    let counts = endpoint.bind.iter().chain(of_operation).map(|(_, rule)| known.candidates(rule).len());
    counts.max().unwrap_or_default().clamp(1, MOST)
}

/// Returns a request to an endpoint, for an operation if it has any.
pub(crate) fn draft(
    document: &Document,
    endpoint: &Endpoint,
    operation: Option<&OperationEntry<'_>>,
    known: Known<'_>,
    round: usize,
) -> Draft {
    let bound = |part: String| {
        let rule = endpoint.bind.iter().find(|(own, _)| *own == part).map(|(_, rule)| rule);
        rule.and_then(|rule| known.pick(rule, round))
    };
    // A value that no request can carry fits nothing. Where requests are only observed, a binding excludes nothing.
    let is_carried = |value: &Value| value.is_string() || value.is_number();
    let observes = [Some(document.mode), endpoint.mode].contains(&Some(Mode::Observe));
    let path = fill(&endpoint.path, |name, kind| {
        let value = bound(format!("path.{name}")).filter(|value| is_carried(value) && !observes);
        value.map_or_else(|| sample(kind).to_owned(), |value| encode(&text(&value), kind == "..."))
    });
    let (mut query, mut headers, mut body) = (Vec::new(), Vec::new(), Value::Null);
    for (part, rule) in endpoint.bind.iter() {
        let Some(value) = known.pick(rule, round) else { continue };
        match part.split_once('.') {
            Some(("query", name)) => query.push(format!("{}={}", encode(name, false), encode(&text(&value), false))),
            Some(("header", name)) => headers.push((name.to_owned(), text(&value))),
            Some(("body", pointer)) => insert(&mut body, pointer, value),
            _ => {}
        }
    }
    let posts = endpoint.methods.iter().any(|method| method == "POST");
    let rpc = endpoint.rpc.as_deref().filter(|_| posts);
    if let Some(rpc) = rpc {
        let (message, lines) = message(rpc, operation, known, round);
        body = message;
        headers.extend(lines);
    }
    if !body.is_null() {
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
    }
    let method = if rpc.is_some() { "POST" } else { endpoint.methods.first().map_or("GET", String::as_str) };
    let hosts = endpoint.hosts.as_ref().unwrap_or(&document.hosts);
    let target = if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) };
    let pseudo = [
        (":method", method),
        (":scheme", "https"),
        (":authority", hosts.first().map_or("", String::as_str)),
        (":path", target.as_str()),
    ];
    let mut lines: Vec<(String, String)> =
        pseudo.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    lines.extend(headers);
    Draft { lines, body: (!body.is_null()).then(|| body.to_string().into_bytes()) }
}

/// Returns a message that uses an operation, and the headers that must agree with it. Without an operation, it is a `ping`.
fn message(
    rpc: &Rpc,
    operation: Option<&OperationEntry<'_>>,
    known: Known<'_>,
    round: usize,
) -> (Value, Vec<(String, String)>) {
    let (mut arguments, mut params, mut uri) = (Value::Null, json!({}), String::new());
    if let Some(operation) = operation {
        uri = fill(operation.name, |name, kind| {
            let part = format!("uri.{name}");
            let rule = operation.bind.iter().find(|(own, _)| *own == part).map(|(_, rule)| rule);
            let value = rule.and_then(|rule| known.pick(rule, round));
            value.map_or_else(|| sample(kind).to_owned(), |value| encode(&text(&value), kind == "..."))
        });
        for (part, rule) in operation.bind.iter() {
            let Some(value) = known.pick(rule, round) else { continue };
            match part.split_once('.') {
                Some(("argument", pointer)) => insert(&mut arguments, pointer, value),
                Some(("params", pointer)) => insert(&mut params, pointer, value),
                _ => {}
            }
        }
    }
    let mut lines = Vec::new();
    for (name, pointer) in operation.and_then(|operation| operation.tool).iter().flat_map(|tool| &tool.headers) {
        if arguments.pointer(pointer).is_none() {
            insert(&mut arguments, pointer, json!(SAMPLE));
        }
        let value = arguments.pointer(pointer).map(text).unwrap_or_default();
        lines.push((format!("mcp-param-{}", name.to_ascii_lowercase()), value));
    }
    if !arguments.is_null() {
        insert(&mut params, "/arguments", arguments);
    }
    let (method, named) = match operation.map(|operation| (operation.list, operation.name)) {
        None => ("ping", None),
        Some(("tools", name)) => ("tools/call", Some(("/name", name))),
        Some(("prompts", name)) => ("prompts/get", Some(("/name", name))),
        Some(("resources", _)) => ("resources/read", Some(("/uri", uri.as_str()))),
        Some((_, method)) => (method, None),
    };
    if let Some((pointer, name)) = named {
        insert(&mut params, pointer, json!(name));
    }
    // Revisions with sessions need fewer headers.
    let revision = rpc.revisions.iter().min().filter(|_| rpc.protocol == RpcProtocol::Mcp);
    if let Some(revision) = revision {
        lines.push(("mcp-protocol-version".to_owned(), revision.name().to_owned()));
        if revision.is_stateless() {
            insert(&mut params, "/_meta", json!({ "io.modelcontextprotocol/protocolVersion": revision.name() }));
            lines.push(("mcp-method".to_owned(), method.to_owned()));
            lines.extend(named.map(|(_, name)| ("mcp-name".to_owned(), name.to_owned())));
        }
    }
    (json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }), lines)
}

/// A value that no policy has as a fixed part of a path.
const SAMPLE: &str = "callgate-access";

/// Returns a value of a type of path variables.
fn sample(kind: &str) -> &'static str {
    match kind {
        "int" => "7",
        "uuid" => "6f1c1f0e-0d5b-4b0f-8a53-0c6a3c1f2d90",
        _ => SAMPLE,
    }
}

/// Replaces the variables of a template by the values for their names and types.
fn fill(template: &str, mut value: impl FnMut(&str, &str) -> String) -> String {
    let (mut filled, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        let Some((variable, next)) = after.split_once('}') else { break };
        let of_rest = || variable.strip_suffix("...").map(|name| (name, "..."));
        let (name, kind) = variable.split_once(':').or_else(of_rest).unwrap_or((variable, ""));
        filled.push_str(before);
        filled.push_str(&value(name, kind));
        rest = next;
    }
    filled + rest
}

/// Escapes everything except the unreserved characters of RFC 3986, and slashes in the rest of a path.
fn encode(value: &str, keeps_slashes: bool) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        let is_kept = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keeps_slashes && byte == b'/';
        if is_kept {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Returns a value as text of a request.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Sets the value at a JSON pointer, and creates the objects around it.
fn insert(root: &mut Value, pointer: &str, leaf: Value) {
    let mut at = root;
    for step in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        let Value::Object(members) = at else { return };
        at = members.entry(step.replace("~1", "/").replace("~0", "~")).or_insert(Value::Null);
    }
    *at = leaf;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(endpoint: Value) -> Document {
        serde_json::from_value(json!({
            "callgate": "v1", "name": "test", "mode": "enforce", "gateway": "envoy", "resource": "https://api.example.com",
            "hosts": ["api.example.com"], "issuers": {}, "agents": {}, "endpoints": [endpoint],
            "upstream": { "authorization": "remove" }, "audit": { "log": { "allow": false, "deny": false } },
        }))
        .unwrap()
    }

    fn drafted(endpoint: Value, claims: &Value, round: usize) -> (Vec<(String, String)>, String) {
        let document = document(endpoint);
        let endpoint = document.endpoints.first().unwrap();
        let operation = endpoint.rpc.as_ref().and_then(|rpc| rpc.operations().next());
        let known = Known { claims: Some(claims), attributes: None };
        let draft = draft(&document, endpoint, operation.as_ref(), known, round);
        let headers = draft.lines.into_iter().filter(|(name, _)| name != ":scheme" && name != ":authority").collect();
        (headers, String::from_utf8(draft.body.unwrap_or_default()).unwrap())
    }

    fn line(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn satisfies_bindings_of_every_part() {
        let endpoint = json!({
            "id": "e", "methods": ["PUT"], "path": "/a/{owner}/{n:int}/{rest...}", "effect": "read", "scopes": "none",
            "bind": {
                "path.owner": "token.org", "path.rest": { "prefix": "token.root" }, "query.t x": "token.org",
                "header.x-org": { "in": ["red", "blue"] }, "body./a~1b/0": { "at_most": 5 }, "body./c": "token.number"
            }
        });
        let claims = json!({ "org": "a/c", "root": "srv/x y", "number": 42 });
        let (lines, body) = drafted(endpoint.clone(), &claims, 0);
        assert_eq!(
            lines,
            [
                line(":method", "PUT"),
                line(":path", "/a/a%2Fc/7/srv/x%20y?t%20x=a%2Fc"),
                line("x-org", "red"),
                line("content-type", "application/json")
            ]
        );
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), json!({ "a/b": { "0": 0 }, "c": 42 }));
        let (lines, _) = drafted(endpoint, &claims, 1);
        assert!(lines.contains(&line("x-org", "blue")));
    }

    #[test]
    fn drafts_messages_for_operations() {
        let endpoint = |revision: &str, rest: Value| {
            let mut rpc = json!({ "protocol": "mcp", "revisions": [revision] });
            rpc.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            json!({ "id": "e", "methods": ["GET", "POST"], "path": "/mcp", "effect": "read", "scopes": "none", "rpc": rpc })
        };
        let claims = json!({ "org": "acme" });
        let tool = json!({ "tools": [{
            "name": "pay", "effect": "write", "bind": { "argument./owner": "token.org" }, "headers": { "Region": "/region" }
        }] });
        let (lines, body) = drafted(endpoint("2026-07-28", tool), &claims, 0);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["params"]["arguments"], json!({ "owner": "acme", "region": SAMPLE }));
        for expected in [
            line(":method", "POST"),
            line("mcp-method", "tools/call"),
            line("mcp-name", "pay"),
            line("mcp-param-region", SAMPLE),
        ] {
            assert!(lines.contains(&expected), "{expected:?} {lines:?}");
        }
        let resource = json!({ "resources": [{ "uri": "file:///{team}/{file...}", "effect": "read", "bind": { "uri.team": "token.org" } }] });
        let (_, body) = drafted(endpoint("2025-11-25", resource), &claims, 0);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["params"], json!({ "uri": format!("file:///acme/{SAMPLE}") }));
    }

    #[test]
    fn a_list_has_a_round_for_each_value() {
        let document = document(json!({
            "id": "e", "methods": ["GET"], "path": "/{a}", "effect": "read", "scopes": "none", "bind": { "path.a": "token.teams" }
        }));
        let endpoint = document.endpoints.first().unwrap();
        let of = |claims: &Value| rounds(endpoint, None, Known { claims: Some(claims), attributes: None });
        assert_eq!(of(&json!({ "teams": ["a", "b", "c"] })), 3);
        assert_eq!((of(&json!({ "teams": [] })), of(&json!({})), of(&json!({ "teams": "a" }))), (1, 1, 1));
        assert_eq!(of(&json!({ "teams": vec!["a"; 100] })), 16);
    }
}

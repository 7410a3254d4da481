//! Which tools, resources and prompts a client may use, and the answers to what it may not.

use anyhow::Result;
use serde_json::{Value, json};

use super::messages::{self, FORBIDDEN, FORBIDDEN_PROMPT, FORBIDDEN_RESOURCE, RESOURCE, TOOL};
use super::scenario::Need::{self, Legacy, Operations};
use super::scenario::{Check, Scenario, must, should};
use super::sections::{ERROR_CODES, ERRORS, LEGACY_RESOURCES, PROMPT_SECURITY, RESOURCE_SECURITY, SENDING};
use super::sections::{TOOL_NAMES, TOOL_SECURITY};
use super::sent::{Exchange, Sent, encoded};
use super::suite::Suite;
use super::upstream::succeeds;

const NEEDS: &[Need] = &[Operations];

/// Codes that 2026-07-28 defines in the range that it reserves.
const DEFINED: [i64; 3] = [-32020, -32021, -32022];

fn posts(suite: &Suite, method: &str, parameters: Value) -> Sent {
    suite.modern(&messages::request(1, method, parameters))
}

/// Returns a request for a tool that no client may use, with this id.
fn forbidden(suite: &Suite, id: Value) -> Sent {
    suite.modern(&messages::request(id, "tools/call", json!({ "name": FORBIDDEN, "arguments": {} })))
}

fn denied(suite: &Suite) -> Result<Exchange> {
    suite.exchange(&forbidden(suite, json!(1)), succeeds())
}

/// Checks that a denial has the id of its request, if it is a JSON-RPC error.
fn echoes(suite: &Suite, id: Value) -> Result<Check> {
    let exchange = suite.exchange(&forbidden(suite, id.clone()), succeeds())?;
    let answer = exchange.response.json();
    let has_id = answer.get("jsonrpc").is_none() || answer.get("id") == Some(&id);
    Ok(Check::new(exchange.is_denied() && has_id, exchange.seen()))
}

/// Checks the code of a denial, if it is a JSON-RPC error.
fn has_code(suite: &Suite, is_right: impl Fn(i64) -> bool) -> Result<Check> {
    let exchange = denied(suite)?;
    let passed = exchange.is_denied() && exchange.error_code().is_none_or(is_right);
    Ok(Check::new(passed, exchange.seen()))
}

pub(super) const OPERATIONS: &[Scenario] = &[
    must(
        "operations.tools",
        TOOL_SECURITY,
        NEEDS,
        "A request for a tool that the client may not use does not reach the server",
        |suite| suite.denies(&forbidden(suite, json!(1))),
    ),
    must(
        "operations.tools-before-2026",
        TOOL_SECURITY,
        &[Legacy, Operations],
        "The same in the revisions before 2026-07-28, without headers that name the tool",
        |suite| suite.denies(&suite.legacy(&messages::legacy(1, "tools/call", json!({ "name": FORBIDDEN })))),
    ),
    should(
        "operations.names-are-case-sensitive",
        TOOL_NAMES,
        NEEDS,
        "A tool whose name differs in case or has additional characters is another tool",
        |suite| {
            let names = [TOOL.to_uppercase(), format!("{TOOL} "), format!("{TOOL}\0"), format!("{TOOL}\u{200b}")];
            let call = |name: &str| posts(suite, "tools/call", json!({ "name": name, "arguments": {} }));
            let requests = names.each_ref().map(|name| {
                let sent = call(name);
                (name.as_str(), sent.set("mcp-name", encoded(name)))
            });
            let check = suite.denies_all(&requests)?;
            Ok(if check.passed { check } else { Check::failed("a similar name is accepted") })
        },
    ),
    must(
        "operations.prompts",
        PROMPT_SECURITY,
        NEEDS,
        "A request for a prompt that the client may not use does not reach the server",
        |suite| suite.denies(&posts(suite, "prompts/get", json!({ "name": FORBIDDEN_PROMPT }))),
    ),
    must(
        "operations.resources",
        RESOURCE_SECURITY,
        NEEDS,
        "A request for a resource that the client may not read does not reach the server",
        |suite| suite.denies(&posts(suite, "resources/read", json!({ "uri": FORBIDDEN_RESOURCE }))),
    ),
    must(
        "operations.resource-paths",
        RESOURCE_SECURITY,
        NEEDS,
        "A URI that a server may resolve to a resource outside of the allowed ones does not reach the server",
        |suite| {
            let uris = [
                ("dots", "file:///project/../etc/passwd"),
                ("escaped dots", "file:///project/%2e%2e/etc/passwd"),
                ("escaped slashes", "file:///project/..%2f..%2fetc/passwd"),
                ("backslashes", "file:///project/..\\..\\etc\\passwd"),
                ("empty segment", "file:///project/a//../../../etc/passwd"),
                ("escaped twice", "file:///project/%252e%252e/%252e%252e/etc/passwd"),
                ("NUL", "file:///project/a\0/../../etc/passwd"),
                ("host", "file://evil.example.net/project/main.rs"),
                ("upper case", "FILE:///etc/passwd"),
            ];
            let requests = uris.map(|(what, uri)| {
                let sent = posts(suite, "resources/read", json!({ "uri": uri }));
                (what, sent.set("mcp-name", encoded(uri)))
            });
            suite.denies_all(&requests)
        },
    ),
    must(
        "operations.subscriptions",
        RESOURCE_SECURITY,
        NEEDS,
        "A subscription to a resource that the client may not read does not reach the server",
        |suite| {
            let one = json!({ "resourceSubscriptions": [FORBIDDEN_RESOURCE] });
            let two = json!({ "resourceSubscriptions": [RESOURCE, FORBIDDEN_RESOURCE], "toolsListChanged": true });
            let listens = |filter| posts(suite, "subscriptions/listen", json!({ "notifications": filter }));
            suite.denies_all(&[("one", listens(one)), ("two", listens(two))])
        },
    ),
    must(
        "operations.subscriptions-before-2026",
        LEGACY_RESOURCES,
        &[Legacy, Operations],
        "The same for `resources/subscribe` of earlier revisions",
        |suite| {
            let message = messages::legacy(1, "resources/subscribe", json!({ "uri": FORBIDDEN_RESOURCE }));
            suite.denies(&suite.legacy(&message))
        },
    ),
    must(
        "operations.completion",
        PROMPT_SECURITY,
        NEEDS,
        "Completions for a prompt or resource that the client may not use are not available",
        |suite| {
            let complete = |reference: Value| {
                let argument = json!({ "name": "x", "value": "y" });
                posts(suite, "completion/complete", json!({ "ref": reference, "argument": argument }))
            };
            let prompt = complete(json!({ "type": "ref/prompt", "name": FORBIDDEN_PROMPT }));
            let resource = complete(json!({ "type": "ref/resource", "uri": FORBIDDEN_RESOURCE }));
            suite.denies_all(&[("prompt", prompt), ("resource", resource)])
        },
    ),
    must(
        "operations.notifications",
        SENDING,
        NEEDS,
        "A notification that the gateway does not accept is answered with an error status, and so is one for a tool",
        |suite| {
            let meta = messages::meta();
            let tool = json!({ "name": FORBIDDEN, "arguments": {}, "_meta": meta });
            let tool = suite.exchange(&suite.modern(&messages::notification("tools/call", tool)), succeeds())?;
            let other = messages::notification("notifications/future", json!({ "_meta": meta }));
            let other = suite.exchange(&suite.modern(&other), succeeds())?;
            let is_rejected = |exchange: &Exchange| exchange.received.is_empty() && exchange.response.status >= 400;
            let is_accepted = other.reached().is_some() && other.response.status == 202;
            let passed = is_rejected(&tool) && (is_rejected(&other) || is_accepted);
            Ok(Check::new(passed, format!("for a tool {}; unknown {}", tool.seen(), other.seen())))
        },
    ),
];

pub(super) const ERROR_SCENARIOS: &[Scenario] = &[
    must(
        "errors.text-id",
        ERRORS,
        NEEDS,
        "The JSON-RPC error of a denial has the id of its request: a text",
        |suite| echoes(suite, json!("a \"b\" \\ \u{e9}\u{1f600}</script>\n")),
    ),
    must(
        "errors.number-id",
        ERRORS,
        NEEDS,
        "The same for numbers, up to the largest that JavaScript can represent",
        |suite| {
            for id in [json!(0), json!(-7), json!(9_007_199_254_740_991_u64)] {
                let check = echoes(suite, id)?;
                if !check.passed {
                    return Ok(check);
                }
            }
            echoes(suite, json!(1))
        },
    ),
    must(
        "errors.form",
        ERRORS,
        NEEDS,
        "The JSON-RPC error of a denial has a code and a message, no result, and is `application/json`",
        |suite| {
            let exchange = denied(suite)?;
            let answer = exchange.response.json();
            let error = answer.get("error");
            let is_error = error.is_some_and(|error| {
                error.get("code").is_some_and(Value::is_i64) && error.get("message").is_some_and(Value::is_string)
            });
            let kind = exchange.response.header("content-type").unwrap_or_default();
            let is_json = kind == "application/json" || kind.starts_with("application/json;");
            let is_valid = is_error && is_json && answer.get("result").is_none();
            let passed = exchange.is_denied() && (answer.get("jsonrpc").is_none() || is_valid);
            Ok(Check::new(passed, exchange.seen()))
        },
    ),
    must(
        "errors.reserved-codes",
        ERROR_CODES,
        NEEDS,
        "The code of a denial is none that the specification reserves without defining it, or no longer allows",
        |suite| {
            has_code(suite, |code| {
                let is_reserved = (-32099..=-32020).contains(&code) && !DEFINED.contains(&code);
                !is_reserved && code != -32002
            })
        },
    ),
    must(
        "errors.defined-codes",
        ERROR_CODES,
        NEEDS,
        "The code of a denial is none of those with another meaning: -32020, -32021 and -32022",
        |suite| has_code(suite, |code| !DEFINED.contains(&code)),
    ),
    should(
        "errors.legacy-codes",
        ERROR_CODES,
        NEEDS,
        "The code of a denial is not between -32019 and -32000, which new implementations do not use",
        |suite| has_code(suite, |code| !(-32019..=-32000).contains(&code)),
    ),
];

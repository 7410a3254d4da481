//! The headers that mirror the message agree with it.

use serde_json::{Value, json};

use super::messages::{self, FORBIDDEN, LEGACY, MODERN, PROMPT, RESOURCE, TOOL, UNICODE_TOOL};
use super::scenario::Need::{Bodies, Legacy};
use super::scenario::{Check, Scenario, may, must, should};
use super::sections::{CASE, FIELD_LINES, FIELD_NAMES, FIELD_VALUES, STANDARD_HEADERS, VALIDATION, VALUE_ENCODING};
use super::sent::{Sent, encoded};
use super::suite::{Suite, with_revision};
use super::upstream::succeeds;

/// The status of a request whose headers do not agree with its body.
const MISMATCH: &[u16] = &[400];

/// Returns a request that is forwarded.
fn good(suite: &Suite) -> Sent {
    suite.call(TOOL, json!({ "location": "Paris" }))
}

fn message() -> Value {
    messages::request(1, "tools/call", json!({ "name": TOOL, "arguments": {} }))
}

pub(super) const SCENARIOS: &[Scenario] = &[
    must(
        "headers.agree",
        STANDARD_HEADERS,
        &[],
        "A request whose headers agree with its body is forwarded with these headers",
        |suite| {
            let headers = [("mcp-protocol-version", MODERN), ("mcp-method", "tools/call"), ("mcp-name", TOOL)];
            suite.forwards_with(&good(suite), &headers)
        },
    ),
    must(
        "headers.method-missing",
        VALIDATION,
        &[Bodies],
        "A request without `Mcp-Method` is rejected with 400",
        |suite| suite.rejects(&good(suite).without("mcp-method"), MISMATCH),
    ),
    must(
        "headers.name-missing",
        VALIDATION,
        &[Bodies],
        "A request for a tool, prompt or resource without `Mcp-Name` is rejected with 400",
        |suite| {
            let prompt = suite.modern(&messages::request(1, "prompts/get", json!({ "name": PROMPT })));
            let resource = suite.modern(&messages::request(1, "resources/read", json!({ "uri": RESOURCE })));
            let requests = [("tool", good(suite)), ("prompt", prompt), ("resource", resource)];
            suite.rejects_all(&requests.map(|(name, sent)| (name, sent.without("mcp-name"))), MISMATCH)
        },
    ),
    must(
        "headers.version-missing",
        VALIDATION,
        &[Bodies],
        "A request of 2026-07-28 without `MCP-Protocol-Version` is rejected with 400",
        |suite| suite.rejects(&good(suite).without("mcp-protocol-version"), MISMATCH),
    ),
    must(
        "headers.empty",
        VALIDATION,
        &[Bodies],
        "A request with an empty `Mcp-Method`, `Mcp-Name` or `MCP-Protocol-Version` is rejected with 400",
        |suite| {
            let empty = |name: &'static str| (name, good(suite).set(name, ""));
            suite.rejects_all(&["mcp-method", "mcp-name", "mcp-protocol-version"].map(empty), MISMATCH)
        },
    ),
    must(
        "headers.method-differs",
        VALIDATION,
        &[Bodies],
        "A request whose `Mcp-Method` is another method than that of the body is rejected with 400",
        |suite| suite.rejects(&good(suite).set("mcp-method", "tools/list"), MISMATCH),
    ),
    must(
        "headers.name-differs",
        VALIDATION,
        &[Bodies],
        "A request whose `Mcp-Name` is another tool than that of the body is rejected with 400",
        |suite| suite.rejects(&suite.call(FORBIDDEN, json!({})).set("mcp-name", TOOL), MISMATCH),
    ),
    must(
        "headers.name-of-prompt-differs",
        VALIDATION,
        &[Bodies],
        "A request whose `Mcp-Name` is another prompt than that of the body is rejected with 400",
        |suite| {
            let sent = suite.modern(&messages::request(1, "prompts/get", json!({ "name": PROMPT })));
            suite.rejects(&sent.set("mcp-name", "other"), MISMATCH)
        },
    ),
    must(
        "headers.name-of-resource-differs",
        VALIDATION,
        &[Bodies],
        "A request whose `Mcp-Name` is another URI than that of the body is rejected with 400",
        |suite| {
            let sent = suite.modern(&messages::request(1, "resources/read", json!({ "uri": RESOURCE })));
            let (same_as_name, other) = (sent.clone().set("mcp-name", "main.rs"), "file:///project/src/lib.rs");
            let requests = [("name", same_as_name), ("uri", sent.set("mcp-name", other))];
            suite.rejects_all(&requests, MISMATCH)
        },
    ),
    must(
        "headers.name-of-other-member",
        VALIDATION,
        &[Bodies],
        "`Mcp-Name` is compared with `uri` for a resource and with `name` for a tool, not with the other one",
        |suite| {
            let tool = json!({ "name": FORBIDDEN, "uri": TOOL, "arguments": {} });
            let resource = json!({ "uri": "file:///etc/passwd", "name": RESOURCE });
            let tool = suite.modern(&messages::request(1, "tools/call", tool)).set("mcp-name", TOOL);
            let resource = suite.modern(&messages::request(1, "resources/read", resource)).set("mcp-name", RESOURCE);
            suite.rejects_all(&[("tool", tool), ("resource", resource)], MISMATCH)
        },
    ),
    must(
        "headers.version-differs",
        VALIDATION,
        &[Bodies],
        "A request whose `MCP-Protocol-Version` is another revision than that of `_meta` is rejected with 400",
        |suite| {
            let older_header = good(suite).set("mcp-protocol-version", LEGACY);
            let older_body = suite.modern(&with_revision(message(), LEGACY)).set("mcp-protocol-version", MODERN);
            suite.rejects_all(&[("older header", older_header), ("older body", older_body)], MISMATCH)
        },
    ),
    must(
        "headers.values-are-case-sensitive",
        CASE,
        &[Bodies],
        "A header whose value has another case than the body is a mismatch",
        |suite| {
            let method = good(suite).set("mcp-method", "Tools/Call");
            let name = good(suite).set("mcp-name", TOOL.to_uppercase());
            suite.rejects_all(&[("method", method), ("name", name)], MISMATCH)
        },
    ),
    must("headers.names-are-case-insensitive", CASE, &[], "The names of headers may have any case", |suite| {
        let sent = good(suite).set("mCP-metHOD", "tools/call").set("MCP-NAME", TOOL);
        suite.forwards(&sent.set("mcp-protocol-version", MODERN))
    }),
    must(
        "headers.optional-whitespace",
        FIELD_VALUES,
        &[],
        "Spaces and tabs around a value do not belong to it",
        |suite| {
            let sent = good(suite).set("mcp-method", " \t tools/call \t ");
            suite.forwards(&sent.set("mcp-name", format!("\t{TOOL}  ")))
        },
    ),
    must(
        "headers.inner-whitespace",
        VALIDATION,
        &[Bodies],
        "Whitespace inside a value belongs to it, also if it is encoded",
        |suite| {
            let inner = good(suite).set("mcp-method", "tools/ call");
            let padded = good(suite).set("mcp-name", encoded(format!(" {TOOL} ")));
            suite.rejects_all(&[("inner", inner), ("encoded", padded)], MISMATCH)
        },
    ),
    must(
        "headers.repeated",
        FIELD_LINES,
        &[Bodies],
        "A header that is repeated with another value is rejected with 400, in either order",
        |suite| {
            let repeated = |name: &'static str, right: &str, wrong: &str| {
                let wrong_first = good(suite).without(name).add(name, wrong).add(name, right);
                [(name, wrong_first), (name, good(suite).add(name, wrong))]
            };
            let requests = [
                repeated("mcp-method", "tools/call", "tools/list"),
                repeated("mcp-name", TOOL, FORBIDDEN),
                repeated("mcp-protocol-version", MODERN, LEGACY),
            ];
            suite.rejects_all(&requests.concat(), MISMATCH)
        },
    ),
    must(
        "headers.not-ascii",
        VALIDATION,
        &[Bodies],
        "A header with bytes that are not ASCII is rejected with 400, even if they are those of the body",
        |suite| suite.rejects(&suite.call(UNICODE_TOOL, json!({})).set("mcp-name", UNICODE_TOOL), MISMATCH),
    ),
    must("headers.encoded", VALUE_ENCODING, &[], "An `Mcp-Name` in Base64 is compared decoded", |suite| {
        suite.forwards(&good(suite).set("mcp-name", encoded(TOOL)))
    }),
    must(
        "headers.encoded-unicode",
        VALUE_ENCODING,
        &[],
        "The name of a tool that is not ASCII is accepted in Base64",
        |suite| suite.forwards(&suite.call(UNICODE_TOOL, json!({}))),
    ),
    must(
        "headers.encoded-differs",
        VALUE_ENCODING,
        &[Bodies],
        "An `Mcp-Name` in Base64 that is another tool is rejected with 400",
        |suite| suite.rejects(&good(suite).set("mcp-name", encoded(FORBIDDEN)), MISMATCH),
    ),
    must("headers.encoded-twice", VALUE_ENCODING, &[Bodies], "An `Mcp-Name` is decoded once", |suite| {
        suite.rejects(&good(suite).set("mcp-name", encoded(encoded(TOOL))), MISMATCH)
    }),
    must(
        "headers.encoded-wrongly",
        VALIDATION,
        &[Bodies],
        "An `Mcp-Name` that is not Base64, not UTF-8 or not complete is rejected with 400",
        |suite| {
            let right = encoded(TOOL);
            let values = [
                ("no Base64", "=?base64?%%%?=".to_owned()),
                ("no end", right.replace("?=", "")),
                ("no UTF-8", encoded([0xff_u8, 0xfe])),
                ("nothing", "=?base64??=".to_owned()),
            ];
            suite.rejects_all(&values.map(|(what, value)| (what, good(suite).set("mcp-name", value))), MISMATCH)
        },
    ),
    must(
        "headers.encoding-is-case-sensitive",
        VALUE_ENCODING,
        &[Bodies],
        "A marker of Base64 in another case is part of the value",
        |suite| {
            let value = encoded(TOOL).replace("base64", "BASE64");
            suite.rejects(&good(suite).set("mcp-name", value), MISMATCH)
        },
    ),
    must(
        "headers.method-is-not-encoded",
        VALUE_ENCODING,
        &[Bodies],
        "`Mcp-Method` and `MCP-Protocol-Version` have no encoded form",
        |suite| {
            let method = good(suite).set("mcp-method", encoded("tools/call"));
            let version = good(suite).set("mcp-protocol-version", encoded(MODERN));
            suite.rejects_all(&[("method", method), ("version", version)], MISMATCH)
        },
    ),
    must(
        "headers.unknown",
        FIELD_NAMES,
        &[],
        "A header that the gateway does not know is forwarded, also if its name begins with `Mcp-`",
        |suite| {
            let sent = good(suite).add("Mcp-Future", "a b").add("X-Trace", "7");
            suite.forwards_with(&sent, &[("mcp-future", "a b"), ("x-trace", "7")])
        },
    ),
    must(
        "headers.not-required-before-2026",
        STANDARD_HEADERS,
        &[Legacy],
        "Requests of earlier revisions need no `Mcp-Method` and no `Mcp-Name`",
        |suite| suite.forwards(&suite.legacy(&messages::legacy(1, "tools/call", json!({ "name": TOOL })))),
    ),
    should(
        "headers.not-trusted-before-2026",
        VALIDATION,
        &[Bodies, Legacy],
        "A request of an earlier revision whose `Mcp-Method` or `Mcp-Name` does not agree with its body is rejected",
        |suite| {
            let call = |name: &str| suite.legacy(&messages::legacy(1, "tools/call", json!({ "name": name })));
            let method = call(TOOL).add("Mcp-Method", "ping");
            let name = call(FORBIDDEN).add("Mcp-Name", TOOL);
            suite.rejects_all(&[("method", method), ("name", name)], MISMATCH)
        },
    ),
    may(
        "headers.error-code",
        VALIDATION,
        &[Bodies],
        "The answer to a mismatch is a JSON-RPC error with the code -32020 and the id of the request",
        |suite| {
            let exchange = suite.exchange(&good(suite).set("mcp-method", "tools/list"), succeeds())?;
            let has_id = exchange.response.json().get("id").is_some_and(|id| *id == 1);
            Ok(Check::new(exchange.error_code() == Some(-32020) && has_id, exchange.seen()))
        },
    ),
];

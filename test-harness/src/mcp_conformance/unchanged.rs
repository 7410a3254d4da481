//! What the gateway does not decide passes it unchanged, in both directions.

use serde_json::{Value, json};

use super::messages::{self, PROMPT, RESOURCE, TOOL, VERSION_KEY};
use super::scenario::Need::Legacy;
use super::scenario::{Check, Scenario, must, should};
use super::sections::{ERROR_CODES, ERRORS, FIELD_NAMES, META, PAGINATION, RESULTS, ROUND_TRIPS, SENDING, SESSIONS};
use super::sections::{TIME_TO_LIVE, TRANSFORMATIONS, VALIDATION, VERSION_HEADER};
use super::sent::Sent;
use super::suite::Suite;
use super::upstream::{Answer, always, succeeds};

fn call(suite: &Suite) -> Sent {
    suite.call(TOOL, json!({ "location": "Paris" }))
}

fn read(suite: &Suite) -> Sent {
    suite.modern(&messages::request(1, "resources/read", json!({ "uri": RESOURCE })))
}

fn error(suite: &Suite, status: u16, code: i64) -> anyhow::Result<Check> {
    let mut message = messages::error(&json!(1), code, "no — 世界");
    if let Some(error) = message.pointer_mut("/error").and_then(Value::as_object_mut) {
        error.insert("data".to_owned(), json!({ "com.example/detail": [1, "two"] }));
    }
    suite.answers_json(&call(suite), status, &message)
}

/// Returns a request with members that the gateway has never heard of.
fn extended() -> Value {
    messages::request(
        1,
        "tools/call",
        json!({
            "name": TOOL,
            "arguments": { "location": "Paris", "nested": { "a": [null, true, { "b": "\u{1f600}" }] } },
            "com.example/future": { "a": [1, 2.5, "three"] },
            "task": { "ttl": 60_000 },
            "_meta": {
                VERSION_KEY: messages::MODERN,
                "io.modelcontextprotocol/clientCapabilities": { "elicitation": {}, "experimental": { "x": {} } },
                "io.modelcontextprotocol/logLevel": "debug",
                "progressToken": "p-1",
                "traceparent": "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
                "com.example/tenant": { "id": 7 },
            },
        }),
    )
}

pub(super) const REQUESTS: &[Scenario] = &[
    must(
        "requests.metadata",
        META,
        &[],
        "`_meta` reaches the server with all its members, known and unknown",
        |suite| suite.forwards(&suite.modern(&extended())),
    ),
    must("requests.metadata-before-2026", META, &[Legacy], "The same in the revisions before 2026-07-28", |suite| {
        let meta = json!({ "progressToken": 7, "com.example/tenant": { "id": 7 } });
        let parameters = json!({ "name": TOOL, "arguments": {}, "_meta": meta, "task": {} });
        suite.forwards(&suite.legacy(&messages::legacy(1, "tools/call", parameters)))
    }),
    should(
        "requests.bytes",
        TRANSFORMATIONS,
        &[],
        "The body reaches the server byte for byte: order, whitespace, escapes, and numbers of any length",
        |suite| {
            let body = format!(
                "{{ \"params\" : {{\t\"arguments\":{{\"z\":1.50e+3,\"a\":12345678901234567890.0,\"s\":\"\\u0041\\/\"}},\
                 \"_meta\":{},\"name\":\"{TOOL}\"}},\r\n \"method\":\"tools/call\",\"id\":1,\"jsonrpc\":\"2.0\" }}\n",
                messages::meta(),
            );
            let sent = suite.mirrored(messages::MODERN, "tools/call", Some(TOOL), &body);
            let exchange = suite.exchange(&sent, succeeds())?;
            let is_same = exchange.reached().is_some_and(|received| received.body == body.as_bytes());
            let changed = if is_same || exchange.received.is_empty() { "" } else { ", other bytes" };
            Ok(Check::new(is_same, exchange.seen() + changed))
        },
    ),
    must("requests.accept", SENDING, &[], "`Accept` and `Content-Type` reach the server", |suite| {
        let headers = [("accept", "application/json, text/event-stream"), ("content-type", "application/json")];
        suite.forwards_with(&call(suite), &headers)
    }),
    must(
        "requests.input-responses",
        ROUND_TRIPS,
        &[],
        "A retry with `inputResponses` and `requestState` reaches the server with both",
        |suite| {
            let parameters = json!({
                "name": TOOL,
                "arguments": {},
                "inputResponses": { "login": { "action": "accept", "content": { "name": "octocat" } } },
                "requestState": "eyJhIjoxfQ==.\u{e9}\"",
            });
            suite.forwards(&suite.modern(&messages::request("retry", "tools/call", parameters)))
        },
    ),
    must("requests.cursor", PAGINATION, &[], "The cursor of a request for a list reaches the server", |suite| {
        let message = messages::request(1, "tools/list", json!({ "cursor": "eyJwYWdlIjogMn0=" }));
        suite.forwards(&suite.modern(&message))
    }),
];

pub(super) const RESPONSES: &[Scenario] = &[
    must("responses.result", RESULTS, &[], "A result comes back with all its members, known and unknown", |suite| {
        let result = json!({
            "content": messages::content("72°F, 世界"),
            "structuredContent": { "temperature": 72.5, "list": [null, { "name": "delete_everything" }] },
            "isError": false,
            "com.example/future": [1],
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "s", "version": "1" } },
        });
        suite.answers_json(&call(suite), 200, &messages::result(&json!(1), result))
    }),
    should(
        "responses.bytes",
        TRANSFORMATIONS,
        &[],
        "A result that the gateway does not filter comes back byte for byte",
        |suite| {
            let body = "{ \"result\":{ \"n\":1.50e+3,\"a\":12345678901234567890.0,\"s\":\"\\u0041\\/\"},\r\n\
                        \"id\":1,\"jsonrpc\":\"2.0\"}\n";
            let exchange = suite.exchange(&call(suite), always(Answer::json(200, body)))?;
            let is_same = exchange.reached().is_some() && exchange.response.body == body.as_bytes();
            Ok(Check::new(is_same, exchange.seen()))
        },
    ),
    must("responses.tool-error", RESULTS, &[], "The result of a tool that failed comes back with 200", |suite| {
        let result = json!({ "content": messages::content("no such city"), "isError": true });
        suite.answers_json(&call(suite), 200, &messages::result(&json!(1), result))
    }),
    must(
        "responses.input-required",
        ROUND_TRIPS,
        &[],
        "A result that asks for input comes back with its requests and its state",
        |suite| {
            let form = json!({ "mode": "form", "message": "Name?", "requestedSchema": { "type": "object" } });
            let result = json!({
                "resultType": "input_required",
                "inputRequests": { "login": { "method": "elicitation/create", "params": form } },
                "requestState": "eyJhIjoxfQ==.\u{e9}\"",
            });
            suite.answers_json(&call(suite), 200, &messages::result(&json!(1), result))
        },
    ),
    must(
        "responses.error",
        ERRORS,
        &[],
        "A JSON-RPC error with 200 comes back with its code, message and data",
        |suite| error(suite, 200, -32603),
    ),
    must(
        "responses.method-not-found",
        VERSION_HEADER,
        &[],
        "404 with the code -32601 for a method that the server does not implement comes back",
        |suite| {
            let sent = suite.modern(&messages::request(1, "prompts/get", json!({ "name": PROMPT })));
            suite.answers_json(&sent, 404, &messages::error(&json!(1), -32601, "Method not found"))
        },
    ),
    must("responses.invalid-parameters", META, &[], "400 with the code -32602 comes back", |suite| {
        error(suite, 400, -32602)
    }),
    must("responses.header-mismatch", VALIDATION, &[], "400 of the server with the code -32020 comes back", |suite| {
        error(suite, 400, -32020)
    }),
    must("responses.missing-capability", META, &[], "400 with the code -32021 comes back", |suite| {
        error(suite, 400, -32021)
    }),
    must(
        "responses.unsupported-version",
        VERSION_HEADER,
        &[],
        "400 of the server with the code -32022 comes back",
        |suite| error(suite, 400, -32022),
    ),
    must("responses.own-code", ERROR_CODES, &[], "An error code of the application comes back", |suite| {
        error(suite, 200, 1001)
    }),
    must("responses.unavailable", FIELD_NAMES, &[], "503 comes back with `Retry-After`", |suite| {
        let answer = Answer::empty(503).header("retry-after", "7");
        suite.answers(&read(suite), answer, 503, b"", &[("retry-after", "7")])
    }),
    must("responses.session-ended", SESSIONS, &[Legacy], "404 for a session that has ended comes back", |suite| {
        let message = messages::legacy(1, "tools/call", json!({ "name": TOOL }));
        let sent = suite.legacy(&message).add("Mcp-Session-Id", "gone");
        suite.answers(&sent, Answer::empty(404), 404, b"", &[])
    }),
    must(
        "responses.headers",
        FIELD_NAMES,
        &[],
        "Headers of a response that the gateway does not know come back",
        |suite| {
            let message = messages::result(&json!(1), json!({ "content": messages::content("x") }));
            let answer = Answer::json(200, &message).header("mcp-future", "a b").header("x-accel-buffering", "no");
            let body = message.to_string();
            let headers = [("mcp-future", "a b"), ("x-accel-buffering", "no")];
            suite.answers(&call(suite), answer, 200, body.as_bytes(), &headers)
        },
    ),
    must("responses.resource", TIME_TO_LIVE, &[], "A resource comes back with its caching hints", |suite| {
        let contents = json!([{ "uri": RESOURCE, "mimeType": "text/x-rust", "text": "fn main() {}\n" }]);
        let result = json!({ "contents": contents, "ttlMs": 60_000, "cacheScope": "public" });
        suite.answers_json(&read(suite), 200, &messages::result(&json!(1), result))
    }),
];

//! One JSON-RPC message in each request.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::messages::{self, MODERN, TOOL};
use super::scenario::Need::{Bodies, Legacy};
use super::scenario::{Check, Scenario, must, should};
use super::sections::{CHUNKS, ERRORS, LEGACY_SENDING, OLDEST_SENDING, REQUESTS, SENDING};
use super::sent::Sent;
use super::suite::Suite;
use super::upstream::{Answer, succeeds};
use crate::client::Connection;

/// Long enough for a part of a request to leave alone.
const BETWEEN_PARTS: Duration = Duration::from_millis(20);

/// Returns a posted body whose headers are those of a request for a tool.
fn raw(suite: &Suite, body: impl AsRef<[u8]>) -> Sent {
    suite.mirrored(MODERN, "tools/call", Some(TOOL), body)
}

fn message() -> Value {
    messages::request(1, "tools/call", json!({ "name": TOOL, "arguments": {} }))
}

/// Returns the same message with another member.
fn with(name: &str, value: Value) -> Value {
    let mut message = message();
    if let Some(members) = message.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    message
}

fn without(name: &str) -> Value {
    let mut message = message();
    if let Some(members) = message.as_object_mut() {
        members.remove(name);
    }
    message
}

pub(super) const SCENARIOS: &[Scenario] = &[
    must(
        "messages.batch",
        SENDING,
        &[Bodies],
        "A list of messages is rejected with 400, also if it contains only one",
        |suite| {
            let list = |messages: Value| raw(suite, messages.to_string());
            let requests = [
                ("two", list(json!([message(), message()]))),
                ("one", list(json!([message()]))),
                ("none", list(json!([]))),
            ];
            suite.rejects_all(&requests, &[400])
        },
    ),
    must(
        "messages.batch-before-2026",
        OLDEST_SENDING,
        &[Bodies, Legacy],
        "A list of messages is rejected with 400 in the revisions before 2026-07-28 as well",
        |suite| {
            let call = messages::legacy(1, "tools/call", json!({ "name": TOOL }));
            suite.rejects(&suite.legacy(&json!([call])), &[400])
        },
    ),
    must(
        "messages.response",
        SENDING,
        &[Bodies],
        "A response of the client is rejected, since 2026-07-28 has none",
        |suite| {
            let result = messages::result(&json!(1), json!({}));
            let error = messages::error(&json!(1), -32603, "failed");
            let requests = [("result", result), ("error", error)];
            let requests = requests
                .map(|(what, message)| (what, suite.post(message.to_string()).add("MCP-Protocol-Version", MODERN)));
            suite.denies_all(&requests)
        },
    ),
    must(
        "messages.response-before-2026",
        LEGACY_SENDING,
        &[Legacy],
        "A response of the client is forwarded in the revisions before 2026-07-28, and 202 comes back",
        |suite| {
            let sent = suite.legacy(&messages::result(&json!("sampling-1"), json!({ "role": "assistant" })));
            suite.answers(&sent, Answer::empty(202), 202, b"", &[])
        },
    ),
    must(
        "messages.not-json-rpc",
        REQUESTS,
        &[Bodies],
        "A message without `jsonrpc` or with another version of it, or without a method, is rejected with 400",
        |suite| {
            let bodies = [
                ("1.0", with("jsonrpc", json!("1.0"))),
                ("number", with("jsonrpc", json!(2.0))),
                ("no version", without("jsonrpc")),
                ("no method", without("method")),
                ("method 1", with("method", json!(1))),
                ("text", json!("tools/call")),
                ("null", json!(null)),
            ];
            suite.rejects_all(&bodies.map(|(what, body)| (what, raw(suite, body.to_string()))), &[400])
        },
    ),
    must(
        "messages.ids",
        REQUESTS,
        &[Bodies],
        "A request whose id is neither a string nor an integer is rejected with 400",
        |suite| {
            let ids = [
                ("null", json!(null)),
                ("fraction", json!(1.5)),
                ("boolean", json!(true)),
                ("list", json!([1])),
                ("object", json!({ "a": 1 })),
            ];
            suite.rejects_all(&ids.map(|(what, id)| (what, raw(suite, with("id", id).to_string()))), &[400])
        },
    ),
    must(
        "messages.parameters",
        REQUESTS,
        &[Bodies],
        "A request whose `params` are no object is rejected with 400",
        |suite| {
            let parameters = [("list", json!([TOOL])), ("text", json!(TOOL)), ("null", json!(null))];
            let sent = |(what, value)| (what, raw(suite, with("params", value).to_string()));
            suite.rejects_all(&parameters.map(sent), &[400])
        },
    ),
    must(
        "messages.ids-are-kept",
        REQUESTS,
        &[],
        "Every string and every integer can be the id of a request, and reaches the server and the client unchanged",
        |suite| {
            let ids = [
                json!(0),
                json!(-1),
                json!(9_007_199_254_740_991_u64),
                json!(""),
                json!("1"),
                json!("a \"b\" \\ \u{e9}\u{1f600}\n"),
                json!("x".repeat(200)),
            ];
            for id in ids {
                let sent = raw(suite, with("id", id.clone()).to_string());
                let exchange = suite.exchange(&sent, succeeds())?;
                let is_kept = exchange.unchanged(&sent).is_some() && exchange.response.json().get("id") == Some(&id);
                if !is_kept {
                    let id: String = id.to_string().chars().take(20).collect();
                    return Ok(Check::failed(format!("{id}: {}", exchange.seen())));
                }
            }
            Ok(Check::new(true, "forwarded"))
        },
    ),
    must(
        "messages.malformed-error",
        ERRORS,
        &[Bodies],
        "The answer to a message that cannot be read is an error status, and a JSON-RPC error in it has no id",
        |suite| {
            let exchange = suite.exchange(&raw(suite, "{\"jsonrpc\":\"2.0\",\"id\":1,"), succeeds())?;
            let answer = exchange.response.json();
            let has_id = answer.get("jsonrpc").is_some() && answer.get("id").is_some();
            let is_rejected = exchange.received.is_empty() && exchange.response.status >= 400;
            Ok(Check::new(is_rejected && !has_id, exchange.seen()))
        },
    ),
    must(
        "messages.notification",
        LEGACY_SENDING,
        &[Legacy],
        "A notification is forwarded, and 202 without a body comes back",
        |suite| {
            let sent = suite.legacy(&messages::notification("notifications/initialized", json!({})));
            suite.answers(&sent, Answer::empty(202), 202, b"", &[])
        },
    ),
    must(
        "messages.notification-of-2026",
        SENDING,
        &[],
        "A notification of 2026-07-28 is forwarded, and 202 without a body comes back",
        |suite| {
            let parameters = json!({ "requestId": "1", "reason": "not needed" });
            let sent = suite.modern(&messages::notification("notifications/cancelled", parameters));
            suite.answers(&sent, Answer::empty(202), 202, b"", &[])
        },
    ),
    must(
        "messages.notification-rejected",
        LEGACY_SENDING,
        &[Legacy],
        "The status with which a server rejects a notification comes back",
        |suite| {
            let sent = suite.legacy(&messages::notification("notifications/initialized", json!({})));
            suite.answers(&sent, Answer::empty(400), 400, b"", &[])
        },
    ),
    must(
        "messages.in-chunks",
        CHUNKS,
        &[],
        "A body in the chunked transfer coding is read and forwarded as any other",
        |suite| {
            let sent = raw(suite, message().to_string());
            let exchange = suite.exchange_raw(&sent.to_chunked(), succeeds())?;
            let is_forwarded = exchange.unchanged(&sent).is_some() && exchange.response.status == 200;
            Ok(Check::new(is_forwarded, exchange.seen()))
        },
    ),
    must(
        "messages.in-chunks-checked",
        CHUNKS,
        &[Bodies],
        "A body in the chunked transfer coding is compared with the headers as any other",
        |suite| {
            let sent = raw(suite, message().to_string()).set("mcp-method", "tools/list");
            let exchange = suite.exchange_raw(&sent.to_chunked(), succeeds())?;
            let is_rejected = exchange.received.is_empty() && exchange.response.status == 400;
            Ok(Check::new(is_rejected, exchange.seen()))
        },
    ),
    must("messages.in-parts", CHUNKS, &[], "A body that arrives in several parts is forwarded as a whole", |suite| {
        let sent = raw(suite, message().to_string());
        let (request, bytes) = (sent.to_request(), sent.to_request().to_bytes());
        suite.upstream.follow(succeeds());
        let mut connection = Connection::open(suite.target.address)?;
        for part in bytes.chunks(bytes.len().div_ceil(5)) {
            connection.send(part)?;
            thread::sleep(BETWEEN_PARTS);
        }
        let exchange = suite.collected(connection.read(&request)?);
        let is_forwarded = exchange.unchanged(&sent).is_some() && exchange.response.status == 200;
        Ok(Check::new(is_forwarded, exchange.seen()))
    }),
    should("messages.large", SENDING, &[], "A message of 50 KiB is forwarded", |suite| {
        let arguments = json!({ "text": "x".repeat(50 << 10) });
        suite.forwards(&suite.call(TOOL, arguments))
    }),
];

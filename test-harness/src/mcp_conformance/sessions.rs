//! Sessions and resumption, which the revisions before 2026-07-28 have, and that 2026-07-28 needs none.

use serde_json::{Value, json};

use super::messages::{self, TOOL, event, progress};
use super::scenario::Need::{self, Legacy, Lists, Tokens};
use super::scenario::{Check, Scenario, must, should};
use super::sections::{EARLIER, HIJACKING, LEGACY_LISTENING, RESUMABILITY, SESSIONS as MANAGEMENT, STATELESSNESS};
use super::sent::Sent;
use super::suite::Suite;
use super::upstream::{Answer, Piece, Script, always, succeeds};
use crate::client::Connection;

/// Every character that a session id can have.
const SESSION: &str =
    concat!("!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ", r"[\]^_`abcdefghijklmnopqrstuvwxyz{|}~");

fn legacy_call(suite: &Suite) -> Sent {
    suite.legacy(&messages::legacy(2, "tools/call", json!({ "name": TOOL, "arguments": {} })))
}

/// Answers with a result and a session.
fn with_session(id: &str) -> Script {
    let result = json!({ "protocolVersion": messages::LEGACY, "capabilities": {}, "serverInfo": { "name": "s" } });
    always(Answer::json(200, messages::result(&json!(1), result)).header("mcp-session-id", id))
}

pub(super) const SESSIONS: &[Scenario] = &[
    must(
        "sessions.assigned",
        MANAGEMENT,
        &[Legacy],
        "The session that a server assigns reaches the client, whatever visible characters it has",
        |suite| {
            let exchange =
                suite.exchange(&suite.legacy(&messages::initialize(messages::LEGACY)), with_session(SESSION))?;
            let is_same = exchange.response.header("mcp-session-id") == Some(SESSION);
            Ok(Check::new(is_same && exchange.reached().is_some(), exchange.seen()))
        },
    ),
    must(
        "sessions.used",
        MANAGEMENT,
        &[Legacy],
        "The session of a client reaches the server with each request, with `GET` and `DELETE` too",
        |suite| {
            for sent in [legacy_call(suite), suite.without_body("GET"), suite.without_body("DELETE")] {
                let exchange = suite.exchange(&sent.add("Mcp-Session-Id", SESSION), succeeds())?;
                let session = exchange.reached().and_then(|received| received.head.header("mcp-session-id"));
                // The recorded value is escaped as in a byte string of Rust.
                if session != Some(SESSION.as_bytes().escape_ascii().to_string().as_str()) {
                    return Ok(Check::failed(exchange.seen()));
                }
            }
            Ok(Check::new(true, "forwarded"))
        },
    ),
    must(
        "sessions.not-needed",
        STATELESSNESS,
        &[],
        "A request of 2026-07-28 needs no session, and the gateway assigns none",
        |suite| {
            let sent = suite.call(TOOL, json!({}));
            let exchange = suite.exchange(&sent, succeeds())?;
            let has_none = exchange.response.header("mcp-session-id").is_none();
            Ok(Check::new(exchange.unchanged(&sent).is_some() && has_none, exchange.seen()))
        },
    ),
    should(
        "sessions.ignored",
        EARLIER,
        &[],
        "`Mcp-Session-Id` and `Last-Event-ID` on a request of 2026-07-28 are ignored",
        |suite| {
            let sent = suite.call(TOOL, json!({})).add("Mcp-Session-Id", "s-1").add("Last-Event-ID", "7");
            suite.forwards(&sent)
        },
    ),
    must(
        "sessions.no-authentication",
        HIJACKING,
        &[Legacy, Tokens],
        "A session does not replace a token: a request with a session only is rejected with 401",
        |suite| {
            let opened = suite.exchange(&suite.legacy(&messages::initialize(messages::LEGACY)), with_session("s-1"))?;
            if opened.reached().is_none() {
                return Ok(Check::failed(opened.seen()));
            }
            suite.rejects(&legacy_call(suite).without("authorization").add("Mcp-Session-Id", "s-1"), &[401])
        },
    ),
    must(
        "sessions.no-context-of-connections",
        STATELESSNESS,
        &[Tokens],
        "Each request of a connection is decided alone: one without a token is rejected after one with a token",
        |suite| {
            let sent = suite.call(TOOL, json!({}));
            suite.upstream.follow(succeeds());
            let mut connection = Connection::open(suite.target.address)?;
            let first = connection.call(&sent.to_request())?;
            let forwarded = suite.upstream.received().len();
            let second = connection.call(&sent.without("authorization").to_request())?;
            let is_decided = suite.upstream.received().len() == forwarded && second.status == 401;
            let seen = format!("{}, then {}", first.status, second.status);
            Ok(Check::new(first.status == 200 && forwarded == 1 && is_decided, seen))
        },
    ),
];

/// The last event that a client has seen.
const LAST_EVENT: &str = "stream-1/7 a=";

const LISTED: &[Need] = &[Legacy, Lists];

fn resumes(suite: &Suite) -> Sent {
    suite.without_body("GET").add("Mcp-Session-Id", "s-1").add("Last-Event-ID", LAST_EVENT)
}

/// Returns an event with an id.
fn with_id(id: &str, message: &Value) -> String {
    format!("id: {id}\n{}", event(message))
}

pub(super) const RESUMPTION: &[Scenario] = &[
    must("resumption.last-event", RESUMABILITY, &[Legacy], "`Last-Event-ID` reaches the server", |suite| {
        let exchange = suite.exchange(&resumes(suite), succeeds())?;
        let last = exchange.reached().and_then(|received| received.head.header("last-event-id"));
        Ok(Check::new(last == Some(LAST_EVENT), exchange.seen()))
    }),
    must(
        "resumption.event-ids",
        RESUMABILITY,
        &[Legacy],
        "The ids and the retry time of events come back, with which a client resumes a stream",
        |suite| {
            let first = "id: stream-1/0\ndata:\n\n".to_owned();
            let parts = [first, with_id("stream-1/1", &progress(1)), "retry: 250\n\n".to_owned()];
            let whole = parts.concat();
            let script = always(Answer::events(parts.map(Piece::text).to_vec()));
            let mut events = suite.open(&legacy_call(suite), script)?;
            events.read_to_end()?;
            let is_same = events.bytes == whole.as_bytes();
            Ok(Check::new(is_same, if is_same { "the same stream" } else { "other bytes" }))
        },
    ),
    must(
        "resumption.responses",
        RESUMABILITY,
        &[Legacy],
        "The response to an earlier request comes back on the stream that is resumed",
        |suite| {
            let response = messages::result(&json!(2), json!({ "content": messages::content("late") }));
            let script = always(Answer::events(vec![Piece::text(with_id("stream-1/8", &response))]));
            let mut events = suite.open(&resumes(suite), script)?;
            events.read_to_end()?;
            let is_same = messages::messages_in(&events.bytes) == [response];
            Ok(Check::new(is_same, if is_same { "the response" } else { "another response" }))
        },
    ),
    must(
        "resumption.lists",
        LEGACY_LISTENING,
        LISTED,
        "A list that comes back on such a stream is filtered as in the response to its request",
        |suite| {
            let tools = json!([messages::tool(TOOL), messages::tool(messages::FORBIDDEN)]);
            let response = messages::result(&json!(2), json!({ "tools": tools }));
            let script = always(Answer::events(vec![Piece::text(with_id("stream-1/8", &response))]));
            let mut events = suite.open(&resumes(suite), script)?;
            events.read_to_end()?;
            let is_filtered = events.contains(TOOL) && !events.contains(messages::FORBIDDEN);
            Ok(Check::new(is_filtered, if is_filtered { "filtered" } else { "not filtered" }))
        },
    ),
];

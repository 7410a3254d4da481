//! Revisions, origins, and HTTP methods.

use serde_json::{Value, json};

use super::messages::{self, MODERN, OLDEST, TOOL};
use super::scenario::Need::{self, Legacy, ModernPath, Origins, Revisions};
use super::scenario::{Check, Scenario, must, should};
use super::sections::{
    COMPATIBILITY, EARLIER, ENDPOINT, LEGACY_LISTENING, LEGACY_SECURITY, LEGACY_VERSION, NEGOTIATION,
};
use super::sections::{OLDEST_SENDING, SESSIONS, VERSION_HEADER};
use super::sent::Sent;
use super::suite::{Suite, with_revision};
use super::upstream::{Answer, Piece, always, succeeds};

const UNKNOWN: &str = "2099-01-01";

fn good(suite: &Suite) -> Sent {
    suite.call(TOOL, json!({}))
}

/// Returns a request of a revision that no server knows.
fn unknown(suite: &Suite) -> Sent {
    let message = messages::request("a", "tools/call", json!({ "name": TOOL, "arguments": {} }));
    suite.modern(&with_revision(message, UNKNOWN))
}

/// Returns the same request for the endpoint that only supports 2026-07-28.
fn at_modern(suite: &Suite, sent: Sent) -> Sent {
    match &suite.target.modern_path {
        Some(path) => sent.at(path),
        None => sent,
    }
}

fn opens_session(suite: &Suite, revision: &str) -> anyhow::Result<Check> {
    suite.forwards(&suite.legacy(&messages::initialize(revision)))
}

fn forbids(suite: &Suite, origin: &str) -> anyhow::Result<Check> {
    suite.rejects(&good(suite).add("Origin", origin), &[403])
}

pub(super) const VERSIONS: &[Scenario] = &[
    must("versions.modern", NEGOTIATION, &[], "A request of 2026-07-28 is forwarded without a session", |suite| {
        suite.forwards(&suite.modern(&messages::request("d", "server/discover", json!({}))))
    }),
    must("versions.2025-11-25", COMPATIBILITY, &[Legacy], "A session of 2025-11-25 can be opened", |suite| {
        opens_session(suite, messages::LEGACY)
    }),
    must("versions.2025-06-18", OLDEST_SENDING, &[Legacy], "A session of 2025-06-18 can be opened and used", |suite| {
        let opened = opens_session(suite, OLDEST)?;
        if !opened.passed {
            return Ok(opened);
        }
        let message = messages::legacy(2, "tools/call", json!({ "name": TOOL, "arguments": {} }));
        suite.forwards(&suite.legacy(&message).set("mcp-protocol-version", OLDEST))
    }),
    must(
        "versions.unknown",
        VERSION_HEADER,
        &[Revisions],
        "A request of an unknown revision is rejected with 400",
        |suite| suite.rejects(&unknown(suite), &[400]),
    ),
    must(
        "versions.unknown-error",
        NEGOTIATION,
        &[Revisions],
        "The answer is a JSON-RPC error with the code -32022, the supported revisions, the requested one, and the id",
        |suite| {
            let exchange = suite.exchange(&unknown(suite), succeeds())?;
            let answer = exchange.response.json();
            let supported = answer.pointer("/error/data/supported").and_then(Value::as_array);
            let is_complete = exchange.error_code() == Some(-32022)
                && supported.is_some_and(|supported| supported.contains(&json!(MODERN)))
                && answer.pointer("/error/data/requested") == Some(&json!(UNKNOWN))
                && answer.get("id") == Some(&json!("a"));
            Ok(Check::new(is_complete, exchange.seen()))
        },
    ),
    must(
        "versions.unknown-before-2026",
        LEGACY_VERSION,
        &[Legacy, Revisions],
        "A request of an earlier form with an unsupported `MCP-Protocol-Version` is rejected with 400",
        |suite| {
            let message = messages::legacy(1, "tools/call", json!({ "name": TOOL }));
            let of = |revision: &'static str| (revision, suite.legacy(&message).set("mcp-protocol-version", revision));
            suite.rejects_all(&["2024-11-05", UNKNOWN, "latest"].map(of), &[400])
        },
    ),
    should(
        "versions.modern-only",
        COMPATIBILITY,
        &[Revisions, ModernPath],
        "Where only 2026-07-28 is supported, the answer to `initialize` is an error that names it",
        |suite| {
            let sent = at_modern(suite, suite.legacy(&messages::initialize(messages::LEGACY)));
            let exchange = suite.exchange(&sent, succeeds())?;
            let names_it = exchange.response.text().contains(MODERN);
            Ok(Check::new(exchange.is_denied() && names_it, exchange.seen()))
        },
    ),
];

const ORIGIN_NEEDS: &[Need] = &[Origins];

pub(super) const ORIGINS: &[Scenario] = &[
    must("origins.absent", ENDPOINT, &[], "A request without `Origin` is forwarded", |suite| {
        suite.forwards(&good(suite))
    }),
    must("origins.allowed", ENDPOINT, &[], "A request with an accepted `Origin` is forwarded", |suite| {
        suite.forwards(&good(suite).add("Origin", &suite.target.origin))
    }),
    must("origins.other", ENDPOINT, ORIGIN_NEEDS, "A request with another `Origin` is rejected with 403", |suite| {
        forbids(suite, "https://evil.example.net")
    }),
    must("origins.null", ENDPOINT, ORIGIN_NEEDS, "A request with the `Origin` `null` is rejected with 403", |suite| {
        forbids(suite, "null")
    }),
    must(
        "origins.similar",
        ENDPOINT,
        ORIGIN_NEEDS,
        "An `Origin` that resembles an accepted one is rejected with 403: another scheme, port, subdomain, suffix",
        |suite| {
            let origin = suite.target.origin.as_str();
            let host = origin.split_once("://").map_or(origin, |(_, host)| host);
            let similar = [
                ("scheme", format!("http://{host}")),
                ("port", format!("{origin}:8443")),
                ("subdomain", format!("https://a.{host}")),
                ("suffix", format!("{origin}.example.net")),
                ("path", format!("{origin}/")),
                ("user", format!("https://{host}@evil.example.net")),
                ("list", format!("{origin} https://evil.example.net")),
            ];
            let requests = similar.map(|(what, similar)| (what, good(suite).add("Origin", similar)));
            suite.rejects_all(&requests, &[403])
        },
    ),
    must(
        "origins.repeated",
        ENDPOINT,
        ORIGIN_NEEDS,
        "A request with an accepted `Origin` and another one is rejected, in either order",
        |suite| {
            let (right, wrong) = (suite.target.origin.as_str(), "https://evil.example.net");
            let wrong_last = good(suite).add("Origin", right).add("Origin", wrong);
            let wrong_first = good(suite).add("Origin", wrong).add("Origin", right);
            suite.rejects_all(&[("wrong last", wrong_last), ("wrong first", wrong_first)], &[400, 403])
        },
    ),
    must(
        "origins.of-streams",
        LEGACY_SECURITY,
        &[Origins, Legacy],
        "`GET` and `DELETE` with another `Origin` are rejected with 403 as well",
        |suite| {
            let of =
                |method: &'static str| (method, suite.without_body(method).add("Origin", "https://evil.example.net"));
            suite.rejects_all(&["GET", "DELETE"].map(of), &[403])
        },
    ),
];

pub(super) const METHODS: &[Scenario] = &[
    must(
        "methods.get-before-2026",
        LEGACY_LISTENING,
        &[Legacy],
        "`GET` opens an event stream of an earlier revision",
        |suite| {
            let message = messages::notification("notifications/message", json!({ "level": "info", "data": "x" }));
            let script = always(Answer::events(vec![Piece::text(messages::event(&message))]));
            let mut events = suite.open(&suite.without_body("GET"), script)?;
            events.read_to_end()?;
            let is_same = messages::messages_in(&events.bytes) == [message];
            Ok(Check::new(is_same, if is_same { "200, the event" } else { "200, other events" }))
        },
    ),
    must(
        "methods.get-not-offered",
        LEGACY_LISTENING,
        &[Legacy],
        "405 of a server that offers no stream reaches the client",
        |suite| suite.answers(&suite.without_body("GET"), Answer::empty(405), 405, b"", &[]),
    ),
    must(
        "methods.delete-before-2026",
        SESSIONS,
        &[Legacy],
        "`DELETE` reaches the server with its session, and its status the client",
        |suite| {
            let sent = suite.without_body("DELETE").add("Mcp-Session-Id", "s-1");
            let exchange = suite.exchange(&sent, always(Answer::empty(204)))?;
            let reached = exchange.reached().filter(|received| received.head.method == "DELETE");
            let has_session = reached.is_some_and(|received| received.head.header("mcp-session-id") == Some("s-1"));
            Ok(Check::new(has_session && exchange.response.status == 204, exchange.seen()))
        },
    ),
    should(
        "methods.get-of-2026",
        EARLIER,
        &[Revisions, ModernPath],
        "Where only 2026-07-28 is supported, `GET` is answered with 405",
        |suite| suite.rejects(&at_modern(suite, suite.without_body("GET")), &[405]),
    ),
    should(
        "methods.delete-of-2026",
        EARLIER,
        &[Revisions, ModernPath],
        "Where only 2026-07-28 is supported, `DELETE` is answered with 405",
        |suite| suite.rejects(&at_modern(suite, suite.without_body("DELETE")), &[405]),
    ),
];

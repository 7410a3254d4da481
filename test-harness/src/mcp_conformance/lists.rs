//! Lists show what a client may use. Everything else in them stays as the server wrote it.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::Result;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::messages::{self, FORBIDDEN, FORBIDDEN_PROMPT, FORBIDDEN_RESOURCE, PROMPT, RESOURCE, SQL_TOOL, TOOL};
use super::messages::{event, progress, tool};
use super::scenario::Need::{self, Legacy, Lists};
use super::scenario::{Check, Scenario, must, should};
use super::sections::{
    CACHE_SCOPE, CHUNKS, CONTENT_CODING, ERRORS, JSON_OBJECTS, LEGACY_TOOLS, PAGINATION, PROMPTS, RECEIVING,
};
use super::sections::{RESOURCES, TIME_TO_LIVE, TOOL_NAMES, TOOLS};
use super::sent::{Exchange, Sent};
use super::suite::Suite;
use super::upstream::{Answer, Piece, always};

const NEEDS: &[Need] = &[Lists];

/// Returns a request for a list.
fn asks(suite: &Suite, method: &str) -> Sent {
    suite.modern(&messages::request(1, method, json!({})))
}

/// Returns a page with a tool that is not allowed between two that are.
fn page() -> Value {
    let tools = json!([tool(TOOL), tool(FORBIDDEN), tool(SQL_TOOL)]);
    let result = json!({ "tools": tools, "nextCursor": "eyJwYWdlIjogM30=", "ttlMs": 300_000, "cacheScope": "public" });
    messages::result(&json!(1), result)
}

fn get_page(suite: &Suite) -> Result<Exchange> {
    suite.exchange(&asks(suite, "tools/list"), always(Answer::json(200, page())))
}

fn names(list: Option<&Value>) -> Vec<&str> {
    let entries = list.and_then(Value::as_array).into_iter().flatten();
    entries.filter_map(|entry| entry.get("name")?.as_str()).collect()
}

/// Describes which tools a client sees.
fn visible(message: &Value) -> String {
    let names = names(message.pointer("/result/tools"));
    if names.is_empty() { "no tools".to_owned() } else { names.join(", ") }
}

/// Checks that exactly the allowed tools of [`page`] are in a message.
fn shows_allowed(message: &Value) -> Check {
    let is_filtered = names(message.pointer("/result/tools")) == [TOOL, SQL_TOOL];
    Check::new(is_filtered, visible(message))
}

/// Checks that the first of two entries of a list is the only one that a client sees.
fn shows_first(suite: &Suite, method: &str, member: &str, entries: [Value; 2]) -> Result<Check> {
    let [allowed, forbidden] = entries;
    let result = json!({ member: [allowed, forbidden], "ttlMs": 0, "cacheScope": "private" });
    let answer = Answer::json(200, messages::result(&json!(1), result));
    let exchange = suite.exchange(&asks(suite, method), always(answer))?;
    let is_filtered = exchange.response.json().pointer(&format!("/result/{member}")) == Some(&json!([allowed]));
    Ok(Check::new(is_filtered, if is_filtered { "only the allowed entry" } else { "other entries" }))
}

/// Checks what remains of a result whose other members must not change.
fn keeps(suite: &Suite, members: &[&str]) -> Result<Check> {
    let message = get_page(suite)?.response.json();
    let page = page();
    let differs = |name: &&&str| {
        let pointer = format!("/result/{name}");
        message.pointer(&pointer) != page.pointer(&pointer)
    };
    let changed: Vec<&str> = members.iter().filter(differs).copied().collect();
    let passed = changed.is_empty() && shows_allowed(&message).passed;
    Ok(Check::new(passed, if changed.is_empty() { visible(&message) } else { format!("other {}", changed.join(", ")) }))
}

/// Checks that a client does not see the name of the tool that is not allowed.
fn hides(suite: &Suite, body: String) -> Result<Check> {
    let exchange = suite.exchange(&asks(suite, "tools/list"), always(Answer::json(200, body)))?;
    let names = [FORBIDDEN, r"delete\u005feverything"];
    let is_hidden = !names.iter().any(|name| exchange.response.text().contains(name));
    let passed = exchange.reached().is_some() && is_hidden;
    Ok(Check::new(passed, if is_hidden { "not listed" } else { "listed" }))
}

/// Returns the text of a list with these members of its second tool.
fn with_tool(members: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{{"name":"{TOOL}"}},{{{members},"inputSchema":{{}}}}]}}}}"#)
}

pub(super) const SCENARIOS: &[Scenario] = &[
    must(
        "lists.tools",
        TOOLS,
        NEEDS,
        "`tools/list` shows the tools that the client may use, in the order of the server",
        |suite| Ok(shows_allowed(&get_page(suite)?.response.json())),
    ),
    must("lists.definitions", TOOLS, NEEDS, "The definitions of these tools do not change", |suite| {
        let message = get_page(suite)?.response.json();
        let is_same = message.pointer("/result/tools") == Some(&json!([tool(TOOL), tool(SQL_TOOL)]));
        Ok(Check::new(is_same, if is_same { "the same definitions" } else { "other definitions" }))
    }),
    must("lists.prompts", PROMPTS, NEEDS, "`prompts/list` shows the prompts that the client may use", |suite| {
        let entries = [json!({ "name": PROMPT, "arguments": [] }), json!({ "name": FORBIDDEN_PROMPT })];
        shows_first(suite, "prompts/list", "prompts", entries)
    }),
    must(
        "lists.resources",
        RESOURCES,
        NEEDS,
        "`resources/list` shows the resources that the client may read",
        |suite| {
            let resource = |uri: &str| json!({ "uri": uri, "name": "x", "size": 7 });
            shows_first(suite, "resources/list", "resources", [RESOURCE, FORBIDDEN_RESOURCE].map(resource))
        },
    ),
    must(
        "lists.templates",
        RESOURCES,
        NEEDS,
        "`resources/templates/list` shows no template whose resources the client may not read",
        |suite| {
            let template = |uri: &str| json!({ "uriTemplate": uri, "name": "x" });
            let templates = ["file:///project/{path}", "file:///etc/{path}"].map(template);
            let answer = Answer::json(200, messages::result(&json!(1), json!({ "resourceTemplates": templates })));
            let exchange = suite.exchange(&asks(suite, "resources/templates/list"), always(answer))?;
            let is_hidden = !exchange.response.text().contains("file:///etc/");
            let seen = if is_hidden { "not listed" } else { "listed" };
            Ok(Check::new(is_hidden && exchange.reached().is_some(), seen))
        },
    ),
    must(
        "lists.before-2026",
        LEGACY_TOOLS,
        &[Legacy, Lists],
        "Lists of the revisions before 2026-07-28 are filtered as well",
        |suite| {
            let sent = suite.legacy(&messages::legacy(1, "tools/list", json!({})));
            let exchange = suite.exchange(&sent, always(Answer::json(200, page())))?;
            Ok(shows_allowed(&exchange.response.json()))
        },
    ),
    must("lists.cursor", PAGINATION, NEEDS, "A filtered page keeps its cursor", |suite| keeps(suite, &["nextCursor"])),
    must(
        "lists.empty-page",
        PAGINATION,
        NEEDS,
        "A page of which nothing remains is an empty list with its cursor",
        |suite| {
            let result =
                json!({ "tools": [tool(FORBIDDEN)], "nextCursor": "next", "ttlMs": 0, "cacheScope": "private" });
            let answer = Answer::json(200, messages::result(&json!(1), result));
            let message = suite.exchange(&asks(suite, "tools/list"), always(answer))?.response.json();
            let is_empty = message.pointer("/result/tools") == Some(&json!([]));
            let has_cursor = message.pointer("/result/nextCursor") == Some(&json!("next"));
            Ok(Check::new(is_empty && has_cursor, visible(&message)))
        },
    ),
    must("lists.time-to-live", TIME_TO_LIVE, NEEDS, "A filtered list keeps its `ttlMs` and its result type", |suite| {
        keeps(suite, &["ttlMs", "resultType"])
    }),
    should(
        "lists.cache-scope",
        CACHE_SCOPE,
        NEEDS,
        "A list that the gateway filters has the `cacheScope` `private`, since it depends on the client",
        |suite| {
            let exchange = get_page(suite)?;
            let message = exchange.response.json();
            let scope = message.pointer("/result/cacheScope").and_then(Value::as_str).unwrap_or("absent");
            Ok(Check::new(scope == "private" && exchange.reached().is_some(), scope))
        },
    ),
    must("lists.errors", ERRORS, NEEDS, "An error instead of a list comes back", |suite| {
        let error = messages::error(&json!(1), -32602, "Invalid cursor");
        suite.answers_json(&asks(suite, "tools/list"), 400, &error)
    }),
    must("lists.in-pieces", CHUNKS, NEEDS, "A list that arrives in small chunks is filtered", |suite| {
        let body = page().to_string();
        let pieces: Vec<_> = body.as_bytes().chunks(5).map(|chunk| Piece::Data(chunk.to_vec())).collect();
        let answer = Answer::json(200, "").in_pieces(pieces);
        let exchange = suite.exchange(&asks(suite, "tools/list"), always(answer))?;
        Ok(shows_allowed(&exchange.response.json()))
    }),
    must(
        "lists.in-streams",
        RECEIVING,
        NEEDS,
        "A list in an event stream is filtered, and the notifications before it arrive at once",
        |suite| {
            let first = event(&progress(1));
            let pause = Piece::Pause(Duration::from_secs(3));
            let pieces = vec![Piece::text(first.clone()), pause, Piece::text(event(&page()))];
            let started = Instant::now();
            let mut events = suite.open(&asks(suite, "tools/list"), always(Answer::events(pieces)))?;
            events.read_until(&first)?;
            let is_early = started.elapsed() < Duration::from_secs(2);
            events.read_to_end()?;
            let check = shows_allowed(messages::messages_in(&events.bytes).last().unwrap_or(&Value::Null));
            Ok(if is_early { check } else { Check::failed("held back") })
        },
    ),
    must(
        "lists.in-parts-of-streams",
        CHUNKS,
        NEEDS,
        "A list in an event stream is filtered wherever its chunks end, and whatever line ends it has",
        |suite| {
            let mut seen = Check::failed("");
            for end in ["\n", "\r\n", "\r"] {
                // Pretty JSON has several lines, and each is a separate field.
                let pretty = serde_json::to_string_pretty(&page())?;
                let data = pretty.lines().map(|line| format!("data: {line}{end}")).collect::<String>();
                let text = format!(": comment{end}{end}event: message{end}{data}{end}");
                let pieces = text.as_bytes().chunks(11);
                let pieces = pieces.map(|chunk| Piece::Data(chunk.to_vec())).collect();
                let mut events = suite.open(&asks(suite, "tools/list"), always(Answer::events(pieces)))?;
                events.read_to_end()?;
                seen = shows_allowed(messages::messages_in(&events.bytes).last().unwrap_or(&Value::Null));
                if !seen.passed {
                    break;
                }
            }
            Ok(seen)
        },
    ),
    must(
        "lists.compressed",
        CONTENT_CODING,
        NEEDS,
        "A list that the server compresses is not passed on unfiltered",
        |suite| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(page().to_string().as_bytes())?;
            let body = Piece::Data(encoder.finish()?);
            let answer = Answer::json(200, "").header("content-encoding", "gzip").in_pieces(vec![body]);
            let sent = asks(suite, "tools/list").add("Accept-Encoding", "gzip");
            let exchange = suite.exchange(&sent, always(answer))?;
            let mut text = String::new();
            let mut decoder = GzDecoder::new(exchange.response.body.as_slice());
            let is_gzip = decoder.read_to_string(&mut text).is_ok();
            let text = if is_gzip { text } else { exchange.response.text() };
            let is_hidden = !text.contains(FORBIDDEN) && exchange.reached().is_some();
            Ok(Check::new(is_hidden, if is_hidden { "not listed" } else { "listed" }))
        },
    ),
    must("lists.escaped-names", TOOL_NAMES, NEEDS, "The name of a tool is compared decoded", |suite| {
        hides(suite, with_tool(r#""name":"delete\u005feverything""#))
    }),
    should(
        "lists.repeated-names",
        JSON_OBJECTS,
        NEEDS,
        "A definition with two names is not listed with the one that is not allowed",
        |suite| {
            let (right, wrong) = (format!(r#""name":"{SQL_TOOL}""#), format!(r#""name":"{FORBIDDEN}""#));
            let first = hides(suite, with_tool(&format!("{right},{wrong}")))?;
            if first.passed { hides(suite, with_tool(&format!("{wrong},{right}"))) } else { Ok(first) }
        },
    ),
    should(
        "lists.repeated-lists",
        JSON_OBJECTS,
        NEEDS,
        "A result with two lists does not show a tool that is not allowed in one of them",
        |suite| {
            let (right, wrong) = (json!([tool(TOOL)]), json!([tool(FORBIDDEN)]));
            let list = |first: &Value, second: &Value| {
                format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":{first},"tools":{second}}}}}"#)
            };
            let first = hides(suite, list(&right, &wrong))?;
            if first.passed { hides(suite, list(&wrong, &right)) } else { Ok(first) }
        },
    ),
];

//! Tests of responses whose lists are filtered, independent of the gateway.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Map;
use super::fake::Fake;
use super::root::Root;
use super::stream::{HttpStream, StreamAction};
use crate::testing::{self, NOW, SECRET};

const STREAM: u32 = 2;

/// A tool whose definition has [`PIN`].
const PAY: &str = r#"{"name":"pay","inputSchema":{"type":"object"}}"#;
const CHANGED: &str = r#"{"name":"pay","inputSchema":{"type":"array"}}"#;
const PIN: &str = "6454c06526f7f83021efb82afca9a520dd3ffeeab02d706114b1053c79dfb46d";

fn document(list: &str) -> Value {
    let tool = |name: &str, scope: &str| json!({ "name": name, "effect": "read", "scopes": [scope] });
    let mut pay = tool("pay", "pay");
    pay["pin"] = json!([PIN]);
    testing::document(json!({
        "issuers": { "corp": testing::issuer() },
        "agents": { "a": testing::agent("agent") },
        "endpoints": [{
            "id": "mcp", "methods": ["POST", "GET"], "path": "/mcp", "effect": "read", "scopes": "none",
            "rpc": { "protocol": "mcp", "revisions": ["2025-11-25"], "list": list, "max_answer": "1KiB",
                     "tools": [tool("look", "look"), pay] }
        }]
    }))
}

fn credential(claims: Value) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!(
        "{}.{}",
        part(json!({ "alg": "HS256", "typ": "at+jwt" })),
        part(testing::with(
            json!({
                "iss": "https://idp.example.com", "aud": "https://api.example.com", "sub": "s", "client_id": "agent",
                "iat": NOW, "exp": NOW + 900, "jti": "j", "scope": "pay"
            }),
            claims
        ))
    );
    format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(hmac_sha256::HMAC::mac(&signed, SECRET)))
}

/// A worker in front of an MCP server.
struct Worker {
    host: Fake,
    root: Root<Fake>,
}

impl Worker {
    fn new(document: &Value) -> Self {
        Self::on(Fake::default(), document)
    }

    fn on(host: Fake, document: &Value) -> Self {
        host.0.seconds.set(NOW);
        host.0.variables.borrow_mut().insert("SECRET".into(), SECRET.to_vec());
        host.0.properties.borrow_mut().insert(b"source\0address".to_vec(), b"192.0.2.1:80".to_vec());
        host.0.configuration.replace(document.to_string().into_bytes());
        let mut root = Root::new(host.clone(), 1);
        let mistakes = crate::policy::Policy::from_value(document.clone(), &testing::one_secret).err();
        assert!(root.on_configure(document.to_string().len()), "{mistakes:?}");
        Self { host, root }
    }

    /// Returns the stream of a forwarded message, and what the gate did with it.
    fn post(&self, message: &str) -> (HttpStream<Fake>, StreamAction) {
        self.post_with(json!({}), message)
    }

    /// Does the same with further claims in the token.
    fn post_with(&self, claims: Value, message: &str) -> (HttpStream<Fake>, StreamAction) {
        self.host.set(
            Map::RequestHeaders,
            &[
                (":method", "POST"),
                (":path", "/mcp"),
                (":authority", "api.example.com"),
                ("authorization", &credential(claims)),
                ("content-type", "application/json"),
                ("accept-encoding", "gzip, br"),
                ("mcp-protocol-version", "2025-11-25"),
            ],
        );
        let mut stream = self.root.stream(STREAM);
        assert_eq!(stream.on_request_headers(false), StreamAction::Pause);
        self.host.0.body.replace(message.as_bytes().to_vec());
        let action = stream.on_request_body(message.len(), true);
        (stream, action)
    }

    fn list(&self) -> HttpStream<Fake> {
        let (stream, action) = self.post(r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#);
        assert_eq!(action, StreamAction::Continue);
        stream
    }

    fn respond(&self, stream: &mut HttpStream<Fake>, headers: &[(&str, &str)]) -> StreamAction {
        self.host.set(Map::ResponseHeaders, headers);
        stream.on_response_headers(false)
    }

    /// Returns what is forwarded instead of a chunk.
    fn chunk(&self, stream: &mut HttpStream<Fake>, chunk: &str, end: bool) -> String {
        self.host.0.response_body.replace(chunk.as_bytes().to_vec());
        assert_eq!(stream.on_response_body(chunk.len(), end), StreamAction::Continue);
        String::from_utf8(self.host.0.response_body.take()).unwrap()
    }

    fn answers(&self) -> Vec<(u16, String)> {
        self.host.0.sent.borrow().iter().map(|sent| (sent.status, sent.details.clone())).collect()
    }

    fn metric(&self, name: &str) -> i64 {
        self.host.0.metrics.borrow().iter().find(|(own, _)| own == name).map_or(0, |(_, value)| *value)
    }
}

const JSON: [(&str, &str); 4] =
    [(":status", "200"), ("content-type", "application/json"), ("content-length", "99"), ("etag", "\"1\"")];

fn answer(tools: &[&str]) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"tools":[{}],"nextCursor":"c"}}}}"#, tools.join(","))
}

const LOOK: &str = r#"{"name":"look"}"#;
const HIDDEN: &str = r#"{"name":"drop_tables"}"#;

#[test]
fn a_list_contains_only_listed_tools() {
    for (list, shown) in [("reachable", &[LOOK, PAY][..]), ("granted", &[PAY])] {
        let worker = Worker::new(&document(list));
        let mut stream = worker.list();
        assert_eq!(worker.host.value(Map::RequestHeaders, "accept-encoding").as_deref(), Some("identity"));
        assert_eq!(worker.respond(&mut stream, &JSON), StreamAction::Continue);
        for name in ["content-length", "etag"] {
            assert_eq!(worker.host.value(Map::ResponseHeaders, name), None, "{name}");
        }
        let whole = answer(&[LOOK, HIDDEN, PAY]);
        let (first, rest) = whole.split_at(40);
        assert_eq!(worker.chunk(&mut stream, first, false), "");
        assert_eq!(worker.chunk(&mut stream, rest, true), answer(shown));
        assert!(worker.answers().is_empty());
    }
}

#[test]
fn a_list_contains_only_what_the_agent_can_reach() {
    for (change, shown) in [
        (("/endpoints/0/rpc/tools/0/agents", json!(["a"])), &[LOOK, PAY][..]),
        (("/endpoints/0/rpc/tools/0/agents", json!(["b"])), &[PAY]),
        (("/endpoints/0/rpc/tools/0/agents", json!(["others"])), &[PAY]),
        (("/endpoints/0/rpc/tools/0/effect", json!("write")), &[PAY]),
        // A scope outside the ceiling can never be granted. `pay` could be.
        (("/endpoints/0/rpc/tools/0/scopes", json!(["look", "beyond"])), &[PAY]),
        (("/endpoints/0/rpc/tools/0/scopes", json!({ "any": ["look", "beyond"] })), &[LOOK, PAY]),
    ] {
        let mut document = document("reachable");
        document["agents"]["b"] = testing::agent("other");
        document["groups"] = json!({ "others": ["b"] });
        document["agents"]["a"]["at_most"] = json!({ "effects": ["read"], "scopes": ["look", "pay"] });
        let (pointer, value) = change;
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[name] = value.clone();
        let worker = Worker::new(&document);
        let mut stream = worker.list();
        assert_eq!(worker.respond(&mut stream, &JSON), StreamAction::Continue);
        assert_eq!(worker.chunk(&mut stream, &answer(&[LOOK, HIDDEN, PAY]), true), answer(shown), "{pointer} {value}");
    }
}

#[test]
fn a_list_contains_only_what_accepts_the_delegation_of_the_token() {
    let delegated = json!({ "act": { "sub": "agent" } });
    for (effect, claims, shown) in [
        ("read", &delegated, &[LOOK, PAY][..]),
        ("destructive", &delegated, &[PAY]),
        ("destructive", &json!({}), &[LOOK, PAY]),
        ("write", &delegated, &[LOOK, PAY]),
        ("write", &json!({}), &[PAY]),
    ] {
        let mut document = document("reachable");
        document["delegation"] = json!({});
        document["agents"]["a"]["identity"]["actor"] = json!({ "issuer": "corp", "sub": "agent" });
        document["requirements"] =
            json!({ "write": { "delegation": "required" }, "destructive": { "delegation": "none" } });
        document["endpoints"][0]["delegation"] = json!("allowed");
        document["endpoints"][0]["rpc"]["tools"][0]["effect"] = json!(effect);
        let worker = Worker::new(&document);
        let (mut stream, action) =
            worker.post_with(claims.clone(), r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#);
        assert_eq!(action, StreamAction::Continue);
        assert_eq!(worker.respond(&mut stream, &JSON), StreamAction::Continue);
        assert_eq!(worker.chunk(&mut stream, &answer(&[LOOK, HIDDEN, PAY]), true), answer(shown), "{effect} {claims}");
    }
}

#[test]
fn an_unfiltered_list_passes_as_it_is() {
    let mut document = document("unfiltered");
    document["endpoints"][0]["rpc"]["tools"][1].as_object_mut().unwrap().remove("pin");
    let worker = Worker::new(&document);
    let mut stream = worker.list();
    assert_eq!(worker.host.value(Map::RequestHeaders, "accept-encoding").as_deref(), Some("gzip, br"));
    assert_eq!(worker.respond(&mut stream, &JSON), StreamAction::Continue);
    assert!(worker.host.value(Map::ResponseHeaders, "content-length").is_some());
    let whole = answer(&[HIDDEN]);
    assert_eq!(worker.chunk(&mut stream, &whole, true), whole);
}

#[test]
fn an_event_stream_is_filtered_while_it_flows() {
    let worker = Worker::new(&document("reachable"));
    let mut stream = worker.list();
    let headers = [(":status", "200"), ("content-type", "text/event-stream")];
    assert_eq!(worker.respond(&mut stream, &headers), StreamAction::Continue);
    assert_eq!(worker.chunk(&mut stream, ": alive\n\n", false), ": alive\n\n");
    let event = format!("event: message\ndata: {}\n\n", answer(&[HIDDEN, LOOK]));
    let (first, rest) = event.split_at(60);
    let out = worker.chunk(&mut stream, first, false) + &worker.chunk(&mut stream, rest, false);
    assert_eq!(out, format!("event: message\ndata: {}\n\n", answer(&[LOOK])));
    assert_eq!(worker.chunk(&mut stream, "data: {\"half\"", true), "");
}

#[test]
fn an_answer_that_cannot_be_checked_becomes_an_error() {
    for (headers, details) in [
        (&[(":status", "200"), ("content-type", "application/json"), ("content-encoding", "gzip")][..], "coded"),
        (&[(":status", "200"), ("content-type", "text/html")], "another type"),
        (&[(":status", "200"), ("content-type", "application/json"), ("content-length", "1048576")], "too long"),
    ] {
        let worker = Worker::new(&document("reachable"));
        let mut stream = worker.list();
        assert_eq!(worker.respond(&mut stream, headers), StreamAction::Pause, "{details}");
        assert_eq!(worker.answers(), [(200, "callgate_answer_unreadable".to_owned())], "{details}");
        assert_eq!(worker.metric("callgate.answers.replaced"), 1);
    }
    let worker = Worker::new(&document("reachable"));
    let mut stream = worker.list();
    let headers = [(":status", "200"), ("content-type", "application/json")];
    assert_eq!(worker.respond(&mut stream, &headers), StreamAction::Continue);
    let out = worker.chunk(&mut stream, &"x".repeat(2_000), false);
    assert!(out.starts_with(r#"{"jsonrpc":"2.0","id":7,"error":"#), "{out}");
    assert_eq!(worker.chunk(&mut stream, "more", true), "", "nothing follows the error");
    assert_eq!(worker.metric("callgate.answers.replaced"), 1);
}

/// Over HTTP/2, a body with trailers has no last chunk.
#[test]
fn a_list_is_forwarded_before_its_body_ends() {
    let worker = Worker::new(&document("reachable"));
    let mut stream = worker.list();
    worker.respond(&mut stream, &JSON);
    let whole = answer(&[HIDDEN, LOOK]);
    let (first, rest) = whole.split_at(60);
    assert_eq!(worker.chunk(&mut stream, first, false), "");
    assert_eq!(worker.chunk(&mut stream, rest, false), answer(&[LOOK]));
    assert_eq!(worker.chunk(&mut stream, "\n", false), "");
    assert_eq!(worker.metric("callgate.answers.replaced"), 0);
    assert_eq!(worker.chunk(&mut stream, &answer(&[HIDDEN]), false), "", "there is one answer");
    assert_eq!(worker.metric("callgate.answers.replaced"), 1);
    stream.on_log();
}

#[test]
fn answers_share_the_room_of_their_agents() {
    let mut document = document("reachable");
    document["agents"]["b"] = testing::agent("other");
    document["max_body"] = json!("1KiB");
    document["held_bodies"] = json!({ "agent_bytes": "192KiB" });
    document["endpoints"][0]["rpc"]["max_answer"] = json!("128KiB");
    let mut worker = Worker::new(&document);
    let begin = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"tools":[],"x":"{}"#, "x".repeat(100 << 10));
    let bytes = i64::try_from(begin.len()).unwrap();
    let list = |worker: &Worker, client: &str| {
        let message = r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#;
        let (mut stream, action) = worker.post_with(json!({ "client_id": client }), message);
        assert_eq!(action, StreamAction::Continue);
        assert_eq!(worker.respond(&mut stream, &JSON), StreamAction::Continue);
        stream
    };
    let held = |worker: &mut Worker| {
        worker.host.0.millis.set(worker.host.0.millis.get() + 1_000);
        worker.root.on_tick();
        worker.metric("callgate.held_bytes")
    };
    let mut first = list(&worker, "agent");
    assert_eq!(held(&mut worker), 0, "nothing is kept yet");
    assert_eq!(worker.chunk(&mut first, &begin, false), "");
    assert_eq!(held(&mut worker), bytes);

    let mut second = list(&worker, "agent");
    let error = worker.chunk(&mut second, &begin, false);
    assert!(error.starts_with(r#"{"jsonrpc":"2.0","id":7,"error":"#) && error.contains("answer_not_held"), "{error}");
    assert_eq!(worker.chunk(&mut second, "\"}}", true), "", "nothing follows the error");
    assert_eq!(worker.metric("callgate.answers.replaced"), 1);

    let mut other = list(&worker, "other");
    assert_eq!(worker.chunk(&mut other, &begin, false), "", "another agent has its own share");
    assert_eq!(held(&mut worker), 2 * bytes);
    assert_eq!(worker.chunk(&mut first, "\"}}", false), format!("{begin}\"}}}}"));
    assert_eq!(held(&mut worker), bytes, "what is forwarded is not held");
    drop(other);
    assert_eq!(held(&mut worker), 0, "a cancelled stream holds nothing");

    let mut third = list(&worker, "agent");
    assert_eq!(worker.chunk(&mut third, &begin, false), "");
    assert_eq!(worker.metric("callgate.answers.replaced"), 1, "there is room again");
}

#[test]
fn nothing_of_a_chunk_is_forwarded_if_the_host_fails() {
    let worker = Worker::new(&document("reachable"));
    let mut stream = worker.list();
    worker.respond(&mut stream, &JSON);
    worker.host.0.fails.set(Some("response_body"));
    let whole = answer(&[HIDDEN]);
    assert_eq!(worker.chunk(&mut stream, &whole, true), "");
}

#[test]
fn a_stream_ends_if_the_host_cannot_change_its_body() {
    let worker = Worker::new(&document("reachable"));
    let mut stream = worker.list();
    worker.respond(&mut stream, &JSON);
    worker.host.0.fails.set(Some("set_response_body"));
    let whole = answer(&[HIDDEN]);
    for _ in 0..2 {
        worker.host.0.response_body.replace(whole.clone().into_bytes());
        assert_eq!(stream.on_response_body(whole.len(), true), StreamAction::Pause);
        assert_eq!(worker.answers(), [(500, "callgate_host_error".to_owned())], "once");
    }
}

#[test]
fn a_changed_definition_blocks_the_tool_for_all_workers_until_it_matches_again() {
    let worker = Worker::new(&document("reachable"));
    let other = Worker::on(worker.host.sibling(), &document("reachable"));
    let call = r#"{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"pay"}}"#;
    assert_eq!(other.post(call).1, StreamAction::Continue);
    let lists = |worker: &Worker, definition: &str| {
        let mut stream = worker.list();
        worker.respond(&mut stream, &JSON);
        worker.chunk(&mut stream, &answer(&[LOOK, definition]), true)
    };
    assert_eq!(lists(&worker, CHANGED), answer(&[LOOK]));
    assert_eq!(worker.metric("callgate.tools.changed"), 1);
    for worker in [&worker, &other] {
        assert_eq!(worker.post(call).1, StreamAction::Pause);
        assert_eq!(worker.answers(), [(200, "callgate_tool_changed".to_owned())]);
    }
    assert_eq!(lists(&other, CHANGED), answer(&[LOOK]));
    assert_eq!(other.metric("callgate.tools.changed"), 0, "the first worker counted it");
    assert_eq!(lists(&other, PAY), answer(&[LOOK, PAY]));
    assert_eq!(worker.post(call).1, StreamAction::Continue);
}

/// A server that writes the name twice would otherwise hide the changed definition from the gate, and requests for the tool would pass.
#[test]
fn a_definition_with_an_ambiguous_name_blocks_each_pinned_tool_that_it_names() {
    let call = r#"{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"pay"}}"#;
    for definition in [
        r#"{"name":"pay","Name":"pay","inputSchema":{"type":"object"}}"#,
        r#"{"Name":"pay","inputSchema":{"type":"object"}}"#,
        r#"{"name":"look","NAME":"pay"}"#,
        r#"{"name":"other","name\u0000":"pay"}"#,
    ] {
        let worker = Worker::new(&document("reachable"));
        let other = Worker::on(worker.host.sibling(), &document("reachable"));
        assert_eq!(other.post(call).1, StreamAction::Continue);
        let mut stream = worker.list();
        worker.respond(&mut stream, &JSON);
        assert_eq!(worker.chunk(&mut stream, &answer(&[LOOK, definition]), true), answer(&[LOOK]), "{definition}");
        stream.on_log();
        assert_eq!(worker.metric("callgate.tools.changed"), 1, "{definition}");
        assert_eq!(worker.host.record().unwrap()["outcome"]["tools_changed"], json!(["pay"]), "{definition}");
        for worker in [&worker, &other] {
            assert_eq!(worker.post(call).1, StreamAction::Pause, "{definition}");
            assert_eq!(worker.answers(), [(200, "callgate_tool_changed".to_owned())], "{definition}");
        }
    }
}

/// Without a pin, every definition is accepted, and an ambiguous one is only hidden.
#[test]
fn an_ambiguous_name_of_a_tool_without_a_pin_changes_nothing() {
    let worker = Worker::new(&document("reachable"));
    let mut stream = worker.list();
    worker.respond(&mut stream, &JSON);
    let shown = worker.chunk(&mut stream, &answer(&[r#"{"name":"look","Name":"look"}"#, PAY]), true);
    assert_eq!(shown, answer(&[PAY]));
    assert_eq!(worker.metric("callgate.tools.changed"), 0);
    let call = r#"{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"pay"}}"#;
    assert_eq!(worker.post(call).1, StreamAction::Continue);
}

#[test]
fn the_record_of_a_list_names_the_tools_that_changed() {
    for records_outcome in [true, false] {
        let mut document = document("reachable");
        document["audit"]["outcome"] = json!(records_outcome);
        let worker = Worker::new(&document);
        // Only the first worker that sees a changed definition counts it. Each record of a list names it.
        for (tools, changed) in [
            (&[LOOK, CHANGED][..], json!(["pay"])),
            (&[LOOK, CHANGED], json!(["pay"])),
            (&[LOOK, CHANGED, PAY, CHANGED], json!(["pay"])),
            (&[LOOK, HIDDEN, PAY], Value::Null),
        ] {
            let mut stream = worker.list();
            worker.respond(&mut stream, &JSON);
            worker.chunk(&mut stream, &answer(tools), true);
            stream.on_log();
            let record = worker.host.record().unwrap();
            assert_eq!(record["outcome"]["tools_changed"], changed, "{record}");
            assert_eq!(record.get("outcome").is_some(), records_outcome || !changed.is_null(), "{record}");
            assert_eq!((&record["decision"], &record["rpc"]["method"]), (&json!("allow"), &json!("tools/list")));
        }
    }
}

#[test]
fn the_record_of_an_event_stream_names_the_tools_that_changed_in_any_event() {
    let worker = Worker::new(&document("reachable"));
    let mut stream = worker.list();
    worker.respond(&mut stream, &[(":status", "200"), ("content-type", "text/event-stream")]);
    for tools in [&[LOOK][..], &[CHANGED], &[PAY]] {
        worker.chunk(&mut stream, &format!("data: {}\n\n", answer(tools)), false);
    }
    stream.on_log();
    assert_eq!(worker.host.record().unwrap()["outcome"]["tools_changed"], json!(["pay"]));
}

/// Over HTTP/2, a body with trailers has no last chunk, so nothing can be sent instead of an answer that they follow too early.
#[test]
fn an_unfinished_answer_with_trailers_is_logged_and_counted() {
    const DOWNSTREAM_DISCONNECTED: i64 = 1 << 14;
    const UPSTREAM_DISCONNECTED: i64 = 1 << 6;
    let whole = answer(&[HIDDEN, LOOK]);
    let (whole, half) = (whole.as_str(), whole.get(..60).unwrap());
    let event = format!("data: {half}");
    let (json, events) = ("application/json", "text/event-stream");
    for (content_type, body, flags, count) in [
        (json, half, Some(0), 1),
        (json, "{", Some(0), 1),
        // An older gateway does not report how a stream ended.
        (json, half, None, 1),
        // The gateway reports that something cut the answer.
        (json, half, Some(DOWNSTREAM_DISCONNECTED), 0),
        (json, half, Some(UPSTREAM_DISCONNECTED), 0),
        (json, whole, Some(0), 0),
        (json, " \r\n", Some(0), 0),
        // Clients ignore an event without its end, and it is not forwarded.
        (events, event.as_str(), Some(0), 0),
    ] {
        let worker = Worker::new(&document("reachable"));
        let mut stream = worker.list();
        worker.respond(&mut stream, &[(":status", "200"), ("content-type", content_type)]);
        worker.chunk(&mut stream, body, false);
        if let Some(flags) = flags {
            let flags = flags.to_le_bytes().to_vec();
            worker.host.0.properties.borrow_mut().insert(b"response\0flags".to_vec(), flags);
        }
        stream.on_log();
        assert_eq!(worker.metric("callgate.answers.replaced"), count, "{content_type} {body:?} {flags:?}");
    }
}

#[test]
fn an_answer_that_was_replaced_is_counted_once() {
    let worker = Worker::new(&document("reachable"));
    for end in [true, false] {
        let mut stream = worker.list();
        worker.respond(&mut stream, &JSON);
        assert_ne!(worker.chunk(&mut stream, "[]", end), "");
        stream.on_log();
    }
    assert_eq!(worker.metric("callgate.answers.replaced"), 2);
}

/// A gateway does so whose configuration lacks the capability for the bodies of responses.
#[test]
fn a_gateway_that_hides_answers_from_the_filter_gets_no_more_messages() {
    let worker = Worker::new(&document("reachable"));
    let mut stream = worker.list();
    worker.respond(&mut stream, &JSON);
    worker.host.0.properties.borrow_mut().insert(b"response\0size".to_vec(), 99_i64.to_le_bytes().to_vec());
    stream.on_log();
    worker.host.set(
        Map::RequestHeaders,
        &[
            (":method", "POST"),
            (":path", "/mcp"),
            (":authority", "api.example.com"),
            ("authorization", &credential(json!({}))),
            ("content-type", "application/json"),
        ],
    );
    assert_eq!(worker.root.stream(STREAM).on_request_headers(false), StreamAction::Pause);
    assert_eq!(worker.answers(), [(500, "callgate_host_error".to_owned())]);
}

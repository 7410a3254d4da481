//! The module answers, forwards and records as the filter does. The only differences are what differs between two requests: ids, times, and
//! the version of the policy, which names its gateway.

use serde_json::{Value, json};
use test_harness::build::Flavor;
use test_harness::client::{Request, Response};
use test_harness::envoy::{Adapter, Options};
use test_harness::upstream::Seen;

use crate::envoy::fixture::{Asked, Gate, HOST, KEY, claims, good, header, policy, token};

/// Members of records, and of their outcomes, that differ between two requests.
const OF_ONE_REQUEST: [(&str, &[&str]); 2] = [
    ("", &["id", "time_ms", "request_id", "policy_version"]),
    ("/outcome", &["duration_ms", "bytes_received", "bytes_sent"]),
];

/// Headers that differ between two requests, for clients and for the upstream.
const HEADERS_OF_ONE_REQUEST: [&str; 6] =
    ["date", "x-envoy-upstream-service-time", "x-request-id", "x-mark", "ratelimit", "retry-after"];

fn parity_policy() -> Value {
    let mut policy = policy();
    policy["audit"]["outcome"] = json!(true);
    policy["limits"] = json!({ "creations": { "per": "agent", "rate": "1/1h", "burst": 1 } });
    policy["endpoints"][1]["limits"] = json!(["creations"]);
    let observed = json!({
        "id": "observed", "methods": ["GET"], "path": "/observed", "effect": "read", "scopes": ["other"], "mode": "observe",
    });
    policy["endpoints"].as_array_mut().unwrap().push(observed);
    policy["endpoints"].as_array_mut().unwrap().push(json!({
        "id": "mcp", "methods": ["POST"], "path": "/mcp", "effect": "read", "scopes": "none",
        "rpc": {
            "protocol": "mcp", "revisions": ["2025-11-25"],
            "tools": [{ "name": "look_up", "effect": "read", "scopes": "none" }],
        },
    }));
    policy
}

fn changed(change: impl FnOnce(&mut Value)) -> Request {
    let mut claims = claims("items:read");
    change(&mut claims);
    item(&KEY.sign(&header(), &claims))
}

fn item(token: &str) -> Request {
    Request::get("/items/1").host(HOST).bearer(token)
}

fn tool(name: &str) -> Request {
    let message =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name, "arguments": {} } });
    Request::post("/mcp")
        .host(HOST)
        .bearer(&token("none"))
        .header("Content-Type", "application/json")
        .header("Accept", "application/json, text/event-stream")
        .header("MCP-Protocol-Version", "2025-11-25")
        .body(message.to_string())
}

fn requests() -> Vec<(&'static str, Request)> {
    let get = |path: &str| Request::get(path).host(HOST).bearer(&token("items:read"));
    let create = || Request::post("/items").host(HOST).bearer(&token("items:write"));
    let spoiled = || format!("{}AAAA", good_token().trim_end_matches(|c| c != '.'));
    vec![
        ("allowed", good()),
        ("with a query", get("/items/1?page=2&q=a%20b")),
        ("public", Request::get("/status").host(HOST)),
        ("public with a token", Request::get("/status").host(HOST).bearer(&good_token())),
        ("HEAD", Request::new("HEAD", "/items/1").host(HOST).bearer(&good_token())),
        ("OPTIONS", Request::new("OPTIONS", "/items/1").host(HOST)),
        ("a body", create().header("Content-Type", "text/plain").body("a body")),
        ("over a limit", create().header("Content-Type", "text/plain").body("a body")),
        ("no token", Request::get("/items/1").host(HOST)),
        ("an empty token", Request::get("/items/1").host(HOST).header("Authorization", "Bearer ")),
        ("another scheme", Request::get("/items/1").host(HOST).header("Authorization", "Basic YTpi")),
        ("malformed", item("a.b.c")),
        ("a wrong signature", item(&spoiled())),
        ("expired", changed(|claims| (claims["iat"], claims["exp"]) = (json!(0), json!(600)))),
        ("too long a lifetime", changed(|claims| claims["exp"] = json!(4_000_000_000_u64))),
        ("another issuer", changed(|claims| claims["iss"] = json!("https://other.example.com"))),
        ("another audience", changed(|claims| claims["aud"] = json!("https://other.example.com"))),
        ("an unknown agent", changed(|claims| claims["client_id"] = json!("nobody"))),
        ("no scope", changed(|claims| claims["scope"] = json!("none"))),
        ("two tokens", good().bearer(&good_token())),
        ("a token in the query", get("/items/1?access_token=a.b.c")),
        ("no endpoint", get("/nowhere")),
        ("another method", Request::new("DELETE", "/items/1").host(HOST).bearer(&good_token())),
        ("a method override", good().header("X-HTTP-Method-Override", "DELETE")),
        ("dot segments", get("/items/../items/1")),
        ("an escaped slash", get("/items/a%2Fb")),
        ("no UTF-8", get("/items/%FF")),
        ("another host", Request::get("/items/1").host("API.example.com:80").bearer(&good_token())),
        ("forged headers", good().header("X-Callgate-Agent", "root").header("X_Callgate_Agent", "root")),
        ("odd headers", good().header("X-Odd", b"\xff\xfe").header("X-Empty", "")),
        ("a trace", good().header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        ("observed", Request::get("/observed").host(HOST).bearer(&good_token())),
        ("a tool", tool("look_up")),
        ("an unlisted tool", tool("drop_everything")),
        ("the upstream fails", good().header("X-Failure", "reset")),
        ("gRPC", grpc("/echo.Echo/Say")),
        ("gRPC without an endpoint", grpc("/echo.Other/Say")),
    ]
}

fn good_token() -> String {
    token("items:read")
}

/// Returns a denied request of a gRPC client. Over HTTP/1.1 as well, Envoy answers it with a gRPC status.
fn grpc(path: &str) -> Request {
    Request::post(path).host(HOST).header("Content-Type", "application/grpc").header("TE", "trailers").body("")
}

/// Removes from a record what differs between two requests.
fn without_ids(record: &mut Value) {
    for (place, names) in OF_ONE_REQUEST {
        if let Some(members) = record.pointer_mut(place).and_then(Value::as_object_mut) {
            members.retain(|name, _| !names.contains(&name.as_str()));
        }
    }
}

/// Returns the headers with the decision's id masked, without the values that differ between two requests. Their names remain.
fn headers<'h>(lines: impl Iterator<Item = (&'h str, String)>, id: &str) -> Vec<String> {
    let mut headers: Vec<_> = lines
        .map(|(name, value)| {
            let value = match name {
                _ if HEADERS_OF_ONE_REQUEST.contains(&name) => "*".to_owned(),
                // The versions of the policies differ, because the policies name their gateways.
                "x-callgate-policy" => value.split('@').next().unwrap_or_default().to_owned(),
                _ => value.replace(id, "ID"),
            };
            format!("{name}: {value}")
        })
        .collect();
    headers.sort();
    headers
}

/// Everything that a request caused, without what differs between two requests.
#[derive(Debug, PartialEq)]
struct Effects {
    status: u16,
    headers: Vec<String>,
    body: Value,
    details: Value,
    record: Value,
    forwarded: Option<(String, String, String, Vec<String>)>,
}

impl Effects {
    fn of(asked: &Asked) -> Self {
        let mut record = asked.record();
        let id = record["id"].as_str().unwrap().to_owned();
        without_ids(&mut record);
        let seen = |Seen { method, path, host, headers: lines }: &Seen| {
            let lines = lines.iter().map(|(name, value)| (name.as_str(), value.clone()));
            (method.clone(), path.clone(), host.clone(), headers(lines, &id))
        };
        let Response { status, headers: lines, .. } = &asked.response;
        // The upstream's answer describes the request, so its length depends on the mark.
        let has_length = |name: &str| name == "content-length" && asked.seen.is_some();
        let lines = lines.iter().filter(|(name, _)| !has_length(name));
        let lines = lines.map(|(name, value)| (name.as_str(), value.escape_ascii().to_string()));
        Self {
            status: *status,
            headers: headers(lines, &id),
            // What the upstream describes is compared below.
            body: match &asked.seen {
                Some(_) => Value::Null,
                None => json!(asked.response.text().replace(&id, "ID")),
            },
            details: asked.line["details"].clone(),
            record,
            forwarded: asked.seen.as_ref().map(seen),
        }
    }
}

fn start(adapter: Adapter) -> Gate {
    let file = adapter.build(Flavor::Release).unwrap();
    Gate::try_start(&file, &parity_policy().to_string(), |_| (), &Options::default()).unwrap()
}

#[test]
fn both_adapters_answer_forward_and_record_alike() {
    let gates = [Adapter::Wasm, Adapter::Module].map(start);
    let mut differences = Vec::new();
    let requests = requests();
    assert!(requests.len() >= 30);
    for (name, request) in requests {
        let [filter, module] = gates.each_ref().map(|gate| Effects::of(&gate.ask(request.clone())));
        if filter != module {
            differences.push(format!("{name}:\n    filter {filter:?}\n    module {module:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let counted = gates.each_ref().map(|gate| {
        let scraped = gate.envoy.prometheus().unwrap();
        let mut lines: Vec<_> = scraped.lines().filter(|line| line.starts_with("callgate_decisions{")).collect();
        lines.sort_unstable();
        lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()
    });
    assert!(counted[0].len() > 10, "{counted:?}");
    assert_eq!(counted[0], counted[1]);
}

#[test]
fn a_difference_would_be_found() {
    let first = json!({ "id": "a", "reason": "x", "outcome": { "duration_ms": 1, "status": 200 } });
    let same = json!({ "id": "b", "reason": "x", "outcome": { "duration_ms": 2, "status": 200 } });
    let other = json!({ "id": "b", "reason": "x", "outcome": { "duration_ms": 2, "status": 201 } });
    let [first, same, other] = [first, same, other].map(|mut record| {
        without_ids(&mut record);
        record
    });
    assert_eq!(first, same);
    assert_ne!(first, other);
    let of = |id: &str, value: &str| headers([("x-callgate-decision", value.to_owned())].into_iter(), id);
    assert_eq!(of("1", "1"), of("2", "2"));
    assert_ne!(of("1", "1"), of("2", "1"));
}

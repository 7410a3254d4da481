//! The module answers, forwards and records as the filter does. The only differences are what differs between two requests: ids, times, and
//! the version of the policy, which names its gateway; and the bytes of a body that arrives after a denial, as [`difference`] describes.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

use serde_json::{Value, json};
use test_harness::build::Flavor;
use test_harness::client::{Request, Response};
use test_harness::envoy::{Adapter, Bootstrap, Options};
use test_harness::http2;
use test_harness::upstream::Seen;

use crate::envoy::fixture::{Asked, Gate, HOST, KEY, claims, good, header, mark, mcp_request, policy, token};
use crate::envoy::possession::{bound_token, call_of};
use crate::envoy::signed::{self, Call};

/// Members of records, and of their outcomes, that differ between two requests. Bytes are compared without the headers that differ.
const OF_ONE_REQUEST: [(&str, &[&str]); 2] = [
    ("", &["id", "time_ms", "request_id", "policy_version"]),
    ("/outcome", &["duration_ms", "bytes_received", "bytes_sent"]),
];

/// Headers that differ between two requests, for clients and for the upstream.
const HEADERS_OF_ONE_REQUEST: [&str; 6] =
    ["date", "x-envoy-upstream-service-time", "x-request-id", "x-mark", "ratelimit", "retry-after"];

const BODY: &str = "a body";
/// The requests that are denied before their bodies have arrived, and those bodies.
const DENIED_EARLY: [(&str, &[u8]); 2] = [(OVER_A_LIMIT, BODY.as_bytes()), (REPLAYED, signed::BODY)];
const OVER_A_LIMIT: &str = "over a limit";
const REPLAYED: &str = "a replayed signature";
/// A message that asks for a list.
const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
/// The id of a token that the policy revokes.
const REVOKED: &str = "revoked";

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
            "protocol": "mcp", "revisions": ["2025-11-25"], "list": "reachable",
            "tools": [{ "name": "look_up", "effect": "read", "scopes": "none" }],
        },
    }));
    policy["endpoints"].as_array_mut().unwrap().push(json!({
        "id": "owned", "methods": ["POST"], "path": "/owned", "effect": "write", "scopes": ["items:write"],
        "bind": { "body./owner": "token.org" },
    }));
    policy["metadata"] =
        json!({ "authorization_servers": ["https://idp.example.com"], "initial_scopes": ["items:read"] });
    policy["revoked"] = json!([{ "issuer": "corp", "jti": REVOKED }]);
    policy
}

/// Returns a token of an agent that may write what `acme` owns.
fn owner_token() -> String {
    let mut claims = claims("items:write");
    claims["org"] = json!("acme");
    KEY.sign(&header(), &claims)
}

fn owned(body: &str) -> Request {
    Request::post("/owned").host(HOST).bearer(&owner_token()).header("Content-Type", "application/json").body(body)
}

fn owned_in_chunks(chunks: &[&[u8]]) -> Request {
    Request::post("/owned").host(HOST).bearer(&owner_token()).header("Content-Type", "application/json").chunked(chunks)
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
    let params = json!({ "name": name, "arguments": {} });
    message(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string())
}

/// Returns a request with a message to the MCP server.
fn message(message: &str) -> Request {
    mcp_request(&token("none")).body(message)
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
        ("a body", create().header("Content-Type", "text/plain").body(BODY)),
        (OVER_A_LIMIT, create().header("Content-Type", "text/plain").body(BODY)),
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
        ("revoked", changed(|claims| claims["jti"] = json!(REVOKED))),
        ("metadata", Request::get("/.well-known/oauth-protected-resource").host(HOST)),
        ("metadata of nothing", Request::get("/.well-known/oauth-protected-resource/nothing").host(HOST)),
        ("a held body", owned(r#"{"owner":"acme"}"#)),
        ("a held body in chunks", owned_in_chunks(&[br#"{"owner""#, br#":"acme"}"#])),
        ("a held body of another owner", owned(r#"{"owner":"globex"}"#)),
        ("an ambiguous body", owned(r#"{"owner":"acme","Owner":"globex"}"#)),
        ("a tool", tool("look_up")),
        ("an answer that is no list", message(LIST)),
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
    /// The bytes in the record that the gate received, and those that it sent without the values of headers that differ.
    received: u64,
    sent: u64,
    forwarded: Option<(String, String, String, Vec<String>)>,
}

impl Effects {
    fn of(asked: &Asked) -> Self {
        let mut record = asked.record();
        let id = record["id"].as_str().unwrap().to_owned();
        let [received, sent] =
            ["bytes_received", "bytes_sent"].map(|member| record["outcome"][member].as_u64().unwrap());
        without_ids(&mut record);
        let seen = |Seen { method, path, host, headers: lines }: &Seen| {
            let lines = lines.iter().map(|(name, value)| (name.as_str(), value.clone()));
            (method.clone(), path.clone(), host.clone(), headers(lines, &id))
        };
        let Response { status, headers: lines, .. } = &asked.response;
        let varying = lines.iter().filter(|(name, _)| HEADERS_OF_ONE_REQUEST.contains(&name.as_str()));
        let varying: usize = varying.map(|(_, value)| value.len()).sum();
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
            received,
            sent: sent.checked_sub(varying as u64).unwrap(),
            forwarded: asked.seen.as_ref().map(seen),
        }
    }
}

/// Starts the gate with both adapters.
fn start_both(policy: &Value, change: impl Fn(&mut Bootstrap), options: &Options) -> [Gate; 2] {
    [Adapter::Wasm, Adapter::Module].map(|adapter| {
        let file = adapter.build(Flavor::Release).unwrap();
        Gate::try_start(&file, &policy.to_string(), &change, options).unwrap()
    })
}

/// Sends a request with a mark to both gates. Returns how their effects differ, if they do.
///
/// The counts of bytes must be equal, except for bytes that follow a denial: Envoy reads a body of `unread` bytes, and no longer shows it to
/// the module, which has answered. The filter reports what Envoy read of it, depending on the time.
fn difference(gates: &[Gate; 2], name: &str, unread: u64, send: impl Fn(&Gate, &str) -> Response) -> Option<String> {
    let [mut filter, module] = gates.each_ref().map(|gate| {
        // Marks of the same length, because the bytes of the request are compared.
        let mark = format!("{:0>9}", mark());
        let response = send(gate, &mark);
        Effects::of(&gate.asked(&mark, response))
    });
    if filter.received.checked_sub(module.received).is_some_and(|more| more <= unread) {
        filter.received = module.received;
    }
    (filter != module).then(|| format!("{name}:\n    filter {filter:?}\n    module {module:?}"))
}

/// Sends all requests to both gates, and asserts that nothing differs.
#[track_caller]
fn assert_alike(gates: &[Gate; 2], requests: &[(&str, Request)]) {
    let differences: Vec<_> = requests
        .iter()
        .filter_map(|(name, request)| {
            let unread = DENIED_EARLY.iter().find(|(early, _)| early == name).map_or(0, |(_, body)| body.len() as u64);
            difference(gates, name, unread, |gate, mark| gate.call(&request.clone().header("X-Mark", mark)))
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn both_adapters_answer_forward_and_record_alike() {
    let gates = start_both(&parity_policy(), |_| (), &Options::default());
    let requests = requests();
    assert!(requests.len() >= 40);
    assert_alike(&gates, &requests);
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
fn both_adapters_treat_http_2_alike() {
    let gates = start_both(&parity_policy(), |_| (), &Options::default());
    let bearer = format!("Bearer {}", good_token());
    let writer = format!("Bearer {}", token("items:write"));
    let json = ("content-type", "application/json");
    let owned = format!("Bearer {}", owner_token());
    type Row<'r> = (&'r str, &'r str, &'r str, &'r [(&'r str, &'r str)], Option<&'r [&'r str]>);
    let rows: [Row<'_>; 8] = [
        ("allowed", "GET", "/items/1?page=2", &[("authorization", &bearer)], None),
        ("no token", "GET", "/items/1", &[], None),
        (
            "crumbs of a cookie",
            "GET",
            "/items/1",
            &[("authorization", &bearer), ("cookie", "a=1"), ("cookie", "b=2")],
            None,
        ),
        ("two tokens", "GET", "/items/1", &[("authorization", &bearer), ("authorization", &bearer)], None),
        ("HEAD", "HEAD", "/items/1", &[("authorization", &bearer)], None),
        (
            "a body",
            "POST",
            "/items",
            &[("authorization", &writer), ("content-type", "text/plain")],
            Some(&["a ", "body"]),
        ),
        ("a held body", "POST", "/owned", &[("authorization", &owned), json], Some(&["{\"owner\":", "\"acme\"}"])),
        ("a wrong body", "POST", "/owned", &[("authorization", &owned), json], Some(&["{\"owner\":", "\"globex\"}"])),
    ];
    let differences: Vec<_> = rows
        .into_iter()
        .filter_map(|(name, method, path, lines, body)| {
            difference(&gates, name, 0, |gate, mark| {
                let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", HOST)];
                let marked = [("x-mark", mark)];
                let lines = pseudo.iter().chain(lines).chain(&marked);
                let lines = lines.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
                let body: Option<Vec<_>> =
                    body.map(|parts| parts.iter().map(|part| part.as_bytes().to_vec()).collect());
                let lines: Vec<_> = lines.collect();
                http2::call(gate.envoy.api().unwrap(), &lines, body.as_deref()).unwrap().unwrap()
            })
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Each proof and each signature is sent to both gates, which accept it once.
#[test]
fn both_adapters_treat_signatures_and_proofs_alike() {
    let mut policy = signed::signed_policy();
    policy["audit"]["outcome"] = json!(true);
    policy["dpop"] = json!({ "required": false, "algorithms": ["ES256"] });
    policy["endpoints"].as_array_mut().unwrap().push(json!({
        "id": "bound", "methods": ["GET"], "path": "/bound/{id}", "effect": "destructive", "scopes": ["items:read"],
        "authenticate": "token", "token": "bound", "limits": ["calls"],
    }));
    let gates = start_both(&policy, signed::pass_secrets, &signed::options(1));
    for gate in &gates {
        signed::ripen(gate);
    }
    let body = signed::BODY;
    let once = Call::post(body).request().body(body);
    let proof = call_of("/bound/1", &bound_token(), None);
    assert_alike(
        &gates,
        &[
            ("a signed request", Call::get("/items/1").request()),
            ("a signed body", once.clone()),
            (REPLAYED, once),
            ("a signed body in chunks", Call::post(body).request().chunked(&[&body[..5], &body[5..]])),
            ("another body", Call::post(body).request().body(b"{\"amount\": 13}")),
            ("another body in chunks", Call::post(body).request().chunked(&[b"{\"amount\"", b": 13}"])),
            ("no signature", Request::get("/items/1").host(HOST).bearer(&good_token())),
            ("a proof", proof.clone()),
            ("a replayed proof", proof),
            ("a proof for another path", call_of("/bound/2", &bound_token(), None).header("X-Callgate-Agent", "root")),
            ("a bound token without a proof", Request::get("/bound/1").host(HOST).bearer(&bound_token())),
            ("a token that is not bound", Request::get("/bound/1").host(HOST).bearer(&good_token())),
        ],
    );
}

/// Starts a server that answers every request with a list of two tools.
fn serve_a_list() -> SocketAddr {
    let tools = ["look_up", "drop_everything"].map(|name| json!({ "name": name, "inputSchema": { "type": "object" } }));
    let list = json!({ "jsonrpc": "2.0", "id": 1, "result": { "tools": tools } }).to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let answer = format!("{head}content-length: {}\r\n\r\n{list}", list.len());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || {
                // The request ends with its body, which is `LIST`.
                let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
                while !read.ends_with(LIST.as_bytes()) {
                    match stream.read(&mut buffer) {
                        Ok(0) | Err(_) => return,
                        Ok(count) => read.extend_from_slice(&buffer[..count]),
                    }
                }
                // The gateway may have gone away.
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    address
}

#[test]
fn both_adapters_filter_a_list_alike() {
    let server = serve_a_list();
    let gates = start_both(&parity_policy(), |bootstrap| bootstrap.set_upstream(server).unwrap(), &Options::default());
    let list = || message(LIST);
    assert_alike(&gates, &[("a filtered list", list()), ("the same again", list())]);
    for gate in &gates {
        let text = gate.call(&list()).text();
        assert!(text.contains("look_up") && !text.contains("drop_everything"), "{text}");
    }
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

//! Policies, requests and responses that inputs vary.
#![expect(unsafe_code, reason = "sets an environment variable")]

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::input::Input;
use crate::clock::stopped;
use crate::fake_envoy::RawLines;

const SECRET: &str = "another secret of thirty-two bytes";
const VARIABLE: &str = "CALLGATE_MODULE_FUZZ_SECRET";

/// A list of tools, of which the agent sees one.
pub(super) const LIST: &[u8] = br#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#;
/// Bodies of requests.
const BODIES: [&[u8]; 8] = [
    LIST,
    br#"{"owner":"acme","note":"\u00e9"}"#,
    br#"{"owner":"other"}"#,
    br#"{"owner":"acme","owner":"other"}"#,
    br#"{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"look","arguments":{}}}"#,
    br#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"drop_tables"}}"#,
    br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    b"",
];
/// The tool that the agent must not see.
pub(super) const HIDDEN: &[u8] = b"drop_tables";
/// Bodies of responses to [`LIST`].
pub(super) const ANSWERS: [&[u8]; 3] = [
    br#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"look"},{"name":"drop_tables","x":[1,2]}]}}"#,
    b"event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"tools\":[{\"name\":\"drop_tables\"}]}}\n\n",
    br#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"no"}}"#,
];

const NAMES: [&str; 24] = [
    ":method",
    ":path",
    ":authority",
    ":scheme",
    ":status",
    "host",
    "authorization",
    "content-type",
    "content-length",
    "content-encoding",
    "mcp-protocol-version",
    "mcp-session-id",
    "x-callgate-endpoint",
    "x-callgate-agent",
    "dpop",
    "x-forwarded-for",
    "transfer-encoding",
    "connection",
    "upgrade",
    "cookie",
    "expect",
    "te",
    "ratelimit",
    "accept",
];
const VALUES: [&str; 28] = [
    "GET",
    "POST",
    "HEAD",
    "CONNECT",
    "OPTIONS",
    "/health",
    "/reports",
    "/json",
    "/mcp",
    "/mcp?a=b",
    "api.example.com",
    "evil.example.com",
    "application/json",
    "text/event-stream",
    "application/grpc",
    "",
    "0",
    "5",
    "99999999999999999999",
    "chunked",
    "websocket",
    "gzip",
    "2025-11-25",
    "200",
    "204",
    "101",
    "503",
    "/health/../json",
];

/// What is computed once.
pub(super) struct Samples {
    /// Configurations with these policies. The last one only observes, and requests are forwarded whatever it decides.
    pub(super) configurations: [String; 4],
    /// The credentials that the policies accept.
    pub(super) bearers: [String; 2],
    /// The keys for the second one.
    pub(super) keys: String,
}

pub(super) static SAMPLES: LazyLock<Samples> = LazyLock::new(|| {
    // SAFETY: only the standard library reads the environment of this process, with a lock.
    unsafe { std::env::set_var(VARIABLE, SECRET) };
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let secret = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    let remote = json!({ "remote": { "url": "https://idp.example.com/jwks", "cluster": "idp" } });
    let (first, mut fetching) = (policy("first"), policy("fetching"));
    fetching["issuers"]["corp"]["algorithms"] = json!(["Ed25519"]);
    fetching["issuers"]["corp"]["keys"] = remote;
    let mut small = policy("small");

    small["held_bodies"] = json!({ "hold_timeout": "1s", "total_timeout": "2s", "worker_bytes": "2MiB" });
    small["limits"]["visits"] = json!({ "per": "source", "rate": "1/1m", "burst": 1 });
    let mut observing = policy("observing");
    observing["mode"] = json!("observe");
    let configuration = |policy: Value| json!({ "policy": policy, "environment": [VARIABLE] }).to_string();
    Samples {
        configurations: [first, fetching, small, observing].map(configuration),
        bearers: [
            bearer("HS256", |signed| hmac::sign(&secret, signed).as_ref().to_vec()),
            bearer("EdDSA", |signed| pair.sign(signed).as_ref().to_vec()),
        ],
        keys: json!({ "keys": [{ "kid": "k", "kty": "OKP", "crv": "Ed25519", "x": x }] }).to_string(),
    }
});

fn policy(name: &str) -> Value {
    json!({
        "callgate": "v1", "name": name, "mode": "enforce", "gateway": "envoy-module",
        "resource": "https://api.example.com", "hosts": ["api.example.com"],
        "issuers": { "corp": {
            "issuer": "https://idp.example.com", "profile": "at+jwt", "algorithms": ["HS256"], "max_lifetime": "1h",
            "keys": { "secret": { "env": VARIABLE } },
        } },
        "agents": { "a": { "owner": "o", "identity": { "issuer": "corp", "client_id": "agent" } } },
        "limits": { "visits": { "per": "source", "rate": "1/1m", "burst": 9 } },
        "held_bodies": { "hold_timeout": "2s", "total_timeout": "9s" },
        "endpoints": [
            { "id": "health", "methods": ["GET"], "path": "/health", "effect": "read", "access": "public", "limits": ["visits"] },
            { "id": "reports", "methods": ["GET", "POST"], "path": "/reports", "effect": "write", "scopes": "none",
              "streams": "recheck" },
            { "id": "json", "methods": ["POST"], "path": "/json", "effect": "write", "scopes": ["look"], "max_json": "1KiB",
              "bind": { "body./owner": "token.org" } },
            { "id": "mcp", "methods": ["POST", "GET"], "path": "/mcp", "effect": "read", "scopes": "none",
              "rpc": { "protocol": "mcp", "revisions": ["2025-11-25"], "list": "reachable", "max_answer": "4KiB",
                       "tools": [{ "name": "look", "effect": "read", "scopes": ["look"] }] } },
        ],
        "upstream": { "authorization": "remove" },
        "audit": { "log": { "allow": false, "deny": false }, "outcome": true },
    })
}

/// Returns a credential for the time at which stopped clocks begin.
fn bearer(algorithm: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let now = stopped::AT.as_secs();
    let header = json!({ "alg": algorithm, "typ": "at+jwt", "kid": "k" });
    let claims = json!({
        "iss": "https://idp.example.com", "aud": "https://api.example.com", "sub": "s", "client_id": "agent",
        "iat": now - 1, "exp": now + 600, "jti": "j", "scope": "look", "org": "acme",
    });
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = format!("{header}.{claims}");
    format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(sign(signed.as_bytes())))
}

/// Chooses the lines of a request.
pub(super) fn request(input: &mut Input<'_>, policy: usize) -> RawLines {
    let bearer = &*SAMPLES.bearers[usize::from(policy == 1)];
    let [get, post] = ["GET", "POST"];
    let (method, path, kind) = input.one_of(&[
        (get, "/health", None),
        (get, "/reports", None),
        (post, "/reports", Some("text/plain")),
        (post, "/json", Some("application/json")),
        (post, "/mcp", Some("application/json")),
        (get, "/mcp", None),
        (post, "/nowhere", Some("application/grpc")),
    ]);
    let authority = (":authority", "api.example.com");
    let mut lines = vec![(":method", method), (":path", path), authority, ("authorization", bearer)];
    if let Some(kind) = kind {
        lines.push(("content-type", kind));
    }
    if path == "/mcp" {
        lines.extend([("mcp-protocol-version", "2025-11-25"), ("accept", "application/json, text/event-stream")]);
    }
    vary(input, lines.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
}

/// Chooses the lines of a response.
pub(super) fn response(input: &mut Input<'_>) -> RawLines {
    let kind = input.one_of(&["application/json", "text/event-stream", "text/plain"]);
    let lines = vec![(":status", input.one_of(&["200", "202", "404", "503"])), ("content-type", kind)];
    vary(input, lines.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
}

/// Removes, repeats, replaces and adds lines. Most lists stay as they are.
pub(super) fn vary(input: &mut Input<'_>, mut lines: RawLines) -> RawLines {
    for _ in 0..input.byte().saturating_sub(128) / 16 {
        let at = input.below(lines.len());
        match input.below(4) {
            0 if !lines.is_empty() => drop(lines.remove(at)),
            1 if !lines.is_empty() => lines.push(lines[at].clone()),
            2 if !lines.is_empty() => lines[at].1 = value(input),
            _ => {
                let name = if input.flag() { input.bytes() } else { input.one_of(&NAMES).as_bytes() };
                // Envoy converts names to lower case.
                lines.push((name.to_ascii_lowercase(), value(input)));
            }
        }
    }
    lines
}

fn value(input: &mut Input<'_>) -> Vec<u8> {
    if input.flag() { input.bytes().to_vec() } else { input.one_of(&VALUES).into() }
}

/// Chooses the body of a request. Most of them can be forwarded.
pub(super) fn body<'b>(input: &mut Input<'b>, lines: &RawLines) -> &'b [u8] {
    let usual = if lines.iter().any(|(_, value)| value == b"/json") { BODIES[1] } else { LIST };
    match input.below(4) {
        0 | 1 => usual,
        2 => input.one_of(&BODIES),
        _ => input.bytes(),
    }
}

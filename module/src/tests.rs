//! Drives the hooks as Envoy does, with real policies.
#![expect(unsafe_code, reason = "sets an environment variable, and calls a hook without an object")]

use std::sync::Once;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

use crate::abi::{self, CONTINUE, STOP_AND_BUFFER, STOP_ITERATION};
use crate::clock::stopped::Clocks;
use crate::fake_envoy::{Connection, Gateway};
use crate::metrics::{self, Labelled};
use crate::{hooks, main_thread, worker};

const SECRET: &str = "a secret of thirty-two bytes, or";
const VARIABLE: &str = "CALLGATE_MODULE_TEST_SECRET";
pub(crate) const LIST: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#;
pub(crate) const HEALTH: [(&str, &str); 3] =
    [(":method", "GET"), (":path", "/health"), (":authority", "api.example.com")];

pub(crate) fn policy(name: &str) -> Value {
    json!({
        "callgate": "v1", "name": name, "mode": "enforce", "gateway": "envoy-module",
        "resource": "https://api.example.com", "hosts": ["api.example.com"],
        "issuers": { "corp": {
            "issuer": "https://idp.example.com", "profile": "at+jwt", "algorithms": ["HS256"], "max_lifetime": "1h",
            "keys": { "secret": { "env": VARIABLE } },
        } },
        "agents": { "a": { "owner": "o", "identity": { "issuer": "corp", "client_id": "agent" } } },
        "limits": { "visits": { "per": "source", "rate": "1/1m", "burst": 2 } },
        "held_bodies": { "hold_timeout": "2s", "total_timeout": "9s" },
        "endpoints": [
            { "id": "health", "methods": ["GET"], "path": "/health", "effect": "read", "access": "public", "limits": ["visits"] },
            { "id": "reports", "methods": ["GET"], "path": "/reports", "effect": "read", "scopes": "none" },
            { "id": "mcp", "methods": ["POST", "GET"], "path": "/mcp", "effect": "read", "scopes": "none",
              "rpc": { "protocol": "mcp", "revisions": ["2025-11-25"], "list": "reachable", "max_answer": "64KiB",
                       "tools": [{ "name": "look", "effect": "read", "scopes": ["look"] }] } },
        ],
        "upstream": { "authorization": "remove" },
        "audit": { "log": { "allow": false, "deny": false }, "outcome": true },
    })
}

/// Returns the configuration of a policy that may use the secret.
pub(crate) fn configuration(policy: &Value) -> String {
    static SET: Once = Once::new();
    // SAFETY: only the standard library reads the environment of this process, with a lock.
    SET.call_once(|| unsafe { std::env::set_var(VARIABLE, SECRET) });
    json!({ "policy": policy, "environment": [VARIABLE] }).to_string()
}

pub(crate) fn gateway(name: &str) -> Gateway {
    Gateway::new(&configuration(&policy(name))).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

pub(crate) fn claims() -> Value {
    json!({
        "iss": "https://idp.example.com", "aud": "https://api.example.com", "sub": "s", "client_id": "agent",
        "iat": now(), "exp": now() + 600, "jti": "j", "scope": "look",
    })
}

pub(crate) fn bearer() -> String {
    let signed = format!("{}.{}", encode(&json!({ "alg": "HS256", "typ": "at+jwt" })), encode(&claims()));
    format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(hmac_sha256::HMAC::mac(&signed, SECRET)))
}

/// Opens a stream with a message to the MCP server. Its headers are held.
pub(crate) fn post(gateway: &Gateway) -> Connection {
    let bearer = bearer();
    let stream = gateway.connect(&[
        (":method", "POST"),
        (":path", "/mcp"),
        (":authority", "api.example.com"),
        ("authorization", &bearer),
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2025-11-25"),
    ]);
    assert_eq!(stream.request_headers(false), STOP_ITERATION, "{:?}", stream.0.sent.borrow());
    stream
}

pub(crate) fn details(stream: &Connection) -> Vec<(u32, String)> {
    stream.0.sent.borrow().iter().map(|sent| (sent.status, sent.details.clone())).collect()
}

#[test]
fn forwards_an_allowed_request_and_completes_its_record() {
    let gateway = gateway("allow");
    let stream = gateway.connect(&HEALTH);
    assert_eq!(stream.request_headers(true), CONTINUE);
    assert_eq!(stream.header(abi::REQUEST_HEADERS, "x-callgate-endpoint").as_deref(), Some("health"));
    assert_eq!(stream.0.routes.get(), 1, "the route is chosen again, once");
    stream.set_upstream("192.0.2.9:80");
    assert_eq!(stream.response_headers(&[(":status", "204")], true), CONTINUE);
    assert!(stream.header(abi::RESPONSE_HEADERS, "ratelimit").is_some());
    stream.end();
    let record = stream.record();
    assert_eq!((&record["decision"], &record["endpoint"]), (&json!("allow"), &json!("health")), "{record}");
    let outcome = &record["outcome"];
    assert_eq!(
        [&outcome["status"], &outcome["ended"], &outcome["details"]],
        [&json!(204), &json!("complete"), &json!("via_upstream")]
    );
    assert_eq!(gateway.metric("callgate.decisions.allow.public"), 1);
    gateway.end();
}

#[test]
fn answers_a_denied_request_even_if_envoy_ends_it_meanwhile() {
    let gateway = gateway("deny");
    for (ends_at_once, defers_destroy) in [(false, false), (true, false), (true, true)] {
        let stream = gateway.connect(&[(":method", "GET"), (":path", "/nowhere"), (":authority", "api.example.com")]);
        stream.0.ends_at_once.set(ends_at_once);
        stream.0.defers_destroy.set(defers_destroy);
        assert_eq!(stream.request_headers(true), STOP_ITERATION);
        assert_eq!(details(&stream), [(401, "callgate_credentials_missing".to_owned())]);
        let sent = stream.0.sent.borrow()[0].clone();
        assert!(
            sent.headers.iter().any(|(name, _)| name == "www-authenticate")
                && sent.body.contains("credentials_missing")
        );
        assert!(!sent.headers.iter().any(|(name, _)| name == "grpc-status"));
        stream.end();
        let record = stream.record();
        assert_eq!([&record["decision"], &record["reason"]], [&json!("deny"), &json!("credentials_missing")]);
        assert_eq!(
            [&record["outcome"]["ended"], &record["outcome"]["details"]],
            [&json!("complete"), &json!("callgate_credentials_missing")]
        );
    }
    assert_eq!(gateway.metric("callgate.decisions.deny.credentials_missing"), 3);
    gateway.end();
}

/// The client could be another agent than the one of the token. The fake client has a certificate, and no filter provides it.
#[test]
fn a_token_next_to_a_certificate_that_no_filter_provides_is_denied() {
    let mut policy = policy("certificate");
    policy["tls"] = json!({ "client_certificates": "validated", "trust_domains": ["example.org"] });
    policy["agents"]["w"] = json!({ "owner": "o", "identity": { "spiffe": "spiffe://example.org/w" } });
    policy["endpoints"][1]["authenticate"] = json!(["token", "certificate"]);
    let gateway = Gateway::new(&configuration(&policy)).unwrap();
    let bearer = bearer();
    let lines = [(":method", "GET"), (":path", "/reports"), (":authority", "api.example.com")];
    for lines in [&lines[..], &[&lines[..], &[("authorization", &*bearer)]].concat()] {
        let stream = gateway.connect(lines);
        assert_eq!(stream.request_headers(true), STOP_ITERATION);
        assert_eq!(details(&stream), [(401, "callgate_certificate_name".to_owned())]);
        stream.end();
    }
    gateway.end();
}

#[test]
fn grpc_clients_get_a_status_that_is_not_ok() {
    let gateway = gateway("grpc");
    let lines = [
        (":method", "POST"),
        (":path", "/a.B/c"),
        (":authority", "api.example.com"),
        ("content-type", "application/grpc"),
    ];
    let stream = gateway.connect(&lines);
    assert_eq!(stream.request_headers(false), STOP_ITERATION);
    let sent = stream.0.sent.borrow()[0].clone();
    let status = sent.headers.iter().find(|(name, _)| name == "grpc-status");
    assert_eq!(status.map(|(_, value)| &value[..]), Some(&b"16"[..]), "{sent:?}");
    stream.end();
    gateway.end();
}

#[test]
fn holds_a_body_until_it_is_checked_and_filters_the_response() {
    let gateway = gateway("held");
    for moved in [false, true] {
        let stream = post(&gateway);
        let (first, last) = LIST.split_at(20);
        assert_eq!(stream.record(), Value::Null, "nothing is decided yet");
        assert_eq!(stream.request_body(first, false, false), STOP_AND_BUFFER);
        assert_eq!(stream.request_body(last, true, moved), CONTINUE, "{:?}", stream.0.sent.borrow());
        assert_eq!(stream.header(abi::REQUEST_HEADERS, "authorization"), None);
        assert_eq!(stream.schedulers(), (1, 1), "it waits no longer");

        let json = [(":status", "200"), ("content-type", "application/json"), ("content-length", "99")];
        assert_eq!(stream.response_headers(&json, false), CONTINUE);
        assert_eq!(stream.header(abi::RESPONSE_HEADERS, "content-length"), None);
        let answer = |tools: &str| format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"tools":[{tools}]}}}}"#);
        let whole = answer(r#"{"name":"look"},{"name":"drop_tables"}"#);
        let (first, last) = whole.split_at(30);
        assert_eq!(stream.response_body(first, false, false).as_deref(), Some(""));
        assert_eq!(stream.response_body(last, true, moved), Some(answer(r#"{"name":"look"}"#)));
        stream.end();
        assert_eq!(stream.record()["outcome"]["ended"], json!("complete"));
    }
    gateway.end();
}

#[test]
fn filters_a_response_once_that_another_filter_holds() {
    let gateway = gateway("held-behind");
    let answer = |tools: &str| format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"tools":[{tools}]}}}}"#);
    let [whole, expected] = [r#"{"name":"look"},{"name":"drop_tables"}"#, r#"{"name":"look"}"#].map(answer);
    let (first, rest) = whole.split_at(30);
    let event = |data: &str| format!("event: message\ndata: {data}\n\n");
    let notice = event(r#"{"jsonrpc":"2.0","method":"notifications/message"}"#);
    let events = [notice.clone(), event(&whole)].concat();
    let (before, after) = events.split_at(notice.len() + 20);
    for (content_type, parts, expected) in [
        ("application/json", vec![first, rest, ""], expected.clone()),
        ("application/json", vec![&*whole, " ", ""], expected.clone()),
        ("application/json", vec![first, rest], expected.clone()),
        ("text/event-stream", vec![before, after, ""], [notice.clone(), event(&expected)].concat()),
        ("text/event-stream", vec![before, after], [notice.clone(), event(&expected)].concat()),
    ] {
        let stream = post(&gateway);
        assert_eq!(stream.request_body(LIST, true, false), CONTINUE);
        assert_eq!(stream.response_headers(&[(":status", "200"), ("content-type", content_type)], false), CONTINUE);
        let (last, all) = parts.split_last().unwrap();
        for part in all {
            stream.held_response_body(part, false);
        }
        assert_eq!(stream.held_response_body(last, true), expected, "{parts:?}");
        stream.end();
    }
    gateway.end();
}

#[test]
fn a_body_may_end_with_trailers() {
    let gateway = gateway("trailers");
    let stream = post(&gateway);
    assert_eq!(stream.request_body(LIST, false, false), STOP_AND_BUFFER);
    stream.set_headers(abi::REQUEST_TRAILERS, &[("x-callgate-agent", "admin"), ("x-checksum", "1")]);
    assert_eq!(stream.request_trailers(), CONTINUE, "{:?}", stream.0.sent.borrow());
    assert_eq!(stream.header(abi::REQUEST_TRAILERS, "x-callgate-agent"), None);
    assert_eq!(stream.header(abi::REQUEST_TRAILERS, "x-checksum").as_deref(), Some("1"));
    stream.end();
    gateway.end();
}

#[test]
fn ends_a_request_whose_body_does_not_arrive() {
    let gateway = gateway("slow");
    let (stream, began) = (post(&gateway), Instant::now());
    assert_eq!(stream.request_body("{", false, false), STOP_AND_BUFFER);
    while stream.0.sent.borrow().is_empty() {
        stream.wake(stream.next_event().unwrap());
    }
    assert!(began.elapsed() > Duration::from_millis(1_500), "{:?}", began.elapsed());
    assert_eq!(details(&stream)[0].0, 408, "{:?}", details(&stream));
    assert_eq!(stream.request_body("}", true, false), STOP_AND_BUFFER, "nothing is forwarded any more");
    stream.end();
    assert_eq!(stream.schedulers(), (1, 1));
    gateway.end();
}

#[test]
fn a_stream_that_ends_while_it_waits_is_not_woken() {
    let gateway = gateway("reset");
    let stream = post(&gateway);
    assert_eq!(stream.request_body("{", false, false), STOP_AND_BUFFER);
    stream.end();
    assert_eq!((stream.schedulers(), stream.events()), ((1, 1), 0));
    assert_eq!(stream.record()["decision"], json!("deny"), "{}", stream.record());
    gateway.end();
}

#[test]
fn a_stream_that_envoy_answered_gets_no_second_answer() {
    let gateway = gateway("answered");
    let stream = post(&gateway);
    assert_eq!(stream.request_body("{", false, false), STOP_AND_BUFFER);
    stream.local_reply(413, b"request_payload_too_large");
    assert_eq!(stream.response_headers(&[(":status", "413")], false), CONTINUE);
    let clocks = Clocks::stop();
    for _ in 0..10 {
        clocks.pass(Duration::from_secs(60));
        stream.wake(0);
    }
    assert_eq!((details(&stream), stream.0.continued.get(), stream.schedulers()), (Vec::new(), 0, (1, 1)));
    stream.end();
    assert_eq!(stream.record()["decision"], json!("deny"), "{}", stream.record());
    gateway.end();
}

#[test]
fn requests_wait_for_keys_that_the_main_thread_fetches() {
    let mut policy = policy("keys");
    policy["issuers"]["corp"]["algorithms"] = json!(["Ed25519"]);
    policy["issuers"]["corp"]["keys"] =
        json!({ "remote": { "url": "https://idp.example.com/jwks", "cluster": "idp" } });
    let gateway = Gateway::new(&policy.to_string()).unwrap();
    assert_eq!(main_thread::count(), 1);
    let key = SigningKey::from_bytes(&[1; 32]);
    let signed = format!("{}.{}", encode(&json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "k" })), encode(&claims()));
    let [valid, forged] = [key.sign(signed.as_bytes()).to_bytes(), key.sign(b"").to_bytes()].map(|signature| {
        let bearer = format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        let [method, _, authority] = HEALTH;
        let stream = gateway.connect(&[method, (":path", "/reports"), authority, ("authorization", &bearer)]);
        assert_eq!(stream.request_headers(true), STOP_ITERATION);
        assert!(details(&stream).is_empty());
        stream
    });
    // Envoy ends the stream while the module continues it.
    valid.0.fails_at_once.set(true);
    valid.0.ends_at_once.set(true);
    valid.0.defers_destroy.set(true);

    // The worker asks the main thread for the keys, once for both.
    assert_eq!(gateway.envoy.events.next(), Some(0));
    gateway.tick();
    assert_eq!(*gateway.envoy.calls.lock().unwrap(), ["idp /jwks"]);
    let x = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
    let keys = json!({ "keys": [{ "kid": "k", "kty": "OKP", "crv": "Ed25519", "x": x }] }).to_string();
    let (first, last) = keys.split_at(20);
    gateway.answer_call(1, &[(":status", "200"), ("content-type", "application/json")], &[first, last]);
    while valid.0.continued.get() == 0 || details(&forged).is_empty() {
        for stream in [&valid, &forged] {
            if stream.0.continued.get() == 0 && details(stream).is_empty() {
                stream.wake(stream.next_event().unwrap());
            }
        }
    }
    assert_eq!((details(&valid), valid.0.continued.get()), (Vec::new(), 1));
    assert_eq!(valid.header(abi::REQUEST_HEADERS, "x-callgate-agent").as_deref(), Some("a"));
    assert_eq!((details(&forged), forged.0.continued.get()), (vec![(401, "callgate_token_signature".to_owned())], 0));
    for stream in [valid, forged] {
        stream.end();
        assert_eq!((stream.schedulers(), stream.record()["outcome"].is_object()), ((1, 1), true));
    }
    gateway.end();
    assert_eq!(main_thread::count(), 0);
}

/// Since version 1.40, Envoy calls the hook `destroy` later.
#[test]
fn an_event_for_a_stream_that_envoy_has_taken_apart_changes_nothing() {
    let gateway = gateway("apart");
    let stream = post(&gateway);
    stream.0.defers_destroy.set(true);
    stream.0.end();
    // The next stream makes this change.
    metrics::change_later(&Labelled::named("callgate.keys.fetched").unwrap(), 1);
    stream.wake(0);
    assert_eq!((stream.schedulers(), details(&stream)), ((1, 1), Vec::new()));
    stream.end();
    gateway.end();
}

#[test]
fn trailers_do_not_release_a_response_that_the_module_replaced() {
    let gateway = gateway("replaced");
    let stream = post(&gateway);
    assert_eq!(stream.request_body(LIST, true, false), CONTINUE);
    let encoded = [(":status", "200"), ("content-type", "application/json"), ("content-encoding", "gzip")];
    assert_eq!(stream.response_headers(&encoded, false), STOP_ITERATION);
    assert_eq!(details(&stream).len(), 1);
    assert_eq!(stream.response_trailers(), STOP_ITERATION);
    stream.end();
    gateway.end();
}

#[test]
fn workers_share_limits_and_end_with_their_configuration() {
    let gateway = gateway("shared");
    let status = || {
        let stream = gateway.connect(&HEALTH);
        let status = stream.request_headers(true);
        stream.end();
        status
    };
    let both = std::thread::scope(|scope| {
        scope.spawn(|| [status(), status()]).join().unwrap();
        scope.spawn(|| (status(), worker::count())).join().unwrap()
    });
    assert_eq!(both, (STOP_ITERATION, 1), "the other worker used the limit up");
    assert_eq!((status(), worker::count(), main_thread::count()), (STOP_ITERATION, 1, 1));
    gateway.end();
    assert_eq!((worker::count(), main_thread::count()), (0, 0));
}

#[test]
fn what_a_policy_without_a_timer_revokes_applies_to_the_one_before_it() {
    let revoking = |jti: Option<&str>| {
        let mut policy = policy("newest");
        policy["endpoints"].as_array_mut().unwrap().pop();
        policy.as_object_mut().unwrap().remove("held_bodies");
        if let Some(jti) = jti {
            policy["revoked"] = json!([{ "issuer": "corp", "jti": jti }]);
        }
        Gateway::new(&configuration(&policy)).unwrap()
    };
    let bearer = bearer();
    let lines =
        [(":method", "GET"), (":path", "/reports"), (":authority", "api.example.com"), ("authorization", &bearer)];
    for own in [Some("another"), None] {
        let before = revoking(own);
        let newest = revoking(Some("j"));
        let stream = before.connect(&lines);
        assert_eq!(stream.request_headers(true), STOP_ITERATION, "{own:?}");
        assert_eq!(details(&stream), [(401, "callgate_token_revoked".to_owned())], "{own:?}");
        stream.end();
        newest.end();
        before.end();
    }
}

#[test]
fn a_worker_forgets_a_configuration_that_ended_elsewhere() {
    let (first, second) = (gateway("first"), gateway("second"));
    first.connect(&HEALTH).end();
    second.connect(&HEALTH).end();
    assert_eq!(worker::count(), 2);
    std::thread::scope(|scope| scope.spawn(|| first.end()).join().unwrap());
    assert_eq!((worker::count(), main_thread::count()), (2, 2), "another thread cannot drop them");
    second.connect(&HEALTH).end();
    second.tick();
    assert_eq!((worker::count(), main_thread::count()), (1, 1));
    second.end();
}

#[test]
fn rejects_configurations_that_cannot_be_used() {
    let mut unknown = policy("unknown");
    unknown["modus"] = json!("enforce");
    let without_variables = policy("variables").to_string();
    configuration(&json!({}));
    let [envoy, of_envoy_gateway] = ["envoy", "envoy-gateway"].map(|gateway| {
        let mut other = policy("other");
        other["gateway"] = json!(gateway);
        other["body_check"] = json!("after_headers");
        configuration(&other)
    });
    for wrong in [
        "",
        "mode: enforce",
        "{}",
        r#"{ "policy": {}, "variables": [] }"#,
        &unknown.to_string(),
        &without_variables,
        &envoy,
        &of_envoy_gateway,
    ] {
        assert!(Gateway::new(wrong).is_none(), "{wrong}");
    }
    assert_eq!(main_thread::count(), 0);
}

#[test]
fn a_stream_without_an_object_is_answered() {
    let stream = Connection::default();
    assert_eq!(stream.request_headers(true), STOP_ITERATION);
    assert_eq!(details(&stream), [(500, "callgate_host_error".to_owned())]);
    assert_eq!(stream.request_body("a", true, false), STOP_AND_BUFFER);
    assert_eq!(stream.response_headers(&[(":status", "500")], true), CONTINUE);
    // SAFETY: Envoy passes null for routes that the module rejected.
    unsafe { hooks::envoy_dynamic_module_on_http_filter_destroy(std::ptr::null()) };
}

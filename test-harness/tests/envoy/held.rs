//! Requests that a real Envoy holds for their bodies: slow clients, the quota that they leave to others, and streams that end without a
//! body.

use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use test_harness::client::Connection;
use test_harness::envoy::Bootstrap;

use crate::envoy::fixture::{Gate, mark, record, token, wasm_only};
use crate::envoy::limits::counted;
use crate::envoy::signed::{BODY, Call, gate, gate_with, over_http_2, signed_policy};

/// Sends the head of a request that announces this many bytes, and the first of them.
fn begin(gate: &Gate, call: &Call, mark: &str, length: usize) -> Connection {
    let request = call.request().header("X-Mark", mark).header("Content-Length", length.to_string());
    let mut connection = Connection::open(gate.envoy.api().unwrap()).unwrap();
    connection.send(&request.to_bytes()).unwrap();
    connection.send(&BODY[..1]).unwrap();
    connection
}

fn line(gate: &Gate, mark: &str) -> Value {
    gate.envoy.await_access_log(|line| line["mark"] == mark).unwrap()
}

#[test]
fn a_slow_client_gets_408_and_leaves_room_for_other_agents() {
    let mut policy = signed_policy();
    policy["held_bodies"] = json!({ "hold_timeout": "2s", "total_timeout": "4s", "agent_bytes": "128KiB" });
    let gate = gate(&policy, 1);
    let large = vec![b'x'; 64 * 1024];
    let slow = Call::post(&large);
    let start = Instant::now();
    let first_mark = mark();
    let mut first = begin(&gate, &slow, &first_mark, large.len());
    thread::sleep(Duration::from_millis(200));

    // The same agent has no quota left for another request, but every other agent has.
    let second = gate.ask(Call::post(&large).request().body(&large));
    second.assert_denied(503, "held_bytes_full");
    assert_eq!(second.response.header("retry-after"), Some("1"));
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(&large)));
    let other = || Call::get("/items/1").agent("other").header("content-digest", &digest).request().body(&large);
    gate.ask(other()).assert_allowed();

    let response = first.read_head().unwrap();
    assert_eq!(response.status, 408);
    let waited = start.elapsed();
    assert!((Duration::from_millis(1_900)..Duration::from_secs(8)).contains(&waited), "{waited:?}");
    let line = line(&gate, &first_mark);
    assert_eq!(line["details"], "callgate_body_timeout", "{line}");
    let record = record(&line);
    assert_eq!((&record["decision"], &record["reason"]), (&json!("deny"), &json!("body_timeout")));
    assert_eq!((&record["agent"], &record["rule"]), (&json!("robot"), &json!("held_bodies")));
    assert_eq!(gate.upstream.saw("x-mark", &first_mark), None);
    assert_eq!(counted(&gate, "decisions.deny.body_timeout"), 1);
    // The gate ignores any further data from this client.
    let _ = first.send(BODY);

    // Its signature was not consumed, and its share of held bytes was released.
    gate.ask(slow.request().body(&large)).assert_allowed();
    gate.ask(slow.request().body(&large)).assert_denied(403, "signature_replayed");
    assert_eq!(gate.envoy.stat("wasm.callgate.vm_reload").unwrap(), 0);
}

/// The body passes such a gateway by, and with it the headers that wait for it. The gate notices it with the response.
#[test]
fn a_gateway_without_the_body_callback_forwards_one_held_request_at_most() {
    if !wasm_only("Envoy restricts no callbacks of it") {
        return;
    }
    let restrict = |bootstrap: &mut Bootstrap| {
        let allowed = &mut bootstrap.gate().unwrap()["capability_restriction_config"]["allowed_capabilities"];
        allowed.as_object_mut().unwrap().remove("proxy_on_request_body").unwrap();
    };
    let gate = gate_with(&signed_policy(), restrict, 1);
    let forged = || Call::post(BODY).request().body(b"{\"amount\": 99}");
    let first = gate.call(&forged());
    assert_eq!((first.status, first.code()), (500, None), "{}", first.text());
    for request in [forged(), Call::post(BODY).request().body(BODY)] {
        let asked = gate.ask(request);
        assert_eq!((asked.response.status, asked.seen.is_none()), (500, true));
    }
    // Requests without a body are decided as before.
    gate.ask(Call::get("/items/1").request()).assert_allowed();
    assert!(gate.envoy.log().contains("allow the capabilities `proxy_on_request_body`"));
}

#[test]
fn a_trickling_client_gets_408_after_the_total_timeout() {
    let mut policy = signed_policy();
    policy["held_bodies"] = json!({ "hold_timeout": "2s", "total_timeout": "3s" });
    let gate = gate(&policy, 1);
    let large = vec![b'x'; 1024];
    let call = Call::post(&large);
    let mark = mark();
    let start = Instant::now();
    let mut connection = begin(&gate, &call, &mark, large.len());
    while start.elapsed() < Duration::from_secs(8) && connection.send(b"x").is_ok() {
        thread::sleep(Duration::from_millis(200));
        if counted(&gate, "decisions.deny.body_timeout") > 0 {
            break;
        }
    }
    assert!(start.elapsed() < Duration::from_secs(8));
    assert_eq!(record(&line(&gate, &mark))["reason"], "body_timeout");
    assert_eq!(gate.upstream.saw("x-mark", &mark), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_2_rejects_any_unsigned_body_byte() {
    let gate = gate(&signed_policy(), 1);
    let authorization = format!("Bearer {}", token("items:write"));
    let post = || Call::new("POST", "/items").header("authorization", &authorization);
    for trailers in [false, true] {
        over_http_2(&gate, &post(), &[], trailers).await.assert_allowed();
        over_http_2(&gate, &post(), &[b""], trailers).await.assert_allowed();
        over_http_2(&gate, &Call::get("/items/1"), &[], trailers).await.assert_allowed();
        over_http_2(&gate, &post(), &[b"x"], trailers).await.assert_denied(403, "content_digest_missing");
        over_http_2(&gate, &post(), &[b"", b"x"], trailers).await.assert_denied(403, "content_digest_missing");
        over_http_2(&gate, &Call::get("/items/1"), &[BODY], trailers)
            .await
            .assert_denied(403, "content_digest_missing");
    }
}

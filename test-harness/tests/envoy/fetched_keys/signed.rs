//! Signed requests that wait for keys: their bodies arrive meanwhile, and are checked as always.

use identity_provider::key_server::{Behavior, KeyServer};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use test_harness::client::Connection;

use super::{claims, remote_within};
use crate::envoy::fixture::mark;
use crate::envoy::limits::counted;
use crate::envoy::operating::until;
use crate::envoy::signed::{BODY, Call, gate_with, signed_policy};

#[test]
fn a_signed_body_that_arrived_while_its_request_waited_is_checked() {
    let idp = KeyServer::start().unwrap();
    let mut policy = signed_policy();
    policy["issuers"]["corp"]["keys"] = remote_within(&idp, "idp", "30s");
    let gate = gate_with(&policy, |bootstrap| bootstrap.add_server("idp", idp.address()).unwrap(), 4);
    // All requests need the new key.
    idp.rotate().unwrap();
    idp.set(Behavior::Held).unwrap();
    let large = vec![b'x'; 40 * 1024];
    let parts: Vec<&[u8]> = large.chunks(8 * 1024).collect();
    let call = |body: &[u8]| Call::post_with(&idp.mint(&claims()), body).request();
    // Each request, and the body that the upstream gets. The bodies of the last two are not the signed ones.
    let sent = [
        (call(BODY).body(BODY), Some(BODY)),
        (call(BODY).chunked(&[b"{\"amount\"", b": ", b"12}"]), Some(BODY)),
        (call(&large).chunked(&parts), Some(large.as_slice())),
        (call(BODY).body(b"{\"amount\": 13}"), None),
        (call(&large).chunked(&parts[1..]), None),
    ];
    let received = || gate.envoy.stat("http.api.downstream_cx_rx_bytes_total").unwrap();
    let before = received();
    let waiting: Vec<_> = sent
        .into_iter()
        .map(|(request, body)| {
            let mark = mark();
            let request = request.header("X-Mark", &mark);
            let mut connection = Connection::open(gate.envoy.api().unwrap()).unwrap();
            connection.send(&request.to_bytes()).unwrap();
            (mark, request, connection, body)
        })
        .collect();
    let bytes: usize = waiting.iter().map(|(_, request, ..)| request.to_bytes().len()).sum();
    until("the requests have arrived completely", || received() >= before + bytes as u64);
    until("all of them wait", || counted(&gate, "keys.waiting") == 5);
    assert!(waiting.iter().all(|(mark, ..)| gate.upstream.saw("x-mark", mark).is_none()));
    idp.set(Behavior::Correct).unwrap();
    for (mark, request, mut connection, body) in waiting {
        let asked = gate.asked(&mark, connection.read(&request).unwrap());
        let forwarded = gate.upstream.seen().iter().filter(|seen| seen.header("x-mark") == Some(mark.as_str())).count();
        let Some(body) = body else {
            asked.assert_denied(403, "content_digest_mismatch");
            assert_eq!(forwarded, 0);
            continue;
        };
        asked.assert_allowed();
        assert_eq!(forwarded, 1);
        let record = asked.record();
        assert_eq!((&record["body_checked"], &record["signed_by"]), (&json!(true), &json!("robot")));
        let sha256: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(asked.response.json()["body"], json!({ "length": body.len(), "sha256": sha256 }));
    }
}

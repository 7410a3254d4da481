//! Requests that wait for keys: what arrives of them meanwhile, and clients that leave.

use std::thread;
use std::time::Duration;

use identity_provider::key_server::{Behavior, JWKS, KeyServer};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use test_harness::client::{Connection, Request};
use test_harness::envoy::Bootstrap;

use super::{add_servers, await_status, claims, fetching, remote, remote_within, start, with, workers};
use crate::envoy::fixture::{Gate, HOST, mark, record};
use crate::envoy::limits::counted;
use crate::envoy::operating::until;

/// The options of HTTP/1.1 to the upstream.
const TO_UPSTREAM: &str = "/static_resources/clusters/0/typed_extension_protocol_options/\
                           envoy.extensions.upstreams.http.v3.HttpProtocolOptions/use_downstream_protocol_config/\
                           http_protocol_options";

/// Returns a body whose parts differ.
fn body() -> Vec<u8> {
    (0..200_000_u32).map(|number| (number % 251) as u8).collect()
}

#[test]
fn a_waiting_upload_arrives_complete() {
    let idp = KeyServer::start().unwrap();
    idp.set(Behavior::SlowHead(Duration::from_secs(1))).unwrap();
    let gate = start(&[("idp", &idp, remote(&idp, "idp"))]);
    let body = body();
    let upload = Request::post("/items").host(HOST).bearer(&idp.mint(&claims())).body(&body);
    // A client that leaves while it waits does not disturb the others.
    let mut leaving = Connection::open(gate.envoy.api().unwrap()).unwrap();
    leaving.send(&upload.to_bytes()).unwrap();
    drop(leaving);
    let asked = gate.ask(upload);
    asked.assert_allowed();
    assert_eq!(asked.response.json()["body"]["length"], body.len());
    // Above the gateway's buffer limit, a request cannot be held. The gateway answers that itself.
    let idp = KeyServer::start_as("https://slow.example.com").unwrap();
    idp.set(Behavior::SlowHead(Duration::from_secs(1))).unwrap();
    let gate = start(&[("slow", &idp, remote(&idp, "slow"))]);
    let huge = vec![b'x'; 8 * 1024 * 1024];
    let response = gate.call(&Request::post("/items").host(HOST).bearer(&idp.mint(&claims())).body(&huge));
    assert_eq!(response.status, 413, "{}", response.text());
    assert!(await_status(&gate, &with(&idp), 200) < Duration::from_secs(5));
}

#[test]
fn a_body_and_trailers_that_arrive_during_the_wait_are_forwarded_after_it() {
    let idp = KeyServer::start().unwrap();
    let servers = [("idp", &idp, remote_within(&idp, "idp", "30s"))];
    let change = |bootstrap: &mut Bootstrap| {
        add_servers(bootstrap, &servers);
        // Envoy drops the trailers of HTTP/1.1 without these options.
        let forwards = json!({ "enable_trailers": true });
        bootstrap.manager().unwrap()["http_protocol_options"] = forwards.clone();
        *bootstrap.at(TO_UPSTREAM).unwrap() = forwards;
    };
    let gate = Gate::start_with(&fetching(&servers), change, &workers());
    await_status(&gate, &with(&idp), 200);
    idp.rotate().unwrap();
    idp.set(Behavior::Held).unwrap();
    let (body, mark) = (body(), mark());
    let chunks: Vec<&[u8]> = body.chunks(20_000).collect();
    let upload = Request::post("/items").host(HOST).bearer(&idp.mint(&claims())).header("X-Mark", &mark);
    let imitated = [("X-Callgate-Agent", "root"), ("x_callgate_scopes", "items:write"), ("X-Checksum", "1")];
    let upload = upload.chunked(&chunks).trailers(&imitated);
    let bytes = upload.to_bytes();
    let received = || gate.envoy.stat("http.api.downstream_cx_rx_bytes_total").unwrap();
    let forwarded = || (gate.upstream.count(), gate.upstream.body_bytes());
    let (received_before, forwarded_before) = (received(), forwarded());
    let mut connection = Connection::open(gate.envoy.api().unwrap()).unwrap();
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    connection.send(first).unwrap();
    until("the request waits", || counted(&gate, "keys.waiting") == 1);
    connection.send(rest).unwrap();
    until("the request has arrived completely", || received() >= received_before + bytes.len() as u64);
    // The timer fires several times.
    thread::sleep(Duration::from_millis(200));
    assert_eq!(forwarded(), forwarded_before, "a part of a request that waits was forwarded");
    idp.set(Behavior::Correct).unwrap();
    let asked = gate.asked(&mark, connection.read(&upload).unwrap());
    asked.assert_allowed();
    let sha256: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    let description = asked.response.json();
    assert_eq!(description["body"], json!({ "length": body.len(), "sha256": sha256 }));
    assert_eq!(description["trailers"], json!([["x-checksum", "1"]]), "no trailer imitates the gate's headers");
}

#[test]
fn clients_that_leave_end_their_waits_and_no_others() {
    /// With the last fetch of the test, as many as requests may cause in a row.
    const ROUNDS: u64 = 3;
    let idp = KeyServer::start().unwrap();
    let gate = start(&[("idp", &idp, remote_within(&idp, "idp", "30s"))]);
    let api = gate.envoy.api().unwrap();
    let denied = Request::get("/items/1").host(HOST);
    // A worker of the module reports with its next request.
    let nothing_waits = || {
        gate.call(&denied);
        counted(&gate, "keys.waiting") == 0
    };
    await_status(&gate, &with(&idp), 200);
    let fetches = idp.requests(JWKS);
    for round in 1..=ROUNDS {
        idp.rotate().unwrap();
        idp.set(Behavior::Held).unwrap();
        let mark = mark();
        let waiting = with(&idp).header("X-Mark", &mark);
        let mut leaving = Connection::open(api).unwrap();
        // The first request is denied at once. Envoy reads the second one before it sends that response. The timer fires 25 ms later, so the
        // client has usually left before anybody could fetch for it.
        leaving.send(&[denied.to_bytes(), waiting.to_bytes()].concat()).unwrap();
        assert_eq!(leaving.read(&denied).unwrap().status, 401);
        drop(leaving);
        let line = gate.envoy.await_access_log(|line| line["mark"] == mark).unwrap();
        assert_eq!(record(&line)["reason"], "keys_unavailable", "{line}");
        idp.set(Behavior::Correct).unwrap();
        let took = await_status(&gate, &with(&idp), 200);
        assert!(took < Duration::from_secs(5), "the next client waited for {took:?}");
        assert_eq!(idp.requests(JWKS), fetches + round, "one fetch for each rotation");
        until("nothing waits", nothing_waits);
    }
    // This client leaves while the gate fetches.
    idp.rotate().unwrap();
    idp.set(Behavior::Held).unwrap();
    let mut leaving = Connection::open(api).unwrap();
    leaving.send(&with(&idp).to_bytes()).unwrap();
    until("the request waits", || counted(&gate, "keys.waiting") == 1);
    drop(leaving);
    until("the wait has ended", nothing_waits);
    idp.set(Behavior::Correct).unwrap();
    assert!(await_status(&gate, &with(&idp), 200) < Duration::from_secs(5));
    assert_eq!(idp.requests(JWKS), fetches + ROUNDS + 1);
}

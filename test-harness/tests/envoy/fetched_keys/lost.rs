//! VMs that are lost while they fetch, or while requests wait in them. Nothing from outside can stop the filter that ships, so these tests
//! use a build that traps when a request asks for it.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use identity_provider::key_server::{Behavior, JWKS, KeyServer};
use serde_json::json;
use test_harness::build::{self, Flavor};
use test_harness::client::{self, Connection, Request};
use test_harness::envoy::Bootstrap;

use super::{
    Server, add_servers, assert_told_to_wait, await_status, behind_a_proxy, fetching, remote_within, while_fifty_wait,
    with, workers,
};
use crate::envoy::fixture::{Gate, HOST, wasm_only};
use crate::envoy::operating::until;

/// Starts the filter that traps, with another change to its configuration.
fn start(servers: &[Server<'_>], change: impl FnOnce(&mut Bootstrap)) -> Gate {
    let module = build::filter(Flavor::Testing).unwrap();
    let change = |bootstrap: &mut Bootstrap| {
        add_servers(bootstrap, servers);
        change(bootstrap);
    };
    Gate::try_start(&module, &fetching(servers).to_string(), change, &workers()).unwrap()
}

/// Returns a request that stops the VM of its worker.
fn trap() -> Request {
    Request::get("/items/1").host(HOST).header("X-Panic-On-Purpose", "1")
}

/// Stops the VMs of all workers, one of which fetches a key set, and waits until another one has fetched it. Returns whether the first fetch
/// was lost.
fn fetch_is_lost(gate: &Gate, idp: &KeyServer) -> bool {
    let api = gate.envoy.api().unwrap();
    await_status(gate, &with(idp), 200);
    idp.rotate().unwrap();
    idp.set(Behavior::SlowHead(Duration::from_mins(1))).unwrap();
    let before = idp.requests(JWKS);
    let request = with(idp);
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut waiting = Vec::new();
    // A worker whose requests wait looks for keys forty times as often as the main thread, whose VM no request can stop.
    while idp.requests(JWKS) == before {
        assert!(Instant::now() < deadline, "no worker fetches");
        let mut connection = Connection::open(api).unwrap();
        connection.send(&request.to_bytes()).unwrap();
        waiting.push(connection);
        thread::sleep(Duration::from_millis(200));
    }
    // Enough for every worker to get one. Their answers do not matter: Envoy also rejects requests until it may create the next VM.
    thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| drop(client::call(api, &trap())));
        }
    });
    idp.set(Behavior::Correct).unwrap();
    let took = await_status(gate, &request, 200);
    // A VM that was not stopped reports that it got no response in time.
    let is_lost = !gate.envoy.log().contains(&format!("cannot fetch {}", idp.jwks_uri()));
    println!("{}: fetched again after {took:?}, lost: {is_lost}", idp.issuer());
    is_lost
}

#[test]
fn another_worker_fetches_after_the_vm_that_fetched_was_lost() {
    if !wasm_only("its main thread fetches, which no request can stop") {
        return;
    }
    // Each issuer has its own fetches, of which requests may cause few.
    let idps = ["first", "second", "third"]
        .map(|name| (name, KeyServer::start_as(&format!("https://{name}.example.com")).unwrap()));
    let servers: Vec<_> = idps.iter().map(|(name, idp)| (*name, idp, remote_within(idp, name, "5s"))).collect();
    let gate = start(&servers, |_| ());
    // It is possible, but rare, that the VM of the main thread fetches.
    assert!(idps.iter().any(|(_, idp)| fetch_is_lost(&gate, idp)), "no VM was lost while it fetched");
    assert!(gate.envoy.log().contains("callgate stopped at"));
}

#[test]
fn a_trap_leaves_no_waiting_request_without_an_answer() {
    if !wasm_only("a panic ends no other request, which `module/panics.rs` tests with 50 that wait") {
        return;
    }
    let idp = KeyServer::start().unwrap();
    let servers = [("idp", &idp, remote_within(&idp, "idp", "8s"))];
    // Envoy ends the requests of the worker that trapped, after this time. The others are decided earlier.
    let impatient = |bootstrap: &mut Bootstrap| {
        behind_a_proxy(bootstrap);
        bootstrap.manager().unwrap()["stream_idle_timeout"] = json!("12s");
    };
    let gate = start(&servers, impatient);
    let answers = while_fifty_wait(&gate, &idp, || {
        assert_eq!(gate.call(&trap()).status, 503);
        until("the VM stops", || gate.envoy.log().contains("callgate stopped at"));
        idp.set(Behavior::Correct).unwrap();
    });
    assert_eq!(answers.len(), 50);
    let mut statuses = BTreeMap::new();
    for (mark, answer) in answers {
        let forwarded = gate.upstream.seen().iter().filter(|seen| seen.header("x-mark") == Some(mark.as_str())).count();
        let status = match &answer {
            Ok(response) if response.code().as_deref() == Some("keys_unavailable") => {
                assert_told_to_wait(response);
                503
            }
            Ok(response) => response.status,
            // Envoy closed the connection.
            Err(error) => {
                assert!(!format!("{error:#}").contains("no response within"), "{error:#}");
                0
            }
        };
        assert!(matches!(status, 0 | 200 | 408 | 503 | 504), "{answer:?}");
        assert_eq!(forwarded, usize::from(status == 200), "{answer:?}");
        *statuses.entry(status).or_insert(0) += 1;
    }
    println!("{statuses:?}");
    await_status(&gate, &with(&idp), 200);
}

//! A bad configuration never replaces a good one and never opens the gate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use test_harness::client::{Connection, Request};
use test_harness::envoy::{Bootstrap, Options};

use crate::envoy::fixture::{Gate, HOST, good, module, policy, token, wasm_only};

fn refusal(policy: &str, change: impl FnOnce(&mut Bootstrap)) -> String {
    match Gate::try_start(module(), policy, change, &Options::default()) {
        Ok(_) => panic!("Envoy started"),
        Err(error) => format!("{error:#}"),
    }
}

pub(crate) fn await_stat(gate: &Gate, name: &str, at_least: u64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while gate.envoy.stat(name).unwrap() < at_least {
        assert!(Instant::now() < deadline, "{name} never reached {at_least}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn envoy_does_not_start_with_an_invalid_policy() {
    let mut policy = policy();
    policy["endpoints"][0]["scopes"] = json!(["items:*"]);
    policy["endpoints"][3]["path"] = json!("no-slash");
    let message = refusal(&policy.to_string(), |_| ());
    assert!(message.contains("ended while starting"), "{message}");
    assert!(message.contains("endpoints[0].scopes"), "{message}");
    assert!(message.contains("endpoints[3].path"), "{message}");
}

#[test]
fn explains_why_a_policy_that_is_not_json_is_rejected() {
    let message = refusal("callgate: v1", |_| ());
    assert!(message.contains("the configuration is not a JSON object"), "{message}");
    assert!(message.contains("StringValue"), "{message}");
}

#[test]
fn explains_why_a_policy_in_a_struct_is_rejected() {
    if !wasm_only("Envoy passes a Struct to it as JSON") {
        return;
    }
    let message = refusal("", |bootstrap| {
        bootstrap.gate().unwrap()["configuration"] =
            json!({ "@type": "type.googleapis.com/google.protobuf.Struct", "value": policy() });
    });
    assert!(message.contains("`google.protobuf.Struct` reaches a filter as protobuf bytes"), "{message}");
}

#[test]
fn keeps_the_old_policy_when_an_update_is_invalid() {
    let gate = Gate::start_with(&policy(), |bootstrap| *bootstrap = bootstrap.clone().dynamic(), &Options::default());
    gate.ask(good()).assert_allowed();

    let mut bad = policy();
    bad["mode"] = json!("open");
    gate.envoy.update(&gate.bootstrap.with_policy(&bad.to_string()).unwrap()).unwrap();
    await_stat(&gate, "listener_manager.lds.update_rejected", 1);
    gate.ask(good()).assert_allowed();
    gate.ask(Request::get("/items/1").host(HOST)).assert_denied(401, "credentials_missing");

    // A rejected update also does not block the next valid one.
    let mut other = policy();
    other["endpoints"][0]["scopes"] = json!(["items:other"]);
    gate.envoy.update(&gate.bootstrap.with_policy(&other.to_string()).unwrap()).unwrap();
    await_stat(&gate, "listener_manager.lds.update_success", 2);
    gate.ask(good()).assert_denied(403, "insufficient_scope");
}

#[test]
fn a_valid_update_under_load_loses_no_request() {
    let options = Options { concurrency: 2, ..Options::default() };
    let gate = Gate::start_with(&policy(), |bootstrap| *bootstrap = bootstrap.clone().dynamic(), &options);
    let address = gate.envoy.api().unwrap();
    let request = good();
    let done = AtomicBool::new(false);
    let answered = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut answered = 0_u64;
                    let mut connection = Connection::open(address).unwrap();
                    while !done.load(Ordering::Relaxed) {
                        let response = connection.call(&request).unwrap();
                        assert_eq!(response.status, 200, "{}", response.text());
                        answered += 1;
                        // A listener that is being replaced asks its clients to reconnect.
                        if response.header("connection") == Some("close") {
                            connection = Connection::open(address).unwrap();
                        }
                    }
                    answered
                })
            })
            .collect();
        for round in 1..=5_u64 {
            let mut policy = policy();
            policy["agents"]["robot"]["purpose"] = json!(format!("round {round}"));
            gate.envoy.update(&gate.bootstrap.with_policy(&policy.to_string()).unwrap()).unwrap();
            await_stat(&gate, "listener_manager.lds.update_success", 1 + round);
            thread::sleep(Duration::from_millis(200));
        }
        done.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum::<u64>()
    });
    assert!(answered > 100, "only {answered} requests: no load to speak of");
    assert_eq!(gate.upstream.count(), answered);
    assert_eq!(gate.envoy.stat("listener_manager.lds.update_rejected").unwrap(), 0);
    // The last update is in force.
    let mut last = policy();
    last["endpoints"][0]["scopes"] = json!(["items:other"]);
    gate.envoy.update(&gate.bootstrap.with_policy(&last.to_string()).unwrap()).unwrap();
    await_stat(&gate, "listener_manager.lds.update_success", 7);
    gate.ask(Request::get("/items/1").host(HOST).bearer(&token("items:other"))).assert_allowed();
}

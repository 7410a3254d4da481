//! What a configuration may be, and what is kept and lost when it or the library is replaced.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use test_harness::build::Flavor;
use test_harness::client::Request;
use test_harness::envoy::{Adapter, Bootstrap, Options};

use super::{library, refusal, start};
use crate::envoy::configuration::await_stat;
use crate::envoy::fixture::{Gate, HOST, good, policy};
use crate::envoy::operating::until;
use crate::envoy::signed::{self, Call};

const UPDATED: &str = "listener_manager.lds.update_success";
const REJECTED: &str = "listener_manager.lds.update_rejected";

fn dynamic(bootstrap: &mut Bootstrap) {
    *bootstrap = bootstrap.clone().dynamic();
}

/// Returns the test policy with a limit of two reads an hour for the agent.
fn limited() -> Value {
    let mut policy = policy();
    policy["limits"] = json!({ "reads": { "per": "agent", "rate": "1/1h", "burst": 2 } });
    policy["endpoints"][0]["limits"] = json!(["reads"]);
    policy
}

fn three_reads(gate: &Gate) -> [u16; 3] {
    [(); 3].map(|()| gate.call(&good()).status)
}

/// Updates a gate's listener and waits until Envoy accepts it. `number` counts the updates, with the start as the first one.
fn update(gate: &Gate, next: &Bootstrap, number: u64) {
    gate.envoy.update(next).unwrap();
    await_stat(gate, UPDATED, number);
}

#[test]
fn envoy_does_not_start_with_an_invalid_policy_and_logs_every_finding() {
    let mut invalid = policy();
    invalid["endpoints"][0]["scopes"] = json!(["items:*"]);
    invalid["endpoints"][3]["path"] = json!("no-slash");
    for (policy, findings) in [
        (invalid.to_string(), &["endpoints[0].scopes", "endpoints[3].path"][..]),
        ("callgate: v1".to_owned(), &["the configuration is not a JSON object"][..]),
        (String::new(), &["the configuration is not a JSON object"][..]),
    ] {
        let message = refusal(&policy, |_| (), &Options::default());
        assert!(message.contains("ended while starting"), "{message}");
        for finding in findings {
            assert!(message.contains(finding), "no `{finding}` in: {message}");
        }
    }
}

/// What the adapters can do differs, so a policy that was checked for one of them says nothing about the other.
#[test]
fn envoy_does_not_start_with_a_policy_for_another_gateway() {
    let written_for = |gateway: &'static str| {
        move |bootstrap: &mut Bootstrap| {
            let value = &mut bootstrap.filter().unwrap()["filter_config"]["value"];
            *value = json!(value.as_str().unwrap().replace("envoy-module", gateway));
        }
    };
    for gateway in ["envoy", "envoy-gateway"] {
        let message = refusal(&policy().to_string(), written_for(gateway), &Options::default());
        let expected = format!(
            "gateway: the policy is written for `{gateway}`, and this is the dynamic module; expected `gateway: envoy-module`"
        );
        assert!(message.contains(&expected), "no `{expected}` in: {message}");
    }
}

#[test]
fn an_invalid_update_is_rejected_with_its_findings_and_changes_nothing() {
    let gate = start(&limited(), dynamic, &Options::default());
    assert_eq!(three_reads(&gate), [200, 200, 429]);
    let mut invalid = limited();
    invalid["mode"] = json!("open");
    gate.envoy.update(&gate.bootstrap.with_policy(&invalid.to_string()).unwrap()).unwrap();
    await_stat(&gate, REJECTED, 1);
    assert!(gate.envoy.log().contains("unknown variant `open`"), "{}", gate.envoy.log_tail());
    gate.ask(Request::get("/items/1").host(HOST)).assert_denied(401, "credentials_missing");
    gate.ask(good()).assert_denied(429, "rate_limited");

    // A rejected update does not block the next valid one.
    let mut other = limited();
    other["endpoints"][0]["scopes"] = json!(["items:other"]);
    update(&gate, &gate.bootstrap.with_policy(&other.to_string()).unwrap(), 2);
    gate.ask(good()).assert_denied(403, "insufficient_scope");
}

#[test]
fn an_update_keeps_limits() {
    let gate = start(&limited(), dynamic, &Options { concurrency: 4, ..Options::default() });
    assert_eq!(three_reads(&gate), [200, 200, 429]);
    for number in 2..5 {
        let mut policy = limited();
        policy["agents"]["robot"]["purpose"] = json!(format!("update {number}"));
        update(&gate, &gate.bootstrap.with_policy(&policy.to_string()).unwrap(), number);
        assert_eq!(three_reads(&gate), [429; 3]);
    }
}

#[test]
fn an_update_keeps_replay_state() {
    let policy = signed::signed_policy();
    let gate = signed::gate_of(library(), &policy, dynamic, 2);
    let call = Call::get("/items/1").request();
    gate.ask(call.clone()).assert_allowed();
    let mut next = policy;
    next["agents"]["robot"]["purpose"] = json!("another");
    update(&gate, &gate.bootstrap.with_policy(&next.to_string()).unwrap(), 2);
    gate.ask(call).assert_denied(403, "signature_replayed");
    // The table is not young again either.
    gate.ask(Call::get("/items/1").request()).assert_allowed();
}

/// Without `do_not_close`, Envoy could unmap the library when its last listener has ended.
#[test]
fn limits_survive_a_time_without_the_gate() {
    let options = Options { drain_seconds: Some(1), ..Options::default() };
    let mut configured = None;
    let change = |bootstrap: &mut Bootstrap| {
        dynamic(bootstrap);
        configured = Some(bootstrap.filter().unwrap()["dynamic_module_config"].clone());
    };
    let gate = start(&limited(), change, &options);
    assert_eq!(configured.unwrap()["do_not_close"], true);
    assert_eq!(three_reads(&gate), [200, 200, 429]);
    update(&gate, &gate.bootstrap.with_filters(Vec::new()).unwrap(), 2);
    assert_eq!(gate.call(&Request::get("/nowhere").host(HOST)).status, 200, "there is no gate");
    let draining = ["total_listeners_draining", "total_filter_chains_draining"];
    until("the listener has drained", || {
        draining.iter().all(|what| gate.envoy.stat(&format!("listener_manager.{what}")).unwrap() == 0)
    });
    update(&gate, &gate.bootstrap, 3);
    assert_eq!(three_reads(&gate), [429; 3]);
}

/// Writes a library with other bytes but the same behavior, and returns the configuration that names it.
fn with_another_version(gate: &Gate, folder: &Path) -> Bootstrap {
    let file = folder.join("libcallgate-next.so");
    let mut bytes = std::fs::read(library()).unwrap();
    bytes.extend(b"next");
    std::fs::write(&file, bytes).unwrap();
    let mut next = gate.bootstrap.clone();
    next.set_module(&file).unwrap();
    next
}

/// Returns the module that panics if a request asks for it. That shows which of two libraries runs.
fn other_library() -> PathBuf {
    Adapter::Module.build(Flavor::Testing).unwrap()
}

/// Asserts that the library that ships decides, or the other one.
#[track_caller]
fn assert_runs(gate: &Gate, is_other: bool) {
    let response = gate.call(&good().header("X-Panic-On-Purpose", "1"));
    assert_eq!(response.status, if is_other { 500 } else { 200 }, "{}", response.text());
}

/// An upgrade as the guide describes it, and the way back.
#[test]
fn another_filename_over_lds_loads_another_library() {
    let gate = start(&policy(), dynamic, &Options::default());
    assert_runs(&gate, false);
    let mut next = gate.bootstrap.clone();
    next.set_module(&other_library()).unwrap();
    let named = &next.filter().unwrap()["dynamic_module_config"]["module"]["local"]["filename"];
    assert_eq!(*named, json!(other_library()));
    update(&gate, &next, 2);
    assert_runs(&gate, true);
    update(&gate, &gate.bootstrap, 3);
    assert_runs(&gate, false);
}

#[test]
fn a_file_that_is_replaced_under_the_same_name_has_no_effect_until_envoy_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("libcallgate.so");
    let put = |library: &Path| {
        let new = folder.path().join("new");
        std::fs::copy(library, &new).unwrap();
        std::fs::rename(new, &file).unwrap();
    };
    put(library());
    let start = || Gate::try_start(&file, &limited().to_string(), dynamic, &Options::default()).unwrap();
    let gate = start();
    assert_runs(&gate, false);
    put(&other_library());
    for number in 2..4 {
        let mut policy = limited();
        policy["agents"]["robot"]["purpose"] = json!(format!("update {number}"));
        update(&gate, &gate.bootstrap.with_policy(&policy.to_string()).unwrap(), number);
    }
    // The limit has one request left, so the first library still counts.
    assert_runs(&gate, false);
    assert_eq!(gate.call(&good()).status, 429);
    drop(gate);
    assert_runs(&start(), true);
}

#[test]
fn another_version_of_the_library_starts_with_empty_counts() {
    let gate = start(&limited(), dynamic, &Options::default());
    assert_eq!(three_reads(&gate), [200, 200, 429]);
    let folder = tempfile::tempdir().unwrap();
    update(&gate, &with_another_version(&gate, folder.path()), 2);
    assert_eq!(three_reads(&gate), [200, 200, 429]);
    // The counts of the first version are still in its memory.
    update(&gate, &gate.bootstrap, 3);
    assert_eq!(three_reads(&gate), [429; 3]);
}

/// It does not know what the first version accepted.
#[test]
fn another_version_of_the_library_rejects_what_was_signed_before_it() {
    let gate = signed::gate_of(library(), &signed::signed_policy(), dynamic, 2);
    let call = Call::get("/items/1").request();
    gate.ask(call.clone()).assert_allowed();
    let folder = tempfile::tempdir().unwrap();
    update(&gate, &with_another_version(&gate, folder.path()), 2);
    gate.ask(call).assert_denied(503, "replay_table_young");
}

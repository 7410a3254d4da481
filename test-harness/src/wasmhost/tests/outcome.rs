//! Records that are completed when the request has ended, and the metrics of the token cache.

use std::collections::BTreeMap;

use callgate_kit::records;
use serde_json::json;

use super::super::Fault;
use super::*;

fn completing() -> Value {
    policy_with(json!({ "audit": { "log": { "allow": false, "deny": true }, "outcome": true } }))
}

/// Adds the properties that Envoy has for a stream that has ended. Numbers have eight bytes.
fn ended(request: Request) -> Request {
    let mut properties = request.properties.clone();
    for (path, value) in [
        ("response\0code", 200_i64),
        ("request\0total_size", 300),
        ("response\0total_size", 400),
        ("request\0duration", 5_000_000),
        ("response\0flags", 1 << 14),
    ] {
        properties.insert(path.into(), value.to_le_bytes().to_vec());
    }
    properties.insert(b"response\0code_details".to_vec(), b"via upstream\xff".to_vec());
    Request { properties, ..request }
}

#[test]
fn records_the_outcome_if_the_policy_requests_it() {
    let mut vm = start(&completing());
    let outcome = json!({
        "status": 200, "bytes_received": 300, "bytes_sent": 400, "duration_ms": 5, "ended": "client_gone",
        "details": "via upstream\\xff",
    });
    for request in [good(), request("GET", "/items/7", &[])] {
        let ended = vm.request(&ended(request));
        let record = ended.record.unwrap();
        assert_eq!(record["outcome"], outcome);
        assert_eq!(records::faults(&record), [""; 0]);
        assert_eq!(ended.calls.iter().filter(|call| **call == "proxy_set_property").count(), 2);
        // The line in the gateway's own log is written at the decision, so it has no outcome.
        assert!(ended.logs.iter().all(|log| !log.message.contains("outcome")), "{:?}", ended.logs);
    }
    let silent = start(&policy()).request(&ended(good()));
    assert_eq!(silent.record.unwrap().get("outcome"), None);
    assert_eq!(silent.calls.iter().filter(|call| **call == "proxy_set_property").count(), 1);
}

#[test]
fn tolerates_a_gateway_that_reports_no_outcome() {
    let mut vm = start(&completing());
    let record = vm.request(&good()).record.unwrap();
    assert_eq!(record["outcome"], json!({}));
    assert_eq!(records::faults(&record), [""; 0]);
    for (call, nth) in (2..8).map(|nth| ("proxy_get_property", nth)).chain([("proxy_set_property", 2)]) {
        for status in [2, 10, 99] {
            let fault = Fault { call: call.into(), nth, status };
            let outcome = vm.request(&Request { fault: Some(fault), ..ended(good()) });
            upstream(&outcome);
            let record = outcome.record.unwrap();
            assert_eq!(records::faults(&record), [""; 0]);
            assert_eq!(record.get("outcome").is_none(), call == "proxy_set_property");
        }
    }
    let malformed = BTreeMap::from([(b"response\0code".to_vec(), b"200".to_vec())]);
    let record = vm.request(&Request { properties: malformed, ..good() }).record.unwrap();
    assert_eq!(record["outcome"], json!({}));
    assert_alive(&mut vm);
}

#[test]
fn records_the_outcome_of_a_request_with_a_host_error() {
    let mut vm = start(&completing());
    let fault = Fault { call: "proxy_get_header_map_pairs".into(), nth: 1, status: 10 };
    let outcome = vm.request(&Request { fault: Some(fault), ..ended(good()) });
    let record = outcome.record.unwrap();
    assert_eq!((&record["reason"], &record["outcome"]["status"]), (&json!("host_error"), &json!(200)));
    assert_eq!(records::faults(&record), [""; 0]);
}

#[test]
fn token_cache_has_metrics_and_a_policy_update_clears_it() {
    let mut vm = start(&policy());
    let root = vm.first_root();
    let figures = |vm: &Vm| {
        let figure = |name: &str| vm.counters()[&format!("callgate.token_cache.{name}")];
        (figure("hits"), figure("misses"), vm.gauges()["callgate.token_cache.entries"])
    };
    assert_eq!(figures(&vm), (0, 0, 0));
    let call = good();
    for _ in 0..3 {
        vm.request(&call);
    }
    assert_eq!(figures(&vm), (0, 1, 1), "hits are told many at once");
    for _ in 0..30 {
        vm.request(&call);
    }
    assert_eq!(figures(&vm), (32, 1, 1));
    assert!(vm.gauges()["callgate.token_cache.bytes"] > 500);
    vm.configure(root, policy().to_string().as_bytes(), None).unwrap();
    assert_eq!(figures(&vm), (32, 1, 0));
    assert_eq!(vm.gauges()["callgate.token_cache.bytes"], 0);
}

#[test]
fn decides_without_metrics_on_a_gateway_that_rejects_them() {
    let mut vm = start(&policy());
    let root = vm.first_root();
    for nth in 1..5 {
        let fault = Fault { call: "proxy_define_metric".into(), nth, status: 12 };
        vm.configure(root, policy().to_string().as_bytes(), Some(fault)).unwrap();
        assert_alive(&mut vm);
    }
}

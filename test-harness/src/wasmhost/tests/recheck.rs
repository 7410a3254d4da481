//! Open streams whose credential is checked again while data flows.

use callgate_kit::records;
use serde_json::json;

use super::*;

/// A time at which the tokens have expired, regardless of the difference between the clocks.
const LATER: u64 = (NOW + 3_600) * 1_000_000_000;

fn rechecking() -> Value {
    let mut policy = policy();
    policy["endpoints"][0]["streams"] = json!("recheck");
    policy
}

/// Returns a request whose response has two chunks. The second one arrives when the token has expired.
fn streaming() -> Request {
    let answer = pairs::from_text(&[("content-type", "text/event-stream")]);
    Request { answer, answer_body: vec![b"data: 1".to_vec(), b"data: 2".to_vec()], answer_at: Some(LATER), ..good() }
}

#[test]
fn a_stream_ends_with_the_data_after_its_token_has_expired() {
    let mut vm = start(&rechecking());
    let outcome = vm.request(&streaming());
    upstream(&outcome);
    assert_eq!(outcome.answer_body, [b"data: 1"]);
    let record = outcome.record.unwrap();
    assert_eq!((&record["decision"], &record["outcome"]["ended"]), (&json!("allow"), &json!("token_expired")));
    assert_eq!(records::faults(&record), [""; 0]);
    assert_eq!(vm.counters()["callgate.streams.ended"], 1);
    assert_eq!(outcome.calls.iter().filter(|call| **call == "proxy_send_local_response").count(), 1);
    assert_alive(&mut vm);
}

#[test]
fn the_first_chunks_of_a_stream_cost_one_look_at_the_clock() {
    let calls = |policy: &Value| {
        let mut vm = start(policy);
        let request = Request { answer_at: None, ..streaming() };
        vm.request(&request);
        let outcome = vm.request(&request);
        assert_eq!(outcome.answer_body.len(), 2);
        outcome.calls
    };
    let (with, without) = (calls(&rechecking()), calls(&policy()));
    let clock = |calls: &[&str]| calls.iter().filter(|call| **call == "proxy_get_current_time_nanoseconds").count();
    assert_eq!(clock(&with), clock(&without) + 2);
    let others = |calls: &[&'static str]| {
        calls.iter().copied().filter(|call| *call != "proxy_get_current_time_nanoseconds").collect::<Vec<_>>()
    };
    assert_eq!(others(&with), others(&without));
}

#[test]
fn every_gateway_that_is_based_on_envoy_ends_streams() {
    for profile in [HostProfile::Istio, HostProfile::EnvoyGateway, HostProfile::Higress] {
        let mut vm = start_under(profile, &rechecking());
        let outcome = vm.request(&streaming());
        assert_eq!(outcome.answer_body, [b"data: 1"], "{}", profile.quirks().name);
    }
}

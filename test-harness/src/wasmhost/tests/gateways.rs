//! What single gateways do to a worker and the corpus does not show.

use super::Personality::{Apisix, Higress, Istio, Kong};
use super::*;
use crate::wasmhost::{SharedData, Store};

/// The variable with the key of the tables, and what a test has in it.
const KEY: (&str, &str) = ("CALLGATE_TEST_KEY", "thirty-two bytes that nobody keeps");

/// Two calls, and no third for an hour.
fn limited(personality: Personality) -> Value {
    let mut policy = policy_with(json!({
        "gateway": personality.manners().gateway,
        "limits": { "calls": { "per": "agent", "rate": "1/1h", "burst": 2 } },
        "tables": { "limits": 64, "key": { "env": KEY.0 } },
    }));
    policy["endpoints"][0]["limits"] = json!(["calls"]);
    policy
}

fn worker(
    personality: Personality,
    policy: &Value,
    shared: &SharedData,
) -> Result<Vm, crate::wasmhost::ConfigureFailed> {
    let environment = [(KEY.0.to_owned(), KEY.1.to_owned())];
    Vm::start_beside(&MODULE.under(personality), policy.to_string().as_bytes(), &environment, shared)
}

fn passes(vm: &mut Vm, request: &Request) -> bool {
    matches!(vm.request(request).verdict, Verdict::Continue { .. })
}

#[test]
fn workers_count_together_on_each_gateway_that_has_a_store() {
    for personality in Personality::ALL.into_iter().filter(|personality| personality.manners().store != Store::None) {
        let shared = SharedData::of(personality.manners().store);
        let mut first = worker(personality, &limited(personality), &shared).unwrap();
        let mut second = worker(personality, &limited(personality), &shared).unwrap();
        assert!(passes(&mut first, &good()) && passes(&mut second, &good()), "{personality:?}");
        assert!(!passes(&mut first, &good()) && !passes(&mut second, &good()), "{personality:?}");
    }
}

/// The `vm_id` is blank there, so that every other filter with a blank one writes into the same map.
#[test]
fn what_other_filters_write_into_the_map_lets_no_call_through() {
    for personality in [Istio, Higress] {
        let shared = SharedData::of(Store::Map);
        shared.put(b"somebody", b"else");
        let mut vm = worker(personality, &limited(personality), &shared).unwrap();
        assert!(passes(&mut vm, &good()) && passes(&mut vm, &good()) && !passes(&mut vm, &good()));
        let spent = shared.snapshot();
        let keys: Vec<_> = shared.keys().into_iter().filter(|key| key != b"somebody").collect();
        assert!(!keys.is_empty());
        for key in &keys {
            let value = shared.get(key).unwrap().unwrap().0;
            let mut flipped = value.clone();
            flipped[value.len() / 2] ^= 1;
            let others = keys.iter().filter(|other| *other != key).filter_map(|other| shared.get(other).unwrap());
            let mut junk = vec![Vec::new(), vec![0; value.len()], value[..value.len() - 1].to_vec(), flipped];
            junk.extend(others.map(|(value, _)| value));
            for value in junk {
                shared.restore(&spent);
                shared.put(key, &value);
                assert!(
                    !passes(&mut vm, &good()),
                    "{personality:?}: {} in {}",
                    value.escape_ascii(),
                    key.escape_ascii()
                );
            }
        }
        assert_eq!(shared.get(b"somebody").unwrap().unwrap().0, b"else", "other filters' keys are theirs");
    }
}

#[test]
fn without_a_zone_the_module_does_not_start_on_kong_and_nothing_passes() {
    let Err(failed) = worker(Kong, &limited(Kong), &SharedData::zones(&[])) else { panic!("it starts") };
    assert!(failed.trap.unwrap().contains("no shared memory zone"));
}

#[test]
fn in_a_zone_that_is_too_small_every_call_is_denied() {
    let mut policy = limited(Kong);
    policy["tables"]["limits"] = json!(16_384);
    let mut vm = worker(Kong, &policy, &SharedData::zones(&[(b"callgate", 16 * 1024)])).unwrap();
    assert_eq!(answer(&vm.request(&good())).status, 500);
}

/// A configuration that Kong's host is told to refuse ends the worker: nobody would answer at its port.
#[test]
fn a_policy_that_does_not_compile_denies_every_call_on_kong() {
    for wrong in [
        json!({ "gateway": "kong", "resource": "http://api.example.com" }),
        json!({ "gateway": "kong", "endpoints": [] }),
    ] {
        let mut vm = Vm::start(&MODULE.under(Kong), policy_with(wrong).to_string().as_bytes(), &[]).unwrap();
        for request in [good(), request("GET", "/health", &[])] {
            assert_eq!(answer(&vm.request(&request)).status, 500);
        }
    }
}

#[test]
fn where_grpc_clients_cannot_be_told_so_they_are_told_what_all_are() {
    for personality in [Kong, Apisix] {
        let mut vm = start_under(personality, &policy());
        let outcome = vm.request(&request("POST", "/items/7", &[("content-type", "application/grpc")]));
        let reply = answer(&outcome);
        assert_eq!((reply.status, reply.grpc_status), (401, None), "{personality:?}");
        assert_eq!(pairs::values(&reply.headers, "content-type"), [b"application/problem+json"], "{personality:?}");
    }
}

/// Over HTTP/2 a body may come without a length, and this gateway shows the gate none.
#[test]
fn a_body_that_nobody_announced_is_no_form_on_a_gateway_that_shows_none() {
    let mut policy = policy();
    policy["endpoints"][0]["effect"] = json!("write");
    policy["requirements"] = json!({ "write": {} });
    policy["endpoints"][0]["forms"] = json!("refuse");
    let mut vm = start_under(Apisix, &policy_for_the_log(policy));
    let authorization = good().headers.into_iter().next_back().unwrap();
    let call = |lines: &[(&str, &str)]| {
        let mut call = request("POST", "/items/7", lines);
        call.headers.push(authorization.clone());
        call
    };
    assert_eq!(answer(&vm.request(&call(&[]))).details, "callgate_form_body");
    for lines in [("content-length", "0"), ("content-type", "application/json")] {
        upstream(&vm.request(&call(&[lines])));
    }
}

/// With all records in the gateway's log, the only place for them there.
fn policy_for_the_log(mut policy: Value) -> Value {
    policy["audit"]["log"] = json!({ "allow": true, "deny": true });
    policy
}

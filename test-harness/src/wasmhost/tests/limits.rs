//! Limits in workers that share their counts, on a clock that can be set.

use serde_json::json;

use super::*;
use crate::wasmhost::{Fault, SharedData};

const SECOND: u64 = 1_000_000_000;

fn limited() -> Value {
    let mut policy = policy_with(json!({
        "limits": { "calls": { "per": "agent", "rate": "1/1s", "burst": 2 } },
        "auth_failure_limit": { "rate": "1/1s", "burst": 1 },
    }));
    policy["endpoints"][0]["limits"] = json!(["calls"]);
    policy
}

fn worker(shared: &SharedData) -> Vm {
    Vm::start_beside(&MODULE, limited().to_string().as_bytes(), &[], shared).unwrap()
}

/// Returns a valid request at this offset from the time for which its token is minted.
fn call(at: i64) -> Request {
    let now = i64::try_from(NOW * SECOND).unwrap() + at;
    Request { now: u64::try_from(now).unwrap(), ..good() }
}

fn passes(vm: &mut Vm, request: &Request) -> bool {
    matches!(vm.request(request).verdict, Verdict::Continue { .. })
}

#[test]
fn workers_share_one_limit() {
    let shared = SharedData::default();
    let (mut first, mut second) = (worker(&shared), worker(&shared));
    assert!(passes(&mut first, &call(0)) && passes(&mut second, &call(0)));
    assert!(!passes(&mut first, &call(0)) && !passes(&mut second, &call(0)));
    assert!(passes(&mut second, &call(1_000_000_000)));
    assert!(!passes(&mut first, &call(1_000_000_000)));
}

#[test]
fn limits_survive_a_worker_restart() {
    let shared = SharedData::default();
    let mut first = worker(&shared);
    assert!(passes(&mut first, &call(0)) && passes(&mut first, &call(0)));
    drop(first);
    assert!(!passes(&mut worker(&shared), &call(0)));
}

#[test]
fn a_clock_step_back_blocks_for_at_most_one_refill() {
    let shared = SharedData::default();
    let (mut first, mut second) = (worker(&shared), worker(&shared));
    assert!(passes(&mut first, &call(0)) && passes(&mut first, &call(0)));
    let back = -50_000_000_000;
    assert!(!passes(&mut second, &call(back)));
    assert!(!passes(&mut first, &call(back + 999_999_999)));
    assert!(passes(&mut second, &call(back + 1_000_000_000)));
    assert!(!passes(&mut first, &call(back + 1_000_000_000)));
}

#[test]
fn adds_ratelimit_headers_next_to_the_upstream_ones() {
    let mut vm = worker(&SharedData::default());
    let line = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let told = |vm: &mut Vm, answer: Pairs| {
        let answer = vm.request(&Request { answer, ..call(0) }).answer.unwrap();
        let lines = answer.into_iter().filter(|(name, _)| name.starts_with(b"ratelimit"));
        lines.map(|(name, value)| format!("{}: {}", name.escape_ascii(), value.escape_ascii())).collect::<Vec<_>>()
    };
    assert_eq!(
        told(
            &mut vm,
            vec![line("ratelimit", "\"daily\";r=7"), line("ratelimit-policy", "\"daily\";q=9, \"calls\";q=1")]
        ),
        [
            "ratelimit: \\\"daily\\\";r=7",
            "ratelimit-policy: \\\"daily\\\";q=9, \\\"calls\\\";q=1",
            "ratelimit: \\\"calls\\\";r=1;t=1",
        ]
    );
    assert_eq!(
        told(&mut vm, vec![line("ratelimit", "\"daily\";r=7"), line("ratelimit", "\"calls\";r=5")]),
        ["ratelimit: \\\"daily\\\";r=7", "ratelimit: \\\"calls\\\";r=5", "ratelimit-policy: \\\"calls\\\";q=2;w=2",]
    );
}

#[test]
fn a_failing_store_denies_without_a_trap() {
    for call_name in ["proxy_get_shared_data", "proxy_set_shared_data", "proxy_get_current_time_nanoseconds"] {
        for status in [2, 6, 10, 12, 99, -1] {
            let mut vm = worker(&SharedData::default());
            let fault = Some(Fault { call: call_name.to_owned(), nth: 1, status });
            let outcome = vm.request(&Request { fault, ..call(0) });
            let Verdict::Reply(reply) = &outcome.verdict else { panic!("{call_name} {status}: {outcome:?}") };
            assert_eq!(reply.status, 500, "{call_name} {status}");
            assert_eq!(outcome.record.unwrap()["reason"], "host_error", "{call_name} {status}");
            assert!(passes(&mut vm, &call(0)), "{call_name} {status}");
        }
    }
}

#[test]
fn a_table_keeps_its_size_and_a_metric_reports_the_mismatch() {
    let shared = SharedData::default();
    assert_eq!(worker(&shared).counters()["callgate.limits.other_size"], 0);
    let mut larger = limited();
    larger["tables"] = json!({ "limits": 32_768 });
    let vm = Vm::start_beside(&MODULE, larger.to_string().as_bytes(), &[], &shared).unwrap();
    assert_eq!(vm.counters()["callgate.limits.other_size"], 1);
}

#[test]
fn rejects_a_policy_when_another_plugin_wrote_its_keys() {
    let shared = SharedData::default();
    shared.put(b"callgate/2/test", b"somebody else's");
    let failed = Vm::start_beside(&MODULE, limited().to_string().as_bytes(), &[], &shared).err().unwrap();
    assert!(failed.to_string().contains("give the gate's plugins a `vm_id` of their own"), "{failed}");
    assert!(failed.trap.is_none());
}

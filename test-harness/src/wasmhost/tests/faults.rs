//! Each host call of a request fails once with each status. The VM survives, and no failure lets a request through.

use std::collections::BTreeMap;

use super::*;
use crate::wasmhost::Fault;

/// Statuses that hosts may return instead of `Ok`, whether the ABI defines them or not.
const STATUSES: [i32; 14] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 99, -1];

/// Returns a fault for each call of a list.
fn each(calls: &[&'static str]) -> Vec<Fault> {
    let mut counts = BTreeMap::new();
    let failing = calls.iter().map(|call| {
        let nth = counts.entry(*call).and_modify(|nth| *nth += 1).or_insert(1);
        (call, *nth)
    });
    failing.flat_map(|(call, nth)| STATUSES.map(|status| Fault { call: (*call).to_owned(), nth, status })).collect()
}

/// Gateways whose hosts the filter calls in different ways.
const GATEWAYS: [HostProfile; 3] = [HostProfile::Envoy, HostProfile::Istio, HostProfile::Kong];

/// Returns whether a decision does not depend on this call: metrics, logging, signatures that the gateway verifies, and properties that the
/// gateway does not know. On Kong the first property is the target, and no request can be decided without it. If the workers' map does not
/// have what the newest policy published, the policy publishes that again.
fn may_fail(profile: HostProfile, fault: &Fault) -> bool {
    match fault.call.as_str() {
        // The filter verifies signatures itself if the gateway does not.
        "proxy_log" | "proxy_define_metric" | "proxy_increment_metric" | "proxy_call_foreign_function" => true,
        "proxy_get_shared_data" => fault.status == 1,
        "proxy_get_property" => matches!(fault.status, 1 | 3) && (profile != HostProfile::Kong || fault.nth > 1),
        _ => false,
    }
}

/// Makes each host call of a request fail in turn, on each gateway, in a new VM and in one that has already decided a request.
fn walk(policy: &Value, request: &Request, mut judge: impl FnMut(HostProfile, &Fault, &Outcome)) {
    for (profile, warm) in GATEWAYS.iter().flat_map(|profile| [(*profile, false), (*profile, true)]) {
        let fresh = || {
            let mut vm = start_under(profile, policy);
            if warm {
                upstream(&vm.request(&good()));
            }
            vm
        };
        let calls = fresh().request(request).calls;
        assert!(calls.len() > 3, "{calls:?}");
        let mut vm = fresh();
        for fault in each(&calls) {
            if !warm {
                vm = fresh();
            }
            let outcome = vm.request(&Request { fault: Some(fault.clone()), ..request.clone() });
            assert!(!matches!(outcome.verdict, Verdict::Trap(_)), "{fault:?}: {:?}", outcome.verdict);
            judge(profile, &fault, &outcome);
            assert_alive(&mut vm);
        }
    }
}

#[test]
fn forwards_an_allowed_request_completely_or_not_at_all() {
    let policy = policy();
    let mut request = good();
    request.headers.extend(pairs::from_text(&[("x-callgate-agent", "root"), ("x_callgate_scopes", "all")]));
    let expected = GATEWAYS.map(|profile| upstream(&start_under(profile, &policy).request(&request)).len());
    // Headers that Kong cannot remove arrive empty.
    assert_eq!(expected[2], expected[0] + 2);
    walk(&policy, &request, |profile, fault, outcome| match &outcome.verdict {
        Verdict::Continue { headers } => {
            assert!(may_fail(profile, fault), "{fault:?}");
            let position = GATEWAYS.iter().position(|own| *own == profile).unwrap();
            assert_eq!(headers.len(), expected[position], "{fault:?}");
            assert_eq!(pairs::values(headers, "x-callgate-agent"), [b"builder"]);
            assert!(outcome.record.is_some(), "{fault:?}");
        }
        Verdict::Reply(reply) => {
            assert!(!may_fail(profile, fault), "{fault:?}");
            assert_eq!((reply.status, reply.details.as_str()), (500, "callgate_host_error"), "{fault:?}");
            let record = outcome.record.as_ref().unwrap();
            assert_eq!((&record["decision"], &record["reason"]), (&json!("deny"), &json!("host_error")), "{fault:?}");
            assert!(outcome.logs.iter().any(|log| log.message.contains(&fault.call)), "{fault:?}: {:?}", outcome.logs);
        }
        other => panic!("{fault:?}: {other:?}"),
    });
}

#[test]
fn never_forwards_a_denied_request_after_a_host_fault() {
    walk(&policy(), &request("GET", "/items/7", &[]), |_, fault, outcome| match &outcome.verdict {
        Verdict::Reply(reply) => assert!(reply.status >= 400, "{fault:?}"),
        Verdict::Hang => assert_eq!(fault.call, "proxy_send_local_response"),
        other => panic!("{fault:?}: {other:?}"),
    });
}

#[test]
fn forwards_an_observed_request_sanitized_or_not_at_all() {
    let token = format!("Bearer {}", mint(&claims()));
    let request = request("GET", "/watched", &[("authorization", &token), ("x-callgate-agent", "root")]);
    walk(&policy(), &request, |profile, fault, outcome| {
        if let Verdict::Continue { headers } = &outcome.verdict {
            // If the look at what the newest policy revokes fails, observation only records that this would deny the request.
            let record = outcome.record.as_ref().unwrap();
            let is_observed = (&record["decision"], &record["reason"]) == (&json!("observe"), &json!("host_error"));
            let is_look = fault.call == "proxy_get_shared_data";
            assert!(may_fail(profile, fault) || is_look && is_observed, "{fault:?}");
            assert_eq!(pairs::values(headers, "x-callgate-agent"), [b"builder"]);
        }
    });
}

#[test]
fn forwards_trailers_sanitized_or_not_at_all() {
    let trailers = pairs::from_text(&[("x-callgate-agent", "root"), ("x_callgate_scopes", "all"), ("a", "b")]);
    let request = Request { end_of_stream: false, trailers: Some(trailers), ..good() };
    walk(&policy(), &request, |profile, fault, outcome| match &outcome.trailers {
        Some(trailers) => assert_eq!(*trailers, pairs::from_text(&[("a", "b")]), "{fault:?}"),
        None => {
            let gone = matches!(outcome.verdict, Verdict::Continue { .. });
            assert!(!gone || !profile.quirks().trailers, "{fault:?}");
        }
    });
}

#[test]
fn rejects_a_configuration_that_the_host_fails_to_deliver() {
    let policy = policy().to_string();
    let mut vm = start(&super::policy());
    let root = vm.first_root();
    for call in ["proxy_get_buffer_bytes", "proxy_log", "random_get", "environ_get", "environ_sizes_get"] {
        for status in STATUSES {
            let fault = Fault { call: call.to_owned(), nth: 1, status };
            let taken = vm.configure(root, policy.as_bytes(), Some(fault));
            assert_eq!(taken.is_ok(), call != "proxy_get_buffer_bytes", "{call} {status}: {taken:?}");
            assert_alive(&mut vm);
        }
    }
}

//! One stream: how the filter applies a decision.

use serde_json::json;

use super::*;

#[test]
fn forwards_an_allowed_request_with_its_identity_and_a_record() {
    let mut vm = start(&policy());
    let mut request = good();
    request.headers.extend(pairs::from_text(&[
        ("x-callgate-agent", "root"),
        ("X_Callgate.Scopes", "all"),
        ("x-other", "1"),
    ]));
    let outcome = vm.request(&request);
    let headers = upstream(&outcome);
    assert_eq!(pairs::values(headers, "x-callgate-agent"), [b"builder"]);
    assert_eq!(pairs::values(headers, "x-callgate-scopes"), [b"items:read"]);
    assert_eq!(pairs::values(headers, "x_callgate.scopes"), [b""; 0]);
    assert_eq!(pairs::values(headers, "authorization"), [b""; 0]);
    assert_eq!(pairs::values(headers, "x-other"), [b"1"]);
    let record = outcome.record.as_ref().unwrap();
    assert_eq!(record["decision"], "allow");
    assert_eq!(record["source"], "192.0.2.1");
    assert_eq!(pairs::values(headers, "x-callgate-decision"), [record["id"].as_str().unwrap().as_bytes()]);
    assert_eq!(outcome.logs, []);
    assert_eq!(vm.counters()["callgate.decisions.allow.allowed"], 1);
}

#[test]
fn answers_a_denied_request_once_and_logs_its_record() {
    let mut vm = start(&policy());
    let outcome = vm.request(&request("GET", "/items/7", &[]));
    let reply = answer(&outcome);
    assert_eq!((reply.status, reply.details.as_str()), (401, "callgate_credentials_missing"));
    assert_eq!(reply.grpc_status, None);
    assert_eq!(pairs::values(&reply.headers, "content-type"), [b"application/problem+json"]);
    assert_eq!(pairs::values(&reply.headers, "www-authenticate").len(), 1);
    let record = outcome.record.as_ref().unwrap();
    let problem: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(problem["instance"], format!("urn:callgate:decision:{}", record["id"].as_str().unwrap()));
    let [line] = outcome.logs.as_slice() else { panic!("{:?}", outcome.logs) };
    assert_eq!(serde_json::from_str::<Value>(&line.message).unwrap(), *record);
    assert_eq!(outcome.calls.iter().filter(|call| **call == "proxy_send_local_response").count(), 1);
    assert_eq!(vm.counters()["callgate.decisions.deny.credentials_missing"], 1);
}

#[test]
fn logs_only_the_decisions_that_the_policy_selects() {
    for (allow, deny) in [(false, false), (true, false), (false, true), (true, true)] {
        let audit = json!({ "headers": { "prefix": "x-callgate-" }, "log": { "allow": allow, "deny": deny } });
        let mut vm = start(&policy_with(json!({ "audit": audit })));
        assert_eq!(vm.request(&good()).logs.len(), usize::from(allow));
        assert_eq!(vm.request(&request("GET", "/items/7", &[])).logs.len(), usize::from(deny));
    }
}

#[test]
fn answers_a_grpc_request_with_a_grpc_status() {
    let mut vm = start(&policy());
    let outcome = vm.request(&request("POST", "/items/7", &[("content-type", "application/grpc")]));
    assert_eq!(answer(&outcome).grpc_status, Some(16));
}

#[test]
fn strips_spoofed_identity_trailers() {
    let mut vm = start(&policy());
    let trailers =
        [("x-callgate-agent", "root"), ("X_CALLGATE_SCOPES", "a"), ("x-callgate-agent", "root"), ("grpc-status", "0")];
    let request = Request { end_of_stream: false, trailers: Some(pairs::from_text(&trailers)), ..good() };
    let outcome = vm.request(&request);
    upstream(&outcome);
    assert_eq!(outcome.trailers, Some(pairs::from_text(&[("grpc-status", "0")])));
}

#[test]
fn strips_trailers_named_like_checked_headers() {
    let mut vm = start(&policy_with(json!({ "override_headers": ["x-forwarded-prefix"] })));
    let trailers = [
        ("X!Callgate~Agent", "root"),
        ("authorization", "Bearer other"),
        ("content_length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("SCRIPT_NAME", "/items"),
        ("x~forwarded~prefix", "/items"),
        ("grpc-status", "0"),
        ("x-checksum", "a"),
    ];
    let request = Request { end_of_stream: false, trailers: Some(pairs::from_text(&trailers)), ..good() };
    let outcome = vm.request(&request);
    upstream(&outcome);
    assert_eq!(outcome.trailers, Some(pairs::from_text(&[("grpc-status", "0"), ("x-checksum", "a")])));
}

#[test]
fn forwards_body_and_trailers_only_after_an_allowed_request() {
    let mut vm = start(&policy());
    let body = |request: Request| Request {
        end_of_stream: false,
        body: Some(vec![b"body".to_vec()]),
        trailers: Some(pairs::from_text(&[("a", "b")])),
        ..request
    };
    upstream(&vm.request(&body(good())));
    let outcome = vm.request(&body(request("GET", "/items/7", &[])));
    answer(&outcome);
    assert_eq!(outcome.trailers, None);
}

#[test]
fn forwards_an_observed_denial_with_its_credential() {
    let mut vm = start(&policy());
    let token = format!("Bearer {}", mint(&claims()));
    let request = request("GET", "/watched", &[("authorization", &token), ("x-callgate-agent", "root")]);
    let outcome = vm.request(&request);
    let headers = upstream(&outcome);
    assert_eq!(pairs::values(headers, "authorization"), [token.as_bytes()]);
    assert_eq!(pairs::values(headers, "x-callgate-agent"), [b"builder"]);
    assert_eq!(outcome.record.as_ref().unwrap()["decision"], "observe");
    assert_eq!(outcome.logs.len(), 1, "the policy has denials logged, and this would be one");
    assert_eq!(vm.counters()["callgate.decisions.observe.insufficient_scope"], 1);
}

#[test]
fn allows_a_request_with_an_unknown_source() {
    let mut vm = start(&policy());
    for source in [None, Some("/run/client.sock".into())] {
        let outcome = vm.request(&Request { source, ..good() });
        upstream(&outcome);
        assert_eq!(outcome.record.unwrap().get("source"), None);
    }
}

#[test]
fn decision_ids_are_unique() {
    let mut vm = start(&policy());
    let names: std::collections::BTreeSet<_> =
        (0..100).map(|_| vm.request(&good()).record.unwrap()["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names.len(), 100);
}

#[test]
fn policies_in_one_vm_do_not_share_verified_tokens() {
    let mut vm = start(&policy());
    let first = vm.first_root();
    let second = vm.create_root().unwrap();
    let other = SigningKey::generate(Algorithm::Es256).unwrap().with_kid("k1");
    let mut policy = policy_with(json!({ "name": "second" }));
    policy["issuers"]["corp"]["keys"]["jwks"]["keys"] = json!([other.public_jwk()]);
    vm.configure(second, policy.to_string().as_bytes(), None).unwrap();
    for _ in 0..2 {
        assert_eq!(reason(&vm.request_on(first, &good())), "allowed");
        let outcome = vm.request_on(second, &good());
        assert_eq!(reason(&outcome), "token_signature", "a token that one policy verified is not good under another");
        assert_eq!(outcome.record.unwrap()["policy"], "second");
    }
}

/// Each host call costs up to a microsecond, so a new one must be added to this list deliberately.
#[test]
fn a_decision_makes_few_host_calls() {
    let mut vm = start(&policy());
    vm.request(&good());
    let calls = vm.request(&good()).calls;
    let written = calls.iter().filter(|call| call.contains("header_map_value")).count();
    let others: Vec<_> = calls.into_iter().filter(|call| !call.contains("header_map_value")).collect();
    assert_eq!(
        others,
        [
            "proxy_get_header_map_pairs",
            "proxy_get_property",
            "proxy_get_current_time_nanoseconds",
            "proxy_set_property",
            "proxy_increment_metric",
        ]
    );
    // Authorization is removed. Agent, issuer, client, subject, scopes, endpoint, decision and policy are added.
    assert_eq!(written, 9);
}

#[test]
fn memory_does_not_grow_with_the_number_of_clients() {
    let mut vm = start(&policy());
    let flood = |vm: &mut Vm, from: usize, to: usize| {
        for n in from..to {
            let token = format!("Bearer e30.{}.{n}", "A".repeat(1000));
            answer(&vm.request(&request("GET", &format!("/items/{n}"), &[("authorization", &token)])));
        }
        vm.memory_bytes()
    };
    let before = flood(&mut vm, 0, 200);
    assert_eq!(flood(&mut vm, 200, 4000), before);
}

#[test]
fn uses_the_original_path_and_host_on_kong() {
    let mut vm = start(&policy_with(json!({ "gateway": "kong" })));
    let asked = |target: &str, host: &str| {
        let mut request = good();
        for (name, value) in &mut request.headers {
            match name.as_slice() {
                // The server has decoded it.
                b":path" => *value = b"/items/7".to_vec(),
                b":authority" => *value = b"server:8000".to_vec(),
                _ => {}
            }
        }
        request.headers.extend(pairs::from_text(&[("Host", host)]));
        request.properties.insert(b"request\0path".to_vec(), target.as_bytes().to_vec());
        request
    };
    upstream(&vm.request(&asked("/items/7", "api.example.com")));
    for (target, host, reason) in [
        ("/items/%37", "api.example.com", "callgate_path_escape_unreserved"),
        ("/x/../items/7", "api.example.com", "callgate_path_dot_segment"),
        ("/items/7", "server:8000", "callgate_endpoint_not_allowed"),
    ] {
        assert_eq!(answer(&vm.request(&asked(target, host))).details, reason);
    }
    let mut unknown = asked("/items/7", "api.example.com");
    unknown.properties.clear();
    assert_eq!(answer(&vm.request(&unknown)).details, "callgate_host_error");
}

#[test]
fn portable_gateway_logs_records_and_uses_the_wasi_clock() {
    let audit = json!({ "headers": { "prefix": "x-callgate-" }, "log": { "allow": true, "deny": true } });
    let mut vm = start(&policy_with(json!({ "gateway": "portable", "audit": audit })));
    let outcome = vm.request(&good());
    upstream(&outcome);
    assert_eq!(outcome.record, None);
    let [line] = outcome.logs.as_slice() else { panic!("{:?}", outcome.logs) };
    assert_eq!(serde_json::from_str::<Value>(&line.message).unwrap()["decision"], "allow");
    assert!(
        !outcome.calls.contains(&"proxy_set_property")
            && !outcome.calls.contains(&"proxy_get_current_time_nanoseconds")
    );
    assert!(outcome.calls.contains(&"clock_time_get"));
}

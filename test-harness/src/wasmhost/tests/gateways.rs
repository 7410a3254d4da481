//! Effects of individual gateways on a worker that the corpus does not cover.

use super::HostProfile::{Apisix, Higress, Istio, Kong};
use super::*;
use crate::wasmhost::{SharedData, Store};

/// The variable with the key of the shared tables, and its value in the tests.
const KEY: (&str, &str) = ("CALLGATE_TEST_KEY", "thirty-two bytes that nobody keeps");

/// A limit of two requests, without a third one for an hour.
fn limited(profile: HostProfile) -> Value {
    let mut policy = policy_with(json!({
        "gateway": profile.quirks().gateway,
        "limits": { "calls": { "per": "agent", "rate": "1/1h", "burst": 2 } },
        "tables": { "limits": 64, "key": { "env": KEY.0 } },
    }));
    policy["endpoints"][0]["limits"] = json!(["calls"]);
    policy
}

fn worker(profile: HostProfile, policy: &Value, shared: &SharedData) -> Result<Vm, crate::wasmhost::ConfigureFailed> {
    let environment = [(KEY.0.to_owned(), KEY.1.to_owned())];
    Vm::start_beside(&MODULE.under(profile), policy.to_string().as_bytes(), &environment, shared)
}

fn passes(vm: &mut Vm, request: &Request) -> bool {
    matches!(vm.request(request).verdict, Verdict::Continue { .. })
}

#[test]
fn workers_share_limits_on_each_gateway_with_a_store() {
    for profile in HostProfile::ALL.into_iter().filter(|profile| profile.quirks().store != Store::None) {
        let shared = SharedData::of(profile.quirks().store);
        let mut first = worker(profile, &limited(profile), &shared).unwrap();
        let mut second = worker(profile, &limited(profile), &shared).unwrap();
        assert!(passes(&mut first, &good()) && passes(&mut second, &good()), "{profile:?}");
        assert!(!passes(&mut first, &good()) && !passes(&mut second, &good()), "{profile:?}");
    }
}

/// The `vm_id` is blank there, so all other filters with a blank one write into the same map.
#[test]
fn corrupt_shared_data_never_allows_a_request() {
    for profile in [Istio, Higress] {
        let shared = SharedData::of(Store::Map);
        shared.put(b"somebody", b"else");
        let mut vm = worker(profile, &limited(profile), &shared).unwrap();
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
                assert!(!passes(&mut vm, &good()), "{profile:?}: {} in {}", value.escape_ascii(), key.escape_ascii());
            }
        }
        assert_eq!(shared.get(b"somebody").unwrap().unwrap().0, b"else", "other filters' keys are theirs");
    }
}

/// A filter that stops during configuration leaves the API open, so the filter accesses the zone only at the first request.
#[test]
fn traps_on_the_first_request_on_kong_without_a_zone() {
    let mut vm = worker(Kong, &limited(Kong), &SharedData::zones(&[])).unwrap();
    let Verdict::Trap(trap) = vm.request(&good()).verdict else { panic!("it does not trap") };
    assert!(trap.contains("no shared memory zone"), "{trap}");
}

#[test]
fn kong_rejects_a_zone_size_that_is_not_a_page_multiple() {
    let Err(failed) = worker(Kong, &limited(Kong), &SharedData::zones(&[(b"callgate", 1413 << 10)])) else {
        panic!("it starts")
    };
    assert!(failed.trap.unwrap().contains("a multiple of 4096"));
}

/// Each generation of workers has its own zone: until the old workers have ended, each generation counts a limit separately.
#[test]
fn workers_before_and_after_a_reload_count_separately() {
    let shared = SharedData::of(Store::Zones);
    let mut old = worker(Kong, &limited(Kong), &shared).unwrap();
    assert!(passes(&mut old, &good()) && passes(&mut old, &good()) && !passes(&mut old, &good()));
    let next = shared.reloaded();
    let mut new = worker(Kong, &limited(Kong), &next).unwrap();
    let mut other = worker(Kong, &limited(Kong), &next).unwrap();
    assert!(passes(&mut new, &good()) && passes(&mut other, &good()) && !passes(&mut new, &good()));
    assert!(!passes(&mut old, &good()));
}

/// Returns a request with more lines than Kong lists. The last one imitates one of the gate's headers, and the method makes the list larger
/// than its buffer.
fn crowded(lines: usize, method: &str) -> Request {
    let mut request = good();
    request.headers[2].1 = method.as_bytes().to_vec();
    let own = request.headers.iter().filter(|(name, _)| !name.starts_with(b":")).count() + 1;
    request.headers.extend((own..lines).map(|n| (format!("x-{n}").into_bytes(), Vec::new())));
    request.headers.last_mut().unwrap().0 = b"x-callgate-agent".to_vec();
    request
}

#[test]
fn denies_a_request_with_more_headers_than_kong_lists() {
    for mode in ["enforce", "observe"] {
        let mut vm = start_under(Kong, &policy_with(json!({ "mode": mode })));
        for n in 0..120 {
            let long = "M".repeat(1 + n * 60);
            for method in ["GET", &long] {
                let outcome = vm.request(&crowded(96 + n, method));
                assert_eq!(answer(&outcome).status, 431, "{n} {outcome:?}");
                assert_eq!(reason(&outcome), "too_many_headers");
            }
        }
        if mode == "enforce" {
            assert_alive_on_kong(&mut vm);
        }
        // The largest number of lines that Kong lists completely.
        let poses = pairs::values(upstream(&vm.request(&crowded(95, "GET"))), "x-callgate-agent").concat();
        assert_eq!(poses, b"builder");
    }
}

#[track_caller]
fn assert_alive_on_kong(vm: &mut Vm) {
    let outcome = vm.request(&good());
    assert_eq!(pairs::values(upstream(&outcome), "x-callgate-agent"), [b"builder"]);
    assert_eq!(pairs::values(upstream(&outcome), "authorization"), [b""]);
}

/// Shows that the check above is effective: with a policy for another gateway, the buffers are only as large as the host requests.
#[test]
fn kong_overruns_the_buffer_without_extra_room() {
    let portable = policy_with(json!({ "gateway": "portable" })).to_string();
    let mut vm = Vm::start(&MODULE.under(Kong), portable.as_bytes(), &[]).unwrap();
    let Verdict::Trap(trap) = vm.request(&crowded(120, &"M".repeat(4_000))).verdict else { panic!("nothing happens") };
    assert!(trap.contains("smaller than the data that the host writes"), "{trap}");
}

#[test]
fn blanks_or_rejects_spoofed_identity_headers_on_kong() {
    let mut vm = start_under(Kong, &policy_with(json!({ "overrides": "remove" })));
    let with = |lines: &[(&str, &str)]| {
        let mut request = good();
        request.headers.extend(pairs::from_text(lines));
        request
    };
    let outcome = vm.request(&with(&[
        ("X-Callgate-Agent", "admin"),
        ("x_callgate_agent", "admin"),
        ("x-callgate.agent", "admin"),
        ("X-Callgate-Subject", "root"),
        ("x-callgate-other", "root"),
        ("x-http-method-override", "DELETE"),
    ]));
    let sent = upstream(&outcome);
    assert_eq!(pairs::values(sent, "x-callgate-agent"), [b"builder"]);
    assert_eq!(pairs::values(sent, "x-callgate-subject"), [b"builder"]);
    for name in ["x_callgate_agent", "x-callgate-other", "x-http-method-override", "authorization"] {
        assert_eq!(pairs::values(sent, name), [b""], "{name}");
    }
    assert_eq!(pairs::values(sent, "x-callgate.agent").len(), 0, "nginx drops it");
    for twice in
        [[("X-Callgate-Agent", "a"), ("x-callgate-agent", "b")], [("x-original-url", "/a"), ("X-Original-Url", "/b")]]
    {
        let outcome = vm.request(&with(&twice));
        assert_eq!((answer(&outcome).status, reason(&outcome)), (400, "unremovable_header"));
    }
}

/// Servers may reject the empty header that Kong forwards. A client avoids that with a second subprotocol, as `legacy-clients.md` states.
#[test]
fn a_token_that_is_the_only_subprotocol_leaves_an_empty_header_on_kong_alone() {
    let token = mint(&claims());
    let mut policy = policy_with(json!({ "credentials_from": [{ "websocket_protocol": "bearer." }] }));
    policy["endpoints"][0]["upgrade"] = json!("websocket");
    for (profile, alone) in [(Kong, Some("")), (HostProfile::Envoy, None)] {
        let mut vm = start_under(profile, &policy);
        for (protocols, rest) in [
            (format!("bearer.{token}"), alone),
            (format!("bearer.{token},,"), alone),
            (format!("chat, bearer.{token}"), Some("chat")),
            (format!("bearer.{token},v2.chat,chat"), Some("v2.chat, chat")),
        ] {
            let outcome = vm.request(&request(
                "GET",
                "/items/7",
                &[
                    ("connection", "upgrade"),
                    ("upgrade", "websocket"),
                    ("sec-websocket-version", "13"),
                    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                    ("sec-websocket-protocol", &protocols),
                ],
            ));
            let sent = upstream(&outcome);
            assert_eq!(pairs::values(sent, "x-callgate-agent"), [b"builder"], "{profile:?} {protocols}");
            let rest: Vec<&[u8]> = rest.into_iter().map(str::as_bytes).collect();
            assert_eq!(pairs::values(sent, "sec-websocket-protocol"), rest, "{profile:?} {protocols}");
            let leaks = |value: &[u8]| value.windows(token.len()).any(|part| part == token.as_bytes());
            assert!(!sent.iter().any(|(_, value)| leaks(value)), "{profile:?} {protocols}");
        }
    }
}

#[test]
fn denies_every_request_when_the_zone_is_too_small() {
    let mut policy = limited(Kong);
    policy["tables"]["limits"] = json!(16_384);
    let mut vm = worker(Kong, &policy, &SharedData::zones(&[(b"callgate", 16 * 1024)])).unwrap();
    assert_eq!(answer(&vm.request(&good())).status, 500);
}

/// A filter that rejects its configuration leaves the API open on Kong. A configuration that cannot be read names no gateway, so the
/// environment names it.
#[test]
fn an_invalid_policy_denies_every_request_on_kong() {
    let kong = policy_with(json!({ "gateway": "kong" })).to_string();
    let wrong = policy_with(json!({ "gateway": "kong", "resource": "http://api.example.com" })).to_string();
    let empty = policy_with(json!({ "gateway": "kong", "endpoints": [] })).to_string();
    let denies = |config: &[u8], environment: &[(String, String)]| {
        let mut vm = Vm::start(&MODULE.under(Kong), config, environment).unwrap();
        for request in [good(), request("GET", "/health", &[])] {
            assert_eq!(answer(&vm.request(&request)).status, 500, "{}", config.escape_ascii());
        }
    };
    let variable = [("CALLGATE_GATEWAY".to_owned(), "kong".to_owned())];
    for config in [wrong.as_bytes(), empty.as_bytes()] {
        denies(config, &[]);
        denies(config, &variable);
    }
    let other = policy().to_string();
    for config in [b"".as_slice(), b"null", b"callgate: v1", b"\xff", &kong.as_bytes()[..20], b"{}", other.as_bytes()] {
        denies(config, &variable);
    }
    // An unknown name is not the name of a gateway that handles rejection safely.
    denies(kong.as_bytes(), &[("CALLGATE_GATEWAY".to_owned(), "Kong".to_owned())]);
    let mut vm = Vm::start(&MODULE.under(Kong), kong.as_bytes(), &variable).unwrap();
    assert_alive_on_kong(&mut vm);
}

#[test]
fn envoy_rejects_a_policy_for_another_gateway() {
    let variable = |name: &str| [("CALLGATE_GATEWAY".to_owned(), name.to_owned())];
    let kong = policy_with(json!({ "gateway": "kong" })).to_string();
    let Err(failed) = Vm::start(&MODULE, kong.as_bytes(), &variable("envoy")) else { panic!("it starts") };
    assert!(failed.logs.iter().any(|log| log.message.contains("`CALLGATE_GATEWAY` is `envoy`")), "{failed}");
    assert!(Vm::start(&MODULE, policy().to_string().as_bytes(), &variable("envoy")).is_ok());

    let module = policy_with(json!({ "gateway": "envoy-module" })).to_string();
    for environment in [&[][..], &variable("envoy"), &variable("envoy-module")] {
        let Err(failed) = Vm::start(&MODULE, module.as_bytes(), environment) else { panic!("it starts") };
        let expected = "the policy is written for `envoy-module`, the dynamic module, and this is the Wasm filter";
        assert!(failed.logs.iter().any(|log| log.message.contains(expected)), "{failed}");
    }
}

#[test]
fn grpc_clients_get_problem_json_on_kong_and_apisix() {
    for profile in [Kong, Apisix] {
        let mut vm = start_under(profile, &policy());
        let outcome = vm.request(&request("POST", "/items/7", &[("content-type", "application/grpc")]));
        let reply = answer(&outcome);
        assert_eq!((reply.status, reply.grpc_status), (401, None), "{profile:?}");
        assert_eq!(pairs::values(&reply.headers, "content-type"), [b"application/problem+json"], "{profile:?}");
    }
}

/// Over HTTP/2 a body may arrive without a declared length, and this gateway shows no body to the gate.
#[test]
fn rejects_a_body_of_unknown_length_as_a_form_on_apisix() {
    let mut policy = policy();
    policy["endpoints"][0]["effect"] = json!("write");
    policy["requirements"] = json!({ "write": {} });
    policy["endpoints"][0]["form_bodies"] = json!("reject");
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

/// Returns the policy with all records in the gateway's log, which is the only place for them there.
fn policy_for_the_log(mut policy: Value) -> Value {
    policy["audit"]["log"] = json!({ "allow": true, "deny": true });
    policy
}

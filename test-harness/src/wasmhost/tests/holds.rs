//! Requests that are held for their bodies: for how long, for how many bytes, and the events that end them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate::Headers;
use callgate::identity::signature::{Message, StructuredFields, base, read};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::wasmhost::{Fault, OpenStream, SharedData};

const SECRET: &str = "a secret of thirty-two bytes, or";
const BODY: &[u8] = b"{\"amount\": 12}";

/// Returns a policy with two agents that sign their requests.
fn signed(gateway: &str, members: Value) -> Value {
    let agent = |name: &str| json!({ "owner": "a@example.com", "signing_keys": [{ "secret": { "env": name }, "keyid": name }] });
    let mut policy = policy_with(json!({
        "gateway": gateway,
        "issuers": {},
        "agents": { "slow": agent("slow"), "other": agent("other") },
        "limits": { "writes": { "per": "agent", "rate": "2/1h", "burst": 2 } },
        "requirements": {},
        "endpoints": [{ "id": "pay", "methods": ["POST"], "path": "/pay", "effect": "write", "scopes": "none",
                        "authenticate": "signature", "limits": ["writes"] }],
        "max_body": "64KiB",
        "held_bodies": { "hold_timeout": "3s", "total_timeout": "8s", "agent_bytes": "128KiB" },
    }));
    if gateway != "envoy" {
        policy["body_check"] = json!("after_headers");
        policy["tables"] = json!({ "key": { "env": "tables" } });
    }
    for (name, member) in members.as_object().unwrap() {
        policy[name] = member.clone();
    }
    policy
}

fn environment() -> Vec<(String, String)> {
    ["slow", "other", "tables"].map(|name| (name.to_owned(), format!("{SECRET}{name}"))).to_vec()
}

fn start(policy: &Value) -> Vm {
    Vm::start(&MODULE, policy.to_string().as_bytes(), &environment()).unwrap()
}

/// Returns the head of a signed request whose body has this digest.
fn head(agent: &str, nonce: &str, digest: Option<&[u8]>, lines: &[(&str, &str)]) -> Request {
    let mut request = request("POST", "/pay", &[]);
    let mut components = "\"@method\" \"@authority\" \"@path\"".to_owned();
    if let Some(body) = digest {
        components += " \"content-digest\"";
        let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)));
        request.headers.extend(pairs::from_text(&[("content-digest", digest.as_str())]));
    }
    let headers: Headers = request.headers.iter().map(|(name, value)| (name, value)).collect();
    let message = Message {
        method: b"POST",
        scheme: "https",
        authority: "api.example.com",
        target: b"/pay",
        headers: &headers,
        structured: &StructuredFields::default(),
    };
    let input = format!("sig=({components});created={NOW};keyid=\"{agent}\";nonce=\"{nonce}\"");
    let base = base(&message, &read(input.as_bytes(), b"sig=:AA==:").unwrap()[0].input).unwrap();
    let signature = format!("sig=:{}:", STANDARD.encode(hmac_sha256::HMAC::mac(base, format!("{SECRET}{agent}"))));
    request.headers.extend(pairs::from_text(&[("signature-input", input.as_str()), ("signature", &signature)]));
    request.headers.extend(pairs::from_text(lines));
    Request { end_of_stream: false, ..request }
}

fn pay(agent: &str, nonce: &str) -> Request {
    head(agent, nonce, Some(BODY), &[])
}

/// Returns the same request with its whole body at once.
fn whole(request: &Request) -> Request {
    Request { body: Some(vec![BODY.to_vec()]), ..request.clone() }
}

fn open(vm: &mut Vm, request: &Request) -> OpenStream {
    vm.open(vm.first_root(), request)
}

/// Fires the timer until the stream is answered, and returns how often it fired.
#[track_caller]
fn ticks_until_answered(vm: &mut Vm, stream: &mut OpenStream, part: &[u8]) -> u32 {
    for ticks in 1..20 {
        vm.send(stream, part, false);
        assert!(vm.tick(vm.first_root()).unwrap());
        vm.look(stream);
        if stream.verdict().is_some() {
            return ticks;
        }
    }
    panic!("it is never answered");
}

#[test]
fn a_stalled_body_gets_408_and_consumes_nothing() {
    let mut vm = start(&signed("envoy", json!({})));
    let request = pay("slow", "a");
    for _ in 0..3 {
        let mut stream = open(&mut vm, &request);
        vm.send(&mut stream, &BODY[..5], false);
        assert_eq!(stream.verdict(), None);
        assert_eq!(ticks_until_answered(&mut vm, &mut stream, b""), 4);
        // Data that the client sends now gets no second response.
        vm.send(&mut stream, &BODY[5..], true);
        assert!(vm.tick(vm.first_root()).unwrap());
        let outcome = vm.close(stream);
        let reply = answer(&outcome);
        assert_eq!((reply.status, &*reply.details), (408, "callgate_body_timeout"));
        assert_eq!(outcome.gone, None);
        let record = outcome.record.as_ref().unwrap();
        assert_eq!((&record["decision"], &record["rule"]), (&json!("deny"), &json!("held_bodies")));
        assert_eq!((reason(&outcome), &record["agent"]), ("body_timeout", &json!("slow")));
        assert_eq!(outcome.logs, []);
    }
    assert_eq!(vm.counters()["callgate.decisions.deny.body_timeout"], 3);
    upstream(&vm.request(&whole(&request)));
    upstream(&vm.request(&whole(&pay("slow", "b"))));
    assert_eq!(reason(&vm.request(&whole(&pay("slow", "c")))), "rate_limited");
}

#[test]
fn a_trickling_body_ends_at_the_total_timeout() {
    let mut vm = start(&signed("envoy", json!({})));
    let mut stream = open(&mut vm, &pay("slow", "a"));
    assert_eq!(ticks_until_answered(&mut vm, &mut stream, b" "), 9);
    assert_eq!(reason(&vm.close(stream)), "body_timeout");
}

#[test]
fn forwards_a_slow_body_that_arrives_in_time() {
    let mut vm = start(&signed("envoy", json!({})));
    let mut stream = open(&mut vm, &pay("slow", "a"));
    for part in BODY[..12].chunks(6) {
        vm.send(&mut stream, part, false);
        for _ in 0..3 {
            vm.tick(vm.first_root()).unwrap();
        }
        vm.look(&mut stream);
        assert_eq!(stream.verdict(), None);
    }
    vm.send(&mut stream, &BODY[12..], true);
    let outcome = vm.close(stream);
    assert_eq!(reason(&outcome), "allowed");
    assert_eq!(outcome.record.unwrap()["body_checked"], true);
}

#[test]
fn records_a_body_timeout_when_observing_without_answering() {
    let mut vm = start(&signed("envoy", json!({ "mode": "observe" })));
    let mut stream = open(&mut vm, &pay("slow", "a"));
    for _ in 0..20 {
        vm.tick(vm.first_root()).unwrap();
    }
    vm.look(&mut stream);
    assert_eq!(stream.verdict(), None);
    vm.send(&mut stream, BODY, true);
    let record = vm.close(stream).record.unwrap();
    assert_eq!((&record["decision"], &record["would_deny"][0]["reason"]), (&json!("observe"), &json!("body_timeout")));
    assert_eq!(record["would_deny"].as_array().unwrap().len(), 1);
}

#[test]
fn an_agent_over_its_held_bytes_gets_503_and_others_continue() {
    let mut vm = start(&signed("envoy", json!({})));
    // The requests announce 64 KiB and send no byte.
    let large = [("content-length", "65536")];
    let first = open(&mut vm, &head("slow", "a", Some(BODY), &large));
    assert_eq!(first.verdict(), None);
    let outcome = vm.request(&head("slow", "b", Some(BODY), &large));
    let reply = answer(&outcome);
    assert_eq!((reply.status, &*reply.details), (503, "callgate_held_bytes_full"));
    assert_eq!(pairs::values(&reply.headers, "retry-after"), [b"1"]);
    assert_eq!(outcome.record.as_ref().unwrap()["rule"], "held_bodies");
    upstream(&vm.request(&whole(&pay("other", "a"))));
    // A client that goes away releases its share.
    assert_eq!(reason(&vm.close(first)), "body_incomplete");
    let mut second = open(&mut vm, &head("slow", "b", Some(BODY), &large));
    assert_eq!(second.verdict(), None, "the request that was rejected used nothing up");
    // So does a timeout.
    ticks_until_answered(&mut vm, &mut second, b"");
    let third = open(&mut vm, &head("slow", "b", Some(BODY), &large));
    assert_eq!(third.verdict(), None);
}

#[test]
fn counts_body_bytes_without_content_length_as_they_arrive() {
    let policy = signed("envoy", json!({ "max_body": "64KiB" }));
    let mut vm = start(&policy);
    let first = open(&mut vm, &head("slow", "a", Some(BODY), &[("content-length", "65536")]));
    let mut second = open(&mut vm, &pay("slow", "b"));
    vm.send(&mut second, &[b'x'; 32 * 1024], false);
    assert_eq!(second.verdict(), None);
    vm.send(&mut second, &[b'x'; 32 * 1024], false);
    let outcome = vm.close(second);
    assert_eq!((answer(&outcome).status, reason(&outcome)), (503, "held_bytes_full"));
    vm.close(first);
}

#[test]
fn forwards_an_observed_request_unheld_when_held_bytes_are_full() {
    let mut vm = start(&signed("envoy", json!({ "mode": "observe" })));
    let large = [("content-length", "65536")];
    let first = open(&mut vm, &head("slow", "a", Some(BODY), &large));
    let outcome = vm.request(&head("slow", "b", Some(BODY), &large));
    upstream(&outcome);
    assert_eq!(outcome.record.unwrap()["would_deny"][0]["reason"], "held_bytes_full");
    vm.close(first);
}

#[test]
fn held_bytes_and_timeouts_survive_a_policy_update() {
    let policy = signed("envoy", json!({}));
    let mut vm = start(&policy);
    let large = [("content-length", "65536")];
    let mut held = open(&mut vm, &head("slow", "a", Some(BODY), &large));
    vm.configure(vm.first_root(), policy.to_string().as_bytes(), None).unwrap();
    assert_eq!(answer(&vm.request(&head("slow", "b", Some(BODY), &large))).status, 503);
    ticks_until_answered(&mut vm, &mut held, b"");
    assert_eq!(open(&mut vm, &head("slow", "b", Some(BODY), &large)).verdict(), None);
    assert_eq!(reason(&vm.close(held)), "body_timeout");
}

#[test]
fn a_missing_body_gets_408_after_its_headers_were_forwarded() {
    let module = MODULE.under(HostProfile::Istio);
    let mut vm = Vm::start(&module, signed("istio", json!({})).to_string().as_bytes(), &environment()).unwrap();
    let mut stream = open(&mut vm, &pay("slow", "a"));
    assert_eq!(ticks_until_answered(&mut vm, &mut stream, b""), 4);
    let outcome = vm.close(stream);
    assert_eq!((answer(&outcome).status, reason(&outcome)), (408, "body_timeout"));
    assert!(outcome.gone.is_some());
    assert_eq!(outcome.record.unwrap()["body_late"], true);
}

#[test]
fn sets_no_timer_on_a_gateway_without_timers() {
    let module = MODULE.under(HostProfile::Kong);
    let shared = SharedData::zones(&[(crate::wasmhost::ZONE, 64 * 1024 * 1024)]);
    let policy = signed("kong", json!({ "held_bodies": {} })).to_string();
    let mut vm = Vm::start_beside(&module, policy.as_bytes(), &environment(), &shared).unwrap();
    assert_eq!(vm.tick(vm.first_root()), Ok(false));
}

#[test]
fn sets_no_timer_for_a_policy_that_holds_no_bodies() {
    let mut vm = super::start(&super::policy());
    assert_eq!(vm.tick(vm.first_root()), Ok(false));
}

#[test]
fn rejects_a_policy_that_holds_bodies_if_the_timer_fails() {
    let held = signed("envoy", json!({}));
    let nothing_held = policy_with(json!({ "name": "other" })).to_string();
    let mut vm = Vm::start(&MODULE, nothing_held.as_bytes(), &environment()).unwrap();
    let root = vm.first_root();
    for status in [1, 10, 12] {
        let fault = Fault { call: "proxy_set_tick_period_milliseconds".into(), nth: 1, status };
        let failed = vm.configure(root, held.to_string().as_bytes(), Some(fault)).unwrap_err();
        assert!(failed.logs.iter().any(|log| log.message.contains("`proxy_on_tick`")), "{:?}", failed.logs);
        assert_eq!(reason(&vm.request(&good())), "allowed", "the policy before it stays in force");
    }
    vm.configure(root, held.to_string().as_bytes(), None).unwrap();
    upstream(&vm.request(&whole(&pay("slow", "a"))));
}

#[test]
fn forwards_a_request_without_digest_only_if_its_body_is_empty() {
    for lines in [&[][..], &[("content-length", "0")]] {
        let mut vm = start(&signed("envoy", json!({})));
        let mut stream = open(&mut vm, &head("slow", "a", None, lines));
        assert_eq!(stream.verdict(), None, "nothing goes on before it is known whether a body comes");
        vm.send(&mut stream, b"", false);
        assert_eq!(stream.verdict(), None);
        vm.send(&mut stream, b"", true);
        assert_eq!(stream.verdict(), None);
        let outcome = vm.close(stream);
        assert_eq!(reason(&outcome), "allowed");
        upstream(&outcome);

        let mut stream = open(&mut vm, &head("slow", "b", None, lines));
        vm.send(&mut stream, b"x", false);
        let outcome = vm.close(stream);
        assert_eq!((answer(&outcome).status, reason(&outcome)), (403, "content_digest_missing"));
        let wanted = pairs::values(&answer(&outcome).headers, "accept-signature");
        assert!(String::from_utf8_lossy(wanted[0]).contains("content-digest"), "{wanted:?}");
        assert_eq!(outcome.gone, None);

        // If the end never arrives, the request times out.
        let mut stream = open(&mut vm, &head("slow", "c", None, lines));
        ticks_until_answered(&mut vm, &mut stream, b"");
        assert_eq!(reason(&vm.close(stream)), "body_timeout");
    }
}

#[test]
fn trailers_end_an_empty_body() {
    let mut vm = start(&signed("envoy", json!({})));
    let trailers = Some(pairs::from_text(&[("x-checksum", "1")]));
    let outcome = vm.request(&Request { trailers, ..head("slow", "a", None, &[]) });
    upstream(&outcome);
    assert_eq!(reason(&outcome), "allowed");
}

//! The shipped filter fetches the keys of issuers: what it asks for, and the requests that wait for the answer.

use std::time::Duration;

use super::HostProfile::{Envoy, Istio, Kong};
use super::*;
use crate::wasmhost::{ForwardedBy, OpenStream, SharedData};

const SECOND: Duration = Duration::from_secs(1);
/// The period of the timer while requests wait.
const HURRIED: Duration = Duration::from_millis(25);

/// Returns a policy whose issuer publishes its keys at a URL.
fn fetching(profile: HostProfile) -> Value {
    let mut policy = policy();
    let location = if profile == Kong { ("address", "idp.example.com:443") } else { ("cluster", "idp") };
    let remote = json!({ "url": "https://idp.example.com/jwks", (location.0): location.1, "timeout": "5s" });
    policy["gateway"] = json!(profile.quirks().gateway);
    policy["issuers"]["corp"]["keys"] = json!({ "remote": remote });
    policy["tables"] = json!({ "key": { "env": "tables" } });
    policy
}

/// Starts a worker of a gateway without clusters.
fn start_without_cluster(profile: HostProfile, shared: &SharedData) -> Vm {
    let environment = [("tables".to_owned(), "a secret of thirty-two bytes, or more".to_owned())];
    let policy = fetching(profile).to_string();
    Vm::start_beside(&MODULE.under(profile), policy.as_bytes(), &environment, shared).unwrap()
}

fn start_sharing(profile: HostProfile, shared: &SharedData) -> Vm {
    let mut vm = start_without_cluster(profile, shared);
    vm.add_cluster("idp");
    vm
}

fn start(profile: HostProfile) -> Vm {
    start_sharing(profile, &SharedData::of(profile.quirks().store))
}

fn key_set() -> Vec<u8> {
    json!({ "keys": [KEY.public_jwk()] }).to_string().into_bytes()
}

/// Returns a key set that also has the key of [`unknown_key`].
fn newer_key_set() -> Vec<u8> {
    let mut key = KEY.public_jwk();
    key["kid"] = json!("k9");
    json!({ "keys": [KEY.public_jwk(), key] }).to_string().into_bytes()
}

fn tick(vm: &mut Vm) {
    assert_eq!(vm.tick(vm.first_root()), Ok(true));
}

/// Answers the outstanding call with a key set.
#[track_caller]
fn publish(vm: &mut Vm, key_set: &[u8]) {
    let [call] = vm.http_calls().try_into().unwrap();
    vm.answer_call(call.id, 200, &[("content-type", "application/json")], key_set).unwrap();
}

/// Lets the filter fetch the keys.
#[track_caller]
fn fetch(vm: &mut Vm) {
    tick(vm);
    publish(vm, &key_set());
}

fn open(vm: &mut Vm, request: &Request) -> OpenStream {
    vm.open(vm.first_root(), request)
}

/// Returns a request whose token names a key that no set has.
fn unknown_key() -> Request {
    let token = KEY.sign(&json!({ "typ": "at+jwt", "alg": "ES256", "kid": "k9" }), &claims());
    request("GET", "/items/7", &[("authorization", &format!("Bearer {token}"))])
}

#[track_caller]
fn assert_unknown_key(vm: &mut Vm, status: u32, expected: &str) {
    let outcome = vm.request(&unknown_key());
    assert_eq!((answer(&outcome).status, reason(&outcome)), (status, expected));
}

#[test]
fn fetches_keys_with_a_get_request() {
    for profile in [Envoy, Istio, Kong] {
        let mut vm = start(profile);
        assert_eq!(vm.period(vm.first_root()), Some(SECOND), "{profile:?}");
        assert_eq!(vm.http_calls(), [], "nothing is fetched while the gateway starts");
        tick(&mut vm);
        let [call] = vm.http_calls().try_into().unwrap();
        let wanted = if profile == Kong { "idp.example.com:443" } else { "idp" };
        assert_eq!((&*call.upstream, call.timeout), (wanted, Some(5 * SECOND)), "{profile:?}");
        for (name, value) in
            [(":method", "GET"), (":scheme", "https"), (":authority", "idp.example.com"), (":path", "/jwks")]
        {
            assert_eq!(call.header(name).as_deref(), Some(value), "{profile:?}");
        }
        assert_eq!(call.header("authorization"), None);
        tick(&mut vm);
        assert_eq!(vm.http_calls().len(), 1, "one fetch at a time");
        publish(&mut vm, &key_set());
        assert_eq!(reason(&vm.request(&good())), "allowed", "{profile:?}");
    }
}

#[test]
fn a_request_waits_for_the_first_keys() {
    for profile in [Envoy, Istio] {
        let mut vm = start(profile);
        let mut stream = open(&mut vm, &good());
        assert_eq!((stream.verdict(), stream.forwarded_by()), (None, None), "{profile:?}");
        assert_eq!(vm.period(vm.first_root()), Some(HURRIED), "{profile:?}");
        fetch(&mut vm);
        vm.look(&mut stream);
        assert_eq!(stream.forwarded_by(), Some(ForwardedBy::Continued), "{profile:?}");
        assert_eq!(vm.period(vm.first_root()), Some(SECOND), "nothing waits any more");
        let outcome = vm.close(stream);
        assert_eq!(pairs::values(upstream(&outcome), "x-callgate-agent"), [b"builder"], "{profile:?}");
        assert_eq!(reason(&outcome), "allowed");
    }
}

#[test]
fn nothing_of_a_waiting_request_is_forwarded() {
    let trailers = pairs::from_text(&[("x-callgate-agent", "root"), ("x-checksum", "1")]);
    for profile in [Envoy, Istio] {
        for ends_with_trailers in [false, true] {
            let mut vm = start(profile);
            let token = format!("Bearer {}", mint(&claims()));
            let posted = request("POST", "/items/7", &[("authorization", &token)]);
            let mut stream = open(&mut vm, &Request { end_of_stream: false, ..posted });
            vm.send(&mut stream, b"one", false);
            tick(&mut vm);
            vm.send(&mut stream, b"two", !ends_with_trailers);
            if ends_with_trailers {
                vm.send_trailers(&mut stream, &trailers);
            }
            tick(&mut vm);
            vm.look(&mut stream);
            assert_eq!((stream.verdict(), stream.forwarded_by()), (None, None), "{profile:?}");
            publish(&mut vm, &key_set());
            vm.look(&mut stream);
            assert_eq!(stream.forwarded_by(), Some(ForwardedBy::Continued), "{profile:?}");
            let outcome = vm.close(stream);
            upstream(&outcome);
            let forwarded = ends_with_trailers.then(|| pairs::from_text(&[("x-checksum", "1")]));
            assert_eq!(outcome.trailers, forwarded, "{profile:?}: no trailer imitates the filter's headers");
        }
    }
}

#[test]
fn a_body_may_follow_after_the_keys_have_arrived() {
    let mut vm = start(Envoy);
    let token = format!("Bearer {}", mint(&claims()));
    let posted = request("POST", "/items/7", &[("authorization", &token)]);
    let mut stream = open(&mut vm, &Request { end_of_stream: false, ..posted });
    fetch(&mut vm);
    vm.send(&mut stream, b"one", false);
    assert_eq!(stream.forwarded_by(), Some(ForwardedBy::Continued));
    vm.send(&mut stream, b"two", true);
    upstream(&vm.close(stream));
}

#[test]
fn a_failed_fetch_answers_the_waiting_requests() {
    type Report = fn(&mut Vm, u32);
    let results: [Report; 4] = [
        |vm, call| vm.fail_call(call).unwrap(),
        |vm, call| vm.answer_call(call, 504, &[], b"upstream request timeout").unwrap(),
        |vm, call| vm.answer_call(call, 200, &[("content-type", "text/html")], b"<html>").unwrap(),
        |vm, call| vm.answer_call(call, 302, &[("location", "https://elsewhere.example")], b"").unwrap(),
    ];
    for (number, report) in results.into_iter().enumerate() {
        let mut vm = start(Envoy);
        let (mut first, mut second) = (open(&mut vm, &good()), open(&mut vm, &good()));
        tick(&mut vm);
        let [call] = vm.http_calls().try_into().unwrap();
        report(&mut vm, call.id);
        vm.look(&mut first);
        vm.look(&mut second);
        for stream in [first, second] {
            let outcome = vm.close(stream);
            let reply = answer(&outcome);
            assert_eq!((reply.status, &*reply.details), (503, "callgate_keys_unavailable"), "{number}");
            assert_eq!(pairs::values(&reply.headers, "retry-after").len(), 1, "{number}");
            assert_eq!((outcome.gone.as_ref(), reason(&outcome)), (None, "keys_unavailable"), "{number}");
        }
        // A request that arrives now does not wait: the next attempt comes later.
        assert_eq!(answer(&vm.request(&good())).status, 503, "{number}");
        vm.pass(SECOND);
        fetch(&mut vm);
        upstream(&vm.request(&good()));
    }
}

#[test]
fn a_request_waits_at_most_for_the_timeout_and_another_fetch_follows() {
    let mut vm = start(Envoy);
    let mut stream = open(&mut vm, &good());
    tick(&mut vm);
    let first = vm.http_calls()[0].id;
    vm.pass(5 * SECOND);
    tick(&mut vm);
    vm.look(&mut stream);
    assert_eq!(reason(&vm.close(stream)), "keys_unavailable");
    // The result of the call never arrives, as after an update of the gateway's configuration.
    vm.pass(SECOND);
    tick(&mut vm);
    let again = vm.http_calls().last().unwrap().id;
    assert_ne!(again, first, "the claim of the first fetch has expired");
    vm.answer_call(again, 200, &[], &key_set()).unwrap();
    upstream(&vm.request(&good()));
    // It arrives after all.
    vm.answer_call(first, 200, &[], b"{\"keys\":[]}").unwrap();
    upstream(&vm.request(&good()));
}

#[test]
fn an_unknown_key_is_fetched_once_more_before_the_token_is_rejected() {
    let mut vm = start(Envoy);
    fetch(&mut vm);
    upstream(&vm.request(&good()));
    let mut stream = open(&mut vm, &unknown_key());
    assert_eq!(stream.verdict(), None);
    fetch(&mut vm);
    vm.look(&mut stream);
    let outcome = vm.close(stream);
    assert_eq!((answer(&outcome).status, reason(&outcome)), (401, "token_key"));
    // The issuer has the key by now.
    let mut stream = open(&mut vm, &unknown_key());
    tick(&mut vm);
    publish(&mut vm, &newer_key_set());
    vm.look(&mut stream);
    assert_eq!(reason(&vm.close(stream)), "allowed");
}

#[test]
fn a_client_that_leaves_ends_its_wait_and_no_other() {
    let mut vm = start(Envoy);
    let (gone, mut other) = (open(&mut vm, &good()), open(&mut vm, &good()));
    tick(&mut vm);
    let outcome = vm.close(gone);
    assert_eq!((&outcome.verdict, reason(&outcome)), (&Verdict::Hang, "keys_unavailable"));
    publish(&mut vm, &key_set());
    vm.look(&mut other);
    assert_eq!(reason(&vm.close(other)), "allowed");
}

#[test]
fn clients_that_leave_before_the_tick_leave_the_next_one_alone() {
    let mut vm = start(Envoy);
    fetch(&mut vm);
    upstream(&vm.request(&good()));
    // More than may wait of one source.
    for _ in 0..20 {
        let gone = open(&mut vm, &unknown_key());
        assert_eq!((gone.verdict(), gone.forwarded_by()), (None, None));
        let outcome = vm.close(gone);
        assert_eq!((&outcome.verdict, reason(&outcome)), (&Verdict::Hang, "keys_unavailable"));
    }
    assert_eq!(vm.http_calls(), [], "nothing is fetched before the tick");
    tick(&mut vm);
    let mut other = open(&mut vm, &unknown_key());
    assert_eq!((other.verdict(), other.forwarded_by()), (None, None));
    let waiting = |vm: &Vm| vm.gauges()["callgate.keys.waiting"];
    vm.pass(SECOND);
    tick(&mut vm);
    assert_eq!(waiting(&vm), 1, "only the client that is there");
    publish(&mut vm, &newer_key_set());
    vm.look(&mut other);
    assert_eq!(reason(&vm.close(other)), "allowed");
    assert_eq!(vm.period(vm.first_root()), Some(SECOND), "nothing waits any more");
    tick(&mut vm);
    assert_eq!((waiting(&vm), vm.http_calls()), (0, vec![]));
}

#[test]
fn requests_never_wait_on_kong() {
    let mut vm = start(Kong);
    let early = vm.request(&good());
    assert_eq!((answer(&early).status, reason(&early)), (503, "keys_unavailable"));
    assert_eq!(pairs::values(&answer(&early).headers, "retry-after"), [b"1"]);
    tick(&mut vm);
    let [call] = vm.http_calls().try_into().unwrap();
    vm.fail_call(call.id).unwrap();
    assert_eq!(reason(&vm.request(&good())), "keys_unavailable");
    vm.pass(SECOND);
    fetch(&mut vm);
    upstream(&vm.request(&good()));
    // The issuer may have a new key since the last fetch, even if that was a moment ago. Only a later fetch shows that it has none.
    for _ in 0..2 {
        assert_unknown_key(&mut vm, 503, "keys_unavailable");
    }
    vm.pass(SECOND);
    fetch(&mut vm);
    for _ in 0..2 {
        assert_unknown_key(&mut vm, 401, "token_key");
    }
    // The issuer uses a key before it publishes it. The next refresh brings it.
    vm.pass(300 * SECOND);
    tick(&mut vm);
    publish(&mut vm, &newer_key_set());
    upstream(&vm.request(&unknown_key()));
    assert_eq!(vm.period(vm.first_root()), Some(SECOND), "the timer is fixed");
}

#[test]
fn workers_share_what_one_of_them_fetched() {
    for profile in [Envoy, Kong] {
        let shared = SharedData::of(profile.quirks().store);
        let (mut first, mut second) = (start_sharing(profile, &shared), start_sharing(profile, &shared));
        fetch(&mut first);
        tick(&mut second);
        assert_eq!(second.http_calls(), [], "{profile:?}");
        for vm in [&mut first, &mut second] {
            upstream(&vm.request(&good()));
        }
    }
}

#[test]
fn each_refresh_is_one_fetch_over_all_workers() {
    // Not a divisor of the 300 seconds after which keys are fetched again, so another worker makes each fetch.
    const WORKERS: usize = 7;
    let shared = SharedData::default();
    let mut workers: Vec<_> = (0..WORKERS).map(|_| start_sharing(Envoy, &shared)).collect();
    let mut started = Vec::new();
    // Each tick takes a second. A response takes three, so other workers tick meanwhile.
    for second in 0..640 {
        let calls = |workers: &[Vm]| -> usize { workers.iter().map(|vm| vm.http_calls().len()).sum() };
        let before = calls(&workers);
        tick(&mut workers[second % WORKERS]);
        if calls(&workers) > before {
            started.push(second);
        }
        if started.last().is_some_and(|start| second == start + 3) {
            let fetching = workers.iter_mut().find(|vm| !vm.http_calls().is_empty());
            publish(fetching.unwrap(), &key_set());
        }
    }
    assert_eq!(started, [0, 300, 600]);
    for vm in &mut workers {
        upstream(&vm.request(&good()));
    }
}

#[test]
fn a_request_that_waits_resumes_with_the_keys_of_another_worker() {
    let shared = SharedData::default();
    let (mut first, mut second) = (start_sharing(Envoy, &shared), start_sharing(Envoy, &shared));
    tick(&mut first);
    let mut stream = open(&mut second, &good());
    tick(&mut second);
    second.look(&mut stream);
    assert_eq!((stream.verdict(), second.http_calls().len()), (None, 0));
    publish(&mut first, &key_set());
    tick(&mut second);
    second.look(&mut stream);
    assert_eq!(reason(&second.close(stream)), "allowed");
}

#[test]
fn a_call_that_the_gateway_does_not_know_is_reported() {
    let mut vm = start_without_cluster(Envoy, &SharedData::default());
    tick(&mut vm);
    assert!(vm.logs().iter().any(|log| log.message.contains("the gateway must know `idp`")), "{:?}", vm.logs());
    assert_eq!(reason(&vm.request(&good())), "keys_unavailable");
}

#[test]
fn a_policy_without_fetched_keys_sets_no_timer_and_makes_no_call() {
    let mut vm = super::start(&policy());
    assert_eq!(vm.period(vm.first_root()), None);
    let calls = vm.request(&good()).calls;
    assert!(!calls.contains(&"clock_time_get") && !calls.contains(&"proxy_http_call"), "{calls:?}");
}

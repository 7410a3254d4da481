//! Calls to other servers, and requests that wait for their results. A filter of a few lines shows that the host does what gateways do.

use std::sync::LazyLock;
use std::time::Duration;

use super::HostProfile::{Envoy, Istio, Kong};
use super::*;
use crate::wasmhost::{ForwardedBy, OpenStream};

static CALLER: LazyLock<Module> =
    LazyLock::new(|| Module::compile(&wat::parse_str(include_str!("calls.wat")).unwrap()).unwrap());

/// Starts a gateway with the cluster `idp`, and the filter in this mode.
fn start(profile: HostProfile, mode: &str) -> Vm {
    let mut vm = Vm::start(&CALLER.under(profile), mode.as_bytes(), &[]).unwrap();
    vm.add_cluster("idp");
    vm
}

fn logged(vm: &Vm) -> Vec<String> {
    vm.logs().iter().map(|log| log.message.clone()).collect()
}

fn open(vm: &mut Vm) -> OpenStream {
    let request = Request { end_of_stream: false, ..request("POST", "/", &[("x-a", "1")]) };
    vm.open(vm.first_root(), &request)
}

/// Fires the timer, and returns the number of the call that the filter made.
#[track_caller]
fn tick(vm: &mut Vm) -> u32 {
    assert_eq!(vm.tick(vm.first_root()), Ok(true));
    vm.http_calls().last().unwrap().id
}

/// Asserts that the module did what would be undefined behavior in a gateway, or what the gateway forbids.
#[track_caller]
fn assert_trapped<T: std::fmt::Debug>(result: Result<T, String>, why: &str) {
    let trap = result.unwrap_err();
    assert!(trap.contains(why), "{trap}");
}

#[test]
fn lists_a_call_with_its_upstream_headers_and_timeout() {
    let mut vm = start(Envoy, "k");
    tick(&mut vm);
    let [call] = vm.http_calls().try_into().unwrap();
    assert_eq!((&*call.upstream, call.timeout, &*call.body), ("idp", Some(Duration::from_secs(5)), &b""[..]));
    let lines = [(":method", "GET"), (":path", "/jwks"), (":authority", "idp.example.com")];
    assert_eq!(call.headers, pairs::from_text(&lines));
    assert_eq!(call.header(":path").as_deref(), Some("/jwks"));
    assert!(tick(&mut vm) > call.id);
    assert_eq!(vm.http_calls().len(), 2, "a call is outstanding until it is answered");
}

#[test]
fn shows_the_response_to_a_call_once() {
    for profile in [Envoy, Kong] {
        let mut vm = start(profile, "k");
        let call = tick(&mut vm);
        vm.answer_call(call, 200, &[("content-type", "application/json")], b"{}").unwrap();
        let [count, lines, body] = logged(&vm).try_into().unwrap();
        assert_eq!((&*count, &*body), ("2", "{}"), "{profile:?}");
        for text in [":status\x00200\x00", "content-type\x00application/json\x00"] {
            assert!(lines.contains(text), "{lines:?}");
        }
        assert_eq!(vm.http_calls(), []);
        assert_eq!(vm.answer_call(call, 200, &[], b""), Err(format!("there is no call {call}")));
    }
}

#[test]
fn a_failed_call_has_no_headers_in_envoy_and_an_uncounted_one_on_kong() {
    for (profile, header) in [(Envoy, false), (Kong, true)] {
        let mut vm = start(profile, "k");
        let call = tick(&mut vm);
        vm.fail_call(call).unwrap();
        let [count, lines, body] = logged(&vm).try_into().unwrap();
        assert_eq!((&*count, &*body), ("0", ""), "{profile:?}");
        assert_eq!(lines.contains(":dispatch_status"), header, "{profile:?}");
        assert!(!lines.contains(":status"), "{profile:?}");
    }
}

#[test]
fn a_call_to_an_unknown_cluster_is_a_bad_argument_and_kong_has_no_clusters() {
    for (profile, status) in [(Envoy, "2"), (Kong, "0")] {
        let mut vm = Vm::start(&CALLER.under(profile), b"k", &[]).unwrap();
        vm.tick(vm.first_root()).unwrap();
        assert_eq!(logged(&vm)[0], status, "{profile:?}");
        assert_eq!(vm.http_calls().is_empty(), profile == Envoy);
    }
}

#[test]
fn kong_allows_calls_only_in_some_callbacks() {
    let started =
        |profile: HostProfile| Vm::start(&CALLER.under(profile), b"c", &[]).map_err(|failed| failed.to_string());
    assert!(started(Envoy).is_ok());
    assert_trapped(started(Kong).map(|_| ()), "a call in a callback that allows none");
    let mut vm = start(Kong, "s");
    open(&mut vm);
    assert_eq!(logged(&vm), ["0"], "the callback of the headers allows it");
}

#[test]
fn a_call_of_a_stream_ends_with_the_stream() {
    let mut vm = start(Envoy, "s");
    let (first, mut second) = (open(&mut vm), open(&mut vm));
    let [of_first, of_second] = vm.http_calls().try_into().unwrap();
    assert_ne!(of_first.context, of_second.context);
    vm.close(first);
    assert!(vm.answer_call(of_first.id, 200, &[], b"").is_err());
    vm.answer_call(of_second.id, 200, &[], b"").unwrap();
    vm.look(&mut second);
    assert_eq!(second.forwarded_by(), Some(ForwardedBy::Continued));
}

#[test]
fn a_call_belongs_to_the_effective_context() {
    let mut vm = start(Envoy, "e");
    let stream = open(&mut vm);
    tick(&mut vm);
    assert_ne!(vm.http_calls()[0].context, vm.first_root().0);
    vm.close(stream);
    assert_eq!(vm.http_calls(), []);
    // Nothing is open now, so the root context remains the effective one.
    let call = tick(&mut vm);
    assert_eq!(vm.http_calls()[0].context, vm.first_root().0);
    vm.answer_call(call, 200, &[], b"").unwrap();
}

#[test]
fn a_root_context_continues_a_waiting_request_with_everything_that_arrived() {
    for profile in [Envoy, Istio] {
        let mut vm = start(profile, "t");
        let mut stream = open(&mut vm);
        vm.send(&mut stream, b"one", false);
        // Only the gateway with `allow_on_headers_stop_iteration` shows bodies while the headers are held.
        let shown: &[&str] = if profile == Envoy { &["body"] } else { &[] };
        assert_eq!(logged(&vm), shown, "{profile:?}");
        let trailers = pairs::from_text(&[("a", "b")]);
        vm.send_trailers(&mut stream, &trailers);
        assert_eq!((stream.verdict(), stream.forwarded_by()), (None, None), "{profile:?}");
        let call = tick(&mut vm);
        vm.look(&mut stream);
        assert_eq!(stream.forwarded_by(), None, "{profile:?}");
        vm.answer_call(call, 200, &[], b"keys").unwrap();
        vm.look(&mut stream);
        assert_eq!(stream.forwarded_by(), Some(ForwardedBy::Continued), "{profile:?}");
        // The other gateway shows them now.
        assert_eq!(logged(&vm).ends_with(&["body".into(), "trailers".into()]), profile == Istio, "{profile:?}");
        let outcome = vm.close(stream);
        assert_eq!(pairs::values(upstream(&outcome), "x-a"), [b"1"], "{profile:?}");
        assert_eq!(outcome.trailers, Some(trailers), "{profile:?}");
    }
}

#[test]
fn a_root_context_answers_a_waiting_request() {
    let mut vm = start(Envoy, "r");
    let (mut first, mut last) = (open(&mut vm), open(&mut vm));
    let call = tick(&mut vm);
    vm.answer_call(call, 200, &[], b"").unwrap();
    vm.look(&mut first);
    vm.look(&mut last);
    assert_eq!(first.verdict(), None, "only the last request was answered");
    let outcome = vm.close(last);
    assert_eq!((answer(&outcome).status, answer(&outcome).details.as_str()), (503, "idp"));
    assert_eq!(outcome.gone, None);
}

#[test]
fn a_client_that_leaves_ends_its_waiting_request() {
    let mut vm = start(Envoy, "t");
    let stream = open(&mut vm);
    let call = tick(&mut vm);
    let outcome = vm.close(stream);
    assert_eq!((&outcome.verdict, &outcome.gone), (&Verdict::Hang, &None));
    let ended: Vec<_> = outcome.logs.iter().map(|log| log.message.as_str()).collect();
    assert_eq!(ended, ["log", "delete"]);
    vm.answer_call(call, 200, &[], b"").unwrap();
    assert_eq!(open(&mut vm).verdict(), None, "the VM is alive");
}

#[test]
fn a_body_that_continues_takes_the_waiting_request_with_it() {
    let mut vm = start(Envoy, "w");
    let mut stream = open(&mut vm);
    vm.send(&mut stream, b"one", true);
    assert_eq!(stream.forwarded_by(), Some(ForwardedBy::Body));
    // Without the flag, the gateway does not show the body, so nothing goes wrong.
    let mut vm = start(Istio, "w");
    let mut stream = open(&mut vm);
    vm.send(&mut stream, b"one", true);
    assert_eq!(stream.forwarded_by(), None);
}

#[test]
fn continuing_a_request_that_is_not_held_is_a_misuse() {
    let mut vm = start(Envoy, "o");
    let stream = open(&mut vm);
    assert!(matches!(stream.verdict(), Some(Verdict::Trap(trap)) if trap.contains("decides whether it is held")));

    let mut vm = start(Envoy, "2");
    open(&mut vm);
    let call = tick(&mut vm);
    assert_trapped(vm.answer_call(call, 200, &[], b""), "a request is continued that is not held");
}

#[test]
fn kong_cannot_continue_a_request_from_a_root_context() {
    let mut vm = start(Kong, "t");
    open(&mut vm);
    let call = tick(&mut vm);
    assert_trapped(vm.answer_call(call, 200, &[], b""), "a root context is continued");
}

#[test]
fn a_stream_sets_the_timer_of_its_root_context_except_on_kong() {
    let mut vm = start(Envoy, "p");
    let root = vm.first_root();
    assert_eq!(vm.period(root), Some(Duration::from_secs(1)));
    open(&mut vm);
    assert_eq!(vm.period(root), Some(Duration::from_millis(25)));
    let mut vm = start(Kong, "p");
    let stream = open(&mut vm);
    assert!(matches!(stream.verdict(), Some(Verdict::Trap(trap)) if trap.contains("outside a root context")));
}

#[test]
fn the_monotonic_clock_moves_with_the_timer_and_by_itself() {
    let mut vm = start(Envoy, "k");
    let second = |vm: &mut Vm| {
        tick(vm);
        logged(vm)[1].clone()
    };
    assert_eq!((second(&mut vm), second(&mut vm)), ("1".into(), "2".into()));
    vm.pass(Duration::from_secs(5));
    assert_eq!(second(&mut vm), "8");
    // The time of day does not change it.
    vm.request(&Request { now: 0, ..request("GET", "/", &[]) });
    assert_eq!(second(&mut vm), "9");
}

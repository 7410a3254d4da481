//! The effect of a defect is limited to the request that triggers it, although the module has no sandbox.

use std::thread;
use std::time::Duration;

use test_harness::build::Flavor;
use test_harness::client::{Connection, Request};
use test_harness::envoy::{Adapter, Bootstrap, Options};

use super::start;
use crate::envoy::fixture::{Gate, HOST, good, policy, token};

/// Starts a gate with a build that panics when a request asks for it.
fn start_defective(change: impl FnOnce(&mut Bootstrap), options: &Options) -> Gate {
    let module = Adapter::Module.build(Flavor::Testing).unwrap();
    Gate::try_start(&module, &policy().to_string(), change, options).unwrap()
}

#[test]
fn a_panic_fails_only_one_request() {
    let mut gate = start_defective(|_| (), &Options::default());
    let bearer = token("items:read");
    let panicking = || Request::get("/items/1").host(HOST).bearer(&bearer).header("X-Panic-On-Purpose", "1");
    // A response that is open meanwhile, in the same worker.
    let events = Request::get("/stream/events")
        .host(HOST)
        .bearer(&bearer)
        .header("Accept", "text/event-stream")
        .header("X-Silence", "2");
    let mut open = Connection::open(gate.envoy.api().unwrap()).unwrap();
    open.send(&events.to_bytes()).unwrap();
    assert_eq!(open.read_head().unwrap().status, 200);

    let mut connection = Connection::open(gate.envoy.api().unwrap()).unwrap();
    for _ in 0..3 {
        let arrived = gate.upstream.count();
        let response = connection.call(&panicking()).unwrap();
        assert_eq!(response.status, 500, "{}", response.text());
        assert_eq!(gate.upstream.count(), arrived, "the request that panicked reached the API");
        if response.header("connection") == Some("close") {
            connection = Connection::open(gate.envoy.api().unwrap()).unwrap();
        }
        // Allowed and denied requests are decided as before, without a delay.
        assert_eq!(connection.call(&good()).unwrap().status, 200);
        gate.ask(good()).assert_allowed();
        gate.ask(good().header("X-HTTP-Method-Override", "DELETE")).assert_denied(400, "method_override");
    }
    open.read_until(b"data: awake\n\n").unwrap();
    let stats = gate.envoy.prometheus().unwrap();
    let panics = stats.lines().filter_map(|line| line.split_once("callgate_panics{}").map(|(_, value)| value.trim()));
    assert_eq!(panics.collect::<Vec<_>>(), ["3"]);
    assert!(gate.envoy.is_running());

    let log = gate.envoy.log();
    assert!(log.contains("callgate stopped at"), "{}", gate.envoy.log_tail());
    let signature = bearer.rsplit_once('.').unwrap().1;
    assert!(!log.contains(signature), "the log has the token");
    assert!(!log.contains("Caught Aborted") && !log.contains("Backtrace"), "{}", gate.envoy.log_tail());
}

#[test]
fn panics_on_every_worker_at_once_leave_the_process_running() {
    let mut gate = start_defective(|_| (), &Options { concurrency: 4, ..Options::default() });
    let address = gate.envoy.api().unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let mut connection = Connection::open(address).unwrap();
                    let response = connection.call(&good().header("X-Panic-On-Purpose", "1")).unwrap();
                    assert_eq!(response.status, 500);
                    let mut connection = Connection::open(address).unwrap();
                    assert_eq!(connection.call(&good()).unwrap().status, 200);
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
    });
    assert!(gate.envoy.is_running());
    assert_eq!(gate.upstream.count(), 8 * 20);
}

#[test]
fn shipped_module_ignores_the_panic_header() {
    let gate = start(&policy(), |_| (), &Options::default());
    gate.ask(good().header("X-Panic-On-Purpose", "1")).assert_allowed();
}

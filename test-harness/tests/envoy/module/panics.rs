//! The effect of a defect is limited to the request that triggers it, although the module has no sandbox.

use std::thread;
use std::time::Duration;

use identity_provider::key_server::{Behavior, KeyServer};
use serde_json::{Value, json};
use test_harness::build::Flavor;
use test_harness::client::{self, Connection, Request};
use test_harness::envoy::{Adapter, Bootstrap, Options, record_in};

use super::start;
use crate::envoy::fetched_keys::{add_servers, behind_a_proxy, fetching, remote_within, while_fifty_wait, with};
use crate::envoy::fixture::{Gate, HOST, good, mark, mcp_request, policy, token};
use crate::envoy::limits::counted;
use crate::envoy::operating::until;

/// Starts a gate with a build that panics when a request asks for it.
fn start_defective(policy: &Value, change: impl FnOnce(&mut Bootstrap), options: &Options) -> Gate {
    let module = Adapter::Module.build(Flavor::Testing).unwrap();
    Gate::try_start(&module, &policy.to_string(), change, options).unwrap()
}

/// Returns how many panics were counted. The last one may be missing until the next request.
fn panics(gate: &Gate) -> u64 {
    let stats = gate.envoy.prometheus().unwrap();
    let mut counts =
        stats.lines().filter_map(|line| line.split_once("callgate_panics{}").map(|(_, value)| value.trim()));
    let count = counts.next().map_or(0, |count| count.parse().unwrap());
    assert_eq!(counts.next(), None, "{stats}");
    count
}

/// Asserts that other requests are decided as before.
#[track_caller]
fn assert_decides_after(gate: &mut Gate, expected: u64, hook: &str) {
    gate.ask(good()).assert_allowed();
    gate.ask(good().header("X-HTTP-Method-Override", "DELETE")).assert_denied(400, "method_override");
    assert_eq!(panics(gate), expected, "{hook}");
    assert!(gate.envoy.is_running(), "{hook}");
}

/// Returns the test policy with an endpoint whose requests are held, and with outcomes in the records.
fn recorded() -> Value {
    let mut policy = policy();
    policy["audit"]["outcome"] = json!(true);
    policy["endpoints"].as_array_mut().unwrap().push(json!({
        "id": "mcp", "methods": ["POST"], "path": "/mcp", "effect": "read", "scopes": "none",
        "rpc": {
            "protocol": "mcp", "revisions": ["2025-11-25"],
            "tools": [{ "name": "look_up", "effect": "read", "scopes": "none" }],
        },
    }));
    policy
}

/// A request that makes the module panic, and its effects.
struct Row {
    hook: &'static str,
    request: Request,
    /// The client's status. `None` if the response was reset.
    status: Option<u16>,
    /// The decision in the access log, if the module reached one, and whether the record has an outcome.
    recorded: Option<(&'static str, bool)>,
}

/// Trailers, which HTTP/1 clients and servers rarely send, are only in the tests of the module with an Envoy in memory.
fn rows() -> Vec<Row> {
    let allowed = |hook: &'static str| good().header("X-Panic-On-Purpose", hook);
    let create = Request::post("/items").host(HOST).bearer(&token("items:write")).header("Content-Type", "text/plain");
    let row = |hook, request, status, recorded| Row { hook, request, status, recorded };
    vec![
        row("headers", allowed("1"), Some(500), None),
        row("body", create.header("X-Panic-On-Purpose", "body").body("a body"), Some(500), Some(("allow", false))),
        row("response", allowed("response"), Some(500), Some(("allow", false))),
        row("response-body", allowed("response-body"), None, Some(("allow", false))),
        row(
            "local-reply",
            Request::get("/items/1").host(HOST).header("X-Panic-On-Purpose", "local-reply"),
            Some(401),
            Some(("deny", true)),
        ),
        row("local-reply", allowed("local-reply").header("X-Failure", "reset"), Some(503), Some(("allow", true))),
        row("complete", allowed("complete"), Some(200), Some(("allow", false))),
        row("destroy", allowed("destroy"), Some(200), Some(("allow", true))),
    ]
}

#[test]
fn a_panic_in_any_hook_costs_at_most_its_request() {
    let mut gate = start_defective(&recorded(), |_| (), &Options::default());
    let mut expected = 0;
    for Row { hook, request, status, recorded } in rows() {
        let mark = mark();
        let answer = client::call(gate.envoy.api().unwrap(), &request.header("X-Mark", &mark));
        assert_eq!(answer.as_ref().ok().map(|response| response.status), status, "{hook}: {answer:?}");
        let line = gate.envoy.await_access_log(|line| line["mark"] == mark).unwrap();
        let record = record_in(&line);
        let record =
            record.as_ref().map(|record| (record["decision"].as_str().unwrap(), record["outcome"].is_object()));
        assert_eq!(record, recorded, "{hook}: {line}");
        expected += 1;
        assert_decides_after(&mut gate, expected, hook);
    }

    // While a request waits for its body.
    let waiting = mcp_request(&token("none")).header("Content-Length", "100").header("X-Panic-On-Purpose", "wake");
    let arrived = gate.upstream.count();
    let mut connection = Connection::open(gate.envoy.api().unwrap()).unwrap();
    connection.send(&waiting.to_bytes()).unwrap();
    connection.send(b"{").unwrap();
    assert_eq!(connection.read_head().unwrap().status, 500);
    assert_eq!(gate.upstream.count(), arrived, "the request that panicked reached the API");
    assert_decides_after(&mut gate, expected + 1, "wake");

    let log = gate.envoy.log();
    assert!(!log.contains("Caught Aborted") && !log.contains("Backtrace"), "{}", gate.envoy.log_tail());
}

/// The panic takes the state of the worker away from new requests, but not from those that wait.
#[test]
fn requests_that_wait_for_keys_are_decided_after_a_panic_of_their_worker() {
    let idp = KeyServer::start().unwrap();
    let servers = [("idp", &idp, remote_within(&idp, "idp", "30s"))];
    let change = |bootstrap: &mut Bootstrap| {
        behind_a_proxy(bootstrap);
        add_servers(bootstrap, &servers);
    };
    // All of them use the only worker.
    let mut gate = start_defective(&fetching(&servers), change, &Options::default());
    let defective = || Request::get("/items/1").host(HOST).header("X-Panic-On-Purpose", "1");
    let answers = while_fifty_wait(&gate, &idp, || {
        for _ in 0..2 {
            assert_eq!(gate.call(&defective()).status, 500);
            // A new request gets a new state of the worker, which the next panic takes away as well.
            assert_eq!(gate.call(&Request::get("/items/1").host(HOST)).status, 401);
        }
        idp.set(Behavior::Correct).unwrap();
    });
    assert_eq!(answers.len(), 50);
    for (mark, answer) in answers {
        let response = answer.unwrap();
        assert_eq!(response.status, 200, "{}", response.text());
        let forwarded = gate.upstream.seen().iter().filter(|seen| seen.header("x-mark") == Some(mark.as_str())).count();
        assert_eq!(forwarded, 1);
    }
    assert_eq!(gate.call(&with(&idp)).status, 200);
    assert_eq!(panics(&gate), 2);
    until("no request waits", || gate.call(&with(&idp)).status == 200 && counted(&gate, "keys.waiting") == 0);
    assert!(gate.envoy.is_running());
}

#[test]
fn a_panic_fails_only_one_request() {
    let mut gate = start_defective(&policy(), |_| (), &Options::default());
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
    assert_eq!(panics(&gate), 3);
    assert!(gate.envoy.is_running());

    let log = gate.envoy.log();
    assert!(log.contains("callgate stopped at"), "{}", gate.envoy.log_tail());
    let signature = bearer.rsplit_once('.').unwrap().1;
    assert!(!log.contains(signature), "the log has the token");
    assert!(!log.contains("Caught Aborted") && !log.contains("Backtrace"), "{}", gate.envoy.log_tail());
}

#[test]
fn panics_on_every_worker_at_once_leave_the_process_running() {
    let mut gate = start_defective(&policy(), |_| (), &Options { concurrency: 4, ..Options::default() });
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
    // Each worker counts its panics with its next request.
    until("all are counted", || {
        gate.ask(good()).assert_allowed();
        panics(&gate) == 8 * 20
    });
}

#[test]
fn shipped_module_ignores_the_panic_header() {
    let gate = start(&policy(), |_| (), &Options::default());
    gate.ask(good().header("X-Panic-On-Purpose", "1")).assert_allowed();
}

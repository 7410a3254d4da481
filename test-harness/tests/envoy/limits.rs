//! Limits over four workers of a real Envoy.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_harness::client::{Connection, Request, Response};
use test_harness::envoy::{Adapter, Bootstrap, Options};

use crate::envoy::configuration::await_stat;
use crate::envoy::fixture::{Gate, HOST, KEY, adapter, claims, header, module, policy};

const WORKERS: Options = Options { concurrency: 4, environment: Vec::new(), binary: None, drain_seconds: None };

/// Returns the test policy with one endpoint for known agents, one that is public, and the given members.
fn limited(members: Value) -> Value {
    let mut policy = policy();
    policy["endpoints"] = json!([
        { "id": "items.get", "methods": ["GET"], "path": "/items/{id}", "effect": "read", "scopes": "none", "limits": ["calls"] },
        { "id": "status", "methods": ["GET"], "path": "/status", "effect": "read", "access": "public", "limits": ["visits"] },
    ]);
    policy["limits"] = json!({
        "calls": { "per": "agent", "rate": "1/1h", "burst": 2 },
        "visits": { "per": "source", "rate": "1/1h", "burst": 2 },
    });
    for client in ["other", "third"] {
        policy["agents"][client] =
            json!({ "owner": "o@example.com", "identity": { "issuer": "corp", "client_id": client } });
    }
    for (name, value) in members.as_object().unwrap() {
        policy[name] = value.clone();
    }
    policy
}

fn token(client: &str) -> String {
    let mut claims = claims("");
    claims["client_id"] = json!(client);
    claims["sub"] = json!(client);
    KEY.sign(&header(), &claims)
}

/// Returns a token with an invalid signature and an unknown client.
fn forged(number: usize) -> String {
    forged_for("stranger", number)
}

fn forged_for(client: &str, number: usize) -> String {
    let mut claims = claims("");
    claims["jti"] = json!(number.to_string());
    claims["client_id"] = json!(client);
    claims["sub"] = json!(client);
    let token = KEY.sign(&header(), &claims);
    let (signed, _) = token.rsplit_once('.').unwrap();
    format!("{signed}.{}", "A".repeat(86))
}

fn item(token: &str) -> Request {
    Request::get("/items/1").host(HOST).bearer(token)
}

/// Returns how many connections each of Envoy's workers accepted.
fn connections(gate: &Gate) -> Vec<u64> {
    let stats = gate.envoy.admin("/stats?filter=worker_.*downstream_cx_total").unwrap();
    stats.lines().map(|line| line.rsplit(": ").next().unwrap().parse().unwrap()).collect()
}

pub(crate) fn counted(gate: &Gate, wanted: &str) -> u64 {
    gate.envoy.sum_of_stats(wanted).unwrap()
}

#[test]
fn four_workers_enforce_one_shared_limit_exactly() {
    const CALLS: u64 = 20_000;
    const CONNECTIONS: usize = 32;
    let limits = json!({ "calls": { "per": "agent", "rate": "400/1s", "burst": 200 },
        "visits": { "per": "source", "rate": "1/1h", "burst": 2 } });
    let gate = Gate::start_with(&limited(json!({ "limits": limits })), |_| (), &WORKERS);
    let address = gate.envoy.api().unwrap();
    let (request, other) = (item(&token("robot")), item(&token("other")));
    let (made, passed, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let start = Instant::now();
    let (took, served) = thread::scope(|scope| {
        let beside = scope.spawn(|| {
            // Meanwhile, the other agent sends requests far below its limit.
            let mut connection = Connection::open(address).unwrap();
            let mut served = 0;
            while !done.load(Ordering::Relaxed) {
                assert_eq!(connection.call(&other).unwrap().status, 200);
                served += 1;
                thread::sleep(Duration::from_millis(20));
            }
            served
        });
        let callers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(address).unwrap();
                    while made.fetch_add(1, Ordering::Relaxed) < CALLS {
                        let response = connection.call(&request).unwrap();
                        if response.status == 200 {
                            passed.fetch_add(1, Ordering::Relaxed);
                        } else {
                            assert_eq!((response.status, response.code().as_deref()), (429, Some("rate_limited")));
                        }
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        let took = start.elapsed();
        done.store(true, Ordering::Relaxed);
        (took, beside.join().unwrap())
    });
    let bound = 200.0 + 400.0 * took.as_secs_f64();
    let passed = passed.into_inner();
    println!("{passed} of at most {bound:.1} passed in {took:?}; {} tries again", counted(&gate, "limits.retried"));
    let share = f64::from(u32::try_from(passed).unwrap()) / bound;
    assert!((0.98..=1.0).contains(&share), "{passed} of at most {bound}");
    assert!(served > 10, "{served}");
    let workers = connections(&gate);
    assert!(workers.len() == 4 && workers.iter().all(|connections| *connections > 0), "{workers:?}");
}

#[test]
fn allows_one_of_sixteen_concurrent_requests_of_a_new_identity() {
    const IDENTITIES: usize = 1_000;
    const AT_ONCE: usize = 16;
    let mut policy = limited(json!({ "limits": { "calls": { "per": "agent", "rate": "1/1h", "burst": 1 },
        "visits": { "per": "source", "rate": "1/1h", "burst": 1 } } }));
    // Half of the identities have an entry in the policy; the others share the table.
    policy["unregistered"] = json!("allow");
    let names: Vec<_> = (0..IDENTITIES).map(|number| format!("fresh-{number}")).collect();
    for name in names.iter().step_by(2) {
        policy["agents"][name] =
            json!({ "owner": "o@example.com", "identity": { "issuer": "corp", "client_id": name } });
    }
    let gate = Gate::start_with(&policy, |_| (), &WORKERS);
    let address = gate.envoy.api().unwrap();
    let requests: Vec<_> = names.iter().map(|name| item(&token(name))).collect();
    let barrier = Barrier::new(AT_ONCE);
    let passed: Vec<AtomicU64> = names.iter().map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let mut connection = Connection::open(address).unwrap();
                for (request, passed) in requests.iter().zip(&passed) {
                    barrier.wait();
                    let status = connection.call(request).unwrap().status;
                    assert!(matches!(status, 200 | 429), "{status}");
                    passed.fetch_add(u64::from(status == 200), Ordering::Relaxed);
                }
            });
        }
    });
    let wrong: Vec<_> = names.iter().zip(&passed).filter(|(_, passed)| passed.load(Ordering::Relaxed) != 1).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(counted(&gate, "limits.evicted"), 0);
}

/// Writes a module with other bytes but the same behavior: by adding a custom section to the filter, or bytes that no loader reads to the
/// library.
pub(crate) fn another_build(folder: &Path) -> PathBuf {
    let mut bytes = fs::read(module()).unwrap();
    bytes.extend([0, 5, 4]);
    bytes.extend(b"next");
    let file = folder.join(match adapter() {
        Adapter::Wasm => "next.wasm",
        Adapter::Module => "libcallgate-next.so",
    });
    fs::write(&file, bytes).unwrap();
    file
}

#[test]
fn limits_survive_policy_and_module_updates() {
    let named = |name: &str, purpose: &str| {
        let mut policy = limited(json!({ "name": name }));
        policy["agents"]["robot"]["purpose"] = json!(purpose);
        policy.to_string()
    };
    let both = |bootstrap: &Bootstrap, purpose: &str| {
        let policies = [("api", "first"), ("second", "second")]
            .map(|(listener, name)| (listener.to_owned(), named(name, purpose)));
        bootstrap.with_listeners(&policies).unwrap()
    };
    let gate =
        Gate::start_with(&limited(json!({})), |bootstrap| *bootstrap = both(bootstrap, "old").dynamic(), &WORKERS);
    let robot = item(&token("robot"));
    let call = |listener: &str, request: &Request| {
        let mut connection = Connection::open(gate.envoy.listener(listener).unwrap()).unwrap();
        connection.call(request).unwrap().status
    };
    assert_eq!([(); 4].map(|()| call("api", &robot)), [200, 200, 429, 429]);

    let done = AtomicBool::new(false);
    let folder = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let (mut statuses, busy) = (Vec::new(), item(&token("other")));
            while !done.load(Ordering::Relaxed) {
                statuses.push(call("api", &busy));
            }
            statuses
        });
        let mut next = both(&gate.bootstrap.with_policy(&named("first", "new")).unwrap(), "new");
        gate.envoy.update(&next).unwrap();
        await_stat(&gate, "listener_manager.lds.update_success", 2);
        assert_eq!(call("api", &robot), 429);
        if adapter() == Adapter::Wasm {
            // Two versions of the library share no state.
            next.set_module(&another_build(folder.path())).unwrap();
        }
        let next = both(&next.with_policy(&named("first", "newer")).unwrap(), "newer");
        gate.envoy.update(&next).unwrap();
        await_stat(&gate, "listener_manager.lds.update_success", 3);
        // Until the old listeners have drained, both modules decide requests.
        for _ in 0..20 {
            assert_eq!(call("api", &robot), 429);
            thread::sleep(Duration::from_millis(20));
        }
        done.store(true, Ordering::Relaxed);
        let statuses = load.join().unwrap();
        let passed = statuses.iter().filter(|status| **status == 200).count();
        assert!(statuses.len() > 50 && passed == 2 && statuses.iter().all(|s| matches!(s, 200 | 429)), "{statuses:?}");
    });
    assert_eq!([(); 3].map(|()| call("second", &robot)), [200, 200, 429], "another policy counts for itself");
}

#[test]
fn a_flood_of_sources_keeps_agent_limits_and_bounds_memory() {
    const SOURCES: u32 = 100_000;
    let policy = limited(json!({ "unregistered": "allow", "tables": { "limits": 4_096 } }));
    let behind_a_proxy = |bootstrap: &mut Bootstrap| {
        bootstrap.manager().unwrap()["xff_num_trusted_hops"] = json!(1);
        // Excludes the upstream from the measurement.
        for host in bootstrap.virtual_hosts().unwrap() {
            host["routes"] = json!([{ "match": { "prefix": "/" }, "direct_response": { "status": 200 } }]);
        }
    };
    let gate = Gate::start_with(&policy, behind_a_proxy, &WORKERS);
    let address = gate.envoy.api().unwrap();
    let robot = item(&token("robot"));
    assert_eq!([(); 3].map(|()| gate.call(&robot).status), [200, 200, 429]);
    let flood = |from: u32, to: u32| {
        let next = AtomicU32::new(from);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut connection = Connection::open(address).unwrap();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= to {
                            break;
                        }
                        let source = std::net::Ipv4Addr::from(0x0b00_0000 + number).to_string();
                        let request = Request::get("/status").host(HOST).header("X-Forwarded-For", source);
                        assert_eq!(connection.call(&request).unwrap().status, 200);
                    }
                });
            }
        });
    };
    flood(0, SOURCES / 5);
    let before = gate.envoy.resident_memory().unwrap();
    flood(SOURCES / 5, SOURCES);
    for number in 0..500 {
        assert_eq!(gate.call(&item(&token(&format!("made-up-{number}")))).status, 200);
    }
    let after = gate.envoy.resident_memory().unwrap();
    println!("{before} KiB after {} sources, {after} KiB after {SOURCES} and 500 callers", SOURCES / 5);
    assert!(after < before + 24 * 1024, "{before} KiB grew to {after} KiB");
    assert!(counted(&gate, "limits.evicted") > 0, "the table was never full");
    assert_eq!([(); 8].map(|()| gate.call(&robot).status), [429; 8]);
}

fn failing(trusted_hops: u32) -> Gate {
    let policy = limited(json!({
        "auth_failure_limit": { "rate": "1/1h", "burst": 5 },
        "limits": { "calls": { "per": "agent", "rate": "1000/1s", "burst": 1000 },
            "visits": { "per": "source", "rate": "1000/1s", "burst": 1000 } },
    }));
    let hops = |bootstrap: &mut Bootstrap| bootstrap.manager().unwrap()["xff_num_trusted_hops"] = json!(trusted_hops);
    Gate::start_with(&policy, hops, &WORKERS)
}

fn codes(responses: &[Response]) -> Vec<(u16, String)> {
    responses.iter().map(|response| (response.status, response.code().unwrap_or_default())).collect()
}

#[test]
fn limits_bad_credentials_and_still_serves_known_tokens() {
    let gate = failing(0);
    // Enough requests for every worker to verify the agent's token.
    let good = item(&token("robot"));
    for _ in 0..200 {
        assert_eq!(gate.call(&good).status, 200);
    }
    let workers = connections(&gate);
    assert!(workers.iter().all(|connections| *connections > 0), "{workers:?}");
    let answers: Vec<_> = (0..60)
        .map(|number| {
            let address = std::net::Ipv4Addr::from(0x0b00_0000 + u32::try_from(number).unwrap());
            gate.call(&item(&forged(number)).header("X-Forwarded-For", address.to_string()))
        })
        .collect();
    let (computed, refused) = answers.split_at(5);
    assert_eq!(codes(computed), vec![(401, "token_signature".to_owned()); 5]);
    assert_eq!(codes(refused), vec![(429, "credentials_limited".to_owned()); 55]);
    for answer in refused {
        assert!(answer.header("retry-after").is_some() && answer.header("ratelimit").is_none());
    }
    // Tokens in the name of a known agent have a separate limit, with the same number of failures over all workers.
    let in_its_name: Vec<_> = (0..30).map(|number| gate.call(&item(&forged_for("robot", number))).status).collect();
    assert_eq!(in_its_name, [[401; 5].as_slice(), &[429; 25]].concat());
    for _ in 0..40 {
        assert_eq!(gate.call(&good).status, 200);
    }
    // The same applies to every path that is not public.
    let elsewhere = gate.call(&Request::get("/nowhere").host(HOST).bearer(&forged(99)));
    assert_eq!(codes(&[elsewhere]), [(429, "credentials_limited".to_owned())]);
}

#[test]
fn counts_clients_behind_a_trusted_proxy_separately() {
    let gate = failing(1);
    let from = |client: &str, number: usize| gate.call(&item(&forged(number)).header("X-Forwarded-For", client)).status;
    let first: Vec<_> = (0..7).map(|number| from("198.51.100.1", number)).collect();
    assert_eq!(first, [401, 401, 401, 401, 401, 429, 429]);
    assert_eq!(from("198.51.100.2", 8), 401);
    // The client's own entry in front of the proxy's entry has no effect.
    assert_eq!(from("203.0.113.5, 198.51.100.1", 9), 429);
}

#[test]
fn responses_report_the_remaining_quota() {
    let gate = Gate::start_with(&limited(json!({})), |_| (), &Options::default());
    let request = item(&token("robot"));
    let told = |response: &Response| {
        ["ratelimit-policy", "ratelimit"].map(|name| response.header(name).unwrap_or_default().to_owned())
    };
    let [first, second, third] = [(); 3].map(|()| gate.call(&request));
    assert_eq!((first.status, second.status, third.status), (200, 200, 429));
    assert_eq!(told(&first), ["\"calls\";q=2;w=7200", "\"calls\";r=1;t=3600"]);
    assert_eq!(told(&second)[1], "\"calls\";r=0;t=3600");
    assert_eq!(told(&third)[1], "\"calls\";r=0;t=3600");
    assert_eq!(third.header("retry-after"), Some("3600"));
    let unknown = gate.call(&Request::get("/items/1").host(HOST));
    assert_eq!((unknown.status, told(&unknown)), (401, [String::new(), String::new()]));
}

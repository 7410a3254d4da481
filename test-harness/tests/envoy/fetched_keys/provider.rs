//! What providers do: they rotate and withdraw keys, fail in many ways, and are down for a while.

use std::collections::BTreeMap;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use identity_provider::key_server::{Behavior, JWKS, KeyServer, OPENID};
use serde_json::json;
use test_harness::client::{self, Connection, Response};

use super::{
    assert_key_unknown, assert_told_to_wait, await_policy, await_status, fetching, remote, start, with,
    with_unknown_key,
};
use crate::envoy::limits::counted;
use crate::envoy::operating::until;

#[test]
fn three_rotations_lose_no_request_and_removed_keys_stop_working() {
    let idp = KeyServer::start().unwrap();
    let gate = start(&[("idp", &idp, remote(&idp, "idp"))]);
    let api = gate.envoy.api().unwrap();
    await_status(&gate, &with(&idp), 200);
    assert_eq!(idp.requests(JWKS), 1, "nine VMs, one fetch");

    let (sent, stop, sending) = (AtomicUsize::new(0), AtomicBool::new(false), RwLock::new(()));
    let mut removed = Vec::new();
    let outcomes: Vec<BTreeMap<u16, usize>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(api).unwrap();
                    let mut statuses = BTreeMap::new();
                    while !stop.load(Ordering::Relaxed) {
                        let _sends = sending.read().unwrap();
                        let status = connection.call(&with(&idp)).unwrap().status;
                        *statuses.entry(status).or_default() += 1;
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                    statuses
                })
            })
            .collect();
        for rotation in 1..=3 {
            while sent.load(Ordering::Relaxed) < rotation * 1_250 {
                thread::sleep(Duration::from_millis(5));
            }
            let old = with(&idp);
            let kid = idp.signing_key().kid().unwrap().to_owned();
            let fetches = idp.requests(JWKS);
            idp.rotate().unwrap();
            // No client has a token of the earlier key when it is withdrawn. Providers wait until those have expired.
            until("the new key is fetched", || idp.requests(JWKS) > fetches);
            let _nobody_sends = sending.write().unwrap();
            idp.withdraw(&kid);
            removed.push(old);
        }
        while sent.load(Ordering::Relaxed) < 5_000 {
            thread::sleep(Duration::from_millis(5));
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let statuses: Vec<u16> = outcomes.iter().flat_map(|statuses| statuses.keys().copied()).collect();
    assert!(statuses.iter().all(|status| *status == 200), "{outcomes:?}");
    assert_eq!(idp.requests(JWKS), 4, "the first fetch, and one for each rotation");
    // The last rotation's fetch still had the key before it was withdrawn. A token with an unknown key causes another fetch.
    let fetches = idp.requests(JWKS);
    assert_key_unknown(&gate.call(&with_unknown_key(&idp, 0)));
    assert!(idp.requests(JWKS) > fetches);
    let withdrawn = Instant::now();
    // Each connection may reach another worker.
    until("no worker uses a removed key", || {
        removed.iter().all(|request| (0..16).all(|_| gate.call(request).status != 200))
    });
    // Workers look for newer keys once per second. The rest of the two seconds is for the requests of this test.
    let elapsed = withdrawn.elapsed();
    assert!(elapsed <= Duration::from_secs(2), "a removed key was used for {elapsed:?}");
    for request in &removed {
        for _ in 0..8 {
            assert_key_unknown(&gate.call(request));
        }
    }
    assert!(idp.requests(JWKS) <= 8, "{} fetches", idp.requests(JWKS));
}

#[test]
fn a_provider_that_is_down_at_the_start_does_not_stop_the_gate() {
    let idp = KeyServer::start().unwrap();
    idp.close();
    let gate = start(&[("idp", &idp, remote(&idp, "idp"))]);
    let request = with(&idp);
    let response = gate.call(&request);
    assert_eq!((response.status, response.code().as_deref()), (503, Some("keys_unavailable")));
    assert!(response.header("retry-after").is_some());
    // The next attempt is at most a few seconds away.
    idp.reopen().unwrap();
    assert!(await_status(&gate, &request, 200) < Duration::from_secs(10));
    // Then it fails again, and the keys stay in use.
    idp.close();
    assert_told_to_wait(&gate.call(&with_unknown_key(&idp, 0)));
    for _ in 0..20 {
        assert_eq!(gate.call(&request).status, 200);
    }
    assert!(gate.envoy.log().contains("cannot fetch https://idp.example.com/jwks"));
    // A policy update keeps the keys, although the provider is down.
    let mut updated = fetching(&[("idp", &idp, remote(&idp, "idp"))]);
    updated["help"] = json!("https://help.example.com");
    gate.envoy.update(&gate.bootstrap.with_policy(&updated.to_string()).unwrap()).unwrap();
    await_policy(&gate, "https://help.example.com");
    for _ in 0..20 {
        assert!(await_status(&gate, &request, 200) < Duration::from_secs(3));
    }
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn keys_are_used_for_stale_for_and_again_when_the_provider_is_back() {
    // The minimum of both.
    const STALE_FOR: Duration = Duration::from_secs(30);
    let idp = KeyServer::start().unwrap();
    let mut keys = remote(&idp, "idp");
    keys["remote"]["refresh"] = json!("30s");
    keys["remote"]["stale_for"] = json!("30s");
    let gate = start(&[("idp", &idp, keys)]);
    await_status(&gate, &with(&idp), 200);
    // The new key is in a set whose fetch starts later than this.
    let fetched = Instant::now();
    idp.rotate().unwrap();
    let request = with(&idp);
    until("every worker has the new key", || (0..32).all(|_| gate.call(&request).status == 200));
    idp.close();
    let denied = loop {
        let response = gate.call(&request);
        if response.status != 200 {
            break response;
        }
        assert!(fetched.elapsed() < STALE_FOR * 4, "the keys never expire");
        thread::sleep(Duration::from_millis(20));
    };
    assert!(fetched.elapsed() >= STALE_FOR, "expired after {:?}", fetched.elapsed());
    assert_told_to_wait(&denied);
    until("every worker has forgotten the keys", || (0..32).all(|_| gate.call(&request).status == 503));
    assert!(gate.envoy.log().contains("are older than `stale_for`"), "{}", gate.envoy.log_tail());
    // An expired set has no age, so an alert on the age must fire earlier.
    until("no worker reports an age", || {
        gate.call(&request);
        counted(&gate, "keys.age_seconds") == 0
    });
    let failures = || gate.envoy.log().matches("cannot fetch").count();
    until("three attempts have failed", || failures() >= 3);
    assert_told_to_wait(&gate.call(&request));
    idp.reopen().unwrap();
    let took = await_status(&gate, &request, 200);
    // The back-off is one second after the first failure, and doubles with each further one. The last one may have been logged after the
    // provider was back.
    let back_off = Duration::from_secs(1 << (failures() - 1));
    // Workers look once per second whether a fetch is due, and for newer keys. The third second is for a busy machine.
    assert!(took <= back_off + Duration::from_secs(3), "200 after {took:?}, with a back-off of {back_off:?}");
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn each_refresh_is_one_fetch_over_all_workers() {
    // The minimum.
    const REFRESH: Duration = Duration::from_secs(30);
    const WORKERS: u64 = 4;
    let idp = KeyServer::start().unwrap();
    let mut keys = remote(&idp, "idp");
    keys["remote"]["refresh"] = json!("30s");
    let gate = start(&[("idp", &idp, keys)]);
    await_status(&gate, &with(&idp), 200);
    let start = Instant::now();
    let mut fetched = Vec::new();
    // All workers get requests, and tick.
    let mut observe_until = |end: Duration| {
        while start.elapsed() < end {
            assert_eq!(gate.call(&with(&idp)).status, 200);
            let more = idp.requests(JWKS) - fetched.len() as u64;
            fetched.extend((0..more).map(|_| start.elapsed()));
            thread::sleep(Duration::from_millis(20));
        }
        fetched.clone()
    };
    observe_until(Duration::from_secs(20));
    let (ages, age) = (counted(&gate, "keys.age_seconds"), start.elapsed().as_secs());
    // The main thread ticks too, so the sum divided by the number of workers exceeds the age, and less so the more workers there are. A
    // worker reports its age once per second.
    assert!(
        (WORKERS * (age - 3)..=WORKERS * 2 * (age + 3)).contains(&ages),
        "the sum of the ages is {ages} after {age} s"
    );
    // Longer than a worker needs to notice that the second refresh is due.
    let fetched = observe_until(2 * REFRESH + Duration::from_secs(10));
    println!("fetched after {fetched:?}");
    assert_eq!(fetched.len(), 3, "the first fetch, and one for each refresh: {fetched:?}");
    // The first fetch was before the response to the first request, and each worker ticks once per second.
    for (number, at) in (0..).zip(&fetched) {
        let due = REFRESH * number;
        assert!(
            (due.saturating_sub(Duration::from_secs(5))..=due + Duration::from_secs(5)).contains(at),
            "{fetched:?}"
        );
    }
}

#[test]
fn each_fault_of_a_provider_leaves_the_others_alone() {
    let faults: Vec<(&str, Behavior, u16)> = vec![
        ("correct", Behavior::Correct, 200),
        ("slow", Behavior::SlowHead(Duration::from_millis(700)), 200),
        ("too-slow", Behavior::SlowHead(Duration::from_secs(10)), 503),
        ("slow-body", Behavior::SlowBody(Duration::from_secs(10)), 503),
        ("redirect", Behavior::Redirect, 503),
        ("failing", Behavior::Status(500), 503),
        ("not-found", Behavior::Status(404), 503),
        ("html", Behavior::HtmlError, 503),
        ("truncated", Behavior::Truncated, 503),
        ("reset", Behavior::Reset, 503),
        ("huge", Behavior::Padded { to: 300 * 1024, content_length: true }, 503),
        ("endless", Behavior::Padded { to: 4 * 1024 * 1024, content_length: false }, 503),
        ("invalid", Behavior::InvalidJson, 503),
        ("empty", Behavior::NoKeys, 503),
        ("many", Behavior::ManyKeys(101), 503),
        ("most", Behavior::ManyKeys(100), 200),
        ("weak", Behavior::WeakKey, 200),
        ("encryption", Behavior::EncryptionKey, 200),
        ("repeated", Behavior::RepeatedKid { first: false }, 200),
    ];
    let servers: Vec<_> = faults
        .iter()
        .map(|(name, behavior, _)| {
            let server = KeyServer::start_as(&format!("https://{name}.example.com")).unwrap();
            server.set(behavior.clone()).unwrap();
            server
        })
        .collect();
    let all: Vec<_> =
        faults.iter().zip(&servers).map(|((name, ..), server)| (*name, server, remote(server, name))).collect();
    let gate = start(&all);
    let api = gate.envoy.api().unwrap();
    let responses: Vec<Response> = thread::scope(|scope| {
        let clients: Vec<_> =
            servers.iter().map(|server| scope.spawn(move || client::call(api, &with(server)).unwrap())).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for ((name, _, expected), response) in faults.iter().zip(responses) {
        let code = response.code();
        // More than eight requests of one source may wait at the same time here. Those are repeated.
        let status = if *expected == 200 && response.status == 503 {
            let (_, server, _) = all.iter().find(|(own, ..)| own == name).unwrap();
            await_status(&gate, &with(server), 200);
            200
        } else {
            response.status
        };
        assert_eq!(status, *expected, "{name}: {code:?}");
    }
}

#[test]
fn an_issuer_is_discovered_by_its_metadata() {
    let servers: Vec<_> = ["good", "other-issuer", "other-host", "listed-host"]
        .map(|name| (name, KeyServer::start_as(&format!("https://{name}.example.com")).unwrap()))
        .into();
    let keys = KeyServer::start_as("https://keys.example.com").unwrap();
    let of = |name: &str| &servers.iter().find(|(own, _)| *own == name).unwrap().1;
    of("other-issuer").set_for(OPENID, Behavior::Issuer("https://good.example.com".into())).unwrap();
    of("other-host").set_for(OPENID, Behavior::JwksUri("https://keys.example.com/jwks".into())).unwrap();
    of("listed-host").set_for(OPENID, Behavior::JwksUri("https://keys.example.com/jwks".into())).unwrap();
    let discover = |name: &str| {
        let mut discover = json!({ "document": "openid", "cluster": name, "timeout": "2s" });
        if name == "listed-host" {
            discover["key_hosts"] = json!({ "keys.example.com": { "cluster": "keys" } });
        }
        json!({ "discover": discover })
    };
    let mut all: Vec<_> = servers.iter().map(|(name, server)| (*name, server, discover(name))).collect();
    all.push(("keys", &keys, remote(&keys, "keys")));
    let gate = start(&all);
    for name in ["good", "other-issuer", "other-host"] {
        let expected = if name == "good" { 200 } else { 503 };
        assert_eq!(gate.call(&with(of(name))).status, expected, "{name}");
    }
    assert_eq!((of("good").requests(OPENID), of("good").requests(JWKS)), (1, 1));
    assert_eq!(of("other-issuer").requests(JWKS) + of("other-host").requests(JWKS), 0);
    // The key set is on another host, which the policy lists. That issuer signs with the other host's key, which `keys` has too,
    // and both do not say that they share it: only the issuer that had it first uses it. Both sets were fetched for the first time at
    // the start, so it may be either of them, and it is the same one on every worker.
    let listed = of("listed-host");
    listed.sign_with(keys.signing_key());
    until("both sets are fetched", || keys.requests(JWKS) >= 2);
    // Each connection may reach another worker.
    let uses = |server: &KeyServer| (0..16).all(|_| gate.call(&with(server)).status == 200);
    until("every worker has read the sets", || uses(&keys) != uses(listed));
    let (user, other) = if gate.call(&with(&keys)).status == 200 { (&keys, listed) } else { (listed, &keys) };
    for _ in 0..16 {
        assert_eq!(gate.call(&with(user)).status, 200);
        assert_told_to_wait(&gate.call(&with(other)));
    }
    assert_eq!(listed.requests(JWKS), 0, "the key set is only where the metadata says");
    assert!(gate.envoy.log().contains("list its host in `key_hosts`"));
    let seen = of("good").last_request(JWKS).unwrap();
    assert!(seen.header("user-agent").is_some_and(|agent| agent.starts_with("callgate/")), "{seen:?}");
}

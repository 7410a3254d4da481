//! Signed requests that are replayed: immediately, after a restart, and after an update.

use super::*;

#[test]
fn accepts_one_of_two_thousand_concurrent_equal_requests() {
    assert_one_of_two_thousand_passes(20);
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn accepts_one_of_two_thousand_equal_requests_in_200_rounds() {
    assert_one_of_two_thousand_passes(200);
}

/// Sends each of `requests` requests two thousand times at once.
fn assert_one_of_two_thousand_passes(requests: usize) {
    const CONNECTIONS: usize = 80;
    const EACH: usize = 25;
    let mut policy = signed_policy();
    policy["limits"]["calls"]["rate"] = json!("100/1s");
    let quiet = |bootstrap: &mut Bootstrap| {
        pass_secrets(bootstrap);
        bootstrap.manager().unwrap()["access_log"] = json!([]);
    };
    let gate = Gate::start_with(&policy, quiet, &options(4));
    ripen(&gate);
    let address = gate.envoy.api().unwrap();
    let barrier = Barrier::new(CONNECTIONS + 1);
    let passed: Vec<AtomicU64> = (0..requests).map(|_| AtomicU64::new(0)).collect();
    let call = std::sync::RwLock::new(Request::get("/"));
    let start = Instant::now();
    let troubles: Vec<String> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(address).unwrap();
                    let mut troubles = Vec::new();
                    for passed in &passed {
                        barrier.wait();
                        // A thread that fails still reaches the barrier, where all others wait.
                        let request = call.read().unwrap().clone();
                        for _ in 0..EACH {
                            match connection.call(&request).map(|response| (response.status, response.code())) {
                                Ok((200, _)) => drop(passed.fetch_add(1, Ordering::Relaxed)),
                                Ok((403, Some(code))) if code == "signature_replayed" => {}
                                other => troubles.push(format!("{other:?}")),
                            }
                        }
                        barrier.wait();
                    }
                    troubles
                })
            })
            .collect();
        for _ in 0..requests {
            // Signed at the last moment, because the whole test takes longer than a signature's lifetime.
            *call.write().unwrap() = Call::get("/items/1").request();
            barrier.wait();
            barrier.wait();
        }
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(troubles, [""; 0]);
    println!("{} calls in {:?}", requests * CONNECTIONS * EACH, start.elapsed());
    let passed: Vec<u64> = passed.into_iter().map(AtomicU64::into_inner).collect();
    assert_eq!(passed, vec![1; requests]);
    assert_eq!(counted(&gate, "decisions.allow.allowed"), requests as u64 + 1);
}

#[test]
fn an_agent_that_fills_its_replay_share_does_not_block_others() {
    // A policy whose limits exceed the replay table does not compile. But the existing table may be smaller than the policy requires.
    let mut policy = signed_policy();
    policy["tables"] = json!({ "replay": 128 });
    policy["limits"]["calls"] = json!({ "per": "agent", "rate": "1/1h", "burst": 60 });
    let gate = Gate::start_with(&policy, dynamic_with_secrets, &options(4));
    ripen(&gate);
    policy["tables"] = json!({ "replay": 8192 });
    policy["limits"]["calls"] = json!({ "per": "agent", "rate": "1/1h", "burst": 1000 });
    update(&gate, &policy, 2);
    let mut reasons = BTreeMap::<String, u32>::new();
    let mut full = None;
    for _ in 0..80 {
        let response = gate.call(&Call::get("/items/1").request());
        let reason = response.code().unwrap_or_else(|| response.status.to_string());
        if reason == "replay_share_full" {
            full = Some((response.status, response.header("retry-after").unwrap().parse::<u64>().unwrap()));
        }
        *reasons.entry(reason).or_default() += 1;
    }
    assert_eq!(reasons, BTreeMap::from([("200".to_owned(), 63), ("replay_share_full".to_owned(), 17)]));
    let (status, wait) = full.unwrap();
    assert!(status == 503 && (1..=66).contains(&wait), "{status} {wait}");
    assert_eq!(gate.call(&Call::get("/items/1").agent("other").request()).status, 200);
    assert_eq!(counted(&gate, "callgate.replay.entries"), 65);
    let told = counted(&gate, "callgate.replay.other_size");
    match adapter() {
        Adapter::Wasm => assert_eq!(told, 6, "each VM reports it: four workers, the main thread, and the first of all"),
        // The main thread counts it, and each worker that had a request.
        Adapter::Module => assert!((2..=5).contains(&told), "{told}"),
    }
}

#[test]
fn rejects_requests_captured_before_a_restart() {
    let policy = signed_policy();
    let first = gate(&policy, 2);
    let captured = Call::get("/items/1").request();
    // A request of a client whose clock is ahead by the maximum that the gate accepts.
    let ahead = Call::get("/items/1").created(now() + 5).request();
    for call in [&captured, &ahead] {
        assert_eq!(first.call(call).status, 200);
    }
    drop(first);
    let second = Gate::start_with(&policy, pass_secrets, &options(2));
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(7) {
        for call in [&captured, &ahead] {
            let response = second.call(call);
            assert_eq!((response.status, response.code().as_deref()), (503, Some("replay_table_young")));
            assert!(response.header("retry-after").is_some());
        }
        thread::sleep(Duration::from_millis(500));
    }
    ripen(&second);
    assert_eq!(second.call(&captured).code().as_deref(), Some("replay_table_young"));
}

#[test]
fn agent_key_rotation_accepts_old_and_new_keys() {
    let mut policy = signed_policy();
    // Until now, no agent had the other key.
    policy["agents"].as_object_mut().unwrap().remove("other");
    let gate = Gate::start_with(&policy, dynamic_with_secrets, &options(2));
    ripen(&gate);
    let status = |keyid| gate.call(&Call::get("/items/1").agent(keyid).request()).status;
    assert_eq!((status("robot"), status("other")), (200, 403));
    let key = |keyid: &str| json!({ "secret": { "env": format!("{VARIABLE}_{keyid}") }, "keyid": keyid });
    policy["agents"]["robot"]["signing_keys"] = json!([key("robot"), key("other")]);
    update(&gate, &policy, 2);
    assert_eq!((status("robot"), status("other")), (200, 200));
    policy["agents"]["robot"]["signing_keys"][0]["not_after"] = json!("2020-01-01");
    update(&gate, &policy, 3);
    assert_eq!((status("robot"), status("other")), (403, 200));
}

#[test]
fn an_update_keeps_replay_state_and_a_denied_request_may_retry() {
    let mut policy = signed_policy();
    policy["agents"]["robot"]["scopes"] = json!(["items:write"]);
    let gate = Gate::start_with(&policy, dynamic_with_secrets, &options(2));
    let allowed = || Call::new("GET", "/stream/socket");
    let start = Instant::now();
    let used = loop {
        let call = allowed().request();
        match gate.call(&call).code().as_deref() {
            Some("replay_table_young") if start.elapsed() < Duration::from_secs(20) => {
                thread::sleep(Duration::from_secs(1))
            }
            _ => break call,
        }
    };
    assert_eq!(gate.call(&used).code().as_deref(), Some("signature_replayed"));
    let denied = Call::get("/items/1").request();
    assert_eq!(gate.call(&denied).code().as_deref(), Some("insufficient_scope"));
    policy["agents"]["robot"]["scopes"] = json!(["items:read", "items:write"]);
    update(&gate, &policy, 2);
    assert_eq!(gate.call(&used).code().as_deref(), Some("signature_replayed"));
    assert_eq!(gate.call(&denied).status, 200);
    assert_eq!(gate.call(&denied).code().as_deref(), Some("signature_replayed"));
}

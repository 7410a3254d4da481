//! What the newest policy of a name revokes, for older policies without streams that are checked again.

use super::*;

/// Returns a policy without open streams and suspensions.
fn plain(changes: Value) -> Value {
    let endpoints = document(json!({}))["endpoints"].as_array().unwrap()[..3].to_vec();
    with(document(json!({ "endpoints": endpoints })), changes)
}

fn suspended(name: &str) -> Value {
    json!({ "agents": { "a": testing::agent("a"), "b": testing::agent("b"), "c": testing::agent("c"),
                        (name): with(testing::agent(name), json!({ "suspended": true })) } })
}

#[test]
fn a_policy_that_revokes_or_suspends_applies_what_a_newer_one_does() {
    let token = token("a", json!({}));
    let older = [json!({ "revoked": [{ "issuer": "corp", "jti": "other" }] }), suspended("c")];
    let newer = [json!({ "revoked": [{ "agent": "a" }] }), suspended("a")];
    for (before, after) in older.iter().flat_map(|older| newer.iter().map(move |newer| (older, newer))) {
        let store = Rc::new(MemoryStore::default());
        let worker = Worker::joining(&Arc::new(testing::policy(plain(before.clone()))), &store, 1);
        assert_eq!(worker.ask("/", &token), None, "{before}");
        let newest = Worker::joining(&Arc::new(testing::policy(plain(after.clone()))), &store, 2);
        assert_eq!(worker.at(1).ask("/", &token), Some(Reason::AgentSuspended), "{before} {after}");
        assert_eq!(worker.ask("/public", &token), Some(Reason::AgentSuspended), "{before} {after}");
        // The newest policy has ended, for example because the update was undone.
        drop(newest);
        assert_eq!(worker.at(2).ask("/", &token), None, "{before} {after}");
    }
}

#[test]
fn a_policy_that_fetches_a_list_applies_what_a_newer_one_revokes() {
    let remote = json!({ "url": "https://r.example.com/list", "cluster": "r" });
    let older = plain(json!({ "revocations": { "remote": remote, "trusted": true, "on_stale": "deny" } }));
    let store = Rc::new(MemoryStore::default());
    let worker = Worker::joining(&Arc::new(testing::policy(older)), &store, 1);
    worker.serve(&list(NOW, json!([])));
    let token = token("a", json!({}));
    assert_eq!(worker.ask("/", &token), None);
    let newer = plain(json!({ "revoked": [{ "issuer": "corp", "jti": "j" }] }));
    let _newest = Worker::joining(&Arc::new(testing::policy(newer)), &store, 2);
    assert_eq!(worker.at(1).ask("/", &token), Some(Reason::TokenRevoked));
}

#[test]
fn a_policy_that_uses_none_of_this_reads_and_publishes_nothing() {
    let store = Rc::new(MemoryStore::default());
    let worker = Worker::joining(&Arc::new(testing::policy(plain(json!({})))), &store, 1);
    assert_eq!(worker.ask("/", &token("a", json!({}))), None);
    assert!(store.is_empty());
    let newer = plain(json!({ "revoked": [{ "agent": "a" }] }));
    let _newest = Worker::joining(&Arc::new(testing::policy(newer)), &store, 2);
    assert!(!store.is_empty());
    assert_eq!(worker.at(5).ask("/", &token("a", json!({}))), None, "SECURITY.md describes this");
}

/// In an adapter whose workers begin to use a policy with their first stream under it.
#[test]
fn a_worker_that_begins_late_does_not_make_its_policy_the_newest_one() {
    let token = token("a", json!({}));
    let store = Rc::new(MemoryStore::default());
    let older = Arc::new(testing::policy(plain(json!({ "revoked": [{ "issuer": "corp", "jti": "other" }] }))));
    let newer = Arc::new(testing::policy(plain(json!({ "revoked": [{ "agent": "a" }] }))));
    let follow = |policy: &Arc<Policy>, number| Worker::created(Engine::following, policy, &store, number);
    let _started = Worker::joining(&older, &store, 1);
    let early = follow(&older, 2);
    assert_eq!(early.ask("/", &token), None);
    let newest = Worker::joining(&newer, &store, 3);
    let late = follow(&older, 4);
    let asked = |second| [&late, &early].map(|worker| worker.at(second).ask("/", &token));
    assert_eq!(asked(1), [Some(Reason::AgentSuspended); 2]);
    // The end of a worker withdraws nothing.
    drop(follow(&newer, 5));
    assert_eq!(asked(2), [Some(Reason::AgentSuspended); 2]);
    drop(newest);
    assert_eq!(asked(3), [None; 2]);
}

/// Such as that of another listener.
#[test]
fn a_worker_publishes_again_what_another_configuration_of_its_policy_withdrew() {
    let token = token("a", json!({}));
    let store = Rc::new(MemoryStore::default());
    let older = Arc::new(testing::policy(plain(json!({ "revoked": [{ "issuer": "corp", "jti": "other" }] }))));
    let newer = Arc::new(testing::policy(plain(json!({ "revoked": [{ "agent": "a" }] }))));
    let old = Worker::joining(&older, &store, 1);
    let ended = Worker::joining(&newer, &store, 2);
    let stays = Worker::created(Engine::following, &newer, &store, 3);
    for (worker, second) in [(&stays, 0), (&old, 1)] {
        assert_eq!(worker.at(second).ask("/", &token), Some(Reason::AgentSuspended));
    }
    drop(ended);
    for (worker, second) in [(&stays, 2), (&old, 3)] {
        assert_eq!(worker.at(second).ask("/", &token), Some(Reason::AgentSuspended));
    }
}

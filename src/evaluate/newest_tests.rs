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

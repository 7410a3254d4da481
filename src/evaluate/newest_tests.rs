//! What the newest policy of a name revokes, for older policies without streams that are checked again.

use super::*;
use crate::evaluate::Undecided;
use crate::state::Versioned;

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

/// The most common case: the operator has never stopped anything under this name.
#[test]
fn the_first_suspension_reaches_a_policy_that_revokes_and_suspends_nothing() {
    let issuer = with(testing::issuer(), json!({ "suspended": true }));
    let mut endpoints = plain(json!({}))["endpoints"].clone();
    for position in [0, 2] {
        endpoints[position]["suspended"] = json!(true);
    }
    let newer = [
        (json!({ "revoked": [{ "issuer": "corp", "jti": "j" }] }), Reason::TokenRevoked),
        (json!({ "revoked": [{ "agent": "a" }] }), Reason::AgentSuspended),
        (suspended("a"), Reason::AgentSuspended),
        (json!({ "issuers": { "corp": issuer } }), Reason::TokenRevoked),
        (json!({ "endpoints": endpoints }), Reason::EndpointSuspended),
    ];
    let (stopped, other) = (token("a", json!({})), token("b", json!({ "jti": "k" })));
    for (position, (after, reason)) in newer.into_iter().enumerate() {
        let store = Rc::new(MemoryStore::default());
        let worker = Worker::joining(&Arc::new(testing::policy(plain(json!({})))), &store, 1);
        assert_eq!(worker.ask("/", &stopped), None);
        let newest = Worker::joining(&Arc::new(testing::policy(plain(after.clone()))), &store, 2);
        worker.at(1);
        for path in ["/", "/public"] {
            assert_eq!(worker.ask(path, &stopped), Some(reason), "{path} {after}");
            // The last two stop everything there.
            assert_eq!(worker.ask(path, &other), (position > 2).then_some(reason), "{path} {after}");
        }
        let is_denied = |outcome: Outcome<'_>| matches!(outcome, Outcome::Decided(Decision::Deny(_)));
        let is_closed = worker.with("/public", None, is_denied);
        assert_eq!(is_closed, reason == Reason::EndpointSuspended, "without a credential: {after}");
        drop(newest);
        assert_eq!(worker.at(2).ask("/", &stopped), None, "{after}");
    }
}

#[test]
fn a_newer_policy_that_revokes_nothing_changes_nothing() {
    let (a, b) = (token("a", json!({})), token("b", json!({})));
    for (own, of_b) in [(json!({}), None), (json!({ "revoked": [{ "agent": "b" }] }), Some(Reason::AgentSuspended))] {
        let store = Rc::new(MemoryStore::default());
        let worker = Worker::joining(&Arc::new(testing::policy(plain(own))), &store, 1);
        let newer = plain(json!({ "help": "https://help.example.com" }));
        let newest = Worker::joining(&Arc::new(testing::policy(newer)), &store, 2);
        assert_eq!((worker.at(1).ask("/", &a), worker.ask("/", &b)), (None, of_b));
        drop(newest);
        assert_eq!((worker.at(2).ask("/", &a), worker.ask("/", &b)), (None, of_b));
    }
}

/// A store that counts how often it is read, and that can fail.
#[derive(Default)]
struct Watched {
    map: MemoryStore,
    reads: Cell<u32>,
    fails: Cell<bool>,
}

impl Watched {
    fn check(&self) -> Result<(), StoreError> {
        if self.fails.get() { Err(StoreError) } else { Ok(()) }
    }
}

impl SharedStore for Watched {
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        self.reads.set(self.reads.get() + 1);
        self.check().and_then(|()| self.map.get(key))
    }

    fn create(&self, key: &[u8], value: &[u8]) -> Result<bool, StoreError> {
        self.check().and_then(|()| self.map.create(key, value))
    }

    fn compare_and_set(&self, key: &[u8], value: &[u8], version: u32) -> Result<bool, StoreError> {
        self.check().and_then(|()| self.map.compare_and_set(key, value, version))
    }
}

/// Returns a worker that has not opened its state yet.
fn unopened(document: Value, store: &Rc<Watched>) -> Worker {
    let clock = Rc::new(Cell::new(Timestamp::from_secs(NOW)));
    let services =
        Services { store: Rc::clone(store) as Rc<dyn SharedStore>, ..Services::in_memory(Rc::clone(&clock), [1; 16]) };
    Worker { engine: Engine::new(testing::policy(document), services), clock }
}

#[test]
fn a_policy_that_uses_none_of_this_reads_the_store_at_most_once_a_second() {
    let store = Rc::new(Watched::default());
    let worker = unopened(plain(json!({})), &store);
    worker.engine.open().unwrap();
    let token = token("a", json!({}));
    let reads_at = |second| {
        let before = store.reads.get();
        for path in ["/", "/public", "/nowhere", "/"] {
            worker.at(second).ask(path, &token);
        }
        worker.with("/public", None, |_| ());
        store.reads.get() - before
    };
    assert_eq!([0, 0, 1, 1, 5].map(reads_at), [1, 0, 1, 0, 1]);
    assert_eq!(reads_at(4), 1, "a clock that was set back does not postpone it");
}

/// Such as an Envoy whose configuration does not allow the filter to use the map.
#[test]
fn a_policy_that_needs_no_store_works_without_one() {
    let store = Rc::new(Watched::default());
    store.fails.set(true);
    let worker = unopened(plain(json!({})), &store);
    worker.engine.open().unwrap();
    assert!(worker.engine.ignores_newer());
    let reads = store.reads.get();
    for second in [0, 1, 100] {
        assert_eq!(worker.at(second).ask("/", &token("a", json!({}))), None);
    }
    drop(worker);
    assert_eq!(store.reads.get(), reads);
    for needs in [json!({ "revoked": [{ "agent": "b" }] }), suspended("b")] {
        let worker = unopened(plain(needs.clone()), &store);
        assert_eq!(worker.engine.open().err(), Some(Undecided::State), "{needs}");
    }
}

#[test]
fn a_store_that_fails_later_denies() {
    let store = Rc::new(Watched::default());
    let worker = unopened(plain(json!({})), &store);
    let token = token("a", json!({}));
    assert_eq!(worker.ask("/", &token), None);
    assert!(!worker.engine.ignores_newer());
    store.fails.set(true);
    assert_eq!(worker.ask("/", &token), None, "it was read less than a second ago");
    assert_eq!(worker.at(1).ask("/", &token), Some(Reason::HostError));
    assert_eq!(worker.ask("/public", &token), Some(Reason::HostError));
    store.fails.set(false);
    assert_eq!(worker.ask("/", &token), None);
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

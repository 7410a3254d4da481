//! Revoked credentials through all checks, and workers that share a fetched list.

use std::cell::Cell;

use serde_json::{Value, json};

use super::super::{Awaits, CallResult, Outcome, Recheck, Services};
use super::*;
use crate::decision::Decision;
use crate::evaluate::{DocumentEvent, Engine};
use crate::identity::token::testing::{Signs, sign};
use crate::request::headers::Headers;
use crate::request::incoming::{DecisionId, Request};
use crate::state::{MemoryStore, SharedStore};
use crate::testing::{self, NOW, SECRET, with};
use std::rc::Rc;
use std::sync::Arc;

#[path = "revocation_chain_tests.rs"]
mod chains;
#[path = "conditional_list_tests.rs"]
mod conditional;
#[path = "newest_tests.rs"]
mod newest;

fn document(changes: Value) -> Value {
    let endpoint = |id: &str, path: &str, more: Value| {
        with(json!({ "id": id, "methods": ["GET"], "path": path, "effect": "read", "scopes": "none" }), more)
    };
    let document = testing::document(json!({
        "issuers": { "corp": testing::issuer() },
        "agents": { "a": testing::agent("a"), "b": testing::agent("b") },
        "endpoints": [
            endpoint("e", "/", json!({})),
            endpoint("watched", "/watched", json!({ "mode": "observe" })),
            endpoint("public", "/public", json!({ "scopes": null, "access": "public" })),
            endpoint("stream", "/stream", json!({ "streams": "recheck" })),
            endpoint("closed", "/closed", json!({ "suspended": true })),
            endpoint("closed.public", "/closed/public", json!({ "scopes": null, "access": "public", "suspended": true })),
        ],
    }));
    with(document, changes)
}

fn fetching(changes: Value) -> Value {
    let remote = json!({ "url": "https://r.example.com/list", "cluster": "r" });
    let usual = json!({ "remote": remote, "trusted": true, "on_stale": "deny", "stale_after": "1m" });
    document(json!({ "revocations": with(usual, changes) }))
}

fn token(client: &str, changes: Value) -> String {
    let claims = json!({
        "iss": "https://idp.example.com", "aud": "https://api.example.com", "sub": "s", "client_id": client, "jti": "j",
        "iat": NOW, "exp": NOW + 1_800,
    });
    let header = json!({ "alg": "HS256", "typ": "at+jwt" });
    String::from_utf8(sign(Signs::Secret(SECRET), &header, &with(claims, changes))).unwrap()
}

fn list(iat: u64, entries: Value) -> Vec<u8> {
    json!({ "iat": iat, "exp": iat + 600, "entries": entries }).to_string().into_bytes()
}

fn response(status: u16, body: &[u8]) -> CallResult<'_> {
    CallResult::Response { status, etag: None, body }
}

/// A worker of a gateway.
struct Worker {
    engine: Engine,
    clock: Rc<Cell<Timestamp>>,
}

impl Worker {
    fn new(document: Value) -> Self {
        Self::joining(&Arc::new(testing::policy(document)), &Rc::default(), 1)
    }

    /// Creates a worker whose number differs from those of all others.
    fn joining(policy: &Arc<Policy>, store: &Rc<MemoryStore>, number: u8) -> Self {
        Self::created(Engine::new, policy, store, number)
    }

    fn created(
        create: fn(Arc<Policy>, Services) -> Engine,
        policy: &Arc<Policy>,
        store: &Rc<MemoryStore>,
        number: u8,
    ) -> Self {
        let clock = Rc::new(Cell::new(Timestamp::from_secs(NOW)));
        let services = Services {
            store: Rc::clone(store) as Rc<dyn SharedStore>,
            ..Services::in_memory(Rc::clone(&clock), [number; 16])
        };
        let engine = create(Arc::clone(policy), services);
        engine.open().unwrap();
        Self { engine, clock }
    }

    fn at(&self, second: u64) -> &Self {
        self.clock.set(Timestamp::from_secs(NOW + second));
        self
    }

    /// Fires the timer. If a fetch is due, the server answers with this.
    fn tick(&self, answer: CallResult<'_>) -> Vec<DocumentEvent> {
        let work = self.engine.fetch_documents().unwrap();
        let mut events = work.events;
        for call in work.calls {
            assert!(call.headers().any(|(name, value)| name == "accept" && value.contains("application/jose")));
            events.extend(self.engine.receive_document(call.id(), answer).unwrap().events);
        }
        events
    }

    fn serve(&self, list: &[u8]) -> Vec<DocumentEvent> {
        self.tick(response(200, list))
    }

    fn with<T>(&self, path: &str, token: Option<&str>, then: impl FnOnce(Outcome<'_>) -> T) -> T {
        let authorization = token.map(|token| format!("Bearer {token}"));
        let lines = [(":method", "GET"), (":path", path), (":authority", "api.example.com")];
        let lines = lines.into_iter().chain(authorization.as_deref().map(|value| ("authorization", value)));
        let headers: Headers = lines.collect();
        let now = self.clock.get();
        let request =
            Request { headers: &headers, end_of_stream: true, source: None, certificate: None, now, id: DecisionId(7) };
        then(self.engine.decide(request).unwrap())
    }

    /// Returns the reason for a denial. A request that waits has none yet.
    fn ask(&self, path: &str, token: &str) -> Option<Reason> {
        self.with(path, Some(token), |outcome| match outcome {
            Outcome::Decided(Decision::Deny(deny)) => Some(deny.reason()),
            Outcome::Decided(_) | Outcome::Pending(_) => None,
        })
    }

    /// Returns the stream that is open after an allowed request.
    fn stream(&self, token: &str) -> Recheck {
        self.with("/stream", Some(token), |outcome| match outcome {
            Outcome::Decided(Decision::Allow(allow)) => allow.recheck().unwrap(),
            other => panic!("{other:?}"),
        })
    }

    fn recheck(&self, stream: &Recheck) -> Result<(), Reason> {
        self.engine.recheck(stream, self.clock.get())
    }

    fn record(&self, path: &str, token: &str) -> Value {
        self.with(path, Some(token), |outcome| match outcome {
            Outcome::Decided(decision) => serde_json::from_slice(&decision.record().to_json()).unwrap(),
            Outcome::Pending(_) => panic!("it waits"),
        })
    }
}

#[test]
fn an_entry_of_the_policy_revokes_on_every_endpoint_that_verifies() {
    let worker = Worker::new(document(json!({ "revoked": [{ "issuer": "corp", "client": "a", "reason": "leaked" }] })));
    let (revoked, other) = (token("a", json!({})), token("b", json!({})));
    for path in ["/", "/public", "/stream", "/nowhere"] {
        assert_eq!(worker.ask(path, &revoked), Some(Reason::TokenRevoked), "{path}");
    }
    for path in ["/", "/public", "/stream"] {
        assert_eq!(worker.ask(path, &other), None, "{path}");
    }
    let record = worker.record("/", &revoked);
    assert_eq!(
        (&record["revoked"], &record["rule"], &record["agent"]),
        (&json!("leaked"), &json!("revoked"), &json!("a"))
    );
    assert_eq!(worker.record("/", &other)["revoked"], Value::Null);
    // A request without a credential has nothing that could be revoked.
    assert!(worker.with("/public", None, |outcome| matches!(outcome, Outcome::Decided(Decision::Allow(_)))));
}

#[test]
fn an_observed_endpoint_records_what_was_revoked() {
    let worker = Worker::new(document(json!({ "revoked": [{ "agent": "a", "reason": "incident 7" }] })));
    let record = worker.record("/watched", &token("a", json!({})));
    assert_eq!((&record["decision"], &record["reason"]), (&json!("observe"), &json!("agent_suspended")));
    assert_eq!(record["revoked"], "incident 7");
}

#[test]
fn a_suspended_issuer_or_endpoint_denies() {
    let issuer = with(testing::issuer(), json!({ "suspended": true }));
    let worker = Worker::new(document(json!({ "issuers": { "corp": issuer } })));
    let record = worker.record("/", &token("a", json!({})));
    assert_eq!((&record["reason"], &record["rule"]), (&json!("token_revoked"), &json!("issuers.corp.suspended")));
    let worker = Worker::new(document(json!({})));
    for path in ["/closed", "/closed/public"] {
        let record = worker.record(path, &token("a", json!({})));
        assert_eq!(record["reason"], "endpoint_suspended", "{path}");
    }
    let is_denied = |outcome: Outcome<'_>| matches!(outcome, Outcome::Decided(Decision::Deny(_)));
    assert!(worker.with("/closed/public", None, is_denied), "without a credential too");
    assert!(!worker.with("/public", None, is_denied));
}

#[test]
fn a_cached_token_is_denied_with_the_next_list() {
    let worker = Worker::new(fetching(json!({})));
    let token = token("a", json!({}));
    worker.serve(&list(NOW, json!([])));
    assert_eq!(worker.ask("/", &token), None);
    assert_eq!(worker.ask("/", &token), None);
    assert_eq!(worker.engine.token_usage().unwrap().hits, 1);
    let events = worker.at(10).serve(&list(NOW + 10, json!([{ "issuer": "corp", "jti": "j" }, { "agent": "zed" }])));
    assert_eq!(
        events,
        [DocumentEvent::RevocationsFetched, DocumentEvent::RevocationsChanged { entries: 2, ignored: 1 }]
    );
    assert_eq!(worker.ask("/", &token), Some(Reason::TokenRevoked));
    // It is not forgotten: the entry can end.
    worker.at(20).serve(&list(NOW + 20, json!([])));
    assert_eq!(worker.ask("/", &token), None);
    assert_eq!(worker.engine.token_usage().unwrap().misses, 1);
}

#[test]
fn every_worker_uses_a_list_that_one_of_them_fetched() {
    let (policy, store) = (Arc::new(testing::policy(fetching(json!({})))), Rc::default());
    let workers: Vec<_> = (1..=4).map(|number| Worker::joining(&policy, &store, number)).collect();
    let token = token("a", json!({}));
    let mut fetches = 0;
    for second in 0..60 {
        let entries = if second < 30 { json!([]) } else { json!([{ "agent": "a" }]) };
        for worker in &workers {
            let events = worker.at(second).serve(&list(NOW + second, entries.clone()));
            fetches += events.iter().filter(|event| **event == DocumentEvent::RevocationsFetched).count();
        }
        // The entry is effective within `refresh` and a tick.
        for worker in &workers {
            let expected = (second >= 30).then_some(Reason::AgentSuspended);
            assert_eq!(worker.ask("/", &token), expected, "{second}");
        }
    }
    assert_eq!(fetches, 6);
}

#[test]
fn a_request_waits_for_the_first_list() {
    let worker = Worker::new(fetching(json!({})));
    let token = token("a", json!({}));
    worker.with("/", Some(&token), |outcome| {
        let Outcome::Pending(pending) = outcome else { panic!("it is decided") };
        assert_eq!(pending.awaits(), Awaits::Keys);
        assert!(!worker.engine.is_ready(&pending));
        worker.serve(&list(NOW, json!([])));
        assert!(worker.engine.is_ready(&pending));
        let outcome = worker.engine.retry(pending, worker.clock.get()).unwrap();
        assert!(matches!(outcome, Outcome::Decided(Decision::Allow(_))), "{outcome:?}");
    });
    assert_eq!(worker.engine.waiting_requests(), 0);
    // A request without a valid token does not wait.
    let worker = Worker::new(fetching(json!({})));
    assert_eq!(worker.ask("/", "x"), Some(Reason::TokenMalformed));
    assert!(worker.with("/public", None, |outcome| matches!(outcome, Outcome::Decided(Decision::Allow(_)))));
    let record = worker.record("/watched", &token);
    assert_eq!((&record["decision"], &record["reason"]), (&json!("observe"), &json!("revocations_unavailable")));
}

#[test]
fn a_waiting_request_is_denied_when_the_fetch_fails_or_takes_too_long() {
    for answer in [Some(CallResult::NoResponse), Some(response(500, b"")), None] {
        let worker = Worker::new(fetching(json!({})));
        worker.with("/", Some(&token("a", json!({}))), |outcome| {
            let Outcome::Pending(pending) = outcome else { panic!("it is decided") };
            match answer {
                Some(answer) => {
                    let events = worker.tick(answer);
                    assert!(matches!(&events[..], [DocumentEvent::RevocationsFailed { .. }]), "{events:?}");
                }
                None => {
                    assert!(!worker.at(4).engine.is_ready(&pending));
                    worker.at(5);
                }
            }
            assert!(worker.engine.is_ready(&pending), "{answer:?}");
            let outcome = worker.engine.retry(pending, worker.clock.get()).unwrap();
            let Outcome::Decided(Decision::Deny(deny)) = outcome else { panic!("{outcome:?}") };
            assert_eq!(deny.reason(), Reason::RevocationsUnavailable);
            assert!(deny.answer().headers.iter().any(|(name, _)| *name == "retry-after"));
        });
    }
}

#[test]
fn a_list_that_cannot_be_used_leaves_the_one_before_in_use() {
    let worker = Worker::new(fetching(json!({ "stale_after": "1h" })));
    let token = token("a", json!({}));
    let revoking = list(NOW, json!([{ "agent": "a" }]));
    worker.serve(&revoking);
    assert_eq!(worker.ask("/", &token), Some(Reason::AgentSuspended));
    let faulty = [
        list(NOW - 1, json!([])),
        list(NOW - 700, json!([])),
        list(NOW + 3_000, json!([])),
        list(NOW + 50, json!([{ "agent": "b" }, {}])),
        b"<html>".to_vec(),
        Vec::new(),
    ];
    for (number, body) in (1..).zip(&faulty) {
        let events = worker.at(number * 20).serve(body);
        assert!(matches!(&events[..], [DocumentEvent::RevocationsRefused { .. }]), "{number}: {events:?}");
        assert_eq!(worker.ask("/", &token), Some(Reason::AgentSuspended), "{number}");
    }
    let events = worker.at(200).tick(CallResult::NotMade("no cluster"));
    assert!(matches!(&events[..], [DocumentEvent::RevocationsFailed { .. }]), "{events:?}");
    worker.at(220).serve(&list(NOW + 220, json!([])));
    assert_eq!(worker.ask("/", &token), None);
}

#[test]
fn a_worker_that_starts_later_detects_an_older_list_too() {
    let (policy, store) = (Arc::new(testing::policy(fetching(json!({})))), Rc::default());
    let first = Worker::joining(&policy, &store, 1);
    first.serve(&list(NOW, json!([{ "agent": "a" }])));
    let second = Worker::joining(&policy, &store, 2);
    let events = second.at(11).serve(&list(NOW - 1, json!([])));
    assert!(
        matches!(&events[..], [DocumentEvent::RevocationsRefused { why, .. }] if why.contains("before the list in use"))
    );
    assert_eq!(second.ask("/", &token("a", json!({}))), Some(Reason::AgentSuspended));
}

#[test]
fn the_same_response_again_is_fresh_until_it_expires() {
    let worker = Worker::new(fetching(json!({ "stale_after": "10m" })));
    let body = list(NOW, json!([{ "agent": "a" }]));
    assert_eq!(worker.serve(&body).len(), 2);
    for second in (10..=650).step_by(10) {
        assert_eq!(worker.at(second).serve(&body), [DocumentEvent::RevocationsFetched], "{second}");
    }
    // `exp` is 600 seconds after `iat`, and the skew is 60 seconds.
    let events = worker.at(660).serve(&body);
    assert!(
        matches!(&events[..], [DocumentEvent::RevocationsRefused { why, .. }] if why.contains("expired")),
        "{events:?}"
    );
}

#[test]
fn a_list_that_is_too_old_denies_or_stays_in_use() {
    for (on_stale, expected) in [("deny", Some(Reason::RevocationsUnavailable)), ("keep", None)] {
        let worker = Worker::new(fetching(json!({ "on_stale": on_stale })));
        let (revoked, other) = (token("a", json!({})), token("b", json!({})));
        worker.serve(&list(NOW, json!([{ "agent": "a" }])));
        let mut stale = 0;
        for second in 1..=120 {
            let events = worker.at(second).tick(CallResult::NoResponse);
            stale += events.iter().filter(|event| matches!(event, DocumentEvent::RevocationsStale { .. })).count();
            if second <= 60 {
                assert_eq!(worker.ask("/", &other), None, "{second}");
                assert_eq!(worker.ask("/", &revoked), Some(Reason::AgentSuspended), "{second}");
            }
        }
        assert_eq!(stale, 1, "{on_stale}: it is reported once");
        assert_eq!(worker.ask("/", &other), expected);
        // The server is back, and the next attempt is not far away.
        let back = (121..=140).find(|second| {
            let events = worker.at(*second).serve(&list(NOW + second, json!([])));
            events.contains(&DocumentEvent::RevocationsFetched)
        });
        assert!(back.is_some_and(|second| second <= 131), "{back:?}");
        assert_eq!(worker.ask("/", &other), None);
    }
}

#[test]
fn a_new_worker_uses_an_old_list_only_if_it_may_be_kept() {
    for (on_stale, expected) in [("deny", None), ("keep", Some(Reason::AgentSuspended))] {
        let (policy, store) = (Arc::new(testing::policy(fetching(json!({ "on_stale": on_stale })))), Rc::default());
        Worker::joining(&policy, &store, 1).serve(&list(NOW, json!([{ "agent": "a" }])));
        let late = Worker::joining(&policy, &store, 2);
        late.at(100).tick(CallResult::NoResponse);
        // Without a list, the request waits, or the answer asks the client to retry later.
        let reason = late.ask("/", &token("a", json!({}))).filter(|reason| *reason != Reason::RevocationsUnavailable);
        assert_eq!(reason, expected, "{on_stale}");
    }
}

#[test]
fn a_store_that_loses_the_list_denies_nothing_and_forgets_nothing() {
    let (policy, store) = (Arc::new(testing::policy(fetching(json!({})))), Rc::new(MemoryStore::default()));
    let worker = Worker::joining(&policy, &store, 1);
    worker.serve(&list(NOW, json!([{ "agent": "a" }])));
    store.dump().iter().for_each(|(key, _)| store.forget(key));
    worker.at(11).tick(CallResult::NoResponse);
    assert_eq!(worker.ask("/", &token("a", json!({}))), Some(Reason::AgentSuspended));
    assert_eq!(worker.ask("/", &token("b", json!({}))), None);
}

#[test]
fn issued_before_compares_with_iat_and_the_skew() {
    let moment = "2027-01-15T08:00:00Z";
    let worker =
        Worker::new(document(json!({ "revoked": [{ "issuer": "corp", "subject": "s", "issued_before": moment }] })));
    assert_eq!(NOW, 1_800_000_000, "which is the moment");
    worker.at(100);
    for (iat, expected) in [(NOW, Some(Reason::TokenRevoked)), (NOW + 59, Some(Reason::TokenRevoked)), (NOW + 60, None)]
    {
        assert_eq!(worker.ask("/", &token("a", json!({ "iat": iat }))), expected, "{iat}");
    }
}

#[test]
fn an_open_stream_is_checked_again() {
    let worker = Worker::new(fetching(json!({})));
    worker.serve(&list(NOW, json!([])));
    let token = token("a", json!({ "exp": NOW + 45 }));
    let of = |path: &str| {
        worker.with(path, Some(&token), |outcome| match outcome {
            Outcome::Decided(Decision::Allow(allow)) => allow.recheck(),
            other => panic!("{other:?}"),
        })
    };
    assert!(of("/").is_none() && of("/watched").is_none() && of("/public").is_none());
    let stream = of("/stream").unwrap();
    let check = |second| worker.at(second).engine.recheck(&stream, worker.clock.get());
    assert_eq!(check(0), Ok(()));
    worker.at(10).serve(&list(NOW + 10, json!([{ "agent": "a" }])));
    assert_eq!(check(11), Err(Reason::AgentSuspended));
    worker.at(20).serve(&list(NOW + 20, json!([{ "issuer": "corp", "jti": "j" }])));
    assert_eq!(check(21), Err(Reason::TokenRevoked));
    worker.at(30).serve(&list(NOW + 30, json!([])));
    assert_eq!(check(31), Ok(()));
    assert_eq!(check(104), Ok(()), "the skew is a minute");
    assert_eq!(check(105), Err(Reason::TokenExpired));
}

#[test]
fn a_stream_ends_with_the_freshness_of_the_list() {
    for (on_stale, expected) in [("deny", Err(Reason::RevocationsUnavailable)), ("keep", Ok(()))] {
        let worker = Worker::new(fetching(json!({ "on_stale": on_stale })));
        worker.serve(&list(NOW, json!([])));
        let token = token("a", json!({}));
        let stream = worker.with("/stream", Some(&token), |outcome| match outcome {
            Outcome::Decided(Decision::Allow(allow)) => allow.recheck().unwrap(),
            other => panic!("{other:?}"),
        });
        for second in 1..=62 {
            worker.at(second).tick(CallResult::NoResponse);
        }
        assert_eq!(worker.engine.recheck(&stream, worker.clock.get()), expected, "{on_stale}");
    }
}

#[test]
fn a_store_that_loses_the_list_does_not_bring_back_an_older_one() {
    let (policy, store) = (Arc::new(testing::policy(fetching(json!({})))), Rc::new(MemoryStore::default()));
    let worker = Worker::joining(&policy, &store, 1);
    worker.serve(&list(NOW, json!([{ "agent": "a" }])));
    store.dump().iter().for_each(|(key, _)| store.forget(key));
    let events = worker.at(11).serve(&list(NOW - 1, json!([])));
    assert!(
        matches!(&events[..], [DocumentEvent::RevocationsRefused { why, .. }] if why.contains("before the list in use")),
        "{events:?}"
    );
    assert_eq!(worker.ask("/", &token("a", json!({}))), Some(Reason::AgentSuspended));
}

#[test]
fn a_published_list_that_cannot_be_read_is_fetched_again() {
    let (policy, store) = (Arc::new(testing::policy(fetching(json!({})))), Rc::new(MemoryStore::default()));
    Worker::joining(&policy, &store, 1).serve(&list(NOW, json!([])));
    let (key, value) =
        store.dump().into_iter().find(|(key, _)| key.windows(10).any(|part| part == b"-document-")).unwrap();
    let version = store.get(&key).unwrap().unwrap().version;
    // The tag, the version, and no list.
    let junk = [&value[..17], b"no list"].concat();
    assert_eq!(store.compare_and_set(&key, &junk, version), Ok(true));
    let worker = Worker::joining(&policy, &store, 2);
    let events = worker.at(1).serve(&list(NOW + 1, json!([{ "agent": "a" }])));
    assert!(events.contains(&DocumentEvent::RevocationsFetched), "{events:?}");
    assert_eq!(worker.ask("/", &token("a", json!({}))), Some(Reason::AgentSuspended));
}

#[test]
fn an_older_policy_applies_what_the_newest_one_revokes_and_suspends() {
    type Change = fn(&mut Value);
    let changes: [(Change, Reason); 5] = [
        (|policy| policy["agents"]["a"]["suspended"] = json!(true), Reason::AgentSuspended),
        (|policy| policy["issuers"]["corp"]["suspended"] = json!(true), Reason::TokenRevoked),
        (|policy| policy["endpoints"][3]["suspended"] = json!(true), Reason::EndpointSuspended),
        (|policy| policy["revoked"] = json!([{ "issuer": "corp", "jti": "j" }]), Reason::TokenRevoked),
        (|policy| policy["revoked"] = json!([{ "agent": "a" }]), Reason::AgentSuspended),
    ];
    let (older, store) = (Arc::new(testing::policy(document(json!({})))), Rc::new(MemoryStore::default()));
    let worker = Worker::joining(&older, &store, 1);
    let (revoked, other) = (token("a", json!({})), token("b", json!({ "jti": "k" })));
    let stream = worker.stream(&revoked);
    for (second, (change, reason)) in (10..).step_by(10).zip(changes) {
        let mut newer = document(json!({}));
        change(&mut newer);
        assert_eq!(worker.at(second).recheck(&stream), Ok(()));
        let _newest = Worker::joining(&Arc::new(testing::policy(newer)), &store, 2);
        assert_eq!(worker.at(second + 1).recheck(&stream), Err(reason));
        assert_eq!(worker.ask("/stream", &revoked), Some(reason));
        let is_of_all = matches!(reason, Reason::EndpointSuspended) || second == 20;
        assert_eq!(worker.ask("/stream", &other), is_of_all.then_some(reason));
        // A policy that does not revoke it any more is the newest one now.
        let _again = Worker::joining(&older, &store, 3);
        assert_eq!(worker.at(second + 2).recheck(&stream), Ok(()));
        assert_eq!(worker.ask("/stream", &revoked), None);
    }
    // Policies of other names do not matter.
    let another = document(json!({ "name": "another", "revoked": [{ "agent": "a" }] }));
    let _another = Worker::joining(&Arc::new(testing::policy(another)), &store, 4);
    assert_eq!(worker.at(90).recheck(&stream), Ok(()));
}

#[test]
fn what_the_newest_policy_revokes_survives_a_store_that_loses_it() {
    let (older, store) = (Arc::new(testing::policy(document(json!({})))), Rc::new(MemoryStore::default()));
    let worker = Worker::joining(&older, &store, 1);
    let stream = worker.stream(&token("a", json!({})));
    let newer = Arc::new(testing::policy(document(json!({ "revoked": [{ "agent": "a" }] }))));
    let newest = Worker::joining(&newer, &store, 2);
    assert_eq!(worker.at(1).recheck(&stream), Err(Reason::AgentSuspended));
    let lose = || store.dump().iter().for_each(|(key, _)| store.forget(key));
    lose();
    assert_eq!(worker.at(2).recheck(&stream), Err(Reason::AgentSuspended));
    // The newest policy publishes it again, for workers that start later too.
    newest.at(2).ask("/", &token("b", json!({})));
    assert_eq!(worker.at(3).recheck(&stream), Err(Reason::AgentSuspended));
    assert!(!store.is_empty());
    // Anything else under the key denies.
    store.dump().iter().for_each(|(key, _)| {
        let version = store.get(key).unwrap().unwrap().version;
        assert_eq!(store.compare_and_set(key, b"x", version), Ok(true));
    });
    assert_eq!(worker.at(4).recheck(&stream), Err(Reason::HostError));
}

/// A gateway does not configure a policy again that it still has because of an open stream.
#[test]
fn a_policy_that_is_in_force_again_applies_its_own_entries_only() {
    let (older, store) = (Arc::new(testing::policy(document(json!({})))), Rc::new(MemoryStore::default()));
    let newer = Arc::new(testing::policy(document(json!({ "revoked": [{ "agent": "a" }] }))));
    let worker = Worker::joining(&older, &store, 1);
    let (revoked, stream) = (token("a", json!({})), worker.stream(&token("b", json!({}))));
    for second in [0, 10] {
        let workers = [2, 3].map(|number| Worker::joining(&newer, &store, number));
        assert_eq!(worker.at(second + 1).ask("/", &revoked), Some(Reason::AgentSuspended));
        for ended in workers {
            drop(ended);
            assert_eq!(worker.at(second + 2).recheck(&stream), Ok(()));
        }
        assert_eq!(worker.at(second + 3).ask("/", &revoked), None);
        assert_eq!(worker.at(second + 4).ask("/", &revoked), None);
    }
    // The newest policy, of which one worker has ended, is published again by the next request.
    let [ended, other] = [2, 3].map(|number| Worker::joining(&newer, &store, number));
    assert_eq!(worker.at(21).ask("/", &revoked), Some(Reason::AgentSuspended));
    drop(ended);
    other.at(22).ask("/", &revoked);
    assert_eq!(worker.at(22).ask("/", &revoked), Some(Reason::AgentSuspended));
}

#[test]
fn a_provided_list_is_used_and_nothing_is_fetched() {
    let worker = Worker::new(fetching(json!({})));
    let token = token("a", json!({}));
    worker.engine.provide_revocations(Some(&list(5, json!([{ "agent": "a" }])))).unwrap();
    assert_eq!(worker.ask("/", &token), Some(Reason::AgentSuspended));
    worker.engine.provide_revocations(None).unwrap();
    assert_eq!(worker.ask("/", &token), None);
    assert!(worker.engine.fetch_documents().unwrap().calls.is_empty());
    assert!(worker.engine.provide_revocations(Some(b"{}")).is_err());
    assert!(Worker::new(document(json!({}))).engine.provide_revocations(None).is_err());
}

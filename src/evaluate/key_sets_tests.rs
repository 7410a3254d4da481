//! Workers that share fetched key sets: which sets they use, which issuer uses a key that several have, and requests that cannot wait.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::{CallResult, Outcome, Services};
use super::*;
use crate::decision::Decision;
use crate::evaluate::{DocumentCall, Engine};
use crate::identity::token::testing::{Signs, sign};
use crate::reason::Reason;
use crate::request::headers::Headers;
use crate::request::incoming::{DecisionId, Request, Source};
use crate::state::{MemoryStore, SharedStore, Versioned};
use crate::testing::{self, NOW, with};
use crate::text::time::Timestamp;

fn issuer(name: &str, changes: Value) -> Value {
    let usual = json!({
        "issuer": format!("https://{name}.example.com"), "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "1h",
        "keys": { "remote": { "url": format!("https://{name}.example.com/jwks"), "cluster": name, "stale_for": "1h" } },
    });
    with(usual, changes)
}

/// Returns a policy with these issuers. Each has an agent of its name.
fn document(issuers: &[(&str, Value)]) -> Value {
    let agent = |name: &str| json!({ "owner": "o", "identity": { "issuer": name, "client_id": "a" } });
    let endpoint = |id: &str, path: &str, mode: &str| json!({ "id": id, "methods": ["GET"], "path": path, "effect": "read", "scopes": "none", "mode": mode });
    let all: serde_json::Map<_, _> = issuers.iter().map(|(name, raw)| ((*name).to_owned(), raw.clone())).collect();
    let agents: serde_json::Map<_, _> = issuers.iter().map(|(name, _)| ((*name).to_owned(), agent(name))).collect();
    let endpoints = json!([endpoint("e", "/", "enforce"), endpoint("watched", "/watched", "observe")]);
    testing::document(json!({ "issuers": all, "agents": agents, "endpoints": endpoints }))
}

/// Returns a policy with two issuers. `acme` comes first in the order of names.
fn two() -> Value {
    document(&["acme", "corp"].map(|name| (name, issuer(name, json!({})))))
}

fn token(issuer: &str, signs: Signs, kid: &str) -> String {
    token_at(0, issuer, signs, kid)
}

/// Returns a token that is issued after this time.
fn token_at(second: u64, issuer: &str, signs: Signs, kid: &str) -> String {
    let algorithm = if matches!(signs, Signs::Rsa) { "RS256" } else { "ES256" };
    let claims = json!({
        "iss": format!("https://{issuer}.example.com"), "aud": "https://api.example.com", "sub": "s", "client_id": "a",
        "jti": "j", "iat": NOW + second, "exp": NOW + second + 3_000,
    });
    let header = json!({ "alg": algorithm, "typ": "at+jwt", "kid": kid });
    String::from_utf8(sign(signs, &header, &claims)).unwrap()
}

fn key_set(keys: &[(Signs, &str)]) -> String {
    let keys: Vec<_> = keys.iter().map(|(signs, kid)| with(signs.jwk(), json!({ "kid": kid }))).collect();
    json!({ "keys": keys }).to_string()
}

/// A worker of a gateway.
struct Worker {
    engine: Engine,
    clock: Rc<Cell<Timestamp>>,
}

impl Worker {
    /// Creates a worker whose number differs from those of all others.
    fn joining(policy: &Arc<Policy>, store: &Rc<MemoryStore>, number: u8) -> Self {
        Self::with_store(policy, Rc::clone(store) as Rc<dyn SharedStore>, number)
    }

    fn with_store(policy: &Arc<Policy>, store: Rc<dyn SharedStore>, number: u8) -> Self {
        let clock = Rc::new(Cell::new(Timestamp::from_secs(NOW)));
        let services = Services { store, ..Services::in_memory(Rc::clone(&clock), [number; 16]) };
        Self { engine: Engine::new(Arc::clone(policy), services), clock }
    }

    fn at(&self, second: u64) -> &Self {
        self.clock.set(Timestamp::from_secs(NOW + second));
        self
    }

    /// Fires the timer, and answers the calls with the sets of these clusters. A cluster without a set does not answer.
    fn tick(&self, sets: &[(&str, &str)]) -> Vec<DocumentEvent> {
        let work = self.engine.fetch_documents().unwrap();
        work.events.into_iter().chain(work.calls.iter().flat_map(|call| self.answer(call, sets))).collect()
    }

    fn answer(&self, call: &DocumentCall, sets: &[(&str, &str)]) -> Vec<DocumentEvent> {
        let result =
            sets.iter().find(|(cluster, _)| *cluster == call.upstream()).map_or(CallResult::NoResponse, |(_, set)| {
                CallResult::Response { status: 200, etag: None, body: set.as_bytes() }
            });
        self.engine.receive_document(call.id(), result).unwrap().events
    }

    /// Returns the reason for which a request is denied, or would be.
    fn ask_at(&self, path: &str, token: &str) -> Option<Reason> {
        let authorization = format!("Bearer {token}");
        let lines = [
            (":method", "GET"),
            (":path", path),
            (":authority", "api.example.com"),
            ("authorization", &*authorization),
        ];
        let headers: Headers = lines.into_iter().collect();
        let (now, source) = (self.clock.get(), Source::parse(b"192.0.2.1:80"));
        let request =
            Request { headers: &headers, end_of_stream: true, source, certificate: None, now, id: DecisionId(7) };
        match self.engine.decide(request).unwrap() {
            Outcome::Decided(Decision::Deny(deny)) => Some(deny.reason()),
            Outcome::Decided(Decision::Allow(allow)) => allow.facts().denials.first().map(|denial| denial.reason),
            Outcome::Decided(_) => None,
            Outcome::Pending(_) => Some(Reason::KeysUnavailable),
        }
    }

    fn ask(&self, token: &str) -> Option<Reason> {
        self.ask_at("/", token)
    }
}

fn shared(document: Value) -> (Arc<Policy>, Rc<MemoryStore>) {
    (Arc::new(testing::policy(document)), Rc::default())
}

const SHARED: (Signs, &str) = (Signs::P256(1), "k");

#[test]
fn a_worker_that_starts_later_decides_like_the_others_about_a_copied_key() {
    let (policy, store) = shared(two());
    let first = Worker::joining(&policy, &store, 1);
    let corp = key_set(&[SHARED]);
    first.tick(&[("corp", &corp), ("acme", &key_set(&[(Signs::P256(2), "own")]))]);
    assert_eq!(first.ask(&token("corp", SHARED.0, SHARED.1)), None);
    // `acme` publishes the key of `corp`, whose set stays as it is.
    let acme = key_set(&[(Signs::P256(2), "own"), (SHARED.0, "stolen")]);
    let sets = [("corp", &*corp), ("acme", &*acme)];
    first.at(301).tick(&sets);
    let second = Worker::joining(&policy, &store, 2);
    second.at(301).tick(&sets);
    // Each of them fetches both sets again.
    for (time, fetching) in [(302, &first), (602, &second), (903, &first), (1_204, &second)] {
        fetching.at(time).tick(&sets);
        for worker in [&first, &second] {
            worker.at(time).tick(&sets);
            assert_eq!(worker.ask(&token("corp", SHARED.0, SHARED.1)), None, "{time}");
            assert_eq!(worker.ask(&token("acme", Signs::P256(2), "own")), None, "{time}");
            let stolen = worker.ask(&token("acme", SHARED.0, "stolen"));
            assert_eq!(stolen, Some(Reason::KeysUnavailable), "{time}: it waits for another fetch");
        }
    }
}

#[test]
fn an_issuer_whose_server_was_down_gets_its_key_back() {
    let (policy, store) = shared(two());
    let worker = Worker::joining(&policy, &store, 1);
    let (corp, acme) = (key_set(&[SHARED]), key_set(&[(SHARED.0, "stolen"), (Signs::P256(2), "own")]));
    worker.tick(&[("corp", &corp), ("acme", &key_set(&[(Signs::P256(2), "own")]))]);
    // `stale_for` is an hour.
    for second in (300..4_500).step_by(300) {
        worker.at(second).tick(&[("acme", &acme)]);
    }
    let of_corp = token_at(4_000, "corp", SHARED.0, SHARED.1);
    assert_eq!(worker.ask(&of_corp), Some(Reason::KeysUnavailable));
    for second in (4_500..6_000).step_by(100) {
        worker.at(second).tick(&[("acme", &acme), ("corp", &corp)]);
    }
    assert_eq!(worker.ask(&of_corp), None);
    // A worker that reads only what is published agrees.
    let late = Worker::joining(&policy, &store, 2);
    late.at(6_000).tick(&[("acme", &acme), ("corp", &corp)]);
    assert_eq!(late.ask(&of_corp), None);
}

#[test]
fn a_set_without_a_key_for_the_issuer_does_not_replace_the_one_in_use() {
    let bundle = json!({
        "keys": [with(Signs::P256(3).jwk(), json!({ "kid": "b", "use": "jwt-svid" }))], "spiffe_sequence": 1,
    });
    let of_acme = key_set(&[(Signs::P256(2), "own")]);
    for (set, why) in [
        (key_set(&[(Signs::Rsa, "rsa")]), "none of its keys fits the issuer"),
        (bundle.to_string(), "none of its keys fits the issuer"),
        (of_acme.clone(), "another issuer of the policy has all keys"),
    ] {
        let (policy, store) = shared(two());
        let worker = Worker::joining(&policy, &store, 1);
        let good = key_set(&[SHARED]);
        worker.tick(&[("corp", &good), ("acme", &of_acme)]);
        let events = worker.at(301).tick(&[("corp", &set), ("acme", &of_acme)]);
        let failed = |event: &&DocumentEvent| matches!(event, DocumentEvent::Failed { .. });
        let failures: Vec<_> = events.iter().filter(failed).map(ToString::to_string).collect();
        assert!(matches!(&failures[..], [only] if only.contains(why)), "{failures:?}");
        let late = Worker::joining(&policy, &store, 2);
        for worker in [&worker, &late] {
            worker.at(302).tick(&[]);
            assert_eq!(worker.ask(&token("corp", SHARED.0, SHARED.1)), None, "{why}");
            assert_eq!(worker.ask(&token("acme", Signs::P256(2), "own")), None, "{why}");
        }
        // A good set is used as soon as it is fetched.
        let next = key_set(&[(Signs::P256(4), "next")]);
        for second in 303..320 {
            worker.at(second).tick(&[("corp", &next)]);
        }
        assert_eq!(worker.ask(&token("corp", Signs::P256(4), "next")), None);
    }
}

#[test]
fn an_issuer_without_a_key_in_a_shared_set_keeps_its_keys_until_they_are_too_old() {
    let remote = json!({ "url": "https://both.example.com/jwks", "cluster": "both", "stale_for": "30m" });
    let of = |name: &str, other: &str, algorithm: &str| {
        let changes = json!({
            "algorithms": [algorithm], "shares_keys_with": [other], "keys": { "remote": remote },
        });
        (name.to_owned(), issuer(name, changes))
    };
    let issuers = [of("ec", "rsa", "ES256"), of("rsa", "ec", "RS256")];
    let (policy, store) = shared(document(&issuers.each_ref().map(|(name, issuer)| (&**name, issuer.clone()))));
    let (worker, late) = (Worker::joining(&policy, &store, 1), Worker::joining(&policy, &store, 2));
    let (ec, rsa) = (token("ec", SHARED.0, SHARED.1), token("rsa", Signs::Rsa, "r"));
    let (both, only_rsa) = (key_set(&[SHARED, (Signs::Rsa, "r")]), key_set(&[(Signs::Rsa, "r")]));
    worker.tick(&[("both", &both)]);
    assert_eq!((worker.ask(&ec), worker.ask(&rsa)), (None, None));
    let events = worker.at(301).tick(&[("both", &only_rsa)]);
    let missing = |event: &DocumentEvent| matches!(event, DocumentEvent::KeysMissing { issuer, .. } if issuer == "ec");
    assert!(events.iter().any(missing), "{events:?}");
    for second in 302..=1_800 {
        worker.at(second).tick(&[("both", &only_rsa)]);
    }
    assert_eq!((worker.ask(&ec), worker.ask(&rsa)), (None, None));
    // A worker that never had the earlier keys asks the clients to come back.
    late.at(1_800).tick(&[]);
    assert_eq!((late.ask(&ec), late.ask(&rsa)), (Some(Reason::KeysUnavailable), None));
    let events = worker.at(1_801).tick(&[]);
    let expired = |event: &DocumentEvent| matches!(event, DocumentEvent::KeysExpired { issuer } if issuer == "ec");
    assert!(events.iter().any(expired), "{events:?}");
    assert_eq!((worker.ask(&ec), worker.ask(&rsa)), (Some(Reason::KeysUnavailable), None));
}

#[test]
fn keys_that_fit_no_issuer_count_as_dropped() {
    let (policy, store) = shared(document(&[("corp", issuer("corp", json!({})))]));
    let worker = Worker::joining(&policy, &store, 1);
    let events = worker.tick(&[("corp", &key_set(&[SHARED, (Signs::Rsa, "r"), (Signs::Ed25519(1), "e")]))]);
    assert!(events.iter().any(|event| matches!(event, DocumentEvent::KeysDropped { count: 2, .. })), "{events:?}");
}

/// Where the keys are, in the policy for Kong.
const KONG: &str = "corp.example.com:443";

/// Returns a policy for Kong, where no request waits. Its limit on failed credentials allows two.
fn on_kong() -> Policy {
    let remote = json!({ "url": "https://corp.example.com/jwks", "address": KONG });
    let document = document(&[("corp", issuer("corp", json!({ "keys": { "remote": remote } })))]);
    let limited = json!({
        "gateway": "kong", "tables": { "key": { "env": "K" } }, "auth_failure_limit": { "rate": "1/1h", "burst": 2 },
    });
    testing::compile(with(document, limited), &testing::own_name)
}

#[test]
fn a_new_key_is_never_rejected_where_requests_cannot_wait() {
    let (policy, store) = (Arc::new(on_kong()), Rc::default());
    let worker = Worker::joining(&policy, &store, 1);
    let (before, after) = (key_set(&[SHARED]), key_set(&[SHARED, (Signs::P256(2), "new")]));
    worker.tick(&[(KONG, &before)]);
    assert_eq!(worker.ask(&token("corp", SHARED.0, SHARED.1)), None);
    // The issuer rotates right after the fetch. Somebody knew the name of the new key and sent tokens with it before.
    let (forged, honest) = (token("corp", Signs::P256(9), "new"), token("corp", Signs::P256(2), "new"));
    assert_eq!(worker.at(1).ask(&forged), Some(Reason::KeysUnavailable));
    worker.at(2).tick(&[(KONG, &before)]);
    for path in ["/", "/watched"] {
        assert_eq!(worker.at(3).ask_at(path, &honest), Some(Reason::KeysUnavailable), "{path}");
    }
    worker.at(4).tick(&[(KONG, &after)]);
    for path in ["/", "/watched"] {
        assert_eq!(worker.ask_at(path, &honest), None, "{path}");
    }
}

#[test]
fn a_token_with_an_unknown_key_is_rejected_and_charged_once_a_later_fetch_lacks_the_key() {
    let (policy, store) = (Arc::new(on_kong()), Rc::default());
    let worker = Worker::joining(&policy, &store, 1);
    let set = key_set(&[SHARED]);
    worker.tick(&[(KONG, &set)]);
    let guess = token("corp", Signs::P256(9), "guess");
    // Nothing is charged before a fetch has answered.
    for _ in 0..10 {
        assert_eq!(worker.at(1).ask(&guess), Some(Reason::KeysUnavailable));
    }
    worker.at(2).tick(&[(KONG, &set)]);
    assert_eq!(worker.at(3).ask(&guess), Some(Reason::TokenKey));
    assert_eq!(worker.ask(&guess), Some(Reason::TokenKey));
    assert_eq!(worker.ask(&guess), Some(Reason::CredentialsLimited));
    // Observed requests have the same reasons.
    let watching = Worker::joining(&policy, &Rc::default(), 3);
    watching.tick(&[(KONG, &set)]);
    assert_eq!(watching.at(1).ask_at("/watched", &guess), Some(Reason::KeysUnavailable));
    watching.at(2).tick(&[(KONG, &set)]);
    assert_eq!(watching.ask_at("/watched", &guess), Some(Reason::TokenKey));
    // Names that are never repeated are never rejected, and cause few fetches.
    let other = Worker::joining(&policy, &Rc::default(), 2);
    other.tick(&[(KONG, &set)]);
    let mut fetches = 0;
    for second in 1..=200 {
        let random = token("corp", Signs::P256(9), &format!("random {second}"));
        assert_eq!(other.at(second).ask(&random), Some(Reason::KeysUnavailable), "{second}");
        let events = other.tick(&[(KONG, &set)]);
        fetches += events.iter().filter(|event| **event == DocumentEvent::Fetched).count();
    }
    assert!(fetches <= 4 + 200 / 30 + 1, "{fetches}");
}

/// After failed fetches, the next one can start five minutes later. The client is asked to wait that long.
#[test]
fn a_token_is_remembered_until_its_client_repeats_the_request() {
    let (policy, store) = (Arc::new(on_kong()), Rc::default());
    let worker = Worker::joining(&policy, &store, 1);
    let set = key_set(&[SHARED]);
    worker.tick(&[(KONG, &set)]);
    let is_failed = |event: &DocumentEvent| matches!(event, DocumentEvent::Failed { .. });
    // By then, the wait after a failed fetch is the longest.
    let failed =
        (1..3_000).find(|second| worker.at(*second).tick(&[]).iter().any(is_failed) && *second > 1_200).unwrap();
    let guess = token("corp", Signs::P256(9), "guess");
    assert_eq!(worker.ask(&guess), Some(Reason::KeysUnavailable));
    let fetches = |second: &u64| worker.at(*second).tick(&[(KONG, &set)]).contains(&DocumentEvent::Fetched);
    let fetched = (failed + 1..failed + 302).find(fetches).unwrap();
    assert!(fetched > failed + 200, "{failed} {fetched}");
    assert_eq!(worker.at(fetched + 1).ask(&guess), Some(Reason::TokenKey));
}

/// A store that cannot be used.
struct Broken;

impl SharedStore for Broken {
    fn get(&self, _: &[u8]) -> Result<Option<Versioned>, StoreError> {
        Err(StoreError)
    }

    fn create(&self, _: &[u8], _: &[u8]) -> Result<bool, StoreError> {
        Err(StoreError)
    }

    fn compare_and_set(&self, _: &[u8], _: &[u8], _: u32) -> Result<bool, StoreError> {
        Err(StoreError)
    }
}

#[test]
fn a_store_that_cannot_be_used_is_reported_once_per_second_and_document() {
    let policy = Arc::new(testing::policy(two()));
    let worker = Worker::with_store(&policy, Rc::new(Broken), 1);
    let mut reports = 0;
    for tick in 0..400 {
        worker.clock.set(Timestamp::from_secs(NOW).plus(Duration::from_millis(25 * tick)));
        reports += worker.tick(&[]).len();
    }
    assert_eq!(reports, 10 * 2);
}

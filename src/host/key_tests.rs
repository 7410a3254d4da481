//! Requests that wait for keys, over a gateway in memory.

use serde_json::{Value, json};

use super::Map;
use super::fake::Fake;
use super::root::Root;
use super::stream::{HttpStream, StreamAction};
use crate::identity::token::testing::{Signs, sign};
use crate::testing::{self, NOW, with};

#[path = "key_set_tests.rs"]
mod sets;

const ROOT: u32 = 1;

fn document(changes: Value) -> Value {
    let document = testing::document(json!({
        "name": "keys",
        "issuers": { "corp": {
            "issuer": "https://idp.example.com", "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "1h",
            "keys": { "remote": { "url": "https://idp.example.com/jwks", "cluster": "idp" } },
        } },
        "agents": { "a": testing::agent("a") },
        "endpoints": [{ "id": "e", "methods": ["GET", "POST"], "path": "/", "effect": "write", "scopes": "none" }],
        "audit": { "log": { "allow": true, "deny": true } }
    }));
    with(document, changes)
}

fn token(key: u8, kid: &str) -> String {
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid });
    let claims = json!({
        "iss": "https://idp.example.com", "aud": "https://api.example.com", "sub": "a", "client_id": "a", "jti": "1",
        "iat": NOW, "exp": NOW + 600,
    });
    String::from_utf8(sign(Signs::P256(key), &header, &claims)).unwrap()
}

fn key_set(keys: &[(u8, &str)]) -> String {
    let keys: Vec<_> = keys.iter().map(|(key, kid)| with(Signs::P256(*key).jwk(), json!({ "kid": kid }))).collect();
    json!({ "keys": keys }).to_string()
}

/// A worker of a gateway.
struct Worker {
    host: Fake,
    root: Root<Fake>,
    streams: u32,
}

impl Worker {
    fn new(document: &Value) -> Self {
        Self::sharing_store_of(&Fake::default(), document)
    }

    /// Creates a worker that shares its store with another host.
    fn sharing_store_of(other: &Fake, document: &Value) -> Self {
        let host = other.sibling();
        host.0.seconds.set(NOW);
        host.0.millis.set(1_000_000);
        host.0.properties.borrow_mut().insert(b"source\0address".to_vec(), b"192.0.2.1:80".to_vec());
        let mut root = Root::new(host.clone(), ROOT);
        let configuration = document.to_string();
        host.0.configuration.replace(configuration.as_bytes().to_vec());
        assert!(root.on_configure(configuration.len()));
        Self { host, root, streams: ROOT }
    }

    fn request(&mut self, token: &str, end_of_stream: bool) -> (HttpStream<Fake>, StreamAction) {
        let authorization = format!("Bearer {token}");
        self.host.set(
            Map::RequestHeaders,
            &[
                (":method", if end_of_stream { "GET" } else { "POST" }),
                (":path", "/"),
                (":authority", "api.example.com"),
                ("authorization", &authorization),
            ],
        );
        self.streams += 1;
        let mut stream = self.root.stream(self.streams);
        let action = stream.on_request_headers(end_of_stream);
        (stream, action)
    }

    /// Lets milliseconds pass, and fires the timer.
    fn tick(&mut self, millis: u64) {
        self.host.0.millis.set(self.host.0.millis.get() + millis);
        self.root.on_tick();
    }

    /// Ends the last call.
    fn respond(&mut self, status: &str, body: &str) {
        self.respond_to(u32::try_from(self.calls()).unwrap(), status, body);
    }

    /// Ends the call with this number.
    fn respond_to(&mut self, call: u32, status: &str, body: &str) {
        let lines: &[(&str, &str)] = if status.is_empty() { &[] } else { &[(":status", status)] };
        self.respond_with(call, lines, body);
    }

    /// Ends the call with this number with these header lines.
    fn respond_with(&mut self, call: u32, lines: &[(&str, &str)], body: &str) {
        self.host.set(Map::CallHeaders, lines);
        self.host.0.call_body.replace(body.as_bytes().to_vec());
        self.root.on_call_response(call, body.len());
    }

    fn calls(&self) -> usize {
        self.host.0.calls.borrow().len()
    }

    fn answers(&self) -> Vec<(u16, String)> {
        self.host.0.sent.borrow().iter().map(|sent| (sent.status, sent.details.clone())).collect()
    }

    fn reasons(&self) -> Vec<Value> {
        let log = self.host.0.log.borrow();
        log.iter().map(|line| serde_json::from_slice::<Value>(line).unwrap()["reason"].clone()).collect()
    }
}

const UNAVAILABLE: &str = "callgate_keys_unavailable";

#[test]
fn a_request_waits_for_the_first_fetch_and_continues() {
    let mut worker = Worker::new(&document(json!({})));
    let (mut stream, action) = worker.request(&token(1, "k"), true);
    assert_eq!((action, worker.calls()), (StreamAction::Pause, 0), "only a root makes calls");
    assert_eq!(worker.host.0.periods.borrow().last().unwrap().as_millis(), 25);
    worker.tick(25);
    assert_eq!(*worker.host.0.calls.borrow(), ["idp /jwks"]);
    worker.tick(25);
    assert_eq!(worker.calls(), 1, "one fetch at a time");
    worker.respond("200", &key_set(&[(1, "k")]));
    assert_eq!((worker.host.0.continued.get(), worker.answers().len()), (1, 0));
    assert_eq!(worker.host.value(Map::RequestHeaders, "x-callgate-agent").as_deref(), Some("a"));
    assert_eq!(worker.host.value(Map::RequestHeaders, "authorization"), None);
    assert_eq!(worker.host.0.periods.borrow().last().unwrap().as_millis(), 1_000);
    assert_eq!(worker.host.0.contexts.borrow().last(), Some(&ROOT));
    stream.on_response_headers(true);
    stream.on_log();
    assert_eq!(worker.reasons().len(), 1);
    // The next request does not wait.
    assert_eq!(worker.request(&token(1, "k"), true).1, StreamAction::Continue);
}

#[test]
fn body_and_trailers_of_a_waiting_request_are_held() {
    let mut worker = Worker::new(&document(json!({})));
    let (mut stream, _) = worker.request(&token(1, "k"), false);
    assert_eq!(stream.on_request_body(5, false), StreamAction::Pause);
    worker.tick(25);
    assert_eq!(stream.on_request_body(9, false), StreamAction::Pause);
    worker.host.set(Map::RequestTrailers, &[("x-callgate-agent", "admin"), ("x-other", "1")]);
    assert_eq!(stream.on_request_trailers(), StreamAction::Pause);
    assert_eq!(worker.host.0.continued.get(), 0);
    worker.respond("200", &key_set(&[(1, "k")]));
    assert_eq!(worker.host.0.continued.get(), 1);
    assert_eq!(worker.host.value(Map::RequestTrailers, "x-callgate-agent"), None, "trailers are cleaned");
    assert!(worker.host.value(Map::RequestTrailers, "x-other").is_some());
    // A part of the body that arrives later is forwarded.
    assert_eq!(stream.on_request_body(12, false), StreamAction::Continue);
}

#[test]
fn a_denied_request_is_answered_once_and_forwards_nothing() {
    let mut worker = Worker::new(&document(json!({})));
    let (mut stream, _) = worker.request(&token(2, "k"), false);
    worker.tick(25);
    worker.respond("200", &key_set(&[(1, "k")]));
    assert_eq!(worker.answers(), [(401, "callgate_token_signature".to_owned())]);
    assert_eq!(stream.on_request_body(5, true), StreamAction::Pause);
    assert_eq!(stream.on_request_trailers(), StreamAction::Pause);
    stream.on_log();
    assert_eq!((worker.answers().len(), worker.host.0.continued.get()), (1, 0));
    assert_eq!(worker.reasons(), ["token_signature"]);
}

#[test]
fn an_unknown_key_is_denied_only_after_a_fetch_that_started_later() {
    let mut worker = Worker::new(&document(json!({})));
    worker.tick(1_000);
    worker.respond("200", &key_set(&[(1, "k")]));
    worker.tick(1_000);
    // This fetch finds nothing new.
    let (_first, action) = worker.request(&token(2, "new"), true);
    assert_eq!(action, StreamAction::Pause);
    worker.tick(25);
    assert_eq!(worker.calls(), 2);
    let (_second, action) = worker.request(&token(3, "newer"), true);
    assert_eq!(action, StreamAction::Pause);
    worker.respond("200", &key_set(&[(1, "k"), (2, "new")]));
    assert_eq!((worker.host.0.continued.get(), worker.answers().len()), (1, 0), "the second arrived during the fetch");
    worker.tick(25);
    assert_eq!(worker.calls(), 3);
    worker.respond("200", &key_set(&[(1, "k"), (2, "new")]));
    assert_eq!(worker.answers(), [(401, "callgate_token_key".to_owned())]);
}

#[test]
fn random_key_names_cause_four_fetches_and_then_503() {
    let mut worker = Worker::new(&document(json!({})));
    worker.tick(1_000);
    worker.respond("200", &key_set(&[(1, "k")]));
    for number in 0..20 {
        worker.tick(1_000);
        let (_stream, _) = worker.request(&token(2, &format!("random {number}")), true);
        let before = worker.calls();
        worker.tick(25);
        if worker.calls() > before {
            worker.respond("200", &key_set(&[(1, "k")]));
        }
    }
    assert_eq!(worker.calls(), 1 + 4);
    let answers = worker.answers();
    assert!(answers[..4].iter().all(|answer| *answer == (401, "callgate_token_key".to_owned())), "{answers:?}");
    assert!(answers[4..].iter().all(|answer| *answer == (503, UNAVAILABLE.to_owned())), "{answers:?}");
    let wait =
        worker.host.0.sent.borrow().last().unwrap().headers.iter().find(|(name, _)| name == "retry-after").cloned();
    let wait = wait.unwrap().1.parse::<u64>().unwrap();
    assert!((1..=31).contains(&wait), "{wait}");
    // Tokens with a known key are served meanwhile.
    assert_eq!(worker.request(&token(1, "k"), true).1, StreamAction::Continue);
}

#[test]
fn a_dead_provider_denies_at_once_until_the_next_attempt() {
    let mut worker = Worker::new(&document(json!({})));
    let (_stream, action) = worker.request(&token(1, "k"), true);
    assert_eq!(action, StreamAction::Pause);
    worker.tick(25);
    worker.respond("", "");
    assert_eq!(worker.answers(), [(503, UNAVAILABLE.to_owned())], "the fetch that it waited for failed");
    let (_next, action) = worker.request(&token(1, "k"), true);
    assert_eq!((action, worker.answers().len()), (StreamAction::Pause, 2), "answered, not held");
    // The provider is back.
    worker.tick(1_000);
    assert_eq!(worker.calls(), 2);
    worker.respond("200", &key_set(&[(1, "k")]));
    assert_eq!(worker.request(&token(1, "k"), true).1, StreamAction::Continue);
}

#[test]
fn a_request_waits_no_longer_than_the_timeout() {
    let mut worker = Worker::new(&document(json!({})));
    let (_stream, _) = worker.request(&token(1, "k"), true);
    worker.tick(25);
    for _ in 0..198 {
        worker.tick(25);
    }
    assert_eq!(worker.answers(), [], "4,975 ms");
    worker.tick(25);
    assert_eq!(worker.answers(), [(503, UNAVAILABLE.to_owned())]);
}

#[test]
fn answers_other_than_a_key_set_are_not_used() {
    let huge = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(256 * 1024));
    for (status, body) in [
        ("200", "<html>Service unavailable</html>"),
        ("200", "{\"keys\":[]}"),
        ("200", ""),
        ("200", &huge),
        ("302", ""),
        ("304", ""),
        ("204", ""),
        ("500", &key_set(&[(1, "k")])),
        ("206", &key_set(&[(1, "k")])),
        ("x", &key_set(&[(1, "k")])),
    ] {
        let mut worker = Worker::new(&document(json!({})));
        let (_stream, _) = worker.request(&token(1, "k"), true);
        worker.tick(25);
        worker.respond(status, body);
        assert_eq!(worker.answers(), [(503, UNAVAILABLE.to_owned())], "{status} {}", body.len());
    }
}

#[test]
fn a_removed_key_verifies_nothing_in_any_worker() {
    let mut first = Worker::new(&document(json!({})));
    let mut second = Worker::sharing_store_of(&first.host, &document(json!({})));
    first.tick(1_000);
    first.respond("200", &key_set(&[(1, "old"), (2, "new")]));
    second.tick(1_000);
    assert_eq!(second.calls(), 0, "the second reads what the first fetched");
    for worker in [&mut first, &mut second] {
        for (key, kid) in [(1, "old"), (2, "new")] {
            assert_eq!(worker.request(&token(key, kid), true).1, StreamAction::Continue);
        }
    }
    first.tick(300_000);
    first.respond("200", &key_set(&[(2, "new")]));
    second.tick(300_000);
    for worker in [&mut first, &mut second] {
        assert_eq!(worker.request(&token(2, "new"), true).1, StreamAction::Continue);
        let (_stream, action) = worker.request(&token(1, "old"), true);
        assert_eq!(action, StreamAction::Pause, "a newer set could have it again");
        worker.tick(25);
    }
    assert_eq!(first.calls() + second.calls(), 3);
}

#[test]
fn keys_are_used_until_they_are_too_old() {
    let keys = json!({ "remote": { "url": "https://idp.example.com/jwks", "cluster": "idp", "stale_for": "10m" } });
    let mut policy = document(json!({}));
    policy["issuers"]["corp"]["keys"] = keys;
    let mut worker = Worker::new(&policy);
    worker.tick(1_000);
    worker.respond("200", &key_set(&[(1, "k")]));
    for _ in 0..600 {
        let before = worker.calls();
        worker.tick(1_000);
        if worker.calls() > before {
            worker.respond("503", "");
        }
        assert_eq!(worker.request(&token(1, "k"), true).1, StreamAction::Continue);
    }
    worker.tick(1_000);
    let (_stream, _) = worker.request(&token(1, "k"), true);
    assert_eq!(worker.answers().last(), Some(&(503, UNAVAILABLE.to_owned())));
    // The provider is back with the same keys, which are used again.
    let before = worker.calls();
    while worker.calls() == before {
        worker.tick(1_000);
    }
    worker.respond("200", &key_set(&[(1, "k")]));
    assert_eq!(worker.request(&token(1, "k"), true).1, StreamAction::Continue);
}

#[test]
fn observed_requests_do_not_wait() {
    let mut worker = Worker::new(&document(json!({ "mode": "observe" })));
    assert_eq!(worker.request(&token(1, "k"), true).1, StreamAction::Continue);
    assert_eq!(worker.reasons(), ["keys_unavailable"]);
}

#[test]
fn a_source_has_eight_places_to_wait() {
    let mut worker = Worker::new(&document(json!({})));
    let waiting: Vec<_> = (0..8).map(|_| worker.request(&token(1, "k"), true)).collect();
    assert!(worker.answers().is_empty());
    let (_ninth, _) = worker.request(&token(1, "k"), true);
    assert_eq!(worker.answers(), [(503, UNAVAILABLE.to_owned())]);
    // A client that leaves makes room.
    for (mut stream, _) in waiting {
        stream.on_log();
    }
    let (_tenth, _) = worker.request(&token(1, "k"), true);
    assert_eq!(worker.answers().len(), 1);
    let mut expected = vec!["keys_unavailable"; 9];
    expected.truncate(worker.reasons().len());
    assert_eq!(worker.reasons(), expected);
    // Nobody waits any more, and the fetch continues.
    worker.tick(25);
    worker.respond("200", &key_set(&[(1, "k")]));
    assert_eq!(worker.request(&token(1, "k"), true).1, StreamAction::Continue);
}

#[test]
fn a_body_that_exceeds_the_held_bytes_is_denied() {
    let held = json!({ "agent_bytes": "1MiB", "source_bytes": "1MiB", "worker_bytes": "1MiB" });
    let mut worker = Worker::new(&document(json!({ "held_bodies": held, "max_body": "64KiB" })));
    let (mut stream, _) = worker.request(&token(1, "k"), false);
    assert_eq!(stream.on_request_body(2 * 1024 * 1024, false), StreamAction::Pause);
    worker.tick(25);
    assert_eq!(worker.answers(), [(503, "callgate_held_bytes_full".to_owned())]);
}

#[test]
fn a_policy_update_keeps_the_keys() {
    let mut worker = Worker::new(&document(json!({})));
    worker.tick(1_000);
    worker.respond("200", &key_set(&[(1, "k")]));
    let (_waits, action) = worker.request(&token(2, "new"), true);
    assert_eq!(action, StreamAction::Pause);
    let updated = document(json!({ "help": "https://help.example.com" })).to_string();
    worker.host.0.configuration.replace(updated.as_bytes().to_vec());
    assert!(worker.root.on_configure(updated.len()));
    worker.tick(25);
    assert_eq!(worker.request(&token(1, "k"), true).1, StreamAction::Continue, "the published keys are read");
    // The request that waits under the previous policy gets its answer.
    worker.respond("200", &key_set(&[(1, "k"), (2, "new")]));
    worker.tick(25);
    assert_eq!(worker.host.0.continued.get(), 1);
}

#[test]
fn open_streams_of_a_previous_policy_keep_its_documents_current() {
    let mut worker = Worker::new(&document(json!({})));
    worker.tick(1_000);
    worker.respond("200", &key_set(&[(1, "k")]));
    let (open, action) = worker.request(&token(1, "k"), true);
    assert_eq!(action, StreamAction::Continue);
    let mut updated = document(json!({}));
    updated["issuers"]["corp"]["keys"]["remote"]["url"] = json!("https://idp.example.com/other");
    let updated = updated.to_string();
    worker.host.0.configuration.replace(updated.as_bytes().to_vec());
    assert!(worker.root.on_configure(updated.len()));
    let calls = |worker: &mut Worker| {
        let before = worker.calls();
        // `refresh` is five minutes.
        worker.tick(301_000);
        worker.host.0.calls.borrow()[before..].to_vec()
    };
    assert_eq!(calls(&mut worker), ["idp /other", "idp /jwks"]);
    worker.respond_to(2, "200", &key_set(&[(1, "k")]));
    worker.respond_to(3, "200", &key_set(&[(1, "k")]));
    drop(open);
    assert_eq!(calls(&mut worker), ["idp /other"]);
}

#[test]
fn a_call_that_the_gateway_rejects_is_a_failed_fetch() {
    let mut worker = Worker::new(&document(json!({})));
    let (_stream, _) = worker.request(&token(1, "k"), true);
    worker.host.0.fails.set(Some("call"));
    worker.tick(25);
    assert_eq!(worker.answers(), [(503, UNAVAILABLE.to_owned())]);
}

#[test]
fn a_request_that_cannot_be_continued_is_denied() {
    let mut worker = Worker::new(&document(json!({})));
    let (mut stream, _) = worker.request(&token(1, "k"), true);
    worker.tick(25);
    worker.host.0.fails.set(Some("continue_request"));
    worker.respond("200", &key_set(&[(1, "k")]));
    assert_eq!(worker.answers(), [(500, "callgate_host_error".to_owned())]);
    stream.on_log();
}

fn with_list(changes: Value) -> Value {
    let remote = json!({ "url": "https://r.example.com/list", "cluster": "r" });
    let usual = json!({ "remote": remote, "trusted": true, "on_stale": "deny" });
    with(document(json!({})), json!({ "issuers": { "corp": inline_issuer() }, "revocations": with(usual, changes) }))
}

fn inline_issuer() -> Value {
    json!({
        "issuer": "https://idp.example.com", "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "1h",
        "keys": { "jwks": { "keys": [with(Signs::P256(1).jwk(), json!({ "kid": "k" }))] } },
    })
}

fn list(entries: Value) -> String {
    json!({ "iat": NOW, "exp": NOW + 600, "entries": entries }).to_string()
}

#[test]
fn a_request_waits_for_the_first_list_of_revoked_credentials() {
    for (entries, continued, answers) in
        [(json!([]), 1, &[][..]), (json!([{ "agent": "a" }]), 0, &[(403, "callgate_agent_suspended".to_owned())][..])]
    {
        let mut worker = Worker::new(&with_list(json!({})));
        let (_stream, action) = worker.request(&token(1, "k"), true);
        assert_eq!((action, worker.calls()), (StreamAction::Pause, 0));
        worker.tick(25);
        assert_eq!(*worker.host.0.calls.borrow(), ["r /list"]);
        worker.respond("200", &list(entries.clone()));
        assert_eq!((worker.host.0.continued.get(), &worker.answers()[..]), (continued, answers), "{entries}");
    }
}

#[test]
fn a_list_that_fails_denies_what_waits() {
    for (status, body) in [("500", ""), ("", ""), ("200", "{}")] {
        let mut worker = Worker::new(&with_list(json!({})));
        let (_stream, _) = worker.request(&token(1, "k"), true);
        worker.tick(25);
        worker.respond(status, body);
        assert_eq!(worker.answers(), [(503, "callgate_revocations_unavailable".to_owned())], "{status}");
        assert_eq!(worker.host.0.continued.get(), 0);
    }
}

#[test]
fn lists_and_their_failures_are_counted() {
    let mut worker = Worker::new(&with_list(json!({ "stale_after": "1h" })));
    let count = |worker: &Worker, name: &str| {
        let metrics = worker.host.0.metrics.borrow();
        metrics.iter().filter(|(own, _)| own == name).map(|(_, value)| *value).sum::<i64>()
    };
    worker.tick(1_000);
    worker.respond("200", &list(json!([{ "agent": "nobody" }])));
    worker.tick(11_000);
    worker.respond("503", "");
    worker.tick(11_000);
    worker.respond("200", "[]");
    worker.tick(1_000);
    for (name, expected) in [("fetched", 1), ("fetch_failed", 1), ("refused", 1), ("ignored", 1), ("age_seconds", 23)] {
        assert_eq!(count(&worker, &format!("callgate.revocations.{name}")), expected, "{name}");
    }
    assert_eq!(count(&worker, "callgate.keys.fetched"), 0);
}

#[test]
fn a_list_can_be_larger_than_a_key_set() {
    let mut worker = Worker::new(&with_list(json!({})));
    worker.tick(1_000);
    let many: Vec<_> = (0..20_000).map(|n| json!({ "issuer": "corp", "jti": format!("t-{n}") })).collect();
    let body = list(many.into());
    assert!(body.len() > crate::identity::token::MAX_FETCHED_BYTES);
    worker.respond("200", &body);
    assert_eq!(worker.request(&token(1, "k"), true).1, StreamAction::Continue, "its `jti` is another one");
}

#[test]
fn a_list_is_fetched_with_the_tag_of_the_one_before() {
    let mut worker = Worker::new(&with_list(json!({})));
    let ok = (":status", "200");
    let other = list(json!([{ "issuer": "corp", "jti": "other" }]));
    let answers: [(&[(&str, &str)], &str); 4] = [
        (&[ok, ("ETag", "W/\"1\"")], &list(json!([]))),
        (&[(":status", "304"), ("etag", "W/\"1\"")], ""),
        // Two tags identify nothing.
        (&[ok, ("etag", "\"2\""), ("ETag", "\"3\"")], &other),
        (&[ok, ("etag", "\"3\"")], &other),
    ];
    for (call, (lines, body)) in (1..).zip(answers) {
        worker.tick(11_000);
        worker.respond_with(call, lines, body);
        assert_eq!(worker.request(&token(1, "k"), true).1, StreamAction::Continue, "{call}");
    }
    worker.tick(11_000);
    let weak = Some("W/\"1\"".to_owned());
    let expected = [None, weak.clone(), weak, None, Some("\"3\"".to_owned())];
    assert_eq!(*worker.host.0.conditions.borrow(), expected);
}

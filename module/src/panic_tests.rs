//! Panics in every hook, which a test or a request asks for: what is lost, and that everything else continues.

use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate::state::MemoryStore;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

use crate::abi::{CONTINUE, STOP_ITERATION};
use crate::clock::stopped::{AT, Clocks};
use crate::fake_envoy::{Connection, Gateway};
use crate::hooks::CAUGHT;
use crate::on_purpose::configuration as purpose;
use crate::tests::{claims, configuration, details, encode, gateway, policy};
use crate::{main_thread, store};

/// Returns a configuration that fetches the keys of its issuer. The documents that other tests publish are not visible to it.
fn fetching(name: &str) -> Gateway {
    store::OWN.set(Some(Rc::new(MemoryStore::default())));
    let mut policy = policy(name);
    policy["issuers"]["corp"]["algorithms"] = json!(["Ed25519"]);
    policy["issuers"]["corp"]["keys"] =
        json!({ "remote": { "url": "https://idp.example.com/jwks", "cluster": "idp" } });
    Gateway::new(&policy.to_string()).unwrap()
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

/// Opens a stream with a token that the fetched key signed, or that nothing signed.
fn with_token(gateway: &Gateway, claims: &Value, is_signed: bool) -> Connection {
    let signed = format!("{}.{}", encode(&json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "k" })), encode(claims));
    let signature = key().sign(if is_signed { signed.as_bytes() } else { b"" }).to_bytes();
    let bearer = format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    gateway.connect(&[
        (":method", "GET"),
        (":path", "/reports"),
        (":authority", "api.example.com"),
        ("authorization", &bearer),
    ])
}

/// Answers a call with the key set.
fn answer(gateway: &Gateway, call: u64) {
    let x = URL_SAFE_NO_PAD.encode(key().verifying_key().as_bytes());
    let keys = json!({ "keys": [{ "kid": "k", "kty": "OKP", "crv": "Ed25519", "x": x }] }).to_string();
    gateway.answer_call(call, &[(":status", "200"), ("content-type", "application/json")], &[&keys]);
}

fn calls(gateway: &Gateway) -> usize {
    gateway.envoy.calls.lock().unwrap().len()
}

#[test]
fn a_panic_while_a_configuration_is_created_rejects_it() {
    let before = CAUGHT.get();
    purpose::ask("config_new");
    assert!(Gateway::new(&configuration(&policy("panicked"))).is_none());
    assert_eq!((CAUGHT.get() - before, main_thread::count()), (1, 0));
    // While its errors are logged as well.
    purpose::ask("findings");
    assert!(Gateway::new("mode: enforce").is_none());
    assert_eq!((CAUGHT.get() - before, main_thread::count()), (2, 0));
    let next = gateway("panicked");
    let stream = next.connect(&crate::tests::HEALTH);
    assert_eq!(stream.request_headers(true), CONTINUE);
    stream.end();
    next.end();
    assert_eq!(CAUGHT.get() - before, 2);
}

#[test]
fn a_panic_in_the_timer_of_a_configuration_does_not_stop_the_timer() {
    let (gateway, before) = (fetching("scheduled"), CAUGHT.get());
    let stream = with_token(&gateway, &claims(), true);
    assert_eq!(stream.request_headers(true), STOP_ITERATION);
    // The timer fires because a request waits.
    assert_eq!(gateway.envoy.events.next(), Some(0));
    purpose::ask("config_scheduled");
    gateway.tick();
    assert_eq!((CAUGHT.get() - before, calls(&gateway)), (1, 0));
    assert_eq!(gateway.envoy.events.next(), Some(0), "the timer fires again");
    gateway.tick();
    assert_eq!(calls(&gateway), 1);
    answer(&gateway, 1);
    while stream.0.continued.get() == 0 && details(&stream).is_empty() {
        stream.wake(stream.next_event().unwrap());
    }
    assert_eq!((details(&stream), stream.0.continued.get()), (Vec::new(), 1));
    stream.end();
    gateway.end();
    store::OWN.set(None);
}

#[test]
fn a_panic_in_the_result_of_a_call_loses_only_that_call() {
    let clocks = Clocks::stop();
    let (gateway, before) = (fetching("called"), CAUGHT.get());
    let mut claims = claims();
    (claims["iat"], claims["exp"]) = (json!(AT.as_secs()), json!(AT.as_secs() + 3_000));
    let waiting = with_token(&gateway, &claims, true);
    assert_eq!(waiting.request_headers(true), STOP_ITERATION);
    gateway.tick();
    assert_eq!(calls(&gateway), 1);
    purpose::ask("config_http_callout_done");
    answer(&gateway, 1);
    assert_eq!(CAUGHT.get() - before, 1);
    // The keys are fetched again when the call that was lost counts as failed.
    for _ in 0..600 {
        clocks.pass(Duration::from_secs(1));
        gateway.tick();
        if calls(&gateway) > 1 {
            break;
        }
    }
    assert_eq!(calls(&gateway), 2);
    answer(&gateway, 2);
    clocks.pass(Duration::from_secs(2));
    waiting.wake(0);
    assert!(waiting.0.continued.get() == 1 || details(&waiting).len() == 1, "a request waits for ever");
    let next = with_token(&gateway, &claims, true);
    assert_eq!(next.request_headers(true), CONTINUE, "{:?}", details(&next));
    for stream in [waiting, next] {
        stream.end();
    }
    assert_eq!(CAUGHT.get() - before, 1);
    gateway.end();
    store::OWN.set(None);
}

#[cfg(feature = "panic-on-purpose")]
mod of_streams {
    //! A request asks for them.

    use super::*;
    use crate::abi::{self, STOP_AND_BUFFER};
    use crate::tests::{LIST, bearer, post};
    use crate::worker;

    /// What a client gets for a panic, unless its response has begun.
    fn defect() -> Vec<(u32, String)> {
        vec![(500, "callgate_host_error".to_owned())]
    }

    /// Opens a stream that panics in a hook, if one is named. It is allowed if it has a token.
    fn open(gateway: &Gateway, hook: Option<&str>, has_token: bool) -> Connection {
        let bearer = bearer();
        let mut lines = vec![(":method", "GET"), (":path", "/reports"), (":authority", "api.example.com")];
        lines.extend(hook.map(|hook| ("x-panic-on-purpose", hook)));
        lines.extend(has_token.then_some(("authorization", bearer.as_str())));
        gateway.connect(&lines)
    }

    fn allowed(gateway: &Gateway, hook: &str) -> Connection {
        let stream = open(gateway, Some(hook), true);
        assert_eq!(stream.request_headers(true), CONTINUE, "{:?}", details(&stream));
        stream
    }

    fn denied(gateway: &Gateway, hook: &str) -> Connection {
        let stream = open(gateway, Some(hook), false);
        assert_eq!(stream.request_headers(true), STOP_ITERATION);
        assert_eq!(details(&stream), [(401, "callgate_credentials_missing".to_owned())]);
        stream
    }

    /// Opens a stream whose body is held, and that panics in a hook after that for its headers.
    fn held(gateway: &Gateway, hook: &str) -> Connection {
        let bearer = bearer();
        let stream = gateway.connect(&[
            (":method", "POST"),
            (":path", "/mcp"),
            (":authority", "api.example.com"),
            ("authorization", &bearer),
            ("content-type", "application/json"),
            ("mcp-protocol-version", "2025-11-25"),
            ("x-panic-on-purpose", hook),
        ]);
        assert_eq!(stream.request_headers(false), STOP_ITERATION, "{:?}", details(&stream));
        assert_eq!(stream.request_body(LIST, false, false), STOP_AND_BUFFER);
        stream
    }

    /// Lets a stream panic once, and returns its record. Requests that were held before continue, and new ones are decided as usual.
    fn panics(hook: &str, run: impl FnOnce(&Gateway) -> Connection) -> Value {
        let gateway = gateway(&format!("panic-in-{hook}"));
        let before = CAUGHT.get();
        let held = post(&gateway);
        let defective = worker::all();
        let stream = run(&gateway);
        stream.end();
        assert_eq!((CAUGHT.get() - before, stream.is_over()), (1, true), "{hook}");
        for (has_token, action) in [(true, CONTINUE), (false, STOP_ITERATION)] {
            let next = open(&gateway, None, has_token);
            assert_eq!(next.request_headers(true), action, "{hook}: {:?}", details(&next));
            next.end();
        }
        assert_eq!(held.request_body(LIST, true, false), CONTINUE, "{hook}: {:?}", details(&held));
        assert_eq!(
            (defective.len(), defective[0].strong_count()),
            (1, 1),
            "{hook}: only the held request still uses it"
        );
        held.end();
        assert_eq!(defective[0].strong_count(), 0, "{hook}: the caches that may be wrong are kept");
        assert_eq!((CAUGHT.get() - before, worker::held_bytes()), (1, 0), "{hook}");
        let record = stream.record();
        gateway.end();
        record
    }

    #[test]
    fn a_panic_before_the_response_is_answered_with_500() {
        let record = panics("headers", |gateway| {
            let stream = open(gateway, Some("1"), true);
            assert_eq!(stream.request_headers(false), STOP_ITERATION);
            assert_eq!(details(&stream), defect());
            assert_eq!(stream.request_body("a", true, false), STOP_AND_BUFFER);
            assert_eq!(stream.response_headers(&[(":status", "200")], true), STOP_ITERATION, "nothing else is sent");
            stream
        });
        assert_eq!(record, Value::Null, "nothing was decided");
        let record = panics("body", |gateway| {
            let stream = held(gateway, "body");
            assert_eq!(details(&stream), defect());
            assert_eq!(stream.request_body("", true, false), STOP_AND_BUFFER);
            assert!(stream.0.forwarded.borrow().is_empty());
            stream
        });
        assert_eq!(record, Value::Null);
        panics("trailers", |gateway| {
            let stream = held(gateway, "trailers");
            stream.set_headers(abi::REQUEST_TRAILERS, &[("x-checksum", "1")]);
            assert_eq!(stream.request_trailers(), STOP_ITERATION);
            assert_eq!(details(&stream), defect());
            stream
        });
        panics("wake", |gateway| {
            let stream = held(gateway, "wake");
            stream.wake(0);
            assert_eq!(details(&stream), defect());
            stream.wake(0);
            assert_eq!((details(&stream), stream.0.continued.get()), (defect(), 0));
            stream
        });
        let record = panics("response", |gateway| {
            let stream = allowed(gateway, "response");
            assert_eq!(stream.response_headers(&[(":status", "200")], false), STOP_ITERATION);
            assert_eq!(details(&stream), defect());
            assert_eq!(stream.response_body("secret", true, false), None);
            stream
        });
        assert_eq!(record["decision"], json!("allow"));
    }

    #[test]
    fn a_response_that_has_begun_is_reset_by_a_panic() {
        let record = panics("response-body", |gateway| {
            let stream = allowed(gateway, "response-body");
            assert_eq!(stream.response_headers(&[(":status", "200")], false), CONTINUE);
            assert_eq!(stream.response_body("a", false, false), None);
            assert_eq!((details(&stream), stream.0.resets.get()), (Vec::new(), 1));
            assert_eq!(stream.response_body("b", true, false), None, "nothing else is sent");
            stream
        });
        assert_eq!(record["decision"], json!("allow"));
        panics("response-trailers", |gateway| {
            let stream = allowed(gateway, "response-trailers");
            assert_eq!(stream.response_headers(&[(":status", "200")], false), CONTINUE);
            assert_eq!(stream.response_body("a", false, false).as_deref(), Some("a"));
            assert_eq!(stream.response_trailers(), STOP_ITERATION);
            assert_eq!((details(&stream), stream.0.resets.get()), (Vec::new(), 1));
            stream
        });
    }

    /// There is no second response of the module, and without a reset the client would wait for the first one.
    #[test]
    fn a_panic_while_the_module_answers_resets_the_stream() {
        let record = panics("response", |gateway| {
            let stream = denied(gateway, "response");
            assert_eq!(stream.response_headers(&[(":status", "401")], false), STOP_ITERATION);
            assert_eq!((details(&stream).len(), stream.0.resets.get()), (1, 1));
            stream
        });
        assert_eq!(record["reason"], json!("credentials_missing"));
    }

    #[test]
    fn a_panic_in_the_hook_for_local_replies_lets_the_reply_pass() {
        let record = panics("local-reply", |gateway| {
            let stream = denied(gateway, "local-reply");
            assert_eq!(stream.response_headers(&[(":status", "401")], true), CONTINUE);
            stream
        });
        assert_eq!((&record["reason"], &record["outcome"]["status"]), (&json!("credentials_missing"), &json!(401)));
        let record = panics("local-reply", |gateway| {
            let stream = allowed(gateway, "local-reply");
            stream.local_reply(503, b"no_healthy_upstream");
            assert_eq!(stream.response_headers(&[(":status", "503")], true), CONTINUE);
            assert_eq!((details(&stream), stream.0.resets.get()), (Vec::new(), 0));
            stream
        });
        assert_eq!((&record["decision"], &record["outcome"]["status"]), (&json!("allow"), &json!(503)));
    }

    #[test]
    fn a_panic_at_the_end_of_a_stream_keeps_its_record() {
        for (hook, has_outcome) in [("complete", false), ("destroy", true)] {
            let record = panics(hook, |gateway| {
                let stream = allowed(gateway, hook);
                assert_eq!(stream.response_headers(&[(":status", "204")], true), CONTINUE);
                stream
            });
            assert_eq!((&record["decision"], record["outcome"].is_object()), (&json!("allow"), has_outcome), "{hook}");
        }
    }

    /// The worker that they use is no longer used by new streams.
    #[test]
    fn requests_that_wait_for_keys_are_decided_after_a_panic() {
        let (gateway, before) = (fetching("waiting"), CAUGHT.get());
        let [valid, forged] = [true, false].map(|is_signed| {
            let stream = with_token(&gateway, &claims(), is_signed);
            assert_eq!(stream.request_headers(true), STOP_ITERATION);
            stream
        });
        let defective = open(&gateway, Some("1"), false);
        assert_eq!(defective.request_headers(true), STOP_ITERATION);
        assert_eq!((details(&defective), CAUGHT.get() - before), (defect(), 1));
        defective.end();
        // A stream that begins now has another worker, and waits for the same keys.
        let later = with_token(&gateway, &claims(), true);
        assert_eq!((later.request_headers(true), worker::count()), (STOP_ITERATION, 1));
        gateway.tick();
        assert_eq!(calls(&gateway), 1);
        answer(&gateway, 1);
        let is_settled = |stream: &Connection| stream.0.continued.get() > 0 || !details(stream).is_empty();
        let all = [valid, forged, later];
        while !all.iter().all(is_settled) {
            for stream in all.iter().filter(|stream| !is_settled(stream)) {
                stream.wake(stream.next_event().unwrap());
            }
        }
        let [valid, forged, later] = &all;
        for stream in [valid, later] {
            assert_eq!((details(stream), stream.0.continued.get()), (Vec::new(), 1));
            assert_eq!(stream.header(abi::REQUEST_HEADERS, "x-callgate-agent").as_deref(), Some("a"));
        }
        assert_eq!(
            (details(forged), forged.0.continued.get()),
            (vec![(401, "callgate_token_signature".to_owned())], 0)
        );
        for stream in &all {
            stream.end();
            assert!(stream.record()["outcome"].is_object());
        }
        assert_eq!(CAUGHT.get() - before, 1);
        gateway.end();
        assert_eq!((worker::count(), main_thread::count()), (0, 0));
        store::OWN.set(None);
    }
}

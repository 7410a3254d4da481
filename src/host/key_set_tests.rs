//! Key sets that are not used, and keys that several issuers have.

use super::*;

#[test]
fn a_key_returns_when_the_other_issuer_loses_it() {
    let issuer = |name: &str| {
        json!({
            "issuer": format!("https://{name}.example.com"), "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "1h",
            "keys": { "remote": { "url": format!("https://{name}.example.com/jwks"), "cluster": name } },
        })
    };
    let agent = json!({ "owner": "o", "identity": { "issuer": "idp", "client_id": "a" } });
    let both = json!({ "issuers": { "another": issuer("another"), "idp": issuer("idp") }, "agents": { "a": agent } });
    let mut worker = Worker::new(&document(both));
    worker.tick(1_000);
    assert_eq!(*worker.host.0.calls.borrow(), ["another /jwks", "idp /jwks"]);
    // Both have the key since the same time, and the other issuer comes first in the order of names.
    worker.respond_to(1, "200", &key_set(&[(1, "k"), (2, "own")]));
    worker.respond_to(2, "200", &key_set(&[(1, "k"), (3, "mine")]));
    assert_eq!(worker.request(&token(3, "mine"), true).1, StreamAction::Continue);
    let (_waits, action) = worker.request(&token(1, "k"), true);
    assert_eq!(action, StreamAction::Pause, "the key is not used");
    worker.tick(300_000);
    assert_eq!(worker.calls(), 4);
    worker.respond_to(3, "200", &key_set(&[(2, "own")]));
    assert_eq!(worker.request(&token(1, "k"), true).1, StreamAction::Continue);
}

#[test]
fn a_copied_key_stays_with_its_issuer_in_a_worker_that_starts_later() {
    let issuer = |name: &str| {
        json!({
            "issuer": format!("https://{name}.example.com"), "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "1h",
            "keys": { "remote": { "url": format!("https://{name}.example.com/jwks"), "cluster": name } },
        })
    };
    let agent = json!({ "owner": "o", "identity": { "issuer": "idp", "client_id": "a" } });
    let both =
        document(json!({ "issuers": { "acme": issuer("acme"), "idp": issuer("idp") }, "agents": { "a": agent } }));
    let mut first = Worker::new(&both);
    first.tick(1_000);
    first.respond_to(1, "200", &key_set(&[(2, "own")]));
    first.respond_to(2, "200", &key_set(&[(1, "k")]));
    first.tick(301_000);
    first.respond_to(3, "200", &key_set(&[(2, "own"), (1, "copied")]));
    first.respond_to(4, "200", &key_set(&[(1, "k")]));
    let mut second = Worker::sharing_store_of(&first.host, &both);
    second.host.0.millis.set(first.host.0.millis.get());
    second.tick(1_000);
    assert_eq!(second.calls(), 0);
    // A policy update makes a new engine too.
    let updated = with(both, json!({ "help": "https://help.example.com" })).to_string();
    first.host.0.configuration.replace(updated.as_bytes().to_vec());
    assert!(first.root.on_configure(updated.len()));
    first.tick(1_000);
    for worker in [&mut first, &mut second] {
        assert_eq!(worker.request(&token(1, "k"), true).1, StreamAction::Continue);
    }
}

#[test]
fn answers_that_are_not_used_leave_the_keys_in_use_until_they_are_too_old() {
    let huge = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(256 * 1024));
    let good = key_set(&[(1, "k")]);
    let other_algorithm = json!({ "keys": [with(Signs::Rsa.jwk(), json!({ "kid": "r" }))] }).to_string();
    let answers: [(&str, &str); 8] = [
        ("200", "{\"keys\":[]}"),
        ("200", "<!doctype html><title>Sign in</title>"),
        ("200", good.split_at(good.len() / 2).0),
        ("200", &huge),
        ("200", &other_algorithm),
        ("302", &good),
        ("500", &good),
        ("", ""),
    ];
    let remote = json!({ "url": "https://idp.example.com/jwks", "cluster": "idp", "stale_for": "10m" });
    let discover = json!({ "document": "openid", "cluster": "idp", "stale_for": "10m" });
    let metadata = |issuer: &str| json!({ "issuer": issuer, "jwks_uri": "https://idp.example.com/jwks" }).to_string();
    let (own, changed) = (metadata("https://idp.example.com"), metadata("https://other.example.com"));
    let cases = answers.map(|answer| (json!({ "remote": remote }), answer)).into_iter();
    for (keys, (status, body)) in cases.chain([(json!({ "discover": discover }), ("200", &*changed))]) {
        let mut policy = document(json!({}));
        policy["issuers"]["corp"]["keys"] = keys;
        let is_discovered = policy["issuers"]["corp"]["keys"]["discover"].is_object();
        let mut worker = Worker::new(&policy);
        worker.tick(1_000);
        if is_discovered {
            worker.respond("200", &own);
        }
        worker.respond("200", &good);
        let case = format!("{status} {}", body.get(..40).unwrap_or(body));
        // The set is used for ten minutes after its fetch started.
        for second in 1..=600 {
            let before = worker.calls();
            worker.tick(1_000);
            if worker.calls() > before {
                worker.respond(status, body);
            }
            assert_eq!(worker.request(&token(1, "k"), true).1, StreamAction::Continue, "{case}: {second}");
        }
        worker.tick(1_000);
        let (_stream, _) = worker.request(&token(1, "k"), true);
        assert_eq!(worker.answers().last(), Some(&(503, UNAVAILABLE.to_owned())), "{case}");
    }
}

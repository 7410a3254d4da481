//! Lists that do not come, or that the gate must not believe.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    CLUSTER, EFFECTIVE, Feed, assert_everywhere, await_everywhere, entry, now, revoking, start, token, with, workers,
};
use crate::envoy::fixture::Gate;
use callgate_kit::mint::{Algorithm, SigningKey};

/// How long a list may be used in these tests without another one.
const STALE_AFTER: Duration = Duration::from_secs(3);

/// A list that is larger than every list may be.
fn oversized() -> String {
    "a".repeat((16 << 20) + 1)
}

/// A list that another key has signed.
fn of_another_key(entries: &Value) -> String {
    let key = SigningKey::generate(Algorithm::Ed25519).unwrap().with_kid("revocations");
    let mut header = key.header();
    header["typ"] = json!("callgate-revocations+jws");
    key.sign(&header, &json!({ "iat": now(), "exp": now() + 600, "entries": entries }))
}

fn unsigned(entries: &Value) -> String {
    json!({ "iat": now(), "exp": now() + 600, "entries": entries }).to_string()
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn nothing_is_accepted_before_the_first_list_and_no_false_list_replaces_it() {
    let feed = Feed::start();
    feed.server.close();
    let gate = start(&revoking(&feed), &feed);
    let (good, revoked) = (with(&token("good")), with(&token("revoked")));
    let response = gate.call(&good);
    assert_eq!(
        (response.status, response.code().as_deref()),
        (503, Some("revocations_unavailable")),
        "{}",
        response.text()
    );
    assert!(response.header("retry-after").is_some(), "the client learns when to repeat it");
    let none = json!([]);
    for (what, list) in [
        ("unsigned", unsigned(&none)),
        ("signed by another key", of_another_key(&none)),
        ("expired", feed.signed(&none, now() - 700, now() - 100)),
        ("valid for too long", feed.signed(&none, now(), now() + 7_200)),
        ("oversized", oversized()),
    ] {
        feed.serve(list);
        feed.server.reopen().unwrap();
        feed.await_fetches(1);
        assert_everywhere(&gate, &good, 503);
        println!("{what}: 503");
    }
    feed.publish(&json!([entry("revoked")]));
    println!("200 after {:?}, without a restart", await_everywhere(&gate, &good, 200, None));
    await_everywhere(&gate, &revoked, 401, Some("token_revoked"));
    // An older list would accept the token again, and so would a false one.
    let older = feed.signed(&none, now() - 600, now() + 600);
    for (what, list) in [
        ("older", older),
        ("unsigned", unsigned(&none)),
        ("signed by another key", of_another_key(&none)),
        ("oversized", oversized()),
    ] {
        feed.serve(list);
        feed.await_fetches(1);
        assert_everywhere(&gate, &revoked, 401);
        assert_everywhere(&gate, &good, 200);
        println!("{what}: the list in use stays");
    }
    feed.publish(&none);
    let took = await_everywhere(&gate, &revoked, 200, None);
    println!("an entry was removed: 200 after {took:?}");
    assert!(gate.envoy.log().contains(&feed.server.jwks_uri()), "the log names the list that is not used");
}

/// Starts a gate with a list that may be three seconds old.
fn start_with(feed: &Feed, on_stale: &str) -> Gate {
    let mut policy = revoking(feed);
    policy["revocations"] = feed.revocations(on_stale);
    policy["revocations"]["stale_after"] = json!("3s");
    start(&policy, feed)
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn a_list_that_cannot_be_fetched_again_is_used_as_the_policy_says() {
    let (good, revoked) = (with(&token("good")), with(&token("revoked")));
    let feeds = [Feed::start(), Feed::start()];
    let gates: Vec<_> = feeds
        .iter()
        .zip(["deny", "keep"])
        .map(|(feed, on_stale)| {
            feed.publish(&json!([entry("revoked")]));
            start_with(feed, on_stale)
        })
        .collect();
    for gate in &gates {
        await_everywhere(gate, &revoked, 401, Some("token_revoked"));
        await_everywhere(gate, &good, 200, None);
    }
    let closed = Instant::now();
    feeds.iter().for_each(|feed| feed.server.close());
    let [denying, keeping] = gates.as_slice() else { unreachable!() };
    await_everywhere(denying, &good, 503, Some("revocations_unavailable"));
    let elapsed = closed.elapsed();
    assert!(elapsed >= STALE_AFTER - Duration::from_secs(2), "denied after {elapsed:?}");
    assert!(elapsed <= STALE_AFTER + EFFECTIVE, "denied after {elapsed:?}");
    assert_everywhere(keeping, &good, 200);
    assert_everywhere(keeping, &revoked, 401);
    feeds.iter().for_each(|feed| feed.server.reopen().unwrap());
    println!("200 again after {:?}", await_everywhere(denying, &good, 200, None));
    await_everywhere(denying, &revoked, 401, Some("token_revoked"));
}

#[test]
fn a_list_that_the_cluster_vouches_for_needs_no_signature() {
    let feed = Feed::start();
    feed.serve(unsigned(&json!([entry("revoked")])));
    let mut policy = revoking(&feed);
    let revocations = policy["revocations"].as_object_mut().unwrap();
    revocations.remove("signed_by");
    revocations.insert("trusted".to_owned(), json!(true));
    let gate = Gate::start_with(
        &policy,
        |bootstrap| bootstrap.add_server(CLUSTER, feed.server.address()).unwrap(),
        &workers(),
    );
    await_everywhere(&gate, &with(&token("good")), 200, None);
    let asked = gate.ask(with(&token("revoked")));
    asked.assert_denied(401, "token_revoked");
    assert_eq!(asked.record()["revoked"], "test", "the record has the reason of the entry");
}

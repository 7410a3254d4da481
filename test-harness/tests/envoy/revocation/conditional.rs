//! Conditional requests for the list: the server sends it only after a change.

use std::time::Duration;

use identity_provider::key_server::{Behavior, JWKS};
use serde_json::{Value, json};

use super::{Feed, assert_everywhere, await_everywhere, entry, now, revoking, start, token, with};
use crate::envoy::operating::until;

impl Feed {
    /// Serves this list from now on, with a tag that identifies it.
    fn serve_tagged(&self, text: String) {
        self.server.set_for(JWKS, Behavior::Tagged(text)).unwrap();
    }

    /// Waits until the server has sent a body to this number of requests, of all that it has received.
    #[track_caller]
    fn await_bodies(&self, count: u64) {
        // A request is counted a moment before its answer.
        until(&format!("the server has sent {count} lists"), || {
            self.server.requests(JWKS) - self.server.confirmations(JWKS) == count
        });
    }
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn a_list_of_100_000_entries_is_sent_again_only_after_a_change() {
    const ENTRIES: usize = 100_000;
    let feed = Feed::start();
    let mut entries: Vec<Value> = (1..ENTRIES)
        .map(|number| json!({ "token_sha256": format!("{number:064x}"), "until": "2099-01-01T00:00:00Z" }))
        .collect();
    entries.push(entry("revoked"));
    feed.serve_tagged(feed.signed(&json!(entries), now(), now() + 3_600));
    let mut policy = revoking(&feed);
    // Nothing is sent again because a fetch took too long.
    policy["revocations"]["remote"]["refresh"] = json!("3s");
    policy["revocations"]["remote"]["timeout"] = json!("3s");
    let gate = start(&policy, &feed);
    let (good, revoked, late) = (with(&token("good")), with(&token("revoked")), with(&token("late")));
    await_everywhere(&gate, &revoked, 401, Some("token_revoked"));
    feed.await_fetches(3);
    feed.await_bodies(1);
    assert!(feed.server.last_request(JWKS).unwrap().header("if-none-match").is_some());
    assert_everywhere(&gate, &good, 200);
    assert_everywhere(&gate, &late, 200);
    entries.push(entry("late"));
    feed.serve_tagged(feed.signed(&json!(entries), now(), now() + 3_600));
    let took = await_everywhere(&gate, &late, 401, Some("token_revoked"));
    println!("{} entries, of which one is new: on every worker after {took:?}", entries.len());
    feed.await_fetches(3);
    feed.await_bodies(2);
    assert_everywhere(&gate, &good, 200);
    println!("{} requests, {} confirmations", feed.server.requests(JWKS), feed.server.confirmations(JWKS));
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn a_server_that_confirms_everything_from_the_start_has_sent_no_list() {
    let feed = Feed::start();
    feed.server.set_for(JWKS, Behavior::NotModified).unwrap();
    let gate = start(&revoking(&feed), &feed);
    let good = with(&token("good"));
    feed.await_fetches(2);
    assert_everywhere(&gate, &good, 503);
    assert!(gate.envoy.log().contains("the response has status 304, but the request had no condition"));
    feed.publish(&json!([entry("revoked")]));
    await_everywhere(&gate, &good, 200, None);
    await_everywhere(&gate, &with(&token("revoked")), 401, Some("token_revoked"));
    // Without a tag there is no condition, so a confirmation is a failure, and the list in use stays.
    feed.server.set_for(JWKS, Behavior::NotModified).unwrap();
    feed.await_fetches(1);
    assert_everywhere(&gate, &good, 200);
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn a_list_is_not_confirmed_beyond_its_end() {
    let feed = Feed::start();
    let mut policy = revoking(&feed);
    policy["revocations"]["stale_after"] = json!("3s");
    let expires = now() + 12;
    feed.serve_tagged(feed.signed(&json!([entry("revoked")]), now(), expires));
    let gate = start(&policy, &feed);
    let good = with(&token("good"));
    await_everywhere(&gate, &good, 200, None);
    until("the list is confirmed", || feed.server.confirmations(JWKS) >= 2);
    assert!(now() < expires, "the list has not expired yet");
    // From then on the server confirms a list that has expired.
    let took = await_everywhere(&gate, &good, 503, Some("revocations_unavailable"));
    assert!(now() >= expires, "denied {took:?} after the last confirmation, before the list has expired");
    assert!(gate.envoy.log().contains("it has expired"));
    std::thread::sleep(Duration::from_secs(1));
    feed.serve_tagged(feed.signed(&json!([]), now(), now() + 600));
    await_everywhere(&gate, &good, 200, None);
    await_everywhere(&gate, &with(&token("revoked")), 200, None);
}

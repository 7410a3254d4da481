//! Credentials that are revoked while a real Envoy with four workers runs: lists that the gate fetches, entries and suspensions of the
//! policy, and streams that are open at that time.

mod conditional;
mod drained;
mod drill;
mod faults;
mod load;
mod streams;
mod switches;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use callgate_kit::mint::{Algorithm, SigningKey};
use identity_provider::key_server::{Behavior, JWKS, KeyServer};
use serde_json::{Value, json};
use test_harness::client::Request;
use test_harness::envoy::{Bootstrap, Options};

use crate::envoy::fixture::{Gate, HOST, KEY, claims, header, policy};
use crate::envoy::operating::until;

/// The cluster of the server with the list.
const CLUSTER: &str = "revocations";
/// `refresh` and `timeout` of the list in the tests.
const REFRESH: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long it takes at most until an entry of the list is effective on every worker.
const EFFECTIVE: Duration = Duration::from_secs(3).saturating_add(REFRESH).saturating_add(TIMEOUT);

/// A list of revoked credentials, and the server that has it.
struct Feed {
    server: KeyServer,
    key: SigningKey,
    /// The time of issue of the latest list, in seconds since 1970. Lists are newer than their predecessors, even within a second.
    issued: AtomicU64,
}

impl Feed {
    /// Starts a server whose list has no entries.
    fn start() -> Self {
        let server = KeyServer::start_as("https://revocations.example.com").unwrap();
        let key = SigningKey::generate(Algorithm::Ed25519).unwrap().with_kid("revocations");
        // The tests publish fewer lists than this.
        let feed = Self { server, key, issued: AtomicU64::new(now() - 300) };
        feed.publish(&json!([]));
        feed
    }

    /// Serves a list with these entries from now on.
    fn publish(&self, entries: &Value) {
        let issued = self.issued.fetch_add(1, Ordering::Relaxed) + 1;
        self.serve(self.signed(entries, issued, issued + 3_600));
    }

    /// Returns a list in the form that the gate reads.
    fn signed(&self, entries: &Value, issued: u64, expires: u64) -> String {
        let mut header = self.key.header();
        header["typ"] = json!("callgate-revocations+jws");
        self.key.sign(&header, &json!({ "iat": issued, "exp": expires, "entries": entries }))
    }

    /// Serves exactly this text from now on.
    fn serve(&self, text: String) {
        self.server.set_for(JWKS, Behavior::Exactly(text)).unwrap();
    }

    /// Returns the member `revocations` of a policy.
    fn revocations(&self, on_stale: &str) -> Value {
        json!({
            "remote": { "url": self.server.jwks_uri(), "cluster": CLUSTER, "refresh": "1s", "timeout": "1s" },
            "signed_by": self.key.public_jwk(),
            "on_stale": on_stale,
        })
    }

    /// Waits until the gate has fetched what is served now, at least this many times.
    #[track_caller]
    fn await_fetches(&self, count: u64) {
        let before = self.server.requests(JWKS);
        // One fetch may have begun before.
        until("the list is fetched", || self.server.requests(JWKS) > before + count);
    }
}

/// Returns the test policy, with a list.
fn revoking(feed: &Feed) -> Value {
    let mut policy = rechecking();
    policy["revocations"] = feed.revocations("deny");
    policy
}

/// Returns the test policy, with streams that are checked again.
fn rechecking() -> Value {
    let mut policy = policy();
    policy["name"] = json!("revoking");
    policy["clock_skew"] = json!("0s");
    policy["audit"]["log"]["deny"] = json!(true);
    for endpoint in policy["endpoints"].as_array_mut().unwrap() {
        if ["events", "socket", "chat"].contains(&endpoint["id"].as_str().unwrap()) {
            endpoint["streams"] = json!("recheck");
        }
    }
    policy
}

fn workers() -> Options {
    Options { concurrency: 4, ..Options::default() }
}

/// Starts a gate that fetches the list.
fn start(policy: &Value, feed: &Feed) -> Gate {
    let change = |bootstrap: &mut Bootstrap| bootstrap.add_server(CLUSTER, feed.server.address()).unwrap();
    Gate::start_with(policy, change, &workers())
}

/// Returns a token with this `jti`.
fn token(jti: &str) -> String {
    let mut claims = claims("items:read chat");
    claims["jti"] = json!(jti);
    KEY.sign(&header(), &claims)
}

fn with(token: &str) -> Request {
    Request::get("/items/1").host(HOST).bearer(token)
}

/// The entry for the token with this `jti`.
fn entry(jti: &str) -> Value {
    json!({ "issuer": "corp", "jti": jti, "reason": "test" })
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Waits until every worker answers a request with this status and code. Returns how long that took.
#[track_caller]
fn await_everywhere(gate: &Gate, request: &Request, status: u16, code: Option<&str>) -> Duration {
    let start = Instant::now();
    // Each connection may reach another worker.
    until(&format!("every worker answers {status} {code:?}"), || {
        (0..32).all(|_| {
            let response = gate.call(request);
            response.status == status && response.code().as_deref() == code
        })
    });
    start.elapsed()
}

/// Asserts that every worker answers a request with this status now.
#[track_caller]
fn assert_everywhere(gate: &Gate, request: &Request, status: u16) {
    for _ in 0..16 {
        let response = gate.call(request);
        assert_eq!(response.status, status, "{}", response.text());
    }
}

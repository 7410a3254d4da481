//! Keys that the gate fetches from an issuer, in a real Envoy with four workers.
//!
//! What a test needs, it waits for: a request that has arrived, a fetch that has started, a policy that is in force. A provider that holds
//! its answers ([`Behavior::Held`]) leaves a test as much time as it takes.

mod flood;
mod lost;
mod provider;
mod real;
mod signed;
mod updates;
mod waiting;

use std::thread;
use std::time::{Duration, Instant};

use identity_provider::key_server::{Behavior, KeyServer};
use serde_json::{Value, json};
use test_harness::client::{self, Request, Response};
use test_harness::envoy::{Bootstrap, Options};

use crate::envoy::fixture::{Gate, HOST, mark, policy};
use crate::envoy::limits::counted;
use crate::envoy::operating::until;
use crate::envoy::signed::now;

/// A key server, the name of its issuer and of its cluster, and the member `keys` of the issuer.
pub(crate) type Server<'s> = (&'s str, &'s KeyServer, Value);

/// Returns the test policy with issuers whose keys are fetched. The URL names the issuer, and the cluster the server.
pub(crate) fn fetching(servers: &[Server<'_>]) -> Value {
    let issuers: Vec<_> = servers.iter().map(|(name, server, keys)| (*name, server.issuer(), keys)).collect();
    fetching_from(&issuers)
}

/// Returns the test policy with these issuers: the name, the value of `iss` and the member `keys` of each.
fn fetching_from(all: &[(&str, String, &Value)]) -> Value {
    let mut policy = policy();
    let mut issuers = serde_json::Map::new();
    let mut agents = serde_json::Map::new();
    for (name, issuer, keys) in all {
        issuers.insert(
            (*name).to_owned(),
            json!({
                "issuer": issuer, "profile": "at+jwt", "algorithms": ["ES256"], "max_lifetime": "15m", "keys": keys,
            }),
        );
        agents.insert(
            format!("{name}-agent"),
            json!({ "owner": "o@example.com", "identity": { "issuer": name, "client_id": "robot" } }),
        );
    }
    policy["name"] = json!("fetching");
    policy["issuers"] = issuers.into();
    policy["agents"] = agents.into();
    policy["audit"]["log"]["deny"] = json!(true);
    policy
}

fn remote(server: &KeyServer, name: &str) -> Value {
    remote_within(server, name, "2s")
}

/// The same with another `timeout`.
pub(crate) fn remote_within(server: &KeyServer, name: &str, timeout: &str) -> Value {
    json!({ "remote": { "url": server.jwks_uri(), "cluster": name, "timeout": timeout } })
}

fn workers() -> Options {
    Options { concurrency: 4, ..Options::default() }
}

/// Adds the clusters, without TLS, because the servers have no certificates.
pub(crate) fn add_servers(bootstrap: &mut Bootstrap, servers: &[Server<'_>]) {
    for (name, server, _) in servers {
        bootstrap.add_server(name, server.address()).unwrap();
    }
}

/// Lets requests state their source in `X-Forwarded-For`: few of one source may wait for keys.
pub(crate) fn behind_a_proxy(bootstrap: &mut Bootstrap) {
    bootstrap.manager().unwrap()["xff_num_trusted_hops"] = json!(1);
}

/// Starts a gate with four workers, whose listeners can be updated.
fn start(servers: &[Server<'_>]) -> Gate {
    let change = |bootstrap: &mut Bootstrap| {
        add_servers(bootstrap, servers);
        *bootstrap = bootstrap.clone().dynamic();
    };
    Gate::start_with(&fetching(servers), change, &workers())
}

fn claims() -> Value {
    json!({ "aud": "https://api.example.com", "sub": "robot", "client_id": "robot", "scope": "items:read items:write" })
}

pub(crate) fn with(server: &KeyServer) -> Request {
    Request::get("/items/1").host(HOST).bearer(&server.mint(&claims()))
}

/// Returns a request with a token whose header names a key that nobody has.
fn with_unknown_key(server: &KeyServer, number: usize) -> Request {
    let key = server.signing_key().with_kid(format!("unknown-{number}"));
    let mut header = key.header();
    header["typ"] = json!("at+jwt");
    let mut claims = claims();
    let now = now();
    claims["iss"] = json!(server.issuer());
    claims["jti"] = json!(number.to_string());
    claims["iat"] = json!(now);
    claims["exp"] = json!(now + 300);
    Request::get("/items/1").host(HOST).bearer(&key.sign(&header, &claims))
}

/// Sends requests until one gets this status. Returns how long that took.
#[track_caller]
pub(crate) fn await_status(gate: &Gate, request: &Request, status: u16) -> Duration {
    let start = Instant::now();
    loop {
        let response = gate.call(request);
        if response.status == status {
            return start.elapsed();
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{} {}", response.status, response.text());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until every worker has a policy with this `help`.
#[track_caller]
fn await_policy(gate: &Gate, help: &str) {
    let denied = Request::get("/items/1").host(HOST);
    // Each connection may reach another worker.
    until("the policy is in force", || (0..32).all(|_| gate.call(&denied).json()["help"] == help));
}

/// Asserts that the request was denied because there are no keys for it yet, and that the client learns when to repeat it.
#[track_caller]
fn assert_told_to_wait(response: &Response) {
    let code = response.code();
    assert_eq!((response.status, code.as_deref()), (503, Some("keys_unavailable")), "{}", response.text());
    let wait = response.header("retry-after").unwrap();
    assert!(wait.parse::<u64>().is_ok_and(|seconds| seconds > 0), "{wait}");
}

/// Asserts that the request was denied because its issuer does not have the key of its token, or that the client is told to repeat it because
/// no fetch may look for the key yet.
#[track_caller]
fn assert_key_unknown(response: &Response) {
    match response.status {
        401 => assert_eq!(response.code().as_deref(), Some("token_key"), "{}", response.text()),
        _ => assert_told_to_wait(response),
    }
}

/// Asserts that the request was allowed, or that the client is told to repeat it.
#[track_caller]
fn assert_allowed_or_told_to_wait(response: &Response) {
    if response.status != 200 {
        assert_told_to_wait(response);
    }
}

/// Sends 50 requests that need a key which the provider does not deliver yet, each from another source, and runs `meanwhile` when all of
/// them wait. Returns the value of `X-Mark` and the answer of each. The gate must be [`behind_a_proxy`].
#[track_caller]
pub(crate) fn while_fifty_wait(
    gate: &Gate,
    idp: &KeyServer,
    meanwhile: impl FnOnce(),
) -> Vec<(String, anyhow::Result<Response>)> {
    let api = gate.envoy.api().unwrap();
    await_status(gate, &with(idp), 200);
    idp.rotate().unwrap();
    idp.set(Behavior::Held).unwrap();
    thread::scope(|scope| {
        let clients: Vec<_> = (1..=50)
            .map(|number| {
                let mark = mark();
                let source = format!("192.0.2.{number}");
                let request = with(idp).header("X-Forwarded-For", source).header("X-Mark", &mark);
                scope.spawn(move || (mark, client::call(api, &request)))
            })
            .collect();
        until("all of them wait", || counted(gate, "keys.waiting") == 50);
        meanwhile();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

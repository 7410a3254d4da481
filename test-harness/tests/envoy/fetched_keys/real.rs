//! A real provider by another author: the gate fetches the keys of a running authorization server, and verifies tokens that it issued.

use identity_provider::authorization_server::{AuthorizationServer, OTHER_RESOURCE};
use identity_provider::client;
use serde_json::{Value, json};
use test_harness::client::Request;
use test_harness::envoy::Bootstrap;

use super::{await_policy, await_status, fetching_from, workers};
use crate::envoy::fixture::{Gate, HOST};

const HELP: &str = "https://help.example.com";

fn with(token: &str) -> Request {
    Request::get("/items/1").host(HOST).bearer(token)
}

/// Checks a new token for this API, and one for another API.
#[track_caller]
fn assert_verifies(gate: &Gate, idp: &AuthorizationServer) {
    let token = idp.token(None).unwrap();
    await_status(gate, &with(&token), 200);
    let asked = gate.ask(with(&token));
    asked.assert_allowed();
    assert_eq!(asked.record()["agent"], "idp-agent");
    let other = idp.token_for(None, None).unwrap();
    assert_eq!(client::claims(&other).unwrap()["aud"], OTHER_RESOURCE);
    gate.ask(with(&other)).assert_denied(401, "token_audience");
}

#[test]
fn tokens_of_a_real_provider_are_verified_with_the_keys_that_it_publishes() {
    let idp = AuthorizationServer::start().unwrap();
    let policy = |keys: &Value| fetching_from(&[("idp", idp.issuer().to_owned(), keys)]);
    let change = |bootstrap: &mut Bootstrap| {
        bootstrap.add_server("idp", idp.address()).unwrap();
        *bootstrap = bootstrap.clone().dynamic();
    };
    let remote = json!({ "remote": { "url": idp.jwks_uri(), "cluster": "idp", "timeout": "5s" } });
    let gate = Gate::start_with(&policy(&remote), change, &workers());
    assert_verifies(&gate, &idp);

    // The same by its metadata (RFC 8414). That is another document, so nothing that was fetched before is used.
    let mut discovering = policy(&json!({ "discover": { "document": "oauth", "cluster": "idp", "timeout": "5s" } }));
    discovering["help"] = json!(HELP);
    gate.envoy.update(&gate.bootstrap.with_policy(&discovering.to_string()).unwrap()).unwrap();
    await_policy(&gate, HELP);
    assert_verifies(&gate, &idp);

    // Tokens of both keys are accepted while both are published.
    let old = idp.token(None).unwrap();
    let kid = idp.rotate().unwrap();
    assert_eq!(client::header(&idp.token(None).unwrap()).unwrap()["kid"], kid);
    assert_verifies(&gate, &idp);
    gate.ask(with(&old)).assert_allowed();
}

//! Chains of actors from a real token exchange (RFC 8693): a user's token, exchanged by a planner and again by a coding agent, in a real
//! Envoy.

use callgate::Headers;
use callgate::identity::signature::{Message, StructuredFields};
use callgate_kit::mint::{Algorithm, SigningKey};
use callgate_kit::sign::{Input, text_parameter};
use identity_provider::exchange::{ADMIN, ExchangeServer};
use identity_provider::gate;
use serde_json::{Value, json};
use test_harness::client::Request;

use crate::envoy::fixture::{Gate, HOST};
use crate::envoy::signed::now;

const ITEM: &str = "/items/1";

/// Returns a policy in which a planner and a coding agent may act for users, and each change of items needs one.
fn policy(idp: &ExchangeServer) -> Value {
    let mut policy = gate::policy(idp.issuer(), &idp.jwks().unwrap());
    policy["agents"] = json!({});
    for agent in ["planner", "coder", "reviewer"] {
        policy["agents"][agent] = json!({
            "owner": "platform@example.com",
            "identity": { "issuer": "corp", "client_id": agent, "actor": { "issuer": "corp", "sub": agent } },
        });
    }
    policy["delegation"] = json!({ "max_depth": 2 });
    policy["endpoints"] = json!([
        {
            "id": "items.get", "methods": ["GET"], "path": "/items/{id}", "effect": "read", "scopes": [gate::SCOPE],
            "delegation": "required",
        },
        { "id": "own.get", "methods": ["GET"], "path": "/own/{id}", "effect": "read", "scopes": [gate::SCOPE] },
    ]);
    policy
}

fn with(path: &str, token: &str) -> Request {
    Request::get(path).host(HOST).bearer(token)
}

/// Returns a request with a token and a signature by this key.
fn signed_with(token: &str, key: &SigningKey) -> Request {
    let authorization = format!("Bearer {token}");
    let components = ["@method", "@authority", "@path", "authorization"].map(|name| format!("\"{name}\""));
    let parameters = vec![format!("created={}", now()), text_parameter("keyid", key.kid().unwrap())];
    let input = Input { label: "sig".to_owned(), components: components.to_vec(), parameters };
    let headers: Headers = [("authorization", authorization.as_str())].into_iter().collect();
    let message = Message {
        method: b"GET",
        scheme: "https",
        authority: HOST,
        target: ITEM.as_bytes(),
        headers: &headers,
        structured: &StructuredFields::default(),
    };
    let base = input.base(&message).unwrap();
    let signature = input.signature(key, &base);
    with(ITEM, token).header("Signature-Input", input.field()).header("Signature", signature)
}

#[test]
fn a_users_token_that_two_agents_exchanged_reaches_the_api_with_its_chain() {
    let idp = ExchangeServer::start(&["planner", "coder", "reviewer"]).unwrap();
    let gate = Gate::start(&policy(&idp));
    let of_ann = idp.token_of_user("ann").unwrap();
    let planned = idp.exchange("planner", &of_ann).unwrap();
    let coded = idp.exchange("coder", &planned).unwrap();

    for (token, agent, chain) in
        [(&planned, "planner", &["ann", "planner"][..]), (&coded, "coder", &["ann", "coder", "planner"][..])]
    {
        let spoofed = with(ITEM, token).header("X-Callgate-Chain", "root").header("x_callgate_chain", "root");
        let asked = gate.ask(spoofed);
        let seen = asked.assert_allowed();
        assert_eq!(seen.header("x-callgate-chain"), Some(&*chain.join(",")));
        assert_eq!(seen.header("x-callgate-agent"), Some(agent));
        assert_eq!(seen.header("x-callgate-subject"), Some("ann"));
        assert_eq!(seen.header("x_callgate_chain"), None);
        let record = asked.record();
        assert_eq!((&record["chain"], &record["agent"]), (&json!(chain), &json!(agent)));
        assert_eq!((&record["subject"], &record["client"]), (&json!("ann"), &json!(agent)));
        // Most endpoints accept only what agents do for themselves.
        gate.ask(with("/own/1", token)).assert_denied(403, "delegation_not_allowed");
    }

    // One more exchange makes the chain longer than the policy allows.
    let reviewed = idp.exchange("reviewer", &coded).unwrap();
    let denied = gate.ask(with(ITEM, &reviewed));
    denied.assert_denied(401, "delegation_malformed");
    // The user's token belongs to an application that is no agent. A token without an actor is the agent's own, whoever its subject is.
    gate.ask(with(ITEM, &of_ann)).assert_denied(403, "agent_unknown");
    let impersonating = idp.impersonate("coder", &of_ann).unwrap();
    gate.ask(with(ITEM, &impersonating)).assert_denied(403, "delegation_required");
    let own = idp.token_of_agent("coder").unwrap();
    gate.ask(with(ITEM, &own)).assert_denied(403, "delegation_required");
    gate.ask(with("/own/1", &own)).assert_allowed();
}

/// The policy grants the coding agent a scope. Users must not be able to use it through the agent.
#[test]
fn a_delegated_request_has_only_the_scopes_of_its_token() {
    let idp = ExchangeServer::start(&["coder"]).unwrap();
    let mut granting = policy(&idp);
    granting["agents"]["coder"]["scopes"] = json!([ADMIN]);
    granting["endpoints"] = json!([{
        "id": "items.get", "methods": ["GET"], "path": "/items/{id}", "effect": "read", "scopes": [ADMIN],
        "delegation": "allowed",
    }]);
    let gate = Gate::start(&granting);

    let own = gate.ask(with(ITEM, &idp.token_of_agent("coder").unwrap()));
    let scopes = format!("{} {ADMIN}", gate::SCOPE);
    assert_eq!(own.assert_allowed().header("x-callgate-scopes"), Some(&*scopes));

    // Ann granted another scope. The server does not widen her token, and the gate does not add the agent's scope.
    let of_ann = idp.token_of_user("ann").unwrap();
    let told = idp.exchange_for("coder", &of_ann, ADMIN).unwrap_err().to_string();
    assert!(told.contains("invalid_scope"), "{told}");
    let denied = gate.ask(with(ITEM, &idp.exchange("coder", &of_ann).unwrap()));
    denied.assert_denied(403, "insufficient_scope");
    let record = denied.record();
    assert_eq!((&record["chain"], &record["scopes"]), (&json!(["ann", "coder"]), &json!([gate::SCOPE])));

    // Bob granted the scope, and the agent can leave it out of the token.
    let of_bob = idp.token_of_user_for("bob", &[gate::SCOPE, ADMIN]).unwrap();
    let allowed = gate.ask(with(ITEM, &idp.exchange_for("coder", &of_bob, ADMIN).unwrap()));
    assert_eq!(allowed.assert_allowed().header("x-callgate-scopes"), Some(ADMIN));
    let narrowed = idp.exchange_for("coder", &of_bob, gate::SCOPE).unwrap();
    gate.ask(with(ITEM, &narrowed)).assert_denied(403, "insufficient_scope");
}

#[test]
fn only_the_current_actor_can_send_its_token() {
    let idp = ExchangeServer::start(&["planner", "coder"]).unwrap();
    let coded = idp.exchange("coder", &idp.exchange("planner", &idp.token_of_user("ann").unwrap()).unwrap()).unwrap();

    // The coding agent is another client of the provider now, so the token was issued to somebody else.
    let mut moved = policy(&idp);
    moved["agents"]["coder"]["identity"]["client_id"] = json!("coder-2");
    let gate = Gate::start(&moved);
    let denied = gate.ask(with(ITEM, &coded));
    denied.assert_denied(403, "actor_mismatch");
    assert_eq!(denied.record()["chain"], json!(["ann", "coder", "planner"]));

    // Where requests are signed, the key shows who sends the token.
    let keys = ["planner", "coder"].map(|agent| SigningKey::generate(Algorithm::Ed25519).unwrap().with_kid(agent));
    let mut signed = policy(&idp);
    for (agent, key) in ["planner", "coder"].iter().zip(&keys) {
        signed["agents"][agent]["signing_keys"] = json!([{ "jwk": key.public_jwk() }]);
    }
    // Without replay protection, the gate accepts signatures as soon as it has started.
    signed["endpoints"][0]["signature"] = json!("required");
    signed["endpoints"][0]["replay"] = json!(false);
    let gate = Gate::start(&signed);
    let [planner, coder] = &keys;
    gate.ask(signed_with(&coded, coder)).assert_allowed();
    gate.ask(signed_with(&coded, planner)).assert_denied(403, "signature_signer");
    gate.ask(with(ITEM, &coded)).assert_denied(403, "signature_missing");
}

//! From 401 to a token, and from a missing scope to another one: the OAuth clients of the SDKs, with client credentials at an authorization
//! server by another author.

use identity_provider::authorization_server::{AuthorizationServer, SECRET};
use serde_json::{Value, json};
use test_harness::envoy::record_in;

use super::{Client, Guarded, HOST, RESOURCE, Server};

const SCOPES: [&str; 3] = ["payments:read", "payments:write", "payments:refund"];
const GET: &str = r#"call get_payment {"tenant":"acme","payment":"p-1"}"#;
const REFUND: &str = r#"call refund_payment {"tenant":"acme","payment":"p-1"}"#;

/// Makes the policy accept the tokens of the server, for its only client. They have no claim for the tenant, so the policy has it.
fn accept(policy: &mut Value, server: &AuthorizationServer) {
    policy["issuers"]["corp"]["keys"] = json!({ "jwks": server.jwks().unwrap() });
    policy["agents"] = json!({ "robot": {
        "owner": "platform@example.com",
        "identity": { "issuer": "corp", "client_id": "robot" },
        "attributes": { "tenant": "acme" },
    } });
    *policy = serde_json::from_str(&policy.to_string().replace("token.tenant", "agent.tenant")).unwrap();
}

#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn clients_get_from_401_to_a_token_and_to_a_scope_that_is_missing() {
    let provider = AuthorizationServer::start_for(RESOURCE, &SCOPES).unwrap();
    let variables = [("PROVIDER", format!("http://{}", provider.address())), ("SECRET", SECRET.to_owned())];
    for client in [Client::Python2, Client::Python2Legacy, Client::Python1] {
        // Each with a separate server, because the payment can be refunded once.
        let Some(guarded) = Guarded::start(Server::Python2, |policy| accept(policy, &provider)) else { return };
        let steps = ["list tools", GET, REFUND, GET];
        let Some(lines) = guarded.perform_with(client, &variables, &steps) else { continue };
        let (first, revision, end) = match client {
            Client::Python2 => ("server/discover", "2026-07-28", None),
            _ => ("initialize", "2025-11-25", Some(format!("  DELETE {HOST}/mcp 200"))),
        };
        let post = |method: &str, status: u16| format!("  POST {HOST}/mcp {method} {status}");
        let payment = |status: &str| format!(r#"{{"amount":120.5,"id":"…","payee":"Paper Ltd","status":"{status}"}}"#);
        let expected = [
            post(first, 401),
            format!("  GET {HOST}/.well-known/oauth-protected-resource/mcp 200"),
            "  GET idp.example.com/.well-known/oauth-authorization-server 200".to_owned(),
            "  POST idp.example.com/token payments:read 200".to_owned(),
            post(first, 200),
            format!("connect: {revision}"),
            post("tools/list", 200),
            "list tools: list_payments get_payment create_payment refund_payment".to_owned(),
            post("tools/call", 200),
            format!("call get_payment: {}", payment("paid")),
            // The challenge names every scope that the request needs. SDK 2 adds those that it has, and SDK 1 asks for these alone.
            post("tools/call", 403),
            "  POST idp.example.com/token payments:read payments:refund 200".to_owned(),
            post("tools/call", 200),
            format!("call refund_payment: {}", payment("refunded")),
            post("tools/call", 200),
            format!("call get_payment: {}", payment("refunded")),
            "end".to_owned(),
        ];
        let expected: Vec<_> = expected.into_iter().chain(end).collect();
        assert_eq!(lines, expected, "{client:?}");
    }
}

/// The SDK for Rust leaves the next step to its user: after 401 the connection fails with the challenge, and after 403 the operation does. The
/// SDK neither asks for a token nor repeats the request. Its OAuth client then finds the authorization server by the challenge, and begins with
/// the scopes that the challenge names.
#[test]
#[ignore = "run by .ci/run: it takes other programs, or long"]
fn a_client_in_rust_follows_the_challenges_that_its_sdk_reports() {
    let provider = AuthorizationServer::start_for(RESOURCE, &SCOPES).unwrap();
    let variables = [("PROVIDER", format!("http://{}", provider.address())), ("SECRET", SECRET.to_owned())];
    let Some(guarded) = Guarded::start(Server::Python2, |policy| accept(policy, &provider)) else { return };
    let Some(lines) = guarded.perform_with(Client::Rust, &variables, &["list tools", GET, REFUND, GET]) else { return };
    let payment = |status: &str| format!(r#"{{"amount":120.5,"id":"…","payee":"Paper Ltd","status":"{status}"}}"#);
    let expected = [
        "  challenge: payments:read".to_owned(),
        format!("  GET {HOST}/.well-known/oauth-protected-resource/mcp 200"),
        "  GET idp.example.com/.well-known/oauth-authorization-server 200".to_owned(),
        "  POST idp.example.com/token payments:read 200".to_owned(),
        "connect: done".to_owned(),
        "list tools: list_payments get_payment create_payment refund_payment".to_owned(),
        format!("call get_payment: {}", payment("paid")),
        "  challenge: insufficient_scope payments:read payments:refund".to_owned(),
        "  POST idp.example.com/token payments:read payments:refund 200".to_owned(),
        format!("call refund_payment: {}", payment("refunded")),
        format!("call get_payment: {}", payment("refunded")),
        "end".to_owned(),
    ];
    assert_eq!(lines, expected);
    // The gate denied two requests, and the client repeated neither before it had another token.
    for (reason, status) in [("credentials_missing", 401), ("insufficient_scope", 403)] {
        let line = guarded.await_record(&json!({ "decision": "deny", "reason": reason }));
        assert_eq!(line["status"], status, "{line}");
    }
    let records = guarded.gate.envoy.access_log().iter().filter_map(record_in).collect::<Vec<_>>();
    assert_eq!(records.iter().filter(|record| record["decision"] == "deny").count(), 2, "{records:#?}");
}

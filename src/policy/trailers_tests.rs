use serde_json::{Value, json};

use crate::policy::Policy;
use crate::testing::{self, with};

fn policy(change: &Value) -> Policy {
    let document = testing::document(json!({
        "issuers": { "corp": testing::issuer() },
        "agents": { "a": testing::agent("agent") },
        "endpoints": [
            { "id": "get", "methods": ["GET"], "path": "/x", "effect": "read", "scopes": "none",
              "bind": { "header.x-org": "token.org" } },
            { "id": "list", "methods": ["GET"], "path": "/y", "effect": "read", "scopes": "none",
              "bind": { "header.x-team": "token.team", "query.a": "token.a" } }
        ],
        "override_headers": ["x-forwarded-prefix"]
    }));
    testing::policy(with(document, change.clone()))
}

fn signing() -> Value {
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "0FEsY2sdtO5hWEtZkn6JwptT3Clzi9S1WPRvzZPX9io" });
    json!({
        "agents": { "a": {
            "owner": "o", "identity": { "issuer": "corp", "client_id": "agent" }, "signing_keys": [{ "jwk": key }]
        } },
        "signatures": { "cover": ["@method", "@authority", "@path", "@query", "x-trace"] },
        "tables": { "replay": 4096 },
        "requirements": { "read": { "signature": "required", "limits": ["calls"] } },
        "limits": { "calls": { "per": "agent", "rate": "30/1m", "burst": 20 } },
    })
}

#[test]
fn removes_trailers_that_an_upstream_could_merge_into_checked_headers() {
    let policy = policy(&json!({}));
    for name in [
        "x-callgate-agent",
        "X!Callgate~Agent",
        "x-callgate-",
        "authorization",
        "Authorization",
        "dpop",
        "host",
        "connection",
        "te",
        "content-length",
        "Content_Length",
        "transfer.encoding",
        "content-type",
        "content-encoding",
        "early-data",
        "script-name",
        "SCRIPT_NAME",
        "x|http|method|override",
        "daphne-root-path",
        "x-forwarded-prefix",
        "X~Forwarded~Prefix",
        "x-org",
        "X~Org",
        "x_team",
    ] {
        assert!(policy.removes_trailer(name.as_bytes()), "{name}");
    }
    assert!(policy.removes_trailer(b"x\xfforg"));
}

#[test]
fn forwards_trailers_that_match_no_checked_header() {
    let policy = policy(&json!({}));
    for name in [
        "",
        "grpc-status",
        "x-orgs",
        "x-or",
        "xorg",
        "-x-org",
        "x-callgate",
        "server-timing",
        "content-digest",
        "signature",
        "x-trace",
    ] {
        assert!(!policy.removes_trailer(name.as_bytes()), "{name}");
    }
}

#[test]
fn removes_trailers_named_like_signed_headers() {
    let policy = policy(&signing());
    for name in
        ["content-digest", "Content_Digest", "signature", "signature-input", "signature~agent", "x-trace", "X_Trace"]
    {
        assert!(policy.removes_trailer(name.as_bytes()), "{name}");
    }
    assert!(!policy.removes_trailer(b"@method") && !policy.removes_trailer(b"grpc-status"));
}

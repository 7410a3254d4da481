//! Tests of requests for the metadata of the resource.

use serde_json::{Value, json};

use super::*;
use crate::decision::answer::Answer;
use crate::decision::trace::Check;
use crate::request::headers::Headers;
use crate::request::incoming::DecisionId;
use crate::testing::{self, NOW, alone};
use crate::text::time::Timestamp;

const PATH: &str = "/.well-known/oauth-protected-resource";

fn policy(mode: &str, members: Value) -> Policy {
    let document = testing::document(json!({
        "mode": mode,
        "metadata": { "authorization_servers": ["https://idp.example.com"], "initial_scopes": ["read"] },
        "issuers": { "corp": testing::issuer() },
        "agents": { "a": testing::agent("agent") },
        "endpoints": [
            { "id": "get", "methods": ["GET"], "path": "/x/{id:text}", "effect": "read", "scopes": "none" },
            { "id": "any", "methods": ["GET", "OPTIONS"], "path": "/{name:text}", "effect": "read", "access": "public",
              "allow_escapes": ["%2F", "%5C"] }
        ]
    }));
    testing::policy(testing::with(document, members))
}

/// What became of a request: Callgate's answer, or `None` if the request was forwarded, and the record.
type Ended = (Option<Answer>, Value);

fn traced(policy: &Policy, lines: &[(&str, &str)], end_of_stream: bool, trace: Option<&mut Trace>) -> Ended {
    let headers: Headers = [(":authority", "api.example.com")].into_iter().chain(lines.iter().copied()).collect();
    let now = Timestamp::from_secs(NOW);
    let request = Request { headers: &headers, end_of_stream, source: None, certificate: None, now, id: DecisionId(7) };
    let (mut cache, recent) = (TokenCache::default(), Recent::default());
    let Outcome::Decided(decision) = evaluate(policy, request, None, alone(&mut cache, &recent, trace)) else {
        panic!("nothing here waits for a body")
    };
    let record = serde_json::from_slice(&decision.record().to_json()).unwrap();
    let answer = match decision {
        Decision::Allow(_) => None,
        Decision::Serve(serve) => Some(serve.answer()),
        Decision::Deny(deny) => Some(deny.answer()),
    };
    (answer, record)
}

fn ended(policy: &Policy, lines: &[(&str, &str)]) -> Ended {
    traced(policy, lines, true, None)
}

fn is_served((answer, record): &Ended) -> bool {
    record["reason"] == "metadata" && answer.as_ref().is_some_and(|answer| answer.status < 300)
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str())
}

#[test]
fn serves_the_metadata_without_reading_credentials() {
    let policy = policy("enforce", json!({}));
    for lines in [
        &[(":method", "GET"), (":path", PATH)][..],
        &[(":method", "HEAD"), (":path", PATH)],
        &[(":method", "GET"), (":path", PATH), ("authorization", "Bearer garbage")],
        &[(":method", "GET"), (":path", PATH), ("origin", "https://console.example.com")],
        &[(":method", "GET"), (":path", "/.well-known/oauth-protected-resource?a=b")],
    ] {
        let (answer, record) = ended(&policy, lines);
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status, answer.grpc_status, &*answer.details),
            (200, None, "callgate_metadata"),
            "{lines:?}"
        );
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
        assert_eq!(header(&answer, "cache-control"), Some("public, max-age=300"));
        let document: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(document["resource"], testing::RESOURCE);
        assert_eq!([&record["decision"], &record["rule"]], ["allow", "metadata"]);
        assert!(
            ["agent", "endpoint", "token", "would_deny"].iter().all(|member| record.get(member).is_none()),
            "{record}"
        );
    }
}

#[test]
fn answers_a_preflight_for_the_metadata_alone() {
    let policy = policy("enforce", json!({}));
    let preflight = |path, more: &[(&'static str, &'static str)]| {
        let lines = [
            (":method", "OPTIONS"),
            (":path", path),
            ("origin", "https://a.example"),
            ("access-control-request-method", "GET"),
        ];
        ended(&policy, &[&lines[..], more].concat())
    };
    let (answer, _) = preflight(PATH, &[("access-control-request-headers", "mcp-protocol-version")]);
    let answer = answer.unwrap();
    assert_eq!((answer.status, &*answer.body), (204, ""));
    assert_eq!(header(&answer, "access-control-allow-methods"), Some("GET, HEAD"));
    assert_eq!(header(&answer, "access-control-allow-headers"), Some("*"));
    assert!(!is_served(&preflight("/x/1", &[])) && !is_served(&preflight(PATH, &[("authorization", "Bearer x")])));
    assert!(!is_served(&ended(&policy, &[(":method", "OPTIONS"), (":path", PATH)])));
    let passes = self::policy("enforce", json!({ "preflight": "pass" }));
    let lines = [
        (":method", "OPTIONS"),
        (":path", PATH),
        ("origin", "https://a.example"),
        ("access-control-request-method", "GET"),
    ];
    assert!(is_served(&ended(&passes, &lines)), "the upstream does not know this path");
}

#[test]
fn other_requests_at_the_path_of_the_metadata_are_like_unlisted_ones() {
    let policy = policy("enforce", json!({}));
    let nowhere = ended(&policy, &[(":method", "POST"), (":path", "/no/where")]).0.unwrap();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "get", "TRACE"] {
        assert_eq!(ended(&policy, &[(":method", method), (":path", PATH)]).0.unwrap(), nowhere, "{method}");
    }
    let get = [(":method", "GET"), (":path", PATH)];
    assert_eq!(traced(&policy, &get, false, None).0.unwrap(), nowhere, "a body");
    let upgrade = [&get[..], &[("connection", "upgrade"), ("upgrade", "websocket")]].concat();
    assert_eq!(ended(&policy, &upgrade).0.unwrap(), nowhere, "an upgrade");
}

#[test]
fn no_other_spelling_of_the_path_reaches_the_upstream() {
    let policy = policy("enforce", json!({}));
    for path in [
        "/.well-known%2Foauth-protected-resource",
        "/.well-known%2foauth-protected-resource",
        "/.well-known%5Coauth-protected-resource",
        "/.WELL-KNOWN%2FOAuth-Protected-Resource",
        "/%2Ewell-known%2Foauth-protected-resource",
        "/.well-known%2Foauth-protected-resource.json",
        "/.well-known",
        "/%2ewell-known",
        "/.well-known/oauth-protected-resourc%65",
        "/.well-known/oauth-protected-resource/",
        "/.well-known//oauth-protected-resource",
        "/x/../.well-known/oauth-protected-resource",
    ] {
        let lines = [(":method", "GET"), (":path", path)];
        let found = ended(&policy, &lines);
        assert!(found.0.is_some() && !is_served(&found), "{path}: {found:?}");
    }
    // The variable itself works, and without metadata nothing is reserved.
    assert!(ended(&policy, &[(":method", "GET"), (":path", "/a%2Foauth-protected-resource")]).0.is_none());
    let without = self::policy("enforce", json!({ "metadata": null }));
    assert!(ended(&without, &[(":method", "GET"), (":path", "/.well-known%2Foauth-protected-resource")]).0.is_none());
}

#[test]
fn every_path_announces_the_same_metadata() {
    let policy = policy("enforce", json!({}));
    let at = |method, path| ended(&policy, &[(":method", method), (":path", path)]).0.unwrap();
    let expected = at("GET", "/x/1");
    let challenge = "Bearer realm=\"https://api.example.com\", \
                     resource_metadata=\"https://api.example.com/.well-known/oauth-protected-resource\", scope=\"read\"";
    assert_eq!(header(&expected, "www-authenticate"), Some(challenge));
    for (method, path) in
        [("POST", "/x/1"), ("GET", "/no/where"), ("POST", PATH), ("GET", "/.well-known/other"), ("GET", "/.well-known")]
    {
        assert_eq!(at(method, path), expected, "{method} {path}");
    }
}

#[test]
fn browsers_can_read_the_challenge() {
    let exposed = |policy: &Policy, more: &[(&str, &str)]| {
        let answer = ended(policy, &[&[(":method", "GET"), (":path", "/x/1")][..], more].concat()).0.unwrap();
        header(&answer, "access-control-expose-headers").map(str::to_owned)
    };
    let (with, without) = (policy("enforce", json!({})), policy("enforce", json!({ "metadata": null })));
    let origin = [("origin", "https://a.example")];
    assert_eq!(exposed(&with, &origin).as_deref(), Some("WWW-Authenticate"));
    assert!(exposed(&with, &[]).is_none() && exposed(&without, &origin).is_none());
}

#[test]
fn observe_mode_serves_the_metadata_and_forwards_what_it_would_deny() {
    let policy = policy("observe", json!({}));
    let get = [(":method", "GET"), (":path", PATH)];
    assert!(is_served(&ended(&policy, &get)));
    let (answer, record) = ended(&policy, &[&get[..], &[("x-http-method", "DELETE")]].concat());
    assert!(answer.is_none(), "{answer:?}");
    assert_eq!([&record["decision"], &record["reason"]], ["observe", "method_override"]);
}

#[test]
fn an_explanation_shows_where_the_metadata_are() {
    let policy = policy("enforce", json!({}));
    let mut trace = Trace::new();
    assert!(is_served(&traced(&policy, &[(":method", "GET"), (":path", PATH)], true, Some(&mut trace))));
    let last = trace.last().unwrap();
    assert_eq!((last.check, &*last.rule, last.denied), (Check::Metadata, "metadata", None));
    assert_eq!(last.facts, [("url", format!("{}{PATH}", testing::RESOURCE))]);
    // A denied request is not served because the explanation continues.
    let denied = [(":method", "GET"), (":path", PATH), ("x-http-method", "DELETE")];
    let found = traced(&policy, &denied, true, Some(&mut Trace::new()));
    assert_eq!(found.1["reason"], "method_override");
    assert_eq!(found.0.unwrap().status, 400);
}

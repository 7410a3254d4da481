//! What the corpus cannot state about API keys: whole answers, and text that must not occur anywhere.

use serde_json::{Value, json};

use super::{Outcome, evaluate};
use crate::decision::Decision;
use crate::decision::answer::Answer;
use crate::identity::crypto::sha256;
use crate::identity::token::TokenCache;
use crate::policy::Policy;
use crate::quota::Recent;
use crate::request::headers::Headers;
use crate::request::incoming::{DecisionId, Request};
use crate::testing::{self, NOW, alone};
use crate::text::time::Timestamp;

const KEY: &str = "cgk_0123456789abcdefghijkl";
const EXPIRED: &str = "cgk_expired-0123456789abcdefghijkl";
const UNKNOWN: &str = "cgk_unknown-0123456789abcdefghijkl";

fn hash(key: &str) -> String {
    sha256(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn policy(api_keys: Value) -> Policy {
    testing::policy(testing::document(json!({
        "api_keys": api_keys,
        "agents": { "a": { "owner": "o", "api_keys": [
            { "sha256": hash(KEY), "not_after": "2028-01-01" },
            { "sha256": hash(EXPIRED), "not_after": "2026-01-01" },
        ] } },
        "endpoints": [{ "id": "e", "methods": ["GET"], "path": "/", "effect": "read", "scopes": "none",
                        "authenticate": "api-key" }]
    })))
}

fn header() -> Policy {
    policy(json!({ "header": "x-api-key" }))
}

fn bearer() -> Policy {
    policy(json!({ "bearer_prefix": "cgk_" }))
}

/// Decides a request with this header line. Returns the record, and the answer to a denial.
fn decide(policy: &Policy, path: &str, line: (&str, &str)) -> (String, Option<Answer>) {
    let headers: Headers =
        [(":method", "GET"), (":path", path), (":authority", "api.example.com"), line].into_iter().collect();
    let request = Request {
        headers: &headers,
        end_of_stream: true,
        source: None,
        certificate: None,
        now: Timestamp::from_secs(NOW),
        id: DecisionId(7),
    };
    let (mut cache, recent) = (TokenCache::default(), Recent::default());
    let Outcome::Decided(decision) = evaluate(policy, request, None, alone(&mut cache, &recent, None)) else {
        panic!("nothing here has a body")
    };
    let record = String::from_utf8(decision.record().to_json()).unwrap();
    match decision {
        Decision::Allow(_) | Decision::Serve(_) => (record, None),
        Decision::Deny(deny) => (record, Some(deny.answer())),
    }
}

#[test]
fn clients_cannot_tell_an_expired_key_from_an_unknown_one() {
    let answers = |policy: &Policy, path: &str, line: &dyn Fn(&str) -> (&'static str, String)| {
        [EXPIRED, UNKNOWN].map(|key| {
            let (name, value) = line(key);
            let (record, answer) = decide(policy, path, (name, &value));
            let answer = answer.unwrap();
            assert!(record.contains(answer.details.strip_prefix("callgate_").unwrap()), "{record}");
            (answer.status, answer.headers, answer.body)
        })
    };
    for path in ["/", "/nowhere"] {
        let [expired, unknown] = answers(&header(), path, &|key| ("x-api-key", key.to_owned()));
        assert_eq!(expired, unknown);
        let [expired, unknown] = answers(&bearer(), path, &|key| ("authorization", format!("Bearer {key}")));
        assert_eq!(expired, unknown);
        assert_eq!(unknown.0, 401);
    }
}

#[test]
fn no_record_or_answer_contains_a_key_or_the_hash_of_an_unknown_one() {
    for key in [KEY, EXPIRED, UNKNOWN] {
        for (policy, line) in
            [(header(), ("x-api-key", key.to_owned())), (bearer(), ("authorization", format!("Bearer {key}")))]
        {
            let (record, answer) = decide(&policy, "/", (line.0, &line.1));
            let text = format!("{record} {answer:?}");
            assert!(!text.contains(key.get(4..).unwrap()), "{text}");
            let hash = hash(key);
            let short = hash.get(..16).unwrap();
            assert_eq!(text.contains(short), key != UNKNOWN, "{text}");
            assert!(!text.contains(hash.get(..17).unwrap()), "{text}");
        }
    }
}

#[test]
fn a_policy_without_api_keys_does_not_look_for_them() {
    let policy = testing::policy(testing::document(json!({
        "issuers": { "corp": testing::issuer() }, "agents": { "a": testing::agent("a") },
        "endpoints": [{ "id": "e", "methods": ["GET"], "path": "/", "effect": "read", "scopes": "none" }]
    })));
    for (line, reason) in
        [(("x-api-key", KEY), "credentials_missing"), (("authorization", "Bearer cgk_x"), "token_malformed")]
    {
        let (record, _) = decide(&policy, "/", line);
        assert!(record.contains(reason) && !record.contains("api_key"), "{record}");
    }
}

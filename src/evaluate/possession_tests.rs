//! Tokens that are bound to a key, on their way through all checks.

use serde_json::{Value, json};

use super::*;
use crate::call::DecisionId;
use crate::crypto::{PublicJwk, SoftwareVerifier};
use crate::state::{MemoryStore, Namespace};
use crate::time::Timestamp;
use crate::token::testing::{Environment, NOW, SECRET, Signs, b64, sign, with};
use crate::{Answer, DPOP_NONCE, Headers};

const KEY: Signs = Signs::P256(7);

fn policy(dpop: Value) -> Policy {
    let document = json!({
        "callgate": "v1", "name": "test", "mode": "enforce", "gateway": "envoy",
        "resource": "https://api.example.com", "hosts": ["api.example.com"],
        "issuers": { "corp": {
            "issuer": "https://idp.example.com", "profile": "at+jwt", "algorithms": ["HS256"], "max_lifetime": "1h",
            "keys": { "secret": { "env": "SECRET" } },
        } },
        "dpop": dpop,
        "agents": { "a": { "owner": "o", "identity": { "issuer": "corp", "client_id": "agent" } } },
        "endpoints": [
            { "id": "list", "methods": ["GET"], "path": "/x", "effect": "read", "scopes": "none" },
            { "id": "bound", "methods": ["GET"], "path": "/b", "effect": "read", "scopes": "none", "token": "bound" },
        ],
        "upstream": { "authorization": "remove" },
        "audit": { "log": { "allow": false, "deny": false } },
    });
    Policy::from_value(document, &Environment).unwrap().policy
}

fn token(bound: bool) -> Vec<u8> {
    let jwk = KEY.jwk();
    let key = PublicJwk::read(jwk.as_object().unwrap()).unwrap().key.thumbprint().unwrap();
    let cnf = if bound { json!({ "jkt": key.to_string() }) } else { Value::Null };
    let claims = json!({
        "iss": "https://idp.example.com", "aud": "https://api.example.com", "sub": "s", "client_id": "agent",
        "iat": NOW, "exp": NOW + 600, "jti": "j",
    });
    sign(Signs::Secret(SECRET), &json!({ "alg": "HS256", "typ": "at+jwt" }), &with(claims, json!({ "cnf": cnf })))
}

fn proof(path: &str, now: u64, nonce: Option<&str>) -> Vec<u8> {
    let claims = json!({
        "jti": "one", "htm": "GET", "htu": format!("https://api.example.com{path}"), "iat": now,
        "ath": b64(hmac_sha256::Hash::hash(&token(true))), "nonce": nonce,
    });
    sign(KEY, &json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": KEY.jwk() }), &claims)
}

/// How a call ends, and the nonce that its client is told.
fn decide(
    policy: &Policy,
    space: Option<(&MemoryStore, &Namespace)>,
    path: &str,
    now: u64,
    credential: (&str, Option<&[u8]>),
) -> Result<Option<String>, Answer> {
    let (scheme, proof) = credential;
    let authorization = [scheme.as_bytes(), b" ", &token(true)].concat();
    let lines = [(":method", &b"GET"[..]), (":path", path.as_bytes()), (":authority", b"api.example.com")];
    let lines = lines.into_iter().chain([("authorization", &authorization[..])]);
    let headers: Headers = lines.chain(proof.map(|proof| ("dpop", proof))).collect();
    let now = Timestamp::from_secs(now);
    let call = Call { headers: &headers, end_of_stream: true, source: None, now, id: DecisionId(7) };
    let shared = space.map(|(store, namespace)| Shared { store, namespace, replay: None, clock: &now });
    let mut cache = TokenCache::default();
    match evaluate(policy, call, Context { verifier: &SoftwareVerifier, cache: &mut cache, shared, trace: None }) {
        Step::Decided(Decision::Allow(allow)) => Ok(allow.facts().dpop_nonce().map(str::to_owned)),
        Step::Decided(Decision::Deny(deny)) => Err(deny.answer()),
        Step::Hold(_) => panic!("there is no body"),
    }
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str())
}

#[test]
fn a_client_is_given_a_nonce_and_the_next_before_it_ends() {
    let store = MemoryStore::default();
    let namespace = Namespace::open(&store, "test", 8, [1; 16]).unwrap().namespace;
    let policy = policy(json!({ "required": true, "algorithms": ["ES256"], "nonce": "required" }));
    assert!(policy.counts());
    let decide = |now: u64, nonce: Option<&str>| {
        let proof = proof("/x", now, nonce);
        self::decide(&policy, Some((&store, &namespace)), "/x", now, ("DPoP", Some(&proof)))
    };
    let asked = decide(NOW, None).unwrap_err();
    assert_eq!(asked.details, "callgate_dpop_nonce");
    assert_eq!(
        header(&asked, "www-authenticate"),
        Some("DPoP realm=\"https://api.example.com\", error=\"use_dpop_nonce\", algs=\"ES256\"")
    );
    assert_eq!(header(&asked, "cache-control"), Some("no-store"));
    let nonce = header(&asked, DPOP_NONCE).unwrap();
    assert_eq!(decide(NOW, Some(nonce)), Ok(None));
    let next = decide(NOW + 60, Some(nonce)).unwrap().unwrap();
    assert_ne!(next, nonce);
    assert_eq!(decide(NOW + 61, Some(&next)), Ok(None));
    let ended = decide(NOW + 120, Some(nonce)).unwrap_err();
    assert_eq!(ended.details, "callgate_dpop_nonce");
    assert_eq!(decide(NOW + 120, header(&ended, DPOP_NONCE)), Ok(None));
}

#[test]
fn without_what_workers_share_no_nonce_is_taken() {
    let policy = policy(json!({ "required": true, "algorithms": ["ES256"], "nonce": "required" }));
    let proof = proof("/x", NOW, Some("AAAAAAAAAAAAAAAAAAAAAA"));
    let answer = decide(&policy, None, "/x", NOW, ("DPoP", Some(&proof))).unwrap_err();
    assert_eq!(answer.details, "callgate_host_error");
}

#[test]
fn who_does_not_hold_the_key_is_answered_the_same_on_every_path() {
    let policy = policy(json!({ "required": false, "algorithms": ["ES256"] }));
    let elsewhere = proof("/elsewhere", NOW, None);
    let stale = proof("/x", NOW - 60, None);
    for credential in [
        ("Bearer", None),
        ("Bearer", Some(&elsewhere[..])),
        ("DPoP", None),
        ("DPoP", Some(&elsewhere[..])),
        ("DPoP", Some(b"proof")),
        ("Basic", Some(&stale)),
    ] {
        let answers = ["/x", "/b", "/nowhere"].map(|path| decide(&policy, None, path, NOW, credential).unwrap_err());
        assert_eq!(answers[0].status, 401, "{credential:?}");
        assert_eq!(answers[0], answers[1], "{credential:?}");
        assert_eq!(answers[0], answers[2], "{credential:?}");
    }
}

#[test]
fn nothing_but_the_key_opens_a_bound_token() {
    assert!(token(false) != token(true));
    let policy = policy(json!({ "required": false, "algorithms": ["ES256"] }));
    for path in ["/x", "/b"] {
        let proof = proof(path, NOW, None);
        assert_eq!(decide(&policy, None, path, NOW, ("DPoP", Some(&proof))), Ok(None));
        for credential in [("Bearer", Some(&proof[..])), ("Bearer", None), ("DPoP", None)] {
            decide(&policy, None, path, NOW, credential).unwrap_err();
        }
    }
}

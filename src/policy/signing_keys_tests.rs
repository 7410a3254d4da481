//! Signing keys of agents: valid keys, lookups, and each error at its place.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::document::Findings;
use crate::identity::crypto::Algorithm;
use crate::identity::token::SecretLookup;
use crate::policy::{Compiled, Policy};
use crate::testing::{self, not_needed};
use crate::text::time::Timestamp;

/// Looks up a secret. Variables whose names have the same beginning hold the same secret.
fn environment(name: &str) -> SecretLookup {
    match name {
        "MISSING" => SecretLookup::Missing,
        "SHORT" => SecretLookup::Found(vec![b'x'; 31]),
        _ => SecretLookup::Found(vec![name.as_bytes()[0]; 32]),
    }
}

const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----";

/// The key of RFC 8037, appendix A.2, and its thumbprint.
const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const X_THUMBPRINT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

fn ed25519(kid: Option<&str>) -> Value {
    let mut jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": X });
    if let Some(kid) = kid {
        jwk["kid"] = json!(kid);
    }
    jwk
}

/// The generator of P-256.
fn p256() -> Value {
    json!({
        "kty": "EC", "crv": "P-256",
        "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY", "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
    })
}

fn rsa() -> Value {
    json!({ "kty": "RSA", "kid": "rsa", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode([0xff; 256]) })
}

/// Returns a policy whose agent `a` has these keys and no token, and whose agent `b` has a token and other keys.
fn policy(a: &Value, b: &Value) -> Value {
    let mut policy = testing::document(json!({
        "issuers": { "corp": {
            "issuer": "https://idp.example.com",
            "profile": "at+jwt",
            "algorithms": ["ES256"],
            "max_lifetime": "15m",
            "keys": { "jwks": { "keys": [p256()] } }
        }, "own": {
            "issuer": "https://own.example.com",
            "profile": "at+jwt",
            "algorithms": ["HS256"],
            "max_lifetime": "15m",
            "keys": { "secret": { "env": "ISSUER" } }
        } },
        "agents": {
            "a": { "owner": "o@example.com", "signing_keys": a },
            "b": { "owner": "o@example.com", "identity": { "issuer": "corp", "client_id": "b" }, "signing_keys": b },
        },
        "endpoints": [
            { "id": "get", "methods": ["GET"], "path": "/x", "effect": "read", "scopes": "none" },
        ],
    }));
    if b.is_null() {
        policy["agents"].as_object_mut().unwrap().remove("b");
    }
    policy
}

fn compile(a: &Value, b: &Value) -> Result<Compiled, Findings> {
    Policy::from_value(policy(a, b), &environment)
}

fn good(a: &Value) -> Policy {
    compile(a, &Value::Null).unwrap_or_else(|findings| panic!("{a} {:#?}", findings.errors)).policy
}

fn errors(a: &Value, b: &Value) -> Vec<String> {
    match compile(a, b) {
        Ok(_) => Vec::new(),
        Err(findings) => findings.errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn finds_a_key_in_any_format_by_its_keyid() {
    let a = json!([
        { "jwk": ed25519(None) },
        { "pem": PEM, "keyid": "the pem" },
        { "secret": { "env": "A" }, "keyid": "the secret", "algorithm": "hmac-sha256" },
    ]);
    let b = json!([{ "jwk": rsa(), "algorithm": "rsa-pss-sha512" }]);
    let policy = compile(&a, &b).unwrap().policy;
    let keys = &policy.signing_keys;
    assert_eq!(keys.iter().len(), 4);
    assert_eq!(keys.signers(), [0, 1]);
    for (keyid, agent, algorithm) in [
        (X_THUMBPRINT, "a", Algorithm::Ed25519),
        ("the pem", "a", Algorithm::Ed25519),
        ("the secret", "a", Algorithm::Hs256),
        ("rsa", "b", Algorithm::Ps512),
    ] {
        let key = keys.find(keyid).unwrap();
        assert_eq!((&*key.keyid, key.algorithm), (keyid, algorithm));
        assert_eq!(&*policy.agents.get(key.agent).unwrap().name, agent);
        assert_eq!(key.thumbprint.is_none(), algorithm == Algorithm::Hs256);
        assert!(key.key.fits(algorithm) && key.is_valid(Timestamp::from_secs(0)));
    }
    for unknown in ["", "The pem", "the pem ", "kid"] {
        assert!(keys.find(unknown).is_none(), "{unknown}");
    }
}

#[test]
fn the_keyid_of_a_jwk_is_its_kid_or_thumbprint() {
    for (key, keyid) in [
        (json!({ "jwk": ed25519(Some("k")) }), "k"),
        (json!({ "jwk": ed25519(Some("k")), "keyid": "k" }), "k"),
        (json!({ "jwk": ed25519(Some("k")), "keyid": X_THUMBPRINT }), X_THUMBPRINT),
        (json!({ "jwk": ed25519(None), "keyid": X_THUMBPRINT }), X_THUMBPRINT),
        (json!({ "jwk": ed25519(Some(X_THUMBPRINT)) }), X_THUMBPRINT),
    ] {
        let policy = good(&json!([key]));
        let keys: Vec<_> = policy.signing_keys.iter().map(|key| &*key.keyid).collect();
        assert_eq!(keys, [keyid], "{key}");
    }
}

#[test]
fn derives_the_algorithm_from_the_key() {
    let mut rows = vec![
        (json!({ "jwk": ed25519(None), "algorithm": "ed25519" }), Algorithm::Ed25519),
        (json!({ "jwk": rsa(), "algorithm": "rsa-v1_5-sha256" }), Algorithm::Rs256),
    ];
    for (mut jwk, alg, algorithm) in [
        (ed25519(None), "EdDSA", Algorithm::Ed25519),
        (ed25519(None), "Ed25519", Algorithm::Ed25519),
        (rsa(), "PS512", Algorithm::Ps512),
        (rsa(), "RS256", Algorithm::Rs256),
    ] {
        jwk["alg"] = json!(alg);
        rows.push((json!({ "jwk": jwk }), algorithm));
    }
    for (key, algorithm) in rows {
        assert_eq!(good(&json!([key])).signing_keys.iter().next().unwrap().algorithm, algorithm, "{key}");
    }
}

#[test]
fn a_key_is_valid_from_not_before_until_not_after() {
    let at = |text: &str| super::parse_start(text).unwrap();
    let policy =
        good(&json!([{ "jwk": ed25519(Some("k")), "not_before": "2026-01-01", "not_after": "2026-06-30T12:00:00Z" }]));
    let key = policy.signing_keys.find("k").unwrap();
    for (moment, valid) in [
        ("2025-12-31T23:59:59Z", false),
        ("2026-01-01", true),
        ("2026-06-30T11:59:59Z", true),
        ("2026-06-30T12:00:00Z", false),
    ] {
        assert_eq!(key.is_valid(at(moment)), valid, "{moment}");
    }
    let policy = good(&json!([{ "jwk": ed25519(Some("k")), "not_after": "2026-06-30" }]));
    assert!(policy.signing_keys.find("k").unwrap().is_valid(at("2026-06-30T23:59:59Z")));
}

#[test]
fn secrets_that_are_not_loaded_verify_nothing() {
    let keys = json!([{ "secret": { "env": "A" }, "keyid": "k" }]);
    let policy = Policy::from_value(policy(&keys, &Value::Null), &not_needed).unwrap().policy;
    assert!(policy.signing_keys.find("k").is_none());
    assert_eq!(policy.signing_keys.signers(), [0]);
}

#[test]
fn reports_each_error_at_its_location() {
    let change = |mut jwk: Value, member: &str, value: Value| {
        jwk[member] = value;
        json!([{ "jwk": jwk }])
    };
    let secret = |env: &str| json!([{ "secret": { "env": env }, "keyid": "s" }]);
    let long = "k".repeat(257);
    let private = PEM.replace("PUBLIC", "PRIVATE");
    let certificate = PEM.replace("PUBLIC KEY", "CERTIFICATE");
    let rows = [
        (json!([]), "", "the list is empty"),
        (json!([{}]), "[0]", "the key is missing; write `jwk`, `pem` or `secret`"),
        (json!([{ "jwk": ed25519(None), "pem": PEM }]), "[0]", "only one of `jwk`, `pem` and `secret`"),
        (json!([{ "pem": PEM, "secret": { "env": "A" }, "keyid": "k" }]), "[0]", "only one of"),
        (change(ed25519(None), "d", json!("AAAA")), "[0].jwk.d", "belongs to a private or secret key"),
        (json!([{ "jwk": { "kty": "oct", "k": "AAAA" } }]), "[0].jwk.k", "belongs to a private or secret key"),
        (change(ed25519(None), "use", json!("enc")), "[0].jwk", "its `use` is `enc`"),
        (change(ed25519(None), "key_ops", json!(["sign"])), "[0].jwk", "do not contain `verify`"),
        (change(ed25519(None), "crv", json!("X25519")), "[0].jwk", "its curve `X25519` is not supported"),
        (change(ed25519(None), "x", json!("AAAA")), "[0].jwk.x", "expected the 32 bytes"),
        (change(ed25519(None), "alg", json!("ES256")), "[0].jwk.alg", "not an algorithm of this key type"),
        (change(rsa(), "alg", json!("PS256")), "[0].jwk.alg", "do not define `PS256`"),
        (change(rsa(), "alg", json!("none")), "[0].jwk", "its algorithm `none` is not supported"),
        (change(rsa(), "alg", json!("rsa-pss-sha512")), "[0].jwk", "its algorithm `rsa-pss-sha512` is not supported"),
        (change(ed25519(None), "kid", json!("ä")), "[0].jwk.kid", "invalid keyid"),
        (change(ed25519(None), "kid", json!(long)), "[0].jwk.kid", "expected 1 to 256 printable"),
        (json!([{ "jwk": rsa() }]), "[0].algorithm", "the client must not choose"),
        (json!([{ "jwk": rsa(), "algorithm": "ed25519" }]), "[0].algorithm", "not an algorithm of this key type"),
        (
            json!([{ "jwk": ed25519(None), "algorithm": "hmac-sha256" }]),
            "[0].algorithm",
            "not an algorithm of this key type",
        ),
        (
            json!([{ "jwk": change(rsa(), "alg", json!("RS256"))[0]["jwk"], "algorithm": "rsa-pss-sha512" }]),
            "[0].algorithm",
            "contradicts the key's `alg`, `RS256`",
        ),
        (json!([{ "jwk": ed25519(Some("k")), "keyid": "other" }]), "[0].keyid", "neither the JWK's `kid` nor"),
        (json!([{ "jwk": ed25519(None), "keyid": "other" }]), "[0].keyid", X_THUMBPRINT),
        (json!([{ "pem": PEM }]), "[0].keyid", "this key has no name"),
        (json!([{ "pem": PEM, "keyid": "" }]), "[0].keyid", "invalid keyid"),
        (json!([{ "pem": private, "keyid": "k" }]), "[0].pem", "this is a private key"),
        (json!([{ "pem": certificate, "keyid": "k" }]), "[0].pem", "this is a certificate"),
        (json!([{ "pem": "x", "keyid": "k" }]), "[0].pem", "expected one PEM block"),
        (json!([{ "secret": { "env": "A" } }]), "[0].keyid", "this key has no name"),
        (
            json!([{ "secret": { "env": "A" }, "keyid": "k", "algorithm": "ed25519" }]),
            "[0].algorithm",
            "a secret can only be used with `hmac-sha256`",
        ),
        (secret("MISSING"), "[0].secret.env", "`MISSING` is not set"),
        (secret("SHORT"), "[0].secret.env", "fewer than 32 bytes"),
        (json!([{ "jwk": ed25519(None), "not_before": "soon" }]), "[0].not_before", "invalid date `soon`"),
        (json!([{ "jwk": ed25519(None), "not_after": "2027-06-31" }]), "[0].not_after", "invalid date"),
        (
            json!([{ "jwk": ed25519(None), "not_before": "2027-01-02", "not_after": "2027-01-01" }]),
            "[0].not_after",
            "the key would never be valid",
        ),
        (json!([{ "jwk": ed25519(None), "kid": "k" }]), "[0].kid", "unknown field `kid`"),
        (json!([{ "jwk": ed25519(None), "algorithm": "EdDSA" }]), "[0].algorithm", "unknown variant `EdDSA`"),
    ];
    for (keys, place, says) in rows {
        let errors = errors(&keys, &Value::Null);
        let place = format!("agents.a.signing_keys{place}: ");
        assert!(errors.iter().any(|error| error.starts_with(&place) && error.contains(says)), "{keys} {errors:#?}");
        assert_eq!(errors.len(), 1, "{keys} {errors:#?}");
    }
}

#[test]
fn rejects_a_key_or_keyid_that_is_used_twice() {
    let pem = |keyid: &str| json!([{ "pem": PEM, "keyid": keyid }]);
    let secret = |env: &str| json!([{ "secret": { "env": env }, "keyid": "s" }]);
    let rows = [
        (json!([{ "jwk": ed25519(Some("k")) }]), pem("k"), "b", "has the same keyid `k`"),
        (json!([{ "jwk": ed25519(Some("k")) }]), json!([{ "jwk": ed25519(Some("l")) }]), "b", "has the same key"),
        (secret("A1"), json!([{ "secret": { "env": "A2" }, "keyid": "k" }]), "b", "has the same key"),
        (json!([{ "jwk": p256() }]), pem("k"), "a", "`issuers.corp.keys` has the same key"),
        (secret("ISSUER"), pem("k"), "a", "`issuers.own.keys"),
        (secret("I"), pem("k"), "a", "`issuers.own.keys` has the same key"),
        (json!([{ "jwk": ed25519(Some("k")) }]), pem(X_THUMBPRINT), "b", "is the thumbprint of the key"),
        (pem("k"), secret("A"), "", ""),
    ];
    for (a, b, agent, says) in rows {
        let errors = errors(&a, &b);
        if agent.is_empty() {
            assert_eq!(errors, Vec::<String>::new());
            continue;
        }
        let place = format!("agents.{agent}.signing_keys[0]: ");
        assert!(errors.iter().any(|error| error.starts_with(&place) && error.contains(says)), "{a} {b} {errors:#?}");
        assert_eq!(errors.len(), 1, "{a} {b} {errors:#?}");
    }
    let twice = json!([{ "jwk": ed25519(Some("k")) }, { "jwk": ed25519(Some("k")) }]);
    assert_eq!(errors(&twice, &Value::Null).len(), 2);
}

#[test]
fn compares_secrets_by_variable_if_they_are_not_loaded() {
    let keys = |env: &str, keyid: &str| json!([{ "secret": { "env": env }, "keyid": keyid }]);
    for (a, b) in [(keys("A", "k"), keys("A", "l")), (keys("ISSUER", "k"), keys("B", "l"))] {
        let errors = Policy::from_value(policy(&a, &b), &not_needed).unwrap_err().errors;
        assert_eq!(errors.len(), 1, "{errors:#?}");
        assert!(errors[0].message.contains("has the same key"));
    }
}

#[test]
fn an_agent_requires_an_identity_or_a_signing_key() {
    let mut neither = policy(&json!([{ "jwk": ed25519(None) }]), &Value::Null);
    neither["agents"]["a"].as_object_mut().unwrap().remove("signing_keys");
    let errors = Policy::from_value(neither, &environment).unwrap_err().errors;
    assert!(errors[0].to_string().starts_with("agents.a.identity: nothing identifies this agent"), "{errors:#?}");
}

#[test]
fn issuers_are_optional_if_agents_sign() {
    let mut signing = policy(&json!([{ "jwk": ed25519(None) }]), &Value::Null);
    signing["issuers"] = json!({});
    Policy::from_value(signing, &environment).unwrap();
}

#[test]
fn unknown_members_of_a_jwk_can_be_null() {
    let mut jwk = ed25519(None);
    jwk["issued"] = Value::Null;
    good(&json!([{ "jwk": jwk }]));
    // An agent with the name `jwk` does not hide a field without a value.
    let mut named = policy(&json!([{ "jwk": ed25519(None) }]), &Value::Null);
    named["agents"]["jwk"] =
        json!({ "owner": "o", "identity": { "issuer": "corp", "client_id": "c" }, "expires": null });
    let errors = Policy::from_value(named, &environment).unwrap_err().errors;
    assert_eq!(errors[0].place.as_str(), "agents.jwk.expires");
}

#[test]
fn debug_output_does_not_contain_secrets() {
    let policy = good(&json!([{ "secret": { "env": "A" }, "keyid": "k" }]));
    assert!(!format!("{:?}", policy.signing_keys).contains("AAAA"));
}
